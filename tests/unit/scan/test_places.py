"""Pickles that a loader reads otherwise than they look: arrays in between, types, odd numbers.

Each of these ran a command in joblib's loader or pickle's own, or made one read at an address of
its choice, while a reader that trusts names took them for numbers.
"""

import struct
from dataclasses import replace

import pytest

from vallum.base.bounds import MODEL
from vallum.scan import machine, scan_bytes

HEAD = b"\x80\x04"
HIDDEN_BYTES = 8000


def text(value: str) -> bytes:
    return b"\x8c" + bytes([len(value)]) + value.encode()


def name(module: str, value: str) -> bytes:
    return text(module) + text(value) + b"\x93"


def number(value: int) -> bytes:
    return b"J" + struct.pack("<i", value)


def state(size: int = -1, flags: int = 0) -> bytes:
    return b"(" + number(3) + text("|") + b"NNN" + number(size) + number(1) + number(flags) + b"tb"


def kind(value: str, given: bytes = b"") -> bytes:
    return name("numpy", "dtype") + text(value) + b"\x89\x88\x87R" + given


WRAPPER = name("joblib.numpy_pickle", "NumpyArrayWrapper")
MADE = WRAPPER + b")\x81"
NAMED = name("builtins", "str") + text("shape") + b"\x85R"  # a text that a call returns
BUILDS = name("copyreg", "_reconstructor") + WRAPPER + name("builtins", "object") + b"N\x87R"
RUN = name("posix", "system") + text("true") + b"\x85R0N."
# What joblib takes for numbers hides an opcode that takes what runs for bytes.
COVER = b"B" + struct.pack("<I", 2 + len(RUN)) + b"\xff\xff" + RUN + b"0."


def place(shape: int, of: bytes, more: bytes = b"", made: bytes = MADE) -> bytes:
    entries = text("shape") + number(shape) + b"\x85" + text("dtype") + of + more
    return made + b"}(" + entries + b"ub"


def padded(data: bytes) -> bytes:
    return data + bytes(HIDDEN_BYTES - len(data)) + b"."


JOBLIB = {
    "a key that is computed": HEAD + place(1000, kind("f8"), NAMED + number(1) + b"\x85")
    + padded(b"\xff" * 8 + RUN),
    "an alignment that is no number": HEAD
    + place(1, kind("f8"), text("numpy_array_alignment_bytes") + b"\x88") + b"\x06"
    + b"\xff" * 7 + COVER,
    "a type with the flags of objects": HEAD + b"}\x940"
    + place(1000, kind("f8", state(-1, 63)))
    + padded(HEAD + text("posix") + b"\x94" + text("system") + b"\x9400h\0h\1\x93"
             + text("true") + b"\x85R."),
    "a type of another size": HEAD + place(7, kind("V0", state(1))) + COVER,
    "a character": HEAD + place(7, kind("c")) + COVER,
    "a place from another maker": HEAD + place(7, kind("u1"), made=BUILDS) + COVER,
    "a place made with values": HEAD + place(7, kind("u1"), made=WRAPPER + b"(NNNNtR") + COVER,
    "a place with two states": HEAD + MADE + b"\x94}(" + text("shape") + b")" + text("dtype")
    + kind("u1") + text("numpy_array_alignment_bytes") + number(16) + b"ub\0\xff0h\0"
    + place(8, kind("u1"), made=b"") + COVER,
    "a place in a frame": HEAD + b"\x95" + struct.pack("<Q", len(place(20, kind("u1"))) + 6)
    + place(20, kind("u1")) + b"N0N0N0" + b"\xff" * 14 + b"B" + struct.pack("<I", len(RUN))
    + RUN + b"0.",
    # The pickle has a memo of its own, by which it imports what the plain loader would not.
    "a place in an array of objects": HEAD + b"}\x940" + place(1, kind("O8", state(-1, 63)))
    + HEAD + text("builtins") + b"\x940h\0" + text("int") + b"\x930" + place(1000, kind("f8"))
    + padded(RUN) + b".",
}  # fmt: skip
PLAIN = {  # what joblib steps over and the plain loader does not
    "an octal number": b"I010\n0" + RUN,
    "a number that ends before its line": b"F1.0\0x\n0" + RUN,
    "an entry far away": b"r" + struct.pack("<I", 100_000) + RUN,
    "many odd steps": b"(e0N" * 50_002 + RUN,
}
ADDRESS = b"C\x08AAAAAAAA"
INTERFACE = b"}(" + text("data") + number(16705) + b"\x89\x86" + text("version") + number(3) + b"u"
HOOK = text("__array_interface__") + INTERFACE
OBJECT = name("types", "SimpleNamespace") + b")R"
MEMORY = {
    "an object at an address": name("numpy._core.multiarray", "scalar")
    + kind("object", state()) + ADDRESS + b"\x86R.",
    "an array of addresses": name("numpy._core.multiarray", "_reconstruct")
    + name("numpy", "ndarray") + number(0) + b"\x85C\1b\x87R(" + number(1) + number(1) + b"\x85"
    + kind("O8", state()) + b"\x89" + ADDRESS + b"tb.",
    "bytes behind an address": name("numpy._core.multiarray", "scalar")
    + kind("S4096", state(4096, 4)) + b"N\x86R.",
    "a field beyond its type": kind("V8")
    + b"(" + number(3) + text("|") + b"N" + text("a") + b"\x85}" + text("a") + kind("f8")
    + number(1 << 30) + b"\x86s" + number(8) + number(1) + number(16) + b"tb.",
    "a hook by a computed name": OBJECT + b"}" + name("builtins", "str")
    + text("__array_interface__") + b"\x85R" + INTERFACE + b"sb.",
    "a hook in a tuple that a call returns": OBJECT + name("builtins", "tuple") + b"](N}"
    + HOOK + b"se\x85Rb.",
    "a hook in a pair with names": OBJECT + name("urllib.parse", "DefragResult") + b"N}"
    + text("append") + b"Ns\x86\x81b.",
    "a hook set through another view": b"}\x94" + name("collections", "ChainMap") + b"h\0\x85R"
    + HOOK + b"s00" + OBJECT + b"h\0b.",
    "a namespace of pairs": name("types", "SimpleNamespace") + b"](" + HOOK + b"\x86e\x85R.",
}  # fmt: skip


@pytest.mark.parametrize("what", JOBLIB)
def test_an_array_is_where_joblib_reads_it_or_the_file_is_refused(what: str) -> None:
    assert scan_bytes("x", JOBLIB[what]).exit_code == 1


@pytest.mark.parametrize("what", PLAIN)
def test_what_ends_our_reading_alone_excuses_nothing(what: str) -> None:
    hidden = PLAIN[what] + b"\xff" * 100
    data = HEAD + place(len(hidden), kind("u1")) + hidden + b"."
    assert scan_bytes("x", data).exit_code == 1


@pytest.mark.parametrize("what", MEMORY)
def test_no_value_is_at_an_address_of_the_streams_choice(what: str) -> None:
    report = scan_bytes("x", HEAD + MEMORY[what])
    assert {one.id for one in report.files[0].findings} & {
        "pickle.arguments", "pickle.unusual-state"
    }  # fmt: skip


@pytest.mark.parametrize("before", [b"Np9999999\n", b"N" * 102])
def test_a_text_that_our_bounds_keep_us_from_reading_is_no_text(before: bytes) -> None:
    data = before + b"cos\nsystem\n(Vtrue\ntR."  # a pickle of protocol 0
    found = scan_bytes("x", data, model=replace(MODEL, max_stack=100)).files[0]
    assert found.format == "pickle"
    assert "pickle.malformed" in {one.id for one in found.findings}


def test_prose_is_no_number_that_is_too_long() -> None:
    assert scan_bytes("x", b"From here to there " * 1000).files[0].format == "text"


def test_texts_beyond_what_is_kept_may_be_hooks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "_TEXT_BUDGET", 1000)
    data = HEAD + OBJECT + b"\x8c\x000" * 20 + b"}" + HOOK + b"sb."
    assert [one.id for one in scan_bytes("x", data).files[0].findings] == ["pickle.unusual-state"]


def test_tensors_that_are_a_pickle_to_c_are_no_tensors_alone() -> None:
    run = b"cposix\nsystem\n(S'true'\ntR."
    head = b'{"a":{"dtype":"U8","shape":[%d],"data_offsets":[0,%d]},"__metadata__":{"p":"'
    head %= len(run), len(run)
    length = int.from_bytes(b"L1", "little")  # a number up to the line's end, which C cuts at zero
    data = length.to_bytes(8, "little") + head + b"x" * (length - len(head) - 4) + b'"}\n}' + run
    found = scan_bytes("x", data).files[0]
    assert (found.format, [one.id for one in found.findings]) == ("safetensors", ["file.polyglot"])


PAIR = text("urllib.parse") + text("DefragResult") + b"\x93\x94"
NAMED_PAIR = b"\x94h\0h\1\x85}" + text("fragment") + b"h\1s\x92q\1"


@pytest.mark.parametrize("step", [b"2\x86" * 60, b"\x85" * 20_000])
def test_a_key_can_be_hashed_before_long(step: bytes) -> None:
    report = scan_bytes("x", HEAD + b"}N\x85" + step + b"Ns.")
    assert [one.id for one in report.files[0].findings] == ["pickle.malformed"]


def test_pairs_with_names_hold_each_other_no_longer() -> None:
    data = HEAD + PAIR + b"0N\x85\x94" + b"}h\1" + NAMED_PAIR.removeprefix(b"\x94") * 60 + b"Ns."
    assert "pickle.malformed" in {one.id for one in scan_bytes("x", data).files[0].findings}


def test_few_streams_with_arrays_are_read_as_the_plain_loader_does() -> None:
    stream = HEAD + place(1, kind("u1")) + b"\0."
    assert not scan_bytes("x", stream * 8).files[0].findings
    found = {one.id for one in scan_bytes("x", stream * 9).files[0].findings}
    assert found == {"pickle.too-many-streams"}
