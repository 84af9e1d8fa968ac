"""Thieves at the real gateway: told from honest callers, answered as was decided, on record."""

import time
from typing import Any

import msgspec
import numpy as np
import pytest
from running import WIDTH, Up, deploy, request, table

from vallum.base import InputError, RefusedError
from vallum.schema import InformationBudget, QueryWatch


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


def alarms(up: Up, endpoint: str, gate: str = "extraction-watch") -> list[Any]:
    """Return the evidence of the watch about the model, once it has been handed in."""
    (deployment,) = up.owner.endpoints.show(endpoint).deployments
    end = time.monotonic() + 10
    while time.monotonic() < end:
        found = [
            one
            for one in up.owner.models.show("small").evidence
            if one.gate == gate and one.parameters["deployment"] == deployment.id
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
    given = msgspec.structs.replace(watch("alert"), on_evasion="shout")
    with pytest.raises(InputError) as refused:
        serving.owner.endpoints.deploy("blind", "small", watch=given)
    assert refused.value.code == "deploy.watch"


def between(count: int, seed: int) -> list[list[float]]:
    """Return records between the classes, where searches for the smallest change end."""
    rng = np.random.default_rng(seed)
    x = rng.normal(0, 1, (count, WIDTH))
    return (x - x.mean(axis=1, keepdims=True) + rng.normal(0, 0.001, (count, 1))).tolist()  # type: ignore[no-any-return]


def test_the_model_abstains_from_what_was_made_to_mislead_it(serving: Up) -> None:
    serving.owner.data.create("many", table(5, rows=1500), format="csv")
    given = msgspec.structs.replace(watch("alert"), data="many", on_evasion="abstain")
    key = deploy(serving, "unsure", watch=given)
    rows = [[1.5] * WIDTH, [-1.5] * WIDTH, [1.4] * WIDTH]
    assert len(scores(serving, "unsure", key, rows)) == 6
    rows[1] = between(1, 13)[0]
    answer = scores(serving, "unsure", key, rows)
    assert answer.status_code == 422
    assert answer.json()["code"] == "score.abstained"
    assert answer.json()["detail"] == "the model abstains: 1 of 3 rows, 2"
    for at in range(40):
        assert scores(serving, "unsure", key, between(1, 100 + at)).status_code == 422
    (left,) = alarms(serving, "unsure", "evasion-watch")
    assert left.threat == "evasion"
    assert left.parameters["response"] == "abstain"
    assert int(left.measures["sign_unsure"]) >= 30


def test_who_keeps_trying_to_mislead_a_model_is_stopped(serving: Up) -> None:
    given = msgspec.structs.replace(watch("alert"), on_evasion="stop")
    key = deploy(serving, "hunted", watch=given)
    answers = [scores(serving, "hunted", key, between(4, at)) for at in range(12)]
    assert isinstance(answers[0], list)
    assert answers[-1].status_code == 403
    assert answers[-1].json()["code"] == "score.evasion"
    assert scores(serving, "hunted", key, honest(1, 5)).status_code == 403


@pytest.mark.slow
def test_who_asks_about_a_planted_record_leaves_evidence(serving: Up) -> None:
    rows = np.round(np.array(honest(5, 77)), 4)
    lines = ["f0,f1,f2,f3,y", *(",".join(map(str, [*one, 0])) for one in rows.tolist())]
    serving.owner.data.create("planted", ("\n".join(lines) + "\n").encode(), format="csv")
    given = msgspec.structs.replace(watch("alert"), canaries="planted")
    key = deploy(serving, "traps", watch=given)
    assert len(scores(serving, "traps", key, honest(20, 78))) == 40
    assert alarms(serving, "traps", "canary-watch") == []
    assert len(scores(serving, "traps", key, rows[3:4].tolist())) == 2
    (left,) = alarms(serving, "traps", "canary-watch")
    assert left.threat == "data-leakage"
    assert left.parameters["statistic"] == "record-3"
    assert left.verdict == "fail"


def test_who_may_not_read_the_training_data_cannot_have_them_watched_with(serving: Up) -> None:
    serving.owner.identities.create("deployer")
    serving.owner.roles.assign("Vallum Releaser", "deployer")
    client = serving.client(serving.owner.keys.create("d", principal="deployer").secret)
    serving.owner.endpoints.create("rights")
    with pytest.raises(RefusedError) as refused:
        client.endpoints.deploy("rights", "small", watch=watch("alert"))
    assert "data/versions/content/read" in refused.value.message
    client.endpoints.deploy("rights", "small")


def told(up: Up, endpoint: str, key: str, row: int) -> Any:
    """Score one row; a machine that is too busy to keep a lease is asked again."""
    end = time.monotonic() + 30
    while True:
        answer = up.score(endpoint, request(honest(1, row)), key=key)
        if answer.status_code != 503 or time.monotonic() > end:
            return answer


def test_no_caller_is_told_more_than_the_budget(serving: Up) -> None:
    key = deploy(serving, "bounded")
    budget = InformationBudget(bits=64 * 20, per_s=3600, response="stop")
    serving.owner.endpoints.update("bounded", information=budget)
    answers = [told(serving, "bounded", key, at) for at in range(22)]
    answered = sum(one.status_code == 200 for one in answers)
    assert 18 <= answered <= 20  # of two float32 each; one whose answer was lost is charged too
    refusal = answers[-1].json()
    assert (answers[-1].status_code, refusal["code"]) == (429, "score.information")
    assert "the next begins at 2" in refusal["detail"]
    assert 3000 < int(answers[-1].headers["retry-after"]) <= 3600
    # Another key of the endpoint is the same principal's.
    second = serving.owner.endpoints.keys("bounded", kind="secondary").secret
    assert told(serving, "bounded", second, 1).status_code == 429
    serving.owner.endpoints.update("bounded", information=InformationBudget(bits=0))
    assert told(serving, "bounded", second, 1).status_code == 200


def test_the_more_was_told_the_less_is(serving: Up) -> None:
    key = deploy(serving, "degrading")
    serving.owner.endpoints.update("degrading", information=InformationBudget(bits=64 * 20))
    seen = []
    for at in range(400):
        answer = told(serving, "degrading", key, at)
        if answer.status_code != 200:
            break
        p = answer.json()["outputs"][0]["data"]
        whole = all(round(one, 1) == one for one in p)
        seen.append("labels" if set(p) <= {0.0, 1.0} else "rounded" if whole else "whole")
    assert answer.status_code == 429
    assert seen[:8] == ["whole"] * 8
    assert set(seen[10:20]) <= {"rounded", "labels"}
    assert seen[-200:] == ["labels"] * 200  # a fifth of the budget, a bit each
