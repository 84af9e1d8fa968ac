"""Encrypted, write-once objects. docs/spec/store.md has the names and the bytes.

A part of a version is one ciphertext stream, cut into blocks so that every back-end can create
each block conditionally and memory stays bounded. A back-end sees random-looking names, lengths
and ciphertext. Nothing refers to a part until a row lists it: until then it is staging.
"""

import hashlib
import hmac
import io
import secrets
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from datetime import datetime
from typing import BinaryIO

from obstore.store import ObjectStore

from vallum.base import InputError, IntegrityError, Permit, VallumError
from vallum.crypto import (
    DataKey,
    EncryptingWriter,
    Keyring,
    Purpose,
    StreamReader,
    ciphertext_length,
    mac,
)
from vallum.schema import Part
from vallum.store import backend as raw

BLOCK_BYTES = 16 * 1024 * 1024
"""Bytes of ciphertext in every block of a part but the last, which has 1 to that many."""

_CHUNK_BYTES = 1024 * 1024
_NAME_DOMAIN = b"vallum.object-name/1"
_BLOCK_DOMAIN = b"vallum.object-block/1"
_STREAM_DOMAIN = b"vallum.object/1"
_MAX_PART_CHARS = 1024


class Objects:
    """Holds the key of object names over one back-end."""

    def __init__(self, backend: ObjectStore, keyring: Keyring) -> None:
        self._backend = backend
        self._keyring = keyring
        self._name_key = keyring.derive(Purpose.OBJECT_NAME)

    def write(
        self,
        permit: Permit,
        *,
        version_id: str,
        part: str,
        source: BinaryIO | bytes,
        data_key: DataKey,
        on: str = "",
        personal: bool = True,
    ) -> Part:
        """Encrypt `source` into new objects that nothing refers to yet.

        Args:
            permit: Must name `on`, or the version where `on` is empty.
            version_id: Version that the part will belong to.
            part: Path within the version: relative, `/`-separated.
            source: Content; read to its end.
            data_key: Of that version.
            on: The resource id that was decided on.
            personal: The digest is a commitment keyed with the workspace and the version, so
                that it tells nobody else anything; otherwise plain SHA-256.

        Raises:
            UnavailableError: The back-end is gone or full; what was written is removed again.
            InputError: `part` is not such a path.
        """
        permit.require_valid(on or version_id)
        _check_part(part)
        upload_id = secrets.token_hex(16)
        object_name = self._object_name(version_id, part, upload_id)
        stream = io.BytesIO(source) if isinstance(source, bytes) else source
        total = self._digest(version_id, personal=personal)
        length = 0
        sink = _Blocks(self._backend, lambda index: self._block_name(object_name, index))
        try:
            writer = EncryptingWriter(sink, data_key, _associated(version_id, part, upload_id))
            while chunk := stream.read(_CHUNK_BYTES):
                total.update(chunk)
                length += len(chunk)
                writer.write(chunk)
            writer.close()
            sink.finish()
        except BaseException:
            sink.undo()
            raise
        kind = "hmac-sha256" if personal else "sha256"
        return Part(
            part=part,
            upload_id=upload_id,
            length=length,
            digest=f"{kind}:{total.hexdigest()}",
            object_name=object_name,
        )

    def open(
        self, permit: Permit, *, version_id: str, part: Part, data_key: DataKey, on: str = ""
    ) -> StreamReader:
        """Open a part for reading at random; every byte is authenticated before it is returned.

        Raises:
            IntegrityError: Here or when reading: it is not the part of that version that was
                written, whole and in order.
            UnavailableError: The back-end is gone.
        """
        permit.require_valid(on or version_id)
        expected = self._object_name(version_id, part.part, part.upload_id)
        if not hmac.compare_digest(expected.encode(), part.object_name.encode()):
            raise IntegrityError(
                f"part `{part.part}` is not of version `{version_id}`", code="store.part"
            )
        size = ciphertext_length(part.length)
        source = _Source(
            self._backend, lambda index: self._block_name(part.object_name, index), size
        )
        associated = _associated(version_id, part.part, part.upload_id)
        return StreamReader(source, data_key, associated, size)

    def verify(
        self, permit: Permit, *, version_id: str, part: Part, data_key: DataKey, on: str = ""
    ) -> None:
        """Read a part to its end and compare its digest.

        Raises:
            IntegrityError: It is not what was written.
        """
        reader = self.open(permit, version_id=version_id, part=part, data_key=data_key, on=on)
        total = self._digest(version_id, personal=part.digest.startswith("hmac-"))
        for chunk in chunks(reader):
            total.update(chunk)
        if not hmac.compare_digest(total.hexdigest(), part.digest.partition(":")[2]):
            raise IntegrityError(
                f"part `{part.part}` has not the digest that was recorded", code="store.digest"
            )

    def look(self, part: Part) -> tuple[object, ...]:
        """Return what tells that a part's objects were touched: not their content.

        Raises:
            UnavailableError: The back-end is gone.
        """
        return tuple(raw.look(self._backend, name) for name in self._names(part))

    def discard(self, part: Part) -> None:
        """Remove the objects of a part that no row lists, or lists no more; safe to repeat.

        Needs no permit: it undoes a write that never became visible, or follows a committed
        change that was permitted, and makes nothing readable.

        Raises:
            UnavailableError: The back-end is gone; `sweep` gets what is left.
        """
        for name in self._names(part):
            raw.remove(self._backend, name)

    def sweep(
        self, permit: Permit, known: Iterable[Part], *, on: str, before: datetime
    ) -> tuple[str, ...]:
        """Remove every object that no part of `known` has, and return their names.

        Args:
            permit: Must name `on`.
            known: The parts of every row that lists some.
            on: The workspace.
            before: Younger objects stay: they may be uploads under way.
        """
        permit.require_valid(on)
        wanted = {name for part in known for name in self._names(part)}
        orphans = tuple(
            name
            for name, changed in raw.names(self._backend)
            if name not in wanted and changed < before
        )
        for name in orphans:
            raw.remove(self._backend, name)
        return orphans

    def missing(self, known: Iterable[Part]) -> tuple[Part, ...]:
        """Return the parts of which an object is not there: a look at names, not at content."""
        found = {name for name, _ in raw.names(self._backend)}
        return tuple(part for part in known if not found.issuperset(self._names(part)))

    def _names(self, part: Part) -> Iterator[str]:
        for index in range(-(-ciphertext_length(part.length) // BLOCK_BYTES)):
            yield self._block_name(part.object_name, index)

    def _object_name(self, version_id: str, part: str, upload_id: str) -> str:
        return mac(
            self._name_key, _NAME_DOMAIN, version_id.encode(), part.encode(), upload_id.encode()
        ).hex()

    def _block_name(self, object_name: str, index: int) -> str:
        name = mac(
            self._name_key, _BLOCK_DOMAIN, object_name.encode(), index.to_bytes(8, "big")
        ).hex()
        return f"{name[:2]}/{name[2:]}"

    def _digest(self, version_id: str, *, personal: bool) -> "hmac.HMAC | hashlib._Hash":
        if not personal:
            return hashlib.sha256()
        key = self._keyring.derive(Purpose.COMMITMENT, info=version_id.encode())
        return hmac.new(key.reveal(), digestmod="sha256")


def chunks(reader: StreamReader) -> Iterator[bytes]:
    """Yield the whole content of a part in order; that it is empty is authenticated too."""
    offset = 0
    if reader.size == 0:
        reader.read(0, 0)
    while offset < reader.size:
        data = reader.read(offset, min(_CHUNK_BYTES, reader.size - offset))
        offset += len(data)
        yield data


class _Blocks:
    """Cuts what is written into blocks; keeps which are there, to undo them."""

    def __init__(self, backend: ObjectStore, name_of: Callable[[int], str]) -> None:
        self._backend = backend
        self._name_of = name_of
        self._pending = bytearray()
        self._count = 0

    def write(self, data: bytes | bytearray | memoryview, /) -> int:
        self._pending += data
        while len(self._pending) >= BLOCK_BYTES:
            self._create(memoryview(self._pending)[:BLOCK_BYTES].tobytes())
            del self._pending[:BLOCK_BYTES]
        return len(data)

    def finish(self) -> None:
        if self._pending:
            self._create(bytes(self._pending))
            self._pending.clear()

    def undo(self) -> None:
        # One more than is known: its creation may have failed after it took place.
        for index in range(self._count + 1):
            with suppress(VallumError):  # `sweep` removes what stays
                raw.remove(self._backend, self._name_of(index))

    def _create(self, block: bytes) -> None:
        raw.create(self._backend, self._name_of(self._count), block)
        self._count += 1


class _Source:
    """The blocks of a part as one ciphertext that is read at random."""

    def __init__(self, backend: ObjectStore, name_of: Callable[[int], str], size: int) -> None:
        self._backend = backend
        self._name_of = name_of
        self._size = size

    def read(self, offset: int, length: int, /) -> bytes:
        end = min(offset + length, self._size)
        pieces = []
        while offset < end:
            index, start = divmod(offset, BLOCK_BYTES)
            size = min(BLOCK_BYTES, self._size - index * BLOCK_BYTES)
            take = min(end - offset, size - start)
            pieces.append(raw.read(self._backend, self._name_of(index), start, take, size=size))
            offset += take
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def _associated(version_id: str, part: str, upload_id: str) -> bytes:
    fields = (_STREAM_DOMAIN, version_id.encode(), part.encode(), upload_id.encode())
    return b"".join(len(field).to_bytes(8, "big") + field for field in fields)


def _check_part(part: str) -> None:
    pieces = part.split("/")
    if (
        len(part) > _MAX_PART_CHARS
        or any(piece in {"", ".", ".."} for piece in pieces)
        or any(char in part for char in "\0\\")
    ):
        raise InputError(
            "a part must be a relative path of 1 to 1024 characters", code="store.part-name"
        )
