"""Round 7: values, calls and opcodes put together to pickles; nothing here runs one."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from held_out import Sample

CANARY = "vallum-canary-7"
CMD = f"touch {CANARY}"
PY = f"open('{CANARY}','w').close()"
EXPR = f"open('{CANARY}','w')"


@dataclass(frozen=True)
class Loaded(Sample):
    """A sample and the way it is loaded where somebody falls for it (see seventh_load)."""

    loader: str = "construction"


@dataclass(frozen=True)
class G:
    module: str
    name: str


@dataclass(frozen=True)
class C:
    """A call by REDUCE."""

    func: Any
    args: Sequence[Any] = ()


@dataclass(frozen=True)
class B:
    """BUILD: the state of an object."""

    obj: Any
    state: Any


@dataclass(frozen=True)
class N:
    """NEWOBJ_EX."""

    cls: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]


@dataclass(frozen=True)
class M:
    """A value that is also put into the memo."""

    value: Any
    slot: int


@dataclass(frozen=True)
class R:
    """A value from the memo."""

    slot: int


@dataclass(frozen=True)
class S:
    """Values of which only the last stays on the stack."""

    values: Sequence[Any]


@dataclass(frozen=True)
class Raw:
    """Opcodes that leave one value."""

    data: bytes
    notes: tuple[str, ...] = field(default=())


def call(where: str, *args: Any) -> C:
    """Return a call of `module:qualified.name`."""
    return C(g(where), args)


def g(where: str) -> G:
    module, _, name = where.partition(":")
    return G(module, name)


def kw(where: str, *args: Any, **kwargs: Any) -> C:
    """Return a call with keywords, which pickles make by way of `partial`."""
    return C(N(g("functools:partial"), (g(where), *args), kwargs))


def text(value: str, proto: int) -> bytes:
    data = value.encode("utf-8", "surrogatepass")
    if proto == 0:
        return (
            b"V"
            + value.replace("\\", "\\u005c").replace("\n", "\\u000a").encode("raw_unicode_escape")
            + b"\n"
        )
    if proto >= 4 and len(data) < 256:
        return b"\x8c" + bytes([len(data)]) + data
    return b"X" + struct.pack("<I", len(data)) + data


def binary(value: bytes, proto: int) -> bytes:
    if proto < 3:
        return (
            b"c_codecs\nencode\n("
            + text(value.decode("latin-1"), proto)
            + text("latin1", proto)
            + b"tR"
        )
    if len(value) < 256:
        return b"C" + bytes([len(value)]) + value
    return b"B" + struct.pack("<I", len(value)) + value


def reference(value: G, proto: int) -> bytes:
    if proto >= 4:
        return text(value.module, proto) + text(value.name, proto) + b"\x93"
    return f"c{value.module}\n{value.name}\n".encode()


def emit(value: Any, proto: int = 4) -> bytes:
    """Return opcodes that leave `value` on the stack."""
    match value:
        case None:
            return b"N"
        case bool():
            if proto < 2:
                return b"I01\n" if value else b"I00\n"
            return b"\x88" if value else b"\x89"
        case int():
            if proto == 0 or not -(2**31) <= value < 2**31:
                return f"L{value}L\n".encode()
            return b"J" + struct.pack("<i", value)
        case float():
            return f"F{value!r}\n".encode() if proto == 0 else b"G" + struct.pack(">d", value)
        case str():
            return text(value, proto)
        case bytes():
            return binary(value, proto)
        case tuple():
            return b"(" + b"".join(emit(v, proto) for v in value) + b"t"
        case list():
            if proto == 0:
                return b"(l" + b"".join(emit(v, proto) + b"a" for v in value)
            return b"](" + b"".join(emit(v, proto) for v in value) + b"e"
        case dict():
            pairs = [(emit(k, proto), emit(v, proto)) for k, v in value.items()]
            if proto == 0:
                return b"(d" + b"".join(k + v + b"s" for k, v in pairs)
            return b"}(" + b"".join(k + v for k, v in pairs) + b"u"
        case G():
            return reference(value, proto)
        case C():
            return emit(value.func, proto) + emit(tuple(value.args), proto) + b"R"
        case B():
            return emit(value.obj, proto) + emit(value.state, proto) + b"b"
        case N():
            return b"".join(emit(v, proto) for v in (value.cls, value.args, value.kwargs)) + b"\x92"
        case M():
            return emit(value.value, proto) + f"p{value.slot}\n".encode()
        case R():
            return f"g{value.slot}\n".encode()
        case S():
            return b"0".join(emit(v, proto) for v in value.values)
        case Raw():
            return value.data
    raise TypeError(type(value))


def least(value: Any) -> int:
    """Return the least protocol whose loaders take `value`."""
    if isinstance(value, G):
        return 4 if "." in value.name else 0
    if isinstance(value, N):
        return 4
    if isinstance(value, bytes):
        return 3
    inner: list[Any] = []
    if isinstance(value, C):
        inner = [value.func, *value.args]
    elif isinstance(value, B):
        inner = [value.obj, value.state]
    elif isinstance(value, M):
        inner = [value.value]
    elif isinstance(value, S):
        inner = list(value.values)
    elif isinstance(value, tuple | list):
        inner = list(value)
    elif isinstance(value, dict):
        inner = [*value, *value.values()]
    return max((least(v) for v in inner), default=0)


def head(proto: int) -> bytes:
    return b"" if proto < 2 else bytes([0x80, proto])


def pickled(value: Any, proto: int = 4, *, framed: bool = False) -> bytes:
    """Return a whole pickle."""
    body = emit(value, proto) + b"."
    if framed and proto >= 4:
        body = b"\x95" + struct.pack("<Q", len(body)) + body
    return head(proto) + body


def dressed(value: Any, at: int, proto: int | None = None) -> bytes:
    """Return a pickle with `value` at a place and in a protocol that follow from `at`."""
    need = least(value)
    if proto is None:
        proto = max(need, (4, 2, 0, 5, 3, 1)[at % 6])
    shapes: tuple[Any, ...] = (
        value,
        {"epoch": 3, "weights": [0.5, -1.25], "meta": value},
        [1, 2.5, "relu", value],
        S([value, {"classes": ["cat", "dog"], "bias": 0.1}]),
        ("v1", {"layers": [value, {"units": 8}]}),
    )
    return pickled(shapes[(at * 7 + 3) % len(shapes)], proto, framed=at % 3 == 0)
