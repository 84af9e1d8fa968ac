"""A table as packed integers: generalising a record to a node of the lattice is one AND.

Every value of a column gets the path from its hierarchy's root as bits, so that a prefix of the
bits is its label at a higher level. Equal records are kept once, with their count.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from vallum.base import InputError
from vallum.privacy.anonymize.automatic import as_texts
from vallum.privacy.anonymize.hierarchy import NULL, Hierarchy, IntArray

_WORD = 64

KeyArray = npt.NDArray[np.uint64]
FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Coded:
    """A quasi-identifier of the encoded table.

    Attributes:
        name: The column.
        hierarchy: Its labels.
        leaf: (distinct,) int64, the leaf of each distinct record.
        loss: (levels, leaves), share of the domain that a value stands for at a level, 0 to 1.
        word: Which word of the key holds its bits.
        masks: For each level, the bits of that word which stay.
    """

    name: str
    hierarchy: Hierarchy
    leaf: IntArray
    loss: FloatArray
    word: int
    masks: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Sensitive:
    """A sensitive column: (distinct,) int64 codes below `size`, and each value's share."""

    name: str
    codes: IntArray
    values: tuple[str, ...]
    share: FloatArray

    @property
    def size(self) -> int:
        """Number of different values."""
        return len(self.values)


@dataclass(frozen=True, slots=True)
class Encoded:
    """Distinct records (of quasi-identifiers and sensitive values) and where they stand.

    Attributes:
        rows: Records of the table.
        keys: (words, distinct) uint64.
        counts: (distinct,) int64, at least 1 each.
        by_record: (rows,) int64, the rows of the table, those of one record together, in the order
            of records.
    """

    rows: int
    columns: tuple[Coded, ...]
    sensitive: tuple[Sensitive, ...]
    keys: KeyArray
    counts: IntArray
    by_record: IntArray


def encode(
    frame: pl.DataFrame, hierarchies: Mapping[str, Hierarchy], sensitive: Sequence[str]
) -> Encoded:
    """Encode the named columns.

    Args:
        frame: At least one record.
        hierarchies: Quasi-identifier to its hierarchy.
        sensitive: Sensitive columns.

    Raises:
        InputError: A hierarchy lacks a value of its column.
    """
    leaves = _leaves(frame, hierarchies)
    drafts = []
    words = [0]
    for name, hierarchy in hierarchies.items():
        path, masks, bits = _paths(hierarchy)
        if words[-1] + bits > _WORD:
            words.append(0)
        drafts.append((name, hierarchy, leaves[name], path, masks, len(words) - 1, words[-1]))
        words[-1] += bits
    keys = np.zeros((len(words), frame.height), np.uint64)
    for _, _, leaf, path, _, word, shift in drafts:
        keys[word] |= (path << np.uint64(shift))[leaf]
    codes = {name: _codes(frame[name]) for name in sensitive}
    extra = [found for found, _ in codes.values()]
    order, starts = sort_groups(keys, extra)
    first = order[starts]
    counts = np.diff(np.append(starts, frame.height))
    columns = tuple(
        Coded(
            name=name,
            hierarchy=hierarchy,
            leaf=leaf[first].astype(np.int64),
            loss=_loss(hierarchy),
            word=word,
            masks=tuple(mask << shift for mask in masks),
        )
        for name, hierarchy, leaf, _, masks, word, shift in drafts
    )
    held = []
    for name, (found, values) in codes.items():
        own = found[first]
        share = np.bincount(own, weights=counts, minlength=len(values)) / frame.height
        held.append(Sensitive(name, own, values, share))
    return Encoded(frame.height, columns, tuple(held), keys[:, first], counts, order)


def sort_groups(keys: KeyArray, extra: Sequence[IntArray] = ()) -> tuple[IntArray, IntArray]:
    """Return the order that brings equal records together, and where each group starts.

    Args:
        keys: (words, n).
        extra: Further (n,) codes that tell records apart.
    """
    if len(keys) == 1 and not extra:
        order = np.argsort(keys[0])
        found = keys[0][order]
        change = found[1:] != found[:-1]
    else:
        parts = [*extra, *keys]
        order = np.lexsort(parts)
        change = np.zeros(max(0, len(order) - 1), bool)
        for part in parts:
            found = part[order]
            change |= found[1:] != found[:-1]
    starts = np.flatnonzero(np.concatenate((np.ones(min(1, len(order)), bool), change)))
    return order, starts


def _leaves(
    frame: pl.DataFrame, hierarchies: Mapping[str, Hierarchy]
) -> dict[str, npt.NDArray[np.uint32]]:
    """Return the leaf of every row; categories are matched by the engine, in parallel."""
    texts = []
    for name in hierarchies:
        column = frame[name]
        if column.dtype != pl.String:
            column = as_texts(column).alias(name)
        texts.append(column)
    found = pl.DataFrame(texts).select(
        pl.col(name)
        .fill_null(NULL)
        .cast(pl.Enum(hierarchy.leaves), strict=False)
        .to_physical()
        .cast(pl.UInt32)
        for name, hierarchy in hierarchies.items()
    )
    out = {}
    for name in hierarchies:
        missing = found[name].null_count()
        if missing:
            distinct = frame[name].filter(found[name].is_null()).n_unique()
            raise InputError(
                f"the hierarchy of `{name}` lacks {distinct} value(s) of {missing} record(s)",
                code="hierarchy.value",
                hint="add a line for each, or leave the file out to have one made",
            )
        out[name] = found[name].to_numpy()
    return out


def _codes(column: pl.Series) -> tuple[IntArray, tuple[str, ...]]:
    texts = column.fill_null(NULL) if column.dtype == pl.String else as_texts(column)
    values = texts.unique().sort()
    codes = texts.cast(pl.Enum(values)).to_physical().cast(pl.Int64).to_numpy()
    return codes, tuple(values.to_list())


def _paths(hierarchy: Hierarchy) -> tuple[KeyArray, list[int], int]:
    """Return each leaf's path as bits, the mask of every level, and the number of bits."""
    path = np.zeros(len(hierarchy.leaves), np.uint64)
    parent = hierarchy.codes[-1]
    widths = []
    for level in range(hierarchy.levels - 2, -1, -1):
        own = hierarchy.codes[level]
        size = len(hierarchy.labels[level])
        pair, index = np.unique(parent * size + own, return_inverse=True)
        above = pair // size
        first = np.searchsorted(above, above)
        child = (np.arange(len(pair)) - first)[index]
        width = int(child.max()).bit_length()
        path = (path << np.uint64(width)) | child.astype(np.uint64)
        widths.append(width)
        parent = own
    bits = sum(widths)
    masks = []
    for level in range(hierarchy.levels):
        dropped = sum(widths[hierarchy.levels - 1 - level :])
        masks.append(((1 << bits) - 1) ^ ((1 << dropped) - 1))
    return path, masks, bits


def _loss(hierarchy: Hierarchy) -> FloatArray:
    """Return (leaves below - 1) / (domain - 1) for every level and leaf."""
    real = np.array([leaf != NULL for leaf in hierarchy.leaves])
    domain = max(2, int(real.sum()))
    out = np.zeros(hierarchy.codes.shape)
    for level, codes in enumerate(hierarchy.codes):
        below = np.bincount(codes, weights=real)
        out[level] = np.clip((below[codes] - 1) / (domain - 1), 0.0, 1.0)
    out[-1] = 1.0
    out[0] = 0.0
    return out
