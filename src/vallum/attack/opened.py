"""The inside of a sandbox with a model in it: opens one file, answers questions about records.

Nothing here decides whether a file may be opened: whoever asks has scanned it. What is wrong with a
model is said as one of our errors; it never takes the sandbox down.
"""

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from vallum.attack.boosted import BoostedTrees
from vallum.attack.graphs import DifferentiableOnnx, differentiable
from vallum.attack.predictor import (
    GradientPredictor,
    LossGradient,
    OnnxPredictor,
    Predictor,
    Records,
    Scores,
    class_name,
)
from vallum.attack.thresholds import Splits, onnx_splits, sklearn_splits
from vallum.attack.writing import read
from vallum.base import GateError, InputError, VallumError
from vallum.schema import Record

_Shape = tuple[int | None, ...]
KINDS = ("onnx", "skops", "torch", "xgboost")


class Described(Record, frozen=True):
    """What a model says about itself.

    Attributes:
        gradients: It can be differentiated.
        shape: Of one record; -1 where it takes any size, empty where it does not say.
        classes: Names of its classes in the order of its scores; empty where it does not say.
        features: Names of its columns in order; empty where it does not say.
        difference: Where the gradients are another runtime's: how far its scores are from the
            model's own, at most.
        text: A record is one text, as `writing` writes it.
    """

    gradients: bool
    shape: tuple[int, ...] = ()
    classes: tuple[str, ...] = ()
    features: tuple[str, ...] = ()
    difference: float | None = None
    text: bool = False


class Thresholds(Record, frozen=True):
    """Where a model of trees changes; nothing of other models."""

    features: bytes = b""
    values: bytes = b""


class Answered(Record, frozen=True):
    """Numbers, row by row.

    Attributes:
        shape: Of the array.
        type: NumPy's name of the numbers' type.
        values: The numbers, little-endian.
    """

    shape: tuple[int, ...]
    type: str
    values: bytes

    @classmethod
    def of(cls, array: "np.ndarray[Any, Any]") -> "Answered":
        """Pack an array of numbers."""
        plain = np.ascontiguousarray(array)
        return cls(shape=plain.shape, type=plain.dtype.str, values=plain.tobytes())


class Differentiated(Record, frozen=True):
    """What a question with gradient tells."""

    scores: Answered
    gradient: Answered


def open_model(payload: bytes, *, kind: str, gradients: bool = True) -> Callable[..., object]:
    """Load a model; return what answers questions.

    Args:
        payload: The file; an exported torch program without its pickles.
        kind: One of `KINDS`.
        gradients: Look for those of an ONNX graph, which takes torch and seconds.

    Raises:
        InputError: It does not load, or what loads it is not installed.
    """
    warnings.simplefilter("ignore")  # they would fill the pipe that tells why a sandbox died
    try:
        graph = payload if kind == "onnx" else b""
        return _Answers(*_load(payload, kind, gradients=gradients), graph)
    except VallumError:
        raise
    except Exception as error:  # a file is anybody's
        raise InputError(
            f"the model does not load ({type(error).__name__})", code="attack.model"
        ) from error


def _load(payload: bytes, kind: str, *, gradients: bool) -> tuple[Predictor, _Shape]:
    made: OnnxPredictor | DifferentiableOnnx | SkopsPredictor | BoostedTrees
    match kind:
        case "onnx":
            made = OnnxPredictor(payload, texts=True)
            if gradients and not made.text:
                made = differentiable(payload, made) or made
        case "skops":
            made = SkopsPredictor(payload)
        case "xgboost":
            made = BoostedTrees(payload)
        case "torch":
            return _exported(payload)
        case _:
            raise InputError(f"`{kind[:40]}` is no kind of model", code="attack.kind")
    return made, made.shape


class _Answers:
    """Answers questions about one model; the scores of the last one are kept for its gradient."""

    def __init__(self, model: Predictor, shape: _Shape, payload: bytes = b"") -> None:
        self._model, self._shape, self._payload = model, shape, payload

    def __call__(
        self, *, ask: str, x: bytes = b"", shape: list[int] | None = None, slopes: bytes = b""
    ) -> object:
        """Answer `describe`, `thresholds`, `predict` or `gradient`."""
        if ask == "thresholds":
            return self._thresholds()
        if ask == "describe":
            return Described(
                gradients=isinstance(self._model, GradientPredictor),
                shape=tuple(-1 if one is None else one for one in self._shape),
                classes=_told(self._model, "classes"),
                features=_told(self._model, "features"),
                difference=getattr(self._model, "difference", None),
                text=getattr(self._model, "text", False),
            )
        try:
            records = np.frombuffer(x, dtype="<f4").reshape(shape or [])
            if ask == "gradient":
                return self._gradient(records, slopes)
            return Answered.of(_plain(self._model.predict(records)))
        except VallumError:
            raise
        except Exception as error:  # a model is anybody's code
            raise GateError(
                f"the model fails on its own input ({type(error).__name__})", code="attack.model"
            ) from error

    def _thresholds(self) -> Thresholds:
        found: Splits | None = None
        if getattr(self._model, "text", False):
            return Thresholds()  # of words, which no attacker moves past a number
        if self._payload:
            found = onnx_splits(self._payload)
        elif isinstance(self._model, BoostedTrees | SkopsPredictor):
            found = self._model.splits()
        if found is None:
            return Thresholds()
        return Thresholds(
            features=found.features.astype("<i4").tobytes(),
            values=found.values.astype("<f4").tobytes(),
        )

    def _gradient(self, x: Records, slopes: bytes) -> Differentiated:
        """Return the scores and their gradient in the direction of `slopes`, (n, c) float64."""
        if not isinstance(self._model, GradientPredictor):
            raise GateError("the model offers no gradient", code="attack.gradient")

        def loss(scores: Scores) -> tuple[Scores, Scores]:
            weights = np.frombuffer(slopes, dtype="<f8").reshape(scores.shape)
            return np.zeros(len(scores)), weights

        answer: LossGradient = self._model.loss_gradient(x, loss)
        return Differentiated(
            scores=Answered.of(answer.scores), gradient=Answered.of(answer.gradient)
        )


def _told(model: Predictor, name: str) -> tuple[Any, ...]:
    return tuple(getattr(model, name, ()))


def _plain(answer: object) -> "np.ndarray[Any, Any]":
    array = np.asarray(answer)
    if array.dtype.kind not in "fiub":
        raise GateError("the model answers no scores", code="attack.scores")
    return array


class SkopsPredictor:
    """A scikit-learn classifier of a skops file behind its probabilities, margins or labels.

    Attributes:
        classes: Their names, in the order of the scores.
        features: Names of columns that it was fitted with.
        text: It begins with a text vectorizer: a record is one text.
    """

    def __init__(self, data: bytes) -> None:
        """Load `data`. Every type that it names is trusted: whoever calls has scanned it.

        Raises:
            InputError: It does not load, or is no classifier.
        """
        try:
            import skops.io
        except ImportError as error:
            raise InputError(
                "skops and scikit-learn are not installed", code="attack.skops",
                hint="pip install 'vallum[checks,demo]'",
            ) from error  # fmt: skip
        try:
            types = skops.io.get_untrusted_types(data=data)
            self._model: Any = skops.io.loads(data, trusted=types)
        except Exception as error:  # skops raises errors of many kinds
            raise InputError(
                f"the model does not load ({type(error).__name__})", code="attack.model",
                hint="save it with the versions of scikit-learn and skops that are installed here",
            ) from error  # fmt: skip
        if not hasattr(self._model, "predict") or not hasattr(self._model, "classes_"):
            raise InputError("the model is no fitted classifier", code="attack.model")
        if hasattr(self._model, "get_params"):
            workers = [name for name in self._model.get_params() if name.endswith("n_jobs")]
            self._model.set_params(**dict.fromkeys(workers, 1))  # threads cost more than they give
        names = list(self._model.classes_)
        if any(isinstance(one, list | np.ndarray) for one in names):
            raise InputError("the model has several outputs", code="attack.model")
        self.classes = tuple(class_name(one) for one in names)
        self.features = tuple(str(one) for one in getattr(self._model, "feature_names_in_", ()))
        self.text = _reads_text(self._model)
        width = None if self.text else getattr(self._model, "n_features_in_", None)
        self.shape: _Shape = () if width is None else (int(width),)

    def splits(self) -> Splits | None:
        """Return the thresholds of its trees; nothing where it has none."""
        return sklearn_splits(self._model)

    def predict(self, x: Records) -> Scores:
        """Return probabilities, else margins, else labels as 0 and 1; (n, c)."""
        given = read(x) if self.text else x
        for name in ("predict_proba", "decision_function"):
            if hasattr(self._model, name):
                scores: Scores = np.asarray(getattr(self._model, name)(given), dtype=np.float64)
                return np.stack([-scores, scores], axis=1) if scores.ndim == 1 else scores
        said = np.asarray(self._model.predict(given))
        hit: Scores = (said[:, None] == np.asarray(self._model.classes_)).astype(np.float64)
        return hit


def _reads_text(model: Any) -> bool:  # noqa: ANN401 - scikit-learn's are untyped
    """Tell whether a pipeline begins with what makes numbers of texts.

    Raises:
        InputError: It would read files that a text names.
    """
    steps = getattr(model, "steps", None)
    if isinstance(steps, list) and steps:
        return _reads_text(steps[0][1])
    if parts := getattr(model, "transformer_list", None):  # a union: all get the same
        return all(_reads_text(one[1]) for one in parts)
    if not hasattr(model, "build_analyzer"):
        return False
    if getattr(model, "input", "content") != "content":
        raise InputError("the model reads the files that a text names", code="attack.model")
    return True


def _exported(data: bytes) -> tuple[Predictor, _Shape]:
    """Load an exported program; one thread, so that the same question has the same answer."""
    import io

    from vallum.attack.module import TorchPredictor

    try:
        import torch
    except ImportError as error:
        raise InputError(
            "torch is not installed", code="attack.torch", hint="pip install 'vallum[torch]'"
        ) from error
    torch.set_num_threads(1)
    try:
        program = torch.export.load(io.BytesIO(data))
        module = program.module()
        (taken,) = program.graph_signature.user_inputs
        (node,) = (one for one in program.graph.nodes if one.name == taken)
        size = node.meta["val"].shape
    except Exception as error:  # torch raises errors of many kinds
        raise InputError(
            f"the program does not load ({type(error).__name__})", code="attack.model",
            hint="export a module of one input with the version of torch that is installed here",
        ) from error  # fmt: skip
    if len(size) < 2 or isinstance(size[0], int):  # noqa: PLR2004 - records and their values
        raise InputError(
            f"the program takes batches of {size[0] if len(size) else 'one'} only",
            code="attack.model",
            hint="export it with dynamic_shapes=({0: torch.export.Dim.DYNAMIC},)",
        )
    for part in module.modules():
        part.training = False  # its mode is part of the graph; torch refuses to set it again
    return TorchPredictor(module), tuple(one if isinstance(one, int) else None for one in size[1:])
