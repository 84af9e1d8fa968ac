"""The end of `vallum endpoint deploy`: the gates, the start, and one request to what runs."""

import time
from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from vallum.base import InputError, NotFoundError, RefusedError, UnavailableError, VallumError
from vallum.cli.border import say
from vallum.cli.progress import progress
from vallum.schema import AssetVersion, Deployment, DeploymentState, ModelInterface, api
from vallum.schema.code import CodeShown
from vallum.sdk import Client

PATIENCE_S = 60.0
AGAIN_S = 0.2
_NOT_YET = frozenset(
    {"model.died", "model.restart", "model.start", "score.deployment", "score.lease", "score.none"}
)


@dataclass(frozen=True, slots=True)
class Smoke:
    """How the first request to a deployment went.

    Attributes:
        outcome: `answered`, `refused`, `failed` or `skipped`.
        text: For people.
    """

    outcome: str
    text: str


def newest(shown: api.EndpointShown, name: str) -> Deployment:
    """Return the deployment of a name that was made last: the others answer until it runs."""
    return max(
        (one for one in shown.deployments if one.name == name), key=lambda one: one.created_at
    )


def gates_of(client: Client, one: Deployment, code: CodeShown | None) -> dict[str, str]:
    """Return what the gates said about a deployment's model and code, each one's newest verdict."""
    version = _version(client, one)
    found = [] if version is None else list(version.evidence)
    found += [] if code is None else list(code.evidence)
    return {each.gate: each.verdict.value for each in sorted(found, key=lambda each: each.made_at)}


def gates_line(gates: Mapping[str, str]) -> str:
    """Return the gates for people."""
    said = ", ".join(f"{gate} {verdict}" for gate, verdict in sorted(gates.items()))
    return f"  gates: {said or 'none that you may see'}"


def started(client: Client, shown: api.EndpointShown, one: Deployment) -> api.EndpointShown:
    """Wait until a deployment runs and has its traffic; return the endpoint as it is then.

    Raises:
        GateError: It does not start; what answered before still does.
        UnavailableError: It has not started in time.
    """
    if not shown.scoring_uri:
        say("no gateway serves: it starts when one does")
        return shown
    try:
        with progress(f"starting {one.name}"):
            return client.endpoints.wait(shown.endpoint.name, one.name)
    except (NotFoundError, RefusedError):
        say("not waited for: you may not read the endpoint")
        return shown


def smoke(
    client: Client, shown: api.EndpointShown, one: Deployment, request: bytes | None
) -> Smoke:
    """Send a deployment that runs one request, whatever its traffic: yours, or a row of zeros.

    Raises:
        UnavailableError: It was stopped, or does not answer in time.
    """
    if not shown.scoring_uri:
        return Smoke("skipped", "not sent: no gateway serves")
    if request is None:
        if one.code_id or one.watch is not None:
            why = "code says what it takes" if one.code_id else "its callers are watched"
            return Smoke("skipped", f"not sent: {why}; --smoke-request FILE sends one")
        version = _version(client, one)
        if version is None:
            return Smoke("skipped", "not sent: you may not see the model")
        request = _zeros(version.version)
        if request is None:
            return Smoke("skipped", "not sent: the model does not declare what it takes")
    with progress(f"asking {one.name}"):
        return _ask(client, shown.endpoint.name, one.name, request)


def _version(client: Client, one: Deployment) -> api.VersionShown | None:
    try:
        return client.models.show(one.model_version_id)
    except (NotFoundError, RefusedError):
        return None


def _zeros(version: AssetVersion) -> bytes | None:
    """Return a V2 request with one row of zeros; None where its width is not known."""
    interface: ModelInterface | None = version.interface
    if interface is None or len(interface.inputs) != 1:
        return None
    (value,) = interface.inputs
    if value.shape is None or len(value.shape) != 2 or not value.shape[1].isdecimal():  # noqa: PLR2004 - rows, features
        return None
    width = int(value.shape[1])
    tensor = {"name": value.name, "shape": [1, width], "datatype": "FP32", "data": [0.0] * width}
    return msgspec.json.encode({"inputs": [tensor]})


def _ask(client: Client, endpoint: str, deployment: str, body: bytes) -> Smoke:
    end_s = time.monotonic() + PATIENCE_S
    while True:
        begun_s = time.monotonic()
        try:
            client.endpoints.invoke(endpoint, body, deployment=deployment)
        except RefusedError:
            return Smoke("skipped", "not sent: you may not score this deployment")
        except InputError as error:
            return Smoke("refused", f"refused: {error.message}")
        except VallumError as error:
            if error.code == "score.refused":
                return Smoke("skipped", "not sent: you may not score here")
            if error.code not in _NOT_YET:
                return Smoke("failed", f"failed: {error.message} ({error.code})")
            _require_running(client, endpoint, deployment)
            if time.monotonic() > end_s:
                raise UnavailableError(
                    f"`{deployment}` does not answer after {PATIENCE_S:.0f} s: {error.message}",
                    code="deploy.smoke",
                    hint=f"vallum endpoint show {endpoint}",
                ) from error
            time.sleep(AGAIN_S)
            continue
        took_ms = 1000 * (time.monotonic() - begun_s)
        return Smoke("answered", f"answered in {took_ms:.0f} ms")


def _require_running(client: Client, endpoint: str, deployment: str) -> None:
    """Raise what stopped a deployment, if something did.

    Raises:
        UnavailableError: It did.
    """
    for one in client.endpoints.show(endpoint).deployments:
        if one.name == deployment and one.state is not DeploymentState.RUNNING:
            raise UnavailableError(
                f"`{deployment}` is {one.state.value}: {one.reason}",
                code="deploy.smoke",
                hint=f"vallum endpoint traffic {endpoint} gives the traffic to another",
            )
