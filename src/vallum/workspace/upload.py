"""Uploaded content: in sealed anonymous memory, and beyond a bound on disk as ciphertext.

Plaintext touches no disk, and nobody changes the content between the gates and the store: memory
is sealed, and a file has no name, a key that only this process holds, and a check on every byte.
"""

import fcntl
import io
import os
import secrets
import shutil
import tempfile
import threading
from pathlib import Path
from typing import Any, BinaryIO, ClassVar, cast

from vallum.base import LimitExceededError, Secret, UnavailableError
from vallum.base.bounds import MIB
from vallum.crypto import DataKey, EncryptingWriter, StreamReader
from vallum.workspace.kernel import RESERVE_BYTES

_SEALS = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
_IN_MEMORY = 64 * MIB
_CHUNK = 1 * MIB
_DOMAIN = b"vallum.upload/1"
_LOOK_EVERY = 16 * MIB  # bytes between two looks at how much disk is left


class Upload:
    """Grows while it is written, is sealed by `finish`, and is gone after `close`."""

    def __init__(self, *, max_bytes: int, folder: Path, in_memory: int = _IN_MEMORY) -> None:
        """Start empty.

        Args:
            max_bytes: Of the content.
            folder: Where what is beyond memory lies, encrypted and without a name.
            in_memory: Bytes that memory holds.
        """
        self._max_bytes = max_bytes
        self._folder = folder
        self._in_memory = in_memory
        self._descriptor = os.memfd_create("upload", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        self._spool: _Spool | None = None
        self._readers: list[BinaryIO] = []
        self.size = 0

    def write(self, chunk: bytes) -> None:
        """Append `chunk`.

        Raises:
            LimitExceededError: The content exceeds `max_bytes`.
            UnavailableError: There is no memory left, or no disk.
        """
        self.size += len(chunk)
        if self.size > self._max_bytes:
            raise LimitExceededError(
                f"the content exceeds {self._max_bytes} bytes", code="request.body"
            )
        if self._spool is None and self.size > self._in_memory:
            self._spill()
        if self._spool is not None:
            self._spool.write(chunk)
            return
        view = memoryview(chunk)
        try:
            while view:
                view = view[os.write(self._descriptor, view) :]
        except OSError as error:
            raise UnavailableError("there is no memory for the upload") from error

    def _spill(self) -> None:
        """Move what memory holds to disk."""
        self._spool = _Spool(self._folder)
        os.lseek(self._descriptor, 0, os.SEEK_SET)
        while chunk := os.read(self._descriptor, _CHUNK):
            self._spool.write(chunk)
        os.ftruncate(self._descriptor, 0)

    def finish(self) -> None:
        """Seal it: nobody changes it between the gates and the store.

        Raises:
            UnavailableError: There is no disk left.
        """
        if self._spool is not None:
            self._spool.finish()
        else:
            fcntl.fcntl(self._descriptor, fcntl.F_ADD_SEALS, _SEALS)

    def reader(self) -> BinaryIO:
        """Return a reader from the first byte, which `close` closes.

        It raises IntegrityError where the disk gives other bytes than were written.
        """
        if self._spool is not None:
            made = io.BufferedReader(self._spool.reader(), _CHUNK)
        else:
            os.lseek(self._descriptor, 0, os.SEEK_SET)
            made = io.BufferedReader(io.FileIO(os.dup(self._descriptor), "rb"))
        self._readers.append(cast("BinaryIO", made))
        return self._readers[-1]

    def close(self) -> None:
        """Free the memory and the disk."""
        while self._readers:
            self._readers.pop().close()
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
        if self._spool is not None:
            self._spool.close()


class _Spool:
    """Ciphertext in a file without a name, under a key that is kept nowhere."""

    def __init__(self, folder: Path) -> None:
        try:
            self._pages = _Pages(folder)
        except OSError as error:
            raise UnavailableError("there is no disk for the upload") from error
        self._key = DataKey(Secret(secrets.token_bytes(32)))
        try:
            self._writer = EncryptingWriter(self._pages, self._key, _DOMAIN)
        except BaseException:
            self._pages.close()
            raise

    def write(self, chunk: bytes) -> None:
        self._writer.write(chunk)

    def finish(self) -> None:
        self._writer.close()

    def reader(self) -> io.RawIOBase:
        return _Reader(StreamReader(self._pages, self._key, _DOMAIN, self._pages.size))

    def close(self) -> None:
        self._pages.close()


class _Pages:
    """The file: a sink and a source."""

    in_use: ClassVar[int] = 0
    lock: ClassVar[threading.Lock] = threading.Lock()

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._file = tempfile.TemporaryFile(dir=folder, buffering=0)  # noqa: SIM115 - `close` closes it
        self.size = 0
        self._look_at = 0
        self._closed = False
        with _Pages.lock:
            _Pages.in_use += 1

    def write(self, data: bytes | bytearray | memoryview, /) -> int:
        if self.size >= self._look_at:
            self._look_at = self.size + _LOOK_EVERY
            # Each of those that are open may write as much before it looks again.
            if shutil.disk_usage(self._folder).free < RESERVE_BYTES + _LOOK_EVERY * _Pages.in_use:
                raise UnavailableError("there is no disk for the upload")
        view = memoryview(data)
        try:
            while view:
                written = os.write(self._file.fileno(), view)
                self.size += written
                view = view[written:]
        except OSError as error:
            raise UnavailableError("there is no disk for the upload") from error
        return len(data)

    def read(self, offset: int, length: int, /) -> bytes:
        return os.pread(self._file.fileno(), length, offset)

    def close(self) -> None:
        self._file.close()
        with _Pages.lock:
            _Pages.in_use -= not self._closed
            self._closed = True


class _Reader(io.RawIOBase):
    """The plaintext, as a file that can be read at random."""

    def __init__(self, stream: StreamReader) -> None:
        self._stream = stream
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._stream.size}[whence]
        self._at = max(0, start + offset)
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, into: Any, /) -> int:  # noqa: ANN401 - a writable buffer, as io has it
        count = self._stream.readinto(self._at, memoryview(into).cast("B"))
        self._at += count
        return count
