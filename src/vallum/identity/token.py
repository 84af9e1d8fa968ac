"""The text form of a credential: `vlm_<id>_<secret><check>`.

The prefix lets secret scanners find leaked keys, the check (CRC-32, no security) lets them and
people tell a typing error from a revoked key before anything is sent.
"""

import re
import secrets
import zlib
from dataclasses import dataclass

from vallum.base import Secret

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_SECRET_CHARS = 52  # 260 bits
_CHECK_CHARS = 7  # 35 bits hold a CRC-32
_FORM = re.compile(rb"vlm_([0-9a-hjkmnp-tv-z]{26})_([0-9a-hjkmnp-tv-z]{52})([0-9a-hjkmnp-tv-z]{7})")
MAX_BYTES = 128


@dataclass(frozen=True, slots=True)
class Presented:
    """A credential as presented: which one it claims to be, and the secret that proves it."""

    credential_id: str
    secret: Secret


def mint(credential_id: str) -> tuple[Secret, Secret]:
    """Draw a fresh secret for `credential_id` (`key-…`).

    Returns:
        The token that is shown once, and its secret part, of which the keyed hash is stored.
    """
    body = credential_id.removeprefix("key-")
    secret = "".join(secrets.choice(_ALPHABET) for _ in range(_SECRET_CHARS))
    text = f"vlm_{body}_{secret}"
    return Secret(text + _check(text.encode())), Secret(secret)


def parse(token: Secret) -> Presented | None:
    """Read a token; None if it has not the form. Says nothing about whether it is valid."""
    data = token.reveal()
    if len(data) > MAX_BYTES:
        return None
    match = _FORM.fullmatch(data)
    if match is None or _check(data[:-_CHECK_CHARS]).encode() != match[3]:
        return None
    return Presented(credential_id=f"key-{match[1].decode()}", secret=Secret(match[2]))


def _check(data: bytes) -> str:
    crc = zlib.crc32(data)
    return "".join(_ALPHABET[(crc >> (5 * place)) & 31] for place in range(_CHECK_CHARS))
