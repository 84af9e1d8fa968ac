"""Batch scoring through the kernel: under the caller's rights on data, endpoint and result."""

import io

import polars as pl
import pytest
from conftest_workspace import Place
from running import WIDTH, small_model

from vallum.base import (
    ConflictError,
    GateError,
    InputError,
    NotFoundError,
    RefusedError,
    UnavailableError,
    VallumError,
)
from vallum.guard.batch import Mark
from vallum.schema import BatchProgress, Caller, InformationBudget, api, release, rules
from vallum.workspace import bootstrap, scoring
from vallum.workspace.bootstrap import check_ray, choose_engine
from vallum.workspace.context import Context
from vallum.workspace.engines.ray_room import NEEDED, RayPlace
from vallum.workspace.intent import settle_all

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


def test_who_names_the_deployment_needs_the_right_to_pick(ready: Place) -> None:
    roles = ("Vallum Data Reader", "Contributor", "Vallum Endpoint Invoker")
    caller = ready.person("caller", *roles)
    pick = "onlineEndpoints/deployments/score/action"
    with pytest.raises(RefusedError, match=f"`{pick}` is not granted"):
        score(ready, caller, deployment="blue")
    assert score(ready, caller).deployment == "blue"
    ready.do("role.create", api.RoleCreate(name="picker", data_actions=(pick,)))
    ready.do("role.assign", api.RoleAssign(role="picker", principal="caller"))
    assert score(ready, caller, deployment="green").deployment == "green"


@pytest.mark.parametrize(
    ("wrong", "kind", "text"),
    [
        ({"into": "people"}, ConflictError, "own"),
        ({"deployment": "red"}, NotFoundError, "no such deployment"),
        ({"features": ("a",)}, InputError, f"takes {WIDTH} features"),
        ({"mini_batch": 0}, InputError, "mini-batch"),
        ({"max_failed": -1}, InputError, "number of rows"),
        ({"output_action": "summary"}, InputError, "no output action"),
        ({"output_action": "summary_only"}, InputError, "no rows to repeat"),
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


def test_a_batch_does_not_pass_a_budget_of_information_by(ready: Place) -> None:
    budget = InformationBudget(bits=10_000)
    ready.do("endpoint.update", release.EndpointUpdate(name="risk", information=budget))
    with pytest.raises(RefusedError, match="bounds what its answers tell"):
        score(ready)


def parts(rows: int = ROWS, *, group: int = 7) -> io.BytesIO:
    """Return a Parquet table in small row groups: each is a piece."""
    held = io.BytesIO()
    table = pl.read_csv(TABLE).head(rows)
    table.write_parquet(held, row_group_size=group)
    held.seek(0)
    return held


def text_of(place: Place, who: Caller | None = None) -> bytes:
    chunks = place.do("data.download", api.Named(name="scores"), who=who, purpose="care").chunks
    assert chunks is not None
    return b"".join(chunks)


def progress_of(place: Place) -> list[BatchProgress]:
    house = place.kernel.house
    with house.database.snapshot() as snapshot:
        context = Context(records=house.records, snapshot=snapshot, workspace_id=house.workspace_id)
        return context.all(scoring.KIND, BatchProgress)


@pytest.fixture
def parted(ready: Place, monkeypatch: pytest.MonkeyPatch) -> Place:
    """`ready` with data `parts`; progress is saved at each piece."""
    monkeypatch.setattr(scoring, "SAVE_S", 0.0)
    ready.do("data.create", api.DataCreate(name="parts", format="parquet"), content=parts())
    return ready


def cut(monkeypatch: pytest.MonkeyPatch, after: int, error: type[VallumError]) -> None:
    """End the batch with an error after so many pieces."""
    take = scoring.Pieces.take
    taken = 0

    def failing(self: scoring.Pieces, text: bytes, mark: Mark | None) -> None:
        nonlocal taken
        taken += 1
        if taken > after:
            raise error("it ends here")
        take(self, text, mark)

    monkeypatch.setattr(scoring.Pieces, "take", failing)


@pytest.mark.parametrize("after", [1, 4, 8])
def test_who_goes_on_gets_what_an_undisturbed_batch_gets(
    parted: Place, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    assert score(parted, data="parts").rows == ROWS
    whole = text_of(parted)
    assert progress_of(parted) == []
    with monkeypatch.context() as patch:
        cut(patch, after, UnavailableError)
        with pytest.raises(UnavailableError):
            score(parted, data="parts")
    (progress,) = progress_of(parted)
    assert len(progress.pieces) == after
    settle_all(parted.kernel.house)  # as at a start: nothing that is still needed is swept
    assert parted.verify().findings == ()
    made = score(parted, data="parts", resume=True)
    assert (made.rows, made.resumed) == (ROWS, 7 * after)
    assert text_of(parted) == whole
    assert progress_of(parted) == []
    report = parted.verify()
    assert report.findings == ()
    with pytest.raises(NotFoundError, match="no interrupted batch"):
        score(parted, data="parts", resume=True)


@pytest.mark.parametrize("after", [0, 3])
def test_a_summary_is_what_the_scores_come_to(
    parted: Place, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    more = {"data": "parts", "keep": (), "output_action": "summary_only"}
    if after:
        with monkeypatch.context() as patch:
            cut(patch, after, UnavailableError)
            with pytest.raises(UnavailableError):
                score(parted, **more)
        with pytest.raises(ConflictError, match="a setting"):
            score(parted, data="parts", keep=(), resume=True)
    made = score(parted, **more, resume=bool(after))
    assert (made.rows, made.resumed, made.output_action) == (ROWS, 7 * after, "summary_only")
    table = pl.read_csv(text_of(parted), infer_schema=False)
    assert tuple(table.columns) == made.columns == ("output", "statistic", "of", "value")
    # Rows are (n, 1, 0.5, -n): every sum is 1.5, which is the second class.
    assert table.rows() == [
        (None, "rows", None, f"{ROWS}.0"), (None, "failed", None, "0.0"),
        ("probabilities", "count", "1", f"{ROWS}.0"),
    ]  # fmt: skip
    shown = parted.do("data.show", api.Named(name="scores")).value
    assert isinstance(shown, api.VersionShown)
    assert shown.version.rows == 3
    assert progress_of(parted) == []
    assert parted.verify().findings == ()


def test_a_summary_counts_what_failed(ready: Place) -> None:
    ready.do(
        "data.create",
        api.DataCreate(name="holes", format="csv"),
        content=io.BytesIO(b"a,b,c,d\n1e60,1,1,1\n1e60,2,2,2\n"),
    )
    made = score(ready, data="holes", keep=(), max_failed=2, output_action="summary_only")
    assert (made.rows, made.failed) == (2, 2)
    chunks = ready.do("data.download", api.Named(name="scores")).chunks
    assert chunks is not None
    assert pl.read_csv(b"".join(chunks))["value"].to_list() == [2, 2]


def test_nobody_goes_on_with_something_else(parted: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    read, write, call = "Vallum Data Reader", "Contributor", "Vallum Endpoint Invoker"
    picks = ("onlineEndpoints/deployments/score/action",)
    parted.do("role.create", api.RoleCreate(name="picker", data_actions=picks))
    ann = parted.person("ann", read, write, "picker")
    given = parted.do("role.assign", api.RoleAssign(role=call, principal="ann")).value
    assert isinstance(given, api.Done)
    with monkeypatch.context() as patch:
        cut(patch, 2, UnavailableError)
        with pytest.raises(UnavailableError):
            score(parted, ann, data="parts")
    for wrong, text in (
        ({"data": "people"}, "the data"),
        ({"deployment": "green"}, "the deployment"),
        ({"keep": ("id", "a")}, "a setting"),
        ({"features": ("d", "c", "b", "a")}, "a setting"),
    ):
        with pytest.raises(ConflictError, match=text):
            score(parted, ann, **{"data": "parts", "resume": True, **wrong})
    with pytest.raises(NotFoundError, match="no interrupted batch"):
        score(parted, data="parts", resume=True)  # not hers
    parted.do("data.create", api.DataCreate(name="parts", format="parquet"), content=parts(50))
    with pytest.raises(ConflictError, match="the data"):
        score(parted, ann, data="parts", resume=True)
    assert len(progress_of(parted)) == 1  # a mistake costs nothing
    parted.do("role.unassign", api.Named(name=given.id))
    with pytest.raises((RefusedError, NotFoundError)):
        score(parted, ann, data="parts", version=1, resume=True)
    parted.do("role.assign", api.RoleAssign(role=call, principal="ann"))
    made = score(parted, ann, data="parts", version=1, resume=True)
    assert (made.rows, made.resumed) == (ROWS, 14)


def test_of_two_who_go_on_one_publishes(parted: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    take = scoring.Pieces.take
    again: list[release.BatchScored] = []

    def meanwhile(self: scoring.Pieces, text: bytes, mark: Mark | None) -> None:
        take(self, text, mark)
        if len(self.progress.pieces) == 3 and not again:
            monkeypatch.setattr(scoring.Pieces, "take", take)
            again.append(score(parted, data="parts", resume=True))

    monkeypatch.setattr(scoring.Pieces, "take", meanwhile)
    with pytest.raises(ConflictError, match="another request"):
        score(parted, data="parts")
    assert [(one.rows, one.resumed, one.version) for one in again] == [(ROWS, 21, 1)]
    assert progress_of(parted) == []
    assert parted.verify().findings == ()


def test_what_is_left_of_a_batch_goes(parted: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(error: type[VallumError]) -> None:
        with monkeypatch.context() as patch:
            cut(patch, 3, error)
            with pytest.raises(error):
                score(parted, data="parts")

    house = parted.kernel.house
    interrupted(InputError)  # it would come again: nothing is kept
    assert progress_of(parted) == []
    interrupted(UnavailableError)
    (progress,) = progress_of(parted)
    parted.do("data.delete", api.Named(name="parts"))  # its pieces go with it
    assert progress_of(parted) == []
    assert progress.id in house.erasures.read()
    assert parted.verify().findings == ()
    parted.do("data.create", api.DataCreate(name="parts", format="parquet"), content=parts())
    interrupted(UnavailableError)
    monkeypatch.setattr(scoring, "KEPT_DAYS", -1)
    settle_all(house)  # nobody came for long
    assert progress_of(parted) == []
    assert parted.verify().findings == ()


def test_an_engine_is_local_or_ray(ready: Place) -> None:
    house = ready.kernel.house
    for name, address, text in (
        ("spark", "", "`spark` scores no batches"),
        ("ray", "https://head", "HOST:PORT"),
        ("ray", "head:6379\n", "HOST:PORT"),
    ):
        with pytest.raises(InputError, match=text):
            choose_engine(house, name, RayPlace(address))
    assert house.engine is house.local
    choose_engine(house, "local", RayPlace())
    assert house.engine is house.local


@pytest.mark.parametrize("missing", ["ray", *NEEDED])
def test_without_ray_the_extra_is_named(monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    monkeypatch.setattr(bootstrap, "find_spec", lambda name: None if name == missing else object())
    with pytest.raises(UnavailableError, match=f"`{missing}` is missing") as refused:
        check_ray(RayPlace())
    assert refused.value.hint == "pip install 'vallum[ray]'"
