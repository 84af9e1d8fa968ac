"""Hostile containers of the sixth round."""

import bz2
import gzip
import io
import json
import lzma
import pickle  # noqa: TID251 - written, never read
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator

import joblib
import numpy as np
import torch

from held_out.sixth_asm import CANARY, CMD, B, Bytes, G, Loaded, evaluated, item, r, system, whole
from held_out.sixth_zip import Member, crypted, deflated, sevenz, zipped

Row = tuple[str, str, bytes, str]


def payloads() -> list[bytes]:
    """Return pickles that differ in more than their names."""
    return [
        whole(system(), p=2), whole(evaluated(), p=4), whole(r("subprocess.getoutput", CMD), p=0),
        whole({"state": 1, "hook": r("pty.spawn", ["touch", CANARY])}, p=3),
        whole(r("timeit.timeit", f"__import__('os').mkdir('{CANARY}')", "pass", G("time", "time"), 1), p=4),
        whole(r("builtins.exec", f"open('{CANARY}', 'w')"), p=5),
    ]  # fmt: skip


def archive(data: bytes, **how: object) -> list[Member]:
    """Return the members of a torch archive around a pickle."""
    first = Member(b"model/data.pkl", data, **how)  # type: ignore[arg-type]
    return [
        first,
        Member(b"model/byteorder", b"little"),
        Member(b"model/version", b"3\n"),
        Member(b"model/data/0", bytes(64)),
    ]


def torches() -> Iterator[Row]:
    bad = payloads()
    plain = io.BytesIO()
    torch.save({"w": torch.zeros(3)}, plain)
    with zipfile.ZipFile(plain) as read:
        parts = [(i.filename, read.read(i)) for i in read.infolist()]
    for at, name in ((0, "before_tensors"), (3, "inside_dict")):
        body = dict(parts)["archive/data.pkl"]
        extra = item(Bytes(bad[at][2 if at != 2 else 0 : -1]), 2) + b"0"
        held = [
            Member(n.encode(), body[:2] + extra + body[2:] if n.endswith("data.pkl") else d)
            for n, d in parts
        ]
        yield "C01 torch zip", f"{name}.pt", zipped(held), "torch"
    yield "C01 torch zip", "deflated.pth", zipped(archive(bad[1], method=8)), "torch"
    yield "C01 torch zip", "pytorch_model.bin", zipped(archive(bad[4])), "torch"
    yield "C01 torch zip", "optimizer.ckpt", zipped(archive(bad[5])), "torch"


def corrupt() -> Iterator[Row]:
    """Torch archives whose headers disagree; most readers do not look."""
    bad = payloads()
    knobs: dict[str, tuple[dict[str, object], dict[str, object]]] = {
        "encrypted_central": ({}, {"flags": 1}), "encrypted_local": ({"flags": 1}, {}), "utf8_flag": ({"flags": 0x800}, {}),
        "strong_encryption": ({"flags": 0x41}, {"flags": 0x41}), "patch_flag": ({}, {"flags": 0x20}), "masked_flag": ({}, {"flags": 0x2000}),
        "crc_zero": ({}, {"crc": 0}), "crc_local": ({"crc": 1}, {}), "need_99": ({"need": 99}, {"need": 99}),
        "size_local_zero": ({"packed": 0, "size": 0}, {}), "size_local_huge": ({"size": 0x7FFFFFFF}, {}),
        "name_local_case": ({"name": b"model/DATA.PKL"}, {}), "name_local_other": ({"name": b"model/readme.t"}, {}),
        "method_local": ({"method": 8}, {}), "method_central": ({}, {"method": 99}), "extra_local": ({"extra": b"\xff\xff\xff\xff"}, {}),
        "name_backslash": ({}, {"name": b"model\\data.pkl"}), "name_nul": ({}, {"name": b"model/data.pkl\0.txt"}),
        "name_slash_end": ({}, {"name": b"model/data.pkl/"}), "outside_directory": ({}, {"outside": 0x41ED0010}), "disk": ({}, {"disk": 7}),
    }  # fmt: skip
    for at, (name, (local, central)) in enumerate(knobs.items()):
        held = archive(bad[at % 6], local=local, central=central)
        yield "C02 zip corrupt", f"{name}.pt", zipped(held), "construction"
    yield (
        "C02 zip corrupt",
        "count_too_small.pt",
        zipped(archive(bad[0]), here=1, all=1),
        "construction",
    )
    yield (
        "C02 zip corrupt",
        "comment_too_long.pt",
        zipped(archive(bad[1]), length=400),
        "construction",
    )
    yield "C02 zip corrupt", "zip64_end.pt", zipped(archive(bad[2]), zip64=True), "torch"
    yield "C02 zip corrupt", "descriptor.pt", zipped(archive(bad[3], descriptor=True)), "torch"
    yield (
        "C02 zip corrupt",
        "second_end.pt",
        zipped(archive(b"\x80\x02}.")[:1] + archive(b"")[1:], comment=zipped(archive(bad[4]))),
        "construction",
    )
    yield "C02 zip corrupt", "directory_cut.pt", zipped(archive(bad[5]))[:-30], "construction"


def tarred(files: dict[str, bytes], mode: str = "w") -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as made:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            made.addfile(info, io.BytesIO(data))
    data = out.getvalue()
    match mode:
        case "w:gz":
            return gzip.compress(data, mtime=0)
        case "w:bz2":
            return bz2.compress(data)
        case "w:xz":
            return lzma.compress(data)
    return data


def packed(files: dict[str, bytes], method: int = 8) -> bytes:
    return zipped([Member(name.encode(), data, method) for name, data in files.items()])


def nested() -> Iterator[Row]:
    bad = payloads()
    pt = zipped(archive(bad[0]))
    c = "C03 nested"
    yield c, "zip_of_pt.zip", packed({"a/b/model.pt": pt, "readme.md": b"# A\n"}), "construction"
    yield c, "tar_in_zip.zip", packed({"model.tar": tarred({"model.pkl": bad[1]})}), "zip"
    yield c, "zip_in_tar.tar", tarred({"x.zip": packed({"weights.pkl": bad[2]})}), "unpacked"
    yield c, "zip_in_txz.tar.xz", tarred({"x.zip": packed({"w.pkl": bad[3]})}, "w:xz"), "unpacked"
    yield c, "zip_in_tbz.tar.bz2", tarred({"x.zip": packed({"w": bad[4]})}, "w:bz2"), "unpacked"
    yield c, "gz_in_zip.zip", packed({"model.pkl.gz": gzip.compress(bad[5], mtime=0)}), "zip"
    yield c, "xz_in_zip.zip", packed({"model.joblib": lzma.compress(bad[0])}), "zip"
    yield c, "zip_in_gz.gz", gzip.compress(packed({"w.pkl": bad[1]}), mtime=0), "unpacked"
    yield (
        c,
        "tar_three_deep.tar",
        tarred({"a.tar": tarred({"b.tar": tarred({"c.pkl": bad[2]})})}),
        "unpacked",
    )
    yield (
        c,
        "gz_three_deep.gz",
        gzip.compress(gzip.compress(gzip.compress(bad[3], mtime=0), mtime=0), mtime=0),
        "unpacked",
    )
    yield c, "bz_of_xz.pkl.xz.bz2", bz2.compress(lzma.compress(bad[4])), "unpacked"
    deep = packed({"w.pkl": bad[5]})
    for _ in range(5):
        deep = packed({"inner.zip": deep, "note.txt": b"one more"})
    yield c, "zip_six_deep.zip", deep, "zip"
    yield (
        c,
        "npz_in_zip.zip",
        packed({"arrays.npz": packed({"a.npy": objects(bad[0])})}),
        "construction",
    )
    yield (
        c,
        "model.nemo",
        tarred({"./model_config.yaml": b"target: nemo\n", "./model_weights.ckpt": pt}),
        "construction",
    )
    yield (
        c,
        "model.tar.gz",
        tarred({"code/inference.py": b"pass\n", "model.pth": pt}, "w:gz"),
        "construction",
    )
    yield (
        c,
        "package.whl",
        packed(
            {
                "model/__init__.py": b"",
                "model/weights.pkl": bad[1],
                "model-1.dist-info/METADATA": b"Name: model\n",
            }
        ),
        "zip",
    )
    yield (
        c,
        "hidden_member.zip",
        packed({"__MACOSX/._model": b"\0\5\x16\7", ".cache/.w": bad[2]}),
        "construction",
    )
    yield (
        c,
        "pickle_of_zip.zip",
        packed(
            {f"part{i}.pkl": pickle.dumps(list(range(i)), 2) for i in range(30)}
            | {"part30.pkl": bad[3]}
        ),
        "zip",
    )


def squeezed() -> Iterator[Row]:
    from backports import zstd

    bad = payloads()
    c = "C04 compressed"
    gz = gzip.compress(bad[0], mtime=0)
    yield c, "model.pkl.gz", gz, "joblib"
    named = (
        gz[:3]
        + b"\x1c"
        + gz[4:10]
        + struct.pack("<H", 4)
        + b"ab\0\0"
        + b"weights.csv\0"
        + b"only data\0"
        + gz[10:]
    )
    yield c, "gz_with_fields.gz", named, "unpacked"
    yield (
        c,
        "gz_two_members.gz",
        gzip.compress(bad[1][:9], mtime=0) + gzip.compress(bad[1][9:], mtime=0),
        "unpacked",
    )
    yield c, "gz_with_tail.gz", gzip.compress(bad[2], mtime=0) + bytes(64), "unpacked"
    yield c, "gz_stored.gz", gzip.compress(bad[3], 0, mtime=0), "joblib"
    yield c, "model.bz2", bz2.compress(bad[4], 1), "joblib"
    yield c, "bz2_two_streams.bz2", bz2.compress(bad[5][:5]) + bz2.compress(bad[5][5:]), "joblib"
    yield c, "model.xz", lzma.compress(bad[0], check=lzma.CHECK_CRC32), "joblib"
    yield (
        c,
        "xz_delta.xz",
        lzma.compress(
            bad[1], filters=[{"id": lzma.FILTER_DELTA, "dist": 2}, {"id": lzma.FILTER_LZMA2}]
        ),
        "joblib",
    )
    yield c, "model.lzma", lzma.compress(bad[2], lzma.FORMAT_ALONE), "joblib"
    yield c, "model.z", zlib.compress(bad[3], 9), "joblib"
    yield c, "zlib_dictless.joblib", zlib.compress(bad[4], 0), "joblib"
    yield c, "model.pkl.zst", zstd.compress(bad[5]), "construction"
    yield (
        c,
        "zst_skippable.zst",
        b"\x50\x2a\x4d\x18\x04\0\0\0data" + zstd.compress(bad[0]),
        "construction",
    )
    yield c, "stored.7z", sevenz("model.pkl", bad[1]), "construction"
    yield c, "xz_padded.xz", lzma.compress(bad[2]) + bytes(8), "construction"
    held = io.BytesIO()
    joblib.dump({"weights": np.arange(50.0)}, held)
    data = held.getvalue()
    yield c, "array_then_call.joblib", zlib.compress(data[:2] + system_in(data)), "construction"


def system_in(data: bytes) -> bytes:
    """Return a joblib pickle with a call put in front of its first object."""
    at = 11 if data[2:3] == b"\x95" else 2
    return item(system(), 4) + b"0" + data[at:]


def disguised() -> Iterator[Row]:
    bad = payloads()
    for at, (name, how) in enumerate(
        (
            ("weights.safetensors", "pickle"),
            ("notes.md", "pickle"),
            ("model.onnx", "pickle"),
            ("tokenizer.json", "pickle"),
            ("table.csv", "pickle"),
            ("model.h5", "joblib"),
        )
    ):
        yield "C05 extension", name, bad[at], how
    yield "C05 extension", "picture.jpg", zipped(archive(bad[0])), "torch"


def polyglots() -> Iterator[Row]:
    bad = payloads()
    zips = [zipped(archive(one)) for one in bad]
    inner = [packed({"model.pkl": one}) for one in bad]
    c = "C06 polyglot"
    gif = b"GIF89a\x01\0\x01\0\x80\0\0\0\0\0\xff\xff\xff!\xf9\x04\0\0\0\0\0,\0\0\0\0\x01\0\x01\0\0\x02\x02D\x01\0;"
    header = json.dumps({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}).encode()
    safe = struct.pack("<Q", len(header)) + header + bytes(8)
    npy = io.BytesIO()
    np.save(npy, np.zeros(3))
    yield c, "gif_zip.gif", gif + inner[0], "zip"
    yield c, "safetensors_zip.safetensors", safe + inner[1], "zip"
    yield c, "npy_zip.npy", npy.getvalue() + inner[2], "zip"
    yield c, "npy_pickle.npy", npy.getvalue() + bad[3], "construction"
    yield c, "json_zip.json", b'{"a": 1}\n' + inner[4], "zip"
    yield c, "pdf_zip.pdf", b"%PDF-1.4\n1 0 obj<<>>endobj\ntrailer<<>>\n%%EOF\n" + inner[5], "zip"
    wave = struct.pack(
        "<4sI4s4sIHHIIHH4sI", b"RIFF", 40, b"WAVE", b"fmt ", 16, 1, 1, 8000, 8000, 1, 8, b"data", 4
    ) + bytes(4)
    yield c, "wav_zip.wav", wave + inner[0], "zip"
    yield c, "pickle_then_zip.pkl", bad[1] + zipped([Member(b"a.txt", b"harmless")]), "pickle"
    yield c, "pickle_then_safetensors.safetensors", bad[2] + safe, "pickle"
    yield c, "zip_between_gz.gz", gzip.compress(b"harmless", mtime=0) + zips[3], "construction"
    call = item(system(), 0) + b"0Vx\n."
    yield c, "pickle_named_tar.tar", tar_name(call), "pickle"
    yield c, "html_zip.html", b"<html><body>model</body></html>\n" + inner[4], "zip"


def tar_name(call: bytes) -> bytes:
    """Return a tar whose first member's name is a pickle."""
    block = bytearray(tarred({"a": b"harmless"}))
    block[: len(call)] = call
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block[:512])
    return bytes(block)


def objects(
    data: bytes, descr: str = "'|O'", shape: str = "(1,)", version: int = 1, order: str = "False"
) -> bytes:
    """Return an array of objects whose pickle is given."""
    header = f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}".encode()
    length = 10 if version == 1 else 12
    header += b" " * (63 - (len(header) + length) % 64) + b"\n"
    size = struct.pack("<H" if version == 1 else "<I", len(header))
    return b"\x93NUMPY" + bytes([version, 0]) + size + header + data


def arrays() -> Iterator[Row]:
    bad = payloads()
    c = "C07 numpy"
    yield c, "version2.npy", objects(bad[0], version=2), "numpy"
    yield c, "version3.npy", objects(bad[1], version=3), "numpy"
    yield c, "scalar.npy", objects(bad[2], shape="()"), "numpy"
    yield c, "fields.npy", objects(bad[3], descr="[('a', '<f8'), ('b', '|O')]"), "numpy"
    yield (
        c,
        "nested_fields.npy",
        objects(bad[4], descr="[('a', [('b', '|O'), ('c', '<i4')])]"),
        "numpy",
    )
    yield c, "subarray.npy", objects(bad[5], descr="[('a', '|O', (2, 2))]"), "numpy"
    yield c, "fortran.npy", objects(bad[0], shape="(2, 3)", order="True"), "numpy"
    yield c, "empty_shape.npy", objects(bad[1], shape="(0,)"), "numpy"
    yield c, "long_type.npy", objects(bad[2], descr="'O8'"), "numpy"
    yield (
        c,
        "arrays.npz",
        packed({"x.npy": objects(b"", "'<f8'", "(0,)"), "y.npy": objects(bad[3])}),
        "numpy",
    )
    yield c, "stored.npz", packed({"w.npy": objects(bad[4], version=2)}, 0), "numpy"
    yield c, "no_suffix.npz", packed({"weights": objects(bad[5])}), "numpy"
    yield c, "raw_pickle.npy", bad[0], "numpy"
    state = B(
        r("numpy._core.multiarray._reconstruct", G("numpy", "ndarray"), (0,), b"b"),
        (1, (1,), r("numpy.dtype", "O8"), False, [system()]),
    )
    yield c, "reconstructed.npy", whole(state), "numpy"


def locked() -> Iterator[Row]:
    bad = payloads()[0]
    for password, name in ((b"infected", "password.zip"), (b"", "empty_password.zip")):
        packed_ = crypted(bad, password, zlib.crc32(bad))
        yield (
            "C08 encrypted",
            name,
            zipped(
                [
                    Member(
                        b"model.pkl", bad, packed=packed_, local={"flags": 1}, central={"flags": 1}
                    )
                ]
            ),
            "construction",
        )
    extra = struct.pack("<HHH2sBH", 0x9901, 7, 2, b"AE", 3, 8)
    aes = {"flags": 1, "method": 99, "extra": extra, "crc": 0}
    yield (
        "C08 encrypted",
        "aes.zip",
        zipped(
            [
                Member(
                    b"model.pkl",
                    bad,
                    packed=bytes(range(16)) + deflated(bad) + bytes(10),
                    local=aes,
                    central=aes,
                )
            ]
        ),
        "construction",
    )


def slips() -> Iterator[Row]:
    c = "C09 archives"
    tar = tarred({f"../../{CANARY}": b"x"})
    yield c, "up.tar", tar, "extract"
    yield (
        c,
        "up.nemo",
        tarred({"model_config.yaml": b"a: 1\n", f"weights/../../../{CANARY}": b"x"}, "w:gz"),
        "extract",
    )
    yield c, "absolute.tar", tarred({f"/var/{CANARY}": b"x"}), "construction"
    for kind, name in ((tarfile.SYMTYPE, "symlink.tar"), (tarfile.LNKTYPE, "hardlink.tar")):
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w") as made:
            link = tarfile.TarInfo("link")
            link.type, link.linkname = kind, ".." if kind == tarfile.SYMTYPE else "/etc/passwd"
            made.addfile(link)
            inside = tarfile.TarInfo(f"link/{CANARY}" if kind == tarfile.SYMTYPE else "model.bin")
            inside.size = 1
            made.addfile(inside, io.BytesIO(b"x"))
        yield c, name, out.getvalue(), "extract" if kind == tarfile.SYMTYPE else "construction"
    yield (
        c,
        "up.zip",
        packed({f"model/../../../{CANARY}": b"x", "model/config.json": b"{}"}),
        "construction",
    )
    yield c, "backslash.zip", packed({f"..\\..\\{CANARY}": b"x"}), "construction"
    manifest = json.dumps(
        {"model": {"serializedFile": "model.pt", "handler": "handler.py", "modelName": "a"}}
    ).encode()
    handler = f"import os\nos.system('{CMD}')\n".encode()
    yield (
        c,
        "model.mar",
        packed(
            {
                "MAR-INF/MANIFEST.json": manifest,
                "handler.py": handler,
                "model.pt": zipped(archive(payloads()[0])),
            }
        ),
        "construction",
    )


def bombs() -> Iterator[Row]:
    kernel = bytes(64 << 20)
    c = "C10 bombs"
    yield c, "model.pkl.bz2", bz2.compress(kernel) * 400, "construction"
    squeezed_ = deflated(kernel)
    members = [
        Member(
            b"a%02d" % i,
            b"",
            8,
            packed=squeezed_ if i == 0 else b"",
            local={"size": 64 << 20, "packed": len(squeezed_)},
            central={
                "size": 64 << 20,
                "packed": len(squeezed_),
                "offset": 0,
                "crc": zlib.crc32(kernel),
            },
        )
        for i in range(64)
    ]
    yield c, "overlapping.zip", zipped(members), "construction"
    yield c, "shape.npy", objects(b"", "'<f8'", "(1099511627776, 4)"), "construction"


def samples(_: np.random.Generator) -> Iterator[Loaded]:
    for rows in (
        torches(),
        corrupt(),
        nested(),
        squeezed(),
        disguised(),
        polyglots(),
        arrays(),
        locked(),
        slips(),
        bombs(),
    ):
        for category, name, data, how in rows:
            yield Loaded(category, name, {name: data}, how)
