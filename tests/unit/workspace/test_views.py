"""Reading in part: columns, masked views and their reversal, purposes, labels; gates for real."""

import io
import json

import polars as pl
import pytest
from conftest_workspace import Place

from vallum.base import InputError, NotFoundError, RefusedError
from vallum.schema import Caller, api, views

ROWS = 40
PEOPLE = b"name,email,card,age,ill\n" + b"".join(
    f"Person {at},p{at}@example.org,45320151128{at:05d},{20 + at},flu\n".encode()
    for at in range(ROWS)
)
RECIPE = json.dumps(
    {
        "version": "vallum.mask/1",
        "columns": [
            {"column": "email", "operation": "pseudonym"},
            {"column": "card", "operation": "ff1"},
            {"column": "age", "operation": "bucket", "width": 10},
            {"column": "gone", "operation": "keep"},
        ],
    }
)


def ingest(place: Place, name: str = "people", **more: object) -> api.VersionShown:
    made = place.do(
        "data.create",
        api.DataCreate(name=name, format="csv", **more),  # type: ignore[arg-type]
        content=io.BytesIO(PEOPLE),
    ).value
    assert isinstance(made, api.VersionShown)
    return made


def read(
    place: Place,
    step: str,
    arguments: object,
    *,
    who: Caller | None = None,
    content: bytes | None = None,
    **more: object,
) -> pl.DataFrame:
    reply = place.do(
        step,
        arguments,  # type: ignore[arg-type]
        who=who,
        content=None if content is None else io.BytesIO(content),
        **more,
    )
    assert reply.chunks is not None
    return pl.read_csv(b"".join(reply.chunks), infer_schema=False)


def test_a_lesser_role_gets_the_masked_view_and_nothing_else(place: Place) -> None:
    ingest(place)
    ana = place.person("ana", "Vallum Masked Data Reader")
    masked = views.DataRead(name="people", masked=True)
    with pytest.raises(NotFoundError, match="no masked view"):
        read(place, "data.read", masked, who=ana)
    place.do("data.set-view", views.DataSetView(name="people", recipe=RECIPE))
    seen = read(place, "data.read", masked, who=ana)
    assert seen.columns == ["email", "card", "age"]  # `name` and `ill` are not named: not shown
    assert seen.height == ROWS
    assert not any("@" in value for value in seen["email"])
    assert set(seen["age"]) == {"[20, 30)", "[30, 40)", "[40, 50)", "[50, 60)"}
    assert seen["email"].to_list() == sorted(seen["email"])  # the originals' order is not theirs
    for refused in (
        views.DataRead(name="people", columns=("age",)),
        views.DataRead(name="people"),
    ):
        with pytest.raises(RefusedError):
            read(place, "data.read", refused, who=ana)
    with pytest.raises(RefusedError):
        place.do("data.download", api.Named(name="people"), who=ana)
    with pytest.raises(RefusedError):
        place.do("data.set-view", views.DataSetView(name="people", recipe=RECIPE), who=ana)


def test_unmasking_is_a_right_of_its_own_and_leaves_an_entry(place: Place) -> None:
    ingest(place)
    place.do("data.set-view", views.DataSetView(name="people", recipe=RECIPE))
    ana = place.person("ana", "Vallum Masked Data Reader")
    masked = read(place, "data.read", views.DataRead(name="people", masked=True), who=ana)
    some = masked.head(3)
    unmask = views.DataUnmask(name="people")
    with pytest.raises(RefusedError):
        read(place, "data.unmask", unmask, who=ana, content=some.write_csv().encode())
    known = read(place, "data.unmask", unmask, content=some.write_csv().encode())
    assert known["email"].to_list() == some["email"].to_list()  # a pseudonym stays one
    cards = {f"45320151128{at:05d}" for at in range(ROWS)}
    assert set(known["card"]) <= cards
    assert not set(some["card"]) & cards
    told = {allowed for _, step, allowed, _ in place.entries() if step == "data.unmask"}
    assert told == {True, False}


def test_a_right_to_a_column_is_a_right_to_that_column(place: Place) -> None:
    ingest(place)
    ana = place.person("ana", "Vallum Data Reader", scope="data/people/columns/age")
    seen = read(place, "data.read", views.DataRead(name="people", columns=("age",)), who=ana)
    assert seen.columns == ["age"]
    for columns in (("age", "ill"), ("ill",), ()):
        with pytest.raises((RefusedError, NotFoundError)):
            read(place, "data.read", views.DataRead(name="people", columns=columns), who=ana)
    with pytest.raises((RefusedError, NotFoundError)):
        place.do("data.download", api.Named(name="people"), who=ana)
    with pytest.raises(InputError, match="no column"):
        read(place, "data.read", views.DataRead(name="people", columns=("nothing",)))
    with pytest.raises(InputError, match="name columns"):
        read(place, "data.read", views.DataRead(name="people"))


@pytest.mark.parametrize(
    "recipe",
    ["{", "{}", '{"version": "vallum.mask/1"}', '{"version": "vallum.mask/1", "columns": [{}]}'],
)
def test_a_view_that_shows_nothing_or_is_no_recipe_is_refused(place: Place, recipe: str) -> None:
    ingest(place)
    with pytest.raises(InputError):
        place.do("data.set-view", views.DataSetView(name="people", recipe=recipe))
    with pytest.raises(NotFoundError):
        place.do("data.set-view", views.DataSetView(name="people", recipe=""))


@pytest.mark.parametrize(
    "noisy",
    [
        {"operation": "laplace", "lower": 0, "upper": 100, "epsilon": 1},
        {"operation": "gaussian", "lower": 0, "upper": 100, "rho": 0.1},
        {"operation": "randomized_response", "categories": ["flu", "cold"], "epsilon": 1},
    ],
)
def test_a_view_whose_noise_could_be_averaged_away_is_refused(
    place: Place, noisy: dict[str, object]
) -> None:
    ingest(place)
    column = {"column": "ill" if "categories" in noisy else "age", **noisy}
    recipe = json.dumps({"version": "vallum.mask/1", "columns": [column]})
    with pytest.raises(InputError, match="averages it away"):
        place.do("data.set-view", views.DataSetView(name="people", recipe=recipe))
    with pytest.raises(NotFoundError, match="no masked view"):
        read(place, "data.read", views.DataRead(name="people", masked=True))


def test_data_for_a_purpose_is_read_for_it_only(place: Place) -> None:
    ingest(place, tags={"purpose": "research, billing"})
    named = api.Named(name="people")
    for stated in ("", "marketing", "resear"):
        with pytest.raises(RefusedError, match="research"):
            place.do("data.download", named, purpose=stated)
    assert place.do("data.download", named, purpose="research").chunks is not None
    # What is made from it, and what is added to it, is bound by it too.
    made = place.do(
        "data.protect",
        api.DataProtect(name="people", k=3, quasi_identifiers=("age",), drop=("card",)),
        purpose="billing",
    ).value
    assert isinstance(made, api.VersionShown)
    assert made.version.tags == {"purpose": "research, billing"}
    assert ingest(place).version.tags["purpose"] == "research, billing"
    assert ingest(place, tags={"purpose": "billing"}).version.tags["purpose"] == "billing"
    with pytest.raises(InputError, match="none of the purposes"):
        ingest(place, tags={"purpose": "marketing"})
    for wrong in ("", ",", "a b"):
        with pytest.raises(InputError):
            ingest(place, name="other", tags={"purpose": wrong})


def test_labels_rise_with_their_source_and_fall_with_a_reason_and_a_right(place: Place) -> None:
    shown = ingest(place)
    place.do("data.protect", api.DataProtect(name="people", k=3, quasi_identifiers=("age",)))

    def label(name: str) -> str:
        value = place.do("data.show", api.Named(name=name)).value
        assert isinstance(value, api.VersionShown)
        return value.version.label

    def relabel(to: str, reason: str = "", who: Caller | None = None) -> None:
        place.do("data.relabel", views.DataRelabel(name="people", label=to, reason=reason), who=who)

    before = label("people-protected")
    assert shown.version.label == "highly-confidential"
    with pytest.raises(InputError, match="reason"):
        relabel("general")
    eve = place.person("eve", "Contributor")  # control rights never lower what hides content
    with pytest.raises(RefusedError, match="declassify"):
        relabel("general", "because", eve)
    relabel("general", "made up")
    assert label("people") == "general"
    relabel("confidential", who=eve)
    assert label("people") == "confidential"
    assert label("people-protected") == before  # a protecting step stands between
    with pytest.raises(InputError, match="not a label"):
        relabel("secret", "x")


def test_details_of_an_entry_carry_the_labels_of_what_it_is_about(place: Place) -> None:
    ingest(place)
    place.do("group.create", api.IdentityCreate(name="auditors"))
    place.do("identity.create", api.IdentityCreate(name="ann"))
    for role, condition in (
        ("Reader", ""),
        ("Vallum Data Owner", "NOT @Resource[label] StringEquals 'highly-confidential'"),
    ):
        place.do("role.assign", api.RoleAssign(role=role, principal="ann", condition=condition))
    ann = place.sign_in("ann")
    listed = place.do("audit.list", api.AuditList(limit=1000)).value
    assert isinstance(listed, api.Listing)

    def details(step: str, who: Caller) -> str:
        entry = [one for one in listed.entries if one.entry.step == step and one.entry.details][-1]
        shown = place.do("audit.show", api.Named(name=entry.entry.id), who=who).value
        assert isinstance(shown, api.AuditShown)
        return shown.details

    assert "personal.email" in details("data.create", place.owner)
    assert details("data.create", ann) == ""
    place.do("data.relabel", views.DataRelabel(name="people", label="general", reason="made up"))
    assert "personal.email" in details("data.create", ann)
