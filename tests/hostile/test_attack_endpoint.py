"""`vallum attack` on a live endpoint: the real gateway, and a server that misbehaves."""

import http.server
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from running import Up, deploy, free_port, request, table
from sessions import execute

from vallum.base import (
    GateError,
    InputError,
    RefusedError,
    Secret,
    UnauthenticatedError,
    UnavailableError,
)
from vallum.cli.attack_endpoint import EndpointPredictor

ROWS = np.ones((5, 4), dtype=np.float32)


@pytest.fixture
def desk(serving: Up, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A folder with the data, and what writes a key file and runs the command."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VALLUM_CA", str(serving.ca))
    monkeypatch.delenv("VALLUM_TOKEN", raising=False)
    (tmp_path / "others.csv").write_bytes(table(7))

    def run(endpoint: str, key: str, more: str = "") -> Any:
        file = tmp_path / "endpoint.key"
        file.touch(mode=0o600)
        file.write_text(key)
        url = f"https://127.0.0.1:{serving.gateway_port}/v2/models/{endpoint}"
        code, out, err = execute(
            f"vallum --json attack run {url} --data others.csv --label y --suite quick"
            f" --key-file {file} --rate 400 {more}"
        )
        assert key not in out + err
        return code, json.loads(out), err

    return run


def test_a_live_endpoint_is_attacked_through_its_gateway(serving: Up, desk: Any) -> None:
    key = deploy(serving, "attacked", rate_per_s=1000, burst=2000)
    code, report, _ = desk("attacked", key)
    assert code == 0, report
    assert report["verdict"] == "passed"
    assert report["model"]["kind"] == "endpoint"
    assert report["accuracy"] == 1.0
    evasion, *rest = report["threats"]
    # A thief is measured within the endpoint's limits, too; backdoors need gradients, and privacy
    # the training data.
    assert sorted(one["verdict"] for one in rest) == ["measured", *["not tested"] * 3]
    assert {one["attack"]: one["outcome"] for one in evasion["attacks"]} == {
        "HopSkipJump": "done", "Square": "done",
    }  # fmt: skip
    assert serving.score("attacked", request([[1.0] * 4]), key=key).status_code == 200
    name = next(one.id for one in serving.owner.endpoints.list() if one.name == "attacked")
    closed: list[Any] = []
    end = time.monotonic() + 20
    while time.monotonic() < end and sum(one["answered"] - one["tests"] for one in closed) < 1:
        time.sleep(0.5)
        closed = [
            json.loads(serving.owner.audit.show(one.entry.id).details)
            for one in serving.owner.audit.list(kind="bundle-closed", limit=1000)
            if name in one.entry.resources
        ]
    # The log tells the attack from everybody else, request by request, and its roots hold.
    assert sum(one["tests"] for one in closed) > 500
    assert sum(one["answered"] - one["tests"] for one in closed) >= 1
    assert serving.owner.workspace.verify().findings == ()


def test_a_dry_run_asks_an_endpoint_nothing(desk: Any) -> None:
    code, plan, _ = desk("there-is-no-such", "vlm_none", "--dry-run")
    assert code == 0
    assert plan["plan"]["queries"] > 0


def test_an_endpoint_that_the_key_may_not_score_is_left_alone(serving: Up, desk: Any) -> None:
    deploy(serving, "closed")
    other = deploy(serving, "open-to-me")
    code, error, _ = desk("closed", other)
    assert code == 3
    assert error["code"] == "attack.refused"
    code, error, _ = desk("closed", "vlm_wrong")
    assert code == 3


def test_a_rate_limit_is_waited_for(serving: Up) -> None:
    key = deploy(serving, "slow", rate_per_s=20, burst=2)
    waited: list[float] = []

    def sleep(seconds: float) -> None:
        waited.append(seconds)
        time.sleep(seconds)

    with EndpointPredictor(
        f"https://127.0.0.1:{serving.gateway_port}/v2/models/slow/infer", Secret(key), test="t",
        rate_per_s=1000, ca_file=serving.ca, sleep=sleep,
    ) as endpoint:  # fmt: skip
        for _ in range(4):
            assert endpoint.predict(ROWS).shape == (5, 2)
    assert max(waited) > 0.5  # what the gateway asked for, not our own pace


class Script(http.server.BaseHTTPRequestHandler):
    """Answers what the test says, and remembers what it was asked."""

    answers: Any = None
    asked: Any = None

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        type(self).asked.append((dict(self.headers), body))
        status, headers, said = type(self).answers(body, len(type(self).asked))
        data = said if isinstance(said, bytes) else json.dumps(said).encode()
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def scripted() -> Iterator[Any]:
    """A server on loopback whose answers a test sets."""

    class Mine(Script):
        asked: Any = []

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Mine)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    made: list[EndpointPredictor] = []

    def start(answers: Any, **more: Any) -> Any:
        Mine.answers = staticmethod(answers)
        endpoint = EndpointPredictor(
            f"http://127.0.0.1:{server.server_port}/v2/models/m", Secret("vlm_k"),
            test="attack; suite=quick; seed=0", rate_per_s=1e6, **{"sleep": lambda s: None, **more},
        )  # fmt: skip
        made.append(endpoint)
        return endpoint, Mine.asked

    yield start
    for one in made:
        one.close()
    server.shutdown()
    server.server_close()
    thread.join()


def output(data: Any, shape: Any, name: str = "probabilities", datatype: str = "FP32") -> Any:
    return {"outputs": [{"name": name, "shape": shape, "datatype": datatype, "data": data}]}


def test_every_request_says_that_it_is_a_test(scripted: Any) -> None:
    endpoint, asked = scripted(lambda body, n: (200, {}, output([0.1, 0.9] * 5, [5, 2])))
    assert endpoint.predict(ROWS).shape == (5, 2)
    headers, body = asked[0]
    assert headers["Vallum-Test"] == "attack; suite=quick; seed=0"
    assert headers["Authorization"] == "Bearer vlm_k"
    assert body["inputs"][0]["shape"] == [5, 4]
    assert "vlm_k" not in repr(endpoint) + str(vars(endpoint))


def test_too_many_rows_are_sent_in_smaller_parts(scripted: Any) -> None:
    def answer(body: Any, _: int) -> Any:
        rows = body["inputs"][0]["shape"][0]
        return (413, {}, {}) if rows > 2 else (200, {}, output([0.1, 0.9] * rows, [rows, 2]))

    endpoint, _ = scripted(answer)
    assert endpoint.predict(ROWS).shape == (5, 2)


def test_labels_are_told_apart_from_scores(scripted: Any) -> None:
    endpoint, _ = scripted(lambda body, n: (200, {}, output([0, 1, 1, 0, 1], [5], "l", "INT64")))
    assert endpoint.predict(ROWS).tolist() == [0, 1, 1, 0, 1]


@pytest.mark.parametrize(
    ("status", "error"),
    [(401, UnauthenticatedError), (403, RefusedError), (404, RefusedError), (400, GateError),
     (500, GateError), (429, UnavailableError), (503, UnavailableError)],
)  # fmt: skip
def test_a_refusal_is_told_and_a_403_is_never_asked_again(
    scripted: Any, status: int, error: Any
) -> None:
    endpoint, asked = scripted(lambda body, n: (status, {}, {"detail": "no"}))
    with pytest.raises(error):
        endpoint.predict(ROWS)
    assert len(asked) == (5 if status in {429, 503} else 1)


@pytest.mark.parametrize(
    "said",
    [b"{", {"outputs": []}, output(["a"] * 5, [5], "l", "BYTES"), output([0.1] * 9, [5, 2]),
     output([0.5] * 8, [4, 2]), {"outputs": 7}],
    ids=["torn", "empty", "text", "short", "fewer rows", "strange"],
)  # fmt: skip
def test_an_answer_that_is_none_is_an_error(scripted: Any, said: Any) -> None:
    endpoint, _ = scripted(lambda body, n: (200, {}, said))
    with pytest.raises(GateError):
        endpoint.predict(ROWS)


def test_a_wait_beyond_the_budget_is_not_waited(scripted: Any) -> None:
    endpoint, asked = scripted(
        lambda body, n: (429, {"retry-after": "50"}, {}), monotonic=lambda: 0.0
    )
    endpoint.until(10.0)
    with pytest.raises(UnavailableError, match="longer than there is"):
        endpoint.predict(ROWS)
    assert len(asked) == 1


def test_an_endpoint_that_is_gone_is_asked_again_and_then_told() -> None:
    waited: list[float] = []
    endpoint = EndpointPredictor(
        f"http://127.0.0.1:{free_port()}/v2/models/m", Secret("vlm_k"), test="t", rate_per_s=1e6,
        sleep=waited.append,
    )  # fmt: skip
    with endpoint, pytest.raises(UnavailableError, match="cannot be reached") as refused:
        endpoint.predict(ROWS)
    assert len(waited) >= 4
    assert "vlm_k" not in str(refused.value)


@pytest.mark.parametrize(
    "url",
    ["http://example.org/v2/models/m", "https://h/other", "https://u:p@h/v2/models/m", "ftp://h/v2",
     "https://h/v2/models/m?key=1"],
)  # fmt: skip
def test_an_address_that_is_no_endpoint_is_refused(url: str) -> None:
    with pytest.raises(InputError) as refused:
        EndpointPredictor(url, Secret("k"), test="t", rate_per_s=1)
    assert refused.value.code == "attack.url"
