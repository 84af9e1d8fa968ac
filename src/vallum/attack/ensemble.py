"""An ensemble of evasion attacks, each on what the ones before it left standing.

Source: Croce and Hein 2020, arXiv 2003.01690 (AutoAttack): the schedule `standard` makes the same
attacks with the same numbers of steps. The order is theirs, cheapest first.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from vallum.attack.apgd import climb_auto, climb_to_targets
from vallum.attack.evasion import Norm, wilson
from vallum.attack.fab import approach
from vallum.attack.predictor import Checked, Predictor, Records, Scores
from vallum.attack.search import Clip, Mask, Rows, Search, check_ball, check_count
from vallum.attack.simba import try_coordinates
from vallum.attack.square import search_squares
from vallum.base import InputError, VallumError
from vallum.schema import Record

Schedule = Literal["triage", "standard"]
Run = Callable[[Search, np.random.Generator], None]


class Status(StrEnum):
    """What is known about a record."""

    WRONG = "wrong"
    """The model gets it wrong unchanged."""
    ADVERSARIAL = "adversarial"
    """A point within the ball was found that the model gets wrong."""
    ROBUST = "robust"
    """Every attack ran on it to its end and found nothing. That is no proof."""
    FAILED = "failed"
    """An attack crashed, did nothing or was cut short on it: not assessed."""


class Outcome(StrEnum):
    """How an attack ended."""

    DONE = "done"
    IDLE = "idle"
    """It could not change anything for at least one record that still stands."""
    CUT = "cut"
    """Time or queries ran out."""
    CRASHED = "crashed"
    UNNEEDED = "unneeded"
    """No record stood any more."""


class AttackUse(Record, frozen=True):
    """One attack of the ensemble.

    Attributes:
        attack: Its name.
        outcome: One of `Outcome`; anything but `done` and `unneeded` means not assessed.
        reason: Why, where it is not `done`.
        white_box: It used gradients.
        tried: Records that stood when it began.
        found: Of them, flipped by it.
        failed: Of those that stood when it ended, records on which it proves nothing.
        queries: Predictions that it asked for, in records, those with gradients included.
        gradients: Gradients that it asked for, in records.
        seconds: Time that it took.
    """

    attack: str
    outcome: str
    reason: str
    white_box: bool
    tried: int
    found: int
    failed: int
    queries: int
    gradients: int
    seconds: float


class EnsembleReport(Record, frozen=True):
    """What the ensemble achieved.

    Attributes:
        schedule: Its name, or `custom`.
        access: `gradients` or `scores`: what the attacks could use.
        norm: Of distances, in the units of the input.
        epsilon: Radius within which a flip counts.
        records: Records given.
        accuracy: Of the model on them.
        robust_accuracy: Share of all records that are right and were not flipped by any attack,
            each of which ran to its end.
        robust_low: Lower end of its 95 % Wilson interval.
        robust_high: Upper end, with the failed records counted as if they were robust.
        failed: Records that stand, but on which an attack failed: never counted as robust.
        complete: No record is failed.
        masked: Records that only attacks without gradients flipped, after all with gradients had
            not: more than a few say that gradients mislead, and that a stronger attack will do.
        median_distance: Of the flips found, those wrong from the start left out.
        queries: Predictions asked for, in records.
        gradients: Of them with a gradient.
        attacks: In order.
    """

    schedule: str
    access: str
    norm: str
    epsilon: float
    records: int
    accuracy: float
    robust_accuracy: float
    robust_low: float
    robust_high: float
    failed: int
    complete: bool
    masked: int
    median_distance: float | None
    queries: int
    gradients: int
    attacks: tuple[AttackUse, ...]


@dataclass(frozen=True, slots=True)
class Ensemble:
    """The report, and for each of n records what it rests on.

    Attributes:
        report: The figures.
        status: A `Status` each, (n,).
        by: Name of the attack that flipped it, empty if none, (n,).
        points: The flip, or the record itself, shaped like the records.
        distance: To the flip; infinite where there is none, (n,).
        queries: Asked about it, (n,).
    """

    report: EnsembleReport
    status: tuple[Status, ...]
    by: tuple[str, ...]
    points: Records
    distance: Scores
    queries: Rows


@dataclass(frozen=True, slots=True)
class _Attack:
    name: str
    run: Run
    white_box: bool


def _schedules(schedule: Schedule) -> tuple[_Attack, ...]:
    """Return all attacks of a schedule; those with gradients fall away where there are none."""
    full = schedule == "standard"
    first, aimed, nearest = (100, 100, 100) if full else (50, 40, 15)
    targets, tries = 9, 5000 if full else 1000

    def ce(search: Search, rng: np.random.Generator) -> None:
        climb_auto(search, rng, loss="ce", steps=first)

    def towards(search: Search, rng: np.random.Generator) -> None:
        climb_to_targets(search, rng, steps=aimed, targets=targets)

    def boundary(search: Search, _: np.random.Generator) -> None:
        approach(search, steps=nearest, targets=targets, nearest=False)

    def squares(search: Search, rng: np.random.Generator) -> None:
        search_squares(search, rng, tries=tries)

    def coordinates(search: Search, rng: np.random.Generator) -> None:
        size = search.epsilon / (1 if search.norm == "linf" else 5)
        try_coordinates(search, rng, tries=tries, step_size=size)

    return (
        _Attack("APGD-CE", ce, white_box=True),
        _Attack("APGD-T", towards, white_box=True),
        _Attack("FAB-T", boundary, white_box=True),
        _Attack("Square", squares, white_box=False),
        _Attack("SimBA", coordinates, white_box=False),
    )


def ensemble(
    model: Predictor,
    x: Records,
    y: NDArray[np.intp],
    *,
    epsilon: float,
    seed: int,
    norm: Norm = "linf",
    schedule: Schedule = "standard",
    attacks: Sequence[str] | None = None,
    clip: Clip | None = None,
    max_queries: int | None = None,
    budget_s: float | None = None,
    monotonic: Callable[[], float] = time.monotonic,
) -> Ensemble:
    """Attack every record until one attack flips it or all have failed to.

    With gradients: APGD-CE, APGD-T, FAB-T, Square. Without: Square, SimBA. `standard` takes 100
    steps for each of nine targets and 5000 queries of Square, as AutoAttack does; `triage`, for a
    first look, takes 50 steps of APGD-CE, 40 of APGD-T, 15 of FAB-T and 1000 queries of Square.

    Args:
        model: Victim; with `loss_gradient` the attacks with gradients are made, too.
        x: Records, shape (n, ...), float32, finite, within the clip range.
        y: Their classes, shape (n,), whole numbers from 0.
        epsilon: Radius, > 0, in the units of the input.
        seed: Of every random choice, >= 0.
        norm: Of the change.
        schedule: `triage` or `standard`.
        attacks: Names of those to make, of the schedule's; all that fit the model when not given.
        clip: Least and greatest value of the input; the model's own `clip` when not given.
        max_queries: For a record, over all attacks; none is asked about more often.
        budget_s: Seconds after which nothing more is asked.
        monotonic: Clock of the budget, seconds.

    Raises:
        InputError: The arguments do not fit.
        GateError: The model fails on the unchanged records. Whatever fails later is in the report.

    Source: Croce and Hein 2020, arXiv 2003.01690, section 6.
    """
    found = check_ball(model, x, y, norm=norm, epsilon=epsilon, clip=clip)
    if not np.isfinite(epsilon):
        raise InputError("`epsilon` must be finite", code="attack.epsilon")
    if schedule not in {"triage", "standard"}:
        raise InputError(
            f"`schedule` must be triage or standard; got `{schedule}`", code="attack.settings"
        )
    if max_queries is not None:
        check_count("max_queries", max_queries, low=3)
    victim = Checked(model)
    chosen = _chosen(_schedules(schedule), attacks, white_box=victim.differentiable is not None)
    start = monotonic()

    def late() -> bool:
        return budget_s is not None and monotonic() - start > budget_s

    # The unchanged records are asked once, and a few twice.
    base = Search(victim, x, y, norm=norm, epsilon=epsilon, clip=found, late=late)
    base.repeat()
    run = _Run(base, x, max_queries)
    uses = [
        run.attack(one, rng, monotonic)
        for one, rng in zip(chosen, np.random.default_rng(seed).spawn(len(chosen)), strict=True)
    ]
    return run.result(
        "custom" if attacks is not None else schedule,
        uses,
        white_box=victim.differentiable is not None,
    )


def _chosen(
    known: tuple[_Attack, ...], names: Sequence[str] | None, *, white_box: bool
) -> tuple[_Attack, ...]:
    if names is None:
        # SimBA adds to Square only where there is no gradient.
        left_out = {"SimBA"} if white_box else {one.name for one in known if one.white_box}
        return tuple(one for one in known if one.name not in left_out)
    unknown = sorted(set(names) - {one.name for one in known})
    if unknown or not names:
        raise InputError(
            f"no attack `{unknown[0]}`" if unknown else "no attack is named",
            code="attack.settings",
            hint="choose from " + ", ".join(one.name for one in known),
        )
    return tuple(one for one in known if one.name in names)


class _Run:
    """What is known about the records between attacks."""

    def __init__(self, base: Search, x: Records, max_queries: int | None) -> None:
        self.base, self.limit = base, max_queries
        self.standing: Mask = ~base.wrong_before
        self.failed: Mask = np.zeros(len(x), np.bool_)
        self.by = [""] * len(x)
        self.points = x.copy()
        self.distance: Scores = base.distance.copy()

    def attack(
        self, attack: _Attack, rng: np.random.Generator, monotonic: Callable[[], float]
    ) -> AttackUse:
        """Make one attack on the records that stand, and note where it proves nothing."""
        victim, rows = self.base.victim, np.flatnonzero(self.standing)
        before = (victim.queries, victim.gradients, monotonic())
        outcome, reason = Outcome.UNNEEDED, ""
        if len(rows):
            outcome, reason = self._attack(attack, rows, rng)
        left = self.standing[rows]
        return AttackUse(
            attack=attack.name,
            outcome=outcome,
            reason=reason,
            white_box=attack.white_box,
            tried=len(rows),
            found=int((~left).sum()),
            failed=int((self.failed[rows] & left).sum()),
            queries=victim.queries - before[0],
            gradients=victim.gradients - before[1],
            seconds=monotonic() - before[2],
        )

    def _attack(self, attack: _Attack, rows: Rows, rng: np.random.Generator) -> tuple[Outcome, str]:
        # One query for each record is kept back, to ask about its flip once more.
        search = self.base.part(rows, max_queries=None if self.limit is None else self.limit - 1)
        outcome, reason = Outcome.DONE, ""
        failed: Mask = np.zeros(len(rows), np.bool_)
        real: Mask = np.zeros(len(rows), np.bool_)
        try:
            attack.run(search, rng)
            done = search.result(attack.name)
            if not done.complete:
                outcome, reason, failed = Outcome.CUT, "time or queries ran out", ~failed
            elif attack.white_box and done.idle.any():
                outcome, failed = Outcome.IDLE, done.idle
                reason = f"every gradient of {int(done.idle.sum())} records is zero"
            real = search.verified(max_queries=self.limit)
        except VallumError as error:
            outcome = Outcome.IDLE if error.code == "attack.idle" else Outcome.CRASHED
            reason, failed = error.message, ~np.zeros(len(rows), np.bool_)
        self.base.queries[rows] = search.queries
        self.base.gradients[rows] = search.gradients
        # A flip that is none when asked about again is no flip, and no robustness either.
        self.failed[rows] |= failed | (search.flipped & ~real)
        hits = rows[real]
        self.standing[hits] = False
        self.points[hits] = search.best[real].reshape(-1, *search.shape)
        self.distance[hits] = search.distance[real]
        for row in hits:
            self.by[row] = attack.name
        return outcome, reason

    def result(self, schedule: str, uses: Sequence[AttackUse], *, white_box: bool) -> Ensemble:
        """Return report and records."""
        base = self.base
        count = len(base.y)
        failed = self.failed & self.standing
        robust = int((self.standing & ~failed).sum())
        flipped = np.isfinite(self.distance) & ~base.wrong_before
        with_gradient = any(one.white_box for one in uses)
        masked = sum(one.found for one in uses if not one.white_box) if with_gradient else 0
        status = np.select(
            [base.wrong_before, flipped, failed],
            [Status.WRONG.value, Status.ADVERSARIAL.value, Status.FAILED.value],
            Status.ROBUST.value,
        )
        report = EnsembleReport(
            schedule=schedule,
            access="gradients" if white_box else "scores",
            norm=base.norm,
            epsilon=base.epsilon,
            records=count,
            accuracy=1 - float(base.wrong_before.mean()),
            robust_accuracy=robust / count,
            robust_low=wilson(robust, count)[0],
            robust_high=wilson(robust + int(failed.sum()), count)[1],
            failed=int(failed.sum()),
            complete=not failed.any(),
            masked=masked,
            median_distance=float(np.median(self.distance[flipped])) if flipped.any() else None,
            queries=base.victim.queries,
            gradients=base.victim.gradients,
            attacks=tuple(uses),
        )
        return Ensemble(
            report=report,
            status=tuple(Status(one) for one in status.tolist()),
            by=tuple(self.by),
            points=self.points,
            distance=self.distance,
            queries=base.queries,
        )
