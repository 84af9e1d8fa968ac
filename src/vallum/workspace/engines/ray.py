"""The engine on Ray: the table is cut here, partitions are scored in sandboxes on its nodes.

Ray's processes talk pickles and nothing else, so this process, which holds keys, never talks to
Ray. A door of ours does (`vallum.worker.ray_host`), in a sandbox that sees neither keys nor data
and ends with the batch; between it and us there are frames of MessagePack over a socket. Without
an address it starts a Ray of its own in there, on a network that leads nowhere.

What leaves for a node is the model, settings and partitions in the clear: whoever gives the
address trusts the nodes, and the way to them, with that.
"""

import contextlib
import hashlib
import os
import socket
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final, Self, TypeVar

import msgspec

from vallum.base import GateError, InputError, UnavailableError
from vallum.base.bounds import KIB, MIB
from vallum.crypto import StreamReader
from vallum.guard.batch import Mark
from vallum.guard.partitions import Cut, PartScored
from vallum.sandbox import (
    BubblewrapRunner,
    Process,
    Resident,
    decode_answer,
    spawn,
)
from vallum.schema.engines import RayAnswer, RayBegin, RayPart, RayReady
from vallum.workspace.engines.port import LIMITS, Batch, Spans, Take
from vallum.workspace.engines.ray_room import HINT, OWN_RAY, START_S, RayPlace, room
from vallum.workspace.engines.ray_room import LIMITS as DOOR_LIMITS
from vallum.workspace.gates.table import ALLOWED, CUT, SCORE_PART

M = TypeVar("M")

AHEAD: Final = 2  # partitions under way for each processor of the cluster
CPUS: Final = 2  # of a Ray of our own
RETRIES: Final = 3  # of a partition whose worker died
MAX_FRAME_BYTES: Final = LIMITS.output_bytes
_HEAD: Final = 4


class RayEngine:
    """Scores on the nodes of a Ray cluster, or of a local one that lives as long as a batch."""

    name = "ray"
    keyless = True

    def __init__(
        self,
        runner: Callable[[], BubblewrapRunner],
        *,
        place: RayPlace = OWN_RAY,
        cpus: int = CPUS,
    ) -> None:
        """Prepare; nothing is started before a batch comes.

        Args:
            runner: Is asked for a runner then.
            place: Which Ray; a Ray of our own if nothing.
            cpus: Of a Ray of our own.
        """
        self._runner = runner
        self._place = place
        self._cpus = cpus

    def score(self, batch: Batch, table: StreamReader, mark: Mark | None, take: Take) -> Mark:
        """Score a table; see `Engine`."""
        if batch.noisy:
            raise InputError("a key does not leave this machine", code="score.engine")
        if batch.summary:
            raise InputError("partitions are not summed up", code="score.engine")
        resident = Resident.open(
            self._runner(),
            CUT,
            msgspec.msgpack.encode({"mark": mark}),
            allowed=ALLOWED,
            arguments={
                "size": table.size,
                "kind": batch.kind,
                "features": batch.features,
                "keep": batch.keep,
                "mini_batch": batch.mini_batch,
            },
            limits=LIMITS,
        )
        with contextlib.closing(resident), self._host(batch) as host:
            return _score(resident, host, table, _Told(resident, batch, mark or Mark(), take))

    @contextlib.contextmanager
    def _host(self, batch: Batch) -> Iterator["_Host"]:
        with _Host.start(self._runner(), self._begin(batch), self._place) as host:
            yield host

    def _begin(self, batch: Batch) -> RayBegin:
        task = msgspec.msgpack.encode(
            {
                "function": SCORE_PART,
                "payload": msgspec.msgpack.encode({"model": batch.model}),
                "arguments": {
                    "features": batch.features,
                    "keep": batch.keep,
                    "mini_batch": batch.mini_batch,
                    "decimals": batch.decimals,
                    "output": batch.output,
                },
                "limits": LIMITS,
            }
        )
        return RayBegin(
            task=task,
            digest=hashlib.sha256(task).hexdigest(),
            address=self._place.address,
            cpus=self._cpus,
            retries=RETRIES,
        )


class _Host:
    """The door to Ray: partitions in, what their scoring answers out, in the same order."""

    def __init__(self, process: Process, channel: socket.socket) -> None:
        self._process = process
        self._channel = channel
        self.slots = 1

    @classmethod
    @contextlib.contextmanager
    def start(cls, runner: BubblewrapRunner, begin: RayBegin, place: RayPlace) -> Iterator[Self]:
        """Start it for one batch.

        Raises:
            UnavailableError: Ray is not installed, or does not come to stand.
        """
        with contextlib.ExitStack() as stack:
            ours, theirs = socket.socketpair()
            stack.enter_context(ours)
            stack.enter_context(theirs)
            seen = room(place, stack)
            quiet = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
            stack.callback(os.close, quiet)
            process = spawn(
                ("python", "-m", "vallum.worker.ray_host", str(theirs.fileno())),
                sandbox=runner,
                limits=DOOR_LIMITS,
                fds=(theirs.fileno(),),
                files=seen.files,
                env={**seen.env, "RAY_task_oom_retries": str(RETRIES)},
                nest=seen.nest,
                log=quiet,
            )
            stack.callback(process.stop, 0.1)
            theirs.close()
            host = cls(process, ours)
            host.send(begin)
            ready = host.receive(RayReady, START_S)
            if ready.error or ready.slots < 1:
                raise UnavailableError(
                    f"no Ray comes to stand: {ready.error[:200]}",
                    code="engine.start",
                    hint=HINT if "No module" in ready.error else "",
                )
            host.slots = ready.slots
            yield host

    def send(self, message: RayBegin | RayPart) -> None:
        """Send a message.

        Raises:
            UnavailableError: The door is gone.
        """
        body = msgspec.msgpack.encode(message)
        try:
            self._channel.settimeout(LIMITS.wall_s)
            self._channel.sendall(len(body).to_bytes(_HEAD, "big"))
            self._channel.sendall(body)
        except OSError as error:
            raise _gone() from error

    def receive(self, kind: type[M], wall_s: float) -> M:
        """Return the next message.

        Raises:
            UnavailableError: The door is gone, late, or says something else.
        """
        try:
            self._channel.settimeout(wall_s)
            length = int.from_bytes(self._exactly(_HEAD), "big")
            if length > MAX_FRAME_BYTES:
                raise _gone()
            return msgspec.msgpack.decode(self._exactly(length), type=kind)
        except (OSError, msgspec.DecodeError) as error:
            raise _gone() from error

    def _exactly(self, count: int) -> bytes:
        out = bytearray()
        while len(out) < count:
            chunk = self._channel.recv(min(1 * MIB, count - len(out)))
            if not chunk:
                raise ConnectionError("the door to Ray is gone")
            out += chunk
        return bytes(out)


def _gone() -> UnavailableError:
    return UnavailableError(
        "the door to Ray is gone", code="engine.gone",
        hint="what was scored is kept: go on with --resume",
    )  # fmt: skip


@dataclass(slots=True)
class _Told:
    """Puts partitions together to what the table by itself would tell."""

    table: Resident
    batch: Batch
    mark: Mark
    take: Take
    _waits: bool = False

    def add(self, cut: Cut, made: PartScored) -> None:
        """Tell of the next partition.

        Raises:
            GateError: Too many rows failed, or it is not the partition that was asked for.
        """
        old, new = self.mark, made.mark
        failed = old.failed + new.failed
        if new.rows != cut.first + (cut.rows or 0) or not 0 <= new.failed <= (cut.rows or 0):
            raise GateError(
                "a node answers of other rows than it was asked", code="sandbox.report-undecodable"
            )
        self.mark = msgspec.structs.replace(
            old, rows=new.rows, failed=failed, first=old.first or new.first
        )
        if failed > self.batch.max_failed:
            raise GateError(
                f"{failed} of {new.rows} rows failed, and {self.batch.max_failed} may:"
                f" the first is {self.mark.first}",
                code="score.failed",
            )
        text = made.text
        if new.scores:
            if new.scores != self.mark.scores:
                text = self._ask({"scores": new.scores}) + text
                self.mark = msgspec.structs.replace(self.mark, scores=new.scores)
                self._waits = False
        elif made.held:
            text = self._ask({"hold": made.held})
            self._waits = not self.mark.scores
        after = cut.mark
        if after is None or self._waits:
            self.take(text, None)
            return
        self.mark = msgspec.structs.replace(self.mark, resume=after.resume, kinds=after.kinds)
        self.take(text, self.mark)

    def end(self, last: Mark | None) -> Mark:
        """Tell of the end of the table."""
        if self._waits:
            text = self._ask({"end": True})
            if last is not None:
                self.mark = msgspec.structs.replace(self.mark, resume=last.resume, kinds=last.kinds)
            self.take(text, self.mark)
        return self.mark

    def _ask(self, question: dict[str, object]) -> bytes:
        size = len(msgspec.msgpack.encode(question))
        told = self.table.ask(Cut, question, max_bytes=size + KIB)
        self.mark = msgspec.structs.replace(self.mark, columns=told.columns)
        return told.text


def _score(resident: Resident, host: _Host, table: StreamReader, told: _Told) -> Mark:
    asked: deque[Cut] = deque()
    last: Mark | None = None
    with ThreadPoolExecutor(1, thread_name_prefix="batch") as pool:
        cuts = _cuts(resident, Spans(table, pool))
        more = True
        while more or asked:
            while more and len(asked) < AHEAD * host.slots:
                cut = next(cuts, None)
                if cut is None:
                    more = False
                    break
                host.send(RayPart(part=cut.part, first=cut.first))
                asked.append(msgspec.structs.replace(cut, part=b""))
            if asked:
                answer = host.receive(RayAnswer, LIMITS.wall_s)
                if answer.error:
                    raise UnavailableError(
                        f"no Ray worker scores: {answer.error[:200]}", code="engine.failed"
                    )
                one = asked.popleft()
                last = one.mark or last
                told.add(one, decode_answer(answer.answer, PartScored))
    return told.end(last)


def _cuts(resident: Resident, spans: Spans) -> Iterator[Cut]:
    made = resident.ask(Cut, {})
    while not made.done:
        if made.rows is not None:
            yield made
        data = b"" if made.need is None else spans.read(made.need, made.ahead)
        made = resident.ask(Cut, {"data": data}, max_bytes=len(data) + KIB)
