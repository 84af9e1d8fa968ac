"""What a change of access would change, what it conveys, and who could have granted."""

from datetime import UTC, datetime

import pytest

from vallum.policy import (
    AccessChange,
    AccessDifference,
    Action,
    Authority,
    RequestFacts,
    check_grant,
    decide,
    explain,
    whatif,
)
from vallum.policy.roles import (
    CONTRIBUTOR,
    DATA_OWNER,
    ENDPOINT_INVOKER,
    OWNER,
    READER,
    USER_ACCESS_ADMINISTRATOR,
)
from vallum.schema import (
    Ask,
    Caller,
    DenyAssignment,
    Principal,
    PrincipalKind,
    Resource,
    Role,
    RoleAssignment,
)

FACTS = RequestFacts(now=datetime(2026, 11, 20, 12, tzinfo=UTC))
WS = Resource(id="ws-1", kind="ws", chain=("ws-1",), kind_path="workspaces")
DATA = Resource(id="data-1", kind="data", chain=("data-1", "ws-1"), kind_path="data")
PLACES = (WS, DATA)


def user(name: str) -> Principal:
    return Principal(id=name, kind=PrincipalKind.USER, name=name)


def group(name: str, *members: str) -> Principal:
    return Principal(id=name, kind=PrincipalKind.GROUP, name=name, members=members)


PEOPLE = [user("ann"), user("bob"), user("eve"), group("grp-1", "bob"), group("grp-2")]


def give(role: Role, to: str, scope: str = "ws-1", **more: str) -> RoleAssignment:
    return RoleAssignment(
        id=f"{to}-{role.id}-{scope}", role_id=role.id, principal_id=to, scope=scope, **more
    )


def world(
    *assignments: RoleAssignment,
    denies: tuple[DenyAssignment, ...] = (),
    people: list[Principal] = PEOPLE,
    roles: tuple[Role, ...] = (),
) -> Authority:
    return Authority.compile(roles, assignments, denies, people)


def edges(authority: Authority, by: str, change: AccessChange) -> set[tuple[str, str, str]]:
    caller = authority.caller_of(by)
    found = check_grant(authority, caller, change, places=PLACES, facts=FACTS)
    return {(one.edge, one.action, one.text) for one in found}


BEYOND = "is beyond the author's own rights"


def test_the_owner_gives_any_control_right_and_no_data_right() -> None:
    authority = world(give(OWNER, "ann"))
    assert edges(authority, "ann", AccessChange(assign=(give(OWNER, "bob"),))) == set()
    invoker = AccessChange(assign=(give(ENDPOINT_INVOKER, "bob"),))
    assert edges(authority, "ann", invoker) == {
        (
            "assignment bob-role-vallum-endpoint-invoker-ws-1",
            f"onlineEndpoints/{verb}/action",
            "needs `dataGrants/write`",
        )
        for verb in ("score", "token")
    }


def test_data_rights_are_given_by_whoever_may_but_not_to_oneself() -> None:
    authority = world(give(OWNER, "ann"), give(DATA_OWNER, "bob"))
    own = AccessChange(assign=(give(DATA_OWNER, "ann"),))
    assert {text for _, _, text in edges(authority, "ann", own)} == {"needs `dataGrants/write`"}
    score = Role(
        id="role-s", name="s", data_actions=("onlineEndpoints/score/*",), assignable_scopes=("/",)
    )
    giver = Role(id="role-g", name="g", data_actions=("dataGrants/write",))
    more = world(give(giver, "bob"), roles=(score, giver))
    assert edges(more, "bob", AccessChange(assign=(give(score, "eve"),))) == set()
    to_self = {("assignment bob-role-s-ws-1", "onlineEndpoints/score/action")}
    refused = edges(more, "bob", AccessChange(assign=(give(score, "bob"),)))
    assert {(edge, action) for edge, action, _ in refused} == to_self
    through_group = edges(more, "bob", AccessChange(assign=(give(score, "grp-1"),)))
    assert {text for _, _, text in through_group} == {"data rights are given by another person"}


def test_one_person_alone_may_give_itself_data_rights() -> None:
    giver = Role(id="role-g", name="g", data_actions=("dataGrants/write",))
    authority = world(give(giver, "ann"), people=[user("ann")], roles=(giver,))
    change = AccessChange(assign=(give(DATA_OWNER, "ann"),))
    assert edges(authority, "ann", change) == set()


def test_an_access_administrator_gives_at_most_its_own_rights() -> None:
    authority = world(give(USER_ACCESS_ADMINISTRATOR, "ann"))
    assert edges(authority, "ann", AccessChange(assign=(give(READER, "bob"),))) == set()
    refused = edges(authority, "ann", AccessChange(assign=(give(CONTRIBUTOR, "bob"),)))
    assert ("assignment bob-role-contributor-ws-1", "models/write", BEYOND) in refused
    assert {text for _, _, text in refused} == {BEYOND}


def test_rights_at_a_lower_scope_do_not_reach_up() -> None:
    authority = world(give(OWNER, "ann", "data-1"))
    assert edges(authority, "ann", AccessChange(assign=(give(READER, "bob", "data-1"),))) == set()
    assert edges(authority, "ann", AccessChange(assign=(give(READER, "bob"),))) != set()


def test_a_conditional_or_expiring_right_is_not_given_on_without_its_bounds() -> None:
    condition = "@Resource[label] StringNotEquals 'public'"
    until = "2026-12-01T00:00:00Z"
    authority = world(give(OWNER, "ann", condition=condition, expires_at=until))
    bounded = give(READER, "bob", condition=condition, expires_at=until)
    assert edges(authority, "ann", AccessChange(assign=(bounded,))) == set()
    for looser in ({"condition": condition}, {"expires_at": until}):
        change = AccessChange(assign=(give(READER, "bob", **looser),))
        assert {text for _, _, text in edges(authority, "ann", change)} == {BEYOND}


def test_an_unknown_scope_or_role_or_a_scope_outside_the_roles_own_is_refused() -> None:
    bound = Role(id="role-d", name="d", actions=("*/read",), assignable_scopes=("data-1",))
    authority = world(give(OWNER, "ann"), roles=(bound,))
    assert edges(authority, "ann", AccessChange(assign=(give(bound, "bob", "data-1"),))) == set()
    for scope, role, text in (
        ("ws-1", bound, "role `d` cannot be assigned at this scope"),
        ("ws-9", READER, "nothing is known of this scope"),
        ("ws-1", Role(id="role-none", name="n"), "there is no role `role-none`"),
    ):
        refused = edges(authority, "ann", AccessChange(assign=(give(role, "bob", scope),)))
        assert text in {found for _, _, found in refused}


def test_widening_a_role_is_giving_what_it_gains_to_all_who_have_it() -> None:
    narrow = Role(id="role-n", name="n", actions=("data/read",), assignable_scopes=("/",))
    wide = Role(id="role-n", name="n", actions=("data/*",), assignable_scopes=("/",))
    authority = world(give(USER_ACCESS_ADMINISTRATOR, "ann"), give(narrow, "bob"), roles=(narrow,))
    refused = edges(authority, "ann", AccessChange(roles=(wide,)))
    assert ("role role-n", "data/write", BEYOND) in refused
    assert "data/read" not in {action for _, action, _ in refused}


def test_joining_a_group_is_being_given_what_it_has_also_through_nesting() -> None:
    authority = world(give(USER_ACCESS_ADMINISTRATOR, "ann"), give(OWNER, "grp-2"))
    direct = AccessChange(principals=(group("grp-2", "eve"),))
    nested = AccessChange(principals=(group("grp-2", "grp-1"), group("grp-1", "bob", "eve")))
    for change, edge in ((direct, "group grp-2"), (nested, "group grp-1")):
        assert (edge, "policy/write", BEYOND) in edges(authority, "ann", change)
    harmless = AccessChange(principals=(group("grp-1", "bob", "eve"),))
    assert edges(authority, "ann", harmless) == set()


def test_minting_a_credential_conveys_what_its_principal_may() -> None:
    authority = world(give(USER_ACCESS_ADMINISTRATOR, "ann"), give(OWNER, "bob"))
    refused = edges(authority, "ann", AccessChange(act_as=("bob",)))
    assert ("credential of bob", "policy/write", BEYOND) in refused
    assert edges(authority, "ann", AccessChange(act_as=("ann",))) == set()
    assert edges(authority, "bob", AccessChange(act_as=("ann",))) == set()


def test_attaching_an_identity_conveys_its_rights_to_the_holder() -> None:
    authority = world(give(OWNER, "ann"), give(DATA_OWNER, "eve"))
    change = AccessChange(act_as=("eve",), holder="bob")
    assert {text for _, _, text in edges(authority, "ann", change)} == {"needs `dataGrants/write`"}


def test_nobody_mints_a_credential_of_the_break_glass_principal() -> None:
    authority = Authority.compile([], [give(OWNER, "ann")], (), PEOPLE, sealed=["eve"])
    refused = edges(authority, "ann", AccessChange(act_as=("eve",)))
    assert refused == {("credential of eve", "", "nothing is known of this scope")}


def test_enabling_a_principal_again_gives_back_all_its_rights() -> None:
    off = Principal(id="bob", kind=PrincipalKind.USER, name="bob", disabled=True)
    people = [user("ann"), off, user("eve")]
    authority = world(give(USER_ACCESS_ADMINISTRATOR, "ann"), give(OWNER, "bob"), people=people)
    refused = edges(authority, "ann", AccessChange(principals=(user("bob"),)))
    assert ("principal bob", "policy/write", BEYOND) in refused


def test_lifting_a_deny_also_by_leaving_its_group_is_giving_what_it_took() -> None:
    deny = DenyAssignment(
        id="deny-1",
        name="d",
        scope="ws-1",
        actions=("policy/write",),
        principals=("grp-1",),
        exclude_principals=("grp-2",),
    )
    authority = world(give(USER_ACCESS_ADMINISTRATOR, "ann"), give(OWNER, "eve"), denies=(deny,))
    for change in (
        AccessChange(undeny=("deny-1",)),
        AccessChange(principals=(group("grp-1"),)),
        AccessChange(principals=(group("grp-2", "bob"),)),
    ):
        assert edges(authority, "ann", change) == {("deny deny-1", "policy/write", BEYOND)}
        assert edges(authority, "eve", change) == set()


def test_editing_the_policy_file_needs_every_control_right() -> None:
    authority = world(give(OWNER, "ann"), give(CONTRIBUTOR, "bob"))
    change = AccessChange(policy=True)
    assert edges(authority, "ann", change) == set()
    assert ("policy", "policy/write", "a policy edit needs every control right") in edges(
        authority, "bob", change
    )
    caller = authority.caller_of("ann")
    unknown = check_grant(authority, caller, change, places=(), facts=FACTS)
    assert [one.text for one in unknown] == ["nothing is known of the workspace"]


def test_a_narrowed_key_gives_no_more_than_itself() -> None:
    authority = world(give(OWNER, "ann"))
    key = Caller(
        id="ann", kind=PrincipalKind.USER, name="ann", key_actions=("roleAssignments/write",)
    )
    change = AccessChange(assign=(give(READER, "bob"),))
    found = check_grant(authority, key, change, places=PLACES, facts=FACTS)
    assert {one.text for one in found} == {BEYOND}


def test_whatif_names_each_right_gained_and_lost() -> None:
    only = Role(id="role-o", name="o", actions=("data/read",), assignable_scopes=("/",))
    authority = world(give(only, "bob"), roles=(only,))
    change = AccessChange(
        unassign=("bob-role-o-ws-1",), assign=(give(only, "grp-2", "data-1"),),
        principals=(group("grp-2", "eve"),),
    )  # fmt: skip
    assert whatif(authority, change, resources=(WS, DATA), facts=FACTS) == (
        AccessDifference("bob", Action.DATA_READ, "ws-1", after=False),
        AccessDifference("bob", Action.DATA_READ, "data-1", after=False),
        AccessDifference("eve", Action.DATA_READ, "data-1", after=True),
    )
    assert whatif(authority, AccessChange(), resources=(WS, DATA), facts=FACTS) == ()


def test_whatif_works_without_a_directory() -> None:
    authority = Authority.compile([], [])
    change = AccessChange(assign=(give(ENDPOINT_INVOKER, "bob"),))
    gained = whatif(authority, change, resources=(WS,), facts=FACTS)
    assert [one.action for one in gained] == [
        "onlineEndpoints/read",
        "onlineEndpoints/score/action",
        "onlineEndpoints/token/action",
    ]


@pytest.mark.parametrize(
    ("action", "grantors"),
    [("models/write", ("ann",)), ("onlineEndpoints/score/action", ("eve",))],
)
def test_explain_names_the_missing_right_and_who_can_grant_it(
    action: str, grantors: tuple[str, ...]
) -> None:
    authority = world(give(OWNER, "ann"), give(READER, "bob"), give(DATA_OWNER, "eve"))
    ask = Ask(action=action, resource=DATA)
    caller = authority.caller_of("bob")
    decision = decide([ask], caller, authority=authority, facts=FACTS)
    explanation = explain(decision, authority=authority, facts=FACTS)
    assert not explanation.allowed
    assert explanation.determined == decision.reasons
    assert [(one.action, one.resource_id, one.scopes) for one in explanation.missing] == [
        (action, "data-1", ("data-1", "ws-1"))
    ]
    assert explanation.missing[0].grantors == grantors


def test_rights_that_need_an_interactive_session_are_explained_and_compared_too() -> None:
    authority = world(give(OWNER, "ann"), give(READER, "bob"))
    ask = Ask(action="approvals/write", resource=WS)
    ann = decide([ask], authority.caller_of("ann"), authority=authority, facts=FACTS)
    assert [reason.kind for reason in ann.reasons] == ["session"]
    assert explain(ann, authority=authority, facts=FACTS).missing == ()
    bob = decide([ask], authority.caller_of("bob"), authority=authority, facts=FACTS)
    assert explain(bob, authority=authority, facts=FACTS).missing[0].grantors == ("ann",)
    change = AccessChange(assign=(give(OWNER, "eve"),))
    gained = whatif(authority, change, resources=(WS,), facts=FACTS)
    assert "approvals/write" in {one.action for one in gained}


def test_explain_finds_grantors_without_a_directory_too() -> None:
    authority = Authority.compile([], [give(OWNER, "ann"), give(READER, "bob")])
    bob = Caller(id="bob", kind=PrincipalKind.USER, name="bob")
    ask = Ask(action="data/write", resource=DATA)
    decision = decide([ask], bob, authority=authority, facts=FACTS)
    missing = explain(decision, authority=authority, facts=FACTS).missing
    assert [one.grantors for one in missing] == [("ann",)]


def test_explain_of_an_allowed_request_names_what_allowed_it() -> None:
    authority = Authority.compile([], [give(READER, "bob")])
    bob = Caller(id="bob", kind=PrincipalKind.USER, name="bob")
    decision = decide(
        [Ask(action="data/read", resource=DATA)], bob, authority=authority, facts=FACTS
    )
    explanation = explain(decision, authority=authority, facts=FACTS)
    assert (explanation.allowed, explanation.missing) == (True, ())
    assert explanation.determined[0].id == "bob-role-reader-ws-1"
