"""Patterns over action names: `*` is any run of characters including `/`; `/*/` also a single `/`.

Everything else is literal; case does not count. Matching simulates the automaton of the pattern
with one bit per state, so that its time is (length of pattern) x (length of name) at the worst,
whatever a hostile pattern looks like.
"""

from collections.abc import Iterable
from functools import lru_cache

from vallum.policy.actions import Action, full_name
from vallum.policy.data_actions import DATA_ACTIONS

MAX_PATTERN_CHARS = 512

_NAMES = tuple((action, action.value.lower(), full_name(action).lower()) for action in Action)


def matches(pattern: str, name: str) -> bool:
    """Tell whether `pattern` covers `name`, both written the same way (short or full).

    A pattern beyond `MAX_PATTERN_CHARS` covers nothing.
    """
    if len(pattern) > MAX_PATTERN_CHARS:
        return False
    return _matches(pattern.lower(), name.lower())


@lru_cache(maxsize=4096)
def covered(pattern: str) -> frozenset[Action]:
    """Return the actions that `pattern` covers by their short or full name, on both planes."""
    if len(pattern) > MAX_PATTERN_CHARS:
        return frozenset()
    lowered = pattern.lower()
    return frozenset(
        action
        for action, short, full in _NAMES
        if _matches(lowered, short) or _matches(lowered, full)
    )


def covered_by_any(patterns: Iterable[str]) -> frozenset[Action]:
    """Return the union of what `patterns` cover."""
    return frozenset().union(*(covered(pattern) for pattern in patterns))


@lru_cache(maxsize=4096)
def granted(
    actions: tuple[str, ...],
    not_actions: tuple[str, ...],
    data_actions: tuple[str, ...],
    not_data_actions: tuple[str, ...],
) -> frozenset[Action]:
    """Return what one role grants: each list acts on its own plane, and never on the other."""
    control = covered_by_any(actions) - covered_by_any(not_actions) - DATA_ACTIONS
    data = covered_by_any(data_actions) - covered_by_any(not_data_actions)
    # Not `data & DATA_ACTIONS`: that may yield the table's plain strings in place of the members.
    return control | frozenset(action for action in data if action in DATA_ACTIONS)


@lru_cache(maxsize=1024)
def narrowed(patterns: tuple[str, ...]) -> frozenset[Action]:
    """Return what a key narrowed to `patterns` may be used for.

    Here too a wildcard stays on the control plane; data actions are listed by name.
    """
    return frozenset(
        action
        for pattern in patterns
        for action in covered(pattern)
        if "*" not in pattern or action not in DATA_ACTIONS
    )


def _matches(pattern: str, name: str) -> bool:
    head, star, rest = pattern.partition("*")
    if not star:
        return pattern == name
    # A `/*/` that shrinks to one `/` leaves that slash in place: both ends hold all the same.
    tail = rest.rpartition("*")[2]
    if not (name.startswith(head) and name.endswith(tail)):
        return False
    if "*" in rest:
        return _simulate(pattern, name)
    shrunk = head.endswith("/") and tail.startswith("/") and name == head + tail[1:]
    return shrunk or len(name) >= len(head) + len(tail)


def _simulate(pattern: str, name: str) -> bool:
    # State k: the first k characters of the pattern are used up.
    length = len(pattern)
    states = _close(1, pattern)
    for char in name:
        moved = stayed = 0
        for state in range(length):
            if states >> state & 1:
                if pattern[state] == "*":
                    stayed |= 1 << state
                elif pattern[state] == char:
                    moved |= 1 << (state + 1)
        if not (moved or stayed):
            return False
        # A `*` that has matched something cannot be left out any more.
        states = _close(moved, pattern) | _close(stayed, pattern, shrinks=False)
    return bool(states >> length & 1)


def _close(states: int, pattern: str, *, shrinks: bool = True) -> int:
    # A `*` may match nothing; right after the `/` of `/*/`, `*/` may be left out.
    for state, char in enumerate(pattern):
        if char == "*" and states >> state & 1:
            states |= 1 << (state + 1)
            if (
                shrinks
                and pattern[state - 1 : state] == "/"
                and pattern[state + 1 : state + 2] == "/"
            ):
                states |= 1 << (state + 2)
    return states
