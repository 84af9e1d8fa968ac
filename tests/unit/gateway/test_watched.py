from typing import Any

import numpy as np
import pytest

from vallum.base import InputError, LimitExceededError, RefusedError
from vallum.gateway.watched import CallerWatch
from vallum.monitor import Statistic, learn_profile

RNG = np.random.default_rng(0)
DATA = RNG.standard_normal((300, 5)).astype(np.float32)
PROFILE = learn_profile(DATA, seed=0)
STRANGE = (RNG.uniform(-9, 9, (60, 5))).astype(np.float32)


def answers(x: Any) -> Any:
    scores = np.tile(np.array([[0.3, 0.7]], np.float32), (len(x), 1))
    return [("label", np.ones(len(x), np.int64)), ("scores", scores), ("one", scores[:, 1:])]


def suspect(response: Any) -> Any:
    watch = CallerWatch(PROFILE, response=response, width=5)
    watch.admit("thief", now_s=0.0)
    shaped, alarms = watch.look("thief", STRANGE, answers(STRANGE))
    assert [one.statistic for one in alarms] == [Statistic.NOVELTY]
    assert watch.look("thief", STRANGE + 1, answers(STRANGE))[1] == ()  # said once
    return watch, shaped


def test_labels_only_keep_the_class_and_nothing_of_the_scores() -> None:
    watch, shaped = suspect("label-only")
    for outputs in (shaped, watch.look("thief", DATA[:60], answers(DATA[:60]))[0]):
        label, scores, one = (value for _, value in outputs)
        assert (label == 1).all()
        assert (scores == [[0, 1]]).all()
        assert (one == 1).all()
        assert scores.dtype == one.dtype == np.float32
    watch.admit("thief", now_s=1.0)
    other = watch.look("other", DATA[:60], answers(DATA[:60]))[0]
    assert (other[1][1] == np.float32(0.7)).any()


def test_suspects_are_slowed_down_or_stopped_and_others_are_not() -> None:
    watch, shaped = suspect("throttle")
    assert (shaped[1][1] == np.float32(0.7)).any()
    watch.admit("thief", now_s=0.0)
    with pytest.raises(LimitExceededError) as slow:
        watch.admit("thief", now_s=1.0)
    assert slow.value.retry_after_s == pytest.approx(4.0)
    watch.admit("thief", now_s=5.0)
    watch, _ = suspect("stop")
    with pytest.raises(RefusedError) as stopped:
        watch.admit("thief", now_s=0.0)
    assert stopped.value.code == "score.extraction"
    watch.admit("other", now_s=0.0)


def test_a_profile_that_does_not_fit_is_refused() -> None:
    with pytest.raises(InputError) as refused:
        CallerWatch(PROFILE, response="alert", width=4)
    assert refused.value.code == "extraction.profile"
    anything = CallerWatch(PROFILE, response="alert", width=None)
    with pytest.raises(InputError):
        anything.look("a", DATA[:, :4], answers(DATA))
