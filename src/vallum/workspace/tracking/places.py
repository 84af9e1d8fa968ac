"""What a path of MLflow's artifact proxy names: found by record, never trusted as a string."""

from collections.abc import Sequence
from dataclasses import dataclass

from vallum.base import InputError, NotFoundError
from vallum.schema import Artifact, Ask, AssetVersion, Experiment, LoggedModel
from vallum.workspace.context import Context, ask
from vallum.workspace.tracking.shown import experiment_location
from vallum.workspace.tracking.tracing import FOLDER, trace_of

MAX_PATH = 500
MAX_DEPTH = 30
SCHEME = "mlflow-artifacts:/"
REGISTRY = "registry"
_ROOT = "artifacts"


@dataclass(frozen=True, slots=True)
class Place:
    """A file or folder of a run, a logged model, or a registered version."""

    holder_id: str
    path: str  # within the holder; empty: all of it
    experiment: Experiment | None = None
    version: AssetVersion | None = None
    area: str = "artifacts"  # what rights on it are called: `artifacts`, or `traces`

    def asks(self, context: Context, action: str) -> Sequence[Ask]:
        """Return what `action`, `read` or `write`, asks here."""
        if self.version is not None:
            right = {"read": "models/versions/content/read", "write": "models/versions/write"}
            return ask(right[action], context.version_resource(self.version))
        if self.experiment is None:
            raise NotFoundError("there is no such artifact")
        resource = context.experiment_resource(self.experiment)
        return ask(f"experiments/{self.area}/{action}", resource)


def model_location(model: LoggedModel) -> str:
    """Return where the files of a logged model are."""
    return f"{experiment_location(model.experiment_id)}/models/{model.id}/{_ROOT}"


def version_location(version: AssetVersion) -> str:
    """Return where the files of a registered version are."""
    return f"{SCHEME}{REGISTRY}/{version.id}"


def checked(path: str) -> str:
    """Return a relative path of a file or folder; empty is the root.

    Raises:
        InputError: It leads elsewhere, or has characters that file names do not have.
    """
    path = path.strip("/")
    if not path:
        return ""
    parts = path.split("/")
    if (
        len(path) > MAX_PATH
        or len(parts) > MAX_DEPTH
        or any(part in {"", ".", ".."} for part in parts)
        or not path.isprintable()
        or "\\" in path
    ):
        raise InputError(f"{path[:60]!a} is not the path of an artifact", code="mlflow.path")
    return path


def place_of(context: Context, path: str) -> Place:
    """Return what a path of the proxy names.

    Raises:
        NotFoundError: No such run, logged model or version; or not of that experiment.
    """
    parts = checked(path).split("/")
    if parts[0] == REGISTRY and len(parts) > 1:
        version = context.version("model", parts[1]) if parts[1].startswith("mver-") else None
        if version is not None and version.id == parts[1]:
            return Place(version.id, "/".join(parts[2:]), version=version)
    elif len(parts) > 2 and parts[2] == _ROOT:  # noqa: PLR2004 - EXPERIMENT/RUN/artifacts
        run = context.run(parts[1])
        if run.experiment_id == parts[0]:
            return Place(run.id, "/".join(parts[3:]), context.experiment(run.experiment_id))
    elif len(parts) > 3 and parts[1] == "models" and parts[3] == _ROOT:  # noqa: PLR2004 - as above
        model = context.logged_model(parts[2])
        if model.experiment_id == parts[0]:
            return Place(model.id, "/".join(parts[4:]), context.experiment(model.experiment_id))
    elif len(parts) > 3 and parts[1] == FOLDER and parts[3] == _ROOT:  # noqa: PLR2004 - as above
        trace = trace_of(context, parts[2])
        if trace.experiment_id == parts[0]:
            experiment = context.experiment(trace.experiment_id)
            return Place(trace.id, "/".join(parts[4:]), experiment, area="traces")
    raise NotFoundError("there is no such artifact")


def artifacts(context: Context, place: Place) -> list[Artifact]:
    """Return the artifacts at a place or below it."""
    found = context.all("artifact", Artifact, parent_id=place.holder_id)
    below = f"{place.path}/" if place.path else ""
    return sorted(
        (one for one in found if one.path == place.path or one.path.startswith(below)),
        key=lambda one: one.path,
    )


def sizes(context: Context, place: Place) -> dict[str, int]:
    """Return the path and size of every file at a place or below it."""
    if place.version is not None:
        below = f"{place.path}/" if place.path else ""
        return {
            part.part: part.length
            for part in place.version.parts
            if part.part == place.path or part.part.startswith(below)
        }
    return {one.path: one.content.length for one in artifacts(context, place)}
