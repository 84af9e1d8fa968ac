"""Groups within a class that share something no other class has: triggers, in any shape.

A trigger is a direction in which the rest of the data hardly varies and one class falls into two.
Each class is therefore seen in the units of the rest's covariance, where its largest axes are
searched for a mixture of two. A natural sub-class varies where other classes vary too.

Source: Tran, Li, Madry 2018 (spectral signatures) and Hayase et al. 2021 (SPECTRE), with the other
classes in place of a robust estimate of the clean part.
"""

from dataclasses import dataclass

import numpy as np

from vallum.defend.conflict import Codes, Rows
from vallum.defend.features import Floats

_AXES = 4
_RIDGE = 0.02
_STARTS = (0.1, 0.3, 0.5, 0.7, 0.9)
_STEPS = 40
_FLOOR = 0.01
"""Smallest variance of a part, of the whole's: a column of few values is not a spike."""
MIN_ROWS = 5
_TURNS = 3
_DRAWN = 100.0
"""Rows that the other classes' covariance counts for."""
_MINORITY = 0.45
_ALIKE = 0.7


@dataclass(frozen=True, slots=True)
class Group:
    """A part of one class.

    Attributes:
        of: The class's code.
        share: Probability of belonging to it, per row of the data (n,).
        gain: Log-likelihood per row of the class that two parts explain beyond one.
        apart: Distance of the two means in standard deviations of the parts.
        excess: Variance of the class along the axis, in units of the other classes' variance.
        reach: Distance of the two means, in standard deviations of the other classes.
        axis: Features' weights along the axis (k,).
        pattern: What the axis adds to features (k,).
    """

    of: int
    share: Floats
    gain: float
    apart: float
    excess: float
    reach: float
    axis: Floats
    pattern: Floats

    def members(self) -> Rows:
        """Return the rows that rather belong than not (n,)."""
        found: Rows = self.share > 0.5  # noqa: PLR2004
        return found

    def share_of(self, y: Codes) -> float:
        """Return the part of its class that it makes up."""
        return float(self.members().sum() / (y == self.of).sum())

    def without(self, z: Floats) -> Floats:
        """Return `z` with the axis taken out: what is left of a row without its trigger."""
        return z - (z @ self.axis)[:, None] * self.pattern


@dataclass(frozen=True, slots=True)
class _Class:
    """A class in the units of the others' covariance."""

    of: int
    own: Rows
    rest: Rows
    white: Floats
    seen: Floats

    def along(self, axis: Floats) -> Group | None:
        """Return the part of the class that lies apart along `axis`."""
        part = _part(self.seen, self.own, self.rest, axis)
        if part is None:
            return None
        share, gain, apart, reach = part
        return Group(
            of=self.of,
            share=share,
            gain=gain,
            apart=apart,
            reach=reach,
            excess=float((self.seen[self.own] @ axis).var()),
            axis=self.white @ axis,
            pattern=axis @ np.linalg.inv(self.white),
        )


def find_groups(z: Floats, y: Codes, classes: int, *, excluded: Rows) -> list[Group]:
    """Return distinct parts of classes, those that stand out most first."""
    found: list[Group | None] = []
    for one in range(classes):
        of = _whitened(z, y, one, excluded)
        if of is None:
            continue
        values, axes = np.linalg.eigh(np.atleast_2d(np.cov(of.seen[of.own].T)))
        for place in range(1, min(_AXES, len(values)) + 1):
            found += [of.along(axis) for axis in _refined(of.seen[of.own], axes[:, -place])]
    return _distinct([one for one in found if one is not None])


def find_around(z: Floats, y: Codes, rows: Rows, *, excluded: Rows) -> list[Group]:
    """Return parts of the class of `rows` along the axis that tells them from the rest of it."""
    of = _whitened(z, y, int(y[rows][0]), excluded)
    if of is None or rows.sum() < MIN_ROWS or (of.own & ~rows).sum() < MIN_ROWS:
        return []
    own = of.seen[of.own]
    axis = _between(own, rows[of.own].astype(np.float64))
    if axis is None:
        return []
    return _distinct([one for at in _refined(own, axis) if (one := of.along(at)) is not None])


def _whitened(z: Floats, y: Codes, one: int, excluded: Rows) -> _Class | None:
    own, rest = (y == one) & ~excluded, (y != one) & ~excluded
    if own.sum() < 2 * MIN_ROWS or rest.sum() < 2 * MIN_ROWS:
        return None
    spread = np.atleast_2d(np.cov(z[rest].T))
    spread = spread + np.eye(z.shape[1]) * max(_RIDGE * np.trace(spread) / len(spread), 1e-9)
    white = np.linalg.cholesky(np.linalg.inv(spread))
    return _Class(one, own, rest, white, (z - np.median(z[own], axis=0)) @ white)


def _distinct(found: list[Group]) -> list[Group]:
    distinct: list[Group] = []
    for group in sorted(found, key=lambda one: -one.gain * min(one.apart, 8.0)):
        members = group.members()
        alike = (
            (members & other.members()).sum() > _ALIKE * (members | other.members()).sum()
            for other in distinct
        )
        if not any(alike):
            distinct.append(group)
    return distinct


def _refined(own: Floats, axis: Floats) -> list[Floats]:
    """Return the axis, and the one that tells its two parts apart best.

    The parts' covariance is drawn towards that of the other classes, which is the identity here:
    with few rows a direction that separates any two parts exists.
    """
    turned = axis
    for _ in range(_TURNS):
        split = two_parts(own @ turned)
        if split is None:
            return [axis]
        share = split[0]
        if min(share.sum(), (1 - share).sum()) < MIN_ROWS:
            return [axis]
        between = _between(own, share)
        if between is None:
            return [axis]
        turned = between
    return [axis, turned]


def _between(own: Floats, share: Floats) -> Floats | None:
    """Return the axis that tells the part of `share` from the rest of its class best."""
    second = share @ own / share.sum()
    first = (1 - share) @ own / (1 - share).sum()
    centred = own - np.outer(share, second) - np.outer(1 - share, first)
    spread = centred.T @ centred + _DRAWN * np.eye(own.shape[1])
    axis: Floats = np.linalg.solve(spread, second - first)
    length = float(np.linalg.norm(axis))
    return axis / length if length > 0 else None


def _part(
    seen: Floats, own: Rows, rest: Rows, axis: Floats
) -> tuple[Floats, float, float, float] | None:
    """Return the probability of having something added, the gain and two distances."""
    along = seen @ axis
    split = two_parts(along[own])
    if split is None:
        return None
    share, gain, means, apart = split
    # The part farther from where other classes lie has it; a clear minority has it anyway.
    middle = float(np.median(along[rest]))
    second = abs(means[1] - middle) > abs(means[0] - middle)
    if min(share.sum(), (1 - share).sum()) < _MINORITY * len(share):
        second = share.sum() < (1 - share).sum()
    whole = np.zeros(len(seen))
    whole[own] = share if second else 1 - share
    if (whole > 0.5).sum() < MIN_ROWS:  # noqa: PLR2004
        return None
    return whole, gain, apart, abs(means[1] - means[0])


def two_parts(along: Floats) -> tuple[Floats, float, tuple[float, float], float] | None:
    """Fit two normal distributions in one dimension.

    Returns:
        The second part's probability per value, gain per value over one distribution, the means,
        and their distance in standard deviations; None where all values are equal.
    """
    variance = float(along.var())
    if variance <= 0:
        return None
    share = (along[None] > np.quantile(along, _STARTS)[:, None]).astype(np.float64)
    step = 0
    while True:
        parts = np.stack([1 - share, share])  # (2, starts, n)
        weight = parts.sum(axis=2) + 1e-9
        mean = (parts * along).sum(axis=2) / weight
        spread = (parts * (along - mean[..., None]) ** 2).sum(axis=2) / weight + _FLOOR * variance
        density = (
            np.log(weight / len(along))[..., None]
            - 0.5 * np.log(spread)[..., None]
            - 0.5 * (along - mean[..., None]) ** 2 / spread[..., None]
        )
        total = np.logaddexp(density[0], density[1])
        share = np.exp(density[1] - total)
        step += 1
        if step == _STEPS:
            break
    likelihood = total.mean(axis=1)
    best = int(likelihood.argmax())
    single = -0.5 - 0.5 * float(np.log(variance))
    apart = abs(mean[0, best] - mean[1, best]) / float(np.sqrt(spread[:, best].mean()))
    return (
        share[best],
        float(likelihood[best] - single),
        (float(mean[0, best]), float(mean[1, best])),
        float(apart),
    )
