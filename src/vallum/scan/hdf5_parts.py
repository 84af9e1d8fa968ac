"""Parts of HDF5 files: object headers of both kinds, and the heaps and indexes of the newer one.

Nothing here judges: it says where messages, links and attributes lie, or raises ValueError.

Source: HDF5 File Format Specification 3.0, sections II.B, III.A.2, III.G, IV.A.1.
"""

from bisect import bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from vallum.base.bounds import ModelBounds
from vallum.scan.report import Findings

NOWHERE = (1 << 64) - 1
_ATLAS = "AML.T0011.000"
_MAX_OBJECTS = 200_000
_MORE, _SHARED = 0x10, 0x02
_TIMES, _PHASES, _ORDERED = 0x20, 0x10, 0x04
# Of links and of attributes, by name and by order: where in a record is the heap's id, its bytes.
_RECORDS = {5: (4, 7), 6: (8, 7), 8: (0, 8), 9: (0, 8)}
_MAX_BITS = 64


@dataclass(slots=True)
class Hdf5File:
    """One file, what is found in it, and what was read."""

    data: memoryview
    findings: Findings
    bounds: ModelBounds
    member: str
    seen: set[int] = field(default_factory=set)
    claimed: int = 0  # bytes of datasets, which cannot be more than the file has
    headers: int = 0  # the same of objects' headers
    held: int = 0  # and of what heaps hold
    read: int = 0  # bytes of texts, again where another attribute has the same
    texts: dict[int, dict[int, tuple[int, int]]] = field(default_factory=dict)  # of each heap

    def number(self, at: int, width: int) -> int:
        """Return a whole number."""
        return int.from_bytes(self.slice(at, width), "little")

    def slice(self, at: int, length: int) -> bytes:
        """Return bytes that the file has."""
        if at < 0 or length < 0 or at + length > len(self.data):
            raise ValueError(f"an address beyond the file at offset {at}")
        return bytes(self.data[at : at + length])

    def visit(self, at: int) -> bool:
        """Whether the object is new; every object is read once, so a cycle ends."""
        if at in self.seen:
            return False
        self.seen.add(at)
        if len(self.seen) > _MAX_OBJECTS:
            raise ValueError(f"more than {_MAX_OBJECTS} objects")
        return True

    def header(self, length: int) -> None:
        """Account for a part of an object's header."""
        self.headers += length
        if self.headers > len(self.data):
            raise ValueError("headers of objects overlap")

    def add(self, id_: str, message: str, offset: int, severity: str = "high") -> None:
        """Report a finding."""
        self.findings.add(
            id_, message, severity=severity, member=self.member, offset=offset, atlas=_ATLAS
        )


def messages(file: Hdf5File, at: int) -> Iterator[tuple[int, int, int]]:
    """Yield kind, place and size of each message of an object's header."""
    if file.slice(at, 4) == b"OHDR":
        yield from _newer(file, at)
        return
    if file.number(at, 1) != 1:
        raise ValueError(f"an object header of another version at offset {at}")
    left = file.number(at + 2, 2)
    blocks = [(at + 16, file.number(at + 8, 4))]
    for start, length in blocks:
        file.header(length)
        place, end = start, start + length
        while left and place + 8 <= end:
            kind, size = file.number(place, 2), file.number(place + 2, 2)
            _check(file.number(place + 4, 1), place + 8 + size, end)
            if kind == _MORE:
                blocks.append(_next_block(file, place + 8))
            else:
                yield kind, place + 8, size
            place += 8 + size
            left -= 1
    if left:
        raise ValueError("an object header is cut short")


def _newer(file: Hdf5File, at: int) -> Iterator[tuple[int, int, int]]:
    if file.number(at + 4, 1) != 2:  # noqa: PLR2004 - the only one
        raise ValueError(f"an object header of another version at offset {at}")
    flags = file.number(at + 5, 1)
    start = at + 6 + (16 if flags & _TIMES else 0) + (4 if flags & _PHASES else 0)
    width = 1 << (flags & 3)
    head = 6 if flags & _ORDERED else 4
    blocks = [(start + width, file.number(start, width))]
    for first, length in blocks:
        file.header(length)
        place, end = first, first + length
        while place + head <= end:
            kind, size = file.number(place, 1), file.number(place + 1, 2)
            _check(file.number(place + 3, 1), place + head + size, end)
            if kind == _MORE:
                block, size_ = _next_block(file, place + head)
                if file.slice(block, 4) != b"OCHK" or size_ < 8:  # noqa: PLR2004 - name, checksum
                    raise ValueError("a header that goes on nowhere")
                blocks.append((block + 4, size_ - 8))
            else:
                yield kind, place + head, size
            place += head + size
        if any(file.slice(place, end - place)):
            raise ValueError("bytes between messages")


def _check(flags: int, stop: int, end: int) -> None:
    if flags & _SHARED:
        raise ValueError("a shared message")
    if stop > end:
        raise ValueError("a message is cut short")


def _next_block(file: Hdf5File, at: int) -> tuple[int, int]:
    if not file.visit(file.number(at, 8)):
        raise ValueError("a header that continues in itself")
    return file.number(at, 8), file.number(at + 8, 8)


def in_heap(file: Hdf5File, heap: int, index: int) -> Iterator[tuple[int, int]]:
    """Yield place and size of each object of a heap that a tree of names has."""
    if not file.visit(index) or file.slice(index, 5) != b"BTHD\0":
        raise ValueError("an index that is nowhere")
    kind, node, width = (file.number(index + k, n) for k, n in ((5, 1), (6, 4), (10, 2)))
    depth, root, count = (file.number(index + k, n) for k, n in ((12, 2), (16, 8), (24, 2)))
    if kind not in _RECORDS or depth > 1 or node > len(file.data) or not width:
        raise ValueError("an index of another kind, or too deep")
    if root == NOWHERE:
        return
    skip, length = _RECORDS[kind]
    if width < skip + length:
        raise ValueError("an index of another kind, or too deep")
    find = _finder(file, heap, length)
    shape = _Shape(kind, width, node)
    for place in _records(file, shape, root, count, above=bool(depth)):
        yield find(place + skip)


@dataclass(frozen=True, slots=True)
class _Shape:
    kind: int
    width: int
    node: int


def _records(file: Hdf5File, shape: _Shape, at: int, count: int, *, above: bool) -> Iterator[int]:
    """Yield the places of the records of a leaf, or of a node above leaves and of its leaves."""
    name, width = b"BTIN" if above else b"BTLF", shape.width
    if not file.visit(at) or file.slice(at, 6) != name + bytes([0, shape.kind]):
        raise ValueError("a part of an index that is nowhere")
    file.slice(at + 6, count * width)
    yield from range(at + 6, at + 6 + count * width, width)
    if above:
        wide = (((shape.node - 10) // width).bit_length() + 7) // 8
        for child in range(count + 1):
            place = at + 6 + count * width + child * (8 + wide)
            leaf, held = file.number(place, 8), file.number(place + 8, wide)
            yield from _records(file, shape, leaf, held, above=False)


def _finder(file: Hdf5File, heap: int, length: int) -> Callable[[int], tuple[int, int]]:
    """Return what says of an id's place where its object lies."""
    if file.slice(heap, 5) != b"FRHP\0" or file.number(heap + 7, 2):
        raise ValueError("a heap that is nowhere, or has filters")
    wide, first = file.number(heap + 110, 2), file.number(heap + 112, 8)
    largest, bits = file.number(heap + 120, 8), file.number(heap + 128, 2)
    root, rows = file.number(heap + 132, 8), file.number(heap + 140, 2)
    most = file.number(heap + 10, 4)
    if not (0 < first <= largest <= 1 << 32 and 0 < bits <= _MAX_BITS and 0 < wide <= 256 and most):  # noqa: PLR2004
        raise ValueError("a heap of impossible sizes")
    place = (bits + 7) // 8
    size = min((largest.bit_length() - 1) // 8 + 1, (most.bit_length() - 1) // 8 + 1)
    begins: list[int] = []  # in the heap, of each block
    blocks: list[tuple[int, int]] = []  # its end in the heap, its place in the file
    if rows == 0:
        begins, blocks = [0], [(first, root)]
    else:
        if file.slice(root, 5) != b"FHIB\0":
            raise ValueError("a block of a heap that is nowhere")
        begun, at = 0, root + 13 + place
        for row in range(rows):
            each = first << max(row - 1, 0)
            if each > largest:
                raise ValueError("a heap that is too large")
            for _ in range(wide):
                begins.append(begun)
                blocks.append((begun + each, file.number(at, 8)))
                begun, at = begun + each, at + 8

    def find(id_: int) -> tuple[int, int]:
        if file.number(id_, 1) or 1 + place + size > length:
            raise ValueError("an object that is not in its heap")
        offset, long = file.number(id_ + 1, place), file.number(id_ + 1 + place, size)
        index = bisect_right(begins, offset) - 1
        end, block = blocks[index]
        start = block + offset - begins[index]
        if offset + long <= end and block != NOWHERE and file.slice(block, 5) == b"FHDB\0":
            file.slice(start, long)
            return start, long
        raise ValueError("an object that is not in its heap")

    return find
