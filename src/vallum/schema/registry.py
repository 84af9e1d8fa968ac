"""What crosses the HTTP border about the registry of models beside versions: aliases."""

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
