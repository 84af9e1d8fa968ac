"""The natural loaders of the sixth round's samples, for the check only."""

import io
import json
import pickle  # noqa: TID251 - in the sandbox of the check
import tarfile
import zipfile
from pathlib import Path
from typing import Any

from held_out.sixth_asm import Loaded


def warm() -> None:
    """Import what most loaders need, once."""
    import importlib

    for name in (
        "numpy", "torch", "joblib", "pandas", "scipy.sparse", "sklearn.ensemble", "keras", "h5py", "onnx",
        "onnxruntime", "lightgbm", "xgboost", "skops.io", "safetensors.torch", "jinja2.sandbox", "yaml",
        "asyncio", "multiprocessing.pool", "distutils.ccompiler", "xml.sax", "http.server", "unittest.mock",
    ):  # fmt: skip
        importlib.import_module(name)  # noqa: TID251


def load(folder: Path, sample: Loaded) -> object:
    """Load the sample's first file, or its folder, as its users do."""
    kind, _, detail = sample.how.partition(":")
    path = folder / (detail or next(iter(sample.files)))
    return globals()[f"load_{kind}"](path, folder)


def load_pickle(path: Path, _: Path) -> object:
    with path.open("rb") as file:
        return pickle.load(file)


def load_pypickle(path: Path, _: Path) -> object:
    with path.open("rb") as file:
        return pickle._Unpickler(file).load()  # noqa: SLF001 # type: ignore[attr-defined]


def load_streams(path: Path, _: Path) -> object:
    got = []
    with path.open("rb") as file:
        while True:
            try:
                got.append(pickle.load(file))
            except EOFError:
                return got


def load_torch(path: Path, _: Path) -> object:
    import torch

    return torch.load(path, weights_only=False)


def load_torchsafe(path: Path, _: Path) -> object:
    import torch

    return torch.load(path, weights_only=True)


def load_script(path: Path, _: Path) -> object:
    import torch

    return torch.jit.load(path)


def load_joblib(path: Path, _: Path) -> object:
    import joblib

    return joblib.load(path)


def load_numpy(path: Path, _: Path) -> object:
    import numpy as np

    got = np.load(path, allow_pickle=True)
    return [got[name] for name in got.files] if hasattr(got, "files") else got


def load_pandas(path: Path, _: Path) -> object:
    import pandas as pd

    return pd.read_pickle(path)


def load_zip(path: Path, folder: Path) -> object:
    """Unpack, then load what is inside, archives too."""
    with zipfile.ZipFile(path) as archive:
        return [inner(archive.read(i), folder) for i in archive.infolist() if not i.is_dir()]


def inner(data: bytes, folder: Path) -> object:
    if data[:4] == b"PK\x03\x04":
        path = folder / "inner.zip"
        path.write_bytes(data)
        return load_zip(path, folder)
    if (
        data[257:262] == b"ustar"
        or data[:2] == b"\x1f\x8b"
        or data[:3] == b"BZh"
        or data[:5] == b"\xfd7zXZ"
    ):
        path = folder / "inner.any"
        path.write_bytes(data)
        return load_unpacked(path, folder)
    try:
        return pickle.loads(data)
    except (pickle.UnpicklingError, EOFError, ValueError, KeyError, IndexError) as error:
        return error


def load_unpacked(path: Path, folder: Path) -> object:
    """Unpack a compressed file or tar, and load what is inside."""
    import bz2
    import gzip
    import lzma

    data = path.read_bytes()
    for start, unpack in (
        (b"\x1f\x8b", gzip.decompress),
        (b"BZh", bz2.decompress),
        (b"\xfd7zXZ", lzma.decompress),
        (b"]\x00", lzma.decompress),
    ):
        if data.startswith(start):
            return inner(unpack(data), folder)  # type: ignore[operator]
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        for one in archive:
            if one.isfile() and (file := archive.extractfile(one)):
                inner(file.read(), folder)
    return None


def load_extract(path: Path, folder: Path) -> object:
    """Unpack a tar as `extractall` did until Python 3.12."""
    (folder / "a" / "b" / "weights").mkdir(parents=True)
    with tarfile.open(path) as archive:
        archive.extractall(folder / "a" / "b", filter="fully_trusted")
    return None


def load_keras(path: Path, _: Path) -> object:
    import keras

    return keras.models.load_model(path, safe_mode=False)


def load_kerasjson(path: Path, _: Path) -> object:
    import keras

    keras.config.enable_unsafe_deserialization()
    return keras.models.model_from_json(path.read_text())


def load_h5(path: Path, _: Path) -> object:
    import h5py

    with h5py.File(path) as file:
        file.visititems(lambda _, one: one[()] if hasattr(one, "shape") else None)
    return None


def load_onnx(path: Path, _: Path) -> object:
    import onnx
    import onnxruntime

    onnx.checker.check_model(onnx.load(path))
    return onnxruntime.InferenceSession(path)


def load_safetensors(path: Path, _: Path) -> object:
    from safetensors.numpy import load_file
    from safetensors.torch import load_file as torched

    return torched(path) if "bf16" in path.name or "fp8" in path.name else load_file(path)


def load_skops(path: Path, _: Path) -> object:
    import skops.io

    return skops.io.load(path, trusted=skops.io.get_untrusted_types(file=path))


def load_xgboost(path: Path, _: Path) -> object:
    import xgboost

    booster = xgboost.Booster()
    booster.load_model(path)
    return booster


def load_lightgbm(path: Path, _: Path) -> object:
    import lightgbm

    return lightgbm.Booster(model_file=path)


def load_json(path: Path, _: Path) -> object:
    return json.loads(path.read_text())


def load_yaml(path: Path, _: Path) -> object:
    import yaml

    return list(yaml.safe_load_all(path.read_text()))


def load_yamlunsafe(path: Path, _: Path) -> object:
    import yaml

    return yaml.unsafe_load(path.read_text())


def load_text(path: Path, _: Path) -> object:
    return path.read_text()


def render(source: str, **more: Any) -> str:
    """Render a chat template without a sandbox, as loaders did before 2024."""
    import jinja2

    def refused(message: str) -> None:
        raise jinja2.TemplateError(message)

    surroundings = jinja2.Environment(
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=["jinja2.ext.loopcontrols", "jinja2.ext.do"],
    )
    surroundings.globals["raise_exception"] = refused
    surroundings.globals["strftime_now"] = lambda _: "2026-01-01"
    surroundings.filters["tojson"] = lambda value, **how: json.dumps(
        value, ensure_ascii=False, indent=how.get("indent")
    )
    talk = [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Hello"},
        {"role": "user", "content": "Bye"},
    ]
    return surroundings.from_string(source).render(
        messages=talk, bos_token="<s>", eos_token="</s>", add_generation_prompt=True, **more
    )


def strings(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value] if "{%" in value or "{{" in value else []
    if isinstance(value, dict):
        return [one for part in value.values() for one in strings(part)]
    return [one for part in value for one in strings(part)] if isinstance(value, list) else []


def load_jinja(path: Path, _: Path) -> object:
    return render(path.read_text())


def load_template(path: Path, _: Path) -> object:
    """Render every template in a JSON file."""
    return [render(one) for one in strings(json.loads(path.read_text()))]


def load_gguf(path: Path, _: Path) -> object:
    """Render the chat templates that a GGUF file's metadata carry."""
    from held_out.sixth_gguf import keys

    return [
        render(one)
        for name, one in keys(path.read_bytes())
        if name.startswith("tokenizer.chat_template") and isinstance(one, str)
    ]


def load_folder(_: Path, folder: Path) -> object:
    """Read what is data in a folder; each tensor file by its own loader."""
    for path in sorted(folder.rglob("*")):
        name = path.name
        if path.suffix == ".json":
            json.loads(path.read_text())
        elif path.suffix in (".yaml", ".yml") or name == "MLmodel":
            load_yaml(path, folder)
        elif path.suffix == ".safetensors":
            load_safetensors(path, folder)
        elif path.suffix == ".onnx":
            load_onnx(path, folder)
        elif path.suffix in (".bin", ".pt", ".pth", ".ckpt"):
            load_torchsafe(path, folder)
        elif path.suffix == ".jinja":
            load_jinja(path, folder)
        elif path.suffix in (".pkl", ".joblib"):
            load_joblib(path, folder)
        elif path.suffix == ".npy":
            load_numpy(path, folder)
    return None


def load_called(path: Path, _: Path) -> object:
    """Load a TorchScript archive and run it."""
    import torch

    return torch.jit.load(path)(torch.zeros(4))


def load_bytes(path: Path, _: Path) -> object:
    return path.read_bytes()


def load_archive(path: Path, _: Path) -> object:
    with zipfile.ZipFile(path) as archive:
        return archive.testzip()
