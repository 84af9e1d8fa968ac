import sys
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from vallum.base import InputError
from vallum.monitor import ExtractionProfile, Statistic, Watches, learn_profile
from vallum.monitor import extraction as module

WIDTH = 20


def natural(count: Any, seed: Any) -> Any:
    """Correlated records of three clusters."""
    rng = np.random.default_rng(seed)
    base = np.random.default_rng(0)
    centres, mix = base.standard_normal((3, WIDTH)) * 2, base.standard_normal((8, WIDTH))
    kinds = rng.integers(3, size=count)
    x = (
        centres[kinds]
        + rng.standard_normal((count, 8)) @ mix
        + 0.3 * rng.standard_normal((count, WIDTH))
    )
    return x.astype(np.float32), kinds.astype(np.intp)


PROFILE = learn_profile(natural(800, 1)[0], seed=0)


def asked(rows: Any, kinds: Any = None, *, size: int = 1, profile: Any = PROFILE) -> Any:
    """Return the statistics that alarm, each with the number of queries until then."""
    watch = Watches(profile)
    out = {}
    for at in range(0, len(rows), size):
        part = slice(at, at + size)
        for alarm in watch.add(b"a", rows[part], None if kinds is None else kinds[part]):
            assert alarm.value >= alarm.threshold
            assert alarm.statistic not in out
            out[alarm.statistic] = alarm.queries
    assert watch.alarmed(b"a") == frozenset(out)
    return out


def walk(x: Any, step: Any, seed: Any) -> Any:
    """Return records and, for each, one a step away in every feature: up or down."""
    rng = np.random.default_rng(seed)
    return np.concatenate([x, (x + step * rng.choice([-1, 1], x.shape)).astype(np.float32)])


@pytest.mark.parametrize("size", [1, 7, 300])
def test_honest_records_raise_no_alarm_however_they_are_cut_into_requests(size: Any) -> None:
    assert asked(*natural(900, 2), size=size) == {}


@pytest.mark.parametrize("step", [0.02, 0.1, 0.5, np.full(WIDTH, 0.3) * PROFILE.scale])
def test_equal_steps_from_earlier_queries_alarm(step: Any) -> None:
    found = asked(walk(natural(100, 3)[0], step, 4))
    assert found[Statistic.STEPS] <= 130


def test_steps_of_one_length_in_any_direction_alarm() -> None:
    x, _ = natural(100, 5)
    turn = np.random.default_rng(6).standard_normal(x.shape)
    turn *= 0.2 / np.linalg.norm(turn, axis=1, keepdims=True)
    assert Statistic.STEPS in asked(np.concatenate([x, (x + turn).astype(np.float32)]))


def test_noise_and_records_of_another_kind_are_novel() -> None:
    rng = np.random.default_rng(7)
    x, _ = natural(400, 8)
    low, high = x.min(axis=0), x.max(axis=0)
    noise = (low + (high - low) * rng.random((300, WIDTH))).astype(np.float32)
    assert asked(noise)[Statistic.NOVELTY] <= 100
    assert asked(x + 30)[Statistic.NOVELTY] <= 60


def test_a_few_strange_records_and_one_asked_for_ever_raise_no_alarm() -> None:
    x, _ = natural(300, 9)
    x[::10] += 50
    assert asked(x) == {}
    assert asked(np.repeat(x[:1] + 50, 500, axis=0)) == {}


def test_what_if_and_measuring_again_are_no_steps() -> None:
    rng = np.random.default_rng(10)
    row = natural(1, 11)[0]
    sweep = np.repeat(row, 200, axis=0)
    sweep[:, 3] += np.linspace(-2, 2, 200)
    again = row + rng.normal(0, 0.05, (200, WIDTH)).astype(np.float32)
    assert asked(sweep) == {}
    assert asked(again.astype(np.float32)) == {}


def test_probing_the_boundary_alarms_only_where_classes_flip() -> None:
    rng = np.random.default_rng(12)
    near = (natural(1, 13)[0] + rng.normal(0, 0.05, (200, WIDTH))).astype(np.float32)
    assert Statistic.PROBING in asked(near, rng.integers(2, size=200))
    assert asked(near, np.zeros(200, np.intp)) == {}
    assert asked(near) == {}


def test_callers_are_told_apart_and_the_quietest_is_forgotten() -> None:
    watch = Watches(PROFILE)
    strange = natural(60, 14)[0] + 40
    for row in strange:
        watch.add(b"thief", row[None])
    assert watch.alarmed(b"thief") == {Statistic.NOVELTY}
    assert watch.alarmed(b"other") == frozenset()
    for at in range(module.MAX_CALLERS):
        watch.add(str(at).encode(), strange[:1])
    assert watch.alarmed(b"thief") == frozenset()


def test_memory_for_a_caller_does_not_grow() -> None:
    watch = Watches(PROFILE)
    sizes = set()
    for at in range(4):
        watch.add(b"a", natural(300, at)[0])
        held = watch._callers[b"a"]
        sizes.add((held._ring.nbytes, sys.getsizeof(held._novel), len(held._novel)))
    assert len(sizes) == 1
    assert held.queries == 1200


def test_many_features_are_sampled() -> None:
    rng = np.random.default_rng(15)
    x = rng.standard_normal((200, 500)).astype(np.float32)
    profile = learn_profile(x, seed=3)
    assert len(profile.chosen) == module.MAX_FEATURES
    assert asked(x + 100, profile=profile).keys() == {Statistic.NOVELTY}


def test_where_natural_changes_are_all_equal_steps_mean_nothing() -> None:
    rng = np.random.default_rng(16)
    x = rng.integers(0, 2, (600, 30)).astype(np.float32)
    profile = learn_profile(x[:400], seed=0)
    assert profile.regular > 1 or profile.raw_regular > 1
    assert asked(x[400:], profile=profile) == {}


def test_a_profile_survives_the_wire_and_is_the_same_for_a_seed() -> None:
    again = msgspec.msgpack.decode(msgspec.msgpack.encode(PROFILE), type=ExtractionProfile)
    assert again == PROFILE == learn_profile(natural(800, 1)[0], seed=0)


@settings(max_examples=30)
@given(arrays(np.float32, (5, WIDTH), elements=st.floats(width=32)))
def test_any_floats_are_looked_at(rows: Any) -> None:
    watch = Watches(PROFILE)
    watch.add(b"a", rows)
    assert watch.add(b"a", natural(30, 17)[0]) == ()


def test_what_does_not_fit_is_refused() -> None:
    x, kinds = natural(50, 18)
    with pytest.raises(InputError) as refused:
        learn_profile(x[:39], seed=0)
    assert refused.value.code == "extraction.reference"
    with pytest.raises(InputError):
        learn_profile(np.ones((50, 3)), seed=0)
    watch = Watches(PROFILE)
    for rows, classes in ((x[:, :5], None), (x[:0], None), (x, kinds[:3])):
        with pytest.raises(InputError) as refused:
            watch.add(b"a", rows, classes)
        assert refused.value.code == "extraction.queries"
    assert watch.alarmed(b"a") == frozenset()
