"""Why a request was decided as it was, and who could change that (`vallum role explain`)."""

from dataclasses import dataclass

from vallum.policy.actions import Action, find_action
from vallum.policy.authority import Authority
from vallum.policy.data_actions import DATA_ACTIONS
from vallum.policy.decision import visible
from vallum.policy.facts import RequestFacts
from vallum.schema import Caller, Decision, PrincipalKind, Reason


@dataclass(frozen=True, slots=True)
class Missing:
    """A right that was missing.

    Attributes:
        action: Which.
        resource_id: On what.
        scopes: Where it could be given, from the narrowest to the workspace.
        grantors: Ids of those who could give it: they may grant on its plane, and hold it
            themselves where it is a control right.
    """

    action: Action
    resource_id: str
    scopes: tuple[str, ...]
    grantors: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Explanation:
    """What determined a decision, and what was missing."""

    allowed: bool
    determined: tuple[Reason, ...]
    missing: tuple[Missing, ...]


def explain(decision: Decision, *, authority: Authority, facts: RequestFacts) -> Explanation:
    """Explain `decision` under the rules it was taken under."""
    missing: dict[tuple[str, str], Missing] = {}
    for ask in decision.asks:
        action = find_action(ask.action)
        if action is None or visible(
            action, decision.caller, ask.resource, authority=authority, facts=_bare(facts)
        ):
            continue
        needed = (
            (Action.DATA_GRANTS_WRITE,)
            if action in DATA_ACTIONS
            else (Action.ROLE_ASSIGNMENTS_WRITE, action)
        )
        grantors = tuple(
            caller.id
            for caller in _candidates(authority)
            if caller.id != decision.caller.id
            and all(
                visible(one, caller, ask.resource, authority=authority, facts=_bare(facts))
                for one in needed
            )
        )
        missing[action, ask.resource.id] = Missing(
            action, ask.resource.id, ask.resource.chain, grantors
        )
    return Explanation(decision.allowed, decision.reasons, tuple(missing.values()))


def _bare(facts: RequestFacts) -> RequestFacts:
    """Return the circumstances in which only rights matter.

    Missing evidence and a missing interactive session are told by the reasons.
    """
    return RequestFacts(now=facts.now, purpose=facts.purpose, interactive=True)


def _candidates(authority: Authority) -> list[Caller]:
    if authority.principals:
        return [
            authority.caller_of(principal.id)
            for principal in authority.principals.values()
            if principal.kind is not PrincipalKind.GROUP and principal.id not in authority.sealed
        ]
    ids = sorted({assignment.principal_id for assignment in authority.assignments})
    return [Caller(id=one, kind=PrincipalKind.USER, name=one) for one in ids]
