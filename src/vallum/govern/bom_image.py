"""A container image as a CycloneDX 1.6 bill of materials: its layers and installed packages.

Nothing comes from a clock: the same image makes the same bytes.

Source: OWASP Foundation, CycloneDX 1.6, ECMA-424; the package URL specification's types.
"""

import re
import uuid
from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from vallum.govern.bom import verdicts
from vallum.schema import Evidence, ImageFacts, Package

if TYPE_CHECKING:
    from cyclonedx.model.component import Component
    from packageurl import PackageURL

_NAMESPACE = uuid.UUID("5b5d3c0e-9a3e-4b0e-8a3c-6f0f4c3f6b1d")  # drawn once, for these documents
_SHA256 = "sha256:"
_MAX_LICENSE = 300
_TIME = re.compile(r"<timestamp>[^<]*</timestamp>")  # the first is that of the metadata


def image_bill_of_materials(
    name: str,
    image: ImageFacts,
    *,
    version: str,
    evidence: Sequence[Evidence] = (),
    number: int = 0,
    form: str = "json",
) -> bytes:
    """Return the bill of materials of an image.

    Args:
        name: Of the image, for people.
        image: What was found in it.
        version: Of vallum.
        evidence: What gates found about it, where it is registered.
        number: Of the environment version; 0 where it is none.
        form: `json` or `xml`.

    Returns:
        UTF-8, ending in a line feed; JSON is indented. The serial number names the image and its
        packages.
    """
    from cyclonedx.model import HashAlgorithm, HashType, Property
    from cyclonedx.model.bom import Bom, BomMetaData
    from cyclonedx.model.component import Component, ComponentType
    from cyclonedx.model.tool import ToolRepository
    from cyclonedx.output.json import JsonV1Dot6
    from cyclonedx.output.xml import XmlV1Dot6

    tool = Component(
        name="vallum", version=version, type=ComponentType.APPLICATION, bom_ref="tool:vallum"
    )
    facts = [
        ("vallum:platform", image.platform), ("vallum:distribution", image.distribution),
        ("vallum:user", image.user), ("vallum:base", image.base),
        *(("vallum:signer", one) for one in image.signers),
        *((f"vallum:layer:{at}", one) for at, one in enumerate(image.layers)),
        *((f"vallum:diff-id:{at}", one) for at, one in enumerate(image.diff_ids)),
        ("vallum:environment", f"{name}:{number}" if number else ""),
        *verdicts(evidence),
    ]  # fmt: skip
    subject = Component(
        name=name,
        version=image.digest,
        type=ComponentType.CONTAINER,
        bom_ref=image.digest,
        purl=_image_purl(name, image.digest),
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=image.digest.removeprefix(_SHA256))],
        properties=[Property(name=key, value=value) for key, value in facts if value],
    )
    named = [name, image, number, evidence] if number else [name, image]
    bom = Bom(
        serial_number=uuid.uuid5(_NAMESPACE, msgspec.json.encode(named).decode()),
        metadata=BomMetaData(component=subject, tools=ToolRepository(components=[tool])),
    )
    parts = {one: _component(one, image.distribution) for one in dict.fromkeys(image.packages)}
    for part in parts.values():
        bom.components.add(part)
    bom.register_dependency(subject, list(parts.values()))
    # The time is the clock's, and goes: the same image, the same bytes.
    if form == "xml":
        return _TIME.sub("", XmlV1Dot6(bom).output_as_string(), count=1).encode() + b"\n"
    document = msgspec.json.decode(JsonV1Dot6(bom).output_as_string())
    document["metadata"].pop("timestamp", None)
    return msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n"


def _component(one: Package, distribution: str) -> "Component":
    from cyclonedx.model import Property
    from cyclonedx.model.component import Component, ComponentType
    from cyclonedx.model.license import DisjunctiveLicense

    facts = [("vallum:place", one.place), ("vallum:source", one.source),
             ("vallum:source-version", one.source_version)]  # fmt: skip
    identity = f"{one.kind}|{one.name}|{one.version}|{one.architecture}|{one.place}"
    return Component(
        name=one.name,
        version=one.version,
        type=ComponentType.LIBRARY,
        bom_ref=identity,
        purl=_purl(one, distribution),
        licenses=[DisjunctiveLicense(name=one.license[:_MAX_LICENSE])] if one.license else [],
        properties=[Property(name=key, value=value) for key, value in facts if value],
    )


def _image_purl(name: str, digest: str) -> "PackageURL":
    from packageurl import PackageURL

    return PackageURL("oci", None, name.rpartition("/")[2].lower() or "image", digest)


def _purl(one: Package, distribution: str) -> "PackageURL | None":
    """Return a package URL; None where the name can be none: the image's author chose it."""
    from packageurl import PackageURL

    identity = distribution.partition(" ")[0]
    system = one.kind in ("deb", "apk", "rpm")
    namespace: str | None = identity if system and identity else None
    name, version, qualifiers = one.name, one.version, {}
    if one.kind == "npm" and name.startswith("@") and "/" in name:
        namespace, _, name = name.partition("/")
    if system:
        qualifiers = {"distro": distribution.replace(" ", "-")} if distribution else {}
        if one.architecture:
            qualifiers["arch"] = one.architecture
    if one.kind == "rpm" and ":" in version:  # an epoch is a qualifier there
        qualifiers["epoch"], _, version = version.partition(":")
    try:
        made = PackageURL(one.kind, namespace, name, version, qualifiers or None)
    except ValueError:
        return None
    return made if made.name else None  # of slashes alone nothing is left
