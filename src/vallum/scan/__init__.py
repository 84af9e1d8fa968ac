"""Static findings in model files, archives and what travels with them; nothing is loaded."""

from vallum.scan.code.files import CodeRules
from vallum.scan.files import scan_bytes
from vallum.scan.folder import count_files, scan_each, scan_path
from vallum.scan.report import FileReport, ScanReport, ScanVerdict

__all__ = [
    "CodeRules",
    "FileReport",
    "ScanReport",
    "ScanVerdict",
    "count_files",
    "scan_bytes",
    "scan_each",
    "scan_path",
]
