"""Delay and lock-out for wrong credentials.

Failures are counted per (claimed account, source) pair, so that a stranger cannot lock the owner
out from elsewhere, and globally, so that guessing from many sources slows down as a whole. Known
and unknown accounts are counted alike. NIST SP 800-63B, section 5.2.2 (rate limiting).
"""

import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

FREE_FAILURES = 5
MAX_LOCK_S = 900.0
FORGET_AFTER_S = 3600.0
MAX_PAIRS = 65_536  # bounded memory: about 16 MiB under a flood of invented accounts
GLOBAL_FREE_PER_S = 20.0
MAX_DELAY_S = 2.0


@dataclass(slots=True)
class _Pair:
    failures: int
    last_s: float


class Throttle:
    """Counts failures; holds them in memory between calls. Safe for threads."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._pairs: OrderedDict[tuple[str, str], _Pair] = OrderedDict()
        self._level = 0.0  # global leaky bucket of failures
        self._level_at_s = monotonic()

    def locked_for_s(self, account: str, source: str) -> float:
        """Return the seconds that this pair must still wait; 0.0 if it may try."""
        now = self._monotonic()
        with self._lock:
            pair = self._pairs.get((account, source))
            if pair is None or pair.failures <= FREE_FAILURES:
                return 0.0
            lock_s = min(MAX_LOCK_S, 2.0 ** (pair.failures - FREE_FAILURES))
            return max(0.0, pair.last_s + lock_s - now)

    def fail(self, account: str, source: str) -> float:
        """Count a failure.

        Returns:
            Seconds by which the door delays its answer, growing with the global rate.
        """
        now = self._monotonic()
        with self._lock:
            key = (account, source)
            pair = self._pairs.pop(key, None)
            if pair is None or now - pair.last_s > FORGET_AFTER_S:
                pair = _Pair(failures=0, last_s=now)
            pair.failures += 1
            pair.last_s = now
            self._pairs[key] = pair
            if len(self._pairs) > MAX_PAIRS:
                self._pairs.popitem(last=False)
            elapsed = now - self._level_at_s
            self._level = max(0.0, self._level - elapsed * GLOBAL_FREE_PER_S) + 1.0
            self._level_at_s = now
            over = self._level / GLOBAL_FREE_PER_S
            own = 0.05 * 2.0 ** min(pair.failures - 1, 5)
            return min(MAX_DELAY_S, own + max(0.0, over - 1.0))

    def succeed(self, account: str, source: str) -> None:
        """Forget the failures of this pair."""
        with self._lock:
            self._pairs.pop((account, source), None)
