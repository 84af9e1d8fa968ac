"""Universal Binary JSON as XGBoost writes it, walked to its last byte.

Source: ubjson.org, specification draft 12; XGBoost `doc/tutorials/saving_model.rst`.
"""

from vallum.base.bounds import ModelBounds

_WIDTHS = {"i": 1, "U": 1, "I": 2, "l": 4, "L": 8, "d": 4, "D": 8, "C": 1, "u": 2}
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
        return "" if keys and keys <= _XGBOOST else "the document is no XGBoost model"

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

    def _value(self, kind: str, depth: int) -> None:
        self._left -= 1
        if self._left < 0 or depth > _MAX_DEPTH:
            raise ValueError("more values or depth than the limit")
        if kind in _WIDTHS:
            self._skip(_WIDTHS[kind])
        elif kind in ("S", "H"):
            self._skip(self._count(self._kind()))
        elif kind == "{":
            self._object(depth + 1)
        elif kind == "[":
            self._array(depth + 1)
        elif kind not in _EMPTY:
            raise ValueError("an unknown type")

    def _object(self, depth: int) -> set[str]:
        keys: set[str] = set()
        while (kind := self._kind()) != "}":
            key = bytes(self._skip(self._count(kind))).decode("utf-8")
            if key in keys:
                raise ValueError("a key appears twice")
            keys.add(key)
            self._value(self._kind(), depth)
        return keys

    def _array(self, depth: int) -> None:
        kind = self._kind()
        if kind == "$":
            inner, mark = self._kind(), self._kind()
            if mark != "#" or inner not in _WIDTHS:
                raise ValueError("a malformed typed array")
            self._skip(self._count(self._kind()) * _WIDTHS[inner])
            return
        if kind == "#":
            for _ in range(self._count(self._kind())):
                self._value(self._kind(), depth)
            return
        while kind != "]":
            self._value(kind, depth)
            kind = self._kind()
