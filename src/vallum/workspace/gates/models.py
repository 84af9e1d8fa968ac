"""Gates on models: scan, signature, integrity."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import BinaryIO

import msgspec

from vallum.base import InputError, digest
from vallum.sandbox import BubblewrapRunner, run_check
from vallum.scan import FileReport, ScanReport, ScanVerdict
from vallum.scan.gate import GateReport
from vallum.schema import AssetVersion, Caller, Evidence, ModelInterface, Verdict
from vallum.schema.release import ReleaseKey
from vallum.workspace.gates.table import (
    ALLOWED,
    INTEGRITY,
    SCAN,
    SECRETS,
    SIGNATURE,
    About,
    evidence,
)
from vallum.workspace.gates.texts import Hit, TextReport, searched

_GRAVITY = ("critical", "high", "medium", "low", "info")


@dataclass(frozen=True, slots=True)
class Scanned:
    """What the scan says about the files of a model."""

    report: ScanReport
    interface: ModelInterface | None = None

    @property
    def verdict(self) -> str:
        """Return the worst verdict."""
        return self.report.verdict.value

    @property
    def passed(self) -> bool:
        """Tell whether nothing was found."""
        return self.report.verdict in {ScanVerdict.CLEAN, ScanVerdict.DATA_LIKE}

    @property
    def format(self) -> str:
        """Return the format of the first file."""
        return self.report.files[0].format if self.report.files else "unknown"

    def worst(self) -> str:
        """Return the gravest finding as a sentence; the first one of several."""
        found = [(one, file.path, file.format == "empty")
                 for file in self.report.files for one in file.findings]  # fmt: skip
        if not found:
            return "its format is not known to be safe"
        finding, path, _ = min(found, key=lambda one: (_GRAVITY.index(one[0].severity), one[2]))
        where = f" at {finding.offset}" if finding.offset is not None else ""
        member = f" in `{finding.member}`" if finding.member else ""
        return f"{finding.message}{member}{where} (`{path}`, {finding.id})"

    def evidence(self, *, subject_id: str, subject_digest: str, now: datetime) -> Evidence:
        """Return the verdict as evidence."""
        findings = sum(len(file.findings) for file in self.report.files)
        return evidence(
            SCAN,
            Verdict.PASS if self.passed else Verdict.FAIL,
            About(subject_id, subject_digest, now),
            measures={"files": len(self.report.files), "findings": findings},
            parameters={"verdict": self.verdict},
        )


def scan_model(runner: BubblewrapRunner, files: Sequence[tuple[str, bytes | BinaryIO]]) -> Scanned:
    """Scan files in a fresh sandbox.

    Raises:
        GateError: The sandbox was killed, late or silent: that is no pass.
        InputError: There is no file.
    """
    if not files:
        raise InputError("a model has at least one file", code="model.empty")
    payload = msgspec.msgpack.encode(dict(files))
    report = run_check(runner, SCAN.function, payload, report_type=GateReport, allowed=ALLOWED)
    return Scanned(report.scan, report.interface)


@dataclass(frozen=True, slots=True)
class Leaked:
    """What stands in texts and must not, with the evidence of it."""

    hits: tuple[Hit, ...]
    evidence: Evidence


def search_texts(
    runner: BubblewrapRunner,
    files: Sequence[tuple[str, bytes]],
    *,
    subject_id: str,
    digest: str,
    now: datetime,
) -> Leaked | None:
    """Search cards, notebooks and configurations for secrets in a fresh sandbox; None: clean.

    Raises:
        GateError: The sandbox was killed, late or silent: that is no pass.
    """
    texts = searched(files)
    if not texts:
        return None
    payload = msgspec.msgpack.encode(texts)
    report = run_check(runner, SECRETS.function, payload, report_type=TextReport, allowed=ALLOWED)
    if not report.hits:
        return None
    found = evidence(
        SECRETS,
        Verdict.FAIL,
        About(subject_id, digest, now),
        measures={"files": len(texts), "findings": len(report.hits)},
    )
    return Leaked(report.hits, found)


def carries_no_code(file: FileReport) -> bool:
    """Tell whether a file can be handed to somebody who loads it.

    `clean` files cannot carry code, and empty ones hold none. skops files of trusted types alone
    name the types that they are made of, and their loader makes no other; a pickle that looks
    harmless is still a pickle. No loader runs a notebook.
    """
    if file.verdict is ScanVerdict.CLEAN or file.format == "empty":
        return True
    return file.verdict is ScanVerdict.DATA_LIKE and file.format in {"notebook", "skops"}


def signature_evidence(
    version: AssetVersion, signer: Caller, key: ReleaseKey, bundle: bytes, *, now: datetime
) -> Evidence:
    """Return that `signer` signed every byte of `version` with a release key."""
    return evidence(
        SIGNATURE,
        Verdict.PASS,
        About(version.id, version.digest, now),
        parameters={
            "signer": signer.id,
            "signer_kind": signer.kind.value,
            "key": key.key_id,
            "key_name": key.name,
            "key_kind": key.kind,
            "bundle": digest(bundle),
        },
    )


def integrity_evidence(version: AssetVersion, *, now: datetime) -> Evidence:
    """Return that every byte of `version` was read and has its digest."""
    return evidence(
        INTEGRITY,
        Verdict.PASS,
        About(version.id, version.digest, now),
        measures={"bytes": sum(part.length for part in version.parts)},
    )
