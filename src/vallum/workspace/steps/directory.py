"""Steps on principals, groups and API keys: all of them grant-equivalent, none can escalate."""

from collections.abc import Sequence
from urllib.parse import urlsplit

import msgspec

from vallum.base import ConflictError, InputError, NotFoundError, new_id, stored_time, timestamp
from vallum.identity import (
    check_issuer,
    check_membership,
    mint,
    read_authority,
    read_keys,
    with_secret,
)
from vallum.policy import AccessChange
from vallum.schema import Ask, Caller, Credential, Principal, PrincipalKind, Session, api, rules
from vallum.workspace.context import Context, ask
from vallum.workspace.step import Act, Asks, Effect, Step, on_workspace

_PEOPLE = (PrincipalKind.USER, PrincipalKind.SERVICE_PRINCIPAL)
MAX_CLAIM_CHARS = 255
_PREFIX = {
    PrincipalKind.GROUP: "grp",
    PrincipalKind.SERVICE_PRINCIPAL: "sp",
    PrincipalKind.USER: "user",
}


def _create(act: Act, args: api.IdentityCreate, kind: PrincipalKind) -> api.Done:
    workspace_id = act.context.workspace_id
    if act.context.find("principal", args.name, Principal) is not None:
        raise ConflictError(f"`{args.name}` exists already", code="identity.exists")
    principal = Principal(id=str(new_id(_PREFIX[kind])), kind=kind, name=args.name)
    act.put("principal", principal, on=workspace_id, parent_id=workspace_id, name=args.name)
    return api.Done(id=principal.id, text=f"created {kind.value} {args.name}")


def _act_create_identity(act: Act, args: api.IdentityCreate) -> api.Done:
    kinds = {kind.value: kind for kind in _PEOPLE}
    if args.kind not in kinds:
        raise InputError(
            f"`{args.kind[:40]}` is not a kind of identity",
            code="identity.kind",
            hint=f"use {' or '.join(kinds)}",
        )
    return _create(act, args, kinds[args.kind])


def _act_create_group(act: Act, args: api.IdentityCreate) -> api.Done:
    return _create(act, args, PrincipalKind.GROUP)


def _principals(act: Act, kinds: Sequence[PrincipalKind], page: api.Page) -> api.Listing:
    found = [
        principal
        for principal in act.context.all("principal", Principal)
        if principal.kind in kinds and principal.id > page.after
    ][: page.limit]
    after = found[-1].id if len(found) == page.limit else ""
    return api.Listing(principals=tuple(found), after=after)


def _act_list_identities(act: Act, args: api.Page) -> api.Listing:
    return _principals(act, (*_PEOPLE, PrincipalKind.MANAGED_IDENTITY), args)


def _act_list_groups(act: Act, args: api.Page) -> api.Listing:
    return _principals(act, (PrincipalKind.GROUP,), args)


def _act_disable(act: Act, args: api.Named) -> api.Done:
    principal = act.context.principal(args.name)
    if principal.id == act.caller.id:
        raise ConflictError("nobody disables themselves", code="identity.self")
    _replace(act, msgspec.structs.replace(principal, disabled=True))
    return api.Done(id=principal.id, text=f"disabled {principal.name}")


def _replace(act: Act, principal: Principal) -> None:
    workspace_id = act.context.workspace_id
    act.put("principal", principal, on=workspace_id, parent_id=workspace_id, name=principal.name)


def _act_add(act: Act, args: api.GroupChange) -> api.Done:
    group = act.context.principal(args.group, kind=PrincipalKind.GROUP)
    member = act.context.principal(args.member)
    everyone = act.context.all("principal", Principal)
    check_membership(group, member, [one for one in everyone if one.kind is PrincipalKind.GROUP])
    members = tuple(sorted({*group.members, member.id}))
    grown = msgspec.structs.replace(group, members=members)
    act.refuse_escalation(AccessChange(principals=(grown,)), ())
    _replace(act, grown)
    return api.Done(id=group.id, text=f"{member.name} is in {group.name}")


def _act_remove(act: Act, args: api.GroupChange) -> api.Done:
    group = act.context.principal(args.group, kind=PrincipalKind.GROUP)
    member = act.context.principal(args.member)
    if member.id not in group.members:
        raise NotFoundError(f"`{args.member}` is not in `{args.group}`")
    members = tuple(one for one in group.members if one != member.id)
    _replace(act, msgspec.structs.replace(group, members=members))
    return api.Done(id=group.id, text=f"{member.name} is no longer in {group.name}")


# -- keys ---------------------------------------------------------------------------------------


def _key_asks(action: str) -> Asks:
    def asks(context: Context, args: api.Named, caller: Caller) -> Sequence[Ask]:
        credential = context.credential(args.name)
        if credential.principal_id == caller.id:
            return ()  # one's own keys are one's own
        return ask(action, context.workspace())

    return asks


def _create_key_asks(context: Context, args: api.KeyCreate, caller: Caller) -> Sequence[Ask]:
    if not args.principal or args.principal in {caller.id, caller.name}:
        return ()
    return ask("keys/write", context.workspace())


def _act_create_key(act: Act, args: api.KeyCreate) -> api.Shown:
    owner = (
        act.context.principal(args.principal)
        if args.principal
        else act.context.principal(act.caller.id)
    )
    if owner.kind is PrincipalKind.GROUP:
        raise InputError("a group has no keys of its own", code="key.group")
    refuse_lesser(act)
    if owner.id != act.caller.id:
        act.refuse_escalation(AccessChange(act_as=(owner.id,)), ())
    scope = act.context.scope(args.scope).id if args.scope else ""
    return issue(act, owner, name=args.name, expires_at=args.expires_at, actions=args.actions,
                 scope=scope)  # fmt: skip


def refuse_lesser(act: Act) -> None:
    """Refuse a caller whose credential is less than an API key: what it made would be more.

    Raises:
        ConflictError: It is narrowed, or ends soon.
    """
    refuse_narrowed(act)
    if act.caller.session is Session.TOKEN:
        raise ConflictError(
            "a token cannot make keys that outlive it",
            code="key.token",
            hint="use an API key, or have the issuer give you another token when this one ends",
        )


def refuse_narrowed(act: Act) -> None:
    """Refuse a caller whose key is narrowed, to make keys, or to change others than itself.

    Raises:
        ConflictError: It is.
    """
    if act.caller.key_actions or act.caller.key_scope:
        raise ConflictError(
            "a narrowed key cannot make, replace or revoke other keys",
            code="key.narrowed",
            hint="use a key without --action and --scope",
        )


def _act_federate(act: Act, args: rules.Federate) -> api.Done:
    owner = act.context.principal(args.name)
    if owner.kind not in _PEOPLE:
        raise InputError("tokens act as users and service principals", code="identity.kind")
    refuse_lesser(act)
    said = {"subject": args.subject}
    if args.authority:
        if args.issuer or args.audience or args.public_keys:
            raise InputError(
                "certificates have an authority and a name, not issuer, audience and keys",
                code="identity.claim",
            )
        issuer, keys = read_authority(args.authority)
    else:
        issuer, keys = check_issuer(args.issuer), args.public_keys
        said["audience"] = args.audience
        if keys:
            read_keys(keys.encode())
    for what, text in said.items():
        if not 0 < len(text) <= MAX_CLAIM_CHARS:
            raise InputError(
                f"the {what} has 1 to {MAX_CLAIM_CHARS} characters", code="identity.claim"
            )
    scope = act.context.scope(args.scope).id if args.scope else ""
    if owner.id != act.caller.id:
        act.refuse_escalation(AccessChange(act_as=(owner.id,)), ())
    for one in act.context.all("credential", Credential):
        same = (issuer, args.subject, args.audience) == (one.issuer, one.subject, one.audience)
        if same and not one.revoked_at:
            raise ConflictError(
                "that issuer, subject and audience act as somebody already",
                code="identity.federated",
                hint=f"vallum key revoke {one.id}",
            )
    credential = Credential(
        id=str(new_id("key")),
        principal_id=owner.id,
        name=urlsplit(issuer).hostname or issuer[:24],
        secret_hash="",
        created_at=timestamp(act.now),
        expires_at=_expiry(act, args.expires_at),
        actions=args.actions,
        scope=scope,
        kind=Session.TOKEN.value,
        issuer=issuer,
        subject=args.subject,
        audience=args.audience,
        public_keys=keys,
    )
    act.put("credential", credential, on=act.first_resource, parent_id=owner.id)
    of = f"certificates for {args.subject}" if args.authority else f"tokens of {issuer}"
    return api.Done(id=credential.id, text=f"{of} act as {owner.name}")


def issue(
    act: Act,
    owner: Principal,
    *,
    name: str,
    expires_at: str = "",
    actions: tuple[str, ...] = (),
    scope: str = "",
    endpoint_id: str = "",
    kind: str = Session.API_KEY.value,
    made_with: str = "",
) -> api.Shown:
    """Make a key for `owner` and return it for the one time that it is shown.

    Raises:
        InputError: The expiry is no time, or has passed.
    """
    expires_at = _expiry(act, expires_at)
    identity = str(new_id("key"))
    token, secret = mint(identity)
    credential = with_secret(
        Credential(
            id=identity,
            principal_id=owner.id,
            name=name,
            secret_hash="",
            created_at=timestamp(act.now),
            expires_at=expires_at,
            actions=actions,
            scope=scope,
            endpoint_id=endpoint_id,
            kind=kind,
            made_with=made_with,
        ),
        key=act.house.credential_key(),
        secret=secret,
    )
    on = act.first_resource
    act.put("credential", credential, on=on, parent_id=owner.id)
    return api.Shown(id=identity, name=name, secret=token.reveal().decode(), expires_at=expires_at)


def _expiry(act: Act, text: str) -> str:
    if not text:
        return ""
    try:
        expires = stored_time(text)
    except ValueError as error:
        raise InputError(
            "the expiry is not a time", code="key.expiry", hint="write it as 2027-01-31T00:00:00Z"
        ) from error
    if expires <= timestamp(act.now):
        raise InputError("the expiry has passed", code="key.expiry")
    return expires


def _act_list_keys(act: Act, args: api.Page) -> api.Listing:
    everyone = act.may("keys/read", act.context.workspace())
    found = [
        api.KeyShown(
            id=one.id,
            name=one.name,
            principal_id=one.principal_id,
            created_at=one.created_at,
            expires_at=one.expires_at,
            revoked_at=one.revoked_at,
            endpoint_id=one.endpoint_id,
            issuer=one.issuer,
            subject=one.subject,
            audience=one.audience,
        )
        for one in act.context.all("credential", Credential)
        if one.id > args.after and (everyone or one.principal_id == act.caller.id)
    ][: args.limit]
    after = found[-1].id if len(found) == args.limit else ""
    return api.Listing(keys=tuple(found), after=after)


def _act_revoke(act: Act, args: api.Named) -> api.Done:
    credential = act.context.credential(args.name)
    if credential.id != act.caller.credential_id:
        refuse_narrowed(act)
    revoke(act, credential)
    return api.Done(id=credential.id, text=f"revoked {credential.name}")


def revoke(act: Act, credential: Credential) -> None:
    """Revoke a credential; it is refused from the next request on."""
    act.put(
        "credential",
        msgspec.structs.replace(credential, revoked_at=timestamp(act.now)),
        on=act.first_resource,
        parent_id=credential.principal_id,
    )


def _act_rotate(act: Act, args: api.Named) -> api.Shown:
    old = act.context.credential(args.name)
    if old.revoked_at:
        raise ConflictError("the key is revoked already", code="key.revoked")
    if old.issuer:
        raise ConflictError(
            "a federated credential has no secret to replace",
            code="key.federated",
            hint="its issuer turns its keys over; `vallum key revoke` ends it",
        )
    if old.made_with:
        raise ConflictError(
            "a session or token is not replaced", code="key.session", hint="get another"
        )
    if old.id != act.caller.credential_id or act.caller.session is Session.TOKEN:
        refuse_lesser(act)
    owner = act.context.principal(old.principal_id)
    if owner.id != act.caller.id:
        act.refuse_escalation(AccessChange(act_as=(owner.id,)), ())
    revoke(act, old)
    return issue(
        act,
        owner,
        name=old.name,
        expires_at=old.expires_at,
        actions=old.actions,
        scope=old.scope,
        endpoint_id=old.endpoint_id,
    )


def _own_list_asks(context: Context, args: api.Page, caller: Caller) -> Sequence[Ask]:
    return ()  # everyone sees their own; the rest needs `keys/read`


STEPS = (
    Step("identity.list", api.Page, on_workspace("identities/read"), _act_list_identities,
         Effect.READ),
    Step("identity.create", api.IdentityCreate, on_workspace("identities/write"),
         _act_create_identity),
    Step("identity.disable", api.Named, on_workspace("identities/write"), _act_disable),
    Step("identity.federate", rules.Federate,
         on_workspace("identities/federatedCredentials/write"), _act_federate,
         threat="privilege-escalation"),
    Step("group.list", api.Page, on_workspace("groups/read"), _act_list_groups, Effect.READ),
    Step("group.create", api.IdentityCreate, on_workspace("groups/write"), _act_create_group),
    Step("group.add", api.GroupChange, on_workspace("groups/write"), _act_add),
    Step("group.remove", api.GroupChange, on_workspace("groups/write"), _act_remove),
    Step("key.list", api.Page, _own_list_asks, _act_list_keys, Effect.READ),
    Step("key.create", api.KeyCreate, _create_key_asks, _act_create_key),
    Step("key.rotate", api.Named, _key_asks("keys/rotate/action"), _act_rotate),
    Step("key.revoke", api.Named, _key_asks("keys/delete"), _act_revoke),
)  # fmt: skip
