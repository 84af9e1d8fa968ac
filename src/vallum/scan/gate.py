"""The scan as a gate calls it in the sandbox: files in, one report out."""

from dataclasses import dataclass, replace
from pathlib import PurePosixPath

import msgspec

from vallum.base import InputError
from vallum.formats import read_onnx_header
from vallum.scan.code.files import CodeRules
from vallum.scan.files import scan_bytes
from vallum.scan.interface import onnx_interface
from vallum.scan.report import FileReport, ScanReport
from vallum.schema import ModelInterface

_EXTERNAL, _UNKNOWN = "onnx.external-data", "file.unknown-format"
_FIX = (
    "a model is served from one file: write it with "
    "`onnx.save_model(onnx.load(path), new, save_as_external_data=False)`"
)
_DECODER = msgspec.msgpack.Decoder(dict[str, bytes])


@dataclass(frozen=True, slots=True)
class GateReport:
    """What the gate learns from the files of a model.

    Attributes:
        scan: The findings.
        interface: Of the one ONNX file among them; None where there is none, or several.
    """

    scan: ScanReport
    interface: ModelInterface | None = None


def _files_of(payload: bytes) -> dict[str, bytes]:
    """Return the files of a payload by path.

    Raises:
        InputError: It is not a MessagePack map of them.
    """
    try:
        return _DECODER.decode(payload)
    except msgspec.DecodeError as error:
        raise InputError("the payload is not a map of files", code="scan.payload") from error


def _rules_for(name: str, count: int) -> CodeRules | None:
    """Return rules of code for a notebook beside a model: no loader runs it, people read it."""
    return CodeRules() if count > 1 and name.lower().endswith(".ipynb") else None


def scan_files(payload: bytes) -> GateReport:
    """Scan files given as a MessagePack map of path to bytes.

    Raises:
        InputError: The payload is not one.
    """
    files = _files_of(payload)
    reports = [
        report
        for name in sorted(files)
        for report in scan_bytes(name, files[name], code=_rules_for(name, len(files))).files
    ]
    reports = _tell_the_fix(reports, files)
    scan = ScanReport(tuple(reports))
    graphs = [report.path for report in reports if report.format == "onnx"]
    if scan.exit_code or len(graphs) != 1:
        return GateReport(scan)
    return GateReport(scan, onnx_interface(files[graphs[0]]))


def _tell_the_fix(reports: list[FileReport], files: dict[str, bytes]) -> list[FileReport]:
    """Say of tensors beside a graph, and of the file that holds them, what to do about them.

    They stay refused: a model is loaded from the bytes of one file, which cannot name another.
    """
    graphs: dict[str, str] = {}
    for report in reports:
        if any(one.id == _EXTERNAL for one in report.findings) and report.format == "onnx":
            folder = PurePosixPath(report.path).parent
            for outside in read_onnx_header(files[report.path]).external_data:
                graphs[str(folder / outside.place)] = report.path
                graphs[report.path] = report.path
    told = []
    for report in reports:
        graph = graphs.get(report.path, "")
        findings = [
            msgspec.structs.replace(one, message=f"{one.message}; {_FIX}")
            if graph == report.path and one.id == _EXTERNAL
            else msgspec.structs.replace(one, message=f"tensors of `{graph[:80]}`; {_FIX}")
            if graph and one.id == _UNKNOWN
            else one
            for one in report.findings
        ]
        told.append(replace(report, findings=tuple(findings)))
    return told


def scan_code_files(payload: bytes) -> ScanReport:
    """Scan scoring code given as a MessagePack map of path to bytes, by the rules of code.

    Raises:
        InputError: The payload is not one.
    """
    files = _files_of(payload)
    rules = CodeRules()
    reports = [
        report
        for name in sorted(files)
        for report in scan_bytes(name, files[name], code=rules).files
    ]
    return ScanReport(tuple(reports))
