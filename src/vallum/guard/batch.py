"""A whole table scored by a model, inside the sandbox: mini-batches, retries, bad rows apart.

A mini-batch on which the model fails is halved until the rows that it fails on stand alone, so
that one bad row costs its neighbours nothing. What a row gets does not depend on the mini-batch.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from vallum.base import GateError, InputError
from vallum.guard.session import Arrays, Session
from vallum.guard.shaping import Hardening
from vallum.schema import OutputPolicy, Record

if TYPE_CHECKING:
    import polars as pl

ERROR: Final = "error"
_MAX_WIDTH: Final = 1024  # columns of one output
_NOT_FINITE: Final = "a feature is missing or not finite"
_MODEL: Final = "the model fails on it"
_ANSWER: Final = "the model answers what is not finite"


class ScoredTable(Record, frozen=True):
    """A row of scores for each row of a table, in its order."""

    table: bytes  # CSV
    rows: int
    columns: tuple[str, ...]
    failed: int  # rows without scores


class _Payload(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    model: bytes
    table: bytes
    noise_key: bytes = b""


def score_table(
    payload: bytes,
    *,
    kind: str,
    features: Sequence[str] = (),
    keep: Sequence[str] = (),
    mini_batch: int = 4096,
    max_failed: int = 0,
    decimals: int | None = None,
    output: Mapping[str, object] | None = None,
) -> ScoredTable:
    """Score every row of a table.

    Args:
        payload: msgpack map of `model` (ONNX, standard operators, one matrix of float32 in) and
            `table`; `noise_key` with an output policy.
        kind: Format of the table, such as `parquet`.
        features: The model's columns in order; without them, every numeric one that is not kept.
        keep: Columns that the result repeats beside the scores.
        mini_batch: Rows a call of the model, at least 1.
        max_failed: So many rows may fail; they have an `error` and no scores.
        decimals: Places that scores are rounded to, as the endpoint does.
        output: The deployment's output policy; what leaves is what its endpoint would tell.

    Returns:
        Columns `keep`, then the outputs (`NAME`, or `NAME_0` … of a matrix), then `error`.

    Raises:
        InputError: The table does not fit the model.
        GateError: More rows failed than may.
    """
    import polars as pl

    from vallum.formats import read_table, write_csv_safe

    try:
        given = msgspec.msgpack.decode(payload, type=_Payload)
    except msgspec.DecodeError as error:
        raise InputError("the payload has another form", code="score.payload") from error
    frame = read_table(given.table, kind=kind)
    missing = [name for name in (*features, *keep) if name not in frame.columns]
    if missing:
        raise InputError(f"the data has no column `{missing[0][:80]}`", code="score.column")
    names = list(features) or [
        name for name in frame.columns if name not in keep and frame[name].dtype.is_numeric()
    ]
    wordy = [name for name in names if not frame[name].dtype.is_numeric()]
    if wordy:
        raise InputError(f"column `{wordy[0][:80]}` is not numeric", code="score.column")
    harden = _hardening(output, given.noise_key)
    model = Session(given.model, threads=len(os.sched_getaffinity(0)))
    if not names or (model.width is not None and model.width != len(names)):
        raise InputError(
            f"the model takes {model.width} features, the data has {len(names)}",
            code="score.column",
            hint="name the model's columns with --feature, in order",
        )
    with np.errstate(over="ignore"):  # too large for float32 is infinite, and fails below
        x = np.ascontiguousarray(frame.select(names).to_numpy(), dtype=np.float32)
    kept = frame.select(keep)
    del frame, given
    errors = np.full(len(x), "", dtype=object)
    errors[~np.isfinite(x).all(axis=1)] = _NOT_FINITE
    outputs = _outputs(model, x, errors, mini_batch)
    if harden is not None:
        outputs = [_hardened(harden, x, piece, errors) for piece in outputs]
    failed = int(np.count_nonzero(errors != ""))
    if failed > max_failed:
        raise GateError(
            f"{failed} of {len(x)} rows failed, and {max_failed} may: the first is row"
            f" {int(np.flatnonzero(errors != '')[0]) + 1}, {errors[errors != ''][0]}",
            code="score.failed",
        )
    scores = _columns(outputs, errors == "", decimals)
    taken = {*kept.columns} & {*scores, ERROR}
    if taken:
        raise InputError(
            f"a kept column is called `{min(taken)[:80]}`, as a score is", code="score.column"
        )
    made = pl.concat(
        [kept, pl.DataFrame(scores), pl.DataFrame({ERROR: _texts(errors, failed)})],
        how="horizontal",
    )
    return ScoredTable(
        table=write_csv_safe(made), rows=made.height, columns=tuple(made.columns), failed=failed
    )


def _hardening(output: Mapping[str, object] | None, key: bytes) -> Hardening | None:
    if output is None:
        return None
    try:
        policy = msgspec.convert(output, OutputPolicy)
    except msgspec.ValidationError as error:
        raise InputError("the output policy has another form", code="score.payload") from error
    return Hardening(policy, key)


def _hardened(
    harden: Hardening, x: NDArray[np.float32], piece: "_Piece", errors: NDArray[np.object_]
) -> "_Piece":
    """Return what leaves of a mini-batch's scores; those of failed rows never do."""
    rows, found = piece
    good = errors[rows] == ""
    if not good.any():
        return piece
    told = harden.apply(x[rows[good]], [(name, one[good]) for name, one in found])
    out: Arrays = []
    for (name, whole), (_, values) in zip(found, told, strict=True):
        filled = whole.copy()
        filled[good] = values
        out.append((name, filled))
    return rows, out


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


def _outputs(
    model: Session, x: NDArray[np.float32], errors: NDArray[np.object_], mini_batch: int
) -> list[_Piece]:
    """Return rows and what the model answers for them; writes into `errors` where it fails."""
    good = np.flatnonzero(errors == "")
    whole = len(good) == len(x)
    pieces: list[_Piece] = []
    for start in range(0, len(good), max(1, mini_batch)):
        rows = good[start : start + max(1, mini_batch)]
        view = x[start : start + len(rows)] if whole else x[rows]
        pieces.extend(_run(model, view, rows, errors))
    for rows, found in pieces:
        for _, one in found:
            if one.dtype.kind == "f" and not np.isfinite(one).all():
                errors[rows[~np.isfinite(one.reshape(len(one), -1)).all(axis=1)]] = _ANSWER
    return pieces


def _run(
    model: Session, x: NDArray[np.float32], rows: NDArray[np.intp], errors: NDArray[np.object_]
) -> Iterator[_Piece]:
    found = _answers(model, x)
    if found is not None:
        yield rows, found
    elif len(rows) == 1:
        errors[rows] = _MODEL
    else:
        half = len(rows) // 2
        yield from _run(model, x[:half], rows[:half], errors)
        yield from _run(model, x[half:], rows[half:], errors)


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
