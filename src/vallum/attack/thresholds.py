"""Evasion of trees with their thresholds known: a record moves just past one, and no further.

A tree's answer changes at its thresholds and nowhere else. Whoever holds the model knows them, so
that of all points of the ball only those just past a threshold need to be asked about; attacks that
do not know them mostly ask where nothing changes. Greedy, as the search for a neighbouring tuple of
leaves, one feature at a time: what it misses is no proof.

Source: Zhang, Zhang, Hsieh, "An efficient adversarial attack for tree ensembles", NeurIPS 2020
(moves between neighbouring tuples of leaves); here by thresholds of a feature and the answers'
margin, so that nothing of a model but its thresholds is needed.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vallum.attack.losses import margin
from vallum.attack.oracle import Classes
from vallum.attack.predictor import Predictor, Records, Scores
from vallum.attack.space import Space

MAX_SPLITS = 200_000
_LEAST_GAIN = 1e-12


@dataclass(frozen=True, slots=True)
class Splits:
    """Where a model of trees changes: feature and threshold of each split, (s,) each, sorted."""

    features: NDArray[np.int32]
    values: Records

    @classmethod
    def of(cls, features: Iterable[Any], values: Iterable[Any]) -> "Splits":
        """Sort splits and drop repeated ones; no more than `MAX_SPLITS` are kept, evenly spread."""
        at = np.asarray(list(features), dtype=np.int32)
        where = np.asarray(list(values), dtype=np.float32)
        kept = np.isfinite(where) & (at >= 0)
        pairs = np.unique(np.stack([at[kept].astype(np.float64), where[kept]], axis=1), axis=0)
        if len(pairs) > MAX_SPLITS:
            pairs = pairs[np.linspace(0, len(pairs) - 1, MAX_SPLITS).astype(np.intp)]
        return cls(pairs[:, 0].astype(np.int32), pairs[:, 1].astype(np.float32))


@dataclass(frozen=True, slots=True)
class Crossed:
    """What came of it: points, (n, d), how far from their records, (n,), and which flipped."""

    points: Records
    distance: Scores
    flipped: NDArray[np.bool_]


def cross_thresholds(
    model: Predictor,
    x: Records,
    y: Classes,
    splits: Splits,
    space: Space,
    *,
    radius: float,
    queries: int,
    rng: np.random.Generator,
    late: Callable[[], bool] = lambda: False,
) -> Crossed:
    """Look for flips within a Euclidean ball by moving features past thresholds.

    Args:
        model: Victim, in the features' own units.
        x: Records, (n, d), that it gets right.
        y: Their classes, (n,).
        splits: Thresholds of its trees.
        space: Units and what may change.
        radius: Of the ball, in units.
        queries: A record, at most, the record itself included.
        rng: Chooses among moves, where there are more than may be asked about.
        late: Ends the search.

    Raises:
        GateError: The model fails.
    """
    points = x.copy()
    best = margin(model.predict(x), y)
    left = np.full(len(x), queries - 1)
    moves = [_moves(one, splits, space, radius) for one in x]
    standing = [at for at in range(len(x)) if len(moves[at][0]) and best[at] > 0]
    share = max(8, queries // 4)
    while standing and not late():
        asked, owners = [], []
        for at in standing:
            feature, value = moves[at]
            room = _reach(points[at], x[at], feature, value, space) <= radius
            room &= points[at][feature] != value
            fit = np.flatnonzero(room)
            if len(fit) > min(share, left[at]):
                fit = rng.permutation(fit)[: min(share, left[at])]
            tried = np.repeat(points[at][None], len(fit), axis=0)
            tried[np.arange(len(fit)), feature[fit]] = value[fit]
            left[at] -= len(fit)
            asked.append(tried)
            owners.append(np.full(len(fit), at))
        rows, which = np.concatenate(asked), np.concatenate(owners)
        if len(rows) == 0:
            break
        found = margin(model.predict(rows), y[which])
        after = []
        for at in standing:
            own = np.flatnonzero(which == at)
            if len(own) == 0:
                continue
            least = own[int(found[own].argmin())]
            if found[least] < best[at] - _LEAST_GAIN:
                points[at], best[at] = rows[least], found[least]
                if best[at] > 0 and left[at] > 0:
                    after.append(at)
        standing = after
    gap = space.scaled(points) - space.scaled(x)
    return Crossed(points, np.linalg.norm(gap, axis=1), best < 0)


def _moves(
    x: Records, splits: Splits, space: Space, radius: float
) -> tuple[NDArray[np.int32], Records]:
    """Return the values just past each threshold that one record, (d,), can reach."""
    grouped = [at for group in space.groups for at in group]
    free = ~space.fixed
    free[grouped] = False
    feature, value = splits.features, splits.values
    inside = feature < len(x)
    feature, value = feature[inside], value[inside]
    up = value >= x[feature]
    just = np.where(up, np.nextafter(value, np.float32(np.inf)),
                    np.nextafter(value, np.float32(-np.inf)))  # fmt: skip
    whole = space.whole[feature]
    just = np.where(whole, np.where(up, np.ceil(just), np.floor(just)), just).astype(np.float32)
    low, high = space.low[feature], space.high[feature]
    near = np.abs(just.astype(np.float64) - x[feature]) / space.scale[feature] <= radius
    fit = free[feature] & near & (just >= low) & (just <= high)
    return feature[fit], just[fit]


def _reach(
    point: Records, x: Records, feature: NDArray[np.int32], value: Records, space: Space
) -> Scores:
    """Return how far each move of one point, (m,), would be from its record."""
    gap = (point.astype(np.float64) - x) / space.scale
    total = float((gap * gap).sum())
    moved = (value.astype(np.float64) - x[feature]) / space.scale[feature]
    out: Scores = np.sqrt(np.maximum(0.0, total - gap[feature] ** 2 + moved**2))
    return out


def sklearn_splits(model: Any) -> Splits | None:  # noqa: ANN401 - scikit-learn has no types
    """Return the thresholds of a fitted tree, forest or boosted trees; nothing of other models."""
    trees = getattr(model, "estimators_", None)
    histograms = getattr(model, "_predictors", None)
    if histograms is not None:
        nodes = np.concatenate([one.nodes for row in histograms for one in row])
        nodes = nodes[nodes["is_leaf"] == 0]
        return Splits.of(nodes["feature_idx"], nodes["num_threshold"])
    if hasattr(model, "tree_"):
        trees = [model]
    plain = [] if trees is None else np.asarray(trees, dtype=object).ravel().tolist()
    if not plain or not all(hasattr(one, "tree_") for one in plain):
        return None
    inner = [one.tree_.children_left >= 0 for one in plain]
    return Splits.of(
        np.concatenate([one.tree_.feature[at] for one, at in zip(plain, inner, strict=True)]),
        np.concatenate([one.tree_.threshold[at] for one, at in zip(plain, inner, strict=True)]),
    )


def onnx_splits(model: bytes) -> Splits | None:
    """Return the thresholds of a graph that gives its input to a tree ensemble; else nothing."""
    import onnx

    try:
        graph = onnx.load_from_string(model).graph
    except Exception:  # noqa: BLE001 - onnx raises errors of many kinds, and this is an extra
        return None
    given = {one.name for one in graph.input}
    features: list[int] = []
    values: list[float] = []
    for node in graph.node:
        if node.op_type == "TreeEnsembleClassifier" and set(node.input) <= given:
            said = {one.name: one for one in node.attribute}
            modes = [one.decode() for one in said["nodes_modes"].strings]
            for at, mode in enumerate(modes):
                if mode != "LEAF":
                    features.append(said["nodes_featureids"].ints[at])
                    values.append(said["nodes_values"].floats[at])
    return Splits.of(features, values) if features else None
