"""Measures how far the answers of a result are from those of its original."""

from typing import NamedTuple, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from vallum.base import GateError
from vallum.convert.numbers import Answers
from vallum.convert.report import Difference, Tolerance

_STEADY = 1e-6
_ORIGINAL, _RESULT = "the model", "the converted model"


class Answered(NamedTuple):
    """Answers to rows: places of labels (n,), scores (n, c); None for what there is not."""

    labels: NDArray[np.float64] | None
    scores: NDArray[np.float64] | None

    @classmethod
    def of(cls, answers: Answers, rows: int) -> Self:
        """Unpack what a sandbox said.

        Raises:
            GateError: It is not what its shape says, or not an answer a row.
        """
        labels = None if answers.labels is None else answers.labels.array()
        scores = None if answers.scores is None else answers.scores.array()
        fits = (labels is None or labels.shape == (rows,)) and (
            scores is None or (scores.ndim == 2 and len(scores) == rows)  # noqa: PLR2004 - a matrix
        )
        if not fits or (labels is None and scores is None):
            raise GateError("a model does not answer once for each row", code="convert.answer")
        return cls(labels, scores)

    @classmethod
    def joined(cls, parts: "list[Answered]") -> Self:
        """Put the answers to several batches together.

        Raises:
            GateError: They are of several forms.
        """
        try:
            labels, scores = (
                None if every[0] is None else np.concatenate(every)
                for every in zip(*parts, strict=True)
            )
        except (TypeError, ValueError) as error:
            raise GateError("a model's answers change their form", code="convert.answer") from error
        return cls(labels, scores)


class Answering(Protocol):
    """Something that answers rows."""

    def answer(self, rows: NDArray[np.float32] | NDArray[np.float64]) -> Answered:
        """Return the answers to rows (n, width)."""
        ...


def compare(
    kind: str,
    rows: NDArray[np.float64],
    *,
    original: Answering,
    result: Answering,
    tolerance: Tolerance,
) -> Difference:
    """Ask both models for `rows`, shape (n, width).

    The original gets the rows as they are; the result gets them as float32, as from an endpoint.

    Raises:
        GateError: One of them answers what is not finite, or in another form; or the original
            answers the same rows twice differently.
    """
    with np.errstate(over="ignore"):
        single = rows.astype(np.float32)
    theirs = _finite(original.answer(rows), _ORIGINAL)
    spread = _spread(theirs)
    again = original.answer(rows)
    if _apart(theirs, again, _STEADY * spread).differ.any():
        raise GateError(
            "the model answers the same rows twice differently: no conversion can be like it",
            code="convert.not-deterministic",
            hint="fix its seed, or leave out what draws at random",
        )
    ours = _finite(result.answer(single), _RESULT)
    found = _apart(theirs, ours, tolerance.score * spread)
    rounded = 0
    exact = single.astype(np.float64)
    if not np.array_equal(exact, rows):
        moved = _apart(theirs, original.answer(exact), tolerance.score * spread)
        rounded = int(moved.differ.sum())
    return Difference(
        rows_of=kind,
        rows=len(rows),
        labels=int(found.labels.sum()),
        differ=int(found.differ.sum()),
        largest=found.largest / spread,
        ties=int(found.ties.sum()),
        rounded=rounded,
    )


def refusal(differences: tuple[Difference, ...], tolerance: Tolerance) -> str:
    """Return why a result is too far from its original; empty where it is not."""
    for one in differences:
        if one.differ > tolerance.share * one.rows:
            return (
                f"the converted model differs from its original on {one.differ} of {one.rows} rows"
                f" ({one.rows_of}): {one.labels} have another label, and a score is off by"
                f" {one.largest:.2g} at most; {tolerance.share:.2%} of the rows may differ by more"
                f" than {tolerance.score:g}"
            )
    return ""


def _finite(answered: Answered, whose: str) -> Answered:
    if answered.scores is not None and not np.isfinite(answered.scores).all():
        raise GateError(
            f"{whose} answers what is not finite, to rows that are",
            code="convert.not-finite",
            hint="impute missing values before the model, or mend what divides by zero in it",
        )
    return answered


def _spread(answered: Answered) -> float:
    """Return what scores are measured in: 1 for probabilities, else the spread of the answers."""
    if answered.labels is not None or answered.scores is None:
        return 1.0
    spread = float(np.ptp(answered.scores)) if answered.scores.size else 0.0
    return spread if spread > 0 else max(1.0, float(np.abs(answered.scores).max(initial=0.0)))


class _Apart(NamedTuple):
    """Which rows have another label, which of those are ties, which rows differ; by how much."""

    labels: NDArray[np.bool_]
    ties: NDArray[np.bool_]
    differ: NDArray[np.bool_]
    largest: float


def _apart(one: Answered, other: Answered, more_than: float) -> _Apart:
    """Compare answers to the same rows."""
    if (one.labels is None) != (other.labels is None):
        raise GateError("one model answers labels, the other none", code="convert.answer")
    rows = len(one.labels) if one.labels is not None else len(_there(one.scores))
    labels = ties = np.zeros(rows, dtype=np.bool_)
    if one.labels is not None and other.labels is not None:
        labels = (one.labels != other.labels) | (one.labels < 0)
        ties = labels & _tied(one, other)
        labels = labels & ~ties
    if one.scores is None and other.scores is None:
        return _Apart(labels, ties, labels, 0.0)
    mine, yours = _there(one.scores), _there(other.scores)
    if mine.shape != yours.shape:
        raise GateError(
            f"one model answers {mine.shape[1]} scores, the other {yours.shape[1]}",
            code="convert.answer",
        )
    off = np.abs(mine - yours)
    off = np.where(np.isnan(off), np.inf, off).max(axis=1, initial=0.0)
    return _Apart(labels, ties, labels | (off > more_than), float(off.max(initial=0.0)))


def _tied(one: Answered, other: Answered) -> NDArray[np.bool_]:
    """Return where `one` scores its own label and the other's alike."""
    if one.labels is None or other.labels is None or one.scores is None:
        return np.zeros(0 if one.labels is None else len(one.labels), dtype=np.bool_)
    every, width = np.arange(len(one.labels)), one.scores.shape[1]
    pair = [each.astype(np.intp) for each in (one.labels, other.labels)]
    known = np.logical_and.reduce([(each >= 0) & (each < width) for each in pair])
    first, second = (one.scores[every, np.where(known, each, 0)] for each in pair)
    tied: NDArray[np.bool_] = known & (np.abs(first - second) <= _STEADY)
    return tied


def _there(scores: NDArray[np.float64] | None) -> NDArray[np.float64]:
    if scores is None:
        raise GateError("one model answers scores, the other none", code="convert.answer")
    return scores
