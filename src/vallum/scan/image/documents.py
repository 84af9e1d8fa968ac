"""The JSON documents of an image: index, manifest, configuration.

Source: OCI Image Format Specification 1.1; Docker's image manifest, version 2, schema 2, which
has the same fields.
"""

import re
from typing import Annotated, Any, Literal, TypeVar

import msgspec

from vallum.base.bounds import ImageBounds, JsonBounds
from vallum.base.errors import InputError
from vallum.formats import load_json

INDEXES = frozenset(
    {
        "application/vnd.oci.image.index.v1+json",
        "application/vnd.docker.distribution.manifest.list.v2+json",
    }
)
MANIFESTS = frozenset(
    {
        "application/vnd.oci.image.manifest.v1+json",
        "application/vnd.docker.distribution.manifest.v2+json",
    }
)
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
BASE_DIGEST = "org.opencontainers.image.base.digest"
REF_NAME = "org.opencontainers.image.ref.name"
ATTESTATION = "vnd.docker.reference.type"
DIGEST = re.compile(r"^sha256:[0-9a-f]{64}$")

Digest = Annotated[str, msgspec.Meta(pattern=DIGEST.pattern)]
Strings = dict[str, str]
T = TypeVar("T")


class Platform(msgspec.Struct, frozen=True):
    """What an image runs on."""

    architecture: str = ""
    os: str = ""
    variant: str = ""

    def __str__(self) -> str:
        return "/".join(one for one in (self.os, self.architecture, self.variant) if one)


class Descriptor(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """A reference to bytes by their digest."""

    media_type: str = ""
    digest: Digest
    size: Annotated[int, msgspec.Meta(ge=0, le=2**50)]
    urls: tuple[str, ...] | None = None
    annotations: Strings | None = None
    platform: Platform | None = None
    artifact_type: str = ""

    @property
    def reference(self) -> str:
        """The name that the index gives it, such as a tag; empty if none."""
        return (self.annotations or {}).get(REF_NAME, "")


class Index(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """Several manifests."""

    schema_version: Literal[2]
    media_type: str = ""
    manifests: tuple[Descriptor, ...] | None = ()
    annotations: Strings | None = None


class Manifest(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """One image: a configuration and layers, the lowest first."""

    schema_version: Literal[2]
    media_type: str = ""
    artifact_type: str = ""
    config: Descriptor
    layers: tuple[Descriptor, ...] | None = ()
    annotations: Strings | None = None


class Run(msgspec.Struct, frozen=True, rename="pascal", kw_only=True):
    """What a container is started with."""

    user: str | None = ""
    env: tuple[str, ...] | None = ()
    entrypoint: tuple[str, ...] | str | None = ()
    cmd: tuple[str, ...] | str | None = ()
    labels: Strings | None = None


class RootFs(msgspec.Struct, frozen=True, kw_only=True):
    """The layers, by the digests of what they hold before compression."""

    type: Literal["layers"]
    diff_ids: tuple[Digest, ...] | None = ()


class History(msgspec.Struct, frozen=True, kw_only=True):
    """How a layer was made, as the builder tells."""

    created_by: str | None = ""
    comment: str | None = ""
    empty_layer: bool | None = False


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """The configuration of an image."""

    architecture: str = ""
    os: str = ""
    variant: str = ""
    created: str | None = ""
    author: str | None = ""
    config: Run | None = None
    rootfs: RootFs
    history: tuple[History, ...] | None = ()

    @property
    def run(self) -> Run:
        """What a container is started with; empty where the image says nothing."""
        return Run() if self.config is None else self.config


_MAPS = frozenset({"annotations", "Labels", "Volumes", "ExposedPorts"})
_NAMES = frozenset(
    field.encode_name
    for kind in (Platform, Descriptor, Index, Manifest, Run, RootFs, History, Config)
    for field in msgspec.structs.fields(kind)
)
_FOLDED = frozenset(name.casefold() for name in _NAMES)


def read_document(data: bytes, bounds: ImageBounds) -> Any:  # noqa: ANN401 - JSON is untyped
    """Parse JSON in which no key appears twice: two readers must not see two images.

    Raises:
        InputError: Code `format.json.*`.
        LimitExceededError: Code `format.json.*`.
    """
    document = load_json(data, JsonBounds(max_bytes=bounds.max_document_bytes))
    _check_keys(document)
    return document


def _check_keys(value: object) -> None:
    """Refuse keys that only differ in case: Go reads `USER` as `User`, and the last one wins."""
    if isinstance(value, list):
        for one in value:
            _check_keys(one)
    if not isinstance(value, dict):
        return
    seen: set[str] = set()
    for key, inner in value.items():
        folded = key.casefold()
        if folded in seen or (folded in _FOLDED and key not in _NAMES):
            raise InputError(f"the key `{key[:40]}` can be read in two ways", code="image.form")
        seen.add(folded)
        if key not in _MAPS:  # their keys are anybody's, and compared as they are
            _check_keys(inner)


def as_index(document: object) -> Index:
    """Return a document as an index.

    Raises:
        InputError: Code `image.form`.
    """
    return _as(document, Index, "index", (*INDEXES, ""))


def as_manifest(document: object) -> Manifest:
    """Return a document as a manifest.

    Raises:
        InputError: Code `image.form`.
    """
    if isinstance(document, dict) and "manifests" in document:
        # CVE-2021-41190: what is both an index and a manifest is read as either.
        raise InputError("the manifest is an index too", code="image.form")
    return _as(document, Manifest, "manifest", (*MANIFESTS, ""))


def as_config(document: object) -> Config:
    """Return a document as a configuration.

    Raises:
        InputError: Code `image.form`.
    """
    return _as(document, Config, "configuration", ())


def _as(document: object, kind: type[T], what: str, types: tuple[str, ...]) -> T:
    try:
        found = msgspec.convert(document, kind)
    except msgspec.ValidationError as error:
        raise InputError(f"the {what} of the image is malformed", code="image.form") from error
    if types and getattr(found, "media_type", "") not in types:
        raise InputError(f"the {what} says that it is something else", code="image.form")
    if kind is Index and isinstance(document, dict) and {"layers", "config"} & document.keys():
        raise InputError("the index is a manifest too", code="image.form")
    return found
