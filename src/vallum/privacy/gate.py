"""The privacy room as gates call it in the sandbox: bytes in, one bounded record out."""

from collections.abc import Sequence

import polars as pl

from vallum.base import InputError
from vallum.crypto.prf import pseudonym
from vallum.formats import read_table, write_csv_safe
from vallum.privacy.anonymity import check_anonymity
from vallum.privacy.discover import ColumnFinding, discover_table
from vallum.privacy.generalise import generalise
from vallum.privacy.mask import mask_text, masked_column
from vallum.schema import Record

_KEY_BYTES = 32


class RiskReport(Record, frozen=True):
    """Re-identification risk over the quasi-identifiers (El Emam 2013, prosecutor model)."""

    quasi_identifiers: tuple[str, ...]
    uniques: int
    smallest_class: int
    prosecutor_mean: float


class TableInspection(Record, frozen=True):
    """What ingest finds out about a table."""

    rows: int
    columns: tuple[str, ...]
    findings: tuple[ColumnFinding, ...]
    label: str
    risk: RiskReport


class ProtectedTable(Record, frozen=True):
    """A protected table, and how well it is protected by two independent counts."""

    csv: bytes
    columns: tuple[str, ...]
    rows_total: int
    rows_kept: int
    suppressed: int
    k: int
    k_checked: int
    loss: float
    levels: dict[str, str]


def inspect_table(payload: bytes, *, kind: str) -> TableInspection:
    """Parse and classify a table.

    Raises:
        InputError: It is malformed or empty.
        LimitExceededError: It exceeds a bound.
    """
    frame = _read(payload, kind)
    found = discover_table(frame)
    quasi = tuple(one.name for one in found.columns if one.quasi)
    sizes = (
        frame.select(pl.len().over(list(quasi)).alias("n"))["n"]
        if quasi
        else pl.Series([frame.height] * frame.height)
    )
    smallest = sizes.min()
    return TableInspection(
        rows=frame.height,
        columns=tuple(frame.columns),
        findings=found.columns,
        label=found.label.value,
        risk=RiskReport(
            quasi_identifiers=quasi,
            uniques=int((sizes == 1).sum()),
            smallest_class=smallest if isinstance(smallest, int) else 0,
            prosecutor_mean=float((1.0 / sizes).mean() or 0.0),  # type: ignore[arg-type]  # floats
        ),
    )


def protect_table(
    payload: bytes,
    *,
    kind: str,
    k: int,
    max_suppression: str,
    quasi_identifiers: Sequence[str],
    drop: Sequence[str],
    pseudonymise: Sequence[str],
    sensitive: Sequence[str],
    key_hex: str,
) -> ProtectedTable:
    """Drop or pseudonymise direct identifiers, generalise quasi-identifiers to k, check again.

    What is found to identify directly is dropped unless it is named in `pseudonymise`.

    Raises:
        InputError: A named column is missing, or one is named for two things.
        GateError: k cannot be reached.
    """
    frame = _read(payload, kind)
    for name in (*quasi_identifiers, *drop, *pseudonymise, *sensitive):
        if name not in frame.columns:
            raise InputError(f"the table has no column `{name}`", code="privacy.column")
    try:
        share = float(max_suppression)
    except ValueError as error:
        raise InputError("the suppression is not a number", code="privacy.k") from error
    found = discover_table(frame)
    kinds = {one.name: one.type for one in found.columns}
    named = {*drop, *pseudonymise, *quasi_identifiers, *sensitive}
    dropped = {*drop, *(one.name for one in found.columns if one.direct and one.type)} - {
        *pseudonymise,
        *quasi_identifiers,
        *sensitive,
    }
    quasi = list(quasi_identifiers) or [
        one.name for one in found.columns if one.quasi and one.name not in named
    ]
    if {*quasi} & {*pseudonymise, *drop}:
        raise InputError("a column cannot be both generalised and masked", code="privacy.column")
    direct = {one.name for one in found.columns if one.direct and one.type}
    for name in (*quasi_identifiers, *sensitive):
        if name in direct:
            raise InputError(
                f"column `{name}` identifies by itself: it can be dropped or pseudonymised only",
                code="privacy.direct",
            )
    key = bytes.fromhex(key_hex)
    if len(key) < _KEY_BYTES:
        raise InputError(f"the key has fewer than {_KEY_BYTES} bytes", code="privacy.key")
    table = frame.drop(sorted(dropped))
    # A single identifier in a column of plain values is no finding about the column, and still
    # somebody's: what is left is searched value by value.
    for name in table.columns:
        if name not in {*quasi, *pseudonymise} and table[name].dtype == pl.String:
            table = table.with_columns(masked_column(table[name], mask_text))
    for name in pseudonymise:
        values = table[name].cast(pl.String)
        masked = [None if one is None else pseudonym(key, name, one) for one in values]
        table = table.with_columns(pl.Series(name, masked, dtype=pl.String))
    made = generalise(table, quasi, kinds=kinds, k=k, max_suppression=share)
    checked = check_anonymity(made.table, quasi, sensitive)
    # Sorted by what was generalised: the order of the original records would tell who is who.
    final = made.table.sort(made.table.columns) if quasi else made.table
    return ProtectedTable(
        csv=write_csv_safe(final),
        columns=tuple(final.columns),
        rows_total=frame.height,
        rows_kept=final.height,
        suppressed=made.suppressed,
        k=made.k,
        k_checked=checked.k,
        loss=made.loss,
        levels=made.levels,
    )


def _read(payload: bytes, kind: str) -> pl.DataFrame:
    frame = read_table(payload, kind=kind)
    if frame.height == 0:
        raise InputError("the table has no records", code="privacy.empty")
    return frame
