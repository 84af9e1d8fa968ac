# ruff: noqa: S603 - starts real servers of fixed paths, with throw-away credentials
"""Databases, back-ends and keys for tests: real ones, thrown away afterwards.

Use from a conftest: `from fixtures_store import *`.
"""

import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from obstore.store import ObjectStore

from vallum.base import Permit
from vallum.crypto import FileKeyProvider, Keyring
from vallum.store import Database, Objects, Records, open_backend

__all__ = [
    "azurite",
    "backend",
    "database",
    "database_url",
    "keyring",
    "make_permit",
    "objects",
    "postgresql",
    "records",
    "s3",
]

# A key and account that Microsoft publishes for the emulator; it opens nothing else.
AZURITE_ACCOUNT = "devstoreaccount1"
AZURITE_KEY = (
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
)


def make_permit(*resources: str) -> Permit:
    """Return leave for anything on `resources`, as `audit` would mint it."""
    return Permit(
        request_digest="sha256:" + "0" * 64,
        entry_id="ent-test",
        principal_id="user-test",
        grants=[("test/act", resource) for resource in resources],
        lifetime_s=3600.0,
        monotonic=time.monotonic,
    )


@pytest.fixture(scope="session")
def keyring(tmp_path_factory: pytest.TempPathFactory) -> Keyring:
    folder = tmp_path_factory.mktemp("keys") / "keys"
    return Keyring.create(FileKeyProvider.create(folder), "ws-test")[0]


class PostgreSQL:
    """A server of its own behind a socket in its own folder; calls make fresh databases."""

    def __init__(self, binaries: Path, folder: Path) -> None:
        self._binaries = binaries
        self._folder = folder
        self._user = "postgres" if os.geteuid() == 0 else None
        self._port = secrets.randbelow(20_000) + 20_000
        if self._user:
            shutil.chown(folder, self._user, self._user)
        self._call("initdb", "-D", str(folder / "data"), "-U", "vallum", "-A", "trust", "-E",
                   "UTF8", "--no-sync")  # fmt: skip
        self.start()

    def __call__(self) -> str:
        name = f"vallum_{secrets.token_hex(6)}"
        self._call("createdb", "-h", str(self._folder), "-p", str(self._port), "-U", "vallum", name)
        return f"postgresql+psycopg://vallum@/{name}?host={self._folder}&port={self._port}"

    def start(self) -> None:
        self._server = subprocess.Popen(
            [
                str(self._binaries / "postgres"), "-D", str(self._folder / "data"), "-k",
                str(self._folder), "-p", str(self._port), "-c", "listen_addresses=",
            ],
            user=self._user, cwd=self._folder, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )  # fmt: skip
        for _ in range(300):
            ready = subprocess.run(
                [
                    str(self._binaries / "pg_isready"), "-q", "-h", str(self._folder), "-p",
                    str(self._port),
                ],
                check=False,
            )  # fmt: skip
            if ready.returncode == 0:
                return
            time.sleep(0.1)

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """Stop it: SIGINT is fast, since a test of death leaves connections behind."""
        self._server.send_signal(how)
        self._server.wait(30)

    def _call(self, program: str, *arguments: str) -> None:
        subprocess.run(
            [str(self._binaries / program), *arguments],
            check=True, user=self._user, cwd=self._folder, stdout=subprocess.DEVNULL, timeout=120,
        )  # fmt: skip


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgreSQL]:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
    if not found:
        pytest.skip("PostgreSQL is not installed: apt-get install postgresql")
    folder = Path(tempfile.mkdtemp(prefix="vallum-pg-", dir="/tmp"))
    server = PostgreSQL(found[-1].parent, folder)
    try:
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/vallum.db"
    url: str = request.getfixturevalue("postgresql")()
    return url


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """A migrated, empty database of each kind."""
    opened = Database.open(database_url)
    opened.migrate()
    yield opened
    opened.close()


@pytest.fixture
def records(keyring: Keyring) -> Records:
    return Records(keyring)


@pytest.fixture(scope="session")
def s3() -> Iterator[Callable[[], ObjectStore]]:
    """moto's server in a thread; calls make fresh buckets."""
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    endpoint = f"http://{host}:{port}"
    settings = {
        "endpoint": endpoint,
        "region": "us-east-1",
        "access_key_id": "test",
        "secret_access_key": "test",
    }

    def fresh() -> ObjectStore:
        bucket = f"vallum-{secrets.token_hex(6)}"
        client = boto3.client(
            "s3", endpoint_url=endpoint, region_name="us-east-1",
            aws_access_key_id="test", aws_secret_access_key="test",
        )  # fmt: skip
        client.create_bucket(Bucket=bucket)
        client.close()
        return open_backend(f"s3://{bucket}/objects", settings=settings)

    yield fresh
    server.stop()


@pytest.fixture(scope="session")
def azurite() -> Iterator[Callable[[], ObjectStore]]:
    """Azurite as a process; calls make fresh containers."""
    root = Path(os.environ.get("VALLUM_TEST_NODE_MODULES", Path(__file__).parent / "node_modules"))
    script = root / "azurite" / "dist" / "src" / "blob" / "main.js"
    node = shutil.which("node")
    if node is None or not script.exists():
        pytest.skip("Azurite is not installed: npm install --prefix tests --no-save azurite")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = subprocess.Popen(
        [
            node, str(script), "--blobHost", "127.0.0.1", "--blobPort", str(port),
            "--inMemoryPersistence", "--skipApiVersionCheck", "--silent", "--disableTelemetry",
        ],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        for _ in range(300):
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                time.sleep(0.1)
        endpoint = f"http://127.0.0.1:{port}/{AZURITE_ACCOUNT}"

        def fresh() -> ObjectStore:
            container = f"vallum-{secrets.token_hex(6)}"
            _make_container(endpoint, container)
            return open_backend(
                f"az://{container}/objects",
                settings={
                    "account_name": AZURITE_ACCOUNT,
                    "account_key": AZURITE_KEY,
                    "endpoint": endpoint,
                },
            )

        yield fresh
    finally:
        server.terminate()
        server.wait(30)


def _make_container(endpoint: str, container: str) -> None:
    """Create a container with a Shared Key request: obstore has no call for it."""
    import base64
    import hashlib
    import hmac
    from email.utils import formatdate

    import httpx

    date = formatdate(usegmt=True)
    path = f"/{AZURITE_ACCOUNT}/{container}"
    signed = (
        "PUT" + "\n" * 12 + f"x-ms-date:{date}\nx-ms-version:2021-08-06\n"
        f"/{AZURITE_ACCOUNT}{path}\nrestype:container"
    )
    tag = hmac.digest(base64.b64decode(AZURITE_KEY), signed.encode(), hashlib.sha256)
    reply = httpx.put(
        f"{endpoint}/{container}?restype=container",
        headers={
            "x-ms-date": date,
            "x-ms-version": "2021-08-06",
            "Authorization": f"SharedKey {AZURITE_ACCOUNT}:{base64.b64encode(tag).decode()}",
        },
    )
    reply.raise_for_status()


@pytest.fixture(params=["file", "memory", "s3", "azure"])
def backend(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectStore:
    """An empty back-end of each kind."""
    if request.param == "file":
        return open_backend(f"file://{tmp_path}/objects")
    if request.param == "memory":
        return open_backend("memory://")
    made: ObjectStore = request.getfixturevalue({"s3": "s3", "azure": "azurite"}[request.param])()
    return made


@pytest.fixture
def objects(backend: ObjectStore, keyring: Keyring) -> Objects:
    return Objects(backend, keyring)
