"""What is kept of requests and answers: whether it may be, and how a gateway's pieces are stored.

What a gateway hands in is redacted already; it is encrypted, as a *piece* of the *book* of now
(`capture_books`), before it reaches a disk.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal, InvalidOperation

import msgspec

from vallum.base import (
    InputError,
    LimitExceededError,
    Permit,
    RefusedError,
    UnavailableError,
    new_id,
    timestamp,
)
from vallum.crypto import WrappedKey
from vallum.policy import Requirements
from vallum.schema import (
    CaptureBook,
    CapturePiece,
    CapturePolicy,
    Deployment,
    EntryKind,
    Part,
    WrappedDataKey,
)
from vallum.schema.capture import CaptureHanded
from vallum.workspace.capture_books import SYSTEM_CAPTURE
from vallum.workspace.context import Context
from vallum.workspace.house import House
from vallum.workspace.kernel import RESERVE_BYTES
from vallum.workspace.versions import CONTENT

MAX_PIECE_BYTES = 4 * 1024 * 1024
MAX_BOOK_BYTES = 4 * 1024 * 1024 * 1024
KEEP = "endpoint.capture-keep"
_ROLLING = {"hour": timedelta(hours=1), "day": timedelta(days=1)}


def check_capture(asked: CapturePolicy, requirements: Requirements) -> None:
    """Check that a deployment may be captured like this.

    Raises:
        RefusedError: The policy file does not allow it, or not for so long.
        InputError: It is no share, no time, or nothing.
    """
    allowed = requirements.capture
    if not allowed.allow:
        raise RefusedError(
            "the policy file does not allow that requests are captured",
            code="capture.forbidden",
            hint="`capture: {allow: true}` in it: vallum policy set FILE",
        )
    try:
        sane = 0 < Decimal(asked.sampling_rate) <= 1
    except InvalidOperation as error:  # no number, or none that compares
        raise InputError("the sampling rate is no number", code="capture.rate") from error
    if not sane:
        raise InputError("the sampling rate is above 0 and at most 1", code="capture.rate")
    if asked.rolling_rate not in _ROLLING:
        raise InputError(
            f"`{asked.rolling_rate[:20]}` is no rolling rate", code="capture.rolling",
            hint=f"use {' or '.join(_ROLLING)}",
        )  # fmt: skip
    if not (asked.inputs or asked.outputs):
        raise InputError("neither requests nor answers are to be kept", code="capture.nothing")
    if asked.keep_days < 1:
        raise InputError("what is captured is kept for a day at least", code="capture.days")
    if asked.keep_days > allowed.max_days:
        raise RefusedError(
            f"the policy file has what is captured kept for {allowed.max_days} days at most",
            code="capture.days",
            hint=f"--capture-days {allowed.max_days}",
        )


def allowed_now(asked: CapturePolicy | None, requirements: Requirements) -> CapturePolicy | None:
    """Return how a deployment is captured under the policy file in force; None: not at all."""
    allowed = requirements.capture
    if asked is None or not allowed.allow or asked.keep_days > allowed.max_days:
        return None
    return asked


# -- taking -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Opened:
    """A book that a piece may be written to."""

    book: CaptureBook
    permit: Permit
    wrapped: WrappedKey


def keep_piece(house: House, handed: CaptureHanded, requirements: Requirements) -> None:
    """Encrypt and store what a gateway hands in.

    Raises:
        NotFoundError: The deployment is gone.
        RefusedError: It is not captured, or not any more.
        LimitExceededError: It is too much.
        UnavailableError: The disk is almost full, or the back-end is gone.
    """
    if len(handed.lines) > MAX_PIECE_BYTES:
        raise LimitExceededError("the piece is too long", code="capture.size")
    if house.free_bytes() < RESERVE_BYTES:
        raise UnavailableError("the disk is almost full", code="workspace.space")
    opened = _open(house, handed.deployment_id, requirements)
    piece_id = str(new_id("cpc"))
    on = opened.book.endpoint_id
    key = house.keyring.unwrap(opened.permit, opened.wrapped, opened.book.id, CONTENT, on=on)
    part = house.objects.write(
        opened.permit,
        on=on,
        version_id=opened.book.id,
        part=f"{piece_id}.jsonl",
        source=handed.lines,
        data_key=key,
        personal=True,
    )
    try:
        _publish(house, opened.book, piece_id, part, handed.records)
    except BaseException:
        house.objects.discard(part)
        raise


def _open(house: House, deployment_id: str, requirements: Requirements) -> _Opened:
    """Return the book of now; make it if there is none."""
    with house.log.transaction() as tx:
        context = Context(records=house.records, snapshot=tx, workspace_id=house.workspace_id)
        deployment = house.records.get(tx, "deployment", deployment_id, Deployment)
        policy = allowed_now(deployment.capture, requirements)
        if policy is None:
            raise RefusedError("this deployment is not captured", code="capture.off")
        begins = _begin_of(house.clock.now(), policy)
        name = f"{deployment.name}/{timestamp(begins)}/{policy.keep_days}"
        endpoint_id = deployment.endpoint_id
        book = house.records.find(tx, "capture-book", endpoint_id, name, CaptureBook)
        permit = house.log.system_permit(
            tx,
            step=KEEP,
            kind=EntryKind.DECISION,
            principal_id=SYSTEM_CAPTURE,
            resources=(endpoint_id, deployment.id),
        )
        if book is not None:
            _check_room(context, book)
            row = house.records.get(tx, "wrapped-key", book.id, WrappedDataKey)
            house.log.seal(tx, permit)
            return _Opened(book, permit, msgspec.convert(row.wrapped, WrappedKey))
        expires = begins + _ROLLING[policy.rolling_rate] + timedelta(days=policy.keep_days)
        book = CaptureBook(
            id=str(new_id("cap")),
            endpoint_id=endpoint_id,
            deployment=deployment.name,
            begins_at=timestamp(begins),
            expires_at=timestamp(expires),
        )
        _, wrapped = house.keyring.new_data_key(book.id, CONTENT)
        row = WrappedDataKey(id=book.id, wrapped=msgspec.to_builtins(wrapped))
        put = house.records.put
        changes = [
            put(tx, permit, "capture-book", book, on=endpoint_id, parent_id=endpoint_id, name=name),
            put(tx, permit, "wrapped-key", row, on=endpoint_id, parent_id=book.id),
        ]
        house.log.seal(tx, permit, changes=changes, details={"expires_at": book.expires_at})
    return _Opened(book, permit, wrapped)


def _begin_of(now: datetime, policy: CapturePolicy) -> datetime:
    hour = now.hour if policy.rolling_rate == "hour" else 0
    return now.replace(hour=hour, minute=0, second=0, microsecond=0)


def _check_room(context: Context, book: CaptureBook) -> None:
    held = context.all("capture-piece", CapturePiece, parent_id=book.id)
    if sum(one.content.length for one in held) > MAX_BOOK_BYTES:
        raise LimitExceededError("the book of now is full", code="capture.full")


def _publish(house: House, book: CaptureBook, piece_id: str, part: Part, records: int) -> None:
    with house.log.transaction() as tx:
        house.records.get(tx, "capture-book", book.id, CaptureBook)  # or it was erased meanwhile
        permit = house.log.system_permit(
            tx,
            step=KEEP,
            kind=EntryKind.DECISION,
            principal_id=SYSTEM_CAPTURE,
            resources=(book.endpoint_id, book.id),
        )
        piece = CapturePiece(
            id=piece_id,
            book_id=book.id,
            content=part,
            records=records,
            made_at=timestamp(house.clock.now()),
        )
        change = house.records.put(
            tx, permit, "capture-piece", piece, on=book.endpoint_id, parent_id=book.id
        )
        house.log.seal(
            tx, permit, changes=[change], details={"records": records, "bytes": part.length}
        )
