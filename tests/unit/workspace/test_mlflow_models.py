"""Files, logged models and MLflow's registry through the kernel: who reads, what freezes."""

import io
import pickle  # noqa: TID251 - pickles are written here, and never read

import pytest
from conftest_workspace import Place
from running import small_model

from vallum.base import ConflictError, GateError, InputError, NotFoundError, RefusedError
from vallum.schema import Caller, Record, api, mlflow, mlflow_models, rules
from vallum.workspace.intent import published_parts, settle_all

SCIENTIST = "AzureML Data Scientist"
PICKLE = pickle.dumps({"weights": [1.0, 2.0]})


def root_of(place: Place, name: str, who: Caller | None = None) -> str:
    """Start a run; returns the path of its files."""
    made = place.do("experiment.create", mlflow.ExperimentCreate(name=name), who=who).value
    assert isinstance(made, mlflow.ExperimentCreated)
    arguments = mlflow.RunCreate(experiment_id=made.experiment_id)
    run = place.do("run.create", arguments, who=who).value
    assert isinstance(run, mlflow.RunReply)
    return run.run.info.artifact_uri.removeprefix("mlflow-artifacts:/")


def put(place: Place, path: str, data: bytes, who: Caller | None = None) -> None:
    named = mlflow_models.ArtifactNamed(path=path)
    place.do("artifact.put", named, who=who, content=io.BytesIO(data))


def get(place: Place, path: str, who: Caller | None = None) -> bytes:
    reply = place.do("artifact.get", mlflow_models.ArtifactNamed(path=path), who=who)
    assert reply.chunks is not None
    return b"".join(reply.chunks)


def names(place: Place, path: str) -> list[tuple[str, bool, int | None]]:
    found = place.do("artifact.list", mlflow_models.ArtifactNamed(path=path)).value
    assert isinstance(found, mlflow_models.FilesFound)
    return [(one.path, one.is_dir, one.file_size) for one in found.files]


def register(place: Place, source: str, who: Caller | None = None, **more: str) -> str:
    arguments = mlflow_models.VersionCreate(name="risk", source=source, **more)
    made = place.do("registered-model.register", arguments, who=who).value
    assert isinstance(made, mlflow_models.VersionReply)
    return made.model_version.version


# -- files --------------------------------------------------------------------------------------


def test_files_come_back_are_listed_replaced_and_deleted(place: Place) -> None:
    root = root_of(place, "x")
    put(place, f"{root}/notes/a.txt", b"private words")
    put(place, f"{root}/b.json", b"{}")
    assert names(place, root) == [("b.json", False, 2), ("notes", True, None)]
    assert names(place, f"{root}/notes") == [("a.txt", False, 13)]
    assert names(place, f"{root}/notes/a.txt") == []  # how old clients tell a file from a folder
    assert get(place, f"{root}/notes/a.txt") == b"private words"
    stored = b"".join(one.read_bytes() for one in place.places.data.rglob("*") if one.is_file())
    assert b"private words" not in stored
    put(place, f"{root}/empty.txt", b"")
    assert get(place, f"{root}/empty.txt", who=place.person("scientist", SCIENTIST)) == b""
    place.do("artifact.delete", mlflow_models.ArtifactNamed(path=f"{root}/empty.txt"))
    put(place, f"{root}/b.json", b"[1]")
    assert get(place, f"{root}/b.json") == b"[1]"
    with pytest.raises(ConflictError, match="a file and a folder"):
        put(place, f"{root}/b.json/c", b"")
    place.do("artifact.delete", mlflow_models.ArtifactNamed(path=f"{root}/notes"))
    assert names(place, root) == [("b.json", False, 3)]
    with pytest.raises(NotFoundError):
        get(place, f"{root}/notes/a.txt")
    assert place.verify().findings == ()
    objects = [one for one in (place.places.data / "objects").rglob("*") if one.is_file()]
    assert len(objects) == 1  # what was replaced or deleted is gone


def test_a_pickle_is_quarantined_and_read_by_a_right_of_its_own(place: Place) -> None:
    scientist = place.person("scientist", SCIENTIST)
    root = root_of(place, "x", who=scientist)
    put(place, f"{root}/model.pkl", PICKLE, who=scientist)
    put(place, f"{root}/model.txt", PICKLE, who=scientist)  # the name does not tell
    for name in ("model.pkl", "model.txt", "model.pkl"):
        with pytest.raises(RefusedError, match="experiments/quarantine/read"):
            get(place, f"{root}/{name}", who=scientist)
    kinds = [(kind, step) for kind, step, _, _ in place.entries()]
    assert kinds.count(("evidence", "artifact.scan")) == 1  # both in one sandbox, once
    assert kinds.count(("refusal", "artifact.get")) == 3
    assert get(place, f"{root}/model.pkl") == PICKLE  # the owner holds every data right
    assert get(place, f"{root}/model.pkl") == PICKLE  # also once the verdict is known


@pytest.mark.parametrize(
    "path",
    ["", "a", "../x", "a/b/../c", "a//b", "x/y/artifacts/a", "registry/x/y", "a\\b", "x" * 600],
)
def test_paths_name_records_or_nothing(place: Place, path: str) -> None:
    for step in ("artifact.get", "artifact.list", "artifact.delete"):
        with pytest.raises((NotFoundError, InputError)):
            place.do(step, mlflow_models.ArtifactNamed(path=path))


def test_a_run_is_found_only_below_its_own_experiment(place: Place) -> None:
    one, other = root_of(place, "one"), root_of(place, "other")
    put(place, f"{one}/a.txt", b"a")
    confused = f"{other.partition('/')[0]}/{one.partition('/')[2]}/a.txt"
    with pytest.raises(NotFoundError):
        get(place, confused)


def test_rights_on_one_experiment_open_no_other(place: Place) -> None:
    one, other = root_of(place, "one"), root_of(place, "other")
    put(place, f"{one}/a.txt", b"a")
    put(place, f"{other}/a.txt", b"a")
    place.person("ana", SCIENTIST, scope="experiment/one")
    ana = place.sign_in("ana")
    assert get(place, f"{one}/a.txt", who=ana) == b"a"
    requests: list[tuple[str, Record]] = [
        ("artifact.get", mlflow_models.ArtifactNamed(path=f"{other}/a.txt")),
        ("artifact.list", mlflow_models.ArtifactNamed(path=other)),
        ("artifact.delete", mlflow_models.ArtifactNamed(path=f"{other}/a.txt")),
        ("artifact.list-run", mlflow_models.ArtifactsOfRun(run_id=other.split("/")[1])),
    ]
    for step, arguments in requests:
        with pytest.raises(NotFoundError):
            place.do(step, arguments, who=ana)
    with pytest.raises(NotFoundError):
        put(place, f"{other}/b.txt", b"b", who=ana)


# -- logged models ------------------------------------------------------------------------------


def log_model(place: Place, root: str, name: str = "net") -> str:
    experiment_id, run_id = root.split("/")[:2]
    create = mlflow_models.ModelCreate(
        experiment_id=experiment_id,
        name=name,
        source_run_id=run_id,
        params=(mlflow.Pair(key="depth", value="3"),),
        tags=(mlflow.Pair(key="k", value="v"),),
    )
    made = place.do("logged-model.create", create).value
    assert isinstance(made, mlflow_models.ModelReply)
    files = made.model.info.artifact_uri.removeprefix("mlflow-artifacts:/")
    put(place, f"{files}/model.onnx", small_model())
    put(place, f"{files}/MLmodel", b"flavors: {}\n")
    return made.model.info.model_id


def test_a_logged_model_is_searched_tagged_and_linked_to_its_run(place: Place) -> None:
    root = root_of(place, "x")
    identity = log_model(place, root)
    log_model(place, root, "other")
    search = mlflow_models.ModelSearch(
        experiment_ids=(root.split("/")[0],),
        filter="name = 'net' AND params.depth = '3' AND tags.k LIKE 'v%'",
        order_by=(mlflow_models.ModelOrder(field_name="creation_timestamp", ascending=False),),
    )
    found = place.do("logged-model.search", search).value
    assert isinstance(found, mlflow_models.ModelsFound)
    assert [one.info.model_id for one in found.models] == [identity]
    one = mlflow.MetricValue(
        key="auc", value=0.75, timestamp=5, model_id=identity, dataset_name="test"
    )
    batch = mlflow.RunLogBatch(run_id=root.split("/")[1], metrics=(one,))
    place.do("run.log-batch", batch)
    got = place.do("logged-model.get", mlflow_models.ModelNamed(model_id=identity)).value
    assert isinstance(got, mlflow_models.ModelReply)
    (kept,) = got.model.data.metrics
    assert (kept.value, kept.dataset_name, kept.run_id) == (0.75, "test", batch.run_id)
    best = place.do(
        "logged-model.search",
        mlflow_models.ModelSearch(experiment_ids=(root.split("/")[0],), filter="metrics.auc > 0.7"),
    ).value
    assert isinstance(best, mlflow_models.ModelsFound)
    assert [one.info.model_id for one in best.models] == [identity]
    train = mlflow.MetricValue(
        key="auc", value=0.99, timestamp=6, model_id=identity, dataset_name="train"
    )
    place.do("run.log-batch", mlflow.RunLogBatch(run_id=batch.run_id, metrics=(train,)))

    def on(dataset: str, text: str) -> list[str]:
        asked = (mlflow_models.DatasetAsked(dataset_name=dataset),) if dataset else ()
        order = mlflow_models.ModelOrder(field_name="metrics.auc", dataset_name=dataset)
        found = place.do(
            "logged-model.search",
            mlflow_models.ModelSearch(
                experiment_ids=(root.split("/")[0],), filter=text, datasets=asked, order_by=(order,)
            ),
        ).value
        assert isinstance(found, mlflow_models.ModelsFound)
        return [one.info.name for one in found.models]

    assert on("test", "metrics.auc > 0.9") == []
    assert on("train", "metrics.auc > 0.9") == ["net"]
    assert on("", "metrics.auc < 0.9 AND metrics.auc > 0.9") == ["net"]  # each on any data set
    assert on("", "") == ["net", "other"]
    assert (on("test", ""), on("elsewhere", "")) == (["net"], [])
    forged = mlflow.MetricValue(key="auc", value=1.0, timestamp=5, model_id="lm-" + "0" * 26)
    with pytest.raises(NotFoundError):
        place.do("run.log-batch", mlflow.RunLogBatch(run_id=batch.run_id, metrics=(forged,)))
    newcomer = place.person("newcomer")
    assert place.do("logged-model.search", search, who=newcomer).value == mlflow_models.ModelsFound(
        models=()
    )
    with pytest.raises(NotFoundError):
        place.do("logged-model.get", mlflow_models.ModelNamed(model_id=identity), who=newcomer)
    run_id = root.split("/")[1]
    outputs = mlflow_models.RunLogOutputs(
        run_id=run_id, models=(mlflow.ModelOutput(model_id=identity, step=2),)
    )
    place.do("run.log-outputs", outputs)
    data = mlflow.DatasetFields(name="loans", digest="abc", source_type="local", source="{}")
    inputs = mlflow_models.RunLogInputs(
        run_id=run_id, datasets=(mlflow.DatasetInput(dataset=data),)
    )
    place.do("run.log-inputs", inputs)
    shown = place.do("run.get", mlflow.RunNamed(run_id=run_id)).value
    assert isinstance(shown, mlflow.RunReply)
    assert shown.run.outputs.model_outputs == (mlflow.ModelOutput(model_id=identity, step=2),)
    assert shown.run.inputs.dataset_inputs[0].dataset == data


# -- registry -----------------------------------------------------------------------------------


def test_registering_freezes_a_snapshot_of_what_was_logged(place: Place) -> None:
    root = root_of(place, "x")
    identity = log_model(place, root)
    files = f"{root.split('/')[0]}/models/{identity}/artifacts"
    put(place, f"{files}/code/__init__.py", b"")  # folders of models hold empty files
    assert register(place, f"models:/{identity}", description="first") == "1"
    put(place, f"{files}/MLmodel", b"flavors: {changed: 1}\n")  # the logged model may change
    uri = place.do(
        "model-version.download-uri", mlflow_models.VersionNamed(name="risk", version="1")
    ).value
    assert isinstance(uri, mlflow_models.DownloadUri)
    registered = uri.artifact_uri.removeprefix("mlflow-artifacts:/")
    assert get(place, f"{registered}/MLmodel") == b"flavors: {}\n"  # the version does not
    assert get(place, f"{registered}/model.onnx") == small_model()
    assert [one for one, _, _ in names(place, registered)] == ["MLmodel", "code", "model.onnx"]
    for step in ("artifact.put", "artifact.delete"):
        with pytest.raises(ConflictError, match="never changes"):
            place.do(
                step,
                mlflow_models.ArtifactNamed(path=f"{registered}/MLmodel"),
                content=io.BytesIO(b"x"),
            )
    ours = place.do("model.show", api.Named(name="risk:1")).value
    assert isinstance(ours, api.VersionShown)
    assert [one.gate for one in ours.evidence] == ["scan"]
    assert register(place, f"models:/{identity}") == "2"
    assert place.verify().findings == ()


def test_a_pickle_is_not_registered_and_the_version_is_not_there(place: Place) -> None:
    root = root_of(place, "x")
    put(place, f"{root}/m/model.pkl", PICKLE)
    with pytest.raises(GateError, match="can carry code"):
        register(place, f"mlflow-artifacts:/{root}/m")
    put(place, f"{root}/m/model.pkl", b"cos\nsystem\n(S'true'\ntR.")
    with pytest.raises(GateError, match="quarantined"):
        register(place, f"runs:/{root.split('/')[1]}/m")
    with pytest.raises(NotFoundError):
        place.do("model.show", api.Named(name="risk"))
    assert place.verify().findings == ()


def test_a_source_must_be_there_and_readable(place: Place) -> None:
    root = root_of(place, "x")
    identity = log_model(place, root)
    for source in (
        "/etc/passwd",
        "file:///etc/passwd",
        "s3://bucket/x",
        "https://example.org/x",
        "models:/lm-" + "0" * 26,
        f"mlflow-artifacts:/{root}/absent",
        f"runs:/{root.split('/')[1]}/absent",
        "",
    ):
        with pytest.raises(NotFoundError):
            register(place, source)
    place.do("registered-model.create", mlflow_models.RegisteredCreate(name="risk"))
    place.person("ana", SCIENTIST, scope="model/risk")
    ana = place.sign_in("ana")
    with pytest.raises(NotFoundError):
        register(place, f"models:/{identity}", who=ana)


def test_a_registration_names_no_run_and_no_model_that_its_caller_cannot_read(
    place: Place,
) -> None:
    mine, theirs = root_of(place, "mine"), root_of(place, "theirs")
    source, other = log_model(place, mine), log_model(place, theirs)
    place.do("registered-model.create", mlflow_models.RegisteredCreate(name="risk"))
    ana = place.person("ana", SCIENTIST, scope="model/risk")
    place.do("role.assign", api.RoleAssign(
        role=SCIENTIST, principal="ana", scope="experiment/mine"))  # fmt: skip
    readable = f"models:/{source}"
    assert register(place, readable, who=ana, run_id=mine.split("/")[1], model_id=source) == "1"
    for claim in ({"run_id": theirs.split("/")[1]}, {"model_id": other}, {"run_id": "0" * 32}):
        with pytest.raises(NotFoundError):
            register(place, readable, who=ana, **claim)
    assert register(place, readable, who=ana) == "2"  # none of them took a number
    refused = [one for one in place.entries() if one[1] == "registered-model.register"
               and not one[2]]  # fmt: skip
    assert len(refused) == 3


def test_aliases_tags_descriptions_and_searches(place: Place) -> None:
    document = '{"version": "vallum.policy/1"}'
    place.do("policy.set", rules.PolicySet(document=document, reason="a test"))
    create = mlflow_models.RegisteredCreate(
        name="risk", description="d", tags=(mlflow.Pair(key="team", value="a"),)
    )
    place.do("registered-model.create", create)
    with pytest.raises(ConflictError):
        place.do("registered-model.create", create)
    identity = log_model(place, root_of(place, "x"))
    for _ in range(2):
        register(place, f"models:/{identity}")
    alias = mlflow_models.AliasSet(name="risk", alias="champion", version="1")
    place.do("registered-model.alias", alias)
    named = mlflow_models.AliasNamed(name="risk", alias="champion")
    told = place.do("registered-model.aliased", named).value
    assert isinstance(told, mlflow_models.VersionReply)
    assert (told.model_version.version, told.model_version.model_id) == ("1", identity)
    tag = mlflow_models.VersionSetTag(name="risk", version="1", key="seen", value="yes")
    place.do("model-version.set-tag", tag)

    def found(step: str, text: str) -> list[str]:
        made = place.do(step, mlflow_models.RegistrySearch(filter=text)).value
        if isinstance(made, mlflow_models.RegisteredFound):
            return [one.name for one in made.registered_models]
        assert isinstance(made, mlflow_models.VersionsFound)
        return [one.version for one in made.model_versions]

    assert found("model-version.search", "name = 'risk'") == ["2", "1"]
    assert found("model-version.search", "tags.seen = 'yes'") == ["1"]
    assert found("model-version.search", "version_number > 1") == ["2"]
    assert found("registered-model.search", "name LIKE 'ri%' AND tags.team = 'a'") == ["risk"]
    assert found("registered-model.search", "tag.`mlflow.prompt.is_prompt` != 'true'") == ["risk"]
    newcomer = place.person("newcomer")
    nothing = place.do("model-version.search", mlflow_models.RegistrySearch(), who=newcomer).value
    assert nothing == mlflow_models.VersionsFound(model_versions=())
    place.do("registered-model.unalias", named)
    with pytest.raises(NotFoundError):
        place.do("registered-model.aliased", named)
    place.do("model-version.delete", mlflow_models.VersionNamed(name="risk", version="1"))
    assert register(place, f"models:/{identity}") == "3"  # a number is never given again
    place.do("registered-model.delete", mlflow_models.RegisteredNamed(name="risk"))
    assert found("registered-model.search", "") == []
    assert place.verify().findings == ()


def test_stages_move_and_archive_what_was_there(place: Place) -> None:
    document = '{"version": "vallum.policy/1"}'
    place.do("policy.set", rules.PolicySet(document=document, reason="a test"))
    identity = log_model(place, root_of(place, "x"))
    for _ in range(2):
        register(place, f"models:/{identity}")

    def move(version: str, stage: str, *, archive: bool = False) -> None:
        arguments = mlflow_models.VersionStage(
            name="risk", version=version, stage=stage, archive_existing_versions=archive
        )
        place.do("model-version.alias", arguments)

    def stages() -> dict[str, str]:
        found = place.do("registered-model.latest", mlflow_models.LatestVersions(name="risk")).value
        assert isinstance(found, mlflow_models.VersionsFound)
        return {one.current_stage: one.version for one in found.model_versions}

    move("1", "production")
    assert stages() == {"Production": "1", "None": "2"}
    move("2", "Production", archive=True)
    assert stages() == {"Production": "2", "Archived": "1"}
    with pytest.raises(InputError, match="Staging"):
        move("1", "Elsewhere")
    assert place.verify().findings == ()


def test_a_deleted_logged_model_leaves_what_was_registered_from_it(place: Place) -> None:
    identity = log_model(place, root_of(place, "x"))
    register(place, f"models:/{identity}")
    place.do("logged-model.delete", mlflow_models.ModelNamed(model_id=identity))
    with pytest.raises(NotFoundError):
        place.do("logged-model.get", mlflow_models.ModelNamed(model_id=identity))
    shown = place.do("model.show", api.Named(name="risk:1")).value
    assert isinstance(shown, api.VersionShown)
    assert get(place, f"registry/{shown.version.id}/model.onnx") == small_model()
    assert place.verify().findings == ()


def test_an_alias_asks_for_the_evidence_that_ours_asks_for(place: Place) -> None:
    identity = log_model(place, root_of(place, "x"))
    register(place, f"models:/{identity}")
    with pytest.raises(RefusedError, match="evidence is missing"):
        place.do(
            "registered-model.alias",
            mlflow_models.AliasSet(name="risk", alias="champion", version="1"),
        )


def test_stored_files_survive_a_new_start(place: Place) -> None:
    root = root_of(place, "x")
    put(place, f"{root}/a.txt", b"kept")
    settle_all(place.kernel.house)
    assert [one.part for one in published_parts(place.kernel.house)] == ["a.txt"]
    assert get(place, f"{root}/a.txt") == b"kept"


# -- names --------------------------------------------------------------------------------------


def rename(place: Place, name: str, new_name: str) -> None:
    arguments = mlflow_models.RegisteredRename(name=name, new_name=new_name)
    place.do("registered-model.rename", arguments)


def registered(place: Place, name: str, source: str) -> str:
    arguments = mlflow_models.VersionCreate(name=name, source=source)
    made = place.do("registered-model.register", arguments).value
    assert isinstance(made, mlflow_models.VersionReply)
    return f"{made.model_version.name}:{made.model_version.version}"


def onnx_source(place: Place) -> str:
    root = root_of(place, "x")
    put(place, f"{root}/model/model.onnx", small_model())
    return f"runs:/{root.split('/')[1]}/model"


def test_a_renamed_model_keeps_its_versions_rights_and_signatures(place: Place) -> None:
    assert registered(place, "risk", onnx_source(place)) == "risk:1"
    reader = place.person("reader", "Reader", scope="model/risk")
    place.do("model.sign", api.ModelSign(name="risk"))
    rename(place, "risk", "score")
    shown = place.do("model.show", api.Named(name="score:1"), who=reader).value
    assert isinstance(shown, api.VersionShown)
    assert (shown.version.name, len(shown.signatures)) == ("score", 1)
    place.do("model.verify", api.Named(name="score"))
    with pytest.raises(NotFoundError):
        place.do("model.show", api.Named(name="risk:1"))
    rename(place, "score", "risk")  # back: it is its own
    assert place.verify().findings == ()


def test_the_name_of_a_renamed_model_is_given_to_no_other(place: Place) -> None:
    source = onnx_source(place)
    registered(place, "risk", source)
    rename(place, "risk", "score")
    place.do("registered-model.create", mlflow_models.RegisteredCreate(name="third"))
    attempts: list[tuple[str, Record]] = [
        ("registered-model.create", mlflow_models.RegisteredCreate(name="risk")),
        ("registered-model.register", mlflow_models.VersionCreate(name="risk", source=source)),
        ("registered-model.rename", mlflow_models.RegisteredRename(name="third", new_name="risk")),
        ("registered-model.rename", mlflow_models.RegisteredRename(name="third", new_name="score")),
    ]
    for step, arguments in attempts:
        with pytest.raises(ConflictError):
            place.do(step, arguments)
    upload = api.ModelRegister(name="risk", file_name="model.onnx")
    with pytest.raises(ConflictError):
        place.do("model.register", upload, content=io.BytesIO(small_model()))


@pytest.mark.parametrize("first", [(), ("risk:2", "risk:1")], ids=["the model", "each version"])
def test_numbers_of_a_deleted_model_are_never_given_again(
    place: Place, first: tuple[str, ...]
) -> None:
    source = onnx_source(place)
    registered(place, "risk", source)
    registered(place, "risk", source)
    for one in first:
        place.do("model.delete", api.Named(name=one))
    place.do("registered-model.delete", mlflow_models.RegisteredNamed(name="risk"))
    registered(place, "other", source)
    with pytest.raises(ConflictError, match="were deleted"):
        rename(place, "other", "risk")
    assert registered(place, "risk", source) == "risk:3"


def test_a_version_is_copied_with_its_label_and_its_makers(place: Place) -> None:
    author = place.person("author", SCIENTIST)
    data = place.do(
        "data.create", api.DataCreate(name="ages", format="csv"),
        who=author, content=io.BytesIO(b"age\n1\n2\n"),
    ).value  # fmt: skip
    assert isinstance(data, api.VersionShown)
    place.do(
        "model.register",
        api.ModelRegister(
            name="risk", file_name="model.onnx", label="confidential", lineage=(data.version.id,)
        ),
        who=author, content=io.BytesIO(small_model()),
    )  # fmt: skip
    assert registered(place, "copy", "models:/risk/1") == "copy:1"
    shown = place.do("model.show", api.Named(name="copy:1")).value
    first = place.do("model.show", api.Named(name="risk:1")).value
    assert isinstance(shown, api.VersionShown)
    assert isinstance(first, api.VersionShown)
    assert shown.version.digest == first.version.digest
    assert shown.version.label == "confidential"
    assert shown.version.lineage == (first.version.id, data.version.id)  # also once `risk` is gone
    assert set(first.version.makers) < set(shown.version.makers)  # who made it does not approve it
    place.do("model.delete", api.Named(name="risk:1"))
    place.do("model.verify", api.Named(name="copy:1"))  # it has files of its own
    with pytest.raises(ConflictError, match="of this model already"):
        registered(place, "copy", "models:/copy/1")


def test_who_may_not_read_a_version_does_not_copy_it(place: Place) -> None:
    registered(place, "risk", onnx_source(place))
    contributor = place.person("contributor", "Contributor")  # writes models, and reads no content
    arguments = mlflow_models.VersionCreate(name="mine", source="models:/risk/1")
    with pytest.raises(RefusedError):
        place.do("registered-model.register", arguments, who=contributor)
    for source in ("models:/risk/2", "models:/nothing/1", "models:/risk/x"):
        with pytest.raises((NotFoundError, InputError)):
            registered(place, "mine", source)
