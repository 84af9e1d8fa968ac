"""What bad requests get from the real server over TLS: a problem, and nothing else."""

import json
import socket
import ssl
import time

import pytest
from running import Up, small_model

from vallum.base import (
    InputError,
    LimitExceededError,
    UnauthenticatedError,
    UnavailableError,
)
from vallum.sdk import connect

API = "/api/v1"


def problem(answer: object, status: int) -> dict[str, object]:
    assert answer.status_code == status, answer.text  # type: ignore[attr-defined]
    assert answer.headers["content-type"] == "application/problem+json"  # type: ignore[attr-defined]
    said: dict[str, object] = answer.json()  # type: ignore[attr-defined]
    assert said["status"] == status
    assert said["request_id"] == answer.headers["x-request-id"]  # type: ignore[attr-defined]
    return said


@pytest.mark.guarantee("G1")
def test_nothing_but_liveness_answers_without_a_credential(up: Up) -> None:
    assert up.raw("/livez", token=None).status_code == 200
    texts = set()
    for token in (None, "nonsense", "vlm_" + "0" * 26 + "_" + "0" * 59):
        for path in (f"{API}/data", f"{API}/openapi.json"):
            said = problem(up.raw(path, token=token), 401)
            texts.add((said["detail"], said["code"], said["hint"]))
    assert len(texts) == 1


def test_an_upload_is_bounded_by_its_own_limit_and_no_other(up: Up) -> None:
    rows = b"".join(b"%d,%d\n" % (at, at) for at in range(1_000_000))
    assert len(rows) > 12 * 1024 * 1024
    made = up.owner.data.create("long-table", b"a,b\n" + rows, format="csv")
    assert made.version.parts[0].length == len(rows) + 4


def test_unknown_paths_and_methods_are_problems_too(up: Up) -> None:
    assert up.raw("/nothing").status_code in {401, 404}
    problem(up.raw(f"{API}/nothing"), 404)
    problem(up.raw(f"{API}/workspace", method="DELETE"), 405)
    problem(up.raw(f"{API}/workspace", method="PATCH"), 400)


@pytest.mark.parametrize(
    "path",
    [
        f"{API}/data/%2e%2e/x", f"{API}/data/..%2fx", f"{API}/data/a%00b", f"{API}/data/a%5cb",
        f"{API}/data/%252e", f"{API}//data", f"{API}/data/" + "a" * 3000,
    ],
)  # fmt: skip
def test_strange_paths_are_refused_before_they_are_routed(up: Up, path: str) -> None:
    with socket.create_connection(("127.0.0.1", up.port)) as plain:
        context = ssl.create_default_context(cafile=str(up.ca))
        with context.wrap_socket(plain, server_hostname="127.0.0.1") as tls:
            tls.sendall(
                f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{up.port}\r\n"
                f"Authorization: Bearer {up.token}\r\nConnection: close\r\n\r\n".encode()
            )
            answer = b""
            while chunk := tls.recv(65536):
                answer += chunk
    assert answer.split(b" ")[1] in {b"400", b"413", b"414"}, answer[:300]


def test_another_host_or_origin_is_refused(up: Up) -> None:
    said = problem(up.raw(f"{API}/workspace", headers={"Host": "evil.example"}), 400)
    assert said["code"] == "request.host"
    answer = up.raw(
        f"{API}/groups",
        method="POST",
        json={"name": "x"},
        headers={"Origin": "https://evil.example"},
    )
    assert problem(answer, 400)["code"] == "request.origin"


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"{", "json"),
        (b"[]", "request.body"),
        (b'{"name": "a", "name": "b"}', "json"),
        (b'{"name": "a", "surprise": 1}', "request.body"),
        (b'{"name": 7}', "request.arguments"),
        (b'{"name": ' + b"[" * 100 + b"]" * 100 + b"}", "json"),
        (b"\xff\xfe", "json"),
    ],
)
def test_strange_bodies_are_refused(up: Up, body: bytes, code: str) -> None:
    answer = up.raw(
        f"{API}/groups", method="POST", content=body, headers={"Content-Type": "application/json"}
    )
    assert answer.status_code in {400, 413}
    assert code in answer.json()["code"] or answer.json()["code"].startswith("format.")


def test_oversize_bodies_headers_and_queries_are_refused(up: Up) -> None:
    big = up.raw(f"{API}/groups", method="POST", content=b" " * (5 * 1024 * 1024))
    assert big.status_code == 413
    many = {f"X-{number}": "v" for number in range(100)}
    assert up.raw(f"{API}/workspace", headers=many).status_code in {400, 413, 431}
    assert up.raw(f"{API}/data?surprise=1").json()["code"] == "request.query"
    assert up.raw(f"{API}/data?limit=1&limit=2").json()["code"] == "request.query"


def test_every_answer_carries_the_security_headers(up: Up) -> None:
    for path, token in (("/livez", None), (f"{API}/workspace", ""), (f"{API}/nothing", "")):
        headers = up.raw(path, token=token).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["content-security-policy"].startswith("default-src 'none'")
        assert headers["strict-transport-security"]
        assert headers["cache-control"] == "no-store"
        assert "server" not in headers


def test_a_request_id_leads_to_the_log(up: Up) -> None:
    answer = up.raw(f"{API}/groups", method="POST", json={"name": "traced"})
    entries = up.owner.audit.list(step="group.create", limit=1000)
    assert answer.headers["x-request-id"] in {one.entry.request_id for one in entries}


def test_wrong_credentials_are_in_the_log(up: Up) -> None:
    up.raw(f"{API}/data", token="vlm_" + "1" * 26 + "_" + "1" * 59)
    kinds = {one.entry.kind.value for one in up.owner.audit.list(limit=1000)}
    assert "authentication-refused" in kinds


def test_guessing_is_slowed_and_locked_out(up: Up) -> None:
    """A wrong secret for one key from one address: refused, then locked, whatever comes."""
    wrong = "vlm_" + "2" * 26 + "_" + "2" * 52
    seen = set()
    start = time.monotonic()
    for _ in range(9):
        seen.add(up.raw(f"{API}/data", token=_checked(wrong)).status_code)
    assert seen == {401, 429}
    assert time.monotonic() - start > 0.5
    assert up.raw(f"{API}/workspace").status_code == 200


def _checked(text: str) -> str:
    from vallum.identity.token import _check

    return text + _check(text.encode())


def test_the_client_refuses_plain_http_and_unknown_certificates(up: Up) -> None:
    from vallum.base import Secret

    with pytest.raises(InputError, match="not this machine"):
        connect("http://vallum.example", token=Secret("x"))
    with (
        connect(up.url, token=Secret(up.token)) as client,
        pytest.raises(UnavailableError, match="authority you trust"),
    ):
        client.workspace.show()
    with (
        connect(up.url, token=Secret("vlm_x"), ca_file=up.ca) as client,
        pytest.raises((UnauthenticatedError, LimitExceededError)),
    ):
        client.workspace.show()


def test_the_document_describes_what_is_served(up: Up) -> None:
    said = up.raw(f"{API}/openapi.json").json()
    assert said["openapi"].startswith("3.1")
    assert "/api/v1/data/{name}/versions" in said["paths"]
    assert json.dumps(said).count("operationId") > 40


def test_content_comes_in_the_type_that_the_document_says(up: Up) -> None:
    up.owner.models.register("listed", small_model(0.07))
    paths = up.raw(f"{API}/openapi.json").json()["paths"]
    for below in ("bom", "content"):
        answer = up.raw(f"{API}/models/listed/{below}")
        assert answer.status_code == 200
        said = paths[f"{API}/models/{{name}}/{below}"]["get"]["responses"]["200"]["content"]
        assert [answer.headers["content-type"]] == list(said)
    assert up.raw(f"{API}/models/listed/bom").json()["specVersion"] == "1.6"


BAD_TABLES = {
    "ragged": b"a,b\n1,2\n3\n",
    "empty": b"",
    "header only": b"a,b\n",
    "not text": b"\xff\xfe\x00\x01" * 10,
    "a NUL": b"a,b\n1,\x00\n",
}


@pytest.mark.parametrize("what", BAD_TABLES)
def test_bad_tables_are_refused_and_leave_nothing(up: Up, what: str) -> None:
    with pytest.raises(InputError):
        up.owner.data.create("bad", BAD_TABLES[what], format="csv")
    assert "bad" not in {one.name for one in up.owner.data.list()}
    assert up.owner.workspace.verify().findings == ()


@pytest.mark.guarantee("G4")
def test_a_model_that_can_run_code_is_quarantined_with_its_finding(up: Up) -> None:
    from vallum.base import GateError

    evil = b"cos\nsystem\n(S'id'\ntR."
    with pytest.raises(GateError, match="quarantined") as caught:
        up.owner.models.register("evil", evil)
    assert caught.value.code == "gate.scan"
    assert "evil" not in {one.name for one in up.owner.models.list()}
    entries = up.owner.audit.list(step="model.register", limit=1000)
    assert "gate.scan" in {one.entry.error for one in entries}
    assert any(one.entry.evidence for one in entries if one.entry.error == "gate.scan")
