"""Anchors: the newest checkpoint kept outside the data folder, so that rolling back shows.

A port with one adapter here; SDK and CLI clients keep anchors of their own.
"""

from pathlib import Path
from typing import Protocol

from vallum.audit.note import MAX_NOTE_BYTES
from vallum.base import IntegrityError, UnavailableError, write_atomic


class Anchor(Protocol):
    """Keeps the newest signed note of a log."""

    def newest(self) -> str:
        """Return the note that was kept last; empty if none was."""
        ...

    def keep(self, note: str) -> None:
        """Keep `note` durably in place of the last one."""
        ...


class FileAnchor:
    """An anchor in a file, beside the key provider."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def newest(self) -> str:
        """Return the note that was kept last; empty if none was.

        Raises:
            IntegrityError: The file is not a note.
        """
        try:
            data = self._path.read_bytes()
        except FileNotFoundError:
            return ""
        except OSError as error:
            raise UnavailableError(f"the anchor `{self._path}` cannot be read") from error
        if len(data) > MAX_NOTE_BYTES:
            raise IntegrityError("the anchor is not a note", code="audit.anchor")
        try:
            return data.decode()
        except UnicodeDecodeError as error:
            raise IntegrityError("the anchor is not a note", code="audit.anchor") from error

    def keep(self, note: str) -> None:
        """Keep `note` durably in place of the last one."""
        try:
            write_atomic(self._path, note.encode())
        except OSError as error:
            raise UnavailableError(f"the anchor `{self._path}` cannot be written") from error
