"""The verb `model convert`: a model file becomes ONNX, here, without a workspace."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from vallum.base import GateError, InputError
from vallum.cli.border import check_output, hint, read_file, say, show, table, write_out
from vallum.cli.offline import TABLES
from vallum.cli.options import DryRun
from vallum.cli.progress import progress

if TYPE_CHECKING:
    from vallum.convert import ConversionReport, Sample

_MAX_FILES = 1_000


def convert(
    source: Annotated[Path, typer.Argument(help="Model file, or folder that MLflow wrote.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="ONNX file to write.")],
    data: Annotated[
        Path | None,
        typer.Option(help="Rows to measure on as well: .csv, .parquet, .jsonl, or .npz with x."),
    ] = None,
    feature: Annotated[list[str] | None, typer.Option(help="Column of them, in order.")] = None,
    max_share: Annotated[
        float, typer.Option(min=0, max=1, help="Share of rows that may differ.")
    ] = 0.001,
    max_score: Annotated[
        float, typer.Option(min=0, help="A row differs where a score is off by more.")
    ] = 0.001,
    columns: Annotated[
        bool, typer.Option("--columns", help="Give each class's probability an output of its own.")
    ] = False,
    seed: Annotated[int, typer.Option(min=0, help="Of the rows that are made.")] = 0,
    unsafe_allow_suspicious: Annotated[
        bool,
        typer.Option("--unsafe-allow-suspicious", help="Open what the scan calls suspicious."),
    ] = False,
    dry_run: DryRun = False,
) -> None:
    """Make ONNX of a model in a sandbox. Example: vallum model convert risk.pkl -o risk.onnx."""
    from vallum.convert import Source, Tolerance
    from vallum.convert import convert as converted
    from vallum.sandbox import BubblewrapRunner

    check_output(output)
    payload, kind, example = _read(source, suspicious=unsafe_allow_suspicious)
    sample = example if data is None else _sample(data, tuple(feature or ()))
    with progress("converting"):
        made = converted(
            BubblewrapRunner.open(),
            Source(payload, kind, columns=columns),
            sample=sample,
            tolerance=Tolerance(max_share, max_score),
            seed=seed,
        )
    report = made.report
    show("model.convert", {"file": str(output), **msgspec.to_builtins(report)}, _text(report))
    if report.refusal:
        try:
            made.require()
        except GateError as error:
            say(f"{error.message}; nothing was written")
            hint(error.hint)
        raise typer.Exit(1)
    _check_result(output.name, made.onnx)
    if not dry_run:
        write_out(made.onnx, output)


def _read(source: Path, *, suspicious: bool) -> "tuple[bytes, str, Sample | None]":
    """Return the model's bytes, its kind, and the input example beside it; all of it scanned."""
    from vallum.convert import kind_of, may_be_suspicious, read_folder
    from vallum.scan import ScanVerdict, scan_bytes

    sample = None
    if source.is_dir():
        files = _files(source)
        folder = read_folder(files)
        name, data, sample = folder.path, files[folder.path], folder.sample
    else:
        name, data = source.name, read_file(source)
    (found,) = scan_bytes(name, data).files
    kind = kind_of(found.format, data)
    allowed = {ScanVerdict.CLEAN, ScanVerdict.DATA_LIKE}
    if suspicious or may_be_suspicious(kind):
        allowed.add(ScanVerdict.SUSPICIOUS)
    if found.verdict not in allowed:
        why = found.findings[0].message if found.findings else "its format is not known to be safe"
        raise GateError(
            f"`{source}` is {found.verdict.value}: {why}; it is not opened", code="convert.scan",
            hint=f"vallum scan {source}",
        )  # fmt: skip
    if not kind:
        raise InputError(
            f"`{source}` is `{found.format}`, no model that can be converted", code="convert.kind",
            hint="give a pickle, joblib or skops file, or one of XGBoost, LightGBM or torch (.pt2)",
        )  # fmt: skip
    return data, kind, sample


def _files(folder: Path) -> dict[str, bytes]:
    found = [one for one in sorted(folder.rglob("*")) if one.is_file() and not one.is_symlink()]
    if len(found) > _MAX_FILES:
        raise InputError(f"`{folder}` holds more than {_MAX_FILES} files", code="convert.folder")
    return {one.relative_to(folder).as_posix(): read_file(one) for one in found}


def _sample(path: Path, features: tuple[str, ...]) -> "Sample":
    from vallum.convert import Sample

    kind = {**TABLES, ".npz": "npz"}.get(path.suffix.lower(), "")
    if not kind:
        raise InputError(
            f"`{path}` is neither `.npz` nor a table (`.csv`, `.parquet`, `.jsonl`)",
            code="convert.data",
        )
    return Sample(read_file(path), kind, features)


def _check_result(name: str, onnx: bytes) -> None:
    """Refuse a result that a model's own code made into something else than a plain graph."""
    from vallum.scan import ScanVerdict, scan_bytes

    (found,) = scan_bytes(name, onnx).files
    if found.verdict is not ScanVerdict.CLEAN or found.format != "onnx":
        why = found.findings[0].message if found.findings else f"it is `{found.format}`"
        raise GateError(f"the result is no clean ONNX file: {why}", code="convert.result")


def _text(report: "ConversionReport") -> str:
    rows = [
        (one.rows_of, one.rows, one.labels, one.differ, f"{one.largest:.2g}", one.ties, one.rounded)
        for one in report.differences
    ]
    opsets = ", ".join(f"{name or 'ai.onnx'} {at}" for name, at in sorted(report.opsets.items()))
    versions = ", ".join(f"{name} {at}" for name, at in sorted(report.versions.items()))
    lines = [
        f"{report.model} ({report.kind}) -> ONNX sha256:{report.onnx_sha256}",
        f"takes {', '.join(report.inputs)}; answers {', '.join(report.outputs)}",
        f"operator sets {opsets}; made with {versions}",
        table(("rows of", "rows", "labels", "differ", "largest", "ties", "rounded"), rows),
        *(f"note: {one}" for one in report.notes),
    ]
    return "\n".join(lines)


def register(model: typer.Typer) -> None:
    """Add the verb to the noun."""
    model.command("convert")(convert)
