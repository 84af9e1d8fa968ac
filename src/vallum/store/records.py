"""State records: every row carries a MAC, every authority kind a set root; both before use."""

import builtins
import threading
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Generic

import sqlalchemy as sa

from vallum.base import ConflictError, IntegrityError, NotFoundError, Permit, name_key
from vallum.crypto import Keyring, Purpose
from vallum.schema import Change, Record
from vallum.store.authority import (
    AUTHORITY_KINDS,
    AuthorityRows,
    KindRows,
    Standing,
    advance_kind,
    empty_kind,
    read_kind,
    read_standing,
    write_change,
)
from vallum.store.database import Snapshot, Transaction
from vallum.store.rows import R, Row, check_text, checked_rows, encode, identity, sealed_row
from vallum.store.tables import records

MAX_PAGE = 1000


@dataclass(frozen=True, slots=True)
class Stored(Generic[R]):
    """A record and where it stands: what `put(expect=…)` needs."""

    record: R
    parent_id: str
    name: str  # folded; empty: none
    generation: int
    mac: str  # hexadecimal


class Records:
    """Holds the row and set keys, and the last authority rows that were checked."""

    def __init__(self, keyring: Keyring) -> None:
        self._row_key = keyring.derive(Purpose.ROW_MAC)
        self._set_key = keyring.derive(Purpose.SET_ROOT)
        self._known: dict[str, KindRows] = {}
        self._lock = threading.Lock()

    def put(
        self,
        tx: Transaction,
        permit: Permit,
        kind: str,
        record: Record,
        *,
        on: str = "",
        parent_id: str = "",
        name: str = "",
        expect: int | None = None,
    ) -> Change:
        """Insert or replace a record.

        Args:
            tx: The writer's transaction.
            permit: Must name `on`, or the record itself where `on` is empty.
            kind: Such as `role-assignment`.
            record: Has an `id`; holds no float.
            on: The resource id that was decided on.
            parent_id: Under what it is listed.
            name: Unique among the records of that kind and parent, whatever its case; or empty.
            expect: The generation that the caller read; 0: there must be none; None: any.

        Raises:
            ConflictError: The record is not at `expect`, or the name is taken.
            IntegrityError: The row to replace, or a set root, is not what was written.
        """
        id_ = identity(record)
        permit.require_valid(on or id_)
        check_text(kind, what="kind")
        if parent_id:
            check_text(parent_id, what="parent")
        folded = name_key(name) if name else ""
        content = encode(record)
        old = self._old(tx, kind, id_)
        seen = 0 if old is None else old.generation
        if expect is not None and expect != seen:
            raise ConflictError(
                f"{kind} `{id_}` is at generation {seen}, expected {expect}",
                code="store.generation",
                hint="read it again and decide anew",
            )
        standing = self._standing_of(tx, kind)
        generation = seen + 1 if standing is None else standing.generation + 1
        row = sealed_row(
            self._row_key, Row(kind, id_, parent_id, folded, content, generation, mac=b"")
        )
        values = {
            "parent_id": row.parent_id,
            "name_key": row.name or None,
            "content": row.content,
            "generation": row.generation,
            "mac": row.mac,
        }
        if old is None:
            tx.connection.execute(sa.insert(records).values(kind=kind, id=id_, **values))
        else:
            tx.connection.execute(sa.update(records).where(_is(kind, id_)).values(**values))
        if standing is not None:
            before = None if old is None else old.mac
            write_change(tx.connection, self._set_key, standing, kind, before=before, after=row.mac)
        return Change(kind=kind, id=id_, mac=row.mac.hex())

    def remove(
        self, tx: Transaction, permit: Permit, kind: str, id_: str, *, on: str = ""
    ) -> Change:
        """Remove a record.

        Raises:
            NotFoundError: There is none.
            IntegrityError: It, or a set root, is not what was written.
        """
        permit.require_valid(on or id_)
        old = self._old(tx, kind, id_)
        if old is None:
            raise _missing(kind, id_)
        tx.connection.execute(sa.delete(records).where(_is(kind, id_)))
        standing = self._standing_of(tx, kind)
        if standing is not None:
            write_change(tx.connection, self._set_key, standing, kind, before=old.mac, after=None)
        return Change(kind=kind, id=id_, mac="")

    def get(self, snap: Snapshot, kind: str, id_: str, type_: type[R]) -> R:
        """Return a record.

        Raises:
            NotFoundError: There is none.
            IntegrityError: It is not what was written; of an authority kind, also if it is not
                what stands now.
        """
        return self.read(snap, kind, id_, type_).record

    def read(self, snap: Snapshot, kind: str, id_: str, type_: type[R]) -> Stored[R]:
        """Return a record with its generation; otherwise as `get`."""
        row = self._row(snap, kind, id_)
        if row is None:
            raise _missing(kind, id_)
        return _stored(row, type_)

    def find(
        self, snap: Snapshot, kind: str, parent_id: str, name: str, type_: type[R]
    ) -> R | None:
        """Return the record of that name under `parent_id`, or None; otherwise as `get`."""
        folded = name_key(name)
        condition = (
            (records.c.kind == kind)
            & (records.c.parent_id == parent_id)
            & (records.c.name_key == folded)
        )
        row = next(checked_rows(snap.connection, self._row_key, condition), None)
        if kind in AUTHORITY_KINDS:
            known = self._kind(snap, kind)
            expected = known.names.get((parent_id, folded))
            _require_same(kind, row, None if expected is None else known.rows[expected])
        return None if row is None else row.decode(type_)

    def list(
        self,
        snap: Snapshot,
        kind: str,
        type_: type[R],
        *,
        parent_id: str | None = None,
        after: str = "",
        limit: int = MAX_PAGE,
    ) -> builtins.list[R]:
        """Return up to `limit` records by id, those after `after`; otherwise as `get`.

        Args:
            snap: Where to read.
            kind: Such as `model`.
            type_: The class of record.
            parent_id: Only those listed under it; None: all.
            after: Id of the last record of the page before.
            limit: At most `MAX_PAGE`.
        """
        limit = max(1, min(limit, MAX_PAGE))
        condition = (records.c.kind == kind) & (records.c.id > after)
        if parent_id is not None:
            condition &= records.c.parent_id == parent_id
        rows = list(checked_rows(snap.connection, self._row_key, condition, limit=limit))
        if kind in AUTHORITY_KINDS:
            standing = self._kind(snap, kind).rows
            ids = sorted(
                row.id
                for row in standing.values()
                if row.id > after and parent_id in {None, row.parent_id}
            )[:limit]
            if [(row.id, row.mac) for row in rows] != [(id_, standing[id_].mac) for id_ in ids]:
                raise _moved(kind)
        return [row.decode(type_) for row in rows]

    def load_authority(
        self, snap: Snapshot, *, kinds: Collection[str] = AUTHORITY_KINDS
    ) -> AuthorityRows:
        """Read all rows of the authority kinds, and check each row and each set anew.

        Raises:
            IntegrityError: A row was changed, removed, added or exchanged for an older one.
        """
        standing = read_standing(snap.connection, self._set_key)
        checked = {
            kind: read_kind(snap.connection, self._row_key, self._set_key, root)
            for kind, root in standing.roots.items()
            if kind in kinds
        }
        rootless = records.c.kind.in_(sorted(set(kinds) - set(standing.roots)))
        for row in checked_rows(snap.connection, self._row_key, rootless, limit=1):
            raise _moved(row.kind)
        self._remember(checked)
        return AuthorityRows(standing.generation, standing.root, checked)

    def authority_generation(self, snap: Snapshot) -> int:
        """Return the number of changes to authority rows so far; verified as `load_authority`."""
        return read_standing(snap.connection, self._set_key).generation

    def authority_root(self, snap: Snapshot) -> str:
        """Return the hexadecimal digest over all set roots, which log entries carry."""
        return read_standing(snap.connection, self._set_key).root

    def verify_rows(self, snap: Snapshot) -> Iterator[tuple[str, str, str]]:
        """Yield (kind, id, hexadecimal MAC) of every row, each verified first, by kind and id."""
        for row in checked_rows(snap.connection, self._row_key, sa.true()):
            yield row.kind, row.id, row.mac.hex()

    def _old(self, tx: Transaction, kind: str, id_: str) -> Row | None:
        # The set is not read here: if the row is not the one that stands, the set root no longer
        # adds up after the change either, and every later reader finds that out.
        return next(checked_rows(tx.connection, self._row_key, _is(kind, id_)), None)

    def _row(self, snap: Snapshot, kind: str, id_: str) -> Row | None:
        row = next(checked_rows(snap.connection, self._row_key, _is(kind, id_)), None)
        if kind in AUTHORITY_KINDS:
            _require_same(kind, row, self._kind(snap, kind).rows.get(id_))
        return row

    def _standing_of(self, snap: Snapshot, kind: str) -> Standing | None:
        if kind not in AUTHORITY_KINDS:
            return None
        return read_standing(snap.connection, self._set_key)

    def _kind(self, snap: Snapshot, kind: str) -> KindRows:
        """Return the rows of a kind as they stand in `snap`, reading only what is new."""
        standing = read_standing(snap.connection, self._set_key)
        root = standing.roots.get(kind)
        if root is None:
            return empty_kind(kind)
        with self._lock:
            known = self._known.get(kind)
        if known is not None and known.root.mac == root.mac:
            return known
        checked = None
        if known is not None and known.root.generation < root.generation:
            checked = advance_kind(snap.connection, self._row_key, self._set_key, known, root)
        if checked is None:
            checked = read_kind(snap.connection, self._row_key, self._set_key, root)
        self._remember({kind: checked})
        return checked

    def _remember(self, checked: dict[str, KindRows]) -> None:
        # Also what a transaction saw that is rolled back later: the rows are used only where the
        # set root is that very one, and advanced only if the sums agree.
        with self._lock:
            self._known.update(checked)


def _is(kind: str, id_: str) -> sa.ColumnElement[bool]:
    return (records.c.kind == kind) & (records.c.id == id_)


def _stored(row: Row, type_: type[R]) -> Stored[R]:
    return Stored(row.decode(type_), row.parent_id, row.name, row.generation, row.mac.hex())


def _require_same(kind: str, found: Row | None, standing: Row | None) -> None:
    if (None if found is None else (found.id, found.mac)) != (
        None if standing is None else (standing.id, standing.mac)
    ):
        raise _moved(kind)


def _moved(kind: str) -> IntegrityError:
    return IntegrityError(
        f"the rows of `{kind}` are not the set that was written", code="store.set"
    )


def _missing(kind: str, id_: str) -> NotFoundError:
    return NotFoundError(f"there is no {kind} `{id_}`")
