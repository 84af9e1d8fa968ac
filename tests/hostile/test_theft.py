"""Thieves at the real gateway: told from honest callers, answered as was decided, on record."""

import time
from typing import Any

import numpy as np
import pytest
from running import WIDTH, Up, deploy, request

from vallum.base import InputError, RefusedError
from vallum.schema import QueryWatch


def watch(response: str) -> QueryWatch:
    return QueryWatch(data="members", label_column="y", response=response)


def honest(count: int, seed: int) -> list[list[float]]:
    """Return records like the training table's; see `running.table`."""
    rng = np.random.default_rng(seed)
    side = rng.integers(0, 2, count)[:, None]
    return (rng.normal(0, 0.5, (count, WIDTH)) + np.where(side == 1, 1.5, -1.5)).tolist()  # type: ignore[no-any-return]


def noise(count: int, seed: int) -> list[list[float]]:
    rng = np.random.default_rng(seed)
    return (rng.uniform(-9, 9, (count, WIDTH))).tolist()  # type: ignore[no-any-return]


def scores(up: Up, endpoint: str, key: str, rows: list[list[float]]) -> Any:
    answer = up.score(endpoint, request(rows), key=key)
    return answer.json()["outputs"][0]["data"] if answer.status_code == 200 else answer


def alarms(up: Up, endpoint: str) -> list[Any]:
    """Return the evidence of the watch about the model, once it has been handed in."""
    (deployment,) = up.owner.endpoints.show(endpoint).deployments
    end = time.monotonic() + 10
    while time.monotonic() < end:
        found = [
            one
            for one in up.owner.models.show("small").evidence
            if one.gate == "extraction-watch" and one.parameters["deployment"] == deployment.id
        ]
        if found:
            return found
        time.sleep(0.2)
    return []


def test_a_thief_gets_labels_only_and_leaves_evidence(serving: Up) -> None:
    key = deploy(serving, "watched", watch=watch("label-only"))
    for start in range(0, 120, 30):
        assert not np.isin(scores(serving, "watched", key, honest(30, start)), (0, 1)).all()
    stolen = [scores(serving, "watched", key, noise(30, 100 + at)) for at in range(6)]
    assert set(stolen[-1]) == {0.0, 1.0}
    assert set(scores(serving, "watched", key, honest(5, 7))) == {0.0, 1.0}
    (left, *_) = alarms(serving, "watched")
    assert left.verdict == "fail"
    assert left.threat == "model-extraction"
    assert left.parameters["statistic"] == "novelty"
    assert left.parameters["response"] == "label-only"
    assert 120 < int(left.measures["queries"]) <= 300
    assert serving.owner.workspace.verify().findings == ()
    assert serving.owner.audit.verify().findings == ()


@pytest.mark.parametrize(("response", "status"), [("throttle", 429), ("stop", 403)])
def test_a_thief_is_slowed_down_or_stopped(serving: Up, response: str, status: int) -> None:
    key = deploy(serving, response, watch=watch(response))
    answers = [serving.score(response, request(noise(30, at)), key=key) for at in range(8)]
    assert answers[0].status_code == 200
    assert answers[-1].status_code == status
    # An honest question does not clear who is suspected.
    assert serving.score(response, request(honest(1, 3)), key=key).status_code == status
    assert alarms(serving, response)


def test_who_is_only_watched_is_answered_in_full(serving: Up) -> None:
    key = deploy(serving, "alert", watch=watch("alert"))
    for at in range(8):
        answered = scores(serving, "alert", key, noise(30, at))
        assert isinstance(answered, list)
    assert not np.isin(scores(serving, "alert", key, honest(5, 1)), (0, 1)).all()
    assert alarms(serving, "alert")


def test_a_deployment_that_cannot_be_watched_is_not_served(serving: Up) -> None:
    serving.owner.endpoints.create("blind")
    # With the label among the features the profile is wider than the model.
    serving.owner.endpoints.deploy("blind", "small", watch=QueryWatch(data="members"))
    end = time.monotonic() + 30
    while time.monotonic() < end:
        (deployment,) = serving.owner.endpoints.show("blind").deployments
        if deployment.state.value == "failed":
            break
        time.sleep(0.1)
    assert "takes 4 features, its training data have 5" in deployment.reason
    with pytest.raises(InputError) as refused:
        serving.owner.endpoints.deploy("blind", "small", watch=watch("shout"))
    assert refused.value.code == "deploy.watch"


def test_who_may_not_read_the_training_data_cannot_have_them_watched_with(serving: Up) -> None:
    serving.owner.identities.create("deployer")
    serving.owner.roles.assign("Vallum Releaser", "deployer")
    client = serving.client(serving.owner.keys.create("d", principal="deployer").secret)
    serving.owner.endpoints.create("rights")
    with pytest.raises(RefusedError) as refused:
        client.endpoints.deploy("rights", "small", watch=watch("alert"))
    assert "data/versions/content/read" in refused.value.message
    client.endpoints.deploy("rights", "small")
