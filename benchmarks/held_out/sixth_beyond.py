"""Harmless files of the sixth round in formats that the development corpus does not have.

Their categories begin with "beyond": they are reported apart and are no part of the bar.
"""

import bz2
import gzip
import io
import json
import lzma
import sqlite3
import struct
import tarfile
import wave
import zipfile
import zlib
from collections.abc import Iterator
from typing import Any

import h5py
import numpy as np
import pandas as pd

from held_out.sixth_asm import Loaded
from held_out.sixth_good_tables import stored, through
from held_out.sixth_zip import sevenz

Row = tuple[str, str, bytes]


def tables(frame: pd.DataFrame) -> Iterator[Row]:
    import polars as pl

    c = "beyond: tables"
    polar = pl.DataFrame({"n": frame["n"].to_numpy(), "c": list(frame["c"])})
    yield c, "table.parquet", stored(polar.write_parquet)
    yield c, "table_zstd.parquet", stored(lambda o: polar.write_parquet(o, compression="zstd"))
    yield c, "table.arrow", stored(polar.write_ipc)
    yield c, "table.feather", stored(lambda o: polar.write_ipc(o, compression="lz4"))
    yield c, "table.avro", stored(polar.write_avro)
    yield c, "table.csv.gz", gzip.compress(frame.to_csv(index=False).encode(), mtime=0)
    yield c, "table.tsv.bz2", bz2.compress(frame.to_csv(sep="\t").encode())
    yield c, "table.jsonl.xz", lzma.compress(frame.to_json(orient="records", lines=True).encode())
    yield c, "table.jsonl", frame.to_json(orient="records", lines=True).encode()
    yield c, "table.html", frame.to_html().encode()
    yield c, "table.libsvm", b"1 1:0.5 3:2\n-1 2:1\n"
    yield (
        c,
        "table.arff",
        b"@relation r\n@attribute a numeric\n@attribute c {x,y}\n@data\n1,x\n2,y\n",
    )
    yield (
        c,
        "table.dta",
        through(
            lambda p: frame.to_stata(
                p, write_index=False, time_stamp=pd.Timestamp("2026-01-02").to_pydatetime()
            ),
            ".dta",
        ),
    )


def databases() -> Iterator[Row]:
    def write(path: str) -> None:
        with sqlite3.connect(path) as made:
            made.execute("create table runs (id integer primary key, name text, auc real)")
            made.executemany("insert into runs (name, auc) values (?, ?)", [("a", 0.9), ("b", 0.8)])
        made.close()

    yield "beyond: databases", "runs.sqlite", through(write, ".sqlite")
    yield "beyond: databases", "runs.db", through(write, ".db")


def scientific(rng: np.random.Generator) -> Iterator[Row]:
    import scipy.io

    c = "beyond: scientific"
    x = rng.normal(size=(4, 3))
    yield c, "data.h5", through(lambda p: hdf(p, x), ".h5")
    yield c, "data.nc", through(lambda p: netcdf(p, x), ".nc")
    yield c, "matrix.mtx", stored(lambda o: scipy.io.mmwrite(o, x))
    mat = bytearray(stored(lambda o: scipy.io.savemat(o, {"x": x})))
    mat[:116] = b"MATLAB 5.0 MAT-file Platform: posix".ljust(116)  # without the day it was written
    yield c, "data.mat", bytes(mat)
    digits = struct.pack(">IIII", 2051, 2, 3, 3) + bytes(18)
    yield c, "images.idx3-ubyte", digits
    yield c, "images-idx3-ubyte.gz", gzip.compress(digits, mtime=0)
    vectors = b"2 3\n" + b"".join(
        word + b" " + rng.normal(size=3).astype("f4").tobytes() + b"\n"
        for word in (b"king", b"queen")
    )
    yield c, "word2vec.bin", vectors
    yield c, "glove.txt", b"the 0.1 0.2 0.3\nof -0.1 0.5 0.25\n"
    integers = b"".join(struct.pack(">i", v) for v in (3, 3 << 16 | 5 << 8, 2 << 16 | 3 << 8))
    yield (
        c,
        "vector.rds",
        gzip.compress(
            b"X\n" + integers + struct.pack(">ii", 14, 3) + struct.pack(">3d", 1, 2, 3), mtime=0
        ),
    )
    yield (
        c,
        "vector_v2.rds",
        zlib.compress(b"X\n" + integers + struct.pack(">iii", 13, 2, 7) + struct.pack(">i", 8)),
    )
    body = b"\x93\x92\x02\x02\xa7float32\xc4\x10" + bytes(16)
    flax = b"\x81\xa6params\x81\xa6kernel\xc7" + bytes([len(body)]) + b"\x01" + body
    yield c, "flax_model.msgpack", flax


def hdf(path: str, x: Any) -> None:
    with h5py.File(path, "w") as made:
        made.create_dataset("x", data=x, compression="gzip", chunks=True)
        made.create_group("facts").attrs["units"] = ["m", "s"]


def netcdf(path: str, x: Any) -> None:
    import scipy.io

    with scipy.io.netcdf_file(path, "w") as made:
        made.createDimension("a", 4)
        made.createVariable("x", "f8", ("a",))[:] = x[:, 0]


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def media(rng: np.random.Generator) -> Iterator[Row]:
    from PIL import Image

    c = "beyond: media"
    picture = Image.fromarray(rng.integers(0, 255, (12, 9, 3)).astype("u1"))
    for ending in ("png", "jpeg", "bmp", "gif", "webp", "tiff"):
        yield c, f"picture.{ending}", stored(lambda o, e=ending: picture.save(o, e))  # type: ignore[misc]
    grey = (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0))
        + chunk(b"tEXt", b"Comment\0made by hand")
        + chunk(b"IDAT", zlib.compress(b"\0\x7f"))
        + chunk(b"IEND", b"")
    )
    yield c, "grey.png", grey
    sound = io.BytesIO()
    with wave.open(sound, "wb") as made:
        made.setparams((1, 2, 8000, 0, "NONE", "not compressed"))
        made.writeframes(bytes(200))
    yield c, "sound.wav", sound.getvalue()
    yield (
        c,
        "drawing.svg",
        b'<svg xmlns="http://www.w3.org/2000/svg" width="4" height="4"><rect width="4" height="4" fill="red"/></svg>',
    )


def documents() -> Iterator[Row]:
    c = "beyond: documents"
    parts = [
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
        b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 99 99]>>",
    ]
    out, places = b"%PDF-1.4\n", []
    for i, part in enumerate(parts, 1):
        places.append(len(out))
        out += b"%d 0 obj" % i + part + b"endobj\n"
    table = b"xref\n0 4\n0000000000 65535 f \n" + b"".join(
        b"%010d 00000 n \n" % at for at in places
    )
    yield (
        c,
        "card.pdf",
        out + table + b"trailer<</Size 4/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF\n" % len(out),
    )
    yield c, "notes.rst", b"A model\n=======\n\nTrained on Monday.\n"
    yield c, "settings.toml", b"[train]\nlr = 0.1\nlayers = [3, 4]\n"
    yield c, "settings.ini", b"[train]\nlr = 0.1\n"
    yield c, "run.log", b"2026-01-02 03:04:05 INFO epoch 1 loss 0.5\n" * 5
    yield (
        c,
        "analysis.ipynb",
        json.dumps(
            {
                "nbformat": 4,
                "nbformat_minor": 5,
                "metadata": {},
                "cells": [
                    {"cell_type": "markdown", "id": "a", "metadata": {}, "source": ["# Result"]},
                    {
                        "cell_type": "code",
                        "id": "b",
                        "metadata": {},
                        "execution_count": 1,
                        "outputs": [],
                        "source": ["1 + 1"],
                    },
                ],
            }
        ).encode(),
    )
    tree = b'<PMML xmlns="http://www.dmg.org/PMML-4_4" version="4.4"><Header copyright="a"/><DataDictionary numberOfFields="2"><DataField name="x" optype="continuous" dataType="double"/><DataField name="y" optype="continuous" dataType="double"/></DataDictionary><RegressionModel functionName="regression"><MiningSchema><MiningField name="x"/><MiningField name="y" usageType="target"/></MiningSchema><RegressionTable intercept="0.5"><NumericPredictor name="x" coefficient="2"/></RegressionTable></RegressionModel></PMML>'
    yield c, "regression.pmml", b'<?xml version="1.0" encoding="UTF-8"?>\n' + tree
    record = b"\x0a\x0b\x0a\x09\x0a\x01a\x12\x04\x1a\x02\x0a\x00"
    crc = masked(struct.pack("<Q", len(record)))
    yield c, "examples.tfrecord", struct.pack("<Q", len(record)) + crc + record + masked(record)


def masked(data: bytes) -> bytes:
    """Return the masked CRC-32C that TFRecord puts behind a field."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    crc ^= 0xFFFFFFFF
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)


def archives() -> Iterator[Row]:
    c = "beyond: archives of data"
    files = {
        "data/train.csv": b"a,b\n1,2\n",
        "data/test.csv": b"a,b\n3,4\n",
        "README.md": b"# Data\n",
    }
    for name, mode in (
        ("data.tar", "w"),
        ("data.tar.gz", "w:gz"),
        ("data.tar.xz", "w:xz"),
        ("data.tar.bz2", "w:bz2"),
    ):
        out = io.BytesIO()
        with tarfile.open(
            fileobj=out, mode=mode, **({"compresslevel": 6} if mode == "w:gz" else {})
        ) as made:  # type: ignore[call-overload]
            for path, data in files.items():
                info = tarfile.TarInfo(path)
                info.size = len(data)
                made.addfile(info, io.BytesIO(data))
        data = out.getvalue()
        yield c, name, data[:4] + bytes(4) + data[8:] if mode == "w:gz" else data
    for name, how in (
        ("data.zip", zipfile.ZIP_DEFLATED),
        ("data_bzip2.zip", zipfile.ZIP_BZIP2),
        ("data_lzma.zip", zipfile.ZIP_LZMA),
    ):
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w", how) as archive:
            for path, data in files.items():
                archive.writestr(
                    zipfile.ZipInfo(path, (2026, 1, 2, 3, 4, 6)), data, compress_type=how
                )
        yield c, name, out.getvalue()
    yield c, "table.7z", sevenz("table.csv", b"a,b\n1,2\n")
    from backports import zstd

    yield c, "table.csv.zst", zstd.compress(b"a,b\n1,2\n" * 20)


def samples(rng: np.random.Generator) -> Iterator[Loaded]:
    frame = pd.DataFrame({"n": np.arange(5.0), "c": list("abcde")})
    for rows in (tables(frame), databases(), scientific(rng), media(rng), documents(), archives()):
        for category, name, data in rows:
            yield Loaded(category, name, {name: data}, "bytes")
