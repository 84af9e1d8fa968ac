"""The inside of a model process: sandboxed; a sealed model and one socket are all it has."""

import os
import socket
import struct
import sys

import msgspec
import numpy as np

from vallum.base import VallumError
from vallum.gateway.model import MAX_FRAME_BYTES, Answer, Session

_LENGTH = struct.Struct("<I")


def main() -> None:
    """Load the model and answer frames until the socket closes."""
    model, channel = int(sys.argv[1]), socket.socket(fileno=int(sys.argv[2]))
    data = b""
    offset = 0
    pieces = []
    while data := os.pread(model, 1 << 24, offset):
        pieces.append(data)
        offset += len(data)
    try:
        session = Session(b"".join(pieces))
        del pieces
        _send(channel, Answer(width=session.width))
    except VallumError as error:
        _send(channel, Answer(error=error.message))
        return
    stream = channel.makefile("rb")
    while head := stream.read(_LENGTH.size):
        length = _LENGTH.unpack(head)[0]
        if length > MAX_FRAME_BYTES:
            return
        shape, raw = msgspec.msgpack.decode(stream.read(length), type=tuple[tuple[int, int], bytes])
        x = np.frombuffer(raw, dtype=np.float32).reshape(shape)
        try:
            outputs = tuple(
                (name, value.dtype.str, value.shape, np.ascontiguousarray(value).tobytes())
                for name, value in session.run(x)
                if value.dtype.kind != "O"
            )
            answer = Answer(outputs=outputs)
        except VallumError as error:
            answer = Answer(error=error.message)
        except Exception as error:  # noqa: BLE001 - the border of the process: say, do not die
            answer = Answer(error=f"the model failed on this input ({type(error).__name__})")
        _send(channel, answer)


def _send(channel: socket.socket, answer: Answer) -> None:
    body = msgspec.msgpack.encode(answer)
    channel.sendall(_LENGTH.pack(len(body)) + body)


if __name__ == "__main__":
    main()
