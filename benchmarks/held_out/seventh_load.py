"""Round 7: the natural loader of each sample. Only seventh_check calls these, in a child."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import pickle  # noqa: TID251 - loads in a child of the check only
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np


def load_pickle(path: Path) -> None:
    with path.open("rb") as file:
        pickle.load(file)


def load_pickles(path: Path) -> None:
    with path.open("rb") as file:
        while True:
            pickle.load(file)


def load_npys(path: Path) -> None:
    with path.open("rb") as file:
        while True:
            np.load(file, allow_pickle=True)


def load_after_npy(path: Path) -> None:
    with path.open("rb") as file:
        np.load(file)
        pickle.load(file)


def load_torch(path: Path) -> None:
    import torch

    torch.load(path, weights_only=False)


def load_torchzip(path: Path) -> None:
    import torch

    torch.load(
        io.BytesIO(path.read_bytes()[path.read_bytes().index(b"PK\3\4") :]), weights_only=False
    )


def load_joblib(path: Path) -> None:
    import joblib

    joblib.load(path)


def load_numpy(path: Path) -> None:
    np.load(path, allow_pickle=True)


def load_npz(path: Path) -> None:
    arrays = np.load(path, allow_pickle=True)
    for name in arrays.files:
        arrays[name]


def load_pandas(path: Path) -> None:
    import pandas as pd

    pd.read_pickle(path)


def load_gzip(path: Path) -> None:
    pickle.loads(zlib.decompressobj(31).decompress(path.read_bytes()))


def load_keras(path: Path) -> None:
    os.environ["KERAS_BACKEND"] = "torch"
    import keras

    model: Any = keras.models.load_model(path, safe_mode=False)
    model(np.zeros((1, 3), dtype="float32"))


def load_torchscript(path: Path) -> None:
    import torch

    Path("vallum-canary-7-input").write_bytes(b"")
    module: Any = torch.jit.load(path)
    module(torch.zeros(4))


def load_jinja(body: str) -> None:
    from jinja2 import Environment

    Environment().from_string(body).render(
        messages=[{"role": "user", "content": "hi"}], bos_token="<s>", add_generation_prompt=True
    )


def members(data: bytes) -> list[bytes]:
    with zipfile.ZipFile(io.BytesIO(data)) as box:
        return [box.read(info) for info in box.infolist()]


def anything(data: bytes) -> None:
    """Unpack whatever there is, and unpickle what is left."""
    openers: dict[bytes, Callable[[bytes], bytes]] = {
        b"\x1f\x8b": gzip.decompress,
        b"BZh": bz2.decompress,
        b"\xfd7zXZ": lzma.decompress,
    }
    for magic, opener in openers.items():
        if data.startswith(magic):
            return anything(opener(data))
    if data.startswith(b"PK"):
        for member in members(data):
            with suppress(Exception):
                anything(member)
        return None
    if data.startswith(b"\x93NUMPY"):
        np.load(io.BytesIO(data), allow_pickle=True)
        return None
    if data[257:262] == b"ustar":
        with tarfile.open(fileobj=io.BytesIO(data)) as tar:
            for info in tar:
                file = tar.extractfile(info)
                if file is not None:
                    with suppress(Exception):
                        anything(file.read())
        return None
    pickle.loads(data)
    return None


def load_zipped(path: Path) -> None:
    with zipfile.ZipFile(path) as box:
        for info in {i.filename: i for i in box.infolist()}.values():
            with suppress(Exception):
                anything(box.read(info))


def load_local(path: Path) -> None:
    """As readers of streams do: by the local headers, without the directory."""
    data, at = path.read_bytes(), 0
    while (at := data.find(b"PK\3\4", at)) >= 0:
        (method,) = struct.unpack_from("<H", data, at + 8)
        packed, _, name, extra = struct.unpack_from("<2I2H", data, at + 18)
        start = at + 30 + name + extra
        body = data[start : start + packed]
        with suppress(Exception):
            pickle.loads(zlib.decompress(body, -15) if method == 8 else body)
        at = start


def load_password(path: Path) -> None:
    with zipfile.ZipFile(path) as box:
        for info in box.infolist():
            if info.flag_bits & 1:
                pickle.loads(box.read(info, pwd=b"model"))


def load_extract(path: Path) -> None:
    with tarfile.open(path) as tar:
        tar.extractall()


def load(kind: str, path: Path) -> None:
    """Load `path` as `kind` says."""
    if kind.startswith("jinja:"):
        return load_jinja(kind.removeprefix("jinja:"))
    if kind == "unpack":
        for file in [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file()):
            with suppress(Exception):
                anything(file.read_bytes())
        return None
    found: Callable[[Path], None] = globals()[f"load_{kind}"]
    return found(path)
