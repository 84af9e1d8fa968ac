"""Gates on tables: pii and risk at ingest, anonymity at protect."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import BinaryIO

import msgspec

from vallum.base.bounds import GIB
from vallum.crypto import Purpose
from vallum.monitor import DriftReport
from vallum.privacy.gate import Extract, PackedTable, ProtectedTable, TableInspection
from vallum.sandbox import BubblewrapRunner, Limits, run_check
from vallum.schema import AssetVersion, Evidence, Verdict, api
from vallum.workspace.gates.table import (
    ALLOWED,
    ANONYMITY,
    DRIFT,
    EXTRACT,
    FORGET,
    PII,
    RISK,
    UNMASK,
    About,
    evidence,
)
from vallum.workspace.house import House

PEOPLE_PART = "_people.index"
# Polars takes up to 90 bytes of memory for one byte of a table of tiny cells.
_LIMITS = Limits(memory_bytes=6 * GIB, wall_s=300.0, cpu_s=600, output_bytes=1 * GIB)


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

    def index(self) -> list[tuple[str, bytes]]:
        """Return the part that tells who is in it, if there is one."""
        return [] if self.report.people is None else [(PEOPLE_PART, self.report.people)]

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


def people_key(house: House) -> bytes:
    """Return the key of the indexes of who is in which table."""
    return house.keyring.derive(Purpose.COMMITMENT, info=b"people").reveal()


def inspect_table(house: House, content: BinaryIO | bytes, kind: str) -> Inspection:
    """Parse, classify and index a table in a fresh sandbox.

    Raises:
        InputError: The table is malformed.
        LimitExceededError: It exceeds a bound.
        GateError: The sandbox was killed, late or silent.
    """
    report = run_check(
        house.runner,
        PII.function,
        content if isinstance(content, bytes) else content.read(),
        report_type=TableInspection,
        allowed=ALLOWED,
        arguments={"kind": kind, "people_key": people_key(house).hex()},
        limits=_LIMITS,
    )
    return Inspection(report)


def extract_table(
    house: House, table: bytes, kind: str, *, columns: Sequence[str], recipe: str, asset_id: str
) -> Extract:
    """Return some columns of a table, or its masked view, from a fresh sandbox.

    Raises:
        InputError: A column is not there.
        GateError: The sandbox was killed, late or silent.
    """
    return run_check(
        house.runner,
        EXTRACT,
        table,
        report_type=Extract,
        allowed=ALLOWED,
        arguments={
            "kind": kind,
            "columns": _names(columns),
            "recipe": recipe,
            "key_hex": _view_key(house, asset_id),
        },
        limits=_LIMITS,
    )


def unmask_rows(house: House, table: bytes, kind: str, *, recipe: str, asset_id: str) -> Extract:
    """Undo the reversible masking of rows that came from a view, in a fresh sandbox.

    Raises:
        InputError: Nothing of it can be undone.
        GateError: The sandbox was killed, late or silent.
    """
    return run_check(
        house.runner,
        UNMASK,
        table,
        report_type=Extract,
        allowed=ALLOWED,
        arguments={"kind": kind, "recipe": recipe, "key_hex": _view_key(house, asset_id)},
        limits=_LIMITS,
    )


def forget_people(house: House, table: bytes, kind: str, identifiers: Sequence[str]) -> Extract:
    """Return a table without the records of a person, from a fresh sandbox.

    Raises:
        GateError: The sandbox was killed, late or silent.
    """
    return run_check(
        house.runner,
        FORGET,
        table,
        report_type=Extract,
        allowed=ALLOWED,
        arguments={"kind": kind, "identifiers": _names(identifiers)},
        limits=_LIMITS,
    )


def _view_key(house: House, asset_id: str) -> str:
    """A key for each asset: what two views show of one person cannot be joined."""
    derived = house.keyring.derive(Purpose.COMMITMENT, info=b"view:" + asset_id.encode())
    return derived.reveal().hex()


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
        msgspec.msgpack.encode(PackedTable(table, dict(args.hierarchies))),
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
