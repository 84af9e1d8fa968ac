"""Keyed pseudonyms: pure functions of key and value. HMAC-SHA256, cut to a readable length.

Collisions: with 26 base-32 characters (130 bits) none is expected below 2**65 values.
"""

import base64
import hmac

_FROM = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
_ALPHABET = bytes.maketrans(_FROM, b"0123456789abcdefghjkmnpqrstvwxyz")


def prf(key: bytes, context: str, value: str) -> bytes:
    """Return 32 bytes that only the holder of the key can tell from random ones."""
    name = context.encode()
    return hmac.digest(key, len(name).to_bytes(4, "big") + name + value.encode(), "sha256")


def pseudonym(key: bytes, column: str, value: str, *, chars: int = 26) -> str:
    """Return the pseudonym of `value` in `column`; the same value always gets the same one."""
    return base64.b32encode(prf(key, column, value))[:chars].translate(_ALPHABET).decode()
