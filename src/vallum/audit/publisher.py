"""Checkpoints: tiles first, then the signed note, then the anchors. Run by a timer of <= 1 s."""

import threading
from collections.abc import Sequence

import sqlalchemy as sa

from vallum.audit.admission import Head
from vallum.audit.anchor import Anchor
from vallum.audit.log import Log
from vallum.audit.merkle import (
    consistency_path,
    extend,
    inclusion_path,
    root_of,
)
from vallum.audit.note import Checkpoint, verify_checkpoint
from vallum.audit.tiles import Tiles
from vallum.base import IntegrityError
from vallum.base.proofs import leaf_hash
from vallum.store import Database, Snapshot, Unchanged
from vallum.store.tables import checkpoints

_REBUILD = 256 * 256  # whole tiles of two levels at a time


class Publisher:
    """Holds which size was published last. Safe for threads."""

    def __init__(
        self, database: Database, log: Log, tiles: Tiles, anchors: Sequence[Anchor]
    ) -> None:
        self._database = database
        self._log = log
        self._tiles = tiles
        self._anchors = anchors
        self._lock = threading.Lock()
        self._last: Head | None = None  # what this process published last, with its note
        self._note = ""
        self._current = Unchanged(database.stamp, self._publish, log.clock.monotonic)

    def check_anchors(self) -> None:
        """Refuse to open behind, or beside, what an anchor has seen.

        Raises:
            IntegrityError: The log is shorter than an anchor, or does not continue it.
        """
        with self._database.snapshot() as snap:
            head = self._log.head(snap)
            for anchor in self._anchors:
                note = anchor.newest()
                if not note:
                    continue
                seen = self._read(note)
                if seen.size > head.size:
                    raise IntegrityError(
                        f"the log ends at {head.size}, but {seen.size} entries were anchored:"
                        " it was rolled back",
                        code="audit.rollback",
                        hint="`vallum workspace restore --accept-rollback` opens an older copy",
                    )
                if self._root_at(snap, seen.size) != seen.root:
                    raise IntegrityError(
                        f"the first {seen.size} entries are not those that were anchored:"
                        " history was rewritten",
                        code="audit.fork",
                    )

    def rebuild(self) -> None:
        """Make every tile again from the entries: a backup has none.

        Raises:
            UnavailableError: A tile cannot be written.
        """
        with self._lock, self._database.snapshot() as snap:
            head = self._log.head(snap)
            pending: list[bytes] = []
            size = 0
            for _, leaf in self._log.leaves(snap, 0, head.size):
                pending.append(leaf_hash(leaf))
                if len(pending) == _REBUILD:
                    self._tiles.extend(size, pending)
                    size += len(pending)
                    pending = []
            self._tiles.extend(size, pending)

    def require_prefix(self, seen: Checkpoint) -> None:
        """Check that the log begins with what a checkpoint saw.

        Raises:
            IntegrityError: It does not.
        """
        with self._database.snapshot() as snap:
            head = self._log.head(snap)
            if seen.size > head.size:
                raise _discontinued(rolled_back=True)
            if seen.size and self._root_at(snap, seen.size) != seen.root:
                raise _discontinued(rolled_back=False)

    def checkpoint(self) -> str:
        """Publish the committed head; returns its signed note.

        Raises:
            UnavailableError: Tiles, database or an anchor cannot be written; try again.
        """
        with self._lock:
            if any(anchor.newest() != self._note for anchor in self._anchors):
                self._current.forget()
            return self._current()

    def _publish(self) -> str:
        with self._database.snapshot() as snap:
            head = self._log.head(snap)
            size, note = self._newest(snap)
            if note:
                seen = self._read(note)
                if seen.size != size or (size == head.size and seen.root != head.root):
                    raise IntegrityError(
                        "the newest checkpoint is not the one of its size",
                        code="audit.checkpoint",
                    )
            if size > head.size:
                raise IntegrityError(
                    f"the log ends at {head.size}, but {size} entries were published",
                    code="audit.rollback",
                )
            self._check_continues(snap, head)
            if note and size == head.size:
                self._keep(note)
                self._last, self._note = head, note
                return note
            # From the start of the last tile, so that a lost partial tile is made again.
            start = size - size % 256
            hashes = [leaf_hash(leaf) for _, leaf in self._log.leaves(snap, start, head.size)]
        if len(hashes) != head.size - start:
            raise IntegrityError("log entries are missing", code="audit.missing")
        self._tiles.extend(start, hashes)
        note = self._log.sign_head(head)
        with self._database.transaction() as tx:
            tx.connection.execute(sa.delete(checkpoints).where(checkpoints.c.size == head.size))
            tx.connection.execute(sa.insert(checkpoints).values(size=head.size, note=note))
        self._keep(note)
        self._last, self._note = head, note
        return note

    def published(self) -> tuple[int, str]:
        """Return the size and note that this process published last; 0 and nothing before."""
        with self._lock:
            return (0, "") if self._last is None else (self._last.size, self._note)

    def newest_in(self, snap: Snapshot) -> str:
        """Return the newest published note; empty before the first."""
        return self._newest(snap)[1]

    def inclusion(self, index: int) -> tuple[tuple[bytes, ...], str]:
        """Return the inclusion proof of an entry in the newest checkpoint, and its note."""
        note = self.checkpoint()
        seen = verify_checkpoint(note, self._log.verify_key, origin=self._log.origin)
        path = inclusion_path(
            lambda height, at: self._tiles.node(height, at, seen.size), index, seen.size
        )
        return path, note

    def consistency(self, old: int, new: int) -> tuple[tuple[bytes, ...], str]:
        """Return the proof between two sizes (new 0: the newest checkpoint's), and its note."""
        note = self.checkpoint()
        seen = verify_checkpoint(note, self._log.verify_key, origin=self._log.origin)
        size = seen.size if new == 0 else new
        path = consistency_path(
            lambda height, at: self._tiles.node(height, at, seen.size), old, min(size, seen.size)
        )
        return path, note

    def _read(self, note: str) -> Checkpoint:
        return verify_checkpoint(note, self._log.verify_key, origin=self._log.origin)

    def _check_continues(self, snap: Snapshot, head: Head) -> None:
        """Refuse to publish a log that does not continue what was published or anchored.

        Under a running process too the database can be swapped for an older copy: the frontier
        of the last publication, kept in memory, is extended with the new leaves only.
        """
        last = self._last
        if last is not None:
            frontier, size = list(last.frontier), last.size
            for index, leaf in self._log.leaves(snap, size, head.size):
                if index != size:
                    raise IntegrityError(f"log entry {size} is missing", code="audit.missing")
                size = extend(frontier, size, [leaf_hash(leaf)])
            if size != head.size or root_of(frontier) != head.root:
                raise _discontinued(rolled_back=last.size > head.size)
        for anchor in self._anchors:
            note = anchor.newest()
            if not note or (last is not None and note == self._note):
                continue
            seen = self._read(note)
            if seen.size > head.size or self._root_at(snap, seen.size) != seen.root:
                raise _discontinued(rolled_back=seen.size > head.size)

    def _keep(self, note: str) -> None:
        for anchor in self._anchors:
            if anchor.newest() != note:
                anchor.keep(note)

    def _newest(self, snap: Snapshot) -> tuple[int, str]:
        row = snap.connection.execute(
            sa.select(checkpoints.c.size, checkpoints.c.note)
            .order_by(checkpoints.c.size.desc())
            .limit(1)
        ).one_or_none()
        return (0, "") if row is None else (row.size, row.note)

    def _root_at(self, snap: Snapshot, size: int) -> bytes:
        """Return the root of the first `size` entries as stored; tiles are not trusted here."""
        frontier: list[bytes] = []
        count = 0
        for index, leaf in self._log.leaves(snap, 0, size):
            if index != count:
                raise IntegrityError(f"log entry {count} is missing", code="audit.missing")
            count = extend(frontier, count, [leaf_hash(leaf)])
        if count != size:
            raise IntegrityError(f"log entry {count} is missing", code="audit.missing")
        return root_of(frontier)


def _discontinued(*, rolled_back: bool) -> IntegrityError:
    what = "was rolled back" if rolled_back else "was rewritten"
    return IntegrityError(
        f"the log {what}: it does not continue what was published",
        code="audit.rollback" if rolled_back else "audit.fork",
    )
