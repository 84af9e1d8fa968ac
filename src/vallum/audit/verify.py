"""Verification of the whole log: every finding with the position where it shows.

What must hold, each numbered in the code:
1. the head is the one that was written;
2. entries are numbered 0 … size - 1 without a gap or a repeat, and decode;
3. the tree over them has the head's root;
4. every published checkpoint is signed and has the root of its size;
5. the tiles hold the leaf hashes of the entries;
6. every anchor is signed, not ahead of the log, and has the root of its size;
7. times never go back;
8. the details that are there are what the leaves commit to.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import sqlalchemy as sa

from vallum.audit.anchor import Anchor
from vallum.audit.log import Log
from vallum.audit.merkle import extend, root_of
from vallum.audit.note import verify_checkpoint
from vallum.audit.tiles import WIDTH, Tiles
from vallum.base import IntegrityError, VallumError
from vallum.base.proofs import leaf_hash
from vallum.schema import Entry
from vallum.schema.api import VerifyFinding
from vallum.store import Snapshot
from vallum.store.tables import checkpoints

MAX_FINDINGS = 1000


@dataclass(slots=True)
class LogReport:
    """What was checked and what does not hold."""

    size: int = 0
    root: bytes = b""
    findings: list[VerifyFinding] = field(default_factory=list)

    def add(self, code: str, message: str, position: int | None = None) -> None:
        """Note a finding, up to a bound."""
        if len(self.findings) < MAX_FINDINGS:
            self.findings.append(VerifyFinding(code=code, message=message, position=position))


def verify_log(
    snap: Snapshot, log: Log, tiles: Tiles, anchors: Sequence[Anchor], *, details: bool = True
) -> tuple[LogReport, list[Entry]]:
    """Check everything in the module's list; returns the report and all entries that decode."""
    report = LogReport()
    # 1.
    head = None
    try:
        head = log.head(snap)
    except IntegrityError as error:
        report.add(error.code, error.message)
    size = 2**62 if head is None else head.size
    notes = _notes(snap, log, report, anchors, size)
    frontier: list[bytes] = []
    entries: list[Entry] = []
    count = 0
    newest = ""
    tile: list[bytes] = []
    tile_start = -1
    for index, column, leaf in log.rows(snap, -(2**62), 2**62):
        # 2.
        if index != count:
            report.add("audit.missing", f"entry {count} is missing", count)
            break
        if head is not None and index >= size:
            report.add("audit.surplus", f"entry {index} is beyond the head", index)
            break
        hashed = leaf_hash(leaf)
        # 5.
        published = max((one for one, _, _ in notes), default=0)
        if index < published:
            if index // WIDTH * WIDTH != tile_start:
                tile_start = index // WIDTH * WIDTH
                try:
                    tile = tiles.leaves(tile_start, published)
                except VallumError as error:
                    report.add(error.code, error.message, tile_start)
                    tile = []
            offset = index - tile_start
            if tile and (offset >= len(tile) or tile[offset] != hashed):
                report.add("audit.changed", f"entry {index} is not the one in its tile", index)
        try:
            entry = log.decode(leaf)
        except IntegrityError as error:
            report.add(error.code, error.message, index)
        else:
            entries.append(entry)
            if entry.id != column:
                report.add("audit.id", f"entry {index} is filed under another id", index)
            # 7.
            if entry.at < newest:
                report.add("audit.time", f"entry {index} is dated before its predecessor", index)
            newest = max(newest, entry.at)
        count = extend(frontier, count, [hashed])
        # 4. and 6.
        for at, root, what in notes:
            if at == count and root_of(frontier) != root:
                report.add("audit.fork", f"the first {at} entries are not those of {what}", at - 1)
    report.size = count
    report.root = root_of(frontier)
    if head is not None:
        if count < head.size and not report.findings:
            report.add("audit.truncated", f"the log ends at {count}, not {head.size}", count)
        # 3.
        if count == head.size and report.root != head.root:
            report.add("audit.root", "the entries do not have the head's root", count - 1)
    for at, _, what in notes:
        if at > count:
            report.add("audit.truncated", f"{what} has {at} entries, the log {count}", count)
    # 8.
    if details:
        _check_details(snap, log, count, report)
    return report, entries


def _notes(
    snap: Snapshot, log: Log, report: LogReport, anchors: Sequence[Anchor], size: int
) -> list[tuple[int, bytes, str]]:
    """Return (size, root, name) of every checkpoint and anchor whose signature holds."""
    texts = [
        (note, f"checkpoint {at}", at)
        for at, note in snap.connection.execute(
            sa.select(checkpoints.c.size, checkpoints.c.note).order_by(checkpoints.c.size)
        )
    ]
    for number, anchor in enumerate(anchors):
        note = anchor.newest()
        if note:
            texts.append((note, f"anchor {number}", -1))
    out = []
    for note, what, at in texts:
        try:
            seen = verify_checkpoint(note, log.verify_key, origin=log.origin)
        except IntegrityError as error:
            report.add(error.code, f"{what}: {error.message}")
            continue
        if at >= 0 and seen.size != at:
            report.add("audit.checkpoint", f"{what} is of size {seen.size}")
        if seen.size > size:
            report.add("audit.rollback", f"{what} has {seen.size} entries, the head {size}", size)
        out.append((seen.size, seen.root, what))
    return out


def _check_details(snap: Snapshot, log: Log, size: int, report: LogReport) -> None:
    after = -1
    while after < size - 1:
        page = log.entries(snap, after=after, limit=1000)
        if not page:
            return
        for logged in page:
            try:
                log.details(snap, logged)
            except VallumError:
                report.add(
                    "audit.details",
                    f"the details of entry {logged.index} are not those of its leaf",
                    logged.index,
                )
        after = page[-1].index
