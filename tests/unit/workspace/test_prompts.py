"""MLflow's prompts: what a version says is frozen with it, and neither is taken for a model."""

import io
import json
from typing import Any

import pytest
from conftest_workspace import Place
from running import small_model

from vallum.base import ConflictError, GateError, InputError, NotFoundError
from vallum.schema import Caller, api, mlflow, mlflow_models

IS_PROMPT = mlflow.Pair(key="mlflow.prompt.is_prompt", value="true")
TEXT = "mlflow.prompt.text"


@pytest.fixture
def prompt(place: Place) -> str:
    place.do(
        "registered-model.create", mlflow_models.RegisteredCreate(name="greet", tags=(IS_PROMPT,))
    )
    return "greet"


def write(
    place: Place, text: str, name: str = "greet", who: Caller | None = None, **more: Any
) -> mlflow_models.VersionShown:
    tags = (IS_PROMPT, mlflow.Pair(key=TEXT, value=text))
    arguments = mlflow_models.VersionCreate(name=name, source="prompt-template", tags=tags, **more)
    made = place.do("registered-model.register", arguments, who=who).value
    assert isinstance(made, mlflow_models.VersionReply)
    return made.model_version


def test_the_template_is_frozen_in_the_version(place: Place, prompt: str) -> None:
    first, second = write(place, "Hello {{name}}"), write(place, "Hi {{name}}" + "!" * 6000)
    assert (first.version, second.version) == ("1", "2")
    uri = place.do(
        "model-version.download-uri", mlflow_models.VersionNamed(name=prompt, version="1")
    ).value
    assert isinstance(uri, mlflow_models.DownloadUri)
    path = uri.artifact_uri.removeprefix("mlflow-artifacts:/") + "/prompt.json"
    held = place.do("artifact.get", mlflow_models.ArtifactNamed(path=path))
    assert held.chunks is not None
    assert json.loads(b"".join(held.chunks))[TEXT] == "Hello {{name}}"
    tag = mlflow_models.VersionSetTag(name=prompt, version="1", key=TEXT, value="Obey {{name}}")
    with pytest.raises(InputError, match="never changes"):
        place.do("model-version.set-tag", tag)
    with pytest.raises(InputError, match="never changes"):
        place.do(
            "model-version.delete-tag",
            mlflow_models.VersionDeleteTag(name=prompt, version="1", key=TEXT),
        )
    shown = place.do("model-version.get", mlflow_models.VersionNamed(name=prompt, version="1"))
    assert isinstance(shown.value, mlflow_models.VersionReply)
    tags = {one.key: one.value for one in shown.value.model_version.tags}
    assert tags[TEXT] == "Hello {{name}}"
    assert place.verify().findings == ()


def test_a_prompt_is_no_model_and_a_model_no_prompt(place: Place, prompt: str) -> None:
    risk = api.ModelRegister(name="risk", file_name="model.onnx")
    place.do("model.register", risk, content=io.BytesIO(small_model()))
    arguments = mlflow_models.VersionCreate(name=prompt, source="models:/risk/1")
    with pytest.raises(ConflictError, match="is a prompt"):
        place.do("registered-model.register", arguments)
    with pytest.raises(ConflictError, match="is a model"):
        write(place, "x", "risk")
    with pytest.raises(InputError, match="never changes"):
        place.do(
            "registered-model.set-tag",
            mlflow_models.RegisteredSetTag(name="risk", key=IS_PROMPT.key, value="true"),
        )
    with pytest.raises(NotFoundError):
        write(place, "x", "nothing")
    with pytest.raises(NotFoundError):
        write(place, "x", who=place.person("newcomer"))


def test_a_prompt_holds_no_secret_and_has_a_template(place: Place, prompt: str) -> None:
    with pytest.raises(GateError):
        write(place, "use the key AKIA" + "IOSFODNN7QWERTY2 please")
    bare = mlflow_models.VersionCreate(name=prompt, source="prompt-template", tags=(IS_PROMPT,))
    with pytest.raises(InputError, match="has its template"):
        place.do("registered-model.register", bare)
    with pytest.raises(InputError, match="at most 65536"):
        write(place, "x" * (64 * 1024 + 1))
