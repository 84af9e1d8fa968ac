"""The inside of a sandbox with the result of a conversion: makes rows and answers for them.

It has never seen the original, so that no code of the original can pretend to be right.
"""

from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np

from vallum.base import GateError, InputError, VallumError
from vallum.convert.numbers import Answers, Numbers, places
from vallum.convert.outputs import COLUMN, LABEL, PREDICTION, SCORES
from vallum.convert.probes import Probes
from vallum.formats import OnnxValue, read_onnx_header
from vallum.schema import Record

MAX_ROWS = 10_000
RANGE_ROWS = 2_000
SPLITS = 700
_TYPES = {1: "float32", 7: "int64", 8: "string", 11: "float64"}


class Given(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the sandbox gets.

    Attributes:
        onnx: The file.
        classes: Of the original, in order.
        features: Columns that the original names.
        exact: As the original's export says.
        seed: Of the rows.
        table: Rows of somebody's data, or nothing.
        kind: Of the table: `csv`, `parquet`, `jsonl`, `npz`, or `matrix` (an input example,
            which somebody's tool wrote: what does not fit is left out).
        columns: Of the table, in the model's order; empty to find them.
    """

    onnx: bytes
    classes: tuple[str, ...]
    features: tuple[str, ...]
    seed: int
    exact: bool = True
    table: bytes = b""
    kind: str = ""
    columns: tuple[str, ...] = ()


class RowsMade(Record, frozen=True):
    """What the result declares, rows of each kind, and what there is to say about them."""

    rows: dict[str, Numbers]
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    opsets: dict[str, int] = {}
    notes: tuple[str, ...] = ()


def open_graph(payload: bytes) -> Callable[..., object]:
    """Load the result; return what answers for it.

    Raises:
        InputError: It does not load, or does not take one matrix.
    """
    try:
        given = msgspec.msgpack.decode(payload, type=Given)
    except msgspec.DecodeError as error:
        raise InputError("the payload has another form", code="convert.payload") from error
    try:
        return _Graph(given)
    except VallumError:
        raise
    except Exception as error:  # what was converted may be anybody's
        raise InputError(
            f"the result does not load ({type(error).__name__})", code="convert.result"
        ) from error


class _Graph:
    """Answers questions about one result."""

    def __init__(self, given: Given) -> None:
        import onnxruntime as ort

        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.log_severity_level = 4
        self._given = given
        self._session = ort.InferenceSession(
            given.onnx, options, providers=["CPUExecutionProvider"]
        )
        inputs = self._session.get_inputs()
        width = inputs[0].shape[1] if len(inputs) == 1 and len(inputs[0].shape) == 2 else None  # noqa: PLR2004 - a matrix
        if not isinstance(width, int) or inputs[0].type != "tensor(float)":
            raise InputError(
                "the result does not take one matrix of float32", code="convert.result"
            )
        self._width, self._input = width, inputs[0].name
        self._names = [one.name for one in self._session.get_outputs()]

    def __call__(self, *, ask: str, x: bytes = b"", shape: list[int] | None = None) -> object:
        """Answer `rows`, or `answer` for rows of float32."""
        try:
            if ask == "rows":
                return self._rows()
            return self._answer(np.frombuffer(x, dtype="<f4").reshape(shape or []))
        except VallumError:
            raise
        except Exception as error:  # onnxruntime raises bare RuntimeErrors of many kinds
            raise GateError(
                f"the result fails on its own input ({type(error).__name__})",
                code="convert.result",
            ) from error

    def _rows(self) -> RowsMade:
        import onnx

        header = read_onnx_header(self._given.onnx)
        rng = np.random.default_rng(self._given.seed)
        probes = Probes.of(
            onnx.load_from_string(self._given.onnx),
            self._width,
            rng,
            splits=SPLITS,
            exact=self._given.exact,
        )
        notes: list[str] = []
        made = {}
        if self._given.table:
            data = self._table(notes)
            if len(data):
                made["data"] = data
        made["ranges"] = probes.ranges(RANGE_ROWS, rng)
        on = probes.thresholds(rng)
        if len(on):
            made["thresholds" if probes.exact else "near"] = on
        return RowsMade(
            rows={kind: Numbers.of(rows) for kind, rows in made.items()},
            inputs=tuple(_value(one) for one in header.inputs),
            outputs=tuple(_value(one) for one in header.outputs),
            opsets=dict(header.opsets),
            notes=tuple(notes),
        )

    def _table(self, notes: list[str]) -> "np.ndarray[Any, Any]":
        """Return at most `MAX_ROWS` rows of the data that was given, float64."""
        given = self._given
        if given.kind == "matrix":
            try:
                rows = np.array(msgspec.json.decode(given.table), dtype=np.float64)
            except ValueError:
                rows = np.zeros(0)
            if rows.ndim != 2 or rows.shape[1] != self._width:  # noqa: PLR2004 - a matrix
                notes.append("the input example does not fit the model; nothing is measured on it")
                return np.zeros((0, self._width))
        elif given.kind == "npz":
            from vallum.formats import read_npz

            rows = read_npz(given.table, ["x"])["x"].astype(np.float64)
        else:
            rows = self._read(given.table)
        if rows.ndim != 2 or rows.shape[1] != self._width:  # noqa: PLR2004 - a matrix
            raise InputError(
                f"the model takes {self._width} columns, the data has"
                f" {rows.shape[1] if rows.ndim == 2 else 'another form'}",  # noqa: PLR2004
                code="convert.data",
                hint="name the model's columns with --feature, in order",
            )
        kept = rows[np.isfinite(rows).all(axis=1)]
        if len(kept) < len(rows):
            notes.append(
                f"{len(rows) - len(kept)} of {len(rows)} rows of the data are left out: an endpoint"
                " takes no missing or infinite value"
            )
        if not len(kept) and given.kind != "matrix":
            raise InputError("the data has no row without a gap", code="convert.data")
        if len(kept) > MAX_ROWS:
            notes.append(f"{MAX_ROWS} of {len(kept)} rows of the data were drawn")
            chosen = np.random.default_rng(given.seed).choice(len(kept), MAX_ROWS, replace=False)
            kept = kept[np.sort(chosen)]
        return kept

    def _read(self, table: bytes) -> "np.ndarray[Any, Any]":
        import polars as pl

        from vallum.formats import read_table

        frame = read_table(table, kind=self._given.kind)
        names = self._given.columns or (
            self._given.features
            if set(self._given.features) <= set(frame.columns) and self._given.features
            else tuple(
                name
                for name, type_ in frame.schema.items()
                if type_.is_numeric() or type_ == pl.Boolean
            )
        )
        for name in names:
            if name not in frame.columns:
                raise InputError(f"the data has no column `{name[:80]}`", code="convert.data")
            type_ = frame.schema[name]
            if not (type_.is_numeric() or type_ == pl.Boolean):
                raise InputError(f"column `{name[:80]}` is not numeric", code="convert.data")
        made = frame.select(pl.col(list(names)).cast(pl.Float64)).to_numpy()
        return np.asarray(made, dtype=np.float64)

    def _answer(self, rows: "np.ndarray[Any, Any]") -> Answers:
        told = dict(
            zip(self._names, self._session.run(self._names, {self._input: rows}), strict=True)
        )
        classes = self._given.classes
        if not classes:
            return Answers(labels=None, scores=_scores(told[PREDICTION], len(rows)))
        scores = None
        if SCORES in told:
            scores = _scores(told[SCORES], len(rows))
        elif any(name.startswith(COLUMN) for name in told):
            columns = [np.asarray(told[f"{COLUMN}{one}"]) for one in classes]
            scores = _scores(np.stack(columns, axis=1), len(rows))
        labels = places(np.asarray(told[LABEL]), classes)
        return Answers(labels=Numbers.of(labels), scores=scores)


def _value(value: OnnxValue) -> str:
    """Return an input or output as text, such as `x float32[?, 8]`."""
    sizes = ", ".join(str(one) or "?" for one in value.shape or ())
    return f"{value.name} {_TYPES.get(value.element_type, 'other')}[{sizes}]"


def _scores(told: object, rows: int) -> Numbers:
    plain = np.asarray(told, dtype=np.float64)
    return Numbers.of(plain.reshape(rows, -1))
