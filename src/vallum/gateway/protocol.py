"""HTTP/1.1 of the data plane, on uvicorn's server: parse, ask the gateway, write one answer.

An answer that needs no waiting is made and written while its request is being received: no task,
and one TLS record for head and body. One that waits goes on as a task. Requests of a connection
are answered one by one, in order; while one waits, no further one is read.

Bounds, before anybody is known: connections, bytes of a head, time for a head, time and bytes for
a body, time of silence. Who sends in crumbs is heard more and more seldom (docs/adr/0120), and sent
away sooner the fewer places are left (docs/adr/0121). Uvicorn's own protocol knows no such bounds.

Source: RFC 9112 (the grammar is llhttp's, strict), RFC 9110.
"""

import asyncio
import secrets
import socket
import time
import types
from collections import deque
from collections.abc import Coroutine, Generator
from functools import lru_cache
from http import HTTPStatus
from typing import Any, Protocol, cast
from urllib.parse import unquote

import httptools
import structlog
from uvicorn.config import Config
from uvicorn.server import ServerState

from vallum.base import InputError, LimitExceededError, VallumError
from vallum.base.networks import UNIX_PEER
from vallum.gateway.crowd import Crowd, Guest
from vallum.gateway.wire import JSON, KEPT, Answer, Request
from vallum.guard import MAX_BODY_BYTES

_LOG = structlog.get_logger("vallum.gateway")
MAX_HEAD_BYTES = 32 * 1024
HEAD_S = 60.0
PATIENCE_S = 600.0  # with strangers, while the crowd has room: sent away, they would come again
_SPREAD = 33  # per cent
BODY_S = 30.0
_CRUMB_BYTES = 512  # what is smaller, and completes nothing, is a crumb
_CRUMBS = 16  # so many may come within a second: some send each line by itself
_CRUMBS_S = 1.0
_MAX_WIRE_BYTES = 2 * MAX_BODY_BYTES  # of a body as sent: with chunk headers and trailers
_HIGH_WATER_BYTES = 64 * 1024  # of a body that nobody has asked for yet
_TICK_S = 0.1  # at least, between two looks at what is late
_OK = 200
_REASONS = {one.value: one.phrase.encode() for one in HTTPStatus}


class App(Protocol):
    """What answers.

    Attributes:
        crowd: The open connections.
    """

    crowd: Crowd

    async def answer(self, request: Request, /) -> Answer:
        """Answer a request; raises nothing."""
        ...

    def refuse(self, error: VallumError, client: str, /) -> Answer:
        """Answer what is no request."""
        ...


class Connection(asyncio.Protocol):
    """One client. Uvicorn's server calls `shutdown` when it stops.

    Attributes:
        newcomer: Whose place in the crowd it takes.
    """

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],  # noqa: ARG002 - uvicorn passes it by name
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        self._app = cast("App", config.loaded_app)
        self._keep_alive_s = float(config.timeout_keep_alive)
        self._state = server_state
        self._loop = _loop or asyncio.get_event_loop()
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport
        self._client = ""
        self._certificate = b""
        self._arriving = Request("")  # the last one that began; before the first, an empty one
        self._arriving.finish()
        self._url = b""
        self._wire_bytes = 0  # of the arriving request's head, then of its body
        self._queue: deque[Request] = deque()
        self._answering: Request | None = None
        self._read_paused = self._write_paused = self._ended = self._lost = False
        self._stranger = True
        self.newcomer: Guest | None = None
        # Not all who came together are to come back together.
        self._head_s = HEAD_S * (1 + (secrets.randbelow(2 * _SPREAD) - _SPREAD) / 100)
        self._since_s = self._deadline_s = self._looks_s = 0.0
        self._crumbs = 0  # of the arriving request
        self._apart = False  # from the event loop, until a piece is no crumb or time is up
        self._timer: asyncio.TimerHandle | None = None

    # -- transport ------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin: a head is due."""
        self._transport = cast("asyncio.Transport", transport)
        peer = transport.get_extra_info("peername")
        self._client = str(peer[0]) if isinstance(peer, tuple) else UNIX_PEER
        secured = transport.get_extra_info("ssl_object")
        self._certificate = (secured and secured.getpeercert(binary_form=True)) or b""
        self._state.connections.add(self)  # type: ignore[arg-type]  # uvicorn lists its own types
        self._since_s = time.monotonic()
        self._deadline_s = self._since_s + self._head_s
        self._look(self._head_s)
        if self.newcomer is not None:
            self._app.crowd.gone(self.newcomer)
        if not self._app.crowd.come(self):
            self.leave()

    def leave(self) -> None:
        """Make room: end at once, without an answer."""
        self._ended = True
        error = LimitExceededError("too many connections", code="score.connections")
        self._app.refuse(error, self._client)  # counted, as what is answered
        self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """End; what waits for a body learns that the client left."""
        self._lost = self._ended = True
        self._app.crowd.gone(self)
        self._state.connections.discard(self)
        self._queue.clear()
        if self._timer is not None:
            self._timer.cancel()
        self._arriving.fail(InputError("the client left", code="score.gone"))
        self._arriving.on_wait = None  # with the parser, what would keep us in a cycle
        self._parser = None  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        """Parse; then answer what has come."""
        if self._ended:
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:  # RFC 9110, section 7.8: may be ignored
            self._end_after_answers()
        except httptools.HttpParserError:
            self._refuse(InputError("this is not HTTP/1.1", code="score.http"))
        if not self._arriving.complete:
            self._bound(len(data))
            if len(data) < _CRUMB_BYTES and not self._arriving.wanted:
                self._crumb()
        elif self._apart:
            self._listen()
        if self._queue and self._answering is None:
            self._run()

    def pause_writing(self) -> None:
        """Answer nothing more to a client that does not read."""
        self._write_paused = True

    def resume_writing(self) -> None:
        """Go on."""
        self._write_paused = False
        self._run()
        self._flow()

    def shutdown(self) -> None:
        """End after the answer under way."""
        if self._answering is None:
            self._transport.close()
        else:
            self._answering.keep_alive = False

    # -- parser ---------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        """Begin a request."""
        self._arriving = Request(self._client)
        if self._certificate:
            self._arriving.certificate = self._certificate
        self._url = b""
        self._wire_bytes = self._crumbs = 0

    def on_url(self, url: bytes) -> None:
        """Gather the target, which may come in pieces."""
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header; a trailer, which comes after the head, has no say."""
        request = self._arriving
        if not request.headed:
            request.header_count += 1
            if (name := name.lower()) in KEPT:
                if name in request.headers:
                    request.keep_again(name, value)
                else:
                    request.headers[name] = value

    def on_headers_complete(self) -> None:
        """Queue the request: its answer may begin, and refuse, before its body has come."""
        request = self._arriving
        request.headed = True
        request.method = self._parser.get_method()
        request.keep_alive = self._parser.should_keep_alive()
        request.path = _path_of(self._url)
        self._queue.append(request)

    def on_body(self, body: bytes) -> None:
        """Add to the body."""
        self._arriving.add_body(body)

    def on_message_complete(self) -> None:
        """Complete the request; one that was answered before ends here."""
        self._arriving.finish()
        if self._arriving.discarded and not self._arriving.keep_alive:
            self._close()

    # -- answers --------------------------------------------------------------------------------

    def _run(self) -> None:
        """Answer the next request, as far as that needs no waiting."""
        if self._answering is not None or not self._queue or self._write_paused or self._lost:
            return
        request = self._answering = self._queue.popleft()
        work = self._app.answer(request)
        try:
            waits = work.send(None)
        except StopIteration as done:
            self._answered(request, done.value)
            return
        except Exception as error:  # noqa: BLE001 - `answer` raises nothing: fail closed
            _LOG.error("no answer", kind=type(error).__name__)
            self._close()
            return
        if not request.complete:
            request.on_wait = self._wanted
            if request.wanted:
                self._wanted()
        self._flow()
        task = self._loop.create_task(self._rest(request, work, waits))
        self._state.tasks.add(task)
        task.add_done_callback(self._state.tasks.discard)

    async def _rest(
        self, request: Request, work: Coroutine[Any, Any, Answer], waits: object
    ) -> None:
        try:
            answer = await _resumed(work, waits)
        except Exception as error:  # noqa: BLE001 - as above
            _LOG.error("no answer", kind=type(error).__name__)
            self._close()
            return
        except asyncio.CancelledError:
            self._close()
            raise
        self._answered(request, answer)

    def _answered(self, request: Request, answer: Answer) -> None:
        self._answering = None
        self._state.total_requests += 1
        if self._stranger and request.tally is not None:  # they may score
            self._stranger = False
            self._app.crowd.know(self)
        if self._lost:
            return
        self._write(answer, keep_alive=request.keep_alive, bare=request.method == b"HEAD")
        if not request.complete:
            # What still comes is thrown away: a close now could cost the client the answer.
            request.discard()
            self._within(BODY_S)
            if request.late:
                self._close()
        else:
            self._deadline_s = time.monotonic() + self._keep_alive_s
            if not request.keep_alive:
                self._close()
        if self._queue:
            self._loop.call_soon(self._run)  # other clients have their turn between two of ours
        elif self._read_paused:
            self._flow()

    def _write(self, answer: Answer, *, keep_alive: bool, bare: bool = False) -> None:
        usual = answer.status == _OK and answer.content_type is JSON and keep_alive
        default = self._state.default_headers
        head = _usual_head(default) if usual else _head(answer, default, keep_alive)
        # RFC 9110, section 9.3.2: an answer to HEAD has a length and no body.
        extra = b""
        if usual:
            for pair in answer.extra:
                extra += b"%b: %b\r\n" % pair
        body, length = b"" if bare else answer.body, len(answer.body)
        self._transport.write(b"%b%d\r\n%b\r\n%b" % (head, length, extra, body))

    def _refuse(self, error: VallumError) -> None:
        """Answer what cannot be parsed, once what came before it is answered; then close."""
        self._arriving.late = True
        self._arriving.fail(error)
        if self._answering is None and not self._queue and not self._ended:
            self._write(self._app.refuse(error, self._client), keep_alive=False)
            self._close()
        else:
            self._end_after_answers()

    def _end_after_answers(self) -> None:
        self._ended = True
        last = self._queue[-1] if self._queue else self._answering
        if last is None:
            self._close()
        else:
            last.keep_alive = False

    def _close(self) -> None:
        self._ended = True
        self._queue.clear()
        if not self._lost:
            self._transport.close()

    # -- bounds ---------------------------------------------------------------------------------

    def _wanted(self) -> None:
        """Take the body that the gateway now waits for."""
        if self._arriving.headers.get(b"expect", b"").lower() == b"100-continue" and not self._lost:
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        if self._apart:
            self._listen()
        self._flow()

    def _flow(self) -> None:
        """Read on, or not: never further ahead than one request, one part of an unwanted body."""
        arriving = self._arriving
        pause = (
            bool(self._queue)
            or self._write_paused
            or (not arriving.complete and not arriving.wanted and arriving.held > _HIGH_WATER_BYTES)
        )
        if pause is not self._read_paused and not self._lost:
            self._read_paused = pause
            (self._transport.pause_reading if pause else self._transport.resume_reading)()

    def _bound(self, size: int) -> None:
        """Bound time and bytes of what is still arriving."""
        request = self._arriving
        first = not self._wire_bytes
        self._wire_bytes += size
        if not request.headed:
            if first:
                self._within(self._head_s)
            if self._wire_bytes > MAX_HEAD_BYTES:
                self._refuse(
                    LimitExceededError(f"a head exceeds {MAX_HEAD_BYTES} bytes", code="score.head")
                )
            return
        if not request.timed:
            request.timed = True
            self._wire_bytes = size
            self._within(BODY_S)
        if self._wire_bytes > _MAX_WIRE_BYTES:
            self._refuse(
                LimitExceededError(f"the body exceeds {MAX_BODY_BYTES} bytes", code="score.body")
            )
        if self._answering is not None:
            self._flow()

    def _within(self, seconds: float) -> None:
        """Set a deadline that may be earlier than the one before."""
        self._since_s = time.monotonic()
        self._deadline_s = self._since_s + seconds
        if self._deadline_s < self._looks_s:
            self._look(seconds)

    def _crumb(self) -> None:
        """Let the kernel gather what comes in crumbs, for as long again as it took until now.

        It tells at once when there is more than a crumb (`SO_RCVLOWAT`), or the last of all. What
        came in time is heard in time.
        """
        self._crumbs += 1
        now_s = time.monotonic()
        took_s = now_s - self._since_s
        if self._crumbs > _CRUMBS or took_s > _CRUMBS_S:
            pause_s = min(max(took_s, _TICK_S), self._deadline_s - _CRUMBS_S - now_s)
            if pause_s >= _TICK_S:
                self._apart = True
                self._hear(_CRUMB_BYTES)
                if now_s + pause_s < self._looks_s:
                    self._look(pause_s)

    def _listen(self) -> None:
        """Hear every byte again."""
        self._apart = False
        self._hear(1)

    def _hear(self, least_bytes: int) -> None:
        if not self._transport.is_closing():  # then its descriptor may be another's
            heard = self._transport.get_extra_info("socket")
            heard.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, least_bytes)

    def _look(self, seconds: float) -> None:
        """Look at the deadline once, then: ten thousand idle connections are to cost nothing."""
        if self._timer is not None:
            self._timer.cancel()
        self._looks_s = time.monotonic() + seconds
        self._timer = self._loop.call_later(seconds, self._tick)

    def _tick(self) -> None:
        if self._apart:
            self._listen()  # who has more to say is heard in the loop's next turn
        left_s = self._deadline_s - time.monotonic()
        self._look(max(left_s, _TICK_S))
        if left_s > 0:
            return
        if self._write_paused or (self._ended and self._answering is None):
            self._transport.abort()
        elif self._answering is not None:
            if not self._answering.complete:
                self._answering.late = True
                self._answering.keep_alive = False
                self._answering.fail(InputError("the body came too slowly", code="score.slow"))
        elif self._arriving.headed:
            self._close()
        elif (
            self._stranger
            and self._app.crowd.roomy
            and self._deadline_s + self._head_s < self._since_s + PATIENCE_S
        ):
            self._deadline_s += self._head_s
            self._look(self._head_s)
        else:  # it never asked: a farewell in TLS would take as long as a request
            self._transport.abort()


@types.coroutine
def _resumed(work: Coroutine[Any, Any, Answer], waits: object) -> Generator[object, Any, Answer]:
    """Go on with what was begun outside a task and `waits` for something."""
    while True:
        try:
            try:
                sent = yield waits
            except BaseException as error:  # noqa: BLE001 - passed on, a cancellation too
                waits = work.throw(error)
            else:
                waits = work.send(sent)
        except StopIteration as done:
            answer: Answer = done.value
            return answer


@lru_cache(maxsize=1024)
def _path_of(url: bytes) -> str:
    """Return the path of a request's target; what has none gets a path that nothing serves."""
    try:
        path = httptools.parse_url(url).path
    except httptools.HttpParserInvalidURLError:
        return ""
    return unquote(path.decode("latin-1")) if path else ""


def _head(answer: Answer, default: list[tuple[bytes, bytes]], keep_alive: bool) -> bytes:  # noqa: FBT001 - private
    lines = [b"HTTP/1.1 %d %b" % (answer.status, _REASONS[answer.status])]
    lines += [b"%b: %b" % pair for pair in (*default, *answer.headers())]
    if not keep_alive:
        lines.append(b"connection: close")
    return b"\r\n".join((*lines, b"content-length: "))


_usual: tuple[list[tuple[bytes, bytes]] | None, bytes] = (None, b"")


def _usual_head(default: list[tuple[bytes, bytes]]) -> bytes:
    """Return the head of most answers; uvicorn makes the headers, the date in them, each second."""
    global _usual  # noqa: PLW0603 - a cache of one
    made, head = _usual
    if made is not default:
        head = _head(Answer(_OK, b""), default, keep_alive=True)
        _usual = (default, head)
    return head
