"""What gates leave behind and policy decides on."""

from enum import StrEnum

from vallum.schema.record import Measure, Record


class Verdict(StrEnum):
    """A gate's conclusion. `ERROR` counts as `FAIL` everywhere."""

    ERROR = "error"
    FAIL = "fail"
    PASS = "pass"  # noqa: S105 - a verdict, not a password


class Label(StrEnum):
    """Sensitivity, from lowest to highest; unclassified counts as the highest."""

    PUBLIC = "public"
    GENERAL = "general"
    CONFIDENTIAL = "confidential"
    HIGHLY_CONFIDENTIAL = "highly-confidential"


class Evidence(Record, frozen=True):
    """One gate's verdict about one subject. Details are stored apart, encrypted, under its label.

    Measures are decimal text, such as `{"auc": "0.53"}`.
    """

    id: str
    gate: str
    gate_version: str
    code_digest: str
    subject_id: str
    subject_digest: str
    verdict: Verdict
    threat: str  # such as `model-extraction`
    parameters: dict[str, str] = {}
    measures: dict[str, Measure] = {}
    seed: str = ""
    data_digest: str = ""
    policy_digest: str = ""
    issuer: str = ""
    made_at: str = ""
    enforced_limits: tuple[str, ...] = ()  # which sandbox limits really held
    details_commitment: str = ""


class Finding(Record, frozen=True):
    """One thing that a gate or scan found."""

    id: str
    severity: str  # `critical`, `high`, `medium`, `low`, `info`
    message: str
    member: str = ""
    offset: int | None = None
    atlas: str = ""
    line: int | None = None  # from 1, in a text; of the member, if there is one
