"""A sample of requests and answers, on its way to the store: redacted first, never waited for.

A request that was answered is offered; it is taken if its turn comes and there is room, and
dropped and counted otherwise. A sandboxed process redacts what was taken, then the control process
encrypts and stores it in pieces. Until then it is in memory alone: a process that is killed loses
the piece that was not handed in, and leaves nothing that could be read.
"""

import asyncio
import contextlib
import secrets
import time
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import structlog

from vallum.base import UnavailableError, VallumError
from vallum.base.bounds import GIB, KIB, MIB
from vallum.gateway.metrics import Tally
from vallum.sandbox import BubblewrapRunner, Limits, Resident
from vallum.schema.capture import CaptureHanded, Redacted
from vallum.schema.serving import Acknowledged, ServedDeployment
from vallum.workspace.desk import AsyncDesk
from vallum.workspace.gates.table import ALLOWED, REDACT

_LOG = structlog.get_logger("vallum.gateway")

MAX_RECORD_BYTES = 256 * KIB  # request and answer; longer ones are dropped
MAX_WAITING_BYTES = 16 * MIB  # that are not redacted yet
BATCH_BYTES = 1 * MIB  # redacted at once
PIECE_BYTES = 1 * MIB
LOOK_S = 0.25
FIRST_PIECE_S = 1.0  # a deployment's first piece is handed in soon, later ones ever more rarely
LONGEST_PIECE_S = 300.0
IDLE_S = 300.0  # after which the redacting process ends
AGAIN_S = 30.0  # after it could not be started
_LIMITS = Limits(
    memory_bytes=2 * GIB, wall_s=30.0, processes=32, open_files=64, output_bytes=8 * MIB
)
_PART = 1 << 32


@dataclass(frozen=True, slots=True)
class _Taken:
    """One request and its answer, as they were."""

    served: ServedDeployment
    tally: Tally
    record: dict[str, object] = field(repr=False)
    size: int


@dataclass(slots=True)
class _Piece:
    """Redacted lines of one deployment that are not handed in yet."""

    served: ServedDeployment
    tally: Tally
    since_s: float
    lines: bytearray = field(default_factory=bytearray, repr=False)
    records: int = 0


class Captures:
    """Takes, has redacted, hands in. For one event loop."""

    def __init__(self, desk: AsyncDesk, runner: Callable[[], Awaitable[BubblewrapRunner]]) -> None:
        """Begin with nothing.

        Args:
            desk: Where pieces are handed in.
            runner: Returns the sandbox runner; asked once something is taken.
        """
        self._desk = desk
        self._runner = runner
        self._waiting: deque[_Taken] = deque()
        self._taken = asyncio.Event()
        self._waiting_bytes = 0
        self._pieces: dict[str, _Piece] = {}
        self._patience_s: dict[str, float] = {}
        self._resident: Resident | None = None
        self._used_s = 0.0
        self._not_before_s = 0.0

    def take(
        self,
        served: ServedDeployment,
        tally: Tally,
        body: bytes,
        answer: bytes,
        *,
        bundle: str,
        slot: int,
    ) -> None:
        """Take a request that was answered, if its turn comes and there is room.

        Args:
            served: The deployment that answered.
            tally: Counts what is dropped.
            body: Of the request.
            answer: Body of the answer.
            bundle: Id of the bundle that the decision is in.
            slot: Number of the decision in it: they lead to who asked.
        """
        policy = served.capture
        if policy is None or secrets.randbelow(_PART) >= float(policy.sampling_rate) * _PART:
            return
        size = (len(body) if policy.inputs else 0) + (len(answer) if policy.outputs else 0)
        if size > MAX_RECORD_BYTES or self._waiting_bytes + size > MAX_WAITING_BYTES:
            count(tally, "dropped", 1)
            return
        head = {"at": time.time(), "bundle": bundle, "record": slot}
        self._waiting.append(
            _Taken(
                served,
                tally,
                {
                    "head": {**head, "deployment": served.name, "model": served.model_digest},
                    "inputs": body if policy.inputs else b"",
                    "outputs": answer if policy.outputs else b"",
                },
                size,
            )
        )
        self._waiting_bytes += size
        self._taken.set()

    async def run(self) -> None:
        """Redact what waits and hand in what is due, until it is cancelled."""
        while True:
            if not self._pieces and self._resident is None:
                await self._taken.wait()
            self._taken.clear()
            await asyncio.sleep(LOOK_S)
            await self._work()

    async def _work(self) -> None:
        while self._waiting:
            await self._redact()
        now_s = time.monotonic()
        for key, piece in list(self._pieces.items()):
            wait_s = self._patience_s.get(key, FIRST_PIECE_S)
            if len(piece.lines) >= PIECE_BYTES or now_s - piece.since_s >= wait_s:
                self._patience_s[key] = min(LONGEST_PIECE_S, 2.0 * wait_s)
                await self._hand_in(key)
        if self._resident is not None and now_s - self._used_s > IDLE_S:
            await self._end()

    async def close(self) -> None:
        """Hand in what is left, and end the redacting process."""
        while self._waiting:
            await self._redact()
        for key in list(self._pieces):
            await self._hand_in(key)
        await self._end()

    async def _redact(self) -> None:
        """Have a batch of one deployment redacted; without the sandbox it is dropped."""
        if not self._waiting:
            return
        first = self._waiting[0].served.id
        batch: list[_Taken] = []
        size = 0
        while self._waiting and size < BATCH_BYTES and self._waiting[0].served.id == first:
            one = self._waiting.popleft()
            self._waiting_bytes -= one.size
            size += one.size
            batch.append(one)
        last = batch[-1]
        try:
            redacted = await asyncio.to_thread(
                self._ask, await self._opened(), first, [one.record for one in batch]
            )
        except VallumError as error:
            _LOG.warning("captured requests are dropped", deployment=first, code=error.code)
            count(last.tally, "dropped", len(batch))
            await self._end()
            return
        count(last.tally, "dropped", redacted.failed)
        piece = self._pieces.get(first)
        if piece is None:
            piece = self._pieces[first] = _Piece(last.served, last.tally, time.monotonic())
        piece.lines += redacted.lines
        piece.records += redacted.records

    async def _opened(self) -> Resident:
        self._used_s = time.monotonic()
        if self._resident is None:
            if self._used_s < self._not_before_s:
                raise UnavailableError("nothing redacts for now", code="capture.redaction")
            try:
                self._resident = await _open(await self._runner())
            except VallumError:
                self._not_before_s = self._used_s + AGAIN_S
                raise
        return self._resident

    @staticmethod
    def _ask(resident: Resident, scope: str, records: list[dict[str, object]]) -> Redacted:
        question = {"scope": scope, "records": records}
        return resident.ask(Redacted, question, max_bytes=4 * BATCH_BYTES)

    async def _hand_in(self, key: str) -> None:
        piece = self._pieces.pop(key)
        if not piece.records:
            return
        handed = CaptureHanded(deployment_id=key, lines=bytes(piece.lines), records=piece.records)
        try:
            await self._desk.call("/capture", handed, Acknowledged)
        except UnavailableError as error:
            if len(piece.lines) < PIECE_BYTES and key not in self._pieces:  # tried again
                self._pieces[key] = piece
                piece.since_s = time.monotonic()
                return
            self._lost(piece, error)
        except VallumError as error:  # not captured any more, or too much
            self._lost(piece, error)
        else:
            count(piece.tally, "kept", piece.records)

    def _lost(self, piece: _Piece, error: VallumError) -> None:
        _LOG.warning("a captured piece is dropped", deployment=piece.served.id, code=error.code)
        count(piece.tally, "dropped", piece.records)

    async def _end(self) -> None:
        resident, self._resident = self._resident, None
        if resident is not None:
            with contextlib.suppress(VallumError):
                await asyncio.to_thread(resident.close)


async def _open(runner: BubblewrapRunner) -> Resident:
    """Return a sandbox that redacts; who is cancelled meanwhile waits for it, and ends it."""
    opening = asyncio.create_task(
        asyncio.to_thread(
            Resident.open, runner, REDACT, b"", allowed=ALLOWED, arguments={}, limits=_LIMITS
        )
    )
    try:
        return await asyncio.shield(opening)
    except asyncio.CancelledError:
        with contextlib.suppress(VallumError):
            await asyncio.to_thread((await opening).close)
        raise


def count(tally: Tally, outcome: str, records: int) -> None:
    """Count records that were chosen to be kept, by how that ended."""
    if records:
        tally.captured[outcome] = tally.captured.get(outcome, 0) + records
