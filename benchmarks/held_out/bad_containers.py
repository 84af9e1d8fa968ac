"""Hostile archives: PyTorch's, joblib's, nested, broken, mislabelled and two formats at once."""

import bz2
import gzip
import io
import json
import lzma
import struct
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from held_out import Sample, one
from held_out.assemble import Rng, call, made, push, stacked, system, text

EVIL = made(system())
EVIL2 = b"\x80\x02cos\nsystem\nX\x04\x00\x00\x00trueq\x00\x85R."
GOOD = made(push({"weights": [1, 2, 3], "bias": [0]}))


def zipped(members: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return file.getvalue()


def tarred(members: dict[str, bytes], mode: str = "w") -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode=mode) as archive:  # type: ignore[call-overload]
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return file.getvalue()


def torch_parts(pickled: bytes, folder: str = "archive") -> dict[str, bytes]:
    return {f"{folder}/data.pkl": pickled, f"{folder}/byteorder": b"little",
            f"{folder}/data/0": bytes(4), f"{folder}/version": b"3\n"}  # fmt: skip


def torch_zip(pickled: bytes, folder: str = "archive") -> bytes:
    return zipped(torch_parts(pickled, folder))


def state_dict(extra: bytes = b"") -> bytes:
    """Return opcodes of a state dict with one tensor, and more entries."""
    return (b"}(" + text("weight") + stacked("torch._utils", "_rebuild_tensor_v2") + b"((" + text(
        "storage") + stacked("torch", "FloatStorage") + text("0") + text("cpu") + push(1) + b"tQ"
        + b"K\x00K\x01\x85K\x01\x85\x89" + stacked("collections", "OrderedDict") + b")RtR" + extra
        + b"u")  # fmt: skip


def patched(data: bytes, offset_of: bytes, at: int, value: bytes) -> bytes:
    """Return `data` with bytes replaced at an offset from each header with that signature."""
    result, found = bytearray(data), data.find(offset_of)
    while found >= 0:
        result[found + at : found + at + len(value)] = value
        found = data.find(offset_of, found + 4)
    return bytes(result)


LOCAL, CENTRAL, END = b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06"


def torch(rng: Rng) -> Iterator[tuple[str, bytes]]:
    inside = made(state_dict(text("x") + system()), 2)
    whole = torch_zip(inside)
    yield "state-dict.pt", whole
    yield (
        "checkpoint.pth",
        torch_zip(
            made(
                b"}("
                + text("epoch")
                + push(3)
                + text("model")
                + state_dict()
                + text("hook")
                + call(stacked("runpy", "run_path"), "/tmp/none")
                + b"u",
                2,
            ),
            "checkpoint",
        ),
    )
    yield "pytorch_model.bin", torch_zip(inside, "pytorch_model")
    yield "payload-first.pt", torch_zip(made(system() + b"0" + state_dict(), 2))
    yield "deflated.pt", zipped(torch_parts(inside), zipfile.ZIP_DEFLATED)
    yield "bzip2-member.pt", zipped(torch_parts(inside), zipfile.ZIP_BZIP2)
    yield "lzma-member.pt", zipped(torch_parts(inside), zipfile.ZIP_LZMA)
    yield "flag-encrypted.pt", patched(patched(whole, LOCAL, 6, b"\x01"), CENTRAL, 8, b"\x01")
    yield "flag-encrypted-local.pt", patched(whole, LOCAL, 6, b"\x01")
    yield "flag-encrypted-central.pt", patched(whole, CENTRAL, 8, b"\x01")
    yield "flag-strong.pt", patched(whole, CENTRAL, 8, b"\x41")
    yield "flag-descriptor.pt", patched(whole, LOCAL, 6, b"\x08")
    yield "crc-wrong.pt", patched(whole, CENTRAL, 16, b"\xde\xad\xbe\xef")
    yield "crc-wrong-local.pt", patched(whole, LOCAL, 14, b"\xde\xad\xbe\xef")
    yield "version-needed.pt", patched(whole, CENTRAL, 6, b"\xff")
    yield "method-unknown.pt", patched(patched(whole, LOCAL, 8, b"\x63"), CENTRAL, 10, b"\x63")
    yield "method-differs.pt", patched(whole, CENTRAL, 10, b"\x08")
    yield "size-zero-local.pt", patched(whole, LOCAL, 18, bytes(8))
    yield "size-zero-central.pt", patched(whole, CENTRAL, 20, bytes(8))
    yield "disk-number.pt", patched(whole, END, 4, b"\x01\x00\x01\x00")
    yield "entries-one.pt", patched(whole, END, 8, b"\x01\x00\x01\x00")
    yield "entries-none.pt", patched(whole, END, 8, bytes(4))
    yield "local-name-differs.pt", whole.replace(b"data.pkl", b"datap.kl", 1)
    yield "central-name-differs.pt", whole[::-1].replace(b"lkp.atad", b"lk.patad", 1)[::-1]
    yield "name-capitals.pt", zipped({**torch_parts(GOOD), "archive/DATA.PKL": inside})
    yield "name-backslash.pt", zipped({**torch_parts(GOOD), "archive\\data.pkl": inside})
    yield "two-pickles.pt", zipped({**torch_parts(made(state_dict(), 2)), "other/data.pkl": inside})
    yield "pickle-extra.pt", zipped({**torch_parts(made(state_dict(), 2)), "archive/extra/x": EVIL})
    yield (
        "pickle-as-storage.pt",
        zipped({**torch_parts(made(state_dict(), 2)), "archive/data/1": EVIL2}),
    )
    yield (
        "pickle-no-extension.pt",
        zipped({**torch_parts(made(state_dict(), 2)), "archive/notes": EVIL}),
    )
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for pickled in (inside, made(state_dict(), 2)):
            for name, data in torch_parts(pickled).items():
                info = zipfile.ZipInfo(name)
                with archive.open(info, "w") as member:
                    member.write(data)
    yield "duplicate-members.pt", file.getvalue()
    yield "prepended.pt", b"\x89PNG\r\n\x1a\n" + bytes(100) + whole
    yield "prepended-script.pt", b"#!/bin/sh\ntrue\nexit\n" + whole
    yield "appended-pickle.pt", whole + EVIL
    yield "appended-zip.pt", torch_zip(made(state_dict(), 2)) + whole
    yield "prepended-zip.pt", whole + torch_zip(made(state_dict(), 2))
    clean = torch_zip(made(state_dict(), 2))
    yield "comment-zip.pt", clean[:-2] + struct.pack("<H", min(len(whole), 65535)) + whole[:65535]
    yield "comment-end.pt", clean[:-2] + struct.pack("<H", 40) + END + bytes(36)
    cut = clean.find(CENTRAL)
    hidden = zipped({"archive/data.pkl": inside})
    hidden = hidden[: hidden.find(CENTRAL)]
    moved = bytearray(clean[:cut] + hidden + clean[cut:])
    moved[-6:-2] = struct.pack("<I", cut + len(hidden))
    yield "hidden-member.pt", bytes(moved)
    yield "truncated.pt", whole[:-30]
    yield "no-central.pt", whole[: whole.find(CENTRAL)]
    yield "central-past-end.pt", patched(whole, END, 16, b"\xff\xff\xff\x7f")
    yield "zip64-lies.pt", whole[:-22] + b"PK\x06\x06" + struct.pack(
        "<QHHIIQQQQ", 44, 45, 45, 0, 0, 1, 1, 10, 0) + b"PK\x06\x07" + struct.pack(
        "<IQI", 0, len(whole) - 22, 1) + whole[-22:]  # fmt: skip
    yield (
        "traversal.pt",
        zipped({**torch_parts(made(state_dict(), 2)), "archive/../../../tmp/none": b"x"}),
    )
    yield "absolute.pt", zipped({**torch_parts(made(state_dict(), 2)), "/etc/cron.d/none": b"x"})
    yield "script-code.pt", zipped({**torch_parts(made(state_dict(), 2)), "archive/code/__torch__.py":
        b"import os\nos.system('true')\n", "archive/constants.pkl": EVIL})  # fmt: skip
    yield "script-constants.pt", zipped({**torch_parts(made(state_dict(), 2)),
        "archive/constants.pkl": EVIL2, "archive/code/__torch__.py": b""})  # fmt: skip
    yield "package.pt", zipped({"pkg/.data/version": b"6", "pkg/.data/extern_modules": b"os\n",
        "pkg/model/model.pkl": EVIL, "pkg/net.py": b"import os\nos.system('true')\n"})  # fmt: skip
    yield "aot-inductor.pt2", zipped({"model/archive_format": b"pt2", "model/data/aotinductor/model/m.so":
        b"\x7fELF\x02\x01\x01" + rng.bytes(400), "model/version": b"0"})  # fmt: skip
    yield "exported-pickle.pt2", zipped({"serialized_exported_program.json": b"{}", "version": b"8",
        "serialized_state_dict.pt": whole})  # fmt: skip
    magic = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03."
    system_info = b"\x80\x02}(X\x0d\x00\x00\x00little_endian\x88u."
    yield (
        "legacy.pth",
        magic + system_info + inside + b"\x80\x02].".replace(b"]", b"](X\x01\x00\x00\x000e"),
    )
    yield "legacy-second.pth", magic + EVIL2 + made(state_dict(), 2)
    yield "legacy-keys.pth", magic + system_info + GOOD + EVIL2
    yield "legacy-trailing.pth", magic + system_info + GOOD + b"\x80\x02]." + EVIL2
    yield "legacy-tar.pth", tarred({"storages": EVIL2, "tensors": EVIL2, "pickle": inside})
    yield "gzip.pt", gzip.compress(whole, mtime=0)
    yield "renamed.safetensors", whole
    yield "renamed.onnx", whole
    yield "renamed.npz", whole
    yield "renamed.json", whole
    yield "renamed.png", whole


def joblib(rng: Rng) -> Iterator[tuple[str, bytes]]:
    import lz4.frame

    inside = made(b"}(" + text("model") + push([1, 2]) + text("x") + system() + b"u", 3)
    yield "zlib.joblib", zlib.compress(inside)
    yield "zlib-0.joblib", zlib.compress(inside, 0)
    yield "zlib-z.pkl.z", zlib.compress(inside, 9)
    yield "gzip.joblib", gzip.compress(inside, mtime=0)
    yield "bz2.joblib", bz2.compress(inside)
    yield "xz.joblib", lzma.compress(inside)
    yield "lzma.joblib", lzma.compress(inside, lzma.FORMAT_ALONE)
    yield "lz4.joblib", lz4.frame.compress(inside)
    yield (
        "zfile.joblib",
        b"ZF" + b"0x" + f"{len(inside):x}".encode().ljust(17) + zlib.compress(inside),
    )
    yield "double-gzip.joblib", gzip.compress(gzip.compress(inside, mtime=0), mtime=0)
    yield "mixed.joblib", bz2.compress(lzma.compress(zlib.compress(inside)))
    yield "two-streams.joblib", gzip.compress(GOOD, mtime=0) + gzip.compress(EVIL, mtime=0)
    yield (
        "split-stream.joblib",
        gzip.compress(inside[:9], mtime=0) + gzip.compress(inside[9:], mtime=0),
    )
    yield "xz-two.joblib", lzma.compress(GOOD) + lzma.compress(EVIL)
    yield "bz2-two.joblib", bz2.compress(GOOD) + bz2.compress(EVIL)
    yield "zlib-trailing.joblib", zlib.compress(GOOD) + EVIL
    yield "gzip-trailing.joblib", gzip.compress(GOOD, mtime=0) + EVIL
    yield "gzip-crc.joblib", gzip.compress(inside, mtime=0)[:-8] + bytes(8)
    yield "gzip-cut.joblib", gzip.compress(inside + rng.bytes(400), mtime=0)[:-60]
    yield "gzip-named.joblib", b"\x1f\x8b\x08\x08" + bytes(6) + b"../../x\x00" + gzip.compress(
        inside, mtime=0)[10:]  # fmt: skip
    yield "zlib-raw.joblib", zlib.compress(inside)[2:-4]
    yield "padded.joblib", inside + bytes(100) + EVIL
    deep = inside
    for _ in range(12):
        deep = gzip.compress(deep, mtime=0)
    yield "deep-12.joblib", deep
    yield "bomb.joblib", gzip.compress(bytes(80 << 20) + EVIL, mtime=0)
    try:
        from backports import zstd

        yield "zstd.joblib", zstd.compress(inside)
        yield "zstd-two.pkl.zst", zstd.compress(GOOD) + zstd.compress(EVIL)
    except ImportError:
        pass


def sevenz(members: dict[str, bytes], password: str | None = None) -> bytes:
    import py7zr

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.7z"
        with py7zr.SevenZipFile(path, "w", password=password) as archive:
            for name, data in members.items():
                archive.writestr(data, name)
        return path.read_bytes()


def archives(rng: Rng) -> Iterator[tuple[str, bytes]]:
    whole = torch_zip(made(state_dict(text("x") + system()), 2))
    yield "model.7z", sevenz({"model.pkl": EVIL})
    yield "nullifai.pth", sevenz({"data.pkl": b"\x80\x02" + system() + b"\xff\xff"})
    yield "encrypted.7z", sevenz({"model.pkl": EVIL}, "infected")
    yield "prefixed-7z.bin", bytes(32) + sevenz({"model.pkl": EVIL})
    yield "model.rar", b"Rar!\x1a\x07\x01\x00" + rng.bytes(30) + EVIL
    yield "old.rar", b"Rar!\x1a\x07\x00" + rng.bytes(30) + EVIL
    yield "model.cab", b"MSCF" + bytes(40) + EVIL
    yield "model.ar", b"!<arch>\n" + b"model.pkl/      0           0     0     644     " + str(
        len(EVIL)).ljust(10).encode() + b"`\n" + EVIL  # fmt: skip
    yield "model.cpio", b"070701" + b"0" * 104 + EVIL
    yield "model.iso", bytes(32769) + b"CD001" + bytes(2042) + EVIL
    yield "model.zip", zipped({"m/model.pkl": EVIL, "README.md": b"# model\n"})
    yield "nested.zip", zipped({"a.zip": zipped({"b.zip": zipped({"model.pkl": EVIL})})})
    deep = EVIL
    for at in range(10):
        deep = zipped({f"{at}.zip": deep})
    yield "deep.zip", deep
    yield "tar-in-zip.zip", zipped({"x.tar.gz": tarred({"m.pt": whole}, "w:gz")})
    for mode, ending in (
        ("w", "tar"),
        ("w:gz", "tar.gz"),
        ("w:bz2", "tar.bz2"),
        ("w:xz", "tar.xz"),
    ):
        yield f"model.{ending}", tarred({"./model/weights.bin": EVIL, "config.json": b"{}"}, mode)
    yield "traversal.tar", tarred({"../../tmp/none": b"x", "config.json": b"{}"})
    yield "absolute.tar", tarred({"/tmp/none": b"x"})
    for kind, what in ((tarfile.SYMTYPE, "symlink"), (tarfile.LNKTYPE, "hardlink"),
                       (tarfile.FIFOTYPE, "fifo"), (tarfile.CHRTYPE, "device")):  # fmt: skip
        file = io.BytesIO()
        with tarfile.open(fileobj=file, mode="w") as archive:
            info = tarfile.TarInfo("model.safetensors")
            info.type, info.linkname = kind, "/etc/passwd"
            archive.addfile(info)
        yield f"{what}.tar", file.getvalue()
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        link = zipfile.ZipInfo("weights.safetensors")
        link.create_system, link.external_attr = 3, 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
    yield "symlink.zip", file.getvalue()
    yield "trailing.tar", tarred({"config.json": b"{}"}) + EVIL
    yield "second.tar", tarred({"config.json": b"{}"}) + tarred({"model.pkl": EVIL})
    yield "checksum.tar", tarred({"model.pkl": EVIL}).replace(b"ustar", b"uXtar", 1)
    yield "gzip-bomb.tar.gz", gzip.compress(tarred({"zeros": bytes(60 << 20)}), mtime=0)
    yield (
        "nemo.nemo",
        tarred({"./model_config.yaml": b"target: nemo.x\n", "./model_weights.ckpt": whole}),
    )
    yield "nemo-target.nemo", tarred({"./model_config.yaml":
        b"target: os.system\ncommand: 'true'\n", "./model_weights.ckpt": b""})  # fmt: skip
    yield "mar.mar", zipped({"MAR-INF/MANIFEST.json": json.dumps({"model": {
        "handler": "handler.py", "serializedFile": "model.pt"}}).encode(), "handler.py":
        b"import os\nos.system('true')\n", "model.pt": whole})  # fmt: skip
    yield "wheel.whl", zipped({"m/__init__.py": b"import os\nos.system('true')\n",
        "m-1.dist-info/METADATA": b"Name: m\n", "m-1.dist-info/RECORD": b""})  # fmt: skip
    yield "jar.jar", zipped({"META-INF/MANIFEST.MF": b"Main-Class: X\n", "X.class": b"\xca\xfe\xba\xbe"
        + rng.bytes(50)})  # fmt: skip


def polyglots(rng: Rng) -> Iterator[tuple[str, bytes]]:
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(rng.integers(0, 255, (8, 8, 3), dtype="u1")).save(file, "PNG")
    png = file.getvalue()
    file = io.BytesIO()
    Image.fromarray(rng.integers(0, 255, (8, 8, 3), dtype="u1")).save(file, "JPEG")
    jpeg = file.getvalue()
    whole = torch_zip(EVIL)
    yield "png-zip.png", png + whole
    yield "png-pickle.png", png + EVIL
    yield "jpeg-zip.jpg", jpeg + zipped({"x.pkl": EVIL})
    yield "gif-zip.gif", b"GIF89a\x01\x00\x01\x00\x00\x00\x00;" + whole
    yield "text-zip.txt", b"Just a text.\n" + whole
    yield "json-zip.json", b'{"a": 1}\n' + whole
    yield "json-pickle.json", b'{"a": 1}\n' + EVIL
    yield "script.json", b"#!/bin/sh\ntrue\n"
    yield "elf.bin", b"\x7fELF\x02\x01\x01" + bytes(9) + rng.bytes(200)
    yield "elf.safetensors", b"\x7fELF\x02\x01\x01" + bytes(9) + rng.bytes(200)
    yield "pe.onnx", b"MZ" + bytes(58) + b"\x80\x00\x00\x00" + rng.bytes(64) + b"PE\0\0" + bytes(99)
    yield "macho.bin", b"\xcf\xfa\xed\xfe" + rng.bytes(200)
    yield "llamafile.llamafile", b"MZqFpD='\n" + rng.bytes(100) + zipped({"model.gguf": b"GGUF"})
    yield "pyc.bin", b"\xa7\x0d\x0d\n" + bytes(12) + b"\xe3" + rng.bytes(60)
    yield "class.model", b"\xca\xfe\xba\xbe\x00\x00\x004" + rng.bytes(60)
    yield "java-serialised.model", b"\xac\xed\x00\x05sr" + rng.bytes(60)
    yield "wasm.bin", b"\x00asm\x01\x00\x00\x00" + rng.bytes(30)
    yield "dex.bin", b"dex\n035\x00" + rng.bytes(100)
    yield (
        "pdf-script.pdf",
        b"%PDF-1.4\n1 0 obj<</OpenAction<</S/JavaScript/JS(app.alert(1))>>>>\n%%EOF",
    )
    yield "ps.model", b"%!PS\n(x) run\n"
    yield "marshal.bin", b"\xe3" + bytes(16) + rng.bytes(40)
    yield "perl.txt", b"#!/usr/bin/perl\nsystem('true');\n"
    yield "python-renamed.txt", b"import os\nos.system('true')\n"
    yield "python-renamed.json", b"import os\nos.system('true')\n"
    yield "import-line.pth", b"import os; os.system('true')\n"
    yield "csv-zip.csv", b"a,b\n1,2\n" + whole
    yield "npy-zip.npy", npy() + whole
    yield "npy-pickle.npy", npy() + EVIL
    yield "zip-npy.npz", zipped({"a.npy": npy(), "b.npy": EVIL})
    yield "zip-npy-extra.npz", zipped({"a.npy": npy(), "payload.pkl": EVIL})
    yield "zip-npy-tail.npz", zipped({"a.npy": npy() + EVIL})
    yield "ascii-pickle.csv", b"cos\nsystem\n(S'true'\ntR."
    yield "ascii-pickle.md", b"(S'true'\nios\nsystem\n."
    yield "utf16-script.txt", "import os\nos.system('true')".encode("utf-16")
    yield "html-readme.html", b"<html><script>fetch('http://127.0.0.1:9')</script></html>"
    yield "svg.svg", b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>"
    yield "svg-event.svg", b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>"


def npy() -> bytes:
    file = io.BytesIO()
    np.save(file, np.arange(6.0))
    return file.getvalue()


PARTS: dict[str, Callable[[Rng], Iterator[tuple[str, bytes]]]] = {
    "container: torch": torch,
    "container: joblib compressions": joblib,
    "container: archives": archives,
    "container: polyglots and wrong extensions": polyglots,
}


def samples(rng: Rng) -> Iterator[Sample]:
    for category, part in PARTS.items():
        for name, data in part(rng):
            stem, dot, ending = name.partition(".")
            yield one(category, stem, dot + ending, data)
