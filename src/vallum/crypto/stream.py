"""Streaming AEAD with random access: Tink's AES-GCM-HKDF layout, 64 KiB ciphertext segments.

    header   1 byte: its own length, 40
             32 bytes: salt
             7 bytes: nonce prefix
    segment  AES-256-GCM ciphertext and 16-byte tag; 65,536 bytes, the first one shorter by the
             header, the last one as long as is left (it may hold nothing but the tag)

The stream key is HKDF-SHA256(data key, salt, info = associated data); the nonce of a segment is
prefix ‖ 4-byte counter ‖ 1 byte that is 1 for the last segment. So segments cannot be swapped,
dropped or appended, and a stream cannot end before its marked last segment. The salt is fresh for
every stream: no (key, nonce) pair repeats. docs/spec/streams.md.

Source: Tink, "Streaming AEAD"; Hoang, Reyhanitabar, Rogaway, Vizár, CRYPTO 2015 (nonce-based
online authenticated encryption).
"""

import os
import secrets
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from vallum.base import InputError, IntegrityError, Secret
from vallum.crypto.keyring import DataKey
from vallum.crypto.small import derive

SEGMENT_BYTES = 64 * 1024
TAG_BYTES = 16
SALT_BYTES = 32
PREFIX_BYTES = 7
HEADER_BYTES = 1 + SALT_BYTES + PREFIX_BYTES
FIRST_BYTES = SEGMENT_BYTES - HEADER_BYTES - TAG_BYTES  # plaintext in the first segment
PLAIN_BYTES = SEGMENT_BYTES - TAG_BYTES  # plaintext in each further one
MAX_SEGMENTS = 2**32  # the counter's width: 256 TiB a stream
_BATCH = 64  # segments a write or read of the file paths: 4 MiB
_READ = 16  # segments that `readinto` asks its source for at once: 1 MiB


class Sink(Protocol):
    """Takes bytes in order; files and buffers are sinks."""

    def write(self, data: bytes | bytearray | memoryview, /) -> int:
        """Append `data`."""
        ...


class Source(Protocol):
    """Gives bytes at random."""

    def read(self, offset: int, length: int, /) -> bytes:
        """Return up to `length` bytes from `offset`; fewer only at the end."""
        ...


def ciphertext_length(length: int) -> int:
    """Return the bytes of the stream that holds `length` bytes of plaintext."""
    beyond = max(0, length - FIRST_BYTES)
    segments = 1 + -(-beyond // PLAIN_BYTES)
    return HEADER_BYTES + length + segments * TAG_BYTES


def plaintext_length(size: int) -> int:
    """Return the bytes of plaintext in a stream of `size` bytes.

    Raises:
        IntegrityError: No stream is that long.
    """
    segments = max(1, -(-size // SEGMENT_BYTES))
    length = size - HEADER_BYTES - segments * TAG_BYTES
    if length < 0 or ciphertext_length(length) != size:
        raise IntegrityError("the stream was cut or extended", code="crypto.stream-length")
    return length


class _Cipher:
    """The cipher of one stream."""

    __slots__ = ("_aead", "_prefix")

    def __init__(self, key: DataKey, salt: bytes, prefix: bytes, associated: bytes) -> None:
        stream_key = derive(Secret(key.reveal()), associated, salt=salt)
        self._aead = AESGCM(stream_key.reveal())
        self._prefix = prefix

    def encrypt(self, index: int, data: bytes | memoryview, *, last: bool) -> bytes:
        return self._aead.encrypt(self._nonce(index, last=last), data, None)

    def encrypt_into(self, index: int, data: memoryview, out: memoryview, *, last: bool) -> int:
        return self._aead.encrypt_into(self._nonce(index, last=last), data, None, out)

    def decrypt_into(self, index: int, data: memoryview, out: memoryview, *, last: bool) -> int:
        try:
            return self._aead.decrypt_into(self._nonce(index, last=last), data, None, out)
        except InvalidTag as error:
            raise _broken(index) from error

    def decrypt(self, index: int, data: bytes | memoryview, *, last: bool) -> bytes:
        try:
            return self._aead.decrypt(self._nonce(index, last=last), data, None)
        except InvalidTag as error:
            raise _broken(index) from error

    def _nonce(self, index: int, *, last: bool) -> bytes:
        if index >= MAX_SEGMENTS:
            raise InputError("the stream is too long", code="crypto.stream-length")
        return self._prefix + index.to_bytes(4, "big") + (b"\x01" if last else b"\x00")


def _broken(index: int) -> IntegrityError:
    return IntegrityError(
        f"segment {index} of a stream does not authenticate", code="crypto.stream"
    )


def _new_cipher(key: DataKey, associated: bytes) -> tuple[bytes, _Cipher]:
    salt = secrets.token_bytes(SALT_BYTES)
    prefix = secrets.token_bytes(PREFIX_BYTES)
    header = bytes([HEADER_BYTES]) + salt + prefix
    return header, _Cipher(key, salt, prefix, associated)


def _read_cipher(header: bytes, key: DataKey, associated: bytes) -> _Cipher:
    if len(header) != HEADER_BYTES or header[0] != HEADER_BYTES:
        raise IntegrityError("the stream has another header", code="crypto.stream-header")
    return _Cipher(key, header[1 : 1 + SALT_BYTES], header[1 + SALT_BYTES :], associated)


class EncryptingWriter:
    """Encrypts what is written to `sink`; `close` writes the marked last segment."""

    def __init__(self, sink: Sink, key: DataKey, associated: bytes) -> None:
        self._sink = sink
        header, self._cipher = _new_cipher(key, associated)
        self._pending = bytearray()
        self._index = 0
        self._room = FIRST_BYTES
        sink.write(header)

    def write(self, data: bytes | bytearray | memoryview, /) -> int:
        """Encrypt `data`; a segment leaves as soon as more than it has arrived."""
        self._pending += data
        start = 0
        out: list[bytes] = []
        view = memoryview(self._pending)
        try:
            while len(view) - start > self._room:
                part = view[start : start + self._room]
                out.append(self._cipher.encrypt(self._index, part, last=False))
                part.release()
                start += self._room
                self._index += 1
                self._room = PLAIN_BYTES
        finally:
            view.release()
        if out:
            del self._pending[:start]
            self._sink.write(b"".join(out))
        return len(data)

    def close(self) -> None:
        """Write the last segment. Without it the stream is refused as cut."""
        self._sink.write(self._cipher.encrypt(self._index, bytes(self._pending), last=True))
        self._pending.clear()


class StreamReader:
    """Reads a stream at random; every byte is authenticated before it is returned.

    Attributes:
        size: Bytes of plaintext, fixed by the ciphertext's length and proven by the mark of the
            last segment as soon as that one is read.
    """

    def __init__(
        self, source: Source, key: DataKey, associated: bytes, ciphertext_size: int
    ) -> None:
        self.size = plaintext_length(ciphertext_size)
        self._source = source
        self._end = ciphertext_size
        self._last = max(0, -(-ciphertext_size // SEGMENT_BYTES) - 1)
        self._cipher = _read_cipher(source.read(0, HEADER_BYTES), key, associated)

    def read(self, offset: int, length: int) -> bytes:
        """Return `length` bytes from `offset`, fewer at the end.

        Raises:
            InputError: A negative offset or length.
            IntegrityError: A byte is not what was written.
        """
        if offset < 0 or length < 0:
            raise InputError("offset and length are not negative", code="crypto.range")
        end = min(offset + length, self.size)
        if offset < end:
            first = _segment_of(offset)
            if first == _segment_of(end - 1):  # of one segment: no second buffer
                skip = offset - _start_of(first)
                return self._plain(first)[skip : skip + end - offset]
        into = bytearray(max(0, end - offset))
        self.readinto(offset, into)
        return bytes(into)

    def readinto(self, offset: int, into: bytearray | memoryview) -> int:
        """Fill `into` from `offset`; return how many bytes, fewer at the end.

        Whole segments are decrypted straight into the caller's buffer, which can be used again
        and again. Several threads may read at once where the source allows it; the cipher
        releases the GIL.

        Raises:
            InputError: A negative offset.
            IntegrityError: A byte is not what was written; `into` then holds nothing to be used.
        """
        if offset < 0:
            raise InputError("offset and length are not negative", code="crypto.range")
        out = memoryview(into)
        end = min(offset + len(out), self.size)
        if offset >= end:
            if self.size == 0 and offset == 0:
                self._plain(0)  # nothing to return, yet the emptiness is authenticated
            return 0
        first, last = _segment_of(offset), _segment_of(end - 1)
        # The first and the last segment may be wanted in part; what is between them never is.
        head = first if offset > _start_of(first) else first - 1
        tail = last if end < min(_start_of(last + 1), self.size) else last + 1
        done = 0
        index = first
        while index <= last:
            if index in (head, tail):
                plain = self._plain(index)
                skip = max(0, offset - _start_of(index))
                part = memoryview(plain)[skip : skip + end - offset - done]
                out[done : done + len(part)] = part
                done += len(part)
                index += 1
            else:
                stop = min(index + _READ, last + 1, tail)
                done += self._fill(index, stop, out[done:])
                index = stop
        return done

    def _plain(self, index: int) -> bytes:
        sealed = self._sealed(index, index + 1)
        return self._cipher.decrypt(index, sealed, last=index == self._last)

    def _fill(self, first: int, stop: int, out: memoryview) -> int:
        """Decrypt the segments before `stop` into `out`."""
        done = 0
        try:
            for index, part in self._parts(first, stop, self._sealed(first, stop)):
                done += self._cipher.decrypt_into(
                    index, part, out[done : done + len(part) - TAG_BYTES], last=index == self._last
                )
        except IntegrityError:
            out[:] = bytes(len(out))  # what did not authenticate stays with us
            raise
        return done

    def _sealed(self, first: int, stop: int) -> memoryview:
        begin = max(first * SEGMENT_BYTES, HEADER_BYTES)
        length = min(stop * SEGMENT_BYTES, self._end) - begin
        data = self._source.read(begin, length)
        if len(data) != length:
            raise IntegrityError("the stream was cut", code="crypto.stream-length")
        return memoryview(data)

    def _parts(self, first: int, stop: int, sealed: memoryview) -> Iterator[tuple[int, memoryview]]:
        at = 0
        for index in range(first, stop):
            length = min((index + 1) * SEGMENT_BYTES, self._end) - max(
                index * SEGMENT_BYTES, HEADER_BYTES
            )
            yield index, sealed[at : at + length]
            at += length


def _segment_of(offset: int) -> int:
    return 0 if offset < FIRST_BYTES else 1 + (offset - FIRST_BYTES) // PLAIN_BYTES


def _start_of(segment: int) -> int:
    return 0 if segment == 0 else FIRST_BYTES + (segment - 1) * PLAIN_BYTES


class BytesSource:
    """A ciphertext in memory."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def read(self, offset: int, length: int, /) -> bytes:
        """Return up to `length` bytes from `offset`."""
        return self._data[offset : offset + length]


def encrypt_file(source: int, sink: int, key: DataKey, associated: bytes, *, threads: int) -> int:
    """Encrypt all of file descriptor `source` to `sink`, batches in parallel.

    Every thread reads, encrypts and writes batches of its own with positioned calls and buffers
    that are reused; the cipher releases the GIL.

    Args:
        source: A regular file, open for reading.
        sink: A regular file, empty, open for writing.
        key: Of the version.
        associated: Bound to the stream.
        threads: Number of workers, at least 1.

    Returns:
        Bytes written.
    """
    length = os.fstat(source).st_size
    header, cipher = _new_cipher(key, associated)
    total = ciphertext_length(length)
    os.ftruncate(sink, total)
    os.pwrite(sink, header, 0)
    last = _segment_of(length - 1) if length else 0

    def work(first: int) -> None:
        plain = bytearray(_BATCH * PLAIN_BYTES)
        sealed = bytearray(_BATCH * SEGMENT_BYTES)
        for batch in range(first, last + 1, _BATCH * threads):
            stop = min(batch + _BATCH, last + 1)
            begin, end = _start_of(batch), min(_start_of(stop), length)
            into = memoryview(plain)[: end - begin]
            _read_all(source, into, begin)
            at = done = 0
            for index in range(batch, stop):
                size = min(_start_of(index + 1), length) - _start_of(index)
                done += cipher.encrypt_into(
                    index,
                    into[at : at + size],
                    memoryview(sealed)[done : done + size + TAG_BYTES],
                    last=index == last,
                )
                at += size
            _write_all(
                sink,
                memoryview(sealed)[:done],
                max(batch * SEGMENT_BYTES, HEADER_BYTES),
            )

    _in_parallel(work, threads)
    return total


def decrypt_file(source: int, sink: int, key: DataKey, associated: bytes, *, threads: int) -> int:
    """Decrypt all of file descriptor `source` to `sink`, batches in parallel.

    The output is complete and trusted only when this returns; on an error the caller discards it.

    Raises:
        IntegrityError: A byte is not what was written.
    """
    size = os.fstat(source).st_size
    length = plaintext_length(size)
    cipher = _read_cipher(os.pread(source, HEADER_BYTES, 0), key, associated)
    last = _segment_of(length - 1) if length else 0
    os.ftruncate(sink, length)

    def work(first: int) -> None:
        sealed = bytearray(_BATCH * SEGMENT_BYTES)
        plain = bytearray(_BATCH * PLAIN_BYTES)
        for batch in range(first, last + 1, _BATCH * threads):
            stop = min(batch + _BATCH, last + 1)
            begin = max(batch * SEGMENT_BYTES, HEADER_BYTES)
            end = min(stop * SEGMENT_BYTES, size)
            into = memoryview(sealed)[: end - begin]
            _read_all(source, into, begin)
            at = done = 0
            for index in range(batch, stop):
                held = min((index + 1) * SEGMENT_BYTES, size) - max(
                    index * SEGMENT_BYTES, HEADER_BYTES
                )
                done += cipher.decrypt_into(
                    index,
                    into[at : at + held],
                    memoryview(plain)[done : done + held - TAG_BYTES],
                    last=index == last,
                )
                at += held
            _write_all(sink, memoryview(plain)[:done], _start_of(batch))

    _in_parallel(work, threads)
    return length


def _in_parallel(work: "Work", threads: int) -> None:
    if threads == 1:
        work(0)
        return
    with ThreadPoolExecutor(threads) as pool:
        futures: list[Future[None]] = [
            pool.submit(work, number * _BATCH) for number in range(threads)
        ]
    for future in futures:
        future.result()


class Work(Protocol):
    """One worker's share, beginning at a segment."""

    def __call__(self, first: int, /) -> None:
        """Work."""
        ...


def _read_all(descriptor: int, into: memoryview, offset: int) -> None:
    while into:
        count = os.preadv(descriptor, [into], offset)
        if count == 0:
            raise IntegrityError("the file became shorter", code="crypto.stream-length")
        into = into[count:]
        offset += count


def _write_all(descriptor: int, data: memoryview, offset: int) -> None:
    while data:
        count = os.pwritev(descriptor, [data], offset)
        data = data[count:]
        offset += count
