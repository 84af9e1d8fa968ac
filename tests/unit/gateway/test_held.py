"""A model's bytes in sealed memory: hashed when taken, authenticated from then on."""

import hashlib
import os
from pathlib import Path

import pytest

from vallum.base import IntegrityError
from vallum.crypto.fingerprint import BLOCK_BYTES
from vallum.gateway.model import Held
from vallum.sandbox import memory_file


def digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


@pytest.mark.parametrize("size", [0, 1, BLOCK_BYTES, 2 * BLOCK_BYTES + 7])
def test_memory_that_stays_passes_and_a_changed_byte_does_not(size: int) -> None:
    data = os.urandom(size)
    held = Held(data, digest(data))
    held.verify()
    with pytest.raises(PermissionError):
        os.pwrite(held.descriptor, b"x", 0)
    for changed in (data + b"x", data[:-1] + bytes([data[-1] ^ 1]) if data else b"x", data[:-1]):
        if changed == data:
            continue
        kept, held.descriptor = held.descriptor, memory_file(changed)  # as if the memory had
        with pytest.raises(IntegrityError, match="changed"):
            held.verify()
        os.close(held.descriptor)
        held.descriptor = kept
    held.verify()
    held.close()


def test_what_is_not_what_was_registered_is_not_held() -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    with pytest.raises(IntegrityError):
        Held(b"model", digest(b"other"))
    assert len(list(Path("/proc/self/fd").iterdir())) == before
