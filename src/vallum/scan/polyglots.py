"""Files that one reader takes for what they are here, and another for an archive or a container.

Such a reader looks for a directory at the end, goes by a check sum alone, or skips what stands
before its magic number: each finds in the bytes of numbers what was never judged.

Source: APPNOTE.TXT 4.3.16; CPython, `Lib/tarfile.py`, `TarInfo.frombuf`; HDF5 File Format
Specification 3.0, "Format Signature and Superblock"; onnx and TensorFlow, which skip the fields of
a protocol buffer that they do not know.
"""

import re
import tarfile
from collections.abc import Iterable

HDF5 = b"\x89HDF\r\n\x1a\n"
ZIP_END, ZIP_ENTRY = b"PK\x05\x06", b"PK\x01\x02"
ZIP_TAIL = 22 + 65_535
_HEADER = 512
# What is opened by such a name is read as a protocol buffer, whatever it begins with.
_BUFFER = re.compile(r"\.(pb|onnx|pbtxt|onnxtxt)$", re.IGNORECASE)
_BUFFERS = frozenset(
    """tensorflow onnx onnx-tensor tensorflow-text text json yaml jinja unknown malformed empty
    executable""".split()  # noqa: SIM905 - a table
)


def is_also_zip(data: memoryview) -> bool:
    """Whether the bytes end as a zip archive does."""
    tail = bytes(data[-ZIP_TAIL:])
    return ZIP_END in tail and ZIP_ENTRY in tail


def is_also_tar(data: memoryview) -> bool:
    """Whether a reader that looks for no magic number, but for the check sum, takes it for a tar.

    Python's does, and with it torch, which tries a tar first where there is no zip.
    """
    try:
        tarfile.TarInfo.frombuf(bytes(data[:_HEADER]), "utf-8", "surrogateescape")
    except (tarfile.TarError, ValueError):
        return False
    return True


def is_also_hdf5(data: memoryview, starts: Iterable[int] = ()) -> bool:
    """Whether an HDF5 file stands behind a block of something else, as its reader looks for it.

    `starts` are the places of an archive's members: what begins there is judged as one.
    """
    at, judged = _HEADER, frozenset(starts)
    while at < len(data):
        if bytes(data[at : at + len(HDF5)]) == HDF5 and at not in judged:
            return True
        at *= 2
    return False


def is_read_otherwise(name: str, kind: str) -> bool:
    """Whether a file of this name is read as a protocol buffer, which this kind is none of."""
    return bool(_BUFFER.search(name)) and kind.partition("+")[0] not in _BUFFERS
