"""Round 5, hostile: archives, compressed streams, polyglots, and what PyTorch reads."""

# fmt: off
# One sample a line: a table is read so.

import bz2
import gzip
import io
import lzma
import pickle  # noqa: TID251 - written, never read
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from held_out.fifth_asm import CMD, EXPR, INNER, MARK, SYSTEM, Checked, c, made
from held_out.fifth_opcodes import shell

PKL = made(c("posix:system", CMD), 4)
Files = dict[str, bytes]
Row = tuple[str, bytes, str]


def zipped(files: Files, how: int = zipfile.ZIP_DEFLATED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", how) as archive:
        for name, data in files.items():
            archive.writestr(zipfile.ZipInfo(name, (2025, 3, 1, 0, 0, 0)), data, how)
    return out.getvalue()


def tarred(files: Files, mode: str = "w", links: tuple[tuple[str, str, bytes], ...] = ()) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode) as archive:  # type: ignore[call-overload]
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
        for name, target, what in links:
            info = tarfile.TarInfo(name)
            info.type, info.linkname = what, target
            archive.addfile(info)
    return out.getvalue()


def xxh32(data: bytes) -> int:
    """Return xxHash-32 of less than 16 bytes (all that an LZ4 header needs)."""
    p = (2654435761, 2246822519, 3266489917, 668265263, 374761393)
    mask, h, at = 0xFFFFFFFF, p[4] + len(data), 0
    while at + 4 <= len(data):
        h = (h + int.from_bytes(data[at : at + 4], "little") * p[2]) & mask
        h = (((h << 17) | (h >> 15)) * p[3]) & mask
        at += 4
    for byte in data[at:]:
        h = (h + byte * p[4]) & mask
        h = (((h << 11) | (h >> 21)) * p[0]) & mask
    h = ((h ^ (h >> 15)) * p[1]) & mask
    h = ((h ^ (h >> 13)) * p[2]) & mask
    return h ^ (h >> 16)


def lz4(data: bytes) -> bytes:
    """Return an LZ4 frame of uncompressed blocks."""
    head = b"\x60\x40"
    frame = b"\x04\x22\x4d\x18" + head + bytes([(xxh32(head) >> 8) & 255])
    return frame + struct.pack("<I", len(data) | 0x80000000) + data + bytes(4)


def zstd(data: bytes) -> bytes:
    """Return a Zstandard frame of one raw block."""
    return b"\x28\xb5\x2f\xfd\xa0" + struct.pack("<I", len(data)) + ((len(data) << 3) | 1).to_bytes(3, "little") + data


def number7(value: int) -> bytes:
    return bytes([value]) if value < 128 else bytes([0x80 | value >> 8, value & 255])


def sevenz(name: str, data: bytes) -> bytes:
    """Return a 7z archive of one stored member."""
    crc = struct.pack("<I", zlib.crc32(data))
    title = name.encode("utf-16-le") + b"\0\0"
    pack = b"\x06" + b"\0" + number7(1) + b"\x09" + number7(len(data)) + b"\0"
    folder = b"\x07\x0b\x01\0\x01\x01\0\x0c" + number7(len(data)) + b"\x0a\x01" + crc + b"\0"
    files = b"\x05\x01\x11" + number7(len(title) + 1) + b"\0" + title + b"\0"
    head = b"\x01\x04" + pack + folder + b"\0" + files + b"\0"
    start = struct.pack("<QQI", len(data), len(head), zlib.crc32(head))
    return b"7z\xbc\xaf\x27\x1c\0\x04" + struct.pack("<I", zlib.crc32(start)) + start + data + head


def patched(data: bytes, name: bytes, local: Any = None, central: Any = None) -> bytes:
    """Change header fields: (offset, format, value) in the local and central headers of a member."""
    out = bytearray(data)
    for magic, change, at_name in ((b"PK\x03\x04", local, 30), (b"PK\x01\x02", central, 46)):
        at = out.find(magic)
        while change and at >= 0:
            if out[at + at_name : at + at_name + len(name)] == name:
                struct.pack_into(change[1], out, at + change[0], change[2])
            at = out.find(magic, at + 4)
    return bytes(out)


def archives() -> Iterator[Row]:
    benign = {"README.md": b"# model\n", "config.json": b'{"hidden_size": 64}'}
    one = {**benign, "weights/model.pkl": PKL}
    yield "in_zip.zip", zipped(one), ""
    yield "in_zip_stored.model", zipped(one, zipfile.ZIP_STORED), ""
    yield "in_zip_bzip2.zip", zipped(one, zipfile.ZIP_BZIP2), ""
    yield "in_zip_lzma.zip", zipped(one, zipfile.ZIP_LZMA), ""
    yield "in_tar.tar", tarred(one), ""
    for ending in ("gz", "bz2", "xz"):
        yield f"in_tar.tar.{ending}", tarred(one, f"w:{ending}"), ""
    yield "in_tar_pax.tgz", tarred({"x" * 180 + ".bin": PKL}, "w:gz"), ""
    yield "model.pkl.gz", gzip.compress(PKL, mtime=0), ""
    yield "model.pkl.bz2", bz2.compress(PKL), ""
    yield "model.pkl.xz", lzma.compress(PKL), ""
    yield "model.pkl.lzma", lzma.compress(PKL, lzma.FORMAT_ALONE), ""
    yield "model.pkl.z", zlib.compress(PKL), "joblib"
    yield "joblib_reads_gzip.joblib", gzip.compress(PKL, mtime=0), "joblib"
    yield "joblib_reads_xz.sav", lzma.compress(PKL), "joblib"
    yield "joblib_reads_bz2.bin", bz2.compress(PKL), "joblib"
    yield "joblib_reads_lzma.dat", lzma.compress(PKL, lzma.FORMAT_ALONE), "joblib"
    yield "model.pkl.lz4", lz4(PKL), ""
    yield "model.pkl.zst", zstd(PKL), ""
    yield "tar_in_zst.tar.zst", zstd(tarred(one)), ""
    yield "zst_skippable_first.zst", b"\x50\x2a\x4d\x18" + struct.pack("<I", 8) + b"metadata" + zstd(PKL), ""
    yield "model.7z", sevenz("model.pkl", PKL), ""
    yield "gz_two_members.gz", gzip.compress(b"hello\n", mtime=0) + gzip.compress(PKL, mtime=0), ""
    yield "gz_then_raw_pickle.gz", gzip.compress(b'{"a": 1}', mtime=0) + PKL, ""
    yield "gz_broken_crc.pkl.gz", gzip.compress(PKL, mtime=0)[:-8] + bytes(8), ""
    yield "gz_in_bz2_in_xz.bin", lzma.compress(bz2.compress(gzip.compress(PKL, mtime=0))), ""
    yield "zip_in_zip_in_tar.tar", tarred({"a.zip": zipped({"b.zip": zipped({"m.pkl": PKL})})}), ""
    deep = PKL
    for _ in range(12):
        deep = zipped({"next.zip": deep})
    yield "twelve_zips_deep.zip", deep, ""
    yield "zip_bomb_6_gib.zip", bomb(), ""
    yield "gzip_bomb.gz", gzip.compress(gzip.compress(bytes(64 << 20), mtime=0), 9, mtime=0), ""
    yield "many_overlapping.zip", overlapping(), ""
    yield "encrypted.zip", patched(patched(zipped(one), b"weights/model.pkl", (6, "<H", 1), (8, "<H", 1)), b"x"), ""
    yield "crc_wrong.zip", patched(zipped(one, 0), b"weights/model.pkl", (14, "<I", 0), (16, "<I", 0)), ""
    yield "central_says_other_size.zip", patched(zipped(one, 0), b"weights/model.pkl", None, (24, "<I", 3)), ""
    yield "local_name_differs.zip", zipped(one, 0).replace(b"weights/model.pkl", b"weights/model.txt", 1), ""
    yield "unknown_method.zip", patched(zipped(one, 0), b"weights/model.pkl", (8, "<H", 93), (10, "<H", 93)), ""
    yield "traversal.zip", zipped({"../../../.bashrc": b"touch " + MARK.encode()}), ""
    yield "absolute.zip", zipped({"/etc/cron.d/job": b"* * * * * root true"}), ""
    yield "windows_traversal.zip", zipped({"..\\..\\startup.bat": b"echo"}), ""
    yield "zip_symlink.zip", zip_link(), ""
    yield "tar_symlink_out.tar", tarred({}, links=(("model", "../../../etc/passwd", tarfile.SYMTYPE),)), ""
    yield "tar_hardlink_out.tar", tarred({"a.txt": b"x"}, links=(("b", "/etc/shadow", tarfile.LNKTYPE),)), ""
    yield "tar_link_then_write.tar", link_then_write(), ""
    yield "tar_fifo.tar", tarred({}, links=(("weights", "", tarfile.FIFOTYPE),)), ""
    yield "tar_traversal.tar.gz", tarred({"../../site-packages/evil.pth": b"import os"}, "w:gz"), ""
    yield "tar_second_after_end.tar", tarred(benign) + tarred({"m.pkl": PKL}), ""
    yield "zip_duplicate_member.zip", duplicate("model.pkl", pickle.dumps([1]), PKL), ""
    yield "zip_two_directories.zip", zipped(benign) + zipped({"m.pkl": PKL}), ""
    yield "zip_comment_pickle.zip", zipped(benign)[:-2] + struct.pack("<H", len(PKL)) + PKL, ""
    yield "zip_extra_field.zip", zip_extra(), ""
    yield "zip_without_directory.zip", zipped(one).partition(b"PK\x01\x02")[0], ""
    yield "pickle_before_zip.pt", PKL + zipped(benign), "pickle"
    yield "pickle_before_zip.zip", PKL + zipped(benign), "pickle"
    yield "pickle_after_zip.pt", zipped(benign) + PKL, ""
    from PIL import Image

    png, jpg = io.BytesIO(), io.BytesIO()
    Image.new("RGB", (16, 16), (90, 30, 10)).save(png, "PNG")
    Image.new("RGB", (16, 16), (90, 30, 10)).save(jpg, "JPEG")
    yield "png_then_pickle.png", png.getvalue() + PKL, f"pickle:{len(png.getvalue())}"
    yield "jpeg_then_zip.jpg", jpg.getvalue() + zipped({"m.pkl": PKL}), ""
    yield "png_text_chunk.png", png_chunk(png.getvalue(), PKL), ""
    yield "pdf_then_zip.pdf", b"%PDF-1.4\n1 0 obj<</Type/Catalog>>endobj\ntrailer<</Root 1 0 R>>\n%%EOF\n" + zipped({"m.pkl": PKL}), ""
    yield "gif_header_and_zip.gif", b"GIF89a\x01\0\x01\0\0\0\0;" + zipped({"m.pkl": PKL}), ""
    yield "elf_then_zip.bin", b"\x7fELF\x02\x01\x01" + bytes(57) + zipped(benign), ""
    yield "script_then_zip.pyz", b"#!/usr/bin/env python3\n" + zipped({"__main__.py": EXPR.encode()}), ""
    yield "wheel_inside.whl", zipped({"held/__init__.py": EXPR.encode(), "held-1.dist-info/METADATA": b"Name: held\n", "held-1.dist-info/RECORD": b""}), ""
    yield "egg.egg", zipped({"EGG-INFO/PKG-INFO": b"Name: held\n", "held.py": EXPR.encode()}), ""
    yield "jar.jar", zipped({"META-INF/MANIFEST.MF": b"Main-Class: Evil\n", "Evil.class": b"\xca\xfe\xba\xbe\0\0\0\x34"}), ""
    yield "torchserve.mar", zipped({"MAR-INF/MANIFEST.json": b'{"model": {"handler": "handler.py", "serializedFile": "m.pt"}}', "handler.py": EXPR.encode(), "m.pt": PKL}), ""
    yield "model.nemo", tarred({"model_config.yaml": b"target: builtins.exec\n", "model_weights.ckpt": PKL}, "w:gz"), ""
    yield "pickle_named.json", PKL, "pickle"
    yield "pickle_named.txt", made(SYSTEM, 0), "pickle"
    yield "pickle_named.safetensors", PKL, "pickle"
    yield "pickle_named.onnx", PKL, "pickle"
    yield "pickle_named.gguf", PKL, "pickle"
    yield "pickle_named.h5", PKL, "pickle"
    yield "pickle_named.npy", PKL, "numpy:objects"
    yield "pickle_named.npz", PKL, "numpy:objects"
    yield "pickle_named.png", PKL, "pickle"
    yield "pickle_named.csv", b"cposix\nsystem\n(V" + CMD.encode() + b"\ntR.", "pickle"
    yield "pickle_named.md", made(SYSTEM, 1), "pickle"
    yield "pickle_named.yaml", made(SYSTEM, 0), "pickle"


def overlapping() -> bytes:
    """Return a zip of which 400 entries share one compressed member of 32 MiB."""
    kernel = zipped({"a": bytes(32 << 20)})
    at = kernel.find(b"PK\x01\x02")
    entry, end = kernel[at : kernel.find(b"PK\x05\x06")], kernel[kernel.find(b"PK\x05\x06") :]
    directory = entry * 400
    return kernel[:at] + directory + end[:8] + struct.pack("<HHII", 400, 400, len(directory), at) + end[20:]


def bomb() -> bytes:
    """Return a zip of 200 members of 32 MiB of zeros each, which share nothing."""
    kernel = zipped({"m000": bytes(32 << 20)})
    at, end = kernel.find(b"PK\x01\x02"), kernel.find(b"PK\x05\x06")
    local, entry = kernel[:at], kernel[at:end]
    body = directory = b""
    for n in range(200):
        name = f"m{n:03d}".encode()
        directory += entry[:42] + struct.pack("<I", len(body)) + name + entry[50:]
        body += local[:30] + name + local[34:]
    tail = struct.pack("<HHII", 200, 200, len(directory), len(body))
    return body + directory + kernel[end : end + 8] + tail + kernel[end + 20 :]


def zip_link() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        info = zipfile.ZipInfo("weights.bin", (2025, 3, 1, 0, 0, 0))
        info.create_system, info.external_attr = 3, 0o120777 << 16
        archive.writestr(info, "/etc/passwd")
    return out.getvalue()


def zip_extra() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        info = zipfile.ZipInfo("config.json", (2025, 3, 1, 0, 0, 0))
        info.extra = struct.pack("<HH", 0x7075, len(PKL)) + PKL
        archive.writestr(info, "{}")
    return out.getvalue()


def duplicate(name: str, first: bytes, second: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr(zipfile.ZipInfo(name, (2025, 3, 1, 0, 0, 0)), first)
        archive.writestr(zipfile.ZipInfo(name, (2025, 3, 1, 0, 0, 0)), second)
    return out.getvalue()


def link_then_write() -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        info = tarfile.TarInfo("data")
        info.type, info.linkname = tarfile.SYMTYPE, "/usr/lib/python3"
        archive.addfile(info)
        inner = tarfile.TarInfo("data/sitecustomize.py")
        inner.size = len(EXPR)
        archive.addfile(inner, io.BytesIO(EXPR.encode()))
    return out.getvalue()


def png_chunk(png: bytes, data: bytes) -> bytes:
    body = b"zzZz" + data
    chunk = struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))
    at = png.find(b"IEND") - 4
    return png[:at] + chunk + png[at:]


def saved(value: Any, **how: Any) -> bytes:
    import torch

    out = io.BytesIO()
    torch.save(value, out, **how)
    return out.getvalue()


def rezipped(data: bytes, change: Any, how: int = zipfile.ZIP_STORED) -> bytes:
    """Write a torch archive again, with each member changed by a function (None leaves it out)."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(out, "w", how) as new:
        for info in old.infolist():
            for name, body in change(info.filename, old.read(info)):
                new.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), body, how)
    return out.getvalue()


def torches() -> Iterator[Row]:
    import torch

    torch.manual_seed(5)
    weights = torch.nn.Linear(4, 2).state_dict()
    plain = saved(weights)
    yield "state_dict_with_call.pt", saved({**weights, "hook": shell()}), "torch"
    yield "state_dict_with_call_legacy.pth", saved({**weights, "hook": shell()}, _use_new_zipfile_serialization=False), "torch"
    yield "checkpoint_callbacks.ckpt", saved({"state_dict": weights, "callbacks": {"x": shell()}, "epoch": 3}), "torch"
    yield "tensor_attribute.pt", saved({"w": torch.ones(2), "extra_state": [shell()]}), "torch"
    yield "bare_pickle.pth", PKL, "torch"
    yield "bare_pickle_protocol_2.pt", INNER, "torch"
    yield "data_pkl_replaced.pt", rezipped(plain, lambda n, b: [(n, PKL if n.endswith("data.pkl") else b)]), "torch"
    yield "data_pkl_deflated.pt", rezipped(plain, lambda n, b: [(n, PKL if n.endswith("data.pkl") else b)], zipfile.ZIP_DEFLATED), "torch"
    yield "data_pkl_two_pickles.pt", rezipped(plain, lambda n, b: [(n, PKL + b if n.endswith("data.pkl") else b)]), "torch"
    yield "data_pkl_twice.pt", rezipped(plain, lambda n, b: [(n, b), (n, PKL)] if n.endswith("data.pkl") else [(n, b)]), ""
    yield "crc_zeroed.pt", patched(rezipped(plain, lambda n, b: [(n, PKL if n.endswith("data.pkl") else b)]), b"archive/data.pkl", (14, "<I", 0), (16, "<I", 0)), ""
    yield "encrypted_flag_local.pt", patched(rezipped(plain, lambda n, b: [(n, PKL if n.endswith("data.pkl") else b)]), b"archive/data.pkl", (6, "<H", 1)), "torch"
    yield "extra_member_pickle.pt", rezipped(plain, lambda n, b: [(n, b), ("archive/extra/hooks.pkl", PKL)] if n.endswith("version") else [(n, b)]), ""
    yield "storage_is_pickle.pt", rezipped(plain, lambda n, b: [(n, PKL if n.endswith("data/0") else b)]), ""
    yield "pickle_after_archive.pt", plain + PKL, ""
    yield "bytes_before_archive.pt", PKL + plain, "pickle"
    yield "gzip_of_state_dict.pt.gz", gzip.compress(saved({"x": shell()}), mtime=0), ""
    yield "tar_of_old_torch.pt", old_tar(), "torch"
    magic, protocol = pickle.dumps(0x1950A86A20F9469CFC6C, 2), pickle.dumps(1001, 2)
    info = pickle.dumps({"protocol_version": 1001, "little_endian": True, "type_sizes": {"short": 2, "int": 4, "long": 4}}, 2)
    yield "legacy_magic_calls.pt", INNER + protocol + info + INNER, "torch"
    yield "legacy_protocol_calls.pt", magic + INNER + info, "torch"
    yield "legacy_info_calls.pt", magic + protocol + INNER, "torch"
    yield "legacy_object_calls.pt", magic + protocol + info + INNER, "torch"
    yield "legacy_keys_call.pt", magic + protocol + info + pickle.dumps({"a": 1}, 2) + INNER, "torch"
    yield "legacy_other_magic.pt", pickle.dumps(0x1950A86A20F9469CFC6D, 2) + INNER, ""
    yield "module_with_hook.pt", saved(hooked()), ""
    yield "quantised_getattr.pt", made(c("torch._utils:_rebuild_device_tensor_from_numpy", c("numpy:array", c("builtins:list", c("builtins:map", c("functools:partial", c("builtins:getattr", c("builtins:__import__", "posix"), "system")), [CMD]))), c("torch:device", "cpu"), "cpu", False), 2), "torch"
    yield "rebuild_from_type.pt", made(c("torch._tensor:_rebuild_from_type_v2", c("builtins:getattr", c("builtins:__import__", "posix"), "system"), c("builtins:type", c("torch:zeros", 1)), (CMD,), {}), 2), "torch"
    yield "rebuild_parameter_state.pt", made(c("torch._tensor:_rebuild_from_type_v2", c("builtins:eval", "exec"), c("builtins:type", 1), (EXPR,), {}), 4), "torch"
    yield "load_library.pt", made(c("torch._ops:_Ops.load_library", c("torch._ops:_Ops"), "held_out.so"), 4), "torch"


def hooked() -> Any:
    import torch

    module = torch.nn.Linear(2, 2)
    module.register_forward_hook(eval)  # type: ignore[arg-type]
    return module


def old_tar() -> bytes:
    return tarred({"sys_info": pickle.dumps({"protocol_version": 1000, "little_endian": True, "type_sizes": {}}, 2), "storages": pickle.dumps(0, 2), "tensors": pickle.dumps(0, 2), "pickle": INNER})


def scripts() -> Iterator[Row]:
    """Yield TorchScript archives: code that reads and writes files, and pickles beside it."""
    import torch

    source = {
        "reads_file": "def forward(self, x):\n    return torch.from_file('/etc/hostname', False, 1, dtype=torch.uint8)\n",
        "writes_file": "def forward(self, x):\n    y = torch.from_file('held-out-mark', True, 64)\n    y.copy_(torch.ones(64))\n    return y\n",
        "saves": "def forward(self, x):\n    torch.save(x, 'held-out-mark')\n    return x\n",
    }
    plain = io.BytesIO()
    torch.jit.save(torch.jit.trace(torch.nn.Linear(2, 2), torch.zeros(1, 2)), plain)
    for name, code in source.items():
        module = type(name, (torch.jit.ScriptModule,), {})()
        try:
            module.define(code)
            out = io.BytesIO()
            torch.jit.save(module, out)
        except RuntimeError:
            continue  # this version has no such operator
        yield f"script_{name}.pt", out.getvalue(), "" if name == "reads_file" else "torch:run"
    base = plain.getvalue()
    yield "script_data_pkl_global.pt", rezipped(base, lambda n, b: [(n, PKL if n.endswith("data.pkl") else b)]), ""
    yield "script_constants_pkl.pt", rezipped(base, lambda n, b: [(n, PKL if n.endswith("constants.pkl") else b)]), ""
    yield "script_os_in_code.pt", rezipped(base, lambda n, b: [(n, b.replace(b"return", b"torch.ops.load_library('held_out.so')\n    return") if n.endswith(".py") else b)]), ""
    yield "script_custom_operator.pt", rezipped(base, lambda n, b: [(n, b.replace(b"torch.linear(", b"ops.acme.run_shell(") if n.endswith(".py") else b)]), ""
    yield "script_with_library.pt", rezipped(base, lambda n, b: [(n, b), ("archive/extra/libhook.so", b"\x7fELF\x02\x01\x01" + bytes(120))] if n.endswith("version") else [(n, b)]), ""
    out = io.BytesIO()
    with torch.package.PackageExporter(out) as exporter:
        exporter.save_source_string("held_hook", EXPR)
        exporter.save_text("model", "config.txt", "x")
        exporter.save_source_string("model.code", "import held_hook\n")
    yield "package_with_code.pt", out.getvalue(), ""
    yield "pt2_with_library.pt2", zipped({"model/archive_format": b"pt2", "model/data/aotinductor/model/w.so": b"\x7fELF\x02\x01\x01" + bytes(120), "model/version": b"6"}, 0), ""
    yield "pt2_with_pickle_weights.pt2", zipped({"archive/archive_format": b"pt2", "archive/data/weights/model.pt": PKL, "archive/models/model.json": b"{}", "archive/version": b"6"}, 0), ""


def samples(_: np.random.Generator) -> Iterator[Checked]:
    for category, rows in (("containers", archives()), ("torch", torches()), ("torch: scripts", scripts())):
        for name, data, how in rows:
            yield Checked(category, name, {name: data}, how)
