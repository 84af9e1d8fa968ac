"""Object back-ends behind obstore: create once, read exactly, remove, list. None is trusted."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, cast
from urllib.parse import unquote, urlsplit

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError
from obstore.store import LocalStore, MemoryStore, ObjectStore, from_url

from vallum.base import ConflictError, InputError, IntegrityError, UnavailableError, sync_folder

_REMOTE = frozenset({"s3", "az", "gs"})
_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


def open_backend(url: str, *, settings: Mapping[str, str] | None = None) -> ObjectStore:
    """Open `file:///folder`, `memory://`, `s3://bucket/prefix`, `az://container/prefix` or `gs://`.

    Args:
        url: Where the objects are; holds no credential.
        settings: obstore's configuration of that service: endpoint, region, credentials.

    Raises:
        InputError: Another scheme, a relative folder, an unknown setting, or an unencrypted
            endpoint beyond this machine.
        UnavailableError: The folder cannot be made.
    """
    try:
        parsed = urlsplit(url)
    except ValueError as error:
        raise InputError("the object address is malformed", code="store.url") from error
    if parsed.scheme == "memory":
        return MemoryStore()
    if parsed.scheme == "file":
        folder = Path(unquote(parsed.path))
        if parsed.netloc or not folder.is_absolute():
            raise InputError("the object folder must be an absolute path", code="store.url")
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            return LocalStore(folder)
        except (OSError, BaseError) as error:
            raise UnavailableError(
                f"the object folder `{folder}` cannot be opened", code="store.backend"
            ) from error
    if parsed.scheme not in _REMOTE or not parsed.netloc:
        raise InputError(
            f"`{parsed.scheme}` is not an object store that can be used",
            code="store.url",
            hint="use `file:///folder`, `s3://bucket/prefix`, `az://container/prefix` or `gs://…`",
        )
    config = dict(settings or {})
    plain = [
        urlsplit(value).hostname or ""
        for key, value in config.items()
        if key.lower().endswith("endpoint") and value.startswith("http://")
    ]
    if any(host not in _LOOPBACK for host in plain):
        raise InputError(
            "the object endpoint is not encrypted", code="store.url", hint="use `https://`"
        )
    try:
        return from_url(
            url,
            # obstore types each service's settings apart; it refuses unknown ones itself.
            config=cast("Any", config),
            client_options={
                "allow_http": bool(plain),
                "connect_timeout": timedelta(seconds=5),
                "timeout": timedelta(seconds=60),
            },
            retry_config={"max_retries": 3, "retry_timeout": timedelta(seconds=20)},
        )
    except (BaseError, ValueError, TypeError) as error:
        raise InputError("the settings of the object store are not usable", code="store.url") from (
            error
        )


def create(backend: ObjectStore, name: str, data: bytes | bytearray | memoryview) -> None:
    """Write a new object durably; never replace one.

    Raises:
        ConflictError: There is one of that name with other content.
        UnavailableError: The back-end is gone or full.
    """
    try:
        with _translated(backend):
            obstore.put(backend, name, bytes(data), mode="create", use_multipart=False)
    except AlreadyExistsError as error:
        # Names are random: this is our own request, repeated because its reply was lost.
        if read(backend, name, 0, len(data), size=len(data)) != bytes(data):
            raise ConflictError("an object of that name exists", code="store.exists") from error
    if isinstance(backend, LocalStore):
        _sync(Path(str(backend.prefix)), name)


def read(backend: ObjectStore, name: str, offset: int, length: int, *, size: int) -> bytes:
    """Read `length` > 0 bytes of an object that must be `size` bytes long.

    Raises:
        IntegrityError: The object is missing, shorter or longer.
        UnavailableError: The back-end is gone.
    """
    try:
        with _translated(backend):
            result = obstore.get(backend, name, options={"range": (offset, offset + length)})
            found = result.meta["size"]
            data = bytes(result.bytes()) if found == size else b""
    except FileNotFoundError as error:
        raise IntegrityError("an object is missing", code="store.object-missing") from error
    except UnavailableError:
        # A range beyond the end is an error of the back-end: see whether it was that.
        if _size(backend, name) == size:
            raise
        data, found = b"", -1
    if found != size or len(data) != length:
        raise IntegrityError(
            "an object has not the length that was written", code="store.object-length"
        )
    return data


def remove(backend: ObjectStore, name: str) -> None:
    """Remove an object; it may be gone already.

    Raises:
        UnavailableError: The back-end is gone.
    """
    try:
        with _translated(backend):
            obstore.delete(backend, name)
    except FileNotFoundError:
        return


def names(backend: ObjectStore) -> Iterator[tuple[str, datetime]]:
    """Yield the name and the time of last change of every object.

    Raises:
        UnavailableError: The back-end is gone.
    """
    with _translated(backend):
        for page in obstore.list(backend, chunk_size=1000):
            for entry in page:
                yield entry["path"], entry["last_modified"]


def look(backend: ObjectStore, name: str) -> tuple[object, ...] | None:
    """Return an object's length, time of last change and tag; None if it is gone.

    Of a local file also when its inode last changed: that time nobody can set back.

    Raises:
        UnavailableError: The back-end is gone.
    """
    if isinstance(backend, LocalStore):
        folder = str(backend.prefix)
        try:
            found = os.lstat(f"{folder}/{name}")
        except FileNotFoundError:
            if not Path(folder).is_dir():
                raise UnavailableError(
                    "the object back-end is not there", code="store.backend"
                ) from None
            return None
        except OSError as error:
            raise UnavailableError(
                "the object back-end is not available", code="store.backend"
            ) from error
        return found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino
    try:
        with _translated(backend):
            head = obstore.head(backend, name)
    except FileNotFoundError:
        return None
    return head["size"], head["last_modified"], head["e_tag"] or ""


def _size(backend: ObjectStore, name: str) -> int | None:
    try:
        with _translated(backend):
            return obstore.head(backend, name)["size"]
    except FileNotFoundError:
        return None


def _sync(folder: Path, name: str) -> None:
    """Make a local object durable: obstore leaves that to the operating system."""
    path = folder / name
    try:
        path.chmod(0o600)
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        sync_folder(path.parent)
        sync_folder(folder)
    except OSError as error:
        raise UnavailableError("an object was not made durable", code="store.backend") from error


@contextmanager
def _translated(backend: ObjectStore) -> Iterator[None]:
    try:
        yield
    except AlreadyExistsError:
        raise
    except FileNotFoundError as error:
        if _container_gone(backend, str(error)):
            raise UnavailableError(
                "the object back-end is not there", code="store.backend"
            ) from error
        raise
    except (BaseError, OSError, ValueError) as error:
        if "No space left" in str(error) or "os error 28" in str(error):
            raise UnavailableError(
                "the disk is full; nothing was written",
                code="store.disk-full",
                hint="free some space",
            ) from error
        raise UnavailableError(
            "the object back-end is not available", code="store.backend"
        ) from error


def _container_gone(backend: ObjectStore, message: str) -> bool:
    if isinstance(backend, LocalStore):
        return not Path(str(backend.prefix)).is_dir()
    return "NoSuchBucket" in message or "ContainerNotFound" in message
