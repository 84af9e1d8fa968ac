"""The HTTP interface as a table: one row a step. Server and SDK read the same rows.

A path parameter is a field of the arguments; the other fields travel in the query (GET, DELETE
and uploads) or as a JSON body. `upload` means that the body is the content itself, `download`
that the reply is. Every change also takes `?dry_run=true`.
"""

from dataclasses import dataclass

from vallum.schema import api, environments, privacy, release, rules, views
from vallum.schema.record import Record

PREFIX = "/api/v1"
PURPOSE_HEADER = "vallum-purpose"
"""Request header: what the caller reads data for, where the data asks for it."""
DEPLOYMENT_HEADER = "azureml-model-deployment"
"""Scoring request header: which deployment is to answer; named as with Azure ML."""


@dataclass(frozen=True, slots=True)
class Route:
    """One step as an HTTP operation."""

    method: str
    path: str
    step: str
    arguments: type[Record]
    reply: type[Record]
    summary: str
    upload: bool = False
    download: bool = False
    media_type: str = "application/octet-stream"  # of what is downloaded


ROUTES: tuple[Route, ...] = (
    # data
    Route("GET", "/data", "data.list", api.Page, api.Listing, "List data assets"),
    Route("PUT", "/data/{name}/versions", "data.create", api.DataCreate, api.VersionShown,
          "Ingest a table as a new version", upload=True),
    Route("GET", "/data/{name}", "data.show", api.Named, api.VersionShown,
          "Show a data version and the verdicts about it"),
    Route("GET", "/data/{name}/content", "data.download", api.Named, api.Done,
          "Download a data version", download=True),
    Route("POST", "/data/{name}/protect", "data.protect", api.DataProtect, api.VersionShown,
          "Make a protected version"),
    Route("GET", "/data/{name}/read", "data.read", views.DataRead, api.Done,
          "Read some columns of a data version, or its masked view", download=True),
    Route("GET", "/data/{name}/view", "data.view", api.Named, views.DataViewShown,
          "Show the masked view of a data asset"),
    Route("PUT", "/data/{name}/view", "data.set-view", views.DataSetView, views.DataViewShown,
          "Say what the masked view of a data asset shows"),
    Route("PUT", "/data/{name}/unmask", "data.unmask", views.DataUnmask, api.Done,
          "Undo the reversible masking of rows of a view", upload=True, download=True),
    Route("POST", "/data/{name}/label", "data.relabel", views.DataRelabel, api.VersionShown,
          "Raise or lower the label of a data version"),
    Route("POST", "/erasures", "data.forget", views.DataForget, views.ErasureCertificate,
          "Erase a person from all data"),
    Route("POST", "/data/{name}/drift", "data.drift", api.DataDrift, api.VersionShown,
          "Compare a data version with the one a model was trained on"),
    Route("DELETE", "/data/{name}", "data.delete", api.Named, api.Done,
          "Delete a data asset, or one version, by destroying its keys"),
    # private queries
    Route("PUT", "/data/{name}/privacy", "dp.declare", privacy.DpDeclare, privacy.DpShown,
          "Declare what private queries may ask about a data version"),
    Route("GET", "/data/{name}/privacy", "dp.show", api.Named, privacy.DpShown,
          "Show what may be asked and what is left of the budgets"),
    Route("POST", "/data/{name}/privacy/budget", "dp.budget", privacy.DpBudget, privacy.DpShown,
          "Set or renew a privacy budget"),
    Route("POST", "/data/{name}/privacy/query", "dp.query", privacy.DpQuery, privacy.DpAnswer,
          "Ask a question under differential privacy"),
    Route("POST", "/data/{name}/privacy/release", "dp.release", privacy.DpRelease,
          privacy.DpReleased, "Release noisy marginals or synthetic records as a data asset"),
    # models
    Route("GET", "/models", "model.list", api.Page, api.Listing, "List models"),
    Route("PUT", "/models/{name}/versions", "model.register", api.ModelRegister,
          api.VersionShown, "Register a model version", upload=True),
    Route("GET", "/models/{name}", "model.show", api.Named, api.VersionShown,
          "Show a model version and the verdicts about it"),
    Route("GET", "/models/{name}/content", "model.download", api.Named, api.Done,
          "Download a model version as a tar archive", download=True),
    Route("GET", "/models/{name}/card", "model.card", api.Named, release.CardShown,
          "Show the model card of a version"),
    Route("GET", "/models/{name}/bom", "model.bom", api.Named, api.Done,
          "Download the bill of materials of a model version, CycloneDX 1.6", download=True,
          media_type="application/vnd.cyclonedx+json; version=1.6"),
    Route("GET", "/models/{name}/provenance", "model.provenance", release.ModelProvenance, api.Done,
          "Download how a model version was made: SLSA provenance in a signed in-toto statement",
          download=True, media_type="application/vnd.in-toto+json"),
    Route("POST", "/models/{name}/provenance", "model.check-provenance",
          release.ModelProvenanceCheck, api.Done, "Check a statement of provenance"),
    Route("POST", "/models/{name}/sign", "model.sign", api.ModelSign, api.VersionShown,
          "Sign a model version"),
    Route("POST", "/models/{name}/verify", "model.verify", api.Named, api.Done,
          "Verify a model version's bytes and signature"),
    Route("PUT", "/models/{name}/aliases/{alias}", "model.alias", release.ModelAlias,
          api.VersionShown, "Point an alias at a model version"),
    Route("DELETE", "/models/{name}/aliases/{alias}", "model.unalias", release.ModelUnalias,
          api.Done, "Remove an alias"),
    Route("POST", "/models/{name}/test", "model.test", api.ModelTest, api.VersionShown,
          "Attack a model version, and measure how well it does, over all and by segment"),
    Route("GET", "/models/{name}/report", "model.report", api.Named, api.Done,
          "Download the report of a model version's last test", download=True,
          media_type="application/json"),
    Route("DELETE", "/models/{name}", "model.delete", api.Named, api.Done,
          "Delete a model, or one version, by destroying its keys"),
    # environments
    Route("GET", "/environments", "environment.list", api.Page, api.Listing, "List environments"),
    Route("PUT", "/environments/{name}/versions", "environment.add", environments.EnvironmentAdd,
          api.VersionShown, "Add a container image as an environment version", upload=True),
    Route("GET", "/environments/{name}", "environment.show", api.Named, api.VersionShown,
          "Show an environment version and the verdict about it"),
    Route("GET", "/environments/{name}/content", "environment.download", api.Named, api.Done,
          "Download an environment version as a tar of an OCI layout", download=True),
    Route("DELETE", "/environments/{name}", "environment.delete", api.Named, api.Done,
          "Delete an environment, or one version, by destroying its keys"),
    # endpoints
    Route("GET", "/endpoints", "endpoint.list", api.Page, api.Listing, "List endpoints"),
    Route("POST", "/endpoints", "endpoint.create", api.EndpointCreate, api.EndpointShown,
          "Create an endpoint"),
    Route("GET", "/endpoints/{name}", "endpoint.show", api.Named, api.EndpointShown,
          "Show an endpoint and its deployments"),
    Route("POST", "/endpoints/{endpoint}/deployments", "endpoint.deploy", api.EndpointDeploy,
          api.EndpointShown, "Deploy a model version"),
    Route("POST", "/endpoints/{endpoint}/traffic", "endpoint.traffic", release.EndpointTraffic,
          api.EndpointShown, "Share the traffic among the deployments"),
    Route("POST", "/endpoints/{name}/settings", "endpoint.update", release.EndpointUpdate,
          api.EndpointShown, "Change limits, networks or description of an endpoint"),
    Route("POST", "/endpoints/{endpoint}/token", "endpoint.token", release.EndpointToken,
          api.Shown, "Get a token that scores at an endpoint and ends soon"),
    Route("POST", "/endpoints/{endpoint}/batch", "endpoint.batch", release.EndpointBatch,
          release.BatchScored, "Score a data version into a data asset"),
    Route("POST", "/endpoints/{endpoint}/keys", "endpoint.keys", api.EndpointKeys, api.Shown,
          "Make a new scoring key"),
    Route("DELETE", "/endpoints/{name}", "endpoint.delete", api.Named, api.Done,
          "Stop and delete an endpoint"),
    # jobs
    Route("GET", "/jobs", "job.list", api.Page, api.Listing, "List jobs"),
    Route("PUT", "/jobs", "job.submit", api.JobSubmit, api.JobShown, "Queue a job", upload=True),
    Route("GET", "/jobs/{name}", "job.show", api.Named, api.JobShown, "Show a job"),
    Route("GET", "/jobs/{name}/logs", "job.logs", api.Named, api.Done, "Read a job's output",
          download=True),
    Route("POST", "/jobs/{name}/cancel", "job.cancel", api.Named, api.Done, "Cancel a job"),
    # roles
    Route("GET", "/roles", "role.list", api.Page, api.Listing,
          "List role definitions, assignments and denies"),
    Route("GET", "/roles/{name}", "role.show", api.Named, api.Listing, "Show a role"),
    Route("POST", "/roles", "role.create", api.RoleCreate, api.Done, "Create or replace a role"),
    Route("POST", "/roles/import", "role.import", api.RoleImport, api.RoleImported,
          "Import an Azure role file"),
    Route("POST", "/role-assignments", "role.assign", api.RoleAssign, api.Done, "Assign a role"),
    Route("DELETE", "/role-assignments/{name}", "role.unassign", api.Named, api.Done,
          "Remove an assignment or a deny"),
    Route("POST", "/deny-assignments", "role.deny", api.RoleDeny, api.Done, "Deny actions"),
    Route("POST", "/roles/explain", "role.explain", api.RoleExplain, api.Explanation,
          "Explain why a principal may or may not act"),
    Route("POST", "/roles/whatif", "role.whatif", api.RoleWhatIf, api.Differences,
          "Show what a change of roles would change"),
    # connections
    Route("GET", "/connections", "connection.list", api.Page, api.Listing, "List connections"),
    Route("POST", "/connections", "connection.create", api.ConnectionCreate, api.Done,
          "Create a connection"),
    Route("DELETE", "/connections/{name}", "connection.delete", api.Named, api.Done,
          "Delete a connection"),
    # groups and identities
    Route("GET", "/groups", "group.list", api.Page, api.Listing, "List groups"),
    Route("POST", "/groups", "group.create", api.IdentityCreate, api.Done, "Create a group"),
    Route("POST", "/groups/{group}/members", "group.add", api.GroupChange, api.Done,
          "Add a member to a group"),
    Route("DELETE", "/groups/{group}/members/{member}", "group.remove", api.GroupChange,
          api.Done, "Remove a member from a group"),
    Route("GET", "/identities", "identity.list", api.Page, api.Listing,
          "List users and service principals"),
    Route("POST", "/identities", "identity.create", api.IdentityCreate, api.Done,
          "Create a user or service principal"),
    Route("POST", "/identities/{name}/disable", "identity.disable", api.Named, api.Done,
          "Disable a principal and all its credentials"),
    Route("POST", "/identities/{name}/federated-credentials", "identity.federate", rules.Federate,
          api.Done, "Let tokens of another issuer act as a principal"),
    # keys
    Route("GET", "/keys", "key.list", api.Page, api.Listing, "List API keys"),
    Route("POST", "/keys", "key.create", api.KeyCreate, api.Shown, "Issue an API key"),
    Route("POST", "/keys/{name}/rotate", "key.rotate", api.Named, api.Shown,
          "Replace an API key's secret"),
    Route("DELETE", "/keys/{name}", "key.revoke", api.Named, api.Done, "Revoke an API key"),
    Route("POST", "/sessions", "session.create", rules.SessionCreate, api.Shown,
          "Open an interactive session"),
    # approvals
    Route("GET", "/approvals", "approval.list", api.Page, api.Approvals, "List approvals"),
    Route("POST", "/approvals", "approval.create", api.ApprovalCreate, api.Done,
          "Approve a deployment that somebody else made"),
    # the rules themselves
    Route("GET", "/policy", "policy.show", api.Page, rules.PolicyShown, "Show the policy file"),
    Route("POST", "/policy", "policy.set", rules.PolicySet, rules.PolicyShown,
          "Replace the policy file"),
    Route("GET", "/waivers", "waiver.list", api.Page, rules.Waivers, "List waivers"),
    Route("POST", "/waivers", "waiver.create", rules.WaiverCreate, api.Done,
          "Waive a gate for a version, as a second person"),
    Route("DELETE", "/waivers/{name}", "waiver.revoke", api.Named, api.Done, "Revoke a waiver"),
    Route("POST", "/break-glass", "break-glass.create", api.Page, rules.BreakGlassShown,
          "Make the sealed break-glass principal"),
    Route("GET", "/break-glass", "break-glass.show", api.Page, rules.BreakGlassShown,
          "Show whether the seal is broken"),
    Route("POST", "/break-glass/open", "break-glass.open", rules.BreakGlassOpen,
          rules.BreakGlassShown, "Break the seal for one hour"),
    Route("POST", "/break-glass/close", "break-glass.close", api.Page, rules.BreakGlassShown,
          "Seal the break-glass principal again"),
    # the log and the workspace
    Route("GET", "/audit", "audit.list", api.AuditList, api.Listing, "List log entries"),
    Route("GET", "/audit/{name}", "audit.show", api.Named, api.AuditShown,
          "Show a log entry with its inclusion proof"),
    Route("POST", "/audit/verify", "audit.verify", api.Page, api.Verification,
          "Verify the whole log"),
    Route("GET", "/audit/export", "audit.export", api.Page, api.Done,
          "Export the log for offline verification", download=True),
    Route("GET", "/audit/consistency", "audit.consistency", rules.Consistency,
          rules.ConsistencyProof, "Prove that the log still holds what a client last saw"),
    Route("GET", "/workspace", "workspace.show", api.Page, api.WorkspaceShown,
          "Show the workspace"),
    Route("GET", "/workspace/backup", "workspace.backup", api.Page, api.Done,
          "Download an encrypted backup", download=True),
    Route("POST", "/workspace/rotate-keys", "workspace.rotate-keys", api.RotateKeys, api.Done,
          "Wrap every key under a new key-encryption key"),
    Route("POST", "/workspace/verify", "workspace.verify", api.Page, api.Verification,
          "Verify every row, object and log entry"),
    Route("GET", "/workspace/posture", "workspace.posture", api.Page, api.Posture,
          "List insecure settings and missing evidence"),
)  # fmt: skip
