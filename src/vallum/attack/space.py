"""Where a record may go: units, ranges, whole numbers, columns that stay, and one-hot groups.

An adversarial record that cannot exist proves little. Attacks on tables move in the units of a
`Space` and ask only about records that it has repaired. A repair moves towards the record that is
attacked (but for a group that changes its value), so it never makes a change larger.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from vallum.attack.predictor import (
    GradientPredictor,
    Loss,
    LossGradient,
    Predictor,
    Records,
    Scores,
)
from vallum.base import InputError

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]
Repair = Callable[[Records, Records], Records]
"""From points and the records that they belong to, (k, d) each, to points that may exist."""
_SLACK = 1e-4  # of a whole number: what float32 loses on the way into units and back


@dataclass(frozen=True, slots=True)
class Space:
    """Units of d features, and what each of them may be.

    Attributes:
        mean: Zero of the units, (d,).
        scale: One unit, > 0, (d,).
        low: Least value, in the feature's own units, (d,).
        high: Greatest value, (d,).
        whole: Takes whole numbers only, (d,).
        fixed: Never changes, (d,).
        groups: Features of which exactly one is 1 and the others are 0.
    """

    mean: Floats
    scale: Floats
    low: Floats
    high: Floats
    whole: Mask
    fixed: Mask
    groups: tuple[tuple[int, ...], ...] = ()

    @classmethod
    def of(cls, base: Records, x: Records) -> Self:
        """Make a space in standard deviations of `base`, within the range of both, (n, d) each."""
        wide = base.astype(np.float64)
        mean, scale = wide.mean(axis=0), wide.std(axis=0)
        none = np.zeros(base.shape[1], np.bool_)
        return cls(
            mean=mean,
            scale=np.where(scale > 0, scale, 1.0),
            low=np.minimum(x.min(axis=0), base.min(axis=0)).astype(np.float64),
            high=np.maximum(x.max(axis=0), base.max(axis=0)).astype(np.float64),
            whole=none,
            fixed=none,
        )

    @classmethod
    def infer(
        cls,
        base: Records,
        x: Records,
        *,
        fixed: Sequence[int] = (),
        real: Sequence[int] = (),
        ranges: Sequence[tuple[int, float, float]] = (),
        names: Sequence[str] = (),
    ) -> Self:
        """Make a space as the data shows it.

        A column of whole numbers takes whole numbers. Neighbouring columns of 0 and 1 of which one
        is always 1 are a one-hot group. A column that is constant stays.

        Args:
            base: Records (m, d) whose standard deviation is the unit.
            x: Records (n, d) that are attacked.
            fixed: Columns that never change.
            real: Columns that are not whole although the data looks like it.
            ranges: Column, least and greatest value, where the data does not show it.
            names: Of the columns, for messages.

        Raises:
            InputError: A record lies outside a range that is given.
        """
        both = np.concatenate([base, x])
        out = cls.of(base, x)
        stays = np.ptp(both, axis=0) == 0
        stays[list(fixed)] = True
        whole = (both == np.rint(both)).all(axis=0) & ~stays
        whole[list(real)] = False
        low, high = out.low.copy(), out.high.copy()
        for column, least, most in ranges:
            if not (least < most and (both[:, column] >= least).all()
                    and (both[:, column] <= most).all()):  # fmt: skip
                name = names[column] if names else str(column)
                raise InputError(
                    f"column `{name[:80]}` has values from {low[column]:g} to {high[column]:g},"
                    f" outside of the range {least:g} to {most:g}",
                    code="attack.range",
                )
            low[column], high[column] = least, most
        groups = []
        for group in _groups(both, np.ptp(both, axis=0) > 0):
            if stays[list(group)].any():
                stays[list(group)] = True  # one that stays holds the others
            elif whole[list(group)].all():
                groups.append(group)
        whole &= ~stays
        # What never moves needs no unit, and is then exact.
        return replace(
            out,
            mean=np.where(stays, 0.0, out.mean), scale=np.where(stays, 1.0, out.scale),
            low=low, high=high, whole=whole, fixed=stays, groups=tuple(groups),
        )  # fmt: skip

    @property
    def bound(self) -> bool:
        """Whether anything but the ranges holds records back."""
        return bool(self.whole.any() or self.fixed.any())

    def scaled(self, x: Records) -> Floats:
        """Return records (n, d) in units, float64."""
        out: Floats = (x.astype(np.float64) - self.mean) / self.scale
        return out

    def raw(self, z: NDArray[np.floating]) -> Records:
        """Return points (n, d) in the features' own units; whole numbers are whole again."""
        wide = z.astype(np.float64) * self.scale + self.mean
        if self.whole.any():
            wide[:, self.whole] = np.rint(wide[:, self.whole])
        return wide.astype(np.float32)

    def clip(self) -> tuple[Floats, Floats]:
        """Return the least and greatest value of each feature in units, (d,) each."""
        return (self.low - self.mean) / self.scale, (self.high - self.mean) / self.scale

    def step(self, size: float) -> Records:
        """Return the size of a step of each feature, (d,): of a whole number at least one."""
        least = np.where(self.whole, (1 + _SLACK) / self.scale, 0.0)
        return np.maximum(size, least).astype(np.float32)

    def place(self, z: Floats, origin: Floats) -> Floats:
        """Return the points, shape (k, d), as records that may exist; both in units.

        Args:
            z: Points.
            origin: The records that they belong to, in units.
        """
        low, high = self.clip()
        z = np.clip(z, np.minimum(low, origin), np.maximum(high, origin))
        z[:, self.fixed] = origin[:, self.fixed]
        if self.whole.any():
            unit = self.scale[self.whole]
            gap = (z - origin)[:, self.whole] * unit
            z[:, self.whole] = origin[:, self.whole] + np.trunc(gap + np.sign(gap) * _SLACK) / unit
        for group in self.groups:
            at = np.array(group)
            value = z[:, at] * self.scale[at] + self.mean[at]
            one = value.argmax(axis=1)[:, None] == np.arange(len(at))
            z[:, at] = (one - self.mean[at]) / self.scale[at]
        return z

    def repair(self, points: Records, origin: Records) -> Records:
        """Do what `place` does in float32."""
        return self.place(points.astype(np.float64), origin.astype(np.float64)).astype(np.float32)

    def allows(self, x: Records, origin: Records) -> Mask:
        """Tell which records, (k, d) in their own units, may exist in place of `origin`."""
        held = (x[:, self.fixed] == origin[:, self.fixed]).all(axis=1)
        held &= (x[:, self.whole] == np.rint(x[:, self.whole])).all(axis=1)
        slack = 1e-6 * np.maximum(np.abs(self.low), np.abs(self.high))
        held &= ((x >= self.low - slack) & (x <= self.high + slack)).all(axis=1)
        for group in self.groups:
            part = x[:, list(group)]
            held &= np.isin(part, (0.0, 1.0)).all(axis=1) & (part.sum(axis=1) == 1)
        out: Mask = held
        return out


def _groups(x: Records, candidates: Mask) -> tuple[tuple[int, ...], ...]:
    """Return runs of neighbouring 0/1 columns that add up to 1 in every record."""
    binary = candidates & np.isin(x, (0.0, 1.0)).all(axis=0)
    found: list[tuple[int, ...]] = []
    start = 0
    while start < len(binary):
        total = np.zeros(len(x))
        end = start
        while end < len(binary) and binary[end]:
            total += x[:, end]
            end += 1
            if (total > 1).any():
                break
            if end - start > 1 and (total == 1).all():
                found.append(tuple(range(start, end)))
                break
        start = end if found and found[-1][0] == start else start + 1
    return tuple(found)


class _Scaled:
    """A predictor of points in a space's units."""

    def __init__(self, model: Predictor, space: Space, shape: tuple[int, ...]) -> None:
        self._model, self._space, self._shape = model, space, shape

    def predict(self, x: Records) -> Scores:
        """Return scores (n, c) of points (n, d)."""
        return self._model.predict(self._records(x))

    def _records(self, x: Records) -> Records:
        return self._space.raw(x).reshape(-1, *self._shape)


class _ScaledGradient(_Scaled):
    """The same with a gradient by the units."""

    def __init__(self, model: GradientPredictor, space: Space, shape: tuple[int, ...]) -> None:
        super().__init__(model, space, shape)
        self._differentiable = model

    def loss_gradient(self, x: Records, loss: Loss) -> LossGradient:
        """Return scores, values and the gradient, (n, d)."""
        answer = self._differentiable.loss_gradient(self._records(x), loss)
        flat = answer.gradient.reshape(len(x), -1) * self._space.scale
        return LossGradient(answer.scores, answer.values, flat.astype(np.float32))


def scaled(model: Predictor, space: Space, shape: tuple[int, ...]) -> Predictor:
    """Return `model`, which takes records of `shape`, as one of flat points in units."""
    if isinstance(model, GradientPredictor):
        return _ScaledGradient(model, space, shape)
    return _Scaled(model, space, shape)
