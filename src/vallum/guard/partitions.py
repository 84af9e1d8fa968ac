"""A table cut into partitions that are scored elsewhere, each in a sandbox of its own.

One sandbox holds the table: it yields partitions as Arrow bytes, and writes what only the whole
table knows, its header and the rows that wait for it. Others score a partition each and know
nothing of the rest. All of them together tell what `guard.batch` tells of the table by itself.
"""

import io
import sys
from collections.abc import Callable, Generator, Sequence
from typing import TYPE_CHECKING, Final

import msgspec

from vallum.base import InputError
from vallum.guard.batch import Mark, Payload, make_scorer, output_of
from vallum.guard.batch_text import Text
from vallum.guard.shaping import NOISE_KEY_BYTES
from vallum.schema import Record

if TYPE_CHECKING:
    import polars as pl

_CELLS: Final = 1 << 20  # features of a partition, unless a mini-batch has more


class Cut(Record, frozen=True):
    """What one question to the sandbox of a table comes to.

    Attributes:
        part: Rows as Arrow bytes, the next partition; nothing if `rows` is nothing.
        rows: How many there are in it.
        first: Rows before it.
        mark: After it, of the reader alone; nothing in the middle of a piece.
        need: Offset and length of the bytes of the table that the next step is given.
        ahead: What the step after that will need, if that is known.
        done: There is no next step.
        text: To append to the table of scores.
        columns: Of that table, as far as they are known.
    """

    part: bytes = b""
    rows: int | None = None
    first: int = 0
    mark: Mark | None = None
    need: tuple[int, int] | None = None
    ahead: tuple[int, int] | None = None
    done: bool = False
    text: bytes = b""
    columns: tuple[str, ...] = ()


class PartScored(Record, frozen=True):
    """A partition with its scores.

    Attributes:
        text: Its rows, without a header; nothing if they all failed.
        held: Kept columns and errors of its rows, as Arrow bytes, if they all failed.
        mark: Rows up to its end, failed ones in it, and the columns of scores if one has some.
    """

    text: bytes
    held: bytes
    mark: Mark


class _Given(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    mark: Mark | None = None


def open_table(
    payload: bytes,
    *,
    size: int,
    kind: str,
    features: Sequence[str] = (),
    keep: Sequence[str] = (),
    mini_batch: int = 4096,
) -> Callable[..., Cut]:
    """Open a table to cut it into partitions.

    Args:
        payload: msgpack map of `mark`, to go on after it.
        size: Bytes of the table.
        kind: Its format, such as `parquet`.
        features: The model's columns; without them, every numeric one that is not kept.
        keep: Columns that the result repeats.
        mini_batch: Rows that are not parted.

    Returns:
        What takes one of: `data`, what was needed, and goes on to the next partition; `hold`, rows
        that all failed, which wait or are told; `scores`, the columns of scores, known now;
        `end`, that there are none.

    Raises:
        InputError: The payload has another form.
    """
    try:
        mark = msgspec.msgpack.decode(payload, type=_Given).mark or Mark()
    except msgspec.DecodeError as error:
        raise InputError("the payload has another form", code="score.payload") from error
    text = Text(keep, mark.scores, mark.columns)
    cuts = _cuts(size, kind, mark=mark, features=features, keep=keep, mini_batch=max(1, mini_batch))
    begun = False

    def ask(
        data: bytes = b"", hold: bytes = b"", scores: Sequence[str] = (), *, end: bool = False
    ) -> Cut:
        nonlocal begun
        if hold:
            return Cut(text=text.add(_from_arrow(hold), {}), columns=text.columns)
        if scores:
            return Cut(text=text.begin(tuple(scores)), columns=text.columns)
        if end:
            return Cut(text=text.end(), columns=text.columns)
        sent = data if begun else None
        begun = True
        return cuts.send(sent)

    return ask


def _cuts(
    size: int,
    kind: str,
    *,
    mark: Mark,
    features: Sequence[str],
    keep: Sequence[str],
    mini_batch: int,
) -> Generator[Cut, bytes | None, None]:
    from vallum.formats import Span, table_pieces

    pieces = table_pieces(size, kind=kind, resume=mark.resume, kinds=mark.kinds)
    first, answer = mark.rows, None
    while True:
        try:
            got = pieces.send(answer)
        except StopIteration:
            break
        answer = None
        if isinstance(got, Span):
            answer = yield Cut(need=(got.offset, got.length), ahead=got.ahead)
            continue
        frame = _wanted(got.frame, features, keep)
        after = Mark(resume=got.resume, kinds=got.kinds)
        rows = max(1, _CELLS // max(1, frame.width) // mini_batch) * mini_batch
        for start in range(0, max(1, frame.height), rows):
            part = frame.slice(start, rows)
            last = start + rows >= frame.height
            yield Cut(_to_arrow(part), part.height, first, after if last else None)
            first += part.height
    yield Cut(done=True)


def _wanted(frame: "pl.DataFrame", features: Sequence[str], keep: Sequence[str]) -> "pl.DataFrame":
    """Return the columns that a partition needs; what is not there, scoring it refuses."""
    import polars as pl

    numeric = [name for name in frame.columns if frame[name].dtype.is_numeric()]
    asked = {*(features or numeric), *keep}
    return frame.select(
        pl.col(name).cast(pl.Float32) if name in numeric and name not in keep else pl.col(name)
        for name in frame.columns
        if name in asked
    )


def open_part(
    payload: bytes,
    *,
    features: Sequence[str] = (),
    keep: Sequence[str] = (),
    mini_batch: int = 4096,
    decimals: int | None = None,
    output: object = None,
) -> Callable[..., PartScored]:
    """Open a model to score partitions, one after the other; see `guard.batch.open_batch`.

    Returns:
        What takes a partition and the number of rows before it. It raises InputError where the
        partition does not fit the model.

    Raises:
        InputError: The model does not load, or the payload has another form.
    """
    try:
        given = msgspec.msgpack.decode(payload, type=Payload)
    except msgspec.DecodeError as error:
        raise InputError("the payload has another form", code="score.payload") from error
    policy = output_of(output)
    if policy is not None and float(policy.noise) == 0:  # then a key changes nothing
        given = Payload(model=given.model, noise_key=bytes(NOISE_KEY_BYTES))
    scorer = make_scorer(
        given, policy, threads=1, features=features, keep=keep, mini_batch=mini_batch,
        max_failed=sys.maxsize, decimals=decimals,
    )  # fmt: skip

    def score(part: bytes, first: int) -> PartScored:
        text, held, mark = scorer.part(_from_arrow(part), first)
        return PartScored(text, b"" if held is None else _to_arrow(held), mark)

    return score


def _to_arrow(frame: "pl.DataFrame") -> bytes:
    out = io.BytesIO()
    frame.write_ipc(out)
    return out.getvalue()


def _from_arrow(data: bytes) -> "pl.DataFrame":
    import polars as pl

    return pl.read_ipc(io.BytesIO(data), use_pyarrow=False)
