"""A deployment's model: what every one can do, and the one in this process."""

import hashlib
import os
from collections.abc import Iterator
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from vallum.base import GateError, IntegrityError
from vallum.crypto.fingerprint import BLOCK_BYTES, Fingerprint
from vallum.guard.session import Arrays, Session
from vallum.sandbox import memory_file


class Model(Protocol):
    """Predicts; `width` is the number of features, None if any."""

    width: int | None

    @property
    def running(self) -> int:
        """Return how many processes answer; for one inside the gateway, 1."""
        ...

    async def predict(self, x: NDArray[np.float32]) -> Arrays:
        """Return named outputs for `x`, shape (n, d).

        Raises:
            UnavailableError: It died or hangs; it is being restarted.
            GateError: It failed on this input.
        """
        ...

    def verify(self) -> None:
        """Check that the bytes it was loaded from are still what was registered.

        Raises:
            IntegrityError: They are not.
        """
        ...

    async def close(self) -> None:
        """End it."""
        ...


class ModelFailedError(GateError):
    """A model failed on an input; `told` is what its code said, for our log and nobody else."""

    def __init__(self, message: str, told: str, *, code: str) -> None:
        super().__init__(message, code=code)
        self.told = told


class Held:
    """The sealed bytes of a model: hashed when they are taken, authenticated from then on."""

    def __init__(self, data: bytes, sha256: str) -> None:
        """Take a sealed copy.

        Raises:
            IntegrityError: The copy has not the digest that was registered.
        """
        self.descriptor = memory_file(data)
        self._known = Fingerprint()
        total = hashlib.sha256()
        for block in self._blocks():
            total.update(block)
            self._known.add(block)
        if f"sha256:{total.hexdigest()}" != sha256:
            self.close()
            raise _changed()

    def verify(self) -> None:
        """Read the memory again.

        Raises:
            IntegrityError: A byte is not what it was.
        """
        count = 0
        for block in self._blocks():
            if not self._known.matches(count, block):
                raise _changed()
            count += 1
        if count != len(self._known):
            raise _changed()

    def close(self) -> None:
        """Free the memory."""
        os.close(self.descriptor)

    def _blocks(self) -> Iterator[memoryview]:
        """Yield the content through one buffer."""
        buffer = memoryview(bytearray(BLOCK_BYTES))
        offset = 0
        while length := os.preadv(self.descriptor, [buffer], offset):
            offset += length
            yield buffer[:length]


def _changed() -> IntegrityError:
    return IntegrityError("the running model's bytes changed", code="model.changed")


class InProcessModel:
    """An ONNX model of standard operators inside the gateway: a deployment's explicit choice."""

    def __init__(self, data: bytes, sha256: str) -> None:
        self._held = Held(data, sha256)
        self._session = Session(data)
        self.width = self._session.width

    @property
    def running(self) -> int:
        """Return 1."""
        return 1

    async def predict(self, x: NDArray[np.float32]) -> Arrays:
        """Return named outputs; small models are faster than a hop to a thread."""
        try:
            return self._session.run(x)
        except GateError:
            raise
        except Exception as error:  # onnxruntime raises bare RuntimeErrors of many kinds
            raise GateError("the model failed on this input", code="model.run") from error

    def verify(self) -> None:
        """Check the bytes again."""
        self._held.verify()

    async def close(self) -> None:
        """Free the memory."""
        self._held.close()
