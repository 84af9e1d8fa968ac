"""A suite of attacks on one model: planned from a budget, run, and reported."""

from vallum.attack.suite.diff import Change, Difference, compare_reports
from vallum.attack.suite.page import attack_page
from vallum.attack.suite.plan import Cost, Plan, make_plan
from vallum.attack.suite.record import Outcome, SuiteReport, Threat, Used, Verdict
from vallum.attack.suite.run import run_suite
from vallum.attack.suite.subject import Subject, array_subject, table_subject, text_subject
from vallum.attack.suite.table import ATTACKS, SUITES, THREATS

__all__ = [
    "ATTACKS",
    "SUITES",
    "THREATS",
    "Change",
    "Cost",
    "Difference",
    "Outcome",
    "Plan",
    "Subject",
    "SuiteReport",
    "Threat",
    "Used",
    "Verdict",
    "array_subject",
    "attack_page",
    "compare_reports",
    "make_plan",
    "run_suite",
    "table_subject",
    "text_subject",
]
