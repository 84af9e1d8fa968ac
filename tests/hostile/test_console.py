"""The console against what a hostile page, tenant or thief of a cookie would send."""

import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from running import Up, running

COOKIE = "__Host-vallum"


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    with running(tmp_path_factory.mktemp("console")) as made:
        yield made


class Browser:
    """What a browser sends; holds the cookie by hand, so that tests can change it."""

    def __init__(self, up: Up) -> None:
        self.up = up
        self.cookie = ""

    def get(self, path: str, **headers: str) -> httpx.Response:
        return self._send("GET", path, headers)

    def post(self, path: str, *, origin: str | None = "", **fields: str) -> httpx.Response:
        headers = {} if origin is None else {"origin": origin or self.up.url}
        return self._send("POST", path, headers, data=fields)

    def _send(self, method: str, path: str, headers: dict[str, str], **more: Any) -> httpx.Response:
        if self.cookie:
            headers["cookie"] = f"{COOKIE}={self.cookie}"
        with self.up.http() as client:
            answer = client.request(method, self.up.url + path, headers=headers, **more)
        if COOKIE in answer.cookies:
            self.cookie = answer.cookies[COOKIE]
        return answer

    def sign_in(self, key: str = "") -> httpx.Response:
        return self.post("/sign-in", key=key or self.up.token)

    def csrf(self) -> str:
        found = re.search(r'name="csrf" value="([0-9a-f]{64})"', self.get("/").text)
        assert found is not None
        return found.group(1)


@pytest.fixture
def browser(up: Up) -> Browser:
    return Browser(up)


@pytest.fixture
def inside(browser: Browser) -> Browser:
    assert browser.sign_in().status_code == 303
    return browser


def test_nothing_but_signing_in_is_shown_to_nobody(browser: Browser) -> None:
    for path in ("/", "/data", "/models/x", "/log", "/access", "/jobs", "/endpoints"):
        answer = browser.get(path)
        assert (answer.status_code, answer.headers["location"]) == (303, "/sign-in"), path
        assert answer.content == b""
    for path in ("/verify", "/models/x/approve"):
        assert browser.post(path, csrf="x").headers["location"] == "/sign-in"


def test_the_cookie_is_out_of_reach_of_pages_and_of_plain_http(browser: Browser) -> None:
    set_cookie = browser.sign_in().headers["set-cookie"]
    assert set_cookie.startswith(f"{COOKIE}=vlm_")
    flags = {one.strip().lower() for one in set_cookie.split(";")[1:]}
    assert {"secure", "httponly", "samesite=strict", "path=/", "max-age=3600"} <= flags
    assert not any(one.startswith("domain") for one in flags)


def test_pages_forbid_scripts_frames_and_caches(inside: Browser) -> None:
    for path in ("/", "/sign-in", "/log", "/models/x"):
        headers = inside.get(path).headers
        assert headers["content-security-policy"].startswith("default-src 'none'; style-src 'self'")
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert "script-src" not in headers["content-security-policy"]
        assert headers.get_list("content-security-policy") == [headers["content-security-policy"]]
        assert headers["x-frame-options"] == "DENY"
        assert headers["cache-control"] == "no-store"
        assert headers["referrer-policy"] == "same-origin"
        assert "<script" not in inside.get(path).text
        assert " style=" not in inside.get(path).text


@pytest.mark.parametrize("origin", [None, "https://evil.example", "null", "http://127.0.0.1"])
def test_a_form_from_elsewhere_is_refused(inside: Browser, origin: str | None) -> None:
    token = inside.csrf()
    for path, fields in (
        ("/verify", {"csrf": token}),
        ("/sign-out", {"csrf": token}),
        ("/sign-in", {"key": inside.up.token}),
        ("/claim", {"key": inside.up.token}),
    ):
        answer = inside.post(path, origin=origin, **fields)
        assert answer.status_code in {400, 403}, path
        assert COOKIE not in answer.cookies
    assert inside.get("/").status_code == 200  # nobody was signed out


def test_a_form_without_the_token_of_its_session_is_refused(inside: Browser, up: Up) -> None:
    other = Browser(up)
    other.sign_in()
    for token in ("", "0" * 64, other.csrf(), "é" * 10):
        answer = inside.post("/verify", csrf=token)
        assert answer.status_code == 403
        assert "this form is not of your session" in answer.text
    assert inside.post("/verify", csrf=inside.csrf()).status_code == 200


def test_a_form_is_read_strictly(inside: Browser) -> None:
    token = inside.csrf()
    headers = {"origin": inside.up.url, "content-type": "application/x-www-form-urlencoded"}
    for body in (
        f"csrf={token}&csrf={token}",
        f"csrf={token}&more=1",
        "",
        "%zz",
        f"csrf={token}&" + "&".join(f"a{at}=1" for at in range(50)),
        f"csrf={token}" + "x" * 10_000,
    ):
        answer = inside._send("POST", "/verify", dict(headers), content=body)
        assert answer.status_code in {400, 403, 413}, body[:20]
    wrong = {**headers, "content-type": "text/plain"}
    assert inside._send("POST", "/verify", wrong, content=f"csrf={token}").status_code == 400


def test_the_api_takes_no_cookie_and_the_console_no_bearer(inside: Browser, up: Up) -> None:
    assert inside.get("/api/v1/workspace").status_code == 401
    answer = up.raw("/", token=up.token)
    assert (answer.status_code, answer.headers["location"]) == (303, "/sign-in")
    key_as_cookie = Browser(up)
    key_as_cookie.cookie = up.token
    assert key_as_cookie.get("/").headers["location"] == "/sign-in"


def test_a_changed_cookie_is_no_session(inside: Browser) -> None:
    good = inside.cookie
    for bad in (
        good[:-1],
        good[:-1] + ("a" if good[-1] != "a" else "b"),
        good + "x",
        "vlm_",
        "%00",
    ):
        inside.cookie = bad
        assert inside.get("/").headers.get("location") == "/sign-in", bad
    inside.cookie = good
    assert inside.get("/").status_code == 200


def test_signing_in_never_takes_over_a_session_that_came_along(inside: Browser) -> None:
    planted = inside.cookie
    inside.sign_in()
    assert inside.cookie != planted


def test_signing_out_ends_the_session_on_the_server(inside: Browser) -> None:
    stolen = inside.cookie
    answer = inside.post("/sign-out", csrf=inside.csrf())
    assert answer.headers["location"] == "/sign-in"
    inside.cookie = stolen
    assert inside.get("/").headers["location"] == "/sign-in"


def test_revoking_the_key_ends_the_sessions_that_it_opened(browser: Browser, up: Up) -> None:
    up.owner.identities.create("ben")
    up.owner.roles.assign("Reader", "ben")
    shown = up.owner.keys.create("k", principal="ben")
    browser.sign_in(shown.secret)
    assert browser.get("/").status_code == 200
    up.owner.keys.revoke(shown.id)
    assert browser.get("/").headers["location"] == "/sign-in"


def test_a_narrowed_key_and_a_machine_open_no_session(browser: Browser, up: Up) -> None:
    narrowed = up.owner.keys.create("narrow", actions=("workspaces/read",))
    assert browser.sign_in(narrowed.secret).status_code == 403
    up.owner.identities.create("robot", kind="service-principal")
    robot = up.owner.keys.create("k", principal="robot")
    answer = browser.sign_in(robot.secret)
    assert answer.status_code == 403
    assert "only a person opens an interactive session" in answer.text
    assert browser.cookie == ""


def test_hostile_text_is_shown_as_text(inside: Browser, up: Up) -> None:
    text = "<script>alert(1)</script><img src=x onerror=alert(1)>\"'"
    rows = b"a,b\n1,2\n2,3\n"
    up.owner.data.create("odd", rows, format="csv", description=text, tags={text: text})
    for path in ("/data", "/data/odd"):
        page = inside.get(path).text
        assert "<script" not in page
        assert "<img" not in page
        assert "&lt;script&gt;" in page
    for path in (
        "/access?principal=%3Cscript%3E&action=%3Cscript%3E",
        "/log?step=%22%3E%3Cscript%3E",
        "/models/%3Cscript%3E",
    ):
        assert "<script" not in inside.get(path).text


def test_a_page_shows_what_the_caller_may_read_and_no_more(browser: Browser, up: Up) -> None:
    up.owner.data.create("secret-table", b"a,b\n1,2\n2,3\n", format="csv")
    up.owner.identities.create("newcomer")
    key = up.owner.keys.create("k", principal="newcomer").secret
    browser.sign_in(key)
    assert "secret-table" not in browser.get("/data").text
    assert browser.get("/data/secret-table").status_code == 404
    assert browser.get("/log").status_code == 404  # nor that there is a log


def test_an_unknown_query_field_is_refused(inside: Browser) -> None:
    for path in ("/log?x=1", "/log?kind=a&kind=b", "/log?after=zz", "/?a=1"):
        assert inside.get(path).status_code == 400, path


def test_a_workspace_is_claimed_once(browser: Browser, up: Up) -> None:
    up.owner.identities.create("thief")
    up.owner.roles.assign("Reader", "thief")
    key = up.owner.keys.create("k", principal="thief").secret
    assert "Claim this workspace" in browser.get("/claim").text
    assert browser.post("/claim", key=key).status_code == 403
    assert browser.post("/claim", key="vlm_nothing").status_code == 401
    assert browser.post("/claim", key=up.token).headers["location"] == "/"
    again = Browser(up)
    assert again.get("/claim").headers["location"] == "/sign-in"
    assert again.post("/claim", key=up.token).status_code == 409
