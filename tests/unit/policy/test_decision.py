"""Decisions, beside a brute-force oracle of the documented rules over small worlds."""

import re
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vallum.base import InputError, timestamp
from vallum.policy import Authority, BreakGlass, RequestFacts, Requirements, decide, visible
from vallum.policy.actions import Action, full_name
from vallum.policy.data_actions import DATA_ACTIONS
from vallum.policy.roles import DATA_OWNER, OWNER, READER, SYSTEM
from vallum.schema import (
    Ask,
    Caller,
    DenyAssignment,
    Principal,
    PrincipalKind,
    Reason,
    Resource,
    Role,
    RoleAssignment,
    Session,
)

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
FACTS = RequestFacts(now=NOW)
OPEN = Requirements(version="vallum.policy/1")
USER = Caller(id="user-1", kind=PrincipalKind.USER, name="u")
WS = Resource(id="ws-1", kind="ws", chain=("ws-1",), kind_path="workspaces")
DATA = Resource(id="data-1", kind="data", chain=("data-1", "ws-1"), kind_path="data")
VERSION = Resource(
    id="dver-1", kind="dver", chain=("dver-1", "data-1", "ws-1"), kind_path="data/versions"
)
COLUMN = Resource(
    id="dver-1",
    kind="dver",
    chain=("dver-1/columns/age", "dver-1", "data-1", "ws-1"),
    kind_path="data/versions",
    label="public",
)
OTHER = Resource(id="data-2", kind="data", chain=("data-2", "ws-1"), kind_path="data")


def give(role: Role | str, scope: str, to: str = "user-1", **more: str) -> RoleAssignment:
    role_id = role if isinstance(role, str) else role.id
    return RoleAssignment(
        id=f"ra-{role_id}-{scope}-{to}", role_id=role_id, principal_id=to, scope=scope, **more
    )


def allows(
    authority: Authority,
    action: str,
    on: Resource,
    caller: Caller = USER,
    facts: RequestFacts = FACTS,
) -> bool:
    decision = decide([Ask(action=action, resource=on)], caller, authority=authority, facts=facts)
    assert decision.allowed is visible(action, caller, on, authority=authority, facts=facts)
    return decision.allowed


# --- the oracle -----------------------------------------------------------------------------

ROLES = [
    Role(id="role-a", name="a", actions=("*",), not_actions=("*/write",)),
    Role(id="role-b", name="b", actions=("data/*",), data_actions=("data/versions/content/read",)),
    Role(id="role-c", name="c", actions=("*/read",), data_actions=("*",), not_data_actions=("j*",)),
    Role(id="role-d", name="d", actions=("microsoft.machinelearningservices/workspaces/*/WRITE",)),
    Role(id="role-e", name="e", actions=("data/versions/content/read",)),
]
CONDITIONS = {
    "": lambda _resource: True,
    "@Resource[label] StringEquals 'public'": lambda resource: resource.label == "public",
    "NOT @Resource[label] StringEquals 'public'": lambda resource: resource.label != "public",
    "@Resource[tag:x] StringEquals 'y'": lambda _resource: None,  # nothing here has the tag
    "not a condition": lambda _resource: None,
}
EXPIRIES = {
    "": True,
    timestamp(NOW): False,
    timestamp(NOW + timedelta(seconds=1)): True,
    "x": False,
}
ACTIONS = [
    "data/read",
    "data/versions/read",
    "data/versions/write",
    "data/versions/content/read",
    "jobs/logs/read",
    "dataGrants/write",
]
PRINCIPALS = ["user-1", "grp-1", "grp-2"]
SCOPES = ["ws-1", "data-1", "dver-1", "dver-1/columns/age", "data-2"]


def often(value: str, *others: str) -> st.SearchStrategy[str]:
    """Mostly `value`, so that grants and denies meet often enough to matter."""
    return st.sampled_from([value] * max(4, len(others)) + list(others))


assignments = st.lists(
    st.builds(
        RoleAssignment,
        id=st.uuids().map(str),
        role_id=often("role-a", *(role.id for role in ROLES), "role-none"),
        principal_id=often("user-1", *PRINCIPALS, "user-2"),
        scope=st.sampled_from(SCOPES),
        condition=often("", *CONDITIONS),
        expires_at=often("", *EXPIRIES),
    ),
    max_size=5,
)
patterns = st.lists(often("*", "data/*", "*/read", "*/content/read"), max_size=2)
fewer_patterns = st.lists(st.sampled_from(["data/*", "*/content/read"]), max_size=1)
denies = st.lists(
    st.builds(
        DenyAssignment,
        id=st.uuids().map(str),
        name=st.just("no"),
        scope=st.sampled_from(SCOPES),
        actions=patterns.map(tuple),
        not_actions=fewer_patterns.map(tuple),
        data_actions=patterns.map(tuple),
        not_data_actions=fewer_patterns.map(tuple),
        principals=st.lists(often("user-1", *PRINCIPALS, "*"), min_size=1, max_size=2).map(tuple),
        exclude_principals=st.lists(st.sampled_from(PRINCIPALS), max_size=1).map(tuple),
        do_not_apply_to_children=st.booleans(),
        condition=st.sampled_from(list(CONDITIONS)),
    ),
    max_size=3,
)
callers = st.builds(
    Caller,
    id=st.just("user-1"),
    kind=st.just(PrincipalKind.USER),
    name=st.just("u"),
    groups=st.lists(st.sampled_from(["grp-1", "grp-2"]), unique=True).map(tuple),
    key_scope=st.sampled_from(["", "data-1"]),
)
resources = st.sampled_from([WS, DATA, VERSION, COLUMN, COLUMN, OTHER])


def _listed(listed: tuple[str, ...], action: str) -> bool:
    names = (action.lower(), full_name(action).lower())
    return any(
        re.fullmatch(re.escape(one.lower()).replace(r"\*", ".*"), name)
        or re.fullmatch(re.escape(one.lower()).replace(r"/\*/", "/"), name)
        for one in listed
        for name in names
    )


def _granted(record: Role | DenyAssignment, action: str) -> bool:
    if action in DATA_ACTIONS:
        return _listed(record.data_actions, action) and not _listed(record.not_data_actions, action)
    return _listed(record.actions, action) and not _listed(record.not_actions, action)


def oracle(
    given_: list[RoleAssignment],
    denied: list[DenyAssignment],
    caller: Caller,
    action: str,
    on: Resource,
) -> bool:
    """DESIGN.md section 7, read slowly: some assignment holds that no deny reaches."""
    roles = {role.id: role for role in ROLES}
    me = {caller.id, *caller.groups}
    if caller.key_scope and caller.key_scope not in on.chain:
        return False
    for one in given_:
        applies = (
            one.role_id in roles
            and one.principal_id in me
            and one.scope in on.chain
            and EXPIRIES[one.expires_at]
            and CONDITIONS[one.condition](on) is True
            and _granted(roles[one.role_id], action)
        )
        reached = applies and any(
            ("*" in deny.principals or me & set(deny.principals))
            and not me & set(deny.exclude_principals)
            and deny.scope in on.chain
            and (deny.scope == on.chain[0] or not deny.do_not_apply_to_children)
            and CONDITIONS[deny.condition](on) is not False
            and _granted(deny, action)
            # a deny at a scope cannot hit what is assigned above it
            and on.chain.index(deny.scope) >= on.chain.index(one.scope)
            for deny in denied
        )
        if applies and not reached:
            return True
    return False


@settings(max_examples=500)
@given(assignments, denies, callers, st.sampled_from(ACTIONS), resources)
def test_decide_agrees_with_the_rules_read_slowly(
    given_: list[RoleAssignment],
    denied: list[DenyAssignment],
    caller: Caller,
    action: str,
    on: Resource,
) -> None:
    authority = Authority.compile(ROLES, given_, denied, requirements=OPEN)
    assert allows(authority, action, on, caller) is oracle(given_, denied, caller, action, on)


@settings(max_examples=150)
@given(assignments, denies, callers, st.sampled_from(ACTIONS), resources, st.data())
def test_removing_an_assignment_or_adding_a_deny_never_allows_more(  # noqa: PLR0917 - as above
    given_: list[RoleAssignment],
    denied: list[DenyAssignment],
    caller: Caller,
    action: str,
    on: Resource,
    data: st.DataObject,
) -> None:
    fewer = [one for one in given_ if data.draw(st.booleans())]
    less_denied = [one for one in denied if data.draw(st.booleans())]
    small = Authority.compile(ROLES, fewer, denied, requirements=OPEN)
    large = Authority.compile(ROLES, given_, less_denied, requirements=OPEN)
    assert allows(large, action, on, caller) or not allows(small, action, on, caller)


# --- single rules ----------------------------------------------------------------------------


def test_nothing_is_allowed_without_a_role() -> None:
    authority = Authority.compile([], [])
    decision = decide(
        [Ask(action="data/read", resource=DATA)], USER, authority=authority, facts=FACTS
    )
    assert decision.reasons == (
        Reason(kind="default", id="", text="`data/read` is not granted on `data-1`"),
    )
    assert (decision.allowed, decision.concealed) == (False, True)


def test_a_refused_right_on_a_readable_resource_is_not_concealed() -> None:
    authority = Authority.compile([], [give(READER, "ws-1")])
    asks = [
        Ask(action="data/write", resource=DATA),
        Ask(action="data/versions/content/read", resource=VERSION),
        Ask(action="data/read", resource=DATA),
    ]
    decision = decide(asks, USER, authority=authority, facts=FACTS)
    assert [reason.text for reason in decision.reasons] == [
        "`data/write` is not granted on `data-1`",
        "`data/versions/content/read` is not granted on `dver-1`",
    ]
    assert (decision.allowed, decision.concealed) == (False, False)


def test_one_unreadable_resource_conceals_the_refusal_even_without_a_kind_path() -> None:
    authority = Authority.compile([], [give(READER, "data-1")])
    hidden = Resource(id="data-2", kind="data", chain=("data-2", "ws-1"))
    asks = [Ask(action="data/write", resource=one) for one in (DATA, hidden)]
    assert decide(asks, USER, authority=authority, facts=FACTS).concealed
    assert not decide(asks[:1], USER, authority=authority, facts=FACTS).concealed


def test_an_allowed_decision_names_the_assignment_of_each_ask() -> None:
    authority = Authority.compile([], [give(OWNER, "ws-1")], generation=7)
    decision = decide(
        [Ask(action="DATA/READ", resource=DATA)],
        USER,
        authority=authority,
        facts=RequestFacts(now=NOW, request_digest="sha256:1"),
    )
    assert decision.allowed
    assert (decision.generation, decision.request_digest) == (7, "sha256:1")
    assert decision.reasons[0].id == "ra-role-owner-ws-1-user-1"
    assert decision.reasons[0].text == "role `Owner` at `ws-1` allows `data/read`"


@pytest.mark.guarantee("G3")
@pytest.mark.parametrize("action", sorted(DATA_ACTIONS))
def test_the_owner_of_the_control_plane_reads_no_data(action: str) -> None:
    control = Authority.compile([], [give(OWNER, "ws-1")])
    data = Authority.compile([], [give(DATA_OWNER, "ws-1")])
    there = RequestFacts(now=NOW, interactive=True)
    assert not allows(control, action, VERSION, facts=there)
    assert allows(data, action, VERSION, facts=there)


def test_an_assignment_to_a_column_opens_that_column_only() -> None:
    authority = Authority.compile([], [give(DATA_OWNER, "dver-1/columns/age")])
    assert allows(authority, "data/versions/content/read", COLUMN)
    assert not allows(authority, "data/versions/content/read", VERSION)


@pytest.mark.parametrize("chain", [(), ("ws-1",), ("dver-10", "ws-1")])
def test_a_chain_that_does_not_begin_at_the_resource_is_refused(chain: tuple[str, ...]) -> None:
    authority = Authority.compile([], [give(OWNER, "ws-1")])
    forged = Resource(id="dver-1", kind="dver", chain=chain)
    assert not allows(authority, "data/versions/read", forged)


@pytest.mark.parametrize("action", ["", "*", "data/*", "data/unknown", "data/read "])
def test_what_is_not_in_the_catalogue_is_refused(action: str) -> None:
    authority = Authority.compile([], [give(OWNER, "ws-1")])
    assert not allows(authority, action, DATA)
    bare = Resource(id="data-1", kind="data", chain=DATA.chain)
    decision = decide([Ask(action=action, resource=bare)], USER, authority=authority, facts=FACTS)
    assert decision.concealed  # nobody knows what reading would mean


@pytest.mark.parametrize(("role", "concealed"), [(READER, False), (None, True)])
def test_content_is_concealed_from_who_may_not_read_the_record(
    role: Role | None, *, concealed: bool
) -> None:
    authority = Authority.compile([], [give(role, "ws-1")] if role else [])
    bare = Resource(id="dver-1", kind="dver", chain=VERSION.chain)
    ask = Ask(action="data/versions/content/read", resource=bare)
    assert decide([ask], USER, authority=authority, facts=FACTS).concealed is concealed


def test_a_list_under_a_step_shows_only_what_decide_would_allow_without_evidence() -> None:
    authority = Authority.compile([], [give(OWNER, "ws-1")])
    assert not allows(authority, "data/read", DATA, facts=RequestFacts(now=NOW, step="deploy"))


def test_a_system_principal_needs_an_assignment_but_no_place_in_the_directory() -> None:
    timer = Caller(id="sys-timer", kind=PrincipalKind.SYSTEM, name="timer")
    held = Authority.compile([], [give(SYSTEM, "ws-1", to="sys-timer")], (), _directory())
    assert allows(held, "keys/delete", WS, timer)
    assert not allows(Authority.compile([], [], (), _directory()), "keys/delete", WS, timer)
    with pytest.raises(InputError, match="there is no principal `sys-timer`"):
        held.caller_of("sys-timer")


def test_an_empty_request_and_a_time_without_zone_are_refused() -> None:
    authority = Authority.compile([], [give(OWNER, "ws-1")])
    assert not decide([], USER, authority=authority, facts=FACTS).allowed
    local = RequestFacts(now=NOW.replace(tzinfo=None))
    assert not allows(authority, "data/read", DATA, facts=local)


def test_a_deny_reaches_its_scope_and_below_and_names_itself() -> None:
    deny = DenyAssignment(
        id="deny-1", name="freeze", scope="data-1", actions=("*",), principals=("*",)
    )
    authority = Authority.compile([], [give(READER, "data-1")], [deny])
    decision = decide(
        [Ask(action="data/versions/read", resource=VERSION)], USER, authority=authority, facts=FACTS
    )
    assert decision.reasons == (
        Reason(
            kind="deny",
            id="deny-1",
            text="deny `freeze` at `data-1` refuses `data/versions/read` on `dver-1`",
        ),
    )


def test_a_deny_cannot_hit_what_is_assigned_above_it() -> None:
    deny = DenyAssignment(id="d", name="d", scope="data-1", actions=("*",), principals=("*",))
    authority = Authority.compile([], [give(READER, "ws-1")], [deny])
    assert allows(authority, "data/read", DATA)
    higher = DenyAssignment(id="d", name="d", scope="ws-1", actions=("*",), principals=("*",))
    assert not allows(Authority.compile([], [give(READER, "ws-1")], [higher]), "data/read", DATA)


def test_a_key_is_good_for_its_actions_and_scope_only() -> None:
    authority = Authority.compile([], [give(OWNER, "ws-1"), give(DATA_OWNER, "ws-1")])
    key = Caller(
        id="user-1",
        kind=PrincipalKind.USER,
        name="u",
        session=Session.API_KEY,
        credential_id="key-1",
        key_actions=("data/*",),
        key_scope="data-1",
    )
    assert allows(authority, "data/versions/read", VERSION, key)
    assert not allows(authority, "data/versions/content/read", VERSION, key)
    assert not allows(authority, "data/read", OTHER, key)
    assert not allows(authority, "jobs/read", VERSION, key)
    ask = Ask(action="data/read", resource=OTHER)
    decision = decide([ask], key, authority=authority, facts=FACTS)
    assert decision.reasons[0].kind == "key"
    assert decision.reasons[0].id == "key-1"


def _directory(*, disabled: bool = False, members: tuple[str, ...] = ("grp-2",)) -> list[Principal]:
    return [
        Principal(id="user-1", kind=PrincipalKind.USER, name="u", disabled=disabled),
        Principal(id="grp-1", kind=PrincipalKind.GROUP, name="g", members=members),
        Principal(id="grp-2", kind=PrincipalKind.GROUP, name="h", members=("user-1", "grp-1")),
    ]


def test_nested_groups_count_as_long_as_the_directory_confirms_them() -> None:
    caller = Caller(id="user-1", kind=PrincipalKind.USER, name="u", groups=("grp-1", "grp-2"))
    roles = [give(READER, "ws-1", to="grp-1")]
    assert allows(Authority.compile([], roles, (), _directory()), "data/read", DATA, caller)
    gone = Authority.compile([], roles, (), _directory(members=()))
    assert not allows(gone, "data/read", DATA, caller)


def test_a_group_that_the_caller_does_not_carry_still_brings_its_denies() -> None:
    deny = DenyAssignment(id="d", name="d", scope="ws-1", actions=("*",), principals=("grp-1",))
    authority = Authority.compile([], [give(READER, "ws-1")], [deny], _directory())
    assert not allows(authority, "data/read", DATA)


def test_a_disabled_or_removed_caller_is_refused_and_learns_nothing() -> None:
    for directory in (_directory(disabled=True), _directory()[1:]):
        authority = Authority.compile([], [give(OWNER, "ws-1")], (), directory)
        decision = decide(
            [Ask(action="data/read", resource=DATA)], USER, authority=authority, facts=FACTS
        )
        assert (decision.allowed, decision.concealed) == (False, True)
        assert decision.reasons[0].text == "`user-1` is disabled or not in the directory"


def test_approving_needs_an_interactive_session() -> None:
    authority = Authority.compile([], [give(OWNER, "ws-1")])
    assert not allows(authority, "approvals/write", WS)
    interactive = RequestFacts(now=NOW, interactive=True)
    assert allows(authority, "approvals/write", WS, facts=interactive)


def test_a_built_in_role_cannot_be_replaced() -> None:
    with pytest.raises(InputError) as caught:
        Authority.compile([Role(id="role-reader", name="Reader", actions=("*",))], [])
    assert caught.value.code == "role.built-in"
    assert caught.value.message == "the built-in role `role-reader` cannot be changed"


# --- break-glass -----------------------------------------------------------------------------


def seal(**changed: object) -> BreakGlass:
    fields = {
        "principal_id": "user-1",
        "reason": "the directory is down",
        "opened_by": ("user-2",),
        "opened_at": timestamp(NOW),
        "expires_at": timestamp(NOW + timedelta(hours=1)),
    }
    return BreakGlass(**(fields | changed))


def test_break_glass_opens_for_a_reason_an_hour_and_an_interactive_session() -> None:
    authority = Authority.compile([], [give(OWNER, "ws-1")], sealed=["user-1"])
    facts = RequestFacts(now=NOW, interactive=True, break_glass=seal())
    assert allows(authority, "data/read", DATA, facts=facts)


@pytest.mark.parametrize(
    ("opened", "interactive", "text"),
    [
        (None, True, "the break-glass principal is sealed"),
        (seal(principal_id="user-3"), True, "the break-glass principal is sealed"),
        (seal(), False, "the break-glass principal acts in an interactive session only"),
        (seal(reason=" "), True, "break-glass needs a reason"),
        (seal(opened_by=()), True, "break-glass was opened by too few persons"),
        (seal(opened_by=("user-1",)), True, "break-glass was opened by too few persons"),
        (seal(expires_at=timestamp(NOW)), True, "break-glass is not open now"),
        (
            seal(expires_at=timestamp(NOW + timedelta(seconds=3601))),
            True,
            "break-glass is not open now",
        ),
        (
            seal(opened_at=timestamp(NOW + timedelta(seconds=1))),
            True,
            "break-glass is not open now",
        ),
        (seal(opened_at="yesterday"), True, "break-glass is not open now"),
    ],
)
def test_a_seal_that_is_not_properly_open_refuses(
    opened: BreakGlass | None, text: str, *, interactive: bool
) -> None:
    authority = Authority.compile([], [give(OWNER, "ws-1")], sealed=["user-1"])
    facts = RequestFacts(now=NOW, interactive=interactive, break_glass=opened)
    decision = decide(
        [Ask(action="data/read", resource=DATA)], USER, authority=authority, facts=facts
    )
    assert [(reason.kind, reason.text) for reason in decision.reasons] == [("break-glass", text)]


def test_policy_may_ask_for_two_persons_to_break_the_glass() -> None:
    two = Requirements(version="vallum.policy/1", break_glass_persons=2)
    authority = Authority.compile([], [give(OWNER, "ws-1")], requirements=two, sealed=["user-1"])
    one = RequestFacts(now=NOW, interactive=True, break_glass=seal())
    both = RequestFacts(now=NOW, interactive=True, break_glass=seal(opened_by=("user-2", "user-3")))
    assert not allows(authority, "data/read", DATA, facts=one)
    assert allows(authority, "data/read", DATA, facts=both)


@pytest.mark.parametrize("action", Action)
def test_every_action_can_be_decided(action: Action) -> None:
    authority = Authority.compile([], [give(OWNER, "ws-1"), give(DATA_OWNER, "ws-1")])
    assert allows(authority, action, WS, facts=RequestFacts(now=NOW, interactive=True))


@pytest.mark.parametrize(
    ("condition", "allowed"),
    [
        ("@Resource[label] StringEquals 'public'", True),  # unclassified is not public
        ("@Resource[label] StringNotEquals 'public'", False),
        ("@Resource[tag:x] StringEquals 'y'", False),  # cannot be decided: hits
        ("NOT @Resource[tag:x] StringEquals 'y'", False),
        ("not a condition", False),
        ("(" * 9_000, False),
    ],
)
def test_a_deny_hits_unless_its_condition_is_known_to_be_false(
    condition: str, *, allowed: bool
) -> None:
    deny = DenyAssignment(
        id="d", name="d", scope="ws-1", actions=("*",), principals=("*",), condition=condition
    )
    authority = Authority.compile([], [give(READER, "ws-1")], [deny])
    assert allows(authority, "data/read", DATA) is allowed


@pytest.mark.parametrize("condition", ["@Resource[tag:x] StringEquals 'y'", "no", "(" * 9_000])
def test_an_assignment_whose_condition_cannot_be_decided_grants_nothing(condition: str) -> None:
    authority = Authority.compile([], [give(READER, "ws-1", condition=condition)])
    assert not allows(authority, "data/read", DATA)


def test_a_disabled_group_gives_nothing() -> None:
    caller = Caller(id="user-1", kind=PrincipalKind.USER, name="u", groups=("grp-2",))
    off = Principal(
        id="grp-2", kind=PrincipalKind.GROUP, name="h", members=("user-1",), disabled=True
    )
    roles = [give(READER, "ws-1", to="grp-2")]
    assert not allows(
        Authority.compile([], roles, (), [*_directory()[:2], off]), "data/read", DATA, caller
    )
    assert allows(Authority.compile([], roles, (), _directory()), "data/read", DATA, caller)


@pytest.mark.parametrize(
    ("tag", "stated", "allowed"),
    [
        (None, "", True),
        ("research", "research", True),
        ("billing, research", "research", True),
        ("research", "", False),
        ("research", "resear", False),
        ("", "", False),  # a tag that names nothing allows nothing
        (" , ", ",", False),
    ],
)
def test_data_with_a_purpose_is_read_for_it_only(
    tag: str | None, stated: str, *, allowed: bool
) -> None:
    authority = Authority.compile(roles=(), assignments=[give(DATA_OWNER, "ws-1")], denies=())
    tagged = msgspec.structs.replace(VERSION, tags={} if tag is None else {"purpose": tag})
    facts = RequestFacts(now=NOW, purpose=stated)
    for action in ("data/versions/content/read", "data/versions/masked/read"):
        assert allows(authority, action, tagged, facts=facts) is allowed
    # What reads nothing of it asks for no purpose.
    assert allows(authority, "data/versions/declassify/action", tagged, facts=facts)
