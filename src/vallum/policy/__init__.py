"""Who may do what, and what evidence a step needs: pure functions over records."""

from vallum.policy.actions import Action, find_action, full_name
from vallum.policy.authority import Authority
from vallum.policy.change import AccessChange, AccessDifference, apply_change, whatif
from vallum.policy.conditions import Condition, effective_label, parse_condition
from vallum.policy.data_actions import DATA_ACTIONS
from vallum.policy.decision import PURPOSE_TAG, decide, purposes, visible
from vallum.policy.evidence import unmet, unmet_results
from vallum.policy.explanation import Explanation, Missing, explain
from vallum.policy.facts import Approval, BreakGlass, EvidenceView, RequestFacts
from vallum.policy.grants import Escalation, check_grant
from vallum.policy.patterns import granted
from vallum.policy.requirements import (
    STRICT,
    Requirement,
    Requirements,
    compare_requirements,
    parse_requirements,
    required,
)
from vallum.policy.role_import import Difference, DifferenceKind, ImportReport, import_role
from vallum.policy.roles import BUILT_IN_ROLES
from vallum.policy.scopes import part_of, split_scope

__all__ = [
    "BUILT_IN_ROLES",
    "DATA_ACTIONS",
    "PURPOSE_TAG",
    "STRICT",
    "AccessChange",
    "AccessDifference",
    "Action",
    "Approval",
    "Authority",
    "BreakGlass",
    "Condition",
    "Difference",
    "DifferenceKind",
    "Escalation",
    "EvidenceView",
    "Explanation",
    "ImportReport",
    "Missing",
    "RequestFacts",
    "Requirement",
    "Requirements",
    "apply_change",
    "check_grant",
    "compare_requirements",
    "decide",
    "effective_label",
    "explain",
    "find_action",
    "full_name",
    "granted",
    "import_role",
    "parse_condition",
    "parse_requirements",
    "part_of",
    "purposes",
    "required",
    "split_scope",
    "unmet",
    "unmet_results",
    "visible",
    "whatif",
]
