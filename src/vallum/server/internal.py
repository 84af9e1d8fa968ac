"""The inner door: a Unix socket (0600, in a 0700 folder) for our own gateway and worker.

Every call carries a token that only our own processes were given, through a pipe. Bodies are
MessagePack records; errors travel as their class, so that both sides raise alike.
"""

import asyncio
import hmac
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import msgspec
import structlog

from vallum.base import InputError, LimitExceededError, Secret, VallumError
from vallum.identity import WrongCredentialError
from vallum.schema import Caller, Claim, Claimed, Finish, PrincipalKind, Record, Session
from vallum.schema.capture import CaptureHanded
from vallum.schema.serving import (
    Acknowledged,
    AuthorizeAsk,
    BundleClose,
    BundleOpen,
    CallerSeen,
    ConnectionCounts,
    DeploymentFailed,
    DeploymentRuns,
    InternalProblem,
    LeaseAsk,
    LoanAsk,
    ModelAsk,
    RefusedCounts,
)
from vallum.workspace.bootstrap import SYSTEM_WORKER
from vallum.workspace.kernel import Kernel
from vallum.workspace.lending import give
from vallum.workspace.opening import model_of
from vallum.workspace.serving import Serving

_LOG = structlog.get_logger("vallum.internal")
MAX_BODY_BYTES = 2 * 1024 * 1024 * 1024
THREADS = 32
_WORKER = Caller(
    id=SYSTEM_WORKER, kind=PrincipalKind.SYSTEM, name="worker", session=Session.INTERNAL
)


@dataclass(frozen=True, slots=True)
class _Call:
    ask: type[Record]
    answer: Callable[[Any], Record]


def make_internal(
    kernel: Kernel, serving: Serving, token: Secret
) -> Callable[..., Awaitable[None]]:
    """Return the ASGI application of the inner socket."""
    calls = _calls(kernel, serving)
    expected = b"Bearer " + token.reveal()
    threads = ThreadPoolExecutor(THREADS, "inner")
    renewals = ThreadPoolExecutor(THREADS, "renewals")  # no lease waits for what else is asked

    async def app(
        scope: MutableMapping[str, Any],
        receive: Callable[[], Awaitable[Mapping[str, Any]]],
        send: Callable[[Mapping[str, Any]], Awaitable[None]],
    ) -> None:
        if scope["type"] != "http":
            return
        given = dict(scope["headers"]).get(b"authorization", b"")
        call = calls.get(scope["path"])
        if not hmac.compare_digest(given, expected) or call is None:
            await _answer(send, 404, b"")
            return
        body = bytearray()
        more = True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
            if len(body) > MAX_BODY_BYTES:
                await _answer(send, 413, b"")
                return

        def run() -> Record:
            try:
                question = msgspec.msgpack.decode(bytes(body), type=call.ask)
            except msgspec.DecodeError as error:
                raise InputError("the call has another form", code="internal.form") from error
            return call.answer(question)

        try:
            reply = await asyncio.get_running_loop().run_in_executor(
                renewals if call.ask is LeaseAsk else threads, run
            )
            await _answer(send, 200, msgspec.msgpack.encode(reply))
        except VallumError as error:
            await _answer(send, 409, msgspec.msgpack.encode(_problem(error)))
        except Exception as error:  # noqa: BLE001 - the border of a request
            _LOG.error("inner call failed", path=scope["path"], kind=type(error).__name__)
            problem = InternalProblem(
                kind="UnavailableError", message="the control process failed", code="internal"
            )
            await _answer(send, 409, msgspec.msgpack.encode(problem))

    return app


def _calls(kernel: Kernel, serving: Serving) -> dict[str, _Call]:
    def claim(question: Claim) -> Record:
        if not serving.job_waits():
            return Claimed()
        reply = kernel.perform(_WORKER, "job.claim", question)
        return reply.value if isinstance(reply.value, Claimed) else Claimed()

    def finish(question: Finish) -> Record:
        kernel.perform(_WORKER, "job.finish", question)
        return Acknowledged()

    def close(question: BundleClose) -> Record:
        serving.close_bundle(question)
        return Acknowledged()

    def refused(question: RefusedCounts) -> Record:
        serving.refused(question)
        return Acknowledged()

    def fail(question: DeploymentFailed) -> Record:
        serving.fail(question)
        return Acknowledged()

    def runs(question: DeploymentRuns) -> Record:
        serving.runs(question)
        return Acknowledged()

    def caller(question: CallerSeen) -> Record:
        serving.caller_seen(question)
        return Acknowledged()

    def connected(question: ConnectionCounts) -> Record:
        serving.connected(question)
        return Acknowledged()

    def captured(question: CaptureHanded) -> Record:
        serving.captured(question)
        return Acknowledged()

    def model(question: ModelAsk) -> Record:
        return model_of(serving, question.deployment_id)

    return {
        "/lease": _Call(LeaseAsk, serving.lease),
        "/authorize": _Call(AuthorizeAsk, serving.authorize),
        "/bundle/open": _Call(BundleOpen, serving.open_bundle),
        "/bundle/close": _Call(BundleClose, close),
        "/refusals": _Call(RefusedCounts, refused),
        "/model": _Call(ModelAsk, model),
        "/deployment/fail": _Call(DeploymentFailed, fail),
        "/deployment/runs": _Call(DeploymentRuns, runs),
        "/capture": _Call(CaptureHanded, captured),
        "/caller": _Call(CallerSeen, caller),
        "/connections": _Call(ConnectionCounts, connected),
        "/loan": _Call(LoanAsk, lambda question: give(kernel.house, question)),
        "/job/claim": _Call(Claim, claim),
        "/job/finish": _Call(Finish, finish),
    }


def _problem(error: VallumError) -> InternalProblem:
    return InternalProblem(
        kind=next(
            one.__name__ for one in type(error).__mro__ if one.__module__ == "vallum.base.errors"
        ),
        message=error.message,
        code=error.code,
        hint=error.hint,
        retry_after_s=error.retry_after_s if isinstance(error, LimitExceededError) else None,
        delay_s=error.delay_s if isinstance(error, WrongCredentialError) else 0.0,
    )


async def _answer(
    send: Callable[[Mapping[str, Any]], Awaitable[None]], status: int, body: bytes
) -> None:
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})
