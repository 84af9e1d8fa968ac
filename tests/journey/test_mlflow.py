"""The unchanged MLflow client against the running server: over TLS, with our authority and keys."""

import base64
import json
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fixtures_store import postgresql
from running import Up, running

os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"  # read when it is imported
mlflow = pytest.importorskip("mlflow", reason="mlflow-skinny is not installed (extra `dev`)")

__all__ = ["postgresql"]

SCIENTIST = "AzureML Data Scientist"


@pytest.fixture(
    scope="module", params=["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)]
)
def up(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """A workspace on each kind of database; the whole journey on PostgreSQL is slow."""
    folder = Path(tmp_path_factory.mktemp("mlflow"))
    arguments: tuple[str, ...] = ()
    if request.param == "postgresql":
        address = folder / "database"
        address.touch(mode=0o600)
        address.write_text(request.getfixturevalue("postgresql")())
        arguments = ("--database-file", str(address))
    with running(folder, arguments=arguments) as started:
        yield started


@pytest.fixture(autouse=True)
def owner(up: Up, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Sign the client in as the owner, with nothing but what MLflow documents."""
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", up.token)
    monkeypatch.setenv("MLFLOW_TRACKING_SERVER_CERT_PATH", str(up.ca))
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    mlflow.set_tracking_uri(up.url)
    yield mlflow.MlflowClient()
    while mlflow.active_run() is not None:
        mlflow.end_run()


def key_of(up: Up, name: str, *roles: str, scope: str = "") -> str:
    up.owner.identities.create(name)
    for role in roles:
        up.owner.roles.assign(role, name, scope=scope)
    return str(up.owner.keys.create("k", principal=name).secret)


def test_a_training_script_runs_as_it_is(up: Up, owner: Any) -> None:
    mlflow.set_experiment("Loans: first try")
    with mlflow.start_run(run_name="boosted", tags={"team": "risk"}) as run:
        mlflow.log_params({"depth": 3, "rate": 0.1})
        for step in range(30):
            mlflow.log_metric("loss", 1 / (step + 1), step=step)
        mlflow.log_metrics({"accuracy": 0.93, "odd": math.nan}, step=30)
        mlflow.set_tag("reviewed", "no")
    run_id = run.info.run_id
    found = owner.get_run(run_id)
    assert found.info.status == "FINISHED"
    assert found.info.run_name == "boosted"
    assert found.data.params == {"depth": "3", "rate": "0.1"}
    assert found.data.metrics["accuracy"] == 0.93
    assert math.isnan(found.data.metrics["odd"])
    assert [one.step for one in owner.get_metric_history(run_id, "loss")] == list(range(30))
    owner.log_batch(run_id, [mlflow.entities.Metric(f"m{at}", at, 1, 0) for at in range(1000)])
    assert len(owner.get_run(run_id).data.metrics) == 1003
    owner.delete_tag(run_id, "reviewed")
    owner.delete_run(run_id)
    assert owner.get_run(run_id).info.lifecycle_stage == "deleted"
    owner.restore_run(run_id)
    with pytest.raises(mlflow.MlflowException, match="never change") as refused:
        owner.log_param(run_id, "depth", 4)
    assert refused.value.error_code == "INVALID_PARAMETER_VALUE"
    assert up.owner.workspace.verify().findings == ()


def test_who_made_a_run_is_the_credential_and_not_a_tag(owner: Any) -> None:
    made = owner.create_experiment("claims")
    run = owner.create_run(made, start_time=12345, tags={"mlflow.user": "somebody else"})
    assert run.info.user_id == "owner"
    assert run.info.start_time > 1_700_000_000_000
    assert run.data.tags["mlflow.user"] == "somebody else"


def test_experiments_are_managed_as_with_mlflow(owner: Any) -> None:
    made = owner.create_experiment("managed", tags={"a": "1"})
    assert owner.get_experiment_by_name("managed").experiment_id == made
    assert owner.get_experiment_by_name("no such thing") is None
    with pytest.raises(mlflow.MlflowException) as taken:
        owner.create_experiment("managed")
    assert taken.value.error_code == "RESOURCE_ALREADY_EXISTS"
    owner.rename_experiment(made, "renamed")
    owner.set_experiment_tag(made, "b", "2")
    assert owner.get_experiment(made).tags == {"a": "1", "b": "2"}
    owner.delete_experiment(made)
    names = [one.name for one in owner.search_experiments(filter_string="name LIKE 'rename%'")]
    assert names == []
    owner.restore_experiment(made)
    found = owner.search_experiments(filter_string="tags.a = '1' AND name ILIKE 'RENAMED'")
    assert [one.experiment_id for one in found] == [made]
    with mlflow.start_run(experiment_id="0") as run:  # the one that every client assumes
        pass
    assert owner.get_experiment(run.info.experiment_id).name == "Default"


def test_searches_filter_order_and_page(owner: Any) -> None:
    made = owner.create_experiment("searched")
    for at in range(7):
        run = owner.create_run(made, run_name=f"r{at}")
        owner.log_metric(run.info.run_id, "auc", at / 10)
        owner.log_param(run.info.run_id, "kind", "tree" if at % 2 else "line")
        owner.set_terminated(run.info.run_id)

    def pages(size: int, **asked: Any) -> list[str]:
        names: list[str] = []
        token = None
        while True:
            page = owner.search_runs([made], max_results=size, page_token=token, **asked)
            names += [one.info.run_name for one in page]
            if not (token := page.token):
                return names

    assert pages(2, order_by=["metrics.auc DESC"]) == [f"r{at}" for at in reversed(range(7))]
    asked = "metrics.auc >= 0.1 and params.kind = 'tree' and attributes.status = 'FINISHED'"
    assert sorted(pages(2, filter_string=asked)) == ["r1", "r3", "r5"]
    with pytest.raises(mlflow.MlflowException, match="is not an attribute") as wrong:
        pages(2, filter_string="attributes.password = 'x'")
    assert wrong.value.error_code == "INVALID_PARAMETER_VALUE"
    frame = [one.info.run_name for one in mlflow.search_runs([made], output_format="list")]
    assert len(frame) == 7


def test_a_newcomer_sees_nothing_until_granted(
    up: Up, owner: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = owner.create_experiment("guarded")
    run_id = owner.create_run(made).info.run_id
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", key_of(up, "newcomer"))
    for asked in (
        lambda: owner.get_experiment(made),
        lambda: owner.get_run(run_id),
        lambda: owner.log_metric(run_id, "m", 1.0),
        lambda: owner.set_tag(run_id, "a", "b"),
    ):
        with pytest.raises(mlflow.MlflowException) as hidden:
            asked()
        assert hidden.value.error_code == "RESOURCE_DOES_NOT_EXIST"
    assert owner.get_experiment_by_name("guarded") is None
    assert list(owner.search_experiments()) == []
    assert list(owner.search_runs([made])) == []
    up.owner.roles.assign(SCIENTIST, "newcomer", scope="experiment/guarded")
    assert [one.name for one in owner.search_experiments()] == ["guarded"]
    owner.log_metric(run_id, "m", 1.0)
    assert owner.get_run(run_id).data.metrics == {"m": 1.0}


def test_old_clients_sign_in_with_user_and_key(
    up: Up, owner: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = key_of(up, "basic", SCIENTIST)
    monkeypatch.delenv("MLFLOW_TRACKING_TOKEN")
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "basic")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", key)
    made = owner.create_experiment("by-basic")
    assert owner.create_run(made).info.user_id == "basic"
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "owner")  # another's name, one's own key
    with pytest.raises(mlflow.MlflowException) as refused:
        owner.get_experiment(made)
    assert refused.value.error_code == "UNAUTHENTICATED"


@pytest.mark.parametrize(
    "header",
    [
        "Basic",
        "Basic !!!",
        "Basic " + base64.b64encode(b"nocolon").decode(),
        "Basic " + base64.b64encode(b"owner:").decode(),
        "Basic " + base64.b64encode(b"\xff\xfe:x").decode(),
        "Digest x",
        "Bearer",
    ],
)
def test_what_is_no_credential_is_refused_in_mlflows_shape(up: Up, header: str) -> None:
    path = "/api/2.0/mlflow/experiments/search"
    answer = up.raw(path, token=None, headers={"Authorization": header})
    assert answer.status_code == 401
    assert answer.json()["error_code"] == "UNAUTHENTICATED"
    assert "MLFLOW_TRACKING_TOKEN" in answer.json()["message"]


@pytest.mark.guarantee("G1")
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/api/2.0/mlflow/nothing"),
        ("POST", "/api/3.0/mlflow/scorers/list"),
        ("PATCH", "/ajax-api/2.0/x/y"),
        ("DELETE", "/api/2.0/mlflow/runs/get"),
    ],
)
def test_what_is_not_served_is_404_but_only_for_who_is_known(
    up: Up, method: str, path: str
) -> None:
    known = up.raw(path, method=method)
    assert (known.status_code, known.json()["error_code"]) == (404, "ENDPOINT_NOT_FOUND")
    unknown = up.raw(path, method=method, token=None)
    assert (unknown.status_code, unknown.json()["error_code"]) == (401, "UNAUTHENTICATED")


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("runs/create", b"[]"),
        ("runs/create", b"{"),
        ("runs/create", b'{"experiment_id": 1}'),
        ("runs/create", b'{"experiment_id": "0", "run_name": "\\ud800"}'),
        ("runs/log-batch", b'{"run_id": "run-x", "metrics": [1]}'),
        ("runs/log-metric", b'{"run_id": "x", "key": "k", "value": NaN, "timestamp": 1}'),
        ("runs/log-metric", b'{"run_id": "x", "key": "k", "value": "much", "timestamp": 1}'),
        ("runs/search", b'{"filter": "((((("}'),
        ("runs/search", b'{"max_results": 99999999}'),
        ("experiments/create", b"{}"),
        ("experiments/create", b'{"name": "a", "name": "b"}'),
    ],
)
def test_bad_input_is_told_in_mlflows_shape(up: Up, path: str, body: bytes) -> None:
    answer = up.raw(f"/api/2.0/mlflow/{path}", method="POST", content=body)
    assert answer.status_code == 400, answer.text
    told = answer.json()
    assert told["error_code"] == "INVALID_PARAMETER_VALUE"
    assert told["request_id"].startswith("req-")


def test_what_the_border_refuses_has_mlflows_shape_too(up: Up) -> None:
    answer = up.raw("/api/2.0/mlflow/a/../b", headers={"Host": "elsewhere"})
    assert json.loads(answer.text)["error_code"] == "INVALID_PARAMETER_VALUE"


def test_the_server_tells_what_it_can_do(up: Up) -> None:
    for prefix in ("/api/3.0", "/ajax-api/3.0"):
        told = up.raw(f"{prefix}/mlflow/server-info")
        assert told.status_code == 200
        assert told.json()["multipart_uploads_enabled"] is False
    assert up.raw("/api/3.0/mlflow/server-info", token=None).status_code == 401


@pytest.mark.filterwarnings("default")
def test_a_program_is_traced_and_its_traces_are_for_who_may_read_them(
    up: Up, owner: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_ENABLE_ASYNC_TRACE_LOGGING", "false")
    made = mlflow.set_experiment("traced").experiment_id

    @mlflow.trace
    def answer(question: str) -> str:
        with mlflow.start_span("look up") as span:
            span.set_inputs({"question": question})
        return "no"

    answer("may I borrow?")
    identity = mlflow.get_last_active_trace_id()
    trace = mlflow.get_trace(identity)
    assert [one.name for one in trace.data.spans] == ["answer", "look up"]
    assert trace.data.spans[1].inputs == {"question": "may I borrow?"}
    told = mlflow.log_feedback(trace_id=identity, name="right", value=True)
    found = mlflow.search_traces(
        locations=[made], filter_string="name = 'answer' AND feedback.right = 'true'",
        return_type="list",
    )  # fmt: skip
    assert [one.info.trace_id for one in found] == [identity]
    assert found[0].info.assessments[0].assessment_id == told.assessment_id
    for asked, length in (
        ("span.name = 'look up' AND span.content LIKE '%borrow%' AND span.status = 'OK'", 1),
        ("span.attributes.mlflow.spanInputs LIKE '%borrow%' AND span.type = 'UNKNOWN'", 1),
        ("span.name = 'look up' AND span.content LIKE '%lend%'", 0),
    ):
        found = mlflow.search_traces(locations=[made], filter_string=asked, return_type="list")
        assert len(found) == length, asked
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", key_of(up, "untraced"))
    assert owner.search_traces(locations=[made]) == []
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", up.token)
    assert owner.delete_traces(made, trace_ids=[identity]) == 1
    assert owner.search_traces(locations=[made]) == []


@pytest.mark.filterwarnings("default")
def test_an_evaluation_set_is_filled_searched_and_for_who_may_read_traces(
    up: Up, owner: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow.genai import datasets

    experiment = mlflow.set_experiment("evaluated").experiment_id
    made = datasets.create_dataset(name="loans", experiment_id=experiment, tags={"team": "risk"})
    made.merge_records([
        {"inputs": {"question": "may I borrow?"}, "expectations": {"answer": "yes"}},
        {"inputs": {"question": "how much?"}},
    ])  # fmt: skip
    made.merge_records([{"inputs": {"question": "how much?"}, "expectations": {"answer": "5"}}])
    again = datasets.get_dataset(dataset_id=made.dataset_id)
    assert again.to_df()["expectations"].tolist() == [{"answer": "yes"}, {"answer": "5"}]
    assert again.experiment_ids == [experiment]
    assert again.delete_records(again.to_df()["dataset_record_id"].tolist()[:1]) == 1
    found = owner.search_datasets(
        [experiment], filter_string="name LIKE 'loa%' AND tags.team = 'risk'"
    )
    assert [(one.name, json.loads(one.profile)) for one in found] == [("loans", {"num_records": 1})]
    other = owner.create_experiment("evaluated too")
    datasets.add_dataset_to_experiments(made.dataset_id, [other])
    datasets.set_dataset_tags(made.dataset_id, {"team": "fraud", "checked": True})
    datasets.delete_dataset_tag(made.dataset_id, "checked")
    (one,) = owner.search_datasets([other])
    assert one.tags.items() >= {"team": "fraud"}.items()
    assert "checked" not in one.tags
    datasets.remove_dataset_from_experiments(made.dataset_id, [other])
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", key_of(up, "unevaluated"))
    assert owner.search_datasets([experiment]) == []
    with pytest.raises(mlflow.exceptions.MlflowException, match="RESOURCE_DOES_NOT_EXIST"):
        owner.get_dataset(made.dataset_id)
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", up.token)
    owner.delete_dataset(made.dataset_id)
    assert owner.search_datasets([experiment]) == []


# -- files and models ---------------------------------------------------------------------------


def logged(name: str) -> Any:
    """Log the small ONNX model in a run of its own."""
    import mlflow.onnx
    import onnx
    from running import small_model

    mlflow.set_experiment("models")
    with mlflow.start_run():
        return mlflow.onnx.log_model(onnx.load_from_string(small_model()), name=name)


def test_files_of_a_run_come_back(owner: Any, tmp_path: Path) -> None:
    mlflow.set_experiment("files")
    with mlflow.start_run() as run:
        mlflow.log_text("hello", "notes/a.txt")
        mlflow.log_dict({"a": 1}, "b.json")
        mlflow.log_text("again", "notes/a.txt")
    run_id = run.info.run_id
    assert [(one.path, one.is_dir) for one in owner.list_artifacts(run_id)] == [
        ("b.json", False),
        ("notes", True),
    ]
    assert [one.path for one in owner.list_artifacts(run_id, "notes")] == ["notes/a.txt"]
    folder = Path(owner.download_artifacts(run_id, "", str(tmp_path)))
    assert (folder / "notes/a.txt").read_text() == "again"
    assert json.loads((folder / "b.json").read_text()) == {"a": 1}


@pytest.mark.filterwarnings("default")
def test_a_model_is_logged_registered_and_loaded_by_number_and_alias(up: Up, owner: Any) -> None:
    import mlflow.onnx
    import mlflow.pyfunc
    import numpy as np

    document = {"version": "vallum.policy/1"}
    up.owner.policy.set(document, reason="a test")
    made = logged("net")
    version = mlflow.register_model(made.model_uri, "risk")
    assert (version.version, version.status) == ("1", "READY")
    owner.set_registered_model_alias("risk", "champion", 1)
    owner.set_model_version_tag("risk", 1, "reviewed", "yes")
    owner.update_model_version("risk", 1, description="the first")
    shown = owner.get_model_version_by_alias("risk", "champion")
    assert (shown.version, shown.tags, shown.description) == ("1", {"reviewed": "yes"}, "the first")
    for uri in ("models:/risk/1", "models:/risk@champion", "models:/risk/latest", made.model_uri):
        loaded = mlflow.pyfunc.load_model(uri)
        scores = loaded.predict(np.ones((1, 4), dtype=np.float32))["probabilities"]
        assert scores[0][1] > 0.99
    assert [one.name for one in owner.search_registered_models("name LIKE 'ri%'")] == ["risk"]
    assert [one.version for one in owner.search_model_versions("tags.reviewed = 'yes'")] == ["1"]
    experiment_id = owner.get_experiment_by_name("models").experiment_id
    found = mlflow.search_logged_models(
        [experiment_id], filter_string="name = 'net'", output_format="list"
    )
    assert [one.model_id for one in found] == [made.model_id]
    with mlflow.start_run():
        mlflow.log_metric("auc", 0.9, model_id=made.model_id)
    best = mlflow.search_logged_models(
        [experiment_id], filter_string="metrics.auc > 0.8", output_format="list"
    )
    assert [one.metrics[0].value for one in best] == [0.9]
    # It is a model of ours: with evidence, a bill of materials, and everything else.
    ours = up.owner.models.show("risk")
    assert [one.gate for one in ours.evidence] == ["scan"]
    assert up.owner.workspace.verify().findings == ()


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_a_pickled_model_is_logged_but_not_registered_as_it_is(
    up: Up, owner: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mlflow.sklearn
    from sklearn.linear_model import LogisticRegression

    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", key_of(up, "pickler", SCIENTIST))
    mlflow.set_experiment("pickles")
    trained = LogisticRegression().fit([[0.0], [1.0]], [0, 1])
    with mlflow.start_run():
        made = mlflow.sklearn.log_model(trained, name="old", serialization_format="cloudpickle")
    with pytest.raises(mlflow.MlflowException, match="can carry code") as refused:
        mlflow.register_model(made.model_uri, "pickled", tags={"vallum.convert": "no"})
    assert refused.value.error_code == "INVALID_STATE"
    assert list(owner.search_model_versions("name = 'pickled'")) == []
    with pytest.raises(Exception, match="experiments/quarantine/read"):
        mlflow.artifacts.download_artifacts(made.model_uri)


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_autologging_of_scikit_learn_works(owner: Any) -> None:
    import mlflow.sklearn
    import numpy as np
    from sklearn.linear_model import LogisticRegression

    mlflow.set_experiment("autolog")
    mlflow.sklearn.autolog(silent=True)
    try:
        with mlflow.start_run() as run:
            x = np.arange(20.0).reshape(-1, 1)
            LogisticRegression(C=0.5).fit(x, (x[:, 0] > 9).astype(int))
    finally:
        mlflow.sklearn.autolog(disable=True)
    found = owner.get_run(run.info.run_id)
    assert found.data.params["C"] == "0.5"
    assert found.data.metrics["training_accuracy_score"] > 0.8
    assert len(found.inputs.dataset_inputs) == 1
    assert len(found.outputs.model_outputs) == 1


@pytest.mark.filterwarnings("default")
def test_models_are_renamed_and_versions_copied(up: Up, owner: Any) -> None:
    up.owner.policy.set({"version": "vallum.policy/1"}, reason="a test")
    mlflow.register_model(logged("again").model_uri, "first-name")
    owner.rename_registered_model("first-name", "second-name")
    assert [one.version for one in owner.search_model_versions("name = 'second-name'")] == ["1"]
    with pytest.raises(mlflow.MlflowException, match="before it was renamed") as taken:
        owner.create_registered_model("first-name")
    assert taken.value.error_code == "RESOURCE_ALREADY_EXISTS"
    copied = owner.copy_model_version("models:/second-name/1", "promoted")
    assert (copied.name, copied.version) == ("promoted", "1")
    staged = owner.transition_model_version_stage("second-name", 1, "Staging")
    assert staged.current_stage == "Staging"
    with pytest.warns(FutureWarning):
        latest = owner.get_latest_versions("second-name", ["Staging"])
    assert [one.version for one in latest] == ["1"]
    owner.set_model_version_tag("second-name", 1, "a", "b")
    owner.delete_model_version_tag("second-name", 1, "a")
    owner.set_registered_model_tag("second-name", "a", "b")
    owner.delete_registered_model_tag("second-name", "a")
    # A number that is there is neither written again nor written under.
    place = owner.get_model_version_download_uri("second-name", 1).removeprefix(
        "mlflow-artifacts:/"
    )
    proxy = f"/api/2.0/mlflow-artifacts/artifacts/{place}"
    for method, path in (("PUT", "model.onnx"), ("PUT", "new.txt"), ("DELETE", "model.onnx")):
        answer = up.raw(f"{proxy}/{path}", method=method, content=b"x")
        assert (answer.status_code, answer.json()["code"]) == (409, "mlflow.registered")
    body = {"name": "second-name", "source": "models:/second-name/1"}
    again = up.raw("/api/2.0/mlflow/model-versions/create", method="POST", json=body)
    assert (again.status_code, again.json()["error_code"]) == (409, "RESOURCE_ALREADY_EXISTS")
    owner.set_registered_model_alias("promoted", "best", 1)
    owner.delete_registered_model_alias("promoted", "best")
    owner.delete_model_version("second-name", 1)
    owner.delete_registered_model("second-name")
    owner.delete_registered_model("promoted")
    with pytest.raises(mlflow.MlflowException, match="there is no such") as missing:
        owner.get_registered_model("second-name")
    assert missing.value.error_code == "RESOURCE_DOES_NOT_EXIST"


@pytest.mark.filterwarnings("default")
def test_a_logged_model_is_tagged_and_deleted(owner: Any) -> None:
    made = logged("tagged")
    owner.set_logged_model_tags(made.model_id, {"a": "1", "b": "2"})
    owner.delete_logged_model_tag(made.model_id, "a")
    owner.log_model_params(made.model_id, {"width": "4"})
    found = owner.get_logged_model(made.model_id)
    assert (found.tags.get("b"), found.params["width"]) == ("2", "4")
    assert "a" not in found.tags
    owner.delete_logged_model(made.model_id)
    with pytest.raises(mlflow.MlflowException):
        owner.get_logged_model(made.model_id)


@pytest.mark.filterwarnings("default")
def test_a_prompt_is_registered_loaded_searched_and_never_changed(up: Up, owner: Any) -> None:
    import mlflow.genai

    # The strict default asks for tests of a model before an alias moves, which no prompt passes.
    up.owner.policy.set({"version": "vallum.policy/1"}, reason="a test")
    made = mlflow.genai.register_prompt("greet", "Hello {{name}}", tags={"team": "risk"})
    assert made.version == 1
    mlflow.genai.set_prompt_alias("greet", "live", 1)
    assert mlflow.genai.load_prompt("prompts:/greet@live").format(name="Ana") == "Hello Ana"
    found = mlflow.genai.search_prompts(filter_string="tags.team = 'risk'")
    assert [one.name for one in found] == ["greet"]
    assert list(owner.search_registered_models("name = 'greet'")) == []  # it is no model
    with pytest.raises(mlflow.MlflowException, match="never changes"):
        mlflow.genai.set_prompt_version_tag("greet", 1, "mlflow.prompt.text", "Obey {{name}}")
