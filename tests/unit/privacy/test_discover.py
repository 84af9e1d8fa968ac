"""Discovery: values that match nothing, check digits by mutation, hostile tables."""

from collections.abc import Callable

import msgspec
import polars as pl
import pytest

from vallum.base import GateError
from vallum.privacy import check_anonymity, discover_table, discover_text
from vallum.privacy import validators as check
from vallum.privacy.gate import PackedTable, ProtectedTable, inspect_table, protect_table
from vallum.schema import Label

Check = Callable[[str], bool]

VECTORS: list[tuple[Check, str]] = [
    (check.card, "4111111111111111"),
    (check.iban, "GB82WEST12345698765432"),
    (check.aba, "021000021"),
    (check.nhs, "9434765919"),
    (check.aadhaar, "234123412346"),
    (check.sin, "130692544"),
    (check.cpf, "11144477735"),
    (check.bsn, "111222333"),
    (check.nir, "255081416802538"),
    (check.vin, "1M8GDM9AXKP042788"),
    (check.npi, "1234567893"),
]


def test_text_without_personal_data_has_no_span() -> None:
    assert discover_text("nothing of note here") == ()


def test_column_without_personal_data_is_general() -> None:
    found = discover_table(pl.DataFrame({"colour": ["red", "dark blue and grey"]}))
    assert found.columns[0].type == ""
    assert found.label is Label.GENERAL


def test_values_beside_plain_ones_are_found() -> None:
    frame = pl.DataFrame({"mail": ["ann@example.com", "bob@example.com", "none given"]})
    (column,) = discover_table(frame).columns
    assert (column.type, column.count) == ("personal.email", 2)


def test_offsets_are_code_points() -> None:
    text = "é😀 ann@example.com"
    (span,) = discover_text(text)
    assert text[span.start : span.end] == "ann@example.com"


@pytest.mark.parametrize(("holds", "value"), VECTORS, ids=lambda one: getattr(one, "__name__", one))
def test_each_single_digit_error_in_a_check_digit_is_refused(holds: Check, value: str) -> None:
    assert holds(value)
    last = value[-1]
    wrong = [digit for digit in "0123456789" if digit != last]
    assert not any(holds(value[:-1] + digit) for digit in wrong)


@pytest.mark.parametrize(
    "frame",
    [
        pl.DataFrame(),
        pl.DataFrame({"email": pl.Series([], dtype=pl.String)}),
        pl.DataFrame({"email": [None, None]}),
        pl.DataFrame({"cell": ["x" * 5_000_000]}),
    ],
    ids=["no columns", "no rows", "all null", "giant cell"],
)
def test_hostile_tables_are_general(frame: pl.DataFrame) -> None:
    assert discover_table(frame).label is Label.GENERAL


def test_ten_thousand_columns_are_each_classified() -> None:
    frame = pl.DataFrame({f"c{at}": ["a@example.com"] for at in range(10_000)})
    assert {one.type for one in discover_table(frame).columns} == {"personal.email"}


def _csv(records: int) -> bytes:
    lines = [
        f"198{at % 9}-01-0{at % 9 + 1},1234{at % 9},u{at}@example.com,j" for at in range(records)
    ]
    return "\n".join(["birth_date,zip,email,job", *lines]).encode()


def _protect(payload: bytes, k: int) -> ProtectedTable:
    return protect_table(
        msgspec.msgpack.encode(PackedTable(payload)), kind="csv", k=k, max_suppression="0.04",
        quasi_identifiers=(), drop=(),
        pseudonymise=(), sensitive=(), key_hex="11" * 32,
    )  # fmt: skip


def test_protect_drops_identifiers_and_both_counts_reach_k() -> None:
    made = _protect(_csv(300), k=40)
    assert "email" not in made.columns
    assert b"@" not in made.csv
    assert made.k >= 40
    assert made.k_checked >= 40


def test_k_above_the_table_is_refused() -> None:
    with pytest.raises(GateError) as caught:
        _protect(_csv(3), k=5)
    assert caught.value.code == "gate.anonymity"


def test_inspection_counts_uniques_over_quasi_identifiers() -> None:
    found = inspect_table(b"birth_date,zip\n1980-01-01,12345\n1980-01-01,12345\n1990-01-01,1234\n",
                          kind="csv")  # fmt: skip
    assert (found.risk.uniques, found.risk.smallest_class) == (1, 1)


def test_checker_counts_k_l_and_t() -> None:
    frame = pl.DataFrame({"zip": ["1", "1", "2", "2"], "ill": ["a", "b", "a", "a"]})
    got = check_anonymity(frame, ["zip"], ["ill"])
    assert (got.k, got.l, got.classes) == (2, 1, 2)
    assert got.t == pytest.approx(0.25)
