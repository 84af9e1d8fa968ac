"""Files of the Azure ML CLI v2 for online endpoints and deployments.

What such a file asks for is done, told to be without effect here, or refused with the reason;
nothing that would change how an endpoint behaves is passed over in silence.

Source: Azure Machine Learning, "CLI (v2) managed online endpoint / deployment YAML schema".
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from vallum.base import InputError
from vallum.cli.azure_collector import read_collector
from vallum.cli.border import read_file, say
from vallum.cli.scaling import azure_scale
from vallum.formats import load_yaml
from vallum.schema import CapturePolicy, Scale
from vallum.schema.release import RAY

_PREFIX = "azureml:"
_PRIVATE = (  # RFC 1918, RFC 4193 and loopback
    "10.0.0.0/8",
    "127.0.0.0/8",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "::1/128",
    "fc00::/7",
)
# Field to the values that are what holds here anyway; nothing: it changes nothing here.
_ENDPOINT_SAME: Mapping[str, tuple[object, ...]] = {
    "$schema": (),
    "auth_mode": ("key", "aml_token", "aad_token"),  # none is given out before it is asked for
    "identity": (),
    "kind": ("managed", "Managed"),
    "location": (),
    "properties": (),
    "tags": (),
}
_ENDPOINT_TAKEN = {
    "name",
    "description",
    "traffic",
    "mirror_traffic",
    "public_network_access",
    "information",
    "rate",
    "quota",
}
_DEPLOYMENT_SAME: Mapping[str, tuple[object, ...]] = {
    "$schema": (),
    "app_insights_enabled": (False,),
    "description": (),
    "instance_type": (),
    "liveness_probe": (),
    "properties": (),
    "readiness_probe": (),
    "tags": (),
    "type": ("managed",),
}
_DEPLOYMENT_TAKEN = {
    "name", "endpoint_name", "model", "data_collector", "code_configuration",
    "instance_count", "request_settings", "scale_settings",
}  # fmt: skip
_WHY = {
    "auth_mode": "endpoints take keys and tokens",
    "egress_public_network_access": "where code may connect to is in the policy file",
    "environment": "models are served by the runtime here",
    "environment_variables": "model processes have no environment",
}


@dataclass(frozen=True, slots=True)
class AzureEndpoint:
    """What an endpoint file asks for."""

    name: str
    description: str
    traffic: dict[str, int]
    mirror: dict[str, int]
    networks: tuple[str, ...]  # CIDR; empty: all
    information: str  # a budget as `--information` takes it; ours, not Azure's
    rates: list[str]  # as `--rate` takes them; ours, too
    quotas: list[str]


@dataclass(frozen=True, slots=True)
class AzureDeployment:
    """What a deployment file asks for."""

    name: str
    endpoint: str
    model: str
    capture: CapturePolicy | None = None
    code: Path | None = None  # folder
    entry: str = ""  # the scoring script in it
    scale: Scale | None = None


def read_endpoint(path: Path) -> AzureEndpoint:
    """Read an endpoint file.

    Raises:
        InputError: It is no such file, or asks for what is not done here.
    """
    document = _document(path)
    _check(path, document, _ENDPOINT_TAKEN, _ENDPOINT_SAME)
    access = document.get("public_network_access", "enabled")
    if access not in {"enabled", "disabled"}:
        raise InputError(
            f"`public_network_access` of `{path}` is enabled or disabled", code="cli.azure"
        )
    return AzureEndpoint(
        name=_text(path, document, "name"),
        description=str(document.get("description") or ""),
        traffic=_shares(path, document, "traffic"),
        mirror=_shares(path, document, "mirror_traffic"),
        networks=() if access == "enabled" else _PRIVATE,
        information=str(document.get("information") or ""),
        rates=_texts(path, document, "rate"),
        quotas=_texts(path, document, "quota"),
    )


def read_deployment(path: Path) -> AzureDeployment:
    """Read a deployment file.

    Raises:
        InputError: It is no such file, or asks for what is not done here.
    """
    document = _document(path)
    ours = {"instance_type"} if document.get("instance_type") == RAY else set()
    _check(path, document, _DEPLOYMENT_TAKEN | ours, _DEPLOYMENT_SAME)
    code, entry = _code(path, document.get("code_configuration"))
    return AzureDeployment(
        _text(path, document, "name"),
        _text(path, document, "endpoint_name"),
        _model(path, _text(path, document, "model")),
        read_collector(path, document.get("data_collector")),
        code,
        entry,
        azure_scale(path, document),
    )


def _code(path: Path, value: object) -> tuple[Path | None, str]:
    """Return the folder of scoring code, which the file names from where it lies, and the script.

    Raises:
        InputError: It names none, or a place that is no folder here.
    """
    if value is None:
        return None, ""
    if not isinstance(value, dict) or set(value) != {"code", "scoring_script"}:
        raise InputError(
            f"`code_configuration` of `{path}` has `code` and `scoring_script`", code="cli.azure"
        )
    folder, entry = value["code"], value["scoring_script"]
    if not isinstance(folder, str) or not isinstance(entry, str):
        raise InputError(f"`code_configuration` of `{path}` names files", code="cli.azure")
    found = path.parent / folder.removeprefix("file:")
    if not found.is_dir():
        raise InputError(f"`code` of `{path}` is no folder here: `{found}`", code="cli.azure")
    return found, entry.removeprefix("./")


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


def _texts(path: Path, document: Mapping[str, object], name: str) -> list[str]:
    value = document.get(name) or []
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list) or not all(isinstance(one, str) for one in texts):
        raise InputError(f"`{name}` of `{path}` is a text, or a list of them", code="cli.azure")
    return texts


def _shares(path: Path, document: Mapping[str, object], name: str) -> dict[str, int]:
    value = document.get(name) or {}
    if not isinstance(value, dict) or not all(
        isinstance(key, str) and isinstance(share, int) and not isinstance(share, bool)
        for key, share in value.items()
    ):
        raise InputError(f"`{name}` of `{path}` is not deployment: per cent", code="cli.azure")
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
