"""FlatBuffers, followed by a schema of one's own, so that every byte belongs to one object.

Offsets may lead anywhere in the buffer. An object that the schema does not have, a field that it
does not have, two objects that overlap, and bytes between them that are not zero are refused.

Source: google/flatbuffers, "FlatBuffer Internals".
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from vallum.scan.raster import gap_fault

_MAX_DEPTH, _MAX_OBJECTS = 64, 2_000_000
_MAX_SCALARS = 64  # bytes of a table that has nothing else


@dataclass(frozen=True, slots=True)
class Text:
    """A string: UTF-8 with a zero byte behind it."""


@dataclass(frozen=True, slots=True)
class Vector:
    """Items of one kind: so many bytes each, texts or tables."""

    of: "int | Text | Table"


@dataclass(frozen=True, slots=True)
class Table:
    """A table, by its name in the schema."""

    name: str


@dataclass(frozen=True, slots=True)
class Union:
    """One of several tables; the field before says which. None stands for scalars alone."""

    of: Mapping[int, str]
    other: bool = False


Kind = int | Text | Vector | Table | Union
Schema = Mapping[str, Sequence[Kind]]
Visit = Callable[[str, "View"], None]
TEXT = Text()


@dataclass(slots=True)
class View:
    """A table: the place of each of its fields, 0 where it has none."""

    buffer: "Flat"
    at: int
    places: Sequence[int]

    def number(self, slot: int, width: int, default: int = 0) -> int:
        """Return a whole number."""
        place = self.places[slot] if slot < len(self.places) else 0
        if not place:
            return default
        return self.buffer.number(self.at + place, width, signed=True)

    def start(self, slot: int) -> int:
        """Return where what a field points to begins; 0 where it is absent."""
        place = self.places[slot] if slot < len(self.places) else 0
        return self.at + place + self.buffer.number(self.at + place, 4) if place else 0

    def items(self, slot: int, width: int) -> Iterator[int]:
        """Yield the whole numbers of a vector."""
        at = self.start(slot)
        for index in range(self.buffer.number(at, 4) if at else 0):
            yield self.buffer.number(at + 4 + width * index, width, signed=True)

    def text(self, slot: int) -> str:
        """Return a text; empty where it is absent."""
        at = self.start(slot)
        return bytes(self.buffer.slice(at + 4, self.buffer.number(at, 4))).decode() if at else ""


@dataclass(slots=True)
class Flat:
    """One buffer and what is known of it."""

    data: memoryview
    schema: Schema
    visit: Visit
    parts: set[tuple[int, int]] = field(default_factory=set)
    seen: set[tuple[int, str]] = field(default_factory=set)
    followed: set[tuple[int, object]] = field(default_factory=set)  # texts and vectors: once each
    claimed: int = 0  # bytes of all parts, which cannot be more than there are

    def number(self, at: int, width: int, *, signed: bool = False) -> int:
        """Return a whole number."""
        return int.from_bytes(self.slice(at, width), "little", signed=signed)

    def slice(self, at: int, length: int) -> memoryview:
        """Return bytes that the buffer has."""
        if at < 0 or length < 0 or at + length > len(self.data):
            raise ValueError("an offset beyond the buffer")
        return self.data[at : at + length]

    def claim(self, start: int, end: int) -> None:
        """Note that the bytes belong to an object."""
        self.slice(start, end - start)
        if (start, end) not in self.parts:
            self.parts.add((start, end))
            self.claimed += end - start
            if self.claimed > len(self.data):
                raise ValueError("two parts overlap")
        if len(self.parts) > _MAX_OBJECTS:
            raise ValueError("more objects than are read")

    def table(self, at: int, name: str, depth: int) -> None:
        """Follow a table and all that it leads to."""
        if depth > _MAX_DEPTH:
            raise ValueError("tables nested too deeply")
        if (at, name) in self.seen:
            return
        self.seen.add((at, name))
        vtable = at - self.number(at, 4, signed=True)
        length, size = self.number(vtable, 2), self.number(vtable + 2, 2)
        slots = len(self.schema[name]) if name else _MAX_SCALARS
        if length % 2 or length < 4 or size < 4 or length > 4 + 2 * slots:  # noqa: PLR2004 - two sizes, one offset
            raise ValueError("a table of an impossible size, or of fields that are not known")
        self.claim(vtable, vtable + length)
        self.claim(at, at + size)
        places = [self.number(vtable + 4 + 2 * k, 2) for k in range((length - 4) // 2)]
        view = View(self, at, places)
        if name:
            self._fields(view, size, self.schema[name], depth)
            self.visit(name, view)
        elif size > _MAX_SCALARS or any(place >= size for place in places):
            raise ValueError("scalars that are too many")

    def _fields(self, view: View, size: int, kinds: Sequence[Kind], depth: int) -> None:
        held = [(4, 0)]
        for slot, place in enumerate(view.places):
            if not place:
                continue
            if slot >= len(kinds):
                raise ValueError("a field that the schema does not have")
            kind = kinds[slot]
            width = kind if isinstance(kind, int) else 4
            held.append((place + width, place))
            if not isinstance(kind, int):
                self._follow(view, slot, kind, depth)
        end = 0
        for stop, start in sorted(held):
            if start < end or any(self.slice(view.at + end, start - end)):
                raise ValueError("fields that overlap, or bytes between them")
            end = stop
        if end > size or any(self.slice(view.at + end, size - end)):
            raise ValueError("fields beyond their table")

    def _follow(self, view: View, slot: int, kind: Kind, depth: int) -> None:
        at = view.start(slot)
        if isinstance(kind, Text):
            self._text(at)
        elif isinstance(kind, Table):
            self.table(at, kind.name, depth + 1)
        elif isinstance(kind, Vector):
            self._vector(at, kind.of, depth)
        elif isinstance(kind, Union):
            which = view.number(slot - 1, 1) & 0xFF
            if which not in kind.of and not (kind.other and which):
                raise ValueError("a union of an unknown kind")
            self.table(at, kind.of.get(which, ""), depth + 1)

    def _text(self, at: int) -> None:
        if (at, "text") in self.followed:
            return
        self.followed.add((at, "text"))
        length = self.number(at, 4)
        self.claim(at, at + 4 + length + 1)
        if self.data[at + 4 + length]:
            raise ValueError("a text that does not end")
        bytes(self.slice(at + 4, length)).decode()

    def _vector(self, at: int, of: "int | Text | Table", depth: int) -> None:
        if (at, of) in self.followed:
            return
        self.followed.add((at, of))
        count = self.number(at, 4)
        self.claim(at, at + 4 + count * (of if isinstance(of, int) else 4))
        if isinstance(of, int):
            return
        for place in range(at + 4, at + 4 + 4 * count, 4):
            target = place + self.number(place, 4)
            if isinstance(of, Text):
                self._text(target)
            else:
                self.table(target, of.name, depth + 1)


def flat_fault(
    data: memoryview, schema: Schema, root: str, visit: Visit, *, head: int = 4, gap: int = 31
) -> str:
    """Return what is wrong with a buffer; empty if nothing is.

    Args:
        data: The whole buffer.
        schema: The tables that there may be, each with the kinds of its fields in order.
        root: The table that the buffer begins with.
        visit: Is told of every table; it may raise ValueError.
        head: Bytes before the first object: an offset, perhaps an identifier.
        gap: How many zero bytes of alignment may lie between two objects.
    """
    flat = Flat(data, schema, visit)
    try:
        flat.claim(0, head)
        flat.table(flat.number(0, 4), root, 0)
    except (ValueError, IndexError) as error:
        return str(error)[:200]
    return gap_fault(data, flat.parts, gap)
