"""An export that stands alone: leaves, checkpoint and key, checked without Vallum or its database.

    manifest.json   format, origin, size
    key.pem         Ed25519 public key of the log
    checkpoint      C2SP signed note of `size` and root
    leaves.bin      every leaf: 4 bytes of length, big-endian, then canonical JSON

`tools/verify_export.py` verifies the same bytes with the standard library and `cryptography`.
The key in the export proves nothing by itself: compare it, or the checkpoint, with an anchor.
"""

import io
import tarfile
from collections.abc import Iterator
from pathlib import Path

import msgspec

from vallum.audit.log import Log
from vallum.audit.merkle import extend, root_of
from vallum.audit.note import MAX_NOTE_BYTES, Checkpoint, verify_checkpoint
from vallum.audit.verify import LogReport
from vallum.base import InputError, IntegrityError, canonical_json
from vallum.base.proofs import leaf_hash
from vallum.crypto import VerifyKey
from vallum.schema import Record
from vallum.store import Database

FORMAT = "vallum.audit-export/1"
_MAX_LEAF_BYTES = 65_535


class Manifest(Record, frozen=True):
    """What an export holds."""

    format: str
    origin: str
    size: int


def export_chunks(database: Database, log: Log, note: str) -> Iterator[bytes]:
    """Yield a tar archive of the export that ends at the checkpoint `note`."""
    seen = verify_checkpoint(note, log.verify_key, origin=log.origin)
    manifest = {"format": FORMAT, "origin": log.origin, "size": seen.size}
    yield _member("manifest.json", canonical_json(manifest))
    yield _member("key.pem", log.verify_key.to_pem())
    yield _member("checkpoint", note.encode())
    with database.snapshot() as snap:
        total = sum(4 + len(leaf) for _, leaf in log.leaves(snap, 0, seen.size))
        header = tarfile.TarInfo("leaves.bin")
        header.size = total
        yield header.tobuf(tarfile.PAX_FORMAT)
        pending = bytearray()
        for _, leaf in log.leaves(snap, 0, seen.size):
            pending += len(leaf).to_bytes(4, "big") + leaf
            if len(pending) > 1024 * 1024:
                yield bytes(pending)
                pending.clear()
        yield bytes(pending) + bytes(-total % tarfile.BLOCKSIZE)
    yield bytes(2 * tarfile.BLOCKSIZE)


def _member(name: str, data: bytes) -> bytes:
    header = tarfile.TarInfo(name)
    header.size = len(data)
    return header.tobuf(tarfile.PAX_FORMAT) + data + bytes(-len(data) % tarfile.BLOCKSIZE)


def verify_export(folder: Path, *, key: VerifyKey | None = None, anchor: str = "") -> LogReport:
    """Verify an unpacked export.

    Args:
        folder: Holds the four files.
        key: The log's key as you know it; the export's own, if None.
        anchor: A signed note that you kept: the export must contain what it saw.

    Returns:
        The report; no finding means that everything held.

    Raises:
        InputError: A file is missing or has another form.
    """
    report = LogReport()
    try:
        manifest = msgspec.json.decode(_read(folder, "manifest.json"), type=Manifest)
    except msgspec.DecodeError as error:
        raise InputError("manifest.json has another form", code="audit.export") from error
    if manifest.format != FORMAT:
        raise InputError(f"`{manifest.format[:40]}` is not a known format", code="audit.export")
    held = VerifyKey.from_pem(_read(folder, "key.pem"))
    if key is not None and key.id != held.id:
        report.add("audit.key", "the export's key is not the one that you trust")
    trusted = held if key is None else key
    seen: list[tuple[Checkpoint, str]] = []
    notes = [(_read(folder, "checkpoint").decode("utf-8", "replace"), "the checkpoint")]
    if anchor:
        notes.append((anchor, "the anchor"))
    for note, what in notes:
        try:
            seen.append((verify_checkpoint(note, trusted, origin=manifest.origin), what))
        except IntegrityError as error:
            report.add(error.code, f"{what}: {error.message}")
    frontier: list[bytes] = []
    count = 0
    for leaf in _leaves(folder, report):
        count = extend(frontier, count, [leaf_hash(leaf)])
        for checkpoint, what in seen:
            if checkpoint.size == count and checkpoint.root != root_of(frontier):
                report.add(
                    "audit.fork", f"the first {count} entries are not those of {what}", count - 1
                )
    for checkpoint, what in seen:
        if checkpoint.size > count:
            report.add(
                "audit.truncated",
                f"{what} has {checkpoint.size} entries, the export {count}",
                count,
            )
    if seen and seen[0][1] == "the checkpoint" and count > seen[0][0].size:
        report.add("audit.surplus", "entries beyond the checkpoint", seen[0][0].size)
    if count != manifest.size:
        report.add("audit.size", f"the manifest says {manifest.size} entries, found {count}")
    report.size = count
    report.root = root_of(frontier)
    return report


def _leaves(folder: Path, report: LogReport) -> Iterator[bytes]:
    stream = io.BytesIO(_read(folder, "leaves.bin"))
    position = 0
    while prefix := stream.read(4):
        length = int.from_bytes(prefix, "big")
        leaf = stream.read(length) if len(prefix) == 4 and length <= _MAX_LEAF_BYTES else b""  # noqa: PLR2004 - the prefix
        if len(leaf) != length or not leaf:
            report.add("audit.damaged", f"entry {position} is cut or damaged", position)
            return
        yield leaf
        position += 1


def _read(folder: Path, name: str) -> bytes:
    path = folder / name
    try:
        if name != "leaves.bin" and path.stat().st_size > MAX_NOTE_BYTES:
            raise InputError(f"`{name}` is too large", code="audit.export")
        return path.read_bytes()
    except OSError as error:
        raise InputError(
            f"`{path}` cannot be read: {error.strerror}",
            code="audit.export",
            hint="unpack what `vallum audit export -o export.tar` wrote",
        ) from error
