"""Decisions of a bundle: packed and back; what was tampered with does not come out."""

import hashlib
import struct
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vallum.base import InputError
from vallum.guard import count_decisions, pack_decisions, unpack_decisions

RECORD = struct.Struct("<dH22s")
RECORDS = st.lists(
    st.tuples(st.floats(allow_nan=False), st.sampled_from([200, 400, 429, 500]),
              st.binary(min_size=22, max_size=22)), max_size=50,
)  # fmt: skip


@given(RECORDS)
def test_records_come_out_as_they_went_in(records: list[tuple[float, int, bytes]]) -> None:
    data = b"".join(RECORD.pack(*one) for one in records)
    assert unpack_decisions(pack_decisions(data), len(records)) == data
    found = count_decisions(data)
    assert found.answered == sum(one[1] == 200 for one in records)
    assert found.answered + found.refused == len(records)
    assert found.root == hashlib.sha256(data).hexdigest()


@given(RECORDS, st.integers(-3, 60))
def test_another_count_is_refused(records: list[tuple[float, int, bytes]], count: int) -> None:
    packed = pack_decisions(b"".join(RECORD.pack(*one) for one in records))
    if count != len(records):
        with pytest.raises(InputError):
            unpack_decisions(packed, count)


@pytest.mark.parametrize("packed", [b"", b"x" * 50, zlib.compress(bytes(10**7)),
                                    pack_decisions(bytes(64)) + b"more",
                                    pack_decisions(bytes(64))[:-2]])  # fmt: skip
def test_what_is_no_bundle_is_refused_within_bounds(packed: bytes) -> None:
    with pytest.raises(InputError):
        unpack_decisions(packed, 2)


def test_a_million_answers_are_too_many_before_anything_is_unpacked() -> None:
    with pytest.raises(InputError, match="too long"):
        unpack_decisions(b"", (1 << 20) + 1)


def test_under_load_a_decision_takes_less_than_twelve_bytes() -> None:
    data = b"".join(
        RECORD.pack(1.7e9 + at / 20_000, 200, bytes([at % 3]) * 22) for at in range(20_000)
    )
    assert len(pack_decisions(data)) < 12 * 20_000
