"""From a budget in seconds to a number of queries, before anything is asked.

The plan rests on fixed costs a kind of model, not on a measurement: the same budget is the same
plan on every machine, and so the same report. The clock only cuts short what takes longer, and
what is cut short was not tested.
"""

from dataclasses import dataclass

from vallum.attack.suite.bench import Effort
from vallum.attack.suite.subject import Subject
from vallum.attack.suite.table import ATTACKS, SUITES, Access, AttackRow
from vallum.base import InputError
from vallum.schema import Record

_SHARES = (1.0, 0.75, 0.5, 0.35, 0.25, 0.15, 0.1, 0.05)
_GRADIENT = 3  # a query with gradient costs as much as this many without
START_S = 10.0
"""Set aside to open the model and to ask about the unchanged records."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What questions to a kind of model cost; rather more than they do on the slowest machine.

    Attributes:
        row_s: Seconds a record.
        call_s: Seconds a batch.
        most: Records of a batch.
    """

    row_s: float
    call_s: float
    most: int = 8192


COSTS = {
    "onnx": Cost(row_s=2e-5, call_s=2e-3),
    "skops": Cost(row_s=1e-4, call_s=3e-2),
    "torch": Cost(row_s=2e-4, call_s=5e-3),
    "xgboost": Cost(row_s=1e-4, call_s=5e-3),
    "predictor": Cost(row_s=1e-4, call_s=5e-3),
}


class PlannedAttack(Record, frozen=True):
    """One attack of a plan.

    Attributes:
        attack: Its name.
        threat: What it measures.
        access: What it needs.
        queries: That it may ask, in records.
        seconds: That these cost by the plan's costs.
    """

    attack: str
    threat: str
    access: str
    queries: int
    seconds: float


class Plan(Record, frozen=True):
    """What a suite will do.

    Attributes:
        kind: Of the model.
        access: What it offers, as far as is known before it is asked.
        suite: The suite.
        budget_s: Seconds.
        seed: Of every random choice.
        share: Of the suite's full effort that the budget allows.
        records: That are attacked, at most.
        tries: Queries a record of attacks by scores.
        steps: Along gradients.
        targets: Classes that are aimed at.
        theft: Queries of a thief.
        shadows: Models that membership inference trains.
        columns: Whose values attribute inference guesses.
        attacks: In order.
        left_out: Attacks of the suite that do not fit, and why.
        queries: Of all attacks.
        seconds: Of all attacks, by the plan's costs.
    """

    kind: str
    access: str
    suite: str
    budget_s: float
    seed: int
    share: float
    records: int
    tries: int
    steps: int
    targets: int
    theft: int
    shadows: int
    columns: int
    attacks: tuple[PlannedAttack, ...]
    left_out: dict[str, str]
    queries: int
    seconds: float

    @property
    def effort(self) -> Effort:
        """Return what each attack may do."""
        return Effort(
            records=self.records, tries=self.tries, steps=self.steps, targets=self.targets,
            theft=self.theft, shadows=self.shadows, columns=self.columns,
        )  # fmt: skip


def make_plan(
    subject: Subject,
    *,
    kind: str = "predictor",
    access: Access,
    suite: str = "standard",
    budget_s: float = 600.0,
    seed: int = 0,
    cost: Cost | None = None,
) -> Plan:
    """Plan a suite: the largest effort that the budget pays.

    Args:
        subject: The data.
        kind: Of the model, one of `COSTS`.
        access: What attacks may use of what it offers.
        suite: `quick`, `standard` or `full`.
        budget_s: Seconds.
        seed: Of every random choice, >= 0.
        cost: In place of the kind's.

    Raises:
        InputError: No such suite, or the budget pays for nothing that would mean anything.
    """
    if suite not in SUITES:
        raise InputError(
            f"no suite is called `{suite[:40]}`", code="attack.suite", hint=", ".join(SUITES)
        )
    paid = COSTS[kind] if cost is None else cost
    rows = [row for row in ATTACKS if suite in row.suites]
    most = SUITES[suite]
    left_out = {row.name: said for row in rows if (said := row.unfit(subject, access, most))}
    fit = [row for row in rows if row.name not in left_out]
    room = budget_s - START_S
    total = 0.0
    for share in _SHARES:
        effort = most.scaled(share)
        planned = tuple(_planned(row, subject, effort, paid) for row in fit)
        total = sum(one.seconds for one in planned)
        if total <= room:
            break
    else:
        need = round(total + START_S + 0.5)
        raise InputError(
            f"a budget of {budget_s:g} s is too small: the least that means anything takes up to"
            f" {need} s",
            code="attack.budget", hint=f"--budget {need}s, or --suite quick",
        )  # fmt: skip
    return Plan(
        kind=kind, access=access, suite=suite, budget_s=budget_s, seed=seed, share=share,
        records=effort.records, tries=effort.tries, steps=effort.steps, targets=effort.targets,
        theft=effort.theft, shadows=effort.shadows, columns=effort.columns,
        attacks=planned, left_out=left_out, queries=sum(one.queries for one in planned),
        seconds=round(total, 3),
    )  # fmt: skip


def _planned(row: AttackRow, subject: Subject, effort: Effort, cost: Cost) -> PlannedAttack:
    queries = row.queries(subject, effort)
    calls = max(row.calls(subject, effort), -(-queries // cost.most))
    weight = _GRADIENT if row.access == "gradients" else 1
    return PlannedAttack(
        attack=row.name,
        threat=row.threat,
        access=row.access,
        queries=queries,
        seconds=round(
            weight * (queries * cost.row_s + calls * cost.call_s) + row.own_s(subject, effort), 3
        ),
    )
