"""The inside of a model process: sandboxed; a sealed model and one socket are all it has."""

import os
import socket
import sys
import time

import msgspec
import numpy as np

from vallum.base import VallumError
from vallum.gateway.frames import frame, take_frames
from vallum.gateway.isolated import Said, outputs_of
from vallum.guard.session import Session

_RECV_BYTES = 1024 * 1024
_TOGETHER_S = 0.0005
_DECODER = msgspec.msgpack.Decoder(tuple[tuple[int, int], bytes])


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
        channel.sendall(frame(Said(width=session.width)))
    except VallumError as error:
        channel.sendall(frame(Said(error=error.message)))
        return
    incoming = bytearray()
    while data := channel.recv(_RECV_BYTES):
        incoming += data
        answers = []
        since_s = time.monotonic()
        try:
            for body in take_frames(incoming):
                answers.append(frame(_answer(session, body)))
                if time.monotonic() - since_s > _TOGETHER_S:  # nobody waits long for another's run
                    channel.sendall(b"".join(answers))
                    answers.clear()
                    since_s = time.monotonic()
        except (ConnectionError, msgspec.DecodeError):
            return
        channel.sendall(b"".join(answers))


def _answer(session: Session, body: bytes) -> Said:
    shape, raw = _DECODER.decode(body)
    try:
        x = np.frombuffer(raw, dtype=np.float32).reshape(shape)
        return outputs_of(session.run(x))
    except VallumError as error:
        return Said(error=error.message)
    except Exception as error:  # noqa: BLE001 - the border of the process: say, do not die
        return Said(error=f"the model failed on this input ({type(error).__name__})")


if __name__ == "__main__":
    main()
