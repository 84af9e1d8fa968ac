"""Scopes within a data asset."""

from datetime import UTC, datetime

import pytest

from vallum.base import InputError
from vallum.policy import Authority, RequestFacts, part_of, split_scope, visible
from vallum.policy.roles import DATA_READER
from vallum.schema import Caller, PrincipalKind, Resource, RoleAssignment

VERSION = Resource(
    id="dver-1", kind="dver", chain=("dver-1", "data-1", "ws-1"), kind_path="data/versions"
)
FACTS = RequestFacts(now=datetime(2026, 11, 20, tzinfo=UTC))
ANN = Caller(id="ann", kind=PrincipalKind.USER, name="ann")


def reads(scope: str, resource: Resource) -> bool:
    assignment = RoleAssignment(id="ra", role_id=DATA_READER.id, principal_id="ann", scope=scope)
    authority = Authority.compile([], [assignment])
    return visible("data/versions/content/read", ANN, resource, authority=authority, facts=FACTS)


def test_a_folder_holds_for_what_is_below_it_and_not_beside_it() -> None:
    inner = part_of(VERSION, "paths", "train/a.csv")
    assert inner.id == "dver-1"
    assert inner.chain[:3] == ("dver-1/paths/train/a.csv", "dver-1/paths/train", "dver-1")
    assert reads("dver-1/paths/train", inner)
    assert reads("data-1", inner)
    assert not reads("dver-1/paths/train", part_of(VERSION, "paths", "training"))
    assert not reads("dver-1/paths/train", VERSION)
    assert not reads("dver-1/columns/train", inner)


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("rows", "1"),
        ("columns", ""),
        ("columns", "a/b"),
        ("columns", "a\x00"),
        ("columns", ".."),
        ("paths", "a/../b"),
        ("paths", "/a"),
        ("paths", "a//b"),
        ("paths", "a" * 1_025),
    ],
)
def test_what_names_no_part_is_refused(kind: str, name: str) -> None:
    with pytest.raises(InputError) as caught:
        part_of(VERSION, kind, name)
    assert caught.value.code == "scope.part"


def test_a_part_has_no_parts() -> None:
    with pytest.raises(InputError, match="`dver-1` is not a whole resource"):
        part_of(part_of(VERSION, "columns", "age"), "columns", "sex")


def test_a_scope_splits_into_resource_and_part() -> None:
    assert split_scope("dver-1") == ("dver-1", "", "")
    assert split_scope("dver-1/columns/age") == ("dver-1", "columns", "age")
    assert split_scope("dver-1/paths/a/b") == ("dver-1", "paths", "a/b")


@pytest.mark.parametrize(
    "scope", ["", "/", "/columns/a", "dver-1/", "dver-1/rows/1", "dver-1/columns/", "d/paths/../x"]
)
def test_another_form_is_no_scope(scope: str) -> None:
    with pytest.raises(InputError) as caught:
        split_scope(scope)
    assert caught.value.code == "scope.form"
