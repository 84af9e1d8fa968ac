"""Books of captured requests: found again, and destroyed in time.

A book is an hour or a day of one deployment under one key of its own. When its time is over the
key is destroyed, and with it every copy of what the book held.
"""

from collections.abc import Sequence
from datetime import datetime

from vallum.base import NotFoundError, Permit, timestamp
from vallum.base.clock import parse_timestamp
from vallum.schema import CaptureBook, CapturePiece, Change, EntryKind, Erasure, Part
from vallum.store import Transaction
from vallum.workspace.context import Context
from vallum.workspace.house import House
from vallum.workspace.versions import shred

EXPIRE = "endpoint.capture-expire"
SYSTEM_CAPTURE = "system-capture"

# -- finding ------------------------------------------------------------------------------------


def all_books(context: Context, endpoint_id: str) -> list[CaptureBook]:
    """Return every book of an endpoint, those that are due to be destroyed too."""
    return context.all("capture-book", CaptureBook, parent_id=endpoint_id)


def books_of(context: Context, endpoint_id: str, *, now: datetime) -> list[CaptureBook]:
    """Return what is kept of an endpoint and not over, the oldest first."""
    found = all_books(context, endpoint_id)
    kept = [one for one in found if parse_timestamp(one.expires_at) > now]
    return sorted(kept, key=lambda one: (one.begins_at, one.deployment))


def pieces_of(context: Context, book: CaptureBook) -> list[CapturePiece]:
    """Return the pieces of a book, the oldest first."""
    found = context.all("capture-piece", CapturePiece, parent_id=book.id)
    return sorted(found, key=lambda one: (one.made_at, one.id))


def capture_parts(context: Context) -> list[tuple[str, Part]]:
    """Return every stored part of what is kept, with the id that its key is of."""
    return [(one.book_id, one.content) for one in context.all("capture-piece", CapturePiece)]


# -- destroying ---------------------------------------------------------------------------------


def remove_book(
    house: House, tx: Transaction, permit: Permit, book: CaptureBook, *, on: str
) -> tuple[list[Change], list[Part]]:
    """Remove the rows of a book in a transaction; returns the changes and what to discard."""
    context = Context(records=house.records, snapshot=tx, workspace_id=house.workspace_id)
    pieces = pieces_of(context, book)
    remove = house.records.remove
    changes: list[Change] = [remove(tx, permit, "capture-piece", one.id, on=on) for one in pieces]
    changes.append(remove(tx, permit, "wrapped-key", book.id, on=on))
    changes.append(remove(tx, permit, "capture-book", book.id, on=on))
    return changes, [one.content for one in pieces]


def erasure_of(book: CaptureBook, *, now: datetime, by: str, reason: str) -> Erasure:
    """Return the row that says what was erased, until its key is destroyed and after."""
    return Erasure(
        id=book.id, name=f"{book.deployment}/{book.begins_at}", version=0, kind="capture",
        erased_at=timestamp(now), erased_by=by, reason=reason,
    )  # fmt: skip


def expire_captures(house: House) -> int:
    """Destroy every book whose time is over; returns how many.

    Should the process die in between, the rows that stay say what is erased, and the next start
    destroys its key (`settle_erasures`).
    """
    now = house.clock.now()
    with house.database.snapshot() as snapshot:
        context = Context(records=house.records, snapshot=snapshot, workspace_id=house.workspace_id)
        due = [
            one
            for one in context.all("capture-book", CaptureBook)
            if parse_timestamp(one.expires_at) <= now
        ]
    for book in due:
        _expire(house, book, now)
    return len(due)


def _expire(house: House, book: CaptureBook, now: datetime) -> None:
    on = book.endpoint_id
    with house.log.transaction() as tx:
        try:
            house.records.get(tx, "capture-book", book.id, CaptureBook)
        except NotFoundError:  # erased meanwhile
            return
        permit = house.log.system_permit(
            tx,
            step=EXPIRE,
            kind=EntryKind.DECISION,
            principal_id=SYSTEM_CAPTURE,
            resources=(on, book.id),
        )
        changes, parts = remove_book(house, tx, permit, book, on=on)
        told = erasure_of(book, now=now, by=SYSTEM_CAPTURE, reason="expired")
        changes.append(house.records.put(tx, permit, "erasure", told, on=on, parent_id=on))
        house.log.seal(tx, permit, changes=changes, details={"expired": book.begins_at})
    shred_books(house, [book.id], parts)


def shred_books(house: House, book_ids: Sequence[str], parts: Sequence[Part]) -> None:
    """Destroy the keys of books whose rows are gone, and remove their objects."""
    shred(house, book_ids)
    for part in parts:
        house.objects.discard(part)
