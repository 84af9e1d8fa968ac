"""The life of a deployment, as gateways tell it: what answers does so until another one runs."""

import io
import json

import pytest
from conftest_workspace import Place
from running import small_model

from vallum.base import ConflictError, InputError, ManualClock, NotFoundError, UnavailableError
from vallum.schema import Deployment, Endpoint, api, release, rules
from vallum.schema.serving import DeploymentFailed, DeploymentRuns, LeaseAsk, ServedDeployment
from vallum.workspace.serving import Serving

STRICT = '{"version": "vallum.policy/1"}'


class Unacknowledged(Serving):
    """Waits for no gateway to follow a change: those of these tests are names."""

    def barrier(self, generation: int) -> None:
        """Go on at once."""


@pytest.fixture
def serving(place: Place) -> Serving:
    """The control side of endpoint `e`, with model `m`; nobody acknowledges what it changes."""
    place.do(
        "model.register",
        api.ModelRegister(name="m", file_name="model.onnx"),
        content=io.BytesIO(small_model()),
    )
    place.do("policy.set", rules.PolicySet(document=STRICT, reason="r"))
    place.do("endpoint.create", api.EndpointCreate(name="e"))
    return Unacknowledged(place.kernel)


def deploy(place: Place, name: str = "blue", **more: object) -> Deployment:
    """Return the deployment that was made."""
    given = {"endpoint": "e", "deployment": name, "model": "m", **more}
    shown = place.do("endpoint.deploy", api.EndpointDeploy(**given)).value  # type: ignore[arg-type]
    assert isinstance(shown, api.EndpointShown)
    return max(
        (one for one in shown.deployments if one.name == name), key=lambda one: one.created_at
    )


def shown(place: Place) -> tuple[Endpoint, list[tuple[str, str, str]]]:
    """Return the endpoint, and name, state and id of its deployments."""
    value = place.do("endpoint.show", api.Named(name="e")).value
    assert isinstance(value, api.EndpointShown)
    return value.endpoint, sorted((one.name, one.state.value, one.id) for one in value.deployments)


def served(serving: Serving) -> dict[str, ServedDeployment]:
    (endpoint,) = serving.lease(LeaseAsk(gateway="g", have=-1)).endpoints
    return {one.id: one for one in endpoint.deployments}


def test_traffic_waits_until_a_gateway_says_that_it_runs(place: Place, serving: Serving) -> None:
    blue = deploy(place)
    assert shown(place)[0].traffic == {}
    assert (served(serving)[blue.id].starting, served(serving)[blue.id].share) == (True, 0)
    with pytest.raises(ConflictError, match="`blue` is starting"):
        place.do("endpoint.traffic", release.EndpointTraffic(endpoint="e", traffic={"blue": 100}))
    serving.runs(DeploymentRuns("g", blue.id))
    serving.runs(DeploymentRuns("g", blue.id))  # another gateway says so, too
    assert shown(place)[0].traffic == {"blue": 100}
    assert (served(serving)[blue.id].starting, served(serving)[blue.id].share) == (False, 100)
    green = deploy(place, "green", traffic=10)
    assert shown(place)[0].traffic == {"blue": 100}
    serving.runs(DeploymentRuns("g", green.id))
    assert shown(place)[0].traffic == {"blue": 90, "green": 10}
    assert place.verify().findings == ()


def test_what_is_replaced_answers_until_the_other_one_runs(place: Place, serving: Serving) -> None:
    old = deploy(place)
    serving.runs(DeploymentRuns("g", old.id))
    never = deploy(place)
    new = deploy(place)  # two wait for one place: the newer one
    assert {one.id: one.share for one in served(serving).values()} == {old.id: 100, new.id: 0}
    with pytest.raises(NotFoundError):
        serving.runs(DeploymentRuns("g", never.id))
    serving.runs(DeploymentRuns("g", new.id))
    assert {one.id: one.share for one in served(serving).values()} == {new.id: 100}
    assert shown(place)[1] == [("blue", "running", new.id)]
    assert place.verify().findings == ()


def test_what_does_not_start_leaves_everything_as_it_was(place: Place, serving: Serving) -> None:
    old = deploy(place)
    serving.runs(DeploymentRuns("g", old.id))
    for name in ("blue", "green"):
        new = deploy(place, name)
        serving.fail(DeploymentFailed(deployment_id=new.id, code="model.load", reason="broken"))
        endpoint, deployments = shown(place)
        assert endpoint.traffic == {"blue": 100}
        assert (name, "failed", new.id) in deployments
        assert {one.id: one.share for one in served(serving).values()} == {old.id: 100}
        serving.runs(DeploymentRuns("g", new.id))  # it is late
        assert (name, "failed", new.id) in shown(place)[1]
    # What comes next takes the place of what failed, too.
    new = deploy(place)
    assert [one for one in shown(place)[1] if one[0] == "blue"] == [
        ("blue", "running", old.id), ("blue", "starting", new.id),
    ]  # fmt: skip
    serving.runs(DeploymentRuns("g", new.id))
    assert place.verify().findings == ()


def test_it_takes_over_once_it_stands_at_every_gateway(place: Place, serving: Serving) -> None:
    house = place.kernel.house
    clock = house.clock = ManualClock(house.clock.now())
    old = deploy(place)
    serving.runs(DeploymentRuns("g", old.id))
    new = deploy(place)
    for name in "gh":
        serving.lease(LeaseAsk(gateway=name, have=-1))
    serving.runs(DeploymentRuns("g", new.id))
    assert len(shown(place)[1]) == 2
    serving.runs(DeploymentRuns("h", new.id))
    assert shown(place)[1] == [("blue", "running", new.id)]
    # One that ended meanwhile is waited for no longer than its lease lasts.
    newest = deploy(place)
    serving.runs(DeploymentRuns("g", newest.id))
    assert len(shown(place)[1]) == 2
    clock.advance(2.0)
    serving.lease(LeaseAsk(gateway="g", have=-1))
    serving.runs(DeploymentRuns("g", newest.id))
    assert shown(place)[1] == [("blue", "running", newest.id)]


def test_who_shares_the_traffic_later_decides(place: Place, serving: Serving) -> None:
    old = deploy(place)
    serving.runs(DeploymentRuns("g", old.id))
    green = deploy(place, "green")
    place.do("endpoint.traffic", release.EndpointTraffic(endpoint="e", traffic={"blue": 100}))
    serving.runs(DeploymentRuns("g", green.id))
    assert shown(place)[0].traffic == {"blue": 100, "green": 0}
    # A deployment that takes the place of one that failed meanwhile still gets its share.
    new = deploy(place)
    serving.fail(DeploymentFailed(deployment_id=old.id, code="model.digest", reason="changed"))
    serving.runs(DeploymentRuns("g", new.id))
    assert shown(place)[0].traffic == {"blue": 100, "green": 0}
    assert place.verify().findings == ()


def test_shares_that_cannot_be_are_refused_at_once(place: Place, serving: Serving) -> None:
    with pytest.raises(InputError, match="only deployment"):
        deploy(place, traffic=50)
    blue = deploy(place)
    serving.runs(DeploymentRuns("g", blue.id))
    place.do("endpoint.delete", api.Named(name="e"))
    with pytest.raises(NotFoundError):
        serving.runs(DeploymentRuns("g", blue.id))
    assert place.verify().findings == ()


def test_where_a_model_runs_is_allowed_by_the_operator_and_logged(
    place: Place, serving: Serving
) -> None:
    with pytest.raises(InputError, match="`spark` runs no models"):
        deploy(place, scale=release.Scale(engine="spark"))
    with pytest.raises(UnavailableError, match="no replicas on Ray") as refused:
        deploy(place, scale=release.Scale(engine="ray"))
    assert refused.value.hint == "its operator does: vallum up --ray-replicas"
    place.kernel.house.ray_replicas = True
    made = deploy(place, scale=release.Scale(max_instances=2, engine="ray"))
    assert made.scale is not None
    assert made.scale.engine == "ray"
    entries = place.do("audit.list", api.AuditList(step="endpoint.deploy")).value.entries
    assert [one.entry.error for one in entries][:2] == ["deploy.engine", "deploy.engine"]
    shown_entry = place.do("audit.show", api.Named(name=entries[-1].entry.id)).value
    assert json.loads(shown_entry.details)["engine"] == "ray"
    (served,) = serving.lease(LeaseAsk(gateway="g", have=-1)).endpoints[0].deployments
    assert served.scale.engine == "ray"
