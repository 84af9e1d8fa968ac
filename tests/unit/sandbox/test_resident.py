"""One payload that stays open in its sandbox: answers, refusals, ends."""

import os
from collections.abc import Iterator

import pytest

from vallum.base import GateError, InputError
from vallum.privacy.dp import Answer
from vallum.sandbox import CHECK_LIMITS, BubblewrapRunner, Limits, Resident

OPEN = "vallum.privacy.dp.gate:open_table"
DECLARED = (
    '{"version": "vallum.dp/1", "unit": {"rows": true},'
    ' "columns": {"age": {"type": "integer", "lower": 0, "upper": 100}}}'
)
TABLE = b"age\n" + b"30\n" * 5000
COST = {"epsilon": "1", "rho": "0", "delta": "0"}


def opened(runner: BubblewrapRunner, payload: bytes = TABLE, **more: object) -> Resident:
    return Resident.open(
        runner, OPEN, payload, allowed={OPEN},
        arguments={"kind": "csv", "declaration": DECLARED}, **more,
    )  # type: ignore[arg-type]  # fmt: skip


@pytest.fixture(scope="module")
def resident(runner: BubblewrapRunner) -> Iterator[Resident]:
    made = opened(runner)
    yield made
    made.close()


def test_it_answers_again_and_again(resident: Resident) -> None:
    for _ in range(5):
        answer = resident.ask(Answer, {"sql": "SELECT COUNT(*) FROM t", "cost": COST})
        assert abs((answer.groups[0].figures[0].value or 0) - 5000) < 60


def test_a_question_that_is_refused_leaves_it_as_it_was(resident: Resident) -> None:
    for sql in ("SELECT", "SELECT SUM(nothing) FROM t", "DROP TABLE t"):
        with pytest.raises(InputError):
            resident.ask(Answer, {"sql": sql, "cost": COST})
    with pytest.raises(InputError, match="too long"):
        resident.ask(Answer, {"sql": "x" * 50_000, "cost": COST})
    test_it_answers_again_and_again(resident)


def test_what_cannot_be_opened_is_refused_with_its_reason(runner: BubblewrapRunner) -> None:
    with pytest.raises(InputError, match="no column `age`"):
        opened(runner, b"other\n1\n")
    with pytest.raises(InputError, match="table of checks"):
        Resident.open(runner, "os:system", b"", allowed={OPEN}, arguments={})


def test_one_that_dies_says_so_and_stays_dead(runner: BubblewrapRunner) -> None:
    made = opened(runner)
    os.kill(made._process.pid, 9)
    for _ in range(2):
        with pytest.raises(GateError):
            made.ask(Answer, {"sql": "SELECT COUNT(*) FROM t", "cost": COST})
    made.close()


def test_one_that_is_late_is_killed(runner: BubblewrapRunner) -> None:
    with pytest.raises(GateError, match="longer than"):
        opened(runner, limits=Limits(**{**_plain(), "wall_s": 0.05}))


def test_an_answer_of_another_form_is_no_answer(resident: Resident) -> None:
    with pytest.raises(GateError, match="schema"):
        resident.ask(int, {"sql": "SELECT COUNT(*) FROM t", "cost": COST})


def _plain() -> dict[str, object]:
    import msgspec

    return msgspec.to_builtins(CHECK_LIMITS)  # type: ignore[no-any-return]
