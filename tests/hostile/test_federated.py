"""Tokens of a real OpenID provider at both doors: the server's and the gateway's."""

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from running import WIDTH, Up, deploy, free_port, request

from vallum.base import ConflictError, InputError, NotFoundError, RefusedError, UnauthenticatedError

AUDIENCE = "https://vallum.test"
HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def issuer() -> Iterator[str]:
    """The address of npm's oidc-provider, running."""
    node = shutil.which("node")
    modules = Path(os.environ.get("VALLUM_TEST_NODE_MODULES", HERE.parent / "node_modules"))
    if node is None or not (modules / "oidc-provider").exists():
        pytest.skip("oidc-provider is missing: npm install --prefix tests --no-save oidc-provider")
    port = free_port()
    server = subprocess.Popen(  # noqa: S603 - a program of ours
        [node, str(HERE / "openid_provider.mjs"), str(port)],
        env={**os.environ, "OIDC_MODULES": str(modules.parent)},
        stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    url = f"http://127.0.0.1:{port}"
    try:
        end = time.monotonic() + 60
        while True:
            try:
                httpx.get(f"{url}/.well-known/openid-configuration", trust_env=False)
                break
            except httpx.HTTPError:
                assert time.monotonic() < end, "the provider did not start"
                time.sleep(0.1)
        yield url
    finally:
        server.kill()
        server.communicate(timeout=30)


def token(issuer: str, audience: str = AUDIENCE) -> str:
    answer = httpx.post(
        f"{issuer}/token",
        data={
            "grant_type": "client_credentials", "client_id": "robot",
            "client_secret": "robot-secret", "scope": "score", "resource": audience,
        },
        trust_env=False,
    )  # fmt: skip
    return str(answer.json()["access_token"])


@pytest.mark.slow
def test_a_providers_token_acts_as_whom_it_is_federated_with(serving: Up, issuer: str) -> None:
    deploy(serving, "federated")
    owner, row = serving.owner, request([[1.0] * WIDTH])
    owner.identities.create("robot", kind="service-principal")
    # Nobody said yet that this issuer counts for anything.
    assert serving.score("federated", row, key=token(issuer)).status_code == 401
    assert serving.raw("/api/v1/models", token=token(issuer)).status_code == 401

    named = {"issuer": issuer, "subject": "robot", "audience": AUDIENCE}
    owner.identities.federate("robot", **named)
    good = token(issuer)
    # It is known now, and may do nothing.
    assert serving.score("federated", row, key=good).status_code == 404
    owner.roles.assign("Vallum Endpoint Invoker", "robot", scope="endpoint/federated")
    answer = serving.score("federated", row, key=good)
    assert answer.status_code == 200, answer.text
    assert serving.raw("/api/v1/models", token=good).status_code == 200
    for wrong in (
        token(issuer, "https://another.test"),
        good[:-4] + ("AAAA" if good[-4:] != "AAAA" else "BBBB"),
        good.rpartition(".")[0] + ".",
        "e30." + good.partition(".")[2],
    ):
        assert serving.score("federated", row, key=wrong).status_code == 401
        assert serving.raw("/api/v1/models", token=wrong).status_code == 401

    # What it may not become: a key or a session that outlives it.
    robot = serving.client(good)
    with pytest.raises(ConflictError, match="outlive"):
        robot.keys.create("for later")
    with pytest.raises(RefusedError):
        robot.identities.session()
    with pytest.raises(NotFoundError):
        robot.identities.federate("robot", **{**named, "audience": "more"})
    with pytest.raises(ConflictError, match="already"):
        owner.identities.federate("owner", **named)
    with pytest.raises(InputError, match="https://"):
        owner.identities.federate("robot", **{**named, "issuer": "http://id.example.org"})

    # Revoked, it is refused on the very next request, cached or not.
    (held,) = (one for one in owner.keys.list() if one.issuer == issuer)
    with pytest.raises(ConflictError, match="no secret"):
        owner.keys.rotate(held.id)
    owner.keys.revoke(held.id)
    assert serving.score("federated", row, key=good).status_code == 401
    with pytest.raises(UnauthenticatedError):
        robot.models.list()
    assert owner.workspace.verify().findings == ()
