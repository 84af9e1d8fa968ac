"""Signatures by a key, as cosign keeps them beside an image.

The manifest `sha256-<digest>.sig` has one layer for each signature: its bytes are the payload
("simple signing"), its annotation is the signature. The payload names the digest of the image;
the name of the image in it is only a claim.

Source: sigstore/cosign, specs/SIGNATURE_SPEC.md; containers/image,
docs/containers-signature.5.md.
"""

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal

import msgspec

from vallum.base.bounds import IMAGE, ImageBounds
from vallum.base.errors import InputError, IntegrityError, VallumError
from vallum.scan.image.documents import (
    OCI_CONFIG,
    OCI_MANIFEST,
    REF_NAME,
    Descriptor,
    as_manifest,
    read_document,
)
from vallum.scan.image.layout import Layout
from vallum.scan.image.rules import Verifier

SIGNATURE = "dev.cosignproject.cosign/signature"
PAYLOAD_TYPE = "application/vnd.dev.cosign.simplesigning.v1+json"
_TYPE = "cosign container image signature"
_MAX_SIGNATURES = 64
_TAG = re.compile(r"(^|:)sha256-[0-9a-f]{64}\.(sig|att|sbom)$")
# How `cosign save` marks the entries of a layout.
_KIND = "kind"
_SIGNATURES = "dev.cosignproject.cosign/sigs"
_ABOUT = ("dev.cosignproject.cosign/atts", "dev.cosignproject.cosign/sboms")


class _Image(msgspec.Struct, frozen=True):
    digest: str = msgspec.field(name="docker-manifest-digest")


class _Critical(msgspec.Struct, frozen=True):
    image: _Image
    type: Literal["cosign container image signature"]
    identity: dict[str, str] | None = None


class _Payload(msgspec.Struct, frozen=True):
    critical: _Critical
    optional: dict[str, Any] | None = None


def payload_of(
    digest: str, reference: str = "", optional: Mapping[str, str] | None = None
) -> bytes:
    """Return what is signed for an image.

    Args:
        digest: Of its manifest or index.
        reference: The name that it is signed under; a claim.
        optional: Further claims.
    """
    return msgspec.json.encode(
        {
            "critical": {
                "identity": {"docker-reference": reference},
                "image": {"docker-manifest-digest": digest},
                "type": _TYPE,
            },
            "optional": dict(optional) if optional else None,
        }
    )


def tag_of(digest: str) -> str:
    """Return the name of the manifest with the signatures of an image."""
    return digest.replace(":", "-") + ".sig"


def is_signature(descriptor: Descriptor) -> bool:
    """Tell whether an entry of the index is about another one: a signature, a bill, a statement."""
    kind = (descriptor.annotations or {}).get(_KIND, "")
    return kind in (_SIGNATURES, *_ABOUT) or bool(_TAG.search(descriptor.reference))


def signatures_of(
    layout: Layout, digest: str, bounds: ImageBounds
) -> tuple[tuple[bytes, bytes], ...]:
    """Return payloads and signatures that a layout holds for an image, the first 64.

    Raises:
        InputError: A manifest of signatures is malformed, or one of them is missing.
        IntegrityError: A blob has other bytes.
        LimitExceededError: A document is too large.
    """
    return tuple(islice(_signatures(layout, digest, bounds), _MAX_SIGNATURES))


def verify_signatures(
    signatures: Sequence[tuple[bytes, bytes]], digest: str, verifiers: Sequence[Verifier]
) -> tuple[str, ...]:
    """Return who of the trusted signed an image.

    Args:
        signatures: Payloads, each with its signature.
        digest: Of the manifest or index that must be signed.
        verifiers: One for each trusted key.

    Raises:
        InputError: There is no signature.
        IntegrityError: None of them is by a trusted key over this digest.
    """
    signers: list[str] = []
    reasons: list[str] = []
    for payload, signature in signatures:
        try:
            signers += _verify(payload, signature, digest, verifiers)
        except VallumError as error:
            reasons.append(error.message)
    if signers:
        return tuple(dict.fromkeys(signers))
    if not signatures:
        raise InputError("the image is not signed", code="image.unsigned")
    raise IntegrityError(reasons[0], code="image.signature")


def _verify(
    payload: bytes, signature: bytes, digest: str, verifiers: Sequence[Verifier]
) -> list[str]:
    # 1. A trusted key signed these very bytes.
    found = []
    for verify in verifiers:
        try:
            found.append(verify(payload, signature))
        except IntegrityError:
            continue
    if not found:
        raise IntegrityError("no trusted key made its signature", code="image.signature")
    # 2. They are a statement about an image. 3. The image is this one.
    try:
        said = msgspec.json.decode(payload, type=_Payload)
    except (msgspec.DecodeError, RecursionError) as error:
        raise IntegrityError("what was signed is no statement about an image",
                             code="image.signature") from error  # fmt: skip
    if not hmac.compare_digest(said.critical.image.digest.encode(), digest.encode()):
        raise IntegrityError("the signature is of another image", code="image.signature")
    return found


def _signatures(layout: Layout, digest: str, bounds: ImageBounds) -> Iterator[tuple[bytes, bytes]]:
    tag = tag_of(digest)
    for descriptor in layout.index.manifests or ():
        kind = (descriptor.annotations or {}).get(_KIND, "")
        if descriptor.reference.rpartition(":")[2] != tag and kind != _SIGNATURES:
            continue
        data = layout.document(descriptor.digest, descriptor.size)
        manifest = as_manifest(read_document(data, bounds))
        for layer in manifest.layers or ():
            text = (layer.annotations or {}).get(SIGNATURE, "")
            if layer.media_type != PAYLOAD_TYPE or not text:
                continue
            try:
                signature = base64.b64decode(text, validate=True)
            except (binascii.Error, ValueError):
                signature = b""  # verifies with no key
            yield layout.document(layer.digest, layer.size), signature


@dataclass(frozen=True, slots=True)
class Signed:
    """What a layout with one more signature holds.

    Attributes:
        blobs: By their digest; to be written first.
        index: The bytes of `index.json`, which make them visible.
    """

    blobs: dict[str, bytes]
    index: bytes


def add_signature(
    layout: Layout, digest: str, payload: bytes, signature: bytes, bounds: ImageBounds = IMAGE
) -> Signed:
    """Return what must be written to a layout so that it holds a further signature.

    Raises:
        InputError: The layout holds no such image.
    """
    document = read_document(layout.file("index.json"), bounds)
    listed = layout.index.manifests or ()
    if digest not in {one.digest for one in listed}:
        raise InputError(f"the layout holds no image {digest[:80]}", code="image.not-there")
    tag = tag_of(digest)
    blobs: dict[str, bytes] = {}
    layers: list[dict[str, Any]] = []
    for one in listed:
        if one.reference.rpartition(":")[2] == tag:
            known = read_document(layout.document(one.digest, one.size), bounds)
            layers += known.get("layers") or []
    text = base64.b64encode(signature).decode()
    layers.append(_put(blobs, PAYLOAD_TYPE, payload, annotations={SIGNATURE: text}))
    stated = [str(one["digest"]) for one in layers]
    config = _put(
        blobs, OCI_CONFIG,
        msgspec.json.encode(
            {"architecture": "", "os": "", "config": {},
             "rootfs": {"type": "layers", "diff_ids": stated}}
        ),
    )  # fmt: skip
    manifest = _put(
        blobs, OCI_MANIFEST,
        msgspec.json.encode(
            {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": layers}
        ),
        annotations={REF_NAME: tag},
    )  # fmt: skip
    kept = [
        given
        for given, one in zip(document["manifests"], listed, strict=True)
        if one.reference.rpartition(":")[2] != tag
    ]
    index = msgspec.json.encode({**document, "manifests": [*kept, manifest]})
    return Signed(blobs, index)


def _put(blobs: dict[str, bytes], kind: str, data: bytes, **more: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
    digest = "sha256:" + hashlib.sha256(data).hexdigest()
    blobs[digest] = data
    return {"mediaType": kind, "digest": digest, "size": len(data), **more}
