"""The built-in roles. Azure's keep Azure's `actions`; ours grant the data plane.

Source: "Azure built-in roles" and "Manage access to Azure Machine Learning workspaces".
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from vallum.schema import Role

_ML: Final = "Microsoft.MachineLearningServices/workspaces/"

_CONTENT = (
    "data/versions/content/read",
    "evidence/details/read",
    "experiments/artifacts/read",
    "experiments/runs/read",
    "experiments/traces/read",
    "jobs/logs/read",
    "jobs/outputs/read",
    "models/versions/content/read",
)
_SCORING = ("onlineEndpoints/score/action", "onlineEndpoints/token/action")
_PICKING = "onlineEndpoints/deployments/score/action"


def _built_in(slug: str, name: str, description: str, **lists: tuple[str, ...]) -> Role:
    return Role(
        id=f"role-{slug}",
        name=name,
        description=description,
        assignable_scopes=("/",),
        built_in=True,
        **lists,
    )


OWNER = _built_in(
    "owner", "Owner", "Everything on the control plane, also giving access.", actions=("*",)
)
CONTRIBUTOR = _built_in(
    "contributor",
    "Contributor",
    "Everything on the control plane but giving access and changing the rules.",
    actions=("*",),
    not_actions=(
        "Microsoft.Authorization/*/Delete",
        "Microsoft.Authorization/*/Write",
        "Microsoft.Authorization/elevateAccess/Action",
        # Ours: what Azure keeps outside the resource (Entra, Policy) is within it here.
        "Vallum/*/action",
        "Vallum/*/delete",
        "Vallum/*/write",
    ),
)
READER = _built_in("reader", "Reader", "See everything on the control plane.", actions=("*/read",))
USER_ACCESS_ADMINISTRATOR = _built_in(
    "user-access-administrator",
    "User Access Administrator",
    "Manage who has access, up to one's own rights.",
    actions=("*/read", "Microsoft.Authorization/*", "Microsoft.Support/*"),
)
AZUREML_DATA_SCIENTIST = _built_in(
    "azureml-data-scientist",
    "AzureML Data Scientist",
    "Everything in a workspace but computes and the workspace itself.",
    actions=(f"{_ML}*/read", f"{_ML}*/action", f"{_ML}*/delete", f"{_ML}*/write"),
    not_actions=(
        f"{_ML}delete",
        f"{_ML}write",
        f"{_ML}computes/*/write",
        f"{_ML}computes/*/delete",
        f"{_ML}computes/listKeys/action",
        f"{_ML}listKeys/action",
        f"{_ML}hubs/write",
        f"{_ML}hubs/delete",
        f"{_ML}featurestores/write",
        f"{_ML}featurestores/delete",
    ),
    data_actions=(*_CONTENT, *_SCORING, _PICKING, "onlineEndpoints/deployments/getLogs/action"),
)
AZUREML_COMPUTE_OPERATOR = _built_in(
    "azureml-compute-operator",
    "AzureML Compute Operator",
    "Create, delete, start and stop computes.",
    actions=(f"{_ML}computes/*", f"{_ML}notebooks/vm/*"),
)
AZUREML_REGISTRY_USER = _built_in(
    "azureml-registry-user",
    "AzureML Registry User",
    "Use the assets of a shared registry.",
    actions=(
        "Microsoft.MachineLearningServices/registries/read",
        "Microsoft.MachineLearningServices/registries/assets/*",
    ),
)
MACHINE_LEARNING_ENGINEER = _built_in(
    "machine-learning-engineer",
    "Machine Learning Engineer",
    "Train, register, sign and deploy; not manage computes, connections or the workspace.",
    actions=(
        f"{_ML}*/read",
        f"{_ML}data/*",
        f"{_ML}models/*",
        f"{_ML}environments/*",
        f"{_ML}jobs/*",
        f"{_ML}experiments/*",
        f"{_ML}onlineEndpoints/*",
        f"{_ML}computes/*/action",
        f"{_ML}evidence/*",
    ),
    data_actions=(
        *_CONTENT,
        *_SCORING,
        _PICKING,
        "connections/use/action",
        "onlineEndpoints/deployments/getLogs/action",
    ),
)
DATA_OWNER = _built_in(
    "vallum-data-owner",
    "Vallum Data Owner",
    "Everything on the data plane, also giving data rights.",
    data_actions=("*",),
)
DATA_READER = _built_in(
    "vallum-data-reader",
    "Vallum Data Reader",
    "Find data and read its content.",
    actions=("workspaces/read", "data/*/read"),
    data_actions=("data/versions/content/read",),
)
DATA_ANALYST = _built_in(
    "vallum-data-analyst",
    "Vallum Data Analyst",
    "Ask questions under differential privacy without reading any record.",
    actions=("workspaces/read", "data/*/read"),
    data_actions=("data/versions/query/action",),
)
MASKED_DATA_READER = _built_in(
    "vallum-masked-data-reader",
    "Vallum Masked Data Reader",
    "Find data and read its masked views, never a value as it is.",
    actions=("workspaces/read", "data/*/read"),
    data_actions=("data/versions/masked/read",),
)
ENDPOINT_INVOKER = _built_in(
    "vallum-endpoint-invoker",
    "Vallum Endpoint Invoker",
    "Get predictions from an endpoint, nothing else.",
    actions=("onlineEndpoints/read",),
    data_actions=_SCORING,
)
RELEASER = _built_in(
    "vallum-releaser",
    "Vallum Releaser",
    "Sign, approve and release what others made.",
    actions=(
        f"{_ML}*/read",
        "approvals/*",
        "evidence/read",
        "models/versions/promote/action",
        "models/versions/sign/action",
        "onlineEndpoints/deployments/write",
        "releaseKeys/read",
        "waivers/*",
    ),
    data_actions=("evidence/details/read", "models/versions/content/read"),
)
AUDITOR = _built_in(
    "vallum-auditor",
    "Vallum Auditor",
    "See everything and read and export the log with its details.",
    actions=("*/read", "audit/export/action"),
    data_actions=("audit/payload/read", "evidence/details/read"),
)
SYSTEM = _built_in(
    "vallum-system",
    "Vallum System",
    "What timers, settlement and the worker do in their own name.",
    actions=(
        "*/read",
        "data/versions/delete",
        "evidence/write",
        "jobs/cancel/action",
        "jobs/run/action",
        "keys/delete",
        "onlineEndpoints/deployments/*",
        "workspaces/backup/action",
    ),
    data_actions=("data/versions/content/read", "models/versions/content/read"),
)

BUILT_IN_ROLES: tuple[Role, ...] = (
    OWNER,
    CONTRIBUTOR,
    READER,
    USER_ACCESS_ADMINISTRATOR,
    AZUREML_DATA_SCIENTIST,
    AZUREML_COMPUTE_OPERATOR,
    AZUREML_REGISTRY_USER,
    MACHINE_LEARNING_ENGINEER,
    DATA_OWNER,
    DATA_READER,
    DATA_ANALYST,
    MASKED_DATA_READER,
    ENDPOINT_INVOKER,
    RELEASER,
    AUDITOR,
    SYSTEM,
)

BUILT_IN_BY_ID: Mapping[str, Role] = MappingProxyType({role.id: role for role in BUILT_IN_ROLES})
