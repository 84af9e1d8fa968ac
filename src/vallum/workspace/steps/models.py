"""Steps on models: register, list, show, download, sign, verify, delete."""

import base64
import binascii
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from vallum.base import GateError, InputError, NotFoundError, check_name, new_id, timestamp
from vallum.base.bounds import ARCHIVE
from vallum.convert import Sample
from vallum.crypto.model_signing import MAX_BUNDLE_BYTES
from vallum.formats import TarArchive
from vallum.schema import (
    Ask,
    Asset,
    AssetVersion,
    Caller,
    ModelCard,
    Part,
    PrincipalKind,
    api,
    release,
)
from vallum.schema.release import ReleaseKey
from vallum.workspace import model_names
from vallum.workspace.context import Context, ask, asks_to_register, require_unnumbered
from vallum.workspace.gates.models import integrity_evidence
from vallum.workspace.gates.texts import MAX_CARD_BYTES, checked_card, require_clean
from vallum.workspace.registration import Conversions, Registered, Signature, register_files
from vallum.workspace.signing import (
    accept_bundle,
    attach,
    read_manifest,
    sign_version,
    verify_signatures,
)
from vallum.workspace.step import Act, Asks, Download, Effect, Length, Step, Work
from vallum.workspace.versions import (
    READ_ACTIONS,
    content_chunks,
    delete_version,
    listing,
    manifest_digest,
    publish,
    shown,
)


def _version_asks(*actions: str) -> Asks:
    def asks(context: Context, args: api.Named, caller: Caller) -> Sequence[Ask]:
        resource = context.version_resource(context.version("model", args.name, args.version))
        return tuple(one for action in actions for one in ask(action, resource))

    return asks


# -- register -----------------------------------------------------------------------------------


def _register_asks(context: Context, args: api.ModelRegister, caller: Caller) -> Sequence[Ask]:
    own = asks_to_register(context, "model", args.name)
    # A registration that claims what its caller cannot read would forge lineage.
    claimed = [context.version_by_id(identity) for identity in args.lineage]
    reads = [
        one
        for version in claimed
        for one in ask(READ_ACTIONS[version.kind], context.version_resource(version))
    ]
    if args.data:
        measured = context.version_resource(context.version("data", args.data))
        reads += ask("data/versions/content/read", measured)
    signs = ask("models/versions/sign/action", own[0].resource) if args.bundle_bytes else ()
    return (*own, *reads, *signs)


def _prepare_register(work: Work, args: api.ModelRegister) -> Registered:
    require_unnumbered(args.name)
    content = work.require_content()
    if not 0 <= args.card_bytes <= MAX_CARD_BYTES:
        raise InputError(f"a model card has at most {MAX_CARD_BYTES} bytes", code="model.card")
    card = checked_card(content.read(args.card_bytes)) if args.card_bytes else ""
    if not 0 <= args.bundle_bytes <= MAX_BUNDLE_BYTES:
        raise InputError("the model signature is too large", code="signature.form")
    bundle = content.read(args.bundle_bytes) if args.bundle_bytes else b""
    require_clean(tags=args.tags, description=args.description)
    if args.folder:
        files = tar_files(content.read())
    else:
        files = [(check_name(args.file_name, what="file name"), content.read())]
    if not args.convert:
        if args.data or args.features:
            raise InputError(
                "data and features are what a conversion is measured on", code="convert.data",
                hint="add --convert",
            )  # fmt: skip
        made = register_files(work, files, single=not args.folder, card=card)
        if not bundle:
            return made
        # Over the digests of what was scanned and staged: nothing is visible yet.
        files_of = {part.part: part.digest.removeprefix("sha256:") for part in made.parts}
        signature = Signature(bundle, accept_bundle(work, bundle, files_of))
        return replace(made, signature=signature)
    if bundle:
        raise InputError(
            "a signature is of what was given, not of what it is converted to",
            code="signature.converted", hint="sign the version: vallum model sign",
        )  # fmt: skip
    sample, data_digest = None, ""
    if args.data:
        version = work.read(lambda context: context.version("data", args.data))
        table = b"".join(content_chunks(work, version, version.parts[0]))
        sample, data_digest = Sample(table, version.format, args.features), version.digest
    wanted = Conversions(always=True, sample=sample, data_digest=data_digest)
    return register_files(work, files, single=not args.folder, conversions=wanted, card=card)


def tar_files(data: bytes) -> list[tuple[str, bytes]]:
    """Return the files of a tar archive within bounds, nothing extracted.

    Raises:
        InputError: A link, device, traversal, duplicate, or no file at all.
        LimitExceededError: A bound of the archive.
    """
    archive = TarArchive(data)
    files = [
        (member.name, archive.read(member, ARCHIVE.max_member_bytes)) for member in archive.files()
    ]
    if not files:
        raise InputError("the archive holds no file", code="archive.empty")
    return files


def _act_register(act: Act, args: api.ModelRegister, made: Registered) -> api.VersionShown:
    version = publish_model(
        act,
        name=args.name,
        made=made,
        label=args.label,
        lineage=args.lineage,
        description=args.description,
        tags=args.tags,
    )
    if made.signature is not None:
        signed = made.signature
        attach(act, version, signed.bundle, signed.key, on=act.first_resource)
        return shown(act, version)
    return api.VersionShown(version=version, evidence=made.evidence)


def publish_model(
    act: Act,
    *,
    name: str,
    made: Registered,
    label: str,
    lineage: Sequence[str],
    description: str = "",
    tags: dict[str, str] | None = None,
    job_id: str = "",
    makers: Sequence[str] = (),
    on: str = "",
) -> AssetVersion:
    """Make a staged model version visible under `name`, with its lineage's labels and makers."""
    workspace_id = act.context.workspace_id
    asset = act.context.find("model", name, Asset)
    if not on:
        on = workspace_id if asset is None else asset.id
    given_tags = {} if tags is None else tags
    if asset is None:
        model_names.require_free(act.context, name)
        asset = Asset(
            id=str(new_id("model")),
            kind="model",
            name=name,
            owner_id=act.caller.id,
            created_at=timestamp(act.now),
            description=description,
            tags=given_tags,
        )
        act.put("model", asset, on=on, parent_id=workspace_id, name=asset.name)
    sources = [act.context.version_by_id(identity) for identity in lineage]
    every = {*makers, *(maker for source in sources for maker in source.makers)}
    if act.caller.kind is PrincipalKind.USER:
        every.add(act.caller.id)
    number = act.context.next_version(asset)
    version = AssetVersion(
        id=made.version_id,
        asset_id=asset.id,
        kind="model",
        name=asset.name,
        version=number,
        digest=manifest_digest(made.parts),
        parts=made.parts,
        created_at=timestamp(act.now),
        created_by=act.caller.id,
        format=made.format,
        label=joined_label(label, [source.label for source in sources]),
        lineage=tuple(lineage),
        makers=tuple(sorted(every)),
        tags=given_tags,
        job_id=job_id,
        interface=made.interface,
    )
    publish(act, version, made.wrapped, made.evidence, on=on)
    if made.card:
        act.put("model-card", ModelCard(id=version.id, text=made.card), on=on, parent_id=asset.id)
    return version


def joined_label(given: str, inherited: Sequence[str]) -> str:
    """Return the highest of the labels; an unclassified input keeps the result unclassified."""
    order = ["public", "general", "confidential", "highly-confidential"]
    if any(label not in order for label in inherited):
        return ""
    known = [label for label in (given or "general", *inherited) if label in order]
    return max(known, key=order.index) if known else ""


# -- read ---------------------------------------------------------------------------------------


def _list_asks(context: Context, args: api.Page, caller: Caller) -> Sequence[Ask]:
    return ()  # each row is decided by itself: what may be read is what is listed


def _act_list(act: Act, args: api.Page) -> api.Listing:
    return listing(act, "model", "models/read", args)


def _act_show(act: Act, args: api.Named) -> api.VersionShown:
    return shown(act, act.context.version("model", args.name, args.version))


def _act_card(act: Act, args: api.Named) -> release.CardShown:
    version = act.context.version("model", args.name, args.version)
    text = card_of_version(act.context, version)
    if not text:
        raise NotFoundError(
            f"{version.name}:{version.version} has no model card",
            code="model.card",
            hint="a README.md in its folder, or --card FILE, would have been one",
        )
    return release.CardShown(name=version.name, version=version.version, text=text)


def card_of_version(context: Context, version: AssetVersion) -> str:
    """Return the model card of a version; empty if it has none."""
    try:
        return context.records.get(context.snapshot, "model-card", version.id, ModelCard).text
    except NotFoundError:
        return ""


def _act_download(act: Act, args: api.Named) -> Download:
    version = act.context.version("model", args.name, args.version)
    opened = [(part, content_chunks(act, version, part)) for part in version.parts]
    return Download(file_name=f"{version.name}-{version.version}.tar", chunks=_tar(opened))


def _tar(opened: Sequence[tuple[Part, Iterator[bytes]]]) -> Iterator[bytes]:
    for part, chunks in opened:
        header = tarfile.TarInfo(part.part)
        header.size = part.length
        header.mode = 0o600
        yield header.tobuf(tarfile.PAX_FORMAT)
        yield from chunks
        yield bytes(-part.length % tarfile.BLOCKSIZE)
    yield bytes(2 * tarfile.BLOCKSIZE)


# -- sign and verify ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Signed:
    bundle: bytes
    key: ReleaseKey
    digest: str  # of what was read


def _prepare_sign(work: Work, args: api.ModelSign) -> _Signed:
    version = work.read(lambda context: context.version("model", args.name, args.version))
    if args.bundle:
        bundle = _bundle(args.bundle)
        key = accept_bundle(work, bundle, read_manifest(work, version))
    else:
        bundle, key = sign_version(work, version)
    return _Signed(bundle, key, version.digest)


def _bundle(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise InputError("the bundle is not base64", code="signature.form") from error


def _act_sign(act: Act, args: api.ModelSign, made: _Signed) -> api.VersionShown:
    version = act.context.version("model", args.name, args.version)
    if version.digest != made.digest:
        raise GateError("the model changed while it was signed", code="gate.signature")
    attach(act, version, made.bundle, made.key, on=version.id)
    return shown(act, version)


def _act_verify(act: Act, args: api.Named) -> api.Done:
    version = act.context.version("model", args.name, args.version)
    read_manifest(act, version)
    said = []
    for row, key in verify_signatures(act.house, act.context, version):
        who = row.signer_id or f"workspace:{act.context.workspace_id}"
        said.append(f"{who} with the {key.kind} key {key.key_id[:16]}")
    act.leave(integrity_evidence(version, now=act.now), on=version.id)
    by = f", signed by {', '.join(said)}" if said else ", not signed"
    return api.Done(
        id=version.id, text=f"{version.digest}: {len(version.parts)} file(s) verified{by}"
    )


# -- delete -------------------------------------------------------------------------------------


def _delete_asks(context: Context, args: api.Named, caller: Caller) -> Sequence[Ask]:
    if args.version is not None or ":" in args.name:
        version = context.version("model", args.name, args.version)
        return ask("models/versions/delete", context.version_resource(version))
    asset = context.asset("model", args.name)
    return (
        *ask("models/delete", context.asset_resource(asset)),
        *ask(
            "models/versions/delete",
            *(context.version_resource(one) for one in context.versions(asset)),
        ),
    )


def _act_delete(act: Act, args: api.Named) -> api.Done:
    return delete_version(act, "model", args)


STEPS = (
    Step("model.list", api.Page, _list_asks, _act_list, Effect.READ),
    Step(
        "model.register",
        api.ModelRegister,
        _register_asks,
        _act_register,
        length=Length.LONG,
        prepare=_prepare_register,
        content=True,
        threat="model-tampering",
    ),
    Step("model.show", api.Named, _version_asks("models/versions/read"), _act_show, Effect.READ),
    Step("model.card", api.Named, _version_asks("models/versions/read"), _act_card, Effect.READ),
    Step(
        "model.download",
        api.Named,
        _version_asks("models/versions/content/read"),
        _act_download,
        Effect.READ,
    ),
    Step(
        "model.sign",
        api.ModelSign,
        _version_asks("models/versions/sign/action", "models/versions/content/read"),
        _act_sign,
        length=Length.LONG,
        prepare=_prepare_sign,
        threat="model-tampering",
    ),
    Step(
        "model.verify",
        api.Named,
        _version_asks("models/versions/content/read"),
        _act_verify,
        threat="model-tampering",
    ),
    Step("model.delete", api.Named, _delete_asks, _act_delete),
)
