"""Extraction attacks as a suite makes them: each a thief with so many queries.

The thief owns half of the records; on the other half his model is compared with the victim.
"""

from collections.abc import Callable

from vallum.attack.equation import solve_equations
from vallum.attack.extraction import (
    Extraction,
    copycat,
    jacobian_augmentation,
    knock_off,
)
from vallum.attack.oracle import MIN_BUDGET, Known
from vallum.attack.suite.bench import Bench, Effort, Measured
from vallum.attack.suite.subject import Subject
from vallum.attack.treepath import find_paths

_LEAF = 100  # queries a feature: a leaf or two of a tree that uses all of them


def queries(subject: Subject, effort: Effort) -> int:  # noqa: ARG001 - of one shape
    """Return how much a thief may ask."""
    return max(MIN_BUDGET, effort.theft)


def calls(subject: Subject, effort: Effort) -> int:  # noqa: ARG001
    """Return about how many batches he asks in."""
    return 20


def learning_s(subject: Subject, effort: Effort) -> float:
    """Return how long training stolen models takes, seconds: about 20 of them."""
    return (2.0 + effort.theft / 1000) * (1 + int(subject.x[0].size) / 500)


def no_equations(subject: Subject, effort: Effort) -> str:
    """Say that there are more unknown weights than queries; nothing where there are not."""
    width = int(subject.x[0].size)
    if 2 * width + 200 > effort.theft:
        return f"{width} features have more weights than {effort.theft} queries could tell"
    return ""


def path_queries(subject: Subject, effort: Effort) -> int:
    """Return how much path-finding may ask: more where there are more features to bisect."""
    return max(effort.theft, _LEAF * int(subject.x[0].size))


def path_calls(subject: Subject, effort: Effort) -> int:
    """Return about how many batches it asks in: some 25 a leaf."""
    return path_queries(subject, effort) // 8


def knock(bench: Bench) -> Measured:
    """Learn from answers to records, and to mixtures of them."""
    return _stolen(bench, knock_off)


def copy(bench: Bench) -> Measured:
    """Learn from classes alone."""
    return _stolen(bench, copycat)


def augment(bench: Bench) -> Measured:
    """Begin with few records and walk along the stolen model's own gradient."""
    return _stolen(bench, jacobian_augmentation)


def equations(bench: Bench) -> Measured:
    """Compute the weights of a linear model."""
    return _stolen(bench, solve_equations)


def paths(bench: Bench) -> Measured:
    """Compute the leaves of a tree."""
    return _stolen(bench, find_paths, budget=path_queries(bench.subject, bench.effort))


def _stolen(bench: Bench, steal: Callable[..., Extraction], *, budget: int = 0) -> Measured:
    own = bench.subject.x, bench.y
    found = steal(
        bench.model,
        Known(members=own, others=own),  # a thief has no use for training data
        budget=budget or queries(bench.subject, bench.effort),
        seed=int(bench.rng.integers(2**31)),
    ).report
    more = {
        "without a query": found.baseline,
        "accuracy of the copy": found.stolen_accuracy,
        "computed exactly": float(found.exact),
    }
    if found.queries_to_95 is not None:
        more["queries to 0.95"] = float(found.queries_to_95)
    return Measured(
        rate=found.fidelity, low=found.fidelity_low, high=found.fidelity_high,
        records=found.measured, answers=found.answers, more=more,
        curve=tuple((float(one.queries), one.fidelity) for one in found.curve),
    )  # fmt: skip
