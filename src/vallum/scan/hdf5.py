"""HDF5 files in the layout that h5py writes by default: groups, datasets and attributes walked.

Keras keeps a model's configuration in an attribute, PyTables keeps pickles in attributes, and a
filter names a library to load: these are judged. Newer layouts and links are refused, not
guessed. Unused space between objects is normal in HDF5 and is not read by any loader.

Source: HDF5 File Format Specification 3.0, sections II, III.A, III.C, III.E, IV.A.
"""

from dataclasses import dataclass, field

from vallum.base.bounds import JsonBounds, ModelBounds
from vallum.base.errors import VallumError
from vallum.formats import load_json
from vallum.scan.keras_config import scan_keras_config
from vallum.scan.pickles import hides_pickle, looks_like_pickle
from vallum.scan.report import Findings

_ATLAS = "AML.T0011.000"
_HARMLESS = frozenset({0x00, 0x01, 0x03, 0x04, 0x05, 0x0E, 0x12, 0x13, 0x16})
_EXTERNAL, _FILTERS, _ATTRIBUTE, _MORE, _SYMBOLS = 0x07, 0x0B, 0x0C, 0x10, 0x11
_KNOWN_FILTERS = frozenset({1, 2, 3})  # deflate, shuffle, fletcher32: built into the library
_MAX_OBJECTS, _MAX_DEPTH, _MAX_TEXT = 200_000, 64, 1 << 24
_STRING, _OPAQUE, _VARIABLE = 3, 5, 9
_LAYOUT, _COMPACT, _CONTIGUOUS, _VIRTUAL = 0x08, 0, 1, 3
_OLD_LAYOUTS, _PLAIN_LAYOUT, _NEW_LAYOUT = (1, 2), 3, 4
_ENTRY, _SHARED = 40, 0x02
_NOWHERE = (1 << 64) - 1
_JSON = JsonBounds(max_depth=128, max_nodes=5_000_000)


@dataclass(slots=True)
class _File:
    data: memoryview
    findings: Findings
    bounds: ModelBounds
    member: str
    seen: set[int] = field(default_factory=set)
    claimed: int = 0  # bytes of datasets, which cannot be more than the file has

    def number(self, at: int, width: int) -> int:
        return int.from_bytes(self.slice(at, width), "little")

    def slice(self, at: int, length: int) -> bytes:
        if at < 0 or length < 0 or at + length > len(self.data):
            raise ValueError(f"an address beyond the file at offset {at}")
        return bytes(self.data[at : at + length])

    def visit(self, at: int) -> bool:
        """Whether the object is new; every object is read once, so a cycle ends."""
        if at in self.seen:
            return False
        self.seen.add(at)
        if len(self.seen) > _MAX_OBJECTS:
            raise ValueError(f"more than {_MAX_OBJECTS} objects")
        return True

    def add(self, id_: str, message: str, offset: int, severity: str = "high") -> None:
        self.findings.add(
            id_, message, severity=severity, member=self.member, offset=offset, atlas=_ATLAS
        )


def scan_hdf5(data: memoryview, findings: Findings, bounds: ModelBounds, member: str = "") -> None:
    """Judge a whole file; what is malformed or of a newer layout is a finding."""
    file = _File(data, findings, bounds, member)
    try:
        if file.slice(8, 8) != b"\0\0\0\0\0\x08\x08\0":
            raise ValueError("a superblock other than version 0 with 8-byte addresses")
        if file.number(24, 8) != 0 or file.number(40, 8) != len(data):
            raise ValueError("the file does not end where it says")
        _object(file, file.number(64, 8), 0)
    except ValueError as error:
        findings.code_capable = True
        file.add("hdf5.unread", f"not read: {error}"[:200], 0)


def _object(file: _File, at: int, depth: int) -> None:
    if not file.visit(at):
        return
    if depth > _MAX_DEPTH:
        raise ValueError("groups nested too deeply")
    if file.number(at, 1) != 1:
        raise ValueError(f"an object header of another version at offset {at}")
    left = file.number(at + 2, 2)
    blocks = [(at + 16, file.number(at + 8, 4))]
    for start, length in blocks:
        place, end = start, start + length
        while left and place + 8 <= end:
            kind, size = file.number(place, 2), file.number(place + 2, 2)
            if file.number(place + 4, 1) & _SHARED:
                raise ValueError("a shared message")
            if place + 8 + size > end:
                raise ValueError("a message is cut short")
            if kind == _MORE:
                if not file.visit(file.number(place + 8, 8)):
                    raise ValueError("a header that continues in itself")
                blocks.append((file.number(place + 8, 8), file.number(place + 16, 8)))
            else:
                _message(file, kind, place + 8, size, depth)
            place += 8 + size
            left -= 1
    if left:
        raise ValueError("an object header is cut short")


def _message(file: _File, kind: int, at: int, size: int, depth: int) -> None:
    if kind == _ATTRIBUTE:
        _attribute(file, at, size)
    elif kind == _SYMBOLS:
        _tree(file, file.number(at, 8), file.number(at + 8, 8), depth + 1)
    elif kind == _FILTERS:
        _filters(file, at)
    elif kind == _LAYOUT:
        _layout(file, at)
    elif kind == _EXTERNAL:
        file.add("hdf5.external-data", "a dataset lies in another file", at)
    elif kind not in _HARMLESS:
        raise ValueError(f"a message of type {kind}")


def _layout(file: _File, at: int) -> None:
    """Look for a pickle in a dataset that lies in one piece; numbers begin as one by chance."""
    version = file.number(at, 1)
    if version in _OLD_LAYOUTS:  # they have no sizes of their own
        return
    if version == _NEW_LAYOUT and file.number(at + 1, 1) == _VIRTUAL:
        file.add("hdf5.external-data", "a virtual dataset is put together from other files", at)
        return
    if version != _PLAIN_LAYOUT:
        raise ValueError("a dataset of another layout")
    start, length = at + 4, file.number(at + 2, 2)
    if file.number(at + 1, 1) == _CONTIGUOUS:
        start, length = file.number(at + 2, 8), file.number(at + 10, 8)
    elif file.number(at + 1, 1) != _COMPACT:
        return
    if start == _NOWHERE or length == 0:
        return
    file.claimed += length
    if start + length > len(file.data) or file.claimed > len(file.data):
        raise ValueError("a dataset beyond the file, or over another")
    if hides_pickle(file.data[start : start + length], file.bounds):
        file.add("hdf5.pickle", "a dataset holds a pickle that can run code", start, "critical")


def _filters(file: _File, at: int) -> None:
    version, count = file.number(at, 1), file.number(at + 1, 1)
    if version != 1:
        raise ValueError("a filter list of another version")
    place = at + 8
    for _ in range(count):
        id_, name, values = (file.number(place + k, 2) for k in (0, 2, 6))
        if id_ not in _KNOWN_FILTERS:
            file.add("hdf5.filter", f"the filter {id_} is loaded from a library", place)
        place += 8 + -(-name // 8) * 8 + 4 * (values + values % 2)


def _tree(file: _File, at: int, heap: int, depth: int) -> None:
    if not file.visit(at):
        return
    if depth > _MAX_DEPTH:
        raise ValueError("groups nested too deeply")
    magic = file.slice(at, 4)
    if magic == b"TREE":
        if file.number(at + 4, 1) != 0:
            raise ValueError("a tree of no group")
        for index in range(file.number(at + 6, 2)):
            _tree(file, file.number(at + 32 + 16 * index, 8), heap, depth + 1)
    elif magic == b"SNOD":
        for index in range(file.number(at + 6, 2)):
            entry = at + 8 + _ENTRY * index
            if file.number(entry + 16, 4) > 1:
                raise ValueError("a link")
            _object(file, file.number(entry + 8, 8), depth + 1)
    else:
        raise ValueError(f"no group at offset {at}")


def _attribute(file: _File, at: int, size: int) -> None:
    version = file.number(at, 1)
    if version not in (1, 3) or (version == 3 and file.number(at + 1, 1)):  # noqa: PLR2004 - with a character set
        raise ValueError("an attribute of another version")
    lengths = [file.number(at + 2 + 2 * k, 2) for k in range(3)]
    step = 8 if version == 1 else 1
    start = at + (8 if version == 1 else 9)
    name = file.slice(start, lengths[0]).rstrip(b"\0").decode("utf-8", "replace")
    kind_at = start + -(-lengths[0] // step) * step
    space_at = kind_at + -(-lengths[1] // step) * step
    value_at = space_at + -(-lengths[2] // step) * step
    if value_at > at + size:
        raise ValueError("an attribute is cut short")
    if name == "PSEUDOATOM":
        file.add("hdf5.pickle", "a PyTables array of pickled objects", at, "high")
    class_ = file.number(kind_at, 1) & 0x0F
    if class_ == _STRING:
        width = max(file.number(kind_at + 4, 4), 1)
        whole = file.slice(value_at, at + size - value_at)
        if len(whole) < 2 * width:
            whole = whole[:width]
        _text(file, name, whole, at)
    elif class_ == _VARIABLE:
        for place in range(value_at, at + size - 15, 16):
            text = _heap_text(file, place)
            if text is not None:
                _text(file, name, text, at)
    elif class_ == _OPAQUE:
        file.add("hdf5.opaque", f"the attribute `{name[:80]}` holds bytes of no known meaning", at)
    elif name == "model_config":
        raise ValueError("a model configuration that is no text")


def _heap_text(file: _File, place: int) -> bytes | None:
    heap, wanted = file.number(place + 4, 8), file.number(place + 12, 4)
    if heap == 0:
        return None
    if file.slice(heap, 4) != b"GCOL":
        raise ValueError("a text that is nowhere")
    end = heap + file.number(heap + 8, 8)
    at = heap + 16
    while at + 16 <= end:
        index, size = file.number(at, 2), file.number(at + 8, 8)
        if index == wanted:
            if size > _MAX_TEXT:
                raise ValueError("a text is too large")
            return file.slice(at + 16, size)
        if index == 0:
            break
        at += 16 + -(-size // 8) * 8
    raise ValueError("a text that is nowhere")


def _text(file: _File, name: str, raw: bytes, at: int) -> None:
    text = raw.rstrip(b"\0")
    if name in ("model_config", "training_config") or text[:1] in (b"{", b"["):
        try:
            value = load_json(text, _JSON)
        except VallumError as error:
            if name == "model_config" or error.code != "format.json.malformed":
                file.add("hdf5.configuration", f"`{name[:80]}`: {error.message}", at)
            return
        scan_keras_config(value, file.findings, file.member)
    elif len(text) > 1 and looks_like_pickle(memoryview(text), file.bounds):
        file.add("hdf5.pickle", f"the attribute `{name[:80]}` holds a pickle", at)
