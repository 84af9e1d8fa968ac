"""`python -m vallum.gateway.ray_door`: the door to Ray Serve for one deployment; never by hand.

What Ray sends is read here, where there is no key, no token and no data but the tensors that are
asked. It talks with the gateway as a model process does. Ray's own router finds a replica for
each question; what a replica that died was asked is asked once more. The door ends when the other
end of its channel is closed.
"""

import asyncio
import contextlib
import hashlib
import os
import socket
import sys
from collections.abc import Coroutine
from typing import Any, Protocol

import msgspec
import numpy as np

from vallum.gateway.frames import frame, take_frames
from vallum.gateway.isolated import Said
from vallum.gateway.ray_replica import Owner, Replica
from vallum.schema.release import Scale
from vallum.schema.serving import ReplicasBegin
from vallum.workspace.engines.ray_room import said_by, start_ray

_RECV_BYTES = 1024 * 1024
MAX_AT_ONCE = 256  # as many as a gateway lets in; bounds follow `Scale.concurrency`
_LOOK_S = 2.0
_LOST = 15  # looks without an answer from Ray Serve, after which there is no Ray any more
_HEALTH_S = 2.0
_HELLO_S = 60.0
_NOTHING = msgspec.msgpack.encode(None)
_SAID = msgspec.msgpack.Decoder(Said)


class Handle(Protocol):
    """By which Ray Serve is asked; it finds a replica."""

    hello: Any
    predict: Any


def options_of(scale: Scale) -> dict[str, Any]:
    """Return how Ray Serve is told what `Scale` says."""
    made: dict[str, Any] = {
        "name": "model",
        "max_ongoing_requests": MAX_AT_ONCE,
        "health_check_period_s": _HEALTH_S,
        "graceful_shutdown_timeout_s": 5.0,
        "graceful_shutdown_wait_loop_s": 0.2,
        "ray_actor_options": {"num_cpus": 1},
    }
    if scale.min_instances == scale.max_instances:
        return {**made, "num_replicas": scale.min_instances}
    return {
        **made,
        "autoscaling_config": {
            "min_replicas": scale.min_instances,
            "max_replicas": scale.max_instances,
            "target_ongoing_requests": scale.concurrency * scale.target_percent / 100,
            "upscale_delay_s": 1.0,
            "downscale_delay_s": float(scale.cool_down_s),
            "look_back_period_s": 15.0,
        },
    }


def _deploy(begin: bytes, asked: ReplicasBegin) -> tuple[Handle, object]:
    """Start the application; return its handle, and what has to live as long as we do."""
    import ray
    from ray import serve

    start_ray(asked.address, asked.scale.max_instances)
    serve.start(proxy_location="Disabled")  # nobody gets to a replica but through us
    owner = ray.remote(num_cpus=0)(Owner).remote() if asked.address else None
    reference = ray.put(np.frombuffer(begin, dtype=np.uint8))
    digest = hashlib.sha256(begin).hexdigest()
    made = serve.deployment(**options_of(asked.scale))(Replica)
    application = made.bind([reference], digest, owner, asked.name)
    try:
        return serve.run(application, name=asked.name, route_prefix=None), (owner, reference)
    except RuntimeError as error:
        raise RuntimeError(_why(asked.name) or str(error)) from error


def _why(name: str) -> str:
    """Return what Ray Serve knows last about an application that does not come to stand."""
    from ray import serve

    found = serve.status().applications.get(name)
    if found is None:
        return ""
    told = "\n".join((found.message, *(one.message for one in found.deployments.values())))
    errors = [line.strip() for line in told.splitlines() if "Error" in line]
    return errors[-1] if errors else told.strip()


class _Door:
    """Answers questions as they come, in whatever order. For one event loop."""

    def __init__(self, handle: Handle, asked: ReplicasBegin, writer: asyncio.StreamWriter) -> None:
        self._handle = handle
        self._asked = asked
        self._writer = writer
        self._running = asked.scale.min_instances
        self._tasks: set[asyncio.Task[None]] = set()

    async def serve(self, reader: asyncio.StreamReader) -> None:
        """Say hello; answer until nobody is there any more."""
        try:
            hello = await asyncio.wait_for(self._handle.hello.remote(), _HELLO_S)
            self._say(0, _SAID.decode(hello))
        except Exception as error:  # noqa: BLE001 - of Ray, of many kinds
            self._say(0, Said(away=f"no replica stands: {said_by(error)}"))
            return
        self._begin(self._look())
        incoming = bytearray()
        number = 0
        while data := await reader.read(_RECV_BYTES):
            incoming += data
            for body in take_frames(incoming):
                number += 1
                self._begin(self._answer(number, body))

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _say(self, number: int, said: Said) -> None:
        made = msgspec.structs.replace(said, number=number, running=self._running)
        self._writer.write(frame(made))

    async def _answer(self, number: int, body: bytes) -> None:
        if body == _NOTHING:
            await asyncio.to_thread(_remove, self._asked.name)
            self._say(number, Said())
            return
        try:
            async with asyncio.timeout(self._asked.answer_s):
                said = await self._tried(body)
        except TimeoutError:
            said = Said(away="no replica answered in time")
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - of Ray, many kinds
            said = Said(away=said_by(error))  # each question gets its answer
        self._say(number, said)

    async def _tried(self, body: bytes) -> Said:
        from ray.exceptions import RayActorError
        from ray.serve.exceptions import ReplicaUnavailableError

        try:
            said = _SAID.decode(await self._handle.predict.remote(body))
            if not said.away:
                return said
        except (RayActorError, ReplicaUnavailableError):
            pass
        return _SAID.decode(await self._handle.predict.remote(body))  # asked twice is the same

    async def _look(self) -> None:
        """Follow how many replicas there are; end without Ray Serve."""
        from ray import serve

        lost = 0
        while lost < _LOST:
            try:
                async with asyncio.timeout(_LOOK_S):
                    status = await asyncio.to_thread(serve.status)
                states = status.applications[self._asked.name].deployments["model"].replica_states
                self._running = sum(n for state, n in states.items() if state == "RUNNING")
                lost = 0
            except Exception:  # noqa: BLE001 - of Ray, of many kinds
                lost += 1
            await asyncio.sleep(_LOOK_S)
        os._exit(1)


def _remove(name: str) -> None:
    from ray import serve

    with contextlib.suppress(Exception):  # whoever asks does not wait for long
        serve.delete(name, _blocking=False)


async def _serve(handle: Handle, asked: ReplicasBegin, channel: socket.socket) -> None:
    reader, writer = await asyncio.open_connection(sock=channel)
    await _Door(handle, asked, writer).serve(reader)
    with contextlib.suppress(OSError):
        await writer.drain()


def main() -> None:
    """Serve one deployment."""
    with os.fdopen(os.dup(int(sys.argv[1])), "rb") as file:
        file.seek(0)
        begin = file.read()
    channel = socket.socket(fileno=int(sys.argv[2]))
    asked = msgspec.msgpack.decode(begin, type=ReplicasBegin)
    try:
        handle, _kept = _deploy(begin, asked)
    except Exception as error:  # noqa: BLE001 - of Ray, of many kinds
        channel.sendall(frame(Said(away=f"no Ray comes to stand: {said_by(error)}")))
        return
    asyncio.run(_serve(handle, asked, channel))
    os._exit(0)  # Ray's own way of ending takes long, and nobody is there any more


if __name__ == "__main__":
    main()
