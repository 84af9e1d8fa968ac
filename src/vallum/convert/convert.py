"""Converts a model to ONNX in one sandbox and measures the result in another.

The original may be any code. It writes the ONNX file, and it answers for itself; its result is
judged by answers that the result itself gives in a sandbox that has never seen the original. An
original that lies about its own answers convinces nobody but those who would have believed it.
"""

import hashlib
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from vallum.base import GateError, InputError
from vallum.base.bounds import GIB, MIB
from vallum.convert.graph import Given, RowsMade
from vallum.convert.measure import Answered, compare, refusal
from vallum.convert.numbers import Answers
from vallum.convert.original import KINDS, Exported
from vallum.convert.report import ConversionReport, Tolerance
from vallum.sandbox import BubblewrapRunner, Limits, Resident

T = TypeVar("T")

OPEN_ORIGINAL = "vallum.convert.original:open_original"
OPEN_GRAPH = "vallum.convert.graph:open_graph"
LIMITS = Limits(
    memory_bytes=4 * GIB,
    wall_s=120.0,
    processes=64,
    open_files=256,
    file_bytes=256 * MIB,
    tmp_bytes=256 * MIB,
    output_bytes=512 * MIB,
)
"""Of each of the two sandboxes; `wall_s` of loading, of writing ONNX and of every answer."""

TOTAL_S = 300.0
"""Seconds for all of it: a model that is slow to answer holds nobody up for longer."""
_LEAST_S = 0.05
_QUESTION_BYTES = 256 * MIB
_MAX_VALUES = 1_000
_BATCH_BYTES = 8 * MIB


@dataclass(frozen=True, slots=True)
class Source:
    """What is to be converted.

    Attributes:
        data: The file.
        kind: One of `KINDS`.
        columns: Give each class's probability an output of its own, as a table has columns.
    """

    data: bytes
    kind: str
    columns: bool = False


@dataclass(frozen=True, slots=True)
class Sample:
    """Rows that the conversion is measured on, beside those that are made.

    Attributes:
        data: A table, or nothing.
        kind: `csv`, `parquet`, `jsonl`, `npz`, or `matrix`: JSON rows of an input example.
        columns: Its columns in the model's order; empty for those that the model names, or else
            all numeric ones.
    """

    data: bytes = b""
    kind: str = ""
    columns: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Converted:
    """The result, and how far it is from the original.

    Attributes:
        onnx: The file; not to be used where the report refuses it.
        report: The evidence.
    """

    onnx: bytes
    report: ConversionReport

    def require(self) -> bytes:
        """Return the file.

        Raises:
            GateError: It is too far from its original.
        """
        if self.report.refusal:
            raise GateError(
                self.report.refusal,
                code="convert.difference",
                hint="see which rows differ, or allow more: --max-share, --max-score",
            )
        return self.onnx


def convert(
    runner: BubblewrapRunner,
    source: Source,
    *,
    sample: Sample | None = None,
    tolerance: Tolerance | None = None,
    seed: int = 0,
    limits: Limits = LIMITS,
) -> Converted:
    """Convert a model that has been scanned.

    Args:
        runner: Whose sandboxes they are.
        source: The model.
        sample: Rows to measure on; without, all are made from the model.
        tolerance: How far the result may be from the original.
        seed: Of the rows that are made.
        limits: Of each sandbox.

    Raises:
        InputError: The model cannot be converted, and why; or the sample does not fit it.
        GateError: Conversion failed, was late, took too much; or the model answers what is not
            finite, or twice differently. That is never a pass.
        UnavailableError: There is no sandbox.
    """
    if source.kind not in KINDS:
        raise InputError(f"`{source.kind[:40]}` is no kind of model", code="convert.kind")
    tolerance = Tolerance() if tolerance is None else tolerance
    if not (0 <= tolerance.share <= 1 and 0 <= tolerance.score < np.inf):
        raise InputError(
            "the share is 0 to 1, the difference of a score at least 0", code="convert.tolerance"
        )
    sample = Sample() if sample is None else sample
    end_s = time.monotonic() + TOTAL_S
    arguments = {"kind": source.kind}
    with _Open.start(
        runner, OPEN_ORIGINAL, source.data, arguments, limits=limits, end_s=end_s
    ) as original:
        made = original.ask(Exported, {"ask": "export", "columns": source.columns})
        given = Given(
            onnx=made.onnx, classes=made.classes, features=made.features, seed=seed,
            exact=made.exact, table=sample.data, kind=sample.kind, columns=sample.columns,
        )  # fmt: skip
        payload = msgspec.msgpack.encode(given)
        with _Open.start(runner, OPEN_GRAPH, payload, {}, limits=limits, end_s=end_s) as graph:
            told = graph.ask(RowsMade, {"ask": "rows"})
            differences = tuple(
                compare(kind, rows.array(), original=original, result=graph, tolerance=tolerance)
                for kind, rows in told.rows.items()
            )
    onnx_sha256 = hashlib.sha256(made.onnx).hexdigest()
    return Converted(
        made.onnx,
        ConversionReport(
            kind=source.kind,
            model=_short(made.model),
            original_sha256=hashlib.sha256(source.data).hexdigest(),
            onnx_sha256=onnx_sha256,
            inputs=tuple(_short(one) for one in told.inputs[:_MAX_VALUES]),
            outputs=tuple(_short(one) for one in told.outputs[:_MAX_VALUES]),
            classes=tuple(_short(one) for one in made.classes),
            features=tuple(_short(one) for one in made.features),
            opsets={_short(k): v for k, v in list(told.opsets.items())[:_MAX_VALUES]},
            versions={_short(k): _short(v) for k, v in list(made.versions.items())[:20]},
            differences=differences,
            tolerance=tolerance,
            refusal=refusal(differences, tolerance),
            notes=tuple(_short(one) for one in told.notes[:_MAX_VALUES]),
        ),
    )


def _short(text: str) -> str:
    """Return what untrusted code said, printable and of one line."""
    return "".join(one if one.isprintable() else "?" for one in text[:200])


class _Open:
    """A sandbox that is asked; its failures are failures of the conversion."""

    def __init__(self, resident: Resident, end_s: float) -> None:
        self._resident = resident
        self._end_s = end_s

    @classmethod
    def start(
        cls,
        runner: BubblewrapRunner,
        function: str,
        payload: bytes,
        arguments: Mapping[str, object],
        *,
        limits: Limits,
        end_s: float,
    ) -> Self:
        left_s = max(_LEAST_S, min(limits.wall_s, end_s - time.monotonic()))
        try:
            return cls(
                Resident.open(
                    runner, function, payload, allowed={OPEN_ORIGINAL, OPEN_GRAPH},
                    arguments=arguments,
                    limits=msgspec.structs.replace(limits, wall_s=left_s),
                ),
                end_s,
            )  # fmt: skip
        except GateError as error:
            raise _failed(error) from error

    def ask(self, type_: type[T], question: Mapping[str, object]) -> T:
        try:
            left_s = max(_LEAST_S, self._end_s - time.monotonic())
            return self._resident.ask(type_, question, max_bytes=_QUESTION_BYTES, wall_s=left_s)
        except GateError as error:
            raise _failed(error) from error

    def answer(self, rows: NDArray[np.float32] | NDArray[np.float64]) -> Answered:
        """Return what is answered to rows, all of them."""
        size = max(1, _BATCH_BYTES // max(1, rows[:1].nbytes))
        parts = []
        for first in range(0, len(rows), size):
            part = np.ascontiguousarray(rows[first : first + size])
            question = {"ask": "answer", "x": part.tobytes(), "shape": list(part.shape)}
            parts.append(Answered.of(self.ask(Answers, question), len(part)))
        return Answered.joined(parts)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._resident.close()


def _failed(error: GateError) -> GateError:
    if error.code.startswith("convert."):
        return GateError(error.message, code=error.code, hint=error.hint)
    return GateError(
        f"the conversion failed: {error.message}", code="convert.failed", hint=error.hint
    )
