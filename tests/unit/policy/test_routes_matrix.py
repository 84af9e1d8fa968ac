"""Which built-in role may take which route, in a small world: a reviewed file."""

import io
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from conftest_workspace import Place
from images import Image, layout_tar, tar
from running import small_model

from vallum.policy import BUILT_IN_ROLES, RequestFacts, decide
from vallum.schema import (
    Caller,
    ModelStatus,
    Record,
    Session,
    api,
    capture,
    code,
    environments,
    mlflow,
    mlflow_datasets,
    mlflow_models,
    mlflow_traces,
    poisoning,
    privacy,
    release,
    rules,
    views,
)
from vallum.schema.mlflow_routes import FILE_ROUTES, MLFLOW_ROUTES
from vallum.schema.routes import ROUTES
from vallum.sdk.nouns import pack
from vallum.workspace.context import Context
from vallum.workspace.steps.table import STEPS

TRACE_ID = "tr-" + "0" * 32
GOLDEN = Path(__file__).parents[2] / "golden" / "policy" / "route_matrix.txt"
TABLE = b"name,value\n" + b"".join(b"n%d,%d\n" % (at, at) for at in range(20))


def furnish(place: Place, tmp_path: Path) -> dict[str, str]:
    """Put one of everything into the workspace; returns the ids that requests name."""
    (tmp_path / "train.py").write_text("print('x')\n")
    place.do("data.create", api.DataCreate(name="d", format="csv"), content=io.BytesIO(TABLE))
    place.do(
        "model.register",
        api.ModelRegister(name="m", file_name="model.onnx"),
        content=io.BytesIO(small_model()),
    )
    document = '{"version": "vallum.policy/1", "images": {"require": []}}'
    place.do("policy.set", rules.PolicySet(document=document, reason="r"))
    image = Image(layers=[tar(("app", b"x"))], run={"User": "7"})
    place.do(
        "environment.add",
        environments.EnvironmentAdd(name="e", digest=image.digest),
        content=io.BytesIO(layout_tar(image)),
    )
    place.do("model.alias", release.ModelAlias(name="m", alias="first"))
    place.do("endpoint.create", api.EndpointCreate(name="e"))
    place.do("connection.create", api.ConnectionCreate(name="c", kind="webhook", target="t"))
    place.do("group.create", api.IdentityCreate(name="g"))
    place.do("identity.create", api.IdentityCreate(name="somebody"))
    place.do("break-glass.create", api.Page())
    key = place.do("key.create", api.KeyCreate(name="k", principal="somebody")).value
    place.do(
        "job.submit",
        api.JobSubmit(name="j", entry="train.py"),
        content=io.BytesIO(pack(tmp_path).read()),
    )
    given = place.do("role.assign", api.RoleAssign(role="Reader", principal="somebody")).value
    experiment = place.do("experiment.create", mlflow.ExperimentCreate(name="x")).value
    assert isinstance(experiment, mlflow.ExperimentCreated)
    identity = experiment.experiment_id
    run = place.do("run.create", mlflow.RunCreate(experiment_id=identity)).value
    assert isinstance(run, mlflow.RunReply)
    create = mlflow_models.ModelCreate(experiment_id=identity)
    logged = place.do("logged-model.create", create).value
    assert isinstance(logged, mlflow_models.ModelReply)
    place.do(
        "trace.start",
        mlflow_traces.TraceStart(
            trace={
                "trace_info": {
                    "trace_id": TRACE_ID,
                    "trace_location": {"mlflow_experiment": {"experiment_id": identity}},
                }
            }
        ),
    )
    questions = place.do(
        "evaluation-set.create",
        mlflow_datasets.SetCreate(name="q", experiment_ids=(identity,), tags='{"key": "v"}'),
    ).value
    assert isinstance(questions, mlflow_datasets.SetReply)
    root = run.run.info.artifact_uri.removeprefix("mlflow-artifacts:/")
    place.do(
        "artifact.put",
        mlflow_models.ArtifactNamed(path=f"{root}/a.txt"),
        content=io.BytesIO(b"text"),
    )
    assert isinstance(key, api.Shown)
    assert isinstance(given, api.Done)
    return {
        "key": key.id,
        "assignment": given.id,
        "experiment_id": identity,
        "experiment_name": "x",
        "run_id": run.run.info.run_id,
        "model_id": logged.model.info.model_id,
        "trace_id": TRACE_ID,
        "dataset_id": questions.dataset.dataset_id,
        "source": f"models:/{logged.model.info.model_id}",
        "name": "m",
        "version": "1",
        "alias": "first",
        "file": f"{root}/a.txt",
    }


def requests(ids: dict[str, str]) -> dict[str, Record]:
    named = {
        noun: api.Named(name=noun[0])
        for noun in ("data", "environment", "model", "endpoint", "job")
    }
    made: dict[str, Record] = {
        "connection.delete": api.Named(name="c"),
        "data.check": poisoning.DataCheck(name="d", label_column="name"),
        "data.create": api.DataCreate(name="d", format="csv"),
        "data.drift": api.DataDrift(name="d", reference="d:1"),
        "data.forget": views.DataForget(identifiers=("a=b",), reason="r"),
        "data.protect": api.DataProtect(name="d"),
        "data.quarantine": poisoning.DataQuarantine(name="d", label_column="name"),
        "data.quarantined": api.Named(name="d"),
        "data.read": views.DataRead(name="d", masked=True),
        "data.relabel": views.DataRelabel(name="d", label="highly-confidential"),
        "data.revert": poisoning.DataRevert(name="d:1"),
        "data.set-view": views.DataSetView(name="d", recipe="{}"),
        "data.unmask": views.DataUnmask(name="d"),
        "dp.budget": privacy.DpBudget(name="d", epsilon="1"),
        "dp.declare": privacy.DpDeclare(name="d", declaration="{}"),
        "dp.query": privacy.DpQuery(name="d", sql="SELECT COUNT(*) FROM t", epsilon="1"),
        "dp.release": privacy.DpRelease(name="d", into="o", marginals=("a",), epsilon="1"),
        "dp.show": api.Named(name="d"),
        "environment.bom": environments.EnvironmentBom(name="e"),
        "environment.add": environments.EnvironmentAdd(name="new", digest="sha256:0"),
        "endpoint.create": api.EndpointCreate(name="new"),
        "endpoint.batch": release.EndpointBatch(endpoint="e", data="d", into="o"),
        "endpoint.add-code": code.CodeAdd(endpoint="e"),
        "endpoint.capture": capture.CaptureNamed(endpoint="e"),
        "endpoint.capture-erase": capture.CaptureNamed(endpoint="e"),
        "endpoint.capture-read": capture.CaptureNamed(endpoint="e"),
        "endpoint.deploy": api.EndpointDeploy(endpoint="e", deployment="blue", model="m"),
        "endpoint.keys": api.EndpointKeys(endpoint="e"),
        "endpoint.token": release.EndpointToken(endpoint="e"),
        "endpoint.update": release.EndpointUpdate(name="e", burst=1),
        "endpoint.traffic": release.EndpointTraffic(endpoint="e", traffic={}),
        "identity.disable": api.Named(name="somebody"),
        "job.submit": api.JobSubmit(name="j2", entry="train.py"),
        "key.create": api.KeyCreate(name="k", principal="somebody"),
        "key.revoke": api.Named(name=ids["key"]),
        "key.rotate": api.Named(name=ids["key"]),
        "model.alias": release.ModelAlias(name="m", alias="a"),
        "model.notebook": release.ModelNotebook(name="m", path="look.ipynb"),
        "model.update": release.ModelUpdate(name="m", description="d"),
        "model.unalias": release.ModelUnalias(name="m", alias="first"),
        "model.register": api.ModelRegister(name="m", file_name="model.onnx"),
        "model.check-provenance": release.ModelProvenanceCheck(name="m", envelope=""),
        "model.provenance": release.ModelProvenance(name="m"),
        "model.sign": api.ModelSign(name="m"),
        "model.test": api.ModelTest(name="m", data="d:1", holdout="d:1"),
        "approval.create": api.ApprovalCreate(model="m"),
        "release-key.add": release.ReleaseKeyAdd(name="k", public_key=""),
        "release-key.retire": release.ReleaseKeyRetire(name="k"),
        "role.unassign": api.Named(name=ids["assignment"]),
        "waiver.create": rules.WaiverCreate(name="m", gate="scan", reason="r"),
        "waiver.revoke": api.Named(name="wvr-x"),
    }
    for route in FILE_ROUTES:
        made[route.step] = mlflow_models.ArtifactNamed(path=ids["file"])
    made["logged-model.finalize"] = mlflow_models.ModelFinalize(
        model_id=ids["model_id"], status=ModelStatus.READY
    )
    located = {"mlflow_experiment": {"experiment_id": ids["experiment_id"]}}
    made["trace.start"] = mlflow_traces.TraceStart(
        trace={"trace_info": {"trace_id": "tr-" + "1" * 32, "trace_location": located}}
    )
    made["evaluation-set.add"] = made["evaluation-set.remove"] = mlflow_datasets.SetMove(
        dataset_id=ids["dataset_id"], experiment_ids=(ids["experiment_id"],)
    )
    made["evaluation-set.create"] = mlflow_datasets.SetCreate(
        name="r", experiment_ids=(ids["experiment_id"],)
    )
    made["trace.link"] = mlflow_traces.TracesLink(run_id=ids["run_id"], trace_ids=(TRACE_ID,))
    made["trace.assess"] = mlflow_traces.AssessmentCreate(trace_id=TRACE_ID, assessment={})
    made["trace.reassess"] = mlflow_traces.AssessmentUpdate(
        trace_id=TRACE_ID, assessment_id="x", assessment={}
    )
    for route in MLFLOW_ROUTES:
        if route.step in made:
            continue  # more than one way leads there, or it is above
        fields = {field.name: field for field in msgspec.structs.fields(route.arguments)}
        made[route.step] = msgspec.convert(
            {
                name: ids.get(name, "x")
                for name, field in fields.items()
                if field.required or name == "run_id"
            },
            route.arguments,
        )
    for route in ROUTES:
        noun = route.step.partition(".")[0]
        if route.step in made:
            continue
        if route.arguments is api.Named and noun in named:
            made[route.step] = named[noun]
            continue
        plain: dict[object, object] = {str: "owner", int: 1}
        made[route.step] = msgspec.convert(
            {
                field.name: plain.get(getattr(field.type, "__origin__", field.type), ["owner"])
                for field in msgspec.structs.fields(route.arguments)
                if field.required
            },
            route.arguments,
        )
    return made


def matrix(place: Place, ids: dict[str, str]) -> str:
    house = place.kernel.house
    steps = {step.name: step for step in STEPS}
    asked = requests(ids)
    people = [place.person(f"p{at}", role.name) for at, role in enumerate(BUILT_IN_ROLES)]
    lines = [f"{at:>2} {role.name}" for at, role in enumerate(BUILT_IN_ROLES, 1)]
    lines += [
        "",
        "y: may. -: may not. r: every row, or only what is one's own, is decided apart.",
        "In an interactive session; the evidence that a step needs is apart.",
        "",
    ]
    with house.database.snapshot() as snapshot:
        context = Context(house.records, snapshot, house.workspace_id)
        authority = place.kernel.rules().authority
        facts = RequestFacts(now=house.clock.now(), interactive=True)

        def cell(caller: Caller, step: str) -> str:
            asks = steps[step].asks(context, asked[step], caller)
            if not asks:
                return " r"
            return " y" if decide(asks, caller, authority=authority, facts=facts).allowed else " -"

        files = ("mlflow-artifacts/artifacts", FILE_ROUTES)
        for prefix, table in (("", ROUTES), ("mlflow", MLFLOW_ROUTES), files):
            width = max(len(f"{one.method} {prefix}{one.path}") for one in table)
            if prefix:
                lines.append("")
            numbers = (f"{at:>2}" for at in range(1, len(people) + 1))
            lines.append(" ".join([" " * width, *numbers]))
            for route in sorted(table, key=lambda one: (one.path, one.method)):
                cells = [
                    cell(msgspec.structs.replace(one, session=Session.CONSOLE), route.step)
                    for one in people
                ]
                text = f"{route.method} {prefix}{route.path}"
                lines.append(" ".join([text.ljust(width), *cells]))
    return "\n".join(lines) + "\n"


@pytest.fixture
def made(place: Place, tmp_path: Path) -> Callable[[], str]:
    folder = tmp_path / "code"
    folder.mkdir()
    return lambda: matrix(place, furnish(place, folder))


@pytest.mark.guarantee("G3")
def test_the_reviewed_matrix_of_roles_and_routes_equals_what_is_decided(
    made: Callable[[], str],
) -> None:
    now = made()
    assert now == GOLDEN.read_text(), (
        "review what changed, then write it: " + str(GOLDEN) + "\n" + now
    )
