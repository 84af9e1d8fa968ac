"""Gates on models: scan, signature, integrity, evasion, membership."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import BinaryIO

import msgspec

from vallum.attack import AttackReport
from vallum.base import InputError, digest
from vallum.base.bounds import GIB
from vallum.sandbox import BubblewrapRunner, Limits, run_check
from vallum.scan import FileReport, ScanReport, ScanVerdict
from vallum.scan.gate import GateReport
from vallum.schema import AssetVersion, Evidence, ModelInterface, Verdict, api
from vallum.workspace.gates.table import (
    ALLOWED,
    EVASION,
    INTEGRITY,
    MEMBERSHIP,
    SCAN,
    SIGNATURE,
    About,
    evidence,
)

MAX_EVASION_SUCCESS = 0.5
"""Share of attacked records that may be flipped within the small perturbation."""
MAX_MEMBERSHIP_AUC = 0.65
"""Upper bound of the interval around the attack's AUC; 0.5 is guessing."""
MAX_BUDGET_S = 600


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
        """Return the first finding as a sentence."""
        for file in self.report.files:
            for finding in file.findings:
                where = f" at {finding.offset}" if finding.offset is not None else ""
                member = f" in `{finding.member}`" if finding.member else ""
                return f"{finding.message}{member}{where} (`{file.path}`, {finding.id})"
        return "its format is not known to be safe"

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


def carries_no_code(file: FileReport) -> bool:
    """Tell whether a file can be handed to somebody who loads it.

    `clean` files cannot carry code. skops files of trusted types alone name the types that they
    are made of, and their loader makes no other; a pickle that looks harmless is still a pickle.
    """
    if file.verdict is ScanVerdict.CLEAN:
        return True
    return file.verdict is ScanVerdict.DATA_LIKE and file.format == "skops"


def signature_evidence(
    version: AssetVersion, signer: str, bundle: bytes, *, now: datetime
) -> Evidence:
    """Return that `signer` signed every byte of `version`."""
    return evidence(
        SIGNATURE,
        Verdict.PASS,
        About(version.id, version.digest, now),
        parameters={"signer": signer, "bundle": digest(bundle)},
    )


def integrity_evidence(version: AssetVersion, *, now: datetime) -> Evidence:
    """Return that every byte of `version` was read and has its digest."""
    return evidence(
        INTEGRITY,
        Verdict.PASS,
        About(version.id, version.digest, now),
        measures={"bytes": sum(part.length for part in version.parts)},
    )


def attack_model(
    runner: BubblewrapRunner,
    *,
    version: AssetVersion,
    model: bytes,
    members: bytes,
    members_version: AssetVersion,
    others: bytes,
    others_version: AssetVersion,
    args: api.ModelTest,
    seed: int,
    now: datetime,
) -> tuple[Evidence, ...]:
    """Attack an ONNX classifier in a fresh sandbox: evasion and membership inference.

    Raises:
        GateError: The attack could not be carried out; that is never a pass.
    """
    if not 1 <= args.budget_s <= MAX_BUDGET_S:
        raise InputError(f"the budget is 1 to {MAX_BUDGET_S} s", code="model.budget")
    payload = msgspec.msgpack.encode({"model": model, "members": members, "others": others})
    report = run_check(
        runner,
        EVASION.function,
        payload,
        report_type=AttackReport,
        allowed=ALLOWED,
        arguments={
            "members_kind": members_version.format,
            "others_kind": others_version.format,
            "label_column": args.label_column,
            "features": list(args.features),
            "budget_s": args.budget_s,
            "seed": seed % 2**63,
        },
        limits=Limits(
            memory_bytes=6 * GIB, wall_s=args.budget_s * 2.0 + 30.0, cpu_s=args.budget_s * 4 + 60
        ),
    )
    about = About(version.id, version.digest, now)
    evasion = report.evasion
    membership = report.membership
    return (
        evidence(
            EVASION,
            Verdict.PASS if evasion.success_high <= MAX_EVASION_SUCCESS else Verdict.FAIL,
            about,
            measures={
                "success_rate": evasion.success_rate,
                "success_high": evasion.success_high,
                "epsilon": evasion.epsilon,
                "attacked": evasion.attacked,
                "queries": evasion.queries,
                "accuracy": evasion.accuracy,
            },
            parameters={"attack": evasion.attack, "budget_s": str(args.budget_s)},
            data_digest=others_version.digest,
            seed=str(seed),
        ),
        evidence(
            MEMBERSHIP,
            Verdict.PASS if membership.auc_high <= MAX_MEMBERSHIP_AUC else Verdict.FAIL,
            about,
            measures={
                "auc": membership.auc,
                "auc_low": membership.auc_low,
                "auc_high": membership.auc_high,
                "members": membership.members,
                "others": membership.others,
            },
            parameters={"attack": membership.attack, "budget_s": str(args.budget_s)},
            data_digest=members_version.digest,
            seed=str(seed),
        ),
    )
