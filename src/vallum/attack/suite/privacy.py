"""Privacy attacks as a suite makes them."""

from vallum.attack.gate import MAX_KNOWN
from vallum.attack.membership import loss_threshold
from vallum.attack.suite.bench import Bench, Effort, Measured
from vallum.attack.suite.subject import Subject
from vallum.base import InputError


def loss_queries(subject: Subject, effort: Effort) -> int:  # noqa: ARG001 - of one shape
    """Return how much membership by the loss asks: everything, three times."""
    members = 0 if subject.train is None else len(subject.train[0])
    return 3 * (members + len(subject.x))


def loss_calls(subject: Subject, effort: Effort) -> int:  # noqa: ARG001
    """Return in how many batches."""
    return 4


def loss(bench: Bench) -> Measured:
    """Tell members from others by their loss."""
    train = bench.subject.train
    if train is None or bench.train_y is None:
        raise InputError("membership needs the training data", code="attack.train")
    seen = {row.tobytes() for row in train[0]}
    known = sum(row.tobytes() in seen for row in bench.subject.x)
    if known > MAX_KNOWN * len(bench.subject.x):
        raise InputError(
            f"{known} of {len(bench.subject.x)} records that the model should not know are in the"
            " training data",
            code="attack.overlap",
        )
    found = loss_threshold(bench.model, (train[0], bench.train_y), (bench.subject.x, bench.y))
    return Measured(
        rate=found.auc, low=found.auc_low, high=found.auc_high,
        records=found.members + found.others,
        more={"true positives at 1 % false ones": found.tpr_at_1fpr, "advantage": found.advantage},
    )  # fmt: skip
