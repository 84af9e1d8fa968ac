"""The catalogue of actions, under Azure's names where Azure has one.

Code and people use the short alias (`models/versions/read`); patterns in roles match the alias or
the full name (`Microsoft.MachineLearningServices/workspaces/models/versions/read`), in any case.
"""

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Self


class Action(StrEnum):
    """Everything that can be decided. The second string says what the action lets one do."""

    about: str

    def __new__(cls, value: str, about: str) -> Self:
        """Make a member that carries its description."""
        member = str.__new__(cls, value)
        member._value_ = value
        member.about = about
        member.__doc__ = about
        return member

    APPROVALS_READ = "approvals/read", "List approvals."
    APPROVALS_WRITE = "approvals/write", "Approve a step that somebody else asked for."
    AUDIT_ENTRIES_READ = "audit/entries/read", "Read entries of the log, without their details."
    AUDIT_EXPORT_ACTION = "audit/export/action", "Export the log with its proofs."
    AUDIT_PAYLOAD_READ = "audit/payload/read", "Read the encrypted details of log entries."
    BREAK_GLASS_ACTION = "breakGlass/action", "Unseal the break-glass principal for one hour."
    BREAK_GLASS_READ = "breakGlass/read", "See whether the seal is broken, by whom and why."
    BREAK_GLASS_WRITE = "breakGlass/write", "Make the break-glass principal, or seal it again."
    COMPUTES_DELETE = "computes/delete", "Delete a compute."
    COMPUTES_LIST_KEYS_ACTION = "computes/listKeys/action", "Read a compute's secrets."
    COMPUTES_READ = "computes/read", "Read the record of a compute."
    COMPUTES_START_ACTION = "computes/start/action", "Start a compute."
    COMPUTES_STOP_ACTION = "computes/stop/action", "Stop a compute."
    COMPUTES_USE_ACTION = "computes/use/action", "Run a job on a compute."
    COMPUTES_WRITE = "computes/write", "Create or change a compute."
    CONNECTIONS_DELETE = "connections/delete", "Delete a connection."
    CONNECTIONS_LISTSECRETS_ACTION = (
        "connections/listsecrets/action",
        "Read the secret of a connection.",
    )
    CONNECTIONS_READ = "connections/read", "Read the record of a connection, never its secret."
    CONNECTIONS_USE_ACTION = "connections/use/action", "Inject a connection's secret into one job."
    CONNECTIONS_WRITE = "connections/write", "Create or change a connection."
    DATA_BUDGETS_WRITE = "data/budgets/write", "Set or renew a privacy budget."
    DATA_DELETE = "data/delete", "Delete a data asset."
    DATA_GRANTS_WRITE = "dataGrants/write", "Give others data rights."
    DATA_READ = "data/read", "Read the record of a data asset."
    DATA_VERSIONS_CLASSIFY_ACTION = "data/versions/classify/action", "Set a data version's label."
    DATA_VERSIONS_CONTENT_READ = "data/versions/content/read", "Read or download the content."
    DATA_VERSIONS_DECLARE_ACTION = (
        "data/versions/declare/action",
        "Declare the unit, bounds and groups of private queries.",
    )
    DATA_VERSIONS_DECLASSIFY_ACTION = (
        "data/versions/declassify/action",
        "Lower a data version's label, with a reason.",
    )
    DATA_VERSIONS_DELETE = "data/versions/delete", "Delete or erase a data version."
    DATA_VERSIONS_FORGET_ACTION = (
        "data/versions/forget/action",
        "Find a person in data and erase them from it.",
    )
    DATA_VERSIONS_MASKED_READ = (
        "data/versions/masked/read",
        "Read data through the masked view of its asset.",
    )
    DATA_VERSIONS_PROMOTE_ACTION = "data/versions/promote/action", "Move an alias of a data asset."
    DATA_VERSIONS_PROTECT_ACTION = (
        "data/versions/protect/action",
        "Make a protected version: mask, generalise, anonymise.",
    )
    DATA_VERSIONS_QUARANTINE_READ = (
        "data/versions/quarantine/read",
        "Read why rows were taken out of a data version, and who contributed them.",
    )
    DATA_VERSIONS_QUERY_ACTION = (
        "data/versions/query/action",
        "Ask questions under differential privacy, within the budgets.",
    )
    DATA_VERSIONS_READ = "data/versions/read", "Read the record of a data version."
    DATA_VERSIONS_REIDENTIFY_ACTION = (
        "data/versions/reidentify/action",
        "Undo the reversible masking of a view.",
    )
    DATA_VERSIONS_WRITE = "data/versions/write", "Add a data version."
    DATA_VIEWS_WRITE = "data/views/write", "Say what the masked view of a data asset shows."
    DATA_WRITE = "data/write", "Create or change a data asset."
    DENY_ASSIGNMENTS_DELETE = "denyAssignments/delete", "Remove a deny assignment."
    DENY_ASSIGNMENTS_READ = "denyAssignments/read", "List deny assignments."
    DENY_ASSIGNMENTS_WRITE = "denyAssignments/write", "Create a deny assignment."
    ENVIRONMENTS_DELETE = "environments/delete", "Delete an environment."
    ENVIRONMENTS_READ = "environments/read", "Read the record of an environment."
    ENVIRONMENTS_VERSIONS_DELETE = "environments/versions/delete", "Delete an environment version."
    ENVIRONMENTS_VERSIONS_READ = "environments/versions/read", "Read an environment version."
    ENVIRONMENTS_VERSIONS_WRITE = "environments/versions/write", "Add an environment version."
    ENVIRONMENTS_WRITE = "environments/write", "Create or change an environment."
    EVIDENCE_DETAILS_READ = "evidence/details/read", "Read the details behind a verdict."
    EVIDENCE_READ = "evidence/read", "Read verdicts."
    EVIDENCE_WRITE = "evidence/write", "Run gates and file their evidence."
    EXPERIMENTS_ARTIFACTS_READ = (
        "experiments/artifacts/read",
        "Read files of runs and logged models.",
    )
    EXPERIMENTS_ARTIFACTS_WRITE = (
        "experiments/artifacts/write",
        "Write files of runs and logged models.",
    )
    EXPERIMENTS_DELETE = "experiments/delete", "Delete or restore an experiment."
    EXPERIMENTS_QUARANTINE_READ = (
        "experiments/quarantine/read",
        "Read files that may carry code, such as pickles.",
    )
    EXPERIMENTS_READ = "experiments/read", "Read the record of an experiment."
    EXPERIMENTS_RUNS_DELETE = "experiments/runs/delete", "Delete or restore a run."
    EXPERIMENTS_RUNS_READ = (
        "experiments/runs/read",
        "Read runs: their parameters, metrics and tags.",
    )
    EXPERIMENTS_RUNS_WRITE = "experiments/runs/write", "Start a run and log to it."
    EXPERIMENTS_TRACES_DELETE = "experiments/traces/delete", "Delete traces and evaluation sets."
    EXPERIMENTS_TRACES_READ = (
        "experiments/traces/read",
        "Read traces and evaluation sets: what a program is asked, what it answers, and how.",
    )
    EXPERIMENTS_TRACES_WRITE = (
        "experiments/traces/write",
        "Log, tag and assess traces; write evaluation sets.",
    )
    EXPERIMENTS_WRITE = "experiments/write", "Create or change an experiment."
    GROUPS_DELETE = "groups/delete", "Delete a group."
    GROUPS_READ = "groups/read", "List groups and their members."
    GROUPS_WRITE = "groups/write", "Create a group or change its members."
    IDENTITIES_ASSIGN_ACTION = "identities/assign/action", "Attach a managed identity."
    IDENTITIES_DELETE = "identities/delete", "Delete a principal."
    IDENTITIES_FEDERATED_CREDENTIALS_WRITE = (
        "identities/federatedCredentials/write",
        "Let tokens of another issuer act as a principal.",
    )
    IDENTITIES_READ = "identities/read", "List principals."
    IDENTITIES_WRITE = "identities/write", "Create, change or disable a principal."
    JOBS_CANCEL_ACTION = "jobs/cancel/action", "Cancel a job."
    JOBS_DELETE = "jobs/delete", "Delete a job."
    JOBS_LOGS_READ = "jobs/logs/read", "Read a job's logs; they carry its inputs' labels."
    JOBS_OUTPUTS_READ = "jobs/outputs/read", "Read a job's metrics and outputs."
    JOBS_READ = "jobs/read", "Read the record of a job."
    JOBS_RUN_ACTION = "jobs/run/action", "Run a queued job, as the worker does."
    JOBS_WRITE = "jobs/write", "Submit a job."
    KEYS_DELETE = "keys/delete", "Revoke a credential."
    KEYS_READ = "keys/read", "List credentials, never their secrets."
    KEYS_ROTATE_ACTION = "keys/rotate/action", "Replace a credential."
    KEYS_WRITE = "keys/write", "Create a credential."
    MODELS_DELETE = "models/delete", "Delete a model."
    MODELS_READ = "models/read", "Read the record of a model."
    MODELS_VERSIONS_CONTENT_READ = "models/versions/content/read", "Download a model's files."
    MODELS_VERSIONS_DELETE = "models/versions/delete", "Delete a model version."
    MODELS_VERSIONS_PROMOTE_ACTION = "models/versions/promote/action", "Move an alias or stage."
    MODELS_VERSIONS_READ = "models/versions/read", "Read the record of a model version."
    MODELS_VERSIONS_SIGN_ACTION = "models/versions/sign/action", "Attach a signature."
    MODELS_VERSIONS_WRITE = "models/versions/write", "Register a model version."
    MODELS_WRITE = "models/write", "Create or change a model."
    ONLINE_ENDPOINTS_DELETE = "onlineEndpoints/delete", "Delete an endpoint."
    ONLINE_ENDPOINTS_DEPLOYMENTS_CAPTURE_ACTION = (
        "onlineEndpoints/deployments/capture/action",
        "Have a sample of a deployment's requests and answers kept.",
    )
    ONLINE_ENDPOINTS_DEPLOYMENTS_CAPTURE_DELETE = (
        "onlineEndpoints/deployments/capture/delete",
        "Destroy what was kept of requests and answers.",
    )
    ONLINE_ENDPOINTS_DEPLOYMENTS_CAPTURE_READ = (
        "onlineEndpoints/deployments/capture/read",
        "Read what was kept of requests and answers.",
    )
    ONLINE_ENDPOINTS_DEPLOYMENTS_CODE_ACTION = (
        "onlineEndpoints/deployments/code/action",
        "Have a deployment run scoring code of one's own in the sandbox.",
    )
    ONLINE_ENDPOINTS_DEPLOYMENTS_DELETE = (
        "onlineEndpoints/deployments/delete",
        "Stop and delete a deployment.",
    )
    ONLINE_ENDPOINTS_DEPLOYMENTS_GET_LOGS_ACTION = (
        "onlineEndpoints/deployments/getLogs/action",
        "Read a deployment's logs.",
    )
    ONLINE_ENDPOINTS_DEPLOYMENTS_READ = (
        "onlineEndpoints/deployments/read",
        "Read the record of a deployment.",
    )
    ONLINE_ENDPOINTS_DEPLOYMENTS_SCORE_ACTION = (
        "onlineEndpoints/deployments/score/action",
        "Get predictions of a deployment that the caller names, whatever the traffic.",
    )
    ONLINE_ENDPOINTS_DEPLOYMENTS_WRITE = (
        "onlineEndpoints/deployments/write",
        "Deploy, roll back, shift traffic, mirror, scale, restart.",
    )
    ONLINE_ENDPOINTS_LIST_KEYS_ACTION = "onlineEndpoints/listKeys/action", "Read endpoint keys."
    ONLINE_ENDPOINTS_READ = "onlineEndpoints/read", "Read the record of an endpoint."
    ONLINE_ENDPOINTS_REGENERATE_KEYS_ACTION = (
        "onlineEndpoints/regenerateKeys/action",
        "Replace an endpoint key and read the new one.",
    )
    ONLINE_ENDPOINTS_SCORE_ACTION = "onlineEndpoints/score/action", "Get predictions."
    ONLINE_ENDPOINTS_TOKEN_ACTION = "onlineEndpoints/token/action", "Get a token for scoring."
    ONLINE_ENDPOINTS_WRITE = "onlineEndpoints/write", "Create or change an endpoint."
    POLICY_READ = "policy/read", "Read the policy file."
    POLICY_WRITE = "policy/write", "Replace the policy file."
    REGISTRIES_ASSETS_DELETE = "registries/assets/delete", "Delete an asset of a shared registry."
    REGISTRIES_ASSETS_READ = "registries/assets/read", "Read assets of a shared registry."
    REGISTRIES_ASSETS_WRITE = "registries/assets/write", "Add assets to a shared registry."
    REGISTRIES_READ = "registries/read", "Read the record of a shared registry."
    RELEASE_KEYS_READ = "releaseKeys/read", "List the keys whose signatures on models count."
    RELEASE_KEYS_WRITE = "releaseKeys/write", "Let a key sign models, or no more."
    ROLE_ASSIGNMENTS_DELETE = "roleAssignments/delete", "Remove a role assignment."
    ROLE_ASSIGNMENTS_READ = "roleAssignments/read", "List role assignments."
    ROLE_ASSIGNMENTS_WRITE = "roleAssignments/write", "Give others control rights."
    ROLE_DEFINITIONS_DELETE = "roleDefinitions/delete", "Delete a role definition."
    ROLE_DEFINITIONS_READ = "roleDefinitions/read", "List role definitions."
    ROLE_DEFINITIONS_WRITE = "roleDefinitions/write", "Create, import or change a role definition."
    WAIVERS_READ = "waivers/read", "List waivers."
    WAIVERS_WRITE = "waivers/write", "Waive a failed gate for a time, as a second person."
    WORKSPACES_BACKUP_ACTION = "workspaces/backup/action", "Write an encrypted backup."
    WORKSPACES_DELETE = "workspaces/delete", "Delete the workspace."
    WORKSPACES_LIST_KEYS_ACTION = "workspaces/listKeys/action", "Read keys of the workspace."
    WORKSPACES_READ = "workspaces/read", "Read the record and posture of the workspace."
    WORKSPACES_RESTORE_ACTION = "workspaces/restore/action", "Restore from a backup."
    WORKSPACES_ROTATE_KEY_ACTION = "workspaces/rotateKey/action", "Rotate the workspace key."
    WORKSPACES_WRITE = "workspaces/write", "Change the workspace."


_ML = "Microsoft.MachineLearningServices/workspaces/"
_AUTHORIZATION = "Microsoft.Authorization/"
_OURS = "Vallum/"

_PROVIDERS = {
    # First segment of the alias: what stands before it in the full name.
    "workspaces": "Microsoft.MachineLearningServices/",
    "registries": "Microsoft.MachineLearningServices/",
    "denyAssignments": _AUTHORIZATION,
    "roleAssignments": _AUTHORIZATION,
    "roleDefinitions": _AUTHORIZATION,
    "approvals": _OURS,
    "audit": _OURS,
    "breakGlass": _OURS,
    "dataGrants": _OURS,
    "groups": _OURS,
    "identities": _OURS,
    "keys": _OURS,
    "policy": _OURS,
    "releaseKeys": _OURS,
    "waivers": _OURS,
}
# Azure's types, but no action of Azure's: kept out of reach of its `workspaces/*/action`.
_OWN_ACTIONS = frozenset(
    {
        "jobs/run/action",
        "workspaces/backup/action",
        "workspaces/restore/action",
        "workspaces/rotateKey/action",
    }
)


def full_name(action: str) -> str:
    """Return the full name of the catalogue's `action`, with the provider before it."""
    if action in _OWN_ACTIONS:
        return _OURS + action
    return _PROVIDERS.get(action.partition("/")[0], _ML) + action


_BY_ANY_NAME: Mapping[str, Action] = MappingProxyType(
    {name.lower(): action for action in Action for name in (action.value, full_name(action))}
)
_BY_VALUE: Mapping[str, Action] = MappingProxyType({action.value: action for action in Action})


def find_action(name: str) -> Action | None:
    """Look `name` up, short or full, in any case; None if the catalogue lacks it."""
    return _BY_VALUE.get(name) or _BY_ANY_NAME.get(name.lower())


def read_action(kind_path: str) -> Action | None:
    """Return the action that reads the record of a `kind_path` such as `models/versions`."""
    return _BY_VALUE.get(f"{kind_path}/read") or _BY_ANY_NAME.get(f"{kind_path}/read".lower())
