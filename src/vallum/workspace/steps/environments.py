"""Steps on environments: add, list, show, download, delete."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

import msgspec

from vallum.base import GateError, InputError, new_id, timestamp
from vallum.formats import Ranged
from vallum.schema import (
    Ask,
    Asset,
    AssetVersion,
    Caller,
    Evidence,
    ImageInventory,
    Part,
    PrincipalKind,
    WrappedDataKey,
    api,
    environments,
)
from vallum.workspace.context import INVENTORY, Context, ask, asks_to_register, require_unnumbered
from vallum.workspace.gates.images import judge
from vallum.workspace.gates.texts import require_clean
from vallum.workspace.step import Act, Asks, Download, Effect, Length, Step, Work
from vallum.workspace.steps.rules import current_images
from vallum.workspace.versions import (
    content_chunks,
    delete_version,
    listing,
    manifest_digest,
    publish,
    shown,
    stage,
)

_KIND = "environment"
_FILE, _FACTS = "image.tar", "inventory.json"


def _version_asks(*actions: str) -> Asks:
    def asks(context: Context, args: api.Named, caller: Caller) -> Sequence[Ask]:
        resource = context.version_resource(context.version(_KIND, args.name, args.version))
        return tuple(one for action in actions for one in ask(action, resource))

    return asks


def _add_asks(context: Context, args: environments.EnvironmentAdd, caller: Caller) -> Sequence[Ask]:
    return asks_to_register(context, _KIND, args.name)


@dataclass(frozen=True, slots=True)
class _Added:
    """A judged and staged image."""

    version_id: str
    wrapped: WrappedDataKey
    parts: tuple[Part, ...]
    inventory: Part
    evidence: Evidence
    asked: dict[str, Any]  # of images, when it was judged


def _prepare_add(work: Work, args: environments.EnvironmentAdd) -> _Added:
    require_unnumbered(args.name)
    if not args.digest:
        raise InputError(
            "an image is named by its digest: a tag can be moved", code="image.not-pinned",
            hint="--digest sha256:…",
        )  # fmt: skip
    require_clean(tags=args.tags, description=args.description)
    image = work.require_content()
    asked = work.read(current_images)
    judged = judge(work.house.runner, _ranged(image), args.digest, asked, now=work.now)
    image.seek(0)
    version_id = str(new_id("ever"))
    facts = msgspec.json.encode(judged.facts)
    files: list[tuple[str, BinaryIO | bytes]] = [(_FILE, image), (_FACTS, facts)]
    wrapped, (part, inventory) = stage(work, version_id, files, personal=False)
    parts = (part,)
    found = judged.evidence(
        subject_id=version_id, subject_digest=manifest_digest(parts), digest=args.digest,
        now=work.now,
    )  # fmt: skip
    if not judged.passed:
        work.failed.append(found)
        raise GateError(
            f"the image is refused: {judged.worst()}", code="gate.image",
            hint="`vallum scan --image` shows every finding; the policy file says what is asked",
        )  # fmt: skip
    return _Added(version_id, wrapped, parts, inventory, found, asked)


def _ranged(content: BinaryIO) -> Ranged:
    """Return uploaded content as bytes that are read where they lie."""

    def read(offset: int, length: int) -> bytes:
        content.seek(offset)
        return content.read(length)

    return Ranged(read, content.seek(0, io.SEEK_END))


def _act_add(act: Act, args: environments.EnvironmentAdd, made: _Added) -> api.VersionShown:
    if act.rules.requirements.images != made.asked:
        raise GateError("what is asked of images changed meanwhile; try again", code="gate.image")
    workspace_id = act.context.workspace_id
    asset = act.context.find(_KIND, args.name, Asset)
    on = workspace_id if asset is None else asset.id
    if asset is None:
        asset = Asset(
            id=str(new_id(_KIND)), kind=_KIND, name=args.name, owner_id=act.caller.id,
            created_at=timestamp(act.now), description=args.description, tags=args.tags,
        )  # fmt: skip
        act.put(_KIND, asset, on=on, parent_id=workspace_id, name=asset.name)
    version = AssetVersion(
        id=made.version_id, asset_id=asset.id, kind=_KIND, name=asset.name,
        version=act.context.next_version(asset), digest=manifest_digest(made.parts),
        parts=made.parts, created_at=timestamp(act.now), created_by=act.caller.id,
        format="oci-image", label="general",
        makers=(act.caller.id,) if act.caller.kind is PrincipalKind.USER else (),
        tags={**args.tags, "image": args.digest},
    )  # fmt: skip
    publish(act, version, made.wrapped, (made.evidence,), on=on)
    listed = ImageInventory(id=version.id, part=made.inventory)
    act.put(INVENTORY, listed, on=on, parent_id=asset.id)
    return api.VersionShown(version=version, evidence=(made.evidence,))


def _list_asks(context: Context, args: api.Page, caller: Caller) -> Sequence[Ask]:
    return ()  # each row is decided by itself: what may be read is what is listed


def _act_list(act: Act, args: api.Page) -> api.Listing:
    return listing(act, _KIND, "environments/read", args)


def _act_show(act: Act, args: api.Named) -> api.VersionShown:
    return shown(act, act.context.version(_KIND, args.name, args.version))


def _act_download(act: Act, args: api.Named) -> Download:
    version = act.context.version(_KIND, args.name, args.version)
    (part,) = version.parts
    return Download(
        file_name=f"{version.name}-{version.version}.tar",
        chunks=content_chunks(act, version, part),
    )


def _delete_asks(context: Context, args: api.Named, caller: Caller) -> Sequence[Ask]:
    if args.version is not None or ":" in args.name:
        version = context.version(_KIND, args.name, args.version)
        return ask("environments/versions/delete", context.version_resource(version))
    asset = context.asset(_KIND, args.name)
    below = [context.version_resource(one) for one in context.versions(asset)]
    return (
        *ask("environments/delete", context.asset_resource(asset)),
        *ask("environments/versions/delete", *below),
    )


def _act_delete(act: Act, args: api.Named) -> api.Done:
    return delete_version(act, _KIND, args)


STEPS = (
    Step(
        "environment.add",
        environments.EnvironmentAdd,
        _add_asks,
        _act_add,
        length=Length.LONG,
        prepare=_prepare_add,
        content=True,
        threat="supply-chain",
    ),
    Step("environment.list", api.Page, _list_asks, _act_list, Effect.READ),
    Step(
        "environment.show",
        api.Named,
        _version_asks("environments/versions/read"),
        _act_show,
        Effect.READ,
    ),
    Step(
        "environment.download",
        api.Named,
        _version_asks("environments/versions/read"),
        _act_download,
        Effect.READ,
    ),
    Step("environment.delete", api.Named, _delete_asks, _act_delete),
)
