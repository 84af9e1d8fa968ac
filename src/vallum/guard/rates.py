"""Rates: the generic cell rate algorithm, one number a key, in bounded memory.

Source: ITU-T I.371, annex A (GCRA, virtual scheduling).
"""

from collections import OrderedDict

from vallum.base import LimitExceededError

MAX_KEYS = 65_536


class RateLimiter:
    """Holds the theoretical arrival time of every key. For one thread (an event loop).

    When more than `max_keys` keys are live the oldest is forgotten and its owner begins with a
    full bucket: never more than `burst` beyond what was allowed.
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
        interval = 1.0 / rate_per_s
        arrival = self._arrivals.get(key, now_s)
        arrival = max(arrival, now_s)
        wait = arrival - (burst - 1) * interval - now_s
        if wait > 1e-9:  # noqa: PLR2004 - rounding of floats
            raise LimitExceededError(
                "too many requests", code="score.rate", retry_after_s=max(wait, 0.001)
            )
        self._arrivals[key] = arrival + interval
        self._arrivals.move_to_end(key)
        if len(self._arrivals) > self._max_keys:
            self._arrivals.popitem(last=False)
