"""What is kept of the requests and answers of a deployment, and where."""

from vallum.schema.asset import Part
from vallum.schema.record import Record


class CaptureBook(Record, frozen=True):
    """An hour or a day of one deployment, under one key, as stored."""

    id: str
    endpoint_id: str
    deployment: str
    begins_at: str
    expires_at: str


class CapturePiece(Record, frozen=True):
    """A piece of a book, as stored: JSON lines, encrypted."""

    id: str
    book_id: str
    content: Part
    records: int
    made_at: str


class Redacted(Record, frozen=True):
    """Redacted records, as JSON lines.

    Attributes:
        lines: One record a line.
        records: How many.
        failed: Records that could not be read: they are left out.
    """

    lines: bytes
    records: int
    failed: int


class CaptureHanded(Record, frozen=True):
    """What a gateway hands in: redacted records as JSON lines."""

    deployment_id: str
    lines: bytes
    records: int

    def __repr__(self) -> str:
        return f"CaptureHanded(deployment_id={self.deployment_id!r}, records={self.records})"


class CaptureNamed(Record, frozen=True):
    """Name what was captured at an endpoint.

    Attributes:
        endpoint: Name or id.
        deployment: Name; empty: all.
        since: RFC 3339 time: only what was kept from then on; empty: all.
    """

    endpoint: str
    deployment: str = ""
    since: str = ""


class CaptureBookShown(Record, frozen=True):
    """What is kept of an hour or a day."""

    deployment: str
    begins_at: str
    expires_at: str
    records: int
    bytes: int


class CapturesShown(Record, frozen=True):
    """What is kept of an endpoint."""

    endpoint: str
    books: tuple[CaptureBookShown, ...] = ()
