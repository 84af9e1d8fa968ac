"""An abstract pickle machine: it computes what a stream would import and call, and does neither.

It follows stack, marks and memo exactly, so that a name built from the memo or from parts is
known. What it cannot know is a finding, never a guess.
"""

import re
from collections.abc import Callable, Iterable, Sized
from dataclasses import dataclass, field

from vallum.base.bounds import ModelBounds
from vallum.formats import release
from vallum.scan.opcodes import Malformed, Opcode, decode
from vallum.scan.values import (
    DATA,
    HOOKS,
    LIST,
    PLAIN_KEEPERS,
    SET,
    SPECIAL_HOOKS,
    UNREAD,
    Global,
    Made,
    Mapping,
    Persistent,
    is_no_text,
    is_wrapper,
    kept_by,
    kept_class,
    may_be_text,
    weigh,
    weighed,
)


@dataclass(slots=True)
class Trace:
    """What one stream would do.

    Attributes:
        end: The offset after `STOP`, or where the trace broke off.
        stopped: Whether `STOP` was reached with one value on the stack.
        globals: Every import whose name is known, by its first place, in order.
        calls: Every call, in order.
        persistent: Every persistent id.
        odd: Offset, opcode and message of what no ordinary writer makes.
        packed: Start and end of bytes that begin as a pickle of their own.
        attributes: Whether each `getattr` took an attribute by its literal name off an imported
            name, so that it is an import by a dotted name; None without `getattr`.
    """

    end: int = 0
    stopped: bool = False
    opcodes: int = 0
    result: object = None
    globals: list[Global] = field(default_factory=list)
    calls: list[Made] = field(default_factory=list)
    persistent: list[Persistent] = field(default_factory=list)
    odd: list[tuple[int, str, str]] = field(default_factory=list)
    packed: list[tuple[int, int]] = field(default_factory=list)
    attributes: bool | None = None


_MARK = object()
_MAX_WEIGHT, _LOAD, _MAX_DEPTH = 1_000_000, 64, 5_000
_MAX_PROTOCOL = 5
GETATTR = (("builtins", "getattr"), ("__builtin__", "getattr"))
# What may be kept of one stream, so that no stream needs more than 100 MiB.
_MAX_KEPT_ENTRIES = 4096  # of one dict
_MAX_ENTRIES = 400_000
_MAX_CALLS = 400_000
_MAX_NOTED = 50_000  # persistent ids, different imports, oddities
_TEXT_BUDGET, _TEXT_COST = 48 << 20, 64  # beyond it a text is data, and names nothing
_OPEN = ord("(")
_COUNT_BYTES = {"SHORT_BINBYTES": 2, "BINBYTES": 5, "BINBYTES8": 9, "BYTEARRAY8": 9}  # and opcode
FIRST_OF_PICKLE = frozenset(b"\x80c(]}")  # `PROTO`, or how a pickle without it begins to import
_RESIDENT = 16 << 20  # bytes of a mapped file that are read before its pages are let go
# Numbers and `APPENDS`, after a mark: how every writer adds a thousand numbers to a list. Linear in
# the bytes: each alternative has another first byte, and what was matched is not tried again.
_NUMBERS = re.compile(
    rb"(?:G.{8}|K.|M..|J.{4}|[N\x88\x89]|I[0-9-]{1,20}\n|F[0-9.e+-]{1,32}\n){0,65536}+e",
    re.DOTALL,
)
_STRIDES = {b"G": 9, b"J": 5, b"M": 3, b"K": 2}  # bytes of a number with its opcode
_RUN = 1024  # a little more than writers put between a mark and `APPENDS`

Hook = Callable[[Made, memoryview, int], int]
"""Called after `BUILD`: returns the offset where the stream goes on (joblib's inline arrays)."""


def trace(
    data: memoryview, start: int, bounds: ModelBounds, after_build: Hook | None = None
) -> Trace:
    """Follow one stream from offset `start` up to `STOP`, a fault or a bound; never raises."""
    return _Machine(data, start, bounds, after_build).run()


class _Machine:
    def __init__(
        self, data: memoryview, start: int, bounds: ModelBounds, after_build: Hook | None
    ) -> None:
        self._data = data
        self._at = start
        self._bounds = bounds
        self._after_build = after_build
        self._stack: list[object] = []
        self._memo: dict[int, object] = {}
        self._dense: list[object] = []  # memo entries 0, 1, 2, …; others are in `_memo`
        self._named: set[tuple[str, str]] = set()
        self._entries = 0
        self._texts = _TEXT_BUDGET
        self._trace = Trace(end=start)
        self._resident = start + _RESIDENT
        self._frame = 0  # where the last one ends: what is read beside opcodes lies behind it
        self._wrappers = 0  # times that joblib's class is on the stack, less those that are read

    def run(self) -> Trace:
        trace_, start = self._trace, self._at
        try:
            while not trace_.stopped:
                if self._at > self._resident:
                    release(self._data)
                    self._resident = self._at + _RESIDENT
                if self._numbers():
                    continue
                op = decode(self._data, self._at)
                self._at = op.end
                trace_.opcodes += 1
                self._step(op)
                self._check_bounds(op)
            if self._after_build is not None and self._wrappers:
                trace_.odd.append((start, "state", "an array's place is used for something else"))
        except Malformed as fault:
            kind = "bound" if fault.ours else "fault"
            trace_.odd.append((fault.offset, kind, str(fault)))
        trace_.end = self._at
        return trace_

    def _check_bounds(self, op: Opcode) -> None:
        bounds = self._bounds
        if self._trace.opcodes > bounds.max_opcodes:
            raise Malformed(f"more than {bounds.max_opcodes} opcodes", op.offset, ours=True)
        if len(self._stack) > bounds.max_stack:
            raise Malformed(f"more than {bounds.max_stack} values", op.offset, ours=True)
        if len(self._memo) + len(self._dense) > bounds.max_stack:
            raise Malformed(f"more than {bounds.max_stack} memo entries", op.offset, ours=True)

    def _numbers(self) -> bool:
        """Step over numbers that are added to a list: they change nothing that is known of it."""
        if not self._stack or self._stack[-1] is not LIST or self._at >= len(self._data):
            return False
        if self._data[self._at] != _OPEN:
            return False
        found = _NUMBERS.match(self._data, self._equal_numbers(self._at + 1))
        if found is not None:
            self._at = found.end()
        return found is not None

    def _equal_numbers(self, at: int) -> int:
        """Return the offset after numbers of one opcode: their first bytes are looked at alone."""
        opcode = bytes(self._data[at : at + 1])
        stride = _STRIDES.get(opcode)
        if stride is None:
            return at
        firsts = self._data[at : at + _RUN * stride : stride].tobytes()
        equal = len(firsts) - len(firsts.lstrip(opcode))
        whole = (len(self._data) - at) // stride  # the last one may be cut short
        return at + min(equal, whole) * stride

    def _step(self, op: Opcode) -> None:
        match op.name:
            case "BINUNICODE" | "SHORT_BINUNICODE" | "BINUNICODE8" | "UNICODE" | "STRING":
                self._push(self._text(op.argument))
            case "BININT" | "BININT1" | "BININT2" | "INT" | "LONG" | "LONG1" | "LONG4":
                self._push(DATA if op.argument is None else op.argument)
            case "SHORT_BINSTRING" | "BINSTRING":
                self._push(self._text(op.argument))
            case "NONE" | "NEWTRUE" | "NEWFALSE" | "FLOAT" | "BINFLOAT":
                self._push(DATA)
            case "BINBYTES" | "SHORT_BINBYTES" | "BINBYTES8" | "BYTEARRAY8":
                self._note_packed(op)
                self._push(DATA)
            case "BINPUT" | "LONG_BINPUT" | "PUT":
                value = self._top(op)
                self._memoize(self._index(op, writes=True), value)
            case "MEMOIZE":
                self._memoize(len(self._memo) + len(self._dense), self._top(op))
            case "BINGET" | "LONG_BINGET" | "GET":
                self._push(self._recall(op, self._index(op)))
            case "MARK":
                self._push(_MARK)
            case "POP":
                self._pop_any(op)
            case "POP_MARK":
                self._items(op)
            case "DUP":
                self._push(self._again(op, self._top(op)))
            case "EMPTY_LIST" | "LIST":
                if op.name == "LIST":
                    self._items(op)
                self._push(LIST)
            case "EMPTY_SET":
                self._push(SET)
            case "FROZENSET":
                self._check_keys(op, self._items(op))
                self._push(SET)
            case "EMPTY_DICT" | "DICT":
                items = self._items(op) if op.name == "DICT" else []
                self._push(Mapping())
                self._set(op, items)
            case "EMPTY_TUPLE":
                self._push(())
            case "TUPLE":
                self._push(self._held(op, tuple(self._items(op))))
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                self._push(self._held(op, self._take(op, int(op.name[-1]))))
            case "APPEND":
                self._take(op, 1)
                self._require(op, LIST)
            case "APPENDS":
                self._items(op)
                self._require(op, LIST)
            case "ADDITEMS":
                self._check_keys(op, self._items(op))
                self._require(op, SET)
            case "SETITEM":
                self._set(op, list(self._take(op, 2)))
            case "SETITEMS":
                self._set(op, self._items(op))
            case "PROTO":
                if not isinstance(op.argument, int) or op.argument > _MAX_PROTOCOL:
                    raise Malformed(f"protocol {op.argument} is unknown", op.offset)
            case "FRAME":
                size = op.argument if isinstance(op.argument, int) else 0
                if size > len(self._data) - op.end:
                    raise Malformed("a frame is longer than the stream", op.offset, ours=True)
                self._frame = max(self._frame, op.end + size)
            case "STOP":
                self._stop(op)
            case _:
                self._act(op)

    def _act(self, op: Opcode) -> None:
        """Handle the opcodes that import, call or fetch."""
        match op.name:
            case "GLOBAL":
                self._import(op, op.argument)
            case "STACK_GLOBAL":
                self._import(op, self._take(op, 2))
            case "INST":
                arguments = tuple(self._items(op))
                self._import(op, op.argument)
                self._call(op, self._pop(op), arguments)
            case "OBJ":
                items = self._items(op)
                if not items:
                    raise Malformed("`OBJ` has no class", op.offset)
                self._call(op, items[0], tuple(items[1:]))
            case "REDUCE" | "NEWOBJ":
                callee, arguments_ = self._take(op, 2)
                self._call(op, callee, arguments_)
            case "NEWOBJ_EX":
                callee, arguments_, keywords = self._take(op, 3)
                self._call(op, callee, arguments_, keywords)
            case "BUILD":
                self._build(op)
            case "PERSID":
                self._fetch(op, op.argument)
            case "BINPERSID":
                self._fetch(op, self._pop(op))
            case "EXT1" | "EXT2" | "EXT4":
                self._odd(op, "ext", "a name from the process's extension registry")
                self._push(DATA)
            case _:  # NEXT_BUFFER, READONLY_BUFFER
                self._odd(op, "buffer", "needs buffers from outside the stream")
                if op.name == "NEXT_BUFFER":
                    self._push(DATA)

    def _note_packed(self, op: Opcode) -> None:
        start = op.offset + _COUNT_BYTES[op.name]
        if op.end > start and self._data[start] in FIRST_OF_PICKLE:
            self._trace.packed.append((start, op.end))
            self._keep(op, self._trace.packed, _MAX_NOTED, "pickles in bytes")

    def _import(self, op: Opcode, names: object) -> None:
        module, name = names if isinstance(names, tuple) else (None, None)
        if not isinstance(module, str) or not isinstance(name, str):
            sure = is_no_text(module) or is_no_text(name)
            self._odd(
                op, "impossible" if sure else "computed", "imports a name that is no literal text"
            )
            self._push(Global("?", "?", op.offset))
            return
        found = Global(module, name, op.offset)
        if (module, name) in GETATTR and self._trace.attributes is None:
            self._trace.attributes = True
        if (module, name) not in self._named:
            self._named.add((module, name))
            self._trace.globals.append(found)
            self._keep(op, self._trace.globals, _MAX_NOTED, "imports")
        self._push(self._again(op, found))

    def _call(self, op: Opcode, callee: object, arguments: object, keywords: object = None) -> None:
        if not isinstance(callee, Global):
            self._odd(op, "computed", "calls what is no imported name")
        if not isinstance(arguments, tuple):
            self._odd(op, "computed", "calls with arguments that are no literal tuple")
        known = arguments if isinstance(arguments, tuple) else None
        if keywords is not None and keywords != Mapping():
            known = None
        if isinstance(callee, Global) and (callee.module, callee.name) in GETATTR:
            owner, name = known if known is not None and len(known) == 2 else (None, None)  # noqa: PLR2004 - object, name
            if isinstance(owner, Global) and isinstance(name, str):
                # What protocol 4 writes as one import of a dotted name.
                self._import(op, (owner.module, f"{owner.name}.{name}"))
                return
            self._trace.attributes = False
        made = Made(callee, known, op.offset)
        named = keywords.entries.values() if isinstance(keywords, Mapping) else ()
        given = self._held(op, (arguments, *named)) if named else arguments
        made.weight, made.depth = weigh(given)
        self._check_keys(op, (given,))  # such as a set's
        self._trace.calls.append(made)
        self._keep(op, self._trace.calls, _MAX_CALLS, "calls")
        self._push(made)

    def _build(self, op: Opcode) -> None:
        (state,) = self._take(op, 1)
        made = self._top(op)
        if not isinstance(made, Made):
            self._odd(op, "state", "gives a state to what no call has made")
            return
        made.states = (*made.states, state)
        if self._after_build is not None:
            if is_wrapper(made.callee):
                self._wrappers -= 1
                if self._at < self._frame:
                    raise Malformed("an array lies in the middle of a frame", op.offset)
            self._at = self._after_build(made, self._data, self._at)

    def _fetch(self, op: Opcode, id_: object) -> None:
        fetched = Persistent(id_, op.offset)
        self._trace.persistent.append(fetched)
        self._keep(op, self._trace.persistent, _MAX_NOTED, "persistent ids")
        self._push(kept_class(id_) or fetched)

    def _set(self, op: Opcode, items: list[object]) -> None:
        if len(items) % 2:
            raise Malformed("a key has no value", op.offset)
        self._check_keys(op, items[::2])
        target = self._top(op)
        if isinstance(target, Mapping):
            for key, value in zip(items[::2], items[1::2], strict=True):
                self._enter(target, key, value)
        elif not isinstance(target, Made) or (items and not kept_by(target)):
            self._odd(op, "state", "sets items of what is no dict")
        elif any(isinstance(key, str) and key in SPECIAL_HOOKS for key in items[::2]):
            self._odd(op, "state", "sets an item that stands for a method")
        elif kept_by(target) not in PLAIN_KEEPERS and any(map(may_be_text, items[::2])):
            self._odd(op, "state", "sets an item whose name is not known")

    def _enter(self, target: Mapping, key: object, value: object) -> None:
        if not isinstance(key, str):
            target.unknown = target.unknown or may_be_text(key)
            return
        full = len(target.entries) >= _MAX_KEPT_ENTRIES or self._entries >= _MAX_ENTRIES
        if full and key not in HOOKS and key not in target.entries:
            target.partial = True
            return
        self._entries += 1
        target.entries[key] = value

    def _require(self, op: Opcode, kind: object) -> None:
        target = self._top(op)
        if target is not kind and not isinstance(target, Made):
            self._odd(op, "state", "adds items to what is no list or set")

    def _stop(self, op: Opcode) -> None:
        self._trace.result = self._pop(op)
        self._trace.stopped = True
        if self._stack:
            self._odd(op, "leftover", "leaves values on the stack")

    def _odd(self, op: Opcode, kind: str, message: str) -> None:
        self._trace.odd.append((op.offset, kind, f"`{op.name}` {message}"))
        self._keep(op, self._trace.odd, _MAX_NOTED, "unusual steps")

    def _keep(self, op: Opcode, kept: Sized, limit: int, what: str) -> None:
        if len(kept) > limit:
            raise Malformed(f"more than {limit} {what}", op.offset, ours=True)

    def _text(self, text: object) -> object:
        if not isinstance(text, str):
            return DATA
        self._texts -= len(text) + _TEXT_COST
        return text if self._texts > 0 else UNREAD

    def _held(self, op: Opcode, items: tuple[object, ...]) -> tuple[object, ...]:
        """Return a tuple that can be hashed before long."""
        held, weight, _ = weighed(items)
        if weight > max(_MAX_WEIGHT, _LOAD * self._trace.opcodes):
            raise Malformed("tuples hold each other so that to hash one ends never", op.offset)
        return held

    def _check_keys(self, op: Opcode, keys: Iterable[object]) -> None:
        """Refuse what is so deep that to hash it overflows the stack of the loader's process."""
        if any(weigh(one)[1] > _MAX_DEPTH for one in keys):
            raise Malformed("tuples hold each other too deeply to be hashed", op.offset)

    def _again(self, op: Opcode, value: object) -> object:
        """Return what is on the stack once more."""
        if is_wrapper(value):
            self._wrappers += 1
        elif isinstance(value, Made) and is_wrapper(value.callee):
            self._odd(op, "state", "takes an array's place once more")
        return value

    def _memoize(self, index: int, value: object) -> None:
        if index < len(self._dense):
            self._dense[index] = value
        elif index == len(self._dense) and index not in self._memo:
            self._dense.append(value)
        else:
            self._memo[index] = value

    def _recall(self, op: Opcode, index: int) -> object:
        if index < len(self._dense):
            return self._again(op, self._dense[index])
        if index not in self._memo:
            raise Malformed(f"`{op.name}` reads the unset memo entry {index}", op.offset)
        return self._again(op, self._memo[index])

    def _index(self, op: Opcode, *, writes: bool = False) -> int:
        if not isinstance(op.argument, int) or op.argument < 0:
            raise Malformed(f"`{op.name}` has no index", op.offset)
        if op.argument > len(self._data):
            if not writes:
                text = f"`{op.name}` has an index beyond the stream's length"
                raise Malformed(text, op.offset)
            # The loader makes room for every entry below it, and goes on if there is that much.
            self._odd(op, "index", "has an index beyond the stream's length")
        return op.argument

    def _push(self, value: object) -> None:
        self._stack.append(value)

    def _pop_any(self, op: Opcode) -> object:
        if not self._stack:
            raise Malformed(f"`{op.name}` takes from an empty stack", op.offset)
        value = self._stack.pop()
        if isinstance(value, Global) and op.name != "REDUCE" and value.name == "getattr":
            self._trace.attributes = False  # kept for another use than a call
        return value

    def _pop(self, op: Opcode) -> object:
        value = self._pop_any(op)
        if value is _MARK:
            raise Malformed(f"`{op.name}` takes a mark", op.offset)
        return value

    def _top(self, op: Opcode) -> object:
        if not self._stack or self._stack[-1] is _MARK:
            raise Malformed(f"`{op.name}` finds no value", op.offset)
        return self._stack[-1]

    def _take(self, op: Opcode, count: int) -> tuple[object, ...]:
        return tuple(self._pop(op) for _ in range(count))[::-1]

    def _items(self, op: Opcode) -> list[object]:
        items: list[object] = []
        while True:
            value = self._pop_any(op)
            if value is _MARK:
                return items[::-1]
            items.append(value)
