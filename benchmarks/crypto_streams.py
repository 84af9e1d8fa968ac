"""Streams beside a plain copy (the limit), Tink and age, on memory-backed files, interleaved.

Decryption is measured three times, both sides doing the same: to a reader that discards what it
gets (a table that is read; age writes to /dev/null), over a file that has its pages, and to a new
file. A new memory-backed file needs fresh pages from the kernel; `new pages alone` writes one
buffer again and again to show what that costs without any cipher.
"""

import argparse
import os
import platform
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cryptography
import numpy as np
import tink
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
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


def ours(
    work: Callable[..., int], source: Path, target: Path, threads: int, *, new: bool = True
) -> None:
    reader = os.open(source, os.O_RDONLY)
    writer = os.open(target, os.O_RDWR | os.O_CREAT | (os.O_TRUNC if new else 0))
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


def aged_into(identity: Path, source: Path, target: Path, *, new: bool) -> None:
    """Let age write to its standard output: its own `-o` replaces a file, this can keep one."""
    flags = os.O_WRONLY | (os.O_CREAT | os.O_TRUNC if new else 0)
    out = os.open(target, flags, 0o600)
    try:
        subprocess.run(["age", "-d", "-i", identity, source], check=True, stdout=out)
    finally:
        os.close(out)


def read_all(source: Path, threads: int) -> None:
    """Read all of a stream into buffers that are used again, as a reader of a table does."""
    file = File(source)
    reader = StreamReader(file, DataKey(Secret(KEY)), AAD, source.stat().st_size)

    def work(number: int) -> None:
        into = bytearray(4 * CHUNK)
        for offset in range(number * len(into), reader.size, threads * len(into)):
            reader.readinto(offset, into)

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(work, range(threads)))
    file.close()


def cipher_alone(mib: int, threads: int) -> None:
    """Open one segment again and again: no file, no copy."""
    aead = AESGCM(KEY)
    sealed = aead.encrypt(bytes(12), bytes(65520), None)

    def work(_: int) -> None:
        out = bytearray(65520)
        for _ in range(mib * CHUNK // 65520 // threads):
            aead.decrypt_into(bytes(12), sealed, None, out)

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(work, range(threads)))


def new_pages(target: Path, mib: int, threads: int) -> None:
    """Write one buffer again and again to a new file: the kernel's share of a new output."""
    target.unlink()
    file = os.open(target, os.O_RDWR | os.O_CREAT)
    os.ftruncate(file, mib * CHUNK)
    data = bytes(4 * CHUNK)

    def work(number: int) -> None:
        for offset in range(number * len(data), mib * CHUNK, threads * len(data)):
            os.pwrite(file, data, offset)

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(work, range(threads)))
    os.close(file)


def timed(work: Callable[[], None]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


class File:
    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_RDONLY)

    def read(self, offset: int, length: int, /) -> bytes:
        return os.pread(self._file, length, offset)

    def close(self) -> None:
        os.close(self._file)


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
                "new pages alone, 2 threads (limit)": timed(
                    lambda: new_pages(other, arguments.mib, 2)),
                "decrypt to a new file, 2 threads": timed(
                    lambda: ours(decrypt_file, sealed, other, 2)),
                "age decrypt to a new file": timed(
                    lambda: aged_into(identity, aged, other, new=True)),
                "decrypt over a file, 2 threads": timed(
                    lambda: ours(decrypt_file, sealed, other, 2, new=False)),
                "age decrypt over a file": timed(
                    lambda: aged_into(identity, aged, other, new=False)),
                "decrypt to a reader, 2 threads": timed(lambda: read_all(sealed, 2)),
                "decrypt to a reader, 1 thread": timed(lambda: read_all(sealed, 1)),
                "age decrypt to /dev/null": timed(
                    lambda: aged_into(identity, aged, Path("/dev/null"), new=False)),
                "AES-256-GCM alone, 2 threads (limit)": timed(
                    lambda: cipher_alone(arguments.mib, 2)),
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
    times_age = [
        f"{median[f'decrypt {mine}'] / median[f'age decrypt {theirs}']:.2f} × age {what}"
        for mine, theirs, what in (
            ("to a reader, 2 threads", "to /dev/null", "to a reader"),
            ("to a reader, 1 thread", "to /dev/null", "to a reader on one thread"),
            ("over a file, 2 threads", "over a file", "over a file"),
            ("to a new file, 2 threads", "to a new file", "to a new file"),
        )
    ]
    print(f"\nEncrypt (2 threads) is {median['encrypt, 2 threads'] / median['Tink encrypt']:.2f} ×"
          f" Tink; decrypt is {', '.join(times_age)}."
          f" Random 64 KiB read: {mine:.1f} µs, plain {bare:.1f} µs,"
          f" over it {mine - bare:.1f} µs (medians).")  # fmt: skip


if __name__ == "__main__":
    main()
