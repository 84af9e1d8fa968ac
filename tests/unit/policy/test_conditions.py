"""Conditions: the grammar, three-valued truth, and hostile input."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vallum.base import InputError, LimitExceededError, VallumError
from vallum.policy import parse_condition
from vallum.policy.conditions import MAX_DEPTH, Circumstances
from vallum.policy.lexer import MAX_CHARS
from vallum.schema import Caller, PrincipalKind, Resource

HERE = Circumstances(
    action="models/versions/read",
    resource=Resource(
        id="mver-1",
        kind="mver",
        chain=("mver-1", "ws-1"),
        label="confidential",
        stage="development",
        tags={"team": "Blue", "size": "12", "open": "true", "due": "2026-01-02T00:00:00Z"},
    ),
    caller=Caller(id="user-1", kind=PrincipalKind.USER, name="u", groups=("grp-1", "grp-2")),
    purpose="care",
)


def truth(text: str) -> bool | None:
    return parse_condition(text).evaluate(HERE)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("@Resource[label] StringEquals 'confidential'", True),
        ("@resource[LABEL] stringequals 'confidential'", True),
        ("@Resource[label] StringEquals 'Confidential'", False),
        ("@Resource[label] StringEqualsIgnoreCase 'Confidential'", True),
        ("@Resource[label] StringNotEquals 'public'", True),
        ("@Resource[tag:team] StringStartsWith 'Bl'", True),
        ("@Resource[tag:team] StringNotStartsWith 'Bl'", False),
        ("@Resource[tag:team] StringStartsWithIgnoreCase 'bl'", True),
        ("@Resource[tag:team] StringLike 'B*e'", True),
        ("@Resource[tag:team] StringLike 'B?e'", False),
        ("@Resource[tag:team] StringLikeIgnoreCase 'b??e'", True),
        ("@Resource[tag:team] StringNotLike '*x*'", True),
        ("@Resource[tag:size] NumericEquals 12.0", True),
        ("@Resource[tag:size] NumericNotEquals 12", False),
        ("@Resource[tag:size] NumericGreaterThan 9", True),  # as text, '12' < '9'
        ("@Resource[tag:size] NumericGreaterThanEquals 12", True),
        ("@Resource[tag:size] NumericLessThan -1", False),
        ("@Resource[tag:size] NumericLessThanEquals 12", True),
        ("@Resource[tag:open] BoolEquals true", True),
        ("@Resource[tag:open] BoolNotEquals true", False),
        ("@Resource[tag:due] DateTimeLessThan '2026-01-02T02:00:00+01:00'", True),
        ("@Resource[tag:due] DateTimeGreaterThan '2026-01-01T00:00:00Z'", True),
        ("@Resource[stage] StringEquals 'development'", True),
        ("@Request[purpose] StringEquals 'care'", True),
        ("@Request[action] StringLike 'models/*'", True),
        ("@Principal[id] GuidEquals 'USER-1'", True),
        ("@Principal[id] StringEquals @Principal[id]", True),
        ("@Principal[group] ForAnyOfAnyValues:StringEquals {'grp-9', 'grp-2'}", True),
        ("@Principal[group] ForAllOfAnyValues:StringEquals {'grp-1', 'grp-2', 'x'}", True),
        ("@Principal[group] ForAllOfAnyValues:StringEquals {'grp-1'}", False),
        ("@Principal[group] ForAnyOfAllValues:StringNotEquals {'grp-1', 'x'}", True),
        ("@Principal[group] ForAnyOfAllValues:StringNotEquals {'grp-1', 'grp-2'}", False),
        ("@Principal[group] ForAllOfAllValues:StringNotEquals {'x', 'y'}", True),
        ("@Principal[group] ForAllOfAllValues:StringNotEquals {'x', 'grp-1'}", False),
        ("ActionMatches{'models/*/read'}", True),
        ("ActionMatches{'Microsoft.MachineLearningServices/workspaces/models/*'}", True),
        ("ActionMatches{'data/*'}", False),
        ("SubOperationMatches{'Blob.List'}", False),
        ("Exists @Resource[tag:team]", True),
        ("NOT Exists @Resource[tag:none]", True),
        ("!(ActionMatches{'data/*'}) OR @Resource[label] StringEquals 'public'", True),
        ("(ActionMatches{'m*'} AND (!ActionMatches{'d*'})) && NOT ActionMatches{'x'}", True),
        ("ActionMatches{'x'} || ActionMatches{'m*'}", True),
        # What cannot be decided stays undecided under negation.
        ("@Resource[tag:none] StringEquals 'x'", None),
        ("NOT (@Resource[tag:none] StringEquals 'x')", None),
        ("@Resource[tag:none] StringNotEquals 'x'", None),
        ("@Resource[tag:team] NumericEquals 1", None),
        ("NOT @Resource[tag:team] BoolEquals true", None),
        ("@Resource[tag:team] DateTimeLessThan '2026-01-01T00:00:00Z'", None),
        ("@Resource[tag:none] StringEquals 'x' OR ActionMatches{'*'}", True),
        ("@Resource[tag:none] StringEquals 'x' OR ActionMatches{'x'}", None),
        ("@Resource[tag:none] StringEquals 'x' AND ActionMatches{'x'}", False),
        ("@Resource[tag:none] StringEquals 'x' AND ActionMatches{'*'}", None),
        ("@Principal[id] StringEquals @Principal[group]", None),  # which of them?
        ("@Principal[id] ForAllOfAllValues:StringNotEquals @Principal[group]", True),
        ("@Resource[tag:none] ForAllOfAllValues:StringEquals {'x'}", None),
        (r"@Resource[tag:team] StringEquals 'it\'s'", False),
    ],
)
def test_condition_has_the_truth_value_of_the_documented_semantics(
    text: str, *, expected: bool | None
) -> None:
    assert truth(text) is expected


@pytest.mark.parametrize("label", ["", "no-such-label"])
def test_an_unclassified_label_counts_as_the_highest(label: str) -> None:
    resource = Resource(id="d", kind="dver", chain=("d",), label=label)
    here = Circumstances("data/read", resource, HERE.caller)
    condition = parse_condition("@Resource[label] StringNotEquals 'highly-confidential'")
    assert condition.evaluate(here) is False


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", "condition.syntax"),
        ("@Resource[label]", "condition.syntax"),
        ("@Resource[label] StringEquals", "condition.syntax"),
        ("@Resource[label] StringEquals 'x", "condition.syntax"),
        ("@Resource[label] StringEquals 'x' garbage", "condition.syntax"),
        ("(@Resource[label] StringEquals 'x'", "condition.syntax"),
        ("@Resource[label] == 'x'", "condition.syntax"),
        ("@Resource[label] Matches 'x'", "condition.operator"),
        ("@Resource[label] ForSome:StringEquals {'x'}", "condition.operator"),
        ("@Resource[label] StringEquals {'x'}", "condition.operator"),
        ("@Principal[group] StringEquals 'x'", "condition.operator"),
        ("@Resource[secret] StringEquals 'x'", "condition.attribute"),
        ("@Resource[tag:] StringEquals 'x'", "condition.attribute"),
        ("@Environment[now] StringEquals 'x'", "condition.attribute"),
        ("@Resource[tag:a] NumericEquals 'ten'", "condition.value"),
        ("@Resource[tag:a] NumericEquals NaN", "condition.value"),
        ("@Resource[tag:a] NumericEquals " + "9" * 65, "condition.value"),
        ("@Resource[tag:a] BoolEquals 1", "condition.value"),
        ("@Resource[tag:a] DateTimeEquals '2026-01-01T00:00:00'", "condition.value"),
        ("ActionMatches{'a'} AND ActionMatches{'b'} OR ActionMatches{'c'}", "condition.ambiguous"),
        ("Frobnicate{'a'}", "condition.syntax"),
        ("ActionMatches{'" + "*" * 600 + "'}", "condition.length"),
        ("(" * 40 + "ActionMatches{'a'}" + ")" * 40, "condition.depth"),
        ("NOT " * 40 + "ActionMatches{'a'}", "condition.depth"),
        ("ActionMatches{'a'}\x00", "condition.syntax"),
        ("@Resource[tag:a] ForAnyOfAnyValues:StringEquals {'x' 'y'}", "condition.syntax"),
        ("@Resource[tag:a] ForAnyOfAnyValues:StringEquals {}", "condition.syntax"),
    ],
)
def test_what_is_not_in_the_grammar_is_refused(text: str, code: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_condition(text)
    assert caught.value.code == code


def test_nesting_up_to_the_bound_is_read() -> None:
    assert truth("(" * MAX_DEPTH + "ActionMatches{'*'}" + ")" * MAX_DEPTH) is True


def test_an_over_long_condition_is_refused_before_it_is_read() -> None:
    with pytest.raises(LimitExceededError, match="at most 8192"):
        parse_condition(" " * (MAX_CHARS + 1))


def test_mixing_and_with_or_names_the_way_out() -> None:
    with pytest.raises(InputError) as caught:
        parse_condition("ActionMatches{'a'} OR ActionMatches{'b'} AND ActionMatches{'c'}")
    assert caught.value.message == "`AND` and `OR` are mixed at character 41"
    assert caught.value.hint == "write parentheses around one of them"


PIECES = ["(", ")", "{", "}", ",", "!", "NOT", "AND", "OR", "&&", "'x'", "'\\", "@Resource[label]",
          "@Principal[group]", "StringEquals", "ForAnyOfAnyValues:StringLike", "NumericLessThan",
          "ActionMatches", "Exists", "9", "\u0660", "\ud800", "'", "@"]  # fmt: skip


@settings(max_examples=300)
@given(st.lists(st.sampled_from(PIECES), max_size=12).map(" ".join) | st.text(max_size=40))
def test_any_text_is_a_condition_or_a_declared_error(text: str) -> None:
    try:
        condition = parse_condition(text)
    except VallumError:
        return
    assert condition.evaluate(HERE) in (True, False, None)


def test_a_hostile_like_pattern_ends() -> None:
    resource = Resource(id="d", kind="d", chain=("d",), tags={"t": "a" * 5_000})
    condition = parse_condition("@Resource[tag:t] StringLike '" + "a*" * 500 + "b'")
    assert condition.evaluate(Circumstances("data/read", resource, HERE.caller)) is False
