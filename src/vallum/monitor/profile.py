"""What the queries to one deployment are compared with: all that is learned from one table."""

from vallum.monitor.drift import BinState
from vallum.monitor.evasion import EvasionProfile
from vallum.monitor.extraction import ExtractionProfile
from vallum.schema import Record


class WatchProfile(Record, frozen=True):
    """Learned in a sandbox, used in a gateway; it holds records of the table.

    Attributes:
        extraction: Of theft.
        bins: Of drift.
        evasion: Of records made to be misclassified; None where they are not looked for.
        canaries: Planted records, float32 little-endian, row by row.
    """

    extraction: ExtractionProfile
    bins: BinState
    evasion: EvasionProfile | None = None
    canaries: bytes = b""


class CanaryRecords(Record, frozen=True):
    """Planted records.

    Attributes:
        width: Features of each.
        rows: Float32 little-endian, row by row.
    """

    width: int
    rows: bytes
