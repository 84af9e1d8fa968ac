"""A victim as thieves see it: so many queries, and answers of a kind that is known.

What a model answers decides what an attack on its secrets can do. A figure that was measured on
logits taken for probabilities, or on labels taken for scores, looks like safety and is none: kinds
are told apart here, and what is of no known kind is an error.
"""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from vallum.attack.predictor import MIN_RECORDS, Checked, Predictor, Records, Scores
from vallum.base import GateError, InputError

Classes = NDArray[np.intp]
MIN_BUDGET = 50
MAX_BUDGET = 10_000_000
_PROBED = 16  # records asked twice
_SUM = 1e-3  # by how much probabilities of single precision may miss 1
_DECIMALS = 4  # answers rounded to as many or fewer are recognised, and their sums forgiven


class AnswerKind(StrEnum):
    """What a model answers."""

    LOGITS = "logits"
    """Real numbers; softmax makes probabilities of them."""
    PROBABILITIES = "probabilities"
    """From 0 to 1, with a sum of 1 but for rounding, or less where some are withheld."""
    LABELS = "labels"
    """A one for the class and zeros."""


@dataclass(frozen=True, slots=True)
class Known:
    """The records that an attack on a model's secrets uses, and is measured on.

    Attributes:
        members: Records that the model learned from, (n, ...) float32, and their classes, (n,).
        others: Records like them that it never saw, (m, ...), and their classes, (m,).
    """

    members: tuple[Records, Classes]
    others: tuple[Records, Classes]

    @property
    def shape(self) -> tuple[int, ...]:
        """Return the shape of a record."""
        return tuple(self.members[0].shape[1:])

    @property
    def classes(self) -> int:
        """Return one more than the largest class."""
        return int(max(self.members[1].max(), self.others[1].max())) + 1


def check_known(data: Known) -> None:
    """Refuse records that do not fit each other.

    Raises:
        InputError: Too few on a side, other shapes, not finite, or classes below 0.
    """
    for x, y in (data.members, data.others):
        if x.ndim < 2 or x[:1].size == 0 or y.shape != x.shape[:1]:  # noqa: PLR2004 - a matrix
            raise InputError(
                f"records of shape {x.shape} and classes of {y.shape} do not fit",
                code="attack.records",
            )
        if len(x) < MIN_RECORDS:
            raise InputError(
                f"the attack needs at least {MIN_RECORDS} records on a side", code="attack.records"
            )
        if x.dtype != np.float32 or not np.isfinite(x).all():
            raise InputError("records must be finite float32", code="attack.records")
        if y.dtype.kind not in "iu" or y.min() < 0:
            raise InputError("classes must be whole numbers from 0", code="attack.classes")
    if data.members[0].shape[1:] != data.others[0].shape[1:]:
        raise InputError(
            f"members have shape {data.shape}, others {data.others[0].shape[1:]}",
            code="attack.records",
        )


def kind_of(scores: Scores) -> AnswerKind | None:
    """Return what scores, (n, c), look like; None where they fit no kind."""
    if ((scores == 0) | (scores == 1)).all() and (scores.sum(axis=1) == 1).all():
        return AnswerKind.LABELS
    if scores.min() < 0 or scores.max() > 1 + _SUM:
        return AnswerKind.LOGITS
    sums = scores.sum(axis=1)
    slack = _SUM
    for decimals in range(_DECIMALS + 1):
        if np.allclose(scores, scores.round(decimals), rtol=0, atol=1e-7):
            slack = max(slack, scores.shape[1] * 0.5 * 10.0**-decimals)
            break
    # Less than 1 is what is withheld, such as all but the largest; a row of zeros tells nothing.
    if (sums <= 1 + slack).all() and (sums > 0).mean() > 0.5:  # noqa: PLR2004 - most rows
        return AnswerKind.PROBABILITIES
    return None


class Oracle:
    """Asks a model within a budget, and holds it to one kind of answer.

    Attributes:
        kind: Of the answers; set by the first question.
        deterministic: It answered the same questions in the same way.
        classes: Scores a record; set by the first question.
    """

    def __init__(self, model: Predictor, *, budget: int, answers: AnswerKind | None = None) -> None:
        """Wrap `model`.

        Args:
            model: Victim.
            budget: Records that it may be asked about.
            answers: What it is said to answer; found out when not given.

        Raises:
            InputError: The budget is out of range.
        """
        if not MIN_BUDGET <= budget <= MAX_BUDGET:
            raise InputError(
                f"`budget` must be from {MIN_BUDGET} to {MAX_BUDGET} queries; got {budget}",
                code="attack.settings",
            )
        self._victim = Checked(model)
        self._declared = answers
        self._budget = budget
        self.kind: AnswerKind | None = None
        self.deterministic = True
        self.classes = 0

    @property
    def queries(self) -> int:
        """Return how many records were asked about."""
        return self._victim.queries

    @property
    def room(self) -> int:
        """Return how many may still be."""
        return self._budget - self._victim.queries

    def begin(self, x: Records) -> Scores:
        """Ask about some records, and about the first of them twice.

        Raises:
            GateError: See `ask`.
        """
        first = self.ask(x)
        again = self.ask(x[:_PROBED])
        size = max(1e-9, 1e-4 * float(np.abs(first).max()))
        self.deterministic = bool(np.allclose(first[:_PROBED], again, rtol=1e-4, atol=size))
        return first

    def ask(self, x: Records) -> Scores:
        """Return the answers, shape (n, c).

        Raises:
            GateError: The model fails, answers nonsense or another kind than before or than was
                said, or the budget would be exceeded.
        """
        if len(x) > self.room:
            raise GateError(
                f"{len(x)} queries would exceed the budget of {self._budget}", code="attack.budget"
            )
        scores = self._victim.predict(x)
        if self.classes not in (0, scores.shape[1]):
            raise GateError("the model answers another number of classes", code="attack.scores")
        self.classes = scores.shape[1]
        self._settle(kind_of(scores))
        return scores

    def _settle(self, found: AnswerKind | None) -> None:
        wanted = self._declared
        if self.kind is AnswerKind.LOGITS:
            return  # of few records, logits may look like anything
        if found is None:
            if wanted is not AnswerKind.PROBABILITIES:
                raise GateError(
                    "the model's scores are neither logits, probabilities nor labels",
                    code="attack.scores",
                    hint="say which: answers=AnswerKind.PROBABILITIES divides by their sum",
                )
            found = wanted
        # A few sure records look like labels though scores were promised, or came before.
        soft = (AnswerKind.PROBABILITIES, AnswerKind.LABELS)
        if self.kind in soft and found in soft:
            if AnswerKind.PROBABILITIES in (self.kind, found):
                found = AnswerKind.PROBABILITIES
        elif self.kind is not None and found is not self.kind:
            raise GateError(
                f"the model answered {self.kind.value} first, then {found.value}",
                code="attack.scores",
            )
        if wanted is not None and found is not wanted:
            raise GateError(
                f"the model answers {found.value}, not {wanted.value}",
                code="attack.scores",
                hint="a figure measured on another kind of answer would look like safety",
            )
        self.kind = found

    def soft(self, scores: Scores) -> Scores:
        """Return answers as probabilities, (n, c); rows that tell nothing become uniform."""
        return as_probabilities(scores, self.kind)


def as_probabilities(scores: Scores, kind: AnswerKind | None) -> Scores:
    """Return scores of a kind as probabilities, (n, c), each row with a sum of 1."""
    if kind is AnswerKind.LOGITS:
        raised = np.exp(scores - scores.max(axis=1, keepdims=True))
    else:
        raised = np.maximum(scores, 0.0)
    total = raised.sum(axis=1, keepdims=True)
    out: Scores = np.where(total > 0, raised / np.where(total > 0, total, 1), 1 / scores.shape[1])
    return out
