"""What was erased, kept beside the keys, so that no backup brings it back."""

import os
from collections.abc import Iterable
from pathlib import Path

from vallum.base import IntegrityError, UnavailableError, is_id


class Erasures:
    """An append-only file of version ids; holds no personal data."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def add(self, ids: Iterable[str]) -> None:
        """Add ids durably.

        Raises:
            UnavailableError: The file cannot be written.
        """
        try:
            descriptor = os.open(
                self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600
            )
            try:
                os.write(descriptor, "".join(f"{one}\n" for one in ids).encode())
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise UnavailableError(
                f"`{self._path}` cannot be written: {error.strerror}", code="workspace.erasures"
            ) from error

    def read(self) -> frozenset[str]:
        """Return every id.

        Raises:
            IntegrityError: A line is not an id: a half-written last one is left out.
        """
        try:
            text = self._path.read_text()
        except FileNotFoundError:
            return frozenset()
        except (OSError, UnicodeDecodeError) as error:
            raise IntegrityError(
                f"`{self._path}` cannot be read", code="workspace.erasures"
            ) from error
        whole = text[: text.rfind("\n") + 1].split("\n")[:-1]
        if not all(is_id(one) for one in whole):
            raise IntegrityError(f"`{self._path}` is damaged", code="workspace.erasures")
        return frozenset(whole)
