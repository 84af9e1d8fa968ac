"""Secrets that can be destroyed one at a time, out of a root that never grows by use.

A puncturable pseudo-random function: the binary tree of Goldreich, Goldwasser and Micali (J. ACM
33(4), 1986) over HMAC-SHA256, punctured as by Boneh and Waters (ASIACRYPT 2013). The secret of an
id hangs on the 48 bits of its digest; erasing it replaces the seed above it by those of all the
branches beside its path, so that whoever holds everything afterwards derives every other secret,
and that one no more.
"""

import hashlib
import hmac
import secrets
from collections.abc import Iterable

from vallum.base import IntegrityError, SealedError, Secret
from vallum.crypto import purposes
from vallum.crypto.small import KEY_BYTES

DEPTH = 48
_PREFIX_BYTES = DEPTH // 8
_ROW_BYTES = 1 + _PREFIX_BYTES + KEY_BYTES
_Node = tuple[int, int]  # bits of the prefix, and how many


class ShredSecrets:
    """The seeds that are left; holds them in memory."""

    def __init__(self, seeds: dict[_Node, bytes]) -> None:
        self._seeds = seeds

    @classmethod
    def draw(cls) -> "ShredSecrets":
        """Return a new root."""
        return cls({(0, 0): secrets.token_bytes(KEY_BYTES)})

    @classmethod
    def load(cls, data: bytes) -> "ShredSecrets":
        """Read what `dump` gave.

        Raises:
            IntegrityError: It is something else.
        """
        if len(data) % _ROW_BYTES:
            raise IntegrityError("the shred secrets are damaged", code="crypto.shred")
        seeds = {}
        for at in range(0, len(data), _ROW_BYTES):
            row = data[at : at + _ROW_BYTES]
            length = row[0]
            bits = int.from_bytes(row[1 : 1 + _PREFIX_BYTES], "big")
            if length > DEPTH or bits >> length:
                raise IntegrityError("the shred secrets are damaged", code="crypto.shred")
            seeds[bits, length] = row[1 + _PREFIX_BYTES :]
        return cls(seeds)

    def dump(self) -> bytes:
        """Return the seeds as bytes, to be sealed."""
        return b"".join(
            bytes([length]) + bits.to_bytes(_PREFIX_BYTES, "big") + seed
            for (bits, length), seed in sorted(self._seeds.items())
        )

    def secret(self, subject_id: str) -> Secret:
        """Return the secret of an id.

        Raises:
            SealedError: It was erased.
        """
        path = _path(subject_id)
        found = self._above(path)
        if found is None:
            raise SealedError(
                f"the key of `{subject_id}` was destroyed: it was erased", code="crypto.erased"
            )
        seed = self._seeds[found]
        for level in range(found[1], DEPTH):
            seed = _child(seed, path >> (DEPTH - 1 - level) & 1)
        return Secret(hmac.digest(seed, purposes.SHRED + subject_id.encode(), "sha256"))

    def without(self, subject_ids: Iterable[str]) -> "ShredSecrets":
        """Return what is left when the secrets of these ids are destroyed; some may be already."""
        left = ShredSecrets(dict(self._seeds))
        for subject_id in subject_ids:
            path = _path(subject_id)
            found = left._above(path)
            if found is None:
                continue
            seed = left._seeds.pop(found)
            for level in range(found[1], DEPTH):
                bit = path >> (DEPTH - 1 - level) & 1
                beside = (path >> (DEPTH - 1 - level)) ^ 1
                left._seeds[beside, level + 1] = _child(seed, bit ^ 1)
                seed = _child(seed, bit)
        return left

    def _above(self, path: int) -> _Node | None:
        """Return the one node left on a path; None if it was punctured."""
        for length in range(DEPTH + 1):
            node = (path >> (DEPTH - length), length)
            if node in self._seeds:
                return node
        return None

    def __repr__(self) -> str:
        return f"<{len(self._seeds)} shred seed(s)>"


def _path(subject_id: str) -> int:
    return int.from_bytes(hashlib.sha256(subject_id.encode()).digest()[:_PREFIX_BYTES], "big")


def _child(seed: bytes, bit: int) -> bytes:
    return hmac.digest(seed, purposes.SHRED_CHILD + bytes([bit]), "sha256")
