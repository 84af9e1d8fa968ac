"""What keeps sandboxes from standing on this machine, with the one command that mends each."""

from dataclasses import dataclass

from vallum.base import UnavailableError
from vallum.sandbox.bubblewrap import BubblewrapRunner


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong; `fix` is the command to type."""

    what: str
    fix: str


def doctor() -> list[Problem]:
    """Return what is wrong here; nothing means that a real sandbox has just stood."""
    try:
        BubblewrapRunner.open()
    except UnavailableError as error:
        return [Problem(error.message, error.hint)]
    return []
