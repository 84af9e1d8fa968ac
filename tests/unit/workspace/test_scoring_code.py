"""Scoring code through the kernel: who may deploy it, and what it needs a right to."""

import io
import tarfile

import pytest
from conftest_workspace import Place
from running import small_model

from vallum.base import RefusedError
from vallum.schema import Caller, DeploymentState, api, rules
from vallum.schema.code import CodeAdd, CodeShown
from vallum.workspace.opening import model_of
from vallum.workspace.serving import Serving

CODE = b"def init():\n    pass\n\n\ndef run(raw):\n    return raw\n"
CODE_ACTION = "onlineEndpoints/deployments/code/action"
READ = "models/versions/content/read"
ENGINEER = "Machine Learning Engineer"
RIGHTS = (
    "onlineEndpoints/read", "onlineEndpoints/deployments/write", "models/read",
    "models/versions/read", "models/versions/promote/action",
)  # fmt: skip


@pytest.fixture
def ready(place: Place) -> Place:
    """A place with a model, and an endpoint for production and one for development."""
    document = '{"version": "vallum.policy/1", "scoring_code": {"allow": true}}'
    place.do("policy.set", rules.PolicySet(document=document, reason="test"))
    place.do("model.register", api.ModelRegister(name="m", file_name="model.onnx"),
             content=io.BytesIO(small_model()))  # fmt: skip
    for stage in ("production", "development"):
        place.do("endpoint.create", api.EndpointCreate(name=stage, stage=stage))
    return place


def add(place: Place, endpoint: str, who: Caller | None = None) -> str:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        header = tarfile.TarInfo("score.py")
        header.size = len(CODE)
        archive.addfile(header, io.BytesIO(CODE))
    packed.seek(0)
    made = place.do("endpoint.add-code", CodeAdd(endpoint=endpoint), content=packed, who=who).value
    assert isinstance(made, CodeShown)
    return made.id


def deploy(place: Place, endpoint: str, code: str, who: Caller | None = None) -> str:
    asked = api.EndpointDeploy(endpoint=endpoint, deployment="blue", model="m", code=code)
    shown = place.do("endpoint.deploy", asked, who=who).value
    assert isinstance(shown, api.EndpointShown)
    (deployment,) = shown.deployments
    assert deployment.state is DeploymentState.STARTING  # there is no gateway
    return deployment.id


def test_a_second_person_deploys_scoring_code_to_production(ready: Place) -> None:
    ready.do("role.create", api.RoleCreate(name="coder", data_actions=(CODE_ACTION,)))
    ann, ben = (ready.person(name, ENGINEER, "coder") for name in ("ann", "ben"))
    code = add(ready, "production", ann)
    with pytest.raises(RefusedError, match="to production") as refused:
        deploy(ready, "production", code, ann)
    assert refused.value.code == "code.maker"
    assert ("decision", "endpoint.deploy", True, "code.maker") in ready.entries()
    running = deploy(ready, "production", code, ben)
    (file,) = model_of(Serving(ready.kernel), running).code
    assert file.data == CODE
    deploy(ready, "development", add(ready, "development", ann), ann)


def test_code_sees_the_model_and_whoever_deploys_it_must_be_allowed_to(ready: Place) -> None:
    for name, actions in (
        ("no-code", (READ,)), ("no-content", (CODE_ACTION,)), ("both", (CODE_ACTION, READ)),
    ):  # fmt: skip
        role = api.RoleCreate(name=name, actions=RIGHTS, data_actions=actions)
        ready.do("role.create", role)
    made = add(ready, "development")
    for name, lacks in (("no-code", CODE_ACTION), ("no-content", READ)):
        with pytest.raises(RefusedError, match=f"`{lacks}` is not granted"):
            deploy(ready, "development", made, ready.person(name, name))
    deploy(ready, "development", made, ready.person("both", "both"))
