"""Scores a whole table: what a batch asks, wherever the model runs."""

from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Final, Protocol

from vallum.base import GateError
from vallum.base.bounds import GIB, MIB
from vallum.crypto import StreamReader
from vallum.guard.batch import Mark
from vallum.sandbox import Limits

MAX_SPAN_BYTES: Final = 1 * GIB
LIMITS: Final = Limits(
    wall_s=3600.0,
    processes=128,
    memory_bytes=8 * GIB,
    file_bytes=64 * GIB,  # a file with one row group of a table, and holes
    tmp_bytes=MAX_SPAN_BYTES + 64 * MIB,
    output_bytes=1 * GIB,
)
"""Of a sandbox; its own seconds bound each step, not the batch."""

Take = Callable[[bytes, Mark | None], None]
"""Gets the text of scores in order, each time with the mark after it or nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """What is scored, and how; `guard.batch.open_batch` says what each is.

    Attributes:
        noise_key: Of the noise in answers.
        noisy: The output policy adds some.
        summary: Only a local engine tells one.
    """

    model: bytes = field(repr=False)
    kind: str
    features: tuple[str, ...] = ()
    keep: tuple[str, ...] = ()
    mini_batch: int = 4096
    max_failed: int = 0
    decimals: int | None = None
    output: Mapping[str, object] | None = None
    noise_key: bytes = field(default=b"", repr=False)
    noisy: bool = False
    summary: bool = False


class Engine(Protocol):
    """The port. Every adapter tells the same rows, errors and ends of the same batch.

    Attributes:
        name: As the log has it.
        keyless: It takes no batch that is noisy: the key stays here.
    """

    name: str
    keyless: bool

    def score(self, batch: Batch, table: StreamReader, mark: Mark | None, take: Take) -> Mark:
        """Score a table; go on after `mark` if there is one.

        Returns:
            The last mark, which was taken too.

        Raises:
            InputError: The table does not fit the model.
            GateError: Too many rows failed, or a sandbox was killed or asked for what is not there.
            UnavailableError: There is nothing to score with; going on later may succeed.
        """
        ...


class Spans:
    """Reads the spans of a table that a sandbox asks for, the next one ahead."""

    def __init__(self, table: StreamReader, pool: ThreadPoolExecutor) -> None:
        self._table = table
        self._pool = pool
        self._fetched: tuple[tuple[int, int], Future[bytes]] | None = None

    def read(self, need: tuple[int, int], ahead: tuple[int, int] | None) -> bytes:
        """Return the bytes of a span; begin to read the one that will be asked for next.

        Raises:
            GateError: The span is none of this table's.
        """
        self._check(need)
        if self._fetched is not None and self._fetched[0] == need:
            data = self._fetched[1].result()
        else:
            data = self._table.read(*need)
        self._fetched = None
        if ahead is not None:
            self._check(ahead)
            self._fetched = ahead, self._pool.submit(self._table.read, *ahead)
        return data

    def _check(self, span: tuple[int, int]) -> None:
        offset, length = span
        if not (0 <= offset < offset + length <= self._table.size and length <= MAX_SPAN_BYTES):
            raise GateError(
                "the sandbox asked for what is not there", code="sandbox.report-undecodable"
            )
