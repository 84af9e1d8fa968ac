"""Round 3, harmless: what users of the usual libraries keep, written by those libraries.

Written without a look at the scanner; everything here was loaded once by the library that wrote it.
"""

# fmt: off
# One sample a line: a table is read so.

import gzip
import io
import json
import lzma
import os
import pickle  # noqa: TID251 - written, never read
import random  # noqa: TID251 - its state is what trainers save
import tarfile
import tempfile
import zipfile
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from held_out import Sample
from held_out.assemble import Rng

Files = dict[str, bytes]
CHATML = "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
LLAMA2 = "{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}{% set system_message = messages[0]['content'] %}{% else %}{% set loop_messages = messages %}{% set system_message = false %}{% endif %}{% for message in loop_messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}{% if loop.index0 == 0 and system_message != false %}{% set content = '<<SYS>>\\n' + system_message + '\\n<</SYS>>\\n\\n' + message['content'] %}{% else %}{% set content = message['content'] %}{% endif %}{% if message['role'] == 'user' %}{{ bos_token + '[INST] ' + content.strip() + ' [/INST]' }}{% elif message['role'] == 'assistant' %}{{ ' ' + content.strip() + ' ' + eos_token }}{% endif %}{% endfor %}"
LLAMA3 = "{{- bos_token }}\n{%- if custom_tools is defined %}\n    {%- set tools = custom_tools %}\n{%- endif %}\n{%- if not date_string is defined %}\n    {%- if strftime_now is defined %}\n        {%- set date_string = strftime_now('%d %b %Y') %}\n    {%- else %}\n        {%- set date_string = '26 Jul 2024' %}\n    {%- endif %}\n{%- endif %}\n{%- if messages[0]['role'] == 'system' %}\n    {%- set system_message = messages[0]['content']|trim %}\n    {%- set messages = messages[1:] %}\n{%- else %}\n    {%- set system_message = '' %}\n{%- endif %}\n{%- for message in messages %}\n    {%- if not (message.role == 'ipython' or message.role == 'tool' or 'tool_calls' in message) %}\n        {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n' + message['content'] | trim + '<|eot_id|>' }}\n    {%- elif 'tool_calls' in message %}\n        {%- set tool_call = message.tool_calls[0].function %}\n        {{- '{\"name\": \"' + tool_call.name + '\", \"parameters\": ' }}\n        {{- tool_call.arguments | tojson }}\n        {{- '}' }}\n    {%- elif message.role == 'tool' %}\n        {%- if message.content is mapping or message.content is iterable %}\n            {{- message.content | tojson }}\n        {%- else %}\n            {{- message.content }}\n        {%- endif %}\n    {%- endif %}\n{%- endfor %}"
QWEN3 = "{%- macro render(content) %}{{- content if content is string else '' }}{%- endmacro %}\n{%- if tools %}\n    {{- '<|im_start|>system\\n' }}\n    {%- for tool in tools %}\n        {{- \"\\n\" }}\n        {{- tool | tojson }}\n    {%- endfor %}\n    {{- '<|im_end|>\\n' }}\n{%- endif %}\n{%- set ns = namespace(multi_step_tool=true, last_query_index=messages|length - 1) %}\n{%- for message in messages[::-1] %}\n    {%- set index = (messages|length - 1) - loop.index0 %}\n    {%- if ns.multi_step_tool and message.role == 'user' and not (message.content.startswith('<tool_response>') and message.content.endswith('</tool_response>')) %}\n        {%- set ns.multi_step_tool = false %}\n        {%- set ns.last_query_index = index %}\n    {%- endif %}\n{%- endfor %}\n{%- for message in messages %}\n    {%- if '</think>' in message.content %}\n        {%- set content = message.content.split('</think>')[-1].lstrip('\\n') %}\n        {{- render(content) }}\n    {%- endif %}\n{%- endfor %}\n{%- if add_generation_prompt %}\n    {{- '<|im_start|>assistant\\n' }}\n    {%- if enable_thinking is defined and enable_thinking is false %}\n        {{- '<think>\\n\\n</think>\\n\\n' }}\n    {%- endif %}\n{%- endif %}"
GEMMA = "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}{% for message in messages %}{% if (message['role'] == 'assistant') %}{% set role = 'model' %}{% else %}{% set role = message['role'] %}{% endif %}{{ '<start_of_turn>' + role + '\\n' + message['content'] | trim + '<end_of_turn>\\n' }}{% endfor %}{% if add_generation_prompt %}{{'<start_of_turn>model\\n'}}{% endif %}"
ZEPHYR = "{% for message in messages %}\n{% if message['role'] == 'user' %}\n{{ '<|user|>\n' + message['content'] + eos_token }}\n{% elif message['role'] == 'assistant' %}\n{{ '<|assistant|>\n'  + message['content'] + eos_token }}\n{% endif %}\n{% if loop.last and add_generation_prompt %}\n{{ '<|assistant|>' }}\n{% endif %}\n{% endfor %}"
DEEPSEEK = "{% if not add_generation_prompt is defined %}{% set add_generation_prompt = false %}{% endif %}{% set ns = namespace(is_first=false, is_tool=false, system_prompt='') %}{%- for message in messages %}{%- if message['role'] == 'system' %}{% set ns.system_prompt = message['content'] %}{%- endif %}{%- endfor %}{{bos_token}}{{ns.system_prompt}}{%- for message in messages %}{%- if message['role'] == 'user' %}{{'<｜User｜>' + message['content']}}{%- endif %}{%- if message['role'] == 'assistant' and message['content'] is not none %}{{'<｜Assistant｜>' + message['content'] + '<｜end▁of▁sentence｜>'}}{%- endif %}{%- endfor %}{% if add_generation_prompt %}{{'<｜Assistant｜>'}}{% endif %}"
TEMPLATES = {"chatml": CHATML, "llama2": LLAMA2, "llama3": LLAMA3, "qwen3": QWEN3, "gemma": GEMMA, "zephyr": ZEPHYR, "deepseek": DEEPSEEK}
WORDS = ["The quick brown fox jumps over the lazy dog.", "Model cards describe intended use.", "import os is text here", "naïve café, 東京 and Привет", "https://example.org/a?b=c"] * 40
CARD = "---\nlicense: apache-2.0\nlanguage: [en]\ntags: [text-classification]\nmetrics: [accuracy]\n---\n# Model\n\n## Use\n\n```python\nfrom transformers import pipeline\npipe = pipeline('text-classification', model='acme/model')\nprint(pipe('hello'))\n```\n\n| metric | value |\n|---|---|\n| acc | 0.9 |\n\n<p align=\"center\"><img src=\"figure.png\" width=\"400\"/></p>\n"


def saved(write: Callable[[Path], object]) -> Files:
    """Return every file that `write` leaves in a folder."""
    with tempfile.TemporaryDirectory() as name:
        write(Path(name))
        return {str(p.relative_to(name)): p.read_bytes() for p in sorted(Path(name).rglob("*")) if p.is_file()}


def j(**keys: object) -> bytes:
    return json.dumps(keys, indent=2).encode()


def estimators(rng: Rng) -> Iterator[tuple[str, Any]]:
    from sklearn import (
        calibration,
        compose,
        cross_decomposition,
        decomposition,
        dummy,
        ensemble,
        feature_extraction,
        feature_selection,
        isotonic,
        kernel_ridge,
        linear_model,
        manifold,
        model_selection,
        naive_bayes,
        neighbors,
        pipeline,
        preprocessing,
        random_projection,
        semi_supervised,
        svm,
        tree,
    )
    from sklearn import cluster, impute  # isort: skip
    from sklearn.base import is_regressor

    x, y, z = rng.normal(size=(60, 5)), rng.integers(0, 3, 60), rng.normal(size=60)
    frame = __import__("pandas").DataFrame({"a": x[:, 0], "b": rng.choice(["u", "v", "w"], 60)})
    for model in (
        linear_model.LogisticRegression(C=0.3), linear_model.Lasso(0.1), linear_model.BayesianRidge(), linear_model.Perceptron(), linear_model.PassiveAggressiveClassifier(), linear_model.LassoLarsIC(), linear_model.OrthogonalMatchingPursuit(), linear_model.TheilSenRegressor(max_iter=5), linear_model.HuberRegressor(), linear_model.QuantileRegressor(alpha=0.1), linear_model.PoissonRegressor(), linear_model.RidgeClassifierCV(),
        tree.DecisionTreeClassifier(max_depth=4), tree.DecisionTreeRegressor(max_leaf_nodes=9), tree.ExtraTreeClassifier(), ensemble.RandomForestClassifier(5), ensemble.ExtraTreesRegressor(4), ensemble.GradientBoostingClassifier(n_estimators=4), ensemble.HistGradientBoostingClassifier(max_iter=4), ensemble.BaggingRegressor(n_estimators=3), ensemble.AdaBoostRegressor(n_estimators=3), ensemble.IsolationForest(n_estimators=4),
        ensemble.VotingClassifier([("a", naive_bayes.GaussianNB()), ("b", tree.DecisionTreeClassifier())], voting="soft"), ensemble.StackingRegressor([("r", linear_model.Ridge()), ("k", neighbors.KNeighborsRegressor())]), svm.SVC(probability=False), svm.LinearSVR(), svm.OneClassSVM(), neighbors.KNeighborsClassifier(algorithm="kd_tree"), neighbors.NearestCentroid(), neighbors.LocalOutlierFactor(novelty=True), neighbors.NeighborhoodComponentsAnalysis(max_iter=4),
        naive_bayes.GaussianNB(), naive_bayes.BernoulliNB(), dummy.DummyRegressor(strategy="median"), calibration.CalibratedClassifierCV(svm.LinearSVC(), cv=2), model_selection.GridSearchCV(linear_model.Ridge(), {"alpha": [0.1, 1.0]}, cv=2), model_selection.RandomizedSearchCV(tree.DecisionTreeClassifier(), {"max_depth": [1, 2, 3]}, n_iter=2, cv=2), feature_selection.RFE(linear_model.Ridge(), n_features_to_select=2), feature_selection.SelectFromModel(ensemble.RandomForestRegressor(3)),
        semi_supervised.LabelPropagation(), semi_supervised.SelfTrainingClassifier(naive_bayes.GaussianNB()), cross_decomposition.PLSRegression(), kernel_ridge.KernelRidge(), compose.TransformedTargetRegressor(linear_model.Ridge(), transformer=preprocessing.StandardScaler()),
    ):  # fmt: skip
        yield type(model).__name__, model.fit(x, np.abs(z) if is_regressor(model) else y)
    for model in (cluster.KMeans(3, n_init=1), cluster.DBSCAN(), cluster.MiniBatchKMeans(3, n_init=1), cluster.Birch(n_clusters=3), cluster.AgglomerativeClustering(3), decomposition.PCA(2), decomposition.TruncatedSVD(2), decomposition.FastICA(2), decomposition.FactorAnalysis(2), manifold.Isomap(n_components=2), random_projection.GaussianRandomProjection(3), preprocessing.StandardScaler(), preprocessing.RobustScaler(), preprocessing.PowerTransformer(), preprocessing.KBinsDiscretizer(3), preprocessing.PolynomialFeatures(2), preprocessing.SplineTransformer(), preprocessing.FunctionTransformer(), impute.SimpleImputer(), impute.KNNImputer()):
        yield type(model).__name__, model.fit(x)
    yield "LabelEncoder", preprocessing.LabelEncoder().fit(["a", "b"])
    yield "MultiLabelBinarizer", preprocessing.MultiLabelBinarizer().fit([{"a", "b"}, {"c"}])
    yield "IsotonicRegression", isotonic.IsotonicRegression().fit(x[:, 0], z)
    columns = compose.ColumnTransformer([("n", preprocessing.StandardScaler(), ["a"]), ("c", preprocessing.OneHotEncoder(handle_unknown="ignore"), ["b"])])
    yield "column-pipeline", pipeline.make_pipeline(columns, linear_model.LogisticRegression()).fit(frame, y)
    yield "column-ordinal", pipeline.Pipeline([("c", compose.make_column_transformer((preprocessing.OrdinalEncoder(), ["b"]), remainder="passthrough")), ("m", ensemble.RandomForestClassifier(3))]).fit(frame, y)
    yield "text-pipeline", pipeline.make_pipeline(feature_extraction.text.TfidfVectorizer(ngram_range=(1, 2), stop_words="english"), linear_model.SGDClassifier()).fit(WORDS[:60], y)
    yield "union", pipeline.FeatureUnion([("p", decomposition.PCA(2)), ("s", preprocessing.MinMaxScaler())]).fit(x)
    yield "hashing", feature_extraction.text.HashingVectorizer(n_features=16)
    yield "dict-vectorizer", feature_extraction.DictVectorizer().fit([{"a": 1}, {"b": 2}])


def tables(rng: Rng) -> Iterator[tuple[str, str, Files]]:
    import joblib
    import skops.io
    import xgboost

    for at, (name, model) in enumerate(estimators(rng)):
        if at % 3 == 0:
            yield "3 sklearn pickle", name, {"model.pkl": pickle.dumps(model, (2, 3, 4, 5)[at % 4])}
        if at % 3 == 1:
            how: Any = (0, 3, ("gzip", 3), ("bz2", 3), ("xz", 3), ("lzma", 2))[at // 3 % 6]
            yield "3 sklearn joblib", name, saved(lambda p, m=model, h=how: joblib.dump(m, p / "model.joblib", compress=h))
        if at % 2 == 0:
            raw = skops.io.dumps(model)
            if not skops.io.get_untrusted_types(data=raw):
                yield "3 sklearn skops", name, {"model.skops": raw}
    x, y = rng.normal(size=(80, 4)).astype("f4"), rng.integers(0, 2, 80)
    import lightgbm

    for objective in ("binary:logistic", "reg:squarederror", "rank:pairwise", "count:poisson"):
        booster = xgboost.train({"objective": objective, "max_depth": 3, "verbosity": 0}, xgboost.DMatrix(x, y, feature_names=list("abcd")), 4)
        for kind in ("json", "ubj"):
            yield "3 boosting", f"xgboost-{objective}-{kind}", {f"model.{kind}": bytes(booster.save_raw(kind))}
    for kind in ("dart", "gblinear"):
        yield "3 boosting", f"xgboost-{kind}", {"model.json": bytes(xgboost.train({"booster": kind, "objective": "binary:logistic", "verbosity": 0}, xgboost.DMatrix(x, y), 3).save_raw("json"))}
    yield "3 boosting", "xgboost-sklearn-pickle", {"model.pkl": pickle.dumps(xgboost.XGBClassifier(n_estimators=3).fit(x, y))}
    for params in ({"objective": "binary"}, {"objective": "regression_l1", "boosting": "dart"}, {"objective": "multiclass", "num_class": 2}, {"objective": "binary", "boosting": "rf", "bagging_freq": 1, "bagging_fraction": 0.5}):
        booster = lightgbm.train(params | {"verbosity": -1, "min_data_in_leaf": 2}, lightgbm.Dataset(x, y), 3)
        yield "3 boosting", f"lightgbm-{params['objective']}", {"model.txt": booster.model_to_string().encode()}
    yield "3 boosting", "lightgbm-categorical", {"lgbm.txt": lightgbm.train({"objective": "binary", "verbosity": -1, "min_data_in_leaf": 2}, lightgbm.Dataset(np.c_[x, rng.integers(0, 5, 80)], y, categorical_feature=[4]), 3).model_to_string().encode()}
    yield "3 boosting", "lightgbm-sklearn-joblib", saved(lambda p: joblib.dump(lightgbm.LGBMRegressor(n_estimators=3, verbosity=-1).fit(x, y), p / "lgb.joblib"))
    for name, array in {"f4": x, "f2": x.astype("f2"), "c16": x.astype("c16"), "fortran": np.asfortranarray(x), "bool": x > 0, "str": np.array(["a", "béta"]), "bytes": np.array([b"a", b"bc"]), "dates": np.array(["2024-01-01"], "M8[D]"), "record": np.array([(1, 2.0)], [("a", "i4"), ("b", "f8")]), "nested": np.zeros(2, [("p", [("x", "f4"), ("y", "f4", (2,))])]), "empty": np.zeros((0, 3)), "scalar": np.array(3), "big-endian": x.astype(">f8")}.items():  # fmt: skip
        yield "3 numpy", f"npy-{name}", saved(lambda p, a=array: np.save(p / "a.npy", a))
    yield "3 numpy", "npz", saved(lambda p: np.savez(p / "a.npz", x=x, y=y))
    yield "3 numpy", "npz-compressed", saved(lambda p: np.savez_compressed(p / "a.npz", arr=x, names=np.array(["a"])))
    sparse = __import__("scipy.sparse").sparse
    yield "3 numpy", "scipy-npz", saved(lambda p: sparse.save_npz(p / "s.npz", sparse.random(9, 9, 0.2, format="csr")))
    yield "3 numpy", "array-pickle", {"x.pkl": pickle.dumps({"x": x, "y": y, "s": np.float32(2), "rng": np.random.default_rng(1)})}
    yield "3 numpy", "sparse-pickle", {"x.pkl": pickle.dumps(sparse.random(9, 9, 0.2, format="csc"))}
    frame = __import__("pandas").DataFrame({"a": x[:, 0], "b": ["u"] * 80})
    plain = {"dict": {"a": [1, 2.5, None, True, "x", b"y"], "s": {1, 2}, "f": frozenset({3}), "c": 1j}, "defaultdict": defaultdict(list, {"a": [1]}), "ordered": OrderedDict(a=1), "random-state": random.getstate(), "numpy-state": np.random.get_state(), "bytearray": bytearray(b"abc"), "slice": slice(1, 2), "path-text": {"path": "../../etc/passwd", "cmd": "os.system('rm')"}}  # fmt: skip  # noqa: NPY002 - what trainers save
    for name, value in plain.items():
        yield "3 plain pickle", name, {"state.pkl": pickle.dumps(value, len(name) % 6)}
    yield "borderline", "datetime-pickle", {"state.pkl": pickle.dumps({"at": __import__("datetime").datetime(2024, 1, 1), "d": __import__("decimal").Decimal("1.5"), "id": __import__("uuid").UUID(int=5)})}
    yield "3 plain pickle", "vocab-gz", {"vocab.pkl.gz": gzip.compress(pickle.dumps({f"t{i}": i for i in range(500)}))}
    yield "borderline", "dataframe-pickle", {"frame.pkl": pickle.dumps(frame)}
    yield "borderline", "parquet", saved(lambda p: frame.to_parquet(p / "a.parquet"))
    yield "3 text", "csv", {"a.csv": frame.to_csv().encode()}
    yield "3 text", "csv-semicolon", {"a.csv": frame.to_csv(sep=";", decimal=",").encode("utf-8-sig")}
    yield "3 text", "tsv", {"a.tsv": frame.to_csv(sep="\t", index=False).encode()}
    yield "3 text", "jsonl", {"a.jsonl": frame.to_json(orient="records", lines=True).encode()}
    yield "3 text", "json-table", {"a.json": frame.to_json(orient="table").encode()}
    yield "3 text", "csv-quoted", {"a.csv": b'id,text\n1,"He said ""import os"" and\nleft"\n2,"https://example.org/?a=b"\n'}
    yield "3 text", "csv-gz", {"a.csv.gz": gzip.compress(frame.to_csv().encode())}
    yield "3 text", "json-xz", {"a.json.xz": lzma.compress(frame.to_json().encode())}


def torches(rng: Rng) -> Iterator[tuple[str, str, Files]]:
    import torch
    from safetensors.torch import save
    from torch import nn

    torch.manual_seed(int(rng.integers(99)))

    def pt(value: object, name: str = "model.pt", **how: Any) -> Files:
        out = io.BytesIO()
        torch.save(value, out, **how)
        return {name: out.getvalue()}

    nets: dict[str, Callable[[], nn.Module]] = {
        "mlp": lambda: nn.Sequential(nn.Linear(4, 8), nn.GELU(), nn.Dropout(0.1), nn.Linear(8, 2)), "cnn": lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU6(), nn.AdaptiveAvgPool2d(1), nn.Flatten()), "lstm": lambda: nn.LSTM(4, 8, 2, bidirectional=True), "gru": lambda: nn.GRU(4, 8), "transformer": lambda: nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16), 2),
        "embedding": lambda: nn.EmbeddingBag(10, 4), "attention": lambda: nn.MultiheadAttention(8, 2), "conv1d": lambda: nn.Sequential(nn.Conv1d(1, 2, 3), nn.SiLU(), nn.GroupNorm(1, 2)), "upsample": lambda: nn.Sequential(nn.ConvTranspose2d(2, 2, 2), nn.Upsample(scale_factor=2), nn.PixelShuffle(1)), "dict": lambda: nn.ModuleDict({"a": nn.Linear(2, 2), "b": nn.ModuleList([nn.LayerNorm(3), nn.Softmax(-1)])}), "params": lambda: nn.ParameterList([nn.Parameter(torch.ones(2))]),
    }  # fmt: skip
    for name, make in nets.items():
        net = make()
        yield "3 torch state", name, pt(net.state_dict(), "pytorch_model.bin")
        yield "3 torch state", f"{name}-legacy", pt(net.state_dict(), "model.pth", _use_new_zipfile_serialization=False)
        yield "3 torch module", name, pt(net)
        yield "3 safetensors", name, {"model.safetensors": save({k: v.contiguous() for k, v in net.state_dict().items()}, {"format": "pt"})}
    net = nets["mlp"]()
    for opt in (torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW, torch.optim.RMSprop, torch.optim.Adagrad, torch.optim.NAdam, torch.optim.Adadelta, torch.optim.LBFGS):
        optimizer = opt(net.parameters(), lr=0.1)
        optimizer.zero_grad()
        net(torch.ones(2, 4)).sum().backward()
        optimizer.step(lambda: net(torch.ones(2, 4)).sum())  # type: ignore[arg-type]
        yield "3 torch checkpoint", opt.__name__, pt({"epoch": 3, "model_state_dict": net.state_dict(), "optimizer_state_dict": optimizer.state_dict(), "loss": torch.tensor(0.1), "best": 0.5, "args": {"lr": 0.1}}, "checkpoint.ckpt")
    sgd = torch.optim.SGD(net.parameters(), lr=0.1)
    for sched in (torch.optim.lr_scheduler.StepLR(sgd, 2), torch.optim.lr_scheduler.CosineAnnealingLR(sgd, 5), torch.optim.lr_scheduler.OneCycleLR(sgd, 0.1, 10), torch.optim.lr_scheduler.ReduceLROnPlateau(sgd), torch.optim.lr_scheduler.LambdaLR(sgd, lambda e: 0.9**e)):
        yield "3 torch checkpoint", type(sched).__name__, pt(sched.state_dict(), "scheduler.pt")
    yield "3 torch checkpoint", "lightning", pt({"epoch": 1, "global_step": 10, "pytorch-lightning_version": "2.4.0", "state_dict": net.state_dict(), "loops": {"fit_loop": {"state_dict": {}}}, "callbacks": {"ModelCheckpoint{'monitor': 'val'}": {"best_model_score": torch.tensor(1.0), "best_model_path": "/runs/a.ckpt"}}, "hparams_name": "kwargs", "hyper_parameters": {"lr": 0.1}}, "last.ckpt")
    yield "3 torch checkpoint", "rng", pt({"python": random.getstate(), "numpy": np.random.get_state(), "cpu": torch.random.get_rng_state()}, "rng_state.pth")  # noqa: NPY002 - what trainers save
    for name, tensor in {"bf16": torch.ones(3, dtype=torch.bfloat16), "fp8": torch.ones(3).to(torch.float8_e4m3fn), "int8": torch.ones(3, dtype=torch.int8), "bool": torch.ones(3, dtype=torch.bool), "complex": torch.ones(3, dtype=torch.complex64), "strided": torch.arange(12.0).reshape(3, 4).T, "sparse": torch.eye(3).to_sparse(), "csr": torch.eye(3).to_sparse_csr(), "parameter": nn.Parameter(torch.ones(2)), "buffer": nn.Buffer(torch.ones(2)), "quantized": torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8), "list": [torch.ones(1), "a", None], "size": torch.Size([1, 2]), "device": torch.device("cpu"), "dtype": torch.float16, "meta": torch.ones(2, device="meta")}.items():  # fmt: skip
        yield "3 torch tensor", name, pt(tensor)
    for protocol in (3, 4):
        yield "3 torch tensor", f"protocol-{protocol}", pt({"a": torch.ones(2)}, pickle_protocol=protocol)
    script = torch.jit.script(net)
    yield "borderline", "torchscript", saved(lambda p: script.save(p / "m.pt"))
    for name, value in {"bf16": {"a": torch.ones(2, dtype=torch.bfloat16)}, "fp8": {"a": torch.ones(4).to(torch.float8_e5m2)}, "empty-tensor": {"a": torch.ones(0, 4)}, "scalar": {"a": torch.tensor(1.0)}, "i64": {"a": torch.arange(5), "b": torch.ones(3, dtype=torch.bool)}}.items():
        yield "3 safetensors", name, {"w.safetensors": save(value)}
    yield "3 onnx", "torch", saved(lambda p: torch.onnx.export(nets["mlp"]().eval(), (torch.ones(1, 4),), p / "m.onnx", verbose=False))
    yield "3 onnx", "torch-cnn-legacy", saved(lambda p: torch.onnx.export(nets["cnn"]().eval(), (torch.ones(1, 3, 8, 8),), p / "m.onnx", dynamo=False))
    yield "3 onnx", "torch-external", saved(lambda p: torch.onnx.export(nets["mlp"]().eval(), (torch.ones(1, 4),), p / "m.onnx", verbose=False, external_data=True))


def onnxes(rng: Rng) -> Iterator[tuple[str, str, Files]]:
    import onnx
    from onnx import TensorProto, helper
    from skl2onnx import to_onnx
    from sklearn import ensemble, linear_model, pipeline, preprocessing, svm

    x, y = rng.normal(size=(40, 4)).astype("f4"), rng.integers(0, 2, 40)
    for model in (linear_model.LogisticRegression(), ensemble.RandomForestClassifier(3), svm.SVC(), pipeline.make_pipeline(preprocessing.StandardScaler(), linear_model.Ridge()), preprocessing.MinMaxScaler()):
        yield "3 onnx", f"skl-{type(model).__name__}", {"model.onnx": to_onnx(model.fit(x, y), x[:1]).SerializeToString()}
    value = helper.make_tensor_value_info
    for op, inputs, how in (("Relu", 1, {}), ("Add", 2, {}), ("Softmax", 1, {"axis": 1}), ("Gelu", 1, {}), ("LayerNormalization", 2, {}), ("If", 0, None), ("Cast", 1, {"to": 1})):
        if how is None:
            branch = helper.make_graph([helper.make_node("Constant", [], ["c"], value_float=1.0)], "b", [], [value("c", 1, [])])
            graph = helper.make_graph([helper.make_node("If", ["p"], ["y"], then_branch=branch, else_branch=branch)], "g", [value("p", TensorProto.BOOL, [])], [value("y", 1, [])])
        else:
            graph = helper.make_graph([helper.make_node(op, [f"x{i}" for i in range(inputs)], ["y"], **how)], "g", [value(f"x{i}", 1, [2, 2] if op != "LayerNormalization" or not i else [2]) for i in range(inputs)], [value("y", 1, [2, 2])])
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], producer_name="hand", ir_version=10)
        model.metadata_props.add(key="author", value="acme")
        onnx.checker.check_model(model)
        yield "3 onnx", f"hand-{op}", {"m.onnx": model.SerializeToString()}


def keras_models(rng: Rng) -> Iterator[tuple[str, str, Files]]:
    os.environ.setdefault("KERAS_BACKEND", "torch")
    import keras
    from keras import layers as k

    i = keras.Input((8,))
    models = {
        "dense": keras.Sequential([keras.Input((4,)), k.Dense(3, "relu", kernel_regularizer="l2"), k.Dropout(0.2), k.Dense(1, "sigmoid")]), "conv": keras.Sequential([keras.Input((8, 8, 3)), k.Rescaling(1 / 255), k.Conv2D(2, 3), k.BatchNormalization(), k.MaxPooling2D(), k.GlobalAveragePooling2D()]), "lstm": keras.Sequential([keras.Input((5,)), k.Embedding(9, 4), k.Bidirectional(k.LSTM(3)), k.Dense(2, "softmax")]),
        "functional": keras.Model(i, k.Add()([k.Dense(4)(i), k.Dense(4, "gelu")(i)])), "attention": keras.Model(a := keras.Input((4, 8)), k.LayerNormalization()(k.MultiHeadAttention(2, 4)(a, a))), "augment": keras.Sequential([keras.Input((8, 8, 3)), k.RandomFlip(), k.SeparableConv2D(2, 3), k.LeakyReLU()]), "time": keras.Sequential([keras.Input((3, 4)), k.TimeDistributed(k.Dense(2)), k.GRU(2)]), "nested": keras.Sequential([keras.Input((4,)), keras.Sequential([k.Dense(2), k.PReLU()])]),
    }  # fmt: skip
    models["dense"].compile("adam", "binary_crossentropy", ["accuracy", keras.metrics.AUC()])
    models["lstm"].compile(keras.optimizers.SGD(keras.optimizers.schedules.CosineDecay(0.1, 10)), keras.losses.CategoricalCrossentropy(label_smoothing=0.1))
    for name, model in models.items():
        yield "3 keras", name, saved(lambda p, m=model: m.save(p / "m.keras"))
        yield "3 keras", f"{name}-weights", saved(lambda p, m=model: m.save_weights(p / "m.weights.h5"))
        if name != "nested":
            yield "3 keras", f"{name}-h5", saved(lambda p, m=model: m.save(p / "m.h5"))
    yield "3 keras", "architecture-json", {"model.json": models["dense"].to_json().encode()}


def tokenizers_of(rng: Rng) -> Iterator[tuple[str, Any, Files]]:
    from tokenizers import (
        BertWordPieceTokenizer,
        ByteLevelBPETokenizer,
        SentencePieceBPETokenizer,
        SentencePieceUnigramTokenizer,
    )

    for name, kind, special in (("bpe", ByteLevelBPETokenizer, ["<s>", "</s>", "<|im_start|>"]), ("wordpiece", BertWordPieceTokenizer, ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]), ("spbpe", SentencePieceBPETokenizer, ["<unk>"]), ("unigram", SentencePieceUnigramTokenizer, ["<unk>", "<s>"])):
        tok = kind()
        more = {"unk_token": "<unk>"} if name == "unigram" else {}
        tok.train_from_iterator(WORDS, vocab_size=300, special_tokens=special, **more)
        yield name, tok._tokenizer, saved(lambda p, t=tok: (t.save(str(p / "tokenizer.json")), t.save_model(str(p))))  # noqa: SLF001


def hub(rng: Rng) -> Iterator[tuple[str, str, Files]]:
    import gguf
    import sentencepiece
    import transformers

    transformers.logging.set_verbosity_error()
    toks = list(tokenizers_of(rng))
    for name, _, files in toks:
        yield "3 tokenizer", name, files
        for file, data in files.items():
            yield "3 tokenizer", f"{name}-{file}", {file: data}
    for kind in ("unigram", "bpe", "char", "word"):
        out = io.BytesIO()
        sentencepiece.SentencePieceTrainer.train(sentence_iterator=iter(WORDS), model_writer=out, vocab_size=60 if kind != "word" else 18, model_type=kind, minloglevel=2, hard_vocab_limit=False, character_coverage=0.98)
        yield "3 tokenizer", f"sentencepiece-{kind}", {"tokenizer.model": out.getvalue()}
        yield "3 tokenizer", f"sentencepiece-{kind}-folder", {"spiece.model": out.getvalue(), "config.json": j(model_type="t5"), "tokenizer_config.json": j(tokenizer_class="T5Tokenizer", extra_ids=0)}
    small = {"vocab_size": 300, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16, "num_key_value_heads": 2, "max_position_embeddings": 32}
    other = {"gpt2": {"n_embd": 16, "n_layer": 1, "n_head": 2}, "t5": {"d_model": 16, "d_kv": 8, "d_ff": 16, "num_layers": 1, "num_heads": 2}, "distilbert": {"dim": 16, "n_layers": 1, "n_heads": 2, "hidden_dim": 16}, "bloom": {"n_layer": 1, "n_head": 2}, "opt": {"ffn_dim": 16, "word_embed_proj_dim": 16}, "mixtral": {"num_local_experts": 2}, "bart": {"d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "encoder_ffn_dim": 16, "decoder_ffn_dim": 16, "encoder_attention_heads": 2, "decoder_attention_heads": 2}, "albert": {"embedding_size": 8}, "electra": {"embedding_size": 8}, "gemma": {"head_dim": 8}, "mamba": {"state_size": 4}, "vit": {"image_size": 32, "patch_size": 16}, "whisper": {"d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2, "decoder_attention_heads": 2, "encoder_ffn_dim": 16, "decoder_ffn_dim": 16, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}}  # fmt: skip
    for at, name in enumerate(["bert", "gpt2", "llama", "mistral", "t5", "roberta", "distilbert", "albert", "electra", "vit", "whisper", "qwen2", "gemma", "phi", "opt", "bloom", "gpt_neox", "deberta-v2", "mpnet", "bart", "mamba", "mixtral"]):
        config = transformers.AutoConfig.for_model(name, **small | other.get(name, {}))
        model = transformers.AutoModel.from_config(config)
        kind, tok, _ = toks[at % 4]
        template = list(TEMPLATES.values())[at % 7]
        fast = transformers.PreTrainedTokenizerFast(tokenizer_object=tok, chat_template=template if at % 2 else None, unk_token="<unk>", eos_token="</s>")

        def folder(p: Path, model: Any = model, fast: Any = fast, at: int = at) -> None:
            model.save_pretrained(p, **({"max_shard_size": "4KB"} if at % 5 == 0 else {}))
            fast.save_pretrained(p)
            (p / "README.md").write_text(CARD)
            (p / ".gitattributes").write_text("*.safetensors filter=lfs diff=lfs merge=lfs -text\n*.bin filter=lfs diff=lfs merge=lfs -text\n")

        yield "3 hub folder", f"{name}-{kind}", saved(folder)
    for name, template in TEMPLATES.items():
        yield "3 chat template", f"{name}-config", {"tokenizer_config.json": j(tokenizer_class="PreTrainedTokenizerFast", chat_template=template, bos_token="<s>", eos_token="</s>", model_max_length=4096, added_tokens_decoder={"0": {"content": "<s>", "lstrip": False, "normalized": False, "rstrip": False, "single_word": False, "special": True}})}
        yield "3 chat template", f"{name}-jinja", {"chat_template.jinja": template.encode()}

        def write(p: Path, template: str = template) -> None:
            w = gguf.GGUFWriter(p / "m.gguf", "llama")
            w.add_block_count(1)
            w.add_token_list(["<s>", "</s>", "a"])
            w.add_token_scores([0.0, 0.0, -1.0])
            w.add_chat_template(template)
            w.add_tensor("token_embd.weight", np.ones((3, 8), "f4"))
            w.add_tensor("q.weight", np.zeros((2, 34), "u1"), raw_dtype=gguf.GGMLQuantizationType.Q8_0)
            w.write_header_to_file()
            w.write_kv_data_to_file()
            w.write_tensors_to_file()
            w.close()

        yield "3 gguf", name, saved(write)
    from peft import LoraConfig, get_peft_model

    lora = get_peft_model(transformers.AutoModel.from_config(transformers.AutoConfig.for_model("bert", **small)), LoraConfig(target_modules=["query"], r=2))
    adapter = saved(lora.save_pretrained)
    yield "3 hub folder", "lora", adapter
    weights = adapter["adapter_model.safetensors"]
    yield "3 hub folder", "diffusers", {"model_index.json": j(_class_name="StableDiffusionPipeline", _diffusers_version="0.30.0", unet=["diffusers", "UNet2DConditionModel"], scheduler=["diffusers", "PNDMScheduler"], tokenizer=["transformers", "CLIPTokenizer"], safety_checker=[None, None], feature_extractor=["transformers", "CLIPImageProcessor"]), "unet/config.json": j(_class_name="UNet2DConditionModel", sample_size=64), "unet/diffusion_pytorch_model.safetensors": weights, "scheduler/scheduler_config.json": j(_class_name="PNDMScheduler", beta_end=0.012), "README.md": CARD.encode()}
    yield "3 hub folder", "sentence-transformers", {"modules.json": json.dumps([{"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"}, {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"}]).encode(), "1_Pooling/config.json": j(word_embedding_dimension=16, pooling_mode_mean_tokens=True), "config_sentence_transformers.json": j(__version__={"sentence_transformers": "3.0"}), "sentence_bert_config.json": j(max_seq_length=128, do_lower_case=False), "model.safetensors": weights, "config.json": j(model_type="bert", architectures=["BertModel"])}
    yield "3 hub folder", "trainer-state", {"trainer_state.json": j(best_metric=0.9, epoch=1.0, log_history=[{"loss": 0.5, "step": 1}]), "config.json": j(model_type="bert"), "model.safetensors": weights, "all_results.json": j(eval_loss=0.1), "vocab.txt": b"[PAD]\n[UNK]\nimport\nos\nsystem\n##s\n"}
    for name, content in {"generation_config": j(bos_token_id=1, do_sample=True, temperature=0.6, transformers_version="4.40.0"), "preprocessor_config": j(do_normalize=True, image_mean=[0.5, 0.5, 0.5], image_processor_type="ViTImageProcessor", size={"height": 224, "width": 224}), "special_tokens_map": j(bos_token="<s>", unk_token={"content": "<unk>", "lstrip": False}), "added_tokens": j(**{"<|im_end|>": 5}), "quantize_config": j(bits=4, group_size=128, desc_act=False), "vocab": j(**{f"t{n}": n for n in range(99)})}.items():
        yield "3 text", name, {f"{name}.json": content}


def folders(rng: Rng) -> Iterator[tuple[str, str, Files]]:
    import skops.io
    from PIL import Image
    from sklearn.linear_model import Ridge

    model = skops.io.dumps(Ridge().fit(rng.normal(size=(9, 2)), rng.normal(size=9)))
    mlmodel = b"artifact_path: model\nflavors:\n  sklearn:\n    code: null\n    serialization_format: skops\n    sklearn_version: 1.6.0\n    pickled_model: model.skops\nmlflow_version: 3.1.0\nmodel_uuid: 9f86d081884c7d659a2feaa0c55ad015\nrun_id: abc\nutc_time_created: '2025-01-01 00:00:00'\n"
    mlflow = {"MLmodel": mlmodel, "model.skops": model, "conda.yaml": b"channels:\n- conda-forge\ndependencies:\n- python=3.11.7\n- pip\n- pip:\n  - scikit-learn==1.6.0\nname: mlflow-env\n", "python_env.yaml": b"python: 3.11.7\nbuild_dependencies:\n- pip==24.0\ndependencies:\n- -r requirements.txt\n", "requirements.txt": b"scikit-learn==1.6.0\nskops==0.11.0\n"}
    yield "borderline", "mlflow-with-requirements", mlflow
    yield "3 mixed folder", "mlflow-skops", {k: v for k, v in mlflow.items() if k in {"MLmodel", "model.skops"}}
    pixels = Image.fromarray(rng.integers(0, 255, (16, 16, 3), "u1"))
    for kind in ("png", "jpeg", "gif", "webp", "bmp", "tiff"):
        yield "3 image", kind, saved(lambda p, k=kind: pixels.save(p / f"figure.{k}"))
    yield "3 image", "png-grey-text", saved(lambda p: pixels.convert("LA").save(p / "a.png", dpi=(72, 72)))
    yield "3 image", "jpeg-exif", saved(lambda p: pixels.save(p / "a.jpg", quality=95, progressive=True, comment=b"made by acme"))
    for name, text in {"README.md": CARD, "LICENSE": "Apache License\nVersion 2.0, January 2004\n", "config.yaml": "model:\n  name: resnet\n  layers: [1, 2]\n  lr: 1.0e-3\n", "merges.txt": "#version: 0.2\nt h\nth e\n", "labels.txt": "cat\ndog\n", "params.toml": "[model]\nlr = 0.1\n", "CITATION.cff": "cff-version: 1.2.0\ntitle: M\n", "NOTICE": "Copyright Acme\n", "notes.txt": "Load it with torch.load and eval() it.\n", "dataset_info.json": '{"features": {"a": {"dtype": "float32"}}}', "metrics.json": '{"acc": NaN, "loss": [1e-3]}', "pmml.pmml": '<?xml version="1.0"?><PMML version="4.4" xmlns="http://www.dmg.org/PMML-4_4"><Header><Application name="x"/></Header><DataDictionary numberOfFields="1"><DataField name="a" optype="continuous" dataType="double"/></DataDictionary><RegressionModel functionName="regression"><MiningSchema><MiningField name="a"/></MiningSchema><RegressionTable intercept="1"><NumericPredictor name="a" coefficient="2"/></RegressionTable></RegressionModel></PMML>'}.items():  # fmt: skip
        yield "3 text", name, {name: text.encode()}
    csv = b"a,b\n1,2\n"
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as z:
        z.writestr("model/model.skops", model)
        z.writestr("model/data.csv", csv)
        z.writestr("model/README.md", CARD)
    yield "3 archive", "zip", {"m.zip": archive.getvalue()}
    for mode in ("w", "w:gz", "w:bz2", "w:xz"):
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode=mode) as t:  # type: ignore[call-overload]
            folder = tarfile.TarInfo("model")
            folder.type = tarfile.DIRTYPE
            t.addfile(folder)
            for name, raw in (("model/data.csv", csv), ("model/config.json", b'{"a": 1}'), ("model/m.skops", model)):
                info = tarfile.TarInfo(name)
                info.size = len(raw)
                t.addfile(info, io.BytesIO(raw))
        yield "3 archive", f"tar-{mode}", {"m.tar" + mode[1:].replace(":", "."): out.getvalue()}


def samples(rng: Rng) -> Iterator[Sample]:
    for part in (tables, torches, onnxes, keras_models, hub, folders):
        for category, name, files in part(rng):
            yield Sample(category, name, files)
