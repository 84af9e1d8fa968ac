"""What `vallum attack` is pointed at: a model file, which is scanned first, and its data."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from vallum.attack.suite.data import DataFile
from vallum.base import GateError, InputError
from vallum.cli.border import read_file
from vallum.cli.offline import TABLES

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
