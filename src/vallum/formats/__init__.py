"""Bounded readers of tables, documents, archives and model files; nothing read is executed."""

from vallum.formats.document import load_json, load_yaml
from vallum.formats.table import identify_table, read_table, write_csv_safe

__all__ = ["identify_table", "load_json", "load_yaml", "read_table", "write_csv_safe"]
