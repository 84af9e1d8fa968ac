"""V2 over gRPC: our messages are the published ones, and the scan sees what the parser sees."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

pytest.importorskip("google.protobuf", reason="gRPC is an extra")
from vallum.base import InputError, LimitExceededError
from vallum.guard import Spec, shape_output
from vallum.guard.v2_grpc import (
    MAX_FIELDS,
    decode_message,
    encode_raw,
    encode_typed,
    parse,
    scan_request,
)
from vallum.guard.v2_proto import MESSAGES, PROTO

SPEC = Spec(width=3, max_rows=8)


@pytest.mark.parametrize("name", MESSAGES)
def test_the_messages_are_the_published_ones(name: str) -> None:
    pytest.importorskip("tritonclient")
    published = pytest.importorskip("tritonclient.grpc.service_pb2")
    outer, *inner = name.split(".")
    theirs = published.DESCRIPTOR.message_types_by_name[outer]
    for one in inner:
        theirs = theirs.nested_types_by_name[one]

    def fields(of: object) -> set[tuple[object, ...]]:
        return {
            (one.name, one.number, one.type, one.is_repeated,
             one.message_type and one.message_type.full_name,
             one.containing_oneof and one.containing_oneof.name)
            for one in of.fields  # type: ignore[attr-defined]  # the library has no types
        }  # fmt: skip

    assert fields(PROTO[name].DESCRIPTOR) == fields(theirs)


def made(rows: list[list[float]], *, raw: bool, name: str = "e") -> bytes:
    x = np.array(rows, dtype="<f4")
    message = PROTO["ModelInferRequest"](model_name=name, id="i")
    tensor = message.inputs.add(name="x", datatype="FP32", shape=x.shape)
    if raw:
        message.raw_input_contents.append(x.tobytes())
    else:
        tensor.contents.fp32_contents.extend(x.ravel().tolist())
    return bytes(message.SerializeToString())


@given(
    rows=st.lists(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=3,
                           max_size=3), min_size=1, max_size=8),
    raw=st.booleans(),
    name=st.text(max_size=20),
)  # fmt: skip
def test_both_forms_are_read_alike(rows: list[list[float]], raw: bool, name: str) -> None:  # noqa: FBT001 - hypothesis passes it
    body = made(rows, raw=raw, name=name)
    x, request_id = decode_message(body, SPEC)
    assert np.array_equal(x, np.array(rows, dtype=np.float32))
    assert (x.dtype, request_id) == (np.float32, "i")
    assert (scan_request(body).name, scan_request(body).raw) == (name, raw)


@given(body=st.binary(max_size=60))
@example(body=b"\x0a\x01a\x0a\x01b")
@example(body=b"\x8a\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01\x01a")
def test_what_is_scanned_is_what_is_parsed(body: bytes) -> None:
    try:
        scanned = scan_request(body)
    except InputError:
        return
    try:
        message = parse("ModelInferRequest", body)
    except InputError:
        return
    assert scanned.name == message.model_name
    assert scanned.raw is bool(message.raw_input_contents)


def test_too_many_fields_are_not_walked() -> None:
    assert scan_request(b"\x20\x01" * MAX_FIELDS).name == ""
    with pytest.raises(InputError, match="at most 64 fields"):
        scan_request(b"\x20\x01" * (MAX_FIELDS + 1))


def test_numbers_that_do_not_fit_are_refused_without_a_warning() -> None:
    message = PROTO["ModelInferRequest"](model_name="e")
    tensor = message.inputs.add(name="x", datatype="FP64", shape=[1, 3])
    tensor.contents.fp64_contents.extend([1.0, 1e300, 2.0])
    with pytest.raises(InputError, match="not finite"):
        decode_message(message.SerializeToString(), SPEC)
    many = made([[0.0] * 3] * 9, raw=True)
    with pytest.raises(LimitExceededError, match="9 rows are more than 8"):
        decode_message(many, SPEC)


@pytest.mark.parametrize(
    "values", [np.array([[0.25, 0.75]]), np.array([3, -4]), np.array(["a", "é"])]
)
def test_answers_say_the_same_in_both_forms(values: np.ndarray) -> None:  # type: ignore[type-arg]
    output = shape_output("o", values, decimals=None)
    raw = PROTO["ModelInferResponse"].FromString(encode_raw("e", "blue", [output], "i"))
    typed = PROTO["ModelInferResponse"].FromString(encode_typed("e", "blue", [output], "i"))
    assert not typed.raw_output_contents
    assert list(raw.outputs[0].shape) == list(typed.outputs[0].shape) == list(values.shape)
    contents, bytes_ = typed.outputs[0].contents, raw.raw_output_contents[0]
    if values.dtype.kind == "f":
        assert np.array_equal(np.frombuffer(bytes_, "<f4"), np.float32(contents.fp32_contents))
    elif values.dtype.kind == "i":
        assert np.frombuffer(bytes_, "<i8").tolist() == list(contents.int64_contents) == [3, -4]
    else:
        assert bytes_ == b"\1\0\0\0a\2\0\0\0" + "é".encode()
        assert list(contents.bytes_contents) == [b"a", "é".encode()]
