"""Signing and verifying model versions: over the bytes as they are read back, never as stated."""

import hashlib
import hmac
from collections.abc import Mapping, Sequence

from vallum.base import ConflictError, InputError, IntegrityError, RefusedError, new_id, timestamp
from vallum.crypto import sign_manifest, verify_manifest
from vallum.schema import AssetVersion, Record
from vallum.schema.release import ReleaseKey
from vallum.workspace.context import Context
from vallum.workspace.gates.models import signature_evidence
from vallum.workspace.house import House
from vallum.workspace.release_keys import DERIVED, own_signer, release_keys, trusted_at
from vallum.workspace.step import Act, Work
from vallum.workspace.versions import content_chunks


class SignatureRow(Record, frozen=True):
    """A signature bundle of a model version, and who attached it when with which key.

    Rows from before release keys had records tell nothing of that: the derived key made them.
    """

    id: str
    bundle: str  # JSON text
    signer_id: str = ""
    key: str = ""  # id of the release key's record
    made_at: str = ""


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


def sign_version(work: Work, version: AssetVersion) -> tuple[bytes, ReleaseKey]:
    """Read a version, sign it with the workspace's release key, and return with which.

    Raises:
        UnavailableError: The key is in a token that does not sign.
        IntegrityError: A byte is not what was registered.
    """
    files = read_manifest(work, version)
    bundle = sign_manifest(version.name, files, own_signer(work))
    return bundle, _key_of(work, bundle, files)


def accept_bundle(work: Work, bundle: bytes, files: Mapping[str, str]) -> ReleaseKey:
    """Verify a signature that was made elsewhere, and return with which key.

    Args:
        work: The long step.
        bundle: OpenSSF model signature.
        files: Path to SHA-256 of every file of the version, as read.

    Raises:
        IntegrityError: It is not over exactly these files, or by no key that signs now.
        InputError: It is no text.
        RefusedError: The key is somebody else's: who signs brings the signature.
    """
    try:
        bundle.decode()  # as it is stored; whoever signed needs no other bytes
    except UnicodeDecodeError as error:
        raise InputError("the bundle is not UTF-8", code="signature.form") from error
    key = _key_of(work, bundle, files)
    if key.owner_id not in (work.house.workspace_id, work.caller.id):
        raise RefusedError(
            f"the release key `{key.name}` is another principal's",
            code="signature.signer",
            hint="whoever signed attaches the signature",
        )
    return key


def attach(act: Act, version: AssetVersion, bundle: bytes, key: ReleaseKey, *, on: str) -> None:
    """Put a signature, which was verified, and the evidence of it on record.

    `on` is the resource that was decided on. The signature counts as made now: a key that signed
    only before or after does not make it valid.

    Raises:
        ConflictError: The key was retired since the signature was verified.
    """
    if key.id not in trusted_at(release_keys(act.house, act.context), timestamp(act.now)):
        raise ConflictError(
            f"the release key `{key.name}` was retired meanwhile", code="signature.key"
        )
    found = signature_evidence(version, act.caller, key, bundle, now=act.now)
    act.leave(found, on=on)
    row = SignatureRow(
        id=str(new_id("sig")),
        bundle=bundle.decode(),
        signer_id=act.caller.id,
        key=key.id,
        made_at=timestamp(act.now),
    )
    act.put("signature", row, on=on, parent_id=version.id)


def verify_signatures(
    house: House, context: Context, version: AssetVersion
) -> list[tuple[SignatureRow, ReleaseKey]]:
    """Verify every signature of a version over the digests on record; return those that count.

    The bytes are compared with these digests by whoever reads them. What a compromised key signed
    counts for nothing; another signature may stand beside it.

    Raises:
        IntegrityError: A signature is not over these files, no key that signed when it was
            attached made it, or every one is by a compromised key.
    """
    rows = context.all("signature", SignatureRow, parent_id=version.id)
    if not rows:
        return []
    keys = release_keys(house, context)
    files = recorded_files(version)
    lost = {one.id for one in keys if one.compromised}
    found = []
    for row in rows:
        if (row.key or _derived_id(keys)) in lost:
            continue
        found.append((row, _match(row.bundle.encode(), files, keys, row.made_at)))
    if not found:
        raise IntegrityError(
            f"every signature of {version.name}:{version.version} is by a key that was given up as "
            "compromised",
            code="signature.compromised",
            hint="sign it anew: vallum model sign",
        )
    return found


def recorded_files(version: AssetVersion) -> dict[str, str]:
    """Return path to SHA-256 (hexadecimal) of every file, as the record has it."""
    return {part.part: part.digest.removeprefix("sha256:") for part in version.parts}


def _key_of(work: Work, bundle: bytes, files: Mapping[str, str]) -> ReleaseKey:
    keys = work.read(lambda context: release_keys(work.house, context))
    return _match(bundle, files, keys, timestamp(work.now))


def _match(
    bundle: bytes, files: Mapping[str, str], keys: Sequence[ReleaseKey], made_at: str
) -> ReleaseKey:
    trusted = trusted_at(keys, made_at)
    try:
        found = verify_manifest(bundle, files, trusted)
    except IntegrityError:
        if len(files) != 1:
            raise
        # The format calls a model that is one file `.`, whatever its name is here.
        found = verify_manifest(bundle, {".": next(iter(files.values()))}, trusted)
    return next(one for one in keys if one.id == found)


def _derived_id(keys: Sequence[ReleaseKey]) -> str:
    return next((one.id for one in keys if one.kind == DERIVED), "")
