"""Where scoring code may connect to by the policy file, and what it connected to, in the log."""

from collections.abc import Iterable

import msgspec

from vallum.base import NotFoundError, check_networks
from vallum.base.egress import host_and_port, is_address
from vallum.policy import Requirements
from vallum.schema import Deployment, EntryKind
from vallum.schema.serving import ConnectionCount, Way
from vallum.store import Snapshot
from vallum.workspace.house import House
from vallum.workspace.watches import SYSTEM_GATEWAY

_REFUSED = frozenset({"egress.address", "egress.host", "egress.refused", "egress.request"})


def ways_of(requirements: Requirements, endpoint: str) -> tuple[Way, ...]:
    """Return where scoring code of an endpoint may connect to; nowhere without a rule."""
    return tuple(
        Way(
            host=one.host,
            port=one.port,
            # An address that a rule names is approved whatever it is.
            networks=check_networks((one.host,)) if is_address(one.host) else one.networks,
        )
        for one in requirements.egress
        if one.endpoint == endpoint
    )


def texts_of(ways: Iterable[Way]) -> tuple[str, ...]:
    """Return ways as people read them."""
    return tuple(host_and_port(one.host, one.port) for one in ways)


def log_connections(house: House, counts: Iterable[ConnectionCount]) -> None:
    """Log what code connected to, and apart from that what it was refused."""
    apart: dict[tuple[str, bool], list[ConnectionCount]] = {}
    for one in counts:
        apart.setdefault((one.deployment_id, one.code in _REFUSED), []).append(one)
    with house.log.transaction() as tx:
        for (deployment_id, refused), rows in apart.items():
            house.log.note(
                tx,
                kind=EntryKind.FINDING if refused else EntryKind.DECISION,
                step="egress",
                principal_id=SYSTEM_GATEWAY,
                resources=(*_endpoint_of(house, tx, deployment_id), deployment_id),
                error="egress.refused" if refused else "",
                allowed=not refused,
                details={
                    "connections": [
                        {
                            name: value
                            for name, value in msgspec.to_builtins(one).items()
                            if name != "deployment_id"
                        }
                        for one in rows
                    ]
                },
            )


def _endpoint_of(house: House, snapshot: Snapshot, deployment_id: str) -> tuple[str, ...]:
    try:
        held = house.records.get(snapshot, "deployment", deployment_id, Deployment)
    except NotFoundError:  # it is gone, and what it did is not
        return ()
    return (held.endpoint_id,)
