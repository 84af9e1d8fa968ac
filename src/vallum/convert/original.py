"""The inside of a sandbox that opens somebody's model, writes it as ONNX and answers for it.

This is the one place of Vallum that unpickles; a program of torch is cleared of its pickles first.
Whoever asks has scanned the file, and nothing that comes out of this sandbox is believed: the
result is measured in another one, which has never seen the original.
"""

import io
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from vallum.base import GateError, InputError, VallumError
from vallum.convert.kind import Original
from vallum.convert.numbers import Answers, Numbers, places
from vallum.schema import Record

KINDS = ("lightgbm", "pickle", "skops", "torch", "xgboost")
_MAX_CLASSES = 1000


class Exported(Record, frozen=True):
    """A model as ONNX.

    Attributes:
        onnx: The file.
        model: The class of the original.
        classes: In the order of the scores; empty for a regression.
        features: Names of its columns; empty where it knows none.
        scored: Whether it answers a score for each class.
        exact: Whether its trees take float32, as the result's do.
        versions: Of the libraries that took part.
    """

    onnx: bytes
    model: str
    classes: tuple[str, ...]
    features: tuple[str, ...]
    scored: bool
    exact: bool
    versions: dict[str, str]


def open_original(payload: bytes, *, kind: str) -> Callable[..., object]:
    """Load a model; return what exports it and answers for it.

    Raises:
        InputError: It does not load, is of no kind that can be converted, or a library is missing.
    """
    warnings.simplefilter("ignore")  # they would fill the pipe that tells why a sandbox died
    try:
        return _Asked(_load(payload, kind))
    except VallumError:
        raise
    except ImportError as error:
        raise _missing(error) from error
    except Exception as error:  # a file is anybody's
        raise InputError(
            f"the model does not load ({type(error).__name__})",
            code="convert.load",
            hint="save it with the versions of the libraries that are installed here",
        ) from error


def _missing(error: ImportError) -> InputError:
    name = (error.name or "a library").partition(".")[0]
    if name in {"onnxscript", "torch"}:
        return InputError(
            f"`{name}`, which the model needs, is not installed",
            code="convert.missing",
            hint="pip install 'vallum[convert,torch]'",
        )
    ours = name in {"joblib", "lightgbm", "onnxmltools", "skl2onnx", "sklearn", "skops", "xgboost"}
    return InputError(
        f"`{name[:80]}`, which the model needs, is not installed",
        code="convert.missing",
        hint="pip install 'vallum[convert]'" if ours else "save it without code of your own",
    )


def _load(payload: bytes, kind: str) -> "Original":
    match kind:
        case "pickle":
            import joblib

            return _of(joblib.load(io.BytesIO(payload)))
        case "skops":
            import skops.io

            types = skops.io.get_untrusted_types(data=payload)
            return _of(skops.io.loads(payload, trusted=types))
        case "xgboost":
            from vallum.convert.boosted import open_xgboost

            return _of(open_xgboost(payload))
        case "torch":
            from vallum.convert.program import Program

            return Program.read(payload)
        case "lightgbm":
            from vallum.convert.boosted import LightGbm

            return LightGbm.read(payload)
        case _:
            raise InputError(f"`{kind[:40]}` is no kind of model", code="convert.kind")


def _of(model: Any) -> "Original":
    """Return what converts `model`.

    Raises:
        InputError: Nothing does.
    """
    family = type(model).__module__.partition(".")[0]
    if family == "lightgbm" and type(model).__name__ == "Booster":
        from vallum.convert.boosted import LightGbm

        return LightGbm(model)
    if family == "xgboost" and type(model).__name__ == "Booster":
        from vallum.convert.boosted import open_xgboost

        model = open_xgboost(bytes(model.save_raw(raw_format="ubj")))
    if not hasattr(model, "predict") or not hasattr(model, "get_params"):
        raise InputError(
            f"the file holds a `{type(model).__qualname__[:80]}`, which is no fitted model",
            code="convert.model",
            hint="save the estimator or the pipeline itself, not a dictionary around it",
        )
    from vallum.convert.estimators import Estimator

    return Estimator(model)


class _Asked:
    """Answers questions about one original."""

    def __init__(self, model: Original) -> None:
        self._model = model

    def __call__(
        self, *, ask: str, columns: bool = False, x: bytes = b"", shape: list[int] | None = None
    ) -> object:
        """Answer `export`, or `answer` for rows."""
        try:
            if ask == "export":
                return self._export(columns=columns)
            rows = np.frombuffer(x, dtype="<f8").reshape(shape or [])
            return self._answer(rows)
        except VallumError:
            raise
        except ImportError as error:
            raise _missing(error) from error
        except Exception as error:  # a model is anybody's code
            doing = "be written as ONNX" if ask == "export" else "answer its own rows"
            raise GateError(
                f"the model cannot {doing}: {_told(error)}", code="convert.failed"
            ) from error

    def _export(self, *, columns: bool) -> Exported:
        from vallum.convert.outputs import arrange, versions

        model = self._model
        if len(model.classes) > _MAX_CLASSES:
            raise InputError(
                f"the model tells {len(model.classes)} classes apart; {_MAX_CLASSES} are converted",
                code="convert.model",
            )
        made = model.export()
        arrange(made, classes=model.classes, scored=model.scored, columns=columns)
        return Exported(
            onnx=made.SerializeToString(),
            model=model.name,
            classes=model.classes,
            features=model.features,
            scored=model.scored,
            exact=model.exact,
            versions=versions(model.name),
        )

    def _answer(self, rows: "np.ndarray[Any, Any]") -> Answers:
        labels, scores = self._model.answer(rows)
        if scores is not None:
            scores = np.asarray(scores, dtype=np.float64)
            scores = scores[:, None] if scores.ndim == 1 else scores
        return Answers(
            labels=None
            if labels is None
            else Numbers.of(places(np.asarray(labels), self._model.classes)),
            scores=None if scores is None else Numbers.of(scores),
        )


def _told(error: Exception) -> str:
    """Return the first line of an error, short and printable: its text may be the file's."""
    lines = str(error).strip().splitlines()
    text = lines[0][:200] if lines else ""
    shown = "".join(one if one.isprintable() else "?" for one in text)
    return f"{type(error).__name__}: {shown}" if shown else type(error).__name__
