"""Batches under way: scored text in encrypted pieces, and how far it goes, so that none is lost.

Pieces and mark are saved together: after a crash the batch goes on after the last mark, and text
that no mark knows was never part of it. Until the batch is published its pieces belong to no
version and nobody can read them.
"""

import contextlib
import io
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import BinaryIO

import msgspec

from vallum.base import ConflictError, NotFoundError, Permit, parse_timestamp, timestamp
from vallum.base.bounds import MIB
from vallum.crypto import DataKey, WrappedKey
from vallum.guard.batch import Mark
from vallum.schema import (
    BatchProgress,
    Change,
    EntryKind,
    Part,
    Record,
    WrappedDataKey,
)
from vallum.store import Transaction, chunks
from vallum.workspace.batch_limits import Pay
from vallum.workspace.context import Context
from vallum.workspace.house import House
from vallum.workspace.step import Act, Work
from vallum.workspace.versions import CONTENT, end_batch, shred

KIND = "batch-progress"
SYSTEM_BATCH = "system-batch"
SAVE_S = 2.0
"""A crash costs what was scored in so many seconds, at least one piece of the table."""
PIECE_BYTES = 32 * MIB
KEPT_DAYS = 7
"""A batch that nobody goes on with is removed at the first start after so many days."""


def stands(context: Context, like: BatchProgress) -> BatchProgress | None:
    """Return the batch of the same caller, endpoint and target that a crash ended, if any."""
    found = [
        one
        for one in context.all(KIND, BatchProgress, parent_id=like.endpoint_id)
        if (one.principal_id, one.into) == (like.principal_id, like.into)
    ]
    return max(found, key=lambda one: one.saved_at, default=None)


def check_same(old: BatchProgress, new: BatchProgress) -> None:
    """Check that a batch that goes on would score every row as it did before.

    Raises:
        ConflictError: It would not.
    """
    for what, before, now in (
        ("the data", (old.source_id, old.source_digest), (new.source_id, new.source_digest)),
        ("the deployment", old.deployment_id, new.deployment_id),
        ("the model", old.model_digest, new.model_digest),
        ("a setting of the batch or of the deployment", old.settings, new.settings),
    ):
        if before != now:
            raise ConflictError(
                f"{what} is not what the batch began with, so it cannot go on",
                code="score.changed",
                hint="begin anew, without --resume",
            )


@dataclass(slots=True)
class Pieces:
    """The text of one batch; appended to, and saved with a mark now and then."""

    work: Work
    progress: BatchProgress
    key: DataKey
    wrapped: WrappedDataKey
    mark: Mark | None = None
    pay: Pay | None = None  # for rows, in the transaction that saves them
    _text: bytearray = field(default_factory=bytearray)
    _loose: list[Part] = field(default_factory=list)  # written, and known to no mark yet
    _saved_s: float = field(default_factory=time.monotonic)
    _lost: bool = False  # another process goes on with it

    @classmethod
    def begin(cls, work: Work, progress: BatchProgress, pay: Pay | None) -> "Pieces":
        """Begin a batch; nothing is stored before it has lasted a while."""
        key, wrapped = work.house.keyring.new_data_key(progress.id, CONTENT)
        row = WrappedDataKey(id=progress.id, wrapped=msgspec.to_builtins(wrapped))
        return cls(work, progress, key, row, pay=pay)

    @classmethod
    def resume(cls, work: Work, new: BatchProgress, pay: Pay | None) -> "Pieces":
        """Go on with the batch that a crash ended, and take it from whoever still runs it.

        Raises:
            NotFoundError: There is none.
            ConflictError: It is not the same, or another process took it at this moment.
        """
        old = work.read(lambda context: stands(context, new))
        if old is None:
            raise NotFoundError(
                "you have no interrupted batch of this endpoint into this data asset",
                code="score.no-resume",
                hint="begin anew, without --resume",
            )
        check_same(old, new)
        house = work.house
        row = work.read(
            lambda context: context.records.get(
                context.snapshot, "wrapped-key", old.id, WrappedDataKey
            )
        )
        wrapped = msgspec.convert(row.wrapped, WrappedKey)
        key = house.keyring.unwrap(work.permit, wrapped, old.id, CONTENT, on=work.on)
        made = cls(work, old, key, row, msgspec.json.decode(old.mark, type=Mark), pay)
        made._save()
        return made

    def take(self, text: bytes, mark: Mark | None) -> None:
        """Append text; with a mark, all that was appended is known to end there."""
        self._text += text
        if len(self._text) >= PIECE_BYTES:
            self._flush()
        if mark is not None:
            self.mark = mark
            # Nobody goes on with what was only tried.
            if time.monotonic() - self._saved_s >= SAVE_S and not self.work.dry_run:
                self._flush()
                self._save()

    @property
    def paid(self) -> int:
        """Return how many rows were counted by the quotas: those that were saved."""
        if not self.progress.mark:
            return 0
        return _rows(msgspec.json.decode(self.progress.mark, type=Mark))

    def settle(self) -> None:
        """Save what is not paid for yet, so that it is not lost where no answers are left.

        Raises:
            LimitExceededError: There are not so many left; what was saved before is kept.
        """
        if _rows(self.mark) > self.paid and not self.work.dry_run:
            self._flush()
            self._save()

    @contextlib.contextmanager
    def text(self) -> Iterator[BinaryIO]:
        """Yield all of it, to be read once."""
        stored = (*self.progress.pieces, *self._loose)
        if not stored:
            yield io.BytesIO(self._text)
            return
        yield io.BufferedReader(_Joined(self._chunks(stored)), MIB)

    def _chunks(self, stored: tuple[Part, ...]) -> Iterator[bytes]:
        for part in stored:
            yield from chunks(
                self.work.house.objects.open(
                    self.work.permit, version_id=self.progress.id, part=part, data_key=self.key,
                    on=self.work.on,
                )
            )  # fmt: skip
        yield bytes(self._text)

    def end(self, act: Act) -> None:
        """Remove what was saved, in the transaction that publishes the scores.

        Raises:
            ConflictError: Another process goes on with the batch.
        """
        if self.progress.turn:
            self._check_turn(act.context)
            on, at = act.first_resource, timestamp(act.now)
            end_batch(act.put, act.remove, self.progress, on=on, at=at)
        act.after_commit.append(self._discard)

    def abandon(self) -> None:
        """Remove what was saved and written; whoever goes on with it meanwhile keeps theirs."""
        if self.progress.turn and not self._lost:
            with contextlib.suppress(ConflictError, NotFoundError):
                drop(self.work.house, self.progress)
        self._discard(shredding=False)

    def keep(self) -> None:
        """Leave what was saved to who goes on with it, and no more."""
        for part in self._loose:
            self.work.house.objects.discard(part)
        self._loose.clear()

    def _discard(self, *, shredding: bool = True) -> None:
        house = self.work.house
        kept = () if self._lost else self.progress.pieces
        for part in (*kept, *self._loose):
            house.objects.discard(part)
        self._loose.clear()
        if shredding and self.progress.turn:
            shred(house, [self.progress.id])

    def _flush(self) -> None:
        if not self._text:
            return
        number = len(self.progress.pieces) + len(self._loose)
        part = self.work.house.objects.write(
            self.work.permit,
            on=self.work.on,
            version_id=self.progress.id,
            part=f"piece-{number:06}",
            source=bytes(self._text),
            data_key=self.key,
            personal=True,
        )
        self._loose.append(part)
        self._text.clear()

    def _save(self) -> None:
        """Save pieces and mark together."""
        house, old = self.work.house, self.progress
        new = msgspec.structs.replace(
            old,
            mark=msgspec.json.encode(self.mark).decode(),
            pieces=(*old.pieces, *self._loose),
            turn=old.turn + 1,
            saved_at=timestamp(house.clock.now()),
        )
        with _changing(house, old, intent_id=self.work.permit.entry_id) as (tx, permit, changes):
            context = Context(records=house.records, snapshot=tx, workspace_id=house.workspace_id)
            if self.pay is not None:
                changes.extend(self.pay(tx, permit, _rows(self.mark) - self.paid))
            if old.turn:
                self._check_turn(context)
            else:
                put_key = house.records.put(
                    tx, permit, "wrapped-key", self._newest_key(), on=old.endpoint_id,
                    parent_id=old.id,
                )  # fmt: skip
                changes.append(put_key)
            changes.append(
                house.records.put(
                    tx, permit, KIND, new, on=old.endpoint_id, parent_id=old.endpoint_id
                )
            )
        self.progress = new
        self._loose = []
        self._saved_s = time.monotonic()

    def _newest_key(self) -> WrappedDataKey:
        wrapped = msgspec.convert(self.wrapped.wrapped, WrappedKey)
        renewed = self.work.house.keyring.rewrap(wrapped, self.progress.id, CONTENT)
        return msgspec.structs.replace(self.wrapped, wrapped=msgspec.to_builtins(renewed))

    def _check_turn(self, context: Context) -> None:
        """Check that nobody else went on with the batch.

        Raises:
            ConflictError: Somebody did.
        """
        try:
            now = context.records.get(context.snapshot, KIND, self.progress.id, BatchProgress)
        except NotFoundError:
            now = None
        if now is None or now.turn != self.progress.turn:
            self._lost = True
            raise ConflictError(
                "another request goes on with this batch, or ended it", code="score.resumed"
            )


class _Joined(io.RawIOBase):
    """Chunks as one file."""

    def __init__(self, parts: Iterator[bytes]) -> None:
        super().__init__()
        self._parts = parts
        self._held = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, into: "memoryview | bytearray", /) -> int:  # type: ignore[override]  # of any buffer
        while not self._held:
            held = next(self._parts, None)
            if held is None:
                return 0
            self._held = memoryview(held)
        count = min(len(into), len(self._held))
        into[:count] = self._held[:count]
        self._held = self._held[count:]
        return count


# -- removing -----------------------------------------------------------------------------------


@contextlib.contextmanager
def _changing(
    house: House, progress: BatchProgress, *, intent_id: str = "", error: str = ""
) -> Iterator[tuple[Transaction, Permit, list[Change]]]:
    changes: list[Change] = []
    with house.log.transaction() as tx:
        permit = house.log.system_permit(
            tx,
            step="endpoint.batch-save",
            kind=EntryKind.DECISION,
            principal_id=SYSTEM_BATCH,
            resources=(progress.endpoint_id,),
            intent_id=intent_id,
            error=error,
        )
        yield tx, permit, changes
        house.log.seal(tx, permit, changes=changes)


def _rows(mark: Mark | None) -> int:
    return 0 if mark is None else mark.rows


def drop(house: House, progress: BatchProgress) -> None:
    """Remove an interrupted batch: nobody goes on with it.

    Raises:
        NotFoundError: It is gone.
    """
    with _changing(house, progress) as (tx, permit, changes):

        def put(kind: str, record: Record, *, on: str, parent_id: str) -> None:
            changes.append(house.records.put(tx, permit, kind, record, on=on, parent_id=parent_id))

        def remove(kind: str, identity: str, *, on: str) -> None:
            changes.append(house.records.remove(tx, permit, kind, identity, on=on))

        now = timestamp(house.clock.now())
        end_batch(put, remove, progress, on=progress.endpoint_id, at=now)
    for part in progress.pieces:
        house.objects.discard(part)
    shred(house, [progress.id])


def drop_stale(house: House) -> None:
    """Remove the batches that nobody went on with for long."""
    before = house.clock.now() - timedelta(days=KEPT_DAYS)
    with house.database.snapshot() as snapshot:
        context = Context(records=house.records, snapshot=snapshot, workspace_id=house.workspace_id)
        stale = [
            one
            for one in context.all(KIND, BatchProgress)
            if parse_timestamp(one.saved_at) < before
        ]
    for one in stale:
        drop(house, one)
