"""What data and model versions have in common: staging, publishing, reading, deleting.

Objects are written before the committing transaction under random names that nothing refers to;
the row that `publish` writes makes them visible. What is not published is swept at start-up.
"""

import hashlib
import io
from collections.abc import Callable, Iterator, Sequence
from typing import BinaryIO

import msgspec

from vallum.base import ConflictError, Digest, NotFoundError, canonical_json, timestamp
from vallum.crypto import StreamReader, WrappedKey
from vallum.schema import (
    Alias,
    Asset,
    AssetVersion,
    BatchProgress,
    Deployment,
    Erasure,
    Evidence,
    ImageInventory,
    ModelCard,
    Part,
    Principal,
    RegisteredFrom,
    Texts,
    WrappedDataKey,
    api,
    release,
)
from vallum.store import chunks
from vallum.workspace import model_names
from vallum.workspace.context import INVENTORY, Context
from vallum.workspace.deployments import LIVE
from vallum.workspace.house import House
from vallum.workspace.release_keys import standing
from vallum.workspace.step import Act, Work

CONTENT = "content"  # purpose that a version's data key is wrapped for
READ_ACTIONS = {
    "data": "data/versions/read",
    "environment": "environments/versions/read",
    "model": "models/versions/read",
}


def stage(
    work: Work,
    version_id: str,
    files: Sequence[tuple[str, BinaryIO | bytes]],
    *,
    personal: bool,
) -> tuple[WrappedDataKey, tuple[Part, ...]]:
    """Encrypt `files` to objects that nothing refers to yet.

    Args:
        work: The long step.
        version_id: Version to be.
        files: Path within the version, and content.
        personal: Digests become keyed commitments: no plain digest of personal data exists.
    """
    house = work.house
    data_key, wrapped = house.keyring.new_data_key(version_id, CONTENT)
    parts = []
    for name, content in files:
        source = io.BytesIO(content) if isinstance(content, bytes) else content
        part = house.objects.write(
            work.permit,
            on=work.on,
            version_id=version_id,
            part=name,
            source=source,
            data_key=data_key,
            personal=personal,
        )
        parts.append(part)
        work.undo.append(lambda part=part: house.objects.discard(part))  # type: ignore[misc]  # default binds the loop variable
    row = WrappedDataKey(id=version_id, wrapped=msgspec.to_builtins(wrapped))
    return row, tuple(parts)


def served_part(version: AssetVersion) -> Part | None:
    """Return the ONNX file of a model that endpoints run; None where there is none, or several.

    That is the file of a version of one, or the one ONNX file of a folder, as MLflow writes it.
    """
    if version.format == "onnx" and len(version.parts) == 1:
        return version.parts[0]
    graphs = [part for part in version.parts if part.part.endswith(".onnx")]
    whole = version.format == "folder" and version.interface is not None  # the scan found one
    return graphs[0] if whole and len(graphs) == 1 else None


def manifest_digest(parts: Sequence[Part]) -> Digest:
    """Return the digest that names a version: over path, length and digest of every part."""
    manifest = [
        {"part": part.part, "length": part.length, "digest": part.digest}
        for part in sorted(parts, key=lambda part: part.part)
    ]
    return Digest("sha256:" + hashlib.sha256(canonical_json(manifest)).hexdigest())


def publish(
    act: Act,
    version: AssetVersion,
    wrapped: WrappedDataKey,
    evidence: Sequence[Evidence],
    *,
    on: str,
) -> None:
    """Make a staged version visible, with its key and the evidence about it."""
    act.put(
        f"{version.kind}-version",
        version,
        on=on,
        parent_id=version.asset_id,
        name=str(version.version),
    )
    put_key(act, wrapped, on=on)
    for one in evidence:
        act.leave(one, on=on)


def put_key(act: Act, row: WrappedDataKey, *, on: str) -> None:
    """Store a data key that was wrapped before the transaction, under the newest generation.

    Raises:
        SealedError: The generation that wrapped it was destroyed meanwhile: nothing is published
            that could not be read again.
    """
    house = act.house
    wrapped = msgspec.convert(row.wrapped, WrappedKey)
    renewed = house.keyring.rewrap(wrapped, row.id, CONTENT)
    act.put(
        "wrapped-key",
        msgspec.structs.replace(row, wrapped=msgspec.to_builtins(renewed)),
        on=on,
        parent_id=row.id,
    )


def content_chunks(holder: Act | Work, version: AssetVersion, part: Part) -> Iterator[bytes]:
    """Decrypt one part of a version, chunk by chunk."""
    return content_chunks_of(holder, version.id, part, on=version.id)


def content_chunks_of(
    holder: Act | Work, subject_id: str, part: Part, *, on: str
) -> Iterator[bytes]:
    """Decrypt one part, chunk by chunk; every byte is authenticated before it is yielded.

    The key is unwrapped, and the permit checked, now; not when the first chunk is asked for.
    """
    return chunks(content_reader(holder, subject_id, part, on=on))


def content_reader(holder: Act | Work, subject_id: str, part: Part, *, on: str) -> StreamReader:
    """Open one part for reading at random; every byte is authenticated before it is returned.

    Args:
        holder: The step.
        subject_id: Version or job that the part belongs to.
        part: Which one.
        on: The resource that was decided on.
    """
    house = holder.house
    row = holder.read(
        lambda context: context.records.get(
            context.snapshot, "wrapped-key", subject_id, WrappedDataKey
        )
    )
    wrapped = msgspec.convert(row.wrapped, WrappedKey)
    key = house.keyring.unwrap(holder.permit, wrapped, subject_id, CONTENT, on=on)
    return house.objects.open(holder.permit, version_id=subject_id, part=part, data_key=key, on=on)


def shown(act: Act, version: AssetVersion) -> api.VersionShown:
    """Return a version with the public part of the evidence about it."""
    found = standing(act.context, act.context.evidence(version.digest))
    evidence = tuple(sorted(found, key=lambda one: (one.made_at, one.gate)))
    signatures = tuple(_signature(act, one) for one in evidence if one.gate == "signature")
    texts, of_model = _texts(act, version)
    return api.VersionShown(
        version=version, evidence=evidence, signatures=signatures, aliases=_aliases(act, version),
        texts=texts, model_texts=of_model,
    )  # fmt: skip


def _signature(act: Act, found: Evidence) -> release.SignatureShown:
    said = found.parameters
    signer = said.get("signer", "")
    try:
        records, snapshot = act.context.records, act.context.snapshot
        name = records.get(snapshot, "principal", signer, Principal).name
    except NotFoundError:
        name = ""
    return release.SignatureShown(
        signer=signer,
        name=name,
        key_id=said.get("key", ""),
        key=said.get("key_name", ""),
        key_kind=said.get("key_kind", "derived"),  # all were, before that was recorded
        made_at=found.made_at,
    )


def _texts(act: Act, version: AssetVersion) -> tuple[Texts, Texts]:
    """Return what stands beside a version of a model, and beside the model."""
    if version.kind != "model":
        return Texts(), Texts()
    rows = act.context.all("registered-from", RegisteredFrom, parent_id=version.asset_id)
    texts = next(
        (Texts(one.description, dict(one.tags)) for one in rows if one.id == version.id),
        Texts(),
    )
    asset = act.context.asset("model", version.asset_id)
    if not act.may("models/read", act.context.asset_resource(asset)):
        return texts, Texts()
    return texts, Texts(asset.description, asset.tags)


def _aliases(act: Act, version: AssetVersion) -> tuple[api.AliasShown, ...]:
    """Return the aliases of a model that name versions which the caller may read."""
    found = []
    for alias in act.context.all("alias", Alias, parent_id=version.asset_id):
        named = act.context.version_by_id(alias.version_id)
        if act.may(READ_ACTIONS[named.kind], act.context.version_resource(named)):
            found.append(
                api.AliasShown(name=alias.name, version=named.version, moved_at=alias.moved_at)
            )
    return tuple(sorted(found, key=lambda one: one.name))


def listing(act: Act, kind: str, action: str, page: api.Page) -> api.Listing:
    """Return the assets of a kind that the caller may read, each with its newest version."""
    assets: list[Asset] = []
    versions: list[AssetVersion] = []
    after = page.after
    for asset in act.context.all(kind, Asset, parent_id=act.context.workspace_id):
        if asset.id <= after or not act.may(action, act.context.asset_resource(asset)):
            continue
        assets.append(asset)
        readable = [
            version
            for version in act.context.versions(asset)
            if act.may(READ_ACTIONS[kind], act.context.version_resource(version))
        ]
        if readable:
            versions.append(max(readable, key=lambda one: one.version))
        if len(assets) >= page.limit:
            break
    more = assets[-1].id if len(assets) >= page.limit else ""
    return api.Listing(assets=tuple(assets), versions=tuple(versions), after=more)


def erase_versions(act: Act, doomed: Sequence[AssetVersion], *, reason: str) -> None:
    """Remove versions; once that is committed, destroy their secrets and their objects.

    The row that stays says what was erased: should the process die before the secrets are
    destroyed, the next start does it (`settle_erasures`).
    """
    gone = {version.id for version in doomed}
    for alias in act.context.all("alias", Alias):
        if alias.version_id in gone:
            act.remove("alias", alias.id, on=alias.version_id)
    for version in doomed:
        act.remove("wrapped-key", version.id, on=version.id)
        act.remove(f"{version.kind}-version", version.id, on=version.id)
        beside = act.context.all("registered-from", RegisteredFrom, parent_id=version.asset_id)
        if any(one.id == version.id for one in beside):
            act.remove("registered-from", version.id, on=version.id)
        cards = act.context.all("model-card", ModelCard, parent_id=version.asset_id)
        if any(one.id == version.id for one in cards):
            act.remove("model-card", version.id, on=version.id)
        for listed in act.context.all(INVENTORY, ImageInventory, parent_id=version.asset_id):
            if listed.id == version.id:
                act.remove(INVENTORY, listed.id, on=version.id)
                act.after_commit.append(
                    lambda part=listed.part: act.house.objects.discard(part)  # type: ignore[misc]
                )
        told = Erasure(
            id=version.id, name=version.name, version=version.version, kind=version.kind,
            erased_at=timestamp(act.now), erased_by=act.caller.id, reason=reason,
        )  # fmt: skip
        act.put("erasure", told, on=version.id, parent_id=version.asset_id)
        for part in version.parts:
            act.after_commit.append(lambda part=part: act.house.objects.discard(part))  # type: ignore[misc]  # default binds the loop variable
    for progress in act.context.all("batch-progress", BatchProgress):
        if progress.source_id in gone:  # its pieces were made from what is erased
            end_batch(act.put, act.remove, progress, on=progress.source_id, at=timestamp(act.now))
            gone.add(progress.id)
            for part in progress.pieces:
                act.after_commit.append(lambda part=part: act.house.objects.discard(part))  # type: ignore[misc]  # default binds the loop variable
    erased = sorted(gone)
    act.after_commit.append(lambda: shred(act.house, erased))


def end_batch(
    put: Callable[..., None],
    remove: Callable[..., None],
    progress: BatchProgress,
    *,
    on: str,
    at: str,
) -> None:
    """Remove the rows of a batch under way; its pieces are discarded and its key shredded after."""
    remove("wrapped-key", progress.id, on=on)
    remove("batch-progress", progress.id, on=on)
    told = Erasure(
        id=progress.id, name=progress.into, version=0, kind="batch", erased_at=at,
        erased_by=progress.principal_id, reason="ended",
    )  # fmt: skip
    put("erasure", told, on=on, parent_id=progress.endpoint_id)


def shred(house: House, version_ids: Sequence[str]) -> None:
    """Destroy the secrets that the keys of versions need, and note it beside the keys."""
    for version_id in version_ids:
        house.residents.drop(version_id)
    house.provider.erase(version_ids)
    house.erasures.add(version_ids)


def settle_erasures(house: House) -> None:
    """Destroy what a crash kept: everything that is erased by the rows and not beside the keys."""
    known = house.erasures.read()
    with house.database.snapshot() as snapshot:
        context = Context(records=house.records, snapshot=snapshot, workspace_id=house.workspace_id)
        rows = [one.id for one in context.all("erasure", Erasure) if one.id not in known]
    if rows:
        shred(house, rows)


def delete_version(act: Act, kind: str, args: api.Named) -> api.Done:
    """Remove one version, or the asset with all of them, and destroy their keys.

    Raises:
        ConflictError: A deployment runs it.
    """
    if args.version is not None or ":" in args.name:
        doomed = [act.context.version(kind, args.name, args.version)]
        asset = None
    else:
        asset = act.context.asset(kind, args.name)
        doomed = act.context.versions(asset)
        if kind == "model":
            model_names.keep_name(act, asset, on=asset.id, renamed=False)
    gone = {version.id for version in doomed}
    for one in act.context.all("deployment", Deployment):
        if one.state in LIVE and gone & {one.model_version_id, one.code_id}:
            raise ConflictError(
                "a deployment runs it", code="resource.deployed",
                hint="stop or replace the deployment first: vallum endpoint list",
            )  # fmt: skip
    erase_versions(act, doomed, reason="deleted")
    if asset is not None:
        act.remove(kind, asset.id, on=asset.id)
    return api.Done(
        id=doomed[0].id if asset is None else asset.id,
        text=f"deleted {len(doomed)} version(s); their keys are destroyed",
    )
