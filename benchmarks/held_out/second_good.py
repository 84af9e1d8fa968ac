"""Round 2, harmless: other models, other settings, what trainers leave in a folder."""

import io
import json
import random  # noqa: TID251 - its state is what trainers save
import struct
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from held_out import Sample, one
from held_out.assemble import Rng
from held_out.bad_formats import field
from held_out.good_tables import data, pickled, written


def estimators(rng: Rng) -> Iterator[tuple[str, Any]]:
    from sklearn import (
        cluster,
        covariance,
        datasets,
        decomposition,
        discriminant_analysis,
        ensemble,
        feature_extraction,
        gaussian_process,
        impute,
        kernel_approximation,
        linear_model,
        mixture,
        model_selection,
        multiclass,
        multioutput,
        naive_bayes,
        neighbors,
        neural_network,
        pipeline,
        preprocessing,
        svm,
    )  # fmt: skip
    from sklearn.experimental import enable_iterative_imputer  # noqa: F401 - it registers

    x, classes, numbers = data(rng)
    rbf, white = gaussian_process.kernels.RBF(), gaussian_process.kernels.WhiteKernel()
    matern = gaussian_process.kernels.Matern(nu=1.5) * gaussian_process.kernels.ConstantKernel(2.0)
    words = ["good day", "bad day", "good night", "bad night"] * 5
    for name, model, target in (
        ("gp-sum", gaussian_process.GaussianProcessRegressor(rbf + white), numbers),
        ("gp-product", gaussian_process.GaussianProcessClassifier(matern), classes),
        ("knn-manhattan", neighbors.KNeighborsClassifier(metric="manhattan", weights="distance"), classes),
        ("knn-minkowski", neighbors.KNeighborsRegressor(algorithm="ball_tree", p=3), numbers),
        ("radius", neighbors.RadiusNeighborsRegressor(radius=50.0), numbers),
        ("svc-poly", svm.SVC(kernel="poly", degree=2, class_weight="balanced"), classes),
        ("svr-sigmoid", svm.NuSVR(kernel="sigmoid"), numbers),
        ("mlp-adam", neural_network.MLPClassifier((8, 4), early_stopping=True, max_iter=20), classes),
        ("mlp-sgd", neural_network.MLPRegressor(hidden_layer_sizes=(4,), solver="sgd", max_iter=20), numbers),
        ("mlp-lbfgs", neural_network.MLPClassifier((4,), solver="lbfgs", max_iter=20), classes),
        ("hist-classifier", ensemble.HistGradientBoostingClassifier(max_iter=3), classes),
        ("hist-regressor", ensemble.HistGradientBoostingRegressor(max_iter=3, loss="absolute_error"), numbers),
        ("hist-poisson", ensemble.HistGradientBoostingRegressor(max_iter=3, loss="poisson"), numbers),
        ("gb-huber", ensemble.GradientBoostingRegressor(n_estimators=3, loss="huber"), numbers),
        ("gb-quantile", ensemble.GradientBoostingRegressor(n_estimators=3, loss="quantile"), numbers),
        ("gb-exponential", ensemble.GradientBoostingClassifier(n_estimators=3, loss="exponential"), classes),
        ("ada", ensemble.AdaBoostClassifier(estimator=linear_model.LogisticRegression(), n_estimators=3), classes),
        ("forest-oob", ensemble.RandomForestRegressor(n_estimators=12, oob_score=True, criterion="friedman_mse"), numbers),
        ("sgd-huber", linear_model.SGDRegressor(loss="huber", penalty="elasticnet"), numbers),
        ("sgd-log", linear_model.SGDClassifier(loss="log_loss", average=True), classes),
        ("sgd-modified", linear_model.SGDClassifier(loss="modified_huber"), classes),
        ("ridge-cv", linear_model.RidgeCV(alphas=[0.1, 1.0], scoring="r2"), numbers),
        ("logistic-cv", linear_model.LogisticRegressionCV(Cs=2, cv=2), classes),
        ("elastic", linear_model.ElasticNetCV(cv=2), numbers),
        ("ransac", linear_model.RANSACRegressor(), numbers),
        ("gamma", linear_model.GammaRegressor(), numbers + 0.1),
        ("tweedie", linear_model.TweedieRegressor(power=1.5), numbers + 0.1),
        ("one-rest", multiclass.OneVsRestClassifier(svm.LinearSVC()), classes),
        ("one-one", multiclass.OneVsOneClassifier(naive_bayes.GaussianNB()), np.arange(60) % 3),
        ("output-code", multiclass.OutputCodeClassifier(linear_model.Perceptron()), np.arange(60) % 3),
        ("many-outputs", multioutput.MultiOutputClassifier(ensemble.ExtraTreesClassifier(3)), np.c_[classes, classes]),
        ("qda", discriminant_analysis.QuadraticDiscriminantAnalysis(), classes),
        ("mixture", mixture.BayesianGaussianMixture(n_components=2, covariance_type="tied"), None),
        ("dbscan", cluster.DBSCAN(), None), ("hdbscan", cluster.HDBSCAN(copy=True), None),
        ("optics", cluster.OPTICS(), None),
        ("agglomerative", cluster.AgglomerativeClustering(compute_distances=True), None),
        ("spectral", cluster.SpectralClustering(2), None), ("minibatch", cluster.MiniBatchKMeans(n_clusters=2), None),
        ("envelope", covariance.EllipticEnvelope(), None), ("outlier", neighbors.LocalOutlierFactor(novelty=True), None),
        ("one-class", svm.OneClassSVM(nu=0.1), None), ("sgd-one-class", linear_model.SGDOneClassSVM(), None),
        ("kernel-pca", decomposition.KernelPCA(n_components=2, kernel="rbf", fit_inverse_transform=True), None),
        ("nmf", decomposition.NMF(n_components=2, init="nndsvda"), None), ("ica", decomposition.FastICA(n_components=2, fun="cube"), None),
        ("lda-topics", decomposition.LatentDirichletAllocation(n_components=2, max_iter=2), None),
        ("power", preprocessing.PowerTransformer(), None), ("bins", preprocessing.KBinsDiscretizer(n_bins=3, encode="onehot"), None),
        ("quantiles", preprocessing.QuantileTransformer(n_quantiles=20, output_distribution="normal"), None),
        ("target-encoder", preprocessing.TargetEncoder(), classes),
        ("knn-imputer", impute.KNNImputer(), None), ("iterative", impute.IterativeImputer(max_iter=2), None),
        ("indicator", impute.MissingIndicator(), None),
        ("nystroem", pipeline.make_pipeline(kernel_approximation.Nystroem(n_components=9), svm.LinearSVC()), classes),
        ("halving", model_selection.GridSearchCV(pipeline.make_pipeline(preprocessing.RobustScaler(), svm.SVC()),
            {"svc__C": [1, 2]}, cv=model_selection.StratifiedKFold(2), scoring=["f1", "roc_auc"], refit="f1"), classes),
        ("time-series", model_selection.GridSearchCV(linear_model.Ridge(), {"alpha": [1]},
            cv=model_selection.TimeSeriesSplit(2)), numbers),
        ("nested-pipeline", pipeline.Pipeline([("a", pipeline.Pipeline([("b", preprocessing.MinMaxScaler())])),
            ("c", "passthrough"), ("d", ensemble.VotingRegressor([("e", linear_model.Ridge())]))]), numbers),
        ("polynomial", pipeline.make_pipeline(preprocessing.PolynomialFeatures(2), linear_model.BayesianRidge()), numbers),
    ):  # fmt: skip
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                yield name, model.fit(x, target)
            except ValueError as error:
                print(f"{name} left out: {error}")
    yield "text-svd", pipeline.make_pipeline(feature_extraction.text.CountVectorizer(analyzer="char", ngram_range=(1, 2)),
        feature_extraction.text.TfidfTransformer(), decomposition.TruncatedSVD(2)).fit(words)  # fmt: skip
    yield "hashing", pipeline.make_pipeline(feature_extraction.text.HashingVectorizer(n_features=16),
        naive_bayes.BernoulliNB()).fit(words, [1, 0] * 10)  # fmt: skip
    yield (
        "results",
        model_selection.cross_validate(
            linear_model.Ridge(), x, numbers, cv=2, return_estimator=True
        ),
    )
    yield "dataset", datasets.load_iris()
    import lightgbm
    import xgboost

    yield "pipeline-xgboost", pipeline.make_pipeline(preprocessing.StandardScaler(), xgboost.XGBClassifier(
        n_estimators=2)).fit(x, classes)  # fmt: skip
    yield "pipeline-lightgbm", pipeline.make_pipeline(preprocessing.StandardScaler(), lightgbm.LGBMRegressor(
        n_estimators=2, verbose=-1)).fit(x, numbers)  # fmt: skip


def trainers(rng: Rng) -> Iterator[Sample]:
    """Return what training loops save beside the weights."""
    import torch

    def saved(value: object) -> bytes:
        torch.save(value, file := io.BytesIO())
        return file.getvalue()

    model = torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.ReLU())
    optimizer = torch.optim.AdamW(model.parameters(), fused=False)
    model(torch.rand(2, 3)).sum().backward()
    optimizer.step()
    schedules = torch.optim.lr_scheduler
    np.random.seed(1)  # noqa: NPY002 - as trainers do
    numpy_state = np.random.get_state()  # noqa: NPY002
    for name, value in {
        "rng_state": {"python": random.Random(1).getstate(), "numpy": numpy_state, "cpu": torch.get_rng_state()},
        "scheduler-lambda": schedules.LambdaLR(optimizer, lambda _: 1.0).state_dict(),
        "scheduler-cosine": schedules.CosineAnnealingLR(optimizer, 5).state_dict(),
        "scheduler-one-cycle": schedules.OneCycleLR(optimizer, 0.1, 10).state_dict(),
        "scheduler-plateau": schedules.ReduceLROnPlateau(optimizer).state_dict(),
        "scheduler-chain": schedules.SequentialLR(optimizer, [schedules.ConstantLR(optimizer),
            schedules.ExponentialLR(optimizer, 0.9)], [3]).state_dict(),
        "scaler": torch.amp.GradScaler("cpu").state_dict(), "ema": torch.optim.swa_utils.AveragedModel(model).state_dict(),
        "mixed": {"w": torch.rand(2), "a": np.ones(3), "n": np.float32(1), "s": {1, 2}, "t": (1, "x", None)},
        "csr": torch.eye(3).to_sparse_csr(), "channels-last": torch.rand(1, 2, 3, 4).to(memory_format=torch.channels_last),
        "zero-size": torch.zeros(0, 3), "scalar": torch.tensor(3.5), "shared": [model[0].weight, model[0].weight],
        "strings": {"classes": ["a", "b"], "config": {"lr": 1e-3, "betas": (0.9, 0.999), "path": Path("a")}},
        "bool-mask": torch.rand(4) > 0.5, "complex": torch.view_as_complex(torch.rand(3, 2)),
        "conv-module": torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten()),
        "rnn-module": torch.nn.GRU(2, 3, batch_first=True), "decoder": torch.nn.TransformerDecoderLayer(4, 2, 8),
        "embedding-module": torch.nn.Embedding(3, 2, padding_idx=0),
        "weight-norm": torch.nn.utils.parametrizations.weight_norm(torch.nn.Linear(2, 2)).state_dict(),
        "lora": {f"base.layer.{i}.lora_{k}.weight": torch.rand(2, 2) for i in range(2) for k in "AB"},
    }.items():  # fmt: skip
        yield one("2: torch, what trainers save", name, ".pt", saved(value))
    state = {
        "best_metric": None,
        "epoch": 1.0,
        "global_step": 10,
        "log_history": [{"loss": 0.5, "step": 5}],
    }
    yield Sample("2: folders of trainers", "checkpoint-10", {
        "trainer_state.json": json.dumps(state).encode(), "optimizer.pt": saved(optimizer.state_dict()),
        "scheduler.pt": saved(schedules.StepLR(optimizer, 3).state_dict()), "rng_state.pth": saved(
        {"python": random.Random(2).getstate(), "numpy": numpy_state, "cpu": torch.get_rng_state()}),
        "config.json": b'{"model_type": "bert"}', "added_tokens.json": b'{"<x>": 3}'})  # fmt: skip


def networks(rng: Rng) -> Iterator[Sample]:
    import keras
    from keras import layers as kl

    x, y = keras.Input((8, 8, 1)), keras.Input((8, 8, 1))
    shared = keras.Sequential(
        [kl.Conv2D(2, 3, strides=2, padding="same"), kl.LeakyReLU(), kl.Flatten()]
    )
    down = kl.Conv2D(4, 3, padding="same", activation="relu")(x)
    up = kl.UpSampling2D()(kl.MaxPooling2D()(down))
    queries, values = keras.Input((4, 8)), keras.Input((6, 8))
    for name, model in {
        "siamese": keras.Model([x, y], kl.Dense(1)(kl.Subtract()([shared(x), shared(y)]))),
        "unet": keras.Model(x, kl.Conv2DTranspose(1, 3, padding="same")(kl.Concatenate()([up, down]))),
        "attention": keras.Model([queries, values], kl.Attention()([queries, values])),
        "convlstm": keras.Sequential([keras.Input((3, 8, 8, 1)), kl.ConvLSTM2D(2, 3)]),
        "einsum": keras.Sequential([keras.Input((4, 8)), kl.EinsumDense("abc,cd->abd", (None, 6), bias_axes="d")]),
        "arithmetic": keras.Model(x, keras.ops.relu(x * 2.0 + 1.0) - keras.ops.mean(x, axis=1, keepdims=True)),
        "reshape-ops": keras.Model(x, keras.ops.reshape(keras.ops.transpose(x, (0, 2, 1, 3)), (-1, 64))),
        "slice": keras.Model(queries, queries[:, 0, :]),
        "norms": keras.Sequential([keras.Input((4, 8)), kl.LayerNormalization(), kl.GroupNormalization(2), kl.GRU(3)]),
        "pool": keras.Sequential([keras.Input((8, 8, 1)), kl.AveragePooling2D(2), kl.GlobalMaxPooling2D(), kl.Softmax()]),
    }.items():  # fmt: skip
        model.compile("sgd", keras.losses.Huber() if name != "pool" else "categorical_crossentropy",
                      metrics=[keras.metrics.F1Score()] if name == "pool" else ["mse"])  # fmt: skip
        for ending in (".keras", ".h5"):
            try:
                yield one(f"2: Keras {ending}", name, ending, written(model.save, ending))
            except (NotImplementedError, TypeError, ValueError) as error:
                print(f"{name}{ending} left out: {error}")


def others(rng: Rng) -> Iterator[Sample]:
    import lightgbm
    import onnxmltools
    import xgboost
    from onnxmltools.convert.common.data_types import FloatTensorType
    from safetensors.numpy import save
    from skl2onnx import to_onnx
    from sklearn import cluster, ensemble, gaussian_process, linear_model, neighbors, preprocessing

    x, classes, numbers = data(rng)
    small = x.astype("f4")
    for model in (cluster.KMeans(2, n_init=1), neighbors.KNeighborsClassifier(), preprocessing.PolynomialFeatures(),
                  ensemble.IsolationForest(n_estimators=3), linear_model.SGDClassifier(),
                  gaussian_process.GaussianProcessRegressor()):  # fmt: skip
        graph = to_onnx(
            model.fit(small, classes),
            small[:1],
            target_opset={"": int(rng.integers(15, 19)), "ai.onnx.ml": 3},
        )
        yield one("2: ONNX", type(model).__name__, ".onnx", graph.SerializeToString())
    try:
        graph = onnxmltools.convert_lightgbm(lightgbm.LGBMClassifier(n_estimators=2, verbose=-1).fit(small, classes),
            initial_types=[("x", FloatTensorType([None, 5]))], zipmap=False, target_opset=15)  # fmt: skip
        yield one("2: ONNX", "lightgbm", ".onnx", graph.SerializeToString())
    except Exception as error:  # noqa: BLE001 - a converter that does not know these versions
        print(f"lightgbm to ONNX left out: {error}")
    boosted = xgboost.XGBRegressor(
        n_estimators=2, multi_strategy="multi_output_tree", tree_method="hist"
    )
    boosted.fit(x, np.c_[numbers, numbers])
    yield one("2: boosters", "multi-target", ".ubj", written(boosted.save_model, ".ubj"))
    yield one("2: boosters", "multi-target", ".json", written(boosted.save_model, ".json"))
    light = lightgbm.train({"objective": "quantile", "verbose": -1, "linear_tree": True, "min_data_in_leaf": 5},
                           lightgbm.Dataset(x, numbers, categorical_feature=[4]), 2)  # fmt: skip
    yield one("2: boosters", "linear-trees", ".txt", light.model_to_string().encode())
    for dtype in ("f2", "f8", "i1", "i8", "u1", "?"):
        yield one("2: safetensors", dtype.replace("?", "bool"), ".safetensors", save(
            {"a": np.zeros((2, 3), dtype), "empty": np.zeros((0, 2), dtype), "scalar": np.array(1, dtype)},
            metadata={"note": "x", "step": "5"}))  # fmt: skip
    pieces = b"".join(field(1, field(1, word) + b"\x15" + struct.pack("<f", -at) + (
        b"" if at > 2 else field(3, 3 - at if at else 2))) for at, word in enumerate(["<unk>", "<s>", "</s>", "▁a", "b", "▁the"]))  # fmt: skip
    yield Sample("2: tokenizers", "sentencepiece", {"config.json": b'{"model_type": "llama"}', "tokenizer.model":
        pieces + field(2, field(2, "m") + field(4, 6)) + field(3, field(1, "identity"))})  # fmt: skip
    yield Sample("2: tokenizers", "fast", {"tokenizer.json": json.dumps({"version": "1.0", "added_tokens": [
        {"id": 0, "content": "<s>", "special": True}], "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
        {"type": "Split", "pattern": {"Regex": "(?i:'s|'t)|[^\\r\\n\\p{L}]?\\p{L}+"}, "behavior": "Isolated"}]},
        "model": {"type": "BPE", "vocab": {"import": 0, "os.system(": 1, "eval": 2, "{{": 3, "__init__": 4},
        "merges": ["a b"]}}).encode(), "vocab.txt": b"import\nos\nsystem(\n#!\nclass\nlambda\n"})  # fmt: skip
    words = "3 4\nthe 0.1 0.2 0.3 0.4\nof 0.1 0.2 0.3 0.5\nand -0.1 0.2 0.3 0.4\n"
    yield one("2: text models", "word2vec", ".vec", words.encode())
    yield one("2: text models", "glove", ".txt", words.split("\n", 1)[1].encode())
    yield one(
        "2: text models",
        "regression",
        ".pmml",
        b"""<?xml version="1.0" encoding="UTF-8"?>
<PMML xmlns="http://www.dmg.org/PMML-4_4" version="4.4"><Header><Application name="x" version="1"/></Header>
<DataDictionary><DataField name="a" optype="continuous" dataType="double"/><DataField name="y" optype="continuous"
 dataType="double"/></DataDictionary><RegressionModel functionName="regression"><MiningSchema><MiningField name="a"/>
<MiningField name="y" usageType="target"/></MiningSchema><RegressionTable intercept="1.0"><NumericPredictor name="a"
 coefficient="2.0"/></RegressionTable></RegressionModel></PMML>
""",
    )
    for name, content in {
        "conda.yaml": b"channels:\n- conda-forge\ndependencies:\n- python=3.11\n- pip<=24\n- pip:\n  - mlflow==3.1\nname: e\n",
        "python_env.yaml": b"python: 3.11.7\nbuild_dependencies:\n- pip==24.0\ndependencies:\n- -r requirements.txt\n",
        "requirements.txt": b"scikit-learn==1.5.0\nnumpy>=1.26,<3\n# a note\n", "signature.json": b'{"inputs": "[]"}',
        "results.csv": "name,score\n\"Müller, Eva\",0.5\n'x',-1\n".encode(), "eval.tsv": b"a\tb\n1\t2\n",
        "card.md": b"# Card\n\nLoad it with `torch.load`:\n\n```python\nimport torch\ntorch.load('x')\n```\n",
        "config.toml": b'[model]\nlayers = [1, 2]\nname = "x"\n', "index.json": b'{"metadata": {}, "weight_map": {"a": "x"}}',
        "notes.txt": b"We used class weights: 0.5 and 0.7. The system (a cluster) took 3 h.\nNext: compile results.\n",
        "dvc.yaml": b"stages:\n  prepare:\n    outs:\n    - data.csv\n", "labels.json": b'["cat", "dog"]',
    }.items():  # fmt: skip
        yield one(
            "2: settings and notes", name.partition(".")[0], "." + name.partition(".")[2], content
        )
    with tempfile.TemporaryDirectory() as folder:
        try:
            import mlflow.xgboost

            path = Path(folder) / "m"
            mlflow.xgboost.save_model(xgboost.XGBClassifier(n_estimators=2).fit(x, classes), str(path),
                input_example=x[:2], pip_requirements=["xgboost"])  # fmt: skip
            yield Sample("2: MLflow folders", "xgboost", {str(p.relative_to(path)): p.read_bytes()
                         for p in path.rglob("*") if p.is_file()})  # fmt: skip
        except Exception as error:  # noqa: BLE001 - a part of mlflow that is not installed
            print(f"MLflow left out: {error}")


def samples(rng: Rng) -> Iterator[Sample]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, model in estimators(rng):
            ending, content = pickled(rng, model)
            yield one("2: scikit-learn", name, ending, content)
        for part in (trainers, networks, others):
            try:
                yield from part(rng)
            except (
                TypeError,
                ValueError,
                RuntimeError,
                ImportError,
            ) as error:  # of a library's other version
                print(f"the rest of {part.__name__} left out: {error}")
