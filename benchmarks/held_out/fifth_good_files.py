"""Round 5, harmless: what lies beside models: data, settings, plots, logs, MLflow folders, archives."""

# fmt: off
# One sample a line: a table is read so.

import bz2
import gzip
import io
import json
import lzma
import pickle  # noqa: TID251 - written, never read
import sqlite3
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from held_out.fifth_asm import Checked
from held_out.fifth_containers import Files, sevenz, tarred, zipped, zstd

Row = tuple[str, str, bytes, str]
FIXTURES = Path(__file__).with_name("fifth_fixtures")
LOADS = {".parquet": "parquet", ".feather": "ipc", ".arrow": "ipc", ".png": "image", ".jpg": "image", ".svg": "xml", ".pmml": "xml", ".json": "json", ".onnx": "onnx", ".txt": "text"}
CATEGORIES = {".cbm": "boosting (own format)", ".parquet": "tables", ".feather": "tables", ".arrow": "tables", ".arrows": "tables", ".orc": "tables", ".dta": "tables", ".png": "plots", ".jpg": "plots", ".svg": "plots", ".pdf": "plots", ".onnx": "onnx", ".pmml": "pmml", ".model": "tokenizers"}


def j(**keys: object) -> bytes:
    return json.dumps(keys, indent=2).encode()


def fixtures() -> Iterator[Row]:
    for path in sorted(FIXTURES.iterdir()):
        if path.name == "SOURCE.md":
            continue
        category = CATEGORIES.get(path.suffix, "tokenizers" if "token" in path.name or "vocab" in path.name or "merges" in path.name else "texts")
        loads = "" if path.name == "catboost.onnx" else LOADS.get(path.suffix, "")
        yield category, path.name, path.read_bytes(), loads


def arrays(rng: np.random.Generator) -> Iterator[Row]:
    import scipy.io
    import scipy.sparse as sp

    values: dict[str, Any] = {
        "floats": rng.normal(size=(5, 4)), "fortran": np.asfortranarray(rng.normal(size=(3, 4))), "half": np.ones(4, "f2"), "big_endian": np.arange(4, dtype=">f8"), "labels": np.array(["cat", "dog"]), "bytes": np.array([b"a", b"bc"]), "dates": np.array(["2025-01-01"], "M8[s]"), "records": np.array([(1, 0.5, "x")], [("id", "i4"), ("p", "f8"), ("n", "U4")]), "complex": np.array([1 + 2j]), "scalar": np.array(3.0), "empty": np.empty((0, 4)), "flags": np.array([True, False]), "nested": np.zeros(2, [("a", [("b", "i2"), ("c", "f4", (2,))])]),
    }
    for name, value in values.items():
        out = io.BytesIO()
        np.save(out, value)
        yield "numpy", f"{name}.npy", out.getvalue(), "numpy"
    for name, write in (("weights", np.savez), ("compressed", np.savez_compressed)):
        out = io.BytesIO()
        write(out, W=values["floats"], b=values["half"], labels=values["labels"])
        yield "numpy", f"{name}.npz", out.getvalue(), "numpy"
    out = io.BytesIO()
    sp.save_npz(out, sp.csr_matrix(np.eye(4)))
    yield "numpy", "sparse.npz", out.getvalue(), "sparse"
    for name, how in (("v5", {}), ("v5_compressed", {"do_compression": True}), ("v4", {"format": "4"})):
        out = io.BytesIO()
        scipy.io.savemat(out, {"X": values["floats"], "y": np.arange(5)}, **how)
        yield "matlab", f"{name}.mat", out.getvalue(), "mat"
    out = io.BytesIO()
    np.savetxt(out, values["floats"], header="a b c d")
    yield "texts", "weights.txt", out.getvalue(), "text"


def tables(rng: np.random.Generator) -> Iterator[Row]:
    import polars as pl

    frame = pl.DataFrame({"id": range(20), "score": rng.normal(size=20), "name": [f"person {n}" for n in range(20)], "tags": [["a", "b"]] * 20})
    flat = frame.drop("tags")
    for compression in ("lz4", "zstd", "snappy", "uncompressed"):
        out = io.BytesIO()
        frame.write_parquet(out, compression=compression)
        yield "tables", f"polars_{compression}.parquet", out.getvalue(), "parquet"
    for compression in ("uncompressed", "lz4", "zstd"):
        out = io.BytesIO()
        frame.write_ipc(out, compression=compression)
        yield "tables", f"polars_{compression}.arrow", out.getvalue(), "ipc"
    out = io.BytesIO()
    flat.write_avro(out)
    yield "tables", "rows.avro", out.getvalue(), "avro"
    yield "tables", "rows.csv", flat.write_csv().encode(), "csv"
    yield "tables", "semicolons.csv", "Größe;Ort\n1,5;Zürich\n2,5;Genève\n".encode(), "text"
    yield "tables", "latin1.csv", "name;stadt\nMüller;Köln\n".encode("latin-1"), ""
    yield "tables", "formulas.csv", b'id,comment\n1,"said ""hello, world"""\n2,"two\nlines"\n3,-5\n', "csv"
    yield "tables", "bom.csv", b"\xef\xbb\xbfa,b\r\n1,2\r\n", "csv"
    yield "tables", "rows.tsv", flat.write_csv(separator="\t").encode(), "text"
    yield "tables", "rows.csv.gz", gzip.compress(flat.write_csv().encode(), mtime=0), "gzip"
    yield "tables", "rows.jsonl", flat.write_ndjson().encode(), "jsonl"
    yield "tables", "prompts.jsonl", b"".join(json.dumps({"messages": [{"role": "user", "content": f"Write a Python script that lists files, number {n}"}, {"role": "assistant", "content": "import os\nfor f in os.listdir('.'):\n    print(f)\n"}]}).encode() + b"\n" for n in range(5)), "jsonl"
    yield "tables", "matrix.mtx", b"%%MatrixMarket matrix coordinate real general\n2 2 2\n1 1 0.5\n2 2 1.5\n", "text"
    yield "tables", "libsvm.svm", b"1 1:0.5 3:1.2\n0 2:0.1\n", "text"
    yield "tables", "iris.arff", b"@relation iris\n@attribute a numeric\n@attribute c {x,y}\n@data\n5.1,x\n", "text"


def texts() -> Iterator[Row]:
    kind = "texts"
    yield kind, "metrics.json", j(accuracy=0.93, confusion=[[10, 2], [1, 12]], note="déjà vu"), "json"
    yield kind, "params.yaml", b"model:\n  lr: 1.0e-3\n  layers: [64, 32]\n  dropout: null\ndata: &d {path: data/train.csv}\neval: *d\n", "yaml"
    yield kind, "two_documents.yaml", b"---\na: 1\n---\nb: 2\n", "yaml"
    yield kind, "dvc.yaml", b"stages:\n  train:\n    cmd: python train.py --lr 0.1\n    deps: [train.py, data]\n    outs: [model.pkl]\n", "yaml"
    yield kind, "hyperparameters.toml", b'[model]\nkind = "forest"\ntrees = 200\n[train]\nseed = 7\nwhen = 2025-03-01\n', "toml"
    yield kind, "setup.ini", b"[model]\nkind = forest\n; a comment\n[paths]\nroot = /data\n", "ini"
    yield kind, "labels.txt", b"cat\ndog\nbird\n", "text"
    yield kind, "stopwords.txt", "the\nof\nund\nnaïve\n".encode(), "text"
    yield kind, "utf16.txt", "model notes\n".encode("utf-16"), ""
    yield kind, "train.log", b'2025-03-01 10:00:00,123 INFO trainer epoch=1 loss=0.91\n2025-03-01 10:01:00,001 WARNING torch.load: weights_only=False uses pickle\nTraceback (most recent call last):\n  File "train.py", line 3, in <module>\nValueError: nan\n', "text"
    yield kind, "ansi.log", b"\x1b[32mEpoch 1\x1b[0m 100%|##########| 10/10\r\n", "text"
    yield kind, "MIT-LICENSE", b"MIT License\n\nCopyright (c) 2025 A. Person\n\nPermission is hereby granted, free of charge, to any person\n", "text"
    yield kind, "LICENSE.md", b"# CC BY 4.0\n\nYou are free to share.\n", "text"
    yield kind, "README.md", b"# Churn model\n\n```python\nimport pickle, os\nwith open('model.pkl', 'rb') as f:\n    model = pickle.load(f)\nos.makedirs('out', exist_ok=True)\n```\n\n```sh\ncurl -O https://example.org/model.pkl && pip install -r requirements.txt\n```\n\n| a | b |\n|---|---|\n| 1 | <b>2</b> |\n", "text"
    yield kind, "CITATION.cff", b"cff-version: 1.2.0\ntitle: Tiny\nauthors:\n  - family-names: Person\n", "yaml"
    yield kind, "CHANGELOG.rst", b"Changes\n=======\n\n1.0\n---\n* First.\n", "text"
    yield kind, "model.fbs.txt", b"table Model { weights: [float]; }\n", "text"
    yield kind, "network.prototxt", b'name: "LeNet"\nlayer { name: "conv1" type: "Convolution" convolution_param { num_output: 20 } }\n', "text"
    yield kind, "config.pbtxt", b'name: "tiny"\nplatform: "onnxruntime_onnx"\nmax_batch_size: 8\ninput [ { name: "x" data_type: TYPE_FP32 dims: [ 4 ] } ]\n', "text"
    yield kind, "schema.sql.txt", b"CREATE TABLE runs (id INTEGER PRIMARY KEY);\n", "text"
    yield kind, "fasttext.vec", b"2 3\nthe 0.1 0.2 0.3\nof 0.3 0.2 0.1\n", "text"
    yield kind, "big_numbers.json", b'{"a": 1e308, "b": -0.0, "c": 123456789012345678901234567890, "d": "\\u00e9\\n"}', "json"
    yield kind, "geo.geojson", b'{"type": "FeatureCollection", "features": [{"type": "Feature", "geometry": {"type": "Point", "coordinates": [7.4, 46.9]}, "properties": {"script": "none"}}]}', "json"
    yield kind, "vega.json", b'{"$schema": "https://vega.github.io/schema/vega-lite/v5.json", "mark": "line", "data": {"values": [{"x": 1, "y": 2}]}, "encoding": {"x": {"field": "x"}}}', "json"
    yield kind, "spec.xml", b'<?xml version="1.0" encoding="UTF-8"?>\n<annotation><object><name>cat</name><bndbox><xmin>1</xmin></bndbox></object></annotation>\n', "xml"
    kind = "pmml"
    head = '<?xml version="1.0" encoding="UTF-8"?>\n<PMML version="4.4" xmlns="http://www.dmg.org/PMML-4_4"><Header><Application name="a" version="1"/></Header><DataDictionary numberOfFields="2"><DataField name="x" optype="continuous" dataType="double"/><DataField name="y" optype="continuous" dataType="double"/></DataDictionary>'
    schema = '<MiningSchema><MiningField name="y" usageType="target"/><MiningField name="x"/></MiningSchema>'
    yield kind, "regression.pmml", (head + f'<RegressionModel functionName="regression">{schema}<RegressionTable intercept="1.5"><NumericPredictor name="x" coefficient="2.0"/></RegressionTable></RegressionModel></PMML>').encode(), "xml"
    yield kind, "tree.pmml", (head + f'<TreeModel functionName="regression" splitCharacteristic="binarySplit">{schema}<Node score="0"><True/><Node score="1"><SimplePredicate field="x" operator="lessOrEqual" value="0.5"/></Node><Node score="2"><SimplePredicate field="x" operator="greaterThan" value="0.5"/></Node></Node></TreeModel></PMML>').encode(), "xml"
    yield kind, "clusters.pmml", (head + f'<ClusteringModel functionName="clustering" modelClass="centerBased" numberOfClusters="1">{schema}<ComparisonMeasure kind="distance"><squaredEuclidean/></ComparisonMeasure><ClusteringField field="x"/><Cluster><Array n="1" type="real">0.5</Array></Cluster></ClusteringModel></PMML>').encode(), "xml"


def pictures(rng: np.random.Generator) -> Iterator[Row]:
    from PIL import Image, PngImagePlugin

    pixels = rng.integers(0, 255, (24, 24, 3)).astype("u1")
    image = Image.fromarray(pixels)
    info = PngImagePlugin.PngInfo()
    info.add_text("Software", "Matplotlib version3.9.2, https://matplotlib.org/")
    for name, how in (("plot.png", {"pnginfo": info}), ("photo.jpg", {"quality": 80}), ("icon.gif", {}), ("scan.tiff", {"compression": "tiff_lzw"}), ("small.webp", {}), ("raw.bmp", {}), ("exif.jpg", {"exif": b"Exif\0\0MM\0*\0\0\0\x08\0\0\0\0\0\0"})):
        out = io.BytesIO()
        image.save(out, {"jpg": "JPEG", "tiff": "TIFF"}.get(name.split(".")[1], name.split(".")[1].upper()), **how)
        yield "plots", name, out.getvalue(), "image"
    yield "plots", "tree.svg", b'<?xml version="1.0" encoding="UTF-8" standalone="no"?>\n<!DOCTYPE svg PUBLIC "-//W3C//DTD SVG 1.1//EN" "http://www.w3.org/Graphics/SVG/1.1/DTD/svg11.dtd">\n<svg width="80pt" height="40pt" xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"><g id="graph0"><title>Tree</title><polygon fill="white" points="0,0 1,1 2,0"/><text x="1" y="2">petal &lt;= 0.8</text></g></svg>\n', "xml"


def archives(rng: np.random.Generator) -> Iterator[Row]:
    table = b"a,b\n1,2\n" * 40
    weights = io.BytesIO()
    np.save(weights, rng.normal(size=8))
    files = {"README.md": b"# data\n", "data/train.csv": table, "data/w.npy": weights.getvalue(), "params.json": j(a=1)}
    kind = "archives"
    yield kind, "dataset.zip", zipped(files), "zip"
    yield kind, "stored.zip", zipped(files, 0), "zip"
    yield kind, "dataset.tar", tarred(files), "tar"
    yield kind, "dataset.tar.gz", tarred(files, "w:gz"), "tar"
    yield kind, "dataset.tar.bz2", tarred(files, "w:bz2"), "tar"
    yield kind, "dataset.tar.xz", tarred(files, "w:xz"), "tar"
    yield kind, "train.csv.bz2", bz2.compress(table), ""
    yield kind, "train.csv.xz", lzma.compress(table), ""
    yield kind, "train.csv.zst", zstd(table), ""
    yield kind, "data.7z", sevenz("train.csv", table), ""
    yield kind, "mnist-idx3-ubyte.gz", gzip.compress(b"\0\0\x08\x03\0\0\0\x01\0\0\0\x1c\0\0\0\x1c" + bytes(784), mtime=0), "gzip"
    yield kind, "concatenated.csv.gz", gzip.compress(table, mtime=0) * 2, "gzip"
    yield kind, "zip_of_tar.zip", zipped({"inner.tar.gz": tarred(files, "w:gz")}), "zip"
    from sklearn.linear_model import LinearRegression

    model = pickle.dumps(LinearRegression().fit(rng.normal(size=(9, 2)), np.arange(9.0)))
    yield kind, "model.pkl.gz", gzip.compress(model, mtime=0), "gzip"
    yield kind, "sagemaker_model.tar.gz", tarred({"model.joblib": model, "metadata.json": j(framework="sklearn")}, "w:gz"), "tar"


def database() -> bytes:
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "m.db"
        connection = sqlite3.connect(path)
        connection.execute("create table metrics (step integer, value real)")
        connection.execute("insert into metrics values (1, 0.5)")
        connection.commit()
        connection.close()
        return path.read_bytes()


def mlflow(rng: np.random.Generator) -> Iterator[tuple[str, Files]]:
    import cloudpickle
    import joblib
    import lightgbm
    import skops.io
    import torch
    import xgboost
    from sklearn.ensemble import RandomForestRegressor
    from sklearn.linear_model import LogisticRegression

    x = rng.normal(size=(30, 3))
    y = (x[:, 0] > 0).astype(int)
    conda = b"channels:\n- conda-forge\ndependencies:\n- python=3.11.7\n- pip<=24.0\n- pip:\n  - mlflow==3.1.0\n  - scikit-learn==1.6.1\n  - cloudpickle==3.1.1\nname: mlflow-env\n"
    environment = {"conda.yaml": conda, "python_env.yaml": b"python: 3.11.7\nbuild_dependencies:\n- pip==24.0\n- setuptools\n- wheel==0.45.1\ndependencies:\n- -r requirements.txt\n", "requirements.txt": b"mlflow==3.1.0\nscikit-learn==1.6.1\ncloudpickle==3.1.1\n"}
    example = {"input_example.json": b'{"columns": ["a", "b", "c"], "data": [[0.1, 0.2, 0.3]]}', "serving_input_example.json": b'{"dataframe_split": {"columns": ["a", "b", "c"], "data": [[0.1, 0.2, 0.3]]}}'}

    def described(flavour: str, loader: str, data: str) -> bytes:
        return f"artifact_path: model\nflavors:\n  python_function:\n    env:\n      conda: conda.yaml\n      virtualenv: python_env.yaml\n    loader_module: {loader}\n    model_path: {data}\n    predict_fn: predict\n    python_version: 3.11.7\n{flavour}mlflow_version: 3.1.0\nmodel_size_bytes: 900\nmodel_uuid: 8f0f8e64b5f54ae3a1f3a9b6c5d2e7f1\nrun_id: 0f2d1c6b7a8e4c6f9d3b5a7c1e2f3a4b\nsignature:\n  inputs: '[{{\"type\": \"double\", \"name\": \"a\", \"required\": true}}]'\n  outputs: '[{{\"type\": \"tensor\", \"tensor-spec\": {{\"dtype\": \"int64\", \"shape\": [-1]}}}}]'\nutc_time_created: '2025-03-01 10:00:00.000000'\n".encode()

    fitted = LogisticRegression().fit(x, y)
    sklearn = "  sklearn:\n    code: null\n    pickled_model: model.pkl\n    serialization_format: cloudpickle\n    sklearn_version: 1.6.1\n"
    yield "sklearn_cloudpickle", {"MLmodel": described(sklearn, "mlflow.sklearn", "model.pkl"), "model.pkl": cloudpickle.dumps(fitted), **environment, **example}
    yield "sklearn_pickle_no_example", {"MLmodel": described(sklearn.replace("cloudpickle", "pickle"), "mlflow.sklearn", "model.pkl"), "model.pkl": pickle.dumps(RandomForestRegressor(3).fit(x, x[:, 0])), **environment}
    yield "sklearn_skops", {"MLmodel": described(sklearn.replace("cloudpickle", "skops").replace("model.pkl", "model.skops"), "mlflow.sklearn", "model.skops"), "model.skops": skops.io.dumps(fitted), **environment}
    booster = xgboost.train({"max_depth": 2}, xgboost.DMatrix(x, y), 2)
    yield "xgboost", {"MLmodel": described("  xgboost:\n    data: model.ubj\n    model_class: xgboost.core.Booster\n    model_format: ubj\n    xgb_version: 3.0.0\n", "mlflow.xgboost", "model.ubj"), "model.ubj": bytes(booster.save_raw("ubj")), **environment}
    gbm = lightgbm.train({"verbose": -1, "min_data_in_leaf": 3}, lightgbm.Dataset(x, y), 2)
    yield "lightgbm", {"MLmodel": described("  lightgbm:\n    data: model.lgb\n    lgb_version: 4.6.0\n    model_class: lightgbm.basic.Booster\n", "mlflow.lightgbm", "model.lgb"), "model.lgb": gbm.model_to_string().encode(), **environment}
    out = io.BytesIO()
    torch.save(torch.nn.Sequential(torch.nn.Linear(3, 1)), out)
    yield "pytorch", {"MLmodel": described("  pytorch:\n    model_data: data\n    pytorch_version: 2.6.0\n", "mlflow.pytorch", "data"), "data/model.pth": out.getvalue(), "data/pickle_module_info.txt": b"mlflow.pytorch.pickle_module", **environment}
    dumped = io.BytesIO()
    joblib.dump(fitted, dumped, 3)
    yield "run_artifacts", {"metrics/accuracy": b"1740823200000 0.91 0\n1740823260000 0.93 1\n", "params/C": b"1.0", "tags/mlflow.source.name": b"train.py", "tags/mlflow.user": b"ann", "meta.yaml": b"artifact_uri: mlflow-artifacts:/0/a/artifacts\nend_time: 1740823300000\nexperiment_id: '0'\nlifecycle_stage: active\nstatus: 3\n", "artifacts/estimator.joblib": dumped.getvalue(), "artifacts/estimator.html.txt": b"LogisticRegression()", "artifacts/training_confusion_matrix.png": (FIXTURES / "confusion_matrix.png").read_bytes(), "artifacts/metric_info.json": j(accuracy=0.93)}
    yield "optuna_study", {"study.db": database(), "best_params.json": j(lr=0.01), "trials.csv": b"number,value\n0,0.5\n"}


def samples(rng: np.random.Generator) -> Iterator[Checked]:
    for part in (fixtures(), arrays(rng), tables(rng), texts(), pictures(rng), archives(rng)):
        for category, name, data, how in part:
            yield Checked(category, name, {name: data}, how)
    data = database()
    yield Checked("tables", "metrics.sqlite", {"metrics.sqlite": data}, "sqlite")
    for name, files in mlflow(rng):
        yield Checked("mlflow folders", name, files, "folder")
