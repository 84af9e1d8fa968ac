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
from vallum.workspace.engines.ray_room import said_by, start_ray

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

    start_ray(begin.address, begin.cpus)
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
            answer = RayAnswer(error=said_by(error))
        _write(stream, answer)


def main() -> None:
    """Serve one batch."""
    with socket.socket(fileno=int(sys.argv[1])) as channel:
        stream: Any = channel.makefile("rwb")
        begin = msgspec.msgpack.decode(_read(stream), type=RayBegin)
        try:
            slots = _start(begin)
        except Exception as error:  # noqa: BLE001 - of Ray, of many kinds
            _write(stream, RayReady(error=said_by(error)))
            return
        _write(stream, RayReady(slots=slots))
        _serve(begin, stream)


if __name__ == "__main__":
    main()
