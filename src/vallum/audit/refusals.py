"""Refused credentials in the log: each by itself up to a rate, then as exact aggregates.

A flood thus costs a bounded number of bytes an hour (at most 60 entries and six aggregates of 128
sources a minute: about 6 MB) and hides nothing: every refusal is counted, by code. Sources are in
the encrypted details, as an address can be personal data.
"""

import threading
from collections import Counter
from collections.abc import Callable

from vallum.audit.log import Log
from vallum.schema import EntryKind

SINGLE_PER_MINUTE = 60
FLUSH_AFTER_S = 10.0
MAX_SOURCES = 128  # kept apart in one aggregate; the rest is counted together
SYSTEM_DOOR = "system-door"


class Refusals:
    """Counts between flushes. Safe for threads."""

    def __init__(self, log: Log, monotonic: Callable[[], float]) -> None:
        self._log = log
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._minute = -1
        self._singles = 0
        self._held: Counter[tuple[str, str]] = Counter()
        self._since_s = 0.0

    def add(self, *, code: str, source: str, request_id: str = "") -> None:
        """Log one refusal, or count it into the next aggregate."""
        now = self._monotonic()
        with self._lock:
            minute = int(now // 60)
            if minute != self._minute:
                self._minute, self._singles = minute, 0
            single = self._singles < SINGLE_PER_MINUTE
            if single:
                self._singles += 1
            else:
                self._hold(code, source, 1, now)
        if single:
            with self._log.transaction() as tx:
                self._log.note(
                    tx,
                    kind=EntryKind.AUTHENTICATION_REFUSED,
                    step="authenticate",
                    principal_id=SYSTEM_DOOR,
                    request_id=request_id,
                    error=code,
                    allowed=False,
                    details={"source": source},
                )
        self.flush_due()

    def flush_due(self) -> None:
        """Write the aggregate if it has been held for long enough; a timer calls this."""
        now = self._monotonic()
        with self._lock:
            due = bool(self._held) and now - self._since_s >= FLUSH_AFTER_S
        if due:
            self.flush()

    def count(self, *, code: str, source: str, times: int) -> None:
        """Count refusals that were made elsewhere into the next aggregate."""
        with self._lock:
            self._hold(code, source, times, self._monotonic())

    def _hold(self, code: str, source: str, times: int, now_s: float) -> None:
        if not self._held:
            self._since_s = now_s
        key = (code, source)
        if key not in self._held and len(self._held) >= MAX_SOURCES:
            key = (code, "other")
        self._held[key] += times

    def flush(self) -> None:
        """Write the aggregate now; the shutdown calls this."""
        with self._lock:
            held, self._held = self._held, Counter()
        if not held:
            return
        rows = [
            {"code": code, "source": source, "count": count}
            for (code, source), count in sorted(held.items())
        ]
        try:
            with self._log.transaction() as tx:
                self._log.note(
                    tx,
                    kind=EntryKind.REFUSALS,
                    step="authenticate",
                    principal_id=SYSTEM_DOOR,
                    allowed=False,
                    error="identity.flood",
                    details={"total": held.total(), "refusals": rows},
                )
        except BaseException:
            with self._lock:
                self._held.update(held)
            raise
