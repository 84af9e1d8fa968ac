"""The generated pages of docs/reference: the same text for the page and for the test of it."""

import json

from vallum.policy.actions import Action, full_name
from vallum.policy.data_actions import DATA_ACTIONS
from vallum.policy.patterns import granted
from vallum.policy.requirements import requirements_schema
from vallum.policy.roles import BUILT_IN_ROLES
from vallum.schema import Role


def actions_page() -> str:
    """Return docs/reference/actions.md."""
    lines = [
        "# Actions",
        "",
        "Generated from `vallum.policy.actions`. Patterns in roles match the short or the full",
        "name, in any case; `*` is any run of characters including `/`, and `/*/` also one `/`.",
        "Control actions are granted under `actions`, data actions under `dataActions`; no `*`",
        "crosses from one plane to the other.",
        "",
    ]
    for action in Action:
        plane = "data" if action in DATA_ACTIONS else "control"
        lines += [
            f"### {action.value}",
            "",
            f"{action.about} Plane: **{plane}**. Full name: `{full_name(action.value)}`.",
            "",
        ]
    return "\n".join(lines).rstrip() + "\n"


def role_matrix() -> str:
    """Return the matrix of built-in role x action: `c` by control plane, `d` by data plane."""
    roles = [(role.name, _granted(role)) for role in BUILT_IN_ROLES]
    width = max(len(action.value) for action in Action)
    lines = [f"{column:>2} {name}" for column, (name, _) in enumerate(roles, 1)]
    lines += ["", " ".join([" " * width, *(f"{column:>2}" for column in range(1, len(roles) + 1))])]
    for action in Action:
        mark = "d" if action in DATA_ACTIONS else "c"
        cells = [f"{mark if action in held else '.':>2}" for _, held in roles]
        lines.append(" ".join([action.value.ljust(width), *cells]))
    return "\n".join(lines) + "\n"


def policy_schema() -> str:
    """Return docs/reference/policy.schema.json."""
    return json.dumps(requirements_schema(), indent=2) + "\n"


def _granted(role: Role) -> frozenset[Action]:
    return granted(role.actions, role.not_actions, role.data_actions, role.not_data_actions)
