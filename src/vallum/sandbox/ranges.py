"""Bytes that stay outside of a sandbox and are read in it by range, in bounded memory.

The question is an offset (8 bytes) and a length (4 bytes), big-endian; the answer is as many bytes.
Whoever asks for what is not there, or for more than 1 MiB at once, is answered no more.
"""

import contextlib
import socket
import struct
import threading

from vallum.base import InputError, VallumError
from vallum.formats import Ranged

_SIZE = struct.Struct(">Q")
_QUESTION = struct.Struct(">QI")
_MAX_BYTES = 1 << 20  # of one answer


class ServedRanges:
    """Our side: a thread that answers until the other side, or `close`, ends it."""

    def __init__(self, held: Ranged) -> None:
        """Open the channel; `theirs` is the descriptor to send, which `start` closes here."""
        self._held = held
        self._ours, self._other = socket.socketpair()
        self._thread = threading.Thread(target=self._answer, name="vallum-ranges", daemon=True)
        self._failed: VallumError | None = None
        self._size = len(held)
        self._ours.sendall(_SIZE.pack(self._size))  # waits in the channel

    @property
    def theirs(self) -> int:
        """The descriptor that the sandbox gets."""
        return self._other.fileno()

    def start(self) -> None:
        """Answer from now on."""
        self._other.close()
        self._thread.start()

    def close(self) -> None:
        """Stop answering.

        Raises:
            VallumError: Reading had failed: what the sandbox said is then about nothing.
        """
        with contextlib.suppress(OSError):
            self._ours.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._ours.close()
        if self._failed is not None:
            raise self._failed

    def _answer(self) -> None:
        with contextlib.suppress(OSError):
            while asked := _exactly(self._ours, _QUESTION.size):
                offset, length = _QUESTION.unpack(asked)
                if length > _MAX_BYTES or offset + length > self._size:
                    break
                try:
                    data = bytes(self._held[offset : offset + length])
                except VallumError as error:
                    self._failed = error
                    break
                self._ours.sendall(data)
            self._ours.shutdown(socket.SHUT_RDWR)


def open_ranges(channel: socket.socket) -> Ranged:
    """Return, inside of a sandbox, the bytes behind the channel of a `ServedRanges`."""

    def said(count: int) -> bytes:
        data = _exactly(channel, count)
        if not data:
            raise InputError("the other side answers no more", code="sandbox.ranges")
        return data

    def read(offset: int, length: int) -> bytes:
        parts = []
        while length:
            step = min(length, _MAX_BYTES)
            with contextlib.suppress(OSError):  # told by the answer that does not come
                channel.sendall(_QUESTION.pack(offset, step))
            parts.append(said(step))
            offset += step
            length -= step
        return parts[0] if len(parts) == 1 else b"".join(parts)

    (size,) = _SIZE.unpack(said(_SIZE.size))
    return Ranged(read, size)


def _exactly(channel: socket.socket, count: int) -> bytes:
    """Return `count` bytes; none where the other side ended before."""
    data = bytearray(count)
    view = memoryview(data)
    while view:
        got = channel.recv_into(view)
        if not got:
            return b""
        view = view[got:]
    return bytes(data)
