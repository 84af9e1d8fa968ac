"""Entries of the log. A leaf is the canonical JSON of an `Entry`."""

from enum import StrEnum

from vallum.schema.record import Record


class EntryKind(StrEnum):
    """What an entry records."""

    AUTHENTICATION_REFUSED = "authentication-refused"
    BUNDLE_CLOSED = "bundle-closed"  # predictions: root and counts
    BUNDLE_OPENED = "bundle-opened"
    DECISION = "decision"  # short step: decision, change and entry in one transaction
    EVIDENCE = "evidence"
    FINDING = "finding"
    GENESIS = "genesis"
    INTENT = "intent"  # long or external step: before
    OUTCOME = "outcome"  # long or external step: after
    REFUSAL = "refusal"
    REFUSALS = "refusals"  # exact aggregate of a flood
    SETTLEMENT = "settlement"  # what start-up did about an intent without an outcome


class Change(Record, frozen=True):
    """A state record made, replaced or removed."""

    kind: str
    id: str
    mac: str  # hexadecimal MAC of the new content; empty: removed


class Entry(Record, frozen=True):
    """What happened, without anything personal: random ids, and a commitment to the details."""

    id: str
    at: str
    kind: EntryKind
    step: str
    principal_id: str
    actions: tuple[str, ...] = ()
    resources: tuple[str, ...] = ()
    allowed: bool = True
    request_digest: str = ""
    request_id: str = ""
    intent_id: str = ""  # of an outcome or settlement
    evidence: tuple[str, ...] = ()  # digests of the evidence records
    changes: tuple[Change, ...] = ()
    generation: int = 0
    authority_root: str = ""
    error: str = ""  # stable code of what went wrong after it was allowed; empty: nothing did
    details: str = ""  # commitment: HMAC-SHA256 under 32 random bytes kept in the details
