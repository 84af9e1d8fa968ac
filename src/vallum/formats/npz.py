"""NumPy's archives: a zip of arrays of numbers and texts, never of objects.

An array of objects is a pickle, which runs code when it is read; it is refused by its header.

Source: NEP 1, "A Simple File Format for NumPy Arrays".
"""

import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vallum.base.bounds import ARRAY, ArrayBounds
from vallum.formats.refusal import refuse, within
from vallum.formats.zip_archive import ZipArchive

_KINDS = "biufUS"
_ERRORS = (ValueError, SyntaxError, MemoryError, RecursionError, OverflowError, TypeError)


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
    stream = io.BytesIO(data)
    try:
        version = np.lib.format.read_magic(stream)
        read = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }[version]
        # Literals only are evaluated, of a header no longer than this.
        shape, fortran, type_ = read(stream, max_header_size=bounds.max_header_bytes)
    except (*_ERRORS, KeyError) as error:
        refuse("format.npz.array", f"the header of `{name[:80]}` is unreadable", cause=error)
    if type_.kind not in _KINDS:
        refuse("format.npz.array", f"`{name[:80]}` holds `{type_}`, not numbers or texts")
    within(len(shape), bounds.max_dimensions, "format.npz.dimensions", "dimensions of an array")
    rest = len(data) - stream.tell()
    if any(side < 0 for side in shape) or math.prod(shape) * type_.itemsize != rest:
        refuse("format.npz.array", f"`{name[:80]}` does not hold what its header says")
    try:
        flat = np.frombuffer(data, dtype=type_, count=math.prod(shape), offset=stream.tell())
        found: NDArray[Any] = flat.reshape(shape, order="F" if fortran else "C")
    except _ERRORS as error:
        refuse("format.npz.array", f"`{name[:80]}` cannot be laid out", cause=error)
    return found
