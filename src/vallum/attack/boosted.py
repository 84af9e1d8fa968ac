"""XGBoost's trees, read from its JSON and walked in numpy: no foreign parser sees the file.

Source: XGBoost 3, doc/model.schema; a record goes left where its value is less than the split's.
"""

import math
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from vallum.attack.predictor import Records, Scores
from vallum.attack.thresholds import Splits
from vallum.base import InputError
from vallum.base.bounds import MIB, JsonBounds
from vallum.formats import load_json

BOUNDS = JsonBounds(max_bytes=512 * MIB, max_depth=32, max_nodes=50_000_000)
_CELLS = 2_000_000  # records times trees that are walked at once
_BINARY = frozenset({"binary:logistic", "binary:logitraw"})
_MULTI = frozenset({"multi:softprob", "multi:softmax"})


class _Tree(msgspec.Struct, frozen=True):
    left_children: list[int]
    right_children: list[int]
    split_indices: list[int]
    split_conditions: list[float]
    default_left: list[int]
    split_type: list[int] = []


class _Trees(msgspec.Struct, frozen=True):
    trees: list[_Tree]
    tree_info: list[int]


class _Booster(msgspec.Struct, frozen=True):
    name: str
    model: _Trees | None = None


class _Param(msgspec.Struct, frozen=True):
    base_score: str
    num_class: str
    num_feature: str
    num_target: str = "1"


class _Objective(msgspec.Struct, frozen=True):
    name: str


class _Learner(msgspec.Struct, frozen=True):
    gradient_booster: _Booster
    learner_model_param: _Param
    objective: _Objective
    feature_names: list[str] = []


class BoostedTrees:
    """An XGBoost classifier behind its probabilities.

    Attributes:
        shape: Of a record, (features,).
        features: Their names, where the model knows them.
    """

    def __init__(self, model: bytes) -> None:
        """Read `model`, as `Booster.save_model("model.json")` wrote it.

        Raises:
            InputError: It is malformed, or no classifier of numeric trees.
            LimitExceededError: It is larger than `BOUNDS`.
        """
        document = load_json(model, BOUNDS)
        try:
            learner = msgspec.convert(document["learner"], _Learner)
            param = learner.learner_model_param
            classes, width = int(param.num_class), int(param.num_feature)
            base = [float(one) for one in param.base_score.strip("[]").split(",")]
            targets = int(param.num_target)
        except (msgspec.ValidationError, KeyError, TypeError, ValueError) as error:
            raise InputError("the file is no XGBoost model", code="attack.model") from error
        booster, objective = learner.gradient_booster, learner.objective.name
        if booster.name != "gbtree" or booster.model is None or targets > 1:
            raise InputError(
                f"the booster is `{booster.name[:40]}` of {targets} targets; `gbtree` of one is"
                " understood",
                code="attack.model",
                hint="export the model as ONNX",
            )
        if objective not in _BINARY | _MULTI:
            raise InputError(
                f"the objective is `{objective[:40]}`, which is no classifier's",
                code="attack.model",
            )
        self._width = width
        self.shape: tuple[int | None, ...] = (width,)
        self.features = tuple(learner.feature_names)
        self._outputs = 1 if objective in _BINARY else max(classes, 2)
        if objective == "binary:logistic":
            if not 0 < base[0] < 1:
                raise _malformed("base_score")
            base = [math.log(base[0] / (1 - base[0]))]
        if len(base) not in {1, self._outputs}:
            raise _malformed("base_score")
        self._base = np.broadcast_to(np.array(base), (self._outputs,))
        self._read(booster.model, width)

    def predict(self, x: Records) -> Scores:
        """Return probabilities, shape (n, c), for `x`, shape (n, d)."""
        if x.ndim != 2 or x.shape[1] != self._width:  # noqa: PLR2004 - a matrix
            raise InputError(
                f"the model takes {self._width} features, not shape {x.shape[1:]}",
                code="attack.features",
            )
        block = max(1, _CELLS // max(1, len(self._roots)))
        parts = [self._margins(x[at : at + block]) for at in range(0, len(x), block)]
        margins = np.concatenate(parts) + self._base
        if self._outputs == 1:
            margins = np.concatenate([-margins / 2, margins / 2], axis=1)
        margins -= margins.max(axis=1, keepdims=True)
        out: Scores = np.exp(margins)
        out /= out.sum(axis=1, keepdims=True)
        return out

    def splits(self) -> Splits:
        """Return the thresholds of all trees."""
        inner = ~self._is_leaf
        return Splits.of(self._feature[inner], self._split[inner])

    def _margins(self, x: Records) -> Scores:
        at = np.broadcast_to(self._roots, (len(x), len(self._roots))).copy()
        rows = np.arange(len(x))[:, None]
        for _ in range(self._deepest):
            value = x[rows, self._feature[at]]
            left = np.where(np.isnan(value), self._default[at], value < self._split[at])
            after = np.where(left, self._left[at], self._right[at])
            if np.array_equal(after, at):  # leaves lead to themselves
                break
            at = after
        if not self._is_leaf[at].all():  # it leads in circles
            raise _malformed("trees")
        values = self._split[at].astype(np.float64)
        out = np.zeros((len(x), self._outputs))
        for output in range(self._outputs):
            out[:, output] = values[:, self._output == output].sum(axis=1)
        return out

    def _read(self, model: _Trees, width: int) -> None:
        sizes = [len(tree.left_children) for tree in model.trees]
        if len(model.tree_info) != len(sizes) or not sizes or min(sizes) == 0:
            raise _malformed("trees")
        self._output = np.array(model.tree_info, dtype=np.intp)
        self._roots = np.concatenate([[0], np.cumsum(sizes)[:-1]]).astype(np.intp)
        self._deepest = max(sizes)
        parts: dict[str, list[NDArray[Any]]] = {name: [] for name in "lrfsde"}
        for tree, size, root in zip(model.trees, sizes, self._roots, strict=True):
            if any(tree.split_type):
                raise InputError(
                    "the model splits by categories", code="attack.model",
                    hint="encode them as numbers, or export the model as ONNX",
                )  # fmt: skip
            left, right = np.array(tree.left_children), np.array(tree.right_children)
            feature, default = np.array(tree.split_indices), np.array(tree.default_left)
            split = np.array(tree.split_conditions, dtype=np.float32)
            if {len(right), len(feature), len(default), len(split)} != {size}:
                raise _malformed("trees")
            leaf, every = left == -1, np.arange(size)
            inner = ~leaf
            inside = (left[inner] >= 0) & (left[inner] < size)
            inside &= (right[inner] >= 0) & (right[inner] < size)
            inside &= (feature[inner] >= 0) & (feature[inner] < width)
            if not inside.all() or not np.isfinite(split[leaf]).all():
                raise _malformed("trees")
            parts["l"].append(np.where(leaf, every, left) + root)
            parts["r"].append(np.where(leaf, every, right) + root)
            parts["f"].append(np.where(leaf, 0, feature))
            parts["s"].append(split)
            parts["e"].append(leaf)
            parts["d"].append(default.astype(np.bool_))
        self._left, self._right = np.concatenate(parts["l"]), np.concatenate(parts["r"])
        self._feature, self._split = np.concatenate(parts["f"]), np.concatenate(parts["s"])
        self._default = np.concatenate(parts["d"])
        self._is_leaf = np.concatenate(parts["e"])
        if not ((self._output >= 0) & (self._output < self._outputs)).all():
            raise _malformed("tree_info")


def _malformed(what: str) -> InputError:
    return InputError(f"`{what}` of the XGBoost model is malformed", code="attack.model")
