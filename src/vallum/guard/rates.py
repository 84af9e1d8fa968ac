"""Rates: the generic cell rate algorithm, one number a key, in bounded memory.

Source: ITU-T I.371, annex A (GCRA, virtual scheduling).
"""

from collections import OrderedDict
from collections.abc import Mapping

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

    def take(self, key: tuple[str, str], *, rate_per_s: float, burst: float, now_s: float) -> float:
        """Take one from `key`'s bucket.

        Args:
            key: Such as (credential, endpoint).
            rate_per_s: Sustained rate, > 0.
            burst: How many at once, >= 1.
            now_s: Monotonic time.

        Returns:
            Seconds until the bucket is full again; times `rate_per_s`, that is what it lacks.

        Raises:
            LimitExceededError: The bucket is empty; `retry_after_s` says for how long.
        """
        arrivals = self._arrivals
        arrival = arrivals.get(key)
        if arrival is None:
            if len(arrivals) >= self._max_keys:
                oldest = next(iter(arrivals))
                if arrivals[oldest] <= now_s:
                    del arrivals[oldest]
                else:
                    key = _SHARED
            arrival = arrivals.get(key, now_s)
        arrival = max(arrival, now_s)
        interval = 1.0 / rate_per_s
        wait = arrival - (burst - 1) * interval - now_s
        if wait > _ROUNDING_S:
            raise LimitExceededError(
                "too many requests", code="score.rate", retry_after_s=max(wait, 0.001)
            )
        arrival += interval
        arrivals[key] = arrival
        arrivals.move_to_end(key)
        return arrival - now_s

    def give_back(self, key: tuple[str, str], *, rate_per_s: float) -> None:
        """Undo the last `take` of a key."""
        if key not in self._arrivals:
            key = _SHARED
        self._arrivals[key] -= 1.0 / rate_per_s

    def owed(self, *, now_s: float) -> dict[tuple[str, str], float]:
        """Return by how many seconds keys are ahead of their rates; those that are not, are not."""
        return {key: at - now_s for key, at in self._arrivals.items() if at > now_s}

    def owe(self, owed: Mapping[tuple[str, str], float], *, now_s: float) -> None:
        """Take over what `owed` returned; never less than what is known."""
        for key, ahead_s in sorted(owed.items(), key=lambda one: one[1])[-self._max_keys :]:
            self._arrivals[key] = max(self._arrivals.get(key, now_s), now_s + ahead_s)
