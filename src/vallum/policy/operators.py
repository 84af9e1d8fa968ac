"""The comparison operators of conditions, and the quantifiers that cross two sets of values.

Source: "Azure role assignment condition format and syntax", sections on function and comparison
operators.
"""

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Final, TypeVar

MAX_NUMBER_CHARS: Final = 64
T = TypeVar("T", Decimal, datetime)


class Quantifier(StrEnum):
    """How many values of the left and right set must match."""

    ALL_ALL = "ForAllOfAllValues"
    ALL_ANY = "ForAllOfAnyValues"
    ANY_ALL = "ForAnyOfAllValues"
    ANY_ANY = "ForAnyOfAnyValues"


@dataclass(frozen=True, slots=True)
class Operator:
    """`test` raises ValueError for a text that is no value of the operator's type."""

    test: Callable[[str, str], bool]
    convert: Callable[[str], object]

    def accepts(self, value: str) -> bool:
        """Tell whether `value` is of the operator's type."""
        try:
            self.convert(value)
        except ValueError:
            return False
        return True


def compare(
    by: Operator,
    quantifier: Quantifier | None,
    left: Sequence[str],
    right: Sequence[str],
) -> bool | None:
    """Compare; None where a side is empty, has several values unquantified, or another type."""
    if not left or not right:
        return None  # also for the ForAll… ones: nothing proves nothing
    if quantifier is None and (len(left) > 1 or len(right) > 1):
        return None
    try:
        # Every pair, so that a value of another type is noticed wherever it stands.
        table = [[by.test(one, other) for other in right] for one in left]
    except ValueError:
        return None
    match quantifier:
        case None:
            return table[0][0]
        case Quantifier.ANY_ANY:
            return any(any(row) for row in table)
        case Quantifier.ALL_ANY:
            return all(any(row) for row in table)
        case Quantifier.ANY_ALL:
            return any(all(row) for row in table)
        case Quantifier.ALL_ALL:
            return all(all(row) for row in table)


def _like(value: str, pattern: str) -> bool:
    # Two pointers: `*` any run, `?` one character; time at most (value) x (pattern).
    at, in_pattern, star, resume = 0, 0, -1, 0
    while at < len(value):
        if in_pattern < len(pattern) and pattern[in_pattern] == "*":
            star, resume = in_pattern, at
            in_pattern += 1
        elif in_pattern < len(pattern) and pattern[in_pattern] in ("?", value[at]):
            at += 1
            in_pattern += 1
        elif star >= 0:
            resume += 1
            at, in_pattern = resume, star + 1
        else:
            return False
    return all(char == "*" for char in pattern[in_pattern:])


def _number(text: str) -> Decimal:
    if len(text) > MAX_NUMBER_CHARS:
        raise ValueError("a number is too long")
    try:
        number = Decimal(text)
    except InvalidOperation as error:
        raise ValueError("not a number") from error
    if not number.is_finite() or "_" in text:
        raise ValueError("not a finite number")
    return number


def _flag(text: str) -> bool:
    lowered = text.lower()
    if lowered not in ("true", "false"):
        raise ValueError("neither true nor false")
    return lowered == "true"


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError("a time without a zone")
    return moment


def _with_negations() -> Mapping[str, Operator]:
    texts: dict[str, Callable[[str, str], bool]] = {
        "Equals": lambda a, b: a == b,
        "EqualsIgnoreCase": lambda a, b: a.casefold() == b.casefold(),
        "StartsWith": lambda a, b: a.startswith(b),
        "StartsWithIgnoreCase": lambda a, b: a.casefold().startswith(b.casefold()),
        "Like": _like,
        "LikeIgnoreCase": lambda a, b: _like(a.casefold(), b.casefold()),
    }
    table: dict[str, Operator] = {}
    for name, test in texts.items():
        table[f"String{name}"] = Operator(test, str)
        table[f"StringNot{name}"] = Operator(_opposite(test), str)
    table["GuidEquals"] = table["StringEqualsIgnoreCase"]
    table["GuidNotEquals"] = table["StringNotEqualsIgnoreCase"]
    orders: dict[str, Callable[[Any, Any], bool]] = {
        "Equals": operator.eq,
        "NotEquals": operator.ne,
        "GreaterThan": operator.gt,
        "GreaterThanEquals": operator.ge,
        "LessThan": operator.lt,
        "LessThanEquals": operator.le,
    }
    for name, order in orders.items():
        table[f"Numeric{name}"] = Operator(_converted(_number, order), _number)
        table[f"DateTime{name}"] = Operator(_converted(_moment, order), _moment)
    table["BoolEquals"] = Operator(lambda a, b: _flag(a) == _flag(b), _flag)
    table["BoolNotEquals"] = Operator(lambda a, b: _flag(a) != _flag(b), _flag)
    return MappingProxyType({name.lower(): found for name, found in table.items()})


def _opposite(test: Callable[[str, str], bool]) -> Callable[[str, str], bool]:
    return lambda a, b: not test(a, b)


def _converted(
    convert: Callable[[str], T], test: Callable[[T, T], bool]
) -> Callable[[str, str], bool]:
    return lambda a, b: test(convert(a), convert(b))


OPERATORS: Mapping[str, Operator] = _with_negations()
"""By name in lower case."""
