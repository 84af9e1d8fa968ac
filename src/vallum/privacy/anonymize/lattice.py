"""The lattice of full-domain generalisations: a level a column, by least possible loss."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vallum.privacy.anonymize.encode import Encoded, FloatArray, KeyArray
from vallum.privacy.anonymize.hierarchy import IntArray

MAX_NODES = 400_000


@dataclass(frozen=True, slots=True)
class Lattice:
    """Nodes by increasing loss without suppression.

    Attributes:
        nodes: (nodes, columns) int8 levels.
        masks: (nodes, words) uint64, the bits that stay.
        bound: (nodes,) mean loss of a cell if nothing is suppressed.
        thinned: Whether levels were left out because there would be too many nodes.
    """

    nodes: npt.NDArray[np.int8]
    masks: KeyArray
    bound: FloatArray
    thinned: bool


def lattice(table: Encoded) -> Lattice:
    """Return the lattice of a table, at most `MAX_NODES` nodes of it."""
    choices = [list(range(column.hierarchy.levels)) for column in table.columns]
    thinned = False
    while _product(choices) > MAX_NODES:
        longest = max(range(len(choices)), key=lambda at: len(choices[at]))
        levels = choices[longest]
        thinned = True
        if len(levels) > 2:  # noqa: PLR2004 - the value itself and nothing of it
            choices[longest] = [*levels[:-1:2], levels[-1]]
        else:
            # More columns than the lattice can tell apart: the last of them go by all or nothing.
            choices[_widest(table, choices)] = levels[-1:]
    size = _product(choices)
    nodes = np.zeros((size, len(choices)), np.int8)
    step = 1
    for at, levels in enumerate(choices):
        nodes[:, at] = np.array(levels, np.int8)[np.arange(size) // step % len(levels)]
        step *= len(levels)
    masks = np.zeros((len(nodes), len(table.keys)), np.uint64)
    bound = np.zeros(len(nodes))
    weight = table.counts / max(1, table.rows)
    for at, column in enumerate(table.columns):
        own = nodes[:, at]
        masks[:, column.word] |= np.array(column.masks, np.uint64)[own]
        mean = np.bincount(column.leaf, weights=weight, minlength=column.loss.shape[1])
        bound += (column.loss @ mean)[own]
    bound /= max(1, len(table.columns))
    order = np.argsort(bound, kind="stable")
    return Lattice(nodes[order], masks[order], bound[order], thinned)


def cell_loss(table: Encoded, records: IntArray, node: npt.NDArray[np.int8]) -> FloatArray:
    """Return the mean loss over the cells of distinct `records` at a node, (records,)."""
    out = np.zeros(len(records))
    for column, level in zip(table.columns, node, strict=True):
        if level:
            out += column.loss[level][column.leaf[records]]
    return out / max(1, len(table.columns))


def _product(choices: list[list[int]]) -> int:
    size = 1
    for levels in choices:
        size *= len(levels)
    return size


def _widest(table: Encoded, choices: list[list[int]]) -> int:
    """Return the column with the most values among those that still have a choice."""
    return max(
        (at for at in range(len(choices)) if len(choices[at]) > 1),
        key=lambda at: len(table.columns[at].hierarchy.leaves),
    )
