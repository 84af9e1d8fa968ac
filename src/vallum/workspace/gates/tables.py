"""Gates on tables: pii and risk at ingest, anonymity at protect."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import BinaryIO

import msgspec

from vallum.crypto import Purpose
from vallum.monitor import DriftReport
from vallum.privacy.gate import ProtectedTable, TableInspection
from vallum.sandbox import BubblewrapRunner, Limits, run_check
from vallum.schema import AssetVersion, Evidence, Verdict, api
from vallum.workspace.gates.table import ALLOWED, ANONYMITY, DRIFT, PII, RISK, About, evidence
from vallum.workspace.house import House

_LIMITS = Limits(wall_s=300.0, cpu_s=600, output_bytes=1024 * 1024 * 1024)


@dataclass(frozen=True, slots=True)
class Inspection:
    """What ingest found out about a table; holds no value of it."""

    report: TableInspection

    @property
    def label(self) -> str:
        """Return the label that the columns suggest."""
        return str(self.report.label)

    @property
    def rows(self) -> int:
        """Return the number of rows."""
        return self.report.rows

    @property
    def columns(self) -> tuple[str, ...]:
        """Return the names of the columns."""
        return tuple(self.report.columns)

    def details(self) -> list[object]:
        """Return the findings for the encrypted details of the log entry."""
        return [
            {"column": one.name, "type": one.type, "count": one.count}
            for one in self.report.findings
        ]

    def evidence(
        self, *, subject_id: str, subject_digest: str, now: datetime
    ) -> tuple[Evidence, ...]:
        """Return what the gates `pii` and `risk` say; both measure, neither refuses."""
        personal = [one for one in self.report.findings if one.type]
        about = About(subject_id, subject_digest, now)
        return (
            evidence(
                PII,
                Verdict.PASS,
                about,
                measures={
                    "columns": len(self.report.columns),
                    "personal_columns": len(personal),
                    "rows": self.report.rows,
                },
                parameters={"label": self.label},
            ),
            evidence(
                RISK,
                Verdict.PASS,
                about,
                measures={
                    "uniques": self.report.risk.uniques,
                    "prosecutor_mean": self.report.risk.prosecutor_mean,
                },
            ),
        )


def inspect_table(runner: BubblewrapRunner, content: BinaryIO, kind: str) -> Inspection:
    """Parse and classify a table in a fresh sandbox.

    Raises:
        InputError: The table is malformed.
        LimitExceededError: It exceeds a bound.
        GateError: The sandbox was killed, late or silent.
    """
    report = run_check(
        runner,
        PII.function,
        content.read(),
        report_type=TableInspection,
        allowed=ALLOWED,
        arguments={"kind": kind},
        limits=_LIMITS,
    )
    return Inspection(report)


@dataclass(frozen=True, slots=True)
class Protection:
    """A protected table and how well it is protected, by two independent counts."""

    report: ProtectedTable
    wanted_k: int

    @property
    def table(self) -> bytes:
        """Return the protected table as CSV."""
        return self.report.csv

    @property
    def columns(self) -> tuple[str, ...]:
        """Return its columns."""
        return tuple(self.report.columns)

    @property
    def kept(self) -> int:
        """Return how many records it has."""
        return self.report.rows_kept

    @property
    def total(self) -> int:
        """Return how many records there were."""
        return self.report.rows_total

    @property
    def suppressed(self) -> int:
        """Return how many records were left out."""
        return self.report.suppressed

    @property
    def k(self) -> int:
        """Return the smaller of the k that was reached and the k that was counted again."""
        return min(self.report.k, self.report.k_checked)

    @property
    def verdict(self) -> Verdict:
        """Pass only if both counts reach the k that was asked for."""
        return Verdict.PASS if self.k >= self.wanted_k else Verdict.FAIL

    def evidence(
        self, *, subject_id: str, subject_digest: str, now: datetime
    ) -> tuple[Evidence, ...]:
        """Return what the gate `anonymity` says."""
        return (
            evidence(
                ANONYMITY,
                self.verdict,
                About(subject_id, subject_digest, now),
                measures={
                    "k": self.k,
                    "suppressed": self.suppressed,
                    "rows": self.kept,
                    "loss": self.report.loss,
                    "l": self.report.l,
                    "t": self.report.t,
                },
                parameters={
                    "k": str(self.wanted_k),
                    "method": self.report.method,
                    "requirements": ", ".join(self.report.requirements),
                },
            ),
        )


def protect_table(house: House, table: bytes, kind: str, args: api.DataProtect) -> Protection:
    """Drop or pseudonymise identifiers and generalise to k, in a fresh sandbox.

    Raises:
        InputError: A named column is missing, or the request contradicts itself.
        GateError: The sandbox was killed, late or silent.
    """
    report = run_check(
        house.runner,
        ANONYMITY.function,
        table,
        report_type=ProtectedTable,
        allowed=ALLOWED,
        arguments={
            "kind": kind,
            "k": args.k,
            "max_suppression": args.max_suppression,
            "quasi_identifiers": _names(args.quasi_identifiers),
            "drop": _names(args.drop),
            "pseudonymise": _names(args.pseudonymise),
            "sensitive": _names(args.sensitive),
            "diversity": _names(args.diversity),
            "closeness": _names(args.closeness),
            "method": args.method,
            "hierarchies": dict(args.hierarchies),
            "key_hex": house.keyring.derive(Purpose.COMMITMENT, info=b"pseudonym").reveal().hex(),
        },
        limits=_LIMITS,
    )
    return Protection(report, args.k)


def _names(names: Sequence[str]) -> list[str]:
    return list(names)


def compare_tables(
    runner: BubblewrapRunner,
    *,
    reference: bytes,
    reference_version: AssetVersion,
    current: bytes,
    current_version: AssetVersion,
    now: datetime,
) -> Evidence:
    """Compare two tables in a fresh sandbox; a feature drifts if it is significant and large.

    Raises:
        InputError: They share no numeric column.
        GateError: The sandbox was killed, late or silent.
    """
    report = run_check(
        runner,
        DRIFT.function,
        msgspec.msgpack.encode({"reference": reference, "current": current}),
        report_type=DriftReport,
        allowed=ALLOWED,
        arguments={
            "reference_kind": reference_version.format,
            "current_kind": current_version.format,
        },
        limits=_LIMITS,
    )
    drifted = [one for one in report.features if one.drifted]
    largest = max((one.psi for one in report.features), default=0.0)
    return evidence(
        DRIFT,
        Verdict.FAIL if drifted else Verdict.PASS,
        About(current_version.id, current_version.digest, now),
        measures={
            "features": len(report.features),
            "drifted": len(drifted),
            "largest_psi": largest,
            "rows": report.rows,
        },
        data_digest=reference_version.digest,
    )
