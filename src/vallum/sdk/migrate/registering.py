"""Registered models and versions of a source, registered here through every gate.

A version is registered from the run or logged model that it came from, which is here by now: its
files are read, scanned and frozen as with any other. What has no such source, or does not pass,
is told with its reason and left out.
"""

from collections.abc import Mapping, Sequence
from urllib.parse import unquote, urlsplit

from vallum.base import ConflictError, NotFoundError
from vallum.schema import mlflow_models
from vallum.sdk.migrate.ledger import PREFIX, Ledger
from vallum.sdk.migrate.source import LoggedModel, Registered, Run, Source, Version
from vallum.sdk.tracking import Registry

MAX_CHAIN = 10  # versions that are copies of versions
_NO_STAGE = "None"


class Registrar:
    """Knows where everything of the source is here, and registers from there."""

    def __init__(
        self,
        registry: Registry,
        source: Source,
        ledger: Ledger,
        *,
        merge: bool,
        dry_run: bool,
        everything: bool,
    ) -> None:
        self._registry = registry
        self._source = source
        self._ledger = ledger
        self._merge = merge
        self._dry_run = dry_run
        self._everything = everything
        self._runs: dict[str, str] = {}
        self._models: dict[str, str] = {}
        self._places: dict[str, tuple[str, str]] = {}  # theirs to ours, and the run's id here
        self._versions: dict[tuple[str, int], Version] = {}

    def know_run(self, run: Run, ours: str, place: str) -> None:
        """Remember where a run is here; nowhere yet in a dry run."""
        self._runs[run.id] = ours
        if run.place:
            self._places[_normal(run.place)] = (place, ours)

    def know_model(self, model: LoggedModel, ours: str, place: str) -> None:
        """Remember where a logged model is here."""
        if not ours and not self._dry_run:
            return
        self._models[model.id] = ours
        if model.place:
            self._places[_normal(model.place)] = (place, self._runs.get(model.run_id, ""))

    def run_here(self, theirs: str) -> str:
        """Return the id here of a run; empty if it is not here."""
        return self._runs.get(theirs, "")

    def model_here(self, theirs: str) -> str:
        """Return the id here of a logged model; empty if it is not here."""
        return self._models.get(theirs, "")

    # -- the registry ---------------------------------------------------------------------------

    def run(self) -> None:
        """Register every version whose source is here."""
        models = [(one, self._source.versions(one.name)) for one in self._source.registered()]
        self._versions = {(one.name, one.number): one for _, some in models for one in some}
        held = {one.name: one for one in self._registry.models()}
        here: dict[str, dict[str, mlflow_models.VersionShown]] = {}
        for one in self._registry.versions():
            tags = {pair.key: pair.value for pair in one.tags}
            if f"{PREFIX}version" in tags:
                here.setdefault(one.name, {})[tags[f"{PREFIX}version"]] = one
        for model, versions in models:
            some = versions
            if not self._everything:
                some = [one for one in versions if self._found(one) is not None]
                if not some:
                    continue
            self._ledger.add("registered_models", "found")
            self._ledger.add("versions", "found", len(some))
            self._ledger.add("aliases", "found", len(model.aliases))
            placed = self._ledger.attempt(
                "registered model", model.name,
                self._place, model, held.get(model.name),
            )  # fmt: skip
            if placed is not None:
                self._model(model, some, here.get(model.name, {}), held.get(model.name))

    def _place(self, model: Registered, held: mlflow_models.RegisteredShown | None) -> bool:
        claim = str(model.created_ms)
        if held is not None:
            tags = {pair.key: pair.value for pair in held.tags}
            if tags.get(f"{PREFIX}model") != claim and not self._merge:
                raise ConflictError(
                    "there is a model of that name here that was not imported from there",
                    code="import.taken", hint="--merge adds to it",
                )  # fmt: skip
            self._ledger.add("registered_models", "kept")
            return True
        if not self._dry_run:
            self._registry.create(
                model.name, description=model.description, tags={f"{PREFIX}model": claim}
            )
            for key, value in model.tags.items():
                if not key.startswith(PREFIX):
                    self._ledger.attempt(
                        "tag", f"{model.name}: {key}",
                        self._registry.set_tag, model.name, key, value,
                    )  # fmt: skip
        self._ledger.add("registered_models", "made")
        return True

    def _model(
        self,
        model: Registered,
        versions: Sequence[Version],
        here: Mapping[str, mlflow_models.VersionShown],
        held: mlflow_models.RegisteredShown | None,
    ) -> None:
        numbers: dict[int, str] = {}
        for one in versions:
            name = f"{one.name}:{one.number}"
            known = here.get(_claim(one))
            if known is not None:
                self._ledger.add("versions", "kept")
            else:
                known = self._ledger.attempt("version", name, self._register, one)
                if known is None:
                    continue
                self._ledger.add("versions", "made")
            numbers[one.number] = known.version
            if known.version != str(one.number) and not self._dry_run:
                self._ledger.renumbered.append(f"{name} is {known.version} here")
            if one.stage not in {_NO_STAGE, known.current_stage} and not self._dry_run:
                self._ledger.attempt(
                    "stage", f"{name}: {one.stage}",
                    self._registry.set_stage, one.name, known.version, one.stage,
                )  # fmt: skip
        set_here = {} if held is None else {one.alias: one.version for one in held.aliases}
        for alias, number in model.aliases.items():
            ours = numbers.get(number)
            if ours is None:
                self._ledger.refuse(
                    "alias", f"{model.name}@{alias}", f"version {number} was not taken in",
                    "import.version",
                )  # fmt: skip
            elif set_here.get(alias) == ours:
                self._ledger.add("aliases", "kept")
            elif self._dry_run:
                self._ledger.add("aliases", "made")
            else:
                self._ledger.attempt(
                    "alias", f"{model.name}@{alias}",
                    self._point, model.name, alias, ours,
                )  # fmt: skip

    def _point(self, name: str, alias: str, version: str) -> None:
        self._registry.set_alias(name, alias, version)
        self._ledger.add("aliases", "made")

    def _register(self, one: Version) -> mlflow_models.VersionShown:
        found = self._found(one)
        if found is None:
            raise NotFoundError(
                "its files are of no run or logged model that was taken in",
                code="import.source",
            )
        source, run_id, model_id = found
        if self._dry_run:
            return mlflow_models.VersionShown(
                name=one.name, version=str(one.number), creation_timestamp=0,
                last_updated_timestamp=0, user_id="", current_stage=one.stage, source="",
                status="",
            )  # fmt: skip
        claims = {
            f"{PREFIX}version": _claim(one),
            f"{PREFIX}user": one.user,
            f"{PREFIX}created_ms": str(one.created_ms),
        }
        own = {key: value for key, value in one.tags.items() if not key.startswith(PREFIX)}
        return self._registry.register(
            one.name, source, run_id=run_id, model_id=model_id, description=one.description,
            tags={**own, **claims},
        )  # fmt: skip

    def _found(self, one: Version, depth: int = 0) -> tuple[str, str, str] | None:
        """Return source, run and logged model here of a version; None if they are not here."""
        scheme, _, rest = one.source.partition(":/")
        rest = rest.strip("/")
        run = self._runs.get(one.run_id, "")
        if scheme == "models":
            if rest in self._models:
                return f"models:/{self._models[rest]}", run, self._models[rest]
            name, _, number = rest.rpartition("/")
            copied = self._versions.get((name, int(number))) if number.isdecimal() else None
            if copied is None or depth == MAX_CHAIN:
                return None
            return self._found(copied, depth + 1)
        if scheme == "runs":
            identity, _, path = rest.partition("/")
            ours = self._runs.get(identity)
            return None if ours is None else (f"runs:/{ours}/{path}", ours, "")
        for place in (one.source, one.place):
            parts = _normal(place).split("/")
            for cut in range(len(parts), 1, -1):
                held = self._places.get("/".join(parts[:cut]))
                if held is not None:
                    return "/".join([held[0], *parts[cut:]]), run or held[1], ""
        return None


def _claim(one: Version) -> str:
    return f"{one.number}@{one.created_ms}"


def _normal(place: str) -> str:
    """Return a place in one way of writing: `file:///a`, `/a` and `/a/` are one."""
    parts = urlsplit(place)
    path = (
        unquote(parts.path).rstrip("/") if parts.scheme in {"", "file"} else parts.path.rstrip("/")
    )
    return path if parts.scheme in {"", "file"} else f"{parts.scheme}://{parts.netloc}{path}"
