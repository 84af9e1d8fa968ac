"""Every limit on untrusted input, in one place. Units are in the names.

A parser takes the record that belongs to it as an argument with the default below; a test checks
that every field is used.
"""

from dataclasses import dataclass

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB


@dataclass(frozen=True, slots=True)
class JsonBounds:
    """Limits on JSON and YAML documents that people or programs send."""

    max_bytes: int = 16 * MIB
    max_depth: int = 32
    max_nodes: int = 1_000_000


@dataclass(frozen=True, slots=True)
class ArchiveBounds:
    """Limits on zip and tar archives, checked before a member is read."""

    max_bytes: int = 16 * GIB
    max_entries: int = 10_000
    max_member_bytes: int = 16 * GIB
    max_total_bytes: int = 32 * GIB
    max_ratio: int = 200  # expanded to packed; a zip bomb's overlap-free member has about 1,030
    max_name_bytes: int = 1_024
    max_depth: int = 3  # archives within archives


@dataclass(frozen=True, slots=True)
class ImageBounds:
    """Limits on container images in an OCI layout."""

    max_document_bytes: int = 4 * MIB  # a manifest or configuration; registries' own limit
    max_images: int = 64  # platforms of one index
    max_layers: int = 256
    max_layer_bytes: int = 32 * GIB  # expanded
    max_total_bytes: int = 64 * GIB  # of all layers, expanded
    max_ratio: int = 200
    max_entries: int = 2_000_000  # of all layers
    max_path_bytes: int = 4_096
    max_links: int = 40  # followed for one path; as the kernel
    max_database_bytes: int = 256 * MIB  # of installed packages
    max_kept_bytes: int = 512 * MIB  # of what is read as a whole
    max_text_bytes: int = 1 * MIB  # a file that is searched for secrets
    max_packages: int = 200_000


@dataclass(frozen=True, slots=True)
class TableBounds:
    """Limits on uploaded tables."""

    max_bytes: int = 8 * GIB
    max_columns: int = 16_384
    max_rows: int = 1_000_000_000
    max_cell_bytes: int = 1 * MIB


@dataclass(frozen=True, slots=True)
class ArrayBounds:
    """Limits on NumPy arrays."""

    max_bytes: int = 8 * GIB
    max_header_bytes: int = 10_000  # numpy's own limit
    max_dimensions: int = 8


@dataclass(frozen=True, slots=True)
class ModelBounds:
    """Limits on model files and what they declare."""

    max_bytes: int = 64 * GIB
    max_header_bytes: int = 16 * MIB  # safetensors' own limit is 100; the largest seen have 8
    max_tensors: int = 100_000
    max_dimensions: int = 32
    max_nodes: int = 200_000
    max_opcodes: int = 10_000_000
    max_stack: int = 1_000_000


MAX_TOKEN_BYTES = 8 * KIB  # what proves who calls: our keys, and other issuers' tokens

JSON = JsonBounds()
ARCHIVE = ArchiveBounds()
TABLE = TableBounds()
ARRAY = ArrayBounds()
MODEL = ModelBounds()
IMAGE = ImageBounds()
