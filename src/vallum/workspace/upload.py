"""Uploaded content in sealed anonymous memory: on no disk, unchangeable once complete."""

import fcntl
import io
import os
from typing import BinaryIO, cast

from vallum.base import LimitExceededError, UnavailableError

_SEALS = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL


class Upload:
    """Grows while it is written, is sealed by `finish`, and frees its memory on `close`."""

    def __init__(self, *, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._descriptor = os.memfd_create("upload", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        self.size = 0

    def write(self, chunk: bytes) -> None:
        """Append `chunk`.

        Raises:
            LimitExceededError: The content exceeds `max_bytes`.
            UnavailableError: There is no memory left.
        """
        self.size += len(chunk)
        if self.size > self._max_bytes:
            raise LimitExceededError(
                f"the content exceeds {self._max_bytes} bytes", code="request.body"
            )
        view = memoryview(chunk)
        try:
            while view:
                view = view[os.write(self._descriptor, view) :]
        except OSError as error:
            raise UnavailableError("there is no memory for the upload") from error

    def finish(self) -> None:
        """Seal the memory: nobody changes it between the gates and the store."""
        fcntl.fcntl(self._descriptor, fcntl.F_ADD_SEALS, _SEALS)

    def reader(self) -> BinaryIO:
        """Return a reader from the first byte."""
        os.lseek(self._descriptor, 0, os.SEEK_SET)
        return cast("BinaryIO", io.BufferedReader(io.FileIO(os.dup(self._descriptor), "rb")))

    def close(self) -> None:
        """Free the memory."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
