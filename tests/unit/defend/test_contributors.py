"""Who contributed the suspicious rows: exact tails, intervals, and how often chance accuses."""

import msgspec
import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sessions import training

from vallum.base import InputError, LimitExceededError
from vallum.defend.contributors import LEVEL, MAX_CONTRIBUTORS, contributors_of
from vallum.defend.gate import Contribution, Suspect, inspect_poisoning, quarantine_rows

stats = pytest.importorskip("scipy.stats", reason="the second opinion")


@given(st.integers(0, 2**32 - 1), st.integers(2, 60), st.integers(1, 6))
def test_tails_and_intervals_are_those_of_the_second_implementation(
    seed: int, rows: int, people: int
) -> None:
    rng = np.random.default_rng(seed)
    names = [f"c{one}" for one in rng.integers(0, people, rows)]
    flagged = rng.random(rows) < rng.random()
    found = contributors_of(names, flagged)
    assert sum(one.rows for one in found) == rows
    assert sum(one.flagged for one in found) == int(flagged.sum())
    for one in found:
        tail = stats.hypergeom.sf(one.flagged - 1, rows, int(flagged.sum()), one.rows)
        assert one.p == pytest.approx(tail, rel=1e-6, abs=1e-12)
        interval = stats.binomtest(one.flagged, one.rows).proportion_ci(method="wilson")
        assert (one.low, one.high) == pytest.approx((interval.low, interval.high), abs=1e-6)


def test_flags_that_fall_at_random_accuse_nobody_more_often_than_stated() -> None:
    rng = np.random.default_rng(5)
    names = [f"c{one % 12}" for one in range(600)]
    accused = 0
    for _ in range(300):
        found = contributors_of(names, rng.random(600) < 0.05)
        accused += any(one.improbable for one in found)
    # The 99.9 % quantile of a binomial count at the stated level.
    assert accused <= 10, f"{accused} of 300 at {LEVEL}"


def test_who_contributed_most_of_it_is_named_first() -> None:
    names = ["mallory"] * 40 + ["ada"] * 200 + ["eve"] * 160
    flagged = np.zeros(400, np.bool_)
    flagged[:24] = True  # of mallory
    flagged[[100, 300]] = True
    first, *others = contributors_of(names, flagged)
    assert (first.name, first.rows, first.flagged, first.improbable) == ("mallory", 40, 24, True)
    assert 0.44 < first.low < 0.6 < first.high < 0.75
    assert not any(one.improbable for one in others)


def test_a_column_that_names_each_row_is_no_column_of_contributors() -> None:
    count = MAX_CONTRIBUTORS + 1
    with pytest.raises(LimitExceededError, match="contributors"):
        contributors_of([str(one) for one in range(count)], np.zeros(count, np.bool_))
    with pytest.raises(InputError, match="not one contributor a row"):
        contributors_of(["a"], np.zeros(2, np.bool_))


def packed(table: bytes, **more: object) -> bytes:
    return msgspec.msgpack.encode(Suspect(table=table, kind="csv", label="kind", **more))  # type: ignore[arg-type]


def test_rows_are_of_who_added_the_version_that_first_held_them() -> None:
    bad = training(poisoned=24)
    honest = Contribution("ada", "csv", b"".join(
        line + b"\n" for at, line in enumerate(bad.splitlines()) if at == 0 or at > 24
    ))  # fmt: skip
    made = quarantine_rows(packed(bad, by="mallory", by_version=True, earlier=(honest,)), seed=1)
    assert [(one.name, one.rows, one.flagged) for one in made.before.contributors] == [
        ("mallory", 24, 24), ("ada", 376, 0),
    ]  # fmt: skip
    assert made.before.contributors[0].improbable
    assert {one.row for one in made.report.rows} == set(range(24))
    assert {(one.reason, one.by) for one in made.report.rows} == {("label-conflict", "mallory")}
    assert pl.read_csv(made.table).height == made.kept == 376
    assert not made.after.suspicious


def test_of_rows_that_come_twice_an_earlier_version_explains_as_many_as_it_had() -> None:
    table = b"a,kind\n" + b"1,x\n2,y\n" * 30
    earlier = Contribution("ada", "csv", b"a,kind\n" + b"1,x\n" * 10)
    found = inspect_poisoning(packed(table, by="bob", by_version=True, earlier=(earlier,)), seed=1)
    assert {one.name: one.rows for one in found.contributors} == {"ada": 10, "bob": 50}


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"contributor": "nobody"}, "no such column"),
        ({"contributor": "kind"}, "no such column"),
        ({"contributor": "length", "by_version": True}, "by a column or by versions"),
    ],
)
def test_what_names_no_contributor_is_refused(more: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        inspect_poisoning(packed(training(), **more), seed=1)


def test_rows_are_taken_out_where_nobody_is_named() -> None:
    made = quarantine_rows(packed(training(poisoned=24)), seed=1)
    assert {one.by for one in made.report.rows} == {""}
    assert (made.kept, made.before.contributors, made.after.contributors) == (376, (), ())


def test_nothing_suspicious_makes_no_table() -> None:
    made = quarantine_rows(packed(training()), seed=1)
    assert (made.table, made.report.rows, made.before.suspicious) == (b"", (), False)
