"""Names to records and records to resources, inside one consistent snapshot.

The chain of scopes comes from the records that are read here, never from a string of the caller.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from vallum.base import ConflictError, InputError, NotFoundError, check_name, is_id
from vallum.schema import (
    Alias,
    Ask,
    Asset,
    AssetVersion,
    Connection,
    Credential,
    Deployment,
    Endpoint,
    Erasure,
    Evidence,
    Experiment,
    FormerModel,
    Job,
    LoggedModel,
    Principal,
    PrincipalKind,
    Record,
    Resource,
    Role,
    Run,
)
from vallum.store import Records, Snapshot

R = TypeVar("R", bound=Record)

_PAGE = 1000
_VERSION_DIGITS = 9
ASSET_KINDS = ("data", "environment", "model")
_NUMBERED = re.compile(r"(?<=.):[0-9]+$")
INVENTORY = "image-inventory"  # kind of the rows beside environment versions
VERSION_KINDS = tuple(f"{kind}-version" for kind in ASSET_KINDS)
_VERSION_IDS = {"dver": "data-version", "ever": "environment-version", "mver": "model-version"}
_PATHS = {
    "connection": "connections",
    "data": "data",
    "endpoint": "onlineEndpoints",
    "environment": "environments",
    "experiment": "experiments",
    "job": "jobs",
    "model": "models",
}


@dataclass(frozen=True, slots=True)
class Context:
    """A read view for resolving what a request names."""

    records: Records
    snapshot: Snapshot
    workspace_id: str

    # -- resources ------------------------------------------------------------------------------

    def workspace(self) -> Resource:
        """Return the workspace as a resource."""
        return Resource(
            id=self.workspace_id,
            kind="workspace",
            chain=(self.workspace_id,),
            label="general",
            kind_path="workspaces",
        )

    def asset_resource(self, asset: Asset) -> Resource:
        """Return a data asset or model (without a version) as a resource."""
        return Resource(
            id=asset.id,
            kind=asset.kind,
            chain=(asset.id, self.workspace_id),
            tags=asset.tags,
            label="public",  # a name carries no content; its versions have labels of their own
            kind_path=_PATHS[asset.kind],
        )

    def version_resource(self, version: AssetVersion) -> Resource:
        """Return a version as a resource; evidence is about its digest."""
        return Resource(
            id=version.id,
            kind=f"{version.kind}-version",
            chain=(version.id, version.asset_id, self.workspace_id),
            label=version.label,
            tags=version.tags,
            digest=version.digest,
            kind_path=f"{_PATHS[version.kind]}/versions",
        )

    def experiment_resource(self, experiment: Experiment) -> Resource:
        """Return an experiment as a resource: what is asked of its runs is asked of it."""
        return self.plain("experiment", experiment.id)

    def endpoint_resource(self, endpoint: Endpoint) -> Resource:
        """Return an endpoint as a resource."""
        return Resource(
            id=endpoint.id,
            kind="endpoint",
            chain=(endpoint.id, self.workspace_id),
            stage=endpoint.stage,
            label="general",
            kind_path=_PATHS["endpoint"],
        )

    def plain(self, kind: str, identity: str, *, label: str = "general") -> Resource:
        """Return a job, connection, principal, role, … as a resource below the workspace."""
        return Resource(
            id=identity,
            kind=kind,
            chain=(identity, self.workspace_id),
            label=label,
            kind_path=_PATHS[kind],
        )

    # -- records --------------------------------------------------------------------------------

    def named(self, kind: str, name: str, type_: type[R], *, parent_id: str | None = None) -> R:
        """Return the record called `name` (or with that id).

        Raises:
            NotFoundError: There is none.
        """
        found = self.find(kind, name, type_, parent_id=parent_id)
        if found is None:
            raise NotFoundError(f"no {kind} is called `{name}`", hint=f"vallum {kind} list")
        return found

    def find(
        self, kind: str, name: str, type_: type[R], *, parent_id: str | None = None
    ) -> R | None:
        """Return the record called `name` (or with that id), or None."""
        if is_id(name):
            try:
                return self.records.get(self.snapshot, kind, name, type_)
            except NotFoundError:
                return None
        check_name(name, what=f"{kind} name")
        parent = self.workspace_id if parent_id is None else parent_id
        return self.records.find(self.snapshot, kind, parent, name, type_)

    def asset(self, kind: str, name: str) -> Asset:
        """Return a data asset or model by name or id."""
        return self.named(kind, name, Asset)

    def version(self, kind: str, name: str, number: int | None = None) -> AssetVersion:
        """Return a version by name and number (None: the newest), or by its own id.

        `name` may also be `name:number`, or `name@alias` of a model.

        Raises:
            NotFoundError: There is no such version.
        """
        if is_id(name):
            try:
                return self.records.get(self.snapshot, f"{kind}-version", name, AssetVersion)
            except NotFoundError:
                pass
        if number is None and "@" in name:
            name, _, alias = name.partition("@")
            return self.version_by_id(self.alias(self.asset(kind, name), alias).version_id)
        if number is None and ":" in name:
            name, _, text = name.rpartition(":")
            if not text.isdecimal() or len(text) > _VERSION_DIGITS:
                raise InputError(f"`{text[:20]}` is not a version", code="version.form")
            number = int(text)
        asset = self.asset(kind, name)
        if number is None:
            versions = self.versions(asset)
            if not versions:
                raise NotFoundError(f"{kind} `{name}` has no version yet")
            return max(versions, key=lambda version: version.version)
        found = self.records.find(
            self.snapshot, f"{kind}-version", asset.id, str(number), AssetVersion
        )
        if found is None:
            raise NotFoundError(f"{kind} `{name}` has no version {number}")
        return found

    def alias(self, asset: Asset, name: str) -> Alias:
        """Return an alias of a model.

        Raises:
            NotFoundError: There is none of that name.
        """
        check_name(name, what="alias")
        found = self.records.find(self.snapshot, "alias", asset.id, name, Alias)
        if found is None:
            raise NotFoundError(
                f"{asset.kind} `{asset.name}` has no alias `{name}`",
                code="model.alias",
                hint=f"vallum model alias {asset.name} {name} --version N",
            )
        return found

    def next_version(self, asset: Asset) -> int:
        """Return the number of the next version: one that was erased is never given again."""
        erased = self.all("erasure", Erasure, parent_id=asset.id)
        numbers = [one.version for one in self.versions(asset)]
        former = self.former(asset.name) if asset.kind == "model" else None
        before = 0 if former is None else former.last
        return 1 + max((before, *numbers, *(one.version for one in erased)))

    def former(self, name: str) -> FormerModel | None:
        """Return what is known of a name that a model had before."""
        return self.records.find(
            self.snapshot, "former-model", self.workspace_id, name, FormerModel
        )

    def version_by_id(self, identity: str) -> AssetVersion:
        """Return a version of an asset by id."""
        kind = _VERSION_IDS.get(identity.partition("-")[0], "model-version")
        return self.records.get(self.snapshot, kind, identity, AssetVersion)

    def versions(self, asset: Asset) -> list[AssetVersion]:
        """Return all versions of an asset."""
        return self.all(f"{asset.kind}-version", AssetVersion, parent_id=asset.id)

    def all(self, kind: str, type_: type[R], *, parent_id: str | None = None) -> list[R]:
        """Return every record of a kind, page by page."""
        out: list[R] = []
        after = ""
        while True:
            page = self.records.list(
                self.snapshot, kind, type_, parent_id=parent_id, after=after, limit=_PAGE
            )
            out.extend(page)
            if len(page) < _PAGE:
                return out
            after = page[-1].id  # type: ignore[attr-defined]  # every stored record has an id

    def endpoint(self, name: str) -> Endpoint:
        """Return an endpoint by name or id."""
        return self.named("endpoint", name, Endpoint)

    def deployments(self, endpoint: Endpoint) -> list[Deployment]:
        """Return the deployments of an endpoint."""
        return self.all("deployment", Deployment, parent_id=endpoint.id)

    def job(self, name: str) -> Job:
        """Return a job by name or id."""
        return self.named("job", name, Job)

    def experiment(self, name: str) -> Experiment:
        """Return an experiment by name, whatever characters it has, or by id."""
        found = None
        if is_id(name):
            return self.records.get(self.snapshot, "experiment", name, Experiment)
        if name:
            found = self.records.find(
                self.snapshot, "experiment", self.workspace_id, name, Experiment
            )
        if found is None:
            raise NotFoundError(f"no experiment is called {name[:60]!a}")
        return found

    def run(self, identity: str) -> Run:
        """Return a run by id."""
        if not is_id(identity):
            raise NotFoundError(f"there is no run {identity[:60]!a}")
        return self.records.get(self.snapshot, "run", identity, Run)

    def logged_model(self, identity: str) -> LoggedModel:
        """Return a logged model by id."""
        if not is_id(identity):
            raise NotFoundError(f"there is no logged model {identity[:60]!a}")
        return self.records.get(self.snapshot, "logged-model", identity, LoggedModel)

    def connection(self, name: str) -> Connection:
        """Return a connection by name or id."""
        return self.named("connection", name, Connection)

    def principal(self, name: str, *, kind: PrincipalKind | None = None) -> Principal:
        """Return a principal or group by name or id."""
        found = self.named("principal", name, Principal)
        if kind is not None and found.kind is not kind:
            raise NotFoundError(f"`{name}` is not a {kind.value}")
        return found

    def credential(self, name: str) -> Credential:
        """Return an API key by id."""
        return self.records.get(self.snapshot, "credential", name, Credential)

    def role(self, name: str) -> Role | None:
        """Return a custom role by name or id, or None."""
        return self.find("role", name, Role)

    def evidence(self, subject_digest: str) -> list[Evidence]:
        """Return what gates found about a digest."""
        return self.all("evidence", Evidence, parent_id=subject_digest)

    def resource_of(self, identity: str) -> Resource | None:
        """Return the resource that an id names, or None if it is gone."""
        kind = identity.partition("-")[0]
        try:
            if kind in ASSET_KINDS:
                return self.asset_resource(self.asset(kind, identity))
            if kind in _VERSION_IDS:
                return self.version_resource(self.version_by_id(identity))
            if kind == "exp":
                return self.experiment_resource(self.experiment(identity))
            if kind == "ep":
                return self.endpoint_resource(self.endpoint(identity))
        except NotFoundError:
            return None
        if kind in ("job", "conn"):
            return self.plain("job" if kind == "job" else "connection", identity)
        return None

    # -- scopes ---------------------------------------------------------------------------------

    def scope(self, text: str) -> Resource:
        """Resolve what people type as a scope to a resource.

        Args:
            text: Empty for the workspace, `<kind>/<name>[:<version>]`, or an id. A data asset may
                be followed by `/columns/<name>`, `/paths/<path>` or `/labels/<label>`.
        """
        if not text or text == self.workspace_id:
            return self.workspace()
        kind, _, rest = text.partition("/")
        name, _, below = rest.partition("/")
        if kind in ASSET_KINDS:
            found = (
                self.version_resource(self.version(kind, name))
                if ":" in name
                else self.asset_resource(self.asset(kind, name))
            )
        elif kind == "endpoint":
            found = self.endpoint_resource(self.endpoint(name))
        elif kind == "experiment":
            name, below = rest, ""  # its name may have a `/`; it has no parts
            found = self.experiment_resource(self.experiment(name))
        elif kind == "job":
            found = self.plain("job", self.job(name).id)
        elif kind == "connection":
            found = self.plain("connection", self.connection(name).id)
        else:
            raise InputError(
                f"`{text[:80]}` is not a scope",
                code="scope.form",
                hint="use data/NAME, data/NAME:VERSION, model/NAME, endpoint/NAME, "
                "experiment/NAME or nothing",
            )
        if not below:
            return found
        part, _, value = below.partition("/")
        if kind != "data" or part not in {"columns", "paths", "labels"} or not value:
            raise InputError(f"`{below[:80]}` is not a part of data", code="scope.form")
        key = f"{found.id}/{part}/{value}"
        return Resource(
            id=key, kind=found.kind, chain=(key, *found.chain), label=found.label, tags=found.tags
        )


def asks_to_write(context: Context, kind: str, name: str) -> Sequence[Ask]:
    """Return what a further version of an asset asks: of the asset, or of the workspace if new.

    Args:
        context: To look it up in.
        kind: `data`, `model` or `environment`.
        name: Of the asset.

    Raises:
        InputError: It is no name.
    """
    asset = context.find(kind, check_name(name, what=f"{kind} name"), Asset)
    if asset is None:
        return ask(f"{_PATHS[kind]}/write", context.workspace())
    return ask(f"{_PATHS[kind]}/versions/write", context.asset_resource(asset))


def asks_to_register(context: Context, kind: str, name: str) -> Sequence[Ask]:
    """Return what `asks_to_write` does, also of a name with a number, which the step refuses."""
    return asks_to_write(context, kind, _NUMBERED.sub("", name))


def require_unnumbered(name: str) -> None:
    """Refuse to write what a number names, be it there, deleted or to come.

    Raises:
        ConflictError: The name ends in a number: versions never change, and none is given again.
    """
    if _NUMBERED.search(name):
        raise ConflictError(
            f"`{name[:80]}` is a version, and a version never changes", code="version.immutable",
            hint="leave the number out: the next one is given",
        )  # fmt: skip


def ask(action: str, *resources: Resource) -> Sequence[Ask]:
    """Return one ask of `action` for each resource."""
    return tuple(Ask(action=action, resource=resource) for resource in resources)
