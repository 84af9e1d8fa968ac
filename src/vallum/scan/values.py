"""What the abstract pickle machine knows of the values on its stack."""

from dataclasses import dataclass, field

DATA = object()  # a number, bytes, a text, a list or a set of which nothing needs to be known
UNREAD = object()  # a text beyond what is kept
LIST = object()
SET = object()
# joblib's class whose instances stand for arrays that follow in the file. What it reads depends on
# an instance and its state, so each is made, gets one state, and is nowhere else.
_WRAPPER = "NumpyArrayWrapper"
# What keeps items itself: another object may be a view of a dict that is known.
_KEEPERS = frozenset({"dict", "OrderedDict", "defaultdict", "Counter", "Bunch"})
PLAIN_KEEPERS = _KEEPERS - {"Bunch"}
# Keys of a state that replace a method or a class.
HOOKS = frozenset(
    ("__setstate__", "__class__", "append", "extend", "add", "__reduce__", "__reduce_ex__",
     "__array__", "__array_interface__", "__array_struct__")
)  # fmt: skip
# Those of them that no dictionary of words has, and that a class may look up among its items.
SPECIAL_HOOKS = frozenset(one for one in HOOKS if one.startswith("__"))
_LIGHT, _SHORT = 32, 64  # a tuple below both is counted anew
_NO_TEXTS = frozenset({"_reconstruct", "dtype", "ndarray"})


@dataclass(frozen=True, slots=True)
class Global:
    """An imported name."""

    module: str
    name: str
    offset: int


@dataclass(slots=True)
class Made:
    """What a call returned: the callable, its arguments and the states given by `BUILD`."""

    callee: object
    arguments: tuple[object, ...] | None
    offset: int
    states: tuple[object, ...] = ()
    weight: int = 1  # of the arguments, as `Nested` has it
    depth: int = 1


class Nested(tuple[object, ...]):  # noqa: SLOT001 - a tuple's slots hold its items
    """A tuple that holds many others, and what walking through it costs, such as to hash it.

    Attributes:
        weight: How many tuples that meets; one that is held twice is met twice.
        depth: How many of them stand in each other.
    """

    weight: int
    depth: int


def weighed(items: tuple[object, ...]) -> tuple[tuple[object, ...], int, int]:
    """Return a tuple whose weight need not be counted again, its weight and its depth."""
    weight = depth = 1
    for one in items:
        below, deep = weigh(one)
        weight, depth = weight + below, max(depth, deep + 1)
    if weight < _LIGHT and len(items) < _SHORT:
        return items, weight, depth
    held = Nested(items)
    held.weight, held.depth = weight, depth
    return held, weight, depth


def weigh(value: object) -> tuple[int, int]:
    """Return the weight and the depth of a value; of what is no tuple and no result, nothing."""
    if isinstance(value, Nested | Made):
        return value.weight, value.depth
    return weighed(value)[1:] if isinstance(value, tuple) else (0, 0)


@dataclass(slots=True)
class Mapping:
    """A dict.

    Attributes:
        entries: Those with text keys.
        partial: Whether there were more than are kept; the keys of `HOOKS` always are.
        unknown: Whether a key may be a text that is not known, such as one that a call returned.
    """

    entries: dict[str, object] = field(default_factory=dict)
    partial: bool = False
    unknown: bool = False


@dataclass(frozen=True, slots=True)
class Persistent:
    """An object that the loader fetches by a persistent id."""

    id: object
    offset: int


def kept_class(id_: object) -> Global | None:
    """Return the class that torch's old format keeps with its source, which is only compared.

    Source: torch/serialization.py, `_legacy_load`, persistent ids of kind `module`.
    """
    if not isinstance(id_, tuple) or len(id_) != 4 or id_[0] != "module":  # noqa: PLR2004 - and two texts
        return None
    texts = all(one is None or one is DATA or isinstance(one, str) for one in id_[2:])
    return id_[1] if texts and isinstance(id_[1], Global) else None


def is_no_text(value: object) -> bool:
    """Whether the value is surely no text, so that a loader raises where it needs one."""
    if isinstance(value, Made):  # a class, by its name, none of which on the allow-list is a text
        name = value.callee.name if isinstance(value.callee, Global) else ""
        return name in _NO_TEXTS or name[:1].isupper()
    return value is LIST or value is SET or isinstance(value, int | tuple | Mapping | Global)


def may_be_text(value: object) -> bool:
    """Whether a key that is no literal text may equal one."""
    if isinstance(value, Made):
        string = isinstance(value.callee, Global) and value.callee.name == "UserString"
        return string or not is_no_text(value)
    return value is UNREAD or isinstance(value, Persistent)


def kept_by(made: Made) -> str:
    """Name the class of a call's result, if it keeps items; empty if it may be anything."""
    name = made.callee.name if isinstance(made.callee, Global) else ""
    if name in ("_reconstructor", "__newobj__") and made.arguments:
        first = made.arguments[0]
        name = first.name if isinstance(first, Global) else ""
    return name if name in _KEEPERS else ""


def is_wrapper(value: object) -> bool:
    """Whether the value is joblib's class that stands for arrays."""
    return isinstance(value, Global) and value.name == _WRAPPER
