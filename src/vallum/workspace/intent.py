"""Intents: what is under way outside a transaction, and how a crash is settled.

Nothing that a long step prepares is visible before it commits, so an intent without an outcome
is always rolled back: the objects that it staged are swept, and the log says so.
"""

from collections.abc import Sequence
from datetime import timedelta

import msgspec

from vallum.base import digest
from vallum.schema import (
    Artifact,
    AssetVersion,
    BatchProgress,
    EntryKind,
    Evidence,
    ImageInventory,
    Job,
    JobState,
    Part,
    Record,
    ScoringCode,
)
from vallum.workspace.capture_books import capture_parts
from vallum.workspace.context import INVENTORY, VERSION_KINDS, Context
from vallum.workspace.house import House
from vallum.workspace.scoring import drop_stale
from vallum.workspace.versions import settle_erasures

SYSTEM_SETTLEMENT = "system-settlement"


class Intent(Record, frozen=True):
    """A long step under way."""

    id: str
    step: str
    principal_id: str


def settle(
    house: House,
    intent: Intent,
    *,
    code: str,
    failed: Sequence[Evidence] = (),
    request_id: str = "",
    kind: EntryKind = EntryKind.OUTCOME,
) -> None:
    """Close an intent that did not commit; failing evidence stays on record."""
    with house.log.transaction() as tx:
        permit = house.log.system_permit(
            tx,
            step=intent.step,
            kind=kind,
            principal_id=SYSTEM_SETTLEMENT,
            resources=(house.workspace_id,),
            intent_id=intent.id,
            request_id=request_id,
            error=code,
        )
        changes = [
            house.records.put(
                tx,
                permit,
                "evidence",
                one,
                on=house.workspace_id,
                parent_id=one.subject_digest,
            )
            for one in failed
        ]
        changes.append(house.records.remove(tx, permit, "intent", intent.id, on=house.workspace_id))
        house.log.seal(
            tx,
            permit,
            changes=changes,
            evidence=tuple(digest(msgspec.json.encode(one)) for one in failed),
        )


def settle_all(house: House) -> int:
    """Settle what a crash left: open intents, running jobs, objects that nothing refers to.

    Returns:
        How many intents and jobs were settled.
    """
    with house.database.snapshot() as snapshot:
        intents = house.records.list(snapshot, "intent", Intent, limit=100_000)
        jobs = [
            job
            for job in house.records.list(snapshot, "job", Job, limit=100_000)
            if job.state is JobState.RUNNING
        ]
    for intent in intents:
        settle(house, intent, code="settled.crash", kind=EntryKind.SETTLEMENT)
    for job in jobs:
        _requeue(house, job)
    settle_erasures(house)
    drop_stale(house)
    _sweep(house)
    return len(intents) + len(jobs)


def published_parts(house: House) -> list[Part]:
    """Return every part that a row refers to."""
    parts: list[Part] = []
    with house.database.snapshot() as snapshot:
        context = Context(records=house.records, snapshot=snapshot, workspace_id=house.workspace_id)
        for kind in VERSION_KINDS:
            for version in context.all(kind, AssetVersion):
                parts.extend(version.parts)
        for job in context.all("job", Job):
            parts.append(job.code)
            if job.logs is not None:
                parts.append(job.logs)
        parts.extend(one.content for one in context.all("artifact", Artifact))
        for progress in context.all("batch-progress", BatchProgress):
            parts.extend(progress.pieces)
        parts.extend(one.part for one in context.all(INVENTORY, ImageInventory))
        parts.extend(part for _, part in capture_parts(context))
        for code in context.all("scoring-code", ScoringCode):
            parts.extend(code.parts)
    return parts


def _sweep(house: House) -> None:
    """Remove what no row refers to: nothing is under way while the workspace opens."""
    with house.log.transaction() as tx:
        permit = house.log.system_permit(
            tx,
            step="workspace.sweep",
            kind=EntryKind.SETTLEMENT,
            principal_id=SYSTEM_SETTLEMENT,
            resources=(house.workspace_id,),
        )
        removed = house.objects.sweep(
            permit,
            published_parts(house),
            on=house.workspace_id,
            before=house.clock.now() + timedelta(days=1),
        )
        house.log.seal(tx, permit, details={"removed": len(removed)})


def _requeue(house: House, job: Job) -> None:
    """A job whose worker died begins again: it has published nothing."""
    with house.log.transaction() as tx:
        permit = house.log.system_permit(
            tx,
            step="job.run",
            kind=EntryKind.SETTLEMENT,
            principal_id=SYSTEM_SETTLEMENT,
            resources=(job.id,),
            error="settled.crash",
        )
        change = house.records.put(
            tx,
            permit,
            "job",
            msgspec.structs.replace(job, state=JobState.QUEUED, claimed_by="", started_at=""),
            on=job.id,
            parent_id=house.workspace_id,
            name=job.name,
        )
        house.log.seal(tx, permit, changes=[change])
