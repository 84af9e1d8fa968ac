"""Round 5: how each kind of sample is loaded by its own library, for `fifth_check` only."""

import contextlib
import io
import json
import pickle  # noqa: TID251 - in the sandbox of the check
import tarfile
import zipfile
from pathlib import Path
from typing import Any


def warm() -> None:
    """Import what most samples need, once."""
    import joblib
    import numpy as np
    import pandas as pd
    import sklearn.ensemble
    import sklearn.linear_model
    import torch

    torch.set_num_threads(1)
    _ = (joblib, np, pd, sklearn)


def everything(path: Path) -> object:
    """Load pickle after pickle, as shelves and logs of objects are read."""
    last = None
    with path.open("rb") as stream, contextlib.suppress(EOFError):
        while True:
            last = pickle.load(stream)
    return last


def load(path: Path, how: str) -> object:
    name, _, detail = how.partition(":")
    return LOADERS[name](path, detail) if name in LOADERS else _formats(path, name, detail)


def _torch(path: Path, detail: str) -> object:
    import torch

    if detail == "jit":
        return torch.jit.load(str(path))
    if detail == "run":
        return torch.jit.load(str(path))(torch.zeros(2, 2))
    if detail == "package":
        return torch.package.PackageImporter(str(path)).load_pickle("model", "model.pkl")
    if detail == "export":
        return torch.export.load(str(path))
    return torch.load(path, weights_only=detail == "weights", map_location="cpu")


def _joblib(path: Path, detail: str) -> object:
    import joblib

    return joblib.load(path)


def _numpy(path: Path, detail: str) -> object:
    import numpy as np

    found = np.load(path, allow_pickle=detail == "objects")
    return [found[k] for k in found.files] if hasattr(found, "files") else found


def _pickle(path: Path, detail: str) -> object:
    with path.open("rb") as stream:
        if detail:
            stream.seek(int(detail))
        return pickle.load(stream)


def _old(path: Path, detail: str) -> object:
    with path.open("rb") as stream:
        return pickle.load(stream, fix_imports=True, encoding="latin1")


def _transform(path: Path, detail: str) -> object:
    from held_out.fifth_asm import CMD

    return _pickle(path, "").transform(CMD)  # type: ignore[attr-defined]


def _keras(path: Path, detail: str) -> object:
    import keras
    import numpy as np

    if detail == "safe":
        return keras.models.load_model(path, compile=False)  # names of metrics of .h5 are lost
    model = keras.models.load_model(path, safe_mode=False, compile=False)
    return model(np.zeros((1, 4), "float32"))


def _gguf(path: Path) -> object:
    data = path.read_bytes()
    if data[:4] != b"GGUF":
        raise ValueError("no GGUF")
    return data


def _zip(path: Path) -> object:
    with zipfile.ZipFile(path) as archive:
        if archive.testzip() is not None:
            raise ValueError("broken member")
        return archive.namelist()


def _tar(path: Path) -> object:
    with tarfile.open(path) as archive:
        return [archive.extractfile(m).read() for m in archive if m.isfile()]  # type: ignore[union-attr]


def _formats(path: Path, name: str, detail: str) -> Any:
    match name:
        case "skops":
            import skops.io

            return skops.io.load(path, trusted=skops.io.get_untrusted_types(file=path))
        case "xgboost":
            import xgboost

            return xgboost.Booster(model_file=str(path)).num_features()
        case "lightgbm":
            import lightgbm

            return lightgbm.Booster(model_file=str(path)).num_trees()
        case "onnx":
            import onnx

            model = onnx.load(path)
            onnx.checker.check_model(str(path))
            return model
        case "onnxruntime":
            import onnxruntime

            return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        case "safetensors":
            from safetensors.numpy import load_file

            return load_file(path)
        case "safetensors_torch":
            from safetensors.torch import load_file as load_torch

            return load_torch(path)
        case "hdf5":
            import h5py

            with h5py.File(path) as file:
                seen: list[str] = []
                file.visit(seen.append)
                return seen
        case "image":
            from PIL import Image

            with Image.open(path) as image:
                return image.load()
        case "parquet" | "ipc" | "csv" | "avro" | "ndjson":
            import polars as pl

            return getattr(pl, f"read_{name}")(path)
        case "json":
            return json.loads(path.read_text("utf-8"))
        case "jsonl":
            return [json.loads(line) for line in path.read_text("utf-8").splitlines() if line]
        case "yaml":
            import yaml

            return list(yaml.safe_load_all(path.read_text("utf-8")))
        case "toml":
            import tomllib

            return tomllib.loads(path.read_text("utf-8"))
        case "xml":
            from xml.etree import ElementTree as ET

            return ET.parse(path)
        case "mat":
            import scipy.io

            return scipy.io.loadmat(path)
        case "ini":
            import configparser

            parser = configparser.ConfigParser()
            parser.read_string(path.read_text("utf-8"))
            return parser
        case "text":
            return path.read_text("utf-8")
        case "sqlite":
            import sqlite3

            return sqlite3.connect(f"file:{path}?mode=ro", uri=True).execute("select 1").fetchall()
        case "folder":
            return [p.read_bytes() for p in sorted(path.rglob("*")) if p.is_file()]
        case "sparse":
            import scipy.sparse

            return scipy.sparse.load_npz(path)
        case "gguf":
            return _gguf(path)
        case "gzip":
            import gzip

            return gzip.decompress(path.read_bytes())
        case "zip":
            return _zip(path)
        case "tar":
            return _tar(path)
        case "jinja":
            import jinja2.sandbox

            environment = jinja2.sandbox.ImmutableSandboxedEnvironment(
                extensions=["jinja2.ext.loopcontrols"]
            )
            return environment.from_string(path.read_text("utf-8"))
        case "polars_binary":
            import polars as pl

            return pl.LazyFrame.deserialize(io.BytesIO(path.read_bytes()))
        case "jax_export":
            import jax.export

            return jax.export.deserialize(bytearray(path.read_bytes()))
        case "spacy":
            import spacy

            return spacy.load(path)
    raise ValueError(name)


LOADERS: dict[str, Any] = {
    "torch": _torch,
    "joblib": _joblib,
    "numpy": _numpy,
    "pickle": _pickle,
    "pickles": lambda path, _: everything(path),
    "old": _old,
    "transform": _transform,
    "keras": _keras,
}
