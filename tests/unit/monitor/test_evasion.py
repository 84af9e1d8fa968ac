from typing import Any

import numpy as np
import pytest

from vallum.base import InputError
from vallum.monitor import EvasionWatch, Sign, learn_evasion

WIDTH = 6


def records(count: int, seed: int) -> Any:
    """Return two clouds, at -2 and 2."""
    rng = np.random.default_rng(seed)
    side = np.where(rng.random(count) < 0.5, -2.0, 2.0)[:, None]
    return (side + rng.standard_normal((count, WIDTH))).astype(np.float32)


def steep(x: Any) -> Any:
    """Answer by the sign of the sum; ever more strangely along the last feature alone."""
    x = x.astype(np.float64)
    logits = x.sum(axis=1) + 40 * np.sin(25 * x[:, -1]) * (np.abs(x[:, -1]) < 0.12)
    p = 1 / (1 + np.exp(-np.clip(logits, -50, 50)))
    return np.stack([1 - p, p], axis=1)


def watch(model: Any = steep) -> EvasionWatch:
    made = EvasionWatch(learn_evasion(records(1500, 0), seed=0))
    made.calibrate(model(made.asks))
    return made


def judged(one: EvasionWatch, x: Any) -> Any:
    return one.judge(x, steep(x), steep(one.squeezed(x)))


def rates(x: Any) -> dict[Sign, float]:
    return {sign: float(mask.mean()) for sign, mask in judged(watch(), x).items()}


def test_each_sign_sees_what_it_is_for_and_honest_records_show_few() -> None:
    honest = rates(records(2000, 1))
    assert max(honest.values()) < 0.03
    between = np.tile(records(50, 2).mean(axis=0), (50, 1)).astype(np.float32) * 0
    between[:, 0] = np.linspace(-0.02, 0.02, 50)
    between[:, -1] = 0.2
    assert rates(between)[Sign.UNSURE] > 0.9
    placed = records(200, 3)
    placed = placed[placed[:, :-1].sum(axis=1) > 6]
    placed[:, -1] = -np.pi / 50  # the sine's lowest: the other class, among its own records
    found = rates(placed)
    assert found[Sign.TRUST] > 0.9
    assert found[Sign.SQUEEZED] > 0.9
    assert rates(records(50, 4) + 9)[Sign.FAR] == 1
    assert rates(np.full((3, WIDTH), 3e38, np.float32))[Sign.FAR] == 1


def test_rows_are_judged_alike_alone_and_among_thousands() -> None:
    one, x = watch(), records(2500, 5)
    many = judged(one, x)
    for sign, mask in many.items():
        alone = np.concatenate([judged(one, x[at : at + 1])[sign] for at in range(2000, 2060)])
        np.testing.assert_array_equal(mask[2000:2060], alone)


def test_a_caller_is_told_of_once_and_repeats_say_nothing() -> None:
    one = watch()
    strange, honest = records(400, 6) + 9, records(400, 7)
    for at in range(300):
        assert one.note(b"honest", honest[at : at + 1], judged(one, honest[at : at + 1])) is None
        assert one.note(b"retry", strange[:1], judged(one, strange[:1])) is None
    alarms = [
        (at, alarm)
        for at in range(100)
        if (alarm := one.note(b"thief", strange[at : at + 1], judged(one, strange[at : at + 1])))
    ]
    ((at, alarm),) = alarms
    assert at == 31
    assert (alarm.value, alarm.threshold, alarm.queries) == (32.0, 32.0, 32)
    assert alarm.signs["far"] == 32
    assert one.alarmed(b"thief")
    assert not one.alarmed(b"honest")
    assert not one.alarmed(b"retry")
    for number in range(600):
        one.note(str(number).encode(), honest[:1], judged(one, honest[:1]))
    assert not one.alarmed(b"thief")  # the quietest is forgotten: memory is bounded


def test_missing_values_of_the_table_are_passed_over() -> None:
    x = records(300, 8).astype(np.float64)
    x[::7, 2] = np.nan
    made = EvasionWatch(learn_evasion(x, seed=1))
    assert np.isfinite(made.asks).all()
    made.calibrate(steep(made.asks))


@pytest.mark.parametrize(
    "reference",
    [records(99, 0), records(200, 0)[:, 0], np.ones((200, 3)), np.zeros((100, 4097))],
)
def test_a_table_that_says_nothing_is_refused(reference: Any) -> None:
    with pytest.raises(InputError) as refused:
        learn_evasion(reference, seed=0)
    assert refused.value.code == "evasion.reference"


@pytest.mark.parametrize(
    "model",
    [
        lambda x: np.ones((len(x), 1)),
        lambda x: np.ones(len(x)),
        lambda x: np.tile([0.9, 0.1], (len(x), 1)),  # one class only
        lambda x: np.full((len(x), 2), np.nan),
        lambda x: steep(x)[:-1],
    ],
    ids=("one score", "a number", "one class", "not finite", "too few"),
)
def test_a_model_without_scores_of_classes_is_refused(model: Any) -> None:
    with pytest.raises(InputError) as refused:
        watch(model)
    assert refused.value.code == "evasion.scores"


def test_rows_of_another_width_are_refused() -> None:
    one, x = watch(), records(3, 0)
    with pytest.raises(InputError):
        one.judge(x[:, :3], steep(x), steep(x))
