"""Trees that a program could not run safely are refused, whatever form they are written in."""

import json
import re
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest
import xgboost
from hypothesis import given
from hypothesis import strategies as st

from vallum.base.bounds import MODEL
from vallum.scan import ScanVerdict, scan_bytes
from vallum.scan.boosters import lightgbm_fault
from vallum.scan.ubjson import ubjson_fault

RNG = np.random.default_rng(3)
X = RNG.normal(size=(60, 3))
Y = (X[:, 0] * X[:, 1] > 0).astype(int)


@cache
def saved(kind: str) -> bytes:
    model = xgboost.XGBClassifier(n_estimators=2, max_depth=3, n_jobs=1).fit(X, Y)
    return bytes(model.get_booster().save_raw(kind))


@cache
def text() -> bytes:
    lightgbm = pytest.importorskip("lightgbm")
    data = lightgbm.Dataset(X, Y, params={"verbose": -1})
    options = {"verbose": -1, "min_data_in_leaf": 2, "num_leaves": 6, "num_threads": 1}
    return bytes(lightgbm.train(options, data, 2).model_to_string().encode())


def verdict(data: bytes) -> ScanVerdict:
    return scan_bytes("model", data).verdict


CHANGES: list[Callable[[dict[str, Any]], object]] = [
    lambda tree: tree["left_children"].__setitem__(0, 0),  # a cycle
    lambda tree: tree["right_children"].__setitem__(0, tree["left_children"][0]),
    lambda tree: tree["left_children"].__setitem__(0, 10**6),
    lambda tree: tree["right_children"].__setitem__(0, -7),
    lambda tree: tree["right_children"].__setitem__(tree["left_children"].index(-1), 0),
    lambda tree: tree["split_indices"].__setitem__(0, 3),
    lambda tree: tree["split_conditions"].pop(),
    lambda tree: tree["tree_param"].__setitem__("num_nodes", "1"),
    lambda tree: tree["left_children"].__setitem__(0, 1.5),
    lambda tree: tree["categories_nodes"].append(0),
    lambda tree: (
        [tree[f"categories{one}"].append(0) for one in ("_nodes", "_segments")]
        + [tree["categories_sizes"].append(9)]
    ),
    lambda tree: tree.pop("tree_param"),
]


def test_trees_as_they_are_written_are_clean() -> None:
    for data in (saved("json"), saved("ubj"), text()):
        assert verdict(data) is ScanVerdict.CLEAN


@pytest.mark.parametrize("change", CHANGES, ids=range(len(CHANGES)))
@pytest.mark.parametrize("large", [False, True])
def test_a_tree_of_xgboost_that_leads_nowhere_is_refused(
    change: Callable[[dict[str, Any]], object], *, large: bool
) -> None:
    document = json.loads(saved("json"))
    if large:  # above what is built as a whole
        document["learner"]["attributes"] = {f"k{at}": "v" * 1000 for at in range(2500)}
    change(document["learner"]["gradient_booster"]["model"]["trees"][1])
    (file,) = scan_bytes("m.json", json.dumps(document).encode()).files
    assert [one.id for one in file.findings] == ["xgboost.malformed"]


def test_a_cycle_in_universal_binary_json_is_refused() -> None:
    data = saved("ubj")
    begin = re.search(rb"left_children\[\$l#L.{8}", data, re.DOTALL)
    assert begin is not None
    for child in (0, 10**6):
        changed = data[: begin.end()] + child.to_bytes(4, "big") + data[begin.end() + 4 :]
        assert [one.id for one in scan_bytes("m", changed).files[0].findings] == [
            "ubjson.malformed"
        ]


@pytest.mark.parametrize(
    ("pattern", "new"),
    [
        (rb"left_child=-?\d+", b"left_child=0"),
        (rb"left_child=-?\d+", b"left_child=99"),
        (rb"left_child=-?\d+", b"left_child=-99"),
        (rb"split_feature=\d+", b"split_feature=3"),
        (rb"split_feature=\d+", b"split_feature=-1"),
        (rb"num_leaves=\d+", b"num_leaves=3"),
        (rb"num_leaves=\d+", b"num_leaves=0"),
        (rb"num_cat=0", b"num_cat=1"),
        (rb"decision_type=\d+", b"decision_type=1"),
        (rb"threshold=\S+", b"threshold=x"),
        (rb"shrinkage=\S+", b"other=1"),
        (rb"tree_sizes=\d+", b"tree_sizes=1"),
        (rb"max_feature_idx=2", b"max_feature_idx=9"),
        (rb"Tree=0", b"Tree=1"),
        (rb"end of trees", b"end"),
        (rb"end of parameters", b"end of parameters\nmore"),
    ],
)
def test_a_text_of_lightgbm_that_leads_nowhere_is_refused(pattern: bytes, new: bytes) -> None:
    changed, count = re.subn(pattern, new, text(), count=1)
    assert count == 1
    assert changed != text()
    (file,) = scan_bytes("m.txt", re.sub(rb"^tree_sizes=[\d ]+\n", b"", changed, flags=re.MULTILINE)
                         if b"tree_sizes" not in pattern else changed).files  # fmt: skip
    assert [one.id for one in file.findings] == ["lightgbm.malformed"]


@given(st.integers(0, 2000), st.binary(max_size=3))
def test_any_change_is_read_or_refused(at: int, new: bytes) -> None:
    for data, fault in (
        (text(), lightgbm_fault),
        (saved("ubj"), lambda view: ubjson_fault(view, MODEL)),
    ):
        changed = data[:at] + new + data[at + len(new) :]
        assert isinstance(fault(memoryview(changed)), str)
