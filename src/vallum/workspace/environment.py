"""The environment that models run in: the code of this program and of what loads models.

It is hashed once, when the server starts. From then on a file that changes, comes or goes stops
what runs: the process in memory is the old one, but the next that starts would not be.
"""

import hashlib
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace
from importlib.util import find_spec, source_from_cache
from pathlib import Path

from vallum.base import IntegrityError
from vallum.crypto.fingerprint import BLOCK_BYTES, Fingerprint
from vallum.workspace.folder_events import FolderEvents

PACKAGES = ("vallum", "onnxruntime", "numpy", "msgspec")
_CACHE = "__pycache__"
_NEVER_RUN = (".pyi", ".pxd", ".pyx", ".c", ".h", ".a", ".md", ".typed")
_NEVER_LOADED = frozenset({"tests", "demo_job"})
_FILE_COSTS = 32 * 1024  # as many bytes as opening one takes
_AT_ONCE = 32  # looks
_REPLACED = "replaced when it is imported"
_HEADER_BYTES = 16  # of compiled code (PEP 552): magic, flags, time and size of the source
_WORD = 0xFFFFFFFF

_Look = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class _Known:
    """How a file looked, what it hashed to, and where its blocks are among the fingerprints."""

    look: _Look
    digest: str
    first: int
    blocks: int


class RunningCode:
    """Holds how every file of some packages looked and what it hashed to."""

    def __init__(self, folders: tuple[Path, ...]) -> None:
        self._folders = folders
        self._known: dict[str, _Known] = {}
        self._places: dict[str, _Look] = {}
        self._prints = Fingerprint()
        self._events = FolderEvents()
        self._buffer = memoryview(bytearray(BLOCK_BYTES))

    @classmethod
    def of(cls, packages: tuple[str, ...] = PACKAGES) -> "RunningCode":
        """Return the code of installed packages, with the libraries that wheels put beside them."""
        found: list[Path] = []
        for name in packages:
            spec = find_spec(name)
            for place in () if spec is None else spec.submodule_search_locations or ():
                found.append(Path(place))
                beside = Path(place).with_name(f"{name}.libs")
                if beside.is_dir():
                    found.append(beside)
        return cls(tuple(found))

    @property
    def digest(self) -> str:
        """Return SHA-256 over path and digest of every file; empty before the first `verify`."""
        if not self._known:
            return ""
        total = hashlib.sha256()
        for path in sorted(self._known):
            total.update(f"{path}\0{self._known[path].digest}\n".encode())
        return f"sha256:{total.hexdigest()}"

    def verify(self, *, every: bool = False) -> None:
        """Compare all files with how they were; the first time, remember them.

        Args:
            every: Hash every file, not those alone that look different.

        Raises:
            IntegrityError: A file changed, came or went.
        """
        for _ in self.looks():
            pass
        if every:
            for _ in self.hashes():
                pass

    def looks(self) -> Iterator[float]:
        """Do what `verify` does, a little at a time: others want the processor, too.

        Yields:
            What share of it is done.

        Raises:
            IntegrityError: A file changed, came or went.
        """
        if not self._known:
            self._events.follow(self._walk()[1])
            files, self._places = self._walk()  # again: what came since is told, or found here
            for path, seen in files:
                stale = _is_stale(path)  # before it is read: it may be replaced at any moment
                known = self._read(path, seen)
                self._known[path] = replace(known, digest=_REPLACED) if stale else known
            return
        places = self._places
        if self._moved():
            files, places = self._walk()
            self._events.follow(places)
            for path, seen in files:
                if path not in self._known:
                    if f"/{_CACHE}/" not in path:
                        raise _changed(path, "is new")
                    self._known[path] = self._read(path, seen)  # Python compiles what comes late
        yield 0.0
        held = tuple(self._known.items())
        for at, (path, known) in enumerate(held, 1):
            look = _look(path)
            if look is None:
                if f"/{_CACHE}/" not in path:
                    raise _changed(path, "is gone")
            elif look != known.look:
                if known.digest not in {self._hash(path), _REPLACED}:
                    raise _changed(path, "is not what it was")
                self._known[path] = (
                    self._read(path, look)
                    if known.digest == _REPLACED
                    else replace(known, look=look)
                )
            if not at % _AT_ONCE:
                yield at / len(held)
        self._places = places  # only if all is well: what was found once is found again

    def stirred(self) -> bool:
        """Tell whether something happened to the files since this was asked, or may have.

        What comes after a move or a mount of a folder above them counts, too.
        """
        # Both: what is told is told once.
        moved = any(_look(str(one)) != self._places.get(str(one)) for one in self._folders)
        return self._events.stirred() or moved

    def hashes(self) -> Iterator[float]:
        """Compare every byte of every file, a little at a time.

        Yields:
            What share of it is done.

        Raises:
            IntegrityError: A file is not what it was.
        """
        paths = tuple(self._known)
        whole = sum(self._known[path].look[0] + _FILE_COSTS for path in paths) or 1
        done = paused = 0
        for path in paths:
            known = self._known[path]
            same, at = True, 0
            try:
                for block in self._blocks(path):
                    same = at < known.blocks and self._prints.matches(known.first + at, block)
                    if not same:
                        break
                    at += 1
                    done += len(block)
                    if done - paused >= BLOCK_BYTES:
                        paused = done
                        yield done / whole
            except FileNotFoundError:  # a look tells what that means
                continue
            except OSError:
                same = False
            done += _FILE_COSTS
            if (same and at == known.blocks) or known.digest == _REPLACED:
                continue
            # One that Python replaced while it was read here is read again in one go.
            if self._hash(path) != self._known[path].digest:
                raise _changed(path, "is not what it was")

    def _read(self, path: str, look: _Look) -> _Known:
        first = len(self._prints)
        digest = self._hash(path, self._prints)
        return _Known(look, digest, first, len(self._prints) - first)

    def _hash(self, path: str, prints: Fingerprint | None = None) -> str:
        total = hashlib.sha256()
        try:
            for block in self._blocks(path):
                total.update(block)
                if prints is not None:
                    prints.add(block)
        except OSError:
            return ""
        return total.hexdigest()

    def _blocks(self, path: str) -> Iterator[memoryview]:
        """Yield a file's blocks; each is gone when the next is read, of this file or another."""
        with open(path, "rb", buffering=0) as file:  # noqa: PTH123 - 2,000 of them, every minute
            while count := file.readinto(self._buffer):
                yield self._buffer[:count]

    def _walk(self) -> tuple[list[tuple[str, _Look]], dict[str, _Look]]:
        """Return every file and every folder, and how each looks."""
        files: list[tuple[str, _Look]] = []
        places: dict[str, _Look] = {}
        for top in self._folders:
            for folder, below, names in os.walk(top):
                below[:] = [name for name in below if name not in _NEVER_LOADED]
                places[folder] = _look(folder) or ()
                for name in names:
                    if name.endswith(_NEVER_RUN):
                        continue
                    path = f"{folder}/{name}"
                    look = _look(path)
                    if look is not None:
                        files.append((path, look))
        return files, places

    def _moved(self) -> bool:
        """Tell whether a file came or went: that changes the folder."""
        return any(
            _look(folder) != look
            for folder, look in self._places.items()
            if not folder.endswith(_CACHE)
        )


def _is_stale(path: str) -> bool:
    """Tell whether Python will replace compiled code when it is imported: its source is newer."""
    if f"/{_CACHE}/" not in path or not path.endswith(".pyc"):
        return False
    try:
        with open(path, "rb") as file:  # noqa: PTH123 - as above
            header = file.read(_HEADER_BYTES)
        source = os.stat(source_from_cache(path))  # noqa: PTH116 - as above
    except (OSError, ValueError, NotImplementedError):
        return False
    numbers = struct.unpack("<3I", header[4:]) if len(header) == _HEADER_BYTES else (0, 0, 0)
    return not numbers[0] and numbers[1:] != (
        int(source.st_mtime) & _WORD,
        source.st_size & _WORD,
    )


def _look(path: str) -> _Look | None:
    try:
        found = os.lstat(path)
    except OSError:
        return None
    # Nobody sets the time of the last change of an inode, as one sets that of its content.
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino


def _changed(path: str, how: str) -> IntegrityError:
    return IntegrityError(
        f"`{'/'.join(Path(path).parts[-3:])}` of the running code {how}",
        code="environment.changed",
    )
