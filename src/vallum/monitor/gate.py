"""The monitor room as gates call it in the sandbox: tables in, one report out."""

from collections.abc import Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from vallum.base import InputError
from vallum.monitor.canary import Canaries
from vallum.monitor.drift import DriftCounter, DriftReport, freeze
from vallum.monitor.evasion import learn_evasion
from vallum.monitor.extraction import learn_profile
from vallum.monitor.profile import CanaryRecords, WatchProfile


class _Payload(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    reference: bytes
    current: bytes


def compare(payload: bytes, *, reference_kind: str, current_kind: str) -> DriftReport:
    """Compare the reference's numeric columns with those of the current table.

    A column that the current table lacks, or holds as something else than numbers, is compared
    as missing in every record: that is the largest drift there is.

    Raises:
        InputError: The reference has no numeric column or too few records, or nothing is to be
            compared.
    """
    from vallum.formats import read_table

    try:
        given = msgspec.msgpack.decode(payload, type=_Payload)
    except msgspec.DecodeError as error:
        raise InputError("the payload has another form", code="drift.payload") from error
    reference = read_table(given.reference, kind=reference_kind)
    current = read_table(given.current, kind=current_kind)
    names = tuple(name for name in reference.columns if reference[name].dtype.is_numeric())
    if not names:
        raise InputError("the reference has no numeric column", code="drift.columns")
    columns = [
        current[name].to_numpy().astype(np.float64)
        if name in current.columns and current[name].dtype.is_numeric()
        else np.full(current.height, np.nan)
        for name in names
    ]
    state = freeze(names, reference.select(names).to_numpy().astype(np.float64))
    counter = DriftCounter(state)
    counter.add(np.stack(columns, axis=1))
    return counter.report()


def learn_queries(
    payload: bytes,
    *,
    kind: str,
    label_column: str,
    features: Sequence[str],
    seed: int,
    evasion: bool = False,
) -> WatchProfile:
    """Learn what natural queries to a model look like from its training table.

    Args:
        payload: The table.
        kind: Its format, such as `parquet`.
        label_column: Column that is no feature; may be empty.
        features: The model's columns in order; without them, every numeric one but the label.
        seed: Of the records and features that are kept.
        evasion: Learn what records made to be misclassified are told by, too.

    Raises:
        InputError: A feature is missing or not numeric, or there are too few records.
    """
    names, rows = _records(payload, kind, label_column, features)
    return WatchProfile(
        extraction=learn_profile(rows, seed=seed),
        bins=freeze(tuple(names), rows),
        evasion=learn_evasion(rows, seed=seed) if evasion else None,
    )


def read_canaries(
    payload: bytes, *, kind: str, label_column: str, features: Sequence[str]
) -> CanaryRecords:
    """Read planted records from a table, as `learn_queries` reads the others.

    Raises:
        InputError: A feature is missing or not numeric, a value is missing, or there are none or
            too many.
    """
    _, rows = _records(payload, kind, label_column, features)
    Canaries(rows)  # refuses what it would not recognise
    packed = rows.astype("<f4")
    return CanaryRecords(width=packed.shape[1], rows=packed.tobytes())


def _records(
    payload: bytes, kind: str, label_column: str, features: Sequence[str]
) -> tuple[list[str], NDArray[np.float64]]:
    from vallum.formats import read_table

    table = read_table(payload, kind=kind)
    names = list(features) or [
        name for name in table.columns if name != label_column and table[name].dtype.is_numeric()
    ]
    if label_column and label_column not in table.columns:
        raise InputError(
            f"the data has no label column `{label_column[:80]}`", code="extraction.columns"
        )
    for name in names:
        if name not in table.columns or not table[name].dtype.is_numeric():
            raise InputError(
                f"the data has no numeric column `{name[:80]}`", code="extraction.columns"
            )
    if not names:
        raise InputError("the data has no numeric column", code="extraction.columns")
    return names, table.select(names).to_numpy().astype(np.float64)
