"""MLflow's filter language: what it means, that it ends, and that it says what was wrong."""

import math
import re
from collections.abc import Mapping

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from vallum.base import InputError
from vallum.schema import DatasetUsed, Run
from vallum.workspace.tracking.filters import (
    MAX_FILTER,
    like,
    matcher,
    ordered,
    parse_filter,
    parse_orders,
)
from vallum.workspace.tracking.shown import RUNS


def run(name: str = "r", **given: object) -> Run:
    values: Mapping[str, object] = {
        "id": f"run-{name}",
        "experiment_id": "exp-1",
        "name": name,
        "user_id": "user-1",
        "user": "ana",
        "started_ms": 5,
        **given,
    }
    return Run(**values)  # type: ignore[arg-type]  # a test's short hand


def passes(text: str, one: Run) -> bool:
    return matcher(parse_filter(text, RUNS), RUNS)(one)


MADE = run(
    "first",
    params=(("lr", "0.1"), ("my param", "It's")),
    tags=(("mlflow.user", "root"), ("2.5", "x")),
    latest=(("acc", "0.9", 1, 1), ("nan", "nan", 1, 1), ("val/loss", "-inf", 1, 1)),
    datasets=(
        DatasetUsed(name="loans", digest="a1"),
        DatasetUsed(name="test", digest="b2", tags=(("mlflow.data.context", "evaluation"),)),
    ),
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", True),
        ("metrics.acc > 0.5", True),
        ("metric.acc>=0.9 and params.lr = '0.1'", True),
        ("metrics.acc = .9", True),
        ("metrics.acc < 1e-3", False),
        ("metrics.missing != 3", False),  # what is not there compares with nothing
        ("metrics.nan = 1", False),
        ("metrics.nan != 1", True),
        ("metrics.`val/loss` < 0", True),
        ("metrics.val/loss < -10", True),
        ("params.lr != '0.1'", False),
        ('params."my param" = "It\'s"', True),
        ("params.`my param` = 'It''s'", True),
        ("params.lr LIKE '0%'", True),
        ("params.lr like '1%'", False),
        ("params.x IS NULL AND params.lr IS NOT NULL", True),
        ("tags.mlflow.user = 'root'", True),
        ("tag.`mlflow.user` ILIKE 'RO_T'", True),
        ("tags.2.5 = 'x'", True),
        ("attributes.status = 'RUNNING'", True),
        ("status = 'FINISHED'", False),
        ("run_id IN ('run-first', 'run-x')", True),
        ("attributes.run_id NOT IN ('run-first',)", False),
        ("attributes.`run name` = 'first'", True),
        ("start_time > 4 AND created < '6'", True),
        ("end_time > 0", False),
        ("user_id = 'ana'", True),
        ("datasets.name = 'test' AND dataset.context LIKE 'eval%'", True),  # each of any of them
        ("dataset.digest IN ('zz')", False),
        ("dataset.name = 'loans' AND dataset.digest != 'a1'", True),
        ("dataset.context IS NULL", True),
    ],
)
def test_what_a_filter_means(text: str, *, expected: bool) -> None:
    assert passes(text, MADE) is expected


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("metrics.acc > 'high'", "not a number"),
        ("metrics.acc LIKE '1%'", "does not compare numbers"),
        ("params.lr > '1'", "does not compare texts"),
        ("params.lr = 1", "expected a text in quotes at character 13"),
        ("secrets.key = 'x'", "is not one of metrics, params, tags, attributes"),
        ("attributes.password = 'x'", "is not an attribute"),
        ("dataset.owner = 'x'", "none of context, digest, name"),
        ("metrics.acc > 1 OR metrics.acc < 0", "`OR` is not part"),
        ("metrics.acc > 1 metrics.b > 1", "expected `AND` or the end"),
        ("metrics.acc >", "got the end"),
        ("params.lr = 'open", "cannot be read"),
        ("params.lr = 'a'; DROP TABLE runs", "cannot be read"),
        ("run_id IN ()", "expected a text in quotes"),
        ("x" * (MAX_FILTER + 1), "at most"),
        (" AND ".join(["metrics.a > 1"] * 101), "at most 100 comparisons"),
        (f"params.lr LIKE '{'_' * 251}'", "a pattern has at most"),
    ],
)
def test_what_is_wrong_is_told(text: str, told: str) -> None:
    with pytest.raises(InputError, match=re.escape(told)) as caught:
        parse_filter(text, RUNS)
    assert caught.value.code == "mlflow.filter"


@given(st.text(max_size=200) | st.text(alphabet="metrics.pa'\"`()=<>!,1 ANDINLIKE%_", max_size=80))
@example("'" * 199)
@example("`.`.`")
def test_any_text_is_a_filter_or_bad_input(text: str) -> None:
    try:
        passes(text, MADE)
    except InputError as error:
        assert error.code == "mlflow.filter"  # noqa: PT017 - not raised for every text
    try:
        parse_orders([text], RUNS)
    except InputError as error:
        assert error.code == "mlflow.filter"  # noqa: PT017 - not raised for every text


_QUOTABLE = st.text(st.characters(exclude_characters="`", codec="utf-8"), min_size=1, max_size=20)


@given(key=_QUOTABLE, value=st.text(st.characters(codec="utf-8"), max_size=20))
@example(key="team.", value="risk")
def test_every_text_can_be_asked_for(key: str, value: str) -> None:
    escaped = value.replace("'", "''")
    one = run(tags=((key, value),))
    assert passes(f"tags.`{key}` = '{escaped}'", one)
    assert not passes(f"tags.`{key}` != '{escaped}'", one)


@given(number=st.floats(allow_nan=False, allow_infinity=False), limit=st.integers(-9, 9))
def test_numbers_compare_as_numbers(number: float, limit: int) -> None:
    one = run(latest=(("m", repr(number), 0, 0),))
    assert passes(f"metrics.m > {limit}", one) is (number > limit)
    assert passes(f"metrics.m = {number!r}", one)


@given(text=st.text("ab%_.", max_size=12), pattern=st.text("ab%_.", max_size=8))
@example("a" * 12, "%a%a%a%b")
def test_like_is_what_sql_says(text: str, pattern: str) -> None:
    regex = "".join({"%": ".*", "_": "."}.get(char, re.escape(char)) for char in pattern)
    assert like(text, pattern) is (re.fullmatch(regex, text, re.DOTALL) is not None)
    assert like(text.upper(), pattern, fold=True) is like(text, pattern)


def test_a_pattern_chosen_to_be_slow_is_not() -> None:
    value = "a" * 8000
    assert not like(value, "%a" * 120 + "%b")
    assert like(value, "%a" * 120 + "%")
    assert not like(value, "%" + "_" * 200 + "b" + "%a" * 20)


def test_nothing_is_ordered_by_what_a_row_has_several_of() -> None:
    with pytest.raises(InputError, match="several datasets"):
        parse_orders(["dataset.name"], RUNS)


def test_order_puts_what_is_missing_last_both_ways() -> None:
    rows = [
        run("a", latest=(("m", "2.0", 0, 0),)),
        run("b"),
        run("c", latest=(("m", "1.0", 0, 0),)),
        run("d", latest=(("m", repr(math.nan), 0, 0),)),
    ]

    def names(*orders: str) -> str:
        return "".join(one.name for one in ordered(rows, parse_orders(orders, RUNS), RUNS))

    assert names("metrics.m ASC") == "cabd"
    assert names("metrics.m DESC") == "acbd"
    assert names("attributes.start_time", "run_name DESC") == "dcba"
