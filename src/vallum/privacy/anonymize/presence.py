"""Delta-presence: how sure one can be that a person of a public table is in the private one.

The private table T is part of a public population P. Both are generalised alike; a person of P
whose class has t records in T and p in P is in T with the chance t / p, which must lie between two
bounds in every class of P. Source: Nergiz, Atzori and Clifton, SIGMOD 2007 (definition 5).
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation

import numpy as np
import polars as pl

from vallum.base import GateError, InputError
from vallum.privacy.anonymity import PresenceCheck, check_presence
from vallum.privacy.anonymize.automatic import as_texts
from vallum.privacy.anonymize.classes import Classes, classes
from vallum.privacy.anonymize.encode import Encoded, KeyArray, encode, sort_groups
from vallum.privacy.anonymize.hierarchy import NULL, Hierarchy, IntArray
from vallum.privacy.anonymize.models import BoolArray

_PARTS = 10**6  # bounds are millionths, so that comparing them is exact
_READINGS = 64  # of a table's levels, that a check goes through


@dataclass(frozen=True, slots=True)
class Range:
    """The least and the greatest share, in millionths."""

    low: int
    high: int

    @property
    def name(self) -> str:
        """The requirement, as reports name it."""
        return f"presence {self.low / _PARTS:g}:{self.high / _PARTS:g}"

    def met_by(self, found: PresenceCheck) -> bool:
        """Tell whether an independent count meets the bounds."""
        return self.low / _PARTS <= found.low and found.high <= self.high / _PARTS


def parse_bounds(text: str) -> Range:
    """Read `0.1:0.8`.

    Raises:
        InputError: It is not two rising numbers from 0 to 1, with at most six decimal places.
    """
    try:
        low, high = (Decimal(part) * _PARTS for part in text.split(":"))
        if not (0 <= low <= high <= _PARTS) or low != int(low) or high != int(high):
            raise ValueError(text)
    except (ValueError, InvalidOperation) as error:
        raise InputError(
            f"`{text[:80]}` is no presence: two numbers from 0 to 1, the lower one first",
            code="privacy.presence",
            hint="0.1:0.8; at most six decimal places",
        ) from error
    return Range(int(low), int(high))


@dataclass(frozen=True, slots=True)
class Presence:
    """The population, encoded like the table.

    Attributes:
        bounds: What every class of the population must keep to.
        rows: Records of the population.
        keys: (words, n) of its distinct records.
        counts: (n,) records of each.
        record: (distinct,) which of them each distinct record of the table is.
    """

    bounds: Range
    rows: int
    keys: KeyArray
    counts: IntArray
    record: IntArray

    @staticmethod
    def of(
        table: Encoded, population: pl.DataFrame, used: Mapping[str, Hierarchy], bounds: Range
    ) -> "Presence":
        """Encode a population.

        Raises:
            InputError: A record of the table has no counterpart in it, or a hierarchy lacks a
                value of it.
            GateError: The table is too large or too small a part of it for the bounds.
        """
        whole = encode(population, used, ())
        order, starts = sort_groups(np.concatenate((table.keys, whole.keys), axis=1))
        group = np.empty(len(order), np.int64)
        group[order] = np.repeat(np.arange(len(starts)), np.diff(np.append(starts, len(order))))
        mine, theirs = group[: len(table.counts)], group[len(table.counts) :]
        place = np.full(len(starts), -1, np.int64)
        place[theirs] = np.arange(len(theirs))
        there = np.zeros(len(starts), np.int64)
        there[theirs] = whole.counts
        here = np.bincount(mine, weights=table.counts, minlength=len(starts)).astype(np.int64)
        lacking = int(np.maximum(here - there, 0).sum())
        if lacking:
            raise InputError(
                f"{lacking} record(s) of the table have no counterpart in the population",
                code="privacy.population",
                hint="it must hold everybody in the table, in columns written alike",
            )
        made = Presence(bounds, whole.rows, whole.keys, whole.counts, place[mine])
        if not made._within(table.rows, whole.rows):
            raise GateError(
                f"the table is {table.rows / whole.rows:.2%} of the population: no generalisation "
                f"keeps to {bounds.name}",
                code="gate.anonymity",
                hint="the bounds must include that share",
            )
        return made

    def _within(self, here: int, there: int) -> bool:
        scaled = here * _PARTS
        return self.bounds.low * there <= scaled <= self.bounds.high * there

    def sizes(self, found: Classes, mask: KeyArray) -> IntArray:
        """Return the population's records of each class, (classes,)."""
        whole = classes(self.keys, self.counts, mask)
        owner = np.empty(len(self.counts), np.int64)
        owner[whole.order] = whole.owner
        out: IntArray = whole.sizes[owner[self.record[found.order[found.starts]]]]
        return out

    def holds(self, found: Classes, sizes: IntArray) -> BoolArray:
        """Tell which classes of the table keep to the bounds, given the population's `sizes`."""
        here = found.sizes * _PARTS
        out: BoolArray = (here >= self.bounds.low * sizes) & (here <= self.bounds.high * sizes)
        return out

    def allows(self, suppressed: int, shown: int) -> bool:
        """Tell whether the records that are left out hide among those of the population.

        Who is of a class that the table does not show is known to be left out or not in it. A
        lower bound above 0 allows no such class.

        Args:
            suppressed: Records of the table that are left out.
            shown: Records of the population in the classes that the table shows.
        """
        rest = self.rows - shown
        if self.bounds.low:
            return rest == 0
        return suppressed * _PARTS <= self.bounds.high * rest


def generalised(
    population: pl.DataFrame, hierarchies: Mapping[str, Hierarchy], levels: Sequence[int]
) -> pl.DataFrame:
    """Return the columns of the hierarchies, each at one level, in the order of the records.

    Raises:
        InputError: A column is missing, or its hierarchy lacks a value.
    """
    out = []
    for (name, hierarchy), level in zip(hierarchies.items(), levels, strict=True):
        if name not in population.columns:
            raise InputError(f"the population has no column `{name}`", code="privacy.population")
        texts = as_texts(population[name])
        labels = hierarchy.labels[level]
        shown = [labels[code] for code in hierarchy.codes[level]]
        made = texts.replace_strict(
            list(hierarchy.leaves), shown, default=None, return_dtype=pl.String
        )
        if lost := made.null_count():
            raise InputError(
                f"the hierarchy of `{name}` lacks values of {lost} record(s) of the population",
                code="hierarchy.value",
            )
        blank = made == NULL
        out.append(made.set(blank, None).alias(name))
    return pl.DataFrame(out)


def measure_presence(
    table: pl.DataFrame,
    population: pl.DataFrame,
    quasi_identifiers: Sequence[str],
    hierarchies: Mapping[str, Hierarchy] | None = None,
) -> PresenceCheck:
    """Count the presence in a table as it would be published.

    Args:
        table: One level a column, as the method `global` makes it.
        population: Everybody: as they are in the columns that have a hierarchy here, generalised
            like the table in the others.
        quasi_identifiers: Columns by which a person could be recognised.
        hierarchies: Column to hierarchy. The level is read off the table's labels; where several
            would do, the worst counts.

    Raises:
        InputError: A column is missing, the population lacks records of the table, or labels are
            of no single level.
    """
    used = {name: one for name, one in (hierarchies or {}).items() if name in quasi_identifiers}
    for name in quasi_identifiers:
        if name not in table.columns:
            raise InputError(f"the table has no column `{name}`", code="privacy.column")
        if name not in population.columns:
            raise InputError(f"the population has no column `{name}`", code="privacy.population")
    choices = [_levels(table[name], one) for name, one in used.items()]
    if math.prod(len(one) for one in choices) > _READINGS:
        raise InputError(
            "the table's labels do not tell its levels",
            code="privacy.presence",
            hint="give the generalised population, which --population-output writes, without "
            "--hierarchies",
        )
    found, wrong = [], None
    for levels in itertools.product(*choices):
        made = generalised(population, used, levels).get_columns()
        alike = population.with_columns(made)
        try:
            found.append(check_presence(table, alike, quasi_identifiers))
        except InputError as error:
            wrong = error
    if wrong is not None and not found:
        raise wrong
    return PresenceCheck(
        low=min(one.low for one in found),
        high=max(one.high for one in found),
        classes=max(one.classes for one in found),
        absent=max(one.absent for one in found),
    )


def _levels(column: pl.Series, hierarchy: Hierarchy) -> list[int]:
    shown = set(as_texts(column).unique())
    found = [level for level, labels in enumerate(hierarchy.labels) if shown <= set(labels)]
    if not found:
        raise InputError(
            f"`{column.name}` has labels that are of no single level of its hierarchy",
            code="privacy.presence",
            hint="only the method `global` has one level a column",
        )
    return found
