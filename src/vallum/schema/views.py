"""Masked views of data, labels and the erasure of a person.

The record that is stored comes first, then what crosses the HTTP border.
"""

from vallum.schema.record import Record


class DataView(Record, frozen=True):
    """What the masked view of a data asset shows (an authority row).

    Attributes:
        id: Of the data asset.
        recipe: `vallum.mask/1` as JSON text; a column that it does not name is not in the view.
    """

    id: str
    recipe: str
    made_by: str
    made_at: str


class DataSetView(Record, frozen=True):
    """Say what the masked view of a data asset shows; an empty recipe removes the view."""

    name: str
    recipe: str  # `vallum.mask/1` as JSON text


class DataViewShown(Record, frozen=True):
    """The masked view of a data asset."""

    name: str
    recipe: str = ""  # empty: there is none, and nothing is to be read through it
    made_at: str = ""


class DataRead(Record, frozen=True):
    """Read some columns of a data version, or its masked view."""

    name: str
    version: int | None = None
    columns: tuple[str, ...] = ()  # empty: all
    masked: bool = False


class DataUnmask(Record, frozen=True):
    """Undo the reversible masking of rows that came from a view; the body is the rows."""

    name: str
    format: str = "csv"


class DataRelabel(Record, frozen=True):
    """Set the label of a data version; lowering it needs a reason and a right of its own."""

    name: str
    label: str
    version: int | None = None
    reason: str = ""


class DataForget(Record, frozen=True):
    """Erase a person from all data of the workspace."""

    identifiers: tuple[str, ...]  # `NAME=VALUE`, NAME a column or a type
    reason: str

    def __repr__(self) -> str:
        return f"DataForget(identifiers=<{len(self.identifiers)} of a person>)"


class ErasedVersion(Record, frozen=True):
    """One version that was erased, and what stands in its place."""

    id: str
    name: str
    version: int
    why: str  # `held the person` or `made from a version that did`
    removed: int = 0  # records that the new version lacks
    replaced_by: int | None = None  # number of the new version


class ErasureCertificate(Record, frozen=True):
    """What the erasure of a person reached, and what it could not reach."""

    id: str
    made_at: str
    searched: int  # data versions
    erased: tuple[ErasedVersion, ...] = ()
    models: tuple[str, ...] = ()  # `name:version`, trained on what was erased
    readers: tuple[str, ...] = ()  # `principal step name:version time`: who may hold a copy
    survives: tuple[str, ...] = ()  # sentences
