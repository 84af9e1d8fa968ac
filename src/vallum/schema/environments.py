"""What is asked of the steps on environments."""

from typing import Literal

from vallum.schema.record import Record

BomForm = Literal["json", "xml"]


class EnvironmentAdd(Record, frozen=True):
    """Add a container image; the body is a tar of an OCI layout. Gate: `image`."""

    name: str
    digest: str  # `sha256:…` of the image's manifest or index: a tag is no name
    description: str = ""
    tags: dict[str, str] = {}


class EnvironmentBom(Record, frozen=True):
    """Write the bill of materials of an environment version."""

    name: str
    version: int | None = None
    platform: str = ""  # such as `linux/amd64`; needed where the image is for several
    format: BomForm = "json"
