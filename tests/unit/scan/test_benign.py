"""Models that people make pass: each is made here by the library itself, and only scanned."""

import io
import json
import pickle  # noqa: TID251 - it only writes here
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
import skops.io
import torch
import xgboost
from safetensors.numpy import save_file
from sklearn.calibration import CalibratedClassifierCV
from sklearn.cluster import Birch, BisectingKMeans, KMeans
from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.ensemble import (
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    IsolationForest,
    RandomForestClassifier,
    VotingClassifier,
)
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
from sklearn.feature_selection import SelectKBest
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    KBinsDiscretizer,
    MultiLabelBinarizer,
    OneHotEncoder,
    SplineTransformer,
    StandardScaler,
)
from sklearn.svm import SVC, LinearSVC

from vallum.scan import ScanVerdict, scan_bytes, scan_path

PASSING = (ScanVerdict.CLEAN, ScanVerdict.DATA_LIKE)
RNG = np.random.default_rng(7)
X = np.abs(RNG.normal(size=(40, 5)))
Y = np.arange(40) % 2


def fitted() -> Iterator[tuple[str, Any]]:
    for model in (
        make_pipeline(StandardScaler(), LogisticRegression()),
        make_pipeline(FunctionTransformer(np.log1p), SelectKBest(k=2), SVC()),
        make_pipeline(SplineTransformer(n_knots=3), LogisticRegression()),
        make_column_transformer(
            (StandardScaler(), [0, 1]), (OneHotEncoder(handle_unknown="ignore"), [2])
        ),
        GridSearchCV(LogisticRegression(), {"C": [1, 2]}, scoring="f1", cv=2),
        CalibratedClassifierCV(LinearSVC(), cv=2),
        VotingClassifier([("a", LogisticRegression()), ("b", KNeighborsClassifier())]),
        RandomForestClassifier(3),
        GradientBoostingClassifier(n_estimators=3),
        HistGradientBoostingClassifier(max_iter=3, categorical_features=[0]),
        IsolationForest(n_estimators=3),
        KMeans(2, n_init=1),
        Birch(),
        BisectingKMeans(2),
        GaussianProcessRegressor(),
        KBinsDiscretizer(quantile_method="averaged_inverted_cdf"),
        xgboost.XGBClassifier(n_estimators=2, n_jobs=1),
        xgboost.XGBRegressor(n_estimators=2, n_jobs=1),
    ):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield type(model).__name__, model.fit(np.round(X) if "Hist" in repr(model) else X, Y)
    yield "words", CountVectorizer().fit(["some words", "and others"])
    yield "tfidf", TfidfVectorizer().fit(["some words", "and others"])
    yield "labels", MultiLabelBinarizer().fit([["a"], ["b", "c"]])
    yield "chosen", make_column_selector(dtype_include=float)
    yield "card", {"model": LogisticRegression().fit(X, Y), "names": ["a"], "f1": np.float64(0.5)}


def test_models_of_scikit_learn_and_xgboost_pass_in_every_form(tmp_path: Path) -> None:
    refused = []
    for number, (name, model) in enumerate(fitted()):
        files = {f"p{level}": pickle.dumps(model, protocol=level) for level in (2, 4, 5)}
        for compress in (0, ("gzip", 3), ("bz2", 3), ("xz", 3)):
            path = tmp_path / "m"
            joblib.dump(model, path, compress=compress)
            files[f"joblib {compress}"] = path.read_bytes()
        # What skops itself does not trust (`functools.partial`) is not trusted here either.
        if not name.startswith(("Hist", "Birch", "card")):
            files["skops"] = skops.io.dumps(model)
        for form, data in files.items():
            report = scan_bytes(f"{number}.bin", data)
            if report.verdict not in PASSING:
                refused.append((name, form, [f.message for f in report.files[0].findings][:3]))
    assert refused == []


def test_models_of_xgboost_pass_in_their_own_files(tmp_path: Path) -> None:
    sorts = np.abs(np.round(X))
    for number, (model, x, y) in enumerate(
        (
            (xgboost.XGBClassifier(n_estimators=2), X, Y),
            (xgboost.XGBClassifier(n_estimators=2), X, np.arange(40) % 3),
            (xgboost.XGBClassifier(n_estimators=3, booster="dart", rate_drop=0.5), X, Y),
            (xgboost.XGBRFClassifier(n_estimators=3), X, Y),
            (xgboost.XGBRegressor(n_estimators=3, tree_method="exact", gamma=3), X, X[:, 0]),
            (xgboost.XGBRegressor(booster="gblinear", n_estimators=2), X, Y),
            (xgboost.XGBRegressor(n_estimators=2, multi_strategy="multi_output_tree"), X, X[:, :2]),
            (
                xgboost.XGBRegressor(
                    n_estimators=3, enable_categorical=True, feature_types=["c"] * 5,
                    max_cat_to_onehot=1,
                ),
                sorts, RNG.normal(size=40),
            ),
        )
    ):  # fmt: skip
        model.set_params(n_jobs=1).fit(x, y)
        for kind in ("json", "ubj"):
            model.save_model(tmp_path / f"{number}.{kind}")
        model.get_booster().dump_model(tmp_path / f"{number}.txt")
    found = scan_path(tmp_path).files
    assert [(f.path, f.findings) for f in found if f.verdict is not ScanVerdict.CLEAN] == []


def test_models_of_lightgbm_pass_as_texts_and_as_pickles(tmp_path: Path) -> None:
    lightgbm = pytest.importorskip("lightgbm")
    sorts = np.abs(np.round(X * 3))
    noise = RNG.normal(size=40)
    for number, (model, x, y) in enumerate(
        (
            (lightgbm.LGBMClassifier(), X, Y),
            (lightgbm.LGBMClassifier(), X, np.arange(40) % 3),
            (lightgbm.LGBMClassifier(boosting_type="dart"), X, Y),
            (lightgbm.LGBMClassifier(boosting_type="rf", bagging_freq=1, subsample=0.5), X, Y),
            (lightgbm.LGBMRegressor(linear_tree=True), X, X[:, 0] * 2 + noise / 9),
            (lightgbm.LGBMRegressor(monotone_constraints=[1, 0, 0, 0, -1]), X, noise),
            (lightgbm.LGBMRegressor(), X, np.ones(40)),
            (
                lightgbm.LGBMRegressor(categorical_feature=[0, 1], min_data_per_group=1),
                sorts, noise,
            ),
        )
    ):  # fmt: skip
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model.set_params(n_estimators=2, min_child_samples=2, n_jobs=1, verbose=-1).fit(x, y)
        model.booster_.save_model(tmp_path / f"{number}.txt")
        (tmp_path / f"{number}.json").write_text(json.dumps(model.booster_.dump_model()))
        joblib.dump(model, tmp_path / f"{number}.joblib")
    found = scan_path(tmp_path).files
    assert {f.format for f in found if f.path.endswith(".txt")} == {"lightgbm"}
    assert [(f.path, f.findings) for f in found if f.verdict not in PASSING] == []


def test_torch_files_pass_as_weights_and_as_modules(tmp_path: Path) -> None:
    module = torch.nn.Sequential(
        torch.nn.Conv2d(1, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.ReLU(), torch.nn.Flatten(),
        torch.nn.Linear(16, 2),
    )  # fmt: skip
    optimizer = torch.optim.Adam(module.parameters())
    torch.save(module.state_dict(), tmp_path / "weights.pt")
    torch.save(module, tmp_path / "module.pt")
    torch.save(module.state_dict(), tmp_path / "legacy.pt", _use_new_zipfile_serialization=False)
    torch.save(
        {"model": module.state_dict(), "optimizer": optimizer.state_dict(), "epoch": 3},
        tmp_path / "checkpoint.ckpt",
    )
    report = scan_path(tmp_path)
    assert report.exit_code == 0, [f.findings for f in report.files if f.findings]


def test_models_of_keras_pass_in_every_form(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KERAS_BACKEND", "jax")  # one a process; as private training needs it
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        keras = pytest.importorskip("keras")
        layers = keras.layers
        image, tokens = keras.Input((8, 8, 1)), keras.Input((6,), dtype="int32")
        down = layers.BatchNormalization()(layers.Conv2D(2, 3, padding="same")(image))
        pooled = layers.GlobalAveragePooling2D()(layers.Concatenate()([image, down]))
        words = layers.Embedding(9, 4)(tokens)
        attended = words + layers.MultiHeadAttention(2, 2)(words, words)
        models = {
            "sequential": keras.Sequential(
                [keras.Input((4,)), layers.Dense(3, "relu"), layers.Dropout(0.1), layers.Dense(1)]
            ),
            "functional": keras.Model(image, layers.Dense(2, "softmax")(pooled)),
            "transformer": keras.Model(tokens, layers.LayerNormalization()(attended)),
            "recurrent": keras.Sequential(
                [keras.Input((5, 3)), layers.Bidirectional(layers.LSTM(2)), layers.Dense(1)]
            ),
        }
        for name, model in models.items():
            model.compile("adam", loss=keras.losses.MeanSquaredError(), metrics=["mae"])
            model.save(tmp_path / f"{name}.keras")
            model.save(tmp_path / f"{name}.h5")
            model.save_weights(tmp_path / f"{name}.weights.h5")
            (tmp_path / f"{name}.json").write_text(model.to_json())
    report = scan_path(tmp_path)
    assert len(report.files) == 16
    assert [(f.path, f.findings) for f in report.files if f.verdict not in PASSING] == []


CARD = """---
license: mit
tags: [text]
---
<p align="center">A model</p>

# A model

```python
import transformers
model = transformers.AutoModel.from_pretrained("x"); model.eval()
```

```bibtex
@article{x, title={{BERT}: a model}, author={{A} and {B}}}
```
"""


def test_a_folder_as_hugging_face_lays_it_out_passes(tmp_path: Path) -> None:
    files: dict[str, object] = {
        "config.json": {"architectures": ["BertModel"], "model_type": "bert", "vocab_size": 3},
        "generation_config.json": {"do_sample": True, "temperature": 0.6},
        "tokenizer_config.json": {
            "tokenizer_class": "BertTokenizer",
            "chat_template": "{% for m in messages %}{{ m['content'] }}{% endfor %}",
        },
        "special_tokens_map.json": {"cls_token": "[CLS]"},
        "tokenizer.json": {"model": {"type": "BPE", "vocab": {"a": 0}, "merges": []}},
        "model.safetensors.index.json": {"weight_map": {"w": "model.safetensors"}},
        "model_index.json": {
            "_class_name": "StableDiffusionPipeline", "_diffusers_version": "0.30.0",
            "unet": ["diffusers", "UNet2DConditionModel"], "safety_checker": [None, None],
            "text_encoder": ["transformers", "CLIPTextModel"],
        },
        "modules.json": [{"idx": 0, "path": "", "type": "sentence_transformers.models.Pooling"}],
    }  # fmt: skip
    for name, value in files.items():
        (tmp_path / name).write_text(json.dumps(value, indent=2))
    (tmp_path / "README.md").write_text(CARD)
    (tmp_path / "vocab.txt").write_text("[PAD]\n[CLS]\nthe\n##ing\n")
    (tmp_path / "merges.txt").write_text("#version: 0.2\nt h\nth e\n")
    (tmp_path / ".gitattributes").write_text("*.safetensors filter=lfs diff=lfs merge=lfs -text\n")
    save_file({"w": X}, tmp_path / "model.safetensors")
    refused = [(f.path, f.findings) for f in scan_path(tmp_path).files if f.verdict not in PASSING]
    assert refused == []


def test_a_card_excuses_no_other_file_and_no_other_finding() -> None:
    assert scan_bytes("notes.txt", CARD.encode()).exit_code == 1
    assert scan_bytes("README.md", b"cos\nsystem\n(S'id'\ntR.").exit_code == 1
    with zipfile.ZipFile(archive := io.BytesIO(), "w") as file:
        file.writestr("README.md", CARD)
        file.writestr("code.txt", "import os\n")
    found = scan_bytes("x.zip", archive.getvalue()).files[0].findings
    assert {(one.member, one.severity) for one in found if one.id == "text.code"} == {
        ("README.md", "info"), ("code.txt", "high"),
    }  # fmt: skip


@pytest.mark.parametrize("protocol", [2, 5])
def test_a_partial_call_passes_for_one_function_only(protocol: int) -> None:
    from functools import partial

    from sklearn.utils.validation import check_array

    good = pickle.dumps(partial(check_array, dtype=None), protocol=protocol)
    bad = pickle.dumps(partial(exec, "1"), protocol=protocol)
    both = pickle.dumps([partial(check_array), partial(print, "1")], protocol=protocol)
    assert scan_bytes("x", good).verdict is ScanVerdict.DATA_LIKE
    assert scan_bytes("x", bad).verdict is ScanVerdict.MALICIOUS
    assert scan_bytes("x", both).verdict is ScanVerdict.MALICIOUS
