"""Secrets that are destroyed one at a time."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vallum.base import IntegrityError, SealedError
from vallum.crypto.shred import DEPTH, ShredSecrets

IDS = st.lists(st.text(min_size=1, max_size=8), min_size=1, max_size=12, unique=True)


@given(ids=IDS, data=st.data())
def test_what_is_erased_is_gone_and_all_else_is_as_before(
    ids: list[str], data: st.DataObject
) -> None:
    whole = ShredSecrets.draw()
    before = {one: whole.secret(one).reveal() for one in ids}
    assert len(set(before.values())) == len(ids)
    gone = data.draw(st.sets(st.sampled_from(ids)))
    left = ShredSecrets.load(whole.without(gone).without(gone).dump())
    for one in ids:
        if one in gone:
            with pytest.raises(SealedError, match="erased"):
                left.secret(one)
        else:
            assert left.secret(one).reveal() == before[one]


def test_no_seed_that_is_left_leads_to_what_is_erased() -> None:
    left = ShredSecrets.draw().without(["one"])
    rows = left.dump()
    # All branches beside the path, and nothing above it: 39 bytes each, one a level.
    assert len(rows) == DEPTH * 39
    assert {rows[at] for at in range(0, len(rows), 39)} == set(range(1, DEPTH + 1))


@pytest.mark.parametrize("data", [b"x", bytes(38), b"\xff" + bytes(38), b"\x01\xff" + bytes(37)])
def test_damaged_secrets_are_told(data: bytes) -> None:
    with pytest.raises(IntegrityError):
        ShredSecrets.load(data)
