"""The gate on container images: judged in the sandbox, signatures verified outside of it."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec

from vallum.base import InputError, VallumError
from vallum.base.bounds import GIB
from vallum.crypto import VerifyKey
from vallum.formats import Ranged
from vallum.sandbox import BubblewrapRunner, Limits, run_check
from vallum.scan import ScanVerdict
from vallum.scan.advisories import advisories_path
from vallum.scan.image import Written, rules_of, verify_signatures
from vallum.scan.image.gate import ImageGateReport
from vallum.scan.versions import KEYS
from vallum.schema import Evidence, ImageFacts, Verdict
from vallum.workspace.gates.table import ALLOWED, IMAGE, About, evidence

_LIMITS = Limits(memory_bytes=6 * GIB, wall_s=600.0, cpu_s=600)


class Judged(msgspec.Struct, frozen=True):
    """What the gate says.

    Attributes:
        report: Of the sandbox.
        signers: Ids of the trusted keys that signed.
        unsigned: Why there is none where one is asked for; empty otherwise.
    """

    report: ImageGateReport
    signers: tuple[str, ...]
    unsigned: str

    @property
    def passed(self) -> bool:
        """Tell whether nothing speaks against the image."""
        fine = self.report.file.verdict in (ScanVerdict.CLEAN, ScanVerdict.DATA_LIKE)
        return fine and not self.unsigned

    @property
    def facts(self) -> tuple[ImageFacts, ...]:
        """Facts about each platform's image."""
        return self.report.images

    def worst(self) -> str:
        """Return the first finding as a sentence."""
        if self.unsigned:
            return self.unsigned
        one = self.report.file.findings[0]
        where = f" in {one.member}" if one.member else ""
        return f"{one.message}{where} ({one.id})"

    def evidence(self, *, subject_id: str, subject_digest: str, digest: str,
                 now: datetime) -> Evidence:  # fmt: skip
        """Return the verdict as evidence."""
        bases = sorted({one.base for one in self.facts if one.base})
        return evidence(
            IMAGE,
            Verdict.PASS if self.passed else Verdict.FAIL,
            About(subject_id, subject_digest, now),
            measures={
                "findings": len(self.report.file.findings),
                "images": len(self.facts),
                "packages": sum(len(one.packages) for one in self.facts),
            },
            parameters={
                "digest": digest, "verdict": self.report.file.verdict.value,
                "base": ", ".join(bases), "signers": ", ".join(self.signers),
            },
        )  # fmt: skip


def image_rules(document: Mapping[str, Any]) -> tuple[Written, tuple[VerifyKey, ...]]:
    """Return what the policy file asks of images, and the keys that count.

    Raises:
        InputError: It is malformed, or a key is none.
    """
    written = rules_of(document)
    return written, tuple(VerifyKey.from_pem(one.encode()) for one in written.keys)


def judge(
    runner: BubblewrapRunner, image: Ranged, digest: str, document: Mapping[str, Any], *,
    now: datetime,
) -> Judged:  # fmt: skip
    """Judge an image in a fresh sandbox.

    Args:
        runner: Of the sandbox.
        image: A tar of an OCI layout; the sandbox asks for the parts that it reads.
        digest: Of the image that is meant.
        document: What the policy file asks of images.
        now: Waivers end by it.

    Raises:
        GateError: The sandbox was killed, late or silent: that is no pass.
        InputError: It is no layout, or holds no such image.
    """
    written, keys = image_rules(document)
    payload = {"rules": msgspec.json.encode(written)}
    for family in KEYS:
        path = advisories_path(family)
        if path.is_file():
            payload[f"advisories:{family}"] = path.read_bytes()
    report = run_check(
        runner, IMAGE.function, msgspec.msgpack.encode(payload), report_type=ImageGateReport,
        allowed=ALLOWED, limits=_LIMITS,
        arguments={"digest": digest, "today": now.date().isoformat()}, beside=image,
    )  # fmt: skip
    signers: tuple[str, ...] = ()
    unsigned = ""
    try:
        if keys:
            signers = verify_signatures(report.signatures, digest, [one.signer for one in keys])
        elif "signature" in written.require:
            raise InputError("no key is trusted to sign images", code="image.unsigned")
    except VallumError as error:
        unsigned = error.message
    return Judged(report, signers, unsigned)
