"""Patterns over action names, beside an independent reading of the rule by recursion."""

from functools import cache

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from vallum.policy.actions import Action, find_action, full_name
from vallum.policy.data_actions import DATA_ACTIONS
from vallum.policy.patterns import MAX_PATTERN_CHARS, covered, granted, matches, narrowed


@cache
def means(pattern: str, name: str) -> bool:
    """The documented rule, written as a recursion over both texts."""
    if not pattern:
        return not name
    if pattern.startswith("/*/") and name.startswith("/") and means(pattern[2:], name):
        return True
    if pattern[0] == "*":
        return any(means(pattern[1:], name[cut:]) for cut in range(len(name) + 1))
    return bool(name) and pattern[0] == name[0] and means(pattern[1:], name[1:])


@settings(max_examples=400)
@example("a/*//*", "a/a/")  # what `*` has matched something is not left out with its `/`
@example("a/*/b/*", "a/ab/")
@example("*/*/a", "ba/a")
@given(st.text("ab/*", max_size=9), st.text("ab/", max_size=9))
def test_a_pattern_covers_what_the_rule_says(pattern: str, name: str) -> None:
    assert matches(pattern, name) == means(pattern, name)


@pytest.mark.parametrize(
    ("pattern", "name", "covers"),
    [
        ("*", "models/versions/read", True),
        ("*/read", "models/versions/read", True),
        ("models/*/read", "models/read", True),
        ("models/*/read", "models/versions/content/read", True),
        ("models/*/read", "modelsread", False),
        ("MODELS/READ", "models/read", True),
        ("models/rea?", "models/read", False),
        ("models/.*", "models/read", False),
        ("a/*/*/b", "a/b", True),
        ("a/*//*", "a/a/", False),
        ("models/*/read/*", "models/xread/", False),
        ("models/*/read/*", "models/x/read/", True),
        ("", "models/read", False),
    ],
)
def test_wildcards_are_the_only_special_characters(
    pattern: str, name: str, *, covers: bool
) -> None:
    assert matches(pattern, name) is covers


def test_a_hostile_pattern_is_matched_in_linear_steps_and_an_over_long_one_covers_nothing() -> None:
    # A backtracking matcher would need about 50**100 steps for the first one.
    assert not matches("*/" * 100 + "*x", "a/" * 50)
    assert covered("*" * (MAX_PATTERN_CHARS + 1)) == frozenset()
    assert not matches("*" * (MAX_PATTERN_CHARS + 1), "a")


@pytest.mark.parametrize("action", Action)
def test_short_and_full_names_reach_the_same_action_in_any_case(action: Action) -> None:
    assert find_action(action.value) is find_action(full_name(action).upper()) is action
    assert covered(action.value) == covered(full_name(action).lower()) == {action}


def test_a_wildcard_under_actions_reaches_no_data_action_and_the_other_way_round() -> None:
    assert not granted(("*",), (), (), ()) & DATA_ACTIONS
    assert granted((), (), ("*",), ()) == DATA_ACTIONS
    assert granted(tuple(DATA_ACTIONS), (), (), ()) == frozenset()
    assert granted(("*",), (), ("*",), ()) == frozenset(Action)


def test_not_actions_subtract_on_their_own_plane_only() -> None:
    assert granted(("models/*",), ("models/versions/*",), (), ()) == {
        "models/read",
        "models/write",
        "models/delete",
    }
    assert granted(("*",), (), ("*",), ("*/score/action",)) == set(Action) - {
        "onlineEndpoints/deployments/score/action",
        "onlineEndpoints/score/action",
    }
    assert "onlineEndpoints/score/action" in granted((), ("*",), ("*",), ())


def test_a_narrowed_key_reaches_data_actions_by_name_only() -> None:
    assert not narrowed(("*",)) & DATA_ACTIONS
    assert narrowed(("onlineEndpoints/score/action",)) == {"onlineEndpoints/score/action"}


def test_the_catalogue_is_sorted_and_described_and_every_data_action_is_in_it() -> None:
    assert [action.name for action in Action] == sorted(action.name for action in Action)
    assert all(action.about.endswith(".") and action.__doc__ == action.about for action in Action)
    assert {action.value for action in Action} >= DATA_ACTIONS
    lowered = [full_name(action).lower() for action in Action] + [a.lower() for a in Action]
    assert len(set(lowered)) == 2 * len(Action)
