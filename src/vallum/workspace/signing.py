"""Signing and verifying model versions: over the bytes as they are read back, never as stated."""

import hashlib
import hmac

from vallum.base import IntegrityError
from vallum.crypto import sign_manifest, verify_manifest
from vallum.schema import AssetVersion, Record
from vallum.workspace.step import Act, Work
from vallum.workspace.versions import content_chunks


class SignatureRow(Record, frozen=True):
    """A signature bundle of a model version."""

    id: str
    bundle: str  # JSON text


def release_identity(holder: Act | Work) -> str:
    """Return the workspace's own release identity."""
    return f"workspace:{holder.house.workspace_id}"


def read_manifest(holder: Act | Work, version: AssetVersion) -> dict[str, str]:
    """Read every byte of a version and return path to SHA-256 in hexadecimal.

    Raises:
        IntegrityError: A file has not the digest that the version's record gives it.
    """
    files: dict[str, str] = {}
    for part in version.parts:
        total = hashlib.sha256()
        for chunk in content_chunks(holder, version, part):
            total.update(chunk)
        found = f"sha256:{total.hexdigest()}"
        if not hmac.compare_digest(found, part.digest):
            raise IntegrityError(
                f"`{part.part}` of {version.name}:{version.version} is not what was registered",
                code="model.digest-mismatch",
            )
        files[part.part] = total.hexdigest()
    return files


def sign_version(work: Work, version: AssetVersion) -> bytes:
    """Sign a version with the workspace's release key."""
    return sign_manifest(version.name, read_manifest(work, version), work.house.release_key())


def verify_version(holder: Act | Work, version: AssetVersion, bundle: bytes | None) -> str:
    """Read every byte and, if there is a bundle, return who signed them.

    Raises:
        IntegrityError: A byte differs, or the bundle is not by a release identity.
    """
    files = read_manifest(holder, version)
    if bundle is None:
        return ""
    trusted = {release_identity(holder): holder.house.release_key().verify_key}
    return verify_manifest(bundle, files, trusted)
