"""Scoring code as gateways get it, and as it is looked at while it runs.

What is handed out or verified is compared with the deployment, which is an authority row: the
digest over all files, and the signature over them. What does not hold stops the deployment.
"""

import hashlib
import hmac
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import msgspec

from vallum.base import IntegrityError, NotFoundError, Permit
from vallum.crypto import VerifyKey, WrappedKey, verify_manifest
from vallum.schema import (
    AssetVersion,
    Deployment,
    DeploymentState,
    EntryKind,
    Part,
    ScoringCode,
    WrappedDataKey,
)
from vallum.schema.serving import DeploymentFailed, ModelBytes, ServedFile
from vallum.store import chunks
from vallum.workspace.context import Context
from vallum.workspace.house import House
from vallum.workspace.release_keys import release_keys, trusted_at
from vallum.workspace.serving import Serving
from vallum.workspace.signing import verify_signatures
from vallum.workspace.versions import CONTENT, manifest_digest
from vallum.workspace.watches import SYSTEM_GATEWAY


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
    """Return what a gateway runs for a deployment: see `Serving.model`.

    Raises:
        NotFoundError: It is not running.
        IntegrityError: A byte is not what was registered; the deployment is stopped.
    """
    if not _has_code(serving.kernel.house, deployment_id):
        return serving.model(deployment_id)
    with _stored(serving, deployment_id) as held:
        code = held.read(held.code.id, held.code.parts)
        _check(held, {one.path: one.sha256 for one in code})
        files = held.read(held.version.id, model_files(held.version))
    return ModelBytes(
        data=b"",
        sha256=held.version.digest,
        noise_key=serving.kernel.house.noise_key(held.version.digest),
        code=code,
        files=files,
        entry=held.code.entry,
    )


def verify_of(serving: Serving, deployment_id: str, *, whole: bool) -> None:
    """Read what a running deployment is made from, as it is stored: see `Serving.verify`.

    Raises:
        NotFoundError: It is not running.
        IntegrityError: A byte is not what was registered; the deployment is stopped.
    """
    if not _has_code(serving.kernel.house, deployment_id):
        serving.verify(deployment_id, whole=whole)
        return
    with _stored(serving, deployment_id) as held:
        code = held.read(held.code.id, held.code.parts)
        _check(held, {one.path: one.sha256 for one in code})
        for part in model_files(held.version):
            held.read(held.version.id, (part,))


@dataclass(frozen=True, slots=True)
class _Held:
    """A running deployment with code, opened."""

    deployment: Deployment
    version: AssetVersion
    code: ScoringCode
    trusted: dict[str, VerifyKey]  # that signed when it was frozen
    read: "Callable[[str, tuple[Part, ...]], tuple[ServedFile, ...]]"


def _has_code(house: House, deployment_id: str) -> bool:
    with house.database.snapshot() as snapshot:
        deployment = house.records.get(snapshot, "deployment", deployment_id, Deployment)
    return bool(deployment.code_id)


@contextmanager
def _stored(serving: Serving, deployment_id: str) -> Iterator[_Held]:
    """Open what a running deployment is made from; what does not hold in the block stops it."""
    house = serving.kernel.house
    with house.log.transaction() as tx:
        context = Context(records=house.records, snapshot=tx, workspace_id=house.workspace_id)
        deployment = house.records.get(tx, "deployment", deployment_id, Deployment)
        if deployment.state is not DeploymentState.RUNNING:
            raise NotFoundError("the deployment is not running")
        version = context.version_by_id(deployment.model_version_id)
        code = house.records.get(tx, "scoring-code", deployment.code_id, ScoringCode)
        trusted = trusted_at(release_keys(house, context), code.made_at)
        try:
            verify_signatures(house, context, version)
            unsigned = None
        except IntegrityError as error:
            unsigned = error
        rows = {
            one: house.records.get(tx, "wrapped-key", one, WrappedDataKey)
            for one in (version.id, code.id)
        }
        permit = house.log.system_permit(
            tx,
            step="endpoint.load",
            kind=EntryKind.DECISION,
            principal_id=SYSTEM_GATEWAY,
            resources=(version.id, code.id),
            actions=("models/versions/content/read",),
        )
        house.log.seal(tx, permit)

    def read(subject_id: str, parts: tuple[Part, ...]) -> tuple[ServedFile, ...]:
        wrapped = msgspec.convert(rows[subject_id].wrapped, WrappedKey)
        return tuple(_read(house, permit, subject_id, part, wrapped) for part in parts)

    try:
        if unsigned is not None:
            raise unsigned
        if not (
            version.digest == manifest_digest(version.parts) == deployment.model_digest
            and (code.digest, code.entry) == (deployment.code_digest, deployment.code_entry)
        ):
            raise IntegrityError("the deployment names other code or another model",
                                 code="model.digest")  # fmt: skip
        yield _Held(deployment, version, code, trusted, read)
    except IntegrityError as error:
        serving.fail(
            DeploymentFailed(deployment_id=deployment_id, code=error.code, reason=error.message)
        )
        raise


def _read(
    house: House, permit: Permit, subject_id: str, part: Part, wrapped: WrappedKey
) -> ServedFile:
    key = house.keyring.unwrap(permit, wrapped, subject_id, CONTENT)
    reader = house.objects.open(permit, version_id=subject_id, part=part, data_key=key)
    data = b"".join(chunks(reader))
    found = f"sha256:{hashlib.sha256(data).hexdigest()}"
    if not hmac.compare_digest(found, part.digest):
        raise IntegrityError("a stored file is not what was registered", code="model.digest")
    return ServedFile(path=part.part, data=data, sha256=found)


def _check(held: _Held, digests: dict[str, str]) -> None:
    """Compare files that were read with the deployment and with the signature over them."""
    if not hmac.compare_digest(manifest_digest(held.code.parts), held.deployment.code_digest):
        raise IntegrityError("the scoring code is not what was frozen", code="code.digest")
    files = {path: digest.removeprefix("sha256:") for path, digest in digests.items()}
    verify_manifest(held.code.bundle.encode(), files, held.trusted)
