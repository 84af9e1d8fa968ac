"""What crosses the HTTP border: arguments and replies of every step, shared by server and SDK.

A step's name is `<noun>.<verb>`; its arguments are the record of that name. Content travels raw.
"""

from typing import Annotated

import msgspec

from vallum.schema import release
from vallum.schema.access import DenyAssignment, Principal, Reason, Role, RoleAssignment
from vallum.schema.asset import Asset, AssetVersion, Deployment, Endpoint, Job, JobLimits
from vallum.schema.entry import Entry
from vallum.schema.evidence import Evidence
from vallum.schema.privacy import JobPrivacy
from vallum.schema.record import Record

MODEL_FAILED = "Model failed"
"""Title of a problem that is the model's: HTTP has no status of its own for it."""


class Problem(Record, frozen=True):
    """An error on the wire (RFC 9457), `application/problem+json`."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    hint: str = ""
    request_id: str = ""
    missing: tuple[Reason, ...] = ()


class Page(Record, frozen=True):
    """Where a listing goes on."""

    after: Annotated[str, msgspec.Meta(max_length=200)] = ""
    limit: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 100


class Named(Record, frozen=True):
    """A step on one named thing: an asset, endpoint, job, role, group, … by name or id."""

    name: str
    version: int | None = None  # None: the newest


class RotateKeys(Record, frozen=True):
    """Wrap every key of the workspace under a new key-encryption key; touches no object."""

    destroy_old: bool = False  # older backups cannot be read any more


class DataCreate(Record, frozen=True):
    """Ingest a table; the body is its content. Gates: `format`, `pii`, `risk`."""

    name: str
    format: str  # `csv`, `parquet`, `jsonl`
    label: str = ""  # may only raise what the `pii` gate suggests
    description: str = ""
    tags: dict[str, str] = {}


class DataProtect(Record, frozen=True):
    """Make a protected version: drop or pseudonymise identifiers, generalise to k."""

    name: str
    version: int | None = None
    k: int = 5
    max_suppression: str = "0.04"
    drop: tuple[str, ...] = ()
    pseudonymise: tuple[str, ...] = ()
    quasi_identifiers: tuple[str, ...] = ()  # empty: what the `pii` gate found
    sensitive: tuple[str, ...] = ()
    diversity: tuple[str, ...] = ()  # `distinct:3`, `entropy:3`, `recursive:C:3`, `COLUMN=…`
    closeness: tuple[str, ...] = ()  # `0.2`, `0.2:ordered`, `0.2:hierarchical`, `COLUMN=…`
    method: str = "auto"  # or `global`, `local`, `mondrian`
    hierarchies: dict[str, str] = {}  # column to CSV, a line a value, from it to the top
    into: str = ""  # name of the protected data asset; empty: `<name>-protected`


class DataDrift(Record, frozen=True):
    """Compare a data version with a reference. Gate: `drift`, by significance and effect size."""

    name: str
    reference: str  # `name:version`
    version: int | None = None


class ModelRegister(Record, frozen=True):
    """Register a model: a file or a tar of a folder. Gates: `scan`, `secrets`, `conversion`."""

    name: str
    file_name: str  # such as `model.onnx`; ignored for a folder
    folder: bool = False  # the body is a tar archive
    label: str = ""
    lineage: tuple[str, ...] = ()  # data version ids that the caller may read
    description: str = ""
    tags: dict[str, str] = {}
    card_bytes: int = 0  # of a model card, Markdown, with which the body begins
    convert: bool = False  # register what it is as ONNX, made in a sandbox, instead
    data: str = ""  # `name:version` of data that the conversion is measured on as well
    features: tuple[str, ...] = ()  # its columns in the model's order; empty: by name, or numeric
    bundle_bytes: int = 0  # of a model signature over exactly this, next in the body


class ModelSign(Record, frozen=True):
    """Attach an OpenSSF signature bundle of the caller's, or sign with the workspace's key."""

    name: str
    version: int | None = None
    bundle: str = ""  # base64 of the bundle; empty: sign with the workspace's release key


class AliasShown(Record, frozen=True):
    """An alias and the version that it names."""

    name: str
    version: int
    moved_at: str = ""


class ModelTest(Record, frozen=True):
    """Attack a model version, and measure how well it does, over all and by segment."""

    name: str
    version: int | None = None
    data: str = ""  # `name:version` of the training data; without it, no privacy is measured
    label_column: str = ""
    holdout: str = ""  # data version that the model was not trained on
    features: tuple[str, ...] = ()  # columns in the model's order; empty: every numeric one
    budget_s: int = 60
    suite: str = "quick"  # or `standard`, `full`
    access: str = "gradients"  # what an attacker sees at most; or `scores`, `labels`
    segments: tuple[str, ...] = ()  # columns whose values `fairness` compares


EndpointCreate = release.EndpointCreate


class EndpointDeploy(Record, frozen=True):
    """Put a model version behind an endpoint and send it all or part of the traffic."""

    endpoint: str
    deployment: str
    model: str
    version: int | None = None
    traffic: int = 100
    in_process: bool = False
    decimals: int | None = None
    watch: release.QueryWatch | None = None
    output: release.OutputPolicy | None = None
    capture: release.CapturePolicy | None = None
    code: str = ""  # id of scoring code; empty: the model answers
    scale: release.Scale | None = None


class EndpointKeys(Record, frozen=True):
    """Make a new scoring key of an endpoint; the old one of that kind is revoked."""

    endpoint: str
    kind: str = "primary"
    expires_at: str = ""


class Shown(Record, frozen=True):
    """A secret that is shown once."""

    id: str
    name: str
    secret: str
    expires_at: str = ""


class JobSubmit(Record, frozen=True):
    """Queue a job; the body is a tar of the code folder."""

    name: str
    entry: str
    inputs: dict[str, str] = {}  # name to `data/<name>:<version>` or `model/…`
    outputs: dict[str, str] = {}  # name to `data/<name>` or `model/<name>`
    parameters: dict[str, str] = {}
    limits: JobLimits = JobLimits()
    privacy: JobPrivacy | None = None  # what it may spend of its one data input's budget


class RoleCreate(Record, frozen=True):
    """Create or replace a custom role definition."""

    name: str
    description: str = ""
    actions: tuple[str, ...] = ()
    not_actions: tuple[str, ...] = ()
    data_actions: tuple[str, ...] = ()
    not_data_actions: tuple[str, ...] = ()


class RoleImport(Record, frozen=True):
    """Import an Azure role file, ARM or PowerShell form."""

    document: str
    scopes: dict[str, str] = {}  # OLD to NEW
    dry_run: bool = False


class RoleAssign(Record, frozen=True):
    """Give a role to a principal or group at a scope."""

    role: str
    principal: str
    scope: str = (
        ""  # empty: the workspace; else `data/<name>`, `model/<name>`, `endpoint/<name>`, …
    )
    condition: str = ""
    expires_at: str = ""


class RoleDeny(Record, frozen=True):
    """Refuse actions to principals at a scope whatever their roles say."""

    name: str
    principals: tuple[str, ...]
    actions: tuple[str, ...] = ()
    data_actions: tuple[str, ...] = ()
    exclude_principals: tuple[str, ...] = ()
    scope: str = ""
    do_not_apply_to_children: bool = False
    condition: str = ""


class RoleExplain(Record, frozen=True):
    """Ask why a principal may or may not do something."""

    principal: str
    action: str
    resource: str = ""


class Explanation(Record, frozen=True):
    """Why, and who could grant it."""

    allowed: bool
    reasons: tuple[Reason, ...]
    grantors: tuple[str, ...] = ()


class RoleWhatIf(Record, frozen=True):
    """Ask what an assignment would change."""

    assign: RoleAssign | None = None
    remove: str = ""  # an assignment id


class Difference(Record, frozen=True):
    """One action that a change would give or take."""

    principal: str
    action: str
    scope: str
    before: bool
    after: bool


class IdentityCreate(Record, frozen=True):
    """Create a user or service principal."""

    name: str
    kind: str = "user"


class GroupChange(Record, frozen=True):
    """Add or remove a member of a group."""

    group: str
    member: str


class KeyCreate(Record, frozen=True):
    """Issue an API key to a principal; empty `principal` is the caller."""

    name: str
    principal: str = ""
    expires_at: str = ""
    actions: tuple[str, ...] = ()
    scope: str = ""


class ConnectionCreate(Record, frozen=True):
    """Create a connection; its secret can be used but never read back."""

    name: str
    kind: str
    target: str
    secret: str = ""

    def __repr__(self) -> str:
        return f"ConnectionCreate(name={self.name!r}, kind={self.kind!r}, secret=<secret>)"


class AuditList(Record, frozen=True):
    """A window of the log: beyond an index, or newest first and then below it."""

    after: Annotated[int, msgspec.Meta(ge=-1, le=2**53)] = -1
    limit: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 100
    kind: str = ""
    step: str = ""
    principal: str = ""
    resource: str = ""
    newest_first: bool = False


class LoggedEntry(Record, frozen=True):
    """An entry with its place in the tree."""

    index: int
    entry: Entry
    leaf_hash: str


class VerifyFinding(Record, frozen=True):
    """Something that does not hold."""

    code: str
    message: str
    position: int | None = None


class Verification(Record, frozen=True):
    """The outcome of `verify`: no finding means that everything held."""

    entries: int
    records: int
    objects: int
    root: str
    findings: tuple[VerifyFinding, ...] = ()


class VersionShown(Record, frozen=True):
    """A version with the verdicts about it; details need the right to read its content."""

    version: AssetVersion
    evidence: tuple[Evidence, ...] = ()
    signatures: tuple[release.SignatureShown, ...] = ()
    aliases: tuple[AliasShown, ...] = ()  # all of the model's
    texts: release.Texts = release.Texts()  # beside this version
    model_texts: release.Texts = release.Texts()  # beside the model, for who may read its record


class EndpointShown(Record, frozen=True):
    """An endpoint with its deployments."""

    endpoint: Endpoint
    deployments: tuple[Deployment, ...] = ()
    scoring_uri: str = ""


class WorkspaceShown(Record, frozen=True):
    """What `workspace show` tells."""

    id: str
    name: str
    version: str
    entries: int
    root: str
    generation: int
    checkpoint: str = ""  # newest signed note: clients keep it as their anchor


class Listing(Record, frozen=True):
    """A page of a listing; only the field of the noun asked for is filled."""

    assets: tuple[Asset, ...] = ()
    versions: tuple[AssetVersion, ...] = ()
    endpoints: tuple[Endpoint, ...] = ()
    jobs: tuple[Job, ...] = ()
    roles: tuple[Role, ...] = ()
    assignments: tuple[RoleAssignment, ...] = ()
    denies: tuple[DenyAssignment, ...] = ()
    principals: tuple[Principal, ...] = ()
    keys: tuple["KeyShown", ...] = ()
    connections: tuple["ConnectionShown", ...] = ()
    entries: tuple[LoggedEntry, ...] = ()
    after: str = ""


class KeyShown(Record, frozen=True):
    """An API key without its secret or hash."""

    id: str
    name: str
    principal_id: str
    created_at: str
    expires_at: str = ""
    revoked_at: str = ""
    endpoint_id: str = ""
    issuer: str = ""  # of tokens; empty: an API key
    subject: str = ""
    audience: str = ""


class ConnectionShown(Record, frozen=True):
    """A connection without its secret."""

    id: str
    name: str
    kind: str
    target: str
    created_at: str


class Done(Record, frozen=True):
    """A change was made, or would be with `dry_run`."""

    id: str = ""
    text: str = ""
    entry_id: str = ""


class JobShown(Record, frozen=True):
    """A job as its owner sees it."""

    job: Job


class RoleImported(Record, frozen=True):
    """What an import did, or would do, with every effective difference from Azure."""

    role: Role
    differences: tuple[str, ...] = ()
    dry_run: bool = False


class Differences(Record, frozen=True):
    """What a change of roles would change."""

    differences: tuple[Difference, ...] = ()
    escalations: tuple[str, ...] = ()


class AuditShown(Record, frozen=True):
    """An entry with its inclusion proof; the details need the right to read payloads."""

    index: int
    entry: Entry
    path: tuple[str, ...]
    checkpoint: str
    details: str = ""  # JSON text; empty without the right, or after erasure


class PostureFinding(Record, frozen=True):
    """An insecure setting or a missing piece of evidence, and how to mend it."""

    id: str
    severity: str
    message: str
    fix: str = ""
    resource: str = ""


class Posture(Record, frozen=True):
    """The state of the workspace as findings."""

    findings: tuple[PostureFinding, ...] = ()
    checked: int = 0


class ApprovalCreate(Record, frozen=True):
    """Approve a step with one model version, as a person who had no part in it."""

    model: str
    version: int | None = None
    endpoint: str = ""  # empty: wherever it is asked
    step: str = "deploy"
    days: int = 7


class ApprovalShown(Record, frozen=True):
    """An approval on record."""

    id: str
    step: str
    subject_digest: str
    by: str
    made_at: str
    expires_at: str


class Approvals(Record, frozen=True):
    """A page of approvals."""

    approvals: tuple[ApprovalShown, ...] = ()
    after: str = ""
