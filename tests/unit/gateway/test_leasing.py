"""The gateway's lease, against the control process's own inner door."""

import asyncio
import sys
import threading
import time
from pathlib import Path

import pytest
from conftest_workspace import Place
from gateways import Inner, serve

from vallum.gateway.app import Gateway
from vallum.gateway.wire import Request
from vallum.schema import api
from vallum.workspace.serving import LEASE_S


async def ready(gateway: Gateway) -> int:
    """Ask what needs a lease and nothing else."""
    request = Request("127.0.0.1")
    request.method, request.path = b"GET", "/v2/health/ready"
    request.headers[b"host"] = b"here"
    return (await gateway.answer(request)).status


def busy(seconds: float) -> None:
    """Hold up the event loop, and the interpreter with it.

    Here the control process shares the interpreter, and each of its steps waits for a turn: they
    are short, so that all of them do not take longer than they would in a process of their own.
    """
    usual = sys.getswitchinterval()
    sys.setswitchinterval(0.0005)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        sum(range(1000))
    sys.setswitchinterval(usual)


def test_an_event_loop_that_is_late_does_not_cost_the_lease(inner: Inner, tmp_path: Path) -> None:
    async def work(gateway: Gateway) -> None:
        for _ in range(2):
            assert await ready(gateway) == 200
            busy(2.2 * LEASE_S)  # longer than a lease lasts, without a turn for anything else

    serve(inner, tmp_path, work)


# httpcore leaves a socket that cannot connect to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_without_a_control_process_it_runs_out(inner: Inner, tmp_path: Path) -> None:
    async def work(gateway: Gateway) -> None:
        await asyncio.to_thread(inner.stop)
        await asyncio.sleep(LEASE_S)
        assert await ready(gateway) == 503

    serve(inner, tmp_path, work)


def test_what_changes_while_the_loop_is_late_is_not_served_under_the_old_lease(
    inner: Inner, place: Place, tmp_path: Path
) -> None:
    changed: list[bool] = []

    def change() -> None:
        place.do("identity.create", api.IdentityCreate(name="ann"))  # waits at the barrier
        changed.append(True)

    async def work(gateway: Gateway) -> None:
        before = gateway._callers.generation
        thread = threading.Thread(target=change)
        thread.start()
        end = time.monotonic() + 20
        while not changed and time.monotonic() < end:
            busy(0.01)  # no turn to acknowledge in: the change waits for the lease to end
        assert changed
        assert await ready(gateway) == 503  # and nothing is answered under the old one
        thread.join(20)
        end = time.monotonic() + 10
        while await ready(gateway) != 200 and time.monotonic() < end:
            await asyncio.to_thread(time.sleep, 0.01)
        assert await ready(gateway) == 200
        assert gateway._callers.generation > before

    serve(inner, tmp_path, work)
