"""Experiments and runs: who may see them, what they keep, and how floods of metrics are logged."""

import json
import math
from collections import Counter

import msgspec
import pytest
from conftest_workspace import Place, sign_in_owner

from vallum.base import (
    ConflictError,
    InputError,
    LimitExceededError,
    NotFoundError,
    RefusedError,
    UnavailableError,
)
from vallum.schema import Caller, EntryKind, Record, RunStatus, api, mlflow
from vallum.workspace.bootstrap import Places, create, opened
from vallum.workspace.tracking import bundles, points
from vallum.workspace.tracking.points import Point

SCIENTIST = "AzureML Data Scientist"


def experiment(place: Place, name: str, who: Caller | None = None) -> str:
    made = place.do("experiment.create", mlflow.ExperimentCreate(name=name), who=who).value
    assert isinstance(made, mlflow.ExperimentCreated)
    return made.experiment_id


def start(place: Place, experiment_id: str, who: Caller | None = None, **more: object) -> str:
    arguments = mlflow.RunCreate(experiment_id=experiment_id, **more)  # type: ignore[arg-type]  # a test's short hand
    made = place.do("run.create", arguments, who=who).value
    assert isinstance(made, mlflow.RunReply)
    return made.run.info.run_id


def shown(place: Place, run_id: str, who: Caller | None = None) -> mlflow.RunShown:
    made = place.do("run.get", mlflow.RunNamed(run_id=run_id), who=who).value
    assert isinstance(made, mlflow.RunReply)
    return made.run


def search(place: Place, *ids: str, who: Caller | None = None, **more: object) -> mlflow.RunsFound:
    arguments = mlflow.RunSearch(experiment_ids=ids, **more)  # type: ignore[arg-type]  # a test's short hand
    found = place.do("run.search", arguments, who=who).value
    assert isinstance(found, mlflow.RunsFound)
    return found


def history(place: Place, run_id: str, key: str, **more: object) -> mlflow.MetricsFound:
    arguments = mlflow.MetricHistory(run_id=run_id, metric_key=key, **more)  # type: ignore[arg-type]  # a test's short hand
    found = place.do("run.metric-history", arguments).value
    assert isinstance(found, mlflow.MetricsFound)
    return found


def metric(key: str, value: float, step: int = 0) -> mlflow.MetricValue:
    return mlflow.MetricValue(key=key, value=value, timestamp=1000 + step, step=step)


def log(place: Place, run_id: str, step: int, who: Caller | None = None) -> None:
    """Log one point as the door does: into the open bundle, or else through the step."""
    caller = place.owner if who is None else who
    one = metric("loss", 1 / (step + 1), step)
    if not bundles.join(place.kernel.house, caller, run_id, points.take([one])):
        place.do("run.log-metric", mlflow.RunLogMetric(run_id=run_id, metrics=(one,)), who=who)


def kinds(place: Place) -> Counter[tuple[str, str]]:
    return Counter((kind, step) for kind, step, _, _ in place.entries())


# -- experiments --------------------------------------------------------------------------------


def test_an_experiment_is_made_found_renamed_tagged_deleted_and_restored(place: Place) -> None:
    made = experiment(place, "Loans / first try")
    found = place.do(
        "experiment.find", mlflow.ExperimentByName(experiment_name="Loans / first try")
    )
    assert isinstance(found.value, mlflow.ExperimentReply)
    assert found.value.experiment.experiment_id == made
    assert found.value.experiment.artifact_location == f"mlflow-artifacts:/{made}"
    with pytest.raises(ConflictError):
        experiment(place, "loans / FIRST try")
    place.do("experiment.update", mlflow.ExperimentUpdate(experiment_id=made, new_name="b"))
    tag = mlflow.ExperimentSetTag(experiment_id=made, key="team", value="risk")
    place.do("experiment.set-tag", tag)
    named = mlflow.ExperimentNamed(experiment_id=made)
    place.do("experiment.delete", named)
    with pytest.raises(InputError, match="was deleted"):
        place.do("experiment.set-tag", tag)
    with pytest.raises(InputError, match="was deleted"):
        start(place, made)
    place.do("experiment.restore", named)
    place.do("experiment.delete-tag", mlflow.ExperimentDeleteTag(experiment_id=made, key="team"))
    reply = place.do("experiment.get", named).value
    assert isinstance(reply, mlflow.ExperimentReply)
    assert (reply.experiment.name, reply.experiment.tags) == ("b", ())
    assert reply.experiment.lifecycle_stage == "active"
    assert place.verify().findings == ()


@pytest.mark.parametrize("name", ["", " x", "a\x00b", "a\u202eb", "x" * 501, "e\u0301"])
def test_names_that_deceive_are_refused(place: Place, name: str) -> None:
    with pytest.raises(InputError):
        experiment(place, name)


def test_the_server_assigns_locations(place: Place) -> None:
    arguments = mlflow.ExperimentCreate(name="x", artifact_location="file:///etc")
    with pytest.raises(InputError, match="the server assigns"):
        place.do("experiment.create", arguments)


def test_the_default_experiment_is_made_at_first_use(place: Place) -> None:
    named = mlflow.ExperimentNamed(experiment_id="0")
    with pytest.raises(NotFoundError):
        place.do("experiment.get", named)
    reader = place.person("reader", "Reader")
    with pytest.raises(RefusedError):
        start(place, "0", who=reader)
    run_id = start(place, "0")
    reply = place.do("experiment.get", named).value
    assert isinstance(reply, mlflow.ExperimentReply)
    assert reply.experiment.name == "Default"
    assert [one.info.run_id for one in search(place, "0").runs] == [run_id]


# -- who may see --------------------------------------------------------------------------------


def test_a_newcomer_sees_nothing_until_granted(place: Place) -> None:
    made, other = experiment(place, "secret"), experiment(place, "other")
    run_id = start(place, made)
    newcomer = place.person("newcomer")
    requests: list[tuple[str, Record]] = [
        ("experiment.get", mlflow.ExperimentNamed(experiment_id=made)),
        ("experiment.find", mlflow.ExperimentByName(experiment_name="secret")),
        ("run.get", mlflow.RunNamed(run_id=run_id)),
        ("run.metric-history", mlflow.MetricHistory(run_id=run_id, metric_key="m")),
        ("run.set-tag", mlflow.RunSetTag(run_id=run_id, key="a", value="b")),
        ("run.log-metric", mlflow.RunLogMetric(run_id=run_id, key="m", value=1.0)),
        ("run.delete", mlflow.RunNamed(run_id=run_id)),
    ]
    absent = mlflow.RunNamed(run_id="run-" + "0" * 26)
    with pytest.raises(NotFoundError) as unknown:
        place.do("run.get", absent, who=newcomer)
    for step, arguments in requests:
        with pytest.raises(NotFoundError) as refused:
            place.do(step, arguments, who=newcomer)
        assert refused.value.message == unknown.value.message  # no oracle of existence
    assert search(place, made, other, who=newcomer).runs == ()
    nothing = place.do("experiment.search", mlflow.Search(), who=newcomer).value
    assert nothing == mlflow.ExperimentsFound(experiments=())
    # Granted on one experiment, they see that one and nothing else.
    place.do(
        "role.assign",
        api.RoleAssign(role=SCIENTIST, principal="newcomer", scope="experiment/secret"),
    )
    member = place.sign_in("newcomer")
    assert shown(place, run_id, who=member).info.run_id == run_id
    assert len(search(place, made, other, who=member).runs) == 1
    seen = place.do("experiment.search", mlflow.Search(), who=member).value
    assert isinstance(seen, mlflow.ExperimentsFound)
    assert [one.name for one in seen.experiments] == ["secret"]
    with pytest.raises(NotFoundError):
        start(place, other, who=member)


def test_control_rights_do_not_read_what_was_logged(place: Place) -> None:
    made = experiment(place, "x")
    run_id = start(place, made)
    contributor = place.person("contributor", "Contributor")
    place.do("run.set-tag", mlflow.RunSetTag(run_id=run_id, key="a", value="b"), who=contributor)
    with pytest.raises(RefusedError, match="experiments/runs/read"):
        shown(place, run_id, who=contributor)
    assert search(place, made, who=contributor).runs == ()


def test_user_and_time_come_from_the_credential(place: Place) -> None:
    ana = place.person("ana", SCIENTIST)
    made = experiment(place, "x", who=ana)
    claim = (mlflow.Pair(key="mlflow.user", value="the boss"),)
    info = shown(place, start(place, made, who=ana, tags=claim))
    assert info.info.user_id == "ana"
    assert mlflow.Pair(key="mlflow.user", value="the boss") in info.data.tags
    now_ms = place.kernel.house.clock.now().timestamp() * 1000
    assert abs(info.info.start_time - now_ms) < 60_000


# -- what a run keeps ---------------------------------------------------------------------------


def test_a_batch_is_all_or_nothing(place: Place) -> None:
    run_id = start(place, experiment(place, "x"), run_name="named")
    batch = mlflow.RunLogBatch(
        run_id=run_id,
        metrics=(metric("a/b", math.inf, 3), metric("a/b", 2.0, 1), metric("ü", math.nan)),
        params=(mlflow.Pair(key="lr", value="0.1"),),
        tags=(mlflow.Pair(key="k", value="v"),),
    )
    place.do("run.log-batch", batch)
    told = shown(place, run_id)
    assert told.data.metrics == (
        mlflow.MetricValue(key="a/b", value="Infinity", timestamp=1003, step=3),
        mlflow.MetricValue(key="ü", value="NaN", timestamp=1000, step=0),
    )
    assert told.data.params == (mlflow.Pair(key="lr", value="0.1"),)
    before = msgspec.json.encode(told)
    changed = msgspec.structs.replace(
        batch, params=(mlflow.Pair(key="new"), mlflow.Pair(key="lr", value="2"))
    )
    with pytest.raises(InputError, match="parameters never change"):
        place.do("run.log-batch", changed)
    assert msgspec.json.encode(shown(place, run_id)) == before
    assert [one.value for one in history(place, run_id, "a/b").metrics] == [2.0, "Infinity"]
    too_many = mlflow.RunLogBatch(run_id=run_id, metrics=(metric("m", 1.0),) * 1001)
    with pytest.raises(LimitExceededError):
        place.do("run.log-batch", too_many)
    assert place.verify().findings == ()


@pytest.mark.parametrize("key", ["", "a\nb", "../x", "/x", "a//b", "x" * 251, "a;b"])
def test_keys_that_are_paths_or_unseen_are_refused(place: Place, key: str) -> None:
    run_id = start(place, experiment(place, "x"))
    with pytest.raises(InputError):
        place.do("run.log-param", mlflow.RunLogParam(run_id=run_id, key=key, value="v"))


def test_a_run_ends_when_the_server_hears_it_and_may_be_deleted(place: Place) -> None:
    run_id = start(place, experiment(place, "x"))
    ended = mlflow.RunUpdate(run_id=run_id, status=RunStatus.FINISHED, run_name="done")
    told = place.do("run.update", ended).value
    assert isinstance(told, mlflow.RunUpdated)
    assert told.run_info.end_time >= told.run_info.start_time
    assert mlflow.Pair(key="mlflow.runName", value="done") in shown(place, run_id).data.tags
    for _ in range(2):  # MLflow's clients may delete, and restore, what is that already
        place.do("run.delete", mlflow.RunNamed(run_uuid=run_id))
    assert shown(place, run_id).info.lifecycle_stage == "deleted"
    with pytest.raises(InputError, match="was deleted"):
        log(place, run_id, 0)
    for _ in range(2):
        place.do("run.restore", mlflow.RunNamed(run_id=run_id))
    log(place, run_id, 0)


def test_a_run_has_one_name(place: Place) -> None:
    made = experiment(place, "x")
    tag = mlflow.Pair(key="mlflow.runName", value="a")
    with pytest.raises(InputError, match="called 'b', and 'a' by its tag"):
        start(place, made, run_name="b", tags=(tag,))
    assert shown(place, start(place, made, run_name="a", tags=(tag,))).info.run_name == "a"


def test_long_values_are_kept_whole_within_the_bounds_of_a_run(place: Place) -> None:
    run_id = start(place, experiment(place, "x"))
    text = "x" * 64 * 1024
    place.do("run.log-param", mlflow.RunLogParam(run_id=run_id, key="columns", value=text))
    assert shown(place, run_id).data.params[0].value == text
    with pytest.raises(InputError, match="at most 65536"):
        place.do("run.set-tag", mlflow.RunSetTag(run_id=run_id, key="k", value=text + "x"))
    many = tuple(mlflow.Pair(key=f"p{at}", value=text) for at in range(32))
    with pytest.raises(LimitExceededError, match="characters of parameters"):
        place.do("run.log-batch", mlflow.RunLogBatch(run_id=run_id, params=many))


def test_models_that_old_clients_note_are_in_the_tag_where_mlflow_has_them(place: Place) -> None:
    run_id = start(place, experiment(place, "x"))
    for at in range(3):
        noted = json.dumps({"artifact_path": f"m{at}", "pad": "x" * 30_000})
        place.do("run.log-model", mlflow.RunLogModel(run_id=run_id, model_json=noted))
    tags = {one.key: one.value for one in shown(place, run_id).data.tags}
    history = json.loads(tags["mlflow.log-model.history"])
    assert [one["artifact_path"] for one in history] == ["m1", "m2"]  # the oldest made room
    with pytest.raises(InputError, match="not a JSON object"):
        place.do("run.log-model", mlflow.RunLogModel(run_id=run_id, model_json="[]"))


# -- floods -------------------------------------------------------------------------------------


def test_a_flood_of_metrics_is_two_entries_and_every_point_is_kept(place: Place) -> None:
    run_id = start(place, experiment(place, "x"))
    before = kinds(place)
    for step in range(60):
        log(place, run_id, step)
    assert kinds(place) - before == {("bundle-opened", "run.log-metric"): 1}
    # Readable at once, and `verify` knows what an open bundle is.
    assert [one.step for one in history(place, run_id, "loss").metrics] == list(range(60))
    assert shown(place, run_id).data.metrics[0].step == 59
    found = search(place, shown(place, run_id).info.experiment_id, filter="metrics.loss < 0.02")
    assert len(found.runs) == 1
    assert place.verify().findings == ()
    assert bundles.close_due(place.kernel.house, everything=True) == 1
    made = kinds(place) - before
    assert made["bundle-closed", "run.log-metric"] == 1
    assert made["bundle-opened", "run.log-metric"] == 1
    assert [one.step for one in history(place, run_id, "loss").metrics] == list(range(60))
    assert shown(place, run_id).data.metrics[0].step == 59
    assert place.verify().findings == ()
    assert bundles.close_due(place.kernel.house, everything=True) == 0


def test_a_full_bundle_makes_room_for_the_next(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bundles, "MAX_BUNDLE", 5)
    run_id = start(place, experiment(place, "x"))
    for step in range(12):
        log(place, run_id, step)
    assert kinds(place)["bundle-opened", "run.log-metric"] == 3
    assert bundles.close_due(place.kernel.house, everything=True) == 3
    assert [one.step for one in history(place, run_id, "loss").metrics] == list(range(12))


@pytest.mark.guarantee("G10")
def test_a_revoked_right_ends_an_open_bundle_at_once(place: Place) -> None:
    ana = place.person("ana", SCIENTIST)
    run_id = start(place, experiment(place, "x"))
    log(place, run_id, 0, who=ana)
    log(place, run_id, 1, who=ana)
    held = place.do("role.list", api.Page()).value
    assert isinstance(held, api.Listing)
    given = next(one for one in held.assignments if one.principal_id == ana.id)
    place.do("role.unassign", api.Named(name=given.id))
    with pytest.raises(NotFoundError):
        log(place, run_id, 2, who=ana)
    assert len(history(place, run_id, "loss").metrics) == 2
    assert ("refusal", "run.log-metric", False, "") in place.entries()


def test_a_lease_ends_with_its_run_its_time_and_its_bundle(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    house = place.kernel.house
    run_id = start(place, experiment(place, "x"))
    log(place, run_id, 0)
    point = (Point("loss", 1.0, 1, 1),)
    assert bundles.join(house, place.owner, run_id, point)
    other = start(place, experiment(place, "y"))
    assert not bundles.join(house, place.owner, other, point)
    place.do("run.delete", mlflow.RunNamed(run_id=run_id))
    assert not bundles.join(house, place.owner, run_id, point)
    assert len(history(place, run_id, "loss").metrics) == 2  # closed by the entry of the deletion
    log(place, other, 0)
    later = house.clock.monotonic() + bundles.LEASE_S
    lease = house.metric_leases.get((place.owner.id, place.owner.credential_id, other))
    assert lease is not None
    monkeypatch.setattr(lease.permit, "_monotonic", lambda: later)
    assert not bundles.join(house, place.owner, other, point)
    assert place.verify().findings == ()


def test_what_a_killed_process_left_open_is_read_and_closed_by_the_next(places: Places) -> None:
    create(places)
    with opened(places) as kernel:
        place = sign_in_owner(kernel, places)
        run_id = start(place, experiment(place, "x"))
        for step in range(3):
            log(place, run_id, step)
    with opened(places) as kernel:
        later = sign_in_owner(kernel, places)
        assert len(history(later, run_id, "loss").metrics) == 3
        assert bundles.close_due(kernel.house, everything=True) == 1
        assert len(history(later, run_id, "loss").metrics) == 3
        assert later.verify().findings == ()


def test_the_last_of_the_disk_is_not_for_floods(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    ana = place.person("ana", SCIENTIST)
    run_id = start(place, experiment(place, "x", who=ana), who=ana)
    log(place, run_id, 0, who=ana)
    monkeypatch.setattr(place.kernel.house, "free_bytes", lambda: 1024)
    with pytest.raises(UnavailableError, match="almost full"):
        log(place, run_id, 1, who=ana)


def test_a_search_that_takes_too_long_is_ended(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = experiment(place, "x")
    start(place, made)
    monkeypatch.setattr("vallum.workspace.steps.runs.MAX_SEARCH_S", -1.0)
    with pytest.raises(LimitExceededError, match="the search took"):
        search(place, made)


def test_a_bundle_changed_behind_our_back_is_found(place: Place) -> None:
    import sqlalchemy as sa

    from vallum.store.tables import records

    run_id = start(place, experiment(place, "x"))
    log(place, run_id, 0)
    with place.kernel.house.database.transaction() as tx:
        kind = records.c.kind == "metric-bundle"
        content = tx.connection.execute(sa.select(records.c.content).where(kind)).scalar_one()
        forged = bytes(content).replace(b'"loss"', b'"gain"')
        tx.connection.execute(sa.update(records).where(kind).values(content=forged))
    assert [one.code for one in place.verify().findings] != []


# -- search and pages ---------------------------------------------------------------------------


def test_search_filters_orders_and_pages(place: Place) -> None:
    made = experiment(place, "x")
    ids = [start(place, made, run_name=f"r{at}") for at in range(5)]
    for at, run_id in enumerate(ids):
        batch = mlflow.RunLogBatch(run_id=run_id, metrics=(metric("acc", at / 10),))
        place.do("run.log-batch", batch)
    asked = {"filter": "metrics.acc > 0.05", "order_by": ("metrics.acc DESC",), "max_results": 3}
    first = search(place, made, **asked)
    assert [one.info.run_name for one in first.runs] == ["r4", "r3", "r2"]
    second = search(place, made, page_token=first.next_page_token, **asked)
    assert [one.info.run_name for one in second.runs] == ["r1"]
    assert second.next_page_token == ""
    deleted = {"run_view_type": "DELETED_ONLY"}
    assert search(place, made, **deleted).runs == ()
    place.do("experiment.delete", mlflow.ExperimentNamed(experiment_id=made))
    assert len(search(place, made, **deleted).runs) == 5  # with their experiment
    with pytest.raises(InputError, match="max_results"):
        search(place, made, max_results=0)


def test_the_next_page_may_be_asked_to_be_smaller(place: Place) -> None:
    made = {experiment(place, name) for name in ("x", "y", "z")}
    first = place.do("experiment.search", mlflow.Search(max_results=2)).value
    assert isinstance(first, mlflow.ExperimentsFound)
    asked = mlflow.Search(max_results=1, page_token=first.next_page_token)  # as clients do
    second = place.do("experiment.search", asked).value
    assert isinstance(second, mlflow.ExperimentsFound)
    shown = [one.experiment_id for one in (*first.experiments, *second.experiments)]
    assert len(set(shown)) == 3
    assert set(shown) <= made | {"0"}


def test_a_page_token_is_good_for_its_caller_and_question_only(place: Place) -> None:
    ana = place.person("ana", SCIENTIST)
    made = experiment(place, "x")
    for _ in range(3):
        start(place, made)
    token = search(place, made, max_results=1).next_page_token
    assert "run-" not in token
    search(place, made, max_results=1, page_token=token)
    for wrong in (
        {"who": ana, "max_results": 1, "page_token": token},
        {"max_results": 1, "page_token": token, "filter": "metrics.a > 1"},
        {"max_results": 1, "page_token": token[:-4] + "AAA="},
        {"max_results": 1, "page_token": "nonsense"},
        {"max_results": 1, "page_token": "ü"},
    ):
        with pytest.raises(InputError, match="page token"):
            search(place, made, **wrong)  # type: ignore[arg-type]  # a table of arguments


def test_a_history_has_pages(place: Place) -> None:
    run_id = start(place, experiment(place, "x"))
    batch = mlflow.RunLogBatch(run_id=run_id, metrics=tuple(metric("m", i, i) for i in range(10)))
    place.do("run.log-batch", batch)
    first = history(place, run_id, "m", max_results=6)
    rest = history(place, run_id, "m", max_results=6, page_token=first.next_page_token)
    assert [one.step for one in (*first.metrics, *rest.metrics)] == list(range(10))
    assert history(place, run_id, "absent").metrics == ()


def test_entries_of_an_open_bundle_are_of_the_caller(place: Place) -> None:
    run_id = start(place, experiment(place, "x"))
    log(place, run_id, 0)
    house = place.kernel.house
    with house.database.snapshot() as snapshot:
        newest = house.log.entries(snapshot, newest_first=True, limit=1)[0].entry
    assert newest.kind is EntryKind.BUNDLE_OPENED
    assert newest.principal_id == place.owner.id
    assert newest.actions == ("experiments/runs/write",)
