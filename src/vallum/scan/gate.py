"""The scan as a gate calls it in the sandbox: files in, one report out."""

import msgspec

from vallum.base import InputError
from vallum.scan.files import scan_bytes
from vallum.scan.report import ScanReport

_DECODER = msgspec.msgpack.Decoder(dict[str, bytes])


def scan_files(payload: bytes) -> ScanReport:
    """Scan files given as a MessagePack map of path to bytes.

    Raises:
        InputError: The payload is not one.
    """
    try:
        files = _DECODER.decode(payload)
    except msgspec.DecodeError as error:
        raise InputError("the payload is not a map of files", code="scan.payload") from error
    reports = [report for name in sorted(files) for report in scan_bytes(name, files[name]).files]
    return ScanReport(tuple(reports))
