"""Boosted trees as XGBoost and LightGBM write them: their structure, not only their syntax.

A program that runs them follows the numbers of nodes without looking. A child that is out of range
reads memory that is not the tree's, and a cycle never ends.

Source: XGBoost, `doc/model.schema` and `src/tree/io_utils.h`; LightGBM, `src/io/tree.cpp` and
`src/boosting/gbdt_model_text.cpp`.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

from vallum.base.bounds import MIB

_LEAF = -1
_NODES = ("right_children", "split_indices", "split_conditions", "default_left")
_ALSO = ("parents", "loss_changes", "sum_hessian", "split_type")
_MAX_LINE = 64 * MIB
_LINE = re.compile(rb"[^\n]*+\n?")
_NUMBERS = re.compile(
    rb"[ \t]*+(?:[-+]?(?:\d++\.?\d*+(?:[eE][-+]?\d++)?|inf|nan)(?:[ \t]++|\Z))*+\Z"
)
_TAIL = re.compile(
    rb"|feature_importances:|[^=\n]+=[\d.e+-]+|parameters:|\[\w+: ?[^\n]*\]|end of parameters|"
    rb"pandas_categorical:[^\n]*"
)
_HEADER = frozenset(
    b"version num_class num_tree_per_iteration label_index max_feature_idx objective "
    b"average_output feature_names monotone_constraints feature_infos tree_sizes".split()
)
_SPLITS = (b"split_feature", b"threshold", b"decision_type", b"left_child", b"right_child")
_PER_SPLIT = frozenset(
    {*_SPLITS, b"split_gain", *b"internal_value internal_weight internal_count".split()}
)
_PER_LEAF = frozenset(b"leaf_value leaf_weight leaf_count leaf_const num_features".split())
_OTHER = frozenset(
    b"num_leaves num_cat cat_boundaries cat_threshold leaf_features leaf_coeff is_linear "
    b"shrinkage".split()
)


def is_xgboost_tree(value: Mapping[str, Any]) -> bool:
    """Whether an object is one tree of XGBoost."""
    return "left_children" in value and "right_children" in value


def xgboost_tree_fault(tree: Mapping[str, Any]) -> str:
    """Return what is wrong with one tree of XGBoost; empty if nothing is."""
    try:
        left, right = _whole(tree["left_children"]), _whole(tree["right_children"])
        param = tree.get("tree_param", {})
        declared, deleted = int(param["num_nodes"]), int(param.get("num_deleted", 0))
        features = int(param["num_feature"])
        indices = _whole(tree["split_indices"])
        lengths = {len(tree[key]) for key in _NODES}
        lengths |= {len(tree[key]) for key in _ALSO if key in tree}
        if lengths | {declared} != {len(left)} or not left:
            return "a tree's lists are not as long as it has nodes"
        if fault := _xgboost_categories(tree, len(left)):
            return fault
        # A leaf has no left child; with several targets its right one is a place among weights.
        weights = len(tree.get("leaf_weights", ())) // max(int(param["size_leaf_vector"]), 1)
        children = [(a, b) if a != _LEAF else () for a, b in zip(left, right, strict=True)]
        ends = [b for a, b in zip(left, right, strict=True) if a == _LEAF and b != _LEAF]
        if any(not 0 <= b < weights for b in ends):
            return "a leaf's weights are out of range"
        if any(pair and not 0 <= at < features for pair, at in zip(children, indices, strict=True)):
            return "a node splits by a feature that there is not"
        reached = _reached(children, len(left))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        return f"a tree is malformed: {error}"[:200]
    if reached is None:
        return "a tree's nodes are out of range or form a cycle"
    return "" if len(left) - reached == deleted else "a tree has nodes that nothing leads to"


def _xgboost_categories(tree: Mapping[str, Any], nodes: int) -> str:
    held = [_whole(tree.get(f"categories{one}", ())) for one in ("_nodes", "_segments", "_sizes")]
    total = len(tree.get("categories", ()))
    if len({len(one) for one in held}) != 1 or any(not 0 <= at < nodes for at in held[0]):
        return "a tree's categories are of nodes that there are not"
    inside = all(min(at, n) >= 0 and at + n <= total for at, n in zip(*held[1:], strict=True))
    return "" if inside else "a tree's categories are out of range"


def _whole(value: Any) -> Sequence[int]:  # noqa: ANN401 - parsed JSON
    if isinstance(value, str) or not all(type(one) is int for one in value):
        raise ValueError("no list of whole numbers")
    return list(value)


def _reached(children: Sequence[tuple[int, ...]], count: int) -> int | None:
    """Return how many nodes the first leads to; None if one is out of range or met twice."""
    seen = bytearray(count)
    waiting = [0]
    while waiting:
        node = waiting.pop()
        if not 0 <= node < count or seen[node]:
            return None
        seen[node] = 1
        waiting.extend(children[node])
    return sum(seen)


def is_lightgbm(data: memoryview) -> bool:
    """Whether a text begins as a model of LightGBM."""
    return bytes(data[:13]) == b"tree\nversion="


def lightgbm_fault(data: memoryview) -> str:
    """Return what is wrong with a text as a model of LightGBM; empty if nothing is."""
    try:
        return _LightGbm(data).fault()
    except (ValueError, KeyError) as error:
        return f"the model is malformed: {error}"[:200]


class _LightGbm:
    def __init__(self, data: memoryview) -> None:
        self._data = data
        self._at = 5

    def _lines(self) -> Iterator[tuple[int, bytes]]:
        while self._at < len(self._data):
            begun = self._at
            found = _LINE.match(self._data, begun, begun + _MAX_LINE)
            self._at = found.end() if found else len(self._data)
            yield begun, bytes(self._data[begun : self._at]).rstrip(b"\r\n")

    def fault(self) -> str:
        lines = self._lines()
        header = dict(_pairs(lines, _HEADER))
        features = int(header[b"max_feature_idx"]) + 1
        names = len(header[b"feature_names"].split(b" "))
        if (
            features < 1
            or features != names
            or features != len(header[b"feature_infos"].split(b" "))
        ):
            return "the features are not as many as declared"
        sizes = [int(one) for one in header.get(b"tree_sizes", b"").split()]
        starts: list[int] = []
        for begun, line in lines:
            if not line:
                continue
            starts.append(begun)
            if line == b"end of trees":
                break
            if line != b"Tree=%d" % (len(starts) - 1):
                return "a tree is not where it must be"
            if fault := _lightgbm_tree(
                dict(_pairs(lines, _PER_SPLIT | _PER_LEAF | _OTHER)), features
            ):
                return fault
        else:
            return "the trees do not end"
        # LightGBM looks for the trees at these offsets.
        if b"tree_sizes" in header and sizes != [b - a for a, b in pairwise(starts)]:
            return "the trees are not as long as declared"
        unknown = any(_TAIL.fullmatch(line) is None for _, line in lines)
        return "something unknown follows the trees" if unknown else ""


def _pairs(
    lines: Iterator[tuple[int, bytes]], known: frozenset[bytes]
) -> Iterator[tuple[bytes, bytes]]:
    """Yield the keys and values of one block, which ends with an empty line."""
    seen = set()
    for _, line in lines:
        if not line:
            return
        key, equals, value = line.partition(b"=")
        if key == b"average_output" and not equals:  # the one word without a value
            continue
        if not equals or key not in known or key in seen:
            raise ValueError(f"`{key[:40].decode(errors='replace')}` where it may not be")
        seen.add(key)
        yield key, value


def _lightgbm_tree(tree: dict[bytes, bytes], features: int) -> str:
    if any(_NUMBERS.match(value) is None for value in tree.values()):
        return "a tree holds something else than numbers"
    held = {key: value.split() for key, value in tree.items()}
    leaves = int(tree[b"num_leaves"])
    splits = leaves - 1
    if leaves < 1 or len(held[b"leaf_value"]) != leaves:
        return "a tree's lists are not as long as it has nodes"
    for key, value in held.items():
        wanted = splits if key in _PER_SPLIT else leaves if key in _PER_LEAF else len(value)
        # A tree of one leaf is written without most of its lists.
        if len(value) != wanted and not (splits == 0 and len(value) <= 1):
            return "a tree's lists are not as long as it has nodes"
    if splits and any(key not in held for key in _SPLITS):
        return "a tree has no nodes"
    left, right, split, kinds = (
        [int(one) for one in held.get(key, ())] if splits else []
        for key in (b"left_child", b"right_child", b"split_feature", b"decision_type")
    )
    if any(not 0 <= one < features for one in split):
        return "a node splits by a feature that there is not"
    # A leaf is written as the complement of its number; here it follows the nodes.
    pairs = [
        tuple(one if one >= 0 else splits + ~one for one in pair)
        for pair in zip(left, right, strict=True)
    ]
    if any(a >= splits for a in (*left, *right)):
        return "a tree's nodes are out of range or form a cycle"
    if splits and _reached([*pairs, *[()] * leaves], splits + leaves) != splits + leaves:
        return "a tree's nodes are out of range or form a cycle"
    return _lightgbm_categories(held, kinds) or _lightgbm_linear(held, leaves, features)


def _lightgbm_categories(held: dict[bytes, list[bytes]], kinds: Sequence[int]) -> str:
    bounds = [int(one) for one in held.get(b"cat_boundaries", ())] or [0]
    count = int(held.get(b"num_cat", [b"0"])[0])
    if len(bounds) != count + 1 or bounds[0] != 0 or sorted(bounds) != bounds:
        return "a tree's categories are out of range"
    if bounds[-1] != len(held.get(b"cat_threshold", ())):
        return "a tree's categories are out of range"
    places = [
        float(one) for one, kind in zip(held.get(b"threshold", ()), kinds, strict=False) if kind & 1
    ]
    inside = all(one == one // 1 and 0 <= one < count for one in places)
    return "" if inside else "a tree's categories are out of range"


def _lightgbm_linear(held: dict[bytes, list[bytes]], leaves: int, features: int) -> str:
    if held.get(b"is_linear", [b"0"]) == [b"0"]:
        return ""
    counts = [int(one) for one in held[b"num_features"]]
    places = [int(one) for one in held[b"leaf_features"]]
    right = len(held[b"leaf_const"]) == len(counts) == leaves and min(counts) >= 0
    right = right and sum(counts) == len(places) == len(held[b"leaf_coeff"])
    inside = all(0 <= one < features for one in places)
    return "" if right and inside else "a tree's linear models are out of range"
