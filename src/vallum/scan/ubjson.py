"""Universal Binary JSON as XGBoost writes it, walked to its last byte.

Source: ubjson.org, specification draft 12; XGBoost `doc/tutorials/saving_model.rst`.
"""

import sys
from array import array
from collections.abc import Sequence
from typing import Any

from vallum.base.bounds import ModelBounds
from vallum.scan.boosters import is_xgboost_tree, xgboost_tree_fault

_WIDTHS = {"i": 1, "U": 1, "I": 2, "l": 4, "L": 8, "d": 4, "D": 8, "C": 1, "u": 2}
_CODES = {"i": "b", "U": "B", "I": "h", "l": "i", "L": "q", "d": "f", "D": "d"}  # of `array`
_KEPT = frozenset(
    """left_children right_children split_indices split_conditions default_left parents
    loss_changes sum_hessian split_type categories categories_nodes categories_segments
    categories_sizes tree_param num_nodes num_deleted num_feature
    size_leaf_vector leaf_weights""".split()  # noqa: SIM905 - a table
)
_EMPTY = frozenset("ZTFN")
_COUNTS = frozenset("iUIlL")
_MAX_DEPTH = 64
_XGBOOST = frozenset({"learner", "version", "Config", "Model"})


def ubjson_fault(data: memoryview, bounds: ModelBounds) -> str:
    """Return what is wrong with the bytes as an XGBoost model; empty if nothing is."""
    try:
        return _Walk(data, bounds.max_opcodes).document()
    except (ValueError, IndexError) as error:
        return str(error)[:200]


class _Walk:
    def __init__(self, data: memoryview, max_values: int) -> None:
        self._data = data
        self._at = 0
        self._left = max_values

    def document(self) -> str:
        if self._kind() != "{":
            return "the document is no object"
        keys = self._object(0)
        if self._at != len(self._data):
            return "bytes follow the document"
        return "" if keys and keys.keys() <= _XGBOOST else "the document is no XGBoost model"

    def _kind(self) -> str:
        if self._at >= len(self._data):
            raise ValueError("the document is cut short")
        self._at += 1
        return chr(self._data[self._at - 1])

    def _skip(self, count: int) -> memoryview:
        if count < 0 or count > len(self._data) - self._at:
            raise ValueError("the document is cut short")
        self._at += count
        return self._data[self._at - count : self._at]

    def _count(self, kind: str) -> int:
        if kind not in _COUNTS:
            raise ValueError("a length of no whole number")
        return int.from_bytes(self._skip(_WIDTHS[kind]), "big", signed=kind != "U")

    def _value(self, kind: str, depth: int) -> Any:  # noqa: ANN401 - JSON is untyped
        """Step over a value; return it if it is a number, a text, or a list of numbers."""
        self._left -= 1
        if self._left < 0 or depth > _MAX_DEPTH:
            raise ValueError("more values or depth than the limit")
        if kind in _WIDTHS:
            return _numbers(kind, self._skip(_WIDTHS[kind]))[0]
        if kind in ("S", "H"):
            return str(self._skip(self._count(self._kind())), "utf-8", "replace")
        if kind == "{":
            return self._object(depth + 1)
        if kind == "[":
            return self._array(depth + 1)
        if kind not in _EMPTY:
            raise ValueError("an unknown type")
        return None

    def _object(self, depth: int) -> dict[str, Any]:
        keys: dict[str, Any] = {}
        while (kind := self._kind()) != "}":
            key = bytes(self._skip(self._count(kind))).decode("utf-8")
            if key in keys:
                raise ValueError("a key appears twice")
            value = self._value(self._kind(), depth)
            keys[key] = value if key in _KEPT else None
        if is_xgboost_tree(keys) and (fault := xgboost_tree_fault(keys)):
            raise ValueError(fault)
        return keys

    def _array(self, depth: int) -> Sequence[Any]:
        kind = self._kind()
        if kind == "$":
            inner, mark = self._kind(), self._kind()
            if mark != "#" or inner not in _WIDTHS:
                raise ValueError("a malformed typed array")
            return _numbers(inner, self._skip(self._count(self._kind()) * _WIDTHS[inner]))
        values: list[Any] = []
        if kind == "#":
            for _ in range(self._count(self._kind())):
                values.append(_flat(self._value(self._kind(), depth)))
            return values
        while kind != "]":
            values.append(_flat(self._value(kind, depth)))
            kind = self._kind()
        return values


def _flat(value: object) -> object:
    """Return a number of a list; of what is none only its place is kept."""
    return value if isinstance(value, int | float) else None


def _numbers(kind: str, raw: memoryview) -> Sequence[Any]:
    code = _CODES.get(kind)
    if code is None:
        return raw
    numbers = array(code, bytes(raw))
    if sys.byteorder == "little":
        numbers.byteswap()
    return numbers
