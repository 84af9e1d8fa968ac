"""Rates: the generic cell rate algorithm, one number a key, in bounded memory.

Source: ITU-T I.371, annex A (GCRA, virtual scheduling).
"""

from collections import OrderedDict

from vallum.base import LimitExceededError

MAX_KEYS = 65_536
_SHARED = ("", "")
_ROUNDING_S = 1e-9


class RateLimiter:
    """Holds the theoretical arrival time of every key. For one thread (an event loop).

    A key whose bucket is full again is forgotten first. When `max_keys` keys are all in use a new
    one shares one bucket with all other new ones: a flood of keys frees nobody from their rate.
    """

    def __init__(self, *, max_keys: int = MAX_KEYS) -> None:
        self._arrivals: OrderedDict[tuple[str, str], float] = OrderedDict()
        self._max_keys = max_keys

    def take(self, key: tuple[str, str], *, rate_per_s: float, burst: float, now_s: float) -> None:
        """Take one from `key`'s bucket.

        Args:
            key: Such as (credential, endpoint).
            rate_per_s: Sustained rate, > 0.
            burst: How many at once, >= 1.
            now_s: Monotonic time.

        Raises:
            LimitExceededError: The bucket is empty; `retry_after_s` says for how long.
        """
        if key not in self._arrivals and len(self._arrivals) >= self._max_keys:
            oldest = next(iter(self._arrivals))
            if self._arrivals[oldest] <= now_s:
                del self._arrivals[oldest]
            else:
                key = _SHARED
        interval = 1.0 / rate_per_s
        arrival = max(self._arrivals.get(key, now_s), now_s)
        wait = arrival - (burst - 1) * interval - now_s
        if wait > _ROUNDING_S:
            raise LimitExceededError(
                "too many requests", code="score.rate", retry_after_s=max(wait, 0.001)
            )
        self._arrivals[key] = arrival + interval
        self._arrivals.move_to_end(key)
