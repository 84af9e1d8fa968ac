"""Sessions of the console end by themselves; every page and form is a step that asks."""

import anyio
import httpx
import pytest
from conftest_workspace import Place
from litestar import Litestar

from vallum.console import FORMS, PAGES, STYLE_PATH
from vallum.server.border import Receive, Scope, Send
from vallum.server.pages import COOKIE, IDLE_S, Console
from vallum.workspace.kernel import Kernel
from vallum.workspace.steps.table import STEPS

HOST = "127.0.0.1:8443"


@pytest.mark.guarantee("G2")
def test_a_page_of_an_unknown_step_keeps_the_process_from_starting() -> None:
    kernel = Kernel.__new__(Kernel)
    kernel._steps = {step.name: step for step in STEPS if step.name != "audit.show"}
    with pytest.raises(RuntimeError, match=r"audit\.show"):
        Console(kernel, anyio.CapacityLimiter(1)).handlers()
    assert all(page.steps for page in PAGES)
    assert len({one.path for one in (*PAGES, *FORMS)}) == len(PAGES) + len(FORMS)


async def _visit(place: Place) -> list[int]:
    now = [0.0]
    console = Console(place.kernel, anyio.CapacityLimiter(2), monotonic=lambda: now[0])

    async def stamp(scope: Scope, receive: Receive, send: Send) -> None:
        scope["state"] = {**scope.get("state", {}), "request_id": "req"}
        await app(scope, receive, send)

    app = Litestar(route_handlers=console.handlers(), openapi_config=None)
    transport = httpx.ASGITransport(app=stamp)
    headers = {"origin": f"https://{HOST}"}
    key = place.places.owner_key.read_text().strip()
    async with httpx.AsyncClient(transport=transport, base_url=f"https://{HOST}") as client:
        await client.post("/sign-in", data={"key": key}, headers=headers)
        assert COOKIE in client.cookies
        types = [
            (await client.get(path)).headers.get_list("content-type") for path in ("/", STYLE_PATH)
        ]
        assert types == [["text/html; charset=utf-8"], ["text/css; charset=utf-8"]]
        seen = []
        for at_s in (0.0, IDLE_S - 1, 2 * IDLE_S - 2, 3 * IDLE_S, 3 * IDLE_S + 1):
            now[0] = at_s
            seen.append((await client.get("/")).status_code)
        return seen


def test_an_idle_session_ends_on_the_server(place: Place) -> None:
    # Used again within the time it goes on; after it, it is revoked, also for a copy of the cookie.
    assert anyio.run(_visit, place) == [200, 200, 200, 303, 303]
