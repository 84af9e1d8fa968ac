"""Nested JSON: every value is looked at, under its path, with its key as context."""

from hypothesis import given
from hypothesis import strategies as st

from vallum.privacy import discover_nested
from vallum.privacy.hipaa import SAFE_HARBOR, safe_harbor
from vallum.privacy.patterns import KINDS

MAIL = "ana@example.org"


def found(document: object) -> list[tuple[str, str, int, int]]:
    (one,) = discover_nested([document])
    return [(field, span.type, span.start, span.end) for field, span in one]


def test_values_are_found_under_their_paths() -> None:
    document = {"a": [{"mail": f"to {MAIL}"}, 7, None, True], "b": {"c": "x"}}
    assert found(document) == [("a[0].mail", "personal.email", 3, 18)]
    assert found(MAIL) == [("", "personal.email", 0, 15)]
    assert found([]) == []


def test_a_key_is_context_for_its_value() -> None:
    assert [one[1] for one in found({"socialSecurityNumber": 536904399})] == ["government.us.ssn"]
    assert found({"amount": 536904399}) == []


def test_a_key_that_is_data_is_found_and_not_shown() -> None:
    assert found({"users": {MAIL: {"age": 4}}}) == [("users.{key}", "personal.email", 0, 15)]


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=12) | st.just(MAIL),
        lambda inner: (
            st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
        ),
        max_leaves=12,
    )
)
def test_offsets_lie_in_the_value_and_mails_are_never_missed(document: object) -> None:
    spans = found(document)
    assert all(0 <= start < end for _, _, start, end in spans)
    assert sum(kind == "personal.email" for _, kind, _, _ in spans) >= count(document)


def count(document: object) -> int:
    if isinstance(document, dict):
        return sum(count(one) for one in document.values())
    if isinstance(document, list):
        return sum(count(one) for one in document)
    return int(document == MAIL)


def test_safe_harbor_has_eighteen_and_names_types_that_exist() -> None:
    assert [one.letter for one in SAFE_HARBOR] == list("ABCDEFGHIJKLMNOPQR")
    names = {kind.name for kind in KINDS}
    for one in SAFE_HARBOR:
        for start in one.types:
            assert any(name.startswith(start) for name in names), start
    told = {one.letter: status for one, status in safe_harbor({"government.us.ssn"})}
    assert (told["G"], told["R"], told["P"], told["F"]) == (
        "found", "not found", "not scanned", "not found",
    )  # fmt: skip
    assert {one.letter: status for one, status in safe_harbor({"government.fr.nir"})}[
        "R"
    ] == "found"
