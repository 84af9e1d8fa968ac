"""What is asked of the steps on environments."""

from vallum.schema.record import Record


class EnvironmentAdd(Record, frozen=True):
    """Add a container image; the body is a tar of an OCI layout. Gate: `image`."""

    name: str
    digest: str  # `sha256:…` of the image's manifest or index: a tag is no name
    description: str = ""
    tags: dict[str, str] = {}
