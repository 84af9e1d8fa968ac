"""What runs on a node of Ray: one replica, which keeps its model in a sandboxed process.

It gets the model and tensors that the guard let through, no key and no token. The process that
Ray knows never loads the model.
"""

import asyncio
import hashlib
import hmac
import time
from typing import Any, Protocol

import msgspec
import numpy as np

from vallum.base import GateError, InputError, IntegrityError, UnavailableError
from vallum.gateway.isolated import IsolatedModel, Said, outputs_of
from vallum.gateway.model import Held
from vallum.sandbox import BubblewrapRunner
from vallum.schema.serving import ReplicasBegin

VERIFY_S = 55.0
OWNER_S = 20.0
_QUESTION = msgspec.msgpack.Decoder(tuple[tuple[int, ...], bytes])
_ENCODER = msgspec.msgpack.Encoder()


class Kept:
    """The model of a replica."""

    def __init__(self, begin: bytes, digest: str, runner: BubblewrapRunner) -> None:
        """Take a sealed copy.

        Args:
            begin: `ReplicasBegin`, in MessagePack.
            digest: SHA-256 that it must have.
            runner: Whose sandbox the model gets.

        Raises:
            IntegrityError: It is another than was sent, or the model than was registered.
        """
        if not hmac.compare_digest(hashlib.sha256(begin).hexdigest(), digest):
            raise IntegrityError("the model is not what was sent", code="engine.digest")
        asked = msgspec.msgpack.decode(begin, type=ReplicasBegin)
        self.held = Held(asked.data, asked.sha256)
        self.model = IsolatedModel(self.held, runner, answer_s=asked.answer_s)

    async def hello(self) -> Said:
        """Start the model's process; say what a process says that stands."""
        try:
            await self.model.start()
        except InputError as error:  # of the model: no other replica loads it
            return Said(error=error.message)
        return Said(width=self.model.width)

    async def answer(self, question: bytes) -> Said:
        """Return the answer to one question."""
        try:
            shape, raw = _QUESTION.decode(question)
            x = np.frombuffer(raw, dtype=np.float32).reshape(shape)
            return outputs_of(await self.model.predict(x))
        except GateError as error:
            return Said(error=error.message)
        except UnavailableError as error:  # it is being restarted
            return Said(away=error.message)

    async def close(self) -> None:
        """End the process."""
        await self.model.close()
        self.held.close()


class Owner:
    """Lives as long as the door; whoever cannot reach it has lost its gateway."""

    def there(self) -> None:
        """Answer."""


class OwnerHandle(Protocol):
    """By which Ray reaches the `Owner`."""

    there: Any


class Replica:
    """What Ray Serve replicates."""

    async def __init__(  # type: ignore[misc]  # Serve awaits it
        self, begin: list[Any], digest: str, owner: "OwnerHandle | None", name: str
    ) -> None:
        """Start the model.

        Args:
            begin: A reference to the bytes, in a list so that it comes as one.
            digest: Of the bytes.
            owner: Handle of the `Owner`; nothing where Ray ends with the door anyway.
            name: Of the application.

        Raises:
            IntegrityError: It is another model than was sent or registered.
            UnavailableError: No sandbox can be had on this node.
        """
        import ray

        data = bytes(await asyncio.to_thread(ray.get, begin[0]))  # a copy: others map the same
        runner = await asyncio.to_thread(BubblewrapRunner.open)
        self._kept = await asyncio.to_thread(Kept, data, digest, runner)
        del data
        self._hello = await self._kept.hello()
        self._owner = owner
        self._name = name
        self._verified_s = self._owned_s = time.monotonic()

    async def hello(self) -> bytes:
        """Return what the model's process said first."""
        return _ENCODER.encode(self._hello)

    async def predict(self, question: bytes) -> bytes:
        """Return the answer to one question, both in MessagePack."""
        return _ENCODER.encode(await self._kept.answer(question))

    async def check_health(self) -> None:
        """Check the model's bytes and that the gateway lives, now and then.

        Raises:
            IntegrityError: The bytes changed: Ray Serve puts another replica in this one's place.
        """
        now = time.monotonic()
        if now - self._verified_s > VERIFY_S:
            self._verified_s = now
            await asyncio.to_thread(self._kept.held.verify)
        if self._owner is not None and now - self._owned_s > OWNER_S:
            self._owned_s = now
            await self._check_owner(self._owner)

    async def _check_owner(self, owner: OwnerHandle) -> None:
        """Remove the application when the gateway that it belongs to was killed."""
        from ray import serve
        from ray.exceptions import ActorDiedError

        try:
            await owner.there.remote()
        except ActorDiedError:
            await asyncio.to_thread(serve.delete, self._name, _blocking=False)
