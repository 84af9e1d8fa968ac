"""Randomised smoothing: classify by vote under Gaussian noise, with a radius that is certain.

If a class wins with probability at least p > 1/2 under noise of deviation sigma, no change of the
record shorter than sigma * quantile(p) in L2 changes what the vote converges to. The bound p is
Clopper and Pearson's, so that each certificate is wrong with a probability of at most alpha.

Source: Cohen, Rosenfeld and Kolter 2019; input transformations below, Xu, Evans and Qi 2018.
"""

import functools
import math
import statistics
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vallum.base import GateError, InputError
from vallum.defend.features import Floats
from vallum.defend.poisoning import Scorer

ABSTAINS = -1
MAX_DRAWS = 1_000_000
_BATCH = 1024
_HALVINGS = 60


@dataclass(frozen=True, slots=True)
class Certified:
    """What smoothing says of each record.

    Attributes:
        classes: The winner, or -1 where no certificate can be given (n,).
        radii: L2 radius within which it stays, in units of the input; 0 where it abstains (n,).
    """

    classes: NDArray[np.intp]
    radii: Floats


@dataclass(frozen=True, slots=True)
class SmoothedModel:
    """A model that votes under noise; a `Scorer` itself, of shares of votes.

    Attributes:
        model: Best trained under the same noise.
        sigma: Deviation of the noise, > 0, in units of the input.
        seed: Of the noise; the same records get the same votes.
        votes: Draws of a plain prediction.
    """

    model: Scorer
    sigma: float
    seed: int = 0
    votes: int = 100

    def predict(self, x: NDArray[np.float32]) -> Floats:
        """Return shares of votes (n, c)."""
        counted = _count(self, x, self.votes, np.random.default_rng(self.seed))
        shares: Floats = counted / self.votes
        return shares


def certify(
    model: SmoothedModel,
    x: NDArray[np.float32],
    *,
    draws: int = 10_000,
    first: int = 100,
    alpha: float = 0.001,
    rng: np.random.Generator | None = None,
) -> Certified:
    """Return the class of each record and the radius within which nothing changes it.

    Args:
        model: To be certified.
        x: Records (n, ...), float32.
        draws: Noisy copies of each record that the bound counts, >= 100.
        first: Copies that choose the class beforehand, >= 10.
        alpha: Chance for each record that its certificate is wrong, 0 < alpha < 1.
        rng: Of the noise; from the model's seed, if not given.

    Raises:
        InputError: A parameter is out of range.
        GateError: The model answers no scores.
    """
    if not model.sigma > 0:
        raise InputError(f"`sigma` must be positive, got {model.sigma:g}", code="defend.smoothing")
    if not (100 <= draws <= MAX_DRAWS and first >= 10):  # noqa: PLR2004 - as documented
        raise InputError("`draws` must be at least 100, `first` 10", code="defend.smoothing")
    if not 0 < alpha < 1:
        raise InputError(f"`alpha` must be between 0 and 1, got {alpha:g}", code="defend.smoothing")
    rng = np.random.default_rng(model.seed) if rng is None else rng
    chosen = _count(model, x, first, rng).argmax(axis=1)
    counted = _count(model, x, draws, rng)[np.arange(len(x)), chosen]
    classes = chosen.astype(np.intp)
    radii = np.zeros(len(x))
    normal = statistics.NormalDist()
    for at, wins in enumerate(counted):
        least = lower_bound(int(wins), draws, alpha)
        if least > 0.5:  # noqa: PLR2004 - a majority
            radii[at] = model.sigma * normal.inv_cdf(least)
        else:
            classes[at] = ABSTAINS
    return Certified(classes, radii)


def lower_bound(wins: int, draws: int, alpha: float) -> float:
    """Return Clopper and Pearson's lower bound of a chance, wrong with at most `alpha`.

    It is the chance p at which so many wins or more come with a probability of `alpha`.
    """
    if wins == 0:
        return 0.0
    if wins == draws:
        return float(alpha ** (1 / draws))
    low, high = 0.0, wins / draws
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if _tail(wins, draws, middle) < alpha else (low, middle)
    return low


def _tail(wins: int, draws: int, p: float) -> float:
    """Return the chance of `wins` or more in `draws`, by its logarithms."""
    if p <= 0:
        return 0.0
    k = np.arange(wins, draws + 1)
    logs = _log_factorials(draws)
    terms = logs[-1] - logs[k] - logs[draws - k] + k * math.log(p) + (draws - k) * math.log1p(-p)
    top = float(terms.max())
    return math.exp(top) * float(np.exp(terms - top).sum())


@functools.lru_cache(maxsize=4)
def _log_factorials(count: int) -> Floats:
    return np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, count + 1)))])


def _count(
    model: SmoothedModel, x: NDArray[Any], draws: int, rng: np.random.Generator
) -> NDArray[np.intp]:
    """Return votes for each class (n, c)."""
    counted: NDArray[np.intp] | None = None
    for at, record in enumerate(np.asarray(x, dtype=np.float32)):
        left = draws
        while left:
            size = min(left, _BATCH)
            noise = rng.standard_normal((size, *record.shape), dtype=np.float32) * model.sigma
            scores = np.asarray(model.model.predict(record[None] + noise.astype(np.float32)))
            if scores.ndim != 2 or len(scores) != size or not np.isfinite(scores).all():  # noqa: PLR2004
                raise GateError("the model answers no scores", code="defend.smoothing")
            if counted is None:
                counted = np.zeros((len(x), scores.shape[1]), dtype=np.intp)
            counted[at] += np.bincount(scores.argmax(axis=1), minlength=scores.shape[1])
            left -= size
    return np.zeros((0, 2), dtype=np.intp) if counted is None else counted


@dataclass(frozen=True, slots=True)
class SqueezedModel:
    """A model that sees its input in few steps and, for images, through a median.

    Cheap, and no defence against an attacker who knows of it: who computes gradients through it
    gets past (Athalye et al. 2018). Measure it with an attack on this very object.

    Attributes:
        model: What sees the squeezed input.
        bits: Steps between 0 and 1 are 2^bits - 1, 1 to 8.
        median: Side of the window, odd; 1 for none. Records are then (n, h, w).
    """

    model: Scorer
    bits: int = 4
    median: int = 1

    def predict(self, x: NDArray[np.float32]) -> Floats:
        """Return the model's scores of the squeezed input (n, c)."""
        if not 1 <= self.bits <= 8 or self.median < 1 or self.median % 2 == 0:  # noqa: PLR2004
            raise InputError("`bits` must be from 1 to 8, `median` odd", code="defend.squeezing")
        steps = 2**self.bits - 1
        given = np.round(np.clip(x, 0, 1) * steps) / steps
        if self.median > 1:
            if given.ndim != 3:  # noqa: PLR2004 - images in grey
                raise InputError("a median needs records (n, h, w)", code="defend.squeezing")
            side = self.median // 2
            padded = np.pad(given, ((0, 0), (side, side), (side, side)), mode="reflect")
            windows = np.lib.stride_tricks.sliding_window_view(
                padded, (self.median, self.median), axis=(1, 2)
            )
            given = np.median(windows, axis=(-2, -1))
        return np.asarray(self.model.predict(given.astype(np.float32)), dtype=np.float64)
