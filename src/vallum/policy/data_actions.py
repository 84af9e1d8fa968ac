"""Which actions are data actions: the table that gives every action exactly one plane.

They score or reveal content, keys or secrets, or give such rights away. `*` in a role's `actions`
never reaches them, whatever a role file from elsewhere says. DESIGN.md sections 7 and 15.
"""

DATA_ACTIONS: frozenset[str] = frozenset(
    {
        "audit/payload/read",
        "breakGlass/action",
        "computes/listKeys/action",
        "connections/listsecrets/action",
        "connections/use/action",
        "data/budgets/write",
        "data/versions/content/read",
        "data/versions/declare/action",
        "data/versions/declassify/action",
        "data/versions/forget/action",
        "data/versions/masked/read",
        "data/versions/quarantine/read",
        "data/versions/query/action",
        "data/versions/reidentify/action",
        "data/views/write",
        "dataGrants/write",
        "evidence/details/read",
        "experiments/artifacts/read",
        "experiments/quarantine/read",
        "experiments/runs/read",
        "experiments/traces/read",
        "jobs/logs/read",
        "jobs/outputs/read",
        "models/versions/content/read",
        "onlineEndpoints/deployments/capture/action",
        "onlineEndpoints/deployments/capture/delete",
        "onlineEndpoints/deployments/capture/read",
        "onlineEndpoints/deployments/code/action",
        "onlineEndpoints/deployments/getLogs/action",
        "onlineEndpoints/deployments/score/action",
        "onlineEndpoints/listKeys/action",
        "onlineEndpoints/regenerateKeys/action",
        "onlineEndpoints/score/action",
        "onlineEndpoints/token/action",
        "workspaces/listKeys/action",
    }
)
"""Short names. All others of the catalogue are control actions."""
