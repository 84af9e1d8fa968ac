"""The gates: what each looks at, which threat it answers, and the code that decides.

Whatever parses content runs in a fresh sandbox, by a function named here and nowhere else.
"""

import functools
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import vallum.base
from vallum.base import new_id, timestamp
from vallum.schema import Evidence, Verdict

ISSUER = "system-gates"


@dataclass(frozen=True, slots=True)
class Gate:
    """One gate.

    Attributes:
        name: As evidence and policy call it.
        version: Raised when its verdicts may change: then a failure may be tried again.
        threat: Row of `govern.threats` that it answers.
        rooms: Whose code decides; their digest is in the evidence.
        function: What runs in the sandbox; empty where the gate looks at digests only.
    """

    name: str
    version: str
    threat: str
    rooms: tuple[str, ...]
    function: str = ""


PII = Gate("pii", "1", "data-leakage", ("formats", "privacy"), "vallum.privacy.gate:inspect_table")
RISK = Gate("risk", "1", "re-identification", ("formats", "privacy"))
ANONYMITY = Gate(
    "anonymity", "1", "re-identification", ("formats", "privacy"),
    "vallum.privacy.gate:protect_table",
)  # fmt: skip
SCAN = Gate("scan", "1", "model-tampering", ("formats", "scan"), "vallum.scan.gate:scan_files")
SECRETS = Gate(
    "secrets", "1", "data-leakage", ("formats", "privacy", "scan"),
    "vallum.workspace.gates.texts:inspect_files",
)  # fmt: skip
CONVERSION = Gate("conversion", "1", "model-tampering", ("convert", "formats"))
SIGNATURE = Gate("signature", "1", "model-tampering", ("crypto",))
INTEGRITY = Gate("integrity", "1", "model-tampering", ("store", "crypto"))
_TESTS = ("attack", "formats"), "vallum.attack.gate:open_tests"
EVASION = Gate("evasion", "2", "evasion", *_TESTS)
MEMBERSHIP = Gate("membership", "2", "membership-inference", *_TESTS)
INVERSION = Gate("inversion", "1", "model-inversion", *_TESTS)
BACKDOOR = Gate("backdoor", "1", "backdoor", *_TESTS)
EXTRACTION = Gate("extraction", "1", "model-extraction", *_TESTS)
PERFORMANCE = Gate("performance", "1", "bad-model", *_TESTS)
FAIRNESS = Gate("fairness", "1", "bad-model", *_TESTS)
DRIFT = Gate("drift", "1", "data-drift", ("monitor", "formats"), "vallum.monitor.gate:compare")

IMAGE = Gate(
    "image", "1", "supply-chain", ("formats", "scan"), "vallum.scan.image.gate:judge_upload"
)

POISONING = Gate(
    "poisoning", "1", "data-poisoning", ("defend", "formats"),
    "vallum.defend.gate:inspect_poisoning",
)  # fmt: skip

EXTRACTION_WATCH = Gate("extraction-watch", "1", "model-extraction", ("monitor",))
EVASION_WATCH = Gate("evasion-watch", "1", "evasion", ("monitor",))
CANARY_WATCH = Gate("canary-watch", "1", "data-leakage", ("monitor",))

SCORING_CODE = Gate(
    "scoring-code", "1", "supply-chain", ("formats", "scan"), "vallum.scan.gate:scan_code_files"
)
RELEASE = Gate("private-release", "1", "re-identification", ("formats", "privacy"))

GATES = (
    ANONYMITY, BACKDOOR, CANARY_WATCH, CONVERSION, DRIFT, EVASION, EVASION_WATCH, EXTRACTION,
    EXTRACTION_WATCH, FAIRNESS, IMAGE, INTEGRITY, INVERSION, MEMBERSHIP, PERFORMANCE, PII,
    POISONING, RELEASE, RISK, SCAN, SCORING_CODE, SECRETS, SIGNATURE,
)  # fmt: skip
CUT = "vallum.guard.partitions:open_table"
DP_OPEN = "vallum.privacy.dp.gate:open_table"
DP_SKETCH = "vallum.privacy.dp.gate:sketch_table"
EXTRACT = "vallum.privacy.gate:extract_table"
FORGET = "vallum.privacy.gate:forget_people"
LEARN_QUERIES = "vallum.monitor.gate:learn_queries"
QUARANTINE = "vallum.defend.gate:quarantine_rows"
READ_CANARIES = "vallum.monitor.gate:read_canaries"
REDACT = "vallum.privacy.captured:open_redaction"
SYNTHESIZE = "vallum.privacy.dp.synthetic:synthesize"
SCORE = "vallum.guard.batch:open_batch"
SCORE_PART = "vallum.guard.partitions:open_part"
SHOW_NOTEBOOK = "vallum.scan.code.notebook_text:notebook_text"
UNMASK = "vallum.privacy.gate:unmask_rows"
# Not gates: they parse content for reading or scoring it, and give no verdict on it.
_READERS = (
    CUT, DP_OPEN, DP_SKETCH, EXTRACT, FORGET, LEARN_QUERIES, QUARANTINE, READ_CANARIES, REDACT,
    SCORE, SCORE_PART, SHOW_NOTEBOOK,
    SYNTHESIZE, UNMASK,
)  # fmt: skip
ALLOWED = frozenset({*_READERS, *(gate.function for gate in GATES if gate.function)})


@functools.cache
def code_digest(rooms: tuple[str, ...]) -> str:
    """Return the digest of the source of `rooms`: evidence tells which code decided."""
    total = hashlib.sha256()
    root = Path(vallum.base.__file__).parents[1]
    for room in rooms:
        for path in sorted((root / room).rglob("*.py")):
            total.update(path.relative_to(root).as_posix().encode() + b"\x00")
            total.update(hashlib.sha256(path.read_bytes()).digest())
    return "sha256:" + total.hexdigest()


@dataclass(frozen=True, slots=True)
class About:
    """What evidence is about, and when it was made."""

    subject_id: str
    subject_digest: str
    now: datetime


def evidence(
    gate: Gate,
    verdict: Verdict,
    about: About,
    *,
    measures: Mapping[str, str | float | int] | None = None,
    parameters: Mapping[str, str] | None = None,
    seed: str = "",
    data_digest: str = "",
    details: str = "",
    issuer: str = ISSUER,
) -> Evidence:
    """Return a gate's verdict as evidence; numbers become decimal text.

    `details` is the digest of a report that is kept apart.
    """
    return Evidence(
        id=str(new_id("evd")),
        gate=gate.name,
        gate_version=gate.version,
        code_digest=code_digest(gate.rooms),
        subject_id=about.subject_id,
        subject_digest=about.subject_digest,
        verdict=verdict,
        threat=gate.threat,
        parameters=dict(parameters or {}),
        measures={name: decimal_text(value) for name, value in (measures or {}).items()},
        seed=seed,
        data_digest=data_digest,
        details_commitment=details,
        issuer=issuer,
        made_at=timestamp(about.now),
    )


def decimal_text(value: str | float) -> str:
    """Return a number as decimal text with at most six places."""
    if isinstance(value, str | int):
        return str(value)
    return f"{value:.6f}".rstrip("0").rstrip(".")
