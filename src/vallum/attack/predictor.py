"""Models as attacks see them: scores for a batch. Whatever else a model does is an error.

An attack on a model that crashes, answers nonsense or differently each time has *failed*; it is
never reported as robustness.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, runtime_checkable

import msgspec
import numpy as np
from numpy.typing import NDArray

from vallum.attack.writing import read
from vallum.base import GateError, InputError, VallumError
from vallum.schema import Record

Records = NDArray[np.float32]
Scores = NDArray[np.float64]
MIN_RECORDS = 10
"""With fewer, every interval is too wide to say anything."""
STANDARD_DOMAINS = frozenset({"", "ai.onnx", "ai.onnx.ml"})


Loss = Callable[[Scores], tuple[Scores, Scores]]
"""From scores, shape (n, c): a value for each record, (n,), and its derivative by them, (n, c)."""


class Predictor(Protocol):
    """A classifier behind its scores."""

    def predict(self, x: Records) -> Scores:
        """Return scores, shape (n, c), for `x`, shape (n, ...), float32."""
        ...


class LossGradient(NamedTuple):
    """What a white-box query tells: `scores` (n, c), `values` (n,), `gradient` like the records."""

    scores: Scores
    values: Scores
    gradient: Records


@runtime_checkable
class GradientPredictor(Predictor, Protocol):
    """A classifier that also tells how a loss on its scores changes with its input."""

    def loss_gradient(self, x: Records, loss: Loss) -> LossGradient:
        """Return the scores of `x` and the gradient of `loss` for each record by itself.

        The loss is computed on the scores, in numpy: a predictor only has to multiply its
        derivative, (n, c), with its own Jacobian.
        """
        ...


class OnnxPredictor:
    """An ONNX classifier of standard operators, on one thread."""

    def __init__(self, model: bytes, *, texts: bool = False) -> None:
        """Load `model`.

        Args:
            model: The graph.
            texts: It may take one text a record instead of numbers; `text` tells whether it does,
                and records are texts as `writing` writes them.

        Raises:
            InputError: It does not load, needs operators of another domain or data of another
                file, or is not a classifier of one matrix.
            LimitExceededError: It is larger than a model may be.
        """
        import onnxruntime as ort

        from vallum.formats import read_onnx_header

        header = read_onnx_header(model)
        domains = {domain for domain, _ in header.operators} | set(header.opsets)
        foreign = sorted(domains - STANDARD_DOMAINS)
        if foreign:
            raise InputError(
                f"the model needs operators of `{foreign[0][:80]}`", code="attack.domain"
            )
        if header.external_data:
            raise InputError("the model keeps data in other files", code="attack.model")
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.log_severity_level = 4
        try:
            self._session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime raises bare RuntimeErrors of many kinds
            raise InputError("the model does not load", code="attack.model") from error
        inputs = self._session.get_inputs()
        self.text = len(inputs) == 1 and inputs[0].type == "tensor(string)"
        if self.text and not (texts and list(inputs[0].shape[1:]) in ([], [1])):
            raise InputError(
                "the model does not take one text a record" if texts else "the model takes texts",
                code="attack.model",
            )
        least = 1 if self.text else 2  # rows and columns
        if len(inputs) != 1 or len(inputs[0].shape) < least:
            raise InputError(
                "the model does not take one matrix, or one array of records", code="attack.model"
            )
        self._input = inputs[0].name
        rows = inputs[0].shape[0]
        self._rows: int | None = rows if isinstance(rows, int) and rows > 0 else None
        self._tail = inputs[0].shape[1:]
        self.shape = tuple(one if isinstance(one, int) else None for one in self._tail)
        if self.text:
            self.shape = ()
        self.width: int | None = self.shape[0] if len(self.shape) == 1 else None
        names = [one.name for one in self._session.get_outputs()]
        scores = [name for name in names if "prob" in name.lower() or "score" in name.lower()]
        self.output = scores[0] if scores else names[-1]

    def predict(self, x: Records) -> Scores:
        """Return scores, shape (n, c).

        Raises:
            GateError: The model fails or answers something else.
        """
        if self._rows is None or len(x) == self._rows:
            return self._run(x)
        # Exported for batches of one size: the last one is filled up.
        parts = []
        for first in range(0, len(x), self._rows):
            part = x[first : first + self._rows]
            more = np.repeat(part[-1:], self._rows - len(part), axis=0)
            parts.append(self._run(np.concatenate([part, more]))[: len(part)])
        return np.concatenate(parts)

    def _run(self, x: Records) -> Scores:
        given: Any = x
        if self.text:
            given = np.array(read(x), dtype=object).reshape(-1, *self._tail)
        try:
            (answer,) = self._session.run([self.output], {self._input: given})
        except Exception as error:  # onnxruntime raises bare RuntimeErrors of many kinds
            raise GateError("the model fails on its own input", code="attack.model") from error
        try:
            if isinstance(answer, list):  # zipmap: a dictionary a record
                answer = [[row[key] for key in sorted(row)] for row in answer]
            return np.asarray(answer, dtype=np.float64)
        except (TypeError, ValueError) as error:  # names of classes, or ragged rows
            raise GateError("the model answers no scores", code="attack.scores") from error


def class_name(value: object) -> str:
    """Return a class as text, so that data and model name it alike: 1.0, 1 and true are one."""
    plain = value.item() if isinstance(value, np.generic) else value
    if isinstance(plain, bool) or (isinstance(plain, float) and plain.is_integer()):
        return str(int(plain))
    return str(plain)


class Scored(Record, frozen=True):
    """A model's answer to many rows, as it leaves a sandbox.

    Attributes:
        classes: Scores a row.
        values: float32, row by row, little-endian.
    """

    classes: int
    values: bytes

    def scores(self) -> Scores:
        """Return scores (n, c)."""
        flat = np.frombuffer(self.values, dtype="<f4").astype(np.float64)
        return flat.reshape(-1, self.classes)


class _Rows(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    model: bytes
    width: int
    rows: bytes


def pack_rows(model: bytes, x: Records) -> bytes:
    """Return the payload that `score_onnx` takes: an ONNX model and rows (n, d)."""
    rows = np.ascontiguousarray(x, dtype="<f4")
    return msgspec.msgpack.encode(_Rows(model, x.shape[1], rows.tobytes()))


def score_onnx(payload: bytes) -> Scored:
    """Return an ONNX classifier's scores of rows; runs in the sandbox.

    Rows are given in the model's own shape, where they have as many numbers.

    Raises:
        InputError: The payload has another form, or the model takes other rows.
        GateError: The model fails, or its scores are not finite.
    """
    given, x = _unpacked(payload)
    model = OnnxPredictor(given.model)
    scores = Checked(model).predict(_shaped(model, x))
    return Scored(classes=scores.shape[1], values=scores.astype("<f4").tobytes())


def activate_onnx(payload: bytes) -> Scored:
    """Return what goes into an ONNX network's last linear layer; runs in the sandbox.

    Raises:
        InputError: The payload has another form, the model takes other rows, or it has no linear
            layer behind another one.
        GateError: The model fails, or what goes into the layer is not finite.
    """
    import onnx

    given, x = _unpacked(payload)
    OnnxPredictor(given.model)  # refuses what is not known, before the graph is read
    model = onnx.load_from_string(given.model)
    fixed = {one.name for one in model.graph.initializer}
    fixed |= {one.output[0] for one in model.graph.node if one.op_type == "Constant"}
    taken = {one.name for one in model.graph.input}
    hidden = ""
    for node in model.graph.node:
        moving = [name for name in node.input[:2] if name not in fixed]
        if node.op_type in {"Gemm", "MatMul"} and len(moving) == 1 and moving[0] not in taken:
            hidden = moving[0]
    if not hidden:
        raise InputError("the model has no hidden linear layer", code="attack.layer")
    del model.graph.output[:]
    model.graph.output.append(onnx.ValueInfoProto(name=hidden))
    cut = OnnxPredictor(model.SerializeToString())
    found = cut.predict(_shaped(cut, x))
    if found.ndim < 2 or len(found) != len(x) or found.size == 0:  # noqa: PLR2004
        raise InputError("the model's last layer is not given one row a record",
                         code="attack.layer")  # fmt: skip
    if not np.isfinite(found).all():
        raise GateError("what the model's last layer is given is not finite", code="attack.scores")
    flat = found.reshape(len(found), -1)
    return Scored(classes=flat.shape[1], values=flat.astype("<f4").tobytes())


def _unpacked(payload: bytes) -> tuple[_Rows, Records]:
    try:
        given = msgspec.msgpack.decode(payload, type=_Rows)
        x = np.frombuffer(given.rows, dtype="<f4").reshape(-1, given.width)
    except (msgspec.DecodeError, ValueError) as error:
        raise InputError("the payload has another form", code="attack.payload") from error
    return given, np.ascontiguousarray(x)


def _shaped(model: OnnxPredictor, x: Records) -> Records:
    """Return rows (n, d) as the model takes them; refuse rows of another width."""
    known = [one for one in model.shape if one is not None]
    if len(known) < len(model.shape):
        return x
    if math.prod(known) != x.shape[1]:
        raise InputError(
            f"the model takes {math.prod(known)} features, the data has {x.shape[1]}",
            code="attack.features",
        )
    return x.reshape(len(x), *known)


class Checked:
    """Wraps a predictor: validates every answer and counts queries."""

    def __init__(self, model: Predictor) -> None:
        self._model = model
        self.queries = 0
        self.gradients = 0
        self.differentiable = model if isinstance(model, GradientPredictor) else None

    def predict(self, x: Records) -> Scores:
        """Return scores.

        Raises:
            GateError: The model fails, or its scores are not finite or of another shape.
        """
        try:
            scores = self._model.predict(np.ascontiguousarray(x, dtype=np.float32))
        except VallumError:
            raise
        except Exception as error:  # a predictor is anybody's code
            raise GateError("the model fails on its own input", code="attack.model") from error
        self.queries += len(x)
        self._check_scores(x, scores)
        return scores

    def loss_gradient(self, x: Records, loss: Loss) -> LossGradient:
        """Return scores, values of the loss and its gradient.

        Raises:
            GateError: The model has no gradient or fails, or the answer is not finite or of
                another shape.
        """
        if self.differentiable is None:
            raise GateError(
                "the model offers no gradient", code="attack.gradient", hint="attack it by scores"
            )
        try:
            answer = LossGradient(
                *self.differentiable.loss_gradient(np.ascontiguousarray(x, dtype=np.float32), loss)
            )
        except VallumError:
            raise
        except Exception as error:  # a predictor is anybody's code
            raise GateError("the model fails to differentiate", code="attack.gradient") from error
        self.queries += len(x)
        self.gradients += len(x)
        self._check_scores(x, answer.scores)
        shapes = np.shape(answer.gradient), np.shape(answer.values)
        if shapes != (x.shape, x.shape[:1]):
            raise GateError(
                f"the model answers a gradient of shape {shapes[0]} for records of {x.shape}",
                code="attack.gradient",
            )
        if not (_finite(answer.gradient) and _finite(answer.values)):
            raise GateError("the model's gradient is not finite", code="attack.gradient")
        return answer

    @staticmethod
    def _check_scores(x: Records, scores: Scores) -> None:
        if getattr(getattr(scores, "dtype", None), "kind", "") != "f":
            raise GateError("the model answers no scores", code="attack.scores")
        if scores.ndim != 2 or len(scores) != len(x) or scores.shape[1] < 2:  # noqa: PLR2004
            raise GateError(
                f"the model answers shape {scores.shape} for {len(x)} records; scores of at least"
                " two classes are needed",
                code="attack.scores",
            )
        if not _finite(scores):
            raise GateError("the model answers scores that are not finite", code="attack.scores")

    def labels(self, x: Records) -> NDArray[np.intp]:
        """Return predicted classes, shape (n,)."""
        found: NDArray[np.intp] = self.predict(x).argmax(axis=1)
        return found

    def probe(self, x: Records, *, labels: bool = False) -> Scores:
        """Return scores after checking that attacks on them mean something.

        Args:
            x: Records.
            labels: Labels dressed as scores will do.

        Raises:
            GateError: The model is not deterministic, predicts one class only, or answers labels
                dressed as scores, which would hide membership.
        """
        first, second = self.predict(x), self.predict(x)
        check_same(first, second)
        if len(np.unique(first.argmax(axis=1))) < 2:  # noqa: PLR2004
            raise GateError("the model predicts one class for everything", code="attack.constant")
        if not labels:
            check_scored(first)
        return first


def _finite(values: NDArray[np.floating]) -> bool:
    # The method `all` has a Python function in between, seen where a model takes milliseconds.
    return bool(np.logical_and.reduce(np.isfinite(values), axis=None))


def check_same(first: Scores, second: Scores, *, rtol: float = 1e-6, atol: float = 1e-9) -> None:
    """Refuse a model that answers otherwise the second time.

    Raises:
        GateError: It does.
    """
    if not np.allclose(first, second, rtol=rtol, atol=atol):
        raise GateError("the model is not deterministic", code="attack.deterministic")


def check_scored(scores: Scores) -> None:
    """Refuse labels dressed as scores.

    Raises:
        GateError: They are.
    """
    if np.isin(scores, (0.0, 1.0)).all():
        raise GateError("the model answers labels, not scores", code="attack.scores")
