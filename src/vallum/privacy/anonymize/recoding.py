"""What a method decides: which node of the lattice each record is generalised to."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vallum.privacy.anonymize.encode import Encoded
from vallum.privacy.anonymize.hierarchy import IntArray

SUPPRESSED = -1


@dataclass(frozen=True, slots=True)
class Recoding:
    """Pieces of distinct records with the node that each goes to.

    Attributes:
        record: (pieces,) distinct record.
        node: (pieces,) index into `nodes`, or `SUPPRESSED`.
        rows: (pieces,) how many of the record's rows; they add up to its count.
        nodes: (nodes, columns) int8 levels.
        optimal: Whether no full-domain recoding within the limit loses less.
        thinned: Whether the lattice was too large to be looked at whole.
    """

    record: IntArray
    node: IntArray
    rows: IntArray
    nodes: npt.NDArray[np.int8]
    optimal: bool = False
    thinned: bool = False

    @property
    def suppressed(self) -> int:
        """Rows left out."""
        return int(self.rows[self.node == SUPPRESSED].sum())


def loss_of(table: Encoded, made: Recoding) -> float:
    """Return the mean loss of a quasi-identifier cell; a suppressed one loses 1.

    Source: LM of Iyengar 2002, with (leaves - 1) / (domain - 1).
    """
    width = max(1, len(table.columns))
    lost = np.where(made.node == SUPPRESSED, float(width), 0.0)
    kept = made.node != SUPPRESSED
    levels = made.nodes[made.node[kept]]
    for at, column in enumerate(table.columns):
        lost[kept] += column.loss[levels[:, at], column.leaf[made.record[kept]]]
    return float((lost * made.rows).sum() / width / max(1, table.rows))


def rows_of_pieces(table: Encoded, made: Recoding, chosen: IntArray) -> IntArray:
    """Return the table's rows of the `chosen` pieces, one piece after the other."""
    by_record = np.argsort(made.record, kind="stable")
    starts = np.empty(len(made.rows), np.int64)
    starts[by_record] = np.cumsum(made.rows[by_record]) - made.rows[by_record]
    lengths = made.rows[chosen]
    first = np.repeat(starts[chosen] - (np.cumsum(lengths) - lengths), lengths)
    return table.by_record[first + np.arange(len(first))]
