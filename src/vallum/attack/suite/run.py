"""Runs a plan against a model. Whatever goes wrong is in the report, and never robustness."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from vallum.attack.predictor import (
    MIN_RECORDS,
    Checked,
    GradientPredictor,
    Predictor,
    Scores,
    check_scored,
)
from vallum.attack.suite import evasion
from vallum.attack.suite.bench import BUDGET, Advance, Bench, Measured, Meter, metered
from vallum.attack.suite.plan import Plan, PlannedAttack
from vallum.attack.suite.record import Outcome, Seconds, SuiteReport, Threat, Used, Verdict
from vallum.attack.suite.subject import Subject, class_indices
from vallum.attack.suite.table import ATTACKS, SPARED, THREATS, Access, AttackRow, ThreatRow
from vallum.base import (
    GateError,
    InputError,
    RefusedError,
    UnauthenticatedError,
    UnavailableError,
    VallumError,
)

_DIGITS = 6
_ALL_OVER = (RefusedError, UnauthenticatedError, UnavailableError)
_UNITS = {
    "table": "root mean square over columns, in standard deviations",
    "array": "largest change, as a share of the range",
    "text": "share of a text's words that are misspelled, each by two characters at most",
}


def run_suite(
    model: Predictor,
    subject: Subject,
    plan: Plan,
    *,
    classes: tuple[str, ...] = (),
    limits: Mapping[str, float] | None = None,
    monotonic: Callable[[], float] = time.monotonic,
    advance: Advance = lambda _: None,
) -> SuiteReport:
    """Make every attack of a plan.

    Args:
        model: Victim: scores for a batch, or labels, (n,), as positions of classes.
        subject: The data.
        plan: What to do, see `make_plan`.
        classes: Names of the model's classes in the order of its scores, where it tells them.
        limits: Of threats by id, in place of the table's.
        monotonic: Clock of the budget, seconds.
        advance: Called with the number of records that are asked about next.

    Raises:
        InputError: The data does not fit the model.
        RefusedError: The model may not be asked, at the very first question.
        UnauthenticatedError: Likewise.
        UnavailableError: It cannot be reached, at the very first question.
    """
    allowed = _limits(limits)
    begun = monotonic()
    meter = Meter(until_s=begun + plan.budget_s, monotonic=monotonic, advance=advance)
    run = _Run(subject, plan, meter, monotonic)
    run.look(model, classes)
    for planned in plan.attacks:
        run.attack(planned)
    threats = tuple(run.threat(row, allowed[row.id]) for row in THREATS)
    return SuiteReport(
        suite=plan.suite,
        seed=plan.seed,
        budget_s=plan.budget_s,
        effort=plan.share,
        form=subject.form,
        epsilon=subject.epsilon,
        unit=_UNITS[subject.form],
        records=len(subject.x),
        classes=run.classes,
        access=run.access,
        accuracy=run.accuracy,
        verdict=_worst(threats),
        threats=threats,
        not_assessed=tuple(run.not_assessed(threats)),
        notes=subject.notes,
        times=Seconds(
            total=round(monotonic() - begun, 3),
            attacks={name: round(one, 3) for name, one in run.seconds.items()},
        ),
    )


def _limits(given: Mapping[str, float] | None) -> dict[str, float | None]:
    known: dict[str, float | None] = {row.id: row.limit for row in THREATS}
    for name, limit in (given or {}).items():
        if name not in known:
            raise InputError(
                f"no threat is called `{name[:80]}`", code="attack.limit", hint=", ".join(known)
            )
        if not 0 <= limit <= 1:
            raise InputError(f"a limit is from 0 to 1, not {limit}", code="attack.limit")
    return {**known, **(given or {})}


@dataclass
class _Run:
    """What is known while a suite runs: the bench, what was found, and why all is over."""

    subject: Subject
    plan: Plan
    meter: Meter
    monotonic: Callable[[], float]
    bench: Bench | None = None
    stopped: str = ""
    classes: int = 0
    access: Access = "labels"
    accuracy: float | None = None
    used: dict[str, Used] = field(default_factory=dict)
    found: dict[str, Measured] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)

    def look(self, model: Predictor, names: tuple[str, ...]) -> None:
        """Ask about the unchanged records, twice; note what cannot be assessed."""
        subject = self.subject
        self.meter.limit = 3 * len(subject.x)
        try:
            # Raw at first: a refusal is the caller's, and labels are told apart from scores.
            self.meter.take(1)
            first = _first(model, subject)
            labels = getattr(first, "ndim", 0) == 1
            expected = len(names) or len(set(subject.labels.tolist()))
            ready = metered(
                model, self.meter, classes=expected if labels else 0, access=self.plan.access
            )
            scores = Checked(ready).probe(subject.x, labels=True)
            self.classes = scores.shape[1]
            self.access = _access(ready, scores)
            y = class_indices(subject.labels, names, self.classes)
            train_y = None
            if subject.train is not None:
                train_y = class_indices(subject.train[1], names, self.classes)
        except GateError as error:
            self.stopped = error.message
            return
        right = np.flatnonzero(scores.argmax(axis=1) == y)
        self.accuracy = _round(len(right) / len(y))
        rng = np.random.default_rng([self.plan.seed, 0])
        self.bench = Bench(
            model=ready, subject=subject, y=y, rows=self._chosen(right, rng), train_y=train_y,
            effort=self.plan.effort, rng=rng, late=self.meter.late,
        )  # fmt: skip

    def _chosen(self, right: NDArray[np.intp], rng: np.random.Generator) -> NDArray[np.intp]:
        return rng.permutation(right)[: self.plan.records]

    def attack(self, planned: PlannedAttack) -> None:
        """Make one attack, and note how it ended."""
        row = next(one for one in ATTACKS if one.name == planned.attack)
        before, start = self.meter.queries, self.monotonic()
        outcome, reason = Outcome.FAILED, self.stopped
        part = None
        if self.bench is not None and not self.stopped:
            try:
                part = self._measure(row, planned)
                outcome, reason = Outcome.DONE, ""
            except VallumError as error:
                reason = error.message
                if error.code == "attack.kind":
                    outcome = Outcome.UNFIT
                elif error.code == BUDGET or self.meter.late():
                    outcome, reason = Outcome.CUT, "the budget ran out"
                if isinstance(error, _ALL_OVER) or error.code == "sandbox.killed":
                    self.stopped = error.message
            except Exception as error:  # noqa: BLE001 - an attack that crashes is no robustness
                reason = f"the attack crashed ({type(error).__name__})"
        self.seconds[row.name] = self.monotonic() - start
        queries = self.meter.queries - before
        if part is not None:
            self.found[row.name] = part
        self.used[row.name] = Used(
            attack=row.name,
            access=", ".join(
                filter(None, (row.access, row.beside, "training data" if row.training else ""))
            ),
            outcome=outcome,
            reason=reason,
            records=0 if part is None else part.records,
            answers="" if part is None else part.answers,
            rate=None if part is None else _round(part.rate),
            low=None if part is None else _round(part.low),
            high=None if part is None else _round(part.high),
            planned=planned.queries,
            queries=queries,
            curve=() if part is None else tuple((_round(a), _round(b)) for a, b in part.curve),
            more={} if part is None else {name: _round(one) for name, one in part.more.items()},
        )

    def _measure(self, row: AttackRow, planned: PlannedAttack) -> Measured:
        bench = self.bench
        if bench is None:
            raise AssertionError("looked at first")
        if unfit := row.unfit(self.subject, self.access, self.plan.effort):
            raise GateError(unfit, code="attack.access")
        if row.threat == "evasion" and len(bench.rows) < MIN_RECORDS:
            raise GateError(
                f"the model gets {len(bench.rows)} of {len(bench.y)} records right, at least"
                f" {MIN_RECORDS} are needed",
                code="attack.accuracy",
            )
        self.meter.limit = self.meter.queries + planned.queries
        own = Bench(
            model=bench.model, subject=bench.subject, y=bench.y, rows=bench.rows,
            train_y=bench.train_y, effort=bench.effort, late=bench.late,
            rng=np.random.default_rng([self.plan.seed, crc32(row.name.encode())]),
        )  # fmt: skip
        part = row.run(own)
        if not np.isfinite([part.rate, part.low, part.high]).all():
            raise GateError("the attack measured nothing", code="attack.idle")
        return part

    def threat(self, row: ThreatRow, limit: float | None) -> Threat:
        """Put together what the attacks on one threat found."""
        names = [one.attack for one in self.plan.attacks if one.threat == row.id]
        used = tuple(self.used[name] for name in names)
        parts = [self.found[name] for name in names if name in self.found]
        over = (Outcome.DONE, Outcome.UNFIT)
        undone = [one for one in used if one.outcome not in over]
        whole = self._whole(row, parts, complete=not undone)
        ours = {one.name for one in ATTACKS if one.threat == row.id}
        left_out = {name: why for name, why in self.plan.left_out.items() if name in ours}
        unfit = {one.attack: one.reason for one in used if one.outcome is Outcome.UNFIT}
        verdict, reason = _judge(whole, limit, undone, {**left_out, **unfit})
        return Threat(
            threat=row.id,
            verdict=verdict,
            reason=reason,
            measure=row.measure,
            rate=None if whole is None else _round(whole.rate),
            low=None if whole is None else _round(whole.low),
            high=None if whole is None else _round(whole.high),
            unassessed=0 if whole is None or whole.failed is None else int(whole.failed.sum()),
            limit=limit,
            means=row.means,
            lowers=row.lowers,
            attacks=used,
            left_out=left_out,
        )

    def _whole(self, row: ThreatRow, parts: list[Measured], *, complete: bool) -> Measured | None:
        if not parts or self.bench is None:
            return None
        if row.id == "evasion":
            return evasion.together(self.bench, parts, complete=complete)
        # The strongest attack decides. Each end is the highest of all: what one of them reaches at
        # least, and what none was shown to stay below.
        worst = max(parts, key=lambda part: part.rate)
        return Measured(
            rate=worst.rate,
            low=max(part.low for part in parts),
            high=max(part.high for part in parts) if complete else 1.0,
            records=worst.records,
        )

    def not_assessed(self, threats: tuple[Threat, ...]) -> list[str]:
        """Say what is not known after this suite, and why."""
        said = [f"the model: {self.stopped}"] if self.stopped else []
        for one in threats:
            if one.verdict is Verdict.NOT_TESTED:
                said.append(f"{one.threat}: {one.reason}")
            if one.unassessed:
                said.append(
                    f"{one.threat}: on {one.unassessed} record(s) no attack proves anything; the"
                    " upper end of the interval counts them as if they could be flipped"
                )
        return said


def _judge(
    whole: Measured | None, limit: float | None, undone: list[Used], left_out: dict[str, str]
) -> tuple[Verdict, str]:
    """Return the verdict on one threat and why, where it did not pass."""
    if whole is not None and limit is not None and whole.low > limit:
        return Verdict.OVER, f"{whole.rate:.3f} is over the limit of {limit:g}"
    if undone:
        return Verdict.NOT_TESTED, "; ".join(f"{one.attack}: {one.reason}" for one in undone)
    if whole is None:
        why = [f"{name}: {one}" for name, one in left_out.items() if one != SPARED]
        return Verdict.NOT_TESTED, "; ".join(why) or "no attack of this suite measures it"
    if limit is None:
        return Verdict.MEASURED, ""
    if whole.high > limit:
        return Verdict.OVER, (
            f"{whole.rate:.3f}, and up to {whole.high:.3f} by chance, is not shown to be within the"
            f" limit of {limit:g}"
        )
    return Verdict.PASSED, ""


def _worst(threats: tuple[Threat, ...]) -> Verdict:
    """Return the verdict over all threats that any attack was planned for."""
    verdicts = {one.verdict for one in threats if one.attacks}
    if Verdict.OVER in verdicts:
        return Verdict.OVER
    if Verdict.NOT_TESTED in verdicts or not verdicts:
        return Verdict.NOT_TESTED
    return Verdict.PASSED


def _first(model: Predictor, subject: Subject) -> object:
    """Ask the first question: whatever is no refusal of ours is the model's failure."""
    try:
        return model.predict(subject.x[:1])
    except VallumError:
        raise
    except Exception as error:  # a predictor is anybody's code
        raise GateError("the model fails on its own input", code="attack.model") from error


def _access(model: Predictor, scores: Scores) -> Access:
    try:
        check_scored(scores)
    except GateError:
        return "labels"
    return "gradients" if isinstance(model, GradientPredictor) else "scores"


def _round(value: float) -> float:
    return round(float(value), _DIGITS)
