"""What crosses the HTTP border about what is released: aliases of models, traffic of endpoints."""

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
