"""The scan as a gate calls it in the sandbox: files in, one report out."""

from dataclasses import dataclass

import msgspec

from vallum.base import InputError
from vallum.scan.files import scan_bytes
from vallum.scan.interface import onnx_interface
from vallum.scan.report import ScanReport
from vallum.schema import ModelInterface

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


def scan_files(payload: bytes) -> GateReport:
    """Scan files given as a MessagePack map of path to bytes.

    Raises:
        InputError: The payload is not one.
    """
    try:
        files = _DECODER.decode(payload)
    except msgspec.DecodeError as error:
        raise InputError("the payload is not a map of files", code="scan.payload") from error
    reports = [report for name in sorted(files) for report in scan_bytes(name, files[name]).files]
    scan = ScanReport(tuple(reports))
    graphs = [report.path for report in reports if report.format == "onnx"]
    if scan.exit_code or len(graphs) != 1:
        return GateReport(scan)
    return GateReport(scan, onnx_interface(files[graphs[0]]))
