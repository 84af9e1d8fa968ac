"""Every threat that a suite measures and every attack that it makes: two tables.

A new attack is one row of `ATTACKS`; a new threat is one row of `THREATS` and its attacks.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from vallum.attack.suite import evasion, privacy, theft, trigger, words
from vallum.attack.suite.bench import Bench, Effort, Measured
from vallum.attack.suite.subject import Subject

Suite = Literal["quick", "standard", "full"]
Access = Literal["labels", "scores", "gradients"]
SUITES: dict[str, Effort] = {
    "quick": Effort(records=50, tries=300, steps=20, targets=3, theft=500, shadows=4, columns=1),
    "standard": Effort(
        records=100, tries=1000, steps=50, targets=5, theft=2000, shadows=16, columns=4
    ),
    "full": Effort(
        records=250, tries=5000, steps=100, targets=9, theft=5000, shadows=64, columns=16
    ),
}
SPARED = "the model offers more, and other attacks use it"
ACCESS: tuple[Access, ...] = ("labels", "scores", "gradients")


@dataclass(frozen=True, slots=True)
class ThreatRow:
    """A threat.

    Attributes:
        id: As threat model and evidence name it.
        gate: Of the workspace, which reads its figures.
        measure: What its rate counts.
        limit: That the upper end of the interval must not exceed, unless the caller says else; none
            where no figure of a model alone can be asked for.
        means: The figure in words.
        lowers: What would lower it.
    """

    id: str
    gate: str
    measure: str
    limit: float | None
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
        own_s: Seconds that it computes for by itself.
        forms: Of data that it is for.
        least: Records that it needs, of each side.
        lacks: Says what else is missing.
        beside: What it needs of the model beside `access`.
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
    own_s: Callable[[Subject, Effort], float] = lambda _, __: 0.0
    forms: tuple[str, ...] = ("table", "array")
    least: int = 0
    lacks: Callable[[Subject, Effort], str] = lambda _, __: ""
    beside: str = ""

    def unfit(self, subject: Subject, access: Access, effort: Effort) -> str:
        """Say why it does not fit; nothing where it does."""
        if ACCESS.index(access) < ACCESS.index(self.access):
            return f"the model offers no more than {access}"
        if subject.form in self.spare and access != self.access:
            return SPARED
        if self.training and subject.train is None:
            return "it needs the training data"
        if subject.form not in self.forms:
            return f"it is for data of the form {' or '.join(self.forms)}"
        train = subject.x if subject.train is None else subject.train[0]
        if min(len(subject.x), len(train)) < self.least:
            return f"it needs at least {self.least} records, and as many of the training data"
        return self.lacks(subject, effort)


THREATS = (
    ThreatRow(
        id="evasion",
        gate="evasion",
        measure="share of correctly classified records that a small change flips, by any attack",
        limit=0.5,
        means="An attacker who may change an input a little gets a wrong answer for this share of"
        " inputs. Attacks find, they do not prove: the share that can be flipped is at least this.",
        lowers="adversarial training; fewer or coarser features that an attacker controls; answers"
        " without scores, which slow an attacker down and stop none",
    ),
    ThreatRow(
        id="membership-inference",
        gate="membership",
        measure="chance that a training record looks more like one than another record (AUC)",
        limit=0.65,
        means="Whoever sees the model's scores for a record can guess whether it was trained on;"
        " 0.5 is guessing. It is an average: single records may be far more exposed.",
        lowers="less overfitting (more data, earlier stopping, shallower trees); rounded scores or"
        " none; training with differential privacy, the only one that is a guarantee",
    ),
    ThreatRow(
        id="model-inversion",
        gate="inversion",
        measure="chance that the model gives away more of a training record than of one that it"
        " never saw (AUC)",
        limit=0.75,
        means="Whoever asks the model can make up records of a class, or guess a value that is not"
        " known; 0.5 says that this tells no more of people in the training data than of"
        " anybody. What is true of everybody of a class is learned all the same.",
        lowers="less overfitting; rounded scores or none; no class of a few records, or of one"
        " person; training with differential privacy",
    ),
    ThreatRow(
        id="backdoor",
        gate="backdoor",
        measure="share of other records that the trigger of a class which stands out turns into"
        " that class; 0 where none stands out",
        limit=0.5,
        means="Whoever knows the trigger gets this answer for almost anything. A class stands out"
        " where it takes far less to reach than the others; of clean models, at most 5 % are"
        " accused. What needs no less than turning a record into another class is not found.",
        lowers="training again on data without the poisoned rows (the gate `poisoning`); data and"
        " models from sources that are known; fine-tuning on clean records, and this test again",
    ),
    ThreatRow(
        id="model-extraction",
        gate="extraction",
        measure="share of records on which the best copy answers the model's class (fidelity)",
        limit=None,
        means="A thief who may ask so many questions has a model that answers like this one on"
        " this share of records. Every model that answers can be copied: what differs is the"
        " number of queries, see the curve. Without a limit of yours nothing is judged.",
        lowers="fewer queries per key and per day; labels or rounded scores, which raise the number"
        " of queries; a watch on who asks what, which ends the theft before it is one",
    ),
)

ATTACKS = (
    AttackRow(
        name="HopSkipJump", threat="evasion", access="labels", spare=("array",),
        suites=("quick", "standard", "full"),
        queries=evasion.hop_queries, calls=evasion.hop_calls, run=evasion.hop,
    ),
    AttackRow(
        name="Boundary", threat="evasion", access="labels", forms=("table",), suites=("full",),
        queries=evasion.score_queries, calls=evasion.score_calls, run=evasion.walk,
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
        name="thresholds", threat="evasion", access="scores", forms=("table",),
        suites=("quick", "standard", "full"), lacks=evasion.no_thresholds,
        beside="thresholds",
        queries=evasion.score_queries, calls=evasion.threshold_calls, run=evasion.thresholds,
    ),
    AttackRow(
        name="transfer", threat="evasion", access="labels", suites=("standard", "full"), least=20,
        own_s=theft.learning_s, queries=evasion.transfer_queries, calls=evasion.transfer_calls,
        run=evasion.transfer,
    ),
    AttackRow(
        name="misspelled words", threat="evasion", access="scores", forms=("text",),
        suites=("quick", "standard", "full"), own_s=words.reading_s,
        queries=words.queries, calls=words.calls, run=words.misspell,
    ),
    AttackRow(
        name="loss threshold", threat="membership-inference", access="scores", training=True,
        suites=("quick", "standard", "full"), forms=("table", "array", "text"),
        queries=privacy.loss_queries, calls=privacy.few_calls, run=privacy.loss,
    ),
    AttackRow(
        name="population", threat="membership-inference", access="scores", training=True,
        suites=("standard", "full"), least=20, forms=("table", "array", "text"),
        queries=privacy.once_queries, calls=privacy.few_calls, run=privacy.crowd,
    ),
    AttackRow(
        name="calibrated", threat="membership-inference", access="scores", training=True,
        suites=("standard", "full"), least=20, own_s=privacy.references_s,
        queries=privacy.once_queries, calls=privacy.few_calls, run=privacy.references,
    ),
    AttackRow(
        name="LiRA", threat="membership-inference", access="scores", training=True,
        suites=("standard", "full"), least=20, own_s=privacy.shadows_s,
        queries=privacy.once_queries, calls=privacy.few_calls, run=privacy.shadows,
    ),
    AttackRow(
        name="label only", threat="membership-inference", access="labels", training=True,
        suites=("quick", "standard", "full"), spare=("table", "array"),
        queries=privacy.label_queries, calls=privacy.label_calls, run=privacy.labels,
    ),
    AttackRow(
        name="inversion", threat="model-inversion", access="scores", training=True,
        suites=("quick", "standard", "full"), least=20,
        queries=privacy.climb_queries, calls=privacy.climb_calls, run=privacy.invert,
    ),
    AttackRow(
        name="MIFace", threat="model-inversion", access="gradients", training=True,
        suites=("full",), least=20,
        queries=privacy.climb_queries, calls=privacy.climb_calls, run=privacy.invert_blind,
    ),
    AttackRow(
        name="attribute inference", threat="model-inversion", access="labels", training=True,
        suites=("standard", "full"), least=20, forms=("table",), lacks=privacy.no_column,
        own_s=privacy.guess_s,
        queries=privacy.guess_queries, calls=privacy.guess_calls, run=privacy.guess,
    ),
    AttackRow(
        name="trigger inversion", threat="backdoor", access="gradients",
        suites=("standard", "full"), least=trigger.LEAST, lacks=trigger.unjudged,
        queries=trigger.queries, calls=trigger.calls, run=trigger.invert,
    ),
    AttackRow(
        name="knock-off", threat="model-extraction", access="labels",
        suites=("quick", "standard", "full"), least=20, own_s=theft.learning_s,
        queries=theft.queries, calls=theft.calls, run=theft.knock,
    ),
    AttackRow(
        name="copycat", threat="model-extraction", access="labels", suites=("full",), least=20,
        own_s=theft.learning_s, queries=theft.queries, calls=theft.calls, run=theft.copy,
    ),
    AttackRow(
        name="Jacobian augmentation", threat="model-extraction", access="labels",
        suites=("standard", "full"), least=20, own_s=theft.learning_s,
        queries=theft.queries, calls=theft.calls, run=theft.augment,
    ),
    AttackRow(
        name="equation solving", threat="model-extraction", access="scores",
        suites=("quick", "standard", "full"), least=20, lacks=theft.no_equations,
        queries=theft.queries, calls=theft.calls, run=theft.equations,
    ),
    AttackRow(
        name="path-finding", threat="model-extraction", access="scores", forms=("table",),
        suites=("standard", "full"), least=20,
        queries=theft.path_queries, calls=theft.path_calls, run=theft.paths,
    ),
)  # fmt: skip
