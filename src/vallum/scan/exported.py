"""Programs that `torch.export.save` writes (`.pt2`): a graph as JSON, and weights as numbers.

torch imports and evaluates what texts in the graph name: expressions of sizes, targets of nodes,
kinds of containers, names that become source. So each text is of a narrow form, or is only told of
where a node came from. Graphs that say more than these texts are refused, as are pickled weights.

Source: torch 2.13, `torch/_export/serde/serialize.py` and `schema.py`, `torch/utils/_pytree.py`,
`torch/export/pt2_archive/_package.py` and `constants.py`.
"""

import json
import math
import re
from collections.abc import Iterator
from typing import Any

from vallum.base.bounds import MIB, JsonBounds
from vallum.base.errors import VallumError
from vallum.formats import load_json
from vallum.scan.graphs import TORCH_FILES

_OLDER = "serialized_exported_program.json"
_LISTS = re.compile(r"data/(weights|constants)/\w+_\1_config\.json", re.ASCII)
_JSON = JsonBounds(max_bytes=64 * MIB, max_depth=64, max_nodes=5_000_000)
_PLAIN = re.compile(r"[\w.]{0,400}", re.ASCII)
_TARGET = re.compile(
    r"torch\.ops\.(?:aten|prims)\.(\w+)\.\w+|"
    r"_operator\.(?:add|sub|mul|floordiv|truediv|mod|neg|pow|ge|gt|le|lt|eq|ne|and_|or_|getitem)|"
    r"math\.(?:ceil|floor|trunc|sqrt)|torch\.sym_(?:float|int|max|min|not|ite|sqrt)",
    re.ASCII,
)
# As printed and as written in full; a power could take all time and memory.
_EXPRESSION = re.compile(
    r"(?:[su]\d{1,9}(?!\d)|(?<!\d)\d{1,19}(?!\d)|[-+/(), =]|<(?!<)|>(?!>)|\*(?!\*)|"
    r"Symbol\('[su]\d{1,9}'(?:, (?:positive|nonnegative|integer|real)=True)*\)|"
    r"Add|Mul|Integer|Max|Min|Mod|FloorDiv|CeilDiv|PythonMod|True|False)*",
    re.ASCII,
)
_ARGUMENT = re.compile(r"[\w .,>-]{0,400}", re.ASCII)  # of an operator: `tanh`, `ij,jk->ik`
_CONTAINERS = frozenset({None, "builtins.tuple", "builtins.list", "builtins.dict"})
_ORIGIN = frozenset({"stack_trace", "nn_module_stack", "source_fn_stack", "torch_fn"})
_VERSION = re.compile(r"[\w.+]{0,100}", re.ASCII)
# Bytes of an item by torch's number of its type: integers, floats, complex, bool, bfloat16, float8.
_ITEMS = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 2, 7: 4, 8: 8, 9: 4, 10: 8, 11: 16, 12: 1, 13: 2,
          28: 2, 29: 1, 30: 1, 31: 1, 32: 1}  # fmt: skip


def is_program(name: str) -> bool:
    """Whether a member of this name makes its archive a program."""
    return name.partition("/")[2] == "archive_format" or name.rpartition("/")[2] == _OLDER


def is_graph(name: str) -> bool:
    """Whether a member, its root left out, is a graph: torch reads every one that there is."""
    return (name.startswith("models/") and name.endswith(".json")) or name == _OLDER


def tensors_kind(name: str) -> str:
    """Return what a member is a list of: `weights`, `constants`, or nothing."""
    found = _LISTS.fullmatch(name)
    return found.group(1) if found else ""


def graph_fault(data: memoryview) -> str:
    """Return what is wrong with a graph; empty if nothing is."""
    try:
        value = load_json(bytes(data), _JSON, finite=False)
        if not isinstance(value, dict) or value.get("guards_code") not in ([], None):
            return "the program has guards, which are source"
        if value.get("graph_module", {}).get("treespec_namedtuple_fields"):
            return "the program names classes of its own"
        _walk(value, "", within="")
    except VallumError as error:
        return error.message
    except (ValueError, TypeError, AttributeError) as error:
        return str(error)[:200]
    return ""


def _walk(value: Any, key: str, *, within: str) -> None:  # noqa: ANN401 - JSON
    """Judge every text below; depth is bounded by the reader."""
    if isinstance(value, dict):
        for name, inner in value.items():
            if not _PLAIN.fullmatch(name):
                raise ValueError(f"the key `{name[:60]}`")
            _walk(inner, name, within=key if isinstance(inner, str) else name)
    elif isinstance(value, list):
        for inner in value:
            _walk(inner, key, within=within)
    elif isinstance(value, str) and not _is_known(value, key, within):
        raise ValueError(f"`{key[:40]}` is `{value[:80]}`")


def _is_known(text: str, key: str, within: str) -> bool:
    if key in _ORIGIN and within == "metadata":
        return True
    if key in ("target", "as_operator"):
        found = _TARGET.fullmatch(text)
        return found is not None and found.group(1) not in TORCH_FILES
    if key == "expr_str":
        return len(text) <= 400 and bool(_EXPRESSION.fullmatch(text))  # noqa: PLR2004 - a size
    if key in ("in_spec", "out_spec"):
        return not text or _is_plain_tree(json.loads(text))
    if key == "as_string":
        return bool(_ARGUMENT.fullmatch(text))
    form = _VERSION if key == "torch_version" else _PLAIN
    return bool(form.fullmatch(text))


def _is_plain_tree(value: Any) -> bool:  # noqa: ANN401 - JSON
    """Whether a description of nested arguments has tuples, lists and dicts of plain keys alone."""
    if not isinstance(value, list) or len(value) != 2 or value[0] != 1:  # noqa: PLR2004 - version, tree
        return False
    left = [value[1]]
    while left:
        node = left.pop()
        if not isinstance(node, dict) or node.keys() != {"type", "context", "children_spec"}:
            return False
        if node["type"] not in _CONTAINERS or not _is_plain_context(node["context"]):
            return False
        left.extend(node["children_spec"])
    return True


def _is_plain_context(context: object) -> bool:
    if context is None or context == "null":
        return True
    keys = json.loads(context) if isinstance(context, str) else None
    return isinstance(keys, list) and all(
        isinstance(one, str) and _PLAIN.fullmatch(one) for one in keys
    )


def weights_of(kind: str, data: memoryview) -> Iterator[tuple[str, int]]:
    """Yield the name and the bytes of each tensor that a list of weights or constants has.

    Raises:
        ValueError, TypeError, KeyError: A tensor is pickled, or of no known shape.
        VallumError: The list is no JSON.
    """
    config = load_json(bytes(data), _JSON)
    held = (
        config.get("config") if isinstance(config, dict) and config.keys() == {"config"} else None
    )
    if not isinstance(held, dict):
        raise TypeError("no list of tensors")
    for one in held.values():
        meta = one["tensor_meta"]
        name, sizes = str(one["path_name"]), [size["as_int"] for size in meta["sizes"]]
        if one["use_pickle"] is not False or not re.fullmatch(r"(weight|tensor)_\d{1,6}", name):
            raise ValueError("a tensor that is pickled, or elsewhere")
        if any(type(size) is not int or size < 0 for size in sizes) or meta["dtype"] not in _ITEMS:
            raise ValueError("a tensor of no known shape")
        yield f"data/{kind}/{name}", math.prod(sizes) * _ITEMS[meta["dtype"]]
