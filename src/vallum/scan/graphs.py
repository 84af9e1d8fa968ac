"""Graphs of operators: ONNX, TensorFlow's SavedModel, TorchScript's source."""

import math
import re
from collections.abc import Callable

from vallum.base.bounds import ModelBounds
from vallum.base.errors import VallumError
from vallum.formats import OnnxOutside, fields, read_onnx_header
from vallum.formats.protobuf import BYTES, VARINT
from vallum.scan.allowed_onnx import OPERATORS
from vallum.scan.report import Findings

_ATLAS = "AML.T0011.000"


Beside = Callable[[OnnxOutside], bool]
"""Whether a tensor's bytes lie in a file of the model's own folder that is scanned with it."""


def scan_onnx(
    data: memoryview,
    findings: Findings,
    bounds: ModelBounds,
    member: str = "",
    beside: Beside | None = None,
) -> None:
    """Report custom operators and data outside the model's own folder.

    Raises:
        VallumError: The file is malformed or beyond a bound.
    """
    header = read_onnx_header(data, bounds)
    own = set(header.functions)
    for outside in header.external_data:
        if beside is not None and beside(outside):
            continue
        message = f"a tensor lies in the external file `{outside.place[:80]}`"
        findings.add("onnx.external-data", message, member=member, atlas=_ATLAS)
    for domain in header.opsets:
        if domain not in OPERATORS and not any(domain == name[0] for name in own):
            message = f"the custom operator domain `{domain[:80]}`"
            findings.add("onnx.custom-domain", message, member=member, atlas=_ATLAS)
    for domain, operator in header.operators:
        if operator not in OPERATORS.get(domain, ()) and (domain, operator) not in own:
            message = f"the custom operator `{domain[:80]}.{operator[:80]}`"
            findings.add("onnx.custom-operator", message, member=member, atlas=_ATLAS)


# Bytes of an item by TensorProto.DataType. Source: onnx.proto3.
_ITEMS = {1: 4, 2: 1, 3: 1, 4: 2, 5: 2, 6: 4, 7: 8, 9: 1, 10: 2, 11: 8, 12: 4, 13: 8, 14: 8,
          15: 16, 16: 2}  # fmt: skip
_DIMS, _TYPE, _NAME, _RAW = 1, 2, 8, 9
_MAX_DIMS, _MAX_NAME = 8, 1000


def is_onnx_tensor(data: memoryview) -> bool:
    """Whether a file is one tensor, as ONNX's models have them for a test: sizes, type, numbers.

    None of these fields is a graph to another reader of protocol buffers. Source: onnx.proto3.
    """
    dims: list[int] = []
    kinds: list[int] = []
    raw = None
    try:
        for item in fields(data):
            if (item.number, item.wire) == (_DIMS, VARINT) and len(dims) < _MAX_DIMS:
                dims.append(item.value)
            elif (item.number, item.wire) == (_TYPE, VARINT) and not kinds:
                kinds.append(item.value)
            elif (item.number, item.wire) == (_RAW, BYTES) and raw is None:
                raw = len(item.content)
            elif (item.number, item.wire) != (_NAME, BYTES) or len(item.content) > _MAX_NAME:
                return False
    except VallumError:
        return False
    width = _ITEMS.get(kinds[0]) if kinds else None
    return width is not None and raw == math.prod(dims) * width


# TensorFlow operators that compute, hold variables or restore the model's own checkpoint.
_TENSORFLOW = frozenset(
    """Const Placeholder PlaceholderWithDefault Identity IdentityN NoOp MatMul BatchMatMul
    BatchMatMulV2 BatchMatMulV3 Add AddV2 AddN Sub Mul RealDiv Div DivNoNan FloorDiv FloorMod Neg
    Abs Square Sqrt Rsqrt Pow Exp Log Log1p Sign Maximum Minimum Max Min Mean Sum Prod Any All
    ArgMax ArgMin Equal NotEqual Greater GreaterEqual Less LessEqual LogicalAnd LogicalOr
    LogicalNot Select SelectV2 Where Cast Shape ShapeN Size Rank Reshape Squeeze ExpandDims Pack
    Unpack Concat ConcatV2 Split SplitV Slice StridedSlice Gather GatherV2 GatherNd ScatterNd Tile
    Transpose Fill Range ZerosLike OnesLike OneHot Pad PadV2 MirrorPad Relu Relu6 LeakyRelu Elu
    Selu Sigmoid Tanh Softmax LogSoftmax Softplus Softsign BiasAdd Conv2D Conv3D
    DepthwiseConv2dNative Conv2DBackpropInput MaxPool AvgPool MaxPoolV2 FusedBatchNorm
    FusedBatchNormV2 FusedBatchNormV3 ResizeBilinear ResizeNearestNeighbor Einsum TopKV2 Cumsum
    VarHandleOp ReadVariableOp AssignVariableOp VarIsInitializedOp VariableV2 Assign
    StatefulPartitionedCall PartitionedCall If StatelessIf While StatelessWhile TensorListReserve
    TensorListSetItem TensorListStack TensorListFromTensor TensorListGetItem StopGradient
    RandomUniform RandomStandardNormal TruncatedNormal RestoreV2 ShardedFilename
    StringJoin StaticRegexFullMatch Assert""".split()  # noqa: SIM905 - a table
)  # fmt: skip
_TEXT_OPERATOR = re.compile(rb"""\bop\s*+:(?:\s|#[^\n]*+\n)*+(?:"([^"\n]*)"|'([^'\n]*)')""")
_FILES = re.compile(r"File|PyFunc|ImmutableConst|Library|Print|Save|Restore|Dump|Matching|Script")


def is_saved_model(data: memoryview) -> bool:
    """Whether the bytes begin as `saved_model.pb`: perhaps a schema version, then a graph."""
    return bytes(data[:3]) == b"\x08\x01\x12" or bytes(data[:1]) == b"\x12"


def scan_saved_model(data: memoryview, findings: Findings) -> None:
    """Report every operator of a SavedModel, functions included, that is not on the list.

    Raises:
        InputError: The bytes are no protocol buffer.

    Source: tensorflow/core/protobuf: saved_model, meta_graph, graph, function, node_def.
    """
    findings.code_capable = True
    operators: set[str] = set()
    for item in fields(data):
        if item.number not in (1, 2):
            findings.add("tensorflow.field", f"unknown field {item.number}", offset=item.offset)
        if item.number == 2:  # noqa: PLR2004 - MetaGraphDef
            for graph in _inside(item.content, 2):
                operators.update(_operators(graph, 1))
                for library in _inside(graph, 2):
                    for function in _inside(library, 1):
                        operators.update(_operators(function, 3))
    if not operators:
        findings.add("file.unknown-format", "the file holds no graph that is understood")
    _judge_operators(operators, findings, "")


def scan_graph_text(data: memoryview, findings: Findings, member: str = "") -> bool:
    """Report the operators of a graph in protocol buffers' text form; False if it names none."""
    operators = {
        (match.group(1) or match.group(2)).decode("utf-8", "replace")
        for match in _TEXT_OPERATOR.finditer(data)
    }
    if operators:
        findings.code_capable = True
        _judge_operators(operators, findings, member)
    return bool(operators)


def _judge_operators(operators: set[str], findings: Findings, member: str) -> None:
    for operator in sorted(operators - _TENSORFLOW):
        severity = "critical" if _FILES.search(operator) else "high"
        message = f"the operator `{operator[:80]}` is not on the allow-list"
        findings.add("tensorflow.operator", message, severity=severity, member=member, atlas=_ATLAS)


def _inside(message: memoryview, number: int) -> list[memoryview]:
    return [item.content for item in fields(message) if item.number == number]


def _operators(graph: memoryview, number: int) -> set[str]:
    return {
        bytes(operator).decode("utf-8", "replace")
        for node in _inside(graph, number)
        for operator in _inside(node, 2)
    }


_NAMESPACE = re.compile(r"\bops\s*\.\s*(\w+)\s*\.\s*(\w+)")
_TORCH_CALL = re.compile(r"\btorch\s*\.\s*(\w+)")
TORCH_FILES = frozenset(
    """from_file save load _load_for_lite_interpreter load_library classes jit hub package utils
    _C ops system _import_ir_module os""".split()  # noqa: SIM905 - a table
)  # fmt: skip
_BARE_CALL = re.compile(r"(?<![\w.])([A-Za-z_]\w*)\s*\(")
# A layer of torch's Sequential, or one whose name is no identifier: an attribute by its name.
_ATTRIBUTE = re.compile(r"\bgetattr\(\w+(?:\.\w+)*, \"(?!__)[^\"\\\n]{1,200}\"\)")
_MAX_INNER = 32  # attributes of attributes
# Operators of torch's own libraries, and those of torchvision that compute on boxes.
_NAMESPACES = frozenset({"aten", "prim", "prims", "quantized", "sparse", "prepacked", "mkldnn"})
_PACKED = re.compile(r"\b__torch__\.torch\.classes\.quantized\.\w+PackedParamsBase\b")
_VISION = frozenset(
    ("torchvision", name)
    for name in ("nms", "roi_align", "roi_pool", "ps_roi_align", "ps_roi_pool", "deform_conv2d")
)
# Without `input`: torch names arguments so, and its messages say "input (got {}D input)".
_PYTHON = frozenset(
    """exec eval compile open getattr setattr globals locals vars breakpoint
    system popen __import__""".split()  # noqa: SIM905 - a table
)  # fmt: skip


def scan_torchscript(data: bytes, findings: Findings, member: str = "") -> None:
    """Report calls by which TorchScript leaves its interpreter.

    TorchScript's compiler takes only its own operators: `ops.<namespace>.<name>` from libraries
    loaded into the process, and `torch.<name>`. Namespaces are an allow-list; the few operators
    of `torch` that touch files are named.
    """
    findings.code_capable = True
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        findings.add("torchscript.encoding", "the source is not UTF-8", member=member)
        return
    for _ in range(_MAX_INNER):
        text, count = _ATTRIBUTE.subn(lambda match: "_" * len(match.group()), text)
        if not count:
            break
    text = _PACKED.sub(lambda match: "_" * len(match.group()), text)
    found: list[tuple[int, str, str]] = []
    for match in _NAMESPACE.finditer(text):
        own = match.group(1) in _NAMESPACES or match.groups() in _VISION
        if not own or match.group(2) in TORCH_FILES:
            found.append((match.start(), "torchscript.operator", match.group()))
    for match in _TORCH_CALL.finditer(text):
        if match.group(1) in TORCH_FILES:
            found.append((match.start(), "torchscript.operator", match.group()))
    for match in _BARE_CALL.finditer(text):
        if match.group(1) in _PYTHON:
            found.append((match.start(), "torchscript.call", match.group()))
    for match in re.finditer(r"^\s*(import|from)\s+(?!__torch__)\S+", text, re.MULTILINE):
        found.append((match.start(), "torchscript.import", match.group().strip()))
    for offset, id_, what in found:
        message = f"the source uses `{what[:80]}`"
        findings.add(id_, message, severity="critical", member=member, offset=offset, atlas=_ATLAS)
