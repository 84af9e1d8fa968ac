"""Streams: Tink reads ours and we read Tink's; whatever is changed is refused."""

import io
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vallum.base import InputError, IntegrityError, Secret
from vallum.crypto import (
    BytesSource,
    DataKey,
    EncryptingWriter,
    StreamReader,
    ciphertext_length,
    decrypt_file,
    encrypt_file,
    plaintext_length,
)
from vallum.crypto.stream import FIRST_BYTES, HEADER_BYTES, PLAIN_BYTES, SEGMENT_BYTES

KEY = bytes(range(32))
AAD = b"vallum.object/1 a version"
SIZES = [0, 1, 15, FIRST_BYTES - 1, FIRST_BYTES, FIRST_BYTES + 1, FIRST_BYTES + PLAIN_BYTES,
         FIRST_BYTES + PLAIN_BYTES + 1, 300_000]  # fmt: skip


def encrypted(data: bytes, aad: bytes = AAD, pieces: int = 3) -> bytes:
    out = io.BytesIO()
    writer = EncryptingWriter(out, DataKey(Secret(KEY)), aad)
    step = max(1, len(data) // pieces)
    for start in range(0, len(data), step):
        writer.write(data[start : start + step])
    writer.close()
    return out.getvalue()


def decrypted(stream: bytes, aad: bytes = AAD, key: bytes = KEY) -> bytes:
    reader = StreamReader(BytesSource(stream), DataKey(Secret(key)), aad, len(stream))
    return reader.read(0, reader.size)


def content(size: int) -> bytes:
    return os.urandom(size)


@pytest.fixture(scope="module")
def tink_primitive() -> Any:
    """Tink's own primitive under the same key."""
    tink = pytest.importorskip("tink", reason="tink is not installed")
    from tink import secret_key_access, streaming_aead
    from tink.proto import aes_gcm_hkdf_streaming_pb2, common_pb2, tink_pb2

    streaming_aead.register()
    key = aes_gcm_hkdf_streaming_pb2.AesGcmHkdfStreamingKey(
        version=0,
        key_value=KEY,
        params=aes_gcm_hkdf_streaming_pb2.AesGcmHkdfStreamingParams(
            ciphertext_segment_size=SEGMENT_BYTES,
            derived_key_size=32,
            hkdf_hash_type=common_pb2.SHA256,
        ),
    )
    keyset = tink_pb2.Keyset(primary_key_id=1)
    entry = keyset.key.add()
    entry.key_id = 1
    entry.status = tink_pb2.ENABLED
    entry.output_prefix_type = tink_pb2.RAW
    entry.key_data.type_url = "type.googleapis.com/google.crypto.tink.AesGcmHkdfStreamingKey"
    entry.key_data.value = key.SerializeToString()
    entry.key_data.key_material_type = tink_pb2.KeyData.SYMMETRIC
    handle = tink.proto_keyset_format.parse(keyset.SerializeToString(), secret_key_access.TOKEN)
    return handle.primitive(streaming_aead.StreamingAead)


@pytest.mark.parametrize("size", SIZES)
def test_tink_decrypts_our_streams(size: int, tink_primitive: Any) -> None:
    data = content(size)
    with tink_primitive.new_decrypting_stream(io.BytesIO(encrypted(data)), AAD) as stream:
        assert stream.read() == data


@pytest.mark.parametrize("size", SIZES)
def test_we_decrypt_tinks_streams(size: int, tink_primitive: Any) -> None:
    class Kept(io.BytesIO):
        def close(self) -> None:
            pass

    out = Kept()
    data = content(size)
    stream = tink_primitive.new_encrypting_stream(out, AAD)
    stream.write(data)
    stream.close()
    assert decrypted(out.getvalue()) == data


@pytest.mark.parametrize("size", SIZES)
def test_lengths_are_exact_both_ways(size: int) -> None:
    stream = encrypted(bytes(size))
    assert len(stream) == ciphertext_length(size)
    assert plaintext_length(len(stream)) == size


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("size", [*SIZES, 64 * SEGMENT_BYTES * 2 + 17])
def test_files_in_parallel_are_the_same_streams(size: int, threads: int, tmp_path: Path) -> None:
    data = content(size)
    paths = [tmp_path / name for name in ("plain", "sealed", "again")]
    paths[0].write_bytes(data)
    files = [os.open(path, os.O_RDWR | os.O_CREAT) for path in paths]
    try:
        key = DataKey(Secret(KEY))
        encrypt_file(files[0], files[1], key, AAD, threads=threads)
        assert decrypted(paths[1].read_bytes()) == data
        decrypt_file(files[1], files[2], key, AAD, threads=threads)
        assert paths[2].read_bytes() == data
        if size:
            os.pwrite(files[1], b"\xff\xff\xff", HEADER_BYTES + size // 2)
            with pytest.raises(IntegrityError):
                decrypt_file(files[1], files[2], key, AAD, threads=threads)
    finally:
        for file in files:
            os.close(file)


LONG = content(FIRST_BYTES + 2 * PLAIN_BYTES + 1000)
LONG_STREAM = encrypted(LONG)


@settings(max_examples=80)
@given(offset=st.integers(0, len(LONG) + 10), length=st.integers(0, len(LONG) + 10))
def test_random_reads_return_what_was_written(offset: int, length: int) -> None:
    reader = StreamReader(BytesSource(LONG_STREAM), DataKey(Secret(KEY)), AAD, len(LONG_STREAM))
    assert reader.read(offset, length) == LONG[offset : offset + length]
    into = bytearray(length)
    count = reader.readinto(offset, into)
    assert into == LONG[offset : offset + length].ljust(length, b"\0")
    assert count == len(LONG[offset : offset + length])


def test_what_does_not_authenticate_is_not_left_in_the_callers_buffer() -> None:
    changed = bytearray(LONG_STREAM)
    changed[SEGMENT_BYTES + 100] ^= 1
    reader = StreamReader(BytesSource(bytes(changed)), DataKey(Secret(KEY)), AAD, len(changed))
    into = bytearray(len(LONG))
    with pytest.raises(IntegrityError, match="segment 1"):
        reader.readinto(0, into)
    assert into[FIRST_BYTES:] == bytes(len(LONG) - FIRST_BYTES)


@pytest.mark.guarantee("G5")
@settings(max_examples=120)
@given(position=st.integers(0, len(LONG_STREAM) - 1), mask=st.integers(1, 255))
def test_any_flipped_bit_is_refused(position: int, mask: int) -> None:
    changed = bytearray(LONG_STREAM)
    changed[position] ^= mask
    with pytest.raises(IntegrityError):
        decrypted(bytes(changed))


@pytest.mark.guarantee("G5")
@settings(max_examples=60)
@given(length=st.integers(0, len(LONG_STREAM) - 1))
def test_any_truncation_is_refused(length: int) -> None:
    with pytest.raises(IntegrityError):
        decrypted(LONG_STREAM[:length])


def test_truncation_at_a_segment_border_is_refused() -> None:
    """Each segment there is whole: only the mark of the last one tells."""
    with pytest.raises(IntegrityError):
        decrypted(LONG_STREAM[: 2 * SEGMENT_BYTES])


@pytest.mark.guarantee("G5")
@pytest.mark.parametrize("extra", [1, 16, 17, SEGMENT_BYTES])
def test_trailing_bytes_are_refused(extra: int) -> None:
    with pytest.raises(IntegrityError):
        decrypted(LONG_STREAM + bytes(extra))


@pytest.mark.guarantee("G5")
def test_swapped_segments_are_refused() -> None:
    first = LONG_STREAM[SEGMENT_BYTES : 2 * SEGMENT_BYTES]
    second = LONG_STREAM[2 * SEGMENT_BYTES : 3 * SEGMENT_BYTES]
    swapped = LONG_STREAM[:SEGMENT_BYTES] + second + first + LONG_STREAM[3 * SEGMENT_BYTES :]
    with pytest.raises(IntegrityError):
        decrypted(swapped)


def test_another_key_or_another_context_is_refused() -> None:
    stream = encrypted(b"data")
    with pytest.raises(IntegrityError):
        decrypted(stream, aad=b"another version")
    with pytest.raises(IntegrityError):
        decrypted(stream, key=bytes(32))


def test_a_stream_that_was_not_closed_is_refused() -> None:
    out = io.BytesIO()
    writer = EncryptingWriter(out, DataKey(Secret(KEY)), AAD)
    writer.write(bytes(FIRST_BYTES + PLAIN_BYTES + 5))
    with pytest.raises(IntegrityError):
        decrypted(out.getvalue())


def test_two_streams_of_one_plaintext_share_nothing() -> None:
    first, second = encrypted(bytes(1000)), encrypted(bytes(1000))
    assert first[1:HEADER_BYTES] != second[1:HEADER_BYTES]
    assert first[HEADER_BYTES:] != second[HEADER_BYTES:]


def test_negative_ranges_are_refused() -> None:
    reader = StreamReader(BytesSource(LONG_STREAM), DataKey(Secret(KEY)), AAD, len(LONG_STREAM))
    with pytest.raises(InputError):
        reader.read(-1, 1)
