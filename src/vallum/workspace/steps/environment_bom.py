"""The bill of materials of an environment version, from what the gate found in its image."""

from collections.abc import Iterator, Sequence

import msgspec

from vallum.base import InputError, NotFoundError
from vallum.base.version import VERSION
from vallum.govern import image_bill_of_materials
from vallum.schema import (
    Ask,
    AssetVersion,
    Caller,
    Evidence,
    ImageFacts,
    ImageInventory,
    environments,
)
from vallum.workspace.context import INVENTORY, Context, ask
from vallum.workspace.step import Act, Download, Effect, Step
from vallum.workspace.versions import content_chunks

_XML = "application/vnd.cyclonedx+xml; version=1.6"


def _asks(context: Context, args: environments.EnvironmentBom, caller: Caller) -> Sequence[Ask]:
    version = context.version("environment", args.name, args.version)
    return ask("environments/versions/read", context.version_resource(version))


def _act(act: Act, args: environments.EnvironmentBom) -> Download:
    version = act.context.version("environment", args.name, args.version)
    rows = act.context.all(INVENTORY, ImageInventory, parent_id=version.asset_id)
    listed = next((one for one in rows if one.id == version.id), None)
    if listed is None:
        raise NotFoundError(
            f"of {version.name}:{version.version} no packages are known: it is an older version",
            code="environment.bom", hint="add the image again",
        )  # fmt: skip
    facts = b"".join(content_chunks(act, version, listed.part))
    image = _chosen(msgspec.json.decode(facts, type=tuple[ImageFacts, ...]), args.platform)
    evidence = tuple(act.context.evidence(version.digest))
    return Download(
        file_name=f"{version.name}-{version.version}.cdx.{args.format}",
        chunks=_written(version, image, evidence, args.format),
        media_type=_XML if args.format == "xml" else "",
    )


def _written(
    version: AssetVersion, image: ImageFacts, evidence: Sequence[Evidence], form: str
) -> Iterator[bytes]:
    """Write it when it is read: thousands of packages take seconds, and no transaction waits."""
    newest = max(
        (one for one in evidence if one.subject_id == version.id and one.gate == "image"),
        key=lambda one: one.made_at,
        default=None,
    )
    if newest is not None:
        signers = tuple(one for one in newest.parameters.get("signers", "").split(", ") if one)
        image = msgspec.structs.replace(image, signers=signers)
    yield image_bill_of_materials(
        version.name, image, version=VERSION, evidence=evidence, number=version.version,
        form=form,
    )  # fmt: skip


def _chosen(images: tuple[ImageFacts, ...], platform: str) -> ImageFacts:
    found = [one for one in images if not platform or one.platform == platform]
    if len(found) != 1:
        raise InputError(
            f"a bill of materials is of one image, and {len(found)} are meant", code="image.which",
            hint="--platform " + " or ".join(one.platform for one in images[:8]),
        )  # fmt: skip
    return found[0]


STEPS = (Step("environment.bom", environments.EnvironmentBom, _asks, _act, Effect.READ),)
