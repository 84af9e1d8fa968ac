"""The two ways in which a reader says no; every limit and code in one shape."""

from typing import NoReturn

from vallum.base.errors import InputError, LimitExceededError


def refuse(code: str, message: str, *, cause: BaseException | None = None) -> NoReturn:
    """Raise InputError: the bytes are not what the format allows."""
    raise InputError(message, code=code) from cause


def within(value: int, limit: int, code: str, what: str) -> None:
    """Raise LimitExceededError when `value` is above `limit`; the message names both."""
    if value > limit:
        raise LimitExceededError(f"{what}: {value} is above the limit of {limit}", code=code)
