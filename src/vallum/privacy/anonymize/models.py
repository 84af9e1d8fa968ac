"""What a class of records must satisfy beside its size: l-diversity and t-closeness.

Sources: Machanavajjhala et al. 2007 (distinct, entropy and recursive l-diversity); Li, Li and
Venkatasubramanian 2007 (t-closeness with equal, ordered and hierarchical distance).
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from vallum.base import InputError
from vallum.privacy.anonymity import Diversity
from vallum.privacy.anonymize.encode import FloatArray, Sensitive
from vallum.privacy.anonymize.hierarchy import Hierarchy, IntArray

BoolArray = npt.NDArray[np.bool_]

_CHUNK = 2_000_000  # numbers of a dense table of classes by values
_SLACK = 1e-9


@dataclass(frozen=True)
class Cells:
    """How often each class has each sensitive value; one cell a pair that occurs.

    Attributes:
        starts: (classes,) first cell of each class.
        sizes: (classes,) records of each class.
        values: (cells,) code of the sensitive value.
        counts: (cells,) records.
        sensitive: The column, with each value's share of the whole table.
    """

    starts: IntArray
    sizes: IntArray
    values: IntArray
    counts: IntArray
    sensitive: Sensitive

    @cached_property
    def distinct(self) -> IntArray:
        """(classes,) number of different values."""
        return np.diff(np.append(self.starts, len(self.values)))

    @cached_property
    def owner(self) -> IntArray:
        """(cells,) the class of each cell."""
        return np.repeat(np.arange(len(self.starts)), self.distinct)

    def total(self, of_cells: FloatArray) -> FloatArray:
        """Sum over the cells of each class."""
        if not len(self.starts):
            return np.zeros(0)
        sums: FloatArray = np.add.reduceat(of_cells, self.starts)
        return sums

    def dense(self, chosen: IntArray) -> Iterator[tuple[IntArray, FloatArray]]:
        """Yield `chosen` classes in bounded parts, each with its (classes, values) counts."""
        width = max(1, self.sensitive.size)
        step = max(1, _CHUNK // width)
        place = np.full(len(self.starts), -1, np.int64)
        for begin in range(0, len(chosen), step):
            part = chosen[begin : begin + step]
            place[:] = -1
            place[part] = np.arange(len(part))
            row = place[self.owner]
            inside = row >= 0
            table = np.zeros((len(part), width))
            table[row[inside], self.values[inside]] = self.counts[inside]
            yield part, table


class Model(ABC):
    """A requirement on the sensitive values of a class."""

    monotone = False  # whether a class that holds still holds after joining any other

    def __init__(self, column: str) -> None:
        self.column = column

    @property
    @abstractmethod
    def name(self) -> str:
        """The requirement, as reports name it."""

    @abstractmethod
    def met_by(self, found: Diversity) -> bool:
        """Tell whether an independent count meets the requirement."""

    @abstractmethod
    def possible(self, cells: Cells) -> BoolArray:
        """Tell cheaply which classes may hold after leaving some records out."""

    @abstractmethod
    def holds(self, counts: FloatArray, share: FloatArray) -> BoolArray:
        """Tell for (classes, values) counts which classes hold; empty ones do not."""

    @abstractmethod
    def lacking(self, counts: FloatArray, share: FloatArray) -> FloatArray:
        """Tell how far (classes, values) counts are from holding; not above 0 where they do."""

    def shrunk(self, counts: FloatArray, share: FloatArray) -> FloatArray:
        """Return the most of each class that may hold, leaving over-represented values out."""
        del share
        return counts

    def check(self, cells: Cells) -> BoolArray:
        """Tell which classes hold."""
        out = np.zeros(len(cells.starts), bool)
        for part, table in cells.dense(np.flatnonzero(self.possible(cells))):
            out[part] = self.holds(table, cells.sensitive.share)
        return out


class DistinctDiversity(Model):
    """At least `least` different values."""

    monotone = True

    def __init__(self, column: str, least: int) -> None:
        super().__init__(column)
        if least < 1:
            raise InputError("l is at least 1", code="privacy.l")
        self.least = least

    @property
    def name(self) -> str:
        return f"distinct-{self.least}-diversity"

    def met_by(self, found: Diversity) -> bool:
        return found.distinct >= self.least

    def possible(self, cells: Cells) -> BoolArray:
        return cells.distinct >= self.least

    def holds(self, counts: FloatArray, share: FloatArray) -> BoolArray:
        del share
        held: BoolArray = (counts > 0).sum(axis=1) >= self.least
        return held

    def lacking(self, counts: FloatArray, share: FloatArray) -> FloatArray:
        del share
        missing: FloatArray = self.least - (counts > 0).sum(axis=1).astype(np.float64)
        return missing

    def check(self, cells: Cells) -> BoolArray:
        return self.possible(cells)


class _Capped(Model):
    """A model that a class meets once its most frequent values are cut to the same count."""

    def __init__(self, column: str, least: float) -> None:
        super().__init__(column)
        if not 1.0 <= least < 1e9:  # noqa: PLR2004 - any bound: no table has as many values
            raise InputError("l is at least 1", code="privacy.l")
        self.least = least

    def possible(self, cells: Cells) -> BoolArray:
        return cells.distinct >= self.least - _SLACK

    def shrunk(self, counts: FloatArray, share: FloatArray) -> FloatArray:
        low, high = np.zeros(len(counts)), counts.max(axis=1, initial=0.0)
        while (low < high).any():
            middle = np.ceil((low + high) / 2)
            held = self.holds(np.minimum(counts, middle[:, None]), share)
            low, high = np.where(held, middle, low), np.where(held, high, middle - 1)
        return np.minimum(counts, low[:, None])


class EntropyDiversity(_Capped):
    """Entropy of the values at least log `least`."""

    @property
    def name(self) -> str:
        return f"entropy-{self.least:g}-diversity"

    def met_by(self, found: Diversity) -> bool:
        return found.entropy >= self.least * (1 - 1e-6)

    def holds(self, counts: FloatArray, share: FloatArray) -> BoolArray:
        held: BoolArray = (self.lacking(counts, share) <= _SLACK) & (counts.sum(axis=1) > 0)
        return held

    def lacking(self, counts: FloatArray, share: FloatArray) -> FloatArray:
        del share
        size = np.maximum(counts.sum(axis=1), 1.0)
        logs = np.log(np.where(counts > 0, counts, 1.0))
        entropy = np.log(size) - (counts * logs).sum(axis=1) / size
        short: FloatArray = np.log(self.least) - entropy
        return short


class RecursiveDiversity(_Capped):
    """The most frequent value is rarer than `factor` times all from the `least`-th on together."""

    def __init__(self, column: str, factor: float, least: int) -> None:
        super().__init__(column, least)
        if not 0.0 < factor < 1e9:  # noqa: PLR2004 - any bound: no table has as many records
            raise InputError("c of recursive diversity is above 0", code="privacy.l")
        self.factor = factor

    @property
    def name(self) -> str:
        return f"recursive-({self.factor:g},{self.least:g})-diversity"

    def met_by(self, found: Diversity) -> bool:
        return found.recursive.get(int(self.least), float("inf")) < self.factor

    def holds(self, counts: FloatArray, share: FloatArray) -> BoolArray:
        held: BoolArray = self.lacking(counts, share) < 0
        return held

    def lacking(self, counts: FloatArray, share: FloatArray) -> FloatArray:
        del share
        ordered = -np.sort(-counts, axis=1)
        tail = ordered[:, int(self.least) - 1 :].sum(axis=1)
        short: FloatArray = ordered.max(axis=1, initial=0.0) - self.factor * tail
        return short


Distance = Callable[[FloatArray], FloatArray]


class Closeness(Model):
    """Distance of a class's distribution to the table's at most `limit`.

    Args:
        column: The sensitive column.
        limit: 0 to 1.
        distance: `equal`, `ordered` or `hierarchical`.
        values: The column's values in the order of their codes.
        hierarchy: Of the sensitive column, for the hierarchical distance.
    """

    def __init__(
        self,
        column: str,
        limit: float,
        distance: str,
        values: tuple[str, ...],
        hierarchy: Hierarchy | None = None,
    ) -> None:
        super().__init__(column)
        if not 0.0 <= limit <= 1.0:
            raise InputError("t is between 0 and 1", code="privacy.t")
        self.limit = limit
        self.kind = distance
        self._distance = _distance(column, distance, values, hierarchy)

    @property
    def name(self) -> str:
        return f"{self.limit:g}-closeness ({self.kind})"

    def met_by(self, found: Diversity) -> bool:
        reached = {
            "equal": found.t_equal, "ordered": found.t_ordered, "hierarchical": found.t_hierarchical
        }[self.kind]  # fmt: skip
        return reached <= self.limit + 1e-6

    def possible(self, cells: Cells) -> BoolArray:
        if self.kind != "equal":
            return cells.sizes > 0
        # Whatever is left out, the absent values stay absent.
        present = cells.total(cells.sensitive.share[cells.values])
        return present >= 1.0 - self.limit - _SLACK

    def holds(self, counts: FloatArray, share: FloatArray) -> BoolArray:
        size = counts.sum(axis=1)
        far = self._distance(counts / np.maximum(size, 1.0)[:, None] - share)
        held: BoolArray = (far <= self.limit + _SLACK) & (size > 0)
        return held

    def lacking(self, counts: FloatArray, share: FloatArray) -> FloatArray:
        size = counts.sum(axis=1)
        far = self._distance(counts / np.maximum(size, 1.0)[:, None] - share)
        # In records: what joins is measured by how many of them it makes up for.
        surplus: FloatArray = (far - self.limit) * size
        return surplus

    def shrunk(self, counts: FloatArray, share: FloatArray) -> FloatArray:
        full = self.holds(counts, share)
        low, high = np.zeros(len(counts)), counts.sum(axis=1)
        for _ in range(14):
            middle = (low + high) / 2
            held = self.holds(_filled(counts, share, middle), share)
            low, high = np.where(held, middle, low), np.where(held, high, middle)
        found = _filled(counts, share, np.floor(low))
        return np.where(full[:, None], counts, found)


def _filled(counts: FloatArray, share: FloatArray, size: FloatArray) -> FloatArray:
    """Take about `size` records of each class, as near to `share` as its counts allow."""
    base = np.floor(np.minimum(counts, share * size[:, None]))
    excess = counts - base
    room = np.maximum(0.0, size - base.sum(axis=1))
    part = np.minimum(1.0, room / np.maximum(excess.sum(axis=1), 1.0))
    filled: FloatArray = base + np.floor(excess * part[:, None])
    return filled


def _distance(
    column: str, kind: str, values: tuple[str, ...], hierarchy: Hierarchy | None
) -> Distance:
    """Return the earth mover's distance of (classes, values) differences to the whole table."""
    if kind == "equal":
        return lambda extra: np.abs(extra).sum(axis=1) / 2
    if kind == "ordered":
        order = _rank(values)
        span = max(1, len(values) - 1)
        return lambda extra: np.abs(np.cumsum(extra[:, order], axis=1)).sum(axis=1) / span
    if kind != "hierarchical":
        raise InputError(
            f"`{kind}` is no distance: equal, ordered or hierarchical", code="privacy.t"
        )
    if hierarchy is None:
        raise InputError(
            f"the hierarchical distance needs a hierarchy of `{column}`",
            code="privacy.t",
            hint="put `<name>_hierarchy_<column>.csv` beside the others",
        )
    place = {leaf: at for at, leaf in enumerate(hierarchy.leaves)}
    missing = sum(value not in place for value in values)
    if missing:
        raise InputError(
            f"the hierarchy of `{column}` lacks {missing} value(s)", code="hierarchy.value"
        )
    leaf = np.array([place[value] for value in values], np.int64)
    return _hierarchical(hierarchy, leaf)


def _hierarchical(hierarchy: Hierarchy, leaf: IntArray) -> Distance:
    """Sum over inner nodes of height/H × min(surplus, deficit) among their children."""
    height = hierarchy.levels - 1
    # For each level, which labels below (columns of the level before) belong to which above.
    steps = []
    below = np.arange(len(leaf))
    first = below
    for level in range(1, hierarchy.levels):
        parents, index = np.unique(hierarchy.codes[level][leaf][first], return_inverse=True)
        member = np.zeros((len(first), len(parents)))
        member[np.arange(len(first)), index] = 1.0
        steps.append((level / height, member))
        _, place = np.unique(index, return_index=True)
        first = first[place]

    def distance(extra: FloatArray) -> FloatArray:
        out = np.zeros(len(extra))
        for cost, member in steps:
            surplus = np.maximum(extra, 0.0) @ member
            deficit = np.maximum(-extra, 0.0) @ member
            out += cost * np.minimum(surplus, deficit).sum(axis=1)
            extra = extra @ member
        return out

    return distance


def _rank(values: tuple[str, ...]) -> IntArray:
    try:
        return np.argsort([float(value) for value in values], kind="stable").astype(np.int64)
    except ValueError:
        return np.arange(len(values))
