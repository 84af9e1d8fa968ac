"""Steps on what was kept of requests and answers: list it, read it, destroy it."""

import itertools
from collections.abc import Iterator, Sequence

from vallum.base import InputError, LimitExceededError, NotFoundError
from vallum.base.clock import stored_time
from vallum.schema import Ask, Caller, CaptureBook, Part, api
from vallum.schema.capture import CaptureBookShown, CaptureNamed, CapturesShown
from vallum.workspace.capture_books import (
    books_of,
    erasure_of,
    pieces_of,
    remove_book,
    shred_books,
)
from vallum.workspace.context import Context, ask
from vallum.workspace.step import Act, Asks, Download, Effect, Step
from vallum.workspace.versions import content_chunks_of

MAX_PIECES = 4096  # of one download


def _own(verb: str) -> Asks:
    def asks(context: Context, args: CaptureNamed, caller: Caller) -> Sequence[Ask]:
        endpoint = context.endpoint_resource(context.endpoint(args.endpoint))
        return ask(f"onlineEndpoints/deployments/capture/{verb}", endpoint)

    return asks


def _named(act: Act, args: CaptureNamed) -> list[CaptureBook]:
    endpoint = act.context.endpoint(args.endpoint)
    found = books_of(act.context, endpoint.id, now=act.now)
    if args.deployment:
        found = [one for one in found if one.deployment == args.deployment]
    return found


def _act_list(act: Act, args: CaptureNamed) -> CapturesShown:
    shown = []
    for book in _named(act, args):
        pieces = pieces_of(act.context, book)
        shown.append(
            CaptureBookShown(
                deployment=book.deployment,
                begins_at=book.begins_at,
                expires_at=book.expires_at,
                records=sum(one.records for one in pieces),
                bytes=sum(one.content.length for one in pieces),
            )
        )
    return CapturesShown(endpoint=args.endpoint, books=tuple(shown))


def _act_read(act: Act, args: CaptureNamed) -> Download:
    try:
        since = stored_time(args.since) if args.since else ""
    except ValueError as error:
        raise InputError(
            f"`{args.since[:40]}` is no time", code="capture.since",
            hint="such as 2026-11-21T18:00:00Z",
        ) from error  # fmt: skip
    endpoint = act.context.endpoint(args.endpoint)
    found = [
        (book, piece)
        for book in _named(act, args)
        for piece in pieces_of(act.context, book)
        if piece.made_at >= since
    ]
    if not found:
        raise NotFoundError("nothing was captured", code="capture.none")
    if len(found) > MAX_PIECES:
        raise LimitExceededError(
            f"that is more than {MAX_PIECES} pieces", code="capture.pieces",
            hint="name a later time: --since 2026-11-21T18:00:00Z",
        )  # fmt: skip
    act.details["records"] = sum(piece.records for _, piece in found)
    act.details["books"] = len({book.id for book, _ in found})
    # Keys are unwrapped, and the permit is checked, now; objects are read as they are asked for.
    chunks: list[Iterator[bytes]] = [
        content_chunks_of(act, book.id, piece.content, on=endpoint.id) for book, piece in found
    ]
    return Download(
        file_name=f"{endpoint.name}-captures.jsonl", chunks=itertools.chain.from_iterable(chunks)
    )


def erase_captures(act: Act, doomed: Sequence[CaptureBook], *, reason: str) -> None:
    """Remove books; once that is committed, destroy their keys and objects."""
    parts: list[Part] = []
    for book in doomed:
        on = book.endpoint_id
        changes, held = remove_book(act.house, act.tx, act.permit, book, on=on)
        act.changes.extend(changes)
        told = erasure_of(book, now=act.now, by=act.caller.id, reason=reason)
        act.put("erasure", told, on=on, parent_id=on)
        parts += held
    if doomed:
        ids = [book.id for book in doomed]
        act.after_commit.append(lambda: shred_books(act.house, ids, parts))


def _act_erase(act: Act, args: CaptureNamed) -> api.Done:
    endpoint = act.context.endpoint(args.endpoint)
    doomed = _named(act, args)
    if args.since:
        raise InputError("books are destroyed as a whole: leave --since out", code="capture.since")
    erase_captures(act, doomed, reason="deleted")
    return api.Done(id=endpoint.id, text=f"destroyed {len(doomed)} book(s) of captured requests")


STEPS = (
    Step("endpoint.capture", CaptureNamed, _own("read"), _act_list, Effect.READ),
    Step("endpoint.capture-read", CaptureNamed, _own("read"), _act_read, Effect.READ,
         threat="data-leakage"),
    Step("endpoint.capture-erase", CaptureNamed, _own("delete"), _act_erase,
         threat="data-leakage"),
)  # fmt: skip
