from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vallum.base import InputError
from vallum.monitor import MAX_CANARIES, Canaries

RNG = np.random.default_rng(0)
PLANTED = RNG.standard_normal((200, 5)).astype(np.float32)


@given(st.lists(st.integers(0, 199), max_size=20), st.integers(0, 2**31))
def test_exactly_the_planted_records_are_found(places: list[int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    others = 9 + rng.standard_normal((30, 5)).astype(np.float32)
    planted = PLANTED[np.array(places, dtype=int)]
    near = np.nextafter(planted, np.float32(9))
    x = np.concatenate([others, planted, near])
    rng.shuffle(x)
    assert Canaries(PLANTED).find(x).tolist() == sorted(set(places))


def test_zeros_of_either_sign_are_the_same_record() -> None:
    canaries = Canaries(np.array([[0.0, 1.0], [-0.0, 2.0]]))
    x = np.array([[-0.0, 1.0], [0.0, 2.0], [0.0, 3.0]], np.float32)
    assert canaries.find(x).tolist() == [0, 1]
    assert canaries.find(x[:0]).tolist() == []
    assert canaries.find(np.zeros((1, 3), np.float32)).tolist() == []


@pytest.mark.parametrize(
    "rows",
    [
        np.zeros((0, 3)), np.zeros(3), np.zeros((3, 0)), np.zeros((MAX_CANARIES + 1, 1)),
        np.array([[1.0, np.nan]]), np.array([[1e300, 0.0]]),
    ],
)  # fmt: skip
def test_what_cannot_be_a_canary_is_refused(rows: Any) -> None:
    with pytest.raises(InputError) as refused:
        Canaries(rows)
    assert refused.value.code == "canary.records"
