"""Noise is normal, new every time and on its grid; batches are drawn record by record."""

import numpy as np
import pytest
from scipy import stats

from vallum.crypto.keystream import random_bytes
from vallum.defend.dp.sampling import poisson_sample

torch = pytest.importorskip("torch", reason="the extra `dptrain` is not installed")

from vallum.defend.dp.noise import GRID_BITS, add_noise, normal  # noqa: E402

torch.set_num_threads(1)


def test_the_keystream_is_new_every_time_and_looks_random() -> None:
    """No two calls agree, and bits are balanced."""
    first, second = random_bytes(100_000), random_bytes(100_000)
    assert first != second
    ones = np.unpackbits(np.frombuffer(first, dtype=np.uint8)).sum()
    assert stats.binomtest(int(ones), 800_000).pvalue > 1e-9
    assert random_bytes(0) == b""


@pytest.mark.parametrize("count", [0, 1, 2, 70_001])
def test_noise_has_the_normal_law(count: int) -> None:
    """As many as asked for; the law is tested with a false-alarm rate of one in a billion."""
    drawn = normal(count).numpy()
    assert drawn.shape == (count,)
    assert np.isfinite(drawn).all()
    if count > 10:
        assert stats.kstest(drawn, "norm").pvalue > 1e-9
        half = count // 2
        assert abs(stats.pearsonr(drawn[:half], drawn[half : 2 * half]).statistic) < 6 / half**0.5
        assert abs(float((drawn**4).mean()) - 3) < 6 * (96 / count) ** 0.5


def test_a_noisy_sum_lies_on_its_grid() -> None:
    """The last digits of a sum do not survive: every result is a multiple of one power of two."""
    deviation = 0.7
    total = torch.full((20_000,), 1 / 3, dtype=torch.float64)
    noisy = add_noise(total, deviation)
    grid = 2.0 ** (-1 - GRID_BITS)
    assert torch.equal((noisy / grid).round() * grid, noisy)
    assert stats.kstest((noisy.numpy() - 1 / 3) / deviation, "norm").pvalue > 1e-9


def test_records_are_drawn_by_themselves() -> None:
    """Sizes of batches have the binomial law, empty ones included; so has each record."""
    records, rate, rounds = 40, 0.05, 4000
    drawn = np.zeros((rounds, records), dtype=np.int64)
    for at in range(rounds):
        drawn[at, poisson_sample(records, rate)] = 1
    sizes = drawn.sum(axis=1)
    assert (sizes == 0).sum() > 0
    expected = stats.binom.pmf(np.arange(7), records, rate) * rounds
    observed = np.array([*(np.sum(sizes == k) for k in range(6)), np.sum(sizes >= 6)])
    expected[6] = rounds - expected[:6].sum()
    assert stats.chisquare(observed, expected).pvalue > 1e-9
    spread = stats.chisquare(drawn.sum(axis=0), ddof=0).pvalue
    assert spread > 1e-9
    assert len(poisson_sample(records, 1.0)) == records
