"""HDF5 files in the layouts that h5py writes: groups, links, datasets and attributes walked.

Keras keeps a model's configuration in an attribute, PyTables keeps pickles in attributes, and a
filter names a library to load: these are judged. Shared messages, and links into other files, are
refused. Unused space between objects is normal in HDF5 and is not read by any loader.

Source: HDF5 File Format Specification 3.0, sections II, III.A, III.C, III.E, IV.A.
"""

from vallum.base.bounds import JsonBounds, ModelBounds
from vallum.base.errors import VallumError
from vallum.formats import load_json
from vallum.scan.hdf5_parts import NOWHERE, Hdf5File, in_heap, messages
from vallum.scan.keras_config import scan_keras_config
from vallum.scan.pickles import hides_pickle, looks_like_pickle
from vallum.scan.report import Findings

_HARMLESS = frozenset({0x00, 0x01, 0x03, 0x04, 0x05, 0x0A, 0x0D, 0x0E, 0x12, 0x13, 0x16, 0x17})
_EXTERNAL, _FILTERS, _ATTRIBUTE, _SYMBOLS = 0x07, 0x0B, 0x0C, 0x11
# deflate, shuffle, fletcher32, n-bit, scale: of the library itself; LZF is of h5py.
_KNOWN_FILTERS, _LAST_OF_LIBRARY = frozenset({1, 2, 3, 5, 6, 32000}), 255
_MAX_DEPTH, _MAX_TEXT, _MAX_READ = 64, 1 << 24, 1 << 26
_STRING, _OPAQUE, _VARIABLE = 3, 5, 9
_LAYOUT, _COMPACT, _CONTIGUOUS, _VIRTUAL = 0x08, 0, 1, 3
_OLD_LAYOUTS, _PLAIN_LAYOUT, _NEW_LAYOUTS = (1, 2), 3, (4, 5)
_LINK_INFO, _LINK, _ATTRIBUTE_INFO, _TO_FILE = 0x02, 0x06, 0x15, 64
_ENTRY, _SOFT = 40, 2
_JSON = JsonBounds(max_depth=128, max_nodes=5_000_000)


def scan_hdf5(data: memoryview, findings: Findings, bounds: ModelBounds, member: str = "") -> None:
    """Judge a whole file; what is malformed or of a newer layout is a finding."""
    file = Hdf5File(data, findings, bounds, member)
    try:
        version = file.number(8, 1)
        if version in (2, 3) and file.slice(9, 3) == b"\x08\x08\0":
            base, end, root = 12, 28, 36
            if file.number(20, 8) != NOWHERE:
                _object(file, file.number(20, 8), 0)
        elif file.slice(8, 8) == b"\0\0\0\0\0\x08\x08\0":
            base, end, root = 24, 40, 64
        else:
            raise ValueError("a superblock other than versions 0, 2, 3 with 8-byte addresses")
        if file.number(base, 8) != 0 or file.number(end, 8) != len(data):
            raise ValueError("the file does not end where it says")
        _object(file, file.number(root, 8), 0)
    except ValueError as error:
        findings.code_capable = True
        file.add("hdf5.unread", f"not read: {error}"[:200], 0)


def _object(file: Hdf5File, at: int, depth: int) -> None:
    if not file.visit(at):
        return
    if depth > _MAX_DEPTH:
        raise ValueError("groups nested too deeply")
    for kind, place, size in messages(file, at):
        _message(file, kind, place, size, depth)


def _message(file: Hdf5File, kind: int, at: int, size: int, depth: int) -> None:
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
    elif kind == _LINK:
        _link(file, at, size, depth)
    elif kind in (_LINK_INFO, _ATTRIBUTE_INFO):
        _dense(file, kind, at, depth)
    elif kind not in _HARMLESS:
        raise ValueError(f"a message of type {kind}")


def _link(file: Hdf5File, at: int, size: int, depth: int) -> None:
    """Follow a hard link; a soft one leads to what another link reaches, or to nothing."""
    flags = file.number(at + 1, 1)
    if file.number(at, 1) != 1 or flags >> 5:
        raise ValueError("a link of another version")
    place = at + 2
    kind = file.number(place, 1) if flags & 8 else 0
    place += (1 if flags & 8 else 0) + (8 if flags & 4 else 0) + (1 if flags & 16 else 0)
    width = 1 << (flags & 3)
    place += width + file.number(place, width)
    if kind == 0 and place + 8 <= at + size:
        _object(file, file.number(place, 8), depth + 1)
    elif kind == _TO_FILE:
        file.add("hdf5.external-data", "a link leads into another file", at)
    elif kind != 1 or place + 2 + file.number(place, 2) > at + size:
        raise ValueError("a link of another kind, or cut short")


def _dense(file: Hdf5File, kind: int, at: int, depth: int) -> None:
    """Follow the links or attributes that lie in a heap, where they are many."""
    flags = file.number(at + 1, 1)
    wide = 8 if kind == _LINK_INFO else 2
    place = at + 2 + (wide if flags & 1 else 0)
    heap, index = file.number(place, 8), file.number(place + 8, 8)
    if file.number(at, 1) != 0:
        raise ValueError("a list of links or attributes of another version")
    if heap == NOWHERE:
        return
    # Whoever reads may go by name or by the order of creation; both indexes are followed.
    known: set[tuple[int, int]] = set()
    for tree in (index, file.number(place + 16, 8) if flags & 2 else NOWHERE):
        for start, length in in_heap(file, heap, tree) if tree != NOWHERE else ():
            if (start, length) in known:
                continue
            known.add((start, length))
            file.held += length
            if file.held > len(file.data):
                raise ValueError("objects of a heap overlap")
            if kind == _LINK_INFO:
                _link(file, start, length, depth)
            else:
                _attribute(file, start, length)


def _layout(file: Hdf5File, at: int) -> None:
    """Look for a pickle in a dataset that lies in one piece; numbers begin as one by chance."""
    version = file.number(at, 1)
    if version in _OLD_LAYOUTS:  # they have no sizes of their own
        return
    if version in _NEW_LAYOUTS and file.number(at + 1, 1) == _VIRTUAL:
        file.add("hdf5.external-data", "a virtual dataset is put together from other files", at)
        return
    if version not in (_PLAIN_LAYOUT, *_NEW_LAYOUTS):
        raise ValueError("a dataset of another layout")
    start, length = at + 4, file.number(at + 2, 2)
    if file.number(at + 1, 1) == _CONTIGUOUS:
        start, length = file.number(at + 2, 8), file.number(at + 10, 8)
    elif file.number(at + 1, 1) != _COMPACT:
        return
    if start == NOWHERE or length == 0:
        return
    file.claimed += length
    if start + length > len(file.data) or file.claimed > len(file.data):
        raise ValueError("a dataset beyond the file, or over another")
    if hides_pickle(file.data[start : start + length], file.bounds):
        file.add("hdf5.pickle", "a dataset holds a pickle that can run code", start, "critical")


def _filters(file: Hdf5File, at: int) -> None:
    version, count = file.number(at, 1), file.number(at + 1, 1)
    if version not in (1, 2):
        raise ValueError("a filter list of another version")
    place = at + (8 if version == 1 else 2)
    for _ in range(count):
        id_ = file.number(place, 2)
        if id_ not in _KNOWN_FILTERS:
            file.add("hdf5.filter", f"the filter {id_} is loaded from a library", place)
        if version == 1:
            name, values = file.number(place + 2, 2), file.number(place + 6, 2)
            place += 8 + -(-name // 8) * 8 + 4 * (values + values % 2)
        else:
            named = 2 if id_ > _LAST_OF_LIBRARY else 0
            name, values = file.number(place + 2, named), file.number(place + 4 + named, 2)
            place += 6 + named + name + 4 * values


def _tree(file: Hdf5File, at: int, heap: int, depth: int) -> None:
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
            if file.number(entry + 16, 4) > _SOFT:
                raise ValueError("a link of another kind")
            if file.number(entry + 16, 4) == _SOFT:
                continue
            _object(file, file.number(entry + 8, 8), depth + 1)
    else:
        raise ValueError(f"no group at offset {at}")


def _attribute(file: Hdf5File, at: int, size: int) -> None:
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


def _heap_text(file: Hdf5File, place: int) -> bytes | None:
    heap, wanted = file.number(place + 4, 8), file.number(place + 12, 4)
    if heap == 0:
        return None
    if heap not in file.texts:
        file.texts[heap] = _texts(file, heap)
    start, size = file.texts[heap].get(wanted, (0, 0))
    if start == 0:
        raise ValueError("a text that is nowhere")
    if size > _MAX_TEXT:
        raise ValueError("a text is too large")
    file.read += size
    if file.read > _MAX_READ:
        raise ValueError("texts that are read again and again")
    return file.slice(start, size)


def _texts(file: Hdf5File, heap: int) -> dict[int, tuple[int, int]]:
    """Return where each text of a heap begins, and its length; the first of a number counts."""
    if file.slice(heap, 4) != b"GCOL":
        raise ValueError("a text that is nowhere")
    end = heap + file.number(heap + 8, 8)
    file.header(end - heap)
    at = heap + 16
    found: dict[int, tuple[int, int]] = {}
    while at + 16 <= end:
        index, size = file.number(at, 2), file.number(at + 8, 8)
        if index == 0:
            break
        found.setdefault(index, (at + 16, size))
        at += 16 + -(-size // 8) * 8
    return found


def _text(file: Hdf5File, name: str, raw: bytes, at: int) -> None:
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
