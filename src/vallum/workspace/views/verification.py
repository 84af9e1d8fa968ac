"""`verify`: every row explained by an entry, every object there and whole, the log intact."""

import base64

import msgspec

from vallum.audit import verify_log
from vallum.base import VallumError
from vallum.crypto import WrappedKey
from vallum.guard import Decisions, count_decisions, unpack_decisions
from vallum.schema import (
    Artifact,
    AssetVersion,
    BatchProgress,
    EntryKind,
    ImageInventory,
    Job,
    Part,
    ScoringCode,
    WrappedDataKey,
    api,
)
from vallum.store import Snapshot
from vallum.workspace.capture_books import capture_parts
from vallum.workspace.context import INVENTORY, VERSION_KINDS, Context
from vallum.workspace.house import House

SYSTEM_VERIFY = "system-verify"
CONTENT = "content"


class _Closed(msgspec.Struct, frozen=True):
    """Of a closed bundle's details."""

    answered: int
    refused: int
    root: str
    records: str


def verify_everything(house: House, *, objects: bool) -> api.Verification:
    """Check the log, then that its changes amount to exactly the rows, then the objects."""
    with house.database.snapshot() as snapshot:
        report, entries = verify_log(snapshot, house.log, house.tiles, house.anchors)
        findings = list(report.findings)
        explained: dict[tuple[str, str], str] = {}
        for entry in entries:
            for change in entry.changes:
                if change.mac:
                    explained[change.kind, change.id] = change.mac
                else:
                    explained.pop((change.kind, change.id), None)
        found: dict[tuple[str, str], str] = {}
        try:
            for kind, identity, mac in house.records.verify_rows(snapshot):
                found[kind, identity] = mac
        except VallumError as error:
            findings.append(api.VerifyFinding(code=error.code, message=error.message))
        try:
            house.records.load_authority(snapshot)
        except VallumError as error:
            findings.append(api.VerifyFinding(code=error.code, message=error.message))
        for kind, identity in sorted({*explained, *found}):
            wanted, held = explained.get((kind, identity)), found.get((kind, identity))
            if wanted == held or (wanted and held and kind == "metric-bundle"):
                continue  # an open bundle takes points in without an entry until it is closed
            what = f"{kind} `{identity}`"
            if held is None:
                findings.append(
                    api.VerifyFinding(code="store.row-missing", message=f"{what} is missing")
                )
            elif wanted is None:
                findings.append(
                    api.VerifyFinding(
                        code="store.row-unexplained", message=f"no entry explains {what}"
                    )
                )
            else:
                findings.append(
                    api.VerifyFinding(
                        code="store.row-changed", message=f"{what} is not what its entry made"
                    )
                )
        findings.extend(_check_bundles(house, snapshot))
        parts = _parts(house, snapshot, findings)
    checked = 0
    if objects:
        checked = len(parts)
        findings.extend(_check_objects(house, parts))
    return api.Verification(
        entries=report.size,
        records=len(found),
        objects=checked,
        root=report.root.hex(),
        findings=tuple(findings),
    )


def _check_bundles(house: House, snapshot: Snapshot) -> list[api.VerifyFinding]:
    """Recompute root and counts of every closed bundle from the decisions kept with it."""
    findings = []
    after = -1
    while page := house.log.entries(snapshot, after=after, limit=1000):
        for logged in page:
            if logged.entry.kind is not EntryKind.BUNDLE_CLOSED or logged.entry.step != "score":
                continue  # what a bundle of metrics held is a row, which the entry names
            try:
                kept = house.log.details(snapshot, logged)
                if kept is None:  # erased
                    continue
                said = msgspec.json.decode(kept, type=_Closed)
                total = said.answered + said.refused
                records = unpack_decisions(base64.b64decode(said.records, validate=True), total)
                right = count_decisions(records) == Decisions(
                    said.answered, said.refused, said.root
                )
            except (VallumError, ValueError):  # msgspec's and binascii's are ValueErrors too
                right = False
            if not right:
                findings.append(
                    api.VerifyFinding(
                        code="bundle.root",
                        message=f"the decisions of bundle entry {logged.index} are not its root's",
                        position=logged.index,
                    )
                )
        after = page[-1].index
    return findings


def _parts(
    house: House, snapshot: Snapshot, findings: list[api.VerifyFinding]
) -> list[tuple[str, Part]]:
    parts: list[tuple[str, Part]] = []
    try:
        context = Context(records=house.records, snapshot=snapshot, workspace_id=house.workspace_id)
        for kind in VERSION_KINDS:
            for version in context.all(kind, AssetVersion):
                parts.extend((version.id, part) for part in version.parts)
        for job in context.all("job", Job):
            parts.append((job.id, job.code))
            if job.logs is not None:
                parts.append((job.id, job.logs))
        parts.extend((one.id, one.content) for one in context.all("artifact", Artifact))
        for progress in context.all("batch-progress", BatchProgress):
            parts.extend((progress.id, part) for part in progress.pieces)
        parts.extend((one.id, one.part) for one in context.all(INVENTORY, ImageInventory))
        parts.extend(capture_parts(context))
        for code in context.all("scoring-code", ScoringCode):
            parts.extend((code.id, part) for part in code.parts)
    except VallumError as error:
        findings.append(api.VerifyFinding(code=error.code, message=error.message))
    return parts


def _check_objects(house: House, parts: list[tuple[str, Part]]) -> list[api.VerifyFinding]:
    """Read every object to its end and compare its digest."""
    findings: list[api.VerifyFinding] = []
    with house.log.transaction() as tx:
        permit = house.log.system_permit(
            tx,
            step="workspace.verify",
            kind=EntryKind.DECISION,
            principal_id=SYSTEM_VERIFY,
            resources=(house.workspace_id,),
            lifetime_s=3600.0,
        )
        house.log.seal(tx, permit)
    erased = house.erasures.read()
    for subject_id, part in parts:
        try:
            with house.database.snapshot() as snapshot:
                row = house.records.get(snapshot, "wrapped-key", subject_id, WrappedDataKey)
            key = house.keyring.unwrap(
                permit,
                msgspec.convert(row.wrapped, WrappedKey),
                subject_id,
                CONTENT,
                on=house.workspace_id,
            )
            house.objects.verify(
                permit, version_id=subject_id, part=part, data_key=key, on=house.workspace_id
            )
        except VallumError as error:
            if error.code == "crypto.erased" and subject_id in erased:
                continue  # a backup from before its erasure: `restore` removes the row again
            findings.append(
                api.VerifyFinding(
                    code=error.code, message=f"`{part.part}` of {subject_id}: {error.message}"
                )
            )
    return findings
