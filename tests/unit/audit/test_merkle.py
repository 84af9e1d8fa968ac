"""The tree against RFC 9162's recursive definition; proofs by mutation; notes; tiles."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vallum.audit.merkle import (
    EMPTY_ROOT,
    consistency_path,
    extend,
    frontier_of,
    inclusion_path,
    root_of,
)
from vallum.audit.note import Checkpoint, sign_checkpoint, verify_checkpoint
from vallum.audit.tiles import Tiles, tile_path
from vallum.base import InputError, IntegrityError, Secret
from vallum.base.proofs import inclusion_root, leaf_hash, verify_consistency
from vallum.crypto import SigningKey


def tree_hash(leaves: Sequence[bytes]) -> bytes:
    """MTH of RFC 9162, section 2.1.1, word by word."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return hashlib.sha256(b"\x00" + leaves[0]).digest()
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    left, right = tree_hash(leaves[:split]), tree_hash(leaves[split:])
    return hashlib.sha256(b"\x01" + left + right).digest()


LEAVES = [f"leaf {number}".encode() for number in range(70)]


def nodes(height: int, index: int) -> bytes:
    return tree_hash(LEAVES[index << height : (index + 1) << height])


def root(size: int) -> bytes:
    frontier: list[bytes] = []
    extend(frontier, 0, [leaf_hash(leaf) for leaf in LEAVES[:size]])
    return root_of(frontier)


@pytest.mark.parametrize("size", range(71))
def test_roots_are_those_of_the_definition(size: int) -> None:
    assert root(size) == tree_hash(LEAVES[:size])
    assert root_of(frontier_of(nodes, size)) == tree_hash(LEAVES[:size])


def test_the_published_roots_are_met() -> None:
    """Certificate Transparency's reference tree (certificate-transparency merkletree tests)."""
    inputs = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657",
              "606162636465666768696a6b6c6d6e6f"]  # fmt: skip
    roots = [
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
        "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
        "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    ]
    frontier: list[bytes] = []
    size = 0
    assert root_of(frontier) == EMPTY_ROOT
    for text, wanted in zip(inputs, roots, strict=True):
        size = extend(frontier, size, [leaf_hash(bytes.fromhex(text))])
        assert root_of(frontier).hex() == wanted


def test_every_inclusion_proof_verifies_and_no_other() -> None:
    for size in range(1, 40):
        for index in range(size):
            path = inclusion_path(nodes, index, size)
            assert inclusion_root(leaf_hash(LEAVES[index]), index, size, path) == root(size)
            other = (index + 1) % size
            if other != index:
                assert inclusion_root(leaf_hash(LEAVES[other]), index, size, path) != root(size)


def test_every_consistency_proof_verifies_across_any_growth() -> None:
    for new in range(1, 40):
        for old in range(1, new + 1):
            path = consistency_path(nodes, old, new)
            verify_consistency(old, root(old), new, root(new), path)
            with pytest.raises(IntegrityError):
                verify_consistency(old, root(old), new, bytes(32), path)
            with pytest.raises(IntegrityError):
                verify_consistency(old, bytes(32), new, root(new), path)


@settings(max_examples=100)
@given(size=st.integers(2, 70), data=st.data())
def test_a_changed_cut_or_extended_proof_is_refused(size: int, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, size - 1))
    path = list(inclusion_path(nodes, index, size))
    leaf = leaf_hash(LEAVES[index])
    at = data.draw(st.integers(0, len(path) - 1))
    changed = [*path[:at], bytes(32), *path[at + 1 :]]
    assert inclusion_root(leaf, index, size, changed) != root(size)
    for other in (path[:-1], [*path, bytes(32)], [*path[:at], b"short", *path[at + 1 :]]):
        try:
            assert inclusion_root(leaf, index, size, other) != root(size)
        except IntegrityError:
            continue
    with pytest.raises(IntegrityError):
        inclusion_root(leaf, size, size, path)


def test_proofs_of_what_is_not_there_are_refused() -> None:
    with pytest.raises(InputError):
        inclusion_path(nodes, 5, 5)
    with pytest.raises(InputError):
        consistency_path(nodes, 0, 5)
    with pytest.raises(InputError):
        consistency_path(nodes, 6, 5)


# -- notes --------------------------------------------------------------------------------------

KEY = SigningKey.from_seed(Secret(b"s" * 32))
POINT = Checkpoint(origin="vallum/ws-1", size=42, root=hashlib.sha256(b"r").digest())


def test_a_note_gives_its_checkpoint_back() -> None:
    note = sign_checkpoint(POINT, KEY)
    assert verify_checkpoint(note, KEY.verify_key, origin="vallum/ws-1") == POINT
    assert note.startswith("vallum/ws-1\n42\n")


def test_any_changed_character_of_a_note_is_refused() -> None:
    note = sign_checkpoint(POINT, KEY)
    for position, char in enumerate(note[:-1]):
        other = "A" if char != "A" else "B"
        with pytest.raises(IntegrityError):
            verify_checkpoint(
                note[:position] + other + note[position + 1 :],
                KEY.verify_key,
                origin="vallum/ws-1",
            )


def test_a_note_of_another_log_or_key_is_refused() -> None:
    note = sign_checkpoint(POINT, KEY)
    with pytest.raises(IntegrityError, match="another log"):
        verify_checkpoint(note, KEY.verify_key, origin="vallum/ws-2")
    other = SigningKey.generate().verify_key
    with pytest.raises(IntegrityError, match="not signed by"):
        verify_checkpoint(note, other, origin="vallum/ws-1")


# -- tiles --------------------------------------------------------------------------------------


def test_tile_paths_are_those_of_the_specification() -> None:
    """C2SP tlog-tiles: index 1234067 is encoded as x001/x234/067."""
    assert tile_path(0, 1234067) == "tile/0/x001/x234/067"
    assert tile_path(1, 0, 5) == "tile/1/000.p/5"


def test_tiles_grown_in_any_steps_give_the_same_nodes(tmp_path: Path) -> None:
    hashes = [leaf_hash(f"{number}".encode()) for number in range(70_000)]
    tiles = Tiles(tmp_path)
    size = 0
    for step in (1, 254, 1, 1, 300, 65_000, 4_443):
        tiles.extend(size, hashes[size : size + step])
        size += step
    assert size == len(hashes)
    frontier: list[bytes] = []
    extend(frontier, 0, hashes)

    def read(height: int, index: int) -> bytes:
        return tiles.node(height, index, size)

    assert frontier_of(read, size) == frontier
    for index in (0, 255, 256, 65_535, 65_536, 69_999):
        path = inclusion_path(read, index, size)
        assert inclusion_root(hashes[index], index, size, path) == root_of(frontier)


def test_a_missing_or_cut_tile_is_reported(tmp_path: Path) -> None:
    tiles = Tiles(tmp_path)
    tiles.extend(0, [leaf_hash(leaf) for leaf in LEAVES])
    path = tmp_path / tile_path(0, 0, len(LEAVES))
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(IntegrityError, match="bytes"):
        tiles.node(0, 3, len(LEAVES))
    path.unlink()
    with pytest.raises(IntegrityError, match="missing"):
        tiles.node(0, 3, len(LEAVES))
