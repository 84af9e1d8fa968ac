"""What crosses the HTTP border about the rules: policy file, waivers, break-glass, sessions."""

from typing import Annotated

import msgspec

from vallum.schema.asset import Waiver
from vallum.schema.record import Record


class PolicySet(Record, frozen=True):
    """Replace the policy file."""

    document: str  # `vallum.policy/1` as JSON text
    reason: str


class PolicyChange(Record, frozen=True):
    """One requirement that came or went, and what it means for a step."""

    step: str
    effect: str  # `easier` or `harder`
    text: str


class PolicyShown(Record, frozen=True):
    """The policy file in force."""

    document: str  # JSON text
    revision: int  # 0: the strict default, nobody has set one
    digest: str
    changed_at: str = ""
    changed_by: str = ""
    reason: str = ""
    changes: tuple[PolicyChange, ...] = ()  # against what held before


class WaiverCreate(Record, frozen=True):
    """Let a failed or missing gate pass for a version, for a time, as a second person."""

    name: str
    gate: str
    reason: str
    kind: str = "model"  # or `data`
    version: int | None = None
    days: int = 7


class Waivers(Record, frozen=True):
    """Waivers on record."""

    waivers: tuple[Waiver, ...] = ()


class BreakGlassOpen(Record, frozen=True):
    """Break the seal, with a reason that everybody will read."""

    reason: str


class BreakGlassShown(Record, frozen=True):
    """The sealed principal: whether it is open, since when, why and by whom."""

    principal_id: str
    state: str  # `sealed`, `waiting` for another person, or `open`
    persons_needed: int
    reason: str = ""
    opened_by: tuple[str, ...] = ()
    opened_at: str = ""
    expires_at: str = ""
    secret: str = ""  # its key, once, to whoever opened it


class Federate(Record, frozen=True):
    """Let tokens of another issuer, or certificates of an authority, act as a principal."""

    name: str  # of the principal
    subject: str  # of certificates: a URI, DNS name or e-mail address in them
    issuer: str = ""
    audience: str = ""
    authority: str = ""  # certificate, PEM: instead of issuer and audience
    public_keys: str = ""  # JSON Web Key Set; empty: asked for at the issuer
    expires_at: str = ""
    actions: tuple[str, ...] = ()
    scope: str = ""


class SessionCreate(Record, frozen=True):
    """Open an interactive session with a user's own, un-narrowed key."""

    minutes: int = 15


class Consistency(Record, frozen=True):
    """Ask for a consistency proof between two sizes of the log."""

    old: Annotated[int, msgspec.Meta(ge=0, le=2**53)]
    new: Annotated[int, msgspec.Meta(ge=0, le=2**53)]


class ConsistencyProof(Record, frozen=True):
    """Sibling hashes in hexadecimal, RFC 9162 section 2.1.4, and the newest signed note."""

    old: int
    new: int
    path: tuple[str, ...]
    checkpoint: str
