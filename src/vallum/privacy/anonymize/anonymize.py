"""Anonymize a table: from its columns and requirements to a protected table and what it cost."""

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import polars as pl

from vallum.base import GateError, InputError
from vallum.privacy.anonymity import (
    AnonymityCheck,
    PresenceCheck,
    check_anonymity,
    check_presence,
)
from vallum.privacy.anonymize.automatic import automatic_hierarchy
from vallum.privacy.anonymize.encode import Encoded, encode
from vallum.privacy.anonymize.hierarchy import NULL, TOP, Hierarchy, IntArray
from vallum.privacy.anonymize.local import best_local
from vallum.privacy.anonymize.models import (
    Closeness,
    DistinctDiversity,
    EntropyDiversity,
    Model,
    RecursiveDiversity,
)
from vallum.privacy.anonymize.mondrian import mondrian
from vallum.privacy.anonymize.presence import Presence, generalised, parse_bounds
from vallum.privacy.anonymize.recoding import SUPPRESSED, Recoding, loss_of, rows_of_pieces
from vallum.privacy.anonymize.search import Progress, best_global, silent

Method = Literal["auto", "global", "local", "mondrian"]
METHODS: tuple[Method, ...] = ("auto", "global", "local", "mondrian")
_LEAST_S = 0.5  # of `auto` for the global search, which of a small table takes less
MAX_COLUMNS = 64  # quasi-identifiers; more of them leave nothing to tell


@dataclass(frozen=True, slots=True)
class Requirements:
    """What every class of the result must satisfy.

    Attributes:
        k: Least records of a class, at least 1.
        l: One or more of `distinct:3`, `entropy:3`, `recursive:C:3`; `COLUMN=distinct:3` is for one
            sensitive column, the others are for each.
        t: One or more of `0.2`, `0.2:ordered`, `0.2:hierarchical`, alike.
        max_suppression: Share of records that may be left out, 0 to 1.
        presence: `0.1:0.8`, the share of each class of a population that the table may be; empty
            asks for none.
    """

    k: int = 5
    l: Sequence[str] = ()  # noqa: E741 - the model's name
    t: Sequence[str] = ()
    max_suppression: float = 0.04
    presence: str = ""


@dataclass(frozen=True, slots=True)
class Anonymized:
    """A protected table.

    Attributes:
        table: The records that were kept, sorted by what they were generalised to unless order
            was asked for; columns that are neither quasi-identifier nor sensitive are untouched.
        kept: (records,) int64, the input's row of each record of `table`. Not to be published.
        suppressed: Records left out.
        loss: Mean over quasi-identifier cells of (leaves - 1) / (domain - 1); suppressed cells
            count 1.
        method: What was used.
        optimal: Whether no global recoding within the limit loses less.
        thinned: Whether the lattice was too large to be looked at whole.
        check: What an independent count says of `table`.
        presence: The same, of its share in the population; None without one.
        population: The population's quasi-identifiers, generalised like `table`; or None.
        requirements: The models' names.
        seconds: Time of the search and the recoding.
    """

    table: pl.DataFrame
    kept: IntArray
    suppressed: int
    loss: float
    method: str
    optimal: bool
    thinned: bool
    check: AnonymityCheck
    requirements: tuple[str, ...]
    hierarchies: dict[str, Hierarchy] = field(repr=False)
    seconds: float = 0.0
    presence: PresenceCheck | None = None
    population: pl.DataFrame | None = field(default=None, repr=False)


def anonymize(
    frame: pl.DataFrame,
    quasi_identifiers: Sequence[str],
    requirements: Requirements,
    *,
    sensitive: Sequence[str] = (),
    hierarchies: Mapping[str, Hierarchy] | None = None,
    kinds: Mapping[str, str] | None = None,
    method: Method = "auto",
    seconds: float = 60.0,
    keep_order: bool = False,
    progress: Progress = silent,
    population: pl.DataFrame | None = None,
) -> Anonymized:
    """Generalise quasi-identifiers until every class meets the requirements.

    Args:
        frame: Any table with at least one record.
        quasi_identifiers: Columns by which a person could be recognised, 1 to 64.
        requirements: k, l, t and the suppression limit.
        sensitive: Columns that must stay uncertain.
        hierarchies: Column to hierarchy; the others are made from the data.
        kinds: Column to discovered type; helps making hierarchies.
        method: `global` (one level a column, proven best), `local` (least loss), `mondrian`
            (fast for very many columns), or `auto`.
        seconds: Time budget; past it the search is coarser, never wrong.
        keep_order: Leave records in the order of the input, which may tell who is who.
        progress: Told the share that is done.
        population: Everybody that `frame` could be about, those in it too; with a presence.

    Raises:
        InputError: A column or hierarchy does not fit, or a parameter is out of range.
        GateError: The requirements cannot be met.
    """
    begin = time.monotonic()
    _check_arguments(
        frame, quasi_identifiers=quasi_identifiers, requirements=requirements,
        sensitive=sensitive, method=method, seconds=seconds,
    )  # fmt: skip
    method, everybody = _check_presence(
        frame, population, quasi_identifiers, presence=requirements.presence, method=method
    )
    given = dict(hierarchies or {})
    used = {
        name: given[name]
        if name in given
        else automatic_hierarchy(everybody[name], (kinds or {}).get(name, ""))
        for name in quasi_identifiers
    }
    table = encode(frame, used, sensitive)
    models = parse_models(requirements, table, given)
    bounds = parse_bounds(requirements.presence) if requirements.presence else None
    presence = None if bounds is None else Presence.of(table, everybody, used, bounds)
    chosen, made = _recode(
        table, requirements=requirements, models=models, method=method, deadline=begin + seconds,
        progress=progress, presence=presence,
    )  # fmt: skip
    out, kept = _recoded(frame, table, made, keep_order=keep_order)
    spent = time.monotonic() - begin
    alike = None
    if bounds is not None:
        alike = generalised(everybody, used, made.nodes[0].tolist()).sort(quasi_identifiers)
    present = None if alike is None else check_presence(out, alike, quasi_identifiers)
    check = check_anonymity(
        out,
        quasi_identifiers,
        sensitive,
        {name: given[name].rows() for name in sensitive if name in given},
    )
    missed = unmet(check, requirements, sensitive, present)
    if missed:
        raise GateError(
            f"an independent count found that these are not met: {', '.join(missed)}",
            code="gate.anonymity",
            hint="report this: the search should have seen it",
        )
    return Anonymized(
        table=out,
        kept=kept,
        suppressed=made.suppressed,
        loss=loss_of(table, made),
        method=chosen,
        optimal=made.optimal,
        thinned=made.thinned,
        check=check,
        requirements=(
            f"{requirements.k}-anonymity",
            *(f"{m.name} of {m.column}" for m in models),
            *([] if bounds is None else [bounds.name]),
        ),
        hierarchies=used,
        seconds=spent,
        presence=present,
        population=alike,
    )


def parse_models(
    requirements: Requirements, table: Encoded, hierarchies: Mapping[str, Hierarchy]
) -> list[Model]:
    """Return the models of the sensitive columns.

    Raises:
        InputError: One is malformed, names no sensitive column, or there is no sensitive column.
    """
    names = {one.name: one.values for one in table.sensitive}
    return _models(requirements, names, hierarchies)


def unmet(
    found: AnonymityCheck,
    requirements: Requirements,
    sensitive: Sequence[str],
    presence: PresenceCheck | None = None,
) -> list[str]:
    """Return the names of the requirements that a count does not meet.

    A presence that was asked for and not counted is not met.

    Raises:
        InputError: As `parse_models`.
    """
    # A count needs no hierarchy or value: any stand for them.
    stand = Hierarchy.of([("", TOP)])
    models = _models(requirements, dict.fromkeys(sensitive, ("",)), dict.fromkeys(sensitive, stand))
    counted = {one.column: one for one in found.diversity}
    missed = [f"{m.name} of {m.column}" for m in models if not m.met_by(counted[m.column])]
    if requirements.presence:
        bounds = parse_bounds(requirements.presence)
        if presence is None or not bounds.met_by(presence):
            missed.append(bounds.name)
    return missed if found.k >= requirements.k else [f"{requirements.k}-anonymity", *missed]


def _models(
    requirements: Requirements,
    names: Mapping[str, tuple[str, ...]],
    hierarchies: Mapping[str, Hierarchy],
) -> list[Model]:
    if (requirements.l or requirements.t) and not names:
        raise InputError("l and t need a sensitive column", code="privacy.sensitive")
    made: list[Model] = []
    for text, kind in [(one, "l") for one in requirements.l] + [
        (one, "t") for one in requirements.t
    ]:
        column, equals, rest = text.rpartition("=")
        if equals and column not in names:
            raise InputError(f"`{column}` is no sensitive column", code="privacy.sensitive")
        for name in [column] if equals else names:
            try:
                made.append(
                    _diversity(name, rest)
                    if kind == "l"
                    else _closeness(name, rest, names[name], hierarchies.get(name))
                )
            except ValueError as error:
                raise InputError(
                    f"`{text[:80]}` is no requirement",
                    code=f"privacy.{kind}",
                    hint="l is distinct:3, entropy:3 or recursive:2:3; t is 0.2, 0.2:ordered or "
                    "0.2:hierarchical",
                ) from error
    return made


def _diversity(column: str, text: str) -> Model:
    kind, *numbers = text.split(":")
    if kind == "distinct" and len(numbers) == 1:
        return DistinctDiversity(column, int(numbers[0]))
    if kind == "entropy" and len(numbers) == 1:
        return EntropyDiversity(column, float(numbers[0]))
    if kind == "recursive" and len(numbers) == 2:  # noqa: PLR2004 - c and l
        return RecursiveDiversity(column, float(numbers[0]), int(numbers[1]))
    raise ValueError(text)


def _closeness(
    column: str, text: str, values: tuple[str, ...], hierarchy: Hierarchy | None
) -> Model:
    limit, _, distance = text.partition(":")
    return Closeness(column, float(limit), distance or "equal", values, hierarchy)


def _recode(
    table: Encoded,
    *,
    requirements: Requirements,
    models: Sequence[Model],
    method: Method,
    deadline: float,
    progress: Progress,
    presence: Presence | None,
) -> tuple[str, Recoding]:
    k, limit = requirements.k, requirements.max_suppression

    def run(name: str, until: float = deadline) -> Recoding:
        if name == "mondrian":
            return mondrian(table, k=k, models=models, deadline=until, progress=progress)
        if name == "global":
            return best_global(
                table, k=k, models=models, max_suppression=limit, deadline=until,
                progress=progress, presence=presence,
            )  # fmt: skip
        return best_local(
            table, k=k, models=models, max_suppression=limit, deadline=until, progress=progress
        )

    if method != "auto":
        return method, run(method)
    begin = time.monotonic()
    found: dict[str, Recoding] = {}
    with suppress(GateError):
        found["local"] = run("local")
    if "local" not in found or found["local"].thinned:
        # Too many columns for a lattice, or too hard for it: cutting from the top may lose less.
        found["mondrian"] = run("mondrian")
    else:
        # On a small table one level a column may lose less; it hardly gets more time than before.
        with suppress(GateError):
            now = time.monotonic()
            found["global"] = run("global", min(deadline, now + max(_LEAST_S, now - begin)))
    best = min(found, key=lambda name: loss_of(table, found[name]))
    return best, found[best]


def _recoded(
    frame: pl.DataFrame, table: Encoded, made: Recoding, *, keep_order: bool
) -> tuple[pl.DataFrame, IntArray]:
    """Return the kept records with their labels, and the row that each was."""
    pieces = np.flatnonzero(made.node != SUPPRESSED)
    levels = made.nodes[made.node[pieces]].astype(np.int64)
    codes, kinds = [], []
    for at, column in enumerate(table.columns):
        hierarchy = column.hierarchy
        labels = list(dict.fromkeys(label for level in hierarchy.labels for label in level))
        index = {label: code for code, label in enumerate(labels)}
        into = np.array([index[label] for level in hierarchy.labels for label in level], np.uint32)
        offsets = np.cumsum([0, *(len(level) for level in hierarchy.labels[:-1])])
        own = levels[:, at]
        codes.append(into[hierarchy.codes[own, column.leaf[made.record[pieces]]] + offsets[own]])
        shown = [None if label == NULL else label for label in labels]
        kinds.append(pl.Series(shown, dtype=pl.Enum([one for one in shown if one is not None])))
    # Sorted by what was generalised: the order of the records would tell who is who.
    order = np.lexsort(codes[::-1])
    rows = rows_of_pieces(table, made, pieces[order])
    of_piece = np.repeat(order, made.rows[pieces[order]])
    if keep_order:
        again = np.argsort(rows)
        rows, of_piece = rows[again], of_piece[again]
    columns = []
    for column, code, kind in zip(table.columns, codes, kinds, strict=True):
        columns.append(kind.gather(pl.Series(code[of_piece])).alias(column.name))
    replaced = {column.name for column in columns}
    others = [name for name in frame.columns if name not in replaced]
    kept = [*frame.select(others)[rows].get_columns(), *columns] if others else columns
    return pl.DataFrame(kept).select(frame.columns), rows


def _check_presence(
    frame: pl.DataFrame,
    population: pl.DataFrame | None,
    quasi_identifiers: Sequence[str],
    *,
    presence: str,
    method: Method,
) -> tuple[Method, pl.DataFrame]:
    """Return the method that keeps to the presence, and whom hierarchies must cover."""
    if population is None and not presence:
        return method, frame
    if population is None or not presence:
        raise InputError(
            "a presence needs a population, and a population a presence", code="privacy.presence"
        )
    if method not in {"auto", "global"}:
        raise InputError(
            f"the method `{method}` does not generalise a population alike",
            code="privacy.method",
            hint="use global, or auto, which is global then",
        )
    if population.height == 0:
        raise InputError("the population has no records", code="privacy.empty")
    for name in quasi_identifiers:
        if name not in population.columns:
            raise InputError(f"the population has no column `{name}`", code="privacy.population")
        if population[name].dtype.is_nested() or population[name].dtype in (pl.Object, pl.Binary):
            raise InputError(
                f"column `{name}` of the population has no plain values", code="privacy.population"
            )
    return "global", population


def _check_arguments(
    frame: pl.DataFrame,
    *,
    quasi_identifiers: Sequence[str],
    requirements: Requirements,
    sensitive: Sequence[str],
    method: str,
    seconds: float,
) -> None:
    if frame.height == 0:
        raise InputError("the table has no records", code="privacy.empty")
    named = [*quasi_identifiers, *sensitive]
    for name in named:
        if name not in frame.columns:
            raise InputError(f"the table has no column `{name}`", code="privacy.column")
        if frame[name].dtype.is_nested() or frame[name].dtype in (pl.Object, pl.Binary):
            raise InputError(f"column `{name}` has no plain values", code="privacy.column")
    if len(set(named)) != len(named):
        raise InputError("a column is named twice", code="privacy.column")
    if not 1 <= len(quasi_identifiers) <= MAX_COLUMNS:
        raise InputError(
            f"between 1 and {MAX_COLUMNS} quasi-identifiers are needed", code="privacy.column"
        )
    if not 1 <= requirements.k <= 10**9 or not 0.0 <= requirements.max_suppression <= 1.0:
        raise InputError("k is at least 1 and the suppression between 0 and 1", code="privacy.k")
    if requirements.k > frame.height:
        raise GateError(
            f"the table has {frame.height} records, fewer than k = {requirements.k}",
            code="gate.anonymity",
            hint="lower k",
        )
    if method not in METHODS:
        raise InputError(f"`{method}` is no method: {', '.join(METHODS)}", code="privacy.method")
    if not 0.0 < seconds <= 10**6:
        raise InputError("the time budget is above 0 seconds", code="privacy.seconds")
