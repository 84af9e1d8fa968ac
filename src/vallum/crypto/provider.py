"""Where the key-encryption key lives: the port, and the provider that keeps it in a folder.

The folder (0700) holds one file (0600) a generation, and one with the secrets of what can be
erased; it lies outside the data folder and no backup includes it. With a passphrase each file is
sealed under a key from Argon2id (RFC 9106, second recommended option: 64 MiB, 3 passes, 4 lanes).
"""

import base64
import binascii
import os
import re
import secrets
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

import msgspec
from argon2.low_level import Type, hash_secret_raw
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from vallum.base import (
    InputError,
    IntegrityError,
    SealedError,
    Secret,
    UnavailableError,
    new_id,
    write_atomic,
)
from vallum.crypto import purposes
from vallum.crypto.shred import ShredSecrets
from vallum.crypto.small import KEY_BYTES, derive, seal, unseal
from vallum.schema import Record

_FILE = re.compile(r"kek-([1-9][0-9]{0,8})\.json")
SHREDS = "shreds"
_MAX_FILE_BYTES = 4096
_ARGON = {"time_cost": 3, "memory_cost": 65_536, "parallelism": 4}  # KiB; RFC 9106, section 4


class WrappedKey(Record, frozen=True):
    """A key under a key-encryption key, bound to its context. Safe to store."""

    provider_id: str
    generation: int
    ciphertext: str  # base64


class KeyProvider(Protocol):
    """Wraps keys; the key-encryption key never leaves it."""

    @property
    def id(self) -> str:
        """Return the provider's random id."""
        ...

    @property
    def generation(self) -> int:
        """Return the newest generation of its key."""
        ...

    def wrap(self, key: Secret, *, context: bytes) -> WrappedKey:
        """Wrap `key` under the newest generation, bound to `context`."""
        ...

    def unwrap(self, wrapped: WrappedKey, *, context: bytes) -> Secret:
        """Unwrap.

        Raises:
            SealedError: That generation is not (or no longer) here.
            IntegrityError: It was not wrapped here with that context.
        """
        ...

    def rotate(self) -> int:
        """Make a new generation and return its number; older ones still unwrap."""
        ...

    def destroy_older(self) -> None:
        """Destroy every generation but the newest: what they still wrap is lost for ever."""
        ...

    def shred_secret(self, subject_id: str) -> Secret:
        """Return the secret that a subject's data key is sealed with besides.

        Raises:
            SealedError: It was erased.
        """
        ...

    def erase(self, subject_ids: Iterable[str]) -> None:
        """Destroy the secrets of subjects, durably: no older wrap of their keys opens any more.

        Raises:
            UnavailableError: Where they are kept cannot be written; they are as before.
        """
        ...


class _KeyFile(Record, frozen=True):
    version: int
    provider_id: str
    generation: int
    salt: str  # of Argon2id; empty: the key lies open in this 0600 file
    key: str  # base64; sealed if there is a salt


class FileKeyProvider:
    """Key-encryption keys in a folder; holds them in memory while open."""

    def __init__(
        self, folder: Path, provider_id: str, keys: dict[int, Secret], passphrase: Secret | None
    ) -> None:
        self._folder = folder
        self._id = provider_id
        self._keys = keys
        self._passphrase = passphrase
        self._shreds: ShredSecrets | None = None
        self._lock = threading.RLock()  # over the file of secrets and what decides its key

    @classmethod
    def create(cls, folder: Path, *, passphrase: Secret | None = None) -> "FileKeyProvider":
        """Make the folder and the first generation.

        Raises:
            InputError: The folder holds keys already.
        """
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.chmod(0o700)
        if any(_FILE.fullmatch(path.name) for path in folder.iterdir()):
            raise InputError(f"`{folder}` holds keys already", code="crypto.key-folder")
        provider = cls(folder, str(new_id("kek")), {}, passphrase)
        provider.rotate()
        provider._write_shreds(ShredSecrets.draw())
        return provider

    @classmethod
    def open(cls, folder: Path, *, passphrase: Secret | None = None) -> "FileKeyProvider":
        """Read every generation.

        Raises:
            SealedError: No keys, a lax file mode, a wrong or missing passphrase.
        """
        try:
            if folder.stat().st_mode & 0o077:
                raise SealedError(
                    f"others may enter the key folder `{folder}`",
                    code="crypto.key-mode",
                    hint=f"chmod 700 {folder}",
                )
            paths = [path for path in folder.iterdir() if _FILE.fullmatch(path.name)]
        except OSError as error:
            raise SealedError(f"the key folder `{folder}` cannot be read") from error
        files = [_read(path) for path in paths]
        if not files or len({file.provider_id for file in files}) != 1:
            raise SealedError(f"the key folder `{folder}` holds no usable key")
        keys = {file.generation: _open_key(file, passphrase) for file in files}
        provider = cls(folder, files[0].provider_id, keys, passphrase)
        provider._shreds = provider._read_shreds()
        return provider

    @property
    def id(self) -> str:
        """Return the provider's random id."""
        return self._id

    @property
    def generation(self) -> int:
        """Return the newest generation."""
        return max(self._keys)

    def wrap(self, key: Secret, *, context: bytes) -> WrappedKey:
        """Wrap `key` under the newest generation, bound to `context`."""
        generation = self.generation
        nonce = secrets.token_bytes(12)  # under a key derived for this wrap: never repeats
        salt = secrets.token_bytes(32)
        wrapping = derive(self._keys[generation], purposes.WRAP_KEY, salt=salt)
        body = AESGCM(wrapping.reveal()).encrypt(
            nonce, key.reveal(), self._bound(generation, context)
        )
        return WrappedKey(
            provider_id=self._id,
            generation=generation,
            ciphertext=base64.b64encode(salt + nonce + body).decode(),
        )

    def unwrap(self, wrapped: WrappedKey, *, context: bytes) -> Secret:
        """Unwrap a key; see the port."""
        if wrapped.provider_id != self._id:
            raise SealedError("the key was wrapped by another provider", code="crypto.provider")
        kek = self._keys.get(wrapped.generation)
        if kek is None:
            raise SealedError(
                f"generation {wrapped.generation} of the key was destroyed",
                code="crypto.generation",
            )
        try:
            data = base64.b64decode(wrapped.ciphertext, validate=True)
            wrapping = derive(kek, purposes.WRAP_KEY, salt=data[:32])
            return Secret(
                AESGCM(wrapping.reveal()).decrypt(
                    data[32:44], data[44:], self._bound(wrapped.generation, context)
                )
            )
        except (InvalidTag, ValueError, binascii.Error) as error:
            raise IntegrityError("a wrapped key cannot be opened", code="crypto.wrap") from error

    def rotate(self) -> int:
        """Make a new generation, durable before it is used, and return its number."""
        with self._lock:
            return self._rotate()

    def _rotate(self) -> int:
        generation = max(self._keys, default=0) + 1
        key = Secret(secrets.token_bytes(KEY_BYTES))
        salt = b"" if self._passphrase is None else secrets.token_bytes(16)
        held = (
            key.reveal()
            if self._passphrase is None
            else seal(_stretch(self._passphrase, salt), key.reveal(), self._id.encode())
        )
        file = _KeyFile(
            version=1,
            provider_id=self._id,
            generation=generation,
            salt=base64.b64encode(salt).decode(),
            key=base64.b64encode(held).decode(),
        )
        write_atomic(self._folder / f"kek-{generation}.json", msgspec.json.encode(file))
        self._keys = {**self._keys, generation: key}
        if self._shreds is not None:
            self._write_shreds(self._shreds)
        return generation

    def destroy(self, generation: int) -> None:
        """Destroy an old generation: what is still wrapped under it is lost for ever.

        Raises:
            InputError: It is the newest, or not there.
        """
        with self._lock:
            if generation not in self._keys or generation == self.generation:
                raise InputError(f"generation {generation} cannot be destroyed")
            if self._shreds is not None:  # a crash may have left them under that one
                self._write_shreds(self._shreds)
            (self._folder / f"kek-{generation}.json").unlink(missing_ok=True)
            self._keys = {one: key for one, key in self._keys.items() if one != generation}

    def destroy_older(self) -> None:
        """Destroy every generation but the newest; see the port."""
        for generation in sorted(self._keys):
            if generation != self.generation:
                self.destroy(generation)

    def shred_secret(self, subject_id: str) -> Secret:
        """Return a subject's own secret; see the port."""
        with self._lock:
            if self._shreds is None:  # made before there were any
                self._write_shreds(ShredSecrets.draw())
            return self._left().secret(subject_id)

    def erase(self, subject_ids: Iterable[str]) -> None:
        """Destroy the secrets of subjects; see the port."""
        with self._lock:
            if self._shreds is None:
                self._write_shreds(ShredSecrets.draw())
            self._write_shreds(self._left().without(subject_ids))

    def _left(self) -> ShredSecrets:
        if self._shreds is None:
            raise SealedError("there are no shred secrets")
        return self._shreds

    def _write_shreds(self, shreds: ShredSecrets) -> None:
        """Replace the file, sealed under the newest generation, and then what is in memory."""
        generation = self.generation
        key = derive(self._keys[generation], purposes.SHRED)
        body = seal(key, shreds.dump(), self._bound(generation, purposes.SHRED))
        try:
            write_atomic(self._folder / SHREDS, generation.to_bytes(4, "big") + body)
        except OSError as error:
            raise UnavailableError(
                f"the key folder `{self._folder}` cannot be written: {error.strerror}",
                hint="is its disk full, or mounted to be read only?",
            ) from error
        self._shreds = shreds

    def _read_shreds(self) -> ShredSecrets | None:
        path = self._folder / SHREDS
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise SealedError(f"the key file `{path}` cannot be read") from error
        generation = int.from_bytes(data[:4], "big")
        kek = self._keys.get(generation)
        if kek is None:
            raise SealedError(
                f"generation {generation} of the key was destroyed", code="crypto.generation"
            )
        opened = unseal(
            derive(kek, purposes.SHRED), data[4:], self._bound(generation, purposes.SHRED)
        )
        return ShredSecrets.load(opened)

    def _bound(self, generation: int, context: bytes) -> bytes:
        return self._id.encode() + b"\x00" + generation.to_bytes(4, "big") + context

    def __repr__(self) -> str:
        return f"<file key provider {self._id}>"


def _read(path: Path) -> _KeyFile:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
        with os.fdopen(descriptor, "rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            data = file.read(_MAX_FILE_BYTES)
    except OSError as error:
        raise SealedError(f"the key file `{path}` cannot be read") from error
    if mode & 0o077:
        raise SealedError(
            f"others may read the key file `{path}`",
            code="crypto.key-mode",
            hint=f"chmod 600 {path}",
        )
    try:
        return msgspec.json.decode(data, type=_KeyFile)
    except msgspec.DecodeError as error:
        raise SealedError(f"the key file `{path}` is damaged") from error


def _open_key(file: _KeyFile, passphrase: Secret | None) -> Secret:
    salt = base64.b64decode(file.salt)
    held = base64.b64decode(file.key)
    if not salt:
        return Secret(held)
    if passphrase is None:
        raise SealedError(
            "the keys need a passphrase",
            code="crypto.passphrase",
            hint="set VALLUM_PASSPHRASE_FILE, or type it when asked",
        )
    try:
        return Secret(unseal(_stretch(passphrase, salt), held, file.provider_id.encode()))
    except IntegrityError as error:
        raise SealedError("the passphrase does not open the keys", code="crypto.passphrase") from (
            error
        )


def _stretch(passphrase: Secret, salt: bytes) -> Secret:
    return Secret(
        hash_secret_raw(passphrase.reveal(), salt, hash_len=KEY_BYTES, type=Type.ID, **_ARGON)
    )
