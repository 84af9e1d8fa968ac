"""What passes between the control process and its gateways."""

from vallum.schema.record import Record
from vallum.schema.release import (
    CapturePolicy,
    InformationBudget,
    OutputPolicy,
    Quota,
    Rate,
    Scale,
)


class Way(Record, frozen=True):
    """A host and port that scoring code may connect to.

    Attributes:
        host: As `vallum.base.egress` writes it.
        networks: In which an address of it must lie; empty: it must be public.
    """

    host: str
    port: int
    networks: tuple[str, ...] = ()


class ServedDeployment(Record, frozen=True):
    """A deployment that a gateway serves."""

    id: str
    name: str
    model_digest: str
    share: int  # per cent of the endpoint's traffic
    mirrored: int = 0  # per cent of it that this one gets copies of
    in_process: bool = False
    decimals: int | None = None
    on_extraction: str = ""  # response to suspects; empty where callers are not watched
    on_evasion: str = ""  # the same of records made to be misclassified
    output: OutputPolicy | None = None
    capture: CapturePolicy | None = None  # as far as the policy file allows it now
    code_digest: str = ""  # of scoring code; empty: the model answers
    ways: tuple[Way, ...] = ()  # out, of scoring code
    scale: Scale = Scale()
    starting: bool = False  # nobody is answered by it before the control process knows it runs


class ServedEndpoint(Record, frozen=True):
    """An endpoint that a gateway serves."""

    id: str
    name: str
    rate_per_s: int
    burst: int
    max_rows: int
    networks: tuple[str, ...] = ()  # CIDR, of callers; empty: all
    information: InformationBudget | None = None
    rates: tuple[Rate, ...] = ()
    quotas: tuple[Quota, ...] = ()
    deployments: tuple[ServedDeployment, ...] = ()


class Lease(Record, frozen=True):
    """What a gateway may serve, for `lease_s` from when it asked."""

    generation: int
    lease_s: float
    endpoints: tuple[ServedEndpoint, ...] = ()
    authorities: tuple[str, ...] = ()  # PEM, of clients' certificates
    gateways: int = 1  # that live, this one included: each lets in its share of a rate


class LeaseAsk(Record, frozen=True):
    """A gateway's question; `have` acknowledges the generation that it has switched to."""

    gateway: str
    have: int
    wait_s: float = 0.0


class AuthorizeAsk(Record, frozen=True):
    """May this token score at this endpoint, and at a deployment of its own choice?"""

    token: bytes
    endpoint_id: str
    source: str
    picks: bool = False
    certificate: bytes = b""  # DER, where no token was sent

    def __repr__(self) -> str:
        return f"AuthorizeAsk(token=<secret>, endpoint_id={self.endpoint_id!r})"


class Authorized(Record, frozen=True):
    """Yes, for this generation and until the credential expires."""

    credential_id: str
    principal_id: str
    generation: int
    expires_at: str = ""
    charged: str = ""  # whose rate it counts against; empty: the credential's own


class LoanAsk(Record, frozen=True):
    """Ask for bits to tell a principal, or for requests of a quota, before they are used.

    Attributes:
        subject: Whose: a principal's id or, of a quota, what it counts by.
        amount: Bits or requests.
        per: Which quota of the endpoint; empty: its budget of information.
    """

    endpoint_id: str
    subject: str
    amount: int
    per: str = ""


class LoanGiven(Record, frozen=True):
    """What may be used.

    Attributes:
        amount: As much as was asked for, or more to come by with; none if so much is not left.
        spent: In this window by all gateways, this included.
        resets_at: When the window ends.
        resets_s: Seconds until then.
    """

    amount: int
    spent: int
    resets_at: str
    resets_s: float


class BundleOpen(Record, frozen=True):
    """Announce up to `max_answers` answers before the first of them is given."""

    gateway: str
    endpoint_id: str
    deployment_id: str
    model_digest: str
    max_answers: int
    ttl_s: float


class BundleOpened(Record, frozen=True):
    """The announcement is in the log."""

    id: str


class OpenBundle(Record, frozen=True):
    """A bundle that was announced and not closed yet, as stored."""

    id: str
    endpoint_id: str
    max_answers: int
    opened_at: str


MAX_TRACES = 256
"""Decisions of a bundle whose traces are in the log."""


class TraceAt(Record, frozen=True):
    """Which trace tells about a decision of a bundle: the record's number, and two ids in hex."""

    record: int
    trace_id: str
    span_id: str


class BundleClose(Record, frozen=True):
    """What was answered: counts by outcome, and SHA-256 over the spooled decisions."""

    id: str
    answered: int
    refused: int
    root: str
    recovered: bool = False  # from the spool of a process that was killed
    records: bytes = b""  # the decisions, packed: guard/decisions.py
    traces: tuple[TraceAt, ...] = ()


class RefusedCount(Record, frozen=True):
    """How often callers from one source were refused before anybody knew them."""

    code: str
    source: str
    count: int


class RefusedCounts(Record, frozen=True):
    """What a gateway refused since it last said so."""

    rows: tuple[RefusedCount, ...]


class ModelAsk(Record, frozen=True):
    """Ask for the verified bytes of a deployment's model."""

    deployment_id: str


class ServedFile(Record, frozen=True):
    """A file of a model or of scoring code, its digest verified as it was read."""

    path: str
    data: bytes
    sha256: str

    def __repr__(self) -> str:
        return f"ServedFile(path={self.path!r}, bytes={len(self.data)})"


class ModelBytes(Record, frozen=True):
    """An ONNX model, its digest verified as it was read; or scoring code with its model's files.

    Attributes:
        data: The model.
        sha256: Its digest.
        profile: What its training data look like, packed; empty where callers are not watched. It
            holds training records.
        noise_key: Of the output policy; the same for every deployment of this model.
    """

    data: bytes
    sha256: str
    profile: bytes = b""
    noise_key: bytes = b""
    code: tuple[ServedFile, ...] = ()
    files: tuple[ServedFile, ...] = ()  # of the model, where there is code
    entry: str = ""

    def __repr__(self) -> str:
        return f"ModelBytes(sha256={self.sha256!r}, bytes={len(self.data)})"


class CallerSeen(Record, frozen=True):
    """A caller's queries look like those of somebody who steals, evades, or holds leaked data.

    Attributes:
        watch: `extraction`, `evasion` or `canary`.
        signs: How often each sign of evasion was seen.
    """

    deployment_id: str
    principal_id: str
    credential_id: str
    watch: str
    statistic: str
    value: float
    threshold: float
    queries: int
    response: str
    signs: dict[str, int] = {}


class ConnectionCount(Record, frozen=True):
    """Connections of a deployment's code to one host and port.

    Attributes:
        code: Why they were refused or failed; empty: they were let out.
        sent: Bytes, of those that ended.
    """

    deployment_id: str
    host: str
    port: int
    code: str
    count: int
    sent: int = 0
    received: int = 0


class ConnectionCounts(Record, frozen=True):
    """What code of a gateway's deployments connected to since it last said so."""

    rows: tuple[ConnectionCount, ...]


class DeploymentRuns(Record, frozen=True):
    """A deployment came to stand: its model is loaded, its code's `init()` has returned."""

    gateway: str
    deployment_id: str


class DeploymentFailed(Record, frozen=True):
    """A deployment was stopped: its bytes changed, or its model does not run."""

    deployment_id: str
    code: str
    reason: str


class Acknowledged(Record, frozen=True):
    """Done."""


class InternalProblem(Record, frozen=True):
    """An error on the inner socket, as the class that was raised."""

    kind: str
    message: str
    code: str
    hint: str = ""
    retry_after_s: float | None = None
    delay_s: float = 0.0


class ReplicasBegin(Record, frozen=True):
    """What a door to Ray Serve starts replicas of; it holds no key and no training data.

    Attributes:
        name: Of the application.
        data: The model.
        sha256: Its digest, which every replica compares.
        address: Of the cluster; empty: a Ray of one's own.
        answer_s: Seconds for an answer, a second try included.
    """

    name: str
    data: bytes
    sha256: str
    scale: Scale
    address: str
    answer_s: float

    def __repr__(self) -> str:
        return f"ReplicasBegin(name={self.name!r}, sha256={self.sha256!r}, bytes={len(self.data)})"
