"""What reaches a deployment of the real gateway: traffic, copies, a caller's choice, networks."""

import ssl
import time
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
from certificates import PEOPLE, Pair, authority, client
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID
from running import WIDTH, Up, deploy, request

from vallum.base import ConflictError, InputError, RefusedError, Secret

ROW = [[1.0] * WIDTH]
PICK = "azureml-model-deployment"


@pytest.fixture(scope="module")
def key(serving: Up) -> str:
    """An endpoint `colours` with `blue` in use and `green` beside it."""
    made = deploy(serving, "colours")
    serving.owner.endpoints.deploy("colours", "small:1", deployment="green", traffic=0)
    end = time.monotonic() + 30
    while time.monotonic() < end:
        answer = serving.score("colours", request(ROW), key=serving.token, **{PICK: "green"})
        if answer.status_code == 200:
            return made
        time.sleep(0.1)
    raise AssertionError(answer.text)


def answered_by(serving: Up, key: str, **headers: str) -> str:
    answer = serving.score("colours", request(ROW), key=key, **headers)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["model_version"])


def copies(serving: Up) -> dict[str, float]:
    """Return how many copies ended how, by outcome."""
    url = f"https://127.0.0.1:{serving.gateway_port}/metrics"
    with serving.http() as client:
        text = client.get(url, headers={"authorization": f"Bearer {serving.token}"}).text
    found: dict[str, float] = {}
    for line in text.splitlines():
        if line.startswith("vallum_mirrored_total{") and 'endpoint="colours"' in line:
            outcome = line.partition('outcome="')[2].partition('"')[0]
            found[outcome] = float(line.rpartition(" ")[2])
    return found


def test_choosing_the_deployment_is_a_right_of_its_own(serving: Up, key: str) -> None:
    assert answered_by(serving, key) == "blue"
    assert answered_by(serving, serving.token, **{PICK: "green"}) == "green"
    refused = serving.score("colours", request(ROW), key=key, **{PICK: "green"})
    assert (refused.status_code, refused.json()["code"]) == (403, "score.deployment")
    # Without the right nothing is told of which deployments there are.
    other = serving.score("colours", request(ROW), key=key, **{PICK: "purple"})
    assert {**other.json(), "request_id": ""} == {**refused.json(), "request_id": ""}
    unknown = serving.score("colours", request(ROW), key=serving.token, **{PICK: "purple"})
    assert (unknown.status_code, unknown.json()["code"]) == (404, "score.deployment")
    chosen = serving.owner.endpoints.invoke("colours", request(ROW), deployment="green")
    assert chosen["model_version"] == "green"


def test_without_traffic_only_who_chooses_is_answered(serving: Up, key: str) -> None:
    serving.owner.endpoints.traffic("colours", {})
    try:
        answer = serving.score("colours", request(ROW), key=key)
        assert (answer.status_code, answer.json()["code"]) == (503, "score.none")
        assert answered_by(serving, serving.token, **{PICK: "green"}) == "green"
    finally:
        serving.owner.endpoints.traffic("colours", {"blue": 100})
    assert answered_by(serving, key) == "blue"


def test_a_mirror_gets_its_share_and_answers_nobody(serving: Up, key: str) -> None:
    shown = serving.owner.endpoints.traffic("colours", {"blue": 100}, mirror={"green": 50})
    assert shown.endpoint.mirror == {"green": 50}
    before = copies(serving)
    assert {answered_by(serving, key) for _ in range(100)} == {"blue"}
    end = time.monotonic() + 10
    while (now := copies(serving)) and time.monotonic() < end:
        if sum(now.values()) - sum(before.values()) >= 50:
            break
        time.sleep(0.05)
    assert sum(now.values()) - sum(before.values()) == 50
    assert now["answered"] > before.get("answered", 0.0)
    assert "failed" not in now
    # What is chosen by its caller is no traffic.
    answered_by(serving, serving.token, **{PICK: "blue"})
    time.sleep(0.2)
    assert sum(copies(serving).values()) - sum(before.values()) == 50
    with pytest.raises(ConflictError, match="both traffic and copies"):
        serving.owner.endpoints.traffic("colours", {"blue": 50, "green": 50})
    with pytest.raises(ConflictError, match="copies of the traffic"):
        serving.owner.endpoints.deploy("colours", "small:1", deployment="green", traffic=10)
    for wrong in ({"green": 51}, {"green": 1, "blue": 1}):
        with pytest.raises(InputError, match="0 to 50 per cent"):
            serving.owner.endpoints.traffic("colours", {"blue": 100}, mirror=wrong)
    ended = serving.owner.endpoints.traffic("colours", {"blue": 100}, mirror={"green": 0})
    assert ended.endpoint.mirror == {}
    # A copy may take as long as it likes, which the event loop of the answers may not.
    serving.owner.endpoints.deploy(
        "colours", "small:1", deployment="red", traffic=0, in_process=True
    )
    serving.owner.endpoints.wait("colours", "red")
    with pytest.raises(ConflictError, match="runs inside the gateway"):
        serving.owner.endpoints.traffic("colours", {"blue": 100}, mirror={"red": 10})


def test_only_callers_from_its_networks_are_answered(serving: Up, key: str) -> None:
    serving.owner.endpoints.update("colours", networks=["192.0.2.0/24"])
    try:
        answer = serving.score("colours", request(ROW), key=key)
        assert (answer.status_code, answer.json()["code"]) == (403, "score.network")
        # Who may not score learns nothing of it, and no header says where a caller is.
        assert serving.score("colours", request(ROW), key="vlm_x").status_code == 401
        forwarded = {"X-Forwarded-For": "192.0.2.1", "Forwarded": "for=192.0.2.1"}
        assert serving.score("colours", request(ROW), key=key, **forwarded).status_code == 403
    finally:
        serving.owner.endpoints.update("colours", networks=["192.0.2.0/24", "127.0.0.0/8"])
    assert answered_by(serving, key) == "blue"
    with pytest.raises(InputError, match="no network"):
        serving.owner.endpoints.update("colours", networks=["192.0.2.1/24"])


def test_a_changed_rate_holds_at_once(serving: Up) -> None:
    key = deploy(serving, "rated")
    assert all(serving.score("rated", request(ROW), key=key).status_code == 200 for _ in range(6))
    serving.owner.endpoints.update("rated", rate_per_s=1, burst=2)
    statuses = [serving.score("rated", request(ROW), key=key).status_code for _ in range(6)]
    assert statuses.count(429) >= 2
    with pytest.raises(InputError, match="nothing is to be changed"):
        serving.owner.endpoints.update("rated")


@pytest.mark.usefixtures("key")
def test_a_token_scores_there_ends_with_its_key_and_shares_its_rate(serving: Up) -> None:
    own = serving.owner.keys.create("caller")
    caller = serving.client(own.secret)
    token = caller.endpoints.token("colours", minutes=5)
    assert token.expires_at
    assert answered_by(serving, token.secret) == "blue"
    assert serving.raw("/api/v1/data", token=token.secret).status_code == 403
    with pytest.raises(RefusedError, match="scoring at one endpoint only"):
        serving.client(token.secret).endpoints.token("colours")
    with pytest.raises(InputError, match="1 to 1440"):
        caller.endpoints.token("colours", minutes=1441)
    # Many tokens of one caller are one caller.
    deploy(serving, "counted", rate_per_s=1, burst=3)
    secrets = [caller.endpoints.token("counted").secret for _ in range(6)]
    statuses = [serving.score("counted", request(ROW), key=one).status_code for one in secrets]
    assert statuses.count(429) >= 2
    serving.owner.keys.revoke(own.id)
    assert serving.score("colours", request(ROW), key=token.secret).status_code == 401


@pytest.mark.usefixtures("key")
def test_narrowed_keys_give_no_tokens(serving: Up) -> None:
    both = ["onlineEndpoints/score/action", "onlineEndpoints/token/action"]
    narrowed = serving.owner.keys.create("narrow", actions=both)
    with pytest.raises(ConflictError, match="narrowed"):
        serving.client(narrowed.secret).endpoints.token("colours")
    answer = serving.owner.endpoints.invoke(
        "colours", request(ROW), key=Secret(serving.owner.endpoints.token("colours").secret)
    )
    assert answer["model_version"] == "blue"


def mutual(serving: Up, pair: tuple[str, str] | None) -> httpx.Client:
    context = ssl.create_default_context(cafile=str(serving.ca))
    if pair is not None:
        context.load_cert_chain(*pair)
    return httpx.Client(
        base_url=f"https://127.0.0.1:{serving.gateway_port}", verify=context, trust_env=False
    )


@pytest.mark.usefixtures("key")
def test_a_client_certificate_says_who_calls(serving: Up, tmp_path: Path) -> None:
    now = datetime.fromtimestamp(time.time(), UTC)
    root, stranger = authority(now=now), authority("strangers", now=now)
    good = client(root, PEOPLE, now=now).write(tmp_path, "good")
    other = client(root, PEOPLE + "/other", now=now).write(tmp_path, "other")
    foreign = client(stranger, PEOPLE, now=now).write(tmp_path, "foreign")
    body = request(ROW)
    serving.owner.identities.create("robot", kind="service-principal")
    made = serving.owner.identities.federate("robot", authority=root.pem, subject=PEOPLE)
    path = "/v2/models/colours/infer"
    with mutual(serving, good) as robot:
        assert robot.post(path, content=body).status_code == 404  # known, without rights
        serving.owner.roles.assign("Vallum Endpoint Invoker", "robot", scope="endpoint/colours")
        assert robot.post(path, content=body).status_code == 200
        assert robot.get("/metrics").status_code == 200
        # What one certificate may see, no other caller does.
        for pair in (other, None):
            with mutual(serving, pair) as nobody:
                assert nobody.get("/metrics").status_code == 401
        odd = {"authorization": "Basic abc"}
        assert robot.post(path, content=body, headers=odd).status_code == 401
        # A token that is sent decides, and no certificate makes a wrong one good.
        wrong = {"authorization": "Bearer vlm_wrong"}
        assert robot.post(path, content=body, headers=wrong).status_code == 401
    with mutual(serving, other) as nobody:
        assert nobody.post(path, content=body).status_code == 401
    with mutual(serving, None) as without:
        assert without.post(path, content=body).status_code == 401
    with mutual(serving, foreign) as refused, pytest.raises(httpx.TransportError):
        refused.post(path, content=body)
    with mutual(serving, good) as robot:
        assert robot.post(path, content=body).status_code == 200
        serving.owner.keys.revoke(made.id)
        assert robot.post(path, content=body).status_code == 401  # on the same connection
    leaf = client(root, PEOPLE, now=now)
    with pytest.raises(InputError, match="no authority's"):
        serving.owner.identities.federate("robot", authority=leaf.pem, subject=PEOPLE)


def test_another_server_certificate_is_used_without_a_restart(serving: Up) -> None:
    def seen(port: int) -> str:
        return ssl.get_server_certificate(("127.0.0.1", port), ca_certs=str(serving.ca))

    keys = serving.folder / "data.keys"
    ports = (serving.port, serving.gateway_port)
    before = {seen(port) for port in ports}
    assert len(before) == 1
    (keys / "server.pem").write_bytes(b"not a certificate")  # changes nothing
    time.sleep(4)
    assert {seen(port) for port in ports} == before
    root = Pair(
        x509.load_pem_x509_certificate((keys / "ca.pem").read_bytes()),
        load_pem_private_key((keys / "ca-key.pem").read_bytes(), None),  # type: ignore[arg-type]
    )
    now = datetime.fromtimestamp(time.time(), UTC)
    fresh = client(root, "127.0.0.1", now=now, usage=ExtendedKeyUsageOID.SERVER_AUTH)
    certificate, private = fresh.write(serving.folder, "fresh")
    Path(private).replace(keys / "server-key.pem")
    Path(certificate).replace(keys / "server.pem")
    end = time.monotonic() + 20
    while {seen(port) for port in ports} != {fresh.pem} and time.monotonic() < end:
        time.sleep(0.2)
    assert {seen(port) for port in ports} == {fresh.pem}
