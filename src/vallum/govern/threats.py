"""The threats that steps and gates name, and what stands against each: one table.

What is not built is not in the table: an empty column is a gap, and says so.

Sources: MITRE ATLAS 5.6.0 (technique ids); NIST AI 100-2 E2025 (names of attacks, and of
attackers' objectives where no attack is named).
"""

from dataclasses import dataclass

from vallum.base import NotFoundError


@dataclass(frozen=True, slots=True)
class Threat:
    """One row.

    Attributes:
        id: As evidence and steps name it.
        title: For people.
        prevented_by: Rules and mechanisms that keep it from happening.
        detected_by: What shows that it happened.
        measured_by: Gates whose evidence says how exposed a subject is.
        atlas: Techniques of MITRE ATLAS; empty where ATLAS has none.
        nist: Name in NIST AI 100-2; empty where it has none.
    """

    id: str
    title: str
    prevented_by: tuple[str, ...]
    detected_by: tuple[str, ...]
    measured_by: tuple[str, ...]
    atlas: tuple[str, ...]
    nist: str


_ROWS = (
    Threat(
        id="backdoor",
        title="The model obeys a trigger that somebody put into it",
        prevented_by=("requirement backdoor", "requirement poisoning"),
        detected_by=("backdoor", "poisoning"),
        measured_by=("backdoor",),
        atlas=("AML.T0018", "AML.T0020"),
        nist="backdoor poisoning attack",
    ),
    Threat(
        id="bad-model",
        title="A model is wrong too often, or for some people more often than for others",
        prevented_by=("requirement performance", "requirement fairness"),
        detected_by=("performance", "fairness"),
        measured_by=("fairness", "performance"),
        atlas=(),
        nist="",
    ),
    Threat(
        id="data-drift",
        title="The world leaves the training data behind",
        prevented_by=(),
        detected_by=("drift",),
        measured_by=("drift",),
        atlas=(),
        nist="",
    ),
    Threat(
        id="data-leakage",
        title="Personal or secret data reaches somebody who may not see it",
        prevented_by=(
            "a key per version",
            "data rights apart from control rights",
            "protect",
            "redaction and expiry of captured requests",
            "rules on where scoring code connects to",
        ),
        detected_by=("refusals in the log", "posture", "planted records"),
        measured_by=("canary-watch", "pii", "secrets"),
        atlas=("AML.T0025", "AML.T0035"),
        nist="privacy compromise",
    ),
    Threat(
        id="data-poisoning",
        title="Training data are changed so that the model errs or obeys a trigger",
        prevented_by=("requirement poisoning", "quarantine", "revert to a clean version"),
        detected_by=("poisoning", "shares of contributors"),
        measured_by=("poisoning",),
        atlas=("AML.T0019", "AML.T0020"),
        nist="data poisoning attack",
    ),
    Threat(
        id="denial-of-service",
        title="Nobody else is served",
        prevented_by=("bounds before parsing", "rates", "concurrency limits", "lock-out"),
        detected_by=("aggregates of refusals",),
        measured_by=(),
        atlas=("AML.T0029",),
        nist="availability breakdown",
    ),
    Threat(
        id="evasion",
        title="A small change of the input changes the answer",
        prevented_by=("requirement evasion",),
        detected_by=("watched callers", "abstention"),
        measured_by=("evasion", "evasion-watch"),
        atlas=("AML.T0015", "AML.T0043.001"),
        nist="evasion attack",
    ),
    Threat(
        id="membership-inference",
        title="The model tells who was in the training data",
        prevented_by=("requirement membership", "rounding of answers"),
        detected_by=(),
        measured_by=("membership",),
        atlas=("AML.T0024.000",),
        nist="membership inference attack",
    ),
    Threat(
        id="model-extraction",
        title="The model is copied through its answers",
        prevented_by=(
            "rates per key and endpoint",
            "budgets of information per principal",
            "rounding of answers",
        ),
        detected_by=("bundles of scoring requests", "watched callers"),
        measured_by=("extraction", "extraction-watch"),
        atlas=("AML.T0024.002",),
        nist="model extraction attack",
    ),
    Threat(
        id="model-inversion",
        title="The model shows what a record that it was trained on looks like",
        prevented_by=("requirement inversion", "rounding of answers"),
        detected_by=(),
        measured_by=("inversion",),
        atlas=("AML.T0024.001",),
        nist="data reconstruction attack",
    ),
    Threat(
        id="model-tampering",
        title="A model does something else than what was approved",
        prevented_by=("scan", "signature", "immutable versions"),
        detected_by=("integrity",),
        measured_by=("conversion", "integrity", "scan", "signature"),
        atlas=("AML.T0010.003", "AML.T0011.000", "AML.T0018"),
        nist="model poisoning attack",
    ),
    Threat(
        id="privilege-escalation",
        title="Somebody does more than was granted",
        prevented_by=("deny by default", "grants checked at every step", "a second person"),
        detected_by=("refusals that name the rule",),
        measured_by=(),
        atlas=("AML.T0012",),
        nist="",
    ),
    Threat(
        id="re-identification",
        title="A record is led back to its person",
        prevented_by=("protect", "requirement risk"),
        detected_by=(),
        measured_by=("anonymity", "private-release", "risk"),
        atlas=(),
        nist="privacy compromise",
    ),
    Threat(
        id="supply-chain",
        title="Software of others brings in what it should not",
        prevented_by=(
            "image",
            "pinned digests",
            "trusted bases and keys",
            "scoring-code",
            "scoring code in the sandbox alone",
        ),
        detected_by=("integrity of running code",),
        measured_by=("image", "scoring-code"),
        atlas=("AML.T0010.001", "AML.T0010.004"),
        nist="supply chain attack",
    ),
)

THREATS: dict[str, Threat] = {row.id: row for row in _ROWS}


def threat(threat_id: str) -> Threat:
    """Return a row.

    Raises:
        NotFoundError: No such threat is known.
    """
    found = THREATS.get(threat_id)
    if found is None:
        raise NotFoundError(f"no threat is called `{threat_id[:80]}`", code="threat.not-found")
    return found
