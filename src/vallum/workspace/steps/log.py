"""Steps on the log and the workspace: list, show, verify, export, posture, backup, approvals."""

from collections.abc import Iterator, Sequence
from datetime import timedelta

import msgspec

from vallum.audit import export_chunks
from vallum.base import InputError, RefusedError, new_id, timestamp
from vallum.base.version import VERSION
from vallum.crypto import WrappedKey
from vallum.policy import Approval
from vallum.schema import (
    Ask,
    Caller,
    Entry,
    EntryKind,
    PrincipalKind,
    Resource,
    Session,
    WrappedDataKey,
    api,
    rules,
)
from vallum.workspace.backup import backup_chunks
from vallum.workspace.context import VERSION_KINDS, Context, ask
from vallum.workspace.step import Act, Download, Effect, Length, Step, Work, on_workspace
from vallum.workspace.steps.directory import issue
from vallum.workspace.versions import CONTENT
from vallum.workspace.views.posture import posture
from vallum.workspace.views.verification import verify_everything

MAX_WINDOW = 1000
MAX_SESSION_MINUTES = 60
MAX_APPROVAL_DAYS = 30


def _act_list(act: Act, args: api.AuditList) -> api.Listing:
    if not 0 < args.limit <= MAX_WINDOW:
        raise InputError(f"limit is 1 to {MAX_WINDOW}", code="audit.limit")
    if args.kind and args.kind not in {kind.value for kind in EntryKind}:
        raise InputError(f"`{args.kind[:40]}` is not a kind of entry", code="audit.kind")
    found: list[api.LoggedEntry] = []
    after = args.after
    log = act.house.log
    while len(found) < args.limit:
        page = (
            log.entries(
                act.tx, before=after if after >= 0 else None, limit=MAX_WINDOW, newest_first=True
            )
            if args.newest_first
            else log.entries(act.tx, after=after, limit=MAX_WINDOW)
        )
        if not page:
            break
        for logged in page:
            entry = logged.entry
            if (
                (not args.kind or entry.kind.value == args.kind)
                and (not args.step or entry.step == args.step)
                and (not args.principal or entry.principal_id == args.principal)
                and (not args.resource or args.resource in entry.resources)
                and len(found) < args.limit
            ):
                found.append(
                    api.LoggedEntry(
                        index=logged.index, entry=entry, leaf_hash=log.hash_of(logged).hex()
                    )
                )
        after = page[-1].index
    last = str(found[-1].index) if len(found) == args.limit else ""
    return api.Listing(entries=tuple(found), after=last)


def _prepare_show(work: Work, args: api.Named) -> tuple[tuple[bytes, ...], str]:
    with work.house.database.snapshot() as snapshot:
        logged = work.house.log.entry(snapshot, args.name)
    return work.house.publisher.inclusion(logged.index)


def _subjects(context: Context, entry: Entry) -> Iterator[Resource]:
    """Yield what an entry is about: its details carry the labels of all of it."""
    made = (one.id for one in entry.changes if one.kind in VERSION_KINDS)
    for identity in dict.fromkeys((context.workspace_id, *entry.resources, *made)):
        found = (
            context.workspace()
            if identity == context.workspace_id
            else context.resource_of(identity.partition("/")[0])
        )
        # What is gone has no label, which counts as the highest.
        yield found or Resource(
            id=identity, kind="", chain=(identity, context.workspace_id), label=""
        )


def _act_show(act: Act, args: api.Named, made: tuple[tuple[bytes, ...], str]) -> api.AuditShown:
    logged = act.house.log.entry(act.tx, args.name)
    details = ""
    if all(act.may("audit/payload/read", one) for one in _subjects(act.context, logged.entry)):
        body = act.house.log.details(act.tx, logged)
        details = "" if body is None else body.decode()
    path, note = made
    return api.AuditShown(
        index=logged.index,
        entry=logged.entry,
        path=tuple(node.hex() for node in path),
        checkpoint=note,
        details=details,
    )


def _prepare_export(work: Work, args: api.Page) -> str:
    return work.house.publisher.checkpoint()


def _act_export(act: Act, args: api.Page, note: str) -> Download:
    return Download(
        file_name="audit-export.tar",
        chunks=export_chunks(act.house.database, act.house.log, note),
    )


def _consistency_asks(context: Context, args: rules.Consistency, caller: Caller) -> Sequence[Ask]:
    return ()  # hashes and sizes: what every client needs to hold the server to its log


def _prepare_consistency(work: Work, args: rules.Consistency) -> tuple[tuple[bytes, ...], str]:
    return work.house.publisher.consistency(args.old, args.new)


def _act_consistency(
    act: Act,
    args: rules.Consistency,
    made: tuple[tuple[bytes, ...], str],
) -> rules.ConsistencyProof:
    path, note = made
    return rules.ConsistencyProof(
        old=args.old, new=args.new, path=tuple(node.hex() for node in path), checkpoint=note
    )


def _prepare_verify(work: Work, args: api.Page) -> api.Verification:
    return verify_everything(work.house, objects=False)


def _prepare_verify_all(work: Work, args: api.Page) -> api.Verification:
    return verify_everything(work.house, objects=True)


def _act_verified(act: Act, args: api.Page, made: api.Verification) -> api.Verification:
    act.details["findings"] = len(made.findings)
    return made


def _act_workspace(act: Act, args: api.Page) -> api.WorkspaceShown:
    house = act.house
    head = house.log.head(act.tx)
    return api.WorkspaceShown(
        id=house.workspace_id,
        name=house.name,
        version=VERSION,
        entries=head.size,
        root=head.root.hex(),
        generation=act.rules.generation,
        checkpoint=house.publisher.newest_in(act.tx),
    )


def _act_posture(act: Act, args: api.Page) -> api.Posture:
    return posture(act)


def _prepare_backup(work: Work, args: api.Page) -> Iterator[bytes]:
    return backup_chunks(work.house)


def _act_backup(act: Act, args: api.Page, chunks: Iterator[bytes]) -> Download:
    return Download(file_name="workspace-backup.tar", chunks=chunks)


# -- the workspace's keys -----------------------------------------------------------------------


def _act_rotate(act: Act, args: api.RotateKeys) -> api.Done:
    """Wrap every data key, and the workspace key, under a new key-encryption key.

    The new generation is durable before it is used, and an old one goes only once nothing refers
    to it any more: a crash anywhere leaves every key readable.
    """
    house = act.house
    rows = act.context.all("wrapped-key", WrappedDataKey)
    generation = house.provider.generation if act.dry_run else house.provider.rotate()
    for row in rows:
        wrapped = msgspec.convert(row.wrapped, WrappedKey)
        renewed = house.keyring.rewrap(wrapped, row.id, CONTENT)
        made = msgspec.structs.replace(row, wrapped=msgspec.to_builtins(renewed))
        act.put("wrapped-key", made, on=act.first_resource, parent_id=row.id)

    def finish() -> None:
        house.reseal(house.keyring.rewrap_workspace_key())
        if args.destroy_old:
            house.provider.destroy_older()

    act.after_commit.append(finish)
    act.details["rotation"] = {"generation": generation, "destroyed_old": args.destroy_old}
    gone = "; backups made before cannot be read any more" if args.destroy_old else ""
    return api.Done(
        id=act.context.workspace_id,
        text=f"{len(rows)} data key(s) are under key-encryption key {generation}{gone}",
    )


# -- approvals and sessions ---------------------------------------------------------------------


def _session_asks(context: Context, args: rules.SessionCreate, caller: Caller) -> Sequence[Ask]:
    return ()  # for oneself only


def _act_session(act: Act, args: rules.SessionCreate) -> api.Shown:
    if act.caller.kind is not PrincipalKind.USER:
        raise RefusedError("only a person opens an interactive session", code="session.person")
    if act.caller.key_actions or act.caller.key_scope:
        raise RefusedError("a narrowed key opens no session", code="session.narrowed")
    if act.caller.session is Session.TOKEN:
        raise RefusedError(
            "a token of another issuer opens no session",
            code="session.token",
            hint="use an API key of your own",
        )
    if act.caller.session is Session.CONSOLE:
        raise RefusedError("a session opens no further one", code="session.session")
    if not 0 < args.minutes <= MAX_SESSION_MINUTES:
        raise InputError(f"minutes are 1 to {MAX_SESSION_MINUTES}", code="session.minutes")
    return issue(
        act,
        act.context.principal(act.caller.id),
        name="session",
        expires_at=timestamp(act.now + timedelta(minutes=args.minutes)),
        kind=Session.CONSOLE.value,
        made_with=act.caller.credential_id,
    )


def _approve_asks(context: Context, args: api.ApprovalCreate, caller: Caller) -> Sequence[Ask]:
    version = context.version("model", args.model, args.version)
    return ask("approvals/write", context.version_resource(version))


def _act_approve(act: Act, args: api.ApprovalCreate) -> api.Done:
    version = act.context.version("model", args.model, args.version)
    if act.caller.session is not Session.CONSOLE or act.caller.kind is not PrincipalKind.USER:
        raise RefusedError(
            "approving needs a person in an interactive session",
            code="approval.interactive",
            hint="vallum identity session",
        )
    if act.caller.id in version.makers or not version.makers:
        raise RefusedError("who had a part in a model does not approve it", code="approval.maker")
    if not 0 < args.days <= MAX_APPROVAL_DAYS:
        raise InputError(f"days are 1 to {MAX_APPROVAL_DAYS}", code="approval.days")
    endpoint = act.context.endpoint(args.endpoint).id if args.endpoint else ""
    approval = Approval(
        id=str(new_id("apr")),
        step=args.step,
        subject_digest=version.digest,
        resource_id=endpoint,
        by=act.caller.id,
        interactive=True,
        made_at=timestamp(act.now),
        expires_at=timestamp(act.now + timedelta(days=args.days)),
    )
    act.put("approval", approval, on=version.id, parent_id=act.context.workspace_id)
    return api.Done(id=approval.id, text=f"approved {version.name}:{version.version}")


def _act_approvals(act: Act, args: api.Page) -> api.Approvals:
    found = [
        api.ApprovalShown(
            id=one.id,
            step=one.step,
            subject_digest=one.subject_digest,
            by=one.by,
            made_at=one.made_at,
            expires_at=one.expires_at,
        )
        for one in act.context.all("approval", Approval)
        if one.id > args.after
    ][: args.limit]
    after = found[-1].id if len(found) == args.limit else ""
    return api.Approvals(approvals=tuple(found), after=after)


_LONG = Length.LONG

STEPS = (
    Step("audit.list", api.AuditList, on_workspace("audit/entries/read"), _act_list,
         Effect.READ),
    Step("audit.show", api.Named, on_workspace("audit/entries/read"), _act_show, Effect.READ,
         _LONG, _prepare_show),
    Step("audit.verify", api.Page, on_workspace("audit/entries/read"), _act_verified,
         Effect.READ, _LONG, _prepare_verify),
    Step("audit.export", api.Page, on_workspace("audit/export/action"), _act_export,
         Effect.READ, _LONG, _prepare_export),
    Step("audit.consistency", rules.Consistency, _consistency_asks, _act_consistency,
         Effect.READ, _LONG, _prepare_consistency),
    Step("workspace.show", api.Page, on_workspace("workspaces/read"), _act_workspace,
         Effect.READ),
    Step("workspace.verify", api.Page, on_workspace("audit/entries/read"), _act_verified,
         Effect.READ, _LONG, _prepare_verify_all),
    Step("workspace.posture", api.Page, on_workspace("workspaces/read"), _act_posture,
         Effect.READ),
    Step("workspace.backup", api.Page, on_workspace("workspaces/backup/action"), _act_backup,
         Effect.READ, _LONG, _prepare_backup),
    Step("workspace.rotate-keys", api.RotateKeys, on_workspace("workspaces/rotateKey/action"),
         _act_rotate),
    Step("session.create", rules.SessionCreate, _session_asks, _act_session),
    Step("approval.list", api.Page, on_workspace("approvals/read"), _act_approvals,
         Effect.READ),
    Step("approval.create", api.ApprovalCreate, _approve_asks, _act_approve,
         threat="privilege-escalation"),
)  # fmt: skip
