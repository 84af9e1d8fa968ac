"""Values of the standard library, NumPy, pandas and SciPy in pickles: data, unless they act."""

import collections
import datetime as dt
import decimal
import http
import io
import ipaddress
import math
import pickle  # noqa: TID251 - it only writes here
import random  # noqa: TID251 - its state is what is kept
import re
import statistics
import urllib.parse
import zoneinfo
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import interpolate, stats
from sklearn.metrics import get_scorer
from sklearn.preprocessing import FunctionTransformer

from vallum.scan import ScanVerdict, scan_bytes

BERLIN = zoneinfo.ZoneInfo("Europe/Berlin")
GENERATOR = random.Random(1)  # noqa: S311
LINE = np.arange(5.0)
VALUES: dict[str, Any] = {
    "ranges": {"n_estimators": range(10**9), "depth": [*range(1000)], "of": set(range(9))},
    "collections": [collections.ChainMap({"a": 1}), collections.UserDict(a=1),
                    collections.UserList([1]), collections.UserString("a")],
    "zone": dt.datetime(2026, 1, 1, tzinfo=BERLIN),
    "frame with a zone": pd.DataFrame({"t": pd.date_range("2026", periods=2, tz=BERLIN)}),
    "intervals": pd.DataFrame({"a": pd.interval_range(0, 3)}),
    "offsets": [pd.offsets.CustomBusinessDay(), pd.DateOffset(months=1), pd.offsets.Easter()],
    "addresses": [ipaddress.ip_address("::1"), ipaddress.ip_network("10.0.0.0/8")],
    "context": decimal.getcontext(),
    "pattern": re.compile("a+", re.IGNORECASE),
    "errors": [ValueError("x"), KeyError(1), FileNotFoundError(2, "no", "x"), ..., NotImplemented],
    "others": [http.HTTPStatus.OK, GENERATOR, statistics.NormalDist(),
               urllib.parse.urlparse("https://a/b")],
    "functions": [math.sqrt, sum, FunctionTransformer(np.clip, kw_args={"a_max": 1})],
    "polynomials": [np.polynomial.Polynomial([1, 2]), np.poly1d([1, 2]), np.ma.masked],
    "types": [np.iinfo("i4"), type(np.dtype("f4")), np.array(["a"], np.dtypes.StringDType())],
    "kde": stats.gaussian_kde([1.0, 2, 3]),
    "scorers": [get_scorer(one) for one in ("rand_score", "d2_brier_score", "neg_log_loss")],
}  # fmt: skip


def ids(data: bytes) -> set[str]:
    return {one.id for one in scan_bytes("x", data, digest=False).files[0].findings}


@pytest.mark.parametrize("name", VALUES)
@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_values_are_data(name: str, protocol: int) -> None:
    report = scan_bytes("x", pickle.dumps(VALUES[name], protocol=protocol))
    assert report.verdict is ScanVerdict.DATA_LIKE, report.files[0].findings


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_interpolations_are_data(protocol: int) -> None:
    for made in (interpolate.CubicSpline, interpolate.interp1d, interpolate.PchipInterpolator):
        assert ids(pickle.dumps(made(LINE, LINE), protocol=protocol)) == set()


@pytest.mark.slow
def test_schedules_of_torch_are_data() -> None:
    step = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))])
    torch.save(torch.optim.lr_scheduler.ReduceLROnPlateau(step), held := io.BytesIO())
    assert scan_bytes("x", held.getvalue()).verdict is ScanVerdict.DATA_LIKE


def with_getattr(tail: bytes) -> bytes:
    return b"\x80\x02cbuiltins\ngetattr\n" + tail


@pytest.mark.parametrize(
    "tail",
    [
        b"cos\nX\nX\x06\x00\x00\x00system\x86RX\x04\x00\x00\x00true\x85R.",
        b"czoneinfo\nZoneInfo\nX\x09\x00\x00\x00from_file\x86R.",
        b"czoneinfo\nZoneInfo\nX\x09\x00\x00\x00__class__\x86R.",
        b"czoneinfo\nZoneInfo\nX\x09\x00\x00\x00_unpickle\x87R.",
        b"N\x86R.",
        b"\x85.",  # kept
        b"2czoneinfo\nZoneInfo\nX\x09\x00\x00\x00_unpickle\x86R0\x85.",  # used, and kept beside
        b".",
        b"q\x000czoneinfo\nZoneInfo\nX\x09\x00\x00\x00_unpickle\x86h\x00\x86.",
    ],
)
def test_an_attribute_is_an_import_by_its_whole_name(tail: bytes) -> None:
    assert ids(with_getattr(tail)) & {"pickle.dangerous-name", "pickle.malformed"}


class Call:
    def __init__(self, made: Any, *arguments: Any) -> None:
        self.made, self.arguments = made, arguments

    def __reduce__(self) -> tuple[Any, ...]:
        return self.made, self.arguments


def test_functions_are_kept_and_not_called() -> None:
    big = np.ones(3)
    for made in (np.hstack, np.concatenate, sum):
        assert ids(pickle.dumps(Call(made, [big, big]))), made
    state_only = (interpolate.CubicSpline, stats.gaussian_kde, torch.optim.lr_scheduler.StepLR)
    for made in state_only:
        assert ids(pickle.dumps(Call(made, 1, 2))) == {"pickle.arguments"}, made


def test_distributions_of_scipy_evaluate_their_state() -> None:
    assert "pickle.unknown-name" in ids(pickle.dumps(stats.norm(0, 1)))


def test_memory_is_not_described_by_an_attribute() -> None:
    evil = {"data": (4096, False), "shape": (1,), "typestr": "<f8", "version": 3}
    namespace = b"\x80\x04\x8c\x05types\x8c\x0fSimpleNamespace\x93)R"
    key = pickle.dumps({"__array_interface__": evil}, protocol=2)[2:-1]
    assert ids(namespace + key + b"b.") == {"pickle.unusual-state"}
    assert ids(namespace[:-2] + key + b"\x85R.") == {"pickle.arguments"}
    bunch = b"\x80\x04\x8c\x0dsklearn.utils\x8c\x05Bunch\x93)R"
    item = b"\x8c\x13__array_interface__" + pickle.dumps(evil, protocol=2)[2:-1]
    assert ids(bunch + item + b"s.") == {"pickle.unusual-state"}
