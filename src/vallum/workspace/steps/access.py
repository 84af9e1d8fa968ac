"""Steps on roles, assignments and denies. What would escalate is refused with the edge named."""

from collections.abc import Sequence

from vallum.base import ConflictError, InputError, NotFoundError, new_id, stored_time
from vallum.policy import (
    BUILT_IN_ROLES,
    AccessChange,
    EvidenceView,
    RequestFacts,
    decide,
    explain,
    find_action,
    granted,
    import_role,
    parse_condition,
    whatif,
)
from vallum.schema import (
    Ask,
    Caller,
    DenyAssignment,
    Resource,
    Role,
    RoleAssignment,
    api,
)
from vallum.workspace.context import Context, ask
from vallum.workspace.step import Act, Effect, Step, on_workspace

EVERYONE = "*"


def _role(act: Act, name: str) -> Role:
    for role in BUILT_IN_ROLES:
        if name in {role.id, role.name} or role.name.casefold() == name.casefold():
            return role
    for role in act.context.all("role", Role):
        if name == role.id or role.name.casefold() == name.casefold():
            return role
    raise NotFoundError(f"no role is called `{name[:80]}`", hint="vallum role list")


def _act_list(act: Act, args: api.Page) -> api.Listing:
    custom = act.context.all("role", Role)
    return api.Listing(
        roles=(*BUILT_IN_ROLES, *custom),
        assignments=tuple(act.context.all("role-assignment", RoleAssignment)),
        denies=tuple(act.context.all("deny-assignment", DenyAssignment)),
    )


def _act_show(act: Act, args: api.Named) -> api.Listing:
    role = _role(act, args.name)
    held = [
        one for one in act.context.all("role-assignment", RoleAssignment) if one.role_id == role.id
    ]
    return api.Listing(roles=(role,), assignments=tuple(held))


def _store_role(act: Act, role: Role) -> None:
    workspace_id = act.context.workspace_id
    act.put("role", role, on=workspace_id, parent_id=workspace_id)


def _custom_id(act: Act, name: str) -> str:
    if any(role.name.casefold() == name.casefold() for role in BUILT_IN_ROLES):
        raise ConflictError(f"`{name}` is a built-in role", code="role.built-in")
    for role in act.context.all("role", Role):
        if role.name.casefold() == name.casefold():
            return role.id
    return str(new_id("role"))


def _act_create(act: Act, args: api.RoleCreate) -> api.Done:
    if not args.name.strip() or len(args.name) > 128:  # noqa: PLR2004 - as names elsewhere
        raise InputError("a role name has 1 to 128 characters", code="role.name")
    _check_patterns(args)
    role = Role(
        id=_custom_id(act, args.name),
        name=args.name,
        description=args.description,
        actions=args.actions,
        not_actions=args.not_actions,
        data_actions=args.data_actions,
        not_data_actions=args.not_data_actions,
        assignable_scopes=(act.context.workspace_id,),
    )
    act.refuse_escalation(AccessChange(roles=(role,)), ())
    _store_role(act, role)
    return api.Done(id=role.id, text=f"role {role.name} is defined")


def _check_patterns(args: api.RoleCreate) -> None:
    """Refuse a pattern that grants nothing here: a typing error would look like a right.

    Raises:
        InputError: It matches no action of its plane.
    """
    for plane, patterns in (("actions", args.actions), ("data_actions", args.data_actions)):
        for pattern in patterns:
            lists = {"actions": (), "data_actions": (), plane: (pattern,)}
            if not granted(lists["actions"], (), lists["data_actions"], ()):
                raise InputError(
                    f"`{pattern[:80]}` matches no action that {plane} can grant",
                    code="role.pattern",
                    hint="docs/reference/actions.md lists them, with their planes",
                )


def _act_import(act: Act, args: api.RoleImport) -> api.RoleImported:
    workspace_id = act.context.workspace_id
    report = import_role(
        args.document.encode(),
        role_id=str(new_id("role")),
        workspace_scope=workspace_id,
        scope_map=args.scopes,
    )
    differences = tuple(
        f"{one.kind.value}: {one.subject}: {one.text}" for one in report.differences
    )
    for role in act.context.all("role", Role):
        if role.name.casefold() == report.role.name.casefold():
            raise ConflictError(f"role `{role.name}` exists already", code="role.exists")
    if not args.dry_run:
        act.refuse_escalation(AccessChange(roles=(report.role,)), ())
        _store_role(act, report.role)
    return api.RoleImported(role=report.role, differences=differences, dry_run=args.dry_run)


def _assign_asks(context: Context, args: api.RoleAssign, caller: Caller) -> Sequence[Ask]:
    return ask("roleAssignments/write", context.scope(args.scope))


def _assignment(act: Act, args: api.RoleAssign) -> tuple[RoleAssignment, Resource]:
    place = act.context.scope(args.scope)
    if args.condition:
        parse_condition(args.condition)
    try:
        expires_at = stored_time(args.expires_at) if args.expires_at else ""
    except ValueError as error:
        raise InputError(
            "the expiry is not a time", code="role.expiry", hint="write it as 2027-01-31T00:00:00Z"
        ) from error
    return (
        RoleAssignment(
            id=str(new_id("ra")),
            role_id=_role(act, args.role).id,
            principal_id=act.context.principal(args.principal).id,
            scope=place.chain[0],
            condition=args.condition,
            expires_at=expires_at,
        ),
        place,
    )


def _act_assign(act: Act, args: api.RoleAssign) -> api.Done:
    assignment, place = _assignment(act, args)
    act.refuse_escalation(AccessChange(assign=(assignment,)), (place,))
    act.put("role-assignment", assignment, on=place.id, parent_id=act.context.workspace_id)
    return api.Done(id=assignment.id, text=f"{args.principal} has {args.role}")


def _unassign_asks(context: Context, args: api.Named, caller: Caller) -> Sequence[Ask]:
    for one in context.all("role-assignment", RoleAssignment):
        if one.id == args.name:
            return ask("roleAssignments/delete", context.workspace())
    for deny in context.all("deny-assignment", DenyAssignment):
        if deny.id == args.name:
            return ask("denyAssignments/delete", context.workspace())
    raise NotFoundError("no such assignment")


def _act_unassign(act: Act, args: api.Named) -> api.Done:
    top = act.context.workspace_id
    if args.name.startswith("deny-"):
        act.refuse_escalation(AccessChange(undeny=(args.name,)), ())
        act.remove("deny-assignment", args.name, on=top)
        return api.Done(id=args.name, text="the deny is removed")
    _keep_an_owner(act, args.name)
    act.remove("role-assignment", args.name, on=top)
    return api.Done(id=args.name, text="the assignment is removed")


def _keep_an_owner(act: Act, removed: str) -> None:
    """Refuse to remove the last way in."""
    owner = next(role.id for role in BUILT_IN_ROLES if role.name == "Owner")
    top = act.context.workspace_id
    left = [
        one
        for one in act.context.all("role-assignment", RoleAssignment)
        if one.role_id == owner and one.scope == top and one.id != removed and not one.condition
    ]
    if not left:
        raise ConflictError(
            "the workspace would have no owner", code="role.last-owner",
            hint="assign Owner to somebody else first",
        )  # fmt: skip


def _deny_asks(context: Context, args: api.RoleDeny, caller: Caller) -> Sequence[Ask]:
    return ask("denyAssignments/write", context.scope(args.scope))


def _act_deny(act: Act, args: api.RoleDeny) -> api.Done:
    place = act.context.scope(args.scope)
    if args.condition:
        parse_condition(args.condition)
    if not args.actions and not args.data_actions:
        raise InputError("a deny names at least one action", code="deny.empty")

    def ids(names: Sequence[str]) -> tuple[str, ...]:
        return tuple(name if name == EVERYONE else act.context.principal(name).id for name in names)

    deny = DenyAssignment(
        id=str(new_id("deny")),
        name=args.name,
        scope=place.chain[0],
        actions=args.actions,
        data_actions=args.data_actions,
        principals=ids(args.principals),
        exclude_principals=ids(args.exclude_principals),
        do_not_apply_to_children=args.do_not_apply_to_children,
        condition=args.condition,
    )
    act.refuse_escalation(AccessChange(deny=(deny,)), (place,))
    act.put("deny-assignment", deny, on=place.id, parent_id=act.context.workspace_id)
    return api.Done(id=deny.id, text=f"deny {deny.name} is in force")


def _explain_asks(context: Context, args: api.RoleExplain, caller: Caller) -> Sequence[Ask]:
    if args.principal in {caller.id, caller.name}:
        return ()  # everyone may ask about themselves; what is concealed stays so below
    return ask("roleAssignments/read", context.workspace())


def _act_explain(act: Act, args: api.RoleExplain) -> api.Explanation:
    action = find_action(args.action)
    if action is None:
        raise InputError(
            f"`{args.action[:80]}` is not an action",
            code="action.unknown",
            hint="docs/reference/actions.md lists them",
        )
    principal = act.context.principal(args.principal)
    resource = act.context.scope(args.resource)
    authority = act.rules.authority
    facts = RequestFacts(now=act.now)
    if principal.id == act.caller.id and not act.may("roleAssignments/read", resource):
        reader = Ask(action="workspaces/read", resource=act.context.workspace())
        if not act.may(reader.action, reader.resource) and not act.may(action.value, resource):
            return api.Explanation(allowed=False, reasons=())
    decision = decide(
        ask(action.value, resource),
        authority.caller_of(principal.id),
        authority=authority,
        facts=facts,
        evidence=EvidenceView(),
    )
    told = explain(decision, authority=authority, facts=facts)
    names = {one.id: one.name for one in authority.principals.values()}
    grantors = sorted({names.get(id_, id_) for one in told.missing for id_ in one.grantors})
    return api.Explanation(
        allowed=told.allowed, reasons=told.determined or decision.reasons, grantors=tuple(grantors)
    )


def _act_whatif(act: Act, args: api.RoleWhatIf) -> api.Differences:
    place = act.context.workspace()
    if args.assign is not None:
        assignment, place = _assignment(act, args.assign)
        change = AccessChange(assign=(assignment,))
    elif args.remove.startswith("deny-"):
        change = AccessChange(undeny=(args.remove,))
    elif args.remove:
        change = AccessChange(unassign=(args.remove,))
    else:
        raise InputError("name an assignment to make or to remove", code="whatif.empty")
    found = whatif(act.rules.authority, change, resources=(place,), facts=RequestFacts(now=act.now))
    names = {one.id: one.name for one in act.rules.authority.principals.values()}
    return api.Differences(
        differences=tuple(
            api.Difference(
                principal=names.get(one.principal_id, one.principal_id),
                action=one.action.value,
                scope=one.resource_id,
                before=not one.after,
                after=one.after,
            )
            for one in found
        ),
        escalations=tuple(one.text for one in act.escalations(change, (place,))),
    )


STEPS = (
    Step("role.list", api.Page, on_workspace("roleDefinitions/read", "roleAssignments/read"),
         _act_list, Effect.READ),
    Step("role.show", api.Named, on_workspace("roleDefinitions/read", "roleAssignments/read"),
         _act_show, Effect.READ),
    Step("role.create", api.RoleCreate, on_workspace("roleDefinitions/write"), _act_create,
         threat="privilege-escalation"),
    Step("role.import", api.RoleImport, on_workspace("roleDefinitions/write"), _act_import,
         threat="privilege-escalation"),
    Step("role.assign", api.RoleAssign, _assign_asks, _act_assign,
         threat="privilege-escalation"),
    Step("role.unassign", api.Named, _unassign_asks, _act_unassign),
    Step("role.deny", api.RoleDeny, _deny_asks, _act_deny),
    Step("role.explain", api.RoleExplain, _explain_asks, _act_explain, Effect.READ),
    Step("role.whatif", api.RoleWhatIf, on_workspace("roleAssignments/read"), _act_whatif,
         Effect.READ),
)  # fmt: skip
