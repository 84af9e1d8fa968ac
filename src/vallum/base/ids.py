"""Identifiers and digests. Ids are random and immutable; names are only for look-up."""

import hashlib
import re
import secrets
from typing import NewType

Digest = NewType("Digest", str)  # "sha256:" and 64 lower-case hexadecimal digits
ResourceId = NewType("ResourceId", str)  # "<kind>-" and 26 characters of base 32

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's base 32: no i, l, o, u
_ID = re.compile(r"[a-z]{2,12}-[0-9a-hjkmnp-tv-z]{26}")


def new_id(kind: str) -> ResourceId:
    """Draw a fresh id of 130 random bits, such as `data-4k3v…`."""
    value = secrets.randbits(130)
    chars = [_ALPHABET[(value >> (5 * position)) & 31] for position in range(26)]
    return ResourceId(f"{kind}-{''.join(chars)}")


def is_id(text: str) -> bool:
    """Tell whether `text` has the form of an id (not whether it exists)."""
    return _ID.fullmatch(text) is not None


def digest(data: bytes | bytearray | memoryview) -> Digest:
    """Return the SHA-256 digest of public bytes. Never for personal data: use a commitment."""
    return Digest("sha256:" + hashlib.sha256(data).hexdigest())
