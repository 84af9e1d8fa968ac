"""Thresholds of trees, rounded so that float32 rows fall on the side that they fell on.

For every x of float32, x <= t exactly where x <= the largest float32 that is no larger than t. An
ordinary rounding, as converters do it, would move half of the thresholds over a value.
"""

import math
import re
from typing import Any

import numpy as np

_SIZES = re.compile(r"^tree_sizes=.*\n", re.MULTILINE)
_LINES = re.compile(r"^(threshold=)(.*)$", re.MULTILINE)


def round_thresholds(model: Any) -> None:
    """Round float64 thresholds down to float32 in a copy of an estimator, or of a pipeline.

    scikit-learn's other trees are rounded by their converter.
    """
    for step in [one for _, one in getattr(model, "steps", [("", model)])]:
        for stage in getattr(step, "_predictors", None) or []:
            for tree in stage:
                if "num_threshold" in (getattr(tree.nodes.dtype, "names", None) or ()):
                    nodes = tree.nodes.copy()
                    nodes["num_threshold"] = [floor32(one) for one in nodes["num_threshold"]]
                    tree.nodes = nodes
        if type(step).__module__.partition(".")[0] == "lightgbm" and hasattr(step, "_Booster"):
            step._Booster = rounded_booster(step._Booster)  # noqa: SLF001 - it has no setter


def floor32(value: float) -> float:
    """Return the largest float32 that is no larger than `value`."""
    if not math.isfinite(value):
        return float(value)
    with np.errstate(over="ignore"):
        near = np.float32(value)
    return float(near if float(near) <= value else np.nextafter(near, np.float32(-np.inf)))


def rounded_booster(booster: Any) -> Any:
    """Return a LightGBM booster whose thresholds are numbers of float32; see `floor32`."""
    import lightgbm

    # The sizes of the trees' texts change; without them LightGBM reads one tree after the other.
    text = _SIZES.sub("", booster.model_to_string())
    text = _LINES.sub(
        lambda line: line[1] + " ".join(repr(floor32(float(one))) for one in line[2].split()),
        text,
    )
    return lightgbm.Booster(model_str=text)
