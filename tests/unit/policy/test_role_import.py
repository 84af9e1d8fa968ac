"""Import of Azure role files, and the dry run that lists every effective difference."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vallum.base import InputError, LimitExceededError, VallumError
from vallum.policy import DATA_ACTIONS, Action, DifferenceKind, ImportReport, import_role
from vallum.policy.patterns import covered, covered_by_any, granted
from vallum.policy.role_import import MAX_BYTES
from vallum.schema import Role

ML = "Microsoft.MachineLearningServices/workspaces/"
# From Azure's documentation: "Manage access to an Azure Machine Learning workspace", data scientist
# restricted (custom role), in the form that `az role definition create` and PowerShell read.
POWERSHELL = {
    "Name": "Data Scientist Custom",
    "IsCustom": True,
    "Description": "Can run experiments but not deploy or see endpoint keys.",
    "Actions": [f"{ML}*/read", f"{ML}*/action", f"{ML}*/delete", f"{ML}*/write"],
    "NotActions": [
        f"{ML}delete",
        f"{ML}write",
        f"{ML}computes/*/write",
        f"{ML}onlineEndpoints/write",
        f"{ML}listKeys/action",
    ],
    "AssignableScopes": ["/subscriptions/s/resourceGroups/g"],
}


def load(document: object, **scopes: str) -> ImportReport:
    return import_role(
        json.dumps(document).encode(),
        role_id="role-x",
        workspace_scope="ws-1",
        scope_map=scopes,
    )


def grants(role: Role) -> frozenset[Action]:
    return granted(role.actions, role.not_actions, role.data_actions, role.not_data_actions)


def arm(*permissions: dict[str, object], name: str = "Custom") -> dict[str, object]:
    return {
        "name": "0b7b-guid",
        "type": "Microsoft.Authorization/roleDefinitions",
        "properties": {
            "roleName": name,
            "type": "CustomRole",
            "description": "d",
            "permissions": list(permissions),
            "assignableScopes": ["/subscriptions/s"],
        },
    }


def test_the_two_forms_of_one_role_become_the_same_role() -> None:
    same = arm(
        {"actions": POWERSHELL["Actions"], "notActions": POWERSHELL["NotActions"]},
        name="Data Scientist Custom",
    )
    one, other = load(POWERSHELL).role, load(same).role
    assert (one.name, one.actions, one.not_actions) == (
        other.name,
        other.actions,
        other.not_actions,
    )
    flat = {**same["properties"]}  # type: ignore[dict-item]  # as `az role definition list` prints
    assert load([flat]).role == other


def test_a_wildcard_carries_no_data_action_and_each_one_lost_is_named() -> None:
    report = load(POWERSHELL)
    assert not grants(report.role) & DATA_ACTIONS
    lost = {one.subject for one in report.differences if one.kind is DifferenceKind.LOST}
    assert {"onlineEndpoints/score/action", "onlineEndpoints/listKeys/action"} <= lost
    assert "workspaces/listKeys/action" not in lost  # the file excludes it
    assert lost <= DATA_ACTIONS


def test_an_explicit_data_action_moves_over_unless_the_file_excludes_it() -> None:
    score = f"{ML}onlineEndpoints/score/action"
    report = load(arm({"actions": [score, f"{ML}*/read"], "notActions": []}))
    assert report.role.data_actions == (score,)
    assert Action.ONLINE_ENDPOINTS_SCORE_ACTION in grants(report.role)
    assert [one.subject for one in report.differences if one.kind is DifferenceKind.MOVED] == [
        score
    ]
    refused = load(arm({"actions": [score, "*/read"], "notActions": [f"{ML}onlineEndpoints/*"]}))
    assert Action.ONLINE_ENDPOINTS_SCORE_ACTION not in grants(refused.role)


def test_a_wildcard_under_data_actions_is_reported_as_gaining_what_is_data_only_here() -> None:
    report = load(arm({"actions": ["*/read"], "dataActions": ["*"]}))
    gained = {one.subject for one in report.differences if one.kind is DifferenceKind.GAINED}
    lost = {one.subject for one in report.differences if one.kind is DifferenceKind.LOST}
    assert gained | {action for action in DATA_ACTIONS if action.endswith("/read")} == DATA_ACTIONS
    assert not lost


def test_several_permissions_never_become_more_than_their_union() -> None:
    report = load(
        arm(
            {"actions": ["models/*"], "notActions": ["models/delete"]},
            {"actions": ["data/*", "models/delete"], "notActions": ["data/delete"]},
        )
    )
    assert "models/delete" not in grants(report.role)
    assert [one.subject for one in report.differences if one.subject == "models/delete"]


def test_scopes_are_mapped_and_the_rest_becomes_the_workspace() -> None:
    document = {**POWERSHELL, "AssignableScopes": ["/subscriptions/a", "/subscriptions/b"]}
    report = load(document, **{"/subscriptions/a": "data-1"})
    assert report.role.assignable_scopes == ("data-1", "ws-1")
    texts = [one.text for one in report.differences if one.kind is DifferenceKind.SCOPE]
    assert texts == [
        "assignable at `data-1` instead of `/subscriptions/a`",
        "assignable at `ws-1` instead of `/subscriptions/b`",
    ]


def test_a_pattern_that_covers_nothing_here_is_named() -> None:
    report = load(arm({"actions": ["*/read", "Microsoft.Storage/*"]}))
    unknown = [one.text for one in report.differences if one.kind is DifferenceKind.UNKNOWN]
    assert unknown == ["`Microsoft.Storage/*` covers no action here"]


some = st.lists(
    st.sampled_from(
        ["*", "*/read", "models/*", "*/action", "data/versions/content/read", "data/write", "x/*"]
    ),
    max_size=3,
)


@settings(max_examples=150)
@given(st.lists(st.tuples(some, some, some, some), min_size=1, max_size=2))
def test_the_differences_are_exactly_what_the_file_and_the_role_do_not_share(
    blocks: list[tuple[list[str], list[str], list[str], list[str]]],
) -> None:
    if not any(actions or data for actions, _, data, _ in blocks):
        return
    names = ("actions", "notActions", "dataActions", "notDataActions")
    report = load(arm(*(dict(zip(names, block, strict=True)) for block in blocks)))
    there: set[Action] = set()
    for actions, not_actions, data, not_data in blocks:
        there |= covered_by_any(actions) - covered_by_any(not_actions)
        for pattern in data:
            there |= set() if "*" in pattern else covered(pattern) - covered_by_any(not_data)
    here = grants(report.role)
    listed = {
        kind: {one.subject for one in report.differences if one.kind is kind}
        for kind in DifferenceKind
    }
    assert listed[DifferenceKind.LOST] == there - here
    assert listed[DifferenceKind.GAINED] == here - there
    assert here & there >= {action for action in here if action not in DATA_ACTIONS}


@pytest.mark.parametrize(
    ("document", "code"),
    [
        (b"", "role.json"),
        (b"\xff", "role.json"),
        (b"{", "role.json"),
        (b'{"Name": "a", "name": "b", "Actions": ["*"]}', "role.json"),
        (b'{"properties": {"roleName": "a", "roleName": "b"}}', "role.json"),
        (b"[]", "role.form"),
        (b"1", "role.form"),
        (b"{}", "role.form"),
        (b'{"properties": 1}', "role.form"),
        (b'{"Name": "a"}', "role.form"),
        (b'{"Name": 1, "Actions": ["*"]}', "role.form"),
        (b'{"Name": "a", "Actions": "*"}', "role.form"),
        (b'{"Name": "a", "Actions": [1]}', "role.form"),
        (b'{"Name": "a", "Description": 1, "Actions": ["*"]}', "role.form"),
        (b'{"roleName": "a", "permissions": []}', "role.form"),
        (b'{"roleName": "a", "permissions": [1]}', "role.form"),
        (b'{"Name": "OWNER", "Actions": ["*"]}', "role.built-in"),
        (
            b'{"roleName": "a", "permissions": [{"actions": ["*"], "condition": "x"}]}',
            "role.condition",
        ),
        (b" " * (MAX_BYTES + 1), "role.size"),
        (b"[" * 17, "role.depth"),
        (b'{"Name": "a", "Actions": ["' + b"a" * 600 + b'"]}', "role.size"),
    ],
)
def test_a_file_of_another_form_is_refused(document: bytes, code: str) -> None:
    with pytest.raises((InputError, LimitExceededError)) as caught:
        import_role(document, role_id="role-x", workspace_scope="ws-1", scope_map={})
    assert caught.value.code == code


def test_a_byte_order_mark_is_no_obstacle() -> None:
    document = b"\xef\xbb\xbf" + json.dumps(POWERSHELL).encode()
    report = import_role(document, role_id="role-x", workspace_scope="ws-1", scope_map={})
    assert report.role == load(POWERSHELL).role


@settings(max_examples=200)
@given(
    st.binary(max_size=60)
    | st.recursive(
        st.none() | st.text(max_size=5) | st.integers(),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["Name", "Actions", "properties", "permissions", "roleName"]),
                inner,
                max_size=3,
            )
        ),
        max_leaves=8,
    ).map(lambda value: json.dumps(value).encode())
)
def test_any_bytes_are_a_role_or_a_declared_error(document: bytes) -> None:
    try:
        report = import_role(document, role_id="role-x", workspace_scope="ws-1", scope_map={})
    except VallumError:
        return
    assert report.role.name
