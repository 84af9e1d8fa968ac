"""Requests that go to scoring code as they are: JSON within bounds; no more is known of them."""

from vallum.base import InputError, VallumError
from vallum.formats import load_json


def check_json(body: bytes) -> str:
    """Return a body as text, once it is one JSON document within the bounds of documents.

    Its size was bounded before. Depth and number of values are bounded here, and there is one way
    to read it: no duplicate keys, NaN, infinities, byte-order mark or bad UTF-8.

    Raises:
        InputError: It is none.
        LimitExceededError: It is too deep, or has too many values.
    """
    try:
        load_json(body)
    except VallumError as error:
        raise type(error)(error.message, code="score.json") from error
    try:
        return body.decode()
    except UnicodeDecodeError as error:  # not to be had: it was decoded before
        raise InputError("the body is not UTF-8", code="score.json") from error
