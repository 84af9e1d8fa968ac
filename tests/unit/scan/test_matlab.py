"""MATLAB files: arrays to the last byte; what MATLAB would run code for is refused."""

import io
import tracemalloc
from typing import Any

import numpy as np
import pytest
import scipy.io
import scipy.sparse
from hypothesis import given
from hypothesis import strategies as st

from vallum.scan import ScanVerdict, scan_bytes
from vallum.scan.matlab import matlab_fault

EVIL = b"cos\nsystem\n(S'true'\ntR."


def saved(*, packed: bool = False, **variables: Any) -> bytes:
    held = io.BytesIO()
    scipy.io.savemat(held, variables, do_compression=packed)
    return held.getvalue()


VARIABLES: dict[str, Any] = {
    "a": np.arange(3.0), "text": "abc", "empty": np.zeros((0, 2)), "z": np.eye(2) * 1j,
    "record": {"x": 1, "name": "y"}, "cell": np.array([1, "b"], dtype=object),
    "sparse": scipy.sparse.csc_matrix(np.eye(3)), "flag": True,
}  # fmt: skip
PLAIN, PACKED = saved(**VARIABLES), saved(packed=True, **VARIABLES)


@pytest.mark.parametrize("data", [PLAIN, PACKED])
def test_arrays_structures_and_cells_are_clean(data: bytes) -> None:
    (file,) = scan_bytes("x", data).files
    assert (file.format, file.verdict) == ("matlab", ScanVerdict.CLEAN)


@pytest.mark.parametrize("data", [PLAIN, PACKED])
def test_what_stands_behind_before_or_between_is_refused(data: bytes) -> None:
    for changed in (data + EVIL, data[:30] + EVIL + data[30 + len(EVIL) :], data[:-1]):
        assert scan_bytes("x", changed).exit_code == 1


@pytest.mark.parametrize("kind", [0, 3, 16, 17, 99])
def test_objects_and_functions_are_refused(kind: int) -> None:
    data = bytearray(saved(a=1.0))
    assert data[144] == 6  # a matrix of doubles
    data[144] = kind
    assert "runs code" in matlab_fault(memoryview(bytes(data)))


def test_a_bomb_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vallum.scan.matlab.MAX_EXPANDED", 1000)
    assert "too large" in matlab_fault(memoryview(saved(packed=True, a=np.zeros(1000))))


def test_what_a_small_file_expands_to_is_not_held() -> None:
    data = memoryview(saved(packed=True, a=np.zeros(8_000_000)))
    tracemalloc.start()
    assert matlab_fault(data) == ""
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 24 << 20  # of 64 MB


@given(st.integers(128, len(PLAIN) - 1), st.integers(0, 255))
def test_any_changed_byte_is_read_or_refused(at: int, byte: int) -> None:
    data = bytearray(PLAIN)
    data[at] = byte
    assert isinstance(matlab_fault(memoryview(bytes(data))), str)
    cut, ends = 128, {128}
    while cut < len(PLAIN):
        cut += 8 + int.from_bytes(PLAIN[cut + 4 : cut + 8], "little")
        ends.add(cut)
    assert matlab_fault(memoryview(PLAIN[:at])) or at in ends  # between two variables
