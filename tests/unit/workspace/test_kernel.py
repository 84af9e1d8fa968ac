"""`perform`: one entry a request, refused ones change nothing, rights hold at once."""

import sqlite3
from contextlib import closing

import pytest
from conftest_workspace import Place, sign_in_owner

from vallum.base import (
    ConflictError,
    InputError,
    IntegrityError,
    NotFoundError,
    RefusedError,
    UnauthenticatedError,
    UnavailableError,
)
from vallum.schema import api
from vallum.workspace.bootstrap import Places, create, exists, opened
from vallum.workspace.steps.table import STEPS


def test_a_request_leaves_exactly_one_decision_entry(place: Place) -> None:
    before = len(place.entries())
    place.do("identity.create", api.IdentityCreate(name="ana"))
    with pytest.raises(ConflictError):
        place.do("identity.create", api.IdentityCreate(name="ana"))
    place.do("identity.create", api.IdentityCreate(name="bo"), dry_run=True)
    assert place.entries()[before:] == [
        ("decision", "identity.create", True, ""),
        ("decision", "identity.create", True, "identity.exists"),
        ("decision", "identity.create", True, "dry-run"),
    ]
    names = {one.name for one in place.do("identity.list", api.Page()).value.principals}  # type: ignore[union-attr]
    assert "ana" in names
    assert "bo" not in names


def test_a_refused_request_is_logged_and_changes_nothing(place: Place) -> None:
    ana = place.person("ana", "Reader")
    before = place.verify().records
    with pytest.raises(RefusedError, match="groups/write") as caught:
        place.do("group.create", api.IdentityCreate(name="team"), who=ana)
    assert caught.value.hint == "vallum role explain ana groups/write"
    assert ("refusal", "group.create", False, "") in place.entries()
    assert place.verify().records == before


def test_what_may_not_be_known_looks_as_if_it_did_not_exist(place: Place) -> None:
    place.do("endpoint.create", api.EndpointCreate(name="secret"))
    stranger = place.person("stranger")
    errors = []
    for name in ("secret", "nothing"):
        with pytest.raises(NotFoundError) as caught:
            place.do("endpoint.show", api.Named(name=name), who=stranger)
        errors.append((caught.value.message, caught.value.code, caught.value.hint))
    assert errors[0] == errors[1]


def test_what_is_listed_is_what_may_be_read(place: Place) -> None:
    for name in ("one", "two"):
        place.do("endpoint.create", api.EndpointCreate(name=name))
    ana = place.person("ana", "Reader", scope="endpoint/one")
    listed = place.do("endpoint.list", api.Page(), who=ana).value
    assert isinstance(listed, api.Listing)
    assert [one.name for one in listed.endpoints] == ["one"]
    place.do("endpoint.show", api.Named(name="one"), who=ana)
    with pytest.raises(NotFoundError):
        place.do("endpoint.show", api.Named(name="two"), who=ana)


def test_a_revoked_key_and_a_removed_right_are_refused_on_the_next_request(place: Place) -> None:
    ana = place.person("ana", "Reader")
    place.do("identity.list", api.Page(), who=ana)
    roles = place.do("role.list", api.Page()).value
    assert isinstance(roles, api.Listing)
    (assignment,) = [one for one in roles.assignments if one.principal_id == ana.id]
    place.do("role.unassign", api.Named(name=assignment.id))
    with pytest.raises((RefusedError, NotFoundError)):
        place.do("identity.list", api.Page(), who=ana)

    shown = place.do("key.create", api.KeyCreate(name="k", principal="ana")).value
    assert isinstance(shown, api.Shown)
    place.token(shown.secret)
    place.do("key.revoke", api.Named(name=shown.id))
    with pytest.raises(UnauthenticatedError):
        place.token(shown.secret)


def test_rotating_replaces_the_secret_and_disabling_ends_every_credential(place: Place) -> None:
    place.do("identity.create", api.IdentityCreate(name="ana"))
    old = place.do("key.create", api.KeyCreate(name="k", principal="ana")).value
    assert isinstance(old, api.Shown)
    new = place.do("key.rotate", api.Named(name=old.id)).value
    assert isinstance(new, api.Shown)
    place.token(new.secret)
    with pytest.raises(UnauthenticatedError):
        place.token(old.secret)
    place.do("identity.disable", api.Named(name="ana"))
    with pytest.raises(UnauthenticatedError):
        place.token(new.secret)


def test_a_narrowed_key_can_do_less_and_makes_no_further_keys(place: Place) -> None:
    place.do("identity.create", api.IdentityCreate(name="ana"))
    place.do("role.assign", api.RoleAssign(role="Contributor", principal="ana"))
    narrow = place.sign_in("ana", actions=("onlineEndpoints/read",))
    with pytest.raises((RefusedError, NotFoundError)):
        place.do("endpoint.create", api.EndpointCreate(name="e"), who=narrow)
    with pytest.raises(ConflictError, match="narrowed"):
        place.do("key.create", api.KeyCreate(name="wider"), who=narrow)
    keys = place.do("key.list", api.Page(), who=narrow).value.keys  # type: ignore[union-attr]
    whole = place.do("key.create", api.KeyCreate(name="whole", principal="ana")).value
    assert isinstance(whole, api.Shown)
    for step in ("key.rotate", "key.revoke"):  # another of one's own would be more than this one
        with pytest.raises(ConflictError, match="narrowed"):
            place.do(step, api.Named(name=whole.id), who=narrow)
    assert place.do("key.revoke", api.Named(name=keys[0].id), who=narrow)  # itself it may end


def test_no_way_up_for_who_may_give_roles(place: Place) -> None:
    """A user access administrator gives at most what they hold, by whatever edge."""
    admin = place.person("admin", "User Access Administrator")
    with pytest.raises(RefusedError) as caught:
        place.do("role.assign", api.RoleAssign(role="Owner", principal="admin"), who=admin)
    assert caught.value.code == "policy.escalation"
    with pytest.raises(RefusedError):
        place.do("role.assign", api.RoleAssign(role="Vallum Data Owner", principal="admin"),
                 who=admin)  # fmt: skip
    with pytest.raises((RefusedError, NotFoundError)):
        place.do("key.create", api.KeyCreate(name="k", principal="owner"), who=admin)


def test_groups_convey_rights_and_joining_one_is_a_grant(place: Place) -> None:
    place.do("group.create", api.IdentityCreate(name="readers"))
    place.do("role.assign", api.RoleAssign(role="Reader", principal="readers"))
    ana = place.person("ana")
    with pytest.raises((RefusedError, NotFoundError)):
        place.do("group.list", api.Page(), who=ana)
    place.do("group.add", api.GroupChange(group="readers", member="ana"))
    place.do("group.list", api.Page(), who=place.sign_in("ana"))
    place.do("group.create", api.IdentityCreate(name="all"))
    place.do("group.add", api.GroupChange(group="all", member="readers"))
    with pytest.raises(InputError, match="already contains"):
        place.do("group.add", api.GroupChange(group="readers", member="all"))


def test_the_last_owner_stays(place: Place) -> None:
    roles = place.do("role.list", api.Page()).value
    assert isinstance(roles, api.Listing)
    owner_role = next(one.id for one in roles.roles if one.name == "Owner")
    (held,) = [one for one in roles.assignments if one.role_id == owner_role]
    with pytest.raises(ConflictError, match="no owner"):
        place.do("role.unassign", api.Named(name=held.id))


@pytest.mark.guarantee("G9")
def test_a_connection_keeps_its_secret_to_itself(place: Place) -> None:
    arguments = api.ConnectionCreate(name="lake", kind="datastore", target="s3://b", secret="hush!")
    assert "hush" not in repr(arguments)
    place.do("connection.create", arguments)
    listed = place.do("connection.list", api.Page()).value
    assert "hush" not in repr(listed)
    place.kernel.house.publisher.checkpoint()
    stored = b"".join(path.read_bytes() for path in place.places.data.rglob("*") if path.is_file())
    assert b"hush!" not in stored


@pytest.mark.parametrize("name", ["../x", "a/b", "a\x00", "", "x" * 200, "p\u0430ypal"])
def test_dangerous_names_are_bad_input_and_touch_nothing(place: Place, name: str) -> None:
    for step, arguments in (
        ("endpoint.create", api.EndpointCreate(name=name)),
        ("identity.create", api.IdentityCreate(name=name)),
        ("connection.create", api.ConnectionCreate(name=name, kind="webhook", target="t")),
    ):
        with pytest.raises(InputError):
            place.do(step, arguments)
    assert place.verify().findings == ()


def test_explain_names_who_could_grant_it(place: Place) -> None:
    place.person("ana")
    told = place.do("role.explain", api.RoleExplain(principal="ana", action="keys/write")).value
    assert isinstance(told, api.Explanation)
    assert not told.allowed
    assert told.grantors == ("owner",)


def test_whatif_shows_what_would_change_and_changes_nothing(place: Place) -> None:
    place.person("ana")
    assign = api.RoleAssign(role="Reader", principal="ana")
    found = place.do("role.whatif", api.RoleWhatIf(assign=assign)).value
    assert isinstance(found, api.Differences)
    gained = {one.action for one in found.differences if one.after}
    assert "groups/read" in gained
    assert all(one.principal == "ana" for one in found.differences)
    assert place.verify().findings == ()


# -- behind the server's back -------------------------------------------------------------------

TAMPERING = {
    "an edited row": "UPDATE records SET content = CAST(replace(CAST(content AS TEXT), 'ana',"
    " 'eve') AS BLOB) WHERE kind = 'principal' AND instr(CAST(content AS TEXT), 'ana')",
    "a deleted row": "DELETE FROM records WHERE kind = 'role-assignment'",
    "a deleted credential": "DELETE FROM records WHERE kind = 'credential'",
    "a moved row": "UPDATE records SET parent_id = 'x' WHERE kind = 'principal'",
    "a forged generation": "UPDATE set_roots SET generation = generation + 1",
    "a cut log": "DELETE FROM log_entries WHERE idx > 3",
    "an edited entry": "UPDATE log_entries SET leaf = CAST(replace(CAST(leaf AS TEXT), 'user',"
    " 'eser') AS BLOB) WHERE idx = 4",
    "an entry of another type": "UPDATE log_entries SET leaf = 'text' WHERE idx = 4",
    "a row of another type": "UPDATE records SET content = 'text' WHERE kind = 'principal'",
}


@pytest.mark.guarantee("G5")
@pytest.mark.parametrize("what", TAMPERING)
def test_rows_changed_behind_the_back_are_refused_or_found(places: Places, what: str) -> None:
    create(places)
    with opened(places) as kernel:
        sign_in_owner(kernel, places).person("ana", "Reader")
    with closing(sqlite3.connect(places.data / "vallum.db")) as connection:
        changed = connection.execute(TAMPERING[what]).rowcount
        connection.commit()
    assert changed > 0
    try:
        with opened(places) as kernel:
            findings = sign_in_owner(kernel, places).verify().findings
    except IntegrityError:
        return  # refused before use
    assert findings


@pytest.mark.guarantee("G5")
def test_a_data_folder_rolled_back_is_refused(places: Places) -> None:
    create(places)
    with closing(sqlite3.connect(places.data / "vallum.db")) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    old = (places.data / "vallum.db").read_bytes()
    with opened(places) as kernel:
        sign_in_owner(kernel, places).person("ana")
    for suffix in ("", "-wal", "-shm"):
        (places.data / f"vallum.db{suffix}").unlink(missing_ok=True)
    (places.data / "vallum.db").write_bytes(old)
    with pytest.raises(IntegrityError) as caught, opened(places):
        pass
    assert caught.value.code in {"audit.rollback", "audit.fork"}


def test_the_last_of_the_disk_is_kept_for_administrators(place: Place) -> None:
    ana = place.person("ana", "Reader")
    place.kernel.house.free_bytes = lambda: 10 * 1024 * 1024
    before = len(place.entries())
    with pytest.raises(UnavailableError) as caught:
        place.do("data.list", api.Page(), who=ana)
    assert caught.value.code == "workspace.space"
    assert len(place.entries()) == before  # nothing that floods the log
    place.do("identity.disable", api.Named(name="ana"))
    place.kernel.house.refusals.flush()
    assert ("refusals", "authenticate", False, "identity.flood") in place.entries()


def test_the_log_is_listed_from_either_end(place: Place) -> None:
    for name in ("ann", "ben", "cid"):
        place.do("identity.create", api.IdentityCreate(name=name))

    def indexes(**more: object) -> list[int]:
        listed = place.do("audit.list", api.AuditList(**more)).value  # type: ignore[arg-type]
        assert isinstance(listed, api.Listing)
        return [one.index for one in listed.entries]

    every = indexes(limit=1000, step="identity.create")
    assert len(every) == 3
    assert every == sorted(every)
    newest = indexes(limit=2, step="identity.create", newest_first=True)
    assert newest == every[:0:-1]
    assert indexes(after=newest[-1], step="identity.create", newest_first=True) == every[:1]
    assert indexes(after=0, newest_first=True) == []
    assert indexes(limit=1, newest_first=True)[0] > every[-1]  # that it was listed is an entry, too


def test_only_one_process_holds_a_workspace(place: Place) -> None:
    with pytest.raises(ConflictError, match="another process"), opened(place.places):
        pass


def test_a_workspace_is_made_once_and_not_over_other_files(place: Place, places: Places) -> None:
    assert exists(places)
    with pytest.raises(ConflictError, match="workspace already"):
        create(places)
    other = Places.below(places.data.with_name("other"))
    other.data.mkdir()
    (other.data / "thesis.txt").write_text("mine")
    with pytest.raises(ConflictError, match="not empty"):
        create(other)
    assert (other.data / "thesis.txt").read_text() == "mine"
    del place


def test_steps_are_named_once_and_take_one_kind_of_arguments() -> None:
    names = [step.name for step in STEPS]
    assert len(set(names)) == len(names)


@pytest.mark.guarantee("G9")
def test_no_key_or_token_lies_in_the_data_folder(place: Place) -> None:
    shown = place.do("key.create", api.KeyCreate(name="k")).value
    assert isinstance(shown, api.Shown)
    place.kernel.house.publisher.checkpoint()
    secrets = [shown.secret.encode(), place.places.owner_key.read_bytes().strip()]
    for path in place.places.data.rglob("*"):
        if path.is_file():
            data = path.read_bytes()
            assert not any(secret in data for secret in secrets), path
    assert place.places.keys.stat().st_mode & 0o777 == 0o700
    assert place.places.owner_key.stat().st_mode & 0o777 == 0o600
