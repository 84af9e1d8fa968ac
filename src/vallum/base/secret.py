"""A value that must not be seen: constant repr, no serialisation, constant-time comparison."""

import hmac
from typing import NoReturn, final


@final
class Secret:
    """Holds secret bytes. `reveal` is the one way out, so that it can be searched for."""

    __slots__ = ("_value",)

    def __init__(self, value: bytes | str) -> None:
        self._value = value.encode() if isinstance(value, str) else bytes(value)

    def reveal(self) -> bytes:
        """Return the secret bytes; never log, format or store them in the clear."""
        return self._value

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(self._value, other._value)

    def __hash__(self) -> NoReturn:  # unhashable: no timing oracle in dict look-ups
        raise TypeError("a secret is not hashable")

    def __bool__(self) -> NoReturn:
        raise TypeError("a secret has no truth value; compare `is None`")

    def __repr__(self) -> str:
        return "<secret>"

    __str__ = __repr__

    def __format__(self, format_spec: str) -> str:
        return "<secret>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret is never serialised")
