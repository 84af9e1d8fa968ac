"""What passes between the control process and the door to Ray; frames of MessagePack."""

import msgspec


class RayBegin(msgspec.Struct, frozen=True):
    """One batch.

    Attributes:
        task: MessagePack: which function opens which payload, with which arguments and limits.
        digest: SHA-256 of it, which every node compares.
        address: Of the cluster; empty: start one.
        cpus: Of the one that is started.
        retries: Of a partition whose worker died.
    """

    task: bytes
    digest: str
    address: str
    cpus: int
    retries: int


class RayReady(msgspec.Struct, frozen=True):
    """Ray stands and has so many processors, or does not."""

    slots: int = 0
    error: str = ""


class RayPart(msgspec.Struct, frozen=True):
    """A partition, and the number of rows before it."""

    part: bytes
    first: int


class RayAnswer(msgspec.Struct, frozen=True):
    """What the sandbox answered, as it answers; or why there is no answer."""

    answer: bytes = b""
    error: str = ""
