"""Bundles of predictions: announced in the log, spooled one by one, closed with root and counts.

The spool is a shared mapping of a file: a record written to it is the kernel's, and survives when
this process is killed. On the next start what is in it is closed as recovered.
"""

import mmap
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from vallum.guard import count_decisions, pack_decisions
from vallum.schema.serving import MAX_TRACES, BundleClose, TraceAt

RECORD = struct.Struct("<dH22s")  # wall time, status, keyed digest of the credential: 32 bytes
MAX_ANSWERS = 50_000
TTL_S = 5.0
_HEAD = struct.Struct("<8s56s")
_MAGIC = b"vlmspl/1"


@dataclass(slots=True)
class Bundle:
    """One open bundle and its spool."""

    id: str
    path: Path
    opened_s: float
    _map: mmap.mmap
    count: int = 0  # slots that were given out
    pending: int = 0  # of them, still without a decision
    traces: list[TraceAt] = field(default_factory=list)

    @classmethod
    def create(cls, folder: Path, bundle_id: str, now_s: float) -> "Bundle":
        """Make the spool of a bundle that the log has announced."""
        path = folder / f"{bundle_id}.spool"
        size = _HEAD.size + RECORD.size * MAX_ANSWERS
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            os.posix_fallocate(descriptor, 0, size)
            mapped = mmap.mmap(descriptor, size)
        finally:
            os.close(descriptor)
        _HEAD.pack_into(mapped, 0, _MAGIC, bundle_id.encode())
        return cls(id=bundle_id, path=path, opened_s=now_s, _map=mapped)

    def reserve(self) -> int:
        """Take a slot for a request that is about to be decided; `full` tells when none is left."""
        slot = self.count
        self.count += 1
        self.pending += 1
        return slot

    def settle(self, slot: int, at_s: float, status: int, who: bytes) -> None:
        """Spool the decision of a slot before its answer leaves."""
        RECORD.pack_into(self._map, _HEAD.size + slot * RECORD.size, at_s, status, who)
        self.pending -= 1

    def trace(self, slot: int, trace_id: str, span_id: str) -> None:
        """Note that a decision is traced; of many, the first ones are kept."""
        if len(self.traces) < MAX_TRACES:
            self.traces.append(TraceAt(record=slot, trace_id=trace_id, span_id=span_id))

    @property
    def full(self) -> bool:
        """Tell whether nothing more fits."""
        return self.count >= MAX_ANSWERS

    def close(self) -> BundleClose:
        """Return what to log, once nothing is pending; `discard` the spool when it is logged."""
        made = _summary(self.id, self._map, self.count, recovered=False)
        return msgspec.structs.replace(made, traces=tuple(self.traces))

    def discard(self) -> None:
        """Remove the spool."""
        self._map.close()
        self.path.unlink(missing_ok=True)


def set_aside(path: Path) -> Path:
    """Keep a spool that the log does not take, where no later start stumbles over it."""
    return path.rename(path.with_suffix(".late"))


def _summary(
    bundle_id: str, mapped: "mmap.mmap | bytes", count: int, *, recovered: bool
) -> BundleClose:
    data = bytes(mapped[_HEAD.size : _HEAD.size + count * RECORD.size])
    found = count_decisions(data)
    return BundleClose(
        id=bundle_id,
        answered=found.answered,
        refused=found.refused,
        root=found.root,
        recovered=recovered,
        records=pack_decisions(data),
    )


def empty_close(bundle_id: str) -> BundleClose:
    """Return what to log for a bundle that was announced for nothing."""
    return _summary(bundle_id, bytes(_HEAD.size), 0, recovered=False)


def recovered(folder: Path) -> Iterator[tuple[Path, BundleClose]]:
    """Yield what a killed gateway left in its spools; what is none of them is set aside."""
    for path in sorted(folder.glob("*.spool")):
        data = path.read_bytes()
        if len(data) < _HEAD.size:
            path.unlink()
            continue
        magic, name = _HEAD.unpack_from(data)
        if magic != _MAGIC:
            set_aside(path)
            continue
        count = 0
        at = _HEAD.size
        while at + RECORD.size <= len(data):
            if RECORD.unpack_from(data, at)[1]:
                count = (at - _HEAD.size) // RECORD.size + 1  # slots before may be undecided
            at += RECORD.size
        yield path, _summary(name.rstrip(b"\x00").decode(), data, count, recovered=True)
