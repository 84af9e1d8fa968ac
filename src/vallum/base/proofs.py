"""Checking proofs of the log's Merkle tree (RFC 9162, section 2.1): what clients need too. Pure."""

import hashlib
from collections.abc import Sequence

from vallum.base.errors import IntegrityError

HASH_BYTES = 32
_sha256 = hashlib.sha256


def leaf_hash(leaf: bytes) -> bytes:
    """Return SHA-256(0x00 ‖ leaf)."""
    return _sha256(b"\x00" + leaf).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return SHA-256(0x01 ‖ left ‖ right)."""
    return _sha256(b"\x01" + left + right).digest()


def inclusion_root(leaf: bytes, index: int, size: int, path: Sequence[bytes]) -> bytes:
    """Recompute the tree root that `path` claims for `leaf`.

    Args:
        leaf: Leaf hash, 32 bytes.
        index: Position of the leaf, 0 <= index < size.
        size: Number of leaves in the tree, >= 1.
        path: Sibling hashes of 32 bytes, lowest level first.

    Returns:
        Root hash, 32 bytes. It proves nothing until it equals a signed checkpoint's root.

    Raises:
        IntegrityError: `path` has not the length that `index` and `size` require.

    Source: RFC 9162, section 2.1.3.2.
    """
    if not 0 <= index < size:
        raise IntegrityError("the proof is for no entry of this log", code="audit.proof")
    position, last = index, size - 1
    node = leaf
    for sibling in path:
        if last == 0 or len(sibling) != HASH_BYTES:
            raise IntegrityError("the inclusion proof has another form", code="audit.proof")
        if position & 1 or position == last:
            node = _sha256(b"\x01" + sibling + node).digest()
            while not position & 1 and position:
                position >>= 1
                last >>= 1
        else:
            node = _sha256(b"\x01" + node + sibling).digest()
        position >>= 1
        last >>= 1
    if last != 0:
        raise IntegrityError("the inclusion proof is too short", code="audit.proof")
    return node


def verify_consistency(
    old: int, old_root: bytes, new: int, new_root: bytes, path: Sequence[bytes]
) -> None:
    """Check that the tree of `new` begins with the tree of `old`.

    Raises:
        IntegrityError: It does not, or the proof has another form.

    Source: RFC 9162, section 2.1.4.2.
    """
    if old == 0 and not path:
        return  # everything begins with nothing
    if not 0 < old <= new or any(len(one) != HASH_BYTES for one in path):
        raise IntegrityError("the consistency proof has another form", code="audit.proof")
    if old == new:
        if path or old_root != new_root:
            raise IntegrityError("two roots for one size", code="audit.fork")
        return
    rest = list(path)
    if old & (old - 1) == 0:
        rest.insert(0, old_root)
    if not rest:
        raise IntegrityError("the consistency proof is empty", code="audit.proof")
    position, last = old - 1, new - 1
    while position & 1:
        position >>= 1
        last >>= 1
    first = second = rest[0]
    for sibling in rest[1:]:
        if last == 0:
            raise IntegrityError("the consistency proof is too long", code="audit.proof")
        if position & 1 or position == last:
            first = node_hash(sibling, first)
            second = node_hash(sibling, second)
            while not position & 1 and position:
                position >>= 1
                last >>= 1
        else:
            second = node_hash(second, sibling)
        position >>= 1
        last >>= 1
    if last != 0 or first != old_root or second != new_root:
        raise IntegrityError("the log was rewritten: it does not continue", code="audit.fork")
