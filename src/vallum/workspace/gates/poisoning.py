"""The gate `poisoning` on labelled tables, and the quarantine of what it finds."""

from datetime import datetime
from typing import TypeVar

import msgspec

from vallum.base.bounds import GIB
from vallum.defend.gate import (
    DETECTOR,
    FALSE_ALARMS,
    PoisonInspection,
    QuarantinedTable,
    Suspect,
)
from vallum.defend.poisoning import DEFAULT_ALPHA
from vallum.sandbox import Limits, run_check
from vallum.schema import Evidence, Verdict
from vallum.workspace.gates.table import ALLOWED, POISONING, QUARANTINE, About, evidence
from vallum.workspace.house import House

_LIMITS = Limits(memory_bytes=6 * GIB, wall_s=900.0, cpu_s=1800, output_bytes=1 * GIB)
R = TypeVar("R")


def inspect_poisoning(house: House, suspect: Suspect, seed: int) -> PoisonInspection:
    """Look for poison in a fresh sandbox.

    Raises:
        InputError: The table cannot be judged: it says why.
        LimitExceededError: It exceeds a bound.
        GateError: The sandbox was killed, late or silent.
    """
    return _checked(house, POISONING.function, suspect, PoisonInspection, seed)


def quarantine_rows(house: House, suspect: Suspect, seed: int) -> QuarantinedTable:
    """Take the suspicious rows out in a fresh sandbox; raises as `inspect_poisoning`."""
    return _checked(house, QUARANTINE, suspect, QuarantinedTable, seed)


def _checked(house: House, function: str, suspect: Suspect, report_type: type[R], seed: int) -> R:
    return run_check(
        house.runner,
        function,
        msgspec.msgpack.encode(suspect),
        report_type=report_type,
        allowed=ALLOWED,
        arguments={"seed": seed % 2**53},
        limits=_LIMITS,
    )


def poisoning_evidence(
    found: PoisonInspection,
    suspect: Suspect,
    *,
    subject_id: str,
    subject_digest: str,
    seed: int,
    now: datetime,
) -> Evidence:
    """Return what the gate says: counts, and never a row, a label or a contributor's name."""
    improbable = sum(one.improbable for one in found.contributors)
    return evidence(
        POISONING,
        Verdict.FAIL if found.suspicious else Verdict.PASS,
        About(subject_id, subject_digest, now),
        measures={
            "rows": found.rows,
            "columns": found.columns,
            "columns_left_out": len(found.left_out),
            "columns_beside": found.beside,
            "flagged": found.flagged,
            "flagged_share": found.flagged / found.rows,
            "wrong_labels": found.wrong_labels,
            "triggers": found.triggers,
            **{name.replace("-", "_"): count for name, count in found.reasons.items()},
            **(
                {"contributors": len(found.contributors), "contributors_improbable": improbable}
                if found.contributors
                else {}
            ),
        },
        parameters={
            "detector": DETECTOR,
            "false_alarms": str(FALSE_ALARMS),
            "alpha": str(DEFAULT_ALPHA),
            "label_column": suspect.label,
            "features": ",".join(sorted(suspect.features)),
            "contributor": "version" if suspect.by_version else suspect.contributor,
        },
        seed=str(seed % 2**53),
    )
