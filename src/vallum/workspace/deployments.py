"""The life of a deployment: it starts beside what answers, and takes its share once it runs.

A deployment of a name that already answers is kept beside that one, without a name of its own in
the index, until a gateway says that it runs: only then does it take the place. One that does not
start leaves everything as it was.
"""

import contextlib
from typing import Final

import msgspec

from vallum.base import InputError, NotFoundError, Permit
from vallum.schema import Change, Deployment, DeploymentState, Endpoint
from vallum.store import Transaction
from vallum.workspace.context import Context

LIVE: Final = frozenset({DeploymentState.STARTING, DeploymentState.RUNNING})
"""Of which gateways hold a model."""


def index_name(one: Deployment) -> str:
    """Return the name that a deployment is found by; none as long as another one answers to it."""
    return "" if one.replaces else one.name


def by_name(context: Context, endpoint: Endpoint) -> dict[str, Deployment]:
    """Return the deployments that answer to their name, without those that wait for a place."""
    return {one.name: one for one in context.deployments(endpoint) if not one.replaces}


def share_out(traffic: dict[str, int], name: str, share: int) -> dict[str, int]:
    """Give `name` its share and scale the others so that all sum to 0 or 100.

    Raises:
        InputError: It is the only one, and gets a part.
    """
    others = {other: part for other, part in traffic.items() if other != name}
    rest = 100 - share
    held = sum(others.values())
    scaled = {other: rest * part // held if held else 0 for other, part in others.items()}
    missing = rest - sum(scaled.values())
    if scaled and held:
        first = max(scaled, key=lambda other: scaled[other])
        scaled[first] += missing
    elif share not in {0, 100}:
        raise InputError("the only deployment takes 0 or 100 per cent", code="deploy.traffic")
    return {**scaled, name: share}


def take_over(
    context: Context, tx: Transaction, permit: Permit, starting: Deployment
) -> tuple[list[Change], dict[str, object]]:
    """Give a deployment that runs its place and its share; return what changed, and details."""
    records, on = context.records, starting.endpoint_id
    endpoint = records.get(tx, "endpoint", on, Endpoint)
    changes = []
    if starting.replaces:
        with contextlib.suppress(NotFoundError):  # it was deleted meanwhile
            changes.append(records.remove(tx, permit, "deployment", starting.replaces, on=on))
    running = msgspec.structs.replace(
        starting, state=DeploymentState.RUNNING, replaces="", reason=""
    )
    changes.append(
        records.put(tx, permit, "deployment", running, on=on, parent_id=on, name=running.name)
    )
    share = 0 if running.name in endpoint.mirror else running.share
    try:
        traffic = share_out(endpoint.traffic, running.name, share)
    except InputError:  # the others went meanwhile
        traffic = {**endpoint.traffic, running.name: 100}
    details: dict[str, object] = {
        "deployment": running.id,
        "replaced": starting.replaces,
        "traffic": {"from": endpoint.traffic, "to": traffic},
    }
    changes.append(
        records.put(
            tx, permit, "endpoint", msgspec.structs.replace(endpoint, traffic=traffic),
            on=on, parent_id=context.workspace_id, name=endpoint.name,
        )
    )  # fmt: skip
    return changes, details
