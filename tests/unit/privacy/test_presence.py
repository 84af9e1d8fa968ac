"""Delta-presence: what the search finds, by counts and by trying every node in plain lines."""

import io
import itertools
import math
from collections import Counter
from fractions import Fraction
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vallum.base import GateError, InputError
from vallum.privacy import check_presence
from vallum.privacy.anonymize import (
    Hierarchy,
    Requirements,
    anonymize,
    automatic_hierarchy,
    measure_presence,
    read_hierarchy,
    unmet,
)

QUASI = ["age", "sex", "zip"]


def everybody(records: int, seed: int) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    return pl.DataFrame(
        {
            "age": rng.integers(20, 60, records) // 3 * 3,
            "sex": pl.Series(["f", "m", None]).gather(rng.integers(0, 3, records)),
            "zip": [f"1{one:02d}" for one in rng.integers(0, 12, records)],
            "ill": rng.choice(["flu", "cold", "none"], records),
        }
    )


def part(frame: pl.DataFrame, share: float, seed: int) -> pl.DataFrame:
    """Draw the private table: the old are in it more often."""
    chance = share * (0.6 + 0.8 * (frame["age"].to_numpy() > 40))
    inside = np.random.default_rng(seed).random(frame.height) < chance
    inside[0] = True
    return frame.filter(pl.Series(inside))


def plain(
    table: list[tuple], population: list[tuple], low: Fraction, high: Fraction, suppressed: int
) -> bool:
    """Tell whether a table keeps to the bounds, counted record by record."""
    here, there = Counter(table), Counter(population)
    assert set(here) <= set(there)
    for key, people in there.items():
        share = Fraction(here[key], people)
        if share > high or (share < low if low else False):
            return False
    rest = sum(people for key, people in there.items() if key not in here)
    return suppressed <= high * rest if suppressed else True


def labels(tree: Hierarchy, level: int, value: object) -> str:
    leaf = tree.leaves.index("" if value is None else str(value))
    return tree.labels[level][int(tree.codes[level][leaf])]


def loss_of_label(tree: Hierarchy, level: int, label: str) -> float:
    real = [at for at, leaf in enumerate(tree.leaves) if leaf]
    below = sum(tree.labels[level][int(tree.codes[level][at])] == label for at in real)
    if level in {0, tree.levels - 1}:
        return float(level > 0)
    return max(0.0, (below - 1) / max(1, len(real) - 1))


def every_node(
    frame: pl.DataFrame,
    population: pl.DataFrame,
    trees: dict[str, Hierarchy],
    *,
    k: int,
    low: Fraction,
    high: Fraction,
    limit: int,
) -> float:
    """Return the least loss of all nodes, or infinity."""
    best = math.inf
    mine, all_of_them = frame.select(QUASI).rows(), population.select(QUASI).rows()
    for node in itertools.product(*(range(trees[name].levels) for name in QUASI)):

        def label(record: tuple, node: tuple[int, ...] = node) -> tuple[str, ...]:
            return tuple(
                labels(trees[name], level, value)
                for name, level, value in zip(QUASI, node, record, strict=True)
            )

        rows = [label(one) for one in mine]
        there = Counter(label(one) for one in all_of_them)
        here = Counter(rows)
        held = {
            key for key, count in here.items()
            if count >= k and low * there[key] <= count <= high * there[key]
        }  # fmt: skip
        shown = [row for row in rows if row in held]
        suppressed = len(rows) - len(shown)
        if not shown or suppressed > limit:
            continue
        if not plain(shown, list(there.elements()), low, high, suppressed):
            continue
        loss = float(suppressed)
        for row, count in here.items():
            for name, level, shows in zip(QUASI, node, row, strict=True):
                if row in held:
                    loss += count * loss_of_label(trees[name], level, shows) / len(QUASI)
        best = min(best, loss / len(rows))
    return best


@given(
    records=st.integers(60, 260),
    share=st.floats(0.15, 0.7),
    k=st.integers(1, 5),
    bounds=st.sampled_from(["0:0.6", "0:1", "0.1:0.8", "0.05:0.9", "0.2:0.6", "0:0.35"]),
    suppression=st.sampled_from([0.0, 0.1, 0.3]),
    seed=st.integers(0, 10**6),
)
@settings(max_examples=40)
def test_the_search_finds_what_trying_every_node_finds(
    *, records: int, share: float, k: int, bounds: str, suppression: float, seed: int
) -> None:
    population = everybody(records, seed)
    frame = part(population, share, seed)
    if frame.height < k:
        return
    low, high = (Fraction(one) for one in bounds.split(":"))
    trees = {name: automatic_hierarchy(population[name]) for name in QUASI}
    best = every_node(
        frame, population, trees,
        k=k, low=low, high=high, limit=int(suppression * frame.height + 1e-9),
    )  # fmt: skip
    wanted = Requirements(k=k, presence=bounds, max_suppression=suppression)
    try:
        made = anonymize(frame, QUASI, wanted, population=population, method="global")
    except GateError:
        assert best == math.inf
        return
    assert made.loss == pytest.approx(best)
    assert made.optimal
    assert made.population is not None
    assert made.presence is not None
    shown = made.table.select(QUASI).rows()
    assert plain(shown, made.population.rows(), low, high, made.suppressed)
    assert min(Counter(shown).values()) >= k
    # The population is generalised by the same labels, each person by one level a column.
    assert made.population.height == population.height
    for name in QUASI:
        found = Counter(made.population[name].fill_null("").to_list())
        assert any(
            found == Counter(labels(trees[name], level, value) for value in population[name])
            for level in range(trees[name].levels)
        )
    assert unmet(made.check, wanted, (), made.presence) == []
    # The check gets there from the table, the population and the hierarchies alone, after files.
    table = pl.read_csv(io.BytesIO(made.table.write_csv().encode()))
    again = measure_presence(table, population, QUASI, made.hierarchies)
    assert again.low <= made.presence.low
    assert again.high >= made.presence.high
    assert unmet(made.check, wanted, (), measure_presence(table, made.population, QUASI)) == []


@pytest.mark.parametrize("extra", [{"l": ("distinct:2",)}, {"t": ("0.5",)}, {"l": ("entropy:2",)}])
@given(records=st.integers(120, 300), seed=st.integers(0, 10**6), low=st.booleans())
@settings(max_examples=10)
def test_it_combines_with_other_requirements(
    *, extra: dict[str, Any], records: int, seed: int, low: bool
) -> None:
    population = everybody(records, seed)
    frame = part(population, 0.4, seed)
    bounds = "0.1:0.7" if low else "0:0.7"
    wanted = Requirements(k=2, presence=bounds, max_suppression=0.2, **extra)
    try:
        made = anonymize(frame, QUASI, wanted, sensitive=["ill"], population=population)
    except GateError as error:
        assert "independent" not in error.message  # noqa: PT017 - it may find none, never a wrong one
        return
    assert made.method == "global"
    assert made.population is not None
    least, most = (Fraction(one) for one in bounds.split(":"))
    shown = made.table.select(QUASI).rows()
    assert plain(shown, made.population.rows(), least, most, made.suppressed)
    values: dict[tuple, set[str]] = {}
    for *key, ill in made.table.select([*QUASI, "ill"]).rows():
        values.setdefault(tuple(key), set()).add(ill)
    if "l" in extra:
        assert min(len(one) for one in values.values()) >= 2


def test_presence_is_the_share_of_each_class() -> None:
    population = pl.DataFrame({"q": ["a"] * 10 + ["b"] * 4 + [None] * 2 + ["c"] * 5})
    table = pl.DataFrame({"q": ["a"] * 3 + ["b"] * 4 + [None]})
    found = check_presence(table, population, ["q"])
    assert (found.low, found.high, found.classes, found.absent) == (0.0, 1.0, 4, 1)
    without = population.filter(pl.col("q").ne_missing("c") & pl.col("q").ne_missing("b"))
    found = check_presence(table.filter(pl.col("q").ne_missing("b")), without, ["q"])
    assert (found.low, found.high, found.absent) == (0.3, 0.5, 0)
    floats = pl.DataFrame({"q": [5.0, 5.0]})
    assert check_presence(pl.DataFrame({"q": [5]}), floats, ["q"]).high == 0.5


def test_a_table_that_tells_who_is_in_it_fails_the_count() -> None:
    tree = read_hierarchy(b"20;young;*\n25;young;*\n50;old;*\n55;old;*\n")
    population = pl.DataFrame({"age": [20, 25, 20, 25, 50, 55] * 4})
    table = pl.DataFrame({"age": ["old"] * 8})
    found = measure_presence(table, population, ["age"], {"age": tree})
    assert (found.low, found.high, found.absent) == (0.0, 1.0, 1)
    made = anonymize(
        pl.DataFrame({"age": [50, 55] * 4}), ["age"], Requirements(k=2, presence="0.1:0.9"),
        population=population, hierarchies={"age": tree},
    )  # fmt: skip
    assert made.table["age"].to_list() == ["*"] * 8
    assert made.presence is not None
    assert made.presence.low == made.presence.high == pytest.approx(1 / 3)
    assert unmet(made.check, Requirements(k=2, presence="0.4:0.9"), (), made.presence)
    assert unmet(made.check, Requirements(k=2, presence="0.1:0.9"), ())  # not counted, not met


def test_who_is_left_out_hides_among_those_of_whom_nobody_is_shown() -> None:
    # The four of class b are all in the table. Leaving them out while nobody else is missing would
    # tell it: the report counts four left out, and four people are of no class that is shown.
    tree = read_hierarchy(b"a;a;*\nb;b;*\n")
    population = pl.DataFrame({"q": ["a"] * 96 + ["b"] * 4})
    table = pl.DataFrame({"q": ["a"] * 40 + ["b"] * 4})
    made = anonymize(
        table, ["q"], Requirements(k=2, presence="0:0.8", max_suppression=0.5),
        population=population, hierarchies={"q": tree},
    )  # fmt: skip
    assert made.suppressed == 0
    assert made.table["q"].unique().to_list() == ["*"]


GOOD = pl.DataFrame({"age": [20, 30, 40, 50] * 10})
PRIVATE = GOOD.head(12)


@pytest.mark.parametrize(
    ("bounds", "population", "change", "code"),
    [
        ("0.8:0.1", GOOD, {}, "privacy.presence"),
        ("-0.1:0.5", GOOD, {}, "privacy.presence"),
        ("0.1:1.5", GOOD, {}, "privacy.presence"),
        ("nan:0.5", GOOD, {}, "privacy.presence"),
        ("0.1", GOOD, {}, "privacy.presence"),
        ("0.1:0.2:0.3", GOOD, {}, "privacy.presence"),
        ("0.1:0.1234567", GOOD, {}, "privacy.presence"),
        ("0.1:0.8", None, {}, "privacy.presence"),
        ("", GOOD, {}, "privacy.presence"),
        ("0.1:0.8", GOOD, {"method": "local"}, "privacy.method"),
        ("0.1:0.8", GOOD, {"method": "mondrian"}, "privacy.method"),
        ("0.1:0.8", GOOD.rename({"age": "years"}), {}, "privacy.population"),
        ("0.1:0.8", GOOD.head(0), {}, "privacy.empty"),
        ("0.1:0.8", GOOD.select(pl.col("age").implode()), {}, "privacy.population"),
        ("0.1:0.8", GOOD.head(8), {}, "privacy.population"),
        ("0.1:0.8", GOOD.with_columns(age=pl.lit(20)), {}, "hierarchy.value"),
        ("0.1:0.2", GOOD, {}, "gate.anonymity"),
        ("0.4:0.5", GOOD, {}, "gate.anonymity"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(
    bounds: str, population: pl.DataFrame | None, change: dict[str, Any], code: str
) -> None:
    wanted = Requirements(k=2, presence=bounds)
    with pytest.raises((InputError, GateError)) as caught:
        anonymize(PRIVATE, ["age"], wanted, population=population, **change)
    assert caught.value.code == code


@pytest.mark.parametrize(
    ("table", "population", "code"),
    [
        (pl.DataFrame({"x": ["*"]}), GOOD, "privacy.column"),
        (pl.DataFrame({"age": ["*"]}), pl.DataFrame({"x": [1]}), "privacy.population"),
        (pl.DataFrame({"age": ["young", "20"]}), GOOD, "privacy.presence"),  # two levels
        (pl.DataFrame({"age": ["young"]}), pl.DataFrame({"age": [20, 21]}), "hierarchy.value"),
        (pl.DataFrame({"age": ["young"] * 30}), GOOD, "privacy.population"),
    ],
)
def test_a_count_that_cannot_be_made_is_refused(
    table: pl.DataFrame, population: pl.DataFrame, code: str
) -> None:
    tree = read_hierarchy(b"20;young;*\n30;young;*\n40;old;*\n50;old;*\n")
    with pytest.raises(InputError) as caught:
        measure_presence(table, population, ["age"], {"age": tree})
    assert caught.value.code == code
