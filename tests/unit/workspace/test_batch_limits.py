"""What an endpoint lets in holds for its batches: networks, rates, and a row is an answer."""

import io

import msgspec
import polars as pl
import pytest
from conftest_workspace import Place
from running import small_model

from vallum.base import LimitExceededError, ManualClock, NotFoundError, RefusedError
from vallum.schema import Caller, Lent, Quota, Rate, api, release, rules
from vallum.schema.serving import LoanAsk
from vallum.workspace import scoring
from vallum.workspace.context import Context
from vallum.workspace.lending import give

ROWS = 40
GROUP = 10
QUOTA = Quota(requests=1000, per_s=3600)


@pytest.fixture
def ready(place: Place, monkeypatch: pytest.MonkeyPatch) -> Place:
    """A place with data `rows` in pieces, and endpoint `e`; progress is saved at each piece."""
    monkeypatch.setattr(scoring, "SAVE_S", 0.0)
    held = io.BytesIO()
    frame = pl.DataFrame({name: [float(at) for at in range(ROWS)] for name in "abcd"})
    frame.write_parquet(held, row_group_size=GROUP)
    held.seek(0)
    place.do("data.create", api.DataCreate(name="rows", format="parquet"), content=held)
    place.do(
        "model.register",
        api.ModelRegister(name="m", file_name="model.onnx"),
        content=io.BytesIO(small_model()),
    )
    place.do("policy.set", rules.PolicySet(document='{"version": "vallum.policy/1"}', reason="r"))
    place.do("endpoint.create", api.EndpointCreate(name="e"))
    place.do("endpoint.deploy", api.EndpointDeploy(endpoint="e", deployment="blue", model="m"))
    return place


def score(place: Place, who: Caller | None = None, **more: object) -> release.BatchScored:
    dry_run = bool(more.pop("dry_run", False))
    given = {"endpoint": "e", "data": "rows", "into": "scores", **more}
    asked = release.EndpointBatch(**given)  # type: ignore[arg-type]
    made = place.do("endpoint.batch", asked, who=who, dry_run=dry_run).value
    assert isinstance(made, release.BatchScored)
    return made


def change(place: Place, **what: object) -> None:
    place.do("endpoint.update", release.EndpointUpdate(name="e", **what))  # type: ignore[arg-type]


def used(place: Place) -> dict[str, int]:
    """Return what is used of the endpoint's quotas, by whose."""
    house = place.kernel.house
    with house.database.snapshot() as snapshot:
        context = Context(records=house.records, snapshot=snapshot, workspace_id=house.workspace_id)
        return {one.subject.partition(":")[0]: one.amount for one in context.all("quota", Lent)}


def test_a_batch_comes_from_the_endpoints_networks(ready: Place) -> None:
    change(ready, networks=("192.0.2.0/24",))
    with pytest.raises(RefusedError) as refused:
        score(ready)
    assert refused.value.code == "score.network"
    assert ("decision", "endpoint.batch", True, "score.network") in ready.entries()
    inside = msgspec.structs.replace(ready.owner, source="192.0.2.7")
    assert score(ready, inside).rows == ROWS
    for unknown in ("", "unix"):
        with pytest.raises(RefusedError):
            score(ready, msgspec.structs.replace(ready.owner, source=unknown))
    with pytest.raises(NotFoundError):  # whoever may not score is not told from where
        score(ready, ready.person("stranger"))
    assert ready.verify().findings == ()


def test_networks_that_change_meanwhile_hold_for_what_would_be_published(
    ready: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    end = scoring.Pieces.text

    def meanwhile(self: scoring.Pieces) -> object:
        change(ready, networks=("192.0.2.0/24",))
        return end(self)

    monkeypatch.setattr(scoring.Pieces, "text", meanwhile)
    with pytest.raises(RefusedError, match="not from this network"):
        score(ready)
    with pytest.raises(NotFoundError):
        ready.do("data.show", api.Named(name="scores"))
    assert ready.verify().findings == ()


def test_every_row_is_an_answer_that_every_quota_counts(ready: Place) -> None:
    quotas = tuple(
        msgspec.structs.replace(QUOTA, per=per)
        for per in ("principal", "key", "network", "endpoint")
    )
    change(ready, quotas=quotas)
    score(ready, dry_run=True)  # tells no score
    assert used(ready) == {}
    score(ready)
    assert used(ready) == dict.fromkeys(("principal", "key", "network", "endpoint"), ROWS)
    # A gateway is lent from the same ledger.
    (endpoint,) = ready.do("endpoint.list", api.Page()).value.endpoints  # type: ignore[union-attr]
    given = give(
        ready.kernel.house,
        LoanAsk(endpoint_id=endpoint.id, subject=ready.owner.id, amount=1, per="principal"),
    )
    assert given.spent == ROWS + given.amount
    assert ready.verify().findings == ()


def test_who_uses_a_quota_up_goes_on_in_the_next_window(ready: Place) -> None:
    house = ready.kernel.house
    clock = house.clock = ManualClock(house.clock.now())
    change(ready, quotas=(Quota(requests=25, per_s=3600),))
    with pytest.raises(LimitExceededError) as spent:
        score(ready)
    assert (spent.value.code, used(ready)) == ("score.quota", {"principal": 2 * GROUP})
    assert "5 are left" in spent.value.message
    assert "--resume" in spent.value.hint
    assert 3500 < (spent.value.retry_after_s or 0) <= 3600
    with pytest.raises(NotFoundError):
        ready.do("data.show", api.Named(name="scores"))
    assert ("outcome", "endpoint.batch", True, "score.quota") in ready.entries()
    clock.advance(3601)
    made = score(ready, resume=True)
    assert (made.rows, made.resumed) == (ROWS, 2 * GROUP)
    assert used(ready) == {"principal": 2 * GROUP}  # of the new window: no row is paid for twice
    change(ready, quotas=(Quota(requests=2 * GROUP, per_s=3600),))
    with pytest.raises(LimitExceededError, match="0 are left"):  # nothing begins
        score(ready)
    assert ("decision", "endpoint.batch", True, "score.quota") in ready.entries()
    assert ready.verify().findings == ()


def test_a_quota_that_comes_meanwhile_counts_what_is_published(
    ready: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    end = scoring.Pieces.text

    def meanwhile(self: scoring.Pieces) -> object:
        change(ready, quotas=(QUOTA,))
        return end(self)

    with monkeypatch.context() as patch:
        patch.setattr(scoring.Pieces, "text", meanwhile)
        score(ready)
    assert used(ready) == {"principal": ROWS}


def test_a_batch_is_one_request_at_the_endpoints_rates(ready: Place) -> None:
    change(ready, rates=(Rate(requests=2, per_s=3600, per="principal"),))
    score(ready)
    score(ready, dry_run=True)  # is as much work
    with pytest.raises(LimitExceededError) as refused:
        score(ready)
    assert (refused.value.code, refused.value.message.startswith("batches come faster")) == (
        "score.rate", True,
    )  # fmt: skip
    assert ("decision", "endpoint.batch", True, "score.rate") in ready.entries()
    # Who is refused for their own sake takes nothing of what others have.
    other = ready.person("other", "Vallum Data Reader", "Contributor", "Vallum Endpoint Invoker")
    assert score(ready, other, into="others").rows == ROWS
