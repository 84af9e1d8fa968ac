"""Theft of a model by its answers: what callers are compared with, and what is left of an alarm."""

import secrets

import msgspec

from vallum.base import digest
from vallum.crypto import WrappedKey
from vallum.monitor import ExtractionProfile
from vallum.sandbox import run_check
from vallum.schema import Deployment, EntryKind, QueryWatch, Verdict, WrappedDataKey
from vallum.schema.serving import ExtractionSeen
from vallum.store import chunks
from vallum.workspace.context import Context
from vallum.workspace.gates.table import (
    ALLOWED,
    EXTRACTION_WATCH,
    LEARN_QUERIES,
    About,
    evidence,
)
from vallum.workspace.house import House
from vallum.workspace.versions import CONTENT

SYSTEM_GATEWAY = "system-gateway"


def learn_queries(house: House, watch: QueryWatch) -> bytes:
    """Return what the training data of a watched deployment look like, packed.

    It is learned anew for each gateway and never stored: it holds training records.

    Raises:
        NotFoundError: The data are gone.
        InputError: They are not the model's.
        GateError: The sandbox was killed, late or silent.
    """
    with house.log.transaction() as tx:
        context = Context(records=house.records, snapshot=tx, workspace_id=house.workspace_id)
        version = context.version_by_id(watch.data)
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
    profile = run_check(
        house.runner,
        LEARN_QUERIES,
        b"".join(chunks(reader)),
        report_type=ExtractionProfile,
        allowed=ALLOWED,
        arguments={
            "kind": version.format,
            "label_column": watch.label_column,
            "features": list(watch.features),
            "seed": secrets.randbits(63),  # which features are looked at is nobody's to know
        },
    )
    return msgspec.msgpack.encode(profile)


def log_theft(house: House, seen: ExtractionSeen) -> None:
    """Log that a caller looks like a thief, and leave it as evidence about the model."""
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
            error=f"extraction.{seen.statistic[:32]}",
        )
        left = evidence(
            EXTRACTION_WATCH,
            Verdict.FAIL,
            About(version.id, version.digest, now),
            measures={
                "value": seen.value,
                "threshold": seen.threshold,
                "queries": seen.queries,
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
