"""The console's door: cookies, forms and HTML around the same `perform` as the API's.

The API never reads the cookie and the console never a bearer token. A session is a credential of
kind `console`, made with the key that was typed in and ended with it. A change needs, in order:
1. an Origin header that is this very server;
2. the session's cookie;
3. the session's token in the form (a keyed digest of the cookie, compared in constant time);
4. exactly the fields of the form, each once.
"""

import asyncio
import hmac
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

import anyio
import anyio.to_thread
import structlog
from litestar import HttpMethod, Request, Response, route

from vallum.base import (
    InputError,
    LimitExceededError,
    RefusedError,
    Secret,
    UnavailableError,
    VallumError,
)
from vallum.console import (
    CONTENT_SECURITY_POLICY,
    FORMS,
    PAGES,
    STYLE_PATH,
    Form,
    Page,
    render,
    render_error,
    style,
)
from vallum.identity import WrongCredentialError
from vallum.schema import Caller, Record, Session, api, rules
from vallum.workspace.kernel import Kernel
from vallum.workspace.steps.claim import Claim, claimed

_LOG = structlog.get_logger("vallum.console")
COOKIE = "__Host-vallum"
SESSION_MINUTES = 60
IDLE_S = 20 * 60.0
MAX_FORM_BYTES = 8 * 1024
MAX_FIELDS = 16
_CSRF = b"vallum.csrf/1"
_SEE_OTHER = 303
_GONE = 410
_HEADERS = {
    "content-security-policy": CONTENT_SECURITY_POLICY,
    # Not `no-referrer`: under it browsers send `Origin: null` with a form.
    "referrer-policy": "same-origin",
}
Req = Request[Any, Any, Any]


@dataclass(frozen=True, slots=True)
class _SignedIn:
    caller: Caller
    secret: str

    @property
    def csrf(self) -> str:
        """Return what every form of this session carries."""
        return hmac.digest(self.secret.encode(), _CSRF, "sha256").hex()


@dataclass(slots=True)
class Console:
    """The handlers; holds when each session was last used."""

    kernel: Kernel
    limiter: anyio.CapacityLimiter
    monotonic: Callable[[], float] = time.monotonic
    _used_s: dict[str, float] = field(default_factory=dict)

    def handlers(self) -> list[Any]:
        """Return a handler for every page and form.

        Raises:
            RuntimeError: A page names a step that does not exist (G2).
        """
        made: list[Any] = [
            _route("/sign-in", HttpMethod.GET, self._sign_in_page),
            _route("/sign-in", HttpMethod.POST, self._sign_in),
            _route("/claim", HttpMethod.GET, self._claim_page),
            _route("/claim", HttpMethod.POST, self._claim),
            _route("/sign-out", HttpMethod.POST, self._sign_out),
            _route(STYLE_PATH, HttpMethod.GET, _style),
        ]
        for page in PAGES:
            if not page.steps:
                raise RuntimeError(f"page {page.path} names no step")
            for step in page.steps:
                self.kernel.require_known(step)
            made.append(_route(_path(page.path), HttpMethod.GET, self._page(page)))
        for form in FORMS:
            self.kernel.require_known(form.step)
            made.append(_route(_path(form.path), HttpMethod.POST, self._form(form)))
        return made

    # -- pages and forms ------------------------------------------------------------------------

    def _page(self, page: Page) -> Callable[[Req], Any]:
        async def serve(request: Req) -> Response[bytes]:
            signed_in = await self._session(request)
            if signed_in is None:
                return _redirect("/sign-in", forget=COOKIE in request.cookies)
            try:
                values = _query(request, page.fields) | dict(request.path_params)
                shown = await self._run(
                    lambda: page.view(self._performer(request, signed_in, page.steps), values)
                )
                title = page.title if page.menu else f"{values.get('name', page.title)}"
                return _html(
                    render(
                        page.template, title=title, path=_menu_path(page), csrf=signed_in.csrf,
                        signed_in_as=signed_in.caller.name, **shown,
                    )
                )  # fmt: skip
            except VallumError as error:
                return _failed(request, error, signed_in)

        return serve

    def _form(self, form: Form) -> Callable[[Req], Any]:
        async def serve(request: Req) -> Response[bytes]:
            try:
                _require_origin(request)
                signed_in = await self._session(request)
                if signed_in is None:
                    return _redirect("/sign-in", forget=COOKIE in request.cookies)
                values = await _fields(request, (*form.fields, "csrf"))
                _require_token(signed_in, values)
                values |= dict(request.path_params)
            except VallumError as error:
                return _failed(request, error, None)
            try:
                perform = self._performer(request, signed_in, (form.step,))
                answer = await self._run(lambda: perform(form.step, form.arguments(values)))
            except VallumError as error:
                return _failed(request, error, signed_in)
            if form.back is not None:
                return _redirect(form.back(values))
            return _html(
                render(
                    form.template, title=form.title, path="", csrf=signed_in.csrf,
                    signed_in_as=signed_in.caller.name, answer=answer,
                )
            )  # fmt: skip

        return serve

    def _performer(
        self, request: Req, signed_in: _SignedIn, steps: tuple[str, ...]
    ) -> Callable[[str, Record], Any]:
        """Return `perform` for one caller, narrowed to what the page names."""

        def perform(step: str, arguments: Record) -> Any:  # noqa: ANN401 - any reply
            if step not in steps:
                raise UnavailableError("the page performs a step that it does not name")
            return self.kernel.perform(
                signed_in.caller, step, arguments, request_id=str(request.state.request_id)
            ).value

        return perform

    async def _run(self, work: Callable[[], Any]) -> Any:  # noqa: ANN401 - what the work returns
        return await anyio.to_thread.run_sync(work, limiter=self.limiter)

    # -- sessions -------------------------------------------------------------------------------

    async def _session(self, request: Req) -> _SignedIn | None:
        """Return who the cookie says is there; None without a session in force."""
        secret = request.cookies.get(COOKIE, "")
        if not secret:
            return None
        try:
            caller = await self._authenticate(request, secret)
        except VallumError:
            return None
        if caller.session is not Session.CONSOLE:
            return None  # a key in the cookie is no session
        now_s = self.monotonic()
        last_s = self._used_s.get(caller.credential_id, now_s)
        if now_s - last_s > IDLE_S:
            self._used_s.pop(caller.credential_id, None)
            await self._revoke(request, caller)
            return None
        self._used_s[caller.credential_id] = now_s
        for idle in [one for one, at_s in self._used_s.items() if now_s - at_s > 2 * IDLE_S]:
            del self._used_s[idle]
        return _SignedIn(caller, secret)

    async def _authenticate(self, request: Req, secret: str) -> Caller:
        source = request.client.host if request.client is not None else "unix"
        try:
            caller: Caller = await self._run(
                lambda: self.kernel.authenticate(
                    Secret(secret.encode()),
                    source=source,
                    request_id=str(request.state.request_id),
                )
            )
        except WrongCredentialError as error:
            await asyncio.sleep(error.delay_s)
            raise
        return caller

    async def _revoke(self, request: Req, caller: Caller) -> None:
        await self._run(
            lambda: self.kernel.perform(
                caller, "key.revoke", api.Named(name=caller.credential_id),
                request_id=str(request.state.request_id),
            )
        )  # fmt: skip

    async def _open(self, request: Req, key: str) -> tuple[Caller, Response[bytes]]:
        """Open a session with a typed key: always a fresh one, whatever cookie came along."""
        caller = await self._authenticate(request, key)
        made = await self._run(
            lambda: self.kernel.perform(
                caller, "session.create", rules.SessionCreate(minutes=SESSION_MINUTES),
                request_id=str(request.state.request_id),
            ).value
        )  # fmt: skip
        answer = _redirect("/")
        answer.set_cookie(
            COOKIE, made.secret, max_age=SESSION_MINUTES * 60, path="/", secure=True,
            httponly=True, samesite="strict",
        )  # fmt: skip
        return caller, answer

    async def _sign_in_page(self, request: Req) -> Response[bytes]:
        if await self._session(request) is not None:
            return _redirect("/")
        return _sign_in_form(claim=False)

    async def _sign_in(self, request: Req) -> Response[bytes]:
        try:
            _require_origin(request)
            values = await _fields(request, ("key",))
            _, answer = await self._open(request, values["key"].strip())
        except VallumError as error:
            return _sign_in_form(claim=False, error=error)
        return answer

    async def _claim_page(self, request: Req) -> Response[bytes]:  # noqa: ARG002 - a handler
        if await self._run(lambda: claimed(self.kernel.house)):
            return _redirect("/sign-in")
        return _sign_in_form(claim=True)

    async def _claim(self, request: Req) -> Response[bytes]:
        try:
            _require_origin(request)
            values = await _fields(request, ("key",))
            caller = await self._authenticate(request, values["key"].strip())
            await self._run(
                lambda: self.kernel.perform(
                    caller, "workspace.claim", Claim(), request_id=str(request.state.request_id)
                )
            )
            _, answer = await self._open(request, values["key"].strip())
        except VallumError as error:
            return _sign_in_form(claim=True, error=error)
        return answer

    async def _sign_out(self, request: Req) -> Response[bytes]:
        try:
            _require_origin(request)
            signed_in = await self._session(request)
            if signed_in is not None:
                _require_token(signed_in, await _fields(request, ("csrf",)))
                await self._revoke(request, signed_in.caller)
        except VallumError as error:
            return _failed(request, error, None)
        return _redirect("/sign-in", forget=True)


def _route(path: str, method: HttpMethod, serve: Callable[[Req], Any]) -> Any:  # noqa: ANN401 - a handler
    async def handle(request: Request[Any, Any, Any]) -> Response[bytes]:
        answer: Response[bytes] = await serve(request)
        return answer

    name = f"console {method.value} {path}"
    return route(path, http_method=[method], name=name, status_code=200)(handle)


def _path(path: str) -> str:
    return path.replace("}", ":str}")


def _menu_path(page: Page) -> str:
    return page.path if page.menu else "/" + page.path.split("/")[1]


def _html(body: bytes, status: int = 200) -> Response[bytes]:
    return Response(body, status_code=status, media_type="text/html", headers=_HEADERS)


def _redirect(to: str, *, forget: bool = False) -> Response[bytes]:
    answer = Response(b"", status_code=_SEE_OTHER, headers={**_HEADERS, "location": to},
                      media_type="text/plain")  # fmt: skip
    if forget:
        answer.set_cookie(
            COOKIE, "", max_age=0, path="/", secure=True, httponly=True, samesite="strict"
        )
    return answer


def _failed(request: Req, error: VallumError, signed_in: _SignedIn | None) -> Response[bytes]:
    return _html(
        render_error(
            error, status=error.status, request_id=str(request.state.request_id), path="",
            signed_in_as="" if signed_in is None else signed_in.caller.name,
            csrf="" if signed_in is None else signed_in.csrf,
        ),
        error.status,
    )  # fmt: skip


def _sign_in_form(*, claim: bool, error: VallumError | None = None) -> Response[bytes]:
    title = "Claim this workspace" if claim else "Sign in"
    body = render(
        "sign_in.html", title=title, path="/claim" if claim else "/sign-in", claim=claim,
        failed="" if error is None else error.message, minutes=SESSION_MINUTES,
    )  # fmt: skip
    return _html(body, 200 if error is None else error.status)


async def _style(request: Req) -> Response[bytes]:  # noqa: ARG001 - a handler
    return Response(
        style(), media_type="text/css",
        headers={**_HEADERS, "cache-control": "public, max-age=31536000, immutable"},
    )  # fmt: skip


def _require_origin(request: Req) -> None:
    """Refuse a form that another site sent; the Host header was checked before (`border`)."""
    if request.headers.get("origin", "") != f"https://{request.headers.get('host', '')}":
        raise RefusedError(
            "this form was not sent from this server's own page",
            code="console.origin",
            hint="open the console and try again from there",
        )


def _require_token(signed_in: _SignedIn, values: Mapping[str, str]) -> None:
    given = values.get("csrf", "")
    if not hmac.compare_digest(given.encode(), signed_in.csrf.encode()):
        raise RefusedError(
            "this form is not of your session",
            code="console.csrf",
            hint="open the page again and send it from there",
        )


def _query(request: Req, allowed: tuple[str, ...]) -> dict[str, str]:
    return _once(list(request.query_params.multi_items()), allowed)


async def _fields(request: Req, allowed: tuple[str, ...]) -> dict[str, str]:
    """Read a form: every field once, and no other.

    Raises:
        InputError: It is no form, or another one.
        LimitExceededError: It is too large.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/x-www-form-urlencoded":
        raise InputError("that is no form", code="console.form")
    data = bytearray()
    async for chunk in request.stream():
        data += chunk
        if len(data) > MAX_FORM_BYTES:
            raise LimitExceededError(f"a form has at most {MAX_FORM_BYTES} bytes",
                                     code="console.form")  # fmt: skip
    try:
        pairs = parse_qsl(
            data.decode("ascii"), keep_blank_values=True, strict_parsing=bool(data),
            max_num_fields=MAX_FIELDS, errors="strict",
        )  # fmt: skip
    except ValueError as error:
        raise InputError("the form is malformed", code="console.form") from error
    values = _once(pairs, allowed)
    missing = [name for name in allowed if name not in values]
    if missing:
        raise InputError(f"the form lacks `{missing[0]}`", code="console.form")
    return values


def _once(pairs: list[tuple[str, str]], allowed: tuple[str, ...]) -> dict[str, str]:
    values: dict[str, str] = {}
    for name, value in pairs:
        if name not in allowed or name in values:
            raise InputError(f"field {name[:40]!a} is unknown or repeated", code="console.form")
        values[name] = value
    return values
