"""A table scored by a model, inside the sandbox: piece by piece, mini-batches, bad rows apart.

The table comes in spans that are asked for, the scores leave as text that is appended to, and the
`Mark` after each piece is where another process may go on: memory does not grow with the table.

A mini-batch on which the model fails is halved until the rows that it fails on stand alone, so
that one bad row costs its neighbours nothing. What a row gets does not depend on the mini-batch.
"""

import os
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from vallum.base import GateError, InputError
from vallum.guard.batch_text import HELD_ERROR, Text
from vallum.guard.session import Arrays, Session
from vallum.guard.shaping import Hardening
from vallum.guard.summary import COLUMNS, Summary, add, lines
from vallum.schema import OutputPolicy, Record

if TYPE_CHECKING:
    import polars as pl

_MAX_WIDTH: Final = 1024  # columns of one output
_SLICE_CELLS: Final = 1 << 24  # features and scores that are held at once
_FIRST_ROWS: Final = 4096  # as long as it is not known how wide the answers are
_NOT_FINITE: Final = "a feature is missing or not finite"
_MODEL: Final = "the model fails on it"
_ANSWER: Final = "the model answers what is not finite"


class Mark(Record, frozen=True):
    """How far a table is scored, and what another process needs to go on there.

    Attributes:
        resume: Where the reader goes on.
        kinds: What the columns of a CSV table hold.
        rows: Scored or failed.
        failed: Rows without scores.
        first: The first of these, and why.
        scores: Columns of the model's answers; empty as long as they are not known.
        columns: Of the result; empty before its first row.
        summary: What the scores come to, where no more than that is asked for.
        lines: Of that, once it is in the result.
    """

    resume: int = 0
    kinds: tuple[int, ...] = ()
    rows: int = 0
    failed: int = 0
    first: str = ""
    scores: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    summary: Summary = ()
    lines: int = 0


class Scored(Record, frozen=True):
    """What one step of scoring comes to.

    Attributes:
        table: CSV to append to what there is.
        mark: After it; nothing in the middle of a piece.
        need: Offset and length of the bytes of the table that the next step is given; nothing if
            it needs none.
        ahead: What the step after that will need, if that is known.
        done: There is no next step.
    """

    table: bytes = b""
    mark: Mark | None = None
    need: tuple[int, int] | None = None
    ahead: tuple[int, int] | None = None
    done: bool = False


class Payload(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A model, and what is needed beside it."""

    model: bytes
    noise_key: bytes = b""
    mark: Mark | None = None


def open_batch(
    payload: bytes,
    *,
    size: int,
    kind: str,
    features: Sequence[str] = (),
    keep: Sequence[str] = (),
    mini_batch: int = 4096,
    max_failed: int = 0,
    decimals: int | None = None,
    output: Mapping[str, object] | None = None,
    summary: bool = False,
) -> Callable[..., Scored]:
    """Open a model to score every row of a table.

    Args:
        payload: msgpack map of `model` (ONNX, standard operators, one matrix of float32 in);
            `noise_key` with an output policy; `mark` to go on after it.
        size: Bytes of the table.
        kind: Its format, such as `parquet`.
        features: The model's columns in order; without them, every numeric one that is not kept.
        keep: Columns that the result repeats beside the scores.
        mini_batch: Rows a call of the model, at least 1.
        max_failed: So many rows may fail; they have an `error` and no scores.
        decimals: Places that scores are rounded to, as the endpoint does.
        output: The deployment's output policy; what leaves is what its endpoint would tell.
        summary: Return what the scores come to (`guard.summary`) instead of a row for each row.

    Returns:
        What takes the `data` that was needed and returns `Scored`, until that is done. The table's
        columns are `keep`, then the outputs (`NAME`, or `NAME_0` … of a matrix), then `error`. It
        raises InputError where the table does not fit the model, GateError where more rows failed
        than may.

    Raises:
        InputError: The model does not load, or the payload has another form.
    """
    try:
        given = msgspec.msgpack.decode(payload, type=Payload)
    except msgspec.DecodeError as error:
        raise InputError("the payload has another form", code="score.payload") from error
    scorer = make_scorer(
        given, output_of(output), threads=len(os.sched_getaffinity(0)), features=features,
        keep=keep, mini_batch=mini_batch, max_failed=max_failed, decimals=decimals,
        summary=summary,
    )  # fmt: skip
    steps = scorer.steps(size, kind)
    begun = False

    def step(data: bytes = b"") -> Scored:
        nonlocal begun
        sent = data if begun else None
        begun = True
        return steps.send(sent)

    return step


def output_of(given: object) -> OutputPolicy | None:
    """Return an output policy out of an argument.

    Raises:
        InputError: It is none.
    """
    try:
        return msgspec.convert(given, OutputPolicy | None)
    except msgspec.ValidationError as error:
        raise InputError("the output policy has another form", code="score.payload") from error


def make_scorer(
    given: Payload,
    output: OutputPolicy | None,
    *,
    threads: int,
    features: Sequence[str],
    keep: Sequence[str],
    mini_batch: int,
    max_failed: int,
    decimals: int | None,
    summary: bool = False,
) -> "Scorer":
    """Load a model to score tables with; see `open_batch`.

    Raises:
        InputError: It does not load.
    """
    return Scorer(
        Session(given.model, threads=threads),
        None if output is None else Hardening(output, given.noise_key),
        given.mark or Mark(),
        features=features, keep=keep, mini_batch=mini_batch, max_failed=max_failed,
        decimals=decimals, summary=summary,
    )  # fmt: skip


class Scorer:
    """Scores the pieces of one table."""

    def __init__(
        self,
        model: Session,
        harden: Hardening | None,
        mark: Mark,
        *,
        features: Sequence[str],
        keep: Sequence[str],
        mini_batch: int,
        max_failed: int,
        decimals: int | None,
        summary: bool,
    ) -> None:
        self._model = model
        self._harden = harden
        self._mark = mark
        self._features = list(features)
        self._keep = list(keep)
        self._mini_batch = max(1, mini_batch)
        self._max_failed = max_failed
        self._decimals = decimals
        self._summary = summary
        self._checked = False
        self._text = Text(keep, mark.scores, mark.columns)

    def steps(self, size: int, kind: str) -> Generator[Scored, bytes | None, None]:
        """Yield what each step comes to."""
        from vallum.formats import Span, table_pieces

        pieces = table_pieces(size, kind=kind, resume=self._mark.resume, kinds=self._mark.kinds)
        told = Scored()
        answer: bytes | None = None
        while True:
            try:
                got = pieces.send(answer)
            except StopIteration:
                break
            answer = None
            if isinstance(got, Span):
                need = got.offset, got.length
                answer = yield Scored(told.table, told.mark, need, got.ahead)
                told = Scored()
                continue
            for table in self._tables(got.frame):
                if told.table:
                    yield told
                told = Scored(table)
            if not self._text.waits:
                self._mark = msgspec.structs.replace(self._mark, resume=got.resume, kinds=got.kinds)
                told = Scored(told.table, self._mark)
        if self._text.waits:
            if told.table:
                yield told
            told = Scored(self._text.end(), self._marked())
        if self._summary and not self._mark.columns:  # else whoever began has told it
            told = Scored(self._summed())
        yield Scored(told.table, self._mark, done=True)

    def part(self, frame: "pl.DataFrame", first: int) -> "tuple[bytes, pl.DataFrame | None, Mark]":
        """Score some rows of a table by themselves, `first` of which come before.

        Returns:
            Their text without a header; or, if all failed, kept columns and errors; and the mark.
        """
        self._mark = Mark(rows=first)
        self._text = Text(self._keep, columns=[HELD_ERROR])  # any: there is a header already
        text = b"".join(self._tables(frame))
        return text, self._text.held(), self._mark

    def _tables(self, frame: "pl.DataFrame") -> Iterator[bytes]:
        """Yield the text of the rows of a piece."""
        if not self._checked:
            self._check(frame)
        start = 0
        while start < frame.height or (frame.height == 0 == start):
            width = len(self._features) + len(self._mark.scores)
            rows = _SLICE_CELLS // max(1, width) if self._mark.scores else _FIRST_ROWS
            part = frame.slice(start, max(1, rows))
            start += max(1, part.height)
            text = self._score(part)
            if text:
                yield text

    def _check(self, frame: "pl.DataFrame") -> None:
        """Check once that the table fits the model."""
        named = self._features
        missing = [name for name in (*named, *self._keep) if name not in frame.columns]
        if missing:
            raise InputError(f"the data has no column `{missing[0][:80]}`", code="score.column")
        names = named or [
            name
            for name in frame.columns
            if name not in self._keep and frame[name].dtype.is_numeric()
        ]
        wordy = [name for name in names if not frame[name].dtype.is_numeric()]
        if wordy:
            raise InputError(f"column `{wordy[0][:80]}` is not numeric", code="score.column")
        if not names or (self._model.width is not None and self._model.width != len(names)):
            raise InputError(
                f"the model takes {self._model.width} features, the data has {len(names)}",
                code="score.column",
                hint="name the model's columns with --feature, in order",
            )
        self._features = names
        self._checked = True

    def _score(self, part: "pl.DataFrame") -> bytes:
        """Return the text of some rows; nothing while it is not known which columns it has."""
        import polars as pl

        # Too large for float32 is infinite, and fails.
        wide = part.select(pl.col(self._features).cast(pl.Float32)).to_numpy(order="fortran")
        errors = np.full(part.height, "", dtype=object)
        outputs: list[_Piece] = []
        for start in range(0, part.height, self._mini_batch):
            x = np.ascontiguousarray(wide[start : start + self._mini_batch])
            rows = np.arange(start, start + len(x))
            finite = np.isfinite(x).all(axis=1)
            if not finite.all():
                errors[rows[~finite]] = _NOT_FINITE
                x, rows = x[finite], rows[finite]
            if len(rows):
                outputs.extend(self._run(x, rows, errors))
        failed = self._count(errors)
        if self._summary:
            self._sum(outputs, errors == "")
            return b""
        scores = _columns(outputs, errors == "", self._decimals)
        kept = [part[name] for name in self._keep]
        frame = pl.DataFrame([*kept, _texts(errors, failed).alias(HELD_ERROR)])
        text = self._text.add(frame, scores)
        self._marked()
        return text

    def _count(self, errors: NDArray[np.object_]) -> int:
        """Count failed rows; the rest of a table is not scored once there are too many."""
        mark = self._mark
        failed = int(np.count_nonzero(errors != ""))
        first = mark.first
        if failed and not first:
            at = int(np.flatnonzero(errors != "")[0])
            first = f"row {mark.rows + at + 1}, {errors[at]}"
        self._mark = mark = msgspec.structs.replace(
            mark, rows=mark.rows + len(errors), failed=mark.failed + failed, first=first
        )
        if mark.failed > self._max_failed:
            raise GateError(
                f"{mark.failed} of {mark.rows} rows failed, and {self._max_failed} may:"
                f" the first is {first}",
                code="score.failed",
            )
        return failed

    def _sum(self, pieces: "Sequence[_Piece]", good: NDArray[np.bool_]) -> None:
        """Add the rows that did not fail to the summary."""
        summary = self._mark.summary
        for rows, found in pieces:
            told = good[rows]
            outputs = [
                (
                    name,
                    np.round(one[told].astype(np.float64), self._decimals)
                    if one.dtype.kind == "f" and self._decimals is not None
                    else one[told],
                )
                for name, one in found
            ]
            if told.any():
                summary = add(summary, outputs)
        self._mark = msgspec.structs.replace(self._mark, summary=summary)

    def _summed(self) -> bytes:
        """Return the text of the summary, and note that it is told."""
        import polars as pl

        from vallum.formats import write_csv_safe

        mark = self._mark
        told = lines(mark.summary, rows=mark.rows, failed=mark.failed)
        self._mark = msgspec.structs.replace(mark, columns=COLUMNS, lines=len(told))
        types = (pl.String, pl.String, pl.String, pl.Float64)
        table = pl.DataFrame(
            [(*texts, float(value)) for *texts, value in told],
            schema=dict(zip(COLUMNS, types, strict=True)),
            orient="row",
        )
        return write_csv_safe(table)

    def _marked(self) -> Mark:
        """Return the mark, with the columns as far as they are known."""
        text = self._text
        self._mark = mark = msgspec.structs.replace(
            self._mark, scores=text.scores, columns=text.columns
        )
        return mark

    def _run(
        self, x: NDArray[np.float32], rows: NDArray[np.intp], errors: NDArray[np.object_]
    ) -> "Iterator[_Piece]":
        """Yield rows and what is told of them; write into `errors` where there is nothing."""
        found = _answers(self._model, x)
        if found is None and len(rows) == 1:
            errors[rows] = _MODEL
        elif found is None:
            half = len(rows) // 2
            yield from self._run(x[:half], rows[:half], errors)
            yield from self._run(x[half:], rows[half:], errors)
        else:
            good = np.ones(len(rows), dtype=bool)
            for _, one in found:
                if one.dtype.kind == "f" and not np.isfinite(one).all():
                    good &= np.isfinite(one.reshape(len(one), -1)).all(axis=1)
            errors[rows[~good]] = _ANSWER
            if self._harden is not None and good.any():
                found = _hardened(self._harden, x, found, good)
            yield rows, found


def _hardened(
    harden: Hardening, x: NDArray[np.float32], found: Arrays, good: NDArray[np.bool_]
) -> Arrays:
    """Return what leaves of a mini-batch's scores; those of failed rows never do."""
    told = harden.apply(x[good], [(name, one[good]) for name, one in found])
    out: Arrays = []
    for (name, whole), (_, values) in zip(found, told, strict=True):
        filled = whole.copy()
        filled[good] = values
        out.append((name, filled))
    return out


def _texts(errors: NDArray[np.object_], failed: int) -> "pl.Series":
    import polars as pl

    if not failed:
        return pl.repeat(None, len(errors), dtype=pl.String, eager=True)
    return pl.Series([error or None for error in errors.tolist()], dtype=pl.String)


def _answers(model: Session, x: NDArray[np.float32]) -> Arrays | None:
    """Return an array a name, with a row for each of `x`; None where the model fails on them.

    Raises:
        GateError: It answers something else.
    """
    try:
        found = model.run(x)
    except GateError:
        raise
    except Exception:  # noqa: BLE001 - onnxruntime raises bare RuntimeErrors of many kinds
        return None
    if all(
        one.ndim in {1, 2} and len(one) == len(x) and one.dtype.kind in "fiubOU" for _, one in found
    ):
        return found
    raise GateError("the model answers no tensor with a row for each row", code="score.answer")


_Piece = tuple[NDArray[np.intp], Arrays]


def _columns(
    pieces: Sequence[_Piece],
    good: NDArray[np.bool_],
    decimals: int | None,
) -> "dict[str, pl.Series]":
    """Return a column a score; nothing in it where a row failed."""
    import polars as pl

    if not pieces:
        return {}
    order = np.concatenate([rows for rows, _ in pieces])
    columns: dict[str, pl.Series] = {}
    for at, (name, _) in enumerate(pieces[0][1]):
        parts = [found[at][1].reshape(len(found[at][1]), -1) for _, found in pieces]
        width = parts[0].shape[1]
        if any(part.shape[1] != width for part in parts) or width > _MAX_WIDTH:
            raise GateError("the model answers now more, now less a row", code="score.answer")
        values = np.concatenate(parts)
        if values.dtype.kind == "f" and decimals is not None:
            values = np.round(values.astype(np.float64), decimals)
        for place in range(width):
            called = name if width == 1 else f"{name}_{place}"
            columns[called] = _column(values[:, place], order, good)
    return columns


def _column(
    values: NDArray[np.generic], order: NDArray[np.intp], good: NDArray[np.bool_]
) -> "pl.Series":
    import polars as pl

    if values.dtype.kind in "OU":
        texts: list[str | None] = [None] * len(good)
        for row, value in zip(order.tolist(), values.tolist(), strict=True):
            texts[row] = str(value) if good[row] else None
        return pl.Series(texts, dtype=pl.String)
    full = np.zeros(len(good), dtype=values.dtype)
    full[order] = values
    column = pl.Series(full)
    if good.all():
        return column
    return pl.select(pl.when(pl.Series(good)).then(column)).to_series()
