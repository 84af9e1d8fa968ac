"""Scoring code of one's own on the real gateway: what it may do, and what becomes of it if not."""

import contextlib
import io
import json
import tarfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from running import WIDTH, Up, request

from vallum.base import GateError, InputError, RefusedError
from vallum.schema import QueryWatch, Scale

pytestmark = pytest.mark.slow  # a server, or several, for this file alone

SCORE = """
import json, os, sys, time
import numpy as np
import onnxruntime

CALLS = []


def init():
    global session
    path = os.path.join(os.environ["AZUREML_MODEL_DIR"], "model.onnx")
    session = onnxruntime.InferenceSession(path)


def run(raw_data):
    asked = json.loads(raw_data)
    if "do" in asked:
        return DO[asked["do"]]()
    rows = np.asarray(asked["data"], dtype=np.float32)
    name = session.get_inputs()[0].name
    return {"classes": session.run(None, {name: rows})[0].argmax(axis=1).tolist()}


def read(path):
    try:
        with open(path) as file:
            return file.read()[:200]
    except OSError as error:
        return type(error).__name__


def write(path):
    try:
        with open(path, "r+b") as file:
            file.write(b"x")
        return "written"
    except OSError as error:
        return type(error).__name__


def connect():
    try:
        sys.modules["so" + "cket"].create_connection(("127.0.0.1", 80), timeout=2)
        return "connected"
    except OSError as error:
        return type(error).__name__


def forked():
    children = 0
    try:
        for _ in range(500):
            if vars(os)["fo" + "rk"]() == 0:
                while True:
                    pass
            children += 1
    except OSError as error:
        return type(error).__name__
    return children


def fill():
    try:
        with open(os.path.join(os.environ["TMPDIR"], "big"), "wb") as file:
            for _ in range(1024):
                file.write(b"x" * 1048576)
        return "filled"
    except OSError as error:
        return type(error).__name__


def hang():
    while True:
        pass


def nap():
    time.sleep(1)
    return "awake"


def fail():
    print("printed by the code")
    raise ValueError("secret 4111111111111111")


DO = {
    "environment": lambda: dict(os.environ),
    "passwd": lambda: read("/etc/passwd"),
    "data": lambda: sorted(os.listdir("/")),
    "model": lambda: write(os.path.join(os.environ["AZUREML_MODEL_DIR"], "model.onnx")),
    "code": lambda: write(__file__),
    "connect": connect,
    "fork": forked,
    "fill": fill,
    "hang": hang,
    "nap": nap,
    "fail": fail,
    "nan": lambda: float("nan"),
    "object": lambda: object(),
    "much": lambda: "x" * (17 * 1048576),
    "exit": lambda: exit(3),
    "die": lambda: os._exit(3),
    "pid": os.getpid,
}
"""


def packed(files: dict[str, str]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, text in files.items():
            header = tarfile.TarInfo(name)
            header.size = len(text.encode())
            archive.addfile(header, io.BytesIO(text.encode()))
    return out.getvalue()


def allow(up: Up, *, code: bool) -> None:
    document = json.loads(up.owner.policy.show().document)
    document["scoring_code"] = {"allow": code}
    up.owner.policy.set(document, reason="test")


def deploy(up: Up, endpoint: str, code: str = SCORE, **more: Any) -> str:
    """Deploy code before the small model; returns a key once it answers."""
    allow(up, code=True)
    up.owner.endpoints.create(endpoint)
    made = up.owner.endpoints.add_code(endpoint, packed({"score.py": code}))
    up.owner.endpoints.deploy(endpoint, "small", code=made.id, **more)
    key = up.owner.endpoints.keys(endpoint).secret
    wait(up, endpoint, key)
    return key


def wait(up: Up, endpoint: str, key: str) -> None:
    end = time.monotonic() + 60
    while score(up, endpoint, {"data": [[1.0] * WIDTH]}, key).status_code == 503:
        if time.monotonic() > end:
            raise AssertionError((up.folder / "up.log").read_text())
        time.sleep(0.2)


def score(up: Up, endpoint: str, document: object, key: str) -> Any:
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    url = f"https://127.0.0.1:{up.gateway_port}/endpoints/{endpoint}/score"
    with up.http() as client:
        return client.post(url, content=body, headers={"Authorization": f"Bearer {key}"})


@pytest.fixture(scope="module")
def coded(serving: Up) -> str:
    return deploy(serving, "coded")


@pytest.fixture
def key(serving: Up, coded: str) -> str:
    wait(serving, "coded", coded)  # another test may have forbidden code, or ended its process
    return coded


def test_code_answers_with_its_model(serving: Up, key: str) -> None:
    answer = score(serving, "coded", {"data": [[1.0] * WIDTH, [-1.0] * WIDTH]}, key)
    assert (answer.status_code, answer.json()) == (200, {"classes": [1, 0]})
    shown = serving.owner.endpoints.show("coded").deployments[0]
    assert shown.code_digest.startswith("sha256:")


@pytest.mark.parametrize(
    ("what", "expected"),
    [
        ("passwd", {"FileNotFoundError", "PermissionError"}),
        ("model", {"OSError", "PermissionError"}),
        ("code", {"OSError", "PermissionError"}),
        ("connect", {"OSError", "ConnectionRefusedError", "PermissionError"}),
        ("fill", {"OSError"}),
    ],
)
def test_code_reaches_nothing(serving: Up, key: str, what: str, expected: set[str]) -> None:
    answer = score(serving, "coded", {"do": what}, key)
    assert answer.status_code == 200, answer.text
    assert answer.json() in expected


def test_code_sees_no_environment_and_no_other_files(serving: Up, key: str) -> None:
    environment = score(serving, "coded", {"do": "environment"}, key).json()
    assert environment["AZUREML_MODEL_DIR"] == "/model"
    assert not [name for name in environment if "VALLUM" in name or "TOKEN" in name]
    assert str(serving.folder) not in json.dumps(environment)
    assert "home" not in score(serving, "coded", {"do": "data"}, key).json()


def test_what_code_raises_or_returns_leaves_as_an_id(serving: Up, key: str) -> None:
    for what in ("fail", "nan", "object", "much", "exit"):
        answer = score(serving, "coded", {"do": what}, key)
        assert answer.status_code == 500, (what, answer.text)
        problem = answer.json()
        assert (problem["code"], problem["detail"]) == (
            "code.run", "the model failed on this input",
        )  # fmt: skip
        assert "secret" not in answer.text
    log = (serving.folder / "up.log").read_text()
    assert "ValueError" in log
    assert "printed by the code" in log
    assert "4111111111111111" not in log
    assert score(serving, "coded", {"data": [[1.0] * WIDTH]}, key).status_code == 200


@pytest.mark.parametrize(
    "body", [b"{", b"", b'{"a": NaN}', b'{"a": 1, "a": 2}', b"[" * 40 + b"]" * 40, b'"\xff"']
)
def test_what_is_no_bounded_json_never_reaches_the_code(serving: Up, key: str, body: bytes) -> None:
    answer = score(serving, "coded", body, key)
    assert (answer.status_code, answer.json()["code"]) in {(400, "score.json"), (413, "score.json")}


def test_code_that_dies_or_forks_is_restarted(serving: Up, key: str) -> None:
    for what in ("die", "fork"):
        with contextlib.suppress(ValueError):
            score(serving, "coded", {"do": what}, key)
        assert score(serving, "coded", {"do": "die"}, key).status_code == 503
        wait(serving, "coded", key)


def test_code_that_hangs_is_ended_and_restarted(serving: Up, key: str) -> None:
    before = score(serving, "coded", {"do": "pid"}, key).status_code
    assert before == 200
    start = time.monotonic()
    assert score(serving, "coded", {"do": "hang"}, key).status_code == 503
    assert time.monotonic() - start < 25
    wait(serving, "coded", key)


def test_a_queue_and_a_request_have_their_time(serving: Up) -> None:
    scale = Scale(queue_wait_ms=500, request_timeout_ms=3000)
    key = deploy(serving, "queued", scale=scale)
    with ThreadPoolExecutor(8) as callers:
        begun_s = time.monotonic()
        asked = [callers.submit(score, serving, "queued", {"do": "nap"}, key) for _ in range(8)]
        answers = [one.result() for one in asked]
    refused = [one for one in answers if one.status_code == 429]
    assert {one.json()["code"] for one in refused} == {"score.queue"}
    assert all(int(one.headers["retry-after"]) >= 1 for one in refused)
    assert 1 <= sum(one.status_code == 200 for one in answers) <= 4
    assert time.monotonic() - begun_s < 8  # each would have taken a second
    begun_s = time.monotonic()
    assert score(serving, "queued", {"do": "hang"}, key).status_code == 503
    assert time.monotonic() - begun_s < 8
    wait(serving, "queued", key)


def test_one_changed_byte_of_the_code_stops_the_deployment(serving: Up) -> None:
    key = deploy(serving, "changed")
    known = {path for path in (serving.folder / "data/objects").rglob("*") if path.is_file()}
    made = serving.owner.endpoints.add_code("changed", packed({"score.py": SCORE + "# v2\n"}))
    (stored,) = {p for p in (serving.folder / "data/objects").rglob("*") if p.is_file()} - known
    serving.owner.endpoints.deploy("changed", "small", code=made.id)
    serving.owner.endpoints.wait("changed")
    assert score(serving, "changed", {"data": [[1.0] * WIDTH]}, key).status_code == 200
    data = bytearray(stored.read_bytes())
    data[len(data) // 2] ^= 1
    stored.chmod(0o600)
    stored.write_bytes(bytes(data))
    end = time.monotonic() + 20
    while serving.owner.endpoints.show("changed").deployments[0].state.value == "running":
        assert time.monotonic() < end
        time.sleep(0.2)
    assert score(serving, "changed", {"data": [[1.0] * WIDTH]}, key).status_code == 503


def test_code_is_refused_where_policy_scan_or_company_forbid_it(serving: Up) -> None:
    endpoints = serving.owner.endpoints
    allow(serving, code=True)
    endpoints.create("refused")
    tar = packed({"score.py": SCORE})
    made = endpoints.add_code("refused", tar)
    with pytest.raises(GateError, match="suspicious"):
        endpoints.add_code("refused", packed({"score.py": "import os\nos.system('id')\n"}))
    with pytest.raises(GateError):
        endpoints.add_code("refused", packed({"score.py": SCORE, "model.pkl": "cos\nsystem\n."}))
    with pytest.raises(InputError, match="no Python file"):
        endpoints.add_code("refused", tar, entry="other.py")
    for more in (
        {"watch": QueryWatch(data="members")}, {"in_process": True}, {"decimals": 2},
        {"scale": Scale(engine="ray")},
    ):  # fmt: skip
        with pytest.raises(InputError, match="scoring code cannot"):
            endpoints.deploy("refused", "small", code=made.id, **more)  # type: ignore[arg-type]
    allow(serving, code=False)
    try:
        with pytest.raises(RefusedError, match="does not allow"):
            endpoints.add_code("refused", tar)
        with pytest.raises(RefusedError, match="does not allow"):
            endpoints.deploy("refused", "small", code=made.id)
    finally:
        allow(serving, code=True)


@pytest.mark.parametrize(
    ("init", "reason"),
    [
        ("raise KeyError('4111111111111111')", "KeyError"),
        ("import os\n    os._exit(3)", "ended before it stood"),
    ],
    ids=("raises", "exits"),
)
@pytest.mark.parametrize("deployment", ["blue", "green"])
def test_code_that_does_not_start_leaves_the_traffic_where_it_was(
    serving: Up, init: str, reason: str, deployment: str
) -> None:
    """The one before it loses no request, whether its name is the same or not."""
    allow(serving, code=True)
    endpoints = serving.owner.endpoints
    name = f"kept-{time.monotonic_ns()}"
    key = plain(serving, name)
    text = f"def init():\n    {init}\n\n\ndef run(raw):\n    return raw\n"
    made = endpoints.add_code(name, packed({"score.py": text}))
    with asking(serving, name, key) as told:
        endpoints.deploy(name, "small", deployment=deployment, code=made.id)
        with pytest.raises(GateError) as failed:
            endpoints.wait(name, deployment)
    assert failed.value.code == "deploy.failed"
    assert reason in failed.value.message
    assert "4111" not in failed.value.message
    assert set(told) == {""}
    shown = endpoints.show(name)
    assert shown.endpoint.traffic == {"blue": 100}
    states = sorted((one.name, one.state.value) for one in shown.deployments)
    assert states == sorted([("blue", "running"), (deployment, "failed")])


def test_a_deployment_that_is_replaced_loses_no_request(serving: Up) -> None:
    name = f"replaced-{time.monotonic_ns()}"
    key = plain(serving, name)
    before = serving.owner.endpoints.show(name).deployments[0].id
    with asking(serving, name, key) as told:
        for _ in range(2):
            serving.owner.endpoints.deploy(name, "small:1", decimals=2)
            shown = serving.owner.endpoints.wait(name)
            time.sleep(0.3)
    (now,) = shown.deployments
    assert (now.id != before, now.decimals, shown.endpoint.traffic) == (True, 2, {"blue": 100})
    assert set(told) == {""}


def plain(up: Up, endpoint: str) -> str:
    """Deploy the small model; returns a key once it answers."""
    up.owner.endpoints.create(endpoint)
    up.owner.endpoints.deploy(endpoint, "small:1")
    up.owner.endpoints.wait(endpoint)
    return str(up.owner.endpoints.keys(endpoint).secret)


@contextlib.contextmanager
def asking(up: Up, endpoint: str, key: str) -> Iterator[list[str]]:
    """Ask over and over meanwhile; yields the codes of what was refused, empty where it was not."""
    told: list[str] = []
    ended = threading.Event()

    def ask() -> None:
        while not ended.is_set():
            answer = up.score(endpoint, request([[1.0] * WIDTH]), key=key)
            code = "" if answer.status_code == 200 else answer.json()["code"]
            if code != "score.lease":  # a machine that is too busy to keep one
                told.append(code)

    threads = [threading.Thread(target=ask) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        yield told
    finally:
        ended.set()
        for thread in threads:
            thread.join()
