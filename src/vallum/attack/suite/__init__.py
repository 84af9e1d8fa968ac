"""A suite of attacks on one model: planned from a budget, run, and reported."""

from vallum.attack.suite.plan import Cost, Plan, make_plan
from vallum.attack.suite.record import Outcome, SuiteReport, Threat, Used, Verdict
from vallum.attack.suite.run import run_suite
from vallum.attack.suite.subject import Subject, array_subject, table_subject
from vallum.attack.suite.table import ATTACKS, SUITES, THREATS

__all__ = [
    "ATTACKS",
    "SUITES",
    "THREATS",
    "Cost",
    "Outcome",
    "Plan",
    "Subject",
    "SuiteReport",
    "Threat",
    "Used",
    "Verdict",
    "array_subject",
    "make_plan",
    "run_suite",
    "table_subject",
]
