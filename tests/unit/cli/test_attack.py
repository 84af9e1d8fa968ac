"""`vallum attack` on files: every kind of model, and every kind of bad data."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper
from running import small_model, table
from sessions import execute


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("VALLUM_TOKEN", raising=False)
    (tmp_path / "model.onnx").write_bytes(small_model())
    (tmp_path / "data.csv").write_bytes(table(3))
    return tmp_path


def attack(line: str) -> Any:
    """Run with --json; return exit code and the object."""
    code, out, _ = execute(f"vallum --json attack run {line}")
    return code, json.loads(out)


def rows(folder: Path, change: Any, name: str = "changed.csv") -> str:
    """Write the data with every row passed through `change`."""
    header, *lines = (folder / "data.csv").read_text().splitlines()
    changed = [",".join(one) for one in (change(at, line.split(",")) for at, line in
               enumerate(lines)) if one]  # fmt: skip
    (folder / name).write_text("\n".join([header, *changed]) + "\n")
    return f"model.onnx --data {name} --label y --suite quick"


QUICK = "model.onnx --data data.csv --label y --suite quick"


@pytest.mark.slow
def test_the_same_command_writes_the_same_report_but_for_times(folder: Path) -> None:
    for name in ("a", "b"):
        code, _ = attack(f"{QUICK} --epsilon 0.7 --seed 4 --report {name}.json")
        assert code == 0
        execute(f"vallum attack {QUICK} --epsilon 0.7 --seed 4 --report {name}.html")
    texts = [(folder / f"{name}.json").read_text() for name in "ab"]
    plain = [text[: text.index('"times"')] for text in texts]
    assert plain[0] == plain[1]
    pages = [(folder / f"{name}.html").read_text() for name in "ab"]
    assert pages[0].partition("<h2>Times")[0] == pages[1].partition("<h2>Times")[0]
    other = attack(f"{QUICK} --epsilon 0.7 --seed 5")[1]
    assert other["threats"] != json.loads(texts[0])["threats"]


@pytest.mark.slow
def test_data_that_says_nothing_is_refused_with_its_cause(folder: Path) -> None:
    first = (folder / "data.csv").read_text().splitlines()[1].split(",")
    for change, said in (
        (lambda at, row: row if at < 9 else None, "has 9 usable records, at least 10"),
        (lambda at, row: [*row[:4], "1"], "has one class only"),
        (lambda at, row: first, "has one class only"),
        (lambda at, row: [*row[:4], ""], "has 0 usable records"),
        (lambda at, row: [*row[:4], str(at % 3)], "the model has 2 classes, the data has 3"),
        (lambda at, row: ["x", *row[1:]], "the model takes 4 features, the data has 3"),
    ):
        code, error = attack(rows(folder, change))
        assert code == 2, error
        assert said in error["message"], error


def test_rows_that_cannot_be_used_are_left_out_and_told(folder: Path) -> None:
    def gaps(at: int, row: list[str]) -> list[str]:
        if at < 5:
            return [*row[:4], ""]
        return ["", *row[1:]] if at < 8 else row

    code, report = attack(rows(folder, gaps))
    assert code == 0
    assert report["records"] == 112
    assert {
        "5 of 120 records of the data are left out: without a label",
        "3 of 120 records of the data are left out: with a missing or infinite value",
    } <= set(report["notes"])


def test_ten_rows_and_constant_columns_have_a_defined_result(folder: Path) -> None:
    code, report = attack(rows(folder, lambda at, row: row if at < 10 else None))
    assert code == 0
    assert report["threats"][0]["high"] > 0.25
    code, report = attack(rows(folder, lambda at, row: [*row[:3], "1.5", row[4]]))
    assert "columns that are constant in the data, and stay: f3" in report["notes"]
    assert code == 0
    code, error = attack(rows(folder, lambda at, row: [*(["1.5"] * 4), str(at % 2)]))
    assert (code, error["message"]) == (2, "no column may change")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("--features f0,f1", "the model takes 4 features, the data has 2"),
        ("--features f0,f1,f2,nothing", "the data has no column `nothing`"),
        ("--immutable nothing", "the data has no column `nothing`"),
        ("--immutable f0,f1,f2,f3", "no column may change"),
        ("--range f0=0:0.001", "column `f0` has values from"),
        ("--range f0", "is no range"),
        ("--range f0=a:b", "is not LOW:HIGH"),
        ("--clip 0:1", "--clip is for arrays"),
        ("--limit evasion", "is no limit"),
        ("--limit flood=0.1", "no threat is called `flood`"),
        ("--epsilon -1", "must be positive"),
        ("--report no/such/folder.html", "cannot be written"),
    ],
)
@pytest.mark.usefixtures("folder")
def test_options_that_do_not_fit_are_usage_errors(options: str, said: str) -> None:
    code, error = attack(f"{QUICK} {options}")
    assert code == 2
    assert said in error["message"]


@pytest.mark.slow
def test_a_text_classifier_is_attacked_by_misspelling_its_column_of_texts(folder: Path) -> None:
    pipelines = pytest.importorskip("sklearn.pipeline", reason="the victims are scikit-learn's")
    vectors = pytest.importorskip("sklearn.feature_extraction.text")
    linear = pytest.importorskip("sklearn.linear_model")
    skops = pytest.importorskip("skops.io")
    rng = np.random.default_rng(0)
    words = np.array(["anchor", "harbour", "vessel", "oven", "butter", "flour", "and", "with",
                      "from", "that"])  # fmt: skip
    y = rng.integers(0, 2, 200)
    drawn = [[*rng.choice(words[3 * one : 3 * one + 3], 2), *rng.choice(words[6:], 6)] for one in y]
    texts = [" ".join(rng.permutation(one)) for one in drawn]
    lines = [f"{at},{text},{one}" for at, (text, one) in enumerate(zip(texts, y, strict=True))]
    for name, part in (("texts.csv", lines[100:]), ("own.csv", lines[:100])):
        (folder / name).write_text("\n".join(["id,text,topic", *part]) + "\n")
    for name, analyzer in (("words", "word"), ("letters", "char_wb")):
        made = pipelines.make_pipeline(
            vectors.TfidfVectorizer(analyzer=analyzer), linear.LogisticRegression(C=10)
        ).fit(texts[:100], y[:100])
        (folder / f"{name}.skops").write_bytes(skops.dumps(made))
    line = "--data texts.csv --train own.csv --label topic --suite quick --epsilon 0.5"
    code, plan = attack(f"words.skops {line} --dry-run")
    assert code == 0
    assert [one["attack"] for one in plan["plan"]["attacks"]] == [
        "misspelled words", "loss threshold",
    ]  # fmt: skip
    assert "inversion" in plan["plan"]["left_out"]
    _, report = attack(f"words.skops {line} --report words.json")
    evasion = report["threats"][0]
    assert (report["form"], evasion["atlas"] != [], evasion["nist"] != "") == ("text", True, True)
    assert 0 < evasion["low"] <= evasion["rate"] <= evasion["high"]
    assert "harbour" not in (folder / "words.json").read_text()  # figures, and nobody's texts
    attack(f"words.skops {line} --report again.json")
    one, two = ((folder / f"{name}.json").read_text() for name in ("words", "again"))
    assert one[: one.index('"times"')] == two[: two.index('"times"')]
    attack(f"letters.skops {line} --report letters.json")
    code, out, _ = execute("vallum --json attack diff words.json letters.json")
    changes = {change["attack"]: change for change in json.loads(out)["changes"]}
    assert changes["misspelled words"]["difference"] is not None
    code, error = attack("words.skops --data data.csv --label y --suite quick")
    assert (code, error["code"]) == (2, "attack.features")
    assert "takes one text a record" in error["message"]


def test_a_model_that_is_not_clean_is_not_opened(folder: Path) -> None:
    foreign = helper.make_model(
        helper.make_graph(
            [helper.make_node("Run", ["x"], ["p"], domain="com.evil")], "g",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, 4])],
            [helper.make_tensor_value_info("p", TensorProto.FLOAT, [None, 2])],
        ),
        opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid("com.evil", 1)],
        ir_version=9,
    )  # fmt: skip
    (folder / "evil.onnx").write_bytes(foreign.SerializeToString())
    (folder / "evil.pkl").write_bytes(b"cos\nsystem\n(S'touch owned'\ntR.")
    (folder / "evil.skops").write_bytes((folder / "evil.pkl").read_bytes())
    for name in ("evil.onnx", "evil.pkl", "evil.skops"):
        code, error = attack(f"{name} --data data.csv --label y --suite quick")
        assert (code, error["code"]) == (1, "attack.scan")
        assert error["hint"]
    assert not (folder / "owned").exists()
    (folder / "notes.txt").write_text("no model")
    assert attack("notes.txt --data data.csv --label y")[0] == 2
    assert attack("nothing.onnx --data data.csv --label y")[0] == 2


@pytest.mark.usefixtures("folder")
def test_an_endpoint_needs_a_key_and_never_in_the_address() -> None:
    code, error = attack("https://h/v2/models/m --data data.csv --label y")
    assert (code, error["message"]) == (2, "an endpoint needs a key")
    code, error = attack("https://u:k@h/v2/models/m --data data.csv --label y --key-file data.csv")
    assert code == 2


def test_boosted_trees_and_arrays_come_from_files(folder: Path) -> None:
    tree = {
        "left_children": [1, -1, -1], "right_children": [2, -1, -1], "split_indices": [0, 0, 0],
        "split_conditions": [0.0, -2.0, 2.0], "default_left": [1, 0, 0], "split_type": [0, 0, 0],
        "parents": [2147483647, 0, 0], "base_weights": [0.0, -2.0, 2.0], "id": 0,
        "sum_hessian": [1.0, 1.0, 1.0], "loss_changes": [1.0, 0.0, 0.0], "categories": [],
        "categories_nodes": [], "categories_segments": [], "categories_sizes": [],
        "tree_param": {"num_deleted": "0", "num_feature": "4", "num_nodes": "3",
                       "size_leaf_vector": "1"},
    }  # fmt: skip
    counts = {"num_parallel_tree": "1", "num_trees": "1"}
    learner = {
        "gradient_booster": {
            "name": "gbtree",
            "model": {"trees": [tree], "tree_info": [0], "gbtree_model_param": counts},
        },
        "learner_model_param": {"base_score": "5E-1", "num_class": "0", "num_feature": "4"},
        "objective": {"name": "binary:logistic"},
    }
    (folder / "boosted.json").write_text(json.dumps({"learner": learner, "version": [3, 0, 0]}))
    code, report = attack("boosted.json --data data.csv --label y --suite quick")
    assert code == 1, "a model of one column is easily flipped, or its scores never change"
    assert report["model"]["kind"] == "xgboost"
    assert report["accuracy"] > 0.9
    x = np.random.default_rng(0).normal(0, 1, (60, 4)).astype(np.float32)
    np.savez(folder / "arrays.npz", x=x, y=(x.sum(axis=1) > 0).astype(int))
    code, report = attack("model.onnx --data arrays.npz --suite quick --epsilon 0.01")
    assert (code, report["records"], report["form"]) == (0, 60, "table")
    np.savez(folder / "images.npz", x=x.reshape(60, 1, 2, 2), y=(x.sum(axis=1) > 0).astype(int))
    code, error = attack("model.onnx --data images.npz --suite quick")
    assert code == 2
    assert "the model takes records of shape 4, the data has 1 x 2 x 2" in error["message"]


@pytest.mark.slow
def test_a_forest_and_a_cnn_come_from_files(folder: Path) -> None:
    skops = pytest.importorskip("skops.io", reason="the forest is kept by skops")
    ensemble = pytest.importorskip("sklearn.ensemble", reason="the forest is scikit-learn's")
    lines = (folder / "data.csv").read_text().splitlines()[1:]
    values = np.array([line.split(",") for line in lines], dtype=float)
    forest = ensemble.RandomForestClassifier(5, max_depth=3, random_state=0)
    forest.fit(values[:, :4], values[:, 4].astype(int))
    skops.dump(forest, folder / "forest.skops")
    code, report = attack("forest.skops --data data.csv --label y --suite quick")
    assert code in {0, 1}
    assert report["model"]["kind"] == "skops"
    found = {one["attack"]: one["outcome"] for one in report["threats"][0]["attacks"]}
    assert found["HopSkipJump"] == "done"
    torch = pytest.importorskip("torch", reason="the CNN is torch's")
    net = torch.nn.Sequential(
        torch.nn.Conv2d(1, 4, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(64, 3)
    ).eval()
    x = torch.rand(60, 1, 6, 6)
    program = torch.export.export(net, (x[:4],), dynamic_shapes=({0: torch.export.Dim.DYNAMIC},))
    torch.export.save(program, folder / "net.pt2")
    torch.save(net.state_dict(), folder / "net.pt")
    labels = net(x).argmax(1).numpy()
    np.savez(folder / "images.npz", x=x.numpy(), y=labels)
    if len(set(labels.tolist())) > 1:
        code, report = attack("net.pt2 --data images.npz --suite quick --epsilon 0.2")
        assert report["access"] == "gradients"
        assert report["threats"][0]["attacks"][0]["attack"] == "APGD-CE"
        assert report["threats"][0]["rate"] > 0.5
        assert code == 1
    code, error = attack("net.pt --data images.npz")
    assert code == 1
    assert "torch.export.save" in error["hint"]
