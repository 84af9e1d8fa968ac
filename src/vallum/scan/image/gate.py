"""The judgement of an image as a gate calls it in the sandbox: a layout in, one report out.

Keys are not known here: the signatures that a layout holds are handed back to be verified.
"""

from dataclasses import dataclass, replace
from datetime import date

import msgspec

from vallum.base import InputError
from vallum.base.bounds import IMAGE
from vallum.formats import View
from vallum.scan.advisories import Snapshot
from vallum.scan.image.door import scan_image
from vallum.scan.image.layout import layout_of
from vallum.scan.image.rules import ImageRules, rules_of
from vallum.scan.image.signature import signatures_of
from vallum.scan.report import FileReport, Findings
from vallum.schema import ImageFacts

_DECODER = msgspec.msgpack.Decoder(dict[str, bytes])
_SNAPSHOT = msgspec.msgpack.Decoder(Snapshot)
_UNSIGNED = "image.signature"


@dataclass(frozen=True, slots=True)
class ImageGateReport:
    """What the gate learns from an image.

    Attributes:
        file: The verdict without that on signatures.
        images: Facts about each platform's image.
        signatures: Payloads, each with its signature, as the layout holds them.
    """

    file: FileReport
    images: tuple[ImageFacts, ...]
    signatures: tuple[tuple[bytes, bytes], ...]


def judge_upload(payload: bytes, image: View, *, digest: str, today: str) -> ImageGateReport:
    """Judge an image by rules.

    Args:
        payload: A MessagePack map: `rules`, JSON; and `advisories:FAMILY`, the snapshot of each
            family of ecosystems.
        image: The tar of a layout, read where it lies.
        digest: Of the image that is meant.
        today: ISO 8601; waivers end by it.

    Raises:
        InputError: The payload is not one, or holds no such image.
        LimitExceededError: The layout is beyond a bound.
    """
    try:
        given = _DECODER.decode(payload)
        written = rules_of(msgspec.json.decode(given["rules"]))
    except (msgspec.DecodeError, KeyError) as error:
        raise InputError("the payload is not an image with rules", code="scan.payload") from error

    def advisories(family: str) -> Snapshot | None:
        known = given.get(f"advisories:{family}")
        return None if known is None else _SNAPSHOT.decode(known)

    rest = tuple(one for one in written.require if one != "signature")
    rules = ImageRules(
        today=date.fromisoformat(today),
        written=msgspec.structs.replace(written, require=rest),
        given=True,
        advisories=advisories,
    )
    layout = layout_of(image)
    report = scan_image("image", layout, rules, digest=digest)
    findings = Findings(code_capable=True)
    findings.items = [one for one in report.file.findings if one.id != _UNSIGNED]
    return ImageGateReport(
        replace(report.file, verdict=findings.verdict(), findings=tuple(findings.items[:200])),
        report.images,
        signatures_of(layout, digest, IMAGE),
    )
