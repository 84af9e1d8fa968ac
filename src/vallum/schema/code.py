"""Scoring code of one's own: as it is stored, asked for and shown."""

from vallum.schema.asset import Part
from vallum.schema.evidence import Evidence
from vallum.schema.record import Record

UNFROZEN = "unfrozen"
"""Named in a dry run instead of the id of scoring code that is only frozen without it."""


class ScoringCode(Record, frozen=True):
    """The code of deployments of an endpoint, as stored: it never changes.

    Attributes:
        entry: Path of the scoring script within it.
        digest: Over path, length and digest of every file; evidence is about it.
        parts: The files.
        bundle: Signature by the workspace's release key over all of them, JSON text.
    """

    id: str
    endpoint_id: str
    entry: str
    digest: str
    parts: tuple[Part, ...]
    bundle: str
    made_by: str
    made_at: str


class CodeAdd(Record, frozen=True):
    """Have a folder of scoring code scanned, signed and frozen, for deployments of an endpoint."""

    endpoint: str
    entry: str = "score.py"


class CodeShown(Record, frozen=True):
    """Scoring code that a deployment may name."""

    id: str
    endpoint: str
    entry: str
    digest: str
    files: tuple[str, ...] = ()
    evidence: tuple[Evidence, ...] = ()
