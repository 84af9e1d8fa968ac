"""Tells from what the scan says of a file, and its first bytes, how its model is opened."""

from typing import Final

_PICKLES: Final = frozenset({"pickle", "joblib"})
_HEAD_BYTES: Final = 64 * 1024


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
    if format_ == "text" and head.startswith(b"tree\n") and b"\nversion=" in head:
        return "lightgbm"
    return ""
