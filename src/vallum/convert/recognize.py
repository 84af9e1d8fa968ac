"""Tells from what the scan says of a file, and its first bytes, how its model is opened."""

from typing import Final

_PICKLES: Final = frozenset({"pickle", "joblib"})
_HEAD_BYTES: Final = 64 * 1024
_TAIL_BYTES: Final = 1024 * 1024  # of a zip: its directory, with the names
_GRAPH: Final = b"/models/model.json"


def kind_of(format_: str, data: bytes) -> str:
    """Return one of `KINDS`, or nothing for a file that cannot be converted.

    Args:
        format_: As the scan names it.
        data: The file.
    """
    head = data[:_HEAD_BYTES].lstrip()
    if format_ in _PICKLES:
        return "pickle"
    if format_ == "skops":
        return "skops"
    if format_ in {"json", "ubjson"} and b"learner" in head:
        return "xgboost"
    if format_ in {"torch-exported", "zip"} and _GRAPH in data[-_TAIL_BYTES:]:
        return "torch"
    return "lightgbm" if format_ == "lightgbm" else ""


def may_be_suspicious(kind: str) -> bool:
    """Tell whether the scan's `suspicious` does not count: its reasons are left out when opening.

    A program of torch keeps sample inputs as a pickle, which is removed inside the sandbox, and
    weights of a form that the scan does not know.
    """
    return kind == "torch"
