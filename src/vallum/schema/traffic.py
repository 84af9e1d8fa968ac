"""What the deployments of a gateway did since it started, as one reader may see it."""

from vallum.schema.record import Record


class DeploymentTraffic(Record, frozen=True):
    """One deployment; requests that never got to one are of the deployment ``.

    Attributes:
        statuses: Requests by HTTP status.
        counts: Requests by time in the gateway: at most each of the buckets, and longer.
        total_s: Of these times.
        model_counts: The same of the time until the model answered.
        model_s: Of these times.
        rows: Answered for.
        active: Requests under way.
        sightings: Alarms about callers.
        instances: Processes that answer.
        drifted: Inputs that drifted; None where nobody looks, or nothing came yet.
    """

    endpoint: str
    deployment: str
    statuses: dict[str, int]
    counts: tuple[int, ...]
    total_s: float
    model_counts: tuple[int, ...]
    model_s: float
    rows: int
    active: int
    sightings: int
    drifted: int | None = None
    instances: int = 0


class Traffic(Record, frozen=True):
    """All of them.

    Attributes:
        gateway: Tells one start of a gateway from another: counts begin anew with it.
        at_s: When, by the gateway's monotonic clock.
        buckets: Upper bounds of times, seconds.
        deployments: In the order in which they began.
        refusals: Requests by code of their error.
    """

    gateway: str
    at_s: float
    buckets: tuple[float, ...]
    deployments: tuple[DeploymentTraffic, ...] = ()
    refusals: dict[str, int] = {}
