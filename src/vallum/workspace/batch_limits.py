"""What an endpoint lets in, as it holds for batches.

A batch comes from one of the endpoint's networks, is one request at its rates, and each row that
is scored is an answer that its quotas count. Rates are held here apart from those of gateways, as
by one more of them; quotas are one ledger. Rows are paid for when they are saved or published, in
the same transaction: however a batch ends, no row is had that was not counted.
"""

import math
import time
from collections.abc import Callable

from vallum.base import (
    LimitExceededError,
    Networks,
    NotFoundError,
    Permit,
    RefusedError,
    network_of,
)
from vallum.schema import Caller, Change, Endpoint
from vallum.store import Transaction
from vallum.workspace.context import Context
from vallum.workspace.house import House
from vallum.workspace.lending import charge
from vallum.workspace.step import Act

Pay = Callable[[Transaction, Permit, int], list[Change]]
"""Takes answers from the quotas of a batch, in a transaction."""


def check_network(endpoint: Endpoint, caller: Caller) -> None:
    """Check where a batch is asked for from.

    Raises:
        RefusedError: Not from one of the endpoint's networks.
    """
    if caller.source not in Networks(endpoint.networks):
        raise RefusedError(
            "not from this network", code="score.network",
            hint="the endpoint answers callers from its networks, batches too",
        )  # fmt: skip


def admit(act: Act, endpoint: Endpoint) -> None:
    """Let a batch begin: from where it may, no faster than requests, and with answers left.

    Raises:
        RefusedError: Not from one of the endpoint's networks.
        LimitExceededError: It comes too soon, or nothing is left of a quota.
    """
    check_network(endpoint, act.caller)
    subjects = subjects_of(act.context, act.caller)
    charge(act.house, act.tx, act.permit, endpoint, subjects=subjects, amount=0)
    _take(act.house, endpoint, subjects)  # a dry run scores as much, and gives nothing back


def payment(house: House, endpoint_id: str, caller: Caller) -> Pay:
    """Return what takes so many answers of a batch from the endpoint's quotas as they are then."""

    def pay(tx: Transaction, permit: Permit, rows: int) -> list[Change]:
        context = Context(records=house.records, snapshot=tx, workspace_id=house.workspace_id)
        endpoint = house.records.get(tx, "endpoint", endpoint_id, Endpoint)
        if rows <= 0 or not endpoint.quotas:
            return []
        subjects = subjects_of(context, caller)
        return charge(house, tx, permit, endpoint, subjects=subjects, amount=rows)

    return pay


def subjects_of(context: Context, caller: Caller) -> dict[str, str]:
    """Return what a caller is counted under, as gateways count them."""
    key = caller.credential_id or caller.id
    try:
        made_with = context.credential(caller.credential_id).made_with
    except NotFoundError:
        made_with = ""
    return {
        "key": f"{caller.id}/{made_with}" if made_with else key,
        "principal": caller.id,
        "network": network_of(caller.source),
        "endpoint": "all",
    }


def _take(house: House, endpoint: Endpoint, subjects: dict[str, str]) -> None:
    limiter, now_s = house.batch_rates, time.monotonic()
    buckets = [("key", float(endpoint.rate_per_s), float(endpoint.burst))]
    buckets += [
        (one.per, one.requests / one.per_s, float(one.burst or one.requests))
        for one in endpoint.rates
    ]
    taken: list[tuple[tuple[str, str], float]] = []
    for per, rate_per_s, burst in buckets:
        key = (f"{per}:{subjects[per]}", endpoint.id)
        try:
            limiter.take(key, rate_per_s=rate_per_s, burst=burst, now_s=now_s)
        except LimitExceededError as error:
            for other, rate in taken:
                limiter.give_back(other, rate_per_s=rate)
            wait_s = 1 if error.retry_after_s is None else math.ceil(error.retry_after_s)
            raise LimitExceededError(
                f"batches come faster than the endpoint's rate per {per}: {wait_s} s until the"
                " next",
                code="score.rate",
                retry_after_s=wait_s,
            ) from error
        taken.append((key, rate_per_s))
