"""The ledger of what gateways are lent: bits that answers may tell, and requests of quotas.

The ledger is here, and gateways are lent a piece before they use it: whatever is killed when,
and however many gateways there are, no more than a budget is used in one window. What a gateway
was lent and had not used when it ended is spent all the same: at most a `BLOCKS`th of the budget
and what its open requests had asked for. So much may also be idle at each gateway that lives
while another is told that nothing is left. Windows follow one another, so that any span as long
as one sees at most two budgets.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import msgspec

from vallum.base import (
    InputError,
    LimitExceededError,
    NotFoundError,
    Permit,
    new_id,
    parse_timestamp,
    timestamp,
)
from vallum.schema import Change, Endpoint, EntryKind, Lent
from vallum.schema.serving import LoanAsk, LoanGiven
from vallum.store import Transaction
from vallum.workspace.house import House
from vallum.workspace.information import MAX_PER_S
from vallum.workspace.watches import SYSTEM_GATEWAY

MAX_AMOUNT: Final = 10**15
MAX_SUBJECT: Final = 200
MAX_FORGOTTEN: Final = 256  # rows in one transaction
BLOCKS: Final = 64
"""A gateway is lent this part of a budget at once: so many entries a window and subject."""
INFORMATION: Final = "information"
QUOTA: Final = "quota"
KINDS: Final = (INFORMATION, QUOTA)


@dataclass(frozen=True, slots=True)
class _Terms:
    kind: str  # of the rows; a finding when it is spent is `KIND.spent`
    amount: int
    per_s: int
    capped: bool  # nothing beyond the amount
    unit: str
    details: dict[str, object]


def give(house: House, question: LoanAsk) -> LoanGiven:
    """Lend a gateway bits or requests; they are spent before they are used.

    Raises:
        InputError: It asks for nothing.
        NotFoundError: There is no such endpoint, or it has no such budget or quota any more.
    """
    if not 0 < question.amount <= MAX_AMOUNT or not 0 < len(question.subject) <= MAX_SUBJECT:
        raise InputError("that is no loan", code="endpoint.loan")
    with house.log.transaction() as tx:
        endpoint = house.records.get(tx, "endpoint", question.endpoint_id, Endpoint)
        terms = _terms(endpoint, question.per)
        name = f"{question.per}:{question.subject}" if question.per else question.subject
        now = max(house.clock.now(), house.log.newest_at(tx))  # a clock set back renews nothing
        window = timedelta(seconds=terms.per_s)
        old = house.records.find(tx, terms.kind, endpoint.id, name, Lent)
        lent = _window(old, endpoint.id, name, now, window)
        left = terms.amount - lent.amount
        amount = max(question.amount, terms.amount // BLOCKS)
        if terms.capped:
            amount = min(amount, left) if question.amount <= left else 0
        ends = parse_timestamp(lent.began_at) + window
        after = lent.amount + amount
        given = LoanGiven(amount, after, timestamp(ends), max(0.0, (ends - now).total_seconds()))
        if not amount:
            return given
        over = lent.amount < terms.amount <= after
        permit = house.log.system_permit(
            tx,
            step="score",
            kind=EntryKind.FINDING if over else EntryKind.DECISION,
            principal_id=SYSTEM_GATEWAY,
            resources=(endpoint.id, name),
            error=f"{terms.kind}.spent" if over else "",
        )
        lent = msgspec.structs.replace(lent, amount=after)
        change = house.records.put(
            tx, permit, terms.kind, lent, on=endpoint.id, parent_id=endpoint.id, name=name
        )
        house.log.seal(tx, permit, changes=[change], details={terms.unit: after, **terms.details})
    return given


def charge(
    house: House,
    tx: Transaction,
    permit: Permit,
    endpoint: Endpoint,
    *,
    subjects: Mapping[str, str],
    amount: int,
) -> list[Change]:
    """Take `amount` from every quota of an endpoint, or from none; returns what changed.

    Args:
        house: Whose ledger.
        tx: In which what is paid for becomes known, too.
        permit: For the endpoint.
        endpoint: As it is now.
        subjects: Whose, by what a quota counts by.
        amount: Answers; 0 only looks whether there is one left.

    Raises:
        LimitExceededError: So much is not left in one of their windows.
    """
    now = max(house.clock.now(), house.log.newest_at(tx))
    rows: list[tuple[str, Lent]] = []
    for quota in endpoint.quotas:
        name = f"{quota.per}:{subjects[quota.per]}"
        window = timedelta(seconds=quota.per_s)
        old = house.records.find(tx, QUOTA, endpoint.id, name, Lent)
        lent = _window(old, endpoint.id, name, now, window)
        if lent.amount + max(1, amount) > quota.requests:
            ends = parse_timestamp(lent.began_at) + window
            raise LimitExceededError(
                f"the quota of {quota.requests} answers per {quota.per} in one window does not"
                f" suffice: {max(0, quota.requests - lent.amount)} are left; the next begins at"
                f" {timestamp(ends)}",
                code="score.quota",
                retry_after_s=max(1.0, (ends - now).total_seconds()),
            )
        rows.append((name, msgspec.structs.replace(lent, amount=lent.amount + amount)))
    if not amount:
        return []
    return [
        house.records.put(tx, permit, QUOTA, lent, on=endpoint.id, parent_id=endpoint.id, name=name)
        for name, lent in rows
    ]


def forget_ended(house: House) -> int:
    """Remove what was lent in windows that ended; returns how many rows."""
    gone = 0
    with house.database.snapshot() as snapshot:
        endpoints = house.records.list(snapshot, "endpoint", Endpoint)
    for endpoint in endpoints:
        per_s = {QUOTA: {one.per: one.per_s for one in endpoint.quotas}}
        budget = endpoint.information
        per_s[INFORMATION] = {} if budget is None else {"": budget.per_s}
        for kind in KINDS:
            gone += _forget(house, endpoint, kind, per_s[kind])
    return gone


def _forget(house: House, endpoint: Endpoint, kind: str, per_s: dict[str, int]) -> int:
    with house.log.transaction() as tx:
        now = max(house.clock.now(), house.log.newest_at(tx))
        ended = [
            one
            for one in house.records.list(tx, kind, Lent, parent_id=endpoint.id)
            # One that was taken away may come back: what was used of it counts for long.
            if parse_timestamp(one.began_at)
            + timedelta(
                seconds=per_s.get(one.subject.partition(":")[0] if kind == QUOTA else "", MAX_PER_S)
            )
            <= now
        ][:MAX_FORGOTTEN]
        if not ended:
            return 0
        permit = house.log.system_permit(
            tx, step="score", kind=EntryKind.DECISION, principal_id=SYSTEM_GATEWAY,
            resources=(endpoint.id,),
        )  # fmt: skip
        changes = [house.records.remove(tx, permit, kind, one.id, on=endpoint.id) for one in ended]
        house.log.seal(tx, permit, changes=changes, details={"ended": len(ended)})
    return len(ended)


def _window(
    old: Lent | None, endpoint_id: str, name: str, now: datetime, window: timedelta
) -> Lent:
    if old is None:
        return Lent(str(new_id("lent")), endpoint_id, name, timestamp(now), 0)
    if parse_timestamp(old.began_at) + window <= now:
        return msgspec.structs.replace(old, began_at=timestamp(now), amount=0)
    return old


def _terms(endpoint: Endpoint, per: str) -> _Terms:
    if not per:
        budget = endpoint.information
        if budget is None:
            raise NotFoundError("the endpoint has no budget", code="endpoint.information")
        return _Terms(
            INFORMATION, budget.bits, budget.per_s, budget.response != "alert", "bits",
            {"budget": budget.bits, "response": budget.response},
        )  # fmt: skip
    quota = next((one for one in endpoint.quotas if one.per == per), None)
    if quota is None:
        raise NotFoundError("the endpoint has no such quota", code="endpoint.quota")
    return _Terms(
        QUOTA, quota.requests, quota.per_s, True, "requests", {"quota": quota.requests, "per": per}  # noqa: FBT003 - by the class's order
    )  # fmt: skip
