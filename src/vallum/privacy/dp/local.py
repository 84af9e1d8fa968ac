"""Local randomisation: each cell gets its own noise before it leaves the device that holds it.

Whoever receives a column sees no true value, and learns about all of them together. A row counts
as one person; neighbouring tables differ in the value of one cell. Categories and bounds are
declared, never read from the data, and every random draw is one of OpenDP's (see `noise`).

Sources: Warner 1965 and Kairouz, Oh and Viswanath 2014 (randomised response over k categories);
Wang, Blocki, Li and Jha, USENIX Security 2017 (its unbiased frequencies); Wilson 1927 (interval of
a share); Dwork, McSherry, Nissim and Smith 2006 (Laplace); Canonne, Kamath and Steinke 2020
(discrete Gaussian).
"""

import decimal
import math
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from statistics import NormalDist
from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from vallum.base import InputError
from vallum.privacy.dp.cost import ZERO, Cost, rho_of_epsilon
from vallum.privacy.dp.cost import decimal as parameter
from vallum.privacy.dp.noise import Noise, additive, coins, noisy
from vallum.schema import Record

MAX_EPSILON = Decimal(20)  # beyond it an answer is false once in 10^8 times: no protection
MIN_EPSILON = Decimal("0.000001")
MAX_CATEGORIES = 10_000
MAX_DELTA = Decimal("0.001")  # of each row: more would leave one in a thousand in the clear
_MAX_MAGNITUDE = 2.0**53
_STEPS = 2**30  # of a column's range: rounding costs 2^-31 of it, noise at least a twentieth
_CHUNK = 2**16
_EXP = decimal.Context(prec=60)
_NEARLY_ONE = 1 - Decimal("1e-50")


class Estimate(Record, frozen=True):
    """A figure of the people asked, taken from their randomised answers.

    Attributes:
        value: Unbiased, so a share may come out below 0 or above 1.
        low: Lower end of the interval, cut to what is possible.
        high: Its upper end.
    """

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class RandomizedResponse:
    """Each answer is, with a fixed chance, replaced by a category drawn evenly.

    Attributes:
        categories: All that an answer may be.
        replaced: The chance that it is drawn instead, 0 < replaced < 1.
        cost: Of one answer.
        other: Category that stands for values outside; empty refuses them.
        missing: Category that stands for nulls; empty refuses them.
    """

    categories: tuple[str, ...]
    replaced: float
    cost: Cost
    other: str = ""
    missing: str = ""

    @property
    def chances(self) -> tuple[Fraction, Fraction]:
        """The exact chances that an answer is the true category, and that it is a given other."""
        drawn = Fraction(self.replaced) / len(self.categories)
        return 1 - Fraction(self.replaced) + drawn, drawn

    def randomise(self, column: pl.Series) -> pl.Series:
        """Return one random answer for each value, as text.

        Raises:
            InputError: A value is outside the categories, or null, and the recipe maps neither.
        """
        texts = _texts(column)
        numbers = list(range(len(self.categories)))
        codes = texts.replace_strict(
            list(self.categories), numbers, default=None, return_dtype=pl.Int64
        )
        blank, strange = texts.is_null(), codes.is_null() & texts.is_not_null()
        _refuse_missing(column, blank, declared=bool(self.missing))
        if not self.other and (count := int(strange.sum())):
            raise InputError(
                f"{count} value(s) of `{column.name}` are not among its `categories`",
                code="mask.local",
                hint="declare them all, or `other`: the category that stands for the rest",
            )
        for where, name in ((blank, self.missing), (strange, self.other)):
            if name:
                codes = codes.set(where, self.categories.index(name))
        answers = codes.to_numpy().copy()
        replaced = coins(len(answers), self.replaced)
        answers[replaced] = self._drawn(int(replaced.sum()))
        made = pl.Series(column.name, list(self.categories), dtype=pl.String)
        return made.gather(pl.Series(answers, dtype=pl.UInt32))

    def _drawn(self, count: int) -> NDArray[np.int64]:
        """Return category numbers drawn evenly: fair bits, drawn anew where they say too much."""
        bits = (len(self.categories) - 1).bit_length()
        worth = 1 << np.arange(bits, dtype=np.int64)
        out = np.empty(count, dtype=np.int64)
        left = np.arange(count)
        while len(left):
            found = coins(len(left) * bits, 0.5).reshape(-1, bits) @ worth
            good = found < len(self.categories)
            out[left[good]] = found[good]
            left = left[~good]
        return out

    def frequencies(self, answers: pl.Series, *, confidence: float = 0.95) -> dict[str, Estimate]:
        """Return the share of each category among the people, from their answers.

        Each interval holds for one category; it counts the randomisation and the sampling of the
        people, so it is no narrower than that of the people asked alone.

        Args:
            answers: What `randomise` made, rows in any order.
            confidence: Of each interval, 0 < confidence < 1.

        Raises:
            InputError: There are none, one is not a category, or `confidence` is out of range.
        """
        z = _quantile(confidence)
        total = len(answers)
        if not total:
            raise InputError("there are no answers to estimate from", code="mask.estimate")
        known = answers.cast(pl.String).is_in(list(self.categories)).fill_null(value=False)
        if not known.all():
            raise InputError(
                "an answer is not among the categories: they were not randomised by this recipe",
                code="mask.estimate",
            )
        counts = dict(answers.cast(pl.String).alias("").value_counts().iter_rows())
        drawn = float(self.chances[1])
        spread = 1 - self.replaced

        def share(of_answers: float) -> float:
            return (of_answers - drawn) / spread

        def possible(of_answers: float) -> float:
            return min(1.0, max(0.0, share(of_answers)))

        made = {}
        for category in self.categories:
            seen = counts.get(category, 0) / total
            middle = (seen + z * z / (2 * total)) / (1 + z * z / total)
            width = math.sqrt(seen * (1 - seen) / total + (z / (2 * total)) ** 2)
            width *= z / (1 + z * z / total)
            made[category] = Estimate(
                value=share(seen), low=possible(middle - width), high=possible(middle + width)
            )
        return made


@dataclass(frozen=True, slots=True)
class BoundedNoise:
    """Each number is cut to the declared bounds and gets noise of its own.

    Attributes:
        lower: Smallest value; smaller ones are raised to it.
        upper: Largest value; larger ones are lowered to it.
        noise: For the number in steps of 2^-30 of the range.
        cost: Of one number.
        missing: What stands for nulls; None refuses them.
    """

    lower: float
    upper: float
    noise: Noise
    cost: Cost
    missing: float | None = None

    @property
    def step(self) -> float:
        """The grid that numbers are rounded to, in units of the column."""
        return (self.upper - self.lower) / _STEPS

    @property
    def deviation(self) -> float:
        """The standard deviation of the noise of one number, in units of the column."""
        root = 1.0 if self.noise.mechanism == "gaussian" else math.sqrt(2)
        return root * self.noise.scale * self.step

    def randomise(self, column: pl.Series) -> pl.Series:
        """Return each number with noise.

        Raises:
            InputError: A value is no finite number, or null and the recipe does not say what
                stands for it.
        """
        if not (column.dtype.is_numeric() or column.dtype in (pl.String, pl.Boolean, pl.Null)):
            raise InputError(f"`{column.name}` holds no numbers", code="mask.local")
        numbers = column.cast(pl.Float64, strict=False)
        wrong = int((numbers.is_null() & column.is_not_null()).sum()) + int(
            (~numbers.is_finite()).fill_null(value=False).sum()
        )
        if wrong:
            raise InputError(
                f"{wrong} value(s) of `{column.name}` are no finite numbers", code="mask.local"
            )
        _refuse_missing(column, column.is_null(), declared=self.missing is not None)
        if self.missing is not None:
            numbers = numbers.fill_null(self.missing)
        values = np.clip(numbers.to_numpy(), self.lower, self.upper)
        places = np.rint((values - self.lower) / (self.upper - self.lower) * _STEPS)
        steps = np.clip(places, 0, _STEPS).astype(np.int64)
        made = np.empty(len(steps), dtype=np.float64)
        for begin in range(0, len(steps), _CHUNK):
            chunk = steps[begin : begin + _CHUNK].tolist()
            made[begin : begin + _CHUNK] = noisy(self.noise, chunk)
        return pl.Series(column.name, self.lower + made * self.step, dtype=pl.Float64)

    def mean(self, values: pl.Series, *, confidence: float = 0.95) -> Estimate:
        """Return the mean of the people's numbers, as cut to the bounds.

        The interval is a normal approximation, for 30 values or more; it counts the noise and the
        sampling of the people.

        Args:
            values: What `randomise` made, rows in any order.
            confidence: Of the interval, 0 < confidence < 1.

        Raises:
            InputError: There are none, one is no finite number, or `confidence` is out of range.
        """
        z = _quantile(confidence)
        numbers = values.cast(pl.Float64, strict=False)
        if not len(numbers) or not numbers.is_finite().fill_null(value=False).all():
            raise InputError("the values to estimate from must be numbers", code="mask.estimate")
        found = numbers.to_numpy()
        value = float(found.mean())
        deviation = max(self.deviation, float(found.std(ddof=1)) if len(found) > 1 else 0.0)
        width = z * deviation / math.sqrt(len(found)) + self.step / 2
        low, high = max(self.lower, value - width), min(self.upper, value + width)
        return Estimate(value=value, low=min(low, self.upper), high=max(high, self.lower))


def randomized_response(
    categories: Sequence[str], *, epsilon: float, other: str = "", missing: str = ""
) -> RandomizedResponse:
    """Return randomised response with the least replacement that keeps to `epsilon`.

    The loss is ln(1 + k (1 - r) / r) for k categories and the chance r of a replacement; r is
    rounded up, and the loss is at most `epsilon` in exact arithmetic.

    Args:
        categories: All that an answer may be, 2 to 10,000, none empty.
        epsilon: Loss of one answer, 0.000001 to 20.
        other: Category that stands for values outside; empty refuses them.
        missing: Category that stands for nulls; empty refuses them.

    Raises:
        InputError: One of them is out of range.
    """
    count = len(categories)
    if not 1 < count <= MAX_CATEGORIES or len(set(categories)) != count or "" in categories:
        raise InputError(
            f"`categories` must be 2 to {MAX_CATEGORIES} different texts", code="mask.local"
        )
    for what, name in (("other", other), ("missing", missing)):
        if name and name not in categories:
            raise InputError(f"`{what}` must be one of the `categories`", code="mask.local")
    loss = _loss(epsilon)
    growth = Fraction(_EXP.multiply(_EXP.exp(loss), _NEARLY_ONE))
    least = Fraction(count) / (growth + count - 1)
    replaced = float(least)
    while Fraction(replaced) < least:
        replaced = math.nextafter(replaced, math.inf)
    return RandomizedResponse(
        tuple(categories), replaced, Cost(epsilon=_text(loss)), other, missing
    )


def bounded_noise(
    mechanism: Literal["laplace", "gaussian"],
    *,
    lower: float,
    upper: float,
    epsilon: float = 0.0,
    rho: float = 0.0,
    delta: float = 0.0,
    missing: float | None = None,
) -> BoundedNoise:
    """Return noise for numbers between two bounds.

    Args:
        mechanism: `laplace` spends `epsilon`; `gaussian` spends `rho`, or `epsilon` and `delta`.
        lower: Smallest value that counts.
        upper: Largest value that counts.
        epsilon: Loss of one number, 0.000001 to 20.
        rho: Zero-concentrated loss of one number, up to 200.
        delta: Chance that `epsilon` does not hold, up to 0.001.
        missing: What stands for nulls, within the bounds; None refuses them.

    Raises:
        InputError: One of them is out of range, or does not belong to the mechanism.
        UnavailableError: The extra `dp` is not installed.
    """
    if not (abs(lower) <= _MAX_MAGNITUDE and abs(upper) <= _MAX_MAGNITUDE):
        raise InputError("`lower` and `upper` must be numbers within ±2^53", code="mask.local")
    if not (upper - lower) / _STEPS > 0:
        raise InputError("`lower` must be below `upper`", code="mask.local")
    if missing is not None and not lower <= missing <= upper:
        raise InputError("`missing` must be within the bounds", code="mask.local")
    if mechanism == "laplace":
        if rho or delta:
            raise InputError("`laplace` spends `epsilon` alone", code="mask.local")
        loss = _loss(epsilon)
        noise = additive(_STEPS, epsilon=loss, rho=ZERO)
        return BoundedNoise(lower, upper, noise, Cost(epsilon=_text(loss)), missing)
    if rho and not (epsilon or delta):
        spent = _parameter(rho, "rho", MAX_EPSILON**2 / 2)
        cost = Cost(rho=_text(spent))
    elif epsilon and delta and not rho:
        slack = _parameter(delta, "delta", MAX_DELTA)
        loss = _loss(epsilon)
        spent = Decimal(rho_of_epsilon(float(loss), float(slack)))
        cost = Cost(epsilon=_text(loss), delta=_text(slack))
    else:
        raise InputError(
            "`gaussian` spends `rho`, or `epsilon` and `delta`; nothing else",
            code="mask.local",
            hint="rho: 0.5",
        )
    if spent < MIN_EPSILON**2 / 2:
        raise InputError("so small a loss leaves nothing but noise", code="mask.local")
    return BoundedNoise(lower, upper, additive(_STEPS, epsilon=ZERO, rho=spent), cost, missing)


def _loss(epsilon: float) -> Decimal:
    loss = _parameter(epsilon, "epsilon", MAX_EPSILON)
    if loss < MIN_EPSILON:
        raise InputError("so small a loss leaves nothing but noise", code="mask.local")
    return loss


def _parameter(number: float, what: str, most: Decimal) -> Decimal:
    if not 0 < number <= most:
        raise InputError(
            f"a local {what} must be above 0 and at most {most:f}, got `{number:g}`",
            code="mask.local",
            hint="an epsilon of 1 is strong and one of 4 weak; beyond, there is no protection",
        )
    return parameter(repr(float(number)), what, positive=True)


def _text(number: Decimal) -> str:
    return f"{number.normalize():f}"


def _texts(column: pl.Series) -> pl.Series:
    try:
        return column.cast(pl.String)
    except pl.exceptions.PolarsError as error:
        raise InputError(f"`{column.name}` holds no text", code="mask.local") from error


def _refuse_missing(column: pl.Series, blank: pl.Series, *, declared: bool) -> None:
    count = int(blank.sum())
    if count and not declared:
        raise InputError(
            f"{count} value(s) of `{column.name}` are missing, which would be told as it is",
            code="mask.local",
            hint="declare `missing`: what stands for them, so that it is randomised too",
        )


def _quantile(confidence: float) -> float:
    if not 0 < confidence < 1:
        raise InputError("`confidence` is between 0 and 1", code="mask.estimate")
    return NormalDist().inv_cdf((1 + confidence) / 2)
