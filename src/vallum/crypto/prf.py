"""Keyed pseudonyms: pure functions of key and value. HMAC-SHA256, cut to a readable length.

Collisions: with 26 base-32 characters (130 bits) none is expected below 2**65 values.
"""

import hmac

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"


def pseudonym(key: bytes, column: str, value: str, *, chars: int = 26) -> str:
    """Return the pseudonym of `value` in `column`; the same value always gets the same one."""
    framed = len(column.encode()).to_bytes(4, "big") + column.encode() + value.encode()
    number = int.from_bytes(hmac.digest(key, framed, "sha256"), "big")
    return "".join(_ALPHABET[(number >> (5 * place)) & 31] for place in range(chars))
