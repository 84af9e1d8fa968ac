"""What a Ray worker does: it scores partitions in a sandbox, which it keeps for the next one.

It gets the model and one partition, no key and no token, and never loads the model itself.
"""

import hashlib
import hmac
from collections.abc import Mapping
from typing import Any

import msgspec

from vallum.base import GateError, InputError, IntegrityError
from vallum.guard.partitions import PartScored
from vallum.sandbox import BubblewrapRunner, Limits, Resident
from vallum.workspace.gates.table import ALLOWED


class _Task(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    function: str
    payload: bytes
    arguments: Mapping[str, Any]
    limits: Limits


_open: dict[str, tuple[BubblewrapRunner, Resident]] = {}  # at most one


def score(task: "memoryview | bytes", digest: str, part: bytes, first: int) -> bytes:
    """Return the sandbox's answer on one partition, in MessagePack: a report or a refusal.

    Args:
        task: Function, payload, arguments and limits.
        digest: SHA-256 that `task` must have.
        part: Arrow bytes.
        first: Rows before them.

    Raises:
        IntegrityError: The task is another than was sent.
        UnavailableError: No sandbox can be had on this node.
    """
    try:
        resident = _resident(task, digest)
        report = resident.ask(
            PartScored, {"part": part, "first": first}, max_bytes=len(part) + 1024
        )
    except (InputError, GateError) as error:
        if error.code.startswith("sandbox."):
            close()
        kind = "InputError" if isinstance(error, InputError) else "GateError"
        refusal = (kind, error.code, error.message, error.hint)
        return msgspec.msgpack.encode({"refusal": refusal})
    return msgspec.msgpack.encode({"report": report})


def close() -> None:
    """End the sandbox, if there is one."""
    for _, resident in _open.values():
        resident.close()
    _open.clear()


def _resident(task: "memoryview | bytes", digest: str) -> Resident:
    held = _open.get(digest)
    if held is None:
        close()
        if not hmac.compare_digest(hashlib.sha256(task).hexdigest(), digest):
            raise IntegrityError("the model is not what was sent", code="engine.digest")
        asked = msgspec.msgpack.decode(task, type=_Task)
        runner = BubblewrapRunner.open()
        resident = Resident.open(
            runner, asked.function, asked.payload, allowed=ALLOWED, arguments=asked.arguments,
            limits=asked.limits,
        )  # fmt: skip
        held = _open[digest] = runner, resident
    return held[1]
