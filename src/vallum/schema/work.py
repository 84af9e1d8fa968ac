"""What passes between the control process and its worker."""

from vallum.schema.asset import Job
from vallum.schema.record import Record

PRIVACY_REPORT = "privacy.json"
"""The output in which a private job says what it spent."""


class Claim(Record, frozen=True):
    """Ask for the oldest queued job."""

    worker: str


class Claimed(Record, frozen=True):
    """A job with everything that its sandbox is given; empty `job` if none is queued."""

    job: Job | None = None
    code: bytes = b""
    inputs: dict[str, bytes] = {}


class Finish(Record, frozen=True):
    """What a sandbox left behind. All of it was said by untrusted code."""

    job_id: str
    status: str
    exit_code: int
    reason: str
    enforced: tuple[str, ...]
    logs: bytes
    outputs: dict[str, bytes] = {}
