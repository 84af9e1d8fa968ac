"""Outputs of a converted model: the same names and shapes, whichever converter wrote it.

A classifier has `label` and `probabilities`, (n, c); a regression has `prediction`.
"""

from importlib import metadata
from typing import Any

from vallum.base import GateError

LABEL, SCORES, PREDICTION = "label", "probabilities", "prediction"
COLUMN = "probability_"
_MAX_COLUMNS = 100
_FLOATS = frozenset({1, 11})  # TensorProto's float and double
_LABELS = frozenset({7, 8})  # int64 and string
_ALWAYS = ("numpy", "onnx", "onnxruntime", "skl2onnx", "onnxmltools")
_PACKAGES = {
    "sklearn": "scikit-learn", "xgboost": "xgboost", "lightgbm": "lightgbm", "torch": "torch",
}  # fmt: skip


def arrange(model: Any, *, classes: tuple[str, ...], scored: bool, columns: bool) -> None:
    """Name the outputs of `model` in place, and leave out what was not asked for.

    Args:
        model: What a converter wrote.
        classes: Of the original; empty for a regression.
        scored: Whether it answers a score for each class.
        columns: Give every class's score an output of its own, (n,), as a table has columns.

    Raises:
        GateError: The outputs are not those of such a model.
    """
    graph = model.graph
    _any_number(graph.input[0])
    if not classes:
        if len(graph.output) != 1:
            raise GateError("the converter wrote another output", code="convert.outputs")
        _rename(graph, graph.output[0], PREDICTION)
        _any_number(graph.output[0])
        return
    told = {one.name: one.type.tensor_type.elem_type for one in graph.output}
    labels = [one for one in graph.output if told[one.name] in _LABELS]
    scores = [one for one in graph.output if told[one.name] in _FLOATS]
    if len(labels) != 1 or (scored and len(scores) != 1):
        raise GateError("the converter wrote no label and scores", code="convert.outputs")
    _rename(graph, labels[0], LABEL)
    _shape(labels[0], [None])
    if not scored:  # what nothing compares is not handed on
        kept = [labels[0]]
    else:
        _rename(graph, scores[0], SCORES)
        _shape(scores[0], [None, len(classes)])
        kept = [labels[0], scores[0]]
        if columns:
            kept = [labels[0], *_split(model, scores[0], classes)]
    kept = [_copy(one) for one in kept]
    del graph.output[:]
    graph.output.extend(kept)
    _prune(graph)


def take_float32(model: Any) -> None:
    """Let a model of float64 take float32, which it casts first: the one type of endpoints."""
    from onnx import helper

    graph = model.graph
    name = graph.input[0].name
    inner = f"{name}_float64"
    for node in graph.node:
        for place, one in enumerate(node.input):
            if one == name:
                node.input[place] = inner
    graph.input[0].type.tensor_type.elem_type = 1
    graph.node.insert(0, helper.make_node("Cast", [name], [inner], to=11))


def _prune(graph: Any) -> None:
    """Leave out nodes whose outputs nothing reads any more."""
    read = {one.name for one in graph.output}
    kept = []
    for node in reversed(graph.node):  # in the order of their use
        if read & set(node.output):
            read.update(node.input)
            kept.append(_copy(node))
    del graph.node[:]
    graph.node.extend(reversed(kept))


def versions(name: str) -> dict[str, str]:
    """Return the versions of the libraries that converted a model of class `name`."""
    found = {}
    for package in (*_ALWAYS, *_PACKAGES.values(), "onnxscript"):
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    # A pipeline names the library of its last step after that of the pipeline.
    mine = {*_ALWAYS, *(package for family, package in _PACKAGES.items() if family in name)}
    if "torch" in mine:
        mine = {"numpy", "onnx", "onnxruntime", "onnxscript", "torch"}
    if "xgboost" in mine and "xgboost" not in found:
        found["xgboost"] = metadata.version("xgboost-cpu")
    return {package: version for package, version in found.items() if package in mine}


def _copy(value: Any) -> Any:
    made = type(value)()
    made.CopyFrom(value)
    return made


def _any_number(value: Any) -> None:
    """Let the first dimension be of any size, without a name that a converter made up."""
    sizes = value.type.tensor_type.shape.dim
    if sizes and not sizes[0].dim_value:
        sizes[0].Clear()


def _shape(value: Any, sizes: list[int | None]) -> None:
    shape = value.type.tensor_type.shape
    del shape.dim[:]
    for size in sizes:
        added = shape.dim.add()
        if size is not None:
            added.dim_value = size


def _rename(graph: Any, output: Any, name: str) -> None:
    old = output.name
    if old == name:
        return
    taken = {one for node in graph.node for one in (*node.input, *node.output)}
    if name in taken:  # an inner value has our name: move it out of the way
        _replace(graph, name, f"{name}_inner")
    _replace(graph, old, name)
    output.name = name


def _replace(graph: Any, old: str, new: str) -> None:
    for node in graph.node:
        for names in (node.input, node.output):
            for place, one in enumerate(names):
                if one == old:
                    names[place] = new


def _split(model: Any, scores: Any, classes: tuple[str, ...]) -> list[Any]:
    """Return an output (n,) for each class, taken from the matrix of scores.

    A table of answers, as MLflow's client makes one, has no room for a matrix in a column.
    """
    from onnx import helper

    if len(classes) > _MAX_COLUMNS:
        return []
    graph, element = model.graph, scores.type.tensor_type.elem_type
    made = []
    for place, name in enumerate(classes):
        index = f"class_{place}_of_{SCORES}"
        graph.initializer.append(helper.make_tensor(index, 7, [], [place]))
        graph.node.append(helper.make_node("Gather", [SCORES, index], [f"{COLUMN}{name}"], axis=1))
        made.append(helper.make_tensor_value_info(f"{COLUMN}{name}", element, [None]))
    if not any(one.domain in {"", "ai.onnx"} for one in model.opset_import):
        model.opset_import.append(helper.make_opsetid("", 13))
    return made
