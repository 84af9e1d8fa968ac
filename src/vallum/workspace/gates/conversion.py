"""Gate on conversions: what was registered as ONNX, from what, and how far the two are apart."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from vallum.base import GateError, InputError
from vallum.convert import (
    ConversionReport,
    Converted,
    ModelFolder,
    Sample,
    Source,
    convert,
    kind_of,
    read_folder,
    with_onnx,
)
from vallum.sandbox import BubblewrapRunner
from vallum.schema import Evidence, Verdict
from vallum.workspace.gates.table import CONVERSION, About, evidence

_MODEL: Final = "model.onnx"
_PLACES: Final = 12


@dataclass(frozen=True, slots=True)
class Conversion:
    """A model that was converted, or that may not be.

    Attributes:
        path: Of the original among the files.
        report: What was measured.
        files: What takes their place; empty where the result is refused.
        data_digest: Of the data version that it was measured on; empty for none.
    """

    path: str
    report: ConversionReport
    files: tuple[tuple[str, bytes], ...]
    data_digest: str = ""

    @property
    def original_digest(self) -> str:
        """Return the digest of the original file."""
        return f"sha256:{self.report.original_sha256}"

    def require(self) -> tuple[tuple[str, bytes], ...]:
        """Return the files.

        Raises:
            GateError: The result is too far from its original.
        """
        if self.report.refusal:
            raise GateError(
                self.report.refusal,
                code="convert.difference",
                hint="mend the model: `vallum model convert FILE -o OUT.onnx` shows the rows",
            )
        return self.files

    def evidence(self, *, subject_id: str, subject_digest: str, now: datetime) -> Evidence:
        """Return what was measured as evidence."""
        report = self.report
        measures: dict[str, str | float | int] = {
            "rows": report.rows,
            "labels": report.labels,
            "differ": sum(one.differ for one in report.differences),
            "largest": _decimal(report.largest),
        }
        for one in report.differences:
            measures |= {
                f"{one.rows_of}_rows": one.rows,
                f"{one.rows_of}_differ": one.differ,
                f"{one.rows_of}_ties": one.ties,
                f"{one.rows_of}_rounded": one.rounded,
            }
        return evidence(
            CONVERSION,
            Verdict.FAIL if report.refusal else Verdict.PASS,
            About(subject_id, subject_digest, now),
            measures=measures,
            parameters={
                "original": self.original_digest,
                "result": f"sha256:{report.onnx_sha256}",
                "kind": report.kind,
                "model": report.model,
                "opsets": ", ".join(
                    f"{name or 'ai.onnx'} {at}" for name, at in sorted(report.opsets.items())
                ),
                "versions": ", ".join(f"{k} {v}" for k, v in sorted(report.versions.items())),
                "max_share": _decimal(report.tolerance.share),
                "max_score": _decimal(report.tolerance.score),
            },
            data_digest=self.data_digest,
        )  # fmt: skip


def convert_model(
    runner: BubblewrapRunner,
    files: Sequence[tuple[str, bytes]],
    formats: dict[str, str],
    *,
    single: bool,
    sample: Sample | None = None,
    data_digest: str = "",
    seed: int = 0,
) -> Conversion:
    """Convert the model among `files`, all of which have passed the scan, in a fresh sandbox.

    Args:
        runner: Whose sandbox it is.
        files: Path and content of each.
        formats: What the scan says that each is.
        single: There is one file; otherwise it is a folder that MLflow wrote.
        sample: Rows to measure on; without, the folder's input example.
        data_digest: Of the data version that they are from.
        seed: Of rows that are made.

    Raises:
        InputError: There is no model in them that can be converted, or the sample does not fit.
        GateError: The conversion failed.
    """
    folder: ModelFolder | None = None
    by_path = dict(files)
    if single:
        ((path, data),) = files
    else:
        folder = read_folder(by_path)
        path, data = folder.path, by_path[folder.path]
    kind = kind_of(formats.get(path, ""), data)
    if not kind:
        raise InputError(
            f"`{path}` is `{formats.get(path, 'unknown')}`, no model that can be converted",
            code="convert.kind",
            hint="give a pickle, joblib or skops file, or one of XGBoost, LightGBM or torch (.pt2)",
        )
    if sample is None and folder is not None:
        sample = folder.sample
    # A table of answers, as MLflow's client makes one, needs a column for each output.
    made: Converted = convert(
        runner, Source(data, kind, columns=not single), sample=sample, seed=seed
    )
    kept: list[tuple[str, bytes]] = []
    if not made.report.refusal:
        kept = [(_MODEL, made.onnx)] if folder is None else with_onnx(folder, by_path, made)
    return Conversion(path, made.report, tuple(kept), data_digest)


def _decimal(value: float) -> str:
    text = f"{value:.{_PLACES}f}".rstrip("0").rstrip(".")
    return text if text not in {"", "-0"} else "0"
