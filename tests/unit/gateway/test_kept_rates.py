"""A restart renews nobody's rate."""

import asyncio
import time
from pathlib import Path

import msgspec
import pytest

from vallum.base import LimitExceededError
from vallum.gateway.kept_rates import KeptRates

KEY = ("key-1", "ep-1")


def taken(rates: KeptRates, *, burst: int = 10) -> int:
    """Take until there is no more; return how often."""
    for at in range(100):
        try:
            rates.take(KEY, rate_per_s=0.01, burst=burst, now_s=time.monotonic())
        except LimitExceededError:
            return at
    return 100


def test_a_burst_is_had_once_whatever_starts_anew(tmp_path: Path) -> None:
    rates = KeptRates(tmp_path)
    asyncio.run(rates.save())
    assert not list(tmp_path.iterdir())  # nothing to keep
    assert taken(rates, burst=6) == 6
    asyncio.run(rates.save())
    assert (tmp_path / "rates").stat().st_mode & 0o777 == 0o600
    again = KeptRates(tmp_path)
    assert taken(again) == 4
    killed = KeptRates(tmp_path)  # without a save: what was taken since then, no more
    assert taken(killed) == 4


def test_a_clock_set_back_makes_nobody_wait_longer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rates = KeptRates(tmp_path)
    assert taken(rates) == 10
    asyncio.run(rates.save())
    now_s = time.time()
    monkeypatch.setattr(time, "time", lambda: now_s - 1e8)
    with pytest.raises(LimitExceededError) as refused:
        KeptRates(tmp_path).take(KEY, rate_per_s=0.01, burst=10, now_s=time.monotonic())
    assert refused.value.retry_after_s is not None
    assert refused.value.retry_after_s <= 100
    monkeypatch.setattr(time, "time", lambda: now_s + 1e8)
    assert taken(KeptRates(tmp_path)) == 10


@pytest.mark.parametrize("data", [b"", b"\x00", msgspec.msgpack.encode({"at_s": 1, "owed": [1]})])
def test_what_cannot_be_read_is_as_nothing(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "rates").write_bytes(data)
    assert taken(KeptRates(tmp_path)) == 10
