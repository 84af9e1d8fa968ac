"""NumPy archives: numbers and texts come out, objects never do, and no byte string breaks in."""

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from vallum.base import InputError, LimitExceededError
from vallum.base.bounds import ArrayBounds
from vallum.formats import read_npy, read_npz


def archive(*, packed: bool = False, **named: object) -> bytes:
    out = io.BytesIO()
    (np.savez_compressed if packed else np.savez)(out, **named)  # type: ignore[arg-type]
    return out.getvalue()


@given(
    arrays.arrays(
        st.sampled_from(["<f4", "<f8", ">f8", "<i8", "u1", "?", "<U5", "S3"]),
        arrays.array_shapes(min_dims=1, max_dims=4, max_side=5),
    ),
    st.booleans(),
    st.booleans(),
)
def test_what_numpy_saved_comes_back(x: np.ndarray, packed: bool, fortran: bool) -> None:  # noqa: FBT001
    given_array = np.asfortranarray(x) if fortran else x
    found = read_npz(archive(packed=packed, x=given_array), ["x"])["x"]
    assert found.dtype == x.dtype
    assert found.shape == x.shape
    np.testing.assert_array_equal(found, x)


def test_objects_are_refused_unread() -> None:
    class Bomb:
        def __reduce__(self) -> tuple[object, tuple[object, ...]]:
            return pytest.fail, ("an object was unpickled",)

    for one in (np.array([Bomb()]), np.zeros(2, dtype=[("a", "f4")])):
        with pytest.raises(InputError, match="not numbers or texts") as caught:
            read_npz(archive(x=one), ["x"])
        assert caught.value.code == "format.npz.array"


def test_a_missing_array_is_named_with_those_that_are_there() -> None:
    with pytest.raises(InputError, match="no array `y`, but `a`, `x`"):
        read_npz(archive(x=np.ones(2), a=np.ones(1)), ["y"])


def test_bounds_are_kept() -> None:
    data = archive(x=np.ones((2, 2, 2)))
    with pytest.raises(LimitExceededError) as caught:
        read_npz(data, ["x"], bounds=ArrayBounds(max_bytes=10))
    assert caught.value.code == "format.npz.too-large"
    with pytest.raises(LimitExceededError) as caught:
        read_npz(data, ["x"], bounds=ArrayBounds(max_dimensions=2))
    assert caught.value.code == "format.npz.dimensions"
    with pytest.raises(InputError) as refused:
        read_npz(data, ["x"], bounds=ArrayBounds(max_header_bytes=8))
    assert refused.value.code == "format.npz.array"


@given(st.data())
def test_any_changed_header_is_read_or_refused(data: st.DataObject) -> None:
    out = io.BytesIO()
    np.save(out, np.arange(6.0).reshape(2, 3))
    raw = bytearray(out.getvalue())
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(raw)))
    for one in (bytes(raw), bytes(raw[:cut])):
        try:
            read_npy(one)
        except (InputError, LimitExceededError):
            continue
