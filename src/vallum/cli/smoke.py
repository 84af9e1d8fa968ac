"""The end of `vallum endpoint deploy`: which gates let it through, and one request to it."""

import time
from dataclasses import dataclass

import msgspec

from vallum.base import InputError, NotFoundError, RefusedError, UnavailableError, VallumError
from vallum.cli.progress import progress
from vallum.schema import AssetVersion, DeploymentState, ModelInterface, api
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
        gates: What the gates said about the model, the newest verdict of each.
    """

    outcome: str
    text: str
    gates: dict[str, str]

    def lines(self) -> str:
        """Return both for people."""
        gates = ", ".join(f"{gate} {verdict}" for gate, verdict in sorted(self.gates.items()))
        return f"  gates: {gates or 'none that you may see'}\n  smoke request: {self.text}"


def smoke(client: Client, shown: api.EndpointShown, deployment: str) -> Smoke:
    """Wait until a deployment runs, and send it one row of zeros, whatever its traffic.

    Raises:
        UnavailableError: It was stopped, or does not come to stand in time.
    """
    one = next(held for held in shown.deployments if held.name == deployment)
    try:
        version = client.models.show(one.model_version_id)
    except (NotFoundError, RefusedError):
        return Smoke("skipped", "not sent: you may not see the model", {})
    gates = {
        found.gate: found.verdict.value
        for found in sorted(version.evidence, key=lambda each: each.made_at)
    }
    if not shown.scoring_uri:
        return Smoke("skipped", "not sent: no gateway serves", gates)
    if one.code_id or one.watch is not None:
        why = "code says what it takes" if one.code_id else "its callers are watched"
        return Smoke("skipped", f"not sent: {why}", gates)
    body = _zeros(version.version)
    if body is None:
        return Smoke("skipped", "not sent: the model does not declare what it takes", gates)
    with progress(f"starting {deployment}"):
        return _ask(client, shown.endpoint.name, deployment, body, gates)


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


def _ask(
    client: Client, endpoint: str, deployment: str, body: bytes, gates: dict[str, str]
) -> Smoke:
    end_s = time.monotonic() + PATIENCE_S
    while True:
        begun_s = time.monotonic()
        try:
            client.endpoints.invoke(endpoint, body, deployment=deployment)
        except RefusedError:
            return Smoke("skipped", "not sent: you may not score this deployment", gates)
        except InputError as error:
            return Smoke("refused", f"refused: {error.message}", gates)
        except VallumError as error:
            if error.code == "score.refused":
                return Smoke("skipped", "not sent: you may not score here", gates)
            if error.code not in _NOT_YET:
                return Smoke("failed", f"failed: {error.message} ({error.code})", gates)
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
        return Smoke("answered", f"answered in {took_ms:.0f} ms", gates)


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
