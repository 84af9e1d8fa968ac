"""What `vallum attack` is pointed at: a model file, which is scanned first, and its data."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vallum.attack.suite import Subject, array_subject, table_subject
from vallum.base import GateError, InputError
from vallum.cli.border import read_file
from vallum.cli.offline import TABLES

if TYPE_CHECKING:
    import numpy as np
    import polars as pl
    from numpy.typing import NDArray

_ARRAYS = ".npz"
_PICKLED = frozenset({"pickle", "joblib", "torch", "legacy-torch"})
_FIX = "save it as ONNX, with skops.io.dump, torch.export.save (.pt2) or Booster.save_model (.json)"


@dataclass(frozen=True, slots=True)
class ModelFile:
    """A file that may be opened in the sandbox.

    Attributes:
        name: As given.
        kind: One of `attack.opened.KINDS`.
        sha256: Of the file.
        payload: What is opened: the file, or what is safe of it.
    """

    name: str
    kind: str
    sha256: str
    payload: bytes


@dataclass(frozen=True, slots=True)
class DataFile:
    """A data file, read.

    Attributes:
        sha256: Of the file.
        frame: A table, or nothing.
        arrays: `x` and labels of an `.npz`, or nothing.
    """

    sha256: str
    frame: "pl.DataFrame | None"
    arrays: "tuple[NDArray[Any], NDArray[Any]] | None"


@dataclass(frozen=True, slots=True)
class DataOptions:
    """What the caller says about the data.

    Attributes:
        label: Column of classes; of an `.npz` the array, `y` if empty.
        features: Columns in the model's order; all numeric ones if empty.
        immutable: Columns that no attacker can change.
        real: Columns that are not whole although the data looks like it.
        ranges: `COLUMN=LOW:HIGH` each.
        clip: `LOW:HIGH` of an array's values; empty if not given.
        epsilon: Size of a small change; the default if None.
        seed: Of a sample.
    """

    label: str = ""
    features: tuple[str, ...] = ()
    immutable: tuple[str, ...] = ()
    real: tuple[str, ...] = ()
    ranges: tuple[str, ...] = ()
    clip: str = ""
    epsilon: float | None = None
    seed: int = 0


def read_model(path: Path) -> ModelFile:
    """Read and scan a model file; nothing is loaded.

    Raises:
        InputError: It cannot be read, or is of no kind that is understood.
        GateError: It is not clean, or a pickle.
    """
    from vallum.formats import is_exported, without_pickles
    from vallum.scan import ScanVerdict, scan_bytes

    data = read_file(path)
    sha256 = hashlib.sha256(data).hexdigest()
    if is_exported(data):
        return ModelFile(str(path), "torch", sha256, without_pickles(data))
    (report,) = scan_bytes(path.name, data).files
    if report.verdict not in (ScanVerdict.CLEAN, ScanVerdict.DATA_LIKE) or any(
        word in report.format for word in _PICKLED
    ):
        pickled = any(word in report.format for word in _PICKLED)
        found = report.findings[0].message if report.findings else "it is a pickle"
        why = (
            "is a pickle, which runs code when it is loaded"
            if pickled
            else f"is not clean: {found}"
        )
        raise GateError(
            f"`{path}` {why}; it is not opened", code="attack.scan",
            hint=_FIX if pickled else f"vallum scan {path}",
        )  # fmt: skip
    kind = {"onnx": "onnx", "skops": "skops"}.get(report.format)
    if kind is None and data[:4096].lstrip()[:1] == b"{" and b'"learner"' in data[:4096]:
        kind = "xgboost"
    if kind is None:
        raise InputError(
            f"`{path}` is `{report.format}`, no model that can be attacked", code="attack.kind",
            hint=_FIX,
        )  # fmt: skip
    return ModelFile(str(path), kind, sha256, data)


def read_data(path: Path, label: str) -> DataFile:
    """Read a table or arrays.

    Raises:
        InputError: It is neither, or has no such label.
        LimitExceededError: It is too large.
    """
    from vallum.formats import read_npz, read_table

    data = read_file(path)
    sha256 = hashlib.sha256(data).hexdigest()
    if path.suffix.lower() == _ARRAYS:
        name = label or "y"
        arrays = read_npz(data, ["x", name])
        return DataFile(sha256, None, (arrays["x"], arrays[name]))
    if path.suffix.lower() not in TABLES:
        raise InputError(
            f"`{path}` is neither `.npz` nor a table (`.csv`, `.parquet`, `.jsonl`)",
            code="attack.data",
        )
    frame = read_table(data, kind=TABLES[path.suffix.lower()])
    if not label:
        raise InputError(
            "a table needs --label COLUMN", code="cli.usage",
            hint=f"--label {frame.columns[-1]}",
        )  # fmt: skip
    if label not in frame.columns:
        raise InputError(f"`{path}` has no column `{label[:80]}`", code="attack.label")
    return DataFile(sha256, frame, None)


def prepare(
    data: DataFile,
    train: DataFile | None,
    options: DataOptions,
    *,
    known: Sequence[str] = (),
    shape: Sequence[int] = (),
    notes: Sequence[str] = (),
) -> Subject:
    """Return the subject of a suite.

    Args:
        data: Records that are attacked.
        train: Records that the model was trained on.
        options: What the caller says.
        known: Columns that the model names.
        shape: Of a record, as the model tells; -1 is any, empty is not told.
        notes: What the report is to say beside what is noted here.

    Raises:
        InputError: Data, options and model do not fit.
    """
    if train is not None and (train.frame is None) != (data.frame is None):
        raise InputError("data and training data are of two kinds", code="attack.data")
    said = list(notes)
    if data.frame is not None:
        names = _columns(data.frame, options, known)
        x, labels = _rows(data.frame, names, options.label, "the data", said)
        inside = None
        if train is not None and train.frame is not None:
            inside = _rows(train.frame, names, options.label, "the training data", said)
    else:
        x, labels = _arrays(data)
        names = tuple(f"f{at}" for at in range(x.shape[1])) if x.ndim == 2 else ()  # noqa: PLR2004
        inside = None if train is None else _arrays(train)
    _check_shape(x.shape[1:], shape, names)
    if x.ndim == 2:  # noqa: PLR2004 - rows and columns
        if options.clip:
            raise InputError("--clip is for arrays; a table takes --range", code="cli.usage")
        return table_subject(
            x, labels, names=names, train=inside,
            epsilon=0.1 if options.epsilon is None else options.epsilon,
            fixed=options.immutable, real=options.real,
            ranges=[_range(one) for one in options.ranges], seed=options.seed, notes=said,
        )  # fmt: skip
    if options.immutable or options.real or options.ranges:
        raise InputError(
            "--immutable, --real and --range are for tables; arrays take --clip", code="cli.usage"
        )
    return array_subject(
        x, labels, train=inside, clip=_bounds(options.clip, "--clip") if options.clip else None,
        epsilon=8 / 255 if options.epsilon is None else options.epsilon, seed=options.seed,
        notes=said,
    )  # fmt: skip


def _columns(frame: "pl.DataFrame", options: DataOptions, known: Sequence[str]) -> tuple[str, ...]:
    import polars as pl

    if options.features:
        return options.features
    if known and set(known) <= set(frame.columns):
        return tuple(known)
    return tuple(
        name
        for name, type_ in frame.schema.items()
        if name != options.label and (type_.is_numeric() or type_ == pl.Boolean)
    )


def _rows(
    frame: "pl.DataFrame", names: Sequence[str], label: str, what: str, notes: list[str]
) -> "tuple[NDArray[np.float32], NDArray[Any]]":
    import numpy as np
    import polars as pl

    if not names:
        raise InputError("the data has no numeric column but the label", code="attack.features")
    if label not in frame.columns:
        raise InputError(f"{what} has no column `{label[:80]}`", code="attack.label")
    for name in names:
        if name not in frame.columns:
            raise InputError(f"{what} has no column `{name[:80]}`", code="attack.features")
        type_ = frame.schema[name]
        if not (type_.is_numeric() or type_ == pl.Boolean):
            raise InputError(
                f"column `{name[:80]}` is not numeric", code="attack.features",
                hint="encode it as the model was trained on it, or leave it out of --features",
            )  # fmt: skip
    with np.errstate(over="ignore"):  # too large for float32 is infinite, and left out below
        x = frame.select(pl.col(list(names)).cast(pl.Float64)).to_numpy().astype(np.float32)
    unlabelled = frame[label].is_null().to_numpy()
    gaps = ~np.isfinite(x).all(axis=1)
    left_out = {
        "without a label": unlabelled,
        "with a missing or infinite value": gaps & ~unlabelled,
    }
    for why, which in left_out.items():
        if count := int(which.sum()):
            notes.append(f"{count} of {len(x)} records of {what} are left out: {why}")
    kept = ~(unlabelled | gaps)
    labels = np.array(frame[label].to_list(), dtype=object)
    return x[kept], labels[kept]


def _arrays(data: DataFile) -> "tuple[NDArray[np.float32], NDArray[Any]]":
    import numpy as np

    if data.arrays is None:
        raise AssertionError("of an .npz")
    x, labels = data.arrays
    if x.dtype.kind not in "fiub" or x.ndim < 2 or labels.shape != x.shape[:1]:  # noqa: PLR2004
        raise InputError(
            f"`x` of shape {x.shape} and labels of {labels.shape} are not records and their"
            " classes",
            code="attack.records",
        )
    with np.errstate(over="ignore"):
        return x.astype(np.float32), labels


def _check_shape(given: tuple[int, ...], wanted: Sequence[int], names: Sequence[str]) -> None:
    fits = len(given) == len(wanted) and all(
        size in (-1, there) for there, size in zip(given, wanted, strict=False)
    )
    if not wanted or fits:
        return
    if len(wanted) == 1 and names:
        raise InputError(
            f"the model takes {wanted[0]} features, the data has {len(names)}",
            code="attack.features", hint="name the model's columns with --features, in order",
        )  # fmt: skip
    said = " x ".join("any" if one == -1 else str(one) for one in wanted)
    raise InputError(
        f"the model takes records of shape {said}, the data has"
        f" {' x '.join(str(one) for one in given)}",
        code="attack.features",
    )


def _range(text: str) -> tuple[str, float, float]:
    name, found, bounds = text.partition("=")
    if not found or not name:
        raise InputError(f"`{text[:80]}` is no range", code="cli.usage", hint="--range age=0:120")
    return (name, *_bounds(bounds, "--range"))


def _bounds(text: str, option: str) -> tuple[float, float]:
    low, found, high = text.partition(":")
    try:
        if not found:
            raise ValueError("one number")
        return float(low), float(high)
    except ValueError as error:
        raise InputError(
            f"`{text[:80]}` is not LOW:HIGH", code="cli.usage", hint=f"{option} ...0:1"
        ) from error
