"""Pickles assembled by hand, opcode by opcode; none is ever loaded."""

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vallum.base.bounds import ModelBounds
from vallum.scan import ScanVerdict, scan_bytes
from vallum.scan.allowed import ALLOWED, is_dangerous


def text(value: str) -> bytes:
    data = value.encode()
    return b"\x8c" + bytes([len(data)]) + data


def stack_global(module: str, name: str) -> bytes:
    return text(module) + text(name) + b"\x93"


def scan(data: bytes, **bounds: int) -> tuple[ScanVerdict, list[str]]:
    report = scan_bytes("x.bin", data, model=ModelBounds(**bounds))
    return report.verdict, [finding.id for finding in report.files[0].findings]


CALL = b"(" + text("echo") + b"tR."
P4 = b"\x80\x04"


@pytest.mark.guarantee("G4")
@pytest.mark.parametrize(
    "data",
    [
        b"cos\nsystem\n(S'echo'\ntR.",
        b"c__builtin__\neval\n(S'1'\ntR.",
        b"(S'echo'\nios\nsystem\n.",
        b"(cos\nsystem\nS'echo'\no.",
        P4 + stack_global("posix", "system") + CALL,
        P4 + stack_global("builtins", "exec") + text("x") + b"\x85R.",
        P4 + stack_global("os", "system") + b"(" + text("echo") + b"t\x81.",
        P4 + stack_global("os", "system") + b")}\x92.",
        P4 + stack_global("os", "system") + b".",
        P4 + stack_global("os", "system") + b"0N.",
        P4 + stack_global("numpy.testing._private.utils", "os.system") + CALL,
        P4 + text("os") + b"\x940" + text("system") + b"\x940h\x00h\x01\x93" + CALL,
        P4 + text("os") + b"q\x050" + b"j\x05\0\0\0" + text("system") + b"\x93" + CALL,
        b"cos\nsystem\n(S'echo'\ntR",
        b"cos\nsystem\n(S'echo'\ntR\xff\xff",
        P4 + b"N." + b"cos\nsystem\n(S'echo'\ntR.",
        P4 + b"]" + stack_global("subprocess", "Popen") + b"a.",
    ],
)
def test_a_dangerous_name_is_found_however_it_is_reached(data: bytes) -> None:
    verdict, ids = scan(data)
    assert verdict is ScanVerdict.MALICIOUS
    assert "pickle.dangerous-name" in ids


@pytest.mark.parametrize(
    ("data", "id_"),
    [
        (P4 + stack_global("some.module", "Class") + b")R.", "pickle.unknown-name"),
        (P4 + b"\x82\x01.", "pickle.extension-registry"),
        (P4 + b"\x83\x01\x00.", "pickle.extension-registry"),
        (P4 + b"\x84\x01\x00\x00\x00.", "pickle.extension-registry"),
        (P4 + b"Nq\x00Q.", "pickle.persistent-id"),
        (P4 + b"N" + text("name") + b"\x93.", "pickle.computed-name"),
        (P4 + b"C\x02os" + text("system") + b"\x93.", "pickle.computed-name"),
        (P4 + b"])R.", "pickle.computed-name"),
        (P4 + stack_global("builtins", "dict") + b"]R.", "pickle.computed-name"),
        (P4 + stack_global("collections", "OrderedDict") + b"}b.", "pickle.unusual-state"),
        (P4 + b"]}b.", "pickle.unusual-state"),
        (P4 + b"NN.", "pickle.leftover"),
        (P4 + b"\x97.", "pickle.external-buffer"),
        (P4 + b"N", "pickle.malformed"),
        (P4 + b".", "pickle.malformed"),
        (P4 + b"h\x07.", "pickle.malformed"),
        (P4 + b"(.", "pickle.malformed"),
        (b"\x80\x06N.", "file.unknown-format"),
        (P4 + b"\x95" + b"\xff" * 8 + b"N.", "pickle.malformed"),
        (P4 + b"X\xff\xff\xff\x7f.", "pickle.malformed"),
        (P4 + b"N." + b"\xff\xfe", "pickle.trailing-data"),
        (
            P4 + stack_global("_codecs", "encode") + text("x") + text("rot13") + b"\x86R.",
            "pickle.arguments",
        ),
        (
            P4 + stack_global("lightgbm.basic", "Booster") + text("/etc/passwd") + b"\x85R.",
            "pickle.arguments",
        ),
        (
            P4
            + stack_global("numpy.random._pickle", "__generator_ctor")
            + text("/etc/passwd")
            + stack_global("lightgbm.basic", "Booster")
            + b"\x86R.",
            "pickle.arguments",
        ),
        (
            P4
            + stack_global("collections", "OrderedDict")
            + b")R}"
            + text("__setstate__")
            + stack_global("builtins", "list")
            + b"sb.",
            "pickle.unusual-state",
        ),
    ],
)
def test_what_no_ordinary_writer_makes_is_suspicious(data: bytes, id_: str) -> None:
    verdict, ids = scan(data)
    assert verdict is ScanVerdict.SUSPICIOUS
    assert id_ in ids


@pytest.mark.parametrize(
    "data",
    [
        b"I1\n.",
        b"(lp0\nI1\naF1.5\naS'x'\na.",
        b"(dp0\nS'k'\nI01\ns.",
        P4 + b"}(" + text("a") + b"K\x01" + text("b") + b"]u.",
        P4 + b"\x8f(K\x01K\x02\x90.",
        P4 + stack_global("collections", "OrderedDict") + b")R.",
        P4 + stack_global("builtins", "set") + b"](K\x01e\x85R.",
        b"c__builtin__\nset\n(lS'x'\na\x85R.",
        b"\x80\x02c_codecs\nencode\nX\x01\0\0\0aX\x06\0\0\0latin1\x86R.",
    ],
)
def test_plain_data_passes_as_data_like(data: bytes) -> None:
    assert scan(data) == (ScanVerdict.DATA_LIKE, [])


def test_a_finding_names_the_offset_of_the_import() -> None:
    data = P4 + b"N0" + stack_global("os", "system") + CALL
    (finding,) = scan_bytes("x", data).files[0].findings
    assert data[finding.offset or 0] == 0x93
    assert "`os.system`" in finding.message
    assert finding.atlas == "AML.T0011.000"


def test_opcode_and_stack_bounds_hold() -> None:
    assert scan(P4 + b"N0" * 50 + b"N.", max_opcodes=50)[0] is ScanVerdict.SUSPICIOUS
    assert scan(P4 + b"(" + b"N" * 60 + b"t.", max_stack=50)[0] is ScanVerdict.SUSPICIOUS
    assert scan(P4 + b"(" + b"N" * 40 + b"t.", max_stack=50)[0] is ScanVerdict.DATA_LIKE


def test_no_allowed_name_is_a_known_gadget() -> None:
    names = {name for module, name in ALLOWED if module == "builtins"}
    assert not names & {"eval", "exec", "getattr", "__import__", "open", "compile", "map", "type"}
    for gadget in (("os", "system"), ("functools", "partial"), ("operator", "methodcaller")):
        assert gadget not in ALLOWED
        assert is_dangerous(*gadget)


NAME = st.from_regex(r"[a-z_]{1,8}(\.[a-z_]{1,8}){0,2}", fullmatch=True)


@pytest.mark.guarantee("G4")
@settings(max_examples=80)
@given(NAME, NAME, st.binary(max_size=20))
def test_no_name_off_the_list_ever_passes(module: str, name: str, rest: bytes) -> None:
    if (module, name) in ALLOWED:
        return
    for head in (P4 + stack_global(module, name), f"c{module}\n{name}\n".encode()):
        assert scan_bytes("x", P4 + head + b")R." + rest).exit_code == 1


@settings(max_examples=150)
@given(st.lists(st.integers(0, 255), max_size=60))
def test_any_opcodes_give_a_report(body: list[int]) -> None:
    report = scan_bytes("x", P4 + bytes(body))
    assert report.files[0].format


@settings(max_examples=60)
@given(
    st.recursive(
        st.just(b"N") | st.just(b"K\x07"),
        lambda inner: st.tuples(inner, inner).map(lambda pair: pair[0] + pair[1] + b"\x86"),
        max_leaves=20,
    )
)
def test_any_nest_of_tuples_is_data_like(body: bytes) -> None:
    assert scan(P4 + body + b".") == (ScanVerdict.DATA_LIKE, [])


def test_a_hundred_thousand_nested_tuples_need_no_recursion() -> None:
    assert scan(P4 + b"N" + b"\x85" * 100_000 + b".")[0] is ScanVerdict.DATA_LIKE


def joblib_array(shape: int, body: bytes, kind: str = "f8") -> bytes:
    dtype = stack_global("numpy", "dtype") + text(kind) + b"\x85R"
    state = (
        text("subclass") + stack_global("numpy", "ndarray")
        + text("shape") + b"M" + struct.pack("<H", shape) + b"\x85"
        + text("order") + text("C") + text("dtype") + dtype + text("allow_mmap") + b"\x88"
    )  # fmt: skip
    wrapper = stack_global("joblib.numpy_pickle", "NumpyArrayWrapper") + b")\x81"
    return P4 + wrapper + b"}(" + state + b"ub" + body + b"."


def test_joblibs_inline_arrays_are_stepped_over() -> None:
    assert scan(joblib_array(3, b"\xff" * 24)) == (ScanVerdict.DATA_LIKE, [])


def test_an_inline_array_cannot_hide_opcodes_by_its_size() -> None:
    hidden = stack_global("os", "system") + CALL
    assert scan(joblib_array(0, hidden))[0] is ScanVerdict.MALICIOUS
    assert scan(joblib_array(60_000, b"\0" * 24))[0] is ScanVerdict.SUSPICIOUS


def test_an_inline_array_of_objects_is_followed_as_a_pickle() -> None:
    nested = P4 + stack_global("os", "system") + CALL
    assert scan(joblib_array(1, nested, "O8"))[0] is ScanVerdict.MALICIOUS
    assert scan(joblib_array(1, P4 + b"]N\x85a.", "O8"))[0] is ScanVerdict.DATA_LIKE


def test_what_one_loader_skips_as_an_array_is_judged_as_the_other_reads_it() -> None:
    hidden = b"0" + stack_global("os", "system") + b"(" + text("echo") + b"tR."
    data = joblib_array(len(hidden), hidden, "S1")
    assert scan(data)[0] is ScanVerdict.MALICIOUS


def safetensors(body: bytes) -> bytes:
    """A valid file that reads as a pickle too: `X` jumps over `{"`, `P` takes a line."""
    header = b'{"NP":{"dtype":"U8","shape":[%d],"data_offsets":[0,%d]}}' % (len(body), len(body))
    length = 0x558
    return struct.pack("<Q", length) + header.ljust(length) + body


def test_a_file_of_two_formats_is_judged_as_both() -> None:
    assert scan(safetensors(b"\n0plain numbers")) == (ScanVerdict.CLEAN, [])
    assert scan(safetensors(b"\n0cos\nsystem\n(S'echo'\ntR."))[1] == ["file.polyglot"]
