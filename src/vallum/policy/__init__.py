"""Who may do what, and what evidence a step needs: pure functions over records."""

from vallum.policy.actions import Action, find_action, full_name, is_data_action
from vallum.policy.authority import Authority
from vallum.policy.conditions import Condition, effective_label, parse_condition
from vallum.policy.data_actions import DATA_ACTIONS
from vallum.policy.decision import decide, visible
from vallum.policy.evidence import unmet, unmet_results
from vallum.policy.facts import Approval, BreakGlass, EvidenceView, RequestFacts
from vallum.policy.requirements import (
    STRICT,
    Requirement,
    Requirements,
    parse_requirements,
    required,
)
from vallum.policy.roles import BUILT_IN_ROLES

__all__ = [
    "BUILT_IN_ROLES",
    "DATA_ACTIONS",
    "STRICT",
    "Action",
    "Approval",
    "Authority",
    "BreakGlass",
    "Condition",
    "EvidenceView",
    "RequestFacts",
    "Requirement",
    "Requirements",
    "decide",
    "effective_label",
    "find_action",
    "full_name",
    "is_data_action",
    "parse_condition",
    "parse_requirements",
    "required",
    "unmet",
    "unmet_results",
    "visible",
]
