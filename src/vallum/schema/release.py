"""What crosses the HTTP border about what is released: aliases, traffic, watches of endpoints."""

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


class EndpointTraffic(Record, frozen=True):
    """Share the traffic of an endpoint among its deployments: blue-green, and back again."""

    endpoint: str
    traffic: dict[str, int]  # deployment to per cent; sums to 0 or 100; those not named get 0


class QueryWatch(Record, frozen=True):
    """Compare what callers of a deployment ask with its training data, to recognise theft.

    Attributes:
        data: Version of the training table: `NAME:VERSION` as it is asked for, its id as kept.
        label_column: Column of it that is no feature.
        features: The model's columns in order; without them, every numeric one but the label.
        response: What a caller gets who looks like a thief: `alert`, `throttle`, `label-only` or
            `stop`. An alert is logged with each.
    """

    data: str
    label_column: str = ""
    features: tuple[str, ...] = ()
    response: str = "alert"
