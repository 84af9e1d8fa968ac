"""What an import did, what was here already, and what was refused and why."""

from collections.abc import Callable
from typing import ParamSpec, TypeVar

import msgspec

from vallum.base import (
    IntegrityError,
    SealedError,
    UnauthenticatedError,
    UnavailableError,
    VallumError,
)
from vallum.schema import Record

P = ParamSpec("P")
T = TypeVar("T")

PREFIX = "vallum.import."
"""Of tags that an import sets: what the source said, as a claim."""
MAX_REFUSALS = 10_000  # told one by one
_FATAL = (IntegrityError, SealedError, UnauthenticatedError, UnavailableError)


class Tally(Record, frozen=True):
    """How many things of a kind the source has, and what became of them; -1: not counted."""

    found: int = 0
    made: int = 0
    kept: int = 0  # here already


class Refusal(Record, frozen=True):
    """What was not taken in, and why."""

    what: str
    name: str
    reason: str
    code: str


class ImportReport(Record, frozen=True):
    """What an import did, or would do."""

    source: str
    experiments: Tally
    runs: Tally
    points: Tally
    logged_models: Tally
    files: Tally
    registered_models: Tally
    versions: Tally
    aliases: Tally
    refused: tuple[Refusal, ...] = ()
    refused_total: int = 0
    renumbered: tuple[str, ...] = ()
    deleted: int = 0  # marked as deleted in the source, and left there; -1: not counted
    unread: int = 0  # runs and logged models whose files are not readable from here


KINDS = tuple(field.name for field in msgspec.structs.fields(ImportReport) if field.type is Tally)


class Ledger:
    """Counts while an import goes on."""

    def __init__(self) -> None:
        self._counts = {kind: {"found": 0, "made": 0, "kept": 0} for kind in KINDS}
        self._refused: dict[tuple[str, str], Refusal] = {}
        self.refused_total = 0
        self.renumbered: list[str] = []
        self.deleted = 0
        self.unread = 0

    def add(self, kind: str, which: str, number: int = 1) -> None:
        """Count things of a kind as `found`, `made` or `kept`."""
        self._counts[kind][which] += number

    def uncounted(self, kind: str) -> None:
        """Note that the source does not tell how many there are."""
        self._counts[kind]["found"] = -1

    def refuse(self, what: str, name: str, reason: str, code: str) -> None:
        """Note that something was not taken in."""
        self.refused_total += 1
        if len(self._refused) < MAX_REFUSALS:
            self._refused.setdefault((what, name), Refusal(
                what=what, name=name[:200], reason=reason, code=code,
            ))  # fmt: skip

    def attempt(
        self, what: str, name: str, act: Callable[P, T], *args: P.args, **kwargs: P.kwargs
    ) -> T | None:
        """Return what `act` returns; None, and a note, if it was refused.

        Raises:
            VallumError: Going on makes no sense: no credential, no server, broken history.
        """
        try:
            return act(*args, **kwargs)
        except _FATAL:
            raise
        except VallumError as error:
            reason = f"{error.message}; {error.hint}" if error.hint else error.message
            self.refuse(what, name, reason, error.code)
            return None

    def report(self, source: str) -> ImportReport:
        """Return what became of it."""
        tallies = {kind: Tally(**counts) for kind, counts in self._counts.items()}
        return ImportReport(
            source=source,
            **tallies,
            refused=tuple(self._refused.values()),
            refused_total=self.refused_total,
            renumbered=tuple(self.renumbered),
            deleted=self.deleted,
            unread=self.unread,
        )
