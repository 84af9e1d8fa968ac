"""The erasure of a person: found by keyed index, left out of new versions, shredded in old ones."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import msgspec

from vallum.base import ConflictError, InputError, new_id, timestamp
from vallum.crypto import Purpose
from vallum.privacy.dp.gate import sketched
from vallum.privacy.people import digest_of, holds, parse_identifiers
from vallum.schema import (
    Ask,
    Asset,
    AssetVersion,
    Caller,
    EntryKind,
    Part,
    PrivateData,
    WrappedDataKey,
)
from vallum.schema import views as wire
from vallum.workspace.context import Context, ask
from vallum.workspace.gates.table import RELEASE
from vallum.workspace.gates.tables import (
    PEOPLE_PART,
    Inspection,
    forget_people,
    inspect_table,
    people_key,
)
from vallum.workspace.step import Act, Length, Step, Work
from vallum.workspace.versions import (
    content_chunks,
    erase_versions,
    manifest_digest,
    publish,
    stage,
)

_READING = frozenset({"data.download", "data.read", "data.unmask", "job.submit"})
_SURVIVES = (
    "models that were trained on the erased versions: they are listed, and can be retrained",
    "what was downloaded before: those who did are listed",
    "answers and releases under differential privacy, which bound what they tell of any one person",
    "copies of the key folder that were made before: make new ones and destroy those",
)


def _every(context: Context) -> list[AssetVersion]:
    return context.all("data-version", AssetVersion)


def _asks(context: Context, args: wire.DataForget, caller: Caller) -> Sequence[Ask]:
    action = "data/versions/forget/action"
    versions = [context.version_resource(one) for one in _every(context)]
    assets = [
        context.asset_resource(one)
        for one in context.all("data", Asset, parent_id=context.workspace_id)
    ]
    return ask(action, context.workspace(), *assets, *versions)


@dataclass(frozen=True, slots=True)
class _Renewed:
    """What will stand for the newest version of an asset."""

    old: AssetVersion
    version_id: str
    wrapped: WrappedDataKey
    parts: tuple[Part, ...]
    inspection: Inspection


@dataclass(frozen=True, slots=True)
class _Found:
    searched: frozenset[str]  # version ids
    holders: dict[str, int]  # version id to records of the person
    renewed: dict[str, _Renewed]  # version id to what stands for it


def _prepare(work: Work, args: wire.DataForget) -> _Found:
    if not args.reason.strip():
        raise InputError("erasing needs a reason", code="data.reason", hint="--reason 'request 17'")
    identifiers = parse_identifiers(args.identifiers)
    key = people_key(work.house)
    digests = [digest_of(key, name, value) for name, value in identifiers]
    named = {name.casefold() for name, _ in identifiers}
    versions = work.read(_every)
    newest = {
        asset_id: max(one.version for one in versions if one.asset_id == asset_id)
        for asset_id in {one.asset_id for one in versions}
    }
    holders: dict[str, int] = {}
    renewed: dict[str, _Renewed] = {}
    for version in versions:
        if not _may_hold(work, version, digests, named):
            continue
        table = b"".join(content_chunks(work, version, version.parts[0]))
        made = forget_people(work.house, table, version.format, args.identifiers)
        if not made.removed:
            continue
        holders[version.id] = made.removed
        if version.version != newest[version.asset_id] or not made.rows:
            continue
        inspection = inspect_table(work.house, made.table, version.format)
        version_id = str(new_id("dver"))
        wrapped, parts = stage(
            work, version_id, [(version.parts[0].part, made.table), *inspection.index()],
            personal=True,
        )  # fmt: skip
        renewed[version.id] = _Renewed(version, version_id, wrapped, parts, inspection)
    return _Found(frozenset(one.id for one in versions), holders, renewed)


def _may_hold(work: Work, version: AssetVersion, digests: Sequence[bytes], named: set[str]) -> bool:
    """Tell from the index; without one, or for a column that it has not, the table is searched."""
    index = next((part for part in version.parts if part.part == PEOPLE_PART), None)
    if index is None or named & {column.casefold() for column in version.columns}:
        return True
    return holds(b"".join(content_chunks(work, version, index)), digests)


def _derived(context: Context, holders: Iterable[str]) -> list[AssetVersion]:
    """Return every version that was made from a holder, in the end."""
    every = [one for one in _every(context) if not _released(context, one)]
    every += context.all("model-version", AssetVersion)
    seen = set(holders)
    found: list[AssetVersion] = []
    waiting = list(seen)
    while waiting:
        source = waiting.pop()
        for one in every:
            if source in one.lineage and one.id not in seen:
                seen.add(one.id)
                found.append(one)
                waiting.append(one.id)
    return found


def _released(context: Context, version: AssetVersion) -> bool:
    """Tell whether a version holds noisy figures, or records made up from them, only."""
    return any(one.gate == RELEASE.name for one in context.evidence(version.digest))


def _act(act: Act, args: wire.DataForget, found: _Found) -> wire.ErasureCertificate:
    context = act.context
    every = _every(context)
    if {one.id for one in every} != found.searched:
        # What came meanwhile was not searched, and what went may have been replaced.
        raise ConflictError("data came or went meanwhile", code="data.changed", hint="try again")
    held = [one for one in every if one.id in found.holders]
    derived = _derived(context, found.holders)
    made = [one for one in derived if one.kind == "data"]
    erased = []
    for one in held:
        new = found.renewed.get(one.id)
        number = None if new is None else _publish(act, new)
        erased.append(
            wire.ErasedVersion(
                id=one.id,
                name=one.name,
                version=one.version,
                why="held the person",
                removed=found.holders[one.id],
                replaced_by=number,
            )
        )
    erased += [
        wire.ErasedVersion(
            id=one.id, name=one.name, version=one.version, why="made from a version that did"
        )
        for one in made
    ]
    doomed = [*held, *made]
    _clear_sketches(act, args, found)
    readers = _readers(act, {one.id: f"{one.name}:{one.version}" for one in doomed})
    erase_versions(act, doomed, reason=args.reason)
    certificate = wire.ErasureCertificate(
        id=str(new_id("era")),
        made_at=timestamp(act.now),
        searched=len(found.searched),
        erased=tuple(erased),
        models=tuple(f"{one.name}:{one.version}" for one in derived if one.kind == "model"),
        readers=readers,
        survives=_SURVIVES if doomed else (),
    )
    act.details["certificate"] = msgspec.to_builtins(certificate)
    act.details["reason"] = args.reason
    return certificate


def _publish(act: Act, new: _Renewed) -> int:
    """Publish a version without the person, in the place and with the label of the old one."""
    old = new.old
    digest = manifest_digest(new.parts)
    version = msgspec.structs.replace(
        old,
        id=new.version_id,
        version=old.version + 1,
        digest=digest,
        parts=new.parts,
        created_at=timestamp(act.now),
        created_by=act.caller.id,
        rows=new.inspection.rows,
        columns=new.inspection.columns,
    )
    evidence = new.inspection.evidence(subject_id=version.id, subject_digest=digest, now=act.now)
    publish(act, version, new.wrapped, evidence, on=old.asset_id)
    return version.version


def _clear_sketches(act: Act, args: wire.DataForget, found: _Found) -> None:
    """Take the person out of what tells overlapping tables; move declarations to the new ones.

    What was spent on a population stays spent: its sketch stays, without the person.
    """
    key = act.house.keyring.derive(Purpose.COMMITMENT, info=b"dp-sketch").reveal()
    person = {sketched(key, value) for _, value in parse_identifiers(args.identifiers)}
    for row in act.context.all("private-data", PrivateData):
        new = found.renewed.get(row.id)
        left = msgspec.structs.replace(
            row, sketch=tuple(one for one in row.sketch if one not in person)
        )
        if new is not None:
            moved = msgspec.structs.replace(left, id=new.version_id)
            act.put("private-data", moved, on=new.old.asset_id, parent_id=new.old.asset_id)
        if left != row and act.context.resource_of(row.id) is not None:
            version = act.context.version_by_id(row.id)
            act.put("private-data", left, on=version.id, parent_id=version.asset_id)


def _readers(act: Act, names: dict[str, str]) -> tuple[str, ...]:
    """Return from the log who read what is erased, and so may hold a copy."""
    found: dict[str, None] = {}
    after = -1
    while page := act.house.log.entries(act.tx, after=after, limit=1000):
        for logged in page:
            entry = logged.entry
            if entry.step not in _READING or not entry.allowed:
                continue
            for resource in entry.resources:
                name = names.get(resource.partition("/")[0])
                if name is not None and entry.kind is not EntryKind.INTENT:
                    found[f"{entry.principal_id} {entry.step} {name} {entry.at}"] = None
        after = page[-1].index
    return tuple(found)


STEPS = (
    Step("data.forget", wire.DataForget, _asks, _act, length=Length.LONG, prepare=_prepare,
         threat="data-leakage"),
)  # fmt: skip
