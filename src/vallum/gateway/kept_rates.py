"""Rates that a restart does not renew.

What each caller is ahead of its rate is kept in a file beside the bundles, at every look after them
and when the gateway stops. A gateway that is killed forgets what was taken since it was last kept,
some `bundle.TTL_S` / 4 seconds: so much, and no whole burst, can be taken again. The file holds
random ids and seconds; a clock that was set back has nobody wait longer than it says.
"""

import asyncio
import time
from pathlib import Path
from typing import Final

import msgspec
import structlog

from vallum.base import VallumError, write_atomic
from vallum.guard import RateLimiter

_LOG = structlog.get_logger("vallum.gateway")
_MAX_BYTES: Final = 16 * 1024 * 1024
_MAX_AHEAD_S: Final = 7 * 86_400.0


class _Kept(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    at_s: float  # wall time
    owed: list[tuple[str, str, float]]


class KeptRates(RateLimiter):
    """A rate limiter that takes over what the gateway before it kept. For one event loop."""

    def __init__(self, folder: Path) -> None:
        """Take over what is kept in `folder`; what cannot be read is as nothing, and logged."""
        super().__init__()
        self._path = folder / "rates"
        self._empty = True
        try:
            if self._path.stat().st_size <= _MAX_BYTES:
                kept = msgspec.msgpack.decode(self._path.read_bytes(), type=_Kept)
                # A clock that was set back makes nobody wait longer than at that time.
                gone_s = max(0.0, time.time() - kept.at_s)
                owed = {
                    (who, where): min(ahead_s, _MAX_AHEAD_S) - gone_s
                    for who, where, ahead_s in kept.owed
                    if ahead_s > gone_s
                }
                self.owe(owed, now_s=time.monotonic())
        except FileNotFoundError:
            pass
        except (OSError, msgspec.DecodeError) as error:
            _LOG.warning("rates begin anew", kind=type(error).__name__)

    async def save(self) -> None:
        """Keep what callers are ahead; without any, nothing is written."""
        owed = [(*key, ahead_s) for key, ahead_s in self.owed(now_s=time.monotonic()).items()]
        if not owed and self._empty:
            return
        self._empty = not owed
        data = msgspec.msgpack.encode(_Kept(time.time(), owed))
        try:
            await asyncio.to_thread(write_atomic, self._path, data, mode=0o600)
        except (OSError, VallumError) as error:
            _LOG.warning("rates are not kept", kind=type(error).__name__)
