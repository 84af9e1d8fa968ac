"""Bounded readers of tables, documents, archives and model files; nothing read is executed.

What needs polars or NumPy is loaded when it is asked for: a command that reads no table, and a
sandboxed process for a document, start in a third of the time.
"""

from typing import TYPE_CHECKING

from vallum.formats.checksum import crc32_of, release
from vallum.formats.document import every_yaml, load_json, load_yaml
from vallum.formats.exported_program import is_exported, without_pickles
from vallum.formats.member import Member
from vallum.formats.onnx_header import OnnxHeader, OnnxOutside, OnnxValue, read_onnx_header
from vallum.formats.parquet_footer import ParquetFooter, read_footer
from vallum.formats.protobuf import Field, fields
from vallum.formats.ranged import Ranged, View
from vallum.formats.safetensors_header import (
    SafetensorsHeader,
    TensorInfo,
    read_safetensors_header,
)
from vallum.formats.tar_archive import TarArchive
from vallum.formats.tar_stream import TarEntry, read_tar
from vallum.formats.zip_archive import ZipArchive

if TYPE_CHECKING:
    from vallum.formats.npz import read_npy, read_npz
    from vallum.formats.pieces import Piece, Span, table_pieces
    from vallum.formats.table import identify_table, read_table, write_csv_safe, write_table

__all__ = [
    "Field",
    "Member",
    "OnnxHeader",
    "OnnxOutside",
    "OnnxValue",
    "ParquetFooter",
    "Piece",
    "Ranged",
    "SafetensorsHeader",
    "Span",
    "TarArchive",
    "TarEntry",
    "TensorInfo",
    "View",
    "ZipArchive",
    "crc32_of",
    "every_yaml",
    "fields",
    "identify_table",
    "is_exported",
    "load_json",
    "load_yaml",
    "read_footer",
    "read_npy",
    "read_npz",
    "read_onnx_header",
    "read_safetensors_header",
    "read_table",
    "read_tar",
    "release",
    "table_pieces",
    "without_pickles",
    "write_csv_safe",
    "write_table",
]


def __getattr__(name: str) -> object:
    """Load a reader of tables or arrays the first time that it is named."""
    if name in {"read_npy", "read_npz"}:
        from vallum.formats import npz

        return getattr(npz, name)
    if name in {"Piece", "Span", "table_pieces"}:
        from vallum.formats import pieces

        return getattr(pieces, name)
    if name in {"identify_table", "read_table", "write_csv_safe", "write_table"}:
        from vallum.formats import table

        return getattr(table, name)
    raise AttributeError(f"module `vallum.formats` has no attribute `{name}`")
