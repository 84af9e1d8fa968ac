"""Round 4, harmless: what the usual libraries write in ordinary projects.

Written without a look at the scanner; the files are those the library itself wrote.
"""

# ruff: noqa: I001, PLC3002, PLW0108
# fmt: off
# One sample a line: a table is read so.

import csv
import gzip
import io
import json
import os
import pickle  # noqa: TID251 - written, never read
import tarfile
import tempfile
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from held_out import Sample
from held_out.assemble import Rng

Files = dict[str, bytes]
PHI = "{% for message in messages %}{% if message['role'] == 'system' and message['content'] %}{{'<|system|>\\n' + message['content'] + '<|end|>\\n'}}{% elif message['role'] == 'user' %}{{'<|user|>\\n' + message['content'] + '<|end|>\\n'}}{% elif message['role'] == 'assistant' %}{{'<|assistant|>\\n' + message['content'] + '<|end|>\\n'}}{% endif %}{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% else %}{{ eos_token }}{% endif %}"
MISTRAL = "{%- if messages[0]['role'] == 'system' -%}\n  {%- set system_message = messages[0]['content'] -%}\n  {%- set loop_messages = messages[1:] -%}\n{%- else -%}\n  {%- set loop_messages = messages -%}\n{%- endif -%}\n{{- bos_token }}\n{%- for message in loop_messages %}\n  {%- if message.role == 'user' %}\n    {{- '[INST] ' ~ message.content ~ '[/INST]' }}\n  {%- elif message.tool_calls is defined and message.tool_calls is not none %}\n    {{- '[TOOL_CALLS] [' }}\n    {%- for call in message.tool_calls %}{{- call.function|tojson }}{{- ', ' if not loop.last }}{%- endfor %}\n    {{- ']' ~ eos_token }}\n  {%- elif message['role'] in ['assistant', 'bot'] %}\n    {{- ' ' ~ message['content']|trim ~ eos_token }}\n  {%- else %}\n    {{- raise_exception('Only user and assistant roles are supported!') }}\n  {%- endif %}\n{%- endfor %}"
COMMAND = "{% set sys = messages | selectattr('role', 'equalto', 'system') | map(attribute='content') | join('\\n') %}{{ bos_token ~ sys }}{% for m in messages | rejectattr('role', 'equalto', 'system') %}{{ '<|START_OF_TURN|>' ~ m.role | upper ~ ': ' ~ m.content | replace('\\r', '') ~ '<|END_OF_TURN|>' }}{% endfor %}"
CARD = """---
license: {licence}
language: [en, de]
library_name: transformers
pipeline_tag: {task}
tags: [generated_from_trainer, pytorch]
datasets: [acme/reviews]
model-index:
- name: {name}
  results:
  - task: {{type: {task}}}
    metrics: [{{type: accuracy, value: 0.913}}]
---
# {name}

This model is a fine-tuned version of [acme/{name}](https://huggingface.co/acme/{name}) on the reviews set.

## How to use

```bash
pip install -U transformers torch
export HF_TOKEN=hf_xxx
```

```python
from transformers import AutoModel, AutoTokenizer
model = AutoModel.from_pretrained("acme/{name}")  # eval() is the default
model.eval()
```

### Training hyperparameters

- learning_rate: 5e-05
- optimizer: adamw_torch with betas=(0.9,0.999)

| Training Loss | Epoch | Validation Loss |
|:---:|:---:|:---:|
| 0.31 | 1.0 | 0.29 |

```bibtex
@misc{{acme2024, title={{A model}}, author={{Doe, Jane}}, year={{2024}}}}
```
Questions: models@example.org
"""
ATTRIBUTES = "*.bin filter=lfs diff=lfs merge=lfs -text\n*.safetensors filter=lfs diff=lfs merge=lfs -text\n*.onnx filter=lfs diff=lfs merge=lfs -text\n"
LICENCE = "MIT License\n\nCopyright (c) 2024 Acme\n\nPermission is hereby granted, free of charge, to any person obtaining a copy of this software and associated documentation files, to deal in the Software without restriction.\n"
IGNORE = "__pycache__/\n*.pyc\n.venv/\ncheckpoints/\n*.ckpt\n.env\nwandb/\n"


def saved(write: Callable[[Path], object]) -> Files:
    """Return every file that `write` leaves in a folder."""
    with tempfile.TemporaryDirectory() as name:
        write(Path(name))
        return {str(p.relative_to(name)): p.read_bytes() for p in sorted(Path(name).rglob("*")) if p.is_file()}


def j(**keys: object) -> bytes:
    return json.dumps(keys, indent=2).encode()


def card(name: str, task: str = "text-classification", licence: str = "apache-2.0") -> bytes:
    return CARD.format(name=name, task=task, licence=licence).encode()


def estimators(rng: Rng) -> Iterator[tuple[str, Any]]:
    import pandas as pd
    from sklearn import cluster, compose, covariance, cross_decomposition, decomposition, discriminant_analysis, ensemble, feature_selection, gaussian_process, impute, isotonic, kernel_approximation, linear_model, mixture, model_selection, multiclass, multioutput, naive_bayes, neighbors, neural_network, pipeline, preprocessing, svm, tree
    from sklearn.calibration import CalibratedClassifierCV
    from sklearn.feature_extraction import DictVectorizer, FeatureHasher, text

    x, y, z = rng.normal(size=(80, 6)), rng.integers(0, 3, 80), rng.normal(size=80)
    words = [f"review {i} was {'good' if i % 2 else 'bad'} film of the year {i % 7}" for i in range(80)]
    frame = pd.DataFrame({"age": rng.integers(18, 80, 80), "income": rng.normal(5e4, 1e4, 80), "city": rng.choice(["Bern", "Basel", "Chur"], 80), "joined": pd.date_range("2024-01-01", periods=80).astype(str)})
    numbers = pipeline.Pipeline([("fill", impute.SimpleImputer(strategy="median", add_indicator=True)), ("scale", preprocessing.RobustScaler(quantile_range=(10, 90)))])
    columns = compose.ColumnTransformer([("num", numbers, ["age", "income"]), ("cat", preprocessing.OneHotEncoder(handle_unknown="ignore", min_frequency=2, sparse_output=False), ["city"])], remainder="drop", verbose_feature_names_out=False)
    yield "churn", pipeline.Pipeline([("prep", columns), ("clf", ensemble.HistGradientBoostingClassifier(max_iter=12, l2_regularization=0.1))]).fit(frame, y)
    yield "pandas_out", columns.set_output(transform="pandas").fit(frame)
    yield "grid", model_selection.GridSearchCV(pipeline.make_pipeline(preprocessing.MinMaxScaler(), svm.SVC(probability=True)), {"svc__C": [0.1, 1], "svc__gamma": ["scale", 0.1]}, cv=model_selection.StratifiedKFold(3, shuffle=True, random_state=1)).fit(x, y)
    yield "random_search", model_selection.RandomizedSearchCV(ensemble.ExtraTreesRegressor(6), {"max_depth": [2, 3, None], "max_features": ["sqrt", 1.0]}, n_iter=3, cv=2, random_state=0).fit(x, z)
    yield "text_svc", pipeline.make_pipeline(text.TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, min_df=2), svm.LinearSVC(C=0.5)).fit(words, y)
    yield "text_counts", pipeline.make_pipeline(text.CountVectorizer(analyzer="char_wb", ngram_range=(2, 3), dtype=np.float32), naive_bayes.ComplementNB()).fit(words, y)
    yield "hashing", pipeline.make_pipeline(text.HashingVectorizer(n_features=64, alternate_sign=False), text.TfidfTransformer(), linear_model.SGDClassifier(loss="modified_huber")).fit(words, y)
    yield "dicts", DictVectorizer(sparse=True).fit([{"a": 1, "b": "x"}, {"a": 2, "c": 1.5}])
    yield "hasher", FeatureHasher(16, input_type="string")
    yield "stacking", ensemble.StackingClassifier([("rf", ensemble.RandomForestClassifier(4)), ("knn", neighbors.KNeighborsClassifier(metric="manhattan")), ("gnb", naive_bayes.GaussianNB())], final_estimator=linear_model.LogisticRegression(), cv=2).fit(x, y)
    yield "voting", ensemble.VotingRegressor([("ridge", linear_model.RidgeCV()), ("tree", tree.DecisionTreeRegressor(max_depth=3))]).fit(x, z)
    yield "bagging", ensemble.BaggingClassifier(tree.ExtraTreeClassifier(max_depth=2), n_estimators=5, oob_score=False).fit(x, y)
    yield "ada", ensemble.AdaBoostRegressor(n_estimators=4, loss="exponential").fit(x, z)
    yield "gbm_quantile", ensemble.GradientBoostingRegressor(loss="quantile", alpha=0.9, n_estimators=5).fit(x, z)
    yield "isolation", ensemble.IsolationForest(n_estimators=6, contamination=0.05).fit(x)
    yield "embedding", ensemble.RandomTreesEmbedding(n_estimators=3).fit(x)
    yield "hist_poisson", ensemble.HistGradientBoostingRegressor(loss="poisson", max_iter=5, monotonic_cst=[1, 0, 0, 0, 0, -1], interaction_cst="pairwise").fit(x, np.abs(z))
    yield "calibrated", CalibratedClassifierCV(svm.LinearSVC(), method="isotonic", cv=3).fit(x, y)
    yield "gp", gaussian_process.GaussianProcessRegressor(1.0 * gaussian_process.kernels.RBF() + gaussian_process.kernels.WhiteKernel(), n_restarts_optimizer=0).fit(x, z)
    yield "gp_classes", gaussian_process.GaussianProcessClassifier(gaussian_process.kernels.Matern(nu=1.5), max_iter_predict=5).fit(x[:30], y[:30])
    yield "mlp", neural_network.MLPRegressor(hidden_layer_sizes=(5, 3), activation="tanh", max_iter=20, early_stopping=True).fit(x, z)
    yield "rbm", neural_network.BernoulliRBM(3, n_iter=2).fit(np.abs(x) / 5)
    yield "ovr", multiclass.OneVsRestClassifier(linear_model.Perceptron()).fit(x, y)
    yield "output_code", multiclass.OutputCodeClassifier(linear_model.RidgeClassifier(), code_size=2, random_state=0).fit(x, y)
    yield "chain", multioutput.RegressorChain(linear_model.BayesianRidge(), order=[1, 0]).fit(x, x[:, :2])
    yield "target", compose.TransformedTargetRegressor(linear_model.HuberRegressor(), transformer=preprocessing.QuantileTransformer(n_quantiles=20, output_distribution="normal")).fit(x, z)
    yield "log_target", compose.TransformedTargetRegressor(linear_model.TweedieRegressor(power=0), func=np.log1p, inverse_func=np.expm1).fit(x, np.abs(z))
    yield "elastic", linear_model.MultiTaskElasticNetCV(l1_ratio=[0.2, 0.8], alphas=4, cv=2).fit(x, x[:, :2])
    yield "ransac", linear_model.RANSACRegressor(random_state=2).fit(x, z)
    yield "theil", linear_model.TheilSenRegressor(max_subpopulation=50, random_state=2).fit(x, z)
    yield "omp", linear_model.OrthogonalMatchingPursuitCV(cv=3).fit(x, z)
    yield "gamma", linear_model.GammaRegressor(alpha=0.1).fit(x, np.abs(z) + 1)
    yield "nu_svr", svm.NuSVR(kernel="poly", degree=2).fit(x, z)
    yield "one_class", svm.OneClassSVM(nu=0.1).fit(x)
    yield "lof", neighbors.LocalOutlierFactor(novelty=True, algorithm="kd_tree").fit(x)
    yield "ball_tree", neighbors.KNeighborsRegressor(algorithm="ball_tree", metric="minkowski", p=3, weights="distance").fit(x, z)
    yield "kde", neighbors.KernelDensity(kernel="epanechnikov").fit(x)
    yield "nca", neighbors.NeighborhoodComponentsAnalysis(2, max_iter=4).fit(x, y)
    yield "hdbscan", cluster.HDBSCAN(min_cluster_size=4).fit(x)
    yield "birch", cluster.Birch(n_clusters=None).fit(x)
    yield "bisecting", cluster.BisectingKMeans(3).fit(x)
    yield "optics", cluster.OPTICS(min_samples=4).fit(x)
    yield "bgm", mixture.BayesianGaussianMixture(n_components=2, covariance_type="tied", max_iter=20).fit(x)
    yield "lda_topics", decomposition.LatentDirichletAllocation(3, max_iter=2).fit(np.abs(x))
    yield "ica", decomposition.FastICA(2, max_iter=50).fit(x)
    yield "kpca", decomposition.KernelPCA(2, kernel="cosine", fit_inverse_transform=True).fit(x)
    yield "dictionary", decomposition.MiniBatchDictionaryLearning(3, max_iter=2).fit(x)
    yield "qda", discriminant_analysis.QuadraticDiscriminantAnalysis(reg_param=0.1).fit(x, y)
    yield "pls", cross_decomposition.PLSCanonical(2).fit(x, x[:, :3])
    yield "mincov", covariance.EllipticEnvelope(random_state=0).fit(x)
    yield "iterative", impute.KNNImputer(n_neighbors=2).fit(np.where(x > 1.5, np.nan, x))
    yield "union", pipeline.FeatureUnion([("pca", decomposition.TruncatedSVD(2)), ("best", feature_selection.SelectKBest(feature_selection.mutual_info_classif, k=2))]).fit(x, y)
    yield "rfecv", feature_selection.RFECV(linear_model.Lasso(alpha=0.01), cv=2).fit(x, z)
    yield "splines", pipeline.make_pipeline(preprocessing.SplineTransformer(n_knots=4), kernel_approximation.Nystroem(n_components=5), linear_model.Ridge()).fit(x, z)
    yield "function", preprocessing.FunctionTransformer(np.log1p, inverse_func=np.expm1, feature_names_out="one-to-one").fit(np.abs(x))
    yield "ordinal", preprocessing.OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1).fit(frame[["city"]])
    yield "isotonic", isotonic.IsotonicRegression(out_of_bounds="clip").fit(x[:, 0], z)
    yield "folds", {"model": linear_model.ARDRegression().fit(x, z), "features": list(frame.columns), "auc": np.float64(0.91), "trained": __import__("datetime").datetime(2024, 5, 1, 9, 30), "path": Path("models/v1")}


def tables(rng: Rng) -> Iterator[tuple[str, str, Files]]:
    import joblib
    import skops.io

    hows: list[tuple[str, Callable[[Any, Path], object]]] = [
        ("a.joblib", lambda m, p: joblib.dump(m, p)), ("a.pkl", lambda m, p: p.write_bytes(pickle.dumps(m, 5))), ("a.joblib.gz", lambda m, p: joblib.dump(m, p, compress=("gzip", 5))),
        ("a.pickle", lambda m, p: p.write_bytes(pickle.dumps(m, 2))), ("a.sav", lambda m, p: joblib.dump(m, p, protocol=4)), ("a.joblib.z", lambda m, p: joblib.dump(m, p, compress=("zlib", 9))),
        ("a.pkl", lambda m, p: p.write_bytes(pickle.dumps(m, 3))), ("a.joblib.xz", lambda m, p: joblib.dump(m, p, compress=("xz", 3))), ("a.pkl.gz", lambda m, p: p.write_bytes(gzip.compress(pickle.dumps(m)))), ("a.lz4", lambda m, p: joblib.dump(m, p, compress="lz4")),
    ]
    for at, (name, model) in enumerate(estimators(rng)):
        file, how = hows[at % len(hows)]
        yield "sklearn", f"{name}.{file}", saved(lambda d, m=model, f=file, h=how: h(m, d / f))
        if at % 4 == 0 and not isinstance(model, dict):
            yield "skops", f"{name}.skops", saved(lambda d, m=model: skops.io.dump(m, d / "model.skops"))


def boosted(rng: Rng) -> Iterator[tuple[str, str, Files]]:
    import catboost
    import joblib
    import lightgbm as lgb
    import pandas as pd
    import xgboost as xgb

    x, y = rng.normal(size=(100, 4)), rng.integers(0, 4, 100)
    frame = pd.DataFrame(x, columns=list("abcd")).assign(kind=pd.Categorical(rng.choice(["u", "v"], 100)))
    booster = xgb.train({"objective": "reg:quantileerror", "quantile_alpha": [0.1, 0.9], "tree_method": "hist"}, xgb.QuantileDMatrix(x, x[:, 0]), 4)
    for ext in ("json", "ubj"):
        yield "boosting", f"xgb_quantile.{ext}", saved(lambda d, e=ext: booster.save_model(d / f"model.{e}"))
    ranker = xgb.XGBRanker(n_estimators=4, lambdarank_pair_method="topk").fit(x, y, qid=np.repeat(np.arange(10), 10))
    yield "boosting", "xgb_rank.ubj", saved(lambda d: ranker.save_model(d / "r.ubj"))
    cats = xgb.XGBClassifier(n_estimators=3, enable_categorical=True, max_cat_to_onehot=2).fit(frame, y)
    yield "boosting", "xgb_cat.json", saved(lambda d: cats.save_model(d / "m.json"))
    yield "boosting", "xgb_cat.joblib", saved(lambda d: joblib.dump(cats, d / "m.joblib", compress=3))
    yield "boosting", "xgb_dart.pkl", {"m.pkl": pickle.dumps(xgb.XGBRegressor(booster="dart", n_estimators=3, rate_drop=0.2).fit(x, x[:, 1]))}
    yield "boosting", "xgb_linear.json", saved(lambda d: xgb.XGBRegressor(booster="gblinear", n_estimators=3).fit(x, x[:, 1]).save_model(d / "m.json"))
    yield "boosting", "xgb_aft.json", saved(lambda d: xgb.train({"objective": "survival:cox"}, xgb.DMatrix(x, np.abs(x[:, 0])), 3).save_model(d / "m.json"))
    yield "boosting", "xgb_dump.txt", saved(lambda d: booster.dump_model(d / "dump.txt", with_stats=True))
    yield "boosting", "xgb_config.json", {"config.json": booster.save_config().encode()}
    light = lgb.LGBMRanker(n_estimators=4, min_child_samples=2, verbose=-1).fit(x, y, group=[10] * 10)
    yield "boosting", "lgb_rank.txt", saved(lambda d: light.booster_.save_model(d / "model.txt"))
    yield "boosting", "lgb_rank.pkl", {"m.pkl": pickle.dumps(light, 4)}
    cat = lgb.LGBMClassifier(n_estimators=3, boosting_type="goss", linear_tree=False, verbose=-1).fit(frame, y)
    yield "boosting", "lgb_cat.txt", saved(lambda d: cat.booster_.save_model(d / "lgb.model"))
    yield "boosting", "lgb_cat.joblib", saved(lambda d: joblib.dump(cat, d / "m.joblib"))
    yield "boosting", "lgb_linear.txt", saved(lambda d: lgb.train({"linear_tree": True, "objective": "tweedie", "verbose": -1}, lgb.Dataset(x, np.abs(x[:, 0])), 3).save_model(d / "m.txt"))
    yield "boosting", "lgb_dump.json", {"dump.json": json.dumps(cat.booster_.dump_model()).encode()}
    cb = catboost.CatBoostRegressor(iterations=3, depth=2, verbose=False, allow_writing_files=False).fit(x, x[:, 0])
    yield "boosting", "catboost.json", saved(lambda d: cb.save_model(str(d / "m.json"), format="json"))
    yield "borderline catboost", "catboost.cbm", saved(lambda d: cb.save_model(str(d / "m.cbm")))


def torches(rng: Rng) -> Iterator[tuple[str, Any, dict[str, Any]]]:
    import torch
    from torch import nn, optim

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4), nn.SiLU(), nn.MaxPool2d(2))
            self.rnn, self.attend = nn.LSTM(4, 5, num_layers=2, bidirectional=True, batch_first=True), nn.MultiheadAttention(8, 2)
            self.norm, self.embed = nn.ModuleList([nn.GroupNorm(2, 4), nn.LayerNorm(8), nn.RMSNorm(8)]), nn.EmbeddingBag(12, 4, mode="mean")
            self.scales = nn.ParameterDict({"a": nn.Parameter(torch.ones(2)), "b": nn.Parameter(torch.zeros(1))})

    net, old = Net(), {"_use_new_zipfile_serialization": False}
    yield "state.pt", net.state_dict(), {}
    yield "state.pth", net.state_dict(), old
    yield "half.bin", {k: v.half() if v.is_floating_point() else v for k, v in net.state_dict().items()}, {}
    for opt in (optim.AdamW(net.parameters(), amsgrad=True), optim.SGD(net.parameters(), 0.1, momentum=0.9, nesterov=True), optim.RMSprop(net.parameters()), optim.Adagrad(net.parameters()), optim.RAdam(net.parameters()), optim.NAdam(net.parameters())):
        for p in net.parameters():
            p.grad = torch.ones_like(p)
        opt.step()
        plan = optim.lr_scheduler.CosineAnnealingWarmRestarts(opt, 10)
        yield f"train_{type(opt).__name__.lower()}.pt", {"epoch": 3, "model_state_dict": net.state_dict(), "optimizer_state_dict": opt.state_dict(), "scheduler": plan.state_dict(), "scaler": torch.amp.GradScaler("cpu").state_dict(), "best": float("inf"), "rng": torch.get_rng_state()}, {}
    lightning = {"epoch": 4, "global_step": 120, "pytorch-lightning_version": "2.2.1", "state_dict": net.state_dict(), "loops": {"fit_loop": {"state_dict": {}, "epoch_progress": {"total": {"ready": 5, "completed": 4}}}}, "callbacks": {"ModelCheckpoint{'monitor': 'val_loss', 'mode': 'min'}": {"best_model_score": torch.tensor(0.2), "best_model_path": "/home/u/ckpt/e4.ckpt"}}, "optimizer_states": [opt.state_dict()], "lr_schedulers": [plan.state_dict()], "hparams_name": "kwargs", "hyper_parameters": {"lr": 1e-3, "layers": [4, 8], "name": None}}
    yield "lightning.ckpt", lightning, {}
    yield "dtypes.pt", {str(d): torch.zeros(3, dtype=d) for d in (torch.float64, torch.bfloat16, torch.int8, torch.uint8, torch.bool, torch.complex64, torch.int16, torch.float8_e4m3fn)}, {}
    yield "sparse.pt", {"coo": torch.eye(4).to_sparse(), "csr": torch.eye(4).to_sparse_csr()}, {}
    yield "views.pt", {"t": torch.arange(12).view(3, 4).t(), "slice": torch.arange(100)[10:20], "scalar": torch.tensor(3.5), "empty": torch.empty(0, 4)}, {}
    yield "quantised.pt", {"w": torch.quantize_per_tensor(torch.randn(3, 3), 0.1, 0, torch.qint8), "c": torch.quantize_per_channel(torch.randn(2, 3), torch.ones(2), torch.zeros(2), 0, torch.quint8)}, {}
    yield "jagged.pt", OrderedDict(a=[torch.ones(i) for i in range(4)], b={"c": (torch.zeros(1), {"d": None, 3: torch.ones(2)})}, size=torch.Size([1, 2])), {}
    yield "params.pt", [nn.Parameter(torch.randn(2, 2)), nn.Parameter(torch.ones(1), requires_grad=False)], {}
    yield "numpy_inside.pt", {"weights": torch.ones(2), "mean": np.array([0.4, 0.5]), "seed": np.int64(3), "rng": np.random.default_rng(1).bit_generator.state}, {}
    yield "protocol4.pt", net.state_dict(), {"pickle_protocol": 4}
    yield "device.pt", {"device": torch.device("cpu"), "dtype": torch.float16, "layout": torch.strided, "g": torch.ones(2)}, {}
    yield "encoder.pt", nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16), 2, enable_nested_tensor=False).state_dict(), {}
    yield "ema.pth", {"ema": {"decay": 0.999, "shadow": net.state_dict()}, "args": {"lr": 0.1}, "names": ["cat", "dog"], "stride": torch.tensor([8, 16])}, {}
    yield "large.pt", {f"block.{i}.weight": torch.randn(256, 256) for i in range(12)}, {}
    yield "whole_module.pt", nn.Sequential(OrderedDict(conv=nn.Conv1d(2, 3, 3), act=nn.GELU(), pool=nn.AdaptiveAvgPool1d(1), flat=nn.Flatten(), out=nn.Linear(3, 2))), {}
    yield "whole_gru.pt", nn.ModuleDict({"gru": nn.GRU(3, 4), "drop": nn.Dropout(0.2), "bilinear": nn.Bilinear(2, 3, 2), "up": nn.ConvTranspose2d(2, 2, 2), "prelu": nn.PReLU()}), {}


def networks(rng: Rng) -> Iterator[tuple[str, str, Files]]:
    import keras
    import tensorflow as tf
    import torch
    from keras import layers as L  # noqa: N812

    for name, what, how in torches(rng):
        yield ("borderline module" if name.startswith("whole") else "torch"), name, saved(lambda d, w=what, n=name, h=how: torch.save(w, d / n, **h))
    for name, module, example in [("scripted", torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.ReLU(), torch.nn.Flatten()), torch.zeros(1, 1, 5, 5)), ("lstm", torch.nn.LSTM(2, 3), torch.zeros(4, 1, 2))]:
        yield "torchscript", f"{name}_trace.pt", saved(lambda d, m=module, e=example, n=name: torch.jit.save(torch.jit.trace(m.eval(), e), d / f"{n}.pt"))
        yield "torchscript", f"{name}_script.pt", saved(lambda d, m=module, n=name: torch.jit.save(torch.jit.script(m), d / f"{n}.pt"))
    a = keras.Input((16, 16, 3), name="image")
    b = L.SeparableConv2D(4, 3, activation="relu", depthwise_regularizer=keras.regularizers.L1L2(1e-4, 1e-4))(a)
    c = L.Add()([L.Conv2D(4, 1)(a), L.ZeroPadding2D()(b)])
    residual = keras.Model(a, [L.Dense(3, activation="softmax", name="kind")(L.GlobalAveragePooling2D()(c)), L.Dense(1, name="age")(L.Flatten()(c))])
    residual.compile("adam", loss={"kind": "sparse_categorical_crossentropy", "age": "mse"}, metrics={"kind": ["accuracy"]})
    sequence = [L.Embedding(30, 8, mask_zero=True), L.Bidirectional(L.GRU(4, return_sequences=True, dropout=0.1)), L.TimeDistributed(L.Dense(3)), L.LSTM(3)]
    yields = {
        "residual": residual, "text": keras.Sequential([keras.Input((7,)), *sequence]), "autoencoder": keras.Sequential([keras.Input((8,)), L.GaussianNoise(0.1), L.Dense(3, kernel_initializer="he_normal"), L.LeakyReLU(), L.Dense(8, kernel_constraint=keras.constraints.MaxNorm(2))]),
        "mobilenet": keras.applications.MobileNetV3Small((32, 32, 3), alpha=0.35, minimalistic=True, weights=None, classes=4), "augment": keras.Sequential([keras.Input((16, 16, 3)), L.RandomFlip("horizontal"), L.RandomRotation(0.1), L.Rescaling(1 / 255.0), L.Conv2D(2, 3), L.UnitNormalization()]),
        "attention": (lambda i: keras.Model(i, L.LayerNormalization()(L.MultiHeadAttention(2, 4)(i, i))))(keras.Input((5, 8))), "conv3d": keras.Sequential([keras.Input((6, 6, 6, 1)), L.Conv3D(2, 3), L.MaxPooling3D(2), L.Reshape((-1, 2)), L.ELU(alpha=0.5)]), "unet": (lambda i: keras.Model(i, L.Concatenate()([i, L.Conv2DTranspose(2, 2, 2)(L.AveragePooling2D(2)(i))])))(keras.Input((8, 8, 2))),
    }
    for at, (name, model) in enumerate(yields.items()):
        yield "keras", f"{name}.keras", saved(lambda d, m=model: m.save(d / "model.keras"))
        if at % 2:
            yield "keras", f"{name}.h5", saved(lambda d, m=model: m.save(d / "model.h5"))
        if at % 3 == 0:
            yield "keras", f"{name}.weights.h5", saved(lambda d, m=model: (m.save_weights(d / "m.weights.h5"), (d / "arch.json").write_text(m.to_json())))
    module = tf.Module()
    module.w = tf.Variable(tf.ones([3, 2]), name="w")
    module.f = tf.function(lambda x: tf.nn.softmax(tf.matmul(x, module.w)), input_signature=[tf.TensorSpec([None, 3], tf.float32)], autograph=False)
    yield "saved model", "matmul", saved(lambda d: tf.saved_model.save(module, str(d), signatures={"serving_default": module.f}))
    yield "saved model", "checkpoint", saved(lambda d: tf.train.Checkpoint(m=module).write(str(d / "ckpt")))
    lite = tf.lite.TFLiteConverter.from_concrete_functions([module.f.get_concrete_function()], module)
    lite.optimizations = [tf.lite.Optimize.DEFAULT]
    yield "saved model", "lite", {"model.tflite": lite.convert()}


def onnxes(rng: Rng) -> Iterator[tuple[str, str, Files]]:
    import onnx
    from onnx import TensorProto as T
    from onnx import helper as h
    from onnx import numpy_helper as nh
    from onnxruntime.quantization import QuantType, quantize_dynamic
    from skl2onnx import to_onnx
    from sklearn import ensemble, feature_extraction, linear_model, pipeline, preprocessing

    x, y = rng.normal(size=(60, 3)).astype("float32"), rng.integers(0, 3, 60)
    for name, model in {"forest": ensemble.RandomForestClassifier(3), "logistic": pipeline.make_pipeline(preprocessing.StandardScaler(), linear_model.LogisticRegression()), "gbr": ensemble.GradientBoostingRegressor(n_estimators=3)}.items():
        yield "onnx", f"sklearn_{name}.onnx", {"m.onnx": to_onnx(model.fit(x, y), x[:1]).SerializeToString()}
    words = feature_extraction.text.TfidfVectorizer().fit([f"good bad film {i}" for i in range(9)])
    yield "onnx", "tfidf.onnx", {"m.onnx": to_onnx(words, initial_types=[("text", __import__("skl2onnx").common.data_types.StringTensorType([None]))]).SerializeToString()}
    i, o = h.make_tensor_value_info("x", T.FLOAT, [None, 4]), h.make_tensor_value_info("y", T.FLOAT, None)
    w = nh.from_array(rng.normal(size=(4, 4)).astype("float32"), "w")
    out = h.make_tensor_value_info("t", T.FLOAT, None)
    branches = [h.make_graph([h.make_node(op, ["x", "w"], ["t"])], op, [], [out]) for op in ("MatMul", "Gemm")]
    cond = nh.from_array(np.array(True), "c")
    graphs = {"if": h.make_graph([h.make_node("If", ["c"], ["y"], then_branch=branches[0], else_branch=branches[1])], "g", [i], [o], [w, cond]), "mlp": h.make_graph([h.make_node("MatMul", ["x", "w"], ["h"]), h.make_node("Gelu", ["h"], ["y"], approximate="tanh")], "main_graph", [i], [o], [w])}
    for name, graph in graphs.items():
        model = h.make_model(graph, opset_imports=[h.make_opsetid("", 20)], producer_name="pytorch", producer_version="2.4.0", ir_version=9, doc_string="exported")
        h.set_model_props(model, {"author": "acme", "classes": "{0: 'cat', 1: 'dog'}", "stride": "32"})
        yield "onnx", f"{name}.onnx", {"m.onnx": model.SerializeToString()}
    plain = onnx.load_from_string(model.SerializeToString())
    yield "onnx", "external", saved(lambda d: onnx.save_model(model, d / "model.onnx", save_as_external_data=True, location="model.onnx_data", size_threshold=0))
    yield "onnx", "quantised.onnx", saved(lambda d: quantize_dynamic(plain, d / "model_int8.onnx", weight_type=QuantType.QInt8))
    body = h.make_graph([h.make_node("Identity", ["k"], ["k2"]), h.make_node("Add", ["s", "s"], ["s2"])], "b", [h.make_tensor_value_info("n", T.INT64, []), h.make_tensor_value_info("k", T.BOOL, []), h.make_tensor_value_info("s", T.FLOAT, None)], [h.make_tensor_value_info("k2", T.BOOL, []), h.make_tensor_value_info("s2", T.FLOAT, None)])
    loop = h.make_graph([h.make_node("Loop", ["trips", "c", "x"], ["y"], body=body)], "l", [i], [o], [nh.from_array(np.array(3), "trips"), cond])
    yield "onnx", "loop.onnx", {"m.onnx": h.make_model(loop, opset_imports=[h.make_opsetid("", 17), h.make_opsetid("ai.onnx.ml", 3)]).SerializeToString()}
    fused = h.make_graph([h.make_node("FusedMatMul", ["x", "w"], ["y"], domain="com.microsoft")], "f", [i], [o], [w])
    yield "borderline onnx", "fused.onnx", {"m.onnx": h.make_model(fused, opset_imports=[h.make_opsetid("", 17), h.make_opsetid("com.microsoft", 1)]).SerializeToString()}


def language(rng: Rng) -> Iterator[tuple[str, str, Files]]:
    import sentencepiece
    import torch
    import transformers as t
    from peft import IA3Config, LoraConfig, get_peft_model
    from safetensors.torch import save
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

    words = [f"The model number {i} reads naïve text, 東京 and code: x[{i}] = {i * 7};" for i in range(60)]
    bpe = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True))
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.train_from_iterator(words, trainers.BpeTrainer(vocab_size=300, special_tokens=["<unk>", "<s>", "</s>", "<|im_start|>"], show_progress=False))
    piece = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    piece.normalizer, piece.pre_tokenizer = normalizers.BertNormalizer(lowercase=True), pre_tokenizers.BertPreTokenizer()
    piece.train_from_iterator(words, trainers.WordPieceTrainer(vocab_size=200, special_tokens=["[UNK]", "[CLS]", "[SEP]", "[PAD]", "[MASK]"], show_progress=False))
    piece.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)])
    uni = Tokenizer(models.Unigram())
    uni.pre_tokenizer = pre_tokenizers.Metaspace()
    uni.train_from_iterator(words, trainers.UnigramTrainer(vocab_size=120, unk_token="<unk>", special_tokens=["<unk>"], show_progress=False))
    small = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16, "vocab_size": 320}
    gpt = {"n_embd": 16, "n_layer": 1, "n_head": 2, "vocab_size": 320}
    seq = {"d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2, "decoder_attention_heads": 2, "encoder_ffn_dim": 16, "decoder_ffn_dim": 16, "vocab_size": 320}
    t5 = {"d_model": 16, "d_kv": 8, "d_ff": 16, "num_layers": 1, "num_heads": 2, "vocab_size": 320}
    image = {"image_size": 16, "patch_size": 8}
    wide: list[tuple[str, dict[str, Any]]] = [
        ("BertForSequenceClassification", small), ("RobertaForMaskedLM", small), ("ElectraForTokenClassification", {**small, "embedding_size": 8}), ("DistilBertForQuestionAnswering", {"dim": 16, "n_layers": 1, "n_heads": 2, "hidden_dim": 16, "vocab_size": 320}), ("AlbertModel", {**small, "embedding_size": 8}), ("DebertaV2ForSequenceClassification", small), ("MPNetModel", small), ("GPT2LMHeadModel", gpt), ("GPTNeoXForCausalLM", small), ("OPTForCausalLM", {**small, "ffn_dim": 16, "word_embed_proj_dim": 16}), ("BloomForCausalLM", {"hidden_size": 16, "n_layer": 1, "n_head": 2, "vocab_size": 320}),
        ("LlamaForCausalLM", {**small, "num_key_value_heads": 1, "rope_scaling": {"rope_type": "linear", "factor": 2.0}}), ("MistralForCausalLM", {**small, "num_key_value_heads": 1}), ("Qwen2ForCausalLM", {**small, "num_key_value_heads": 1}), ("GemmaForCausalLM", {**small, "num_key_value_heads": 1, "head_dim": 8}), ("PhiForCausalLM", small), ("MixtralForCausalLM", {**small, "num_key_value_heads": 1, "num_local_experts": 2}), ("MambaForCausalLM", {"hidden_size": 16, "num_hidden_layers": 1, "state_size": 4, "vocab_size": 320}),
        ("T5ForConditionalGeneration", t5), ("MT5ForConditionalGeneration", t5), ("BartForConditionalGeneration", seq), ("MarianMTModel", {**seq, "pad_token_id": 0, "decoder_start_token_id": 0, "eos_token_id": 2, "forced_eos_token_id": 2}), ("WhisperForConditionalGeneration", {**seq, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 1, "num_mel_bins": 8}), ("ViTForImageClassification", {**small, **image}), ("DeiTModel", {**small, **image}), ("Dinov2Model", {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, **image}), ("ConvNextForImageClassification", {"hidden_sizes": [4, 8], "depths": [1, 1], "num_stages": 2}), ("ResNetForImageClassification", {"embedding_size": 4, "hidden_sizes": [4, 8], "depths": [1, 1]}), ("Wav2Vec2ForCTC", {**small, "conv_dim": [4], "conv_stride": [5], "conv_kernel": [10], "num_conv_pos_embeddings": 4, "num_conv_pos_embedding_groups": 2}),
    ]
    templates = [None, PHI, MISTRAL, COMMAND]
    for at, (name, keys) in enumerate(wide):
        kind = getattr(t, name)
        config = kind.config_class(**dict(keys.items()), id2label={0: "NEG", 1: "POS"}, label2id={"NEG": 0, "POS": 1}) if "Seq" in name or "Image" in name else kind.config_class(**keys)
        model = kind(config)
        tok = t.PreTrainedTokenizerFast(tokenizer_object=piece if at < 7 else uni if 18 <= at < 22 else bpe, unk_token="<unk>", eos_token="</s>", bos_token="<s>", model_max_length=512)
        tok.chat_template = templates[at % 4]

        def folder(d: Path, m: Any = model, k: Any = tok, a: int = at, n: str = name) -> None:
            m.save_pretrained(d, **({"max_shard_size": "5KB"} if a % 5 == 1 else {}))
            k.save_pretrained(d)
            (d / "README.md").write_bytes(card(n.lower(), "text-generation" if "Causal" in n else "text-classification"))
            (d / ".gitattributes").write_text(ATTRIBUTES)
            if a % 3 == 0:
                (d / "LICENSE").write_text(LICENCE)
                torch.save(m.state_dict(), d / "pytorch_model.bin")
            if a % 4 == 2:
                (d / "trainer_state.json").write_bytes(j(best_metric=0.4, epoch=2.0, global_step=100, is_hyper_param_search=False, log_history=[{"epoch": 1.0, "loss": 0.5, "step": 50, "grad_norm": float("nan")}]))
                (d / "all_results.json").write_bytes(j(eval_loss=0.31, eval_samples_per_second=120.5))
                torch.save(torch.optim.AdamW(m.parameters()).state_dict(), d / "optimizer.pt")
        yield "hugging face folder", name, saved(folder)
    base = t.LlamaForCausalLM(t.LlamaConfig(**small, num_key_value_heads=1))
    for name, how in {"lora": LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM", use_dora=True), "ia3": IA3Config(target_modules=["k_proj", "down_proj"], feedforward_modules=["down_proj"])}.items():
        yield "adapter", name, saved(lambda d, c=how: get_peft_model(t.LlamaForCausalLM(base.config), c).save_pretrained(d))
    yield "adapter", "kohya", {"style.safetensors": save({f"lora_unet_down_{i}.lora_down.weight": torch.zeros(4, 8) for i in range(5)}, {"ss_network_dim": "4", "ss_tag_frequency": json.dumps({"10_style": {"1girl, solo": 3}}), "ss_sd_model_name": "sd_xl_base_1.0.safetensors", "modelspec.title": "style <v1>"})}
    sp = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(sentence_iterator=iter(words * 3), model_writer=sp, vocab_size=110, model_type="bpe", byte_fallback=False, minloglevel=2)
    yield "tokenizers", "sentencepiece", {"spiece.model": sp.getvalue(), "special_tokens_map.json": j(eos_token="</s>", pad_token={"content": "<pad>", "lstrip": False}), "added_tokens.json": j(**{"<extra_0>": 110})}
    yield "tokenizers", "bpe_files", {**saved(lambda d: bpe.model.save(str(d))), "tokenizer.json": bpe.to_str().encode()}
    yield "tokenizers", "word_piece", saved(lambda d: (piece.save(str(d / "tokenizer.json")), piece.model.save(str(d))))
    encoder = t.BertModel(t.BertConfig(**small))
    st = saved(lambda d: (encoder.save_pretrained(d), t.PreTrainedTokenizerFast(tokenizer_object=piece).save_pretrained(d)))
    kinds = [("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Normalize", "Normalize")]
    modules = [{"idx": i, "name": str(i), "path": p, "type": f"sentence_transformers.models.{c}"} for i, (p, c) in enumerate(kinds)]
    yield "sentence transformer", "mini", {**st, "modules.json": json.dumps(modules, indent=2).encode(), "1_Pooling/config.json": j(word_embedding_dimension=16, pooling_mode_mean_tokens=True), "sentence_bert_config.json": j(max_seq_length=256, do_lower_case=False), "config_sentence_transformers.json": j(__version__={"sentence_transformers": "3.0.1"}, prompts={}, default_prompt_name=None, similarity_fn_name="cosine"), "README.md": card("mini", "sentence-similarity")}
    dense = [*modules[:2], {"idx": 2, "name": "2", "path": "2_Dense", "type": "sentence_transformers.models.Dense"}]
    yield "sentence transformer", "dense", {**st, "modules.json": json.dumps(dense).encode(), "1_Pooling/config.json": j(word_embedding_dimension=16), "2_Dense/config.json": j(in_features=16, out_features=8, bias=True, activation_function="torch.nn.modules.activation.Tanh"), "2_Dense/model.safetensors": save({"linear.weight": torch.zeros(8, 16), "linear.bias": torch.zeros(8)})}
    parts = {"text_encoder": ["transformers", "CLIPTextModel"], "tokenizer": ["transformers", "CLIPTokenizer"], "unet": ["diffusers", "UNet2DConditionModel"], "vae": ["diffusers", "AutoencoderKL"], "scheduler": ["diffusers", "PNDMScheduler"], "safety_checker": [None, None]}
    weight = save({"conv_in.weight": torch.zeros(4, 4, 3, 3)}, {"format": "pt"})
    yield "diffusers", "stable", {"model_index.json": j(_class_name="StableDiffusionPipeline", _diffusers_version="0.29.2", **parts), "unet/config.json": j(_class_name="UNet2DConditionModel", sample_size=64, down_block_types=["CrossAttnDownBlock2D"]), "unet/diffusion_pytorch_model.safetensors": weight, "vae/config.json": j(_class_name="AutoencoderKL", scaling_factor=0.18215), "vae/diffusion_pytorch_model.fp16.safetensors": weight, "scheduler/scheduler_config.json": j(_class_name="PNDMScheduler", beta_schedule="scaled_linear", prediction_type="epsilon"), "tokenizer/merges.txt": b"#version: 0.2\ni n\nt h\n", "tokenizer/vocab.json": j(i=0, n=1, th=2), "README.md": card("stable", "text-to-image", "openrail++")}
    code = b"from transformers import PretrainedConfig\n\nclass MyConfig(PretrainedConfig):\n    model_type = 'my'\n"
    yield "borderline remote code", "configuration", {"config.json": j(model_type="my", auto_map={"AutoConfig": "configuration_my.MyConfig"}), "configuration_my.py": code}


def ggufs(rng: Rng) -> Iterator[tuple[str, str, Files]]:
    import gguf

    for name, arch, template in (("phi", "phi3", PHI), ("mistral", "llama", MISTRAL), ("bert", "bert", ""), ("command", "command-r", COMMAND)):
        def write(d: Path, n: str = name, a: str = arch, c: str = template) -> None:
            w = gguf.GGUFWriter(d / f"{n}.gguf", a)
            w.add_name(n)
            w.add_context_length(4096)
            w.add_rope_freq_base(10000.0)
            w.add_tokenizer_model("gpt2")
            w.add_token_list(["<s>", "</s>", "Ġthe", "import", "os"])
            w.add_token_types([3, 3, 1, 1, 1])
            if c:
                w.add_chat_template(c)
            w.add_tensor("token_embd.weight", rng.normal(size=(8, 32)).astype("float16"))
            w.add_tensor("q", gguf.quants.quantize(rng.normal(size=(4, 64)).astype("float32"), gguf.GGMLQuantizationType.Q8_0), raw_dtype=gguf.GGMLQuantizationType.Q8_0)
            w.write_header_to_file()
            w.write_kv_data_to_file()
            w.write_tensors_to_file()
            w.close()
        yield "gguf", name, saved(write)


def files(rng: Rng) -> Iterator[tuple[str, str, Files]]:
    import matplotlib as mpl
    import pandas as pd
    import py7zr
    import safetensors.numpy
    import scipy.sparse
    import xgboost as xgb
    import yaml
    from PIL import Image

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    frame = pd.DataFrame({"id": range(50), "text": [f'=row {i}, "quoted"' if i % 9 else "Zürich\n東京" for i in range(50)], "score": rng.normal(size=50), "when": pd.date_range("2024-01-01", periods=50)})
    for ext, write in {"csv": lambda p: frame.to_csv(p, quoting=csv.QUOTE_ALL), "tsv": lambda p: frame.to_csv(p, sep="\t"), "jsonl": lambda p: frame.to_json(p, orient="records", lines=True), "parquet": lambda p: frame.to_parquet(p, compression="zstd"), "feather": lambda p: frame.to_feather(p), "csv.gz": lambda p: frame.to_csv(p), "json": lambda p: frame.to_json(p, orient="split")}.items():
        yield "data", f"frame.{ext}", saved(lambda d, e=ext, w=write: w(d / f"frame.{e}"))
    yield "data", "frame.pkl", {"frame.pkl": pickle.dumps(frame.assign(c=frame["id"].astype("category")), 4)}
    figure, axis = plt.subplots()
    axis.plot(rng.normal(size=20), label="loss")
    axis.legend()
    for ext in ("png", "svg", "jpg", "webp", "pdf"):
        yield ("borderline picture" if ext == "pdf" else "pictures"), f"curve.{ext}", saved(lambda d, e=ext: figure.savefig(d / f"curve.{e}"))
    plt.close(figure)
    for ext in ("gif", "bmp", "tiff"):
        yield "pictures", f"sample.{ext}", saved(lambda d, e=ext: Image.fromarray(rng.integers(0, 255, (20, 20, 3), dtype="uint8")).save(d / f"s.{e}"))
    arrays = {"f2.npy": rng.normal(size=(3, 4)).astype("<f2"), "fortran.npy": np.asfortranarray(rng.normal(size=(5, 6))), "struct.npy": np.zeros(3, [("a", "<i4"), ("b", "S8"), ("c", "<f8", (2,))]), "text.npy": np.array(["cat", "東京"]), "dates.npy": np.array(["2024-01-01"], "M8[D]"), "zero.npy": np.empty((0, 7)), "big_endian.npy": np.arange(4, dtype=">i8"), "scalar.npy": np.array(3.5)}
    for name, array in arrays.items():
        yield "numpy", name, saved(lambda d, n=name, a=array: np.save(d / n, a))
    yield "numpy", "pack.npz", saved(lambda d: np.savez(d / "pack.npz", x=arrays["f2.npy"], labels=arrays["text.npy"]))
    yield "numpy", "sparse.npz", saved(lambda d: scipy.sparse.save_npz(d / "tfidf.npz", scipy.sparse.random(20, 20, 0.1, "csr")))
    yield "numpy", "safe.safetensors", {"m.safetensors": safetensors.numpy.save({"a": np.zeros((0, 3)), "b": arrays["fortran.npy"], "c": np.array(True), "d": np.arange(5, dtype="uint16")}, {"format": "np", "licence": "MIT"})}
    yield "text", "yaml", {"config.yaml": yaml.safe_dump({"model": {"lr": 1e-3, "layers": [64, 32]}, "data": {"path": "data/train.csv"}, "seed": None}).encode(), "params.yml": b"defaults: &d\n  lr: 0.1\nrun:\n  <<: *d\n  epochs: 3\n"}
    yield "text", "log", {"train.log": b"".join(f"2024-05-01 10:00:{i:02d},123 INFO epoch {i} loss={1 / (i + 1):.4f} eval(acc)=0.{i}\n".encode() for i in range(60)), "metrics.csv": b"step,loss\n1,0.5\n2,nan\n"}
    yield "text", "repository", {"README.md": card("repo"), ".gitignore": IGNORE.encode(), "LICENSE": LICENCE.encode(), "CHANGELOG.md": b"# 1.0\n- first\n", "requirements.txt": b"scikit-learn==1.5.0\nnumpy>=1.26,<3\n", "labels.txt": b"cat\ndog\n", "CITATION.cff": b"cff-version: 1.2.0\ntitle: M\n"}
    tree = xgb.train({"max_depth": 2}, xgb.DMatrix(rng.normal(size=(20, 2)), np.arange(20)), 2).save_raw("json")
    yield "text", "mlflow", {"MLmodel": yaml.safe_dump({"artifact_path": "model", "flavors": {"xgboost": {"data": "model.json", "model_format": "json", "xgb_version": "2.1.0"}}, "mlflow_version": "2.14.1", "run_id": "0f" * 16, "signature": {"inputs": "[]"}}).encode(), "model.json": bytes(tree), "requirements.txt": b"mlflow==2.14.1\nxgboost==2.1.0\n", "python_env.yaml": b"python: 3.11.7\nbuild_dependencies:\n- pip==24.0\ndependencies:\n- -r requirements.txt\n"}
    pmml = b'<?xml version="1.0" encoding="UTF-8"?>\n<PMML xmlns="http://www.dmg.org/PMML-4_4" version="4.4"><Header copyright="acme"><Application name="SkLearn2PMML" version="0.110"/></Header><DataDictionary numberOfFields="2"><DataField name="x" optype="continuous" dataType="double"/><DataField name="y" optype="continuous" dataType="double"/></DataDictionary><RegressionModel functionName="regression"><MiningSchema><MiningField name="x"/><MiningField name="y" usageType="target"/></MiningSchema><RegressionTable intercept="1.5"><NumericPredictor name="x" coefficient="0.25"/></RegressionTable></RegressionModel></PMML>\n'
    yield "text", "linear.pmml", {"linear.pmml": pmml}
    yield "text", "vectors", {"glove.txt": b"".join(f"word{i} {' '.join(f'{v:.4f}' for v in rng.normal(size=8))}\n".encode() for i in range(50)), "merges.txt": b"#version: 0.2\nt h\nth e\n", "vocab.txt": "[PAD]\n##ing\nexec\nos\n東\n".encode()}
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as z:
        z.writestr("model/model.safetensors", safetensors.numpy.save({"w": arrays["fortran.npy"]}))
        z.writestr("model/README.md", card("zip"))
    yield "archives", "model.zip", {"model.zip": out.getvalue()}
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        info = tarfile.TarInfo("model/weights.npy")
        buffer = io.BytesIO()
        np.save(buffer, arrays["f2.npy"])
        info.size = len(buffer.getvalue())
        tar.addfile(info, io.BytesIO(buffer.getvalue()))
    yield "archives", "model.tar.gz", {"model.tar.gz": packed.getvalue()}
    seven = io.BytesIO()
    with py7zr.SevenZipFile(seven, "w") as s:
        s.writestr(b"a,b\n1,2\n", "data.csv")
    yield "archives", "data.7z", {"data.7z": seven.getvalue()}


def samples(rng: Rng) -> Iterator[Sample]:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    for part in (tables, boosted, networks, onnxes, language, ggufs, files):
        for category, name, content in part(rng):
            yield Sample(category, name, content)
