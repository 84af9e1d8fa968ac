"""Watched callers: what their queries are compared with, and what is left of an alarm."""

import secrets
from collections.abc import Mapping
from typing import TypeVar

import msgspec

from vallum.base import InputError, digest
from vallum.crypto import WrappedKey
from vallum.monitor import CanaryRecords, WatchProfile
from vallum.sandbox import run_check
from vallum.schema import (
    Deployment,
    EntryKind,
    QueryWatch,
    Record,
    Verdict,
    WrappedDataKey,
)
from vallum.schema.serving import CallerSeen
from vallum.store import chunks
from vallum.workspace.context import Context
from vallum.workspace.gates.table import (
    ALLOWED,
    CANARY_WATCH,
    EVASION_WATCH,
    EXTRACTION_WATCH,
    LEARN_QUERIES,
    READ_CANARIES,
    About,
    evidence,
)
from vallum.workspace.house import House
from vallum.workspace.versions import CONTENT

SYSTEM_GATEWAY = "system-gateway"
_GATES = {"extraction": EXTRACTION_WATCH, "evasion": EVASION_WATCH, "canary": CANARY_WATCH}
R = TypeVar("R", bound=Record)


def learn_queries(house: House, watch: QueryWatch) -> bytes:
    """Return what the data of a watched deployment look like, packed.

    It is learned anew for each gateway and never stored: it holds training records.

    Raises:
        NotFoundError: The data are gone.
        InputError: They are not the model's.
        GateError: The sandbox was killed, late or silent.
    """
    columns = {"label_column": watch.label_column, "features": list(watch.features)}
    # Which features and records are looked at is nobody's to know.
    more = {"seed": secrets.randbits(63), "evasion": bool(watch.on_evasion)}
    found = _checked(house, watch.data, LEARN_QUERIES, WatchProfile, {**columns, **more})
    if watch.canaries:
        planted = _checked(house, watch.canaries, READ_CANARIES, CanaryRecords, columns)
        if planted.width != found.extraction.width:
            raise InputError(
                f"canaries have {planted.width} features, the watched data"
                f" {found.extraction.width}",
                code="canary.records",
            )
        found = msgspec.structs.replace(found, canaries=planted.rows)
    return msgspec.msgpack.encode(found)


def _checked(
    house: House,
    version_id: str,
    function: str,
    report_type: type[R],
    arguments: Mapping[str, object],
) -> R:
    """Read a table in the sandbox, for the gateway."""
    with house.log.transaction() as tx:
        context = Context(records=house.records, snapshot=tx, workspace_id=house.workspace_id)
        version = context.version_by_id(version_id)
        row = house.records.get(tx, "wrapped-key", version.id, WrappedDataKey)
        permit = house.log.system_permit(
            tx,
            step="endpoint.load",
            kind=EntryKind.DECISION,
            principal_id=SYSTEM_GATEWAY,
            resources=(version.id,),
            actions=("data/versions/content/read",),
        )
        house.log.seal(tx, permit)
    wrapped = msgspec.convert(row.wrapped, WrappedKey)
    key = house.keyring.unwrap(permit, wrapped, version.id, CONTENT)
    table = version.parts[0]  # the others say what was found in it
    reader = house.objects.open(permit, version_id=version.id, part=table, data_key=key)
    return run_check(
        house.runner,
        function,
        b"".join(chunks(reader)),
        report_type=report_type,
        allowed=ALLOWED,
        arguments={"kind": version.format, **arguments},
    )


def log_caller(house: House, seen: CallerSeen) -> None:
    """Log what a caller's queries look like, and leave it as evidence about the model.

    Raises:
        NotFoundError: The deployment is gone.
        InputError: There is no such watch.
    """
    gate = _GATES.get(seen.watch)
    if gate is None:
        raise InputError("there is no such watch", code="watch.unknown")
    now = house.clock.now()
    with house.log.transaction() as tx:
        context = Context(records=house.records, snapshot=tx, workspace_id=house.workspace_id)
        deployment = house.records.get(tx, "deployment", seen.deployment_id, Deployment)
        version = context.version_by_id(deployment.model_version_id)
        permit = house.log.system_permit(
            tx,
            step="score",
            kind=EntryKind.FINDING,
            principal_id=SYSTEM_GATEWAY,
            resources=(version.id, deployment.endpoint_id, deployment.id),
            error=f"{seen.watch}.{seen.statistic[:32]}",
        )
        left = evidence(
            gate,
            Verdict.FAIL,
            About(version.id, version.digest, now),
            measures={
                "value": seen.value,
                "threshold": seen.threshold,
                "queries": seen.queries,
                **{f"sign_{name[:32]}": count for name, count in sorted(seen.signs.items())[:8]},
            },
            parameters={
                "statistic": seen.statistic,
                "response": seen.response,
                "caller": seen.principal_id,
                "credential": seen.credential_id,
                "deployment": deployment.id,
            },
            issuer=SYSTEM_GATEWAY,
        )
        change = house.records.put(
            tx, permit, "evidence", left, on=version.id, parent_id=left.subject_digest
        )
        house.log.seal(
            tx,
            permit,
            changes=[change],
            evidence=[digest(msgspec.json.encode(left))],
            details={**left.parameters, **left.measures},
        )
