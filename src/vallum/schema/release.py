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


class EndpointTraffic(Record, frozen=True):
    """Share the traffic of an endpoint among its deployments: blue-green, and back again."""

    endpoint: str
    traffic: dict[str, int]  # deployment to per cent; sums to 0 or 100; those not named get 0
    mirror: dict[str, int] | None = None  # one that also gets copies, to per cent; None: as it is


class EndpointUpdate(Record, frozen=True):
    """Change what an endpoint lets in; what is not given stays."""

    name: str
    rate_per_s: int | None = None
    burst: int | None = None
    max_rows: int | None = None
    description: str | None = None
    networks: tuple[str, ...] | None = None  # CIDR, of callers; empty: all


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


class BatchScored(Record, frozen=True):
    """A table of scores."""

    name: str
    version: int
    rows: int
    failed: int
    columns: tuple[str, ...]
    deployment: str
    model_digest: str


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


class CardShown(Record, frozen=True):
    """The model card of a version: Markdown, as it was registered."""

    name: str
    version: int
    text: str
