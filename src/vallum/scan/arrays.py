"""NumPy's types and joblib's places of arrays in pickles: what a loader would read, exactly.

A type gets its size and whether it holds objects from its state, whatever its name says: with
another size joblib takes opcodes for numbers or numbers for opcodes, and without the flag of
objects NumPy takes numbers for addresses. So name and state must say the same.

Source: numpy, `descriptor.c`, `arraydescr_reduce` and `arraydescr_setstate`; joblib,
`numpy_pickle.py`, `NumpyArrayWrapper`.
"""

import math
import re

from vallum.scan.allowed import current_name
from vallum.scan.opcodes import Malformed
from vallum.scan.values import DATA, LIST, Global, Made, Mapping

WRAPPER = ("joblib.numpy_pickle", "NumpyArrayWrapper")
_DTYPE = ("numpy", "dtype")
_RECORDS = frozenset({("numpy", "record"), ("numpy", "void")})
_TEXT = re.compile(r"^[<>=|]?(?:([?bBhHiIlLqQfdgcFDGOSUVMm])|([biufcOSUVMm])(\d{1,9}))(\[\w+\])?\Z")
_BYTES = {
    "?": 1, "b": 1, "B": 1, "h": 2, "H": 2, "i": 4, "I": 4, "l": 8, "L": 8, "q": 8, "Q": 8,
    "f": 4, "d": 8, "g": 16, "c": 1, "F": 8, "D": 16, "G": 32, "M": 8, "m": 8, "O": 8,
    "S": 0, "U": 0, "V": 0,
}  # fmt: skip
_EXTENDED = frozenset("SUV")
_WIDE_CHARACTER = 4
_STATE = (8, 9)  # version, order, base, names, fields, bytes, alignment, flags[, metadata]
# Flags of what holds objects: counted, listed, a pointer itself, filled, needs Python.
_OF_OBJECTS, _POINTER, _OTHERS = 0x03, 0x04, 0x18
_MAX_DEPTH = 32
_ARRAY_STATE = 5  # version, shape, type, order, items
_PLACE = frozenset(
    {"subclass", "shape", "order", "dtype", "allow_mmap", "numpy_array_alignment_bytes"}
)


def type_of(made: object, depth: int = 0) -> tuple[int, bool]:
    """Return the bytes of an item of a type, and whether it holds objects.

    Raises:
        Malformed: The type is not literal, or its state is not of what it is called.
    """
    at = made.offset if isinstance(made, Made) else 0
    if not isinstance(made, Made) or not _is(made.callee, _DTYPE) or depth > _MAX_DEPTH:
        raise Malformed("an array has no literal type", at)
    size, kind = _named(made)
    objects = kind == "O"
    for state in made.states:
        if not isinstance(state, tuple) or len(state) not in _STATE:
            raise Malformed("a type has no literal state", at)
        base, fields, told, flags = state[2], state[4], state[5], state[7]
        if not isinstance(told, int) or not isinstance(flags, int):
            raise Malformed("a type has no literal state", at)
        if kind in _EXTENDED:
            whole = told if size is None else size
            if told != whole or told < 0:
                raise Malformed("a type has another size than its name", at)
            held = [*_base(base, whole, depth), *_fields(fields, whole, depth)]
            size, objects = whole, any(held)
        elif base is not DATA or fields is not DATA:
            raise Malformed("a plain type has parts", at)
        alone = objects and (kind == "O" or base is not DATA)
        wanted = _OF_OBJECTS if objects else 0
        if (
            flags & _OF_OBJECTS != wanted
            or (flags & _POINTER and not alone)
            or (objects and ~flags & _OTHERS)
        ):
            raise Malformed("a type's flags are not those of what it holds", at)
    return size or 0, objects


def _is(callee: object, name: tuple[str, str]) -> bool:
    return isinstance(callee, Global) and current_name(callee.module, callee.name) == name


def _named(made: Made) -> tuple[int | None, str]:
    """Return the bytes that a type's name tells, if it does, and its kind."""
    text = made.arguments[0] if made.arguments else None
    if isinstance(text, Global) and current_name(text.module, text.name) in _RECORDS:
        return None, "V"
    found = _TEXT.match(text) if isinstance(text, str) else None
    if found is None:
        raise Malformed("an array has an unknown type", made.offset)
    alone, kind, digits, unit = found.groups()
    if unit and (alone or kind) not in ("M", "m"):
        raise Malformed("an array has an unknown type", made.offset)
    if alone:
        return _BYTES[alone], "S" if alone == "c" else alone
    return int(digits) * (_WIDE_CHARACTER if kind == "U" else 1), kind


def _base(base: object, whole: int, depth: int) -> list[bool]:
    """Judge a type of several items of another; tell whether that holds objects."""
    if base is DATA:
        return []
    if not isinstance(base, tuple) or len(base) != 2:  # noqa: PLR2004 - type, shape
        raise Malformed("a type is of no literal base", 0)
    size, objects = type_of(base[0], depth + 1)
    shape = base[1] if isinstance(base[1], tuple) else (base[1],)
    sizes = [one if type(one) is int and one >= 0 else -1 for one in shape]
    if -1 in sizes or math.prod(sizes) * size != whole:
        raise Malformed("a type has another size than its items", 0)
    return [objects]


def _fields(fields: object, whole: int, depth: int) -> list[bool]:
    """Judge a type's fields; tell of each whether it holds objects."""
    if fields is DATA:
        return []
    if not isinstance(fields, Mapping) or fields.partial or fields.unknown:
        raise Malformed("a type has no literal fields", 0)
    found = []
    for one in fields.entries.values():
        if not isinstance(one, tuple) or len(one) not in (2, 3) or type(one[1]) is not int:
            raise Malformed("a type has no literal fields", 0)
        size, objects = type_of(one[0], depth + 1)
        if one[1] < 0 or one[1] + size > whole:
            raise Malformed("a field lies beyond its type", 0)
        found.append(objects)
    return found


def is_doubtful(call: Made) -> bool:
    """Whether a call makes a type that is not what its state says, or an array of addresses."""
    if _is(call.callee, _DTYPE) and call.states:
        try:
            type_of(call)
        except Malformed:
            return True
    name = call.callee.name if isinstance(call.callee, Global) else ""
    if name != "_reconstruct":
        return name.endswith("DType") and bool(call.states)
    return any(
        isinstance(state, tuple) and len(state) == _ARRAY_STATE
        and state[4] is not LIST and _may_hold_objects(state[2])
        for state in call.states
    )  # fmt: skip


def _may_hold_objects(made: object) -> bool:
    try:
        return type_of(made)[1]
    except Malformed:
        return True


def array_after(made: Made, data: memoryview, at: int) -> int | None:
    """Return where joblib goes on behind the array that follows a state; None: a pickle follows.

    Raises:
        Malformed: Nobody can say where that is.
    """
    state = made.states[-1]
    literal = isinstance(state, Mapping) and not state.partial and not state.unknown
    if made.arguments != () or len(made.states) != 1 or not literal:
        raise Malformed("an array's place is not literal", at)
    entries = state.entries if isinstance(state, Mapping) else {}
    shape, aligned = entries.get("shape"), entries.get("numpy_array_alignment_bytes")
    if not isinstance(shape, tuple) or not all(type(n) is int and n >= 0 for n in shape):
        raise Malformed("an array has no literal shape", at)
    if not entries.keys() <= _PLACE or not (aligned is None or type(aligned) is int):
        raise Malformed("an array's place is not literal", at)
    size, objects = type_of(entries.get("dtype"))
    if objects:
        return None
    end = at
    if aligned is not None:
        if at >= len(data):
            raise Malformed("an array is cut short", at)
        end = at + 1 + data[at]
    end += size * math.prod(int(str(n)) for n in shape)
    if end > len(data):
        raise Malformed("an array is cut short", at)
    return end
