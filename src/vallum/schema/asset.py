"""Assets, jobs and connections as they are stored in `records` rows."""

from enum import StrEnum

import msgspec

from vallum.schema.privacy import JobPrivacy, JobReserve
from vallum.schema.record import Record
from vallum.schema.release import (
    CapturePolicy,
    InformationBudget,
    OutputPolicy,
    QueryWatch,
    Quota,
    Rate,
    Scale,
)


class Workspace(Record, frozen=True):
    """The root of every scope chain."""

    id: str
    name: str
    created_at: str
    claimed_at: str = ""
    claimed_by: str = ""


class Part(Record, frozen=True):
    """One encrypted object of a version. The row that lists it publishes it."""

    part: str  # path within the version, `/`-separated, relative
    upload_id: str
    length: int  # bytes of plaintext
    digest: str  # `sha256:…` for models and code, `hmac-sha256:…` for personal data
    object_name: str


class Asset(Record, frozen=True):
    """A named container of versions: `data`, `model`, `environment`, `endpoint` or `compute`."""

    id: str
    kind: str
    name: str
    owner_id: str
    created_at: str
    description: str = ""
    tags: dict[str, str] = {}


class ModelValue(Record, frozen=True):
    """An input or output of a model, as its file declares it."""

    name: str
    type: str  # as ONNX Runtime writes it, such as `tensor(float)`; `other` for what is no tensor
    shape: tuple[str, ...] | None = None  # a size, a name or `?` a dimension; None: not declared


class ModelInterface(Record, frozen=True):
    """What a model file declares about itself; nobody has checked that it does it."""

    task: str = ""  # `classification`, `regression`; empty where no operator tells
    producer: str = ""  # the program that wrote the file
    inputs: tuple[ModelValue, ...] = ()
    outputs: tuple[ModelValue, ...] = ()


class AssetVersion(Record, frozen=True):
    """An immutable version of an asset, identified by its digest."""

    id: str
    asset_id: str
    kind: str  # `data`, `environment` or `model`
    name: str  # of the asset, for reading only
    version: int
    digest: str  # over the sorted manifest of parts: commitment for data, plain for models
    parts: tuple[Part, ...]
    created_at: str
    created_by: str
    format: str  # `csv`, `parquet`, `jsonl`, `onnx`, `folder`, `bytes`
    label: str = ""
    protected: bool = False  # a recorded protecting transform made it
    rows: int | None = None
    columns: tuple[str, ...] = ()
    lineage: tuple[str, ...] = ()  # version ids it was made from
    job_id: str = ""
    makers: tuple[str, ...] = ()  # every human in the lineage: none of them approves it
    tags: dict[str, str] = {}
    interface: ModelInterface | None = None  # of the one ONNX file of a model
    scored_by: str = ""  # model version id, of data that are its scores


class WrappedDataKey(Record, frozen=True):
    """The wrapped data key of a version (an authority row)."""

    id: str  # of the version
    wrapped: dict[str, object]  # crypto.WrappedKey as JSON


class Alias(Record, frozen=True):
    """A name that moves from version to version of a model or data asset (an authority row)."""

    id: str
    asset_id: str
    name: str
    version_id: str
    moved_at: str
    moved_by: str


class ModelCard(Record, frozen=True):
    """What people say about a model version, as Markdown; registered with it and never changed."""

    id: str  # of the version
    text: str


class FormerModel(Record, frozen=True):
    """A name that a model had before it was renamed or deleted, and the numbers given under it.

    `NAME:NUMBER` stands in logs, cards and scripts: it never comes to mean another version.
    """

    id: str
    name: str
    last: int  # the highest number that was given
    model_id: str = ""  # of the model that has another name now; empty: it was deleted


class Erasure(Record, frozen=True):
    """That a version was erased; what holds its key's secret is told of it until it knows."""

    id: str  # of the version
    name: str
    version: int
    kind: str  # `data` or `model`
    erased_at: str
    erased_by: str
    reason: str = ""


class Waiver(Record, frozen=True):
    """A second person's expiring leave to pass in spite of a failed gate."""

    id: str
    gate: str
    subject_digest: str
    reason: str
    by: str
    expires_at: str


class EndpointKeyKind(StrEnum):
    """The two keys of an endpoint, so that one can be rotated while the other serves."""

    PRIMARY = "primary"
    SECONDARY = "secondary"


class Endpoint(Record, frozen=True):
    """A named address that serves deployments of models."""

    id: str
    name: str
    owner_id: str
    created_at: str
    stage: str = "development"  # or `production`: another approver is needed
    rate_per_s: int = 1000
    burst: int = 2000
    max_rows: int = 10_000
    traffic: dict[str, int] = {}  # deployment name to percent; sums to 0 or 100
    description: str = ""
    mirror: dict[str, int] = {}  # at most one deployment, without traffic, to 1 to 50 per cent
    networks: tuple[str, ...] = ()  # CIDR, of callers; empty: all
    information: InformationBudget | None = None
    rates: tuple[Rate, ...] = ()
    quotas: tuple[Quota, ...] = ()


class Lent(Record, frozen=True):
    """What gateways were lent of an endpoint's budget or quota in the window that began last.

    What a killed gateway left unused is spent all the same.

    Attributes:
        subject: Whose: a principal's id or, of a quota, `network:192.0.2.0/24` and the like.
        amount: Bits or requests.
    """

    id: str
    endpoint_id: str
    subject: str = msgspec.field(name="principal_id")  # as it was stored before there were quotas
    began_at: str
    amount: int = msgspec.field(name="bits")


class DeploymentState(StrEnum):
    """What a deployment does now."""

    FAILED = "failed"
    RUNNING = "running"
    STARTING = "starting"  # no gateway has said yet that it answers
    STOPPED = "stopped"


class Deployment(Record, frozen=True):
    """One model version behind an endpoint (an authority row).

    Attributes:
        share: Per cent of the traffic that it gets once it runs.
        replaces: Id of the deployment of the same name that answers until this one runs.
        egress: Where its code could connect to by the policy file when it was deployed.
    """

    id: str
    endpoint_id: str
    name: str
    model_version_id: str
    model_digest: str
    state: DeploymentState
    created_at: str
    created_by: str
    in_process: bool = False
    decimals: int | None = None  # output shaping: round scores
    reason: str = ""  # why it failed or was stopped
    watch: QueryWatch | None = None
    output: OutputPolicy | None = None
    capture: CapturePolicy | None = None
    code_id: str = ""  # scoring code of its own; empty: the model answers
    code_digest: str = ""
    code_entry: str = ""
    scale: Scale | None = None
    share: int = 0
    replaces: str = ""
    egress: tuple[str, ...] = ()


class JobState(StrEnum):
    """The life of a job."""

    CANCELLED = "cancelled"
    COMPLETED = "completed"
    FAILED = "failed"
    QUEUED = "queued"
    RUNNING = "running"


class JobLimits(Record, frozen=True):
    """Bounds on a job's sandbox."""

    memory_bytes: int = 2 * 1024**3
    cpu_s: int = 600
    wall_s: int = 900
    processes: int = 64
    file_bytes: int = 1024**3
    tmp_bytes: int = 512 * 1024**2


class Job(Record, frozen=True):
    """A queued step: code, inputs and outputs pinned by digest, run in the sandbox."""

    id: str
    name: str
    owner_id: str
    identity_id: str  # its managed identity
    created_at: str
    state: JobState
    code: Part
    entry: str  # file of the code bundle to run
    inputs: dict[str, str] = {}  # name to data or model version id
    outputs: dict[str, str] = {}  # name to `model/<name>` or `data/<name>`
    parameters: dict[str, str] = {}
    limits: JobLimits = JobLimits()
    started_at: str = ""
    ended_at: str = ""
    exit_code: int | None = None
    reason: str = ""
    logs: Part | None = None
    made: tuple[str, ...] = ()  # version ids
    enforced: tuple[str, ...] = ()  # sandbox limits that really held
    makers: tuple[str, ...] = ()
    claimed_by: str = ""
    purpose: str = ""  # as its owner stated it; what its inputs are read for
    privacy: JobPrivacy | None = None
    reserve: JobReserve | None = None
    spend: str = ""  # the report of a private job, JSON text: said by its code


class BatchProgress(Record, frozen=True):
    """How far a batch is scored, to go on after a crash; its key is kept like a version's.

    Attributes:
        id: Of the pieces, which belong to no version.
        principal_id: Who scores; nobody else goes on.
        endpoint_id: Whose deployment.
        into: The data asset that takes the scores.
        deployment_id: Which one.
        model_digest: What it runs.
        source_id: The data version that is scored.
        source_digest: Its digest.
        settings: Digest of all that decides what a row gets.
        mark: What is scored: a `guard.batch.Mark` as JSON.
        pieces: CSV text up to there, in order.
        turn: Raised with each change: of two who go on, one finds out.
        saved_at: When.
    """

    id: str
    principal_id: str
    endpoint_id: str
    into: str
    deployment_id: str
    model_digest: str
    source_id: str
    source_digest: str
    settings: str
    mark: str
    pieces: tuple[Part, ...]
    turn: int
    saved_at: str


class Connection(Record, frozen=True):
    """A datastore, registry or webhook; its secret is write-only."""

    id: str
    name: str
    kind: str
    target: str
    owner_id: str
    created_at: str
    sealed_secret: str = ""  # base64; never leaves the server


class Credential(Record, frozen=True):
    """An API key as stored: the secret only as a keyed hash (an authority row).

    With an `issuer` it is a federated credential: it has no secret, and tokens of that issuer for
    that subject and audience act as the principal.
    """

    id: str
    principal_id: str
    name: str
    secret_hash: str  # hexadecimal HMAC
    created_at: str
    expires_at: str = ""
    revoked_at: str = ""
    actions: tuple[str, ...] = ()
    scope: str = ""
    endpoint_id: str = ""  # an endpoint's key: good for scoring there and nothing else
    kind: str = "api-key"  # or `console`, `token`: how a caller who presents it is seen
    made_with: str = ""  # the credential that a session was opened with: it ends with that one
    issuer: str = ""  # https:// address, compared as it is
    subject: str = ""
    audience: str = ""
    public_keys: str = ""  # JSON Web Key Set; empty: the issuer is asked
