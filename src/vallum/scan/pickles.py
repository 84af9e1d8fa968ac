"""Pickle streams: plain, several in a row, joblib's with inline arrays, torch's legacy file."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from vallum.base.bounds import ModelBounds
from vallum.scan.allowed import (
    PARTIAL,
    REBUILD_TYPE,
    are_safe_arguments,
    current_name,
    is_allowed,
    is_dangerous,
    is_plain_partial,
)
from vallum.scan.amounts import MAX_BYTES, bytes_made
from vallum.scan.arrays import WRAPPER, array_after, is_doubtful
from vallum.scan.machine import FIRST_OF_PICKLE, GETATTR, Trace, trace
from vallum.scan.opcodes import Malformed
from vallum.scan.report import Findings
from vallum.scan.values import (
    HOOKS,
    PLAIN_KEEPERS,
    SPECIAL_HOOKS,
    Global,
    Made,
    Mapping,
    Persistent,
    kept_by,
    kept_class,
)

_UNSAFE_ARTIFACT = "AML.T0011.000"  # ATLAS 5.6.1: User Execution: Unsafe AI Artifacts
_MAX_STREAMS, _MAX_PLAIN = 64, 8  # of the latter each is read to the end of the file
_MAX_NESTED = 4
_TORCH_MAGIC = 0x1950A86A20F9469CFC6C
_LEGACY_STREAMS = 5
_STORAGE_BYTES = {
    "FloatStorage": 4, "DoubleStorage": 8, "HalfStorage": 2, "BFloat16Storage": 2,
    "LongStorage": 8, "IntStorage": 4, "ShortStorage": 2, "CharStorage": 1, "ByteStorage": 1,
    "BoolStorage": 1, "ComplexFloatStorage": 8, "ComplexDoubleStorage": 16, "QInt8Storage": 1,
    "QUInt8Storage": 1, "QInt32Storage": 4, "UntypedStorage": 1,
}  # fmt: skip
_STORAGE_FIELDS = (5, 6)  # "storage", class, key, location, elements[, view]
# Classes whose instances have `items()` or are pairs, and results with a small first letter that
# have none.
_ITEMS = frozenset(
    """OrderedDict Counter Bunch UserDict ChainMap Series DataFrame ModuleDict
    ParameterDict DefragResult DefragResultBytes NamedAgg""".split()  # noqa: SIM905 - a table
)
# Of an array of objects, an item; the state would be that of a type or of another object.
_RETURNING = frozenset(
    [("numpy._core.multiarray", "scalar")]
    + [("numpy", one) for one in "max min sum amax amin mean median abs absolute".split()]  # noqa: SIM905
)
_NO_ITEMS = frozenset("_reconstruct _frombuffer dtype ndarray encode bytearray array".split())  # noqa: SIM905
_IDENTIFIER = re.compile(r"^[A-Za-z_][A-Za-z0-9_.]*$")
_ID_BY_KIND = {
    "fault": ("pickle.malformed", "high"),
    "bound": ("pickle.malformed", "high"),
    "index": ("pickle.malformed", "high"),
    "impossible": ("pickle.computed-name", "high"),
    "computed": ("pickle.computed-name", "high"),
    "ext": ("pickle.extension-registry", "high"),
    "buffer": ("pickle.external-buffer", "high"),
    "state": ("pickle.unusual-state", "high"),
    "leftover": ("pickle.leftover", "high"),
}
_HARMLESS = frozenset({"fault", "buffer", "index"})  # in what nobody means to be a pickle


@dataclass(frozen=True, slots=True)
class PickleFile:
    """What a pickle file is, and the bytes of each torch storage that it asks for, by key."""

    format: str
    storages: dict[str, int]


def looks_like_pickle(data: memoryview, bounds: ModelBounds) -> bool:
    """Whether the bytes, of no better known format, would do something as a pickle.

    Protocol 0 is text, so the machine itself decides: it stops properly, or it calls, or it
    imports a dangerous name before it breaks off, or a bound of ours keeps it from telling.
    """
    if len(data) > 1 and data[0] == 0x80 and data[1] <= 5:  # noqa: PLR2004 - PROTO and its highest
        return True
    for number, found in enumerate(_streams(data, bounds)):
        if (found.stopped and found.end == len(data)) or number == _MAX_STREAMS:
            return True
        if any(kind == "bound" for _, kind, _ in found.odd):
            return True
        named = [g for g in found.globals if _IDENTIFIER.match(g.module + g.name)]
        if (named and found.calls) or any(is_dangerous(g.module, g.name) for g in named):
            return True
    return False


def _streams(data: memoryview, bounds: ModelBounds) -> Iterator[Trace]:
    """Yield what each stream would do, as long as one stops properly and bytes follow it."""
    found = trace(data, 0, bounds)
    yield found
    for _ in range(_MAX_STREAMS):
        if not found.stopped or found.end >= len(data):
            return
        found = trace(data, found.end, bounds)
        yield found


def acts_as_pickle(data: memoryview, bounds: ModelBounds) -> bool:
    """Whether a file of another format would also import something if it were unpickled."""
    if bytes(data[:1]) == b"P":  # a zip: `PERSID`, whose text no loader of ours or theirs takes
        return False
    found = trace(data, 0, bounds)
    if found.globals and "\0" in found.globals[0].module:
        # The name of a tar's first member: no module has such a name, and the loader raises there.
        at = found.globals[0].offset
        return any(kind not in _HARMLESS for place, kind, _ in found.odd if place < at)
    # A buffer from outside the stream ends the reading of whoever has none, as every `load` of ours
    # and theirs: sizes of safetensors begin so.
    return bool(found.globals) or any(kind not in _HARMLESS for _, kind, _ in found.odd)


def hides_pickle(data: memoryview, bounds: ModelBounds, depth: int = 0) -> bool:
    """Whether bytes that are no pickle's place would run code if something unpickled them.

    Only names that are known to be dangerous count: numbers that happen to begin as a pickle do
    must not. Pickles in the bytes of a pickle are followed, to a depth that is odd by itself.
    """
    if len(data) == 0 or data[0] not in FIRST_OF_PICKLE:
        return False
    return any(
        any(is_dangerous(g.module, g.name) for g in found.globals if _is_plain(g))
        or any(
            depth == _MAX_NESTED or hides_pickle(data[start:end], bounds, depth + 1)
            for start, end in found.packed
        )
        for found in _streams(data, bounds)
    )


def _is_plain(name: Global) -> bool:
    return bool(_IDENTIFIER.match(name.module) and _IDENTIFIER.match(name.name))


def scan_pickle(
    data: memoryview,
    findings: Findings,
    bounds: ModelBounds,
    *,
    member: str = "",
    persistent: bool = False,
    script: bool = False,
) -> "PickleFile":
    """Judge every stream of a pickle file.

    Args:
        data: The whole file or member.
        findings: Where to report.
        bounds: Limits on opcodes and stack.
        member: Name within an archive.
        persistent: Whether torch's storage ids are expected (a torch zip).
        script: Whether classes of the archive's own TorchScript code are expected.
    """
    findings.code_capable = True
    judge = _Judge(data, findings, bounds, member, persistent=persistent, script=script)
    return judge.file()


class _Judge:
    def __init__(
        self,
        data: memoryview,
        findings: Findings,
        bounds: ModelBounds,
        member: str,
        *,
        persistent: bool,
        script: bool,
    ) -> None:
        self._data = data
        self._findings = findings
        self._bounds = bounds
        self._member = member
        self._persistent = persistent
        self._script = script
        self._arrays = 0
        self._depth = 0

    def file(self) -> PickleFile:
        at = streams = plain = 0
        legacy = False
        storages: dict[str, int] = {}
        while at < len(self._data):
            if streams == _MAX_STREAMS:
                self._add("pickle.too-many-streams", f"more than {_MAX_STREAMS} streams", at)
                break
            if legacy and streams == _LEGACY_STREAMS:
                expected = sum(8 + size for size in storages.values())
                if expected != len(self._data) - at:
                    self._add("torch.trailing-data", "the tensors do not end with the file", at)
                break
            found = trace(self._data, at, self._bounds, self._after_build)
            if streams and not found.stopped and not found.globals:
                self._add("pickle.trailing-data", "bytes follow the last stream", at)
                break
            legacy = legacy or (streams == 0 and found.result == _TORCH_MAGIC)
            self._judge(found, legacy=legacy)
            if self._arrays:
                plain += 1
                if plain > _MAX_PLAIN:
                    self._add("pickle.too-many-streams", "many streams with arrays", at)
                    break
                self._judge_plain(at)
            storages.update(self._storages(found))
            streams += 1
            at = found.end
            if not found.stopped:
                break
        if streams == 0:
            self._add("pickle.malformed", "the stream is empty", 0)
        kind = "torch-legacy" if legacy else "joblib" if self._arrays else "pickle"
        return PickleFile(kind, storages)

    def _judge(self, found: Trace, *, legacy: bool = False) -> None:
        partial = [
            is_plain_partial(c.callee.module, c.callee.name, c.arguments, c.states)
            for c in found.calls
            if isinstance(c.callee, Global) and (c.callee.module, c.callee.name) == PARTIAL
        ]
        attributes = all(is_allowed(g.module, g.name) for g in found.globals if "." in g.name)
        for name in found.globals:
            place = (name.module, name.name)
            if place == PARTIAL and partial and all(partial):
                continue
            if place in GETATTR and found.attributes and attributes:
                continue  # the names that it made are judged instead
            self._judge_name(name)
        for call in found.calls:
            callee = call.callee
            if isinstance(callee, Global) and not are_safe_arguments(
                callee.module, callee.name, call.arguments
            ):
                shown = f"{callee.module}.{callee.name}"[:160]
                self._add("pickle.arguments", f"`{shown}` gets unusual arguments", call.offset)
            for state in (*call.states, *_given_state(call)):
                if _replaces_hook(state) or _returns_items(call):
                    self._add("pickle.unusual-state", "a state replaces a hook", call.offset)
            if any(_has_special(call, one) for one in call.arguments or ()):
                self._add("pickle.arguments", "an argument replaces a hook", call.offset)
            if is_doubtful(call):
                message = "a type that is not what its state says, or an array of addresses"
                self._add("pickle.arguments", message, call.offset)
        if bytes_made(found.calls) > MAX_BYTES:
            message = "numbers make values far larger than the file"
            self._add("pickle.bomb", message, found.calls[0].offset)
        self._judge_packed(found)
        for offset, kind, message in found.odd:
            id_, severity = _ID_BY_KIND[kind]
            self._add(id_, message, offset, severity=severity)
        for fetched in found.persistent:
            known = _storage(fetched) or (legacy and kept_class(fetched.id))
            if not ((self._persistent or legacy) and known):
                message = "an object is fetched by a persistent id"
                self._add("pickle.persistent-id", message, fetched.offset)

    def _judge_packed(self, found: Trace) -> None:
        """Report bytes and texts that are pickles themselves: a second loader is a call away."""
        texts = [
            (call.offset, call.arguments[0].encode("latin-1", "ignore"))
            for call in found.calls
            if isinstance(call.callee, Global) and call.callee.module == "_codecs"
            and call.arguments and isinstance(call.arguments[0], str)
        ]  # fmt: skip
        places = [(start, self._data[start:end]) for start, end in found.packed]
        for offset, data in [*places, *((at, memoryview(text)) for at, text in texts)]:
            if hides_pickle(data, self._bounds):
                message = "bytes hold a pickle that imports what can run code"
                self._add("pickle.nested", message, offset, severity="critical")

    def _judge_plain(self, at: int) -> None:
        """Judge the stream as the plain loader reads it: arrays stepped over are opcodes there."""
        plain = trace(self._data, at, self._bounds)
        # There the plain loader raises: the pickle of an array of objects has a memo of its own.
        end = min((odd[0] for odd in plain.odd if odd[1] == "impossible"), default=plain.end)
        passed = ("fault", "leftover", "state")
        plain.odd = [odd for odd in plain.odd if odd[1] not in passed and odd[0] < end]
        plain.globals = [one for one in plain.globals if one.offset < end]
        plain.calls = [one for one in plain.calls if one.offset < end]
        plain.persistent = [one for one in plain.persistent if one.offset < end]
        self._judge(plain)

    def _judge_name(self, name: Global) -> None:
        if is_allowed(name.module, name.name):
            return
        if self._script and name.module.startswith("__torch__"):
            return  # a class of the archive's own TorchScript, judged with its source
        if (name.module, name.name) == ("?", "?"):
            return
        shown = f"{name.module}.{name.name}"[:160]
        if is_dangerous(name.module, name.name):
            self._add(
                "pickle.dangerous-name",
                f"the stream imports `{shown}`, which can run code or reach outside",
                name.offset,
                severity="critical",
            )
        else:
            message = f"the stream imports `{shown}`, which is not on the allow-list"
            self._add("pickle.unknown-name", message, name.offset)

    def _storages(self, found: Trace) -> dict[str, int]:
        sizes: dict[str, int] = {}
        for fetched in found.persistent:
            parsed = _storage(fetched)
            if parsed is not None:
                sizes[parsed[0]] = parsed[1]
        return sizes

    def _after_build(self, made: Made, data: memoryview, at: int) -> int:
        """Step over the array that joblib writes after a wrapper's state."""
        callee = made.callee
        if not isinstance(callee, Global) or current_name(callee.module, callee.name) != WRAPPER:
            return at
        self._arrays += 1
        end = array_after(made, data, at)
        return self._object_array(at) if end is None else end

    def _object_array(self, at: int) -> int:
        self._depth += 1
        if self._depth > _MAX_NESTED:
            raise Malformed("pickles within pickles are nested too deeply", at)
        found = trace(self._data, at, self._bounds)  # joblib reads these as any pickle
        self._judge(found)
        self._depth -= 1
        if not found.stopped:
            raise Malformed("an array of objects is cut short", at)
        return found.end

    def _add(self, id_: str, message: str, offset: int, *, severity: str = "high") -> None:
        self._findings.add(
            id_,
            message,
            severity=severity,
            member=self._member,
            offset=offset,
            atlas=_UNSAFE_ARTIFACT,
        )


def _given_state(call: Made) -> tuple[object, ...]:
    """Return the state that torch sets on a tensor of a class of its own."""
    name = call.callee
    if not isinstance(name, Global) or (name.module, name.name) != REBUILD_TYPE:
        return ()
    return (call.arguments or ())[3:]


def _replaces_hook(state: object) -> bool:
    """Whether a state gives an object a method, or is made so that nobody can say what it gives.

    A state of two parts is a dict and the values of slots; `BUILD` sets both.
    """
    parts = state if isinstance(state, tuple) and len(state) == 2 else (state,)  # noqa: PLR2004 - dict, slots
    return any(
        (isinstance(part, Mapping) and (part.unknown or not HOOKS.isdisjoint(part.entries)))
        or (isinstance(part, Made) and _may_be_items(part))
        for part in parts
    )


def _returns_items(call: Made) -> bool:
    """Whether a call may return what it was given: a state is then one of something else."""
    name = call.callee
    return isinstance(name, Global) and current_name(name.module, name.name) in _RETURNING


def _has_special(call: Made, argument: object) -> bool:
    if not isinstance(argument, Mapping):
        return False
    unknown = argument.unknown and kept_by(call) not in PLAIN_KEEPERS
    return unknown or not SPECIAL_HOOKS.isdisjoint(argument.entries)


def _may_be_items(made: Made) -> bool:
    """Whether a call's result may be a dict, or a tuple of two: loaders take its items.

    Python's own loader takes whatever has `items()`.
    """
    name = made.callee.name if isinstance(made.callee, Global) else ""
    if name == "_reconstructor" and made.arguments:  # how protocols 0 and 1 call a class
        first = made.arguments[0]
        name = first.name if isinstance(first, Global) else ""
    return name in _ITEMS or not (name[:1].isupper() or name in _NO_ITEMS or name[:2] == "__")


def _storage(fetched: Persistent) -> tuple[str, int] | None:
    """Return key and size in bytes of a torch storage id, or None for any other id."""
    id_ = fetched.id
    if not isinstance(id_, tuple) or len(id_) not in _STORAGE_FIELDS or id_[0] != "storage":
        return None
    class_, key, count = id_[1], id_[2], id_[4]
    if not isinstance(class_, Global) or class_.module not in ("torch", "torch.storage"):
        return None
    width = _STORAGE_BYTES.get(class_.name)
    if width is None or not isinstance(key, str) or type(count) is not int or count < 0:
        return None
    return key, width * count
