"""Made-up records whose marginals are those that were released with noise; costs nothing more.

Fits a graphical model to noisy marginals (McKenna, Sheldon and Miklau, "Graphical-model based
estimation and inference for differential privacy", ICML 2019) with the library `mbi`, and draws
records from it. It sees the released figures only: whatever it does is post-processing.
"""

import math
import warnings
from typing import Final

import msgspec
import numpy as np
import polars as pl

from vallum.base import InputError, UnavailableError
from vallum.formats import write_csv_safe
from vallum.privacy.gate import Extract
from vallum.schema import Record

MAX_ROWS: Final = 10_000_000
MAX_COLUMNS: Final = 100


class Marginal(Record, frozen=True):
    """One noisy marginal.

    Attributes:
        columns: Its columns.
        counts: A cell each, in the order of the columns' labels, the last column fastest.
        scale: Of the noise of each.
    """

    columns: tuple[str, ...]
    counts: tuple[float, ...]
    scale: float


class Measured(Record, frozen=True):
    """All that the model is fitted to."""

    labels: dict[str, tuple[str, ...]]  # column to its groups
    marginals: tuple[Marginal, ...]


def synthesize(payload: bytes, *, rows: int, seed: int) -> Extract:
    """Return made-up records as CSV.

    Args:
        payload: `Measured` in MessagePack.
        rows: How many; 0: as many as the marginals count.
        seed: Of the draw; the records tell nothing that the marginals do not.

    Raises:
        InputError: The marginals do not fit their labels, or too many rows.
        UnavailableError: The library is not installed.
    """
    measured = msgspec.msgpack.decode(payload, type=Measured)
    if not 0 <= rows <= MAX_ROWS or len(measured.labels) > MAX_COLUMNS:
        raise InputError(f"a synthetic table has up to {MAX_ROWS} records", code="dp.synthetic")
    for one in measured.marginals:
        if math.prod(len(measured.labels[name]) for name in one.columns) != len(one.counts):
            raise InputError("a marginal does not fit its labels", code="dp.synthetic")
    frame = _drawn(measured, rows, seed)
    return Extract(table=write_csv_safe(frame), rows=frame.height, columns=tuple(frame.columns))


def _drawn(measured: Measured, rows: int, seed: int) -> pl.DataFrame:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it counts in 32 bits, which the next line mends
        try:
            import jax
            import mbi
            from mbi.estimation import MirrorDescent
        except ImportError as error:
            raise UnavailableError(
                "synthetic data need the extra `synthetic`",
                code="dp.extra",
                hint="pip install 'vallum[synthetic]'",
            ) from error
        jax.config.update("jax_enable_x64", True)  # type: ignore[no-untyped-call]  # noqa: FBT003 - its only form
        names = list(measured.labels)
        domain = mbi.Domain(names, [len(measured.labels[name]) for name in names])
        found = [
            mbi.LinearMeasurement(np.array(one.counts), one.columns, stddev=max(one.scale, 1e-9))
            for one in measured.marginals
        ]
        total = float(np.median([max(sum(one.counts), 1.0) for one in measured.marginals]))
        model = MirrorDescent().estimate(domain, found, known_total=total)
        np.random.seed(seed % 2**32)  # noqa: NPY002 - the library draws from it
        drawn = model.synthetic_data(rows or max(1, round(total)))
    codes = drawn.to_dict()
    columns = []
    for name in names:
        labels = pl.Series(list(measured.labels[name]), dtype=pl.String)
        columns.append(labels.gather(np.asarray(codes[name]).astype(np.int64)).alias(name))
    frame = pl.DataFrame(columns)
    return frame.sample(fraction=1.0, shuffle=True, seed=seed % 2**63)
