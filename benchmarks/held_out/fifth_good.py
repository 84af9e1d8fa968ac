"""Round 5, harmless: models of tables and text, as their own libraries write them.

Written without a look at the scanner and never scanned while it was written.
"""

# fmt: off
# One sample a line: a table is read so.

import io
import pickle  # noqa: TID251 - written, never read
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from held_out import fifth_good_files, fifth_good_networks
from held_out.fifth_asm import Checked

Rows = Iterator[tuple[str, Any]]
TEXTS = ["free prize inside", "meeting at noon", "win money now", "lunch with the team", "cheap offer", "agenda for monday"] * 6
LABELS = ["spam", "ham"] * 18


def saved(write: Callable[[Path], object], ending: str = "") -> bytes:
    """Return what a library writes to a path."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / f"model{ending}"
        write(path)
        return path.read_bytes()


def estimators(x: Any, y: Any) -> Rows:
    """Yield fitted estimators of scikit-learn, by name."""
    import pandas as pd
    from sklearn import (
        calibration,
        cluster,
        compose,
        covariance,
        decomposition,
        discriminant_analysis,
        ensemble,
        feature_selection,
        gaussian_process,
        impute,
        isotonic,
        kernel_approximation,
        kernel_ridge,
        linear_model,
        manifold,
        mixture,
        model_selection,
        multiclass,
        multioutput,
        naive_bayes,
        neighbors,
        neural_network,
        pipeline,
        preprocessing,
        random_projection,
        semi_supervised,
        svm,
        tree,
    )
    from sklearn.feature_extraction.text import CountVectorizer, HashingVectorizer, TfidfVectorizer

    for kind, how in (
        (linear_model.LogisticRegression, {}), (linear_model.RidgeClassifier, {}), (linear_model.SGDClassifier, {"loss": "log_loss"}), (linear_model.Perceptron, {}), (svm.SVC, {"probability": False}), (svm.LinearSVC, {}), (naive_bayes.GaussianNB, {}), (neighbors.KNeighborsClassifier, {"algorithm": "kd_tree"}), (neighbors.NearestCentroid, {}), (tree.DecisionTreeClassifier, {}), (ensemble.RandomForestClassifier, {"n_estimators": 5}), (ensemble.ExtraTreesClassifier, {"n_estimators": 5}), (ensemble.GradientBoostingClassifier, {"n_estimators": 4}), (ensemble.HistGradientBoostingClassifier, {"max_iter": 4}), (ensemble.AdaBoostClassifier, {"n_estimators": 3}), (ensemble.BaggingClassifier, {"n_estimators": 3}), (discriminant_analysis.LinearDiscriminantAnalysis, {}), (discriminant_analysis.QuadraticDiscriminantAnalysis, {}), (neural_network.MLPClassifier, {"max_iter": 15, "hidden_layer_sizes": (6,)}), (gaussian_process.GaussianProcessClassifier, {}), (semi_supervised.LabelSpreading, {}),
    ):
        yield kind.__name__, kind(**how).fit(x, y)
    for kind, how in (
        (linear_model.LinearRegression, {}), (linear_model.ElasticNetCV, {"cv": 3}), (linear_model.HuberRegressor, {}), (linear_model.BayesianRidge, {}), (linear_model.QuantileRegressor, {}), (linear_model.PoissonRegressor, {}), (svm.SVR, {}), (kernel_ridge.KernelRidge, {}), (ensemble.RandomForestRegressor, {"n_estimators": 4}), (ensemble.HistGradientBoostingRegressor, {"max_iter": 3, "loss": "poisson"}), (neighbors.KNeighborsRegressor, {}), (gaussian_process.GaussianProcessRegressor, {}),
    ):
        yield kind.__name__, kind(**how).fit(x, np.abs(x[:, 0]))
    for kind, how in ((cluster.KMeans, {"n_clusters": 3, "n_init": 1}), (cluster.MiniBatchKMeans, {"n_clusters": 2, "n_init": 1}), (cluster.DBSCAN, {}), (cluster.AgglomerativeClustering, {}), (cluster.Birch, {}), (decomposition.PCA, {"n_components": 2}), (decomposition.NMF, {"n_components": 2, "max_iter": 30}), (decomposition.TruncatedSVD, {}), (decomposition.FastICA, {"max_iter": 20}), (mixture.GaussianMixture, {"n_components": 2}), (ensemble.IsolationForest, {"n_estimators": 4}), (svm.OneClassSVM, {}), (neighbors.LocalOutlierFactor, {"novelty": True}), (covariance.EllipticEnvelope, {}), (neighbors.KernelDensity, {}), (preprocessing.PowerTransformer, {}), (preprocessing.QuantileTransformer, {"n_quantiles": 10}), (preprocessing.KBinsDiscretizer, {}), (preprocessing.SplineTransformer, {}), (impute.KNNImputer, {}), (random_projection.GaussianRandomProjection, {"n_components": 2}), (kernel_approximation.Nystroem, {"n_components": 5}), (manifold.Isomap, {})):
        yield kind.__name__, kind(**how).fit(np.abs(x))
    yield "IsotonicRegression", isotonic.IsotonicRegression().fit(x[:, 0], x[:, 1])
    forest = ensemble.RandomForestClassifier(3)
    yield "CalibratedSigmoid", calibration.CalibratedClassifierCV(svm.LinearSVC(), cv=3).fit(x, y)
    yield "CalibratedIsotonic", calibration.CalibratedClassifierCV(forest, method="isotonic", cv=2).fit(x, y)
    yield "GridSearch", model_selection.GridSearchCV(svm.SVC(), {"C": [0.1, 1.0], "kernel": ["rbf", "linear"]}, cv=3).fit(x, y)
    yield "RandomSearch", model_selection.RandomizedSearchCV(linear_model.Ridge(), {"alpha": [0.1, 1, 10]}, n_iter=2, cv=2).fit(x, x[:, 0])
    yield "Stacking", ensemble.StackingClassifier([("a", forest), ("b", linear_model.LogisticRegression())], cv=2).fit(x, y)
    yield "Voting", ensemble.VotingClassifier([("a", forest), ("b", naive_bayes.GaussianNB())], voting="soft").fit(x, y)
    yield "OneVsRest", multiclass.OneVsRestClassifier(svm.LinearSVC()).fit(x, np.arange(len(x)) % 3)
    yield "MultiOutput", multioutput.MultiOutputRegressor(linear_model.Ridge()).fit(x, x[:, :2])
    yield "ClassifierChain", multioutput.ClassifierChain(linear_model.LogisticRegression()).fit(x, np.c_[y, 1 - y])
    yield "TunedThreshold", model_selection.TunedThresholdClassifierCV(linear_model.LogisticRegression(), cv=3).fit(x, y)
    yield "SpamTfidf", pipeline.make_pipeline(TfidfVectorizer(ngram_range=(1, 2)), naive_bayes.MultinomialNB()).fit(TEXTS, LABELS)
    yield "SpamCounts", pipeline.make_pipeline(CountVectorizer(stop_words="english", binary=True), feature_selection.SelectKBest(feature_selection.chi2, k=4), linear_model.LogisticRegression()).fit(TEXTS, LABELS)
    yield "SpamHashing", pipeline.make_pipeline(HashingVectorizer(n_features=64), linear_model.SGDClassifier()).fit(TEXTS, LABELS)
    frame = pd.DataFrame({"age": np.abs(x[:, 0]) * 30, "income": x[:, 1], "city": np.where(x[:, 2] > 0, "Bern", "Rom"), "grade": pd.Categorical(np.where(x[:, 3] > 0, "a", "b"))})
    table = compose.ColumnTransformer([("n", pipeline.make_pipeline(impute.SimpleImputer(strategy="median"), preprocessing.RobustScaler()), ["age", "income"]), ("c", preprocessing.OneHotEncoder(handle_unknown="ignore"), ["city"]), ("o", preprocessing.OrdinalEncoder(), ["grade"])], remainder="drop")
    yield "ColumnsLogistic", pipeline.Pipeline([("table", table), ("model", linear_model.LogisticRegression())]).fit(frame, y)
    yield "ColumnsBoosting", pipeline.make_pipeline(compose.make_column_transformer((preprocessing.TargetEncoder(cv=2), ["city"]), remainder="passthrough", verbose_feature_names_out=False).set_output(transform="pandas"), ensemble.HistGradientBoostingClassifier(max_iter=3, categorical_features="from_dtype")).fit(frame.drop(columns="grade"), y)
    yield "TransformedTarget", compose.TransformedTargetRegressor(linear_model.Ridge(), transformer=preprocessing.StandardScaler()).fit(x, x[:, 0])
    yield "FunctionLog", pipeline.make_pipeline(preprocessing.FunctionTransformer(np.log1p, inverse_func=np.expm1), preprocessing.PolynomialFeatures(2), linear_model.Lasso(0.1)).fit(np.abs(x), x[:, 0])
    yield "Union", pipeline.make_union(decomposition.PCA(2), feature_selection.SelectPercentile(feature_selection.f_classif, percentile=50)).fit(x, y)
    yield "RecursiveElimination", feature_selection.RFECV(linear_model.LogisticRegression(), cv=2).fit(x, y)
    yield "LabelEncoder", preprocessing.LabelEncoder().fit(LABELS)
    yield "LabelBinarizer", preprocessing.MultiLabelBinarizer().fit([["a"], ["a", "b"]])


def learned(x: Any, y: Any) -> Iterator[tuple[str, str, bytes, str]]:
    """Yield category, name, bytes, loader: each estimator in one of the ways people save one."""
    import cloudpickle
    import joblib
    import skops.io
    import skops.io.exceptions

    ways: tuple[Any, ...] = (0, "zlib", 2, ("gzip", 3), 3, ("xz", 2), 4, ("bz2", 3), 5, ("lzma", 3), "plain", "skops", "cloudpickle")
    for at, (name, model) in enumerate(estimators(x, y)):
        way = ways[at % len(ways)]
        try:
            safe = skops.io.dumps(model) if way == "skops" or at % 7 == 3 else b""
        except skops.io.exceptions.UnsupportedTypeException:
            safe, way = b"", "plain" if way == "skops" else way
        if way == "skops":
            yield "scikit-learn (skops)", f"{name}.skops", safe, "skops"
        elif way == "cloudpickle":
            yield "scikit-learn (pickle)", f"{name}.cloudpickle.pkl", cloudpickle.dumps(model), "pickle"
        elif isinstance(way, int) and at % len(ways) % 2 == 0:
            yield "scikit-learn (pickle)", f"{name}_p{way}.pkl", pickle.dumps(model, way), "pickle"
        else:
            compress = 0 if way == "plain" else ("zlib", 3) if way == "zlib" else way
            out = io.BytesIO()
            joblib.dump(model, out, compress=compress)
            yield "scikit-learn (joblib)", f"{name}.{('joblib', 'sav', 'pkl', 'model')[at % 4]}", out.getvalue(), "joblib"
        if at % 7 == 3 and way != "skops" and safe:
            yield "scikit-learn (skops)", f"{name}.skops", safe, "skops"


def plain(x: Any) -> Iterator[tuple[str, str, bytes, str]]:
    """Yield pickles of data that hold no model."""
    import collections
    import datetime as dt
    import decimal
    import uuid

    import joblib
    import pandas as pd
    import scipy.sparse as sp

    frame = pd.DataFrame({"a": x[:, 0], "b": ["u", "v"] * (len(x) // 2), "c": pd.date_range("2025-01-01", periods=len(x), tz="UTC"), "d": pd.Categorical(["x", "y"] * (len(x) // 2))})
    values: dict[str, Any] = {
        "frame": frame, "frame_multiindex": frame.set_index(["b", "a"]), "series": frame["a"], "history": {"loss": [0.9, 0.5], "val_loss": np.float64(0.6)}, "vocabulary": {w: n for n, w in enumerate(["the", "cat", "sat", "on"])},
        "label_names": ["airplane", "automobile", "bird"], "ordered": collections.OrderedDict(a=1, b=2), "counter": collections.Counter("abracadabra"), "defaultdict": collections.defaultdict(list, a=[1]), "dates": {"trained": dt.datetime(2025, 3, 1, 12, tzinfo=dt.UTC), "delta": dt.timedelta(days=3)},
        "decimals": [decimal.Decimal("1.10"), complex(1, 2), range(3), slice(1, 2)], "run_id": {"id": uuid.UUID(int=7), "tags": frozenset({"a"})}, "sparse": sp.csr_matrix(np.eye(4)), "sparse_array": sp.coo_array(np.eye(3)), "random_state": np.random.RandomState(3), "generator": np.random.default_rng(3),
        "structured": np.array([(1, 2.0)], [("a", "i4"), ("b", "f8")]), "datetimes": np.array(["2025-01-01"], "M8[D]"), "strings": np.array(["a", "bc"]), "masked": np.ma.masked_array([1, 2], [True, False]), "big_endian": np.arange(4, dtype=">i2"), "scalars": {"f": np.float32(1.5), "i": np.int64(3), "b": np.bool_(True)}, "object_array_of_strings": np.array(["a", None, 1.5], object), "path_and_bytes": {"blob": bytes(range(64)), "arr": bytearray(b"abc")},
        "intervals": pd.cut(frame["a"], 3), "study": {"best_params": {"lr": 1e-3, "layers": [64, 32]}, "score": 0.91}, "keras_tokenizer_words": {"word_index": {"a": 1}, "num_words": None},
    }
    for at, (name, value) in enumerate(values.items()):
        if at % 5 == 4:
            out = io.BytesIO()
            joblib.dump(value, out, compress=3 if at % 2 else 0)
            yield "data (pickle)", f"{name}.joblib", out.getvalue(), "joblib"
        else:
            yield "data (pickle)", f"{name}.{('pkl', 'pickle', 'p', 'dat')[at % 4]}", pickle.dumps(value, at % 6), "pickle"


def boosted(x: Any, y: Any) -> Iterator[tuple[str, str, bytes, str]]:
    import lightgbm
    import xgboost

    data = xgboost.DMatrix(x, y, feature_names=["age", "bmi", "dose", "days"])
    for name, how in (("binary", {"objective": "binary:logistic"}), ("multi", {"objective": "multi:softprob", "num_class": 2}), ("dart", {"booster": "dart", "rate_drop": 0.1}), ("linear", {"booster": "gblinear"})):
        booster = xgboost.train({"max_depth": 2, "nthread": 1, **how}, data, 3)
        booster.set_attr(best_iteration="2", note="trained on monday")
        for ending in ("json", "ubj"):
            yield "boosting (own format)", f"xgboost_{name}.{ending}", bytes(booster.save_raw(ending)), "xgboost"
    ranker = xgboost.XGBRanker(n_estimators=2).fit(x, y, qid=np.arange(len(x)) // 10)
    yield "boosting (pickle)", "xgb_ranker.pkl", pickle.dumps(ranker), "pickle"
    yield "boosting (pickle)", "xgb_classifier.pkl", pickle.dumps(xgboost.XGBClassifier(n_estimators=2).fit(x, y)), "pickle"
    yield "boosting (own format)", "xgb_model.bin", saved(lambda p: xgboost.XGBRegressor(n_estimators=2).fit(x, y).save_model(p), ".ubj"), "xgboost"
    for name, how in (("binary", {"objective": "binary"}), ("regression", {"objective": "regression_l1"}), ("linear_tree", {"linear_tree": True}), ("rf", {"boosting": "rf", "bagging_freq": 1, "bagging_fraction": 0.7})):
        params = {"verbose": -1, "min_data_in_leaf": 3, "num_threads": 1, **how}
        model = lightgbm.train(params, lightgbm.Dataset(x, y, feature_name=["age", "body mass", "dose", "days"]), 3)
        yield "boosting (own format)", f"lightgbm_{name}.txt", model.model_to_string().encode(), "lightgbm"
        if name == "binary":
            import json

            yield "boosting (own format)", "lightgbm_dump.json", json.dumps(model.dump_model()).encode(), "json"
    yield "boosting (pickle)", "lgbm_classifier.pkl", pickle.dumps(lightgbm.LGBMClassifier(n_estimators=3, verbose=-1, min_child_samples=2).fit(x, y)), "pickle"
    import joblib

    out = io.BytesIO()
    joblib.dump(lightgbm.LGBMRegressor(n_estimators=3, verbose=-1).fit(x, y), out, compress=3)
    yield "boosting (pickle)", "lgbm_regressor.joblib", out.getvalue(), "joblib"


def samples(rng: np.random.Generator) -> Iterator[Checked]:
    x = rng.normal(size=(80, 4))
    y = (x[:, 0] + 0.3 * x[:, 1] > 0).astype(int)
    for part in (learned(x, y), plain(x), boosted(x, y)):
        for category, name, data, how in part:
            yield Checked(category, name, {name: data}, how)
    yield from fifth_good_networks.samples(rng)
    yield from fifth_good_files.samples(rng)
