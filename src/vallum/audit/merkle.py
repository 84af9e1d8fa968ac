"""The Merkle tree of RFC 9162 (section 2.1): appending, roots, making proofs. Pure.

The tree is kept as its frontier: the roots of the perfect subtrees from left to right, one for
each bit of the size that is set. Proofs read inner nodes through a function, so that they can
come from tiles, from memory or from a client's copy. What checks proofs is `base.proofs`.
"""

import hashlib
from collections.abc import Callable, Sequence

from vallum.base import InputError
from vallum.base.proofs import node_hash

EMPTY_ROOT = hashlib.sha256(b"").digest()
_sha256 = hashlib.sha256

Nodes = Callable[[int, int], bytes]
"""(height, index) -> hash of the perfect subtree over leaves [index·2^height, …)."""


def extend(frontier: list[bytes], size: int, hashes: Sequence[bytes]) -> int:
    """Append leaf hashes to `frontier` in place and return the new size."""
    sha256 = _sha256
    for leaf in hashes:
        node = leaf
        bits = size
        while bits & 1:
            node = sha256(b"\x01" + frontier.pop() + node).digest()
            bits >>= 1
        frontier.append(node)
        size += 1
    return size


def root_of(frontier: Sequence[bytes]) -> bytes:
    """Return the root over a frontier: its subtrees folded from the right."""
    if not frontier:
        return EMPTY_ROOT
    node = frontier[-1]
    for left in reversed(frontier[:-1]):
        node = node_hash(left, node)
    return node


def frontier_of(nodes: Nodes, size: int) -> list[bytes]:
    """Return the frontier of the first `size` leaves."""
    out: list[bytes] = []
    start = 0
    for height in reversed(range(size.bit_length())):
        if size >> height & 1:
            out.append(nodes(height, start >> height))
            start += 1 << height
    return out


def inclusion_path(nodes: Nodes, index: int, size: int) -> tuple[bytes, ...]:
    """Return the sibling hashes of leaf `index` in the tree of `size`, lowest first.

    Raises:
        InputError: Not 0 <= index < size.

    Source: RFC 9162, section 2.1.3.1.
    """
    if not 0 <= index < size:
        raise InputError(f"there is no entry {index} in a log of {size}", code="audit.index")
    return tuple(_path(nodes, index, 0, size))


def _path(nodes: Nodes, index: int, start: int, stop: int) -> list[bytes]:
    if stop - start == 1:
        return []
    middle = start + _split(stop - start)
    if index < middle:
        return [*_path(nodes, index, start, middle), _root(nodes, middle, stop)]
    return [*_path(nodes, index, middle, stop), _root(nodes, start, middle)]


def consistency_path(nodes: Nodes, old: int, new: int) -> tuple[bytes, ...]:
    """Return the proof that the tree of `new` begins with the tree of `old`.

    Raises:
        InputError: Not 0 < old <= new.

    Source: RFC 9162, section 2.1.4.1.
    """
    if not 0 < old <= new:
        raise InputError(f"no consistency between sizes {old} and {new}", code="audit.sizes")
    if old == new:
        return ()
    return tuple(_consistency(nodes, old, 0, new, whole=True))


def _consistency(nodes: Nodes, old: int, start: int, stop: int, *, whole: bool) -> list[bytes]:
    if old == stop - start:
        return [] if whole else [_root(nodes, start, stop)]
    split = _split(stop - start)
    middle = start + split
    if old <= split:
        inner = _consistency(nodes, old, start, middle, whole=whole)
        return [*inner, _root(nodes, middle, stop)]
    inner = _consistency(nodes, old - split, middle, stop, whole=False)
    return [*inner, _root(nodes, start, middle)]


def _root(nodes: Nodes, start: int, stop: int) -> bytes:
    size = stop - start
    if size & (size - 1) == 0:
        height = size.bit_length() - 1
        return nodes(height, start >> height)
    middle = start + _split(size)
    return node_hash(_root(nodes, start, middle), _root(nodes, middle, stop))


def _split(size: int) -> int:
    """Return the largest power of two below `size`."""
    return 1 << (size - 1).bit_length() - 1
