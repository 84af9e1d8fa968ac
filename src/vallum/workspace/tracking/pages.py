"""Page tokens: encrypted, and good only for the caller and the question that they were made for."""

import base64
import binascii
import hashlib
from collections.abc import Callable, Sequence
from typing import TypeVar

import msgspec

from vallum.base import InputError, IntegrityError, canonical_json
from vallum.crypto import Purpose, seal, unseal
from vallum.schema import Record
from vallum.workspace.step import Look

T = TypeVar("T")
_MAX_TOKEN = 1000


class _Place(msgspec.Struct, array_like=True, frozen=True):
    offset: int
    last: str  # id of the last that was shown; found again, it counts more than the offset


def page(
    look: Look,
    found: Sequence[T],
    ids: Sequence[str],
    *,
    question: Record,
    limit: int,
    token: str,
    keep: Callable[[T], bool | None] | None = None,
) -> tuple[Sequence[T], str]:
    """Return one page of what was found, and the token of the next; empty: there is none.

    Args:
        look: Whose caller asks.
        found: All that the caller may see, filtered and in order.
        ids: Of each of them.
        question: What was asked, without page token, and without limit: clients lower it by
            what they got.
        limit: How many at most.
        token: Of the page before; empty: the first page.
        keep: Tells what costs much to tell, only of what the page comes to: whether one is shown;
            None: this page has looked enough, the next one goes on with it.

    Raises:
        InputError: The token is of another caller or question, or none at all.
    """
    key = look.house.keyring.derive(Purpose.PAGE_TOKEN)
    asked = canonical_json([look.caller.id, type(question).__name__])
    bound = hashlib.sha256(asked + msgspec.json.encode(question)).digest()
    start = 0
    if token:
        try:
            sealed = base64.urlsafe_b64decode(token[:_MAX_TOKEN].encode())
            place = msgspec.msgpack.decode(unseal(key, sealed, bound), type=_Place)
        except (IntegrityError, binascii.Error, ValueError) as error:
            raise InputError(
                "the page token is of another caller or question",
                code="mlflow.page-token",
                hint="begin again without a page token",
            ) from error
        # What was added or removed meanwhile neither repeats nor hides what follows.
        try:
            start = ids.index(place.last) + 1
        except ValueError:
            start = place.offset
    if keep is None:
        taken = found[start : start + limit]
        following = start + len(taken)
    else:
        taken, following = _kept(found, start, limit, keep)
    if following == start or following >= len(found):
        return taken, ""
    made = msgspec.msgpack.encode(_Place(following, ids[following - 1]))
    return taken, base64.urlsafe_b64encode(seal(key, made, bound)).decode()


def _kept(
    found: Sequence[T], start: int, limit: int, keep: Callable[[T], bool | None]
) -> tuple[Sequence[T], int]:
    taken: list[T] = []
    at = start
    while at < len(found) and len(taken) < limit:
        kept = keep(found[at])
        if kept is None:
            break
        if kept:
            taken.append(found[at])
        at += 1
    return taken, at
