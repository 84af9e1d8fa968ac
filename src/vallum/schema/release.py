"""What crosses the HTTP border about what is released: aliases, traffic, batches, watches."""

from vallum.schema.record import Record


class ModelAlias(Record, frozen=True):
    """Point an alias at a model version: what deploying asks for is asked for."""

    name: str
    alias: str
    version: int | None = None


class ModelUnalias(Record, frozen=True):
    """Remove an alias."""

    name: str
    alias: str


class ModelProvenance(Record, frozen=True):
    """Ask how a model version was made, or for the key that such statements are signed with."""

    name: str
    version: int | None = None
    key: bool = False  # the public key instead, PEM


class ModelProvenanceCheck(Record, frozen=True):
    """Check a statement of provenance."""

    name: str
    envelope: str  # base64 of a DSSE envelope
    version: int | None = None


class ReleaseKey(Record, frozen=True):
    """A key whose signatures count, and from when to when they were made for that.

    Attributes:
        name: Of the key, unique among those that still sign.
        owner_id: Principal who signs with it; the workspace's id where it is the workspace's own.
        kind: `derived` from the workspace's secret, in a `token`, or a principal's `public` half.
        key_id: SHA-256 of the SubjectPublicKeyInfo, hexadecimal.
        public_key: PEM.
        since: When it began to sign, RFC 3339.
        until: When it stopped; what it signed before still verifies. Empty: it signs.
        compromised: Nothing that it ever signed counts.
    """

    id: str
    name: str
    owner_id: str
    kind: str
    key_id: str
    public_key: str
    since: str
    until: str = ""
    compromised: bool = False


class SignatureShown(Record, frozen=True):
    """Who signed a version, with which key; every signature was checked when it was attached."""

    signer: str  # principal
    name: str  # of the principal; empty if it is gone
    key_id: str
    key: str  # its name
    key_kind: str  # `derived`, `token` or `public`
    made_at: str


class ReleaseKeyAdd(Record, frozen=True):
    """Let a principal sign models with a key of their own."""

    name: str
    public_key: str  # PEM: P-256 or Ed25519
    principal: str = ""  # the caller if not given


class ReleaseKeyRetire(Record, frozen=True):
    """Let a key sign no more."""

    name: str
    compromised: bool = False  # nor count what it signed before


class ReleaseKeys(Record, frozen=True):
    """Every key that signs or signed, the workspace's own first."""

    keys: tuple[ReleaseKey, ...]


class EndpointTraffic(Record, frozen=True):
    """Share the traffic of an endpoint among its deployments: blue-green, and back again."""

    endpoint: str
    traffic: dict[str, int]  # deployment to per cent; sums to 0 or 100; those not named get 0
    mirror: dict[str, int] | None = None  # one that also gets copies, to per cent; None: as it is


class InformationBudget(Record, frozen=True):
    """How much an endpoint's answers tell each principal.

    Attributes:
        bits: In one window; 0 in a change: there is no budget any more.
        per_s: Seconds that a window lasts, from the first answer in it.
        response: `degrade` (answers are rounded from half of the budget on, from four fifths labels
            alone, then there are none), `stop` (there are none once it is spent) or `alert`
            (it is logged).
    """

    bits: int
    per_s: int = 86_400
    response: str = "degrade"


class Rate(Record, frozen=True):
    """How fast requests may come together, beside the rate that every key has for itself.

    Attributes:
        requests: So many every `per_s` seconds, in the long run.
        per_s: Seconds.
        burst: At once; 0: as many as `requests`.
        per: Whose requests are counted together: `endpoint` (all), `network` (the callers of an
            IPv4 /24 or an IPv6 /56) or `principal`.
    """

    requests: int
    per_s: int = 1
    burst: int = 0
    per: str = "endpoint"


class Quota(Record, frozen=True):
    """How many requests an endpoint takes in one window, over all gateways and restarts.

    Attributes:
        requests: In one window.
        per_s: Seconds that a window lasts, from the first request in it.
        per: Whose requests are counted together: `principal`, `key`, `network` (as of a rate) or
            `endpoint` (all).
    """

    requests: int
    per_s: int = 86_400
    per: str = "principal"


class EndpointCreate(Record, frozen=True):
    """Create an endpoint without deployments."""

    name: str
    stage: str = "development"
    rate_per_s: int = 1000
    burst: int = 2000
    max_rows: int = 10_000
    description: str = ""
    networks: tuple[str, ...] = ()  # CIDR, of callers; empty: all
    information: InformationBudget | None = None
    rates: tuple[Rate, ...] = ()
    quotas: tuple[Quota, ...] = ()


class EndpointUpdate(Record, frozen=True):
    """Change what an endpoint lets in; what is not given stays."""

    name: str
    rate_per_s: int | None = None
    burst: int | None = None
    max_rows: int | None = None
    description: str | None = None
    networks: tuple[str, ...] | None = None  # CIDR, of callers; empty: all
    information: InformationBudget | None = None  # of no bits: none any more
    rates: tuple[Rate, ...] | None = None  # all of them; empty: none any more
    quotas: tuple[Quota, ...] | None = None  # the same


class EndpointToken(Record, frozen=True):
    """Get a token that scores at an endpoint and ends soon."""

    endpoint: str
    minutes: int = 60


class EndpointBatch(Record, frozen=True):
    """Score a data version by a deployment of an endpoint, into a data asset."""

    endpoint: str
    data: str
    into: str
    version: int | None = None
    deployment: str = ""  # the one with the most traffic if not given
    features: tuple[str, ...] = ()  # columns in the model's order; empty: every numeric one
    keep: tuple[str, ...] = ()  # columns that the result repeats
    mini_batch: int = 4096
    max_failed: int = 0  # rows
    resume: bool = False  # go on where a crash ended the same batch of the same caller
    output_action: str = "append_row"  # or `summary_only`: what the scores come to


class BatchScored(Record, frozen=True):
    """A table of scores."""

    name: str
    version: int
    rows: int
    failed: int
    columns: tuple[str, ...]
    deployment: str
    model_digest: str
    resumed: int = 0  # rows that were scored before a crash
    output_action: str = "append_row"


class OutputPolicy(Record, frozen=True):
    """What of a deployment's answers leaves, beside rounding; numbers are decimal text.

    Attributes:
        task: `classification` or `regression`: what the numbers of the model are.
        labels_only: A one for the likeliest class and zeros.
        top_k: How many classes are told; the others are zero. 0: all.
        clip: Bounds of every probability, or of a regression's value.
        temperature: Above 1, probabilities are softened.
        noise: Standard deviation of noise, in units of the output: the same for the same input.
    """

    task: str = "classification"
    labels_only: bool = False
    top_k: int = 0
    clip: tuple[str, str] | None = None
    temperature: str = "1"
    noise: str = "0"


LOCAL = "local"
RAY = "ray"
ENGINES = (LOCAL, RAY)


class Scale(Record, frozen=True):
    """How many processes answer for a deployment, as Azure ML's `scale_settings` say it.

    Attributes:
        min_instances: Never fewer, 1 or more.
        max_instances: Never more; with the same number nothing follows the traffic.
        target_percent: Of `concurrency` that a process shall have on average.
        concurrency: Requests that a process may have at once, waiting ones included.
        cool_down_s: So long fewer must do before one ends.
        engine: Where they run: `local`, or `ray`, as replicas of a Ray Serve application.
        queue_wait_ms: So long a request waits for its turn; on Ray the cluster's queue decides.
        request_timeout_ms: So long a process may take for one before it is ended; None: 30 s, and
            10 s for scoring code.
    """

    min_instances: int = 1
    max_instances: int = 1
    target_percent: int = 70
    concurrency: int = 1
    cool_down_s: int = 60
    engine: str = LOCAL
    queue_wait_ms: int = 5_000
    request_timeout_ms: int | None = None

    @property
    def queue_s(self) -> float:
        """Return how many seconds a request waits for its turn."""
        return self.queue_wait_ms / 1000

    @property
    def request_s(self) -> float | None:
        """Return how many seconds a process may take for one."""
        return None if self.request_timeout_ms is None else self.request_timeout_ms / 1000


class QueryWatch(Record, frozen=True):
    """Compare what callers of a deployment ask with data like its training data.

    Attributes:
        data: Version of the training table: `NAME:VERSION` as it is asked for, its id as kept.
        label_column: Column of it that is no feature.
        features: The model's columns in order; without them, every numeric one but the label.
        response: What a caller gets who looks like a thief: `alert`, `throttle`, `label-only` or
            `stop`. An alert is logged with each.
        on_evasion: Of records that look made to be misclassified: `alert`, `abstain` (they are not
            answered) or `stop` (their callers are not, once there are many); empty: nobody looks.
        canaries: Version of a table of planted records, like `data`: who asks about one is logged.
    """

    data: str
    label_column: str = ""
    features: tuple[str, ...] = ()
    response: str = "alert"
    on_evasion: str = ""
    canaries: str = ""


class CapturePolicy(Record, frozen=True):
    """Keep a sample of a deployment's requests and answers, redacted, encrypted and for a time.

    Attributes:
        inputs: Keep requests.
        outputs: Keep answers.
        sampling_rate: Share of the requests, decimal text in (0, 1].
        rolling_rate: `hour` or `day`: what is kept of one shares a key and ends together.
        keep_days: Days after which it is destroyed, counted from the end of its hour or day.
    """

    inputs: bool = True
    outputs: bool = True
    sampling_rate: str = "1"
    rolling_rate: str = "day"
    keep_days: int = 7


class CardShown(Record, frozen=True):
    """The model card of a version: Markdown, as it was registered."""

    name: str
    version: int
    text: str


class Texts(Record, frozen=True):
    """What people write beside a thing, and may change."""

    description: str = ""
    tags: dict[str, str] = {}


class ModelUpdate(Record, frozen=True):
    """Change what people write beside a model, or beside one version if it is named."""

    name: str
    version: int | None = None
    description: str | None = None  # as it is if not given
    tags: dict[str, str] = {}
    remove_tags: tuple[str, ...] = ()


class ModelTexts(Record, frozen=True):
    """What stands beside a model, or one version of it."""

    name: str
    version: int | None
    texts: Texts


class NotebookCell(Record, frozen=True):
    """A cell as text."""

    kind: str  # `code`, `markdown` or `text`
    source: str
    outputs: tuple[str, ...] = ()  # plain text alone
    withheld: tuple[str, ...] = ()  # kinds of outputs that are not shown, such as `text/html`


class NotebookText(Record, frozen=True):
    """A notebook as text, within bounds."""

    language: str
    cells: tuple[NotebookCell, ...]
    cut: bool = False  # something was left out


class ModelNotebook(Record, frozen=True):
    """Show a notebook among the files of a model version."""

    name: str
    path: str
    version: int | None = None


class NotebookShown(Record, frozen=True):
    """A notebook of a model version."""

    name: str
    version: int
    path: str
    notebook: NotebookText
