"""An OCI image layout, as a folder or as a tar of one; every blob is read by its digest.

Source: OCI Image Format Specification 1.1, "OCI Image Layout Specification".
"""

import hashlib
import hmac
import mmap
import os
import stat
from collections.abc import Callable
from pathlib import Path

from vallum.base.bounds import GIB, IMAGE, ArchiveBounds, ImageBounds
from vallum.base.errors import InputError, IntegrityError, LimitExceededError, VallumError
from vallum.formats import Ranged, TarArchive, View, load_json, release
from vallum.scan.image.documents import DIGEST, Index, as_index, read_document

_ARCHIVE = ArchiveBounds(
    max_bytes=64 * GIB, max_entries=10_000, max_member_bytes=64 * GIB, max_total_bytes=64 * GIB,
    max_ratio=1, max_name_bytes=1_024,
)  # fmt: skip
_CHUNK = 1 << 20
_MARKER, _INDEX = "oci-layout", "index.json"
_HINT = "skopeo copy docker-archive:IMAGE.tar oci-archive:LAYOUT.tar"


class Layout:
    """An opened layout: nothing is unpacked, and no byte is handed out that is not its digest's.

    Attributes:
        index: What the layout holds.
        blobs: How many there are.
    """

    def __init__(self, read: Callable[[str], View], blobs: frozenset[str],
                 bounds: ImageBounds = IMAGE) -> None:  # fmt: skip
        """Read the index.

        Args:
            read: Returns a file by its path in the layout; raises InputError where it is missing.
            blobs: Digests of those that the layout claims to hold.
            bounds: On its documents.

        Raises:
            InputError: It is no layout, or its index is malformed.
            LimitExceededError: Its index is beyond a bound.
        """
        self._read = read
        self._bounds = bounds
        self.blobs = blobs
        marker = load_json(self._small(_MARKER))
        if not isinstance(marker, dict) or marker.get("imageLayoutVersion") != "1.0.0":
            raise InputError("the layout has another version than 1.0.0", code="image.layout")
        self.index: Index = as_index(read_document(self._small(_INDEX), bounds))

    def _small(self, name: str) -> bytes:
        data = self._read(name)
        if len(data) > self._bounds.max_document_bytes:
            limit = self._bounds.max_document_bytes
            raise LimitExceededError(f"`{name}` exceeds {limit} bytes", code="image.document-size")
        return bytes(data)

    def file(self, name: str) -> bytes:
        """Return a small file of the layout itself.

        Raises:
            InputError: It is not there.
            LimitExceededError: It is beyond the bound of a document.
        """
        return self._small(name)

    def blob(self, digest: str, size: int) -> View:
        """Return a blob where it lies, every byte of it checked against its digest.

        Raises:
            InputError: It is not there.
            IntegrityError: Its bytes or their count differ: code `image.digest`.
        """
        data = self._read(_place(digest))
        total = hashlib.sha256()
        for start in range(0, len(data), _CHUNK):
            total.update(bytes(data[start : start + _CHUNK]))
            release(data)
        if len(data) != size or not hmac.compare_digest("sha256:" + total.hexdigest(), digest):
            raise IntegrityError(f"the blob `{digest}` has other bytes", code="image.digest")
        return data

    def document(self, digest: str, size: int) -> bytes:
        """Return a small blob: a manifest, a configuration, a signature's payload.

        Raises:
            InputError: It is not there.
            IntegrityError: Its bytes differ.
            LimitExceededError: It is beyond the bound of a document.
        """
        if size > self._bounds.max_document_bytes:
            limit = self._bounds.max_document_bytes
            raise LimitExceededError(
                f"`{digest}` exceeds {limit} bytes", code="image.document-size"
            )
        return bytes(self.blob(digest, size))


def _place(digest: str) -> str:
    if not DIGEST.match(digest):
        raise InputError("only SHA-256 digests are read", code="image.digest-form")
    return "blobs/sha256/" + digest.removeprefix("sha256:")


def is_layout(path: Path) -> bool:
    """Tell whether a path looks like a layout; opening it tells whether it is one."""
    try:
        if path.is_dir():
            return (path / _MARKER).is_file() and (path / _INDEX).is_file()
        with path.open("rb") as file:
            head = file.read(1 << 20)
    except OSError:
        return False
    return head[257:262] == b"ustar" and (b"oci-layout\0" in head or b"blobs/sha256/" in head)


def open_layout(path: Path, bounds: ImageBounds = IMAGE) -> Layout:
    """Open a folder or a tar.

    Raises:
        InputError: It cannot be read, or is no layout.
        LimitExceededError: Beyond a bound.
    """
    try:
        if path.is_dir():
            return _open_folder(path, bounds)
        with path.open("rb") as file:
            if os.fstat(file.fileno()).st_size == 0:
                raise InputError(f"`{path}` is empty", code="image.layout")
            data = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    except (OSError, ValueError) as error:
        raise InputError(f"`{path}` cannot be read", code="image.layout") from error
    return layout_of(data, bounds)


def layout_of(data: bytes | View, bounds: ImageBounds = IMAGE) -> Layout:
    """Open the bytes of a tar of a layout; what lies elsewhere is read when it is needed.

    Raises:
        InputError: They are none.
        LimitExceededError: Beyond a bound.
    """
    view: View = data if isinstance(data, Ranged) else memoryview(data)
    if bytes(view[:2]) == b"\x1f\x8b":
        raise InputError(
            "the archive is compressed; a layout's layers are already",
            code="image.layout", hint="gunzip IMAGE.tar.gz",
        )  # fmt: skip
    try:
        archive = TarArchive(view, _ARCHIVE)
    except VallumError as error:
        raise InputError(
            f"no tar of an OCI layout: {error.message}", code="image.layout", hint=_HINT
        ) from error
    files = {member.name.removeprefix("./"): member for member in archive.files()}
    if _MARKER not in files or _INDEX not in files:
        raise InputError("the archive is no OCI layout", code="image.layout", hint=_HINT)

    def read(name: str) -> View:
        member = files.get(name)
        if member is None:
            raise InputError(f"`{name}` is missing in the layout", code="image.missing-blob")
        return view[member.offset : member.offset + member.size]

    return Layout(read, _digests(files), bounds)


def _open_folder(folder: Path, bounds: ImageBounds) -> Layout:
    if not (folder / _MARKER).is_file():
        raise InputError(f"`{folder}` is no OCI layout", code="image.layout", hint=_HINT)
    blobs = folder / "blobs" / "sha256"
    names = [f"blobs/sha256/{one.name}" for one in blobs.iterdir()] if blobs.is_dir() else []

    def read(name: str) -> memoryview:
        return _map(folder / name, name)

    return Layout(read, _digests(names), bounds)


def _map(path: Path, name: str) -> memoryview:
    """Map a regular file that is no link."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise InputError(
            f"`{name}` is missing in the layout, or a link", code="image.missing-blob"
        ) from error
    try:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode):
            raise InputError(f"`{name}` is no regular file", code="image.missing-blob")
        if status.st_size == 0:
            return memoryview(b"")
        return memoryview(mmap.mmap(handle, 0, access=mmap.ACCESS_READ))
    except (OSError, ValueError) as error:
        raise InputError(f"`{name}` cannot be read", code="image.missing-blob") from error
    finally:
        os.close(handle)


def _digests(names: object) -> frozenset[str]:
    given = [str(one) for one in names] if isinstance(names, list | dict) else []
    return frozenset(
        "sha256:" + one.removeprefix("blobs/sha256/")
        for one in given
        if one.startswith("blobs/sha256/")
    )
