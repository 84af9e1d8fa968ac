"""Classes of records at a node of the lattice, and whether they are protected."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from vallum.privacy.anonymize.encode import Encoded, KeyArray, sort_groups
from vallum.privacy.anonymize.hierarchy import IntArray
from vallum.privacy.anonymize.models import BoolArray, Cells, Closeness, Model


@dataclass(frozen=True)
class Classes:
    """Distinct records brought together.

    Attributes:
        order: (n,) positions in the part that was grouped.
        starts: (classes,) where each class begins in `order`.
        sizes: (classes,) rows.
    """

    order: IntArray
    starts: IntArray
    sizes: IntArray
    counts: IntArray  # (n,) rows of each distinct record, in `order`

    @cached_property
    def owner(self) -> IntArray:
        """(n,) the class of each distinct record, in `order`."""
        lengths = np.diff(np.append(self.starts, len(self.order)))
        return np.repeat(np.arange(len(self.starts)), lengths)


def classes(keys: KeyArray, counts: IntArray, mask: KeyArray) -> Classes:
    """Group records that are equal under `mask`.

    Args:
        keys: (words, n).
        counts: (n,).
        mask: (words,).
    """
    order, starts = sort_groups(keys & mask[:, None])
    held = counts[order]
    sizes = np.add.reduceat(held, starts) if len(starts) else np.zeros(0, np.int64)
    return Classes(order, starts, sizes, held)


def cells_of(table: Encoded, found: Classes, records: IntArray, chosen: IntArray, at: int) -> Cells:
    """Count sensitive column `at` in the `chosen` classes of distinct `records`."""
    sensitive = table.sensitive[at]
    place = np.full(len(found.starts), -1, np.int64)
    place[chosen] = np.arange(len(chosen))
    owner = place[found.owner]
    inside = owner >= 0
    pair = owner[inside] * sensitive.size + sensitive.codes[records[found.order[inside]]]
    order = np.argsort(pair)
    pair = pair[order]
    first = np.flatnonzero(
        np.concatenate((np.ones(min(1, len(pair)), bool), pair[1:] != pair[:-1]))
    )
    counts = np.add.reduceat(found.counts[inside][order], first) if len(first) else first
    cells = pair[first]
    starts = np.searchsorted(cells // sensitive.size, np.arange(len(chosen)))
    return Cells(starts, found.sizes[chosen], cells % sensitive.size, counts, sensitive)


def protected(
    table: Encoded, found: Classes, records: IntArray, k: int, models: Sequence[Model]
) -> BoolArray:
    """Tell which classes have k records and hold every model."""
    held: BoolArray = found.sizes >= k
    names = [one.name for one in table.sensitive]
    by_column: dict[str, list[Model]] = {}
    for model in models:
        by_column.setdefault(model.column, []).append(model)
    for name, wanted in by_column.items():
        chosen = np.flatnonzero(held)
        if not len(chosen):
            return held
        cells = cells_of(table, found, records, chosen, names.index(name))
        for model in wanted:
            held[chosen] &= model.check(cells)
    return held


def close_without_rest(
    table: Encoded, found: Classes, records: IntArray, held: BoolArray, models: Sequence[Model]
) -> bool:
    """Tell whether `held` classes stay close when all others are left out.

    Leaving records out changes the distribution that closeness is measured against.
    """
    if held.all():
        return True
    names = [one.name for one in table.sensitive]
    for model in models:
        if not isinstance(model, Closeness):
            continue
        chosen = np.flatnonzero(held)
        cells = cells_of(table, found, records, chosen, names.index(model.column))
        share = np.bincount(cells.values, weights=cells.counts, minlength=cells.sensitive.size)
        left = replace(cells, sensitive=replace(cells.sensitive, share=share / share.sum()))
        if not model.check(left).all():
            return False
    return True
