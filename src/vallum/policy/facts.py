"""What a decision is taken on beside the rules: the request, its moment, and the evidence."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from vallum.schema import Evidence, Record, Waiver


class BreakGlass(Record, frozen=True):
    """An opened seal of the break-glass principal; times are stored RFC 3339 timestamps."""

    principal_id: str
    reason: str
    opened_by: tuple[str, ...]  # one or two persons
    opened_at: str
    expires_at: str


class Approval(Record, frozen=True):
    """A person's yes to one step with one subject."""

    id: str
    step: str
    subject_digest: str
    resource_id: str  # where the subject is to go, such as the endpoint; empty: wherever asked
    by: str
    interactive: bool
    made_at: str
    expires_at: str


@dataclass(frozen=True, slots=True)
class RequestFacts:
    """The circumstances of one request.

    Attributes:
        now: Aware time of the decision; never earlier than the newest log entry.
        step: Name of the step that is to run; empty where none is (listing, reading).
        purpose: Why, as the caller states it; conditions may ask for it.
        interactive: The caller sits at a console session.
        source: Where the request came from; recorded, never decided on.
        request_digest: Digest that the permit will be bound to.
        break_glass: The opened seal, if the caller is the break-glass principal.
    """

    now: datetime
    step: str = ""
    purpose: str = ""
    interactive: bool = False
    source: str = ""
    request_digest: str = ""
    break_glass: BreakGlass | None = None


@dataclass(frozen=True, slots=True)
class EvidenceView:
    """The evidence, waivers and approvals about the subjects of one request.

    Attributes:
        evidence: All verdicts about the subjects, failing ones too: one left out may allow.
        waivers: Waivers on record for the subjects.
        approvals: Approvals on record for the subjects.
        makers: For each subject's digest, every principal in its lineage; empty means unknown,
            and then no evidence, waiver or approval counts as another person's.
    """

    evidence: tuple[Evidence, ...] = ()
    waivers: tuple[Waiver, ...] = ()
    approvals: tuple[Approval, ...] = ()
    makers: Mapping[str, frozenset[str]] = field(default_factory=dict)


NO_EVIDENCE = EvidenceView()
