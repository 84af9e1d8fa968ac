"""What clients may write into a run: names, lengths and numbers, checked once."""

import math
import re
import unicodedata
from collections.abc import Iterable

from vallum.base import InputError, LimitExceededError
from vallum.schema import mlflow

# MLflow's own bounds: mlflow/utils/validation.py. What is longer than its 6000 characters of a
# parameter and 8000 of a tag, which it cuts off, is kept whole here, up to bounds of our own.
MAX_KEY = 250
MAX_PARAM = 64 * 1024
MAX_TAG = 64 * 1024
MAX_EXPERIMENT_TAG = 20_000
MAX_EXPERIMENT_NAME = 500
MAX_POINTS = 1000  # a request
MAX_PAIRS = 100  # parameters, or tags, a request
# Ours: of one run.
MAX_RUN_PAIRS = 2000
MAX_RUN_METRICS = 10_000
MAX_RUN_TEXT = 2 * 1024 * 1024  # characters of all parameters, or tags
MAX_INTEGER = 2**53 - 1

_KEY = re.compile(r"[/\w.\- :]+")
_INFINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


def bad(message: str, *, code: str = "mlflow.value", hint: str = "") -> InputError:
    """Return the refusal of a value."""
    return InputError(message, code=code, hint=hint)


def key(text: str, *, what: str) -> str:
    """Return the name of a metric, parameter or tag if it is one.

    Raises:
        InputError: Empty, too long, other characters than MLflow allows, or like a path upwards.
    """
    shown = ascii(text[:60])
    if not text or len(text) > MAX_KEY:
        raise bad(f"the name of a {what} has 1 to {MAX_KEY} characters, got {len(text)}")
    if not _KEY.fullmatch(text):
        raise bad(
            f"{what} {shown} contains a character that names do not have",
            hint="use letters, digits, `_`, `-`, `.`, `:`, `/` and spaces",
        )
    if any(part in {"", ".", ".."} for part in text.split("/")):
        raise bad(f"{what} {shown} looks like a path that leads elsewhere")
    return text


def value(text: str, *, what: str, limit: int) -> str:
    """Return the value of a tag or parameter if it is short enough and can be stored."""
    if len(text) > limit:
        raise bad(f"the value of a {what} has at most {limit} characters, got {len(text)}")
    return text


def name(text: str, *, what: str) -> str:
    """Return the name of an experiment or run: what one line can show, and nothing invisible."""
    if not text or len(text) > MAX_EXPERIMENT_NAME:
        raise bad(f"the name of {what} has 1 to {MAX_EXPERIMENT_NAME} characters")
    if text != text.strip() or any(
        unicodedata.category(char)[0] in "CZ" and char != " " for char in text
    ):
        raise bad(f"the name of {what} contains a character that cannot be seen")
    if unicodedata.normalize("NFC", text) != text:
        raise bad(f"the name of {what} is not in normal form NFC")
    return text


def number(given: mlflow.Number) -> float:
    """Return a metric's value, which may be NaN or infinite."""
    if isinstance(given, str):
        if given in _INFINITE:
            return _INFINITE[given]
        try:
            return float(given)
        except ValueError:
            raise bad(f"{given[:40]!a} is not a number") from None
    return given


def integer(given: int, *, what: str) -> int:
    """Return a step or a time in ms if it is in range."""
    if not -MAX_INTEGER <= given <= MAX_INTEGER:
        raise bad(f"{what} {given} is beyond 2**53 - 1")
    return given


def pairs(
    given: Iterable[mlflow.Pair], *, what: str, limit: int, most: int = MAX_PAIRS
) -> dict[str, str]:
    """Return tags or parameters of one request.

    Raises:
        InputError: One is no good, or two of one name differ.
        LimitExceededError: Too many.
    """
    out: dict[str, str] = {}
    for at, one in enumerate(given):
        if at >= most:
            raise LimitExceededError(f"a request has at most {most} {what}s", code="mlflow.batch")
        text = value(one.value, what=what, limit=limit)
        if out.setdefault(key(one.key, what=what), text) != text:
            raise bad(f"{what} {one.key[:60]!a} is given twice with different values")
    return out


def room_for(values: Iterable[tuple[str, str]], *, what: str) -> None:
    """Refuse the parameters or tags that would make one run too large.

    Raises:
        LimitExceededError: Too many, or too long together.
    """
    lengths = [len(text) for _, text in values]
    room(len(lengths), MAX_RUN_PAIRS, what=what)
    room(sum(lengths), MAX_RUN_TEXT, what=f"characters of {what}")


def room(count: int, most: int, *, what: str) -> None:
    """Refuse what would make one run too large.

    Raises:
        LimitExceededError: It would.
    """
    if count > most:
        raise LimitExceededError(f"there are at most {most} {what}", code="mlflow.run-size")
