"""One identifier among many plain values is still somebody's."""

import msgspec
import polars as pl
import pytest

from vallum.base import GateError, InputError
from vallum.privacy import discover_table, discover_text
from vallum.privacy.gate import PackedTable, inspect_table, protect_table

KEY = "11" * 32


def protect(
    frame: pl.DataFrame, hierarchies: dict[str, str] | None = None, **more: object
) -> bytes:
    arguments: dict[str, object] = {
        "kind": "csv", "k": 5, "max_suppression": "0", "quasi_identifiers": [], "drop": [],
        "pseudonymise": [], "sensitive": [], "key_hex": KEY, **more,
    }  # fmt: skip
    packed = msgspec.msgpack.encode(PackedTable(frame.write_csv().encode(), hierarchies or {}))
    return protect_table(packed, **arguments).csv  # type: ignore[arg-type]


def test_a_rare_identifier_does_not_survive_protect() -> None:
    notes = ["fine"] * 5000 + ["a@b.co", "x" * 6000 + " mail ana.lovelace@example.org now"]
    frame = pl.DataFrame({"note": notes, "value": range(len(notes))})
    assert inspect_table(frame.write_csv().encode(), kind="csv").label != "general"
    kept = protect(frame)
    assert b"a@b.co" not in kept
    assert b"lovelace" not in kept


def test_a_direct_identifier_cannot_be_kept_as_something_else() -> None:
    frame = pl.DataFrame({"email": [f"p{at}@example.org" for at in range(20)], "v": range(20)})
    for role in ("sensitive", "quasi_identifiers"):
        with pytest.raises(InputError, match="identifies by itself"):
            protect(frame, **{role: ["email"]})
    assert b"example.org" not in protect(frame, pseudonymise=["email"])


@pytest.mark.parametrize("key", ["", "00", "11" * 31])
def test_a_short_key_makes_no_pseudonyms(key: str) -> None:
    frame = pl.DataFrame({"email": [f"p{at}@example.org" for at in range(20)]})
    with pytest.raises(InputError, match="key has fewer"):
        protect(frame, pseudonymise=["email"], key_hex=key)


def test_fewer_records_than_k_are_no_k() -> None:
    with pytest.raises(GateError):
        protect(pl.DataFrame({"v": [1.5, 2.5]}))


def test_floats_and_nested_columns_are_looked_at_or_count_as_the_highest() -> None:
    frame = pl.DataFrame({"ssn": [123456789.0, 219099999.0, None], "tags": [["a"], ["b"], ["c"]]})
    found = {one.name: one for one in discover_table(frame).columns}
    assert found["ssn"].type == "government.us.ssn"
    assert found["tags"].label.value == "highly-confidential"


def test_a_long_text_is_searched_to_its_end() -> None:
    piece = "word " * 400 + "mail ana@example.org "
    assert len(discover_text(piece * 20)) == 20


def test_protect_uses_the_hierarchies_and_models_that_it_is_given() -> None:
    frame = pl.DataFrame(
        {"town": ["Ulm", "Bonn", "Rome", "Bari"] * 5, "ill": ["a", "a", "b", "b"] * 5}
    )
    tree = "Ulm;Germany;*\nBonn;Germany;*\nRome;Italy;*\nBari;Italy;*\n"
    made = protect(
        frame, quasi_identifiers=["town"], sensitive=["ill"], hierarchies={"town": tree}, k=6
    )
    assert b'"Germany"' in made
    assert b'"Ulm"' not in made
    spread = protect(
        frame, quasi_identifiers=["town"], sensitive=["ill"], hierarchies={"town": tree},
        diversity=["distinct:2"],
    )  # fmt: skip
    assert b'"Germany"' not in spread  # everybody there has the same
    with pytest.raises(InputError, match="no method"):
        protect(frame, quasi_identifiers=["town"], method="magic")
