"""Batch scoring through the kernel: under the caller's rights on data, endpoint and result."""

import io

import polars as pl
import pytest
from conftest_workspace import Place
from running import WIDTH, small_model

from vallum.base import ConflictError, GateError, InputError, NotFoundError, RefusedError
from vallum.schema import Caller, api, release, rules

ROWS = 60
TABLE = ("id,a,b,c,d\n" + "".join(f"p{at},{at},1,0.5,-{at}\n" for at in range(ROWS))).encode()


@pytest.fixture
def ready(place: Place) -> Place:
    """A place with data `people`, and endpoint `risk` with two deployments."""
    place.do(
        "data.create",
        api.DataCreate(name="people", format="csv", tags={"purpose": "care"}),
        content=io.BytesIO(TABLE),
    )
    place.do(
        "model.register",
        api.ModelRegister(name="m", file_name="model.onnx"),
        content=io.BytesIO(small_model()),
    )
    place.do("policy.set", rules.PolicySet(document='{"version": "vallum.policy/1"}', reason="r"))
    place.do("endpoint.create", api.EndpointCreate(name="risk"))
    for name, traffic, decimals in (("blue", 100, None), ("green", 0, 1)):
        place.do(
            "endpoint.deploy",
            api.EndpointDeploy(
                endpoint="risk", deployment=name, model="m", traffic=traffic, decimals=decimals
            ),
        )
    return place


def score(place: Place, who: Caller | None = None, **more: object) -> release.BatchScored:
    given = {"endpoint": "risk", "data": "people", "into": "scores", "keep": ("id",), **more}
    made = place.do(
        "endpoint.batch",
        release.EndpointBatch(**given),  # type: ignore[arg-type]
        who=who,
        purpose="care",
        dry_run=bool(more.pop("dry_run", False)),
    ).value
    assert isinstance(made, release.BatchScored)
    return made


def test_a_table_of_scores_is_an_asset_bound_as_its_source_is(ready: Place) -> None:
    made = score(ready)
    assert (made.rows, made.failed, made.deployment, made.version) == (ROWS, 0, "blue", 1)
    shown = ready.do("data.show", api.Named(name="scores")).value
    source = ready.do("data.show", api.Named(name="people")).value
    assert isinstance(shown, api.VersionShown)
    assert isinstance(source, api.VersionShown)
    assert shown.version.label == source.version.label
    assert shown.version.tags == {"purpose": "care"}
    assert shown.version.lineage == (source.version.id,)
    assert not shown.version.protected
    with pytest.raises(RefusedError, match="care"):
        ready.do("data.download", api.Named(name="scores"))
    chunks = ready.do("data.download", api.Named(name="scores"), purpose="care").chunks
    assert chunks is not None
    table = pl.read_csv(b"".join(chunks))
    assert table["id"].to_list() == [f"p{at}" for at in range(ROWS)]
    assert table["error"].null_count() == ROWS
    # As the deployment rounds what it answers, and again is another version.
    rounded = score(ready, deployment="green")
    assert (rounded.version, rounded.deployment) == (2, "green")
    chunks = ready.do("data.download", api.Named(name="scores"), purpose="care").chunks
    assert chunks is not None
    scores = pl.read_csv(b"".join(chunks))[rounded.columns[1]].cast(pl.Float64)
    assert scores.to_list() == [round(value, 1) for value in scores]
    assert ready.verify().findings == ()


def test_every_right_is_the_callers_own(ready: Place) -> None:
    read, write, call = "Vallum Data Reader", "Contributor", "Vallum Endpoint Invoker"
    for at, roles in enumerate(((write, call), (read, call), (read, write))):
        with pytest.raises((RefusedError, NotFoundError)):
            score(ready, ready.person(f"lacks-one-{at}", *roles))
    with pytest.raises(NotFoundError):
        ready.do("data.show", api.Named(name="scores"))
    assert score(ready, ready.person("has-all", read, write, call)).rows == ROWS


@pytest.mark.parametrize(
    ("wrong", "kind", "text"),
    [
        ({"into": "people"}, ConflictError, "own"),
        ({"deployment": "red"}, NotFoundError, "no such deployment"),
        ({"features": ("a",)}, InputError, f"takes {WIDTH} features"),
        ({"mini_batch": 0}, InputError, "mini-batch"),
        ({"max_failed": -1}, InputError, "number of rows"),
    ],
)
def test_what_cannot_be_leaves_nothing(
    ready: Place, wrong: dict[str, object], kind: type[Exception], text: str
) -> None:
    with pytest.raises(kind, match=text):
        score(ready, **wrong)
    with pytest.raises(NotFoundError):
        ready.do("data.show", api.Named(name="scores"))
    assert ready.verify().findings == ()


def test_rows_that_fail_are_refused_unless_they_may(ready: Place) -> None:
    ready.do(
        "data.create",
        api.DataCreate(name="holes", format="csv"),
        content=io.BytesIO(TABLE + b"px,,1,1,1\n"),
    )
    with pytest.raises(GateError, match=f"1 of {ROWS + 1} rows failed"):
        score(ready, data="holes")
    made = score(ready, data="holes", max_failed=1)
    assert made.failed == 1
