"""Streams beside a plain copy (the limit), Tink and age, on memory-backed files, interleaved."""

import argparse
import os
import platform
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cryptography
import numpy as np
import tink
from tink import secret_key_access, streaming_aead
from tink.proto import aes_gcm_hkdf_streaming_pb2, common_pb2, tink_pb2

from vallum.base import Secret
from vallum.crypto import DataKey, StreamReader, decrypt_file, encrypt_file

KEY = bytes(range(32))
AAD = b"benchmark"
CHUNK = 1024 * 1024


def primitive() -> object:
    streaming_aead.register()
    key = aes_gcm_hkdf_streaming_pb2.AesGcmHkdfStreamingKey(
        version=0, key_value=KEY,
        params=aes_gcm_hkdf_streaming_pb2.AesGcmHkdfStreamingParams(
            ciphertext_segment_size=65536, derived_key_size=32,
            hkdf_hash_type=common_pb2.SHA256),
    )  # fmt: skip
    keyset = tink_pb2.Keyset(primary_key_id=1)
    entry = keyset.key.add()
    entry.key_id, entry.status, entry.output_prefix_type = 1, tink_pb2.ENABLED, tink_pb2.RAW
    entry.key_data.type_url = "type.googleapis.com/google.crypto.tink.AesGcmHkdfStreamingKey"
    entry.key_data.value = key.SerializeToString()
    entry.key_data.key_material_type = tink_pb2.KeyData.SYMMETRIC
    handle = tink.proto_keyset_format.parse(keyset.SerializeToString(), secret_key_access.TOKEN)
    return handle.primitive(streaming_aead.StreamingAead)


def copy(source: Path, target: Path) -> None:
    with source.open("rb", buffering=0) as reader, target.open("wb", buffering=0) as writer:
        while chunk := reader.read(CHUNK):
            writer.write(chunk)


def ours(work: Callable[..., int], source: Path, target: Path, threads: int) -> None:
    reader = os.open(source, os.O_RDONLY)
    writer = os.open(target, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
    try:
        work(reader, writer, DataKey(Secret(KEY)), AAD, threads=threads)
    finally:
        os.close(reader)
        os.close(writer)


def by_tink(aead: object, source: Path, target: Path) -> None:
    with source.open("rb") as reader, target.open("wb") as raw:
        stream = aead.new_encrypting_stream(raw, AAD)  # type: ignore[attr-defined]
        while chunk := reader.read(CHUNK):
            stream.write(chunk)
        stream.close()


def timed(work: Callable[[], None]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


class File:
    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_RDONLY)

    def read(self, offset: int, length: int, /) -> bytes:
        return os.pread(self._file, length, offset)


def random_reads(plain: Path, sealed: Path, count: int = 4000) -> tuple[float, float]:
    rng = np.random.default_rng(1)
    size = plain.stat().st_size
    offsets = [int(one) for one in rng.integers(0, size - 65536, count)]
    reader = StreamReader(File(sealed), DataKey(Secret(KEY)), AAD, sealed.stat().st_size)
    bare = File(plain)
    mine, plainly = [], []
    for offset in offsets:
        start = time.perf_counter()
        bare.read(offset, 65536)
        middle = time.perf_counter()
        reader.read(offset, 65536)
        mine.append(time.perf_counter() - middle)
        plainly.append(middle - start)
    return statistics.median(plainly) * 1e6, statistics.median(mine) * 1e6


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--mib", type=int, default=2048)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(dir="/dev/shm"))
    try:
        plain, sealed, other = folder / "plain", folder / "sealed", folder / "other"
        block = os.urandom(CHUNK)
        with plain.open("wb") as file:
            for _ in range(arguments.mib):
                file.write(block)
        aead = primitive()
        identity = folder / "age.key"
        subprocess.run(["age-keygen", "-o", identity], check=True, capture_output=True)
        public = subprocess.run(
            ["age-keygen", "-y", identity], check=True, capture_output=True, text=True
        ).stdout.strip()
        aged = folder / "aged"
        subprocess.run(["age", "-r", public, "-o", aged, plain], check=True)
        figures: dict[str, list[float]] = {}
        for round_ in range(arguments.rounds + 1):
            times = {
                "copy": timed(lambda: copy(plain, other)),
                "encrypt, 2 threads": timed(lambda: ours(encrypt_file, plain, sealed, 2)),
                "encrypt, 1 thread": timed(lambda: ours(encrypt_file, plain, other, 1)),
                "Tink encrypt": timed(lambda: by_tink(aead, plain, other)),
                "decrypt, 2 threads": timed(lambda: ours(decrypt_file, sealed, other, 2)),
                "age decrypt": timed(
                    lambda: subprocess.run(
                        ["age", "-d", "-i", identity, "-o", other, aged], check=True
                    ) and None
                ),
            }  # fmt: skip
            if round_:  # the first warms the pages
                for name, seconds in times.items():
                    figures.setdefault(name, []).append(arguments.mib / 1024 / seconds)
        median = {name: statistics.median(values) for name, values in figures.items()}
        bare, mine = random_reads(plain, sealed)
    finally:
        shutil.rmtree(folder)
    print(f"Machine: {platform.machine()}, {os.cpu_count()} cores, Python"
          f" {platform.python_version()}, cryptography {cryptography.__version__};"
          f" {arguments.mib} MiB in memory-backed files, {arguments.rounds} rounds\n")  # fmt: skip
    print("| what | GiB/s, median | range | × copy |\n|---|---:|---:|---:|")
    for name, values in figures.items():
        print(f"| {name} | {median[name]:.2f} | {min(values):.2f} to {max(values):.2f} |"
              f" {median[name] / median['copy']:.2f} |")  # fmt: skip
    print(f"\nEncrypt (2 threads) is {median['encrypt, 2 threads'] / median['Tink encrypt']:.2f} ×"
          f" Tink; decrypt is {median['decrypt, 2 threads'] / median['age decrypt']:.2f} × age."
          f" Random 64 KiB read: {mine:.1f} µs, plain {bare:.1f} µs,"
          f" over it {mine - bare:.1f} µs (medians).")  # fmt: skip


if __name__ == "__main__":
    main()
