"""Time as an argument. Only doors and the composition root make a `SystemClock`."""

import time
from datetime import UTC, datetime, timedelta
from typing import Protocol


class Clock(Protocol):
    """Where the time comes from."""

    def now(self) -> datetime:
        """Return the wall time, aware, in UTC."""
        ...

    def monotonic(self) -> float:
        """Return seconds that never go back; the origin means nothing."""
        ...


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        """Return the wall time, aware, in UTC."""
        return datetime.fromtimestamp(time.time(), tz=UTC)

    def monotonic(self) -> float:
        """Return seconds that never go back; the origin means nothing."""
        return time.monotonic()


class ManualClock:
    """A clock that moves only when told: the in-memory adapter for tests and replays."""

    def __init__(self, start: datetime) -> None:
        self._now = start
        self._monotonic = 0.0

    def now(self) -> datetime:
        """Return the wall time, aware, in UTC."""
        return self._now

    def monotonic(self) -> float:
        """Return seconds that never go back; the origin means nothing."""
        return self._monotonic

    def advance(self, seconds: float) -> None:
        """Move both times on by `seconds` (>= 0)."""
        self._now += timedelta(seconds=seconds)
        self._monotonic += seconds


def timestamp(moment: datetime) -> str:
    """Format an aware time as RFC 3339 in UTC with microseconds: the one form that is stored."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def parse_timestamp(text: str) -> datetime:
    """Parse what `timestamp` wrote.

    Raises:
        ValueError: Another form.
    """
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=UTC)


def stored_time(text: str) -> str:
    """Return an RFC 3339 time that a person wrote in the one form that is stored.

    Raises:
        ValueError: No time, or one without an offset.
    """
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError("a time without an offset")
    return timestamp(moment)
