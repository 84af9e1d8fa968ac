"""Who may score where, as the control process said, for as long as that holds."""

import asyncio
import hashlib
import secrets
import time

from vallum.base import UnauthenticatedError, parse_timestamp
from vallum.gateway.routes import Known, Route
from vallum.gateway.wire import Request
from vallum.schema.serving import AuthorizeAsk, Authorized
from vallum.workspace.desk import AsyncDesk

MAX_TOKENS = 65_536
KEPT_S = 60.0
CERTIFICATE_MARK = b"certificate\0"  # no token has a zero byte


class Callers:
    """Remembers which tokens were authorized. For one event loop."""

    def __init__(self, desk: AsyncDesk) -> None:
        self._desk = desk
        self._key = secrets.token_bytes(32)  # tokens are not kept, their keyed digests are
        self._known: dict[tuple[bytes, str, bool], Known] = {}
        self._asking: dict[tuple[bytes, str, bool], asyncio.Event] = {}
        self.generation = -1

    def follow(self, generation: int) -> None:
        """Forget everybody: rights may have changed."""
        self._known.clear()
        self.generation = generation

    def recall(self, token: bytes, name: str, request: Request, *, picks: bool) -> Known | None:
        """Return who may score at an endpoint, if that is known; `authorize` says what is what."""
        if not token and not request.certificate:
            return None
        request.accounted = True
        key = self._key_of(token, name, request, picks=picks)
        held = self._known.get(key)
        if held is None or held.until_s > time.time():
            return held
        del self._known[key]
        return None

    def _key_of(
        self, token: bytes, name: str, request: Request, *, picks: bool
    ) -> tuple[bytes, str, bool]:
        said = token or CERTIFICATE_MARK + request.certificate
        return hashlib.blake2b(said, key=self._key).digest(), name, picks

    async def authorize(
        self,
        token: bytes,
        route: Route | None,
        name: str,
        request: Request,
        *,
        picks: bool = False,
    ) -> Known:
        """Return who may score at an endpoint.

        Args:
            token: As it was sent; if empty, the client's certificate says who calls.
            route: The endpoint; None if none is served under the name.
            name: What the path calls it.
            request: Marked as accounted for: the control process logs a refusal.
            picks: They name the deployment, too: a right of its own.

        Raises:
            UnauthenticatedError: There is no token, or it is no good.
            NotFoundError: It may not score here, or there is no such endpoint.
            RefusedError: It may not name the deployment.
            LimitExceededError: Too many failures from this address.
            UnavailableError: The control process does not answer.
        """
        if not token and not request.certificate:
            raise UnauthenticatedError("a key is needed", hint="Authorization: Bearer …")
        held = self.recall(token, name, request, picks=picks)
        if held is not None:
            return held
        await asyncio.sleep(0)  # into a task: the client of the control process needs one
        key = self._key_of(token, name, request, picks=picks)
        if (other := self._asking.get(key)) is not None:
            await other.wait()
            held = self.recall(token, name, request, picks=picks)
            if held is not None:
                return held
        done = self._asking.setdefault(key, asyncio.Event())
        try:
            return await self._ask(key, token, route, request)
        finally:
            done.set()
            if self._asking.get(key) is done:
                del self._asking[key]

    async def _ask(
        self,
        key: tuple[bytes, str, bool],
        token: bytes,
        route: Route | None,
        request: Request,
    ) -> Known:
        _, name, picks = key
        got = await self._desk.call(
            "/authorize",
            AuthorizeAsk(
                token=token,
                endpoint_id=route.endpoint.id if route is not None else name[:128],
                source=request.client,
                picks=picks,
                certificate=b"" if token else request.certificate,
            ),
            Authorized,
        )
        expires = got.expires_at
        known = Known(
            credential_id=got.credential_id,
            generation=got.generation,
            # Rights that end by the clock move no generation: they are asked about again.
            until_s=min(
                time.time() + KEPT_S,
                parse_timestamp(expires).timestamp() if expires else float("inf"),
            ),
            pseudonym=hashlib.blake2b(
                got.credential_id.encode(), key=self._key, digest_size=22
            ).digest(),
            principal_id=got.principal_id,
            charged=got.charged or got.credential_id,
        )
        if got.generation == self.generation:
            if len(self._known) >= MAX_TOKENS:
                self._known.clear()
            self._known[key] = known
        return known
