"""Tensors that ONNX keeps in files of their own, beside the graph.

Such a file is numbers and nothing else: no format tells so, the graph does. It passes when the
tensors of the graphs beside it cover it to its last byte and what is between them is zero.
"""

import mmap
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

from vallum.formats import OnnxOutside
from vallum.scan.report import FileReport, ScanVerdict

_PLAIN = re.compile(r"^[\w-][\w.+ -]{0,200}$")
_UNKNOWN, _EMPTY = "file.unknown-format", "file.empty"

Span = tuple[str, int, int]
"""The name of a file beside a graph, and the first and the last byte (exclusive) of a tensor."""


def claim(graph: Path, spans: list[Span], outside: OnnxOutside) -> bool:
    """Note a tensor of the file `graph`; False unless it lies in a plain file beside it."""
    path = graph.parent / outside.place
    if not _PLAIN.match(outside.place) or path.is_symlink() or not path.is_file():
        return False
    size = path.stat().st_size
    end = size if outside.length is None else outside.offset + outside.length
    if outside.offset > end or end > size:
        return False
    spans.append((outside.place, outside.offset, end))
    return True


class Outside:
    """Keeps which bytes of which file the graphs of one folder ask for."""

    def __init__(self) -> None:
        self._spans: dict[Path, list[tuple[int, int]]] = defaultdict(list)

    def note(self, graph: Path, spans: Iterable[Span]) -> None:
        """Keep what `claim` noted of one graph."""
        for name, start, end in spans:
            self._spans[graph.parent / name].append((start, end))

    def settle(self, waiting: list[FileReport]) -> Iterator[FileReport]:
        """Yield the reports of files of no known format, or empty; those that are tensors pass."""
        for report in waiting:
            spans = self._spans.get(Path(report.path), [])
            ids = {finding.id for finding in report.findings}
            if ids == {_EMPTY} and _is_left_by_torch(Path(report.path)):
                yield FileReport(report.path, report.sha256, "empty", ScanVerdict.CLEAN, ())
            elif spans and ids == {_UNKNOWN} and _covered(Path(report.path), spans):
                yield FileReport(report.path, report.sha256, "onnx-data", ScanVerdict.CLEAN, ())
            else:
                yield report


def _is_left_by_torch(path: Path) -> bool:
    """Whether an empty file is the one that torch's exporter leaves where no tensor is large."""
    return path.name.endswith(".onnx.data") and path.with_suffix("").is_file()


def _covered(path: Path, spans: list[tuple[int, int]]) -> bool:
    at = 0
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        for start, end in sorted(set(spans)):
            if start < at or any(data[at:start]):
                return False
            at = end
        return at == len(data)
