"""The log: entries and state in one transaction, under the database's one writer lock.

Because there is one writer, an entry gets its index, and the head moves, in the same transaction
that changes the state (docs/adr/0002-one-writer-lock.md). A reply never precedes its entry.
"""

import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime

import msgspec
import sqlalchemy as sa

from vallum.audit.admission import (
    AdmissionRefusal,
    Head,
    Logged,
    LogTransaction,
    mint,
    refusal_of,
)
from vallum.audit.merkle import EMPTY_ROOT, extend, root_of
from vallum.audit.note import Checkpoint, sign_checkpoint
from vallum.base import (
    Clock,
    InputError,
    IntegrityError,
    NotFoundError,
    Permit,
    Secret,
    canonical_json,
    new_id,
    parse_timestamp,
    timestamp,
)
from vallum.base.proofs import HASH_BYTES, leaf_hash
from vallum.crypto import Keyring, Purpose, SigningKey, VerifyKey, mac, seal, unseal, verify_mac
from vallum.schema import Change, Decision, Entry, EntryKind
from vallum.store import Database, Records, Snapshot, Transaction
from vallum.store.tables import log_entries, log_head

MAX_BATCH = 1000
MAX_LEAF_BYTES = 60_000  # an entry bundle of C2SP holds leaves of up to 65,535 bytes
_HEAD_DOMAIN = b"vallum.log-head/1"
_BLIND_BYTES = 32
_ENCODER = msgspec.json.Encoder(order="sorted")  # canonical: no floats, ASCII keys
_DECODER = msgspec.json.Decoder(Entry)
_INSERT = {
    "sqlite": "INSERT INTO log_entries (idx, id, leaf, details) VALUES (?, ?, ?, ?)",
    "postgresql": "INSERT INTO log_entries (idx, id, leaf, details) VALUES (%s, %s, %s, %s)",
}

Details = dict[str, object] | None


class LogKeys:
    """What the log signs, commits and encrypts with, derived from the workspace key."""

    def __init__(self, keyring: Keyring) -> None:
        self.head = keyring.derive(Purpose.ROW_MAC, info=b"log-head")
        self.details = keyring.derive(Purpose.DETAILS)
        self.signer = SigningKey.from_seed(keyring.derive(Purpose.CHECKPOINT))

    @property
    def verify_key(self) -> VerifyKey:
        """Return the key that checkpoints verify under."""
        return self.signer.verify_key


class Log:
    """Appends, admits and reads. Safe for threads: the database serialises writers."""

    def __init__(
        self, database: Database, records: Records, keys: LogKeys, *, clock: Clock, origin: str
    ) -> None:
        self._database = database
        self._records = records
        self._keys = keys
        self.clock = clock
        self.origin = origin

    @property
    def verify_key(self) -> VerifyKey:
        """Return the key that checkpoints verify under."""
        return self._keys.verify_key

    # -- writing --------------------------------------------------------------------------------

    @contextmanager
    def transaction(self) -> Iterator[LogTransaction]:
        """Enter as the one writer; every permit admitted inside must be sealed inside.

        Raises:
            AdmissionRefusal: `admit` refused; the refusal is committed.
            IntegrityError: A permit was not sealed: nothing was written.
        """
        refusal: AdmissionRefusal | None = None
        with self._database.transaction() as tx:
            inner = LogTransaction(tx.connection)
            try:
                yield inner
            except AdmissionRefusal as refused:
                refusal = refused
            if inner.pending:
                raise IntegrityError("an admitted effect was not logged", code="audit.unsealed")
        if refusal is not None:
            raise refusal

    def admit(
        self,
        tx: LogTransaction,
        decision: Decision,
        *,
        step: str,
        kind: EntryKind,
        request_id: str = "",
        intent_id: str = "",
        lifetime_s: float = 30.0,
        own: str = "",
    ) -> Permit:
        """Hand out the permit of an allowed decision; log and refuse any other.

        Args:
            tx: Of `transaction`.
            decision: What policy said.
            step: Name of the step.
            kind: `DECISION`, `INTENT` or `OUTCOME`.
            request_id: Of the request.
            intent_id: Entry of the intent that an outcome closes.
            lifetime_s: How long the permit is good for.
            own: Resource of a step that asks for nothing, as it touches only the caller's own.

        Raises:
            AdmissionRefusal: Of a `RefusedError`, or of a `NotFoundError` where the caller may not
                know that the resource exists.
        """
        entry = Entry(
            id=str(new_id("ent")),
            at=timestamp(self._now(tx)),
            kind=kind if decision.allowed else EntryKind.REFUSAL,
            step=step,
            principal_id=decision.caller.id,
            actions=tuple(dict.fromkeys(ask.action for ask in decision.asks))[:64],
            resources=tuple(dict.fromkeys(ask.resource.id for ask in decision.asks))[:256],
            allowed=decision.allowed,
            request_digest=decision.request_digest,
            request_id=request_id,
            intent_id=intent_id,
            generation=decision.generation,
            authority_root=self._records.authority_root(tx),
        )
        if not decision.allowed:
            reasons = [msgspec.to_builtins(reason) for reason in decision.reasons[:64]]
            self.append(tx, [(entry, {"reasons": reasons})])
            raise AdmissionRefusal(refusal_of(decision))
        permit = mint(
            entry,
            [(ask.action, ask.resource.id) for ask in decision.asks],
            own=own,
            lifetime_s=lifetime_s,
            clock=self.clock,
        )
        tx.pending[entry.id] = entry
        return permit

    def system_permit(
        self,
        tx: LogTransaction,
        *,
        step: str,
        kind: EntryKind,
        principal_id: str,
        resources: Sequence[str],
        actions: Sequence[str] = (),
        intent_id: str = "",
        request_id: str = "",
        request_digest: str = "",
        error: str = "",
        lifetime_s: float = 30.0,
    ) -> Permit:
        """Hand out the permit of a named system principal: timers, settlement, first start."""
        entry = Entry(
            id=str(new_id("ent")),
            at=timestamp(self._now(tx)),
            kind=kind,
            step=step,
            principal_id=principal_id,
            actions=tuple(actions),
            resources=tuple(resources),
            request_digest=request_digest,
            request_id=request_id,
            intent_id=intent_id,
            error=error,
        )
        tx.pending[entry.id] = entry
        return mint(
            entry,
            [(step, resource) for resource in resources],
            own="",
            lifetime_s=lifetime_s,
            clock=self.clock,
        )

    def seal(
        self,
        tx: LogTransaction,
        permit: Permit,
        *,
        changes: Sequence[Change] = (),
        evidence: Sequence[str] = (),
        details: Details = None,
    ) -> Logged:
        """Append the entry of an admitted effect, with what it changed.

        Raises:
            IntegrityError: The permit was not admitted in this transaction.
        """
        entry = tx.pending.pop(permit.entry_id, None)
        if entry is None:
            raise IntegrityError("the permit is of another transaction", code="audit.unsealed")
        entry = msgspec.structs.replace(
            entry,
            changes=tuple(changes),
            evidence=tuple(evidence),
            generation=self._records.authority_generation(tx),
            authority_root=self._records.authority_root(tx),
        )
        return self.append(tx, [(entry, details)])[0]

    def note(
        self,
        tx: LogTransaction,
        *,
        kind: EntryKind,
        step: str,
        principal_id: str,
        resources: Sequence[str] = (),
        request_digest: str = "",
        request_id: str = "",
        error: str = "",
        allowed: bool = True,
        details: Details = None,
    ) -> Logged:
        """Append an entry that changes nothing."""
        entry = Entry(
            id=str(new_id("ent")),
            at=timestamp(self._now(tx)),
            kind=kind,
            step=step,
            principal_id=principal_id,
            resources=tuple(resources),
            allowed=allowed,
            request_digest=request_digest,
            request_id=request_id,
            error=error,
            generation=self._records.authority_generation(tx),
            authority_root=self._records.authority_root(tx),
        )
        return self.append(tx, [(entry, details)])[0]

    def append_many(self, drafts: Sequence[tuple[Entry, Details]]) -> None:
        """Append up to 1,000 entries durably, in a transaction of their own.

        Raises:
            InputError: More than `MAX_BATCH`.
        """
        if len(drafts) > MAX_BATCH:
            raise InputError(f"a batch holds at most {MAX_BATCH} entries", code="audit.batch")
        with self._database.transaction() as tx:
            self._append(tx, drafts)

    def append(
        self, tx: Transaction, drafts: Sequence[tuple[Entry, Details]]
    ) -> tuple[Logged, ...]:
        """Append entries in the caller's transaction: leaves, details, frontier and head."""
        start, leaves = self._append(tx, drafts)
        return tuple(
            Logged(index=start + offset, entry=_DECODER.decode(leaf), leaf=leaf)
            for offset, leaf in enumerate(leaves)
        )

    def _append(
        self, tx: Transaction, drafts: Sequence[tuple[Entry, Details]]
    ) -> tuple[int, list[bytes]]:
        head = self.head(tx)
        frontier = list(head.frontier)
        rows: list[tuple[int, str, bytes, bytes | None]] = []
        leaves: list[bytes] = []
        hashes: list[bytes] = []
        index = head.size
        encode = _ENCODER.encode
        for entry, details in drafts:
            sealed: bytes | None = None
            kept = entry
            if details is not None:
                commitment, sealed = self._commit(entry.id, details)
                kept = msgspec.structs.replace(entry, details=commitment)
            leaf = encode(kept)
            if len(leaf) > MAX_LEAF_BYTES:
                raise InputError("a log entry is too large", code="audit.entry-size")
            rows.append((index, kept.id, leaf, sealed))
            leaves.append(leaf)
            hashes.append(leaf_hash(leaf))
            index += 1
        size = extend(frontier, head.size, hashes)
        tx.connection.exec_driver_sql(_INSERT[tx.connection.dialect.name], rows)
        self._write_head(tx, Head(size=size, frontier=tuple(frontier), root=root_of(frontier)))
        return head.size, leaves

    def _commit(self, entry_id: str, details: dict[str, object]) -> tuple[str, bytes]:
        """Return the commitment for the leaf, and the details as stored: blinded, encrypted."""
        blind = secrets.token_bytes(_BLIND_BYTES)
        body = canonical_json(details)
        sealed = seal(self._keys.details, blind + body, entry_id.encode())
        return mac(Secret(blind), body).hex(), sealed

    def _write_head(self, tx: Transaction, head: Head) -> None:
        values = {
            "size": head.size,
            "frontier": b"".join(head.frontier),
            "root": head.root,
            "mac": mac(self._keys.head, *_head_parts(head)),
        }
        if head.size and tx.connection.execute(sa.update(log_head).values(**values)).rowcount == 1:
            return
        tx.connection.execute(sa.insert(log_head).values(id=1, **values))

    # -- reading --------------------------------------------------------------------------------

    def head(self, snap: Snapshot) -> Head:
        """Return the committed head.

        Raises:
            IntegrityError: It is not what was written.
        """
        row = snap.connection.execute(
            sa.select(log_head.c.size, log_head.c.frontier, log_head.c.root, log_head.c.mac)
        ).one_or_none()
        if row is None:
            if snap.connection.execute(sa.select(log_entries.c.idx).limit(1)).first() is not None:
                raise IntegrityError("the head of the log is missing", code="audit.head")
            return Head(size=0, frontier=(), root=EMPTY_ROOT)
        data = _blob(row.frontier)
        head = Head(
            size=row.size,
            frontier=tuple(data[at : at + HASH_BYTES] for at in range(0, len(data), HASH_BYTES)),
            root=_blob(row.root),
        )
        try:
            verify_mac(self._keys.head, _blob(row.mac), *_head_parts(head))
        except IntegrityError as error:
            raise IntegrityError("the head of the log was changed", code="audit.head") from error
        return head

    def newest_at(self, snap: Snapshot) -> datetime:
        """Return the time of the newest entry: decisions are never dated before it."""
        leaf = snap.connection.execute(
            sa.select(log_entries.c.leaf).order_by(log_entries.c.idx.desc()).limit(1)
        ).scalar_one_or_none()
        if leaf is None:
            return self.clock.now()
        return parse_timestamp(self.decode(_blob(leaf)).at)

    def leaves(self, snap: Snapshot, start: int, stop: int) -> Iterator[tuple[int, bytes]]:
        """Yield (index, leaf) of stored rows with start <= index < stop, in order."""
        for index, _, leaf in self.rows(snap, start, stop):
            yield index, leaf

    def rows(self, snap: Snapshot, start: int, stop: int) -> Iterator[tuple[int, str, bytes]]:
        """Yield (index, id column, leaf) of stored rows with start <= index < stop, in order."""
        at = start
        while at < stop:
            rows = snap.connection.execute(
                sa.select(log_entries.c.idx, log_entries.c.id, log_entries.c.leaf)
                .where(log_entries.c.idx >= at, log_entries.c.idx < stop)
                .order_by(log_entries.c.idx)
                .limit(4096)
            ).all()
            if not rows:
                return
            for index, column, leaf in rows:
                yield index, str(column), _blob(leaf)
            at = rows[-1][0] + 1

    def entries(
        self,
        snap: Snapshot,
        *,
        after: int = -1,
        before: int | None = None,
        limit: int = 100,
        newest_first: bool = False,
    ) -> list[Logged]:
        """Return up to `limit` entries beyond index `after`, and below `before` if it is given."""
        order = log_entries.c.idx.desc() if newest_first else log_entries.c.idx
        rows = snap.connection.execute(
            sa.select(log_entries.c.idx, log_entries.c.leaf)
            .where(
                log_entries.c.idx > after, *([] if before is None else [log_entries.c.idx < before])
            )
            .order_by(order)
            .limit(limit)
        ).all()
        return [Logged(index, self.decode(_blob(leaf)), _blob(leaf)) for index, leaf in rows]

    def entry(self, snap: Snapshot, entry_id: str) -> Logged:
        """Return an entry by id.

        Raises:
            NotFoundError: There is none.
        """
        row = snap.connection.execute(
            sa.select(log_entries.c.idx, log_entries.c.leaf).where(log_entries.c.id == entry_id)
        ).one_or_none()
        if row is None:
            raise NotFoundError(f"the log has no entry `{entry_id[:64]}`", hint="vallum audit list")
        entry = self.decode(_blob(row.leaf))
        if entry.id != entry_id:
            raise IntegrityError("a log entry has another's id", code="audit.entry")
        return Logged(row.idx, entry, _blob(row.leaf))

    def details(self, snap: Snapshot, logged: Logged) -> bytes | None:
        """Return the details of an entry as JSON; None if it has none or they were erased.

        Raises:
            IntegrityError: They are not what the leaf commits to.
        """
        if not logged.entry.details:
            return None
        sealed = snap.connection.execute(
            sa.select(log_entries.c.details).where(log_entries.c.idx == logged.index)
        ).scalar_one_or_none()
        if sealed is None:
            return None
        plain = unseal(self._keys.details, _blob(sealed), logged.entry.id.encode())
        blind, body = plain[:_BLIND_BYTES], plain[_BLIND_BYTES:]
        verify_mac(Secret(blind), bytes.fromhex(logged.entry.details), body)
        return body

    def decode(self, leaf: bytes) -> Entry:
        """Decode a stored leaf.

        Raises:
            IntegrityError: It is none.
        """
        try:
            return _DECODER.decode(leaf)
        except msgspec.DecodeError as error:
            raise IntegrityError("a log entry is damaged", code="audit.entry") from error

    def hash_of(self, logged: Logged) -> bytes:
        """Return the leaf hash of an entry."""
        return leaf_hash(logged.leaf)

    def sign_head(self, head: Head) -> str:
        """Return the signed note of a head."""
        return sign_checkpoint(
            Checkpoint(origin=self.origin, size=head.size, root=head.root), self._keys.signer
        )

    def _now(self, snap: Snapshot) -> datetime:
        return max(self.clock.now(), self.newest_at(snap))


def _blob(value: object) -> bytes:
    """Return a binary column's bytes; SQLite would hand out whatever type was put there."""
    if isinstance(value, bytes | memoryview):
        return bytes(value)
    raise IntegrityError("a row of the log has another type", code="audit.entry")


def _head_parts(head: Head) -> tuple[bytes, ...]:
    return (_HEAD_DOMAIN, head.size.to_bytes(8, "big"), b"".join(head.frontier), head.root)
