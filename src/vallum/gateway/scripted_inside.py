"""The inside of a process of scoring code: sandboxed; code, model and one socket are all it has.

Nothing here is trusted by the other side: whoever takes this process over can say whatever the
code could have said anyway.
"""

import importlib.util
import io
import json
import os
import socket
import sys
import traceback
from collections.abc import Callable

import msgspec

from vallum.base import InputError
from vallum.gateway.frames import frame, take_frames
from vallum.gateway.isolated import Said
from vallum.gateway.relaying import PROXY

_CODE = "/code"
_MAX_ANSWER_BYTES = 16 * 1024 * 1024
_MAX_TOLD = 4096
_RECV_BYTES = 1024 * 1024
_DECODER = msgspec.msgpack.Decoder(str)


class _Tail(io.TextIOBase):
    """Keeps the last of what is printed."""

    def __init__(self) -> None:
        self.text = ""

    def writable(self) -> bool:
        """Tell that it can be written."""
        return True

    def write(self, text: str, /) -> int:
        """Keep the end of it."""
        self.text = (self.text + text)[-_MAX_TOLD:]
        return len(text)


def main() -> None:
    """Load the code, call `init()`, and answer frames until the socket closes."""
    entry, channel = sys.argv[1], socket.socket(fileno=int(sys.argv[2]))
    channel.set_inheritable(False)
    for door in sys.argv[3:]:
        _hand_out_listener(socket.socket(fileno=int(door)))
    tail = _Tail()
    sys.stdout = sys.stderr = tail
    try:
        run = _load(entry)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - the border of the process
        said = f"the scoring code does not load, or its init() failed ({type(error).__name__})"
        channel.sendall(frame(Said(error=said, told=_told(tail))))
        return
    channel.sendall(frame(Said()))
    incoming = bytearray()
    while data := channel.recv(_RECV_BYTES):
        incoming += data
        try:
            for body in take_frames(incoming):
                tail.text = ""
                channel.sendall(frame(_answer(run, _DECODER.decode(body), tail)))
        except (ConnectionError, msgspec.DecodeError):
            return


def _hand_out_listener(door: socket.socket) -> None:
    """Listen where code looks for its relay, and let the relay answer."""
    with door, socket.socket(socket.AF_INET, socket.SOCK_STREAM) as listener:
        listener.bind(PROXY)
        listener.listen()
        socket.send_fds(door, [b"+"], [listener.fileno()])


def _load(entry: str) -> Callable[[str], object]:
    path = f"{_CODE}/{entry}"
    sys.path[:0] = [os.path.dirname(path), _CODE]  # noqa: PTH120 - as Azure ML's server does
    spec = importlib.util.spec_from_file_location("scoring_script", path)
    if spec is None or spec.loader is None:
        raise InputError("the scoring script is no module", code="code.entry")
    module = importlib.util.module_from_spec(spec)
    sys.modules["scoring_script"] = module
    spec.loader.exec_module(module)
    names = vars(module)
    init, run = names.get("init"), names.get("run")
    if not callable(run):
        raise InputError("the scoring script has no run()", code="code.entry")
    if callable(init):
        init()
    found: Callable[[str], object] = run
    return found


def _answer(run: Callable[[str], object], raw: str, tail: _Tail) -> Said:
    try:
        answer = json.dumps(run(raw), allow_nan=False, ensure_ascii=False).encode()
    except (Exception, SystemExit) as error:  # noqa: BLE001 - the border of the process
        return Said(error=f"run() failed ({type(error).__name__})", told=_told(tail))
    if len(answer) > _MAX_ANSWER_BYTES:
        return Said(error="run() returned too much")
    return Said(answer=answer)


def _told(tail: _Tail) -> str:
    """Return what was printed, and the end of the traceback, without personal data that is found.

    It is masked here, and not where the keys are: what does that is large, and code seldom fails.
    """
    said = f"{tail.text}\n{traceback.format_exc(limit=-8)}"[-_MAX_TOLD:]
    try:
        from vallum.privacy import mask_text

        return mask_text(said)
    except Exception:  # noqa: BLE001 - the code may have broken whatever it likes
        return "what it said could not be searched for personal data, and is left out"


if __name__ == "__main__":
    main()
