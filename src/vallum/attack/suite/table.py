"""Every threat that a suite measures and every attack that it makes: two tables.

A new attack is one row of `ATTACKS`; a new threat is one row of `THREATS` and its attacks.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from vallum.attack.suite import evasion, privacy
from vallum.attack.suite.bench import Bench, Effort, Measured
from vallum.attack.suite.subject import Subject

Suite = Literal["quick", "standard", "full"]
Access = Literal["labels", "scores", "gradients"]
SUITES: dict[str, Effort] = {
    "quick": Effort(records=50, tries=300, steps=20, targets=3),
    "standard": Effort(records=100, tries=1000, steps=50, targets=5),
    "full": Effort(records=250, tries=5000, steps=100, targets=9),
}
ACCESS: tuple[Access, ...] = ("labels", "scores", "gradients")


@dataclass(frozen=True, slots=True)
class ThreatRow:
    """A threat.

    Attributes:
        id: As threat model and evidence name it.
        measure: What its rate counts.
        limit: That the upper end of the interval must not exceed, unless the caller says else.
        means: The figure in words.
        lowers: What would lower it.
    """

    id: str
    measure: str
    limit: float
    means: str
    lowers: str


@dataclass(frozen=True, slots=True)
class AttackRow:
    """An attack.

    Attributes:
        name: For people.
        threat: What it measures.
        access: The least that it needs of the model.
        suites: In which it is made.
        training: It needs the training data.
        spare: Forms of data on which it is left out where the model offers more than `access`:
            there, others are stronger.
        queries: Upper bound of the questions to the model, in records.
        calls: About how many batches these make.
        run: Makes it.
    """

    name: str
    threat: str
    access: Access
    suites: tuple[Suite, ...]
    queries: Callable[[Subject, Effort], int]
    calls: Callable[[Subject, Effort], int]
    run: Callable[[Bench], Measured]
    training: bool = False
    spare: tuple[str, ...] = ()

    def unfit(self, subject: Subject, access: Access) -> str:
        """Say why it does not fit; nothing where it does."""
        if ACCESS.index(access) < ACCESS.index(self.access):
            return f"the model offers no more than {access}"
        if self.training and subject.train is None:
            return "it needs the training data"
        if subject.form in self.spare and access != self.access:
            return "the model offers more, and other attacks use it"
        return ""


THREATS = (
    ThreatRow(
        id="evasion",
        measure="share of correctly classified records that a small change flips, by any attack",
        limit=0.5,
        means="An attacker who may change an input a little gets a wrong answer for this share of"
        " inputs. Attacks find, they do not prove: the share that can be flipped is at least this.",
        lowers="adversarial training; fewer or coarser features that an attacker controls; answers"
        " without scores, which slow an attacker down and stop none",
    ),
    ThreatRow(
        id="membership-inference",
        measure="chance that a training record looks more like one than another record (AUC)",
        limit=0.65,
        means="Whoever sees the model's scores for a record can guess whether it was trained on;"
        " 0.5 is guessing. It is an average: single records may be far more exposed.",
        lowers="less overfitting (more data, earlier stopping, shallower trees); rounded scores or"
        " none; training with differential privacy, the only one that is a guarantee",
    ),
)

ATTACKS = (
    AttackRow(
        name="HopSkipJump", threat="evasion", access="labels", spare=("array",),
        suites=("quick", "standard", "full"),
        queries=evasion.hop_queries, calls=evasion.hop_calls, run=evasion.hop,
    ),
    AttackRow(
        name="APGD-CE", threat="evasion", access="gradients",
        suites=("quick", "standard", "full"),
        queries=evasion.climb_queries, calls=evasion.climb_calls, run=evasion.climb,
    ),
    AttackRow(
        name="APGD-T", threat="evasion", access="gradients", suites=("standard", "full"),
        queries=evasion.aim_queries, calls=evasion.aim_calls, run=evasion.aim,
    ),
    AttackRow(
        name="FAB-T", threat="evasion", access="gradients", suites=("full",),
        queries=evasion.approach_queries, calls=evasion.approach_calls, run=evasion.approach,
    ),
    AttackRow(
        name="Square", threat="evasion", access="scores", suites=("quick", "standard", "full"),
        queries=evasion.score_queries, calls=evasion.score_calls, run=evasion.squares,
    ),
    AttackRow(
        name="SimBA", threat="evasion", access="scores", suites=("standard", "full"),
        spare=("table", "array"),
        queries=evasion.score_queries, calls=evasion.score_calls, run=evasion.coordinates,
    ),
    AttackRow(
        name="loss threshold", threat="membership-inference", access="scores", training=True,
        suites=("quick", "standard", "full"),
        queries=privacy.loss_queries, calls=privacy.loss_calls, run=privacy.loss,
    ),
)  # fmt: skip
