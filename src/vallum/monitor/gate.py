"""The monitor room as gates call it in the sandbox: two tables in, one report out."""

import msgspec
import numpy as np

from vallum.base import InputError
from vallum.formats import read_table
from vallum.monitor.drift import DriftCounter, DriftReport, freeze


class _Payload(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    reference: bytes
    current: bytes


def compare(payload: bytes, *, reference_kind: str, current_kind: str) -> DriftReport:
    """Compare the numeric columns that two tables share.

    Raises:
        InputError: They share none, or the reference is too small.
    """
    try:
        given = msgspec.msgpack.decode(payload, type=_Payload)
    except msgspec.DecodeError as error:
        raise InputError("the payload has another form", code="drift.payload") from error
    reference = read_table(given.reference, kind=reference_kind)
    current = read_table(given.current, kind=current_kind)
    names = tuple(
        name
        for name in reference.columns
        if name in current.columns
        and reference[name].dtype.is_numeric()
        and current[name].dtype.is_numeric()
    )
    if not names:
        raise InputError("the tables share no numeric column", code="drift.columns")
    state = freeze(names, reference.select(names).to_numpy().astype(np.float64))
    counter = DriftCounter(state)
    counter.add(current.select(names).to_numpy().astype(np.float64))
    return counter.report()
