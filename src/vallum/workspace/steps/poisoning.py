"""Steps against poisoned data: look, quarantine, read why, and step back to a clean version."""

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from vallum.base import ConflictError, InputError, NotFoundError, check_name, new_id, timestamp
from vallum.defend.gate import EARLIER, Contribution, PoisonInspection, QuarantinedTable, Suspect
from vallum.schema import (
    Alias,
    Ask,
    AssetVersion,
    Caller,
    Evidence,
    Part,
    Resource,
    Verdict,
    WrappedDataKey,
    api,
)
from vallum.schema import poisoning as wire
from vallum.workspace.context import Context, ask
from vallum.workspace.gates.poisoning import (
    inspect_poisoning,
    poisoning_evidence,
    quarantine_rows,
)
from vallum.workspace.gates.table import POISONING
from vallum.workspace.gates.tables import Inspection, inspect_table
from vallum.workspace.step import Act, Effect, Length, Step, Work
from vallum.workspace.steps.affected import affected_by, job_name
from vallum.workspace.versions import (
    READ_ACTIONS,
    content_chunks,
    manifest_digest,
    publish,
    shown,
    stage,
)

QUARANTINE_PART = "_quarantine.json"
SHOWN_CONTRIBUTORS = 100
_RESERVED = ("latest",)
Looked = wire.DataCheck | wire.DataQuarantine


# -- looking ------------------------------------------------------------------------------------


def _subject(context: Context, args: Looked) -> AssetVersion:
    return context.version("data", args.name, args.version)


def _earlier(context: Context, version: AssetVersion) -> list[AssetVersion]:
    """Return the versions before one, the oldest first; too many are no question of one gate."""
    every = context.versions(context.asset("data", version.asset_id))
    before = sorted((one for one in every if one.version < version.version),
                    key=lambda one: one.version)  # fmt: skip
    if len(before) > EARLIER:
        raise InputError(
            f"{version.name} has more than {EARLIER} versions before this one", code="poison.by",
            hint="name the column that tells who contributed a row: --contributor COLUMN",
        )  # fmt: skip
    return before


def _check_asks(context: Context, args: Looked, caller: Caller) -> Sequence[Ask]:
    version = _subject(context, args)
    read = [version, *(_earlier(context, version) if args.by_version else ())]
    return (
        *ask("evidence/write", context.version_resource(version)),
        *ask("data/versions/content/read", *(context.version_resource(one) for one in read)),
    )


def _suspect(work: Work, version: AssetVersion, args: Looked) -> Suspect:
    before = work.read(lambda context: _earlier(context, version)) if args.by_version else []
    return Suspect(
        table=_content(work, version),
        kind=version.format,
        label=args.label_column,
        features=args.features,
        by=version.created_by,
        contributor=args.contributor,
        earlier=tuple(
            Contribution(one.created_by, one.format, _content(work, one)) for one in before
        ),
        by_version=args.by_version,
    )


def _content(work: Work, version: AssetVersion) -> bytes:
    return b"".join(content_chunks(work, version, version.parts[0]))


@dataclass(frozen=True, slots=True)
class _Looked:
    version: AssetVersion
    found: PoisonInspection
    evidence: Evidence


def _prepare_check(work: Work, args: wire.DataCheck) -> _Looked:
    version = work.read(lambda context: _subject(context, args))
    suspect = _suspect(work, version, args)
    found = inspect_poisoning(work.house, suspect, work.seed)
    made = poisoning_evidence(
        found, suspect, subject_id=version.id, subject_digest=version.digest, seed=work.seed,
        now=work.now,
    )  # fmt: skip
    return _Looked(version, found, made)


def _same(act: Act, args: Looked, version: AssetVersion) -> None:
    if _subject(act.context, args).id != version.id:
        raise ConflictError(
            f"{version.name} has another version meanwhile", code="data.changed",
            hint="name the version: NAME:VERSION",
        )  # fmt: skip


def _act_check(act: Act, args: wire.DataCheck, made: _Looked) -> wire.DataChecked:
    _same(act, args, made.version)
    act.leave(made.evidence, on=made.version.id)
    told = shown(act, made.version)
    return wire.DataChecked(
        version=told.version,
        evidence=told.evidence,
        aliases=told.aliases,
        contributors=made.found.contributors[:SHOWN_CONTRIBUTORS],
    )


# -- quarantine ---------------------------------------------------------------------------------


def _quarantine_asks(context: Context, args: wire.DataQuarantine, caller: Caller) -> Sequence[Ask]:
    asset = context.asset("data", _subject(context, args).asset_id)
    return (
        *_check_asks(context, args, caller),
        *ask("data/versions/write", context.asset_resource(asset)),
    )


@dataclass(frozen=True, slots=True)
class _Staged:
    version_id: str
    wrapped: WrappedDataKey
    parts: tuple[Part, ...]
    inspection: Inspection
    evidence: Evidence


@dataclass(frozen=True, slots=True)
class _Parted:
    source: AssetVersion
    found: QuarantinedTable
    evidence: Evidence
    staged: _Staged | None


def _prepare_quarantine(work: Work, args: wire.DataQuarantine) -> _Parted:
    source = work.read(lambda context: _subject(context, args))
    suspect = _suspect(work, source, args)
    found = quarantine_rows(work.house, suspect, work.seed)

    def told(inspection: PoisonInspection, identity: str, digest: str) -> Evidence:
        return poisoning_evidence(
            inspection, suspect, subject_id=identity, subject_digest=digest, seed=work.seed,
            now=work.now,
        )  # fmt: skip

    about = told(found.before, source.id, source.digest)
    if not found.report.rows:
        return _Parted(source, found, about, None)
    inspection = inspect_table(work.house, found.table, source.format)
    version_id = str(new_id("dver"))
    wrapped, parts = stage(
        work,
        version_id,
        [
            (source.parts[0].part, found.table),
            *inspection.index(),
            (QUARANTINE_PART, msgspec.json.encode(found.report)),
        ],
        personal=True,
    )
    made = told(found.after, version_id, manifest_digest(parts))
    return _Parted(source, found, about, _Staged(version_id, wrapped, parts, inspection, made))


def _act_quarantine(act: Act, args: wire.DataQuarantine, made: _Parted) -> wire.DataQuarantined:
    source, found = made.source, made.found
    _same(act, args, source)
    act.leave(made.evidence, on=source.id)
    number = None if made.staged is None else _publish(act, source, made.staged)
    act.details["quarantine"] = {"removed": len(found.report.rows), "kept": found.kept}
    return wire.DataQuarantined(
        name=source.name,
        source=source.version,
        version=number,
        removed=len(found.report.rows),
        kept=found.kept,
        reasons=found.before.reasons,
        suspicious=found.after.suspicious,
        contributors=found.report.contributors[:SHOWN_CONTRIBUTORS],
    )


def _publish(act: Act, source: AssetVersion, staged: _Staged) -> int:
    """Publish what was kept as the next version, under the label and purposes of its source."""
    asset = act.context.asset("data", source.asset_id)
    version = msgspec.structs.replace(
        source,
        id=staged.version_id,
        version=act.context.next_version(asset),
        digest=manifest_digest(staged.parts),
        parts=staged.parts,
        created_at=timestamp(act.now),
        created_by=act.caller.id,
        protected=False,  # fewer rows may be fewer than k
        rows=staged.inspection.rows,
        columns=staged.inspection.columns,
        lineage=(source.id,),
        makers=tuple(sorted({*source.makers, act.caller.id})),
    )
    evidence = staged.inspection.evidence(
        subject_id=version.id, subject_digest=version.digest, now=act.now
    )
    publish(act, version, staged.wrapped, (*evidence, staged.evidence), on=asset.id)
    return version.version


def _quarantined_asks(context: Context, args: api.Named, caller: Caller) -> Sequence[Ask]:
    version = context.version("data", args.name, args.version)
    return ask("data/versions/quarantine/read", context.version_resource(version))


def _act_quarantined(act: Act, args: api.Named) -> wire.DataQuarantineShown:
    version = act.context.version("data", args.name, args.version)
    part = next((one for one in version.parts if one.part == QUARANTINE_PART), None)
    if part is None:
        raise NotFoundError(
            f"{version.name}:{version.version} was not made by a quarantine",
            code="data.quarantine",
            hint=f"vallum data quarantine {version.name} --label-column COLUMN",
        )
    report = msgspec.json.decode(
        b"".join(content_chunks(act, version, part)), type=wire.QuarantineReport
    )
    return wire.DataQuarantineShown(
        name=version.name,
        version=version.version,
        source=_source(act, version),
        rows=report.rows,
        contributors=report.contributors,
    )


def _source(act: Act, version: AssetVersion) -> str:
    found = act.context.resource_of(version.lineage[0])
    if found is None or not act.may(READ_ACTIONS["data"], found):
        return ""
    source = act.context.version_by_id(found.id)
    return f"{source.name}:{source.version}"


# -- stepping back ------------------------------------------------------------------------------


def _state(context: Context, version: AssetVersion) -> Verdict | None:
    """Return the verdict that counts: one failure outweighs any pass, None if nobody looked."""
    verdicts = {
        one.verdict for one in context.evidence(version.digest) if one.gate == POISONING.name
    }
    if not verdicts:
        return None
    return Verdict.PASS if verdicts == {Verdict.PASS} else Verdict.FAIL


def _clean(context: Context, args: wire.DataRevert) -> AssetVersion | None:
    if args.version is not None or ":" in args.name:
        named = context.version("data", args.name, args.version)
        return named if _state(context, named) is Verdict.PASS else None
    every = context.versions(context.asset("data", args.name))
    passed = [one for one in every if _state(context, one) is Verdict.PASS]
    return max(passed, key=lambda one: one.version, default=None)


def _revert_asks(context: Context, args: wire.DataRevert, caller: Caller) -> Sequence[Ask]:
    clean = _clean(context, args)
    resource: Resource
    if clean is not None:
        resource = context.version_resource(clean)
    else:
        resource = context.asset_resource(context.asset("data", args.name.partition(":")[0]))
    return ask("data/versions/promote/action", resource)


def _act_revert(act: Act, args: wire.DataRevert) -> wire.DataReverted:
    context = act.context
    if check_name(args.alias, what="alias").lower() in _RESERVED or args.alias.isdecimal():
        raise InputError(
            f"`{args.alias}` would be taken for a version", code="data.alias",
            hint="use a word, such as trusted",
        )  # fmt: skip
    clean = _clean(context, args)
    if clean is None:
        raise InputError(
            f"no version of {args.name} passed `poisoning` without having failed it",
            code="data.not-clean",
            hint="vallum data check NAME:VERSION --label-column COLUMN",
        )
    asset = context.asset("data", clean.asset_id)
    old = context.records.find(act.tx, "alias", asset.id, args.alias, Alias)
    made = Alias(
        id=str(new_id("als")) if old is None else old.id,
        asset_id=asset.id,
        name=args.alias,
        version_id=clean.id,
        moved_at=timestamp(act.now),
        moved_by=act.caller.id,
    )
    act.put("alias", made, on=clean.id, parent_id=asset.id, name=made.name)
    act.details["alias"] = {"name": made.name, "from": "" if old is None else old.version_id}
    retrain, hidden = _retraining(act, clean)
    return wire.DataReverted(
        name=asset.name,
        version=clean.version,
        alias=made.name,
        before=None if old is None else context.version_by_id(old.version_id).version,
        retrain=retrain,
        hidden=hidden,
    )


def _retraining(act: Act, clean: AssetVersion) -> tuple[tuple[wire.Retraining, ...], int]:
    """Return the models that were made from a version which failed, and not from the clean one."""
    asset = act.context.asset("data", clean.asset_id)
    found: dict[str, wire.Retraining] = {}
    hidden: set[str] = set()
    for bad in act.context.versions(asset):
        if _state(act.context, bad) is not Verdict.FAIL:
            continue
        for one, _ in affected_by(act.context, bad.id).values():
            # Of what a quarantine of that version kept, nothing is to be trained again.
            if one.kind != "model" or clean.id in one.lineage:
                continue
            if not act.may(READ_ACTIONS["model"], act.context.version_resource(one)):
                hidden.add(one.id)
                continue
            found[one.id] = wire.Retraining(
                model=f"{one.name}:{one.version}",
                job=job_name(act, one),
                instead_of=f"{bad.name}:{bad.version}",
                on=f"{clean.name}:{clean.version}",
            )
    return tuple(sorted(found.values(), key=lambda one: one.model)), len(hidden)


STEPS = (
    Step("data.check", wire.DataCheck, _check_asks, _act_check, length=Length.LONG,
         prepare=_prepare_check, threat="data-poisoning"),
    Step("data.quarantine", wire.DataQuarantine, _quarantine_asks, _act_quarantine,
         length=Length.LONG, prepare=_prepare_quarantine, threat="data-poisoning"),
    Step("data.quarantined", api.Named, _quarantined_asks, _act_quarantined, Effect.READ),
    Step("data.revert", wire.DataRevert, _revert_asks, _act_revert, threat="data-poisoning"),
)  # fmt: skip
