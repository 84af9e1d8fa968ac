"""The composition root: opens or makes a workspace. Adapters are chosen here and nowhere else.

DATA/          database, objects, tiles: may be copied and backed up
DATA.keys/     0700: key-encryption keys, anchor, owner's credential, certificates: never
               in a backup
"""

import contextlib
import fcntl
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

import msgspec

from vallum.audit import (
    Anchor,
    Courier,
    FileAnchor,
    Log,
    LogKeys,
    Publisher,
    Refusals,
    Tiles,
    open_sink,
)
from vallum.base import (
    Clock,
    ConflictError,
    InputError,
    IntegrityError,
    Secret,
    SystemClock,
    UnavailableError,
    new_id,
    timestamp,
    write_atomic,
)
from vallum.crypto import FileKeyProvider, Keyring, Purpose, WrappedKey, make_certificates
from vallum.identity import Authenticator, Issuers, Throttle, mint, with_secret
from vallum.policy import BUILT_IN_ROLES
from vallum.sandbox import BubblewrapRunner
from vallum.schema import (
    Credential,
    EntryKind,
    Principal,
    PrincipalKind,
    RoleAssignment,
    Workspace,
)
from vallum.store import Database, Objects, Records, open_backend
from vallum.workspace.engines.local import LocalEngine
from vallum.workspace.engines.ray import RayEngine
from vallum.workspace.engines.ray_room import HINT, NEEDED, RayPlace
from vallum.workspace.erasures import Erasures
from vallum.workspace.house import House
from vallum.workspace.intent import settle_all
from vallum.workspace.kernel import Kernel
from vallum.workspace.steps.table import STEPS

SYSTEM_START = "system-start"
SYSTEM_WORKER = "system-worker"
OWNER_ROLES = ("Owner", "Vallum Data Owner")
WORKER_ROLE = "Vallum System"


_ELSEWHERE = "elsewhere.json"
_CLUSTER = re.compile(r"[A-Za-z0-9.-]{1,253}:[0-9]{1,5}")


class _Elsewhere(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Addresses of what is not in the data folder; that of a database may hold a password."""

    database: str = ""
    objects: str = ""


@dataclass(frozen=True, slots=True)
class Places:
    """Where a workspace lives."""

    data: Path
    keys: Path
    database_url: str = field(default="", repr=False)  # empty: SQLite in the data folder
    objects_url: str = ""  # empty: files in the data folder

    @classmethod
    def below(cls, data: Path) -> "Places":
        """Return the places for a data folder: the keys lie beside it, not in it.

        A workspace whose database or objects are elsewhere says so beside its keys.

        Raises:
            IntegrityError: What it says is damaged.
        """
        data = data.resolve()
        keys = data.with_name(data.name + ".keys")
        try:
            said = msgspec.json.decode((keys / _ELSEWHERE).read_bytes(), type=_Elsewhere)
        except FileNotFoundError:
            said = _Elsewhere()
        except (OSError, msgspec.DecodeError) as error:
            raise IntegrityError(f"{_ELSEWHERE} is damaged", code="workspace.file") from error
        return cls(data=data, keys=keys, database_url=said.database, objects_url=said.objects)

    @property
    def owner_key(self) -> Path:
        """Return the owner's credential file."""
        return self.keys / "owner.key"

    @property
    def anchor(self) -> Path:
        """Return the anchor file."""
        return self.keys / "anchor"


def exists(places: Places) -> bool:
    """Tell whether a workspace was made here."""
    return (places.keys / "workspace.json").exists()


class Sealed(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What opens a workspace, beside the keys: never in the data folder."""

    workspace_id: str
    name: str
    wrapped: WrappedKey


def create(
    places: Places,
    *,
    name: str = "main",
    owner: str = "owner",
    passphrase: Secret | None = None,
    clock: Clock | None = None,
) -> None:
    """Make a workspace with its first owner, whose key is written to a 0600 file.

    Raises:
        ConflictError: There is one here already.
        UnavailableError: A folder cannot be written.
    """
    if exists(places):
        raise ConflictError(f"`{places.data}` is a workspace already", code="workspace.exists")
    ours: list[Path] = []
    try:
        _folders(places, ours)
        _fill(places, name, owner, passphrase, SystemClock() if clock is None else clock)
    except BaseException:
        if not exists(places):  # whoever starts again finds what they found before
            for folder in ours:
                shutil.rmtree(folder, ignore_errors=True)
        raise


def _folders(places: Places, ours: list[Path]) -> None:
    try:
        _make(places.data, ours)
        if any(places.data.iterdir()):
            raise ConflictError(
                f"`{places.data}` is not empty",
                code="workspace.folder",
                hint="choose an empty folder, or remove what an interrupted first start left",
            )
        _make(places.keys, ours)
        places.keys.chmod(0o700)
    except OSError as error:
        raise UnavailableError(f"`{places.data}` cannot be made: {error.strerror}") from error


def _fill(places: Places, name: str, owner: str, passphrase: Secret | None, used: Clock) -> None:
    for leftover in places.keys.glob("kek-*.json"):
        leftover.unlink()  # of a first start that never finished: it protects nothing
    if places.database_url or places.objects_url:
        said = _Elsewhere(database=places.database_url, objects=places.objects_url)
        write_atomic(places.keys / _ELSEWHERE, msgspec.json.encode(said))
    provider = FileKeyProvider.create(places.keys, passphrase=passphrase)
    workspace_id = str(new_id("ws"))
    keyring, wrapped = Keyring.create(provider, workspace_id)
    sealed = Sealed(workspace_id=workspace_id, name=name, wrapped=wrapped)
    house = assemble(places, sealed, provider, keyring, used)
    house.database.migrate()
    token = _first_rows(house, name=name, owner=owner)
    write_atomic(places.owner_key, token.reveal() + b"\n")
    house.publisher.checkpoint()
    # Last: without this file there is no workspace, and a first start begins again.
    write_atomic(places.keys / "workspace.json", msgspec.json.encode(sealed))
    house.database.close()


def _make(folder: Path, ours: list[Path]) -> None:
    """Make a folder if there is none; `ours` are those that nobody else had made."""
    try:
        folder.mkdir(parents=True, mode=0o700)
    except FileExistsError:
        if not folder.is_dir():
            raise
    else:
        ours.append(folder)


def _first_rows(house: House, *, name: str, owner: str) -> Secret:
    now = timestamp(house.clock.now())
    user = Principal(id=str(new_id("user")), kind=PrincipalKind.USER, name=owner)
    worker = Principal(id=SYSTEM_WORKER, kind=PrincipalKind.SYSTEM, name="worker")
    key_id = str(new_id("key"))
    token, secret = mint(key_id)
    credential = with_secret(
        Credential(id=key_id, principal_id=user.id, name="owner", secret_hash="", created_at=now),
        key=house.credential_key(),
        secret=secret,
    )
    roles = {role.name: role.id for role in BUILT_IN_ROLES}
    grants = [(user.id, role) for role in OWNER_ROLES] + [(worker.id, WORKER_ROLE)]
    top = house.workspace_id
    with house.log.transaction() as tx:
        permit = house.log.system_permit(
            tx,
            step="workspace.create",
            kind=EntryKind.GENESIS,
            principal_id=SYSTEM_START,
            resources=(top,),
        )
        put = house.records.put
        workspace = Workspace(id=top, name=name, created_at=now)
        changes = [
            put(tx, permit, "workspace", workspace, on=top, name=name),
            put(tx, permit, "principal", user, on=top, parent_id=top, name=owner),
            put(tx, permit, "principal", worker, on=top, parent_id=top, name="system.worker"),
            put(tx, permit, "credential", credential, on=top, parent_id=user.id),
        ]
        for principal_id, role in grants:
            assignment = RoleAssignment(
                id=str(new_id("ra")), role_id=roles[role], principal_id=principal_id, scope=top
            )
            changes.append(put(tx, permit, "role-assignment", assignment, on=top, parent_id=top))
        house.log.seal(tx, permit, changes=changes)
    return token


@contextlib.contextmanager
def opened(
    places: Places, *, passphrase: Secret | None = None, clock: Clock | None = None
) -> Iterator[Kernel]:
    """Open a workspace for as long as the block runs; one process at a time holds it.

    In this order: lock, keys, database, anchors, tables, settlement of what a crash left.

    Raises:
        InputError: There is no workspace here.
        ConflictError: Another process has it open.
        SealedError: The keys do not open.
        IntegrityError: Something is not what was recorded; nothing is used.
    """
    if not exists(places):
        raise InputError(
            f"`{places.data}` holds no workspace", code="workspace.none", hint="vallum up makes one"
        )
    with locked(places.keys / "lock"):
        sealed, provider, keyring = open_keys(places, passphrase=passphrase)
        used = SystemClock() if clock is None else clock
        house = assemble(places, sealed, provider, keyring, used)
        try:
            house.database.migrate()
            house.publisher.check_anchors()
            check_owner(house)
            settle_all(house)
            yield Kernel(house, STEPS)
        finally:
            house.close()


def open_keys(
    places: Places, *, passphrase: Secret | None
) -> tuple[Sealed, FileKeyProvider, Keyring]:
    """Open the keys beside the data folder.

    Raises:
        SealedError: They do not open.
        IntegrityError: They are damaged.
    """
    try:
        data = (places.keys / "workspace.json").read_bytes()
        sealed = msgspec.json.decode(data, type=Sealed)
    except (OSError, msgspec.DecodeError) as error:
        raise IntegrityError("workspace.json is damaged", code="workspace.file") from error
    provider = FileKeyProvider.open(places.keys, passphrase=passphrase)
    return sealed, provider, Keyring.open(provider, sealed.wrapped, sealed.workspace_id)


def anchor_of(places: Places) -> Anchor:
    """Return the anchor beside the keys."""
    return FileAnchor(places.anchor)


def open_courier(
    urls: Sequence[str],
    *,
    every_s: float,
    ca_file: Path | None = None,
    token: Secret | None = None,
    clock: Clock | None = None,
) -> Courier | None:
    """Return what takes checkpoints to `urls`; None where there are none.

    Raises:
        InputError: An address is no sink.
    """
    sinks = [open_sink(url, ca_file=ca_file, token=token) for url in urls]
    used = SystemClock() if clock is None else clock
    return Courier(sinks, every_s=every_s, monotonic=used.monotonic) if sinks else None


def check_ray(place: RayPlace) -> None:
    """Check that there can be a Ray.

    Raises:
        InputError: The address is none.
        UnavailableError: Ray is not installed.
    """
    if place.address and not _CLUSTER.fullmatch(place.address):
        raise InputError("a Ray cluster's address is HOST:PORT", code="up.engine")
    for name in ("ray", *NEEDED):
        if find_spec(name) is None:  # imported where there are no keys only
            raise UnavailableError(
                f"this installation has no Ray Serve: `{name}` is missing",
                code="up.extra",
                hint=HINT,
            )


def choose_engine(house: House, name: str, place: RayPlace) -> None:
    """Choose what scores batches.

    Args:
        house: The open workspace.
        name: `local` or `ray`.
        place: Which Ray; without an address each batch starts one.

    Raises:
        InputError: There is no such engine, or the address is none.
        UnavailableError: Ray is not installed.
    """
    if name == house.local.name:
        return
    if name != RayEngine.name:
        raise InputError(
            f"`{name[:40]}` scores no batches", code="up.engine", hint="`local` or `ray`"
        )
    check_ray(place)
    house.engine = RayEngine(lambda: house.runner, place=place)


def check_owner(house: House) -> None:
    """Refuse a database of another workspace, or one whose newest entry is not its state."""
    with house.database.snapshot() as snapshot:
        house.records.get(snapshot, "workspace", house.workspace_id, Workspace)
        last = house.log.entries(snapshot, limit=1, newest_first=True)
        generation = house.records.authority_generation(snapshot)
        root = house.records.authority_root(snapshot)
    held = [logged.entry for logged in last if logged.entry.authority_root]
    if held and (held[0].generation != generation or held[0].authority_root != root):
        raise IntegrityError(
            "the authority rows are not those that the log ends with", code="store.authority"
        )


def assemble(
    places: Places,
    sealed: Sealed,
    provider: FileKeyProvider,
    keyring: Keyring,
    clock: Clock,
    *,
    anchored: bool = True,
) -> House:
    """Put the parts together; without anchors only for a folder that nobody uses yet."""
    objects = places.data / "objects"
    if not places.objects_url:
        objects.mkdir(mode=0o700, exist_ok=True)
    url = places.database_url or f"sqlite:///{places.data}/vallum.db"
    backend = open_backend(places.objects_url or objects.as_uri())
    database = Database.open(url)
    records = Records(keyring)
    log = Log(
        database, records, LogKeys(keyring), clock=clock, origin=f"vallum/{sealed.workspace_id}"
    )
    tiles = Tiles(places.data / "log")
    anchors = (anchor_of(places),) if anchored else ()

    def reseal(wrapped: WrappedKey) -> None:
        renewed = msgspec.structs.replace(sealed, wrapped=wrapped)
        write_atomic(places.keys / "workspace.json", msgspec.json.encode(renewed))

    house = House(
        folder=places.data,
        workspace_id=sealed.workspace_id,
        name=sealed.name,
        database=database,
        records=records,
        objects=Objects(backend, keyring),
        log=log,
        publisher=Publisher(database, log, tiles, anchors),
        tiles=tiles,
        anchors=anchors,
        refusals=Refusals(log, clock.monotonic),
        keyring=keyring,
        provider=provider,
        authenticator=Authenticator(
            keyring.derive(Purpose.CREDENTIAL),
            Throttle(clock.monotonic),
            Issuers(clock.monotonic),
        ),
        open_runner=BubblewrapRunner.open,
        clock=clock,
        free_bytes=lambda: shutil.disk_usage(places.data).free,
        erasures=Erasures(places.keys / "erased"),
        reseal=reseal,
    )
    house.local = house.engine = LocalEngine(lambda: house.runner)
    return house


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a workspace alone.

    Raises:
        ConflictError: Another process does.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ConflictError(
                "another process has this workspace open",
                code="workspace.locked",
                hint="stop the other `vallum up`, or talk to it over HTTPS",
            ) from error
        yield
    finally:
        os.close(descriptor)


def ensure_certificates(places: Places, hosts: list[str], clock: Clock) -> None:
    """Make the local authority and the server certificate on the first start.

    A certificate for other hosts, or one that expires within 30 days, is made anew.
    """
    wanted = "\n".join(sorted(hosts))
    marker = places.keys / "tls.hosts"
    if marker.exists() and marker.read_text() == wanted and (places.keys / "server.pem").exists():
        return
    made = make_certificates(hosts, now=clock.now())
    write_atomic(places.keys / "ca.pem", made.ca, mode=0o644)
    write_atomic(places.keys / "ca-key.pem", made.ca_key)
    write_atomic(places.keys / "server-key.pem", made.server_key)
    write_atomic(places.keys / "server.pem", made.server)
    write_atomic(marker, wanted.encode())
