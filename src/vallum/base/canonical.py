"""Canonical JSON (RFC 8785), restricted so that the fast encoder is exact.

Keys are ASCII, integers are within I-JSON's ±(2**53 - 1), and there are no floats: within these
bounds sorting by code point equals RFC 8785's sorting by UTF-16 units, and no number formatting
is in doubt. Anything else is refused rather than encoded in a second way.
"""

import msgspec

from vallum.base.errors import InputError

_MAX_INT = 2**53 - 1
_ENCODER = msgspec.json.Encoder(order="deterministic")


def canonical_json(value: object) -> bytes:
    """Encode JSON-like `value` (dict, list, tuple, str, int, bool, None) canonically.

    Raises:
        InputError: A float, a non-ASCII or non-string key, an integer beyond 2**53 - 1, a lone
            surrogate, or another type.

    Source: RFC 8785; RFC 7493 for the range of integers.
    """
    _check(value)
    try:
        return _ENCODER.encode(value)
    except (UnicodeEncodeError, TypeError) as error:
        raise InputError("the value has no canonical form", code="canonical.text") from error


def _check(value: object) -> None:
    if value is None or isinstance(value, str | bool):
        return
    if isinstance(value, int):
        if not -_MAX_INT <= value <= _MAX_INT:
            raise InputError("an integer is beyond 2**53 - 1", code="canonical.integer")
        return
    if isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str) or not key.isascii():
                raise InputError("a key is not an ASCII string", code="canonical.key")
            _check(item)
        return
    if isinstance(value, list | tuple):
        for item in value:
            _check(item)
        return
    raise InputError(
        f"`{type(value).__name__}` has no canonical form; write decimals as strings",
        code="canonical.type",
    )
