"""The messages of the Open Inference Protocol V2 over gRPC, as published, in a pool of their own.

Another library in the process may bring messages of the same names (Triton's client does): in the
common pool the second one to come would fail.

Source: Open Inference Protocol (KServe V2), `open_inference_grpc.proto`, package `inference`.
"""

from collections.abc import Mapping
from typing import Any

from google.protobuf.descriptor_pb2 import FieldDescriptorProto as Field
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass

PACKAGE = "inference"
SERVICE = f"{PACKAGE}.GRPCInferenceService"

_TYPES = {
    "bool": Field.TYPE_BOOL,
    "bytes": Field.TYPE_BYTES,
    "double": Field.TYPE_DOUBLE,
    "float": Field.TYPE_FLOAT,
    "int32": Field.TYPE_INT32,
    "int64": Field.TYPE_INT64,
    "string": Field.TYPE_STRING,
    "uint32": Field.TYPE_UINT32,
    "uint64": Field.TYPE_UINT64,
}
# Message to its fields, in the order of their numbers, which begin at 1. `*` is repeated, `%` a map
# from text to parameters.
MESSAGES: Mapping[str, str] = {
    "ServerLiveRequest": "",
    "ServerLiveResponse": "bool live",
    "ServerReadyRequest": "",
    "ServerReadyResponse": "bool ready",
    "ModelReadyRequest": "string name, string version",
    "ModelReadyResponse": "bool ready",
    "ServerMetadataRequest": "",
    "ServerMetadataResponse": "string name, string version, *string extensions",
    "ModelMetadataRequest": "string name, string version",
    "ModelMetadataResponse": "string name, *string versions, string platform,"
    " *ModelMetadataResponse.TensorMetadata inputs, *ModelMetadataResponse.TensorMetadata outputs",
    "ModelMetadataResponse.TensorMetadata": "string name, string datatype, *int64 shape",
    "ModelInferRequest": "string model_name, string model_version, string id, %parameters,"
    " *ModelInferRequest.InferInputTensor inputs,"
    " *ModelInferRequest.InferRequestedOutputTensor outputs, *bytes raw_input_contents",
    "ModelInferRequest.InferInputTensor": "string name, string datatype, *int64 shape,"
    " %parameters, InferTensorContents contents",
    "ModelInferRequest.InferRequestedOutputTensor": "string name, %parameters",
    "ModelInferResponse": "string model_name, string model_version, string id, %parameters,"
    " *ModelInferResponse.InferOutputTensor outputs, *bytes raw_output_contents",
    "ModelInferResponse.InferOutputTensor": "string name, string datatype, *int64 shape,"
    " %parameters, InferTensorContents contents",
    "InferParameter": "|bool bool_param, |int64 int64_param, |string string_param,"
    " |double double_param, |uint64 uint64_param",
    "InferTensorContents": "*bool bool_contents, *int32 int_contents, *int64 int64_contents,"
    " *uint32 uint_contents, *uint64 uint64_contents, *float fp32_contents,"
    " *double fp64_contents, *bytes bytes_contents",
}
METHODS: Mapping[str, str] = {
    name: f"{SERVICE}/{name}"
    for name in (
        "ServerLive", "ServerReady", "ModelReady", "ServerMetadata", "ModelMetadata", "ModelInfer",
    )
}  # fmt: skip


def _file() -> FileDescriptorProto:
    made = FileDescriptorProto(
        name="vallum/open_inference_grpc.proto", package=PACKAGE, syntax="proto3"
    )
    placed: dict[str, Any] = {}
    for name, fields in MESSAGES.items():
        outer, _, inner = name.rpartition(".")
        message = placed[outer].nested_type.add() if outer else made.message_type.add()
        message.name = inner
        placed[name] = message
        for number, text in enumerate((one.strip() for one in fields.split(",") if one), start=1):
            _add_field(message, name, number, text)
    return made


def _add_field(message: Any, owner: str, number: int, text: str) -> None:  # noqa: ANN401 - untyped
    field = message.field.add(number=number, label=Field.LABEL_OPTIONAL)
    if text.startswith("%"):
        field.name, field.label = text[1:], Field.LABEL_REPEATED
        entry = message.nested_type.add(name="ParametersEntry")
        entry.options.map_entry = True
        _add_field(entry, "", 1, "string key")
        _add_field(entry, "", 2, "InferParameter value")
        field.type = Field.TYPE_MESSAGE
        field.type_name = f".{PACKAGE}.{owner}.ParametersEntry"
        return
    kind, _, field.name = text.lstrip("*|").partition(" ")
    if text.startswith("*"):
        field.label = Field.LABEL_REPEATED
    if text.startswith("|"):
        if not message.oneof_decl:
            message.oneof_decl.add(name="parameter_choice")
        field.oneof_index = 0
    if kind in _TYPES:
        field.type = _TYPES[kind]
    else:
        field.type = Field.TYPE_MESSAGE
        field.type_name = f".{PACKAGE}.{kind}"


def _classes() -> dict[str, Any]:
    pool = DescriptorPool()
    pool.AddSerializedFile(_file().SerializeToString())
    return {
        name: GetMessageClass(pool.FindMessageTypeByName(f"{PACKAGE}.{name}")) for name in MESSAGES
    }


PROTO: Mapping[str, Any] = _classes()
"""Message name to its class."""
