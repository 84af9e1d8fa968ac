"""The step that accepts a rollback. No route leads to it: only an offline restore performs it."""

from datetime import timedelta

import msgspec

from vallum.base import InputError, RefusedError, timestamp
from vallum.identity import make_caller
from vallum.policy import RequestFacts, visible
from vallum.schema import (
    Artifact,
    AssetVersion,
    CaptureBook,
    Credential,
    PrincipalKind,
    PrivacyBudget,
    Record,
    ScoringCode,
    Session,
    api,
)
from vallum.workspace.capture_books import remove_book
from vallum.workspace.step import Act, Step, on_workspace
from vallum.workspace.steps.directory import issue, revoke

ACTION = "workspaces/restore/action"
KEY_DAYS = 90


class AcceptRollback(Record, frozen=True):
    """What is given up, and who agrees."""

    reason: str
    anchored: int  # entries that the anchor had seen
    root: str  # of them, in hexadecimal
    second: str = ""  # id of the second person; empty: none


def _act(act: Act, args: AcceptRollback) -> api.Shown:
    if not args.reason.strip():
        raise InputError(
            "giving history up needs a reason", code="restore.reason", hint="--reason TEXT"
        )
    others = _others(act)
    names = ", ".join(sorted(others.values()))
    if others and args.second not in others:
        raise RefusedError(
            "giving history up needs a second person who may restore",
            code="restore.second",
            hint=f"--second-token-file with the key of one of: {names}",
        )
    revoked = 0
    for credential in act.context.all("credential", Credential):
        if not credential.revoked_at:
            revoke(act, credential)
            revoked += 1
    erased = _erase_again(act)
    for budget in act.context.all("budget", PrivacyBudget):
        # What was asked after the backup is not known: until it is renewed, nothing is left.
        spent = msgspec.structs.replace(
            budget, spent_epsilon=budget.epsilon, spent_rho=budget.rho, spent_delta=budget.delta
        )
        act.put(
            "budget", spent, on=act.first_resource, parent_id=budget.population, name=budget.holder
        )
    head = act.house.log.head(act.tx)
    act.details["rollback"] = {
        "reason": args.reason,
        "second": args.second,
        "anchored_size": args.anchored,
        "anchored_root": args.root,
        "restored_size": head.size,
        "restored_root": head.root.hex(),
        "revoked": revoked,
        "erased": erased,
    }
    owner = act.context.principal(act.caller.id)
    return issue(
        act, owner, name="owner after restore",
        expires_at=timestamp(act.now + timedelta(days=KEY_DAYS)),
    )  # fmt: skip


def _others(act: Act) -> dict[str, str]:
    """Return everybody else who may restore, id to name."""
    found = {}
    directory = act.rules.directory
    for principal in directory.principals.values():
        if (
            principal.kind is not PrincipalKind.USER
            or principal.disabled
            or principal.id == act.caller.id
        ):
            continue
        caller = make_caller(principal, directory.parents, session=Session.API_KEY)
        if visible(
            ACTION,
            caller,
            act.context.workspace(),
            authority=act.rules.authority,
            facts=RequestFacts(now=act.now),
        ):
            found[principal.id] = principal.name
    return found


def _erase_again(act: Act) -> int:
    erased = 0
    gone = act.house.erasures.read()
    for kind in ("data-version", "model-version"):
        for version in act.context.all(kind, AssetVersion):
            if version.id not in gone:
                continue
            act.remove("wrapped-key", version.id, on=act.first_resource)
            act.remove(kind, version.id, on=act.first_resource)
            for part in version.parts:
                act.after_commit.append(lambda part=part: act.house.objects.discard(part))  # type: ignore[misc]  # default binds the loop variable
            erased += 1
    for one in act.context.all("artifact", Artifact):
        if one.id in gone:
            act.remove("wrapped-key", one.id, on=act.first_resource)
            act.remove("artifact", one.id, on=act.first_resource)
            act.after_commit.append(lambda part=one.content: act.house.objects.discard(part))  # type: ignore[misc]  # default binds the loop variable
            erased += 1
    for book in act.context.all("capture-book", CaptureBook):
        if book.id in gone:
            on = act.first_resource
            changes, parts = remove_book(act.house, act.tx, act.permit, book, on=on)
            act.changes.extend(changes)
            for part in parts:
                act.after_commit.append(lambda part=part: act.house.objects.discard(part))  # type: ignore[misc]  # default binds the loop variable
            erased += 1
    for code in act.context.all("scoring-code", ScoringCode):
        if code.id in gone:
            act.remove("wrapped-key", code.id, on=act.first_resource)
            act.remove("scoring-code", code.id, on=act.first_resource)
            for part in code.parts:
                act.after_commit.append(lambda part=part: act.house.objects.discard(part))  # type: ignore[misc]  # default binds the loop variable
            erased += 1
    return erased


STEPS = (
    Step("workspace.accept-rollback", AcceptRollback, on_workspace(ACTION), _act,
         threat="privilege-escalation"),
)  # fmt: skip
