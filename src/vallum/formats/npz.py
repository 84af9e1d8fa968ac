"""NumPy's archives: a zip of arrays of numbers and texts, never of objects.

An array of objects is a pickle, which runs code when it is read; it is refused by its header.

Source: NEP 1, "A Simple File Format for NumPy Arrays".
"""

import ast
import math
import re
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vallum.base.bounds import ARRAY, ArrayBounds
from vallum.formats.refusal import refuse, within
from vallum.formats.zip_archive import ZipArchive

_MAGIC = b"\x93NUMPY"
_KEYS = {"descr", "fortran_order", "shape"}
_TYPE = re.compile(r"[<>|=]?[biufUS][0-9]{1,6}")
_ERRORS = (
    ValueError, SyntaxError, MemoryError, RecursionError, OverflowError, TypeError, struct.error,
)  # fmt: skip


def read_npz(
    source: bytes | Path, names: Sequence[str], *, bounds: ArrayBounds = ARRAY
) -> dict[str, NDArray[Any]]:
    """Read the arrays `names` of an `.npz`; others are not looked at.

    Args:
        source: The bytes, or a file of at most `bounds.max_bytes`, read once.
        names: Arrays to return, as `numpy.savez` was given them.
        bounds: The limits.

    Raises:
        InputError: Code `archive.*` or `format.npz.*`: no such archive or array, or not numbers.
        LimitExceededError: A bound of `bounds`.
    """
    if isinstance(source, Path):
        try:
            with source.open("rb") as file:
                data = file.read(bounds.max_bytes + 1)
        except OSError as error:
            refuse("format.npz.unreadable", f"`{source}` cannot be read", cause=error)
    else:
        data = source
    within(len(data), bounds.max_bytes, "format.npz.too-large", "bytes of the archive")
    archive = ZipArchive(data)
    members = {member.name: member for member in archive.files()}
    found = {}
    for name in names:
        member = members.get(f"{name}.npy")
        if member is None:
            there = ", ".join(f"`{one.removesuffix('.npy')[:40]}`" for one in sorted(members)[:8])
            refuse("format.npz.missing", f"there is no array `{name[:80]}`, but {there or 'none'}")
        found[name] = read_npy(archive.read(member, bounds.max_bytes), name=name, bounds=bounds)
    return found


def read_npy(data: bytes, *, name: str = "array", bounds: ArrayBounds = ARRAY) -> NDArray[Any]:
    """Read one array in NumPy's own form, read-only.

    Raises:
        InputError: Code `format.npz.array`: malformed, or of objects or records.
        LimitExceededError: A bound of `bounds`.
    """
    shape, fortran, type_, start = _header(data, name, bounds)
    within(len(shape), bounds.max_dimensions, "format.npz.dimensions", "dimensions of an array")
    if math.prod(shape) * type_.itemsize != len(data) - start:
        refuse("format.npz.array", f"`{name[:80]}` does not hold what its header says")
    try:
        flat = np.frombuffer(data, dtype=type_, count=math.prod(shape), offset=start)
        found: NDArray[Any] = flat.reshape(shape, order="F" if fortran else "C")
    except _ERRORS as error:
        refuse("format.npz.array", f"`{name[:80]}` cannot be laid out", cause=error)
    return found


def _header(
    data: bytes, name: str, bounds: ArrayBounds
) -> tuple[tuple[int, ...], bool, np.dtype[Any], int]:
    """Return shape, order, type and offset of the numbers; only literals are evaluated."""
    try:
        if data[:6] != _MAGIC or data[6:8] not in (b"\1\0", b"\2\0"):
            raise ValueError("another format")
        layout, prefix = ("<H", 10) if data[6] == 1 else ("<I", 12)
        (length,) = struct.unpack_from(layout, data, 8)
        if length > bounds.max_header_bytes or prefix + length > len(data):
            raise ValueError("too long")
        header = ast.literal_eval(data[prefix : prefix + length].decode("latin-1").strip())
        if not isinstance(header, dict) or header.keys() != _KEYS:
            raise ValueError("other keys than three")
        shape, fortran, type_ = header["shape"], header["fortran_order"], header["descr"]
        if not isinstance(shape, tuple) or not all(type(n) is int and n >= 0 for n in shape):
            raise ValueError("no shape")
        if not isinstance(fortran, bool):
            raise ValueError("no order")  # noqa: TRY004 - one error for the whole header
    except _ERRORS as error:
        refuse("format.npz.array", f"the header of `{name[:80]}` is unreadable", cause=error)
    if not isinstance(type_, str) or not _TYPE.fullmatch(type_):
        said = "records" if isinstance(type_, list) else f"`{str(type_)[:20]}`"
        refuse("format.npz.array", f"`{name[:80]}` holds {said}, not numbers or texts")
    try:
        return shape, fortran, np.dtype(type_), prefix + length
    except _ERRORS as error:
        refuse("format.npz.array", f"`{name[:80]}` is of no known type", cause=error)
