"""Tables that stay open in sandboxes of their own, so that a private query does not wait for one.

What is held is plaintext in the memory of a process that sees this one table, no network and no
file. It ends when the table is erased, when nobody has asked for five minutes, when others need
its place, and with the workspace.
"""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from vallum.base import VallumError
from vallum.sandbox import BubblewrapRunner, Resident
from vallum.workspace.gates.table import ALLOWED

R = TypeVar("R")

IDLE_S = 300.0
MAX_RESIDENTS = 4


@dataclass(slots=True)
class _Held:
    resident: Resident
    used_s: float


class Residents:
    """The tables that are open now, by version and what they were opened with; for threads."""

    def __init__(
        self, runner: Callable[[], BubblewrapRunner], monotonic: Callable[[], float]
    ) -> None:
        self._runner = runner
        self._monotonic = monotonic
        self._held: dict[tuple[str, str], _Held] = {}
        self._lock = threading.Lock()
        self._opening: dict[tuple[str, str], threading.Lock] = {}

    def ask(
        self,
        version_id: str,
        opened_with: str,
        *,
        function: str,
        payload: Callable[[], bytes],
        arguments: Mapping[str, object],
        question: Mapping[str, object],
        report_type: type[R],
    ) -> R:
        """Ask an open table; open it first where it is not.

        Args:
            version_id: Of the table.
            opened_with: Digest of what else it was opened with.
            function: In the table of checks: opens the payload.
            payload: Reads the table; called only where it must be opened.
            arguments: Of the function.
            question: Of what the function returns.
            report_type: Of the answer.

        Raises:
            VallumError: As `Resident` does. One that was killed is opened anew next time.
        """
        key = version_id, opened_with

        def made() -> Resident:
            return Resident.open(
                self._runner(), function, payload(), allowed=ALLOWED, arguments=arguments
            )

        for again in (True, False):
            held = self._get(key, made)
            try:
                return held.resident.ask(report_type, question)
            except VallumError as error:
                if error.code.startswith("sandbox.") and error.code != "sandbox.arguments":
                    self._close(key)
                # It may have been closed for another's sake just now: nothing was answered yet.
                if not (again and error.code == "sandbox.killed"):
                    raise
        raise AssertionError("the second attempt returns or raises")

    def _get(self, key: tuple[str, str], made: Callable[[], Resident]) -> _Held:
        with self._lock:
            opening = self._opening.setdefault(key, threading.Lock())
        with opening:  # two that ask at once open one
            with self._lock:
                held = self._held.get(key)
            if held is None:
                held = _Held(made(), self._monotonic())
                with self._lock:
                    self._held[key] = held
                self._make_room(key)
        held.used_s = self._monotonic()
        return held

    def expire(self) -> None:
        """Close what nobody has asked for a while."""
        now = self._monotonic()
        with self._lock:
            idle = [key for key, one in self._held.items() if now - one.used_s > IDLE_S]
        for key in idle:
            self._close(key)

    def drop(self, version_id: str) -> None:
        """Close whatever is open of a version."""
        with self._lock:
            found = [key for key in self._held if key[0] == version_id]
        for key in found:
            self._close(key)

    def close(self) -> None:
        """Close all."""
        with self._lock:
            found = list(self._held)
        for key in found:
            self._close(key)

    def _make_room(self, newest: tuple[str, str]) -> None:
        while True:
            with self._lock:
                if len(self._held) <= MAX_RESIDENTS:
                    return
                others = [key for key in self._held if key != newest]
                oldest = min(others, key=lambda key: self._held[key].used_s)
            self._close(oldest)

    def _close(self, key: tuple[str, str]) -> None:
        with self._lock:
            held = self._held.pop(key, None)
            self._opening.pop(key, None)
        if held is not None:
            held.resident.close()
