"""What a gateway keeps on record: bundles of answers, refusals of unknown callers, alarms.

All of it goes to the control process, which holds the log. What is not taken is handed in later.
"""

import asyncio
import secrets
import time
from collections import Counter, deque
from collections.abc import Callable, Coroutine
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import structlog
from numpy.typing import NDArray

from vallum.base import InputError, NotFoundError, UnavailableError, VallumError
from vallum.gateway.beside import Beside
from vallum.gateway.bundle import MAX_ANSWERS, TTL_S, Bundle, empty_close, recovered, set_aside
from vallum.gateway.routes import Known, Route, Running
from vallum.gateway.together import Together
from vallum.guard.session import Arrays
from vallum.schema.serving import (
    Acknowledged,
    BundleOpen,
    BundleOpened,
    CallerSeen,
    RefusedCount,
    RefusedCounts,
)
from vallum.workspace.desk import AsyncDesk

_LOG = structlog.get_logger("vallum.gateway")

_BUSY = 100  # answers of a bundle after which another is opened before it is closed
MAX_UNKNOWN = 1024  # (code, source) pairs kept apart; further sources are counted together


class Books:
    """Holds what is not handed in yet. For one event loop."""

    def __init__(
        self, desk: AsyncDesk, *, spool: Path, begin: Callable[[Coroutine[Any, Any, None]], None]
    ) -> None:
        """Keep the books of one gateway.

        Args:
            desk: Where they are handed in.
            spool: Folder of open bundles.
            begin: Starts work beside a request.
        """
        self.gateway = f"gateway-{secrets.token_hex(8)}"
        self._desk = desk
        self._spool = spool
        self._begin = begin
        self._unknown: Counter[tuple[str, str]] = Counter()
        self._seen: deque[CallerSeen] = deque(maxlen=MAX_UNKNOWN)
        self._together: Together[str] = Together()  # by deployment

    async def recover(self) -> None:
        """Close what a killed gateway left."""
        self._spool.mkdir(mode=0o700, parents=True, exist_ok=True)
        for path, summary in recovered(self._spool):
            try:
                await self._desk.call("/bundle/close", summary, Acknowledged)
            except (
                InputError
            ) as error:  # charged in full meanwhile: the clock moved, or days passed
                _tell_aside(set_aside(path), error)
            else:
                path.unlink()

    # -- bundles --------------------------------------------------------------------------------

    async def bundle(self, route: Route, running: Running) -> Bundle:
        """Return a bundle of a deployment with room in it; opened if there is none."""
        while (bundle := running.room()) is None:
            # one for each would have the requests after a silence wait for one another's syncs
            await self._together.once(running.served.id, partial(self._open, route, running))
        return bundle

    async def _open(self, route: Route, running: Running) -> None:
        if running.room() is not None:
            return
        opened = await self._announce(route, running)
        if running.room() is not None:  # one that was opened ahead came first: ours closes empty
            await self._close_empty(opened)
            return
        full, running.bundle = running.bundle, await self._made(opened)
        if full is not None:
            self._begin(self._hand_in(full))

    async def _made(self, opened: BundleOpened) -> Bundle:
        try:
            return Bundle.create(self._spool, opened.id, time.monotonic())
        except OSError as error:  # such as a full disk
            _LOG.error("no bundle is opened", kind=type(error).__name__)
            await self._close_empty(opened)
            raise UnavailableError("there is no room for records", code="score.bundle") from error

    async def _announce(self, route: Route, running: Running) -> BundleOpened:
        """Have the log say that a bundle begins: durable before the first answer in it."""
        return await self._desk.call(
            "/bundle/open",
            BundleOpen(
                gateway=self.gateway,
                endpoint_id=route.endpoint.id,
                deployment_id=running.served.id,
                model_digest=running.served.model_digest,
                max_answers=MAX_ANSWERS,
                ttl_s=TTL_S,
            ),
            BundleOpened,
        )

    async def _renew(self, route: Route, running: Running, bundle: Bundle) -> None:
        """Put a new bundle in the place of a busy one: no request waits until the log has it.

        Where none can be had, the busy one is closed, and the next request asks for itself.
        """
        try:
            opened = await self._announce(route, running)
        except VallumError as error:
            _LOG.warning("no bundle is opened ahead", code=error.code)
            await self.close(running)
            return
        try:
            fresh = await asyncio.to_thread(Bundle.create, self._spool, opened.id, time.monotonic())
        except OSError as error:  # such as a full disk
            _LOG.warning("no bundle is opened ahead", kind=type(error).__name__)
            await self._close_empty(opened)
            await self.close(running)
            return
        if running.bundle is bundle:
            running.bundle = fresh
            await self._hand_in(bundle)
        else:  # it was full, or its deployment ended, meanwhile
            fresh.discard()
            await self._close_empty(opened)

    async def _close_empty(self, opened: BundleOpened) -> None:
        """Close what was announced for nothing; what is not taken is charged in full."""
        try:
            await self._desk.call("/bundle/close", empty_close(opened.id), Acknowledged)
        except VallumError as error:
            _LOG.error("an empty bundle was not closed", code=error.code)

    async def close(self, running: Running) -> None:
        """Close a deployment's bundle, if it has one."""
        bundle, running.bundle = running.bundle, None
        if bundle is not None:
            await self._hand_in(bundle)

    async def close_due(self, route: Route | None, running: Running) -> None:
        """Close a deployment's bundle if it is as old as a bundle gets.

        One that is busy is replaced, and before it is full.
        """
        bundle = running.bundle
        if bundle is None:
            return
        due = time.monotonic() - bundle.opened_s >= TTL_S
        if (
            route is not None
            and bundle.count >= _BUSY
            and (due or bundle.count >= MAX_ANSWERS // 2)
        ):
            await self._renew(route, running, bundle)
        elif due:
            await self.close(running)

    async def _hand_in(self, bundle: Bundle) -> None:
        while bundle.pending:  # noqa: ASYNC110 - requests under way settle first; each has its own deadline
            await asyncio.sleep(0.005)
        try:
            summary = await asyncio.to_thread(bundle.close)
            await self._desk.call("/bundle/close", summary, Acknowledged)
        except InputError as error:
            _tell_aside(set_aside(bundle.path), error)
        except VallumError as error:
            _LOG.error("a bundle was not closed; its spool stays", code=error.code)
            return
        await asyncio.to_thread(bundle.discard)  # unless set aside

    # -- refusals and alarms --------------------------------------------------------------------

    def count(self, code: str, client: str) -> None:
        """Count the refusal of somebody unknown, exactly and in bounded memory."""
        key = (code, client)
        if key not in self._unknown and len(self._unknown) >= MAX_UNKNOWN:
            key = (code, "other")
        self._unknown[key] += 1

    def watched(
        self,
        running: Running,
        beside: Beside,
        who: Known,
        x: NDArray[np.float32],
        outputs: Arrays,
    ) -> Arrays:
        """Have a request and its answer looked at; return what leaves.

        Raises:
            GateError: Nothing does: the model abstains, or the output policy does not fit.
            InputError: The rows have another width than the data they are compared with.
        """
        looked = beside.look(who.principal_id, x, outputs)
        running.tally.sightings += len(looked.sightings)
        for one in looked.sightings:
            self._seen.append(
                CallerSeen(
                    deployment_id=running.served.id,
                    principal_id=who.principal_id,
                    credential_id=who.credential_id,
                    watch=one.watch,
                    statistic=one.statistic,
                    value=one.value,
                    threshold=one.threshold,
                    queries=one.queries,
                    response=one.response,
                    signs=one.signs,
                )
            )
        if looked.error is not None:
            raise looked.error
        return looked.outputs

    async def hand_in(self) -> None:
        """Hand in what was counted and seen."""
        await self._hand_in_unknown()
        await self._hand_in_seen()

    async def _hand_in_unknown(self) -> None:
        """Hand in how many unknown callers were refused; what is not taken is counted on."""
        held, self._unknown = self._unknown, Counter()
        if not held:
            return
        rows = tuple(
            RefusedCount(code=code, source=source, count=count)
            for (code, source), count in held.items()
        )
        try:
            await self._desk.call("/refusals", RefusedCounts(rows=rows), Acknowledged)
        except VallumError as error:
            _LOG.warning("refusals are handed in later", code=error.code)
            self._unknown.update(held)

    async def _hand_in_seen(self) -> None:
        """Hand in whose queries look strange; what is not taken is handed in later."""
        while self._seen:
            one = self._seen[0]
            try:
                await self._desk.call("/caller", one, Acknowledged)
            except NotFoundError:  # the deployment is gone, and what it answers with it
                _LOG.warning(
                    "an alarm is of a deployment that is gone", deployment=one.deployment_id
                )
            except VallumError as error:
                _LOG.warning("an alarm is handed in later", code=error.code)
                return
            if self._seen and self._seen[0] is one:
                self._seen.popleft()


def _tell_aside(kept: Path, error: InputError) -> None:
    _LOG.error(
        "a bundle was charged in full; its spool is set aside", code=error.code, spool=kept.name
    )
