"""`vallum scan --image`: an image, its rules and what it is matched against."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from vallum.base import InputError, SystemClock
from vallum.base.version import VERSION
from vallum.cli.border import read_file, write_out

if TYPE_CHECKING:
    from vallum.scan.advisories import Snapshot
    from vallum.scan.image import ImageReport

_SECRET = "security."  # noqa: S105 - how the types of tokens begin


def judge_image(
    path: Path, *, digest: str, rules_file: Path | None, keys: Sequence[Path],
    reports: Sequence[Path],
) -> "ImageReport":  # fmt: skip
    """Judge the image of a layout, by a person's rules or by the defaults.

    Raises:
        InputError: The layout, the rules, a key or a report cannot be read.
    """
    from vallum.crypto import VerifyKey
    from vallum.scan.image import (
        ImageRules,
        Written,
        open_layout,
        read_report,
        read_rules,
        scan_image,
    )

    given = rules_file is not None
    written = Written(require=()) if rules_file is None else read_rules(read_file(rules_file))
    rules = ImageRules(
        today=SystemClock().now().date(),
        written=written,
        given=given,
        advisories=_advisories,
        verifiers=tuple(
            VerifyKey.from_pem(one).signer
            for one in (*map(read_file, keys), *(one.encode() for one in written.keys))
        ),
        finder=tokens,
    )
    read = [read_report(read_file(one)) for one in reports]
    return scan_image(str(path), open_layout(path), rules, digest=digest, reports=read)


def _advisories(family: str) -> "Snapshot | None":
    from vallum.scan.advisories import advisories_path, load_snapshot

    return load_snapshot(advisories_path(family))


def told(report: "ImageReport") -> list[dict[str, object]]:
    """Return facts about each image for `--json`; `chain` is what a trusted base is named by."""
    from vallum.scan.image import chain_id

    return [
        {
            "digest": one.digest, "platform": one.platform, "user": one.user, "base": one.base,
            "chain": chain_id(one.diff_ids), "distribution": one.distribution,
            "packages": len(one.packages), "signers": list(one.signers),
        }
        for one in report.images
    ]  # fmt: skip


def write_image_bom(report: "ImageReport", name: str, target: Path | None) -> None:
    """Write the bill of materials of the one image that there is.

    Raises:
        InputError: There are several images, or none that could be read.
    """
    from vallum.govern import image_bill_of_materials

    if target is None:
        return
    if len(report.images) != 1:
        raise InputError(
            f"a bill of materials is of one image, and {len(report.images)} were read",
            code="image.which", hint="name the manifest of one platform with --digest",
        )  # fmt: skip
    write_out(image_bill_of_materials(name, report.images[0], version=VERSION), target)


def tokens(texts: Sequence[str]) -> list[list[tuple[int, str]]]:
    """Find tokens by the forms that the discovery of personal data knows."""
    from vallum.privacy import discover_texts

    return [
        [
            (span.start, span.type.removeprefix(_SECRET))
            for span in spans
            # Passwords are told by names, which the scan reads with more of their context.
            if span.type.startswith(_SECRET) and span.type != "security.password"
        ]
        for spans in discover_texts(texts)
    ]
