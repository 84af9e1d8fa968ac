"""How much memory a pickle's calls take beyond what the file holds.

A number of a few bytes makes an array as large as it says, and a range becomes a list as long as it
says: such a stream is small, and a process that loads it is not.
"""

from collections.abc import Iterable
from math import prod

from vallum.scan.allowed import SIZED, current_name
from vallum.scan.values import Global, Made

MAX_BYTES = 1 << 28
_ITEM_BYTES = 40  # of a list of numbers
_WORD_BYTES = 8
_RANGE = ("builtins", "range")


def bytes_made(calls: Iterable[Made]) -> int:
    """Return how many bytes the calls of a stream take at least, in their order."""
    lengths: dict[int, int] = {}  # of what a range became
    total = 0
    for call in calls:
        name = call.callee
        if not isinstance(name, Global) or call.arguments is None:
            continue
        place = current_name(name.module, name.name)
        if place == _RANGE:
            lengths[id(call)] = _length(call.arguments)
            continue
        if place in SIZED:
            total += max(map(_size, call.arguments), default=0)
        held = max((lengths.get(id(one), 0) for one in call.arguments), default=0)
        if held:
            lengths[id(call)] = held
            total += _ITEM_BYTES * held
    return total


def _size(argument: object) -> int:
    """Return the bytes that a number, or a shape, makes."""
    if isinstance(argument, tuple):
        return _WORD_BYTES * prod(abs(one) for one in argument if isinstance(one, int))
    return abs(argument) if isinstance(argument, int) else 0


def _length(arguments: tuple[object, ...]) -> int:
    numbers = [one for one in arguments if isinstance(one, int)]
    if len(numbers) != len(arguments) or not 1 <= len(numbers) <= 3:  # noqa: PLR2004 - start, stop, step
        return 0
    start, stop, step = (0, *numbers, 1) if len(numbers) == 1 else (*numbers, 1)[:3]
    return max(0, -((start - stop) // step)) if step else 0
