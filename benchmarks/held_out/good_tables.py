"""Harmless models and tables: scikit-learn, XGBoost, LightGBM, CatBoost, statsmodels, pandas."""

import io
import json
import pickle  # noqa: TID251 - it only writes here
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from held_out import Sample, one
from held_out.assemble import Rng

COMPRESS: list[Any] = [
    0,
    3,
    ("zlib", 1),
    ("gzip", 3),
    ("bz2", 9),
    ("xz", 2),
    ("lzma", 3),
    ("lz4", 3),
]
BARE = {
    "ClassifierChain", "RegressorChain", "ColumnTransformer", "FeatureUnion", "GridSearchCV",
    "HalvingGridSearchCV", "HalvingRandomSearchCV", "MultiOutputClassifier", "MultiOutputRegressor",
    "OneVsOneClassifier", "OneVsRestClassifier", "OutputCodeClassifier", "Pipeline", "RFE", "RFECV",
    "RandomizedSearchCV", "SelectFromModel", "SelfTrainingClassifier", "SequentialFeatureSelector",
    "SparseCoder", "StackingClassifier", "StackingRegressor", "VotingClassifier", "VotingRegressor",
    "FixedThresholdClassifier", "TunedThresholdClassifierCV", "FrozenEstimator",
}  # fmt: skip


def written(save: Callable[[str], object], ending: str) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"x{ending}"
        save(str(path))
        return path.read_bytes()


def pickled(rng: Rng, value: object) -> tuple[str, bytes]:
    """Write as people do: joblib in most cases, with some compression, or pickle."""
    import joblib

    if rng.random() < 0.4:
        protocol = int(rng.integers(2, 6))
        return f"-{protocol}.pkl", pickle.dumps(value, protocol=protocol)
    compress = COMPRESS[rng.integers(len(COMPRESS))]
    name = compress[0] if isinstance(compress, tuple) else f"c{compress}"
    return f"-{name}.joblib", written(
        lambda path: joblib.dump(value, path, compress=compress), ".joblib"
    )


def data(rng: Rng) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    x = np.abs(rng.normal(size=(60, 5))) + 0.1
    return x, (x[:, 0] + x[:, 1] > 1.6).astype(int), x @ np.arange(1.0, 6.0)


def fitted(rng: Rng) -> Iterator[tuple[str, Any]]:
    from sklearn.utils import all_estimators

    x, classes, numbers = data(rng)
    words = ["a model of words", "words and more words", "no model at all"] * 5
    for name, make in all_estimators():
        if name in BARE:
            continue
        try:
            model = make()
            if name in ("TfidfVectorizer", "CountVectorizer", "HashingVectorizer"):
                model.fit(words)
            elif name in ("DictVectorizer", "FeatureHasher"):
                model.fit([{"a": 1.0, "b": 2.0}, {"a": 3.0}])
            elif name in ("LabelEncoder", "LabelBinarizer"):
                model.fit(classes)
            elif name == "MultiLabelBinarizer":
                model.fit([[1, 2], [3]])
            elif name == "IsotonicRegression":
                model.fit(x[:, 0], numbers)
            elif getattr(model, "_estimator_type", "") == "regressor" or "Regress" in name:
                many = "Multi" in name or name.startswith(("CCA", "PLS"))
                model.fit(x, np.c_[numbers, numbers**2] if many else numbers)
            else:
                model.fit(x, classes)
        except Exception:  # noqa: BLE001 - an estimator that wants other data is left out
            continue
        yield name, model


def composed(rng: Rng) -> Iterator[tuple[str, Any]]:
    import pandas as pd
    from sklearn import (
        calibration,
        compose,
        decomposition,
        ensemble,
        feature_extraction,
        feature_selection,
        impute,
        linear_model,
        model_selection,
        multioutput,
        neighbors,
        pipeline,
        preprocessing,
        svm,
        tree,
    )  # fmt: skip

    x, classes, numbers = data(rng)
    frame = pd.DataFrame(x, columns=list("abcde")).assign(f=["u", "v", "w"] * 20)
    scale = preprocessing.StandardScaler
    yield (
        "pipeline",
        pipeline.make_pipeline(scale(), linear_model.LogisticRegression()).fit(x, classes),
    )
    yield "pipeline-pca", pipeline.Pipeline([("scale", scale()), ("pca", decomposition.PCA(2)), (
        "svc", svm.SVC(probability=False))]).fit(x, classes)  # fmt: skip
    columns = compose.ColumnTransformer([
        ("n", pipeline.make_pipeline(impute.SimpleImputer(), scale()), list("abcde")),
        ("c", preprocessing.OneHotEncoder(handle_unknown="ignore"), ["f"])])  # fmt: skip
    yield (
        "columns",
        pipeline.make_pipeline(columns, ensemble.RandomForestClassifier(4)).fit(frame, classes),
    )
    yield (
        "columns-passthrough",
        compose.make_column_transformer(
            (preprocessing.OrdinalEncoder(), ["f"]), remainder="passthrough"
        ).fit(frame),
    )
    yield (
        "columns-selector",
        compose.make_column_transformer(
            (scale(), compose.make_column_selector(dtype_include=np.number))
        ).fit(frame),
    )
    yield "union", pipeline.make_union(decomposition.PCA(2), scale()).fit(x)
    yield "grid", model_selection.GridSearchCV(tree.DecisionTreeClassifier(), {
        "max_depth": [2, 3]}, cv=3).fit(x, classes)  # fmt: skip
    yield "random", model_selection.RandomizedSearchCV(linear_model.Ridge(), {
        "alpha": [0.1, 1.0, 2.0]}, n_iter=2, cv=3).fit(x, numbers)  # fmt: skip
    yield "voting", ensemble.VotingClassifier([("a", linear_model.LogisticRegression()), (
        "b", tree.DecisionTreeClassifier())]).fit(x, classes)  # fmt: skip
    yield "stacking", ensemble.StackingRegressor([("a", linear_model.Ridge()), (
        "b", tree.DecisionTreeRegressor())]).fit(x, numbers)  # fmt: skip
    yield "calibrated", calibration.CalibratedClassifierCV(svm.LinearSVC(), cv=3).fit(x, classes)
    yield (
        "multi",
        multioutput.MultiOutputRegressor(linear_model.Ridge()).fit(x, np.c_[numbers, numbers]),
    )
    yield (
        "chain",
        multioutput.ClassifierChain(linear_model.LogisticRegression()).fit(
            x, np.c_[classes, 1 - classes]
        ),
    )
    yield "select", feature_selection.SelectKBest(feature_selection.f_classif, k=2).fit(x, classes)
    yield (
        "select-mutual",
        feature_selection.SelectPercentile(
            feature_selection.mutual_info_classif, percentile=50
        ).fit(x, classes),
    )
    yield (
        "rfe",
        feature_selection.RFE(linear_model.LogisticRegression(), n_features_to_select=2).fit(
            x, classes
        ),
    )
    yield (
        "select-from-model",
        feature_selection.SelectFromModel(ensemble.ExtraTreesClassifier(4)).fit(x, classes),
    )
    yield "log-transform", preprocessing.FunctionTransformer(np.log1p, inverse_func=np.expm1).fit(x)
    yield (
        "target-transform",
        compose.TransformedTargetRegressor(
            linear_model.Ridge(), func=np.log1p, inverse_func=np.expm1
        ).fit(x, numbers),
    )
    yield (
        "text",
        pipeline.make_pipeline(
            feature_extraction.text.TfidfVectorizer(ngram_range=(1, 2)),
            linear_model.SGDClassifier(),
        ).fit(["good", "bad", "very good", "very bad"] * 5, [1, 0, 1, 0] * 5),
    )
    yield "knn-tree", neighbors.KNeighborsClassifier(algorithm="kd_tree").fit(x, classes)
    yield "knn-ball", neighbors.KNeighborsRegressor(algorithm="ball_tree").fit(x, numbers)
    yield "bagging", ensemble.BaggingClassifier(tree.DecisionTreeClassifier(), 3).fit(x, classes)
    yield "dict-of-models", {"model": linear_model.Ridge().fit(x, numbers), "columns": list("abcde"),
        "metrics": {"r2": 0.98}, "version": "1.2"}  # fmt: skip
    yield "tuple-of-models", (scale().fit(x), linear_model.Lasso().fit(x, numbers))
    yield (
        "list-of-models",
        [tree.DecisionTreeClassifier(max_depth=d).fit(x, classes) for d in (1, 2)],
    )


def sklearn(rng: Rng) -> Iterator[Sample]:
    import skops.io

    for part, source in (("estimators", fitted(rng)), ("pipelines", composed(rng))):
        for name, model in source:
            ending, content = pickled(rng, model)
            yield one(f"scikit-learn: {part}", name, ending, content)
            if rng.random() < 0.35 and not isinstance(model, (dict, tuple, list)):
                compression = int(rng.choice([0, 8]))
                try:
                    saved = skops.io.dumps(model, compression=compression)
                except skops.io.exceptions.UnsupportedTypeException:
                    continue
                yield one(f"scikit-learn: {part}, skops", name, ".skops", saved)


def boosted(rng: Rng) -> Iterator[Sample]:
    import catboost
    import lightgbm
    import xgboost

    x, classes, numbers = data(rng)
    for booster in ("gbtree", "gblinear", "dart"):
        for objective in ("binary:logistic", "reg:squarederror", "count:poisson"):
            target = classes if "binary" in objective else numbers
            model = xgboost.train({"booster": booster, "objective": objective, "max_depth": 3},
                xgboost.DMatrix(x, target, feature_names=list("abcde")), 4)  # fmt: skip
            ending = str(rng.choice([".json", ".ubj"]))
            yield one("XGBoost", f"{booster}-{objective.replace(':', '-')}", ending, written(
                model.save_model, ending))  # fmt: skip
    for make in (xgboost.XGBClassifier, xgboost.XGBRegressor, xgboost.XGBRFClassifier):
        wrapped = make(n_estimators=3).fit(x, classes)
        for ending in (".json", ".ubj"):
            yield one("XGBoost", make.__name__, ending, written(wrapped.save_model, ending))
        ending, content = pickled(rng, wrapped)
        yield one("XGBoost: pickled", make.__name__, ending, content)
    with_many = xgboost.XGBClassifier(n_estimators=2).fit(x, np.arange(60) % 3)
    yield one("XGBoost", "classes", ".ubj", written(with_many.save_model, ".ubj"))
    ranker = xgboost.XGBRanker(n_estimators=2).fit(x, classes, qid=np.arange(60) // 10)
    yield one("XGBoost", "ranker", ".json", written(ranker.save_model, ".json"))
    for boosting in ("gbdt", "dart", "rf"):
        for objective in ("binary", "regression", "multiclass"):
            target = {"binary": classes, "regression": numbers}.get(objective, np.arange(60) % 3)
            light = lightgbm.train({"objective": objective, "boosting": boosting, "verbose": -1,
                "num_class": 3 if objective == "multiclass" else 1, "min_data_in_leaf": 3,
                "bagging_freq": 1, "bagging_fraction": 0.7}, lightgbm.Dataset(x, target), 3)  # fmt: skip
            yield one(
                "LightGBM", f"{boosting}-{objective}", ".txt", light.model_to_string().encode()
            )
            if boosting == "gbdt":
                yield one(
                    "LightGBM",
                    f"dump-{objective}",
                    ".json",
                    json.dumps(light.dump_model()).encode(),
                )
    for maker in (lightgbm.LGBMClassifier, lightgbm.LGBMRegressor):
        ending, content = pickled(rng, maker(n_estimators=2, verbose=-1).fit(x, classes))
        yield one("LightGBM: pickled", maker.__name__, ending, content)
    for maker in (catboost.CatBoostClassifier, catboost.CatBoostRegressor):
        cat = maker(iterations=2, verbose=False, allow_writing_files=False).fit(x, classes)
        yield one(
            "CatBoost",
            maker.__name__,
            ".json",
            written(lambda path, cat=cat: cat.save_model(path, format="json"), ".json"),
        )  # type: ignore[misc]
        yield one(
            "borderline: CatBoost binary", maker.__name__, ".cbm", written(cat.save_model, ".cbm")
        )
        yield one("borderline: CatBoost pickled", maker.__name__, ".pkl", pickle.dumps(cat))


def statistics(rng: Rng) -> Iterator[Sample]:
    import statsmodels.api as sm

    x, _, numbers = data(rng)
    noise = numbers + rng.normal(size=60)
    for name, model in (("ols", sm.OLS(noise, sm.add_constant(x))), ("wls", sm.WLS(noise, x)),
                        ("glm", sm.GLM(np.round(numbers), x, family=sm.families.Poisson()))):  # fmt: skip
        yield one("borderline: statsmodels pickled", name, ".pkl", pickle.dumps(model.fit()))


def frames(rng: Rng) -> Iterator[Sample]:
    import pandas as pd

    when = pd.date_range("2024-01-01", periods=8)
    kinds: dict[str, Any] = {
        "numbers": pd.DataFrame(rng.normal(size=(8, 3)), columns=list("abc")),
        "mixed": pd.DataFrame({"a": range(8), "b": list("abcdefgh"), "c": rng.random(8) > 0.5}),
        "dates": pd.DataFrame({"t": when, "v": range(8)}),
        "category": pd.DataFrame({"c": pd.Categorical(list("aabbccdd"))}),
        "index": pd.DataFrame({"v": range(8)}, index=when),
        "multi": pd.DataFrame({"v": range(8)}, index=pd.MultiIndex.from_product([[1, 2], list("abcd")])),
        "nullable": pd.DataFrame({"i": pd.array([1, None] * 4, dtype="Int64"),
                                  "s": pd.array(["a", None] * 4, dtype="string")}),
        "zoned": pd.DataFrame({"t": when.tz_localize("UTC")}),
        "delta": pd.DataFrame({"d": when - when[0]}),
        "series": pd.Series(range(8), name="x"),
        "series-text": pd.Series(list("abc")),
        "sparse": pd.DataFrame({"s": pd.arrays.SparseArray([0, 0, 1, 0])}),
        "interval": pd.Series(pd.cut(range(8), 3)),
        "period": pd.Series(pd.period_range("2024-01", periods=4, freq="M")),
    }  # fmt: skip
    for name, frame in kinds.items():
        yield one(
            "pandas: pickled", name, ".pkl", pickle.dumps(frame, protocol=int(rng.integers(4, 6)))
        )
    for name in ("numbers", "mixed", "dates", "category"):
        frame = kinds[name]
        yield one("tables", name, ".csv", frame.to_csv(index=False).encode())
        yield one("tables", name, ".parquet", written(frame.to_parquet, ".parquet"))
        yield one(
            "tables",
            f"{name}-lines",
            ".jsonl",
            frame.to_json(orient="records", lines=True).encode(),
        )
        yield one("tables", f"{name}-tab", ".tsv", frame.to_csv(sep="\t").encode())
        yield one(
            "borderline: Feather and Excel", name, ".feather", written(frame.to_feather, ".feather")
        )
    yield one(
        "borderline: Feather and Excel",
        "sheet",
        ".xlsx",
        written(kinds["numbers"].to_excel, ".xlsx"),
    )


def arrays(rng: Rng) -> Iterator[Sample]:
    for dtype in ("f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "?", "c8", "c16",
                  "U5", "S5", ">f4", ">i2", "M8[ns]", "m8[s]"):  # fmt: skip
        file = io.BytesIO()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            array = rng.integers(0, 2, (3, 4)).astype(dtype)
        np.save(file, array if rng.random() < 0.7 else np.asfortranarray(array))
        yield one("NumPy", dtype.replace(">", "be-").replace("?", "bool"), ".npy", file.getvalue())
        if rng.random() < 0.3:
            yield one("NumPy: pickled", f"array-{dtype.strip('>?')}", ".pkl", pickle.dumps(
                {"a": array}, protocol=int(rng.integers(2, 6))))  # fmt: skip
    for name, value in (("scalar", np.array(3.0)), ("empty", np.zeros((0, 3))),
                        ("record", np.zeros(3, dtype=[("a", "f4"), ("b", "i4", (2,))])),
                        ("big", rng.random((200, 200)))):  # fmt: skip
        file = io.BytesIO()
        np.save(file, value)
        yield one("NumPy", name, ".npy", file.getvalue())
    for save in (np.savez, np.savez_compressed):
        file = io.BytesIO()
        save(file, w=rng.random((4, 4)), b=np.arange(4), names=np.array(["a", "b"]))  # type: ignore[operator]
        yield one("NumPy", save.__name__, ".npz", file.getvalue())
    yield one("NumPy", "text", ".txt", b"1.0 2.0\n3.0 4.0\n")
    yield one(
        "NumPy: pickled", "scalars", ".pkl", pickle.dumps([np.float32(1), np.int64(2), np.bool_(1)])
    )
    yield one("NumPy: pickled", "generator", ".pkl", pickle.dumps(np.random.default_rng(3)))
    yield one("NumPy: pickled", "random-state", ".pkl", pickle.dumps(np.random.RandomState(3)))
    yield one("NumPy: pickled", "masked", ".pkl", pickle.dumps(np.ma.masked_array([1, 2], [0, 1])))
    import datetime as dt
    import decimal
    import uuid
    from collections import Counter, OrderedDict, defaultdict, deque

    yield one("Python values: pickled", "plain", ".pkl", pickle.dumps(
        {"a": [1, 2.5, None, True, "x", b"y", (1,), {2}, frozenset([3]), 1 << 80, 2j]}))  # fmt: skip
    yield one("Python values: pickled", "collections", ".pkl", pickle.dumps(
        [OrderedDict(a=1), defaultdict(list, a=[1]), Counter("aab"), deque([1], 3)]))  # fmt: skip
    yield one("Python values: pickled", "moments", ".pkl", pickle.dumps([
        dt.datetime(2024, 1, 1, tzinfo=dt.UTC), dt.date(2024, 1, 1),
        dt.timedelta(1), decimal.Decimal("1.5"), uuid.UUID(int=5)]))  # fmt: skip
    yield one(
        "Python values: pickled", "paths", ".pkl", pickle.dumps([Path("a/b"), range(3), slice(2)])
    )
    for protocol in range(6):
        yield one("Python values: pickled", f"protocol-{protocol}", ".pickle", pickle.dumps(
            {"vocab": {"a": 1, "é": 2}, "w": [0.5, -1e300]}, protocol=protocol))  # fmt: skip


def samples(rng: Rng) -> Iterator[Sample]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for part in (sklearn, boosted, statistics, frames, arrays):
            yield from part(rng)
