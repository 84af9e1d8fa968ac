"""`python -m vallum.worker.ray_host`: the door to Ray for one batch; never started by hand.

Everything that Ray sends is a pickle, so it is read here, where there is no key, no token and no
data but the batch. It ends when the other end of its channel is closed, and Ray's work with it.
"""

import os
import queue
import socket
import sys
import threading
from typing import Any, BinaryIO

import msgspec
import numpy as np

from vallum.schema.engines import RayAnswer, RayBegin, RayPart, RayReady

_ATTEMPTS = 3  # a machine under load starts Ray's processes too late for Ray
_HEAD = 4


def _read(stream: BinaryIO) -> bytes:
    head = stream.read(_HEAD)
    if len(head) < _HEAD:
        raise EOFError
    return stream.read(int.from_bytes(head, "big"))


def _write(stream: BinaryIO, message: RayReady | RayAnswer) -> None:
    body = msgspec.msgpack.encode(message)
    stream.write(len(body).to_bytes(_HEAD, "big") + body)
    stream.flush()


def _start(begin: RayBegin) -> int:
    """Start Ray or connect to it; return its number of processors."""
    import ray

    quiet: dict[str, Any] = {
        "log_to_driver": False, "logging_level": "error", "configure_logging": False,
    }  # fmt: skip
    if begin.address:
        ray.init(address=begin.address, **quiet)
    else:
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                ray.init(
                    num_cpus=begin.cpus, include_dashboard=False, _node_ip_address="127.0.0.1",
                    object_store_memory=512 * 1024 * 1024, **quiet,
                )  # fmt: skip
                break
            except Exception:
                ray.shutdown()
                if attempt == _ATTEMPTS:
                    raise
    return max(1, min(64, int(ray.cluster_resources().get("CPU", 1))))


def _serve(begin: RayBegin, stream: BinaryIO) -> None:
    """Score what comes, several at a time; answer in the same order."""
    import ray

    from vallum.worker.ray_task import score

    task = ray.put(np.frombuffer(begin.task, dtype=np.uint8))  # read in place by every worker
    remote = ray.remote(num_cpus=1, max_retries=begin.retries)(score)
    asked: queue.Queue[Any] = queue.Queue()  # as many as the other end lets be under way

    def take() -> None:
        try:
            while True:
                one = msgspec.msgpack.decode(_read(stream), type=RayPart)
                asked.put(remote.remote(task, begin.digest, one.part, one.first))
        finally:
            os._exit(0)  # nobody is there any more

    threading.Thread(target=take, daemon=True).start()
    while True:
        reference = asked.get()
        try:
            answer = RayAnswer(answer=ray.get(reference))
        except Exception as error:  # noqa: BLE001 - of Ray, of many kinds, and those of a task
            answer = RayAnswer(error=_said(error))
        _write(stream, answer)


def _said(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {lines[-1]}"[:200]


def main() -> None:
    """Serve one batch."""
    with socket.socket(fileno=int(sys.argv[1])) as channel:
        stream: Any = channel.makefile("rwb")
        begin = msgspec.msgpack.decode(_read(stream), type=RayBegin)
        try:
            slots = _start(begin)
        except Exception as error:  # noqa: BLE001 - of Ray, of many kinds
            _write(stream, RayReady(error=_said(error)))
            return
        _write(stream, RayReady(slots=slots))
        _serve(begin, stream)


if __name__ == "__main__":
    main()
