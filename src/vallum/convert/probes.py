"""Rows to compare two models on, made from what an ONNX graph says about its inputs.

Random rows hardly ever lie where a wrong conversion shows: on a threshold. So rows are also set on
the thresholds of the trees themselves, each with values that lead to that very split.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.float64]
_TREES = frozenset({"TreeEnsembleClassifier", "TreeEnsembleRegressor"})
_PASSES = frozenset({"Cast", "Identity", "Where"})  # `Where` fills gaps: rows have none
_ARITHMETIC = frozenset({"Add", "Div", "Mul", "Sub"})
_DOUBLE = 11  # of TensorProto
_SPREADS: Final = (0.1, 1.0, 10.0, 100.0)
_NEAR: Final = 1e-5
_MAX_NODES: Final = 2_000_000
_LEAF = "LEAF"


@dataclass(slots=True)
class _Box:
    """The values of each feature that lead to a node: (low, high) where a split bounds them."""

    bounds: dict[int, tuple[float, float]] = field(default_factory=dict)

    def cut(self, feature: int, value: float, *, below: bool) -> "_Box":
        low, high = self.bounds.get(feature, (-np.inf, np.inf))
        made = (low, min(high, value)) if below else (max(low, value), high)
        return _Box({**self.bounds, feature: made})


@dataclass(slots=True)
class _Split:
    feature: int
    value: float
    box: _Box


@dataclass(slots=True)
class _Seen:
    """What an operator sees of each feature: `by` times its value, `plus` a number.

    Attributes:
        exact: Whether the same is computed as in the original: nothing, or in float64.
        scaled: Whether anything is computed.
    """

    by: NDArray[np.float64]
    plus: NDArray[np.float64]
    exact: bool = True
    scaled: bool = False

    def apply(self, node: Any, graph: Any, width: int) -> bool:
        """Go on behind an operator; tell whether that is known."""
        if node.op_type in _PASSES:
            return True
        if node.op_type == "Scaler":
            told = _attributes(node)
            offset = np.resize(np.array(told.get("offset", [0.0])), width)
            scale = np.resize(np.array(told.get("scale", [1.0])), width)
            self.by, self.plus = self.by * scale, (self.plus - offset) * scale
            self.exact, self.scaled = False, True
            return True
        given = {one.name: one for one in graph.initializer}
        if node.op_type not in _ARITHMETIC or node.input[1] not in given:
            return False
        constant = given[node.input[1]]
        values = _tensor(constant).astype(np.float64).ravel()
        if len(values) not in {1, width}:
            return False
        values = np.resize(values, width)
        self.exact, self.scaled = self.exact and constant.data_type == _DOUBLE, True
        with np.errstate(divide="ignore", invalid="ignore"):
            match node.op_type:
                case "Sub":
                    self.plus = self.plus - values
                case "Add":
                    self.plus = self.plus + values
                case "Mul":
                    self.by, self.plus = self.by * values, self.plus * values
                case _:
                    self.by, self.plus = self.by / values, self.plus / values
        return True


@dataclass(slots=True)
class Probes:
    """What rows are drawn from.

    Attributes:
        width: Columns of a row.
        exact: Whether the trees see the rows as those of the original do, to the last digit.
    """

    width: int
    exact: bool
    _splits: list[_Split]
    _low: NDArray[np.float64]
    _high: NDArray[np.float64]

    @classmethod
    def of(
        cls, model: Any, width: int, rng: np.random.Generator, *, splits: int, exact: bool
    ) -> "Probes":
        """Read a graph.

        Args:
            model: What was converted.
            width: Columns that it takes.
            rng: Chooses the splits where there are more than `splits`.
            splits: How many are kept at most.
            exact: Whether the original's trees take float32, too, where they see scaled values.
        """
        graph = model.graph
        seen = _Seen(np.ones(width), np.zeros(width))
        found: list[_Split] = []
        node = _reader(graph, graph.input[0].name)
        while node is not None and node.op_type not in _TREES:
            if not seen.apply(node, graph, width):
                break
            node = _reader(graph, node.output[0])
        if node is not None and node.op_type in _TREES:
            found = _splits_of(node, width, rng, splits)
        by = np.where((seen.by == 0) | ~np.isfinite(seen.by), 1.0, seen.by)
        for one in found:
            _unscale(one, by, seen.plus)
        low, high = np.full(width, np.nan), np.full(width, np.nan)
        if seen.scaled:
            low, high = (-4 - seen.plus) / by, (4 - seen.plus) / by
            low, high = np.minimum(low, high), np.maximum(low, high)
        _widen(low, high, found)
        return cls(width, seen.exact and (exact or not seen.scaled), found, low, high)

    def ranges(self, rows: int, rng: np.random.Generator) -> Rows:
        """Return rows (n, width) drawn from the ranges of the features; float64, not rounded."""
        known = np.isfinite(self._low) & np.isfinite(self._high)
        drawn = rng.normal(size=(rows, self.width)) * rng.choice(_SPREADS, size=(rows, 1))
        inside = rng.uniform(
            np.where(known, self._low, 0.0), np.where(known, self._high, 1.0),
            size=(rows, self.width),
        )  # fmt: skip
        return np.where(known, inside, drawn)

    def thresholds(self, rng: np.random.Generator) -> Rows:
        """Return rows on and beside thresholds: float32 numbers, as float64.

        Where the trees see values scaled in float32, its rounding decides on which side of a
        threshold the threshold itself falls; there the rows lie a little off it.
        """
        out = []
        for split in self._splits:
            base = self._inside(split.box, rng)
            near = np.float32(split.value)
            if not np.isfinite(near):
                continue
            if self.exact:
                values = [
                    float(np.nextafter(near, np.float32(-np.inf))),
                    float(near),
                    float(np.nextafter(near, np.float32(np.inf))),
                ]
            else:
                step = _NEAR * max(abs(split.value), self._spread(split.feature))
                values = [split.value - step, split.value + step]
            for value in values:
                row = base.copy()
                row[split.feature] = value
                out.append(row)
        if not out:
            return np.zeros((0, self.width))
        with np.errstate(over="ignore"):
            made = np.array(out, dtype=np.float32).astype(np.float64)
        return made[np.isfinite(made).all(axis=1)]

    def _spread(self, feature: int) -> float:
        spread = float(self._high[feature] - self._low[feature])
        return spread if np.isfinite(spread) and spread > 0 else 1.0

    def _inside(self, box: _Box, rng: np.random.Generator) -> Rows:
        row: Rows = self.ranges(1, rng)[0]
        for feature, (low, high) in box.bounds.items():
            spread = self._spread(feature)
            least = low if np.isfinite(low) else (high if np.isfinite(high) else 0.0) - spread
            most = high if np.isfinite(high) else (low if np.isfinite(low) else 0.0) + spread
            row[feature] = rng.uniform(least, most) if least < most else least
        return row


def _reader(graph: Any, name: str) -> Any:
    """Return the one node that reads a value; None where there is none, or several."""
    found = [node for node in graph.node if name in node.input and node.op_type != "IsNaN"]
    return found[0] if len(found) == 1 else None


def _tensor(value: Any) -> NDArray[Any]:
    from onnx import numpy_helper

    made: NDArray[Any] = numpy_helper.to_array(value)
    return made


def _attributes(node: Any) -> dict[str, Any]:
    from onnx import helper

    return {one.name: helper.get_attribute_value(one) for one in node.attribute}


def _splits_of(
    node: Any,
    width: int,
    rng: np.random.Generator,
    most: int,
) -> list[_Split]:
    """Return splits of all trees, chosen at random, each with the values that lead there."""
    told = _attributes(node)
    ids = list(zip(told["nodes_treeids"], told["nodes_nodeids"], strict=True))
    if len(ids) > _MAX_NODES:
        return []
    place = {one: at for at, one in enumerate(ids)}
    modes = [one.decode(errors="replace") for one in told["nodes_modes"]]
    features, values = told["nodes_featureids"], told["nodes_values"]
    yes, no = told["nodes_truenodeids"], told["nodes_falsenodeids"]
    parent: dict[int, tuple[int, bool]] = {}
    for at, (tree, _) in enumerate(ids):
        if modes[at] != _LEAF:
            for child, below in ((yes[at], True), (no[at], False)):
                if (tree, child) in place:
                    parent[place[tree, child]] = (at, below)
    inner = [at for at, mode in enumerate(modes) if mode != _LEAF and features[at] < width]
    if len(inner) > most:
        inner = sorted(rng.choice(inner, size=most, replace=False).tolist())
    return [
        _Split(int(features[at]), float(values[at]), _box(at, parent, features, values, modes))
        for at in inner
    ]


def _box(
    at: int,
    parent: dict[int, tuple[int, bool]],
    features: list[int],
    values: list[float],
    modes: list[str],
) -> _Box:
    box = _Box()
    for above, went in _way(at, parent):
        if modes[above].startswith("BRANCH_L"):
            box = box.cut(int(features[above]), float(values[above]), below=went)
        elif modes[above].startswith("BRANCH_G"):
            box = box.cut(int(features[above]), float(values[above]), below=not went)
    return box


def _way(at: int, parent: dict[int, tuple[int, bool]]) -> Iterator[tuple[int, bool]]:
    seen: set[int] = set()
    while at in parent and at not in seen:  # a graph that leads in circles ends, too
        seen.add(at)
        above, went = parent[at]
        yield above, went
        at = above


def _unscale(split: _Split, by: NDArray[np.float64], plus: NDArray[np.float64]) -> None:
    """Write a split of scaled values as one of the values themselves."""

    def back(feature: int, value: float) -> float:
        return float((value - plus[feature]) / by[feature])

    split.value = back(split.feature, split.value)
    for feature, (low, high) in split.box.bounds.items():
        ends = sorted((back(feature, low), back(feature, high)))
        split.box.bounds[feature] = (ends[0], ends[1])


def _widen(low: NDArray[np.float64], high: NDArray[np.float64], splits: list[_Split]) -> None:
    """Take the range of each feature from its thresholds, and a tenth beyond."""
    for feature in {one.feature for one in splits}:
        values = [one.value for one in splits if one.feature == feature]
        least, most = min(values), max(values)
        margin = 0.1 * (most - least) or max(1.0, abs(most))
        low[feature] = least - margin
        high[feature] = most + margin
