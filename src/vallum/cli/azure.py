"""Files of the Azure ML CLI v2 for online endpoints and deployments.

What such a file asks for is done, told to be without effect here, or refused with the reason;
nothing that would change how an endpoint behaves is passed over in silence.

Source: Azure Machine Learning, "CLI (v2) managed online endpoint / deployment YAML schema".
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from vallum.base import InputError
from vallum.cli.border import read_file, say
from vallum.formats import load_yaml

_PREFIX = "azureml:"
# Field to the values that are what holds here anyway; nothing: it changes nothing here.
_ENDPOINT_SAME: Mapping[str, tuple[object, ...]] = {
    "$schema": (),
    "auth_mode": ("key",),
    "identity": (),
    "kind": ("managed", "Managed"),
    "location": (),
    "mirror_traffic": ({},),
    "properties": (),
    "public_network_access": ("enabled",),
    "tags": (),
    "traffic": ({},),
}
_DEPLOYMENT_SAME: Mapping[str, tuple[object, ...]] = {
    "$schema": (),
    "app_insights_enabled": (False,),
    "description": (),
    "instance_count": (1,),
    "instance_type": (),
    "liveness_probe": (),
    "properties": (),
    "readiness_probe": (),
    "scale_settings": ({"type": "default"},),
    "tags": (),
    "type": ("managed",),
}
_WHY = {
    "auth_mode": "endpoints take keys",
    "code_configuration": "scoring code of one's own is not run; register the model as ONNX",
    "data_collector": "requests are not captured",
    "egress_public_network_access": "model processes have no network at all",
    "environment": "models are served by the runtime here",
    "environment_variables": "model processes have no environment",
    "instance_count": "one process serves a deployment",
    "mirror_traffic": "traffic is not mirrored",
    "public_network_access": "the address is chosen by `vallum up --host`",
    "request_settings": "limits are of the endpoint: --rate-per-s, --burst",
    "scale_settings": "one process serves a deployment",
    "traffic": "deployments come first: vallum endpoint traffic NAME blue=90 green=10",
}


@dataclass(frozen=True, slots=True)
class AzureEndpoint:
    """What an endpoint file asks for."""

    name: str
    description: str


@dataclass(frozen=True, slots=True)
class AzureDeployment:
    """What a deployment file asks for."""

    name: str
    endpoint: str
    model: str


def read_endpoint(path: Path) -> AzureEndpoint:
    """Read an endpoint file.

    Raises:
        InputError: It is no such file, or asks for what is not done here.
    """
    document = _document(path)
    _check(path, document, {"name", "description"}, _ENDPOINT_SAME)
    return AzureEndpoint(_text(path, document, "name"), str(document.get("description") or ""))


def read_deployment(path: Path) -> AzureDeployment:
    """Read a deployment file.

    Raises:
        InputError: It is no such file, or asks for what is not done here.
    """
    document = _document(path)
    _check(path, document, {"name", "endpoint_name", "model"}, _DEPLOYMENT_SAME)
    return AzureDeployment(
        _text(path, document, "name"),
        _text(path, document, "endpoint_name"),
        _model(path, _text(path, document, "model")),
    )


def _document(path: Path) -> dict[str, object]:
    document = load_yaml(read_file(path))
    if not isinstance(document, dict) or not all(isinstance(name, str) for name in document):
        raise InputError(f"`{path}` is not a YAML mapping", code="cli.azure")
    return document


def _check(
    path: Path,
    document: Mapping[str, object],
    taken: set[str],
    same: Mapping[str, tuple[object, ...]],
) -> None:
    idle = []
    for name, value in document.items():
        if name in taken:
            continue
        if name in same and (not same[name] or value in same[name]):
            if not same[name] and not name.startswith("$"):
                idle.append(name)
            continue
        if name not in same and name not in _WHY:
            raise InputError(f"`{path}` has an unknown field `{name[:60]}`", code="cli.azure")
        raise InputError(
            f"`{name}` of `{path}` asks for what is not done here", code="cli.azure",
            hint=_WHY.get(name, ""),
        )  # fmt: skip
    if idle:
        say(f"without effect here: {', '.join(sorted(idle))}")


def _text(path: Path, document: Mapping[str, object], name: str) -> str:
    value = document.get(name)
    if not isinstance(value, str) or not value:
        raise InputError(f"`{path}` names no `{name}`", code="cli.azure")
    return value


def _model(path: Path, text: str) -> str:
    """Return `azureml:risk:1`, `azureml:risk@latest` or `azureml:risk@champion` as a name here."""
    name = text.removeprefix(_PREFIX)
    if not text.startswith(_PREFIX) or "/" in name:
        raise InputError(
            f"the model of `{path}` is not a registered one",
            code="cli.azure",
            hint="register it, and write azureml:NAME:VERSION",
        )
    return name.removesuffix("@latest")
