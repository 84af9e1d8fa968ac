"""Round 7, harmless: Python values, NumPy, scikit-learn, boosting and skops, by their libraries."""

import array
import bz2
import collections
import datetime as dt
import decimal
import fractions
import gzip
import io
import ipaddress
import lzma
import pathlib
import pickle  # noqa: TID251 - written, never read
import types
import uuid
import zoneinfo
from collections.abc import Iterator
from typing import Any

import joblib
import numpy as np
import pandas as pd
import scipy.sparse as sp

from held_out import Sample, one


def values(rng: np.random.Generator) -> dict[str, Any]:
    frame = pd.DataFrame(
        {
            "when": pd.date_range("2025-03-01", periods=5, tz="Europe/Berlin"),
            "n": pd.array([1, None, 3, 4, 5], dtype="Int64"),
            "s": pd.Series(["a", "b", None, "d", "e"], dtype="string"),
            "c": pd.Categorical(list("xyxyx"), ordered=True),
            "f": rng.normal(size=5),
        }
    )
    twice = [1, 2]
    structured = np.zeros(3, dtype=[("id", "i4"), ("v", "f8", (2,)), ("name", "U6")])
    return {
        "training_log": {
            "epoch": list(range(9)),
            "loss": rng.random(9).tolist(),
            "best": None,
            "done": True,
        },
        "vocabulary": {f"tok{i}": i for i in range(400)},
        "label_map": {0: "cat", 1: "dog", -1: "Unbekannt – ß"},
        "unicode": ["", "\n\\u0041", "日本語", "🙂" * 70, "a\x00b"],
        "big_numbers": [2**70, -(2**65), 0, 1e308, float("inf"), -0.0],
        "bytes": {"raw": bytes(range(256)), "more": b"x" * 300, "empty": b""},
        "bytearray": bytearray(b"weights" * 9),
        "frozen": {frozenset({1, 2}): {3, 4}, (): frozenset()},
        "deep": [[[[[[{"a": ({"b": [None]},)}]]]]]],
        "shared": {"a": twice, "b": twice, "c": [twice, twice]},
        "ordered": collections.OrderedDict(a=1, b=collections.OrderedDict(c=2)),
        "default_of_list": collections.defaultdict(list, {"a": [1]}),
        "default_of_int": collections.defaultdict(int, {"x": 4}),
        "counter": collections.Counter("mississippi"),
        "deque": collections.deque([1, 2, 3], maxlen=5),
        "array_module": array.array("d", [1.0, 2.5]),
        "times": [
            dt.datetime(2025, 1, 2, 3, 4, 5, 6),  # noqa: DTZ001 - a naive one is meant
            dt.date(2024, 2, 29),
            dt.timedelta(days=3),
            dt.time(1, 2),
        ],
        "zoned": dt.datetime(2025, 6, 1, tzinfo=dt.UTC),
        "offset": dt.datetime(2025, 6, 1, tzinfo=dt.timezone(dt.timedelta(hours=5, minutes=30))),
        "zone": zoneinfo.ZoneInfo("UTC"),
        "decimals": [decimal.Decimal("1.10"), fractions.Fraction(3, 7), 3 + 4j],
        "identifier": uuid.UUID(int=77),
        "path": pathlib.PurePosixPath("models/best.pt"),
        "address": ipaddress.ip_address("192.0.2.7"),
        "ranges": [range(3, 30, 4), slice(1, None, 2), Ellipsis, NotImplemented],
        "namespace": types.SimpleNamespace(lr=0.1, layers=[8, 8]),
        "arrays": {
            "w": rng.normal(size=(4, 3)),
            "b": np.zeros(3, "f2"),
            "i": np.arange(5, dtype="u1"),
        },
        "big_endian": np.arange(6, dtype=">i4").reshape(2, 3),
        "fortran": np.asfortranarray(rng.random((3, 4))),
        "scalars": [
            np.float32(1.5),
            np.int64(-3),
            np.bool_(True),
            np.complex128(2 + 1j),
            np.str_("x"),
        ],
        "dates_np": np.array(["2025-01-01", "NaT"], dtype="M8[D]"),
        "structured": structured,
        "objects_np": np.array([None, "a", 1, [2]], dtype=object),
        "zero_dim": np.array(3.5),
        "masked": np.ma.masked_array([1.0, 2.0, 3.0], mask=[0, 1, 0]),
        "generator": np.random.default_rng(3),
        "philox": np.random.Generator(np.random.Philox(5)),
        "mt_state": np.random.RandomState(4).get_state(),
        "dtype": np.dtype([("a", "<f4"), ("b", "S3")]),
        "frame": frame,
        "multi_index": pd.DataFrame(
            {"v": range(4)}, index=pd.MultiIndex.from_product([["a", "b"], [1, 2]])
        ),
        "series": pd.Series(
            rng.random(4), index=pd.period_range("2025-01", periods=4, freq="M"), name="v"
        ),
        "intervals": pd.cut(pd.Series([1, 5, 9]), bins=3),
        "timestamps": [pd.Timestamp("2025-01-01", tz="UTC"), pd.Timedelta("3h"), pd.NaT, pd.NA],
        "csr": sp.csr_matrix(np.eye(4)),
        "coo_array": sp.coo_array(np.eye(3)),
        "csc": sp.random(6, 5, 0.4, "csc", random_state=1),
        "dia": sp.diags([1.0, 2.0, 3.0]),
        "mixed_checkpoint": {
            "config": {"lr": 1e-3},
            "history": frame["f"],
            "weights": [rng.random((2, 2)), rng.random(2)],
        },
    }


def python(rng: np.random.Generator) -> Iterator[Sample]:
    for at, (name, value) in enumerate(values(rng).items()):
        for proto in {at % 6, (at * 5 + 4) % 6} if at % 3 else {4}:
            yield one("G_python", f"{name}_p{proto}", ".pkl", pickle.dumps(value, proto))
    sizes = pickle.dumps(list(range(30_000)), 4)
    yield one("G_python", "long_list", ".pickle", sizes)


def numpy_files(rng: np.random.Generator) -> Iterator[Sample]:
    table: dict[str, Any] = {
        "f16": rng.random((2, 3, 4)).astype("f2"),
        "u1": rng.integers(0, 255, 99, dtype="u1"),
        "c8": rng.random(3).astype("c8"),
        "big": np.arange(9, dtype=">f8"),
        "unicode": np.array(["weiß", "b"]),
        "bytes": np.array([b"abc", b"d"]),
        "delta": np.array([1, 2], dtype="m8[s]"),
        "nested": np.zeros(2, dtype=[("p", [("x", "f4"), ("y", "f4")]), ("k", "i2", (3,))]),
        "aligned": np.zeros(2, dtype=np.dtype([("a", "i1"), ("b", "f8")], align=True)),
        "nothing": np.zeros((0, 7)),
        "scalar": np.array(7),
    }
    for at, (name, value) in enumerate(table.items()):
        box = io.BytesIO()
        if at % 3 == 2:
            (np.savez_compressed if at % 2 else np.savez)(box, value, again=value)
            yield one("G_numpy", name, ".npz", box.getvalue())
        else:
            np.save(box, value)
            yield one("G_numpy", name, ".npy", box.getvalue())
    for version in ((2, 0), (3, 0)):
        box = io.BytesIO()
        np.lib.format.write_array(box, np.arange(4), version=version)
        yield one("G_numpy", f"version{version[0]}", ".npy", box.getvalue())
    box = io.BytesIO()
    sp.save_npz(box, sp.csr_matrix(np.eye(5)))
    yield one("G_numpy", "sparse", ".npz", box.getvalue())
    box = io.BytesIO()
    np.savez(box, **{f"layers/{i}/kernel": rng.random((3, 3)) for i in range(6)})
    yield one("G_numpy", "flat_weights", ".npz", box.getvalue())
    box = io.BytesIO()
    np.savez(box, weights=rng.random(5), classes=np.array(["a", 3], dtype=object))
    yield one("G_numpy", "object_classes", ".npz", box.getvalue())


def estimators(rng: np.random.Generator) -> dict[str, Any]:
    from sklearn import (
        calibration,
        cluster,
        compose,
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
        isotonic,
        kernel_approximation,
        kernel_ridge,
        linear_model,
        manifold,
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

    x = rng.normal(size=(60, 4))
    y = (x[:, 0] + x[:, 1] > 0).astype(int)
    positive = np.abs(x)
    r = x @ np.array([1.0, 2, 0, -1]) + 0.1 * rng.normal(size=60)
    frame = pd.DataFrame({"a": x[:, 0], "b": x[:, 1], "c": list("xyz" * 20)})
    words = ["red green", "green blue", "blue red red"] * 20
    lr = linear_model.LogisticRegression
    return {
        "elastic": linear_model.ElasticNetCV(cv=3).fit(x, r),
        "lasso_lars": linear_model.LassoLarsIC().fit(x, r),
        "huber": linear_model.HuberRegressor().fit(x, r),
        "ransac": linear_model.RANSACRegressor(random_state=0).fit(x, r),
        "theil": linear_model.TheilSenRegressor(random_state=0, max_subpopulation=50).fit(x, r),
        "bayesian": linear_model.BayesianRidge().fit(x, r),
        "poisson": linear_model.PoissonRegressor().fit(x, positive[:, 0]),
        "quantile": linear_model.QuantileRegressor().fit(x, r),
        "ridge_cls": linear_model.RidgeClassifierCV().fit(x, y),
        "passive": linear_model.SGDClassifier(loss="modified_huber", random_state=0).fit(x, y),
        "extra": ensemble.ExtraTreesClassifier(4, random_state=0).fit(x, y),
        "bagging": ensemble.BaggingRegressor(n_estimators=3, random_state=0).fit(x, r),
        "voting": ensemble.VotingClassifier(
            [("a", lr()), ("b", naive_bayes.GaussianNB())], voting="soft"
        ).fit(x, y),
        "stacking": ensemble.StackingRegressor([("a", linear_model.Ridge())], cv=3).fit(x, r),
        "hgb_cat": ensemble.HistGradientBoostingClassifier(
            max_iter=3, categorical_features=[3]
        ).fit(np.c_[x[:, :3], y], y),
        "gb_huber": ensemble.GradientBoostingRegressor(
            n_estimators=3, loss="huber", random_state=0
        ).fit(x, r),
        "embedding": ensemble.RandomTreesEmbedding(3, random_state=0).fit(x),
        "nusvr": svm.NuSVR().fit(x, r),
        "linear_svc": svm.LinearSVC().fit(x, y),
        "oneclass": svm.OneClassSVM().fit(x),
        "svc_proba": svm.SVC(kernel="poly").fit(x, y),
        "radius": neighbors.RadiusNeighborsRegressor(3.0).fit(x, r),
        "lof": neighbors.LocalOutlierFactor(novelty=True).fit(x),
        "kde": neighbors.KernelDensity().fit(x),
        "balltree": neighbors.KNeighborsClassifier(3, algorithm="ball_tree").fit(x, y),
        "nca": neighbors.NeighborhoodComponentsAnalysis(random_state=0, max_iter=3).fit(x, y),
        "centroid": neighbors.NearestCentroid().fit(x, y),
        "extra_tree": tree.ExtraTreeRegressor(random_state=0).fit(x, r),
        "bernoulli": naive_bayes.BernoulliNB().fit(x, y),
        "complement": naive_bayes.ComplementNB().fit(positive, y),
        "categorical_nb": naive_bayes.CategoricalNB().fit(positive.astype(int), y),
        "mlp_reg": neural_network.MLPRegressor(
            hidden_layer_sizes=(4,), max_iter=5, early_stopping=True, random_state=0
        ).fit(x, r),
        "rbm": neural_network.BernoulliRBM(3, n_iter=2, random_state=0).fit(positive),
        "dbscan": cluster.DBSCAN().fit(x),
        "birch": cluster.Birch(n_clusters=2).fit(x),
        "spectral": cluster.SpectralCoclustering(2, random_state=0).fit(positive),
        "agglo": cluster.AgglomerativeClustering(2).fit(x),
        "meanshift": cluster.MeanShift().fit(x),
        "optics": cluster.OPTICS(min_samples=5).fit(x),
        "hdbscan": cluster.HDBSCAN(copy=True).fit(x),
        "bisecting": cluster.BisectingKMeans(3, random_state=0).fit(x),
        "nmf": decomposition.NMF(2, random_state=0, max_iter=20).fit(positive),
        "fastica": decomposition.FastICA(2, random_state=0).fit(x),
        "lda_topics": decomposition.LatentDirichletAllocation(2, max_iter=2, random_state=0).fit(
            positive
        ),
        "kpca": decomposition.KernelPCA(2, kernel="rbf").fit(x),
        "dictionary": decomposition.MiniBatchDictionaryLearning(2, max_iter=2, random_state=0).fit(
            x
        ),
        "qda": discriminant_analysis.QuadraticDiscriminantAnalysis().fit(x, y),
        "dummy": dummy.DummyClassifier(strategy="stratified").fit(x, y),
        "envelope": covariance.EllipticEnvelope(random_state=0).fit(x),
        "pls": cross_decomposition.PLSRegression(2).fit(x, r),
        "calibrated": calibration.CalibratedClassifierCV(svm.LinearSVC(), cv=2).fit(x, y),
        "isotonic": isotonic.IsotonicRegression(out_of_bounds="clip").fit(x[:, 0], r),
        "krr": kernel_ridge.KernelRidge(kernel="rbf").fit(x, r),
        "nystroem": kernel_approximation.Nystroem(n_components=5, random_state=0).fit(x),
        "gpc": gaussian_process.GaussianProcessClassifier(gaussian_process.kernels.RBF() * 2.0).fit(
            x, y
        ),
        "isomap": manifold.Isomap(n_components=2).fit(x),
        "ovo": multiclass.OneVsOneClassifier(lr()).fit(x, y),
        "chain": multioutput.ClassifierChain(lr()).fit(x, np.c_[y, 1 - y]),
        "multiout": multioutput.MultiOutputRegressor(linear_model.Ridge()).fit(x, np.c_[r, r]),
        "random_search": model_selection.RandomizedSearchCV(
            tree.DecisionTreeClassifier(), {"max_depth": [2, 3]}, n_iter=2, cv=2, random_state=0
        ).fit(x, y),
        "self_training": semi_supervised.SelfTrainingClassifier(lr()).fit(
            x, np.where(rng.random(60) < 0.3, -1, y)
        ),
        "projection": random_projection.SparseRandomProjection(2, random_state=0).fit(x),
        "rfe": feature_selection.RFECV(lr(), cv=2).fit(x, y),
        "variance": feature_selection.VarianceThreshold().fit(x),
        "hasher": feature_extraction.FeatureHasher(8),
        "dictvec": feature_extraction.DictVectorizer().fit([{"a": 1, "b": "x"}]),
        "counts": feature_extraction.text.CountVectorizer(ngram_range=(1, 2)).fit(words),
        "iterative": pipeline.make_pipeline(
            impute.KNNImputer(), preprocessing.PowerTransformer()
        ).fit(x),
        "quantiles": preprocessing.QuantileTransformer(n_quantiles=10).fit(x),
        "splines": preprocessing.SplineTransformer(3).fit(x),
        "bins": preprocessing.KBinsDiscretizer(3, quantile_method="averaged_inverted_cdf").fit(x),
        "target_encoder": preprocessing.TargetEncoder(cv=2).fit(frame[["c"]], y),
        "ordinal": preprocessing.OrdinalEncoder(
            handle_unknown="use_encoded_value", unknown_value=-1
        ).fit(frame[["c"]]),
        "binarizer": preprocessing.LabelBinarizer().fit(list("abc")),
        "multilabel": preprocessing.MultiLabelBinarizer().fit([("a",), ("b", "c")]),
        "columns": compose.make_column_transformer(
            (preprocessing.StandardScaler(), ["a", "b"]),
            (preprocessing.OneHotEncoder(), ["c"]),
            remainder="passthrough",
        ).fit(frame),
        "union": pipeline.make_union(
            decomposition.TruncatedSVD(2), preprocessing.MaxAbsScaler()
        ).fit(x),
        "ttr_log": compose.TransformedTargetRegressor(
            linear_model.Ridge(), func=np.log1p, inverse_func=np.expm1
        ).fit(x, positive[:, 0]),
        "text_pipe": pipeline.make_pipeline(
            feature_extraction.text.HashingVectorizer(n_features=16), lr()
        ).fit(words, y),
    }


def sklearn(rng: np.random.Generator) -> Iterator[Sample]:
    packers = (None, ("zlib", 3), ("gzip", 6), None, ("bz2", 4), ("xz", 2), None, ("lzma", 1))
    for at, (name, model) in enumerate(estimators(rng).items()):
        if at % 2:
            proto = (2, 3, 4, 5, 0)[at // 2 % 5]
            yield one("G_sklearn", f"{name}_p{proto}", ".pkl", pickle.dumps(model, proto))
            continue
        box = io.BytesIO()
        packer = packers[at // 2 % len(packers)]
        joblib.dump(model, box, compress=packer or 0, protocol=None if at % 4 else 4)
        yield one(
            "G_sklearn", f"{name}_{packer[0] if packer else 'plain'}", ".joblib", box.getvalue()
        )
        if at % 24 == 0:
            yield one(
                "G_sklearn", f"{name}_gz", ".pkl.gz", gzip.compress(pickle.dumps(model), mtime=0)
            )
        if at % 24 == 12:
            yield one("G_sklearn", f"{name}_xz", ".pkl.xz", lzma.compress(pickle.dumps(model)))
            yield one("G_sklearn", f"{name}_bz2", ".pkl.bz2", bz2.compress(pickle.dumps(model)))


def boosting(rng: np.random.Generator) -> Iterator[Sample]:
    import lightgbm
    import xgboost

    x = rng.normal(size=(80, 3))
    y = (x[:, 0] > 0).astype(int)
    forest = xgboost.XGBClassifier(n_estimators=3, max_depth=2, n_jobs=1).fit(x, y)
    for form in ("json", "ubj"):
        yield one("G_boost", f"xgb_{form}", f".{form}", bytes(forest.get_booster().save_raw(form)))
    linear = xgboost.train(
        {"booster": "dart", "nthread": 1}, xgboost.DMatrix(x, y, feature_names=["a", "b", "c"]), 2
    )
    yield one("G_boost", "xgb_dart", ".json", bytes(linear.save_raw("json")))
    yield one("G_boost", "xgb_sklearn", ".pkl", pickle.dumps(forest, 4))
    small = lightgbm.LGBMRegressor(
        n_estimators=3, num_leaves=4, n_jobs=1, verbose=-1, min_child_samples=5
    ).fit(x, x[:, 1])
    yield one("G_boost", "lgb_text", ".txt", small.booster_.model_to_string().encode())
    yield one("G_boost", "lgb_sklearn", ".pkl", pickle.dumps(small, 5))
    box = io.BytesIO()
    joblib.dump(
        lightgbm.LGBMClassifier(n_estimators=2, n_jobs=1, verbose=-1).fit(
            x, np.array(["n", "y"])[y]
        ),
        box,
        compress=3,
    )
    yield one("G_boost", "lgb_classes", ".joblib", box.getvalue())


def skops(rng: np.random.Generator) -> Iterator[Sample]:
    import skops.io
    from sklearn import decomposition, ensemble, linear_model, neighbors, pipeline, preprocessing

    x = rng.normal(size=(40, 3))
    y = (x[:, 0] > 0).astype(int)
    for name, model in {
        "forest": ensemble.RandomForestClassifier(3, random_state=0).fit(x, y),
        "knn": neighbors.KNeighborsRegressor(3, algorithm="brute").fit(x, x[:, 1]),
        "pca_pipe": pipeline.make_pipeline(
            preprocessing.RobustScaler(), decomposition.PCA(2), linear_model.LogisticRegression()
        ).fit(x, y),
        "ridge": linear_model.RidgeCV().fit(x, x[:, 1]),
        "plain_dict": {"weights": x, "names": ["a", "b"]},
    }.items():
        yield one("G_skops", name, ".skops", skops.io.dumps(model))
