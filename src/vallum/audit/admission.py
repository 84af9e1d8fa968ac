"""What admission hands out and what it refuses with: permits are made here and nowhere else."""

from dataclasses import dataclass, field

from vallum.base import Clock, NotFoundError, Permit, RefusedError, VallumError
from vallum.schema import Decision, Entry
from vallum.store import Transaction


@dataclass(frozen=True, slots=True)
class Head:
    """The committed end of the log."""

    size: int
    frontier: tuple[bytes, ...]
    root: bytes


@dataclass(frozen=True, slots=True)
class Logged:
    """An entry with its place."""

    index: int
    entry: Entry
    leaf: bytes


@dataclass(frozen=True, slots=True)
class LogTransaction(Transaction):
    """The one writer's transaction, with the permits that must be sealed before it commits."""

    pending: dict[str, Entry] = field(default_factory=dict)


class AdmissionRefusal(Exception):  # noqa: N818 - wraps the error that the caller gets
    """Leaves `Log.transaction` after the refusal was committed; `error` is what to raise."""

    def __init__(self, error: VallumError) -> None:
        super().__init__()
        self.error = error


def mint(
    entry: Entry,
    grants: list[tuple[str, str]],
    *,
    own: str,
    lifetime_s: float,
    clock: Clock,
) -> Permit:
    """Make the permit of an entry: the one place where permits are made."""
    return Permit(
        request_digest=entry.request_digest,
        entry_id=entry.id,
        principal_id=entry.principal_id,
        # A step that asks for nothing touches only what is the caller's own.
        grants=grants or [("own", own)],
        lifetime_s=lifetime_s,
        monotonic=clock.monotonic,
    )


def refusal_of(decision: Decision) -> VallumError:
    """Return the error of a refusal: what is missing, or that nothing may be known."""
    if decision.concealed:
        return NotFoundError(
            "there is no such thing, or you may not know of it",
            hint="`vallum role explain` says why, to those who may ask",
        )
    texts = [reason.text for reason in decision.reasons]
    shown = "; ".join(texts[:3]) + ("; …" if len(texts) > 3 else "")  # noqa: PLR2004 - enough to act on
    needs = {reason.kind for reason in decision.reasons}
    # Of an assignment or deny the id is not told: `role explain` does, to those who may ask.
    missing = [
        (one.kind, one.id if one.kind == "requirement" else "", one.text)
        for one in decision.reasons
    ]
    if needs == {"requirement"}:
        return RefusedError(
            f"evidence is missing: {shown}",
            code="policy.evidence",
            hint="`vallum model test` and `sign` leave evidence, `vallum approval create` a yes",
            missing=missing,
        )
    action = decision.asks[0].action if decision.asks else ""
    who = decision.caller.name
    hint = f"vallum role explain {who} {action}" if action else ""
    if any(one.kind == "purpose" for one in decision.reasons):
        hint = "say what it is for: vallum --purpose NAME …"
    return RefusedError(shown, hint=hint, missing=missing)
