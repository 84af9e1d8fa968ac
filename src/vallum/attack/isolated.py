"""A model in a sandbox of its own, as attacks see it: only numbers cross the border."""

import time
from collections.abc import Callable, Iterator, Mapping
from types import TracebackType
from typing import Protocol, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from vallum.attack.opened import Answered, Described, Differentiated, Thresholds
from vallum.attack.predictor import Loss, LossGradient, Records, Scores
from vallum.attack.thresholds import Splits
from vallum.base import GateError
from vallum.base.bounds import GIB, MIB
from vallum.sandbox import BubblewrapRunner, Limits, Resident

R = TypeVar("R")
OPEN_MODEL = "vallum.attack.opened:open_model"
LIMITS = Limits(
    memory_bytes=8 * GIB,
    wall_s=60.0,
    processes=64,
    open_files=256,
    file_bytes=64 * MIB,
    tmp_bytes=256 * MIB,
    output_bytes=64 * MIB,
)
QUESTION_BYTES = 16 * MIB
_BATCH_BYTES = 4 * MIB
_BATCH_ROWS = 8192
_ANSWER_S = 30.0


class Answering(Protocol):
    """What answers questions about a model: its sandbox, or what hands them over to it."""

    def ask(
        self,
        report_type: type[R],
        arguments: Mapping[str, object],
        *,
        max_bytes: int,
        wall_s: float | None,
    ) -> R:
        """Return the answer to one question."""
        ...

    def close(self) -> None:
        """End it."""
        ...


class IsolatedPredictor:
    """A model in a sandbox. Close it, or use it as a context manager."""

    def __init__(self, resident: Answering, described: Described) -> None:
        self._resident = resident
        self.described = described
        self._left_s: Callable[[], float] = lambda: _ANSWER_S

    @classmethod
    def open(
        cls, runner: BubblewrapRunner, data: bytes, *, kind: str, gradients: bool = True
    ) -> "IsolatedPredictor":
        """Load a model in a fresh sandbox; with `loss_gradient` where it has gradients.

        Args:
            runner: Whose sandbox it is.
            data: The file, scanned.
            kind: One of `opened.KINDS`.
            gradients: Look for those of an ONNX graph, which takes torch and seconds.

        Raises:
            InputError: It does not load.
            GateError: Loading took the sandbox down, or too long.
            UnavailableError: There is no sandbox.
        """
        resident = Resident.open(
            runner,
            OPEN_MODEL,
            data,
            allowed={OPEN_MODEL},
            limits=LIMITS,
            arguments={"kind": kind, "gradients": gradients},
        )
        try:
            described = resident.ask(Described, {"ask": "describe"})
        except BaseException:
            resident.close()
            raise
        return seen_as(resident, described)

    def until(self, deadline_s: float, monotonic: Callable[[], float] = time.monotonic) -> None:
        """Bound every further answer by a moment of the clock, too."""
        self._left_s = lambda: min(_ANSWER_S, max(0.05, deadline_s - monotonic()))

    def predict(self, x: Records) -> Scores:
        """Return what the model answers to records (n, ...): scores (n, c), if it is a classifier.

        Raises:
            GateError: It fails, or gives no answer in time.
        """
        return np.concatenate([self._ask(x[part]) for part in _batches(x)])

    def splits(self) -> Splits | None:
        """Return the thresholds of its trees; nothing where it has none.

        Raises:
            GateError: It gives no answer in time, or nonsense.
        """
        told = self.ask(Thresholds, {"ask": "thresholds", "x": b"", "shape": [0]})
        return unpacked(told)

    def _ask(self, x: Records) -> Scores:
        answer = self.ask(Answered, {"ask": "predict", "x": _bytes(x), "shape": list(x.shape)})
        return _array(answer)

    def ask(self, report_type: type[R], question: Mapping[str, object]) -> R:
        """Return the answer to a question as `opened` takes it, within the time that is left.

        Raises:
            GateError: It fails, or gives no answer in time.
        """
        return self._resident.ask(
            report_type, question, max_bytes=QUESTION_BYTES, wall_s=self._left_s()
        )

    def close(self) -> None:
        """End the sandbox."""
        self._resident.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class _Differentiable(IsolatedPredictor):
    """The same of a model with gradients; the loss is computed on this side."""

    def loss_gradient(self, x: Records, loss: Loss) -> LossGradient:
        """Return scores, values of `loss` and its gradient.

        The sandbox computes the scores twice: a loss that it need not know is worth more.

        Raises:
            GateError: It fails, or gives no answer in time.
        """
        scores = self.predict(x)
        if scores.ndim != 2 or len(scores) != len(x):  # noqa: PLR2004 - a matrix
            raise GateError(f"the model answers shape {scores.shape}", code="attack.scores")
        values, slopes = loss(scores)
        parts = [self._gradient(x[part], slopes[part]) for part in _batches(x)]
        return LossGradient(scores, values, np.concatenate(parts))

    def _gradient(self, x: Records, slopes: Scores) -> Records:
        answer = self.ask(
            Differentiated,
            {
                "ask": "gradient",
                "x": _bytes(x),
                "shape": list(x.shape),
                "slopes": np.ascontiguousarray(slopes, dtype="<f8").tobytes(),
            },
        )
        return _array(answer.gradient).astype(np.float32)


def seen_as(answering: Answering, described: Described) -> IsolatedPredictor:
    """Return a predictor of what answers; with `loss_gradient` where the model has gradients."""
    made = _Differentiable if described.gradients else IsolatedPredictor
    return made(answering, described)


def unpacked(told: Thresholds) -> Splits | None:
    """Return thresholds that a sandbox sent; nothing where there are none.

    Raises:
        GateError: They are not what they should be.
    """
    if not told.features:
        return None
    try:
        features = np.frombuffer(told.features, "<i4")
        values = np.frombuffer(told.values, "<f4")
    except ValueError as error:
        raise GateError("the sandbox talks nonsense", code="attack.answer") from error
    if len(features) != len(values):
        raise GateError("the sandbox talks nonsense", code="attack.answer")
    return Splits.of(features, values)


def _batches(x: Records) -> Iterator[slice]:
    size = max(1, min(_BATCH_ROWS, _BATCH_BYTES // max(4, x[:1].nbytes)))
    for first in range(0, max(1, len(x)), size):
        yield slice(first, min(first + size, len(x)))


def _bytes(x: Records) -> bytes:
    return np.ascontiguousarray(x, dtype="<f4").tobytes()


def _array(answer: Answered) -> NDArray[np.float64]:
    """Unpack numbers that a sandbox sent.

    Raises:
        GateError: They are not what their shape says.
    """
    try:
        type_ = np.dtype(answer.type)
        if type_.kind not in "fiub":
            raise ValueError("no numbers")
        flat = np.frombuffer(answer.values, dtype=type_).reshape(answer.shape)
    except (TypeError, ValueError) as error:
        raise GateError("the sandbox talks nonsense", code="attack.answer") from error
    return flat.astype(np.float64)
