"""The engine on this machine: one sandbox reads the table where it lies and scores it."""

import contextlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import msgspec

from vallum.base import GateError
from vallum.crypto import StreamReader
from vallum.guard.batch import Mark, Scored
from vallum.sandbox import BubblewrapRunner, Resident
from vallum.workspace.engines.port import LIMITS, Batch, Spans, Take
from vallum.workspace.gates.table import ALLOWED, SCORE


class LocalEngine:
    """Scores in one sandbox, which takes every processor."""

    name = "local"
    keyless = False

    def __init__(self, runner: Callable[[], BubblewrapRunner]) -> None:
        """Prepare; `runner` is asked for a runner when a batch comes."""
        self._runner = runner

    def score(self, batch: Batch, table: StreamReader, mark: Mark | None, take: Take) -> Mark:
        """Score a table; see `Engine`."""
        resident = Resident.open(
            self._runner(),
            SCORE,
            msgspec.msgpack.encode(
                {"model": batch.model, "noise_key": batch.noise_key, "mark": mark}
            ),
            allowed=ALLOWED,
            arguments={
                "size": table.size,
                "kind": batch.kind,
                "features": batch.features,
                "keep": batch.keep,
                "mini_batch": batch.mini_batch,
                "max_failed": batch.max_failed,
                "decimals": batch.decimals,
                "output": batch.output,
                "summary": batch.summary,
            },
            limits=LIMITS,
        )
        with contextlib.closing(resident):
            return run(resident, table, take)


def run(resident: Resident, table: StreamReader, take: Take) -> Mark:
    """Have a sandbox score a table, from the mark that it was opened with.

    While it does, the scores before are taken and what it will need next is decrypted.

    Args:
        resident: With `guard.batch.open_batch`.
        table: Its plaintext.
        take: Gets the scores.

    Returns:
        The last mark.

    Raises:
        InputError: The table does not fit the model.
        GateError: Too many rows failed, or the sandbox was killed or asked for what is not there.
    """
    with ThreadPoolExecutor(2, thread_name_prefix="batch") as pool:
        spans = Spans(table, pool)
        made = resident.ask(Scored, {})
        while not made.done:
            data = b"" if made.need is None else spans.read(made.need, made.ahead)
            following = pool.submit(
                resident.ask, Scored, {"data": data}, max_bytes=len(data) + 1024
            )
            del data
            try:
                if made.table or made.mark is not None:
                    take(made.table, made.mark)
            finally:
                made = following.result()
    take(made.table, made.mark)
    if made.mark is None:
        raise GateError("the sandbox said no end", code="sandbox.report-undecodable")
    return made.mark
