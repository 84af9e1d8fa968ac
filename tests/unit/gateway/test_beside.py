from typing import Any

import numpy as np
import pytest

from vallum.base import GateError, InputError
from vallum.gateway.beside import Beside
from vallum.gateway.evading import Evading
from vallum.gateway.wire import ABSTAINED, problem_of
from vallum.guard import Hardening
from vallum.monitor import Canaries, learn_evasion
from vallum.schema import OutputPolicy

RNG = np.random.default_rng(0)
DATA = (np.where(RNG.random((800, 1)) < 0.5, -2, 2) + RNG.standard_normal((800, 3))).astype("f4")
CLEAR = np.array([[2.0, 2, 2], [-2, -2, -2]], np.float32)
UNSURE = np.zeros((1, 3), np.float32)


class Model:
    width = 3

    async def predict(self, x: Any) -> Any:
        p = 1 / (1 + np.exp(-x.sum(axis=1)))
        return [("label", (p > 0.5).astype(np.int64)), ("p", np.stack([1 - p, p], axis=1))]

    def verify(self) -> None: ...

    async def close(self) -> None: ...


def run(work: Any) -> Any:
    """Run what waits for nothing."""
    try:
        work.send(None)
    except StopIteration as done:
        return done.value
    raise AssertionError("it waits")


def evading(response: str) -> Evading:
    made = Evading(learn_evasion(DATA, seed=0), response=response, width=3)
    run(made.prepare(Model()))
    return made


def asked(beside: Beside, x: Any) -> Any:
    return beside.look("me", x, run(Model().predict(beside.widened(x))))


def test_an_answer_has_the_rows_that_were_asked_about() -> None:
    looked = asked(Beside(evading=evading("alert")), np.concatenate([CLEAR, UNSURE]))
    assert [len(value) for _, value in looked.outputs] == [3, 3]
    assert looked.error is None
    assert looked.outputs[1][1][0, 1] > 0.9


def test_abstention_names_the_rows_and_tells_nothing_of_them() -> None:
    beside = Beside(
        evading=evading("abstain"), harden=Hardening(OutputPolicy(labels_only=True), b"k" * 32)
    )
    looked = asked(beside, np.concatenate([CLEAR, UNSURE]))
    assert looked.error is not None
    assert (looked.error.code, looked.error.message) == (
        ABSTAINED,
        "the model abstains: 1 of 3 rows, 3",
    )
    answer = problem_of(looked.error)
    assert answer.status == 422
    assert b"1 of 3 rows, 3" in answer.body
    assert b"what the model said" not in problem_of(GateError("what the model said")).body
    assert set(asked(beside, CLEAR).outputs[1][1].ravel()) == {0.0, 1.0}


def test_planted_records_are_said_at_once_and_then_at_every_doubling() -> None:
    beside = Beside(canaries=Canaries(CLEAR))
    said = [asked(beside, CLEAR[:1]).sightings for _ in range(20)]
    assert [at + 1 for at, one in enumerate(said) if one] == [1, 2, 4, 8, 16]
    ((first,),) = (one for one in said[:1])
    assert (first.watch, first.statistic, first.value) == ("canary", "record-0", 1.0)
    assert asked(beside, DATA[:50]).sightings == ()


def test_records_of_another_width_cannot_be_watched() -> None:
    with pytest.raises(InputError) as refused:
        Evading(learn_evasion(DATA, seed=0), response="alert", width=4)
    assert refused.value.code == "evasion.profile"
