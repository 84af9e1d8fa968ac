"""Local randomisation: the loss is proved exactly, estimates are unbiased, nothing slips through.

No test is seeded: each bound fails less than once in a billion runs.
"""

import datetime as dt
import math
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vallum.base import InputError
from vallum.privacy import local_costs, local_mechanism, mask_table, parse_recipe, unmask_table
from vallum.privacy.dp import BoundedNoise, RandomizedResponse, bounded_noise, randomized_response
from vallum.privacy.dp.noise import coins
from vallum.privacy.recipe import Masking, Recipe

dp = pytest.importorskip("opendp.prelude", reason="the extra `dp` is not installed")

KEY = bytes(range(32))
SURE = 1 - 1e-9
ROWS = 200_000


def sigmas(found: float, expected: float, deviation: float) -> float:
    return abs(found - expected) / deviation


@given(
    count=st.integers(2, 200),
    epsilon=st.floats(1e-6, 20).map(lambda one: round(one, 9)).filter(lambda one: one >= 1e-6),
)
def test_the_loss_of_randomised_response_is_at_most_epsilon_and_hardly_less(
    count: int, epsilon: float
) -> None:
    made = randomized_response([f"c{at}" for at in range(count)], epsilon=epsilon)
    true, drawn = made.chances
    assert true + (count - 1) * drawn == 1
    assert true > drawn > 0
    ratio = true / drawn  # of any answer under any two true values, at most
    growth = Decimal(repr(epsilon)).exp()  # rounded to 28 digits
    assert ratio <= Fraction(growth) * (1 + Fraction(1, 10**26))
    assert math.log(ratio) == pytest.approx(epsilon, rel=1e-8, abs=1e-12)


def test_the_loss_is_that_of_opendps_own_randomised_response() -> None:
    dp.enable_features("contrib")
    for count, epsilon in ((2, 0.1), (2, 1.0), (5, 1.0), (30, 3.0)):
        made = randomized_response([str(at) for at in range(count)], epsilon=epsilon)
        theirs = dp.m.make_randomized_response(
            [str(at) for at in range(count)], float(made.chances[0])
        )
        assert theirs.map(1) == pytest.approx(epsilon, rel=1e-12)


@pytest.mark.parametrize("chance", [0.5, 0.01, 0.3, 0.97])
def test_coins_fall_as_often_as_they_should(chance: float) -> None:
    found = coins(ROWS, chance)
    assert len(found) == ROWS
    assert sigmas(found.mean(), chance, math.sqrt(chance * (1 - chance) / ROWS)) < 6.5
    both = (found[1:] & found[:-1]).mean()  # neighbours are independent
    assert sigmas(both, chance**2, math.sqrt(3 * chance / ROWS)) < 6.5
    assert len(coins(0, chance)) == 0
    assert len(coins(13, chance)) == 13


@pytest.mark.parametrize(("count", "epsilon"), [(2, 1.0), (5, 0.5), (7, 3.0), (64, 2.0)])
def test_answers_follow_the_exact_chances(count: int, epsilon: float) -> None:
    names = [f"c{at}" for at in range(count)]
    made = randomized_response(names, epsilon=epsilon)
    answers = made.randomise(pl.Series("c", ["c1"] * ROWS))
    true, drawn = (float(one) for one in made.chances)
    counts = dict(answers.value_counts().iter_rows())
    for name in names:
        chance = true if name == "c1" else drawn
        deviation = math.sqrt(ROWS * chance * (1 - chance))
        assert sigmas(counts.get(name, 0), ROWS * chance, deviation) < 7


def test_frequencies_are_within_their_intervals() -> None:
    names = ["a", "b", "c", "d"]
    shares = np.array([0.6, 0.3, 0.1, 0.0])
    column = pl.Series("c", np.repeat(names, (shares * ROWS).astype(int)))
    made = randomized_response(names, epsilon=1)
    found = made.frequencies(made.randomise(column), confidence=SURE)
    for name, share in zip(names, shares, strict=True):
        assert found[name].low <= share <= found[name].high
        assert found[name].low <= min(1, max(0, found[name].value)) <= found[name].high
        assert found[name].high - found[name].low < 0.06
    assert sum(one.value for one in found.values()) == pytest.approx(1)


def test_intervals_of_95_percent_cover_about_as_often() -> None:
    runs, people = 400, 500
    answers = randomized_response(["no", "yes"], epsilon=1)
    truth = pl.Series("c", ["yes"] * (people // 5) + ["no"] * (people - people // 5))
    number = bounded_noise("laplace", lower=0, upper=10, epsilon=1)
    values = pl.Series("v", [float(at % 5) for at in range(people)])
    shares = [answers.frequencies(answers.randomise(truth))["yes"] for _ in range(runs)]
    means = [number.mean(number.randomise(values)) for _ in range(runs)]
    for found, true in ((shares, 0.2), (means, 2.0)):
        covered = sum(one.low <= true <= one.high for one in found)
        # Of 400 at 95 %, fewer than 345 happen less than once in 10^9 runs (Chernoff).
        assert covered >= 345
        average = sum(one.value for one in found) / runs
        spread = float(np.std([one.value for one in found]))
        assert sigmas(average, true, spread / math.sqrt(runs)) < 7


@pytest.mark.parametrize(
    "spent",
    [
        {"mechanism": "laplace", "epsilon": 1.0},
        {"mechanism": "gaussian", "rho": 0.5},
        {"mechanism": "gaussian", "epsilon": 2.0, "delta": 1e-6},
    ],
)
def test_means_are_within_their_intervals_and_values_are_cut(spent: dict[str, Any]) -> None:
    made = bounded_noise(lower=-10, upper=30, **spent)
    column = pl.Series("v", [-1e9, 5.0, 1e9, 30.0] * (ROWS // 4))  # cut: -10, 5, 30, 30
    noisy = made.randomise(column)
    found = made.mean(noisy, confidence=SURE)
    assert found.low <= 13.75 <= found.high
    assert found.high - found.low < 14 * made.deviation / math.sqrt(ROWS)
    # No value stays: of 2^30 steps the same one hardly comes back.
    assert (noisy == column).sum() < 5
    spread = float(np.std(noisy.to_numpy()[1::4]))
    assert spread == pytest.approx(made.deviation, rel=0.05)
    if spent["mechanism"] == "laplace":
        assert made.deviation == pytest.approx(math.sqrt(2) * 40, rel=1e-6)
    elif "rho" in spent:
        assert made.deviation == pytest.approx(40, rel=1e-6)


@settings(max_examples=20)
@given(st.floats(1e-4, 20), st.sampled_from(["laplace", "gaussian"]))
def test_the_map_proves_the_loss_of_a_whole_range(loss: float, mechanism: str) -> None:
    loss = round(loss, 6)
    spent = {"epsilon": loss} if mechanism == "laplace" else {"rho": loss}
    made = bounded_noise(mechanism, lower=0, upper=1, **spent)  # type: ignore[arg-type]
    # The whole range is 2^30 steps: what one row can move.
    assert made.noise.release.map(2**30 if mechanism == "laplace" else 2.0**30) <= loss  # type: ignore[attr-defined]


BAD: list[tuple[dict[str, Any], str]] = [
    ({"categories": ("a",), "epsilon": 1.0}, "2 to 10000 different"),
    ({"categories": ("a", "a"), "epsilon": 1.0}, "different texts"),
    ({"categories": ("a", ""), "epsilon": 1.0}, "different texts"),
    ({"categories": ("a", "b")}, "epsilon must be above 0"),
    ({"categories": ("a", "b"), "epsilon": -1.0}, "epsilon must be above 0"),
    ({"categories": ("a", "b"), "epsilon": float("nan")}, "epsilon must be above 0"),
    ({"categories": ("a", "b"), "epsilon": 25.0}, "at most 20, got"),
    ({"categories": ("a", "b"), "epsilon": 1e-7}, "nothing but noise"),
    ({"categories": ("a", "b"), "epsilon": 1.0, "rho": 1.0}, "`epsilon` alone"),
    ({"categories": ("a", "b"), "epsilon": 1.0, "other": "c"}, "`other` must be one"),
    ({"categories": ("a", "b"), "epsilon": 1.0, "missing": "c"}, "`missing` must be one"),
    ({"categories": ("a", "b"), "epsilon": 1.0, "missing": 3.0}, "`missing` must be one"),
]
BAD_NUMBERS: list[tuple[dict[str, Any], str]] = [
    ({"epsilon": 1.0}, "needs `lower` and `upper`"),
    ({"lower": 1.0, "upper": 1.0, "epsilon": 1.0}, "below `upper`"),
    ({"lower": 2.0, "upper": 1.0, "epsilon": 1.0}, "below `upper`"),
    ({"lower": float("nan"), "upper": 1.0, "epsilon": 1.0}, "numbers within"),
    ({"lower": 0.0, "upper": float("inf"), "epsilon": 1.0}, "numbers within"),
    ({"lower": 0.0, "upper": 1.0, "epsilon": 21.0}, "at most 20, got"),
    ({"lower": 0.0, "upper": 1.0, "epsilon": -1.0}, "epsilon must be above 0"),
    ({"lower": 0.0, "upper": 1.0, "epsilon": 1.0, "delta": 0.1}, "alone"),
    ({"lower": 0.0, "upper": 1.0, "epsilon": 1.0, "missing": 2.0}, "within the bounds"),
    ({"lower": 0.0, "upper": 1.0, "epsilon": 1.0, "missing": "x"}, "within the bounds"),
]
BAD_GAUSSIAN: list[tuple[dict[str, Any], str]] = [
    ({"epsilon": 1.0}, "`rho`, or `epsilon` and `delta`"),
    ({"epsilon": 1.0, "delta": 0.1}, "delta must be above 0 and at most 0.001"),
    ({"epsilon": 1.0, "delta": -0.1}, "delta must be above 0"),
    ({"epsilon": 1.0, "delta": 1e-6, "rho": 1.0}, "nothing else"),
    ({"rho": 300.0}, "at most 200, got"),
    ({"rho": -1.0}, "rho must be above 0"),
]


@pytest.mark.parametrize(
    ("operation", "fields", "message"),
    [
        *(("randomized_response", *one) for one in BAD),
        *(("laplace", *one) for one in BAD_NUMBERS),
        *(("gaussian", {"lower": 0.0, "upper": 1.0, **one}, text) for one, text in BAD_GAUSSIAN),
        ("redact", {}, "not a local operation"),
    ],
)
def test_what_is_declared_wrongly_is_refused(
    operation: Any, fields: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message) as caught:
        local_mechanism(Masking(column="c", operation=operation, **fields))
    assert f"`{operation}` of `c`" in str(caught.value)


ANSWER = Masking(column="c", operation="randomized_response", categories=("1", "2"), epsilon=1.0)
NUMBER = Masking(column="c", operation="laplace", lower=0.0, upper=10.0, epsilon=1.0)


@pytest.mark.parametrize(
    ("masking", "values", "message"),
    [
        (ANSWER, [1, 2, 777], "1 value.s. of `c` are not among its `categories`"),
        (ANSWER, [1.0, float("nan")], "not among its `categories`"),
        (ANSWER, [1, None], "1 value.s. of `c` are missing"),
        (ANSWER, [[1], [2]], "holds no text"),
        (NUMBER, ["one", "2"], "1 value.s. of `c` are no finite numbers"),
        (NUMBER, [float("nan"), 777.0], "1 value.s. of `c` are no finite"),
        (NUMBER, [float("inf"), 777.0], "1 value.s. of `c` are no finite"),
        (NUMBER, [1.0, None], "1 value.s. of `c` are missing"),
        (NUMBER, [dt.date(2020, 1, 1)], "holds no numbers"),
        (NUMBER, [[1.0]], "holds no numbers"),
    ],
)
def test_values_that_would_stay_as_they_are_are_refused(
    masking: Masking, values: list[object], message: str
) -> None:
    made = Recipe(version="vallum.mask/1", columns=(masking,))
    with pytest.raises(InputError, match=message) as caught:
        mask_table(pl.DataFrame({"c": values}), made, key=KEY)
    assert caught.value.code == "mask.local"
    assert "777" not in str(caught.value)


@pytest.mark.parametrize(
    ("field", "hint"),
    [({"categories": [0, 1]}, "in quotes"), ({"delta": "1e-6"}, "reads 1.0e-6 as one")],
)
def test_what_yaml_reads_otherwise_is_told(field: dict[str, object], hint: str) -> None:
    column = {"column": "c", "operation": "gaussian", **field}
    with pytest.raises(InputError, match="does not fit") as caught:
        parse_recipe({"version": "vallum.mask/1", "columns": [column]})
    assert hint in caught.value.hint


def test_nulls_and_strangers_become_what_is_declared_and_are_randomised_too() -> None:
    made = randomized_response(["no", "yes", "else"], epsilon=2, other="else", missing="no")
    column = pl.Series("c", ["perhaps"] * (ROWS // 2) + [None] * (ROWS // 2))
    answers = made.randomise(column)
    assert answers.null_count() == 0
    assert set(answers.unique()) == {"no", "yes", "else"}
    found = made.frequencies(answers, confidence=SURE)
    assert found["else"].low <= 0.5 <= found["else"].high
    assert found["no"].low <= 0.5 <= found["no"].high
    assert found["yes"].low <= 0
    number = bounded_noise("laplace", lower=0, upper=10, epsilon=4, missing=7)
    noisy = number.randomise(pl.Series("v", [None] * ROWS, dtype=pl.Float64))
    mean = number.mean(noisy, confidence=SURE)
    assert mean.low <= 7 <= mean.high
    assert len(noisy.unique()) > ROWS // 2


def test_a_recipe_randomises_and_tells_the_sum() -> None:
    columns = (
        Masking(column="a", operation="randomized_response", categories=("x", "y"), epsilon=0.1),
        Masking(column="b", operation="laplace", lower=0, upper=5, epsilon=0.2),
        Masking(column="c", operation="gaussian", lower=0, upper=5, epsilon=0.5, delta=1e-6),
        Masking(column="d", operation="gaussian", lower=0, upper=5, rho=0.25),
        Masking(column="e", operation="redact"),
    )
    recipe = Recipe(version="vallum.mask/1", columns=columns)
    costs = local_costs(recipe)
    assert set(costs) == {"a", "b", "c", "d", ""}
    assert (costs[""].epsilon, costs[""].rho, costs[""].delta) == ("0.8", "0.25", "0.000001")
    assert local_costs(Recipe(version="vallum.mask/1", columns=columns[4:])) == {}
    frame = pl.DataFrame(
        {"a": ["x", "y"] * 50, "b": ["1", "4"] * 50, "c": [1, 2] * 50, "d": [0.5] * 100, "e": "z"}
    )
    made, again = (mask_table(frame, recipe, key=KEY) for _ in range(2))
    assert made.schema["b"] == made.schema["d"] == pl.Float64
    assert not made.equals(again)  # the key does not tell what was drawn
    with pytest.raises(InputError, match="can be undone") as caught:
        unmask_table(made, recipe, key=KEY)
    assert "randomised is gone" in caught.value.hint
    answers, numbers = local_mechanism(columns[0]), local_mechanism(columns[1])
    assert isinstance(answers, RandomizedResponse)
    assert isinstance(numbers, BoundedNoise)
    assert set(answers.frequencies(made["a"])) == {"x", "y"}
    assert numbers.mean(made["b"]).low >= 0


def test_dates_cannot_move_by_a_subject_that_is_drawn() -> None:
    moved = Masking(column="d", operation="date_shift", subject="c")
    frame = pl.DataFrame({"c": [1], "d": ["2020-01-01"]})
    recipe = Recipe(version="vallum.mask/1", columns=(ANSWER, moved))
    with pytest.raises(InputError, match="leaves no subject"):
        mask_table(frame, recipe, key=KEY)


def test_tables_without_rows_stay_so() -> None:
    empty = pl.Series("c", [], dtype=pl.String)
    answers, numbers = local_mechanism(ANSWER), local_mechanism(NUMBER)
    assert len(answers.randomise(empty)) == len(numbers.randomise(empty)) == 0


@pytest.mark.parametrize("values", [[], ["x"], ["1", None]])
def test_answers_of_another_recipe_are_not_estimated_from(values: list[str | None]) -> None:
    made = randomized_response(["1", "2"], epsilon=1)
    with pytest.raises(InputError) as caught:
        made.frequencies(pl.Series("c", values, dtype=pl.String))
    assert caught.value.code == "mask.estimate"
    number = bounded_noise("laplace", lower=0, upper=1, epsilon=1)
    with pytest.raises(InputError, match="must be numbers"):
        number.mean(pl.Series("c", values, dtype=pl.String))
    for confidence in (0, 1, float("nan")):
        with pytest.raises(InputError, match="confidence"):
            number.mean(pl.Series("c", [1.0]), confidence=confidence)
