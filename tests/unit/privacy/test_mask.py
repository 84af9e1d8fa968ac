"""Masking: forms kept, people apart, nothing of the original left, and undone only with the key."""

import datetime as dt
import io
import json
import re

import jsonschema
import msgspec
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stdnum import iban, luhn

from vallum.base import InputError
from vallum.formats import write_csv_safe
from vallum.privacy import (
    discover_table,
    mask_table,
    mask_text,
    parse_recipe,
    recipe_schema,
    suggest_recipe,
    unmask_table,
)
from vallum.privacy.recipe import Masking, Recipe
from vallum.privacy.surrogate import surrogate

KEY, OTHER = bytes(range(32)), bytes(range(1, 33))


def recipe(*columns: Masking, order: str = "keep") -> Recipe:
    return Recipe(version="vallum.mask/1", columns=columns, order=order)  # type: ignore[arg-type]


def one(values: list[object], **masking: object) -> list[object]:
    frame = pl.DataFrame({"c": values})
    made = recipe(Masking(column="c", **masking))  # type: ignore[arg-type]
    return mask_table(frame, made, key=KEY)["c"].to_list()


@pytest.mark.parametrize(
    ("kind", "value", "form"),
    [
        ("personal.email", "ana.b@corp.example.com", r"[a-z]{3}\.[a-z]\.[0-9a-z]{12}@example\.com"),
        ("personal.phone", "+49 (30) 1234-567", r"\+49 \(\d\d\) \d{4}-\d{3}"),
        ("personal.name", "Ana María Lovelace", r"\w+ \w+ \w+"),
        ("personal.birth_date", "1985-12-10", r"\d{4}-\d\d-\d\d"),
        ("government.us.ssn", "123-45-6789", r"9\d\d-\d\d-\d{4}"),
        ("network.ip", "8.8.4.4", r"198\.1[89]\.\d+\.\d+"),
        ("network.ip", "2606:4700::1", r"2001:db8::[0-9a-f:]+"),
        ("network.url", "https://corp.com/a?b=c", r"https://example\.org/[0-9a-z]{16}"),
        ("network.uuid", "0b5e6a7c-98ab-4c1d-9f00-aabbccddeeff", r"[0-9a-f]{8}(-[0-9a-f]+){4}"),
        ("security.token.github", "ghp_" + "a" * 36, r"[A-Z2-7]+x*"),
        ("", "AB-12 ä", r"[A-Z]{2}-\d\d [a-z]"),
    ],
)  # fmt: skip
def test_a_surrogate_has_the_form_of_its_value(kind: str, value: str, form: str) -> None:
    made = surrogate(KEY, kind, value)
    assert re.fullmatch(form, made)
    assert made != value
    assert made == surrogate(KEY, kind, value)
    assert made != surrogate(OTHER, kind, value)


def test_check_digits_are_right() -> None:
    for number in range(200):
        card = surrogate(KEY, "financial.card", f"4111 1111 1111 {number:04d}")
        assert luhn.is_valid(card.replace(" ", ""))
        assert re.fullmatch(r"(\d{4} ){3}\d{4}", card)
        account = surrogate(KEY, "financial.iban", f"DE89 3704 0044 0532 013{number:03d}"[:27])
        assert account.startswith("DE")
        assert iban.mod_97_10.is_valid(account.replace(" ", "")[4:] + account[:4])


@given(st.text(max_size=40))
def test_a_surrogate_is_never_the_value(value: str) -> None:
    made = surrogate(KEY, "", value)
    assert not re.search("[0-9A-Za-z]", value) or made != value


@given(st.lists(st.text("0123456789-. ", min_size=12, max_size=30), max_size=12))
def test_ff1_keeps_the_form_and_is_undone_with_the_key_alone(values: list[str]) -> None:
    values = [value for value in values if sum(c.isdigit() for c in value) >= 6]
    frame = pl.DataFrame({"c": [*values, None]}, schema={"c": pl.String})
    chosen = recipe(Masking(column="c", operation="ff1"))
    made = mask_table(frame, chosen, key=KEY)
    for before, after in zip(values, made["c"].to_list(), strict=False):
        assert re.sub(r"\d", "#", before) == re.sub(r"\d", "#", after)
    assert unmask_table(made, chosen, key=KEY)["c"].to_list() == frame["c"].to_list()
    if len(set(values)) > 3:
        assert unmask_table(made, chosen, key=OTHER)["c"].to_list() != frame["c"].to_list()


@pytest.mark.parametrize(
    ("values", "masking", "code"),
    [
        (["12345"], {"operation": "ff1"}, "mask.ff1"),
        (["AB-123456"], {"operation": "ff1"}, "mask.ff1"),
        (["yesterday"], {"operation": "date_shift", "subject": "c"}, "mask.date"),
        (["9999-12-31"], {"operation": "date_shift", "subject": "c"}, "mask.date"),
        (["2020-01-01"], {"operation": "date_shift"}, "mask.subject"),
        (["2020-01-01"], {"operation": "date_shift", "subject": "c", "days": 0}, "mask.days"),
        (["x"], {"operation": "bucket", "width": 5.0}, "mask.bucket"),
        ([1.0], {"operation": "bucket"}, "mask.bucket"),
        ([float("nan")], {"operation": "bucket", "width": 5.0}, "mask.bucket"),
        ([1.0], {"operation": "bucket", "bounds": (2.0, 1.0)}, "mask.bucket"),
        (["x"], {"operation": "truncate", "length": -1}, "mask.recipe"),
    ],
)
def test_what_does_not_suit_its_operation_is_refused(
    values: list[object], masking: dict[str, object], code: str
) -> None:
    with pytest.raises(InputError) as caught:
        one(values, **masking)
    assert caught.value.code == code
    assert not any(str(value) in str(caught.value) for value in values if str(value) != "x")


def test_dates_of_one_person_move_alike_and_back() -> None:
    frame = pl.DataFrame(
        {
            "person": ["a", "a", "b", None],
            "seen": ["2020-02-28", "2020-03-05T10:00", "2020-02-28", "2021-01-01"],
            "born": [dt.date(1980, 1, 1), dt.date(1980, 1, 1), dt.date(1990, 1, 1), None],
        }
    )
    chosen = recipe(
        Masking(column="person", operation="pseudonym"),
        Masking(column="seen", operation="date_shift", subject="person", days=100),
        Masking(column="born", operation="date_shift", subject="person", days=100),
    )
    made = mask_table(frame, chosen, key=KEY)
    seen = made["seen"].to_list()
    first, second = dt.date.fromisoformat(seen[0]), dt.date.fromisoformat(seen[1][:10])
    assert (second - first).days == 6
    assert seen[1].endswith("T10:00")
    assert 1 <= abs((first - dt.date(2020, 2, 28)).days) <= 100
    assert (made["born"][0] - dt.date(1980, 1, 1)) == first - dt.date(2020, 2, 28)
    assert seen[3] is None  # nobody's date has no shift, so it does not stay
    back = unmask_table(made, chosen, key=KEY)
    assert back["seen"].to_list()[:3] == frame["seen"].to_list()[:3]
    assert back["born"].to_list() == frame["born"].to_list()


def test_numbers_fall_into_buckets() -> None:
    assert one([0, 9, 10, -1, None], operation="bucket", width=10.0) == [
        "[0, 10)", "[0, 10)", "[10, 20)", "[-10, 0)", None,
    ]  # fmt: skip
    assert one([17, 18, 65], operation="bucket", bounds=(18.0, 65.0)) == ["<18", "[18, 65)", "≥65"]
    codes = one(["12345", "12399", "20000"], operation="generalise", type="personal.postcode")
    assert codes == ["123*", "123*", "200*"]


def test_spans_get_the_same_stand_in_in_every_text_and_column() -> None:
    texts = ["mail ana@corp.com or call", "from ana@corp.com", "to eva@corp.com"]
    made = [mask_text(text, key=KEY, replacement="surrogate") for text in texts]
    found = [re.search(r"\S+@example\.com", text) for text in made]
    assert all(found)
    names = [match.group() for match in found if match]
    assert names[0] == names[1] != names[2]
    assert made[0].startswith("mail ")
    column = one(["ana@corp.com"], operation="surrogate", type="personal.email")
    assert column == [names[0]]
    with pytest.raises(InputError, match="key has fewer"):
        mask_text("x", replacement="pseudonym")


def test_what_cannot_be_undone_says_so() -> None:
    frame = pl.DataFrame({"c": ["x"]})
    with pytest.raises(InputError, match="no operation that can be undone"):
        unmask_table(frame, recipe(Masking(column="c", operation="redact")), key=KEY)


@given(
    rows=st.lists(
        st.tuples(
            st.from_regex(r"[a-z]{4,9}@[a-z]{4,7}\.com", fullmatch=True),
            # Four bytes without a zero, which small numbers and lengths beside it are full of.
            st.integers(10**8, 10**9).filter(lambda one: 0 not in one.to_bytes(4, "little")),
            st.dates(dt.date(1930, 1, 1), dt.date(2020, 1, 1)),
        ),
        min_size=1,
        max_size=20,
        unique_by=lambda row: row[0],
    ),
    parquet=st.booleans(),
)
@settings(max_examples=40)
def test_no_original_is_left_in_the_bytes(
    *, rows: list[tuple[str, int, dt.date]], parquet: bool
) -> None:
    frame = pl.DataFrame(
        {
            "mail": [row[0] for row in rows],
            "number": [row[1] for row in rows],
            "born": [row[2].isoformat() for row in rows],
            "kept": list(range(len(rows))),
        }
    ).sort("mail")
    chosen = recipe(
        Masking(column="mail", operation="pseudonym"),
        Masking(column="number", operation="ff1"),
        Masking(column="born", operation="date_shift", subject="mail"),
        order="sorted",
    )
    made = mask_table(frame, chosen, key=KEY)
    assert made["mail"].to_list() == sorted(made["mail"].to_list())
    if parquet:
        out = io.BytesIO()
        made.write_parquet(out, compression="uncompressed")
        data = out.getvalue()
    else:
        data = write_csv_safe(made)
    for mail, number, _ in rows:
        assert mail.encode() not in data
        assert number.to_bytes(8, "little") not in data
        if str(number).encode() in data:  # another's number may have become this one
            assert made["number"].to_list().count(str(number)) == 1
            place = frame["number"].to_list().index(number)
            own = mask_table(frame[place : place + 1], chosen, key=KEY)["number"][0]
            assert own != str(number)


def test_a_suggested_recipe_hides_what_was_found_and_reads_back() -> None:
    frame = pl.DataFrame(
        {
            "email": [f"p{at}@corp.com" for at in range(60)],
            "age": [20 + at for at in range(60)],
            "zip": [f"{10_000 + at * 7}" for at in range(60)],
            "birth_date": [f"19{40 + at % 50}-01-0{at % 9 + 1}" for at in range(60)],
            "note": [f"call 030 1234{at:03d} or ana{at}@corp.com" for at in range(60)],
        }
    )
    made = suggest_recipe(discover_table(frame))
    jsonschema.validate(json.loads(msgspec.json.encode(made)), json.loads(recipe_schema()))
    assert parse_recipe(msgspec.yaml.decode(msgspec.yaml.encode(made))) == made
    masked = mask_table(frame, made, key=KEY)
    assert all(len(value) == 3 for value in masked["zip"].to_list())
    assert all(len(value) == 4 for value in masked["birth_date"].to_list())
    assert masked["age"].n_unique() < 10
    assert not any("corp.com" in text for text in masked["note"].to_list())


@pytest.mark.parametrize(
    "frame",
    [
        pl.DataFrame({"c": []}, schema={"c": pl.String}),
        pl.DataFrame({"c": [None, None]}, schema={"c": pl.String}),
        pl.DataFrame({"c": ["x" * 1_000_000]}),
    ],
)
@pytest.mark.parametrize("operation", ["pseudonym", "surrogate", "spans", "redact", "generalise"])
def test_odd_tables_have_a_defined_result(frame: pl.DataFrame, operation: str) -> None:
    made = mask_table(frame, recipe(Masking(column="c", operation=operation)), key=KEY)  # type: ignore[arg-type]
    assert made.height == frame.height
    assert made["c"].null_count() == frame["c"].null_count()


def test_ten_thousand_columns() -> None:
    frame = pl.DataFrame({f"c{at}": ["ana", "eva"] for at in range(10_000)})
    masked = [Masking(column=name, operation="redact") for name in frame.columns[:100]]
    assert mask_table(frame, recipe(*masked, order="sorted"), key=KEY).width == 10_000
