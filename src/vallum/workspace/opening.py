"""What a running deployment is made from, as gateways get it and as it is looked at while it runs.

What is handed out or verified is compared with the deployment, which is an authority row: the
digest over all files of the model, that of its scoring code, and the signatures over them. What
does not hold stops the deployment.
"""

import hashlib
import hmac
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import msgspec

from vallum.base import IntegrityError, NotFoundError, Permit
from vallum.crypto import StreamReader, VerifyKey, WrappedKey, verify_manifest
from vallum.schema import (
    AssetVersion,
    Deployment,
    EntryKind,
    Part,
    ScoringCode,
    WrappedDataKey,
)
from vallum.schema.serving import DeploymentFailed, ModelBytes, ServedFile
from vallum.store import chunks
from vallum.workspace.context import Context
from vallum.workspace.deployments import LIVE
from vallum.workspace.house import House
from vallum.workspace.release_keys import release_keys, trusted_at
from vallum.workspace.serving import Serving
from vallum.workspace.signing import verify_signatures
from vallum.workspace.versions import CONTENT, manifest_digest, served_part
from vallum.workspace.watches import SYSTEM_GATEWAY, learn_queries

_VERIFY_BYTES = 1024 * 1024


def model_files(version: AssetVersion) -> tuple[Part, ...]:
    """Return the files of a model that its code sees; what was found out about them is none."""
    return tuple(part for part in version.parts if not part.part.startswith("_"))


def parts_of(context: Context, deployment: Deployment) -> tuple[Part, ...]:
    """Return every stored part that a deployment is made from."""
    parts = context.version_by_id(deployment.model_version_id).parts
    if not deployment.code_id:
        return parts
    code = context.records.get(context.snapshot, "scoring-code", deployment.code_id, ScoringCode)
    return (*parts, *code.parts)


def model_of(serving: Serving, deployment_id: str) -> ModelBytes:
    """Return what a gateway runs for a deployment, digests verified over the bytes returned.

    Raises:
        NotFoundError: It is not running.
        IntegrityError: A byte is not what was registered; the deployment is stopped.
    """
    house = serving.kernel.house
    with _opened(serving, deployment_id) as held:
        if held.code is not None:
            return ModelBytes(
                data=b"",
                sha256=held.version.digest,
                noise_key=house.noise_key(held.version.digest),
                code=_checked_code(held, held.code),
                files=held.files(held.version.id, model_files(held.version)),
                entry=held.code.entry,
            )
        part = _served(held.version)
        (file,) = held.files(held.version.id, (part,))
    watch = held.deployment.watch
    return ModelBytes(
        data=file.data,
        sha256=part.digest,
        profile=b"" if watch is None else learn_queries(house, watch),
        noise_key=house.noise_key(part.digest),
    )


def verify_of(serving: Serving, deployment_id: str, *, whole: bool) -> None:
    """Read what a running deployment is made from as it is stored; a model in constant memory.

    Every segment is authenticated under the version's key, at its place: a byte that is not the
    one that was written does not pass. A hash over them all is a third of that again.

    Args:
        serving: Stops the deployment where something does not hold.
        deployment_id: Of the deployment.
        whole: Compare the hash of the model, too; scoring code's always is.

    Raises:
        NotFoundError: It is not running.
        IntegrityError: A byte is not what was registered; the deployment is stopped.
    """
    with _opened(serving, deployment_id) as held:
        if held.code is None:
            _pass_over(held, _served(held.version), whole=whole)
            return
        _checked_code(held, held.code)
        for part in model_files(held.version):
            _pass_over(held, part, whole=whole)


@dataclass(frozen=True, slots=True)
class _Opened:
    """A running deployment whose signatures and digests hold, and the permit to read it."""

    house: House
    permit: Permit
    deployment: Deployment
    version: AssetVersion
    code: ScoringCode | None
    trusted: dict[str, VerifyKey]  # at the time that the code was frozen
    keys: dict[str, WrappedKey]  # by what they belong to

    def reader(self, subject_id: str, part: Part) -> StreamReader:
        """Open a stored part of the model or of its code."""
        key = self.house.keyring.unwrap(self.permit, self.keys[subject_id], subject_id, CONTENT)
        return self.house.objects.open(self.permit, version_id=subject_id, part=part, data_key=key)

    def files(self, subject_id: str, parts: tuple[Part, ...]) -> tuple[ServedFile, ...]:
        """Return stored parts, each compared with its digest."""
        return tuple(self._file(subject_id, part) for part in parts)

    def _file(self, subject_id: str, part: Part) -> ServedFile:
        data = b"".join(chunks(self.reader(subject_id, part)))
        _same(hashlib.sha256(data), part)
        return ServedFile(path=part.part, data=data, sha256=part.digest)


@contextmanager
def _opened(serving: Serving, deployment_id: str) -> Iterator[_Opened]:
    """Open what a running deployment is made from; what does not hold in the block stops it."""
    house = serving.kernel.house
    with house.log.transaction() as tx:
        context = Context(records=house.records, snapshot=tx, workspace_id=house.workspace_id)
        deployment = house.records.get(tx, "deployment", deployment_id, Deployment)
        if deployment.state not in LIVE:
            raise NotFoundError("the deployment is not running")
        version = context.version_by_id(deployment.model_version_id)
        code, trusted = None, {}
        if deployment.code_id:
            code = house.records.get(tx, "scoring-code", deployment.code_id, ScoringCode)
            trusted = trusted_at(release_keys(house, context), code.made_at)
        try:
            verify_signatures(house, context, version)
            unsigned = None
        except IntegrityError as error:
            unsigned = error
        subjects = (version.id,) if code is None else (version.id, code.id)
        rows = {one: house.records.get(tx, "wrapped-key", one, WrappedDataKey) for one in subjects}
        permit = house.log.system_permit(
            tx,
            step="endpoint.load",
            kind=EntryKind.DECISION,
            principal_id=SYSTEM_GATEWAY,
            resources=subjects,
            actions=("models/versions/content/read",),
        )
        house.log.seal(tx, permit)
    try:
        if unsigned is not None:
            raise unsigned
        named = ("", "") if code is None else (code.digest, code.entry)
        if not (
            version.digest == manifest_digest(version.parts) == deployment.model_digest
            and named == (deployment.code_digest, deployment.code_entry)
        ):
            raise IntegrityError("the deployment names other code or another model",
                                 code="model.digest")  # fmt: skip
        keys = {one: msgspec.convert(row.wrapped, WrappedKey) for one, row in rows.items()}
        yield _Opened(house, permit, deployment, version, code, trusted, keys)
    except IntegrityError as error:
        serving.fail(
            DeploymentFailed(deployment_id=deployment_id, code=error.code, reason=error.message)
        )
        raise


def _served(version: AssetVersion) -> Part:
    part = served_part(version)
    if part is None:
        raise IntegrityError("the deployment names another model", code="model.digest")
    return part


def _checked_code(held: _Opened, code: ScoringCode) -> tuple[ServedFile, ...]:
    """Return scoring code, compared with the deployment and with the signature over it."""
    files = held.files(code.id, code.parts)
    if not hmac.compare_digest(manifest_digest(code.parts), held.deployment.code_digest):
        raise IntegrityError("the scoring code is not what was frozen", code="code.digest")
    digests = {one.path: one.sha256.removeprefix("sha256:") for one in files}
    verify_manifest(code.bundle.encode(), digests, held.trusted)
    return files


def _pass_over(held: _Opened, part: Part, *, whole: bool) -> None:
    """Authenticate every byte of a stored part, without holding it."""
    reader = held.reader(held.version.id, part)
    total = hashlib.sha256()
    buffer = memoryview(bytearray(_VERIFY_BYTES))
    offset = 0
    while offset < reader.size:
        length = reader.readinto(offset, buffer)
        if whole:
            total.update(buffer[:length])
        offset += length
    if whole:
        _same(total, part)
    elif reader.size != part.length:
        raise IntegrityError("the model is not what was registered", code="model.digest")


def _same(total: "hashlib._Hash", part: Part) -> None:
    if not hmac.compare_digest(f"sha256:{total.hexdigest()}", part.digest):
        raise IntegrityError("a stored file is not what was registered", code="model.digest")
