"""Boosted trees under differential privacy, called like scikit-learn's.

Splits are drawn at random within bounds that are declared, before any record is looked at: they
cost nothing. What is released of each tree is one noisy sum a leaf: of the gradients of the records
in it, and of their number. A record is in one leaf of a tree, so that its contribution to all
leaves together is bounded by that of one gradient.

Neighbouring relation: one record is added or removed. Noise is `gaussian.noisy_sum`.

Sources: Geurts, Ernst and Wehenkel 2006 (totally random trees); Maddock, Cormode, Wang, Maple and
Jha 2022 (boosting them under differential privacy); Nori et al. 2021 (few features a tree).
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vallum.base import InputError
from vallum.defend.dp.gaussian import noisy_sum
from vallum.defend.dp.linear import MAX_CLASSES, Classifier, _matrix, _spend
from vallum.defend.features import softmax

Floats = NDArray[np.float64]
MAX_DEPTH = 12
MAX_TREES = 10_000
_COUNTED = 0.5
"""A record's part in its leaf's number, beside a gradient of length up to the root of 2: numbers
are needed less exactly than gradients."""
_STEEPEST = 0.25
"""The curvature of the loss in one score is at most this."""
_ROUNDING = 1 + 1e-9


class _Trees:
    """Complete trees of random splits, as arrays: node i has the children 2 i + 1 and 2 i + 2."""

    def __init__(self, low: Floats, high: Floats, *, trees: int, depth: int, interaction: int,
                 seed: int) -> None:  # fmt: skip
        rng = np.random.default_rng(seed)
        nodes, width = 2**depth - 1, len(low)
        self.depth, self.leaves = depth, nodes + 1
        self.feature = np.zeros((trees, nodes), dtype=np.intp)
        self.threshold = np.zeros((trees, nodes))
        together = min(interaction, width)
        order: list[int] = []
        for tree in range(trees):
            if len(order) < together:  # every feature in turn, in another order each time
                order = [*order, *rng.permutation(width).tolist()]
            chosen, order = order[:together], order[together:]
            boxes = {0: (low.copy(), high.copy())}
            for node in range(nodes):
                under, over = boxes.pop(node)
                feature = int(chosen[int(rng.integers(together))])
                # float32, as ONNX compares.
                at = float(np.float32(rng.uniform(under[feature], over[feature])))
                self.feature[tree, node], self.threshold[tree, node] = feature, at
                left, right = over.copy(), under.copy()
                left[feature] = right[feature] = min(max(at, under[feature]), over[feature])
                boxes[2 * node + 1], boxes[2 * node + 2] = (under, left), (right, over)

    def leaf(self, tree: int, x: Floats) -> NDArray[np.intp]:
        """Return the leaf (n,) of every row (n, d), from 0."""
        at = np.zeros(len(x), dtype=np.intp)
        rows = np.arange(len(x))
        for _ in range(self.depth):
            right = x[rows, self.feature[tree, at]] > self.threshold[tree, at]
            at = 2 * at + 1 + right
        found: NDArray[np.intp] = at - (self.leaves - 1)
        return found


class BoostedTrees(Classifier):
    """A classifier of boosted random trees.

    Attributes:
        classes_: As declared.
        values_: What each leaf adds to the scores, (trees, leaves, classes), after `fit`.
        spend_: What `fit` cost, after it.
    """

    def __init__(
        self,
        *,
        epsilon: float,
        delta: float,
        bounds: Sequence[tuple[float, float]],
        classes: Sequence[Any],
        trees: int = 100,
        depth: int = 4,
        interaction: int = 3,
        learning_rate: float = 0.2,
        seed: int = 0,
    ) -> None:
        """Store; `fit` checks.

        Args:
            epsilon: Loss of one `fit`, 0 < epsilon <= 100.
            delta: Chance that it is exceeded; less than one over the number of records.
            bounds: Least and greatest value of every feature: known beforehand, not from the data.
                A value beyond them counts as the nearest leaf's; nothing is leaked by it.
            classes: All labels that there can be, at least 2.
            trees: 1 to 10,000. More average noise over more splits, at the same cost.
            depth: Of each tree, 1 to 12.
            interaction: Features that one tree looks at, >= 1; 1 makes the model a sum of functions
                of one feature.
            learning_rate: Share of each tree's step that is taken, more than 0, at most 2.
            seed: Of the splits, which are public. Noise has none.
        """
        self.epsilon, self.delta = epsilon, delta
        self.bounds, self.classes = tuple(bounds), tuple(classes)
        self.trees, self.depth, self.interaction = trees, depth, interaction
        self.learning_rate, self.seed = learning_rate, seed

    def fit(self, x: NDArray[Any], y: NDArray[Any]) -> "BoostedTrees":
        """Fit to rows (n, d) and labels (n,).

        Raises:
            InputError: Shapes, numbers or parameters are unusable, or a label is not declared.
        """
        rows = _single(x)
        n, width = rows.shape
        low, high = self._checked(width)
        codes = _codes(self.classes, y, n)
        count = len(self.classes)
        sensitivity = math.sqrt(2 + _COUNTED**2) * _ROUNDING
        spend = _spend(self.epsilon, self.delta, steps=self.trees, sensitivity=sensitivity,
                       records=n)  # fmt: skip
        deviation = spend.noise_multiplier * spend.max_grad_norm
        made = _Trees(
            low, high, trees=self.trees, depth=self.depth, interaction=self.interaction,
            seed=self.seed,
        )  # fmt: skip
        values = np.zeros((self.trees, made.leaves, count))
        scores = np.zeros((n, count))
        for tree in range(self.trees):
            leaf = made.leaf(tree, rows)
            noisy = noisy_sum(_sums(leaf, made.leaves, contributions(scores, codes)), deviation)
            held = np.maximum(noisy[:, -1] / _COUNTED, 0.0)
            slopes = noisy[:, :-1] - noisy[:, :-1].mean(axis=1, keepdims=True)  # they sum to 0
            # A leaf of fewer records than the noise could make up moves little.
            step = self.learning_rate / (_STEEPEST * held + deviation)
            values[tree] = -slopes * step[:, None]
            scores += values[tree][leaf]
        self.classes_ = np.asarray(self.classes)
        self.values_, self.spend_, self._made = values, spend, made
        return self

    def decision_function(self, x: NDArray[Any]) -> Floats:
        """Return scores (n, classes)."""
        rows = _single(x)
        if rows.shape[1] != len(self.bounds):
            raise InputError(f"rows have {rows.shape[1]} features, not {len(self.bounds)}",
                             code="defend.dp.x")  # fmt: skip
        scores = np.zeros((len(rows), len(self.classes_)))
        for tree in range(self.trees):
            scores += self.values_[tree][self._made.leaf(tree, rows)]
        return scores

    def to_onnx(self) -> bytes:
        """Return the model as ONNX: `x` (n, d) float32 to `label` and `probabilities` (n, classes).

        Labels are whole numbers if all classes are, else texts.
        """
        return _graph(self._made, self.values_, self.classes, len(self.bounds))

    def _checked(self, width: int) -> tuple[Floats, Floats]:
        if not (1 <= self.trees <= MAX_TREES and 1 <= self.depth <= MAX_DEPTH):
            raise InputError(
                f"trees are 1 to {MAX_TREES}, of depth 1 to {MAX_DEPTH}", code="defend.dp.trees"
            )
        if self.interaction < 1 or not 0 < self.learning_rate <= 2:  # noqa: PLR2004 - as documented
            raise InputError(
                "`interaction` is at least 1, `learning_rate` more than 0 and at most 2",
                code="defend.dp.trees",
            )
        if len(self.bounds) != width:
            raise InputError(
                f"{len(self.bounds)} bounds are declared, and rows have {width} features",
                code="defend.dp.bounds",
            )
        edges = np.asarray(self.bounds, dtype=np.float64).reshape(width, -1)
        if (
            edges.shape[1] != 2  # noqa: PLR2004
            or not np.isfinite(edges).all()
            or (edges[:, 0] >= edges[:, 1]).any()
        ):
            raise InputError("bounds must be (low, high), low < high", code="defend.dp.bounds")
        return edges[:, 0], edges[:, 1]


def contributions(scores: Floats, codes: NDArray[np.intp]) -> Floats:
    """Return what each record adds to its leaf, (n, classes + 1): its gradient and its count.

    p - e_y has squared length at most 2: probabilities are at least 0 and sum to 1.
    """
    errors = softmax(scores)
    errors[np.arange(len(codes)), codes] -= 1
    return np.concatenate([errors, np.full((len(codes), 1), _COUNTED)], axis=1)


def _sums(leaf: NDArray[np.intp], leaves: int, added: Floats) -> Floats:
    """Return the sum of `added` (n, k) over the records of every leaf, (leaves, k)."""
    return np.stack(
        [np.bincount(leaf, weights=column, minlength=leaves) for column in added.T], axis=1
    )


def _single(x: NDArray[Any]) -> Floats:
    """Return rows as they are in ONNX, so that both find the same leaves."""
    rows = np.asarray(x)
    if rows.dtype.kind in "biuf":
        with np.errstate(over="ignore"):
            rows = rows.astype(np.float32)
    return _matrix(rows)


def _codes(classes: Sequence[Any], y: NDArray[Any], n: int) -> NDArray[np.intp]:
    if not 2 <= len(classes) <= MAX_CLASSES or len(set(classes)) != len(classes):  # noqa: PLR2004
        raise InputError("declare at least 2 different classes", code="defend.dp.classes")
    known = {name: at for at, name in enumerate(classes)}
    labels = np.asarray(y)
    if labels.shape != (n,) or any(one not in known for one in labels.tolist()):
        raise InputError(
            "labels must be one of the declared classes for each row", code="defend.dp.classes",
            hint="classes must list every label that there can be",
        )  # fmt: skip
    return np.array([known[one] for one in labels.tolist()], dtype=np.intp)


def _graph(made: _Trees, values: Floats, classes: Sequence[Any], width: int) -> bytes:
    from onnx import TensorProto, helper

    trees, inner = made.feature.shape
    total, count = 2 * inner + 1, len(classes)
    nodes = [(tree, node) for tree in range(trees) for node in range(total)]
    leaves = [(tree, leaf) for tree in range(trees) for leaf in range(inner + 1)]

    def of_inner(table: NDArray[Any]) -> list[Any]:
        return [table[tree, node].item() if node < inner else 0 for tree, node in nodes]

    whole = all(isinstance(one, int | np.integer) for one in classes)
    named = (
        {"classlabels_int64s": [int(one) for one in classes]}
        if whole
        else {"classlabels_strings": [str(one) for one in classes]}
    )
    node = helper.make_node(
        "TreeEnsembleClassifier", ["x"], ["label", "probabilities"], domain="ai.onnx.ml",
        post_transform="SOFTMAX",
        nodes_treeids=[tree for tree, _ in nodes],
        nodes_nodeids=[at for _, at in nodes],
        nodes_featureids=of_inner(made.feature),
        nodes_values=[float(one) for one in of_inner(made.threshold)],
        nodes_modes=["BRANCH_LEQ" if at < inner else "LEAF" for _, at in nodes],
        nodes_truenodeids=[2 * at + 1 if at < inner else 0 for _, at in nodes],
        nodes_falsenodeids=[2 * at + 2 if at < inner else 0 for _, at in nodes],
        nodes_missing_value_tracks_true=[0] * len(nodes),
        nodes_hitrates=[1.0] * len(nodes),
        class_treeids=[tree for tree, _ in leaves for _ in range(count)],
        class_nodeids=[inner + leaf for _, leaf in leaves for _ in range(count)],
        class_ids=[one for _ in leaves for one in range(count)],
        class_weights=values.reshape(-1).tolist(),
        **named,
    )  # fmt: skip
    label = TensorProto.INT64 if whole else TensorProto.STRING
    graph = helper.make_graph(
        [node], "boosted_trees",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, width])],
        [helper.make_tensor_value_info("label", label, [None]),
         helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, [None, count])],
    )  # fmt: skip
    model = helper.make_model(
        graph, ir_version=10, producer_name="vallum",
        opset_imports=[helper.make_opsetid("", 18), helper.make_opsetid("ai.onnx.ml", 3)],
    )  # fmt: skip
    done: bytes = model.SerializeToString()
    return done
