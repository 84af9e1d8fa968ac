"""Harmless files of the sixth round: estimators of scikit-learn and values of Python, by their own writers."""

import array
import collections
import datetime as dt
import decimal
import fractions
import http
import io
import ipaddress
import pickle  # noqa: TID251 - written, never read
import random  # noqa: TID251 - its state is a value
import re
import tempfile
import time
import types
import urllib.parse
import uuid
import zoneinfo
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import scipy.interpolate
import scipy.sparse
import scipy.spatial
import sklearn.experimental.enable_halving_search_cv
import sklearn.experimental.enable_iterative_imputer  # noqa: F401 - imported for its effect
from scipy.spatial.transform import Rotation
from sklearn import (
    calibration,
    cluster,
    covariance,
    cross_decomposition,
    decomposition,
    discriminant_analysis,
    dummy,
    ensemble,
    feature_extraction,
    feature_selection,
    gaussian_process,
    impute,
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
from sklearn.compose import (
    ColumnTransformer,
    TransformedTargetRegressor,
    make_column_selector,
)

from held_out.sixth_asm import Loaded

Named = tuple[str, Any]
WORDS = [
    "a model of words",
    "some other words here",
    "no words at all",
    "models and words",
    "here and there",
] * 4


def through(write: Callable[[str], object], ending: str) -> bytes:
    with tempfile.TemporaryDirectory() as name:
        path = str(Path(name) / f"a{ending}")
        write(path)
        return Path(path).read_bytes()


def stored(write: Callable[[io.BytesIO], object]) -> bytes:
    out = io.BytesIO()
    write(out)
    return out.getvalue()


def classifiers() -> list[Any]:
    log = linear_model.LogisticRegression(max_iter=50)
    small = tree.DecisionTreeClassifier(max_depth=2, random_state=0)
    return [
        linear_model.RidgeClassifierCV(), linear_model.LogisticRegressionCV(cv=2, max_iter=50), linear_model.Perceptron(random_state=0),
        linear_model.SGDClassifier(loss="modified_huber", random_state=0), svm.LinearSVC(random_state=0), svm.NuSVC(nu=0.2, probability=False),
        ensemble.ExtraTreesClassifier(4, random_state=0), ensemble.BaggingClassifier(small, 3, random_state=0),
        ensemble.VotingClassifier([("a", log), ("b", small)], voting="soft"), ensemble.StackingClassifier([("a", log), ("b", small)], cv=2),
        ensemble.HistGradientBoostingClassifier(max_iter=3, categorical_features=[0]), discriminant_analysis.LinearDiscriminantAnalysis(),
        discriminant_analysis.QuadraticDiscriminantAnalysis(reg_param=0.1), calibration.CalibratedClassifierCV(small, cv=2),
        multiclass.OneVsRestClassifier(log), multiclass.OneVsOneClassifier(log), multiclass.OutputCodeClassifier(log, random_state=0),
        naive_bayes.BernoulliNB(), naive_bayes.ComplementNB(), naive_bayes.CategoricalNB(), neighbors.NearestCentroid(),
        neighbors.RadiusNeighborsClassifier(5.0), neighbors.KNeighborsClassifier(3, algorithm="ball_tree"), semi_supervised.LabelSpreading(),
        semi_supervised.SelfTrainingClassifier(log), gaussian_process.GaussianProcessClassifier(), dummy.DummyClassifier(strategy="stratified", random_state=0),
        neighbors.NeighborhoodComponentsAnalysis(2, max_iter=3, random_state=0), tree.ExtraTreeClassifier(random_state=0),
        feature_selection.SelectKBest(k=2), feature_selection.RFE(log, n_features_to_select=2), feature_selection.RFECV(log, cv=2),
        feature_selection.SelectFromModel(small), feature_selection.SequentialFeatureSelector(small, n_features_to_select=2, cv=2),
        feature_selection.GenericUnivariateSelect(feature_selection.chi2, mode="percentile"), preprocessing.TargetEncoder(random_state=0),
        model_selection.RandomizedSearchCV(small, {"max_depth": [1, 2, 3]}, n_iter=2, cv=2, random_state=0),
        model_selection.HalvingGridSearchCV(small, {"max_depth": [1, 2]}, cv=2, random_state=0),
        model_selection.TunedThresholdClassifierCV(log, cv=2, random_state=0),
        pipeline.make_pipeline(preprocessing.MinMaxScaler(), feature_selection.VarianceThreshold(), svm.SVC(kernel="poly")),
        pipeline.Pipeline([("u", pipeline.FeatureUnion([("p", decomposition.PCA(2)), ("k", feature_selection.SelectKBest(k=1))])), ("c", log)]),
        neural_network.MLPClassifier((4,), max_iter=5, solver="lbfgs", random_state=0), ensemble.GradientBoostingClassifier(n_estimators=3, init="zero", random_state=0),
    ]  # fmt: skip


def regressors() -> list[Any]:
    ridge = linear_model.Ridge()
    return [
        ridge, linear_model.Lasso(), linear_model.ElasticNetCV(cv=2), linear_model.BayesianRidge(), linear_model.ARDRegression(), linear_model.HuberRegressor(),
        linear_model.TheilSenRegressor(random_state=0, max_subpopulation=20), linear_model.RANSACRegressor(random_state=0), linear_model.QuantileRegressor(),
        linear_model.PoissonRegressor(), linear_model.TweedieRegressor(power=0), linear_model.Lars(), linear_model.LassoLarsIC(), linear_model.OrthogonalMatchingPursuit(),
        svm.SVR(), svm.LinearSVR(random_state=0), svm.NuSVR(), ensemble.ExtraTreesRegressor(3, random_state=0), ensemble.HistGradientBoostingRegressor(max_iter=3, loss="quantile", quantile=0.5),
        ensemble.AdaBoostRegressor(n_estimators=2, random_state=0), ensemble.RandomForestRegressor(3, random_state=0), multioutput.RegressorChain(ridge, random_state=0), neighbors.KNeighborsRegressor(2, weights="distance", metric="manhattan"),
        kernel_ridge.KernelRidge(kernel="rbf"), tree.DecisionTreeRegressor(max_depth=3), TransformedTargetRegressor(ridge, func=np.log1p, inverse_func=np.expm1),
        gaussian_process.GaussianProcessRegressor(gaussian_process.kernels.Matern() + gaussian_process.kernels.WhiteKernel() * gaussian_process.kernels.ConstantKernel()),
        neural_network.MLPRegressor(hidden_layer_sizes=(3,), max_iter=3, random_state=0), dummy.DummyRegressor(), cross_decomposition.PLSRegression(n_components=2), ensemble.VotingRegressor([("a", ridge), ("b", dummy.DummyRegressor())]),
    ]  # fmt: skip


def unsupervised() -> list[Any]:
    return [
        cluster.DBSCAN(), cluster.Birch(n_clusters=3), cluster.MiniBatchKMeans(3, random_state=0, n_init=1), cluster.AffinityPropagation(random_state=0), cluster.MeanShift(),
        cluster.OPTICS(), cluster.HDBSCAN(copy=True), cluster.AgglomerativeClustering(3), cluster.BisectingKMeans(n_clusters=3, random_state=0), cluster.FeatureAgglomeration(n_clusters=2),
        decomposition.TruncatedSVD(n_components=2, random_state=0), decomposition.NMF(2, random_state=0), decomposition.FastICA(2, random_state=0), decomposition.FactorAnalysis(2), decomposition.LatentDirichletAllocation(2, random_state=0),
        decomposition.SparsePCA(2, max_iter=3, random_state=0), decomposition.MiniBatchDictionaryLearning(2, max_iter=3, random_state=0), decomposition.KernelPCA(n_components=2, kernel="rbf"), decomposition.IncrementalPCA(2),
        manifold.Isomap(n_neighbors=8), manifold.LocallyLinearEmbedding(n_neighbors=8), manifold.SpectralEmbedding(random_state=0), random_projection.GaussianRandomProjection(n_components=2, random_state=0), random_projection.SparseRandomProjection(n_components=2, random_state=0),
        kernel_approximation.RBFSampler(random_state=0, n_components=5), kernel_approximation.Nystroem(n_components=4, random_state=0), preprocessing.StandardScaler(), preprocessing.RobustScaler(), preprocessing.MaxAbsScaler(),
        preprocessing.PowerTransformer(), preprocessing.QuantileTransformer(n_quantiles=9), preprocessing.KBinsDiscretizer(3, quantile_method="averaged_inverted_cdf"), preprocessing.PolynomialFeatures(2), preprocessing.SplineTransformer(), preprocessing.OneHotEncoder(handle_unknown="ignore"),
        preprocessing.OrdinalEncoder(), preprocessing.Normalizer(), preprocessing.Binarizer(), preprocessing.FunctionTransformer(np.log1p), impute.SimpleImputer(strategy="median"), impute.KNNImputer(), impute.IterativeImputer(max_iter=2, random_state=0),
        impute.MissingIndicator(), covariance.EllipticEnvelope(random_state=0, support_fraction=0.9), covariance.LedoitWolf(), mixture.BayesianGaussianMixture(n_components=2, random_state=0), neighbors.LocalOutlierFactor(novelty=True), neighbors.KernelDensity(), neighbors.NearestNeighbors(algorithm="kd_tree"),
        svm.OneClassSVM(), linear_model.SGDOneClassSVM(random_state=0), ensemble.RandomTreesEmbedding(n_estimators=3, random_state=0), ensemble.IsolationForest(n_estimators=4, random_state=0), neural_network.BernoulliRBM(n_components=2, n_iter=2, random_state=0), kernel_approximation.AdditiveChi2Sampler(),
    ]  # fmt: skip


def texts() -> Iterator[Named]:
    extract = feature_extraction
    yield "CountVectorizer", extract.text.CountVectorizer(ngram_range=(1, 2)).fit(WORDS)
    yield "HashingVectorizer", extract.text.HashingVectorizer(n_features=32)
    yield "DictVectorizer", extract.DictVectorizer().fit([{"a": 1, "b": "c"}, {"a": 2.0}])
    yield "FeatureHasher", extract.FeatureHasher(8)
    yield "LabelEncoder", preprocessing.LabelEncoder().fit(["x", "y"])
    yield "LabelBinarizer", preprocessing.LabelBinarizer().fit([1, 2, 5])
    yield "MultiLabelBinarizer", preprocessing.MultiLabelBinarizer().fit([{1, 2}, {3}])
    classify = pipeline.make_pipeline(
        extract.text.TfidfVectorizer(sublinear_tf=True, stop_words="english"),
        naive_bayes.MultinomialNB(),
    )
    yield "text_pipeline", classify.fit(WORDS, [0, 1, 0, 1, 0] * 4)
    frame = pd.DataFrame({"n": np.arange(20.0), "c": list("abcd") * 5})
    columns = ColumnTransformer(
        [
            ("n", preprocessing.RobustScaler(), make_column_selector(dtype_include="number")),
            ("c", preprocessing.OneHotEncoder(), ["c"]),
        ],
        remainder="drop",
    )
    yield (
        "columns_pipeline",
        pipeline.make_pipeline(columns, linear_model.LinearRegression()).fit(frame, frame["n"]),
    )
    yield (
        "pandas_output",
        preprocessing.StandardScaler().set_output(transform="pandas").fit(frame[["n"]]),
    )


def written(name: str, model: Any, at: int) -> Iterator[tuple[str, bytes, str]]:
    """Write a model in one or two of the forms in use."""
    forms: list[tuple[str, Callable[[], bytes], str]] = [
        (".p4.pkl", lambda: pickle.dumps(model, 4), "pickle"), (".joblib", lambda: stored(lambda o: joblib.dump(model, o)), "joblib"),
        (".p5.pickle", lambda: pickle.dumps(model, 5), "pickle"), (".joblib.gz", lambda: through(lambda p: joblib.dump(model, p), ".gz"), "joblib"),
        (".p2.pkl", lambda: pickle.dumps(model, 2), "pickle"), (".z.joblib", lambda: through(lambda p: joblib.dump(model, p, compress=6), ".joblib"), "joblib"),
        (".p3.pkl", lambda: pickle.dumps(model, 3), "pickle"), (".bz2", lambda: through(lambda p: joblib.dump(model, p), ".bz2"), "joblib"),
        (".xz", lambda: through(lambda p: joblib.dump(model, p), ".xz"), "joblib"), (".p5.joblib", lambda: stored(lambda o: joblib.dump(model, o, protocol=5)), "joblib"),
        (".p0.pkl", lambda: pickle.dumps(model, 0), "pickle"),
    ]  # fmt: skip
    for ending, write, how in (
        (forms[at % 11],) if at % 4 else (forms[at % 11], forms[(at + 3) % 11])
    ):
        yield name + ending, write(), how


def learned(rng: np.random.Generator) -> Iterator[tuple[str, bytes, str]]:
    x = np.abs(rng.normal(size=(40, 4))).round(2)
    y = (x[:, 0] + x[:, 1] > np.median(x[:, 0] + x[:, 1])).astype(int)
    models = [
        (type(m).__name__, m.fit(np.round(x * 2) if "CategoricalNB" in str(m) else x, y))
        for m in classifiers()
    ]
    models += [
        (
            type(m).__name__,
            m.fit(x, np.column_stack([x[:, 0], y]) if "Chain" in str(m) else np.abs(x[:, 0])),
        )
        for m in regressors()
    ]
    models += [(type(m).__name__, m.fit(x)) for m in unsupervised()]
    models += list(texts())
    models.append(
        (
            "MultiOutputClassifier",
            multioutput.MultiOutputClassifier(tree.DecisionTreeClassifier(max_depth=2)).fit(
                x, np.column_stack([y, 1 - y])
            ),
        )
    )
    models.append(("list_of_models", [m for _, m in models[:3]]))
    models.append(
        (
            "model_and_facts",
            {
                "model": models[4][1],
                "features": ["a", "b"],
                "scores": {"auc": 0.91, "when": dt.date(2026, 1, 2)},
            },
        )
    )
    for at, (name, model) in enumerate(models):
        yield from written(name, model, at)


def values(rng: np.random.Generator) -> Iterator[Named]:
    moment = dt.datetime(2026, 3, 4, 5, 6, 7, 8, dt.UTC)
    numbers = rng.normal(size=(6, 3))
    yield "deque", collections.deque([1, 2, 3], maxlen=5)
    yield "bytearray", bytearray(range(60))
    yield "frozenset", frozenset({"a", "b"})
    yield (
        "timedelta",
        {
            "t": dt.timedelta(days=3, seconds=4),
            "z": dt.timezone(dt.timedelta(hours=2), "X"),
        },
    )
    yield "moments", [moment, moment.date(), moment.timetz()]
    yield "zone", dt.datetime(2026, 1, 1, tzinfo=zoneinfo.ZoneInfo("UTC"))
    yield "struct_time", time.gmtime(0)
    yield "status", [http.HTTPStatus.OK, http.HTTPStatus.NOT_FOUND]
    yield (
        "addresses",
        [
            ipaddress.ip_address("10.0.0.1"),
            ipaddress.ip_network("10.0.0.0/8"),
            ipaddress.ip_address("::1"),
        ],
    )
    yield "array", array.array("d", [1.0, 2.5])
    yield "userdict", collections.UserDict(a=1)
    yield "chainmap", collections.ChainMap({"a": 1}, {"b": 2})
    yield "decimals", {"d": decimal.Decimal("1.50"), "f": fractions.Fraction(22, 7), "c": 2 - 3j}
    yield "namespace", types.SimpleNamespace(lr=0.1, layers=[3, 4])
    yield "pattern", {"split": re.compile(r"\w+|[^\w\s]", re.IGNORECASE)}
    yield "url", urllib.parse.urlsplit("https://example.org/a?b=c")
    yield "uuids", [uuid.UUID(int=i) for i in range(3)]
    yield "random_state", random.Random(3).getstate()
    yield "recursive", cycle()
    yield "big_integers", [2**100, -(2**70), 255, 256, 65535, 65536, -1]
    yield "floats", [float("inf"), -0.0, 1e-300, 3.5]
    yield (
        "unicode",
        {"ключ": "значение", "emoji": "🙂", "nul": "a\0b", "line": "a\nb", "lone": "\u2028"},
    )
    yield "long_text", "word " * 300
    yield (
        "history",
        {
            "loss": [float(v) for v in rng.random(30)],
            "val": [float(v) for v in rng.random(30)],
            "epochs": list(range(30)),
        },
    )
    yield "vocabulary", {f"token{i}": i for i in range(400)}
    yield "merges", [(f"a{i}", f"b{i}") for i in range(300)]
    yield "none_true_false", (None, True, False, ..., NotImplemented)
    yield "ranges", [range(3), slice(1, 2, 3)]
    yield "datetime64", np.array(["2026-01-01", "NaT"], "datetime64[D]")
    yield "timedelta64", np.timedelta64(3, "h")
    yield "structured", np.zeros(3, dtype=[("a", "<f4"), ("b", "<i2", (2,)), ("c", "S3")])
    yield "big_endian", numbers.astype(">f8")
    yield "fortran_order", np.asfortranarray(numbers)
    yield "empty_array", np.zeros((0, 4), np.float16)
    yield (
        "scalars",
        [
            np.float32(1.5),
            np.int64(3),
            np.bool_(True),
            np.complex64(1j),
            np.str_("a"),
            np.bytes_(b"b"),
        ],
    )
    yield "philox", np.random.Generator(np.random.Philox(5))
    yield "sfc64", np.random.Generator(np.random.SFC64(6))
    yield "seed_sequence", np.random.SeedSequence(7)
    yield "mt19937", np.random.Generator(np.random.MT19937(8))
    yield "polynomial", np.poly1d([1, 2, 3])
    yield "polynomial_new", np.polynomial.Chebyshev([1.0, 2.0])
    yield "matrix", np.matrix([[1, 2], [3, 4]])
    yield "masked", np.ma.masked_invalid([1.0, np.nan, 3.0])
    yield "dtypes", [np.dtype("f4"), np.dtype("U5"), np.dtype([("a", "i8")])]
    yield "object_array", np.array([{"a": 1}, [2], None], dtype=object)
    yield (
        "arrays_by_name",
        {f"layer{i}": rng.normal(size=(3, i + 1)).astype("f4") for i in range(6)},
    )
    for kind in (
        "csc_matrix",
        "coo_matrix",
        "bsr_matrix",
        "dia_matrix",
        "lil_matrix",
        "dok_matrix",
        "csr_array",
        "coo_array",
    ):
        yield kind, getattr(scipy.sparse, kind)(np.eye(4))
    yield "spline", scipy.interpolate.CubicSpline(np.arange(6.0), np.arange(6.0) ** 2)
    yield (
        "interpolator",
        scipy.interpolate.RegularGridInterpolator((np.arange(3.0), np.arange(3.0)), np.eye(3)),
    )
    yield "kdtree", scipy.spatial.cKDTree(numbers)
    yield "rotation", Rotation.from_quat([0, 0, 0, 1])
    frame = pd.DataFrame(
        {
            "n": [1.5, 2.5, None],
            "i": [1, 2, 3],
            "s": ["a", "b", None],
            "t": pd.date_range("2026-01-01", periods=3, tz="UTC"),
        }
    )
    yield "frame", frame
    yield "frame_indexed", frame.set_index(["i", "s"])
    yield "frame_nullable", frame.convert_dtypes()
    yield (
        "frame_columns",
        pd.DataFrame(numbers, columns=pd.MultiIndex.from_product([["a"], ["x", "y", "z"]])),
    )
    yield "intervals", pd.cut(pd.Series([1.0, 2.0, 3.0]), 2)
    yield "periods", pd.Series([1, 2], index=pd.period_range("2026-01", periods=2, freq="M"))
    yield (
        "timestamps",
        [pd.Timestamp("2026-01-01", tz="Europe/Paris"), pd.Timedelta("3h"), pd.NaT, pd.NA],
    )
    yield "ordered_categories", pd.Categorical(["a", "b"], categories=["b", "a"], ordered=True)
    yield "sparse_series", pd.Series(pd.arrays.SparseArray([0, 0, 1]))
    yield "index", [pd.Index(["a", "b"]), pd.RangeIndex(4), pd.DatetimeIndex(["2026-01-01"])]


def cycle() -> dict[str, Any]:
    held: dict[str, Any] = {"name": "root", "children": []}
    held["children"].append({"name": "leaf", "parent": held})
    return held


def samples(rng: np.random.Generator) -> Iterator[Loaded]:
    for name, data, how in learned(rng):
        yield Loaded("sklearn", name, {name: data}, how)
    for at, (name, value) in enumerate(values(rng)):
        for p in sorted({at % 6, (at + 4) % 6, *([2] if at % 3 == 0 else [])}):
            file = f"{name}_p{p}.pkl"
            try:
                data = pickle.dumps(value, p)
            except (
                TypeError
            ):  # out-of-band buffers, or slots without a state, want a later protocol
                data = pickle.dumps(value, 4)
            yield Loaded("python values", file, {file: data}, "pickle")
