"""The real gateway under hostile requests; the model in its own sandboxed process."""

import base64
import contextlib
import hashlib
import json
import os
import signal
import time
from pathlib import Path

import httpx
import pytest
from running import WIDTH, Up, deploy, prepare, request, running

from vallum.guard import unpack_decisions
from vallum.schema import OutputPolicy

ROW = [[1.0] * WIDTH]


def code(answer: object) -> str:
    return str(answer.json()["code"])  # type: ignore[attr-defined]


@pytest.fixture(scope="module")
def key(serving: Up) -> str:
    return deploy(serving, "risk")


def test_an_honest_request_is_answered(serving: Up, key: str) -> None:
    answer = serving.score("risk", request([[1.0] * WIDTH, [-1.0] * WIDTH]), key=key)
    assert answer.status_code == 200
    (output,) = answer.json()["outputs"]
    assert output["shape"] == [2, 2]
    first = output["data"]
    assert first[1] > 0.9
    assert first[2] > 0.9


def test_wrong_missing_and_foreign_keys_are_refused(serving: Up, key: str) -> None:
    other = deploy(serving, "other")
    assert serving.score("risk", request(ROW)).status_code == 401
    assert serving.score("risk", request(ROW), key=key[:-1] + "z").status_code == 401
    refused = serving.score("risk", request(ROW), key=other)
    assert refused.status_code == 404
    assert serving.score("risk", request(ROW), key=key).status_code == 200
    # An endpoint's key opens nothing else.
    assert serving.raw("/api/v1/data", token=key).status_code == 403
    unknown = serving.score("no-such-endpoint", request(ROW), key=key)
    assert unknown.status_code == 404
    for said in ("detail", "code", "hint"):
        assert unknown.json()[said] == refused.json()[said]


def test_a_revoked_key_is_refused_on_the_very_next_request(serving: Up) -> None:
    for _ in range(3):
        old = deploy(serving, f"revoked-{time.monotonic_ns()}")
        names = {one.name for one in serving.owner.endpoints.list()}
        name = max(one for one in names if one.startswith("revoked-"))
        assert serving.score(name, request(ROW), key=old).status_code == 200
        new = serving.owner.endpoints.keys(name).secret
        assert serving.score(name, request(ROW), key=old).status_code == 401
        assert serving.score(name, request(ROW), key=new).status_code == 200
        serving.owner.endpoints.delete(name)
        assert serving.score(name, request(ROW), key=new).status_code in {401, 403, 404}


BAD = {
    "not json": (b"{", 400),
    "nan": (request([[float("nan")] * WIDTH]), 400),
    "infinity as text": (request(ROW, data=["inf", 1, 1, 1]), 400),
    "overflow": (request([[1e300] * WIDTH]), 400),
    "wrong width": (request([[1.0] * (WIDTH + 1)]), 400),
    "wrong length": (request(ROW, shape=[7, WIDTH]), 400),
    "huge shape": (request(ROW, shape=[2**62, 2**62]), 413),
    "negative shape": (request(ROW, shape=[-1, WIDTH]), 400),
    "zero rows": (request(ROW, shape=[0, WIDTH], data=[]), 400),
    "three dimensions": (request(ROW, shape=[1, 1, WIDTH]), 400),
    "unknown type": (request(ROW, datatype="BYTES"), 400),
    "ragged": (request(ROW, shape=[2, WIDTH], data=[[1.0] * WIDTH, [1.0]]), 400),
    "extra member": (request(ROW, surprise=1), 400),
    "deep": (b'{"inputs":' + b"[" * 5000 + b"]" * 5000 + b"}", 400),
    "no inputs": (b'{"inputs":[]}', 400),
    "escaped": (request(ROW).replace(b'"datatype"', rb'"d\u0061ta": [9], "datatype"'), 400),
    "bad utf-8": (request(ROW).replace(b'"x"', b'"\xff"'), 400),
    "duplicate data": (request(ROW).replace(b'"data"', b'"data": [[2, 2, 2, 2]], "data"'), 400),
}  # fmt: skip


@pytest.mark.parametrize("what", BAD)
def test_bad_tensors_never_reach_the_model(serving: Up, key: str, what: str) -> None:
    body, status = BAD[what]
    answer = serving.score("risk", body, key=key)
    assert answer.status_code == status, answer.text
    assert code(answer).startswith("score.")


def test_oversize_and_repeated_headers_are_refused(serving: Up, key: str) -> None:
    assert serving.score("risk", b" " * (17 * 1024 * 1024), key=key).status_code == 413
    assert serving.score("risk", request(ROW), key=key, Host="evil.example").status_code == 400
    with serving.http() as client:
        url = f"https://127.0.0.1:{serving.gateway_port}/v2/models/risk/infer"
        headers = [("authorization", f"Bearer {key}"), ("authorization", "Bearer other")]
        assert client.post(url, content=request(ROW), headers=headers).status_code == 400
        assert client.get(url, headers=headers[:1]).status_code == 400
        assert client.get(f"https://127.0.0.1:{serving.gateway_port}/metrics").status_code == 401


def test_a_noisy_caller_is_told_when_to_come_back(serving: Up) -> None:
    key = deploy(serving, "narrow", rate_per_s=2, burst=4)
    answers = [serving.score("narrow", request(ROW), key=key) for _ in range(8)]
    refused = [one for one in answers if one.status_code == 429]
    assert refused
    assert int(refused[0].headers["retry-after"]) >= 1
    assert code(refused[0]) == "score.rate"


def below(process: int) -> list[int]:
    """Return the ids of all processes that a process and its children started."""
    found: list[int] = []
    for thread in Path(f"/proc/{process}/task").glob("*"):
        with contextlib.suppress(OSError):  # it has ended meanwhile
            for child in map(int, (thread / "children").read_text().split()):
                found += [child, *below(child)]
    return found


def test_a_killed_model_process_comes_back(serving: Up, key: str) -> None:
    killed = 0
    for process in below(serving.process.pid):  # other tests have model processes, too
        try:
            command = Path(f"/proc/{process}/cmdline").read_bytes()
        except OSError:
            continue
        if b"vallum.gateway.inside" in command and b"bwrap" not in command:
            os.kill(process, signal.SIGKILL)
            killed += 1
    assert killed
    end = time.monotonic() + 30
    statuses = []
    while time.monotonic() < end:
        statuses.append(serving.score("risk", request(ROW), key=key).status_code)
        if statuses[-1] == 200:
            break
        time.sleep(0.1)
    assert statuses[-1] == 200
    assert set(statuses) <= {200, 503}


@pytest.mark.slow
def test_a_killed_gateway_comes_back_and_loses_no_record(tmp_path: Path) -> None:
    with running(tmp_path) as up:  # of its own: the others count what theirs answered
        prepare(up)
        key = deploy(up, "risk")
        before = up.gateway_pid()
        os.kill(before, signal.SIGKILL)
        end, status = time.monotonic() + 60, 0
        while status != 200:
            assert time.monotonic() < end
            time.sleep(0.1)
            with contextlib.suppress(httpx.TransportError):  # nobody listens for a moment
                status = up.score("risk", request(ROW), key=key).status_code
        assert up.gateway_pid() != before
        assert up.owner.workspace.verify().findings == ()


def test_in_process_deployments_answer_the_same(serving: Up, key: str) -> None:
    other = deploy(serving, "inside", in_process=True, decimals=2)
    isolated = serving.score("risk", request(ROW), key=key).json()["outputs"][0]["data"]
    inside = serving.score("inside", request(ROW), key=other).json()["outputs"][0]["data"]
    assert inside == [round(one, 2) for one in isolated]


def test_hardened_answers_are_the_same_wherever_the_model_is_served(serving: Up) -> None:
    policy = OutputPolicy(noise="0.02", clip=("0.1", "0.9"), temperature="3")
    row, answers = [0.1] * WIDTH, []
    for name, more in (("inside", {"in_process": True}), ("apart", {})):
        key = deploy(serving, f"hard-{name}", output=policy, **more)
        for _ in range(2):
            answer = serving.score(f"hard-{name}", request([row]), key=key).json()
            answers.append(answer["outputs"][0]["data"])
    assert all(one == answers[0] for one in answers)
    assert sum(answers[0]) == pytest.approx(1, abs=1e-5)
    lines = ["a,b,c,d", ",".join(str(one) for one in row)]
    serving.owner.data.create("row", ("\n".join(lines) + "\n").encode(), format="csv")
    serving.owner.endpoints.batch("hard-apart", "row", "row-scores")
    table = serving.owner.data.download("row-scores").decode().splitlines()
    assert [float(one) for one in table[1].split(",")[:2]] == pytest.approx(answers[0], abs=1e-6)
    plain = deploy(serving, "soft")
    told = serving.score("soft", request([row]), key=plain).json()["outputs"][0]["data"]
    soft = (told[1] / told[0]) ** (1 / 3)
    without = soft / (1 + soft)  # of the temperature alone
    assert 1e-5 < abs(answers[0][1] - without) < 0.2


def test_metrics_have_bounded_labels(serving: Up, key: str) -> None:
    serving.score("x" * 100, request(ROW), key=key)
    with serving.http() as client:
        answer = client.get(
            f"https://127.0.0.1:{serving.gateway_port}/metrics",
            headers={"authorization": f"Bearer {key}"},
        )
    assert answer.status_code == 200
    assert 'vallum_requests_total{deployment="blue",endpoint="risk",status="200"}' in answer.text
    assert "vallum_refusals_total{code=" in answer.text
    assert "xxxx" not in answer.text


def test_metrics_of_an_endpoint_are_for_those_who_may_score_there(serving: Up, key: str) -> None:
    other = deploy(serving, "elsewhere")
    for token, seen, hidden in ((key, "risk", "elsewhere"), (other, "elsewhere", "risk")):
        with serving.http() as client:
            text = client.get(
                f"https://127.0.0.1:{serving.gateway_port}/metrics",
                headers={"authorization": f"Bearer {token}"},
            ).text
        assert f'endpoint="{seen}"' in text
        assert f'endpoint="{hidden}"' not in text


@pytest.mark.guarantee("G6")
def test_a_flipped_byte_in_a_stored_model_stops_its_next_deployment(serving: Up) -> None:
    """Last in this module's order does not matter: it deploys a model of its own."""
    from running import small_model

    serving.owner.models.register("flipped", small_model(0.25))
    version = serving.owner.models.show("flipped").version
    objects = serving.folder / "data/objects"
    before = {path: path.stat().st_mtime_ns for path in objects.rglob("*") if path.is_file()}
    newest = max(before, key=lambda path: before[path])
    data = bytearray(newest.read_bytes())
    data[len(data) // 2] ^= 1
    newest.chmod(0o600)
    newest.write_bytes(bytes(data))
    from vallum.base import IntegrityError, VallumError

    with pytest.raises(VallumError) as caught:
        serving.owner.models.verify("flipped")
    assert isinstance(caught.value, IntegrityError)
    found = serving.owner.workspace.verify().findings
    assert version.id in " ".join(one.message for one in found)
    data[len(data) // 2] ^= 1
    newest.write_bytes(bytes(data))
    assert serving.owner.workspace.verify().findings == ()


def test_predictions_are_in_the_log_as_closed_bundles(serving: Up, key: str) -> None:
    serving.score("risk", request(ROW), key=key)
    end = time.monotonic() + 20
    answered: list[dict[str, object]] = []
    while not answered and time.monotonic() < end:
        time.sleep(0.3)
        closed = serving.owner.audit.list(kind="bundle-closed", limit=1000)
        details = [json.loads(serving.owner.audit.show(one.entry.id).details) for one in closed]
        answered = [one for one in details if int(str(one["answered"])) >= 1]  # others refused only
    assert len(str(answered[0]["root"])) == 64


def test_refused_requests_are_in_a_bundle_whose_root_can_be_recomputed(serving: Up) -> None:
    key = deploy(serving, "counted")
    good = [serving.score("counted", request(ROW), key=key).status_code for _ in range(3)]
    bad = [serving.score("counted", b"{", key=key).status_code for _ in range(2)]
    assert (good, bad) == ([200] * 3, [400] * 2)
    name = next(one.id for one in serving.owner.endpoints.list() if one.name == "counted")
    end = time.monotonic() + 20
    found: list[dict[str, object]] = []
    while sum(int(str(one["refused"])) for one in found) < 2 and time.monotonic() < end:
        time.sleep(0.3)
        closed = serving.owner.audit.list(kind="bundle-closed", limit=1000)
        found = [
            json.loads(serving.owner.audit.show(one.entry.id).details)
            for one in closed
            if name in one.entry.resources
        ]
    records = b""
    for one in found:
        total = int(str(one["answered"])) + int(str(one["refused"]))
        mine = unpack_decisions(base64.b64decode(str(one["records"])), total)
        assert hashlib.sha256(mine).hexdigest() == one["root"]
        records += mine
    statuses = [
        int.from_bytes(records[at + 8 : at + 10], "little") for at in range(0, len(records), 32)
    ]
    assert statuses.count(400) == 2
    assert statuses.count(200) >= 3
    assert serving.owner.workspace.verify().findings == ()


@pytest.mark.slow
def test_refusals_of_unknown_callers_are_counted_in_the_log(serving: Up) -> None:
    def counted() -> int:
        rows = [
            row
            for one in serving.owner.audit.list(kind="refusals", limit=1000)
            for row in json.loads(serving.owner.audit.show(one.entry.id).details)["refusals"]
        ]
        return sum(row["count"] for row in rows if row["code"] == "identity.unauthenticated")

    before = counted()
    for _ in range(7):
        assert serving.score("risk", request(ROW)).status_code == 401
    end = time.monotonic() + 20
    while counted() < before + 7 and time.monotonic() < end:
        time.sleep(0.5)
    assert counted() >= before + 7  # earlier tests' may come with them; exactly in test_log


def test_an_idle_workspace_adds_nothing_to_its_log(serving: Up) -> None:
    time.sleep(6.0)  # bundles of earlier tests close by themselves
    before = serving.owner.workspace.show().entries
    time.sleep(2.0)
    steps = {one.entry.step for one in serving.owner.audit.list(after=before - 1)}
    # This question and what is done once a minute; nothing that leases and queues ask all the time.
    once_a_minute = {"audit.consistency", "authenticate", "endpoint.load"}
    of_others = {"score", "endpoint.stop"}  # bundles and deployments of earlier tests
    assert steps - once_a_minute - of_others <= {"workspace.show", "audit.list"}


def test_a_dry_run_neither_makes_nor_overwrites_a_key(serving: Up, tmp_path: Path) -> None:
    import subprocess
    import sys

    kept = tmp_path / "kept.key"
    kept.touch(mode=0o600)
    kept.write_text("old")
    done = subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "-m", "vallum.cli", "--url", serving.url, "--ca", str(serving.ca),
         "--token-file", str(serving.folder / "data.keys/owner.key"),
         "key", "create", "never", "-o", str(kept), "--dry-run"],
        check=False, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout == "would make never\n"
    assert kept.read_text() == "old"
    assert "never" not in {one.name for one in serving.owner.keys.list()}


def test_clients_of_mlflow_and_azure_are_served_on_the_same_guarded_path(
    serving: Up, key: str
) -> None:
    base = f"https://127.0.0.1:{serving.gateway_port}/endpoints/risk"
    rows = [[1.0] * WIDTH, [-1.0] * WIDTH]
    named = {"dataframe_split": {"columns": list("abcd"), "data": rows}}
    with serving.http() as client:
        headers = {"authorization": f"Bearer {key}"}
        told = client.post(f"{base}/invocations", json=named, headers=headers)
        assert told.status_code == 200
        first, second = told.json()["predictions"]
        assert first[1] > 0.9
        assert second[0] > 0.9
        azure = client.post(f"{base}/score", json={"input_data": rows}, headers=headers)
        assert azure.json() == told.json()["predictions"]
        large = [[1.0] * WIDTH] * 5000  # decoded beside the loop
        many = client.post(f"{base}/invocations", json={"inputs": large}, headers=headers)
        assert len(many.json()["predictions"]) == 5000
        assert client.get(f"{base}/ping", headers=headers).status_code == 200
        # The same guard: who, what, how much.
        assert client.post(f"{base}/invocations", json=named).status_code == 401
        assert client.get(f"{base}/ping").status_code == 401
        assert client.get(f"{base}/invocations", headers=headers).status_code == 400
        for body in (b"{", b'{"inputs": [[1]]}', b'{"inputs": [[1, 2, 3, null]]}'):
            answer = client.post(f"{base}/invocations", content=body, headers=headers)
            assert answer.status_code == 400
            assert code(answer).startswith("score.")
        for path in ("/endpoints/risk/else", "/endpoints//score", "/endpoints/a/b/score"):
            url = f"https://127.0.0.1:{serving.gateway_port}{path}"
            assert client.post(url, json=named, headers=headers).status_code in {400, 404}


def test_traffic_moves_and_comes_back_without_a_lost_request(serving: Up) -> None:
    name = f"moving-{time.monotonic_ns()}"
    key = deploy(serving, name)
    serving.owner.endpoints.deploy(name, "small:1", deployment="green", traffic=0)
    serving.owner.endpoints.wait(name, "green")
    deadline = time.monotonic() + 60
    statuses: list[int] = []
    told: set[str] = set()
    for shares in ({"green": 100}, {"blue": 100}, {"blue": 50, "green": 50}):
        serving.owner.endpoints.traffic(name, shares)
        wanted = set(shares)
        told.clear()
        while told != wanted and time.monotonic() < deadline:
            answer = serving.score(name, request(ROW), key=key)
            statuses.append(answer.status_code)
            if len(statuses) % 4 == 0:
                told.clear()
            told.add(answer.json()["model_version"])
            time.sleep(0.01)
        assert told == wanted
    assert set(statuses) == {200}
