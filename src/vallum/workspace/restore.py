"""Restoring a backup: everything is checked in a folder beside the data, then one rename.

What must hold, each numbered in the code:
1. nobody has the workspace open, and the data folder is empty or missing;
2. the archive is plain files with the names that a backup has, within bounds;
3. it is of this workspace: the keys beside the data folder open it and its checkpoint is signed;
4. log, rows and objects are what the log says;
5. the log holds what the anchor saw, or the rollback is accepted: by an owner's credential, with a
   reason, and a second person's where there is one.

An accepted rollback revokes every credential, erases again what was erased since, marks every
privacy budget as spent, and leaves an entry that names what was given up.
"""

import hashlib
import mmap
import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import msgspec

from vallum.audit import Anchor, Checkpoint, verify_checkpoint
from vallum.base import (
    Clock,
    ConflictError,
    InputError,
    IntegrityError,
    Secret,
    SystemClock,
    UnavailableError,
    write_atomic,
)
from vallum.base.bounds import GIB, ArchiveBounds
from vallum.formats import TarArchive
from vallum.schema import Record, api
from vallum.workspace.backup import FORMAT
from vallum.workspace.bootstrap import (
    Places,
    anchor_of,
    assemble,
    check_owner,
    locked,
    open_keys,
)
from vallum.workspace.house import House
from vallum.workspace.kernel import Kernel
from vallum.workspace.steps.rollback import AcceptRollback
from vallum.workspace.steps.table import STEPS
from vallum.workspace.views.verification import verify_everything

_BOUNDS = ArchiveBounds(
    max_bytes=64 * 1024 * GIB,
    max_entries=100_000_000,
    max_member_bytes=16 * 1024 * GIB,
    max_total_bytes=64 * 1024 * GIB,
)
_MANIFEST_BYTES = 64 * 1024
_SOURCE = "local"


class _Manifest(Record, frozen=True):
    format: str
    workspace_id: str
    checkpoint: str
    database: str  # digest


@dataclass(frozen=True, slots=True)
class Acceptance:
    """Who accepts that history is given up, and why."""

    reason: str
    owner: Secret
    second: Secret | None = None


@dataclass(frozen=True, slots=True)
class Restored:
    """What a restore did, or would do.

    Attributes:
        entries: Length of the restored log.
        anchored: Length of the log that the anchor had seen; more means a rollback.
        rows: Rows that were checked.
        objects: Objects that were checked.
        owner_key: File with the new owner's key after a rollback; None otherwise.
    """

    entries: int
    anchored: int
    rows: int
    objects: int
    owner_key: Path | None = None

    @property
    def rollback(self) -> bool:
        """Return whether entries that were anchored are given up."""
        return self.anchored > self.entries


def restore(
    archive: Path,
    places: Places,
    *,
    acceptance: Acceptance | None = None,
    passphrase: Secret | None = None,
    dry_run: bool = False,
    clock: Clock | None = None,
    progress: Callable[[str], None] = lambda what: None,  # noqa: ARG005 - nobody watches
) -> Restored:
    """Restore a backup into an empty data folder.

    Args:
        archive: What `workspace backup` wrote.
        places: Where to; the key folder is the one the backup was made beside.
        acceptance: Leave to give up what came after the backup.
        passphrase: Of the keys.
        dry_run: Check everything, publish nothing.
        clock: For tests.
        progress: Is told what is being done.

    Raises:
        InputError: The archive is not a backup, or there are no keys.
        ConflictError: The data folder is in use.
        IntegrityError: Something is not what was recorded, or the log would be rolled back.
        RefusedError: Whoever accepts may not.
    """
    if places.database_url or places.objects_url:
        raise InputError("only a workspace on local files is restored here", code="restore.places")
    used = SystemClock() if clock is None else clock
    if not (places.keys / "workspace.json").exists():
        raise InputError(
            f"`{places.keys}` holds no keys; without them a backup cannot be read",
            code="restore.keys",
            hint="put the key folder back first; it is in no backup",
        )
    # 1.
    with locked(places.keys / "lock"):
        if places.data.exists() and any(places.data.iterdir()):
            raise ConflictError(
                f"`{places.data}` is not empty",
                code="restore.folder",
                hint="move it away, or restore to another --data",
            )
        parent = places.data.parent
        parent.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=f".{places.data.name}-", dir=parent))
        try:
            progress("reading the archive")
            manifest = _unpack(archive, staging)
            restored = _check(
                staging, places, manifest, acceptance=acceptance, passphrase=passphrase,
                dry_run=dry_run, clock=used, progress=progress,
            )  # fmt: skip
            if not dry_run:
                _publish(staging, places.data)
        finally:
            shutil.rmtree(staging, ignore_errors=True)
    return restored


def _unpack(archive: Path, staging: Path) -> _Manifest:
    # 2.
    try:
        with archive.open("rb") as file:
            opened = TarArchive(_mapped(file), _BOUNDS)
            members = {member.name: member for member in opened.files()}
            if not {"manifest.json", "vallum.db"} <= set(members):
                raise InputError(f"`{archive}` is not a backup", code="restore.archive")
            manifest = opened.read(members.pop("manifest.json"), _MANIFEST_BYTES)
            for name, member in members.items():
                if name != "vallum.db" and not name.startswith("objects/"):
                    raise InputError(
                        f"the archive holds `{name[:80]}`, which no backup has",
                        code="restore.archive",
                    )
                path = staging / name
                path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
                with path.open("xb") as target:
                    for chunk in opened.chunks(member):
                        target.write(chunk)
                    target.flush()
                    os.fsync(target.fileno())
    except OSError as error:
        raise UnavailableError(
            f"`{archive}` cannot be unpacked: {error.strerror}", code="restore.archive"
        ) from error
    try:
        made = msgspec.json.decode(manifest, type=_Manifest)
    except msgspec.DecodeError as error:
        raise InputError("the manifest is malformed", code="restore.archive") from error
    if made.format != FORMAT:
        raise InputError(f"`{made.format[:40]}` is not {FORMAT}", code="restore.format")
    # A damaged index or free page is no row: the checks of rows and log would not see it.
    with (staging / "vallum.db").open("rb") as file:
        if f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}" != made.database:
            raise IntegrityError("the database is not the one of the backup", code="restore.digest")
    return made


def _mapped(file: BinaryIO) -> memoryview:
    """Map the archive; unmapped with the last view of it, which an error's frames may hold."""
    if os.fstat(file.fileno()).st_size == 0:
        raise InputError("the archive is empty", code="restore.archive")
    return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))


def _check(
    staging: Path,
    places: Places,
    manifest: _Manifest,
    *,
    acceptance: Acceptance | None,
    passphrase: Secret | None,
    dry_run: bool,
    clock: Clock,
    progress: Callable[[str], None],
) -> Restored:
    # 3.
    sealed, provider, keyring = open_keys(places, passphrase=passphrase)
    if manifest.workspace_id != sealed.workspace_id:
        raise InputError(
            "the backup is of another workspace than the keys",
            code="restore.workspace",
            hint=f"the keys in `{places.keys}` are of {sealed.workspace_id}",
        )
    house = assemble(
        Places(data=staging, keys=places.keys), sealed, provider, keyring, clock, anchored=False
    )
    anchor = anchor_of(places)
    try:
        house.database.migrate()
        check_owner(house)
        taken = _read(house, manifest.checkpoint)
        with house.database.snapshot() as snapshot:
            held = house.log.head(snapshot).size
        progress("making the tree of the log again")
        house.publisher.rebuild()
        # 4.
        progress("checking rows and objects")
        found = verify_everything(house, objects=True)
        if found.findings:
            first = found.findings[0]
            raise IntegrityError(
                f"the backup is not whole: {first.message} ({len(found.findings)} finding(s))",
                code=first.code,
            )
        house.publisher.require_prefix(taken)
        # 5.
        seen = _read(house, anchor.newest())
        if seen.size <= held:
            house.publisher.require_prefix(seen)
        elif acceptance is None:
            raise IntegrityError(
                f"the backup ends at entry {held}, but {seen.size} were anchored: restoring it"
                f" gives up {seen.size - held} entries",
                code="audit.rollback",
                hint="add --accept-rollback --reason … with an owner's key",
            )
        elif not dry_run:
            _accept(house, places, acceptance, seen)
        if not dry_run:
            _keep(house, anchor)
    finally:
        house.keyring.close()
        house.database.close()
    return Restored(
        entries=held,
        anchored=seen.size,
        rows=found.records,
        objects=found.objects,
        owner_key=places.owner_key if seen.size > held and not dry_run else None,
    )


def _read(house: House, note: str) -> Checkpoint:
    """Return a signed checkpoint, or the empty log's where there is none."""
    if not note:
        return Checkpoint(house.log.origin, 0, b"")
    return verify_checkpoint(note, house.log.verify_key, origin=house.log.origin)


def _keep(house: House, anchor: Anchor) -> None:
    """Anchor the restored log before the rename: a crash between leaves no data, not two truths."""
    anchor.keep(house.publisher.checkpoint())


def _accept(house: House, places: Places, acceptance: Acceptance, seen: Checkpoint) -> None:
    kernel = Kernel(house, STEPS)
    caller = kernel.authenticate(acceptance.owner, source=_SOURCE, request_id="restore")
    second = ""
    if acceptance.second is not None:
        second = kernel.authenticate(acceptance.second, source=_SOURCE, request_id="restore").id
    made = kernel.perform(
        caller,
        "workspace.accept-rollback",
        AcceptRollback(
            reason=acceptance.reason, second=second, anchored=seen.size, root=seen.root.hex()
        ),
        request_id="restore",
    ).value
    if not isinstance(made, api.Shown):
        raise IntegrityError("the rollback gave no key", code="restore.rollback")
    write_atomic(places.owner_key, made.secret.encode() + b"\n")


def _publish(staging: Path, data: Path) -> None:
    try:
        if data.exists():
            data.rmdir()
        staging.chmod(0o700)
        staging.rename(data)
        descriptor = os.open(data.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise UnavailableError(
            f"`{data}` cannot be put in place: {error.strerror}", code="restore.folder"
        ) from error
