"""Tells whether bytes are still those that were hashed once, at a quarter of the hash's cost.

Every block has a tag by GMAC under a key that is drawn here and never leaves: nobody can choose
other bytes with the same tags. A block is always authenticated under the nonce of its place, and
its tag is compared, never given out.

Source: NIST SP 800-38D, section 3 (GMAC is GCM without plaintext).
"""

import hmac

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

BLOCK_BYTES = 256 * 1024
_NONCE_BYTES = 12


class Fingerprint:
    """The tags of blocks, in order."""

    __slots__ = ("_cipher", "_tags")

    def __init__(self) -> None:
        self._cipher = AESGCM(AESGCM.generate_key(bit_length=256))
        self._tags: list[bytes] = []

    def __len__(self) -> int:
        """Return how many blocks were added."""
        return len(self._tags)

    def add(self, block: bytes | memoryview) -> None:
        """Remember the next block."""
        self._tags.append(self._tag(len(self._tags), block))

    def matches(self, index: int, block: bytes | memoryview) -> bool:
        """Tell whether a block is the one that was added as the `index`-th, from 0."""
        return index < len(self._tags) and hmac.compare_digest(
            self._tag(index, block), self._tags[index]
        )

    def _tag(self, index: int, block: bytes | memoryview) -> bytes:
        return self._cipher.encrypt(index.to_bytes(_NONCE_BYTES, "big"), b"", block)
