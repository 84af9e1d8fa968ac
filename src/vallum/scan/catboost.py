"""CatBoost's own format: trees and tables of categories, each a FlatBuffer followed whole.

The library follows numbers in them without a check: splits, leaves and buckets must be those that
the file has. Text and embedding features have parts of their own, which are refused.

Source: catboost/catboost, `libs/model/flatbuffers`, `model.cpp`, `static_ctr_provider.h`,
`ctr_value_table.cpp`.
"""

from dataclasses import dataclass, field
from functools import partial

from vallum.scan.flatbuffer import TEXT, Schema, Table, Vector, View, flat_fault

_MAGIC = b"CBM1"
_VERSION, _TABLES = "FlabuffersModel_v1", "static_provider_v1"
_MAX_DEPTH, _BUCKET, _NO_BUCKET = 16, 12, 0xFFFFFFFF
_STEP, _NO_LEAF = 4, 0xFFFFFFFF
_GUID, _NO_CATEGORY = 16, (1 << 64) - 1
_MEANS, _COUNTS = (2, 3), (4, 5)  # kinds of tables: of a sum and a number, or of a number
_COMBINATION: Schema = {
    "Combination": (Vector(4), Vector(8), Vector(8)),
    "CtrBase": (Table("Combination"), 1, 4),
}
_SCHEMA: Schema = {
    **_COMBINATION,
    "Core": (TEXT, Table("Trees"), Vector(Table("Pair")), Vector(TEXT)),
    "Pair": (TEXT, TEXT),
    "Trees": (
        4, Vector(4), Vector(4), Vector(4), Vector(Table("Category")), Vector(Table("Float")),
        Vector(Table("OneHot")), Vector(Table("CtrFeature")), Vector(8), Vector(8), Vector(_STEP),
        Vector(4), Vector(Table("Category")), Vector(Table("Estimated")), 8, 8, Vector(8),
        Vector(4), Vector(Table("Embedding")),
    ),
    "Category": (4, 4, TEXT, 1),
    "Float": (1, 4, 4, Vector(4), TEXT, 1),
    "OneHot": (4, Vector(4), Vector(TEXT)),
    "Ctr": (Table("CtrBase"), 4, 4, 4, 4, 4),
    "CtrFeature": (Table("Ctr"), Vector(4)),
    "Estimated": (4, _GUID, 4, Vector(4)),
    "Embedding": (4, 4, TEXT, 4, 1),
}  # fmt: skip
_CTR_SCHEMA: Schema = {**_COMBINATION, "Table": (Table("CtrBase"), Vector(1), Vector(1), 4, 4)}
# Which number of each feature's vector holds the borders or values that splits count.
_BORDERS = {"Float": 3, "OneHot": 1, "CtrFeature": 1, "Estimated": 3}


def is_catboost(head: bytes) -> bool:
    """Whether a file begins as CatBoost's."""
    return head[:4] == _MAGIC


def catboost_fault(data: memoryview) -> str:
    """Return what is wrong with a model of CatBoost; empty if nothing is."""
    end = 8 + int.from_bytes(data[4:8], "little")
    if len(data) < 8 or end > len(data):  # noqa: PLR2004 - magic and length
        return "the model is cut short"
    model = _Model()
    fault = flat_fault(data[8:end], _SCHEMA, "Core", model.visit)
    if fault or not model.parts:
        return fault or ("bytes follow the model" if end != len(data) else "")
    return _tables_fault(data[end:])


@dataclass(slots=True)
class _Model:
    borders: int = 0
    parts: list[str] = field(default_factory=list)
    estimated: bool = False

    def visit(self, name: str, view: View) -> None:
        if name in _BORDERS:
            self.borders += _length(view, _BORDERS[name])
            self.estimated |= name == "Estimated"
        elif name == "Trees":
            self._trees(view)
        elif name == "Core":
            if view.text(0) != _VERSION or not view.start(1):
                raise ValueError("a model of another version, or without trees")
            at = view.start(3)
            for index in range(_length(view, 3)):
                place = at + 4 + 4 * index
                text = place + view.buffer.number(place, 4)
                size = view.buffer.number(text, 4)
                self.parts.append(bytes(view.buffer.slice(text + 4, size)).decode())
            if self.parts not in ([], [_TABLES]) or self.estimated:
                raise ValueError("a part of another kind")

    def _trees(self, view: View) -> None:
        splits, sizes, starts = (list(view.items(slot, 4)) for slot in (1, 2, 3))
        wide = view.number(0, 4)
        leaves = _length(view, 8)
        if wide < 1 or any(one < 0 for one in sizes) or sum(sizes) != len(splits):
            raise ValueError("trees that do not fit their splits")
        if any(not 0 <= one < self.borders for one in splits):
            raise ValueError("a split of a border that there is not")
        placed = 0
        for size, start in zip(sizes, starts, strict=bool(starts)) if starts else ():
            if start != placed:
                raise ValueError("a tree that begins elsewhere")
            placed += size
        if _length(view, 10):
            self._nodes(view, sizes, leaves)
        elif max(sizes, default=0) > _MAX_DEPTH or sum(1 << one for one in sizes) * wide != leaves:
            raise ValueError("trees that do not fit their leaves")

    def _nodes(self, view: View, sizes: list[int], leaves: int) -> None:
        """Check trees that are not the same at each depth: where their steps lead."""
        steps, ends = list(view.items(10, _STEP)), list(view.items(11, 4))
        if len(steps) != sum(sizes) or len(ends) != len(steps):
            raise ValueError("trees that do not fit their nodes")
        at = 0
        for size in sizes:
            for node in range(at, at + size):
                left, right = steps[node] & 0xFFFF, steps[node] >> 16 & 0xFFFF
                if node + max(left, right) >= at + size:
                    raise ValueError("a node that leads out of its tree")
            at += size
        if any(not 0 <= (one & _NO_LEAF) < leaves for one in ends if one & _NO_LEAF != _NO_LEAF):
            raise ValueError("a node whose leaf there is not")


def _length(view: View, slot: int) -> int:
    at = view.start(slot)
    return view.buffer.number(at, 4) if at else 0


def _tables_fault(data: memoryview) -> str:
    """Return what is wrong with the tables of categories, to the last byte."""
    count, at = int.from_bytes(data[:4], "little"), 4
    for _ in range(count):
        size = int.from_bytes(data[at : at + 4], "little")
        at += 4 + size
        if size == 0 or at > len(data):
            return "a table of categories is cut short"
        if fault := flat_fault(data[at - size : at], _CTR_SCHEMA, "Table", partial(_table, [])):
            return fault
    return "" if at == len(data) else "bytes follow the tables of categories"


def _table(kinds: list[int], name: str, view: View) -> None:
    """Check that each category's number leads into the counts; `kinds` has that of the table."""
    if name == "CtrBase":
        kinds.append(view.number(1, 1))
    if name != "Table":
        return
    raw, held, classes = view.start(1), _length(view, 1), max(view.number(4, 4), 1)
    kind = kinds[-1] if kinds else 0
    each = 8 if kind in _MEANS else 4 if kind in _COUNTS else 4 * classes
    entries = _length(view, 2) // each
    if held % _BUCKET:
        raise ValueError("a table of categories of another shape")
    for place in range(raw + 4, raw + 4 + held, _BUCKET):
        index = view.buffer.number(place + 8, 4)
        empty = index == _NO_BUCKET or view.buffer.number(place, 8) == _NO_CATEGORY
        if not empty and index >= entries:
            raise ValueError("a category of a bucket that there is not")
