"""Write what an MLflow store holds into a workspace, as the caller and through its interface.

Every change is decided and logged as if the caller had made it by hand: rights, bounds, scans and
quarantine hold. What the source says about who and when is kept as tags: claims. Each thing has a
tag that names what it came from; by these tags a second import finds what is here, and one that
was interrupted goes on.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice, zip_longest
from typing import TypeVar

from vallum.base import ConflictError, LimitExceededError
from vallum.schema import mlflow
from vallum.schema.tracking import ModelStatus, RunStatus
from vallum.sdk.client import Client
from vallum.sdk.migrate.ledger import PREFIX, ImportReport, Ledger, Tally
from vallum.sdk.migrate.registering import Registrar
from vallum.sdk.migrate.source import Dataset, Experiment, Holder, LoggedModel, Point, Run, Source

__all__ = ["ImportReport", "Importer", "Tally"]

K = TypeVar("K")
_Pairs = tuple[tuple[str, str], ...]

MAX_RUN_POINTS = 5_000_000
POINTS_A_BATCH = 800  # of a thousand things that one request may hold
PAIRS_A_BATCH = 100
_DONE = f"{PREFIX}done"
_RUN_NAME = "mlflow.runName"
_ENDED = frozenset({"FINISHED", "FAILED", "KILLED", "SCHEDULED"})


@dataclass(slots=True)
class _Here:
    """A run or logged model as it is in the workspace."""

    id: str
    place: str
    done: str = ""
    gone: bool = False
    fresh: bool = False
    params: frozenset[str] = frozenset()
    tags: Mapping[str, str] = field(default_factory=dict)
    metrics: tuple[str, ...] = ()


class Importer:
    """One import from one source into one workspace."""

    def __init__(
        self,
        client: Client,
        source: Source,
        *,
        experiments: Sequence[str] = (),
        merge: bool = False,
        dry_run: bool = False,
    ) -> None:
        """Prepare.

        Args:
            client: Of the workspace; all is done with its rights.
            source: What is read.
            experiments: Names of those that are wanted; all if empty.
            merge: Add to experiments and models of the same name that no import made.
            dry_run: Read and compare alone; nothing is written.
        """
        self.advance: Callable[[int], None] = lambda _: None
        """Called with 1 for each run that is done."""
        self._tracking = client.tracking
        self._source = source
        self._wanted = frozenset(experiments)
        self._merge = merge
        self._dry_run = dry_run
        self._ledger = Ledger()
        self._registrar = Registrar(
            client.registry, source, self._ledger, merge=merge, dry_run=dry_run,
            everything=not experiments,
        )  # fmt: skip

    def experiments(self) -> list[Experiment]:
        """Return the experiments of the source that are wanted."""
        return [
            one
            for one in self._source.experiments()
            if not self._wanted or one.name in self._wanted
        ]

    def run(self) -> ImportReport:
        """Import everything that is wanted.

        Raises:
            VallumError: The workspace or the source cannot be reached, or refuses the credential.
        """
        held = list(self._tracking.experiments())
        found = self.experiments()
        for name in sorted(self._wanted - {one.name for one in found}):
            self._ledger.refuse("experiment", name, "the source has none of that name",
                                "import.missing")  # fmt: skip
        for one in found:
            self._ledger.add("experiments", "found")
            self._count(one)
            ours = self._ledger.attempt("experiment", one.name, self._place, one, held)
            if ours is not None:
                self._experiment(one, ours)
        self._registrar.run()
        self._ledger.deleted = self._source.deleted()
        return self._ledger.report(self._source.kind)

    def _count(self, one: Experiment) -> None:
        _, points = self._source.count(one.id)
        if points < 0:
            self._ledger.uncounted("points")
        else:
            self._ledger.add("points", "found", points)

    # -- experiments ----------------------------------------------------------------------------

    def _place(self, one: Experiment, held: Sequence[mlflow.ExperimentShown]) -> str:
        """Return the id of the experiment here; empty if a dry run would make it.

        Raises:
            ConflictError: There is one of that name that no import made, or a deleted one.
        """
        claim = f"{one.id}@{one.created_ms}"
        named = None
        for other in held:
            tags = {pair.key: pair.value for pair in other.tags}
            if tags.get(f"{PREFIX}experiment") == claim:
                named = other
                break
            if other.name == one.name:
                named = other
        if named is not None:
            tags = {pair.key: pair.value for pair in named.tags}
            ours = tags.get(f"{PREFIX}experiment") == claim
            if not ours and not self._merge:
                raise ConflictError(
                    "there is an experiment of that name here that was not imported from there",
                    code="import.taken", hint="--merge adds to it",
                )  # fmt: skip
            if named.lifecycle_stage != "active":
                raise ConflictError("it is deleted here", code="import.deleted")
            self._ledger.add("experiments", "kept")
            return named.experiment_id
        self._ledger.add("experiments", "made")
        if self._dry_run:
            return ""
        claims = {f"{PREFIX}experiment": claim, f"{PREFIX}created_ms": str(one.created_ms)}
        made = self._tracking.create_experiment(one.name, claims)
        for key, value in _own_tags(one.tags).items():
            self._ledger.attempt(
                "tag", f"{one.name}: {key}",
                self._tracking.set_experiment_tag, made, key, value,
            )  # fmt: skip
        return made

    def _experiment(self, one: Experiment, ours: str) -> None:
        runs = self._held_runs(ours)
        models = self._held_models(ours)
        for run in self._source.runs(one.id):  # all of them before models, which name runs
            self._ledger.add("runs", "found")
            if run.id not in runs and not self._dry_run:
                made = self._ledger.attempt("run", run.id, self._start, run, ours)
                if made is not None:
                    runs[run.id] = made
            if run.id in runs:
                self._registrar.know_run(run, runs[run.id].id, runs[run.id].place)
            elif self._dry_run:
                self._registrar.know_run(run, "", "")
        points: dict[tuple[str, str, int, int], tuple[str, str, str]] = {}
        for model in self._source.models(one.id):
            self._ledger.add("logged_models", "found")
            held = self._ledger.attempt(
                "logged model", model.id, self._model, model, ours, models.get(model.id)
            )
            self._registrar.know_model(model, *(("", "") if held is None else held))
            if held is not None:
                for at in model.points:
                    link = (held[0], at.dataset_name, at.dataset_digest)
                    points.setdefault((at.run_id, at.key, at.at_ms, at.step), link)
        for run in self._source.runs(one.id):
            here = runs.get(run.id)
            if here is not None or self._dry_run:
                self._ledger.attempt("run", run.id, self._fill, run, here, points)
            self.advance(1)

    def _held_runs(self, experiment_id: str) -> dict[str, _Here]:
        out = {}
        for one in self._tracking.runs(experiment_id) if experiment_id else ():
            tags = {pair.key: pair.value for pair in one.data.tags}
            claim = tags.get(f"{PREFIX}run")
            if claim is not None:
                out[claim] = _Here(
                    id=one.info.run_id,
                    place=one.info.artifact_uri,
                    done=tags.get(_DONE, ""),
                    gone=one.info.lifecycle_stage != "active",
                    params=frozenset(pair.key for pair in one.data.params),
                    tags=tags,
                    metrics=tuple(metric.key for metric in one.data.metrics),
                )
        return out

    # -- runs -----------------------------------------------------------------------------------

    def _start(self, run: Run, experiment_id: str) -> _Here:
        claims = {
            f"{PREFIX}run": run.id,
            f"{PREFIX}user": run.user,
            f"{PREFIX}started_ms": str(run.started_ms),
            f"{PREFIX}ended_ms": str(run.ended_ms),
        }
        made = self._tracking.create_run(experiment_id, run.name, claims)
        self._ledger.add("runs", "made")
        return _Here(id=made.info.run_id, place=made.info.artifact_uri, fresh=True, tags=claims)

    def _fill(
        self,
        run: Run,
        here: _Here | None,
        linked: Mapping[tuple[str, str, int, int], tuple[str, str, str]],
    ) -> None:
        """Write what a run has and is not here yet."""
        holder = Holder("run", run.id, run.experiment_id, run.place)
        files = self._files(holder)
        if here is None:  # of a dry run: there is nothing here
            self._ledger.add("runs", "made")
            return
        points = _points_of(self._source, run)
        done = (
            f"{run.status} {run.ended_ms} {len(points)} {len(run.params)} {len(run.tags)}"
            f" {'-' if files is None else len(files)}"
        )
        if not here.fresh:
            self._ledger.add("runs", "kept")
        if here.gone or here.done == done or self._dry_run:
            kept = len(points) if here.gone or here.done == done else 0
            self._ledger.add("points", "kept", kept)
            self._ledger.add("files", "kept", len(files or {}) if here.done == done else 0)
            return
        before = self._ledger.refused_total
        missing = points if here.fresh else self._missing(here, points)
        self._ledger.add("points", "kept", len(points) - len(missing))
        tags = _own_tags(run.tags)
        self._log(
            here,
            [_metric(one, linked.get((run.id, one.key, one.at_ms, one.step))) for one in missing],
            {key: value for key, value in run.params.items() if key not in here.params},
            {key: value for key, value in tags.items() if here.tags.get(key) != value},
        )
        self._links(run, here)
        if run.status in _ENDED:
            self._tracking.set_status(here.id, RunStatus(run.status))
        self._copy(holder, here, files)
        if self._ledger.refused_total == before:
            self._tracking.log(here.id, tags={_DONE: done})

    def _missing(self, here: _Here, points: Sequence[Point]) -> list[Point]:
        """Return the points that are not here, each as often as it is missing."""
        held: Counter[tuple[str, str, int, int]] = Counter()
        for key in here.metrics:
            for one in self._tracking.history(here.id, key):
                held[key, _told(float(one.value)), one.timestamp, one.step] += 1
        missing = []
        for point in points:
            known = (point.key, _told(point.value), point.at_ms, point.step)
            if held[known] > 0:
                held[known] -= 1
            else:
                missing.append(point)
        return missing

    def _log(
        self,
        here: _Here,
        metrics: Sequence[mlflow.MetricValue],
        params: Mapping[str, str],
        tags: Mapping[str, str],
    ) -> None:
        """Log in as few requests as can be; what a request is refused for is found and left out."""
        batches = zip_longest(
            _chunks(metrics, POINTS_A_BATCH),
            _chunks(params.items(), PAIRS_A_BATCH),
            _chunks(tags.items(), PAIRS_A_BATCH),
        )
        for some, pairs, names in batches:
            quiet = Ledger()
            batch = (some or (), dict(pairs or ()), dict(names or ()))
            quiet.attempt("", "", self._send, here, *batch)
            if quiet.refused_total:
                self._log_apart(here, *batch)

    def _send(
        self,
        here: _Here,
        metrics: Sequence[mlflow.MetricValue],
        params: Mapping[str, str],
        tags: Mapping[str, str],
    ) -> None:
        self._tracking.log(here.id, metrics=metrics, params=params, tags=tags)
        self._ledger.add("points", "made", len(metrics))

    def _log_apart(
        self,
        here: _Here,
        metrics: Sequence[mlflow.MetricValue],
        params: Mapping[str, str],
        tags: Mapping[str, str],
    ) -> None:
        by_key: dict[str, list[mlflow.MetricValue]] = {}
        for one in metrics:
            by_key.setdefault(one.key, []).append(one)
        for key, some in by_key.items():
            self._ledger.attempt(
                "metric", f"{here.tags.get(f'{PREFIX}run', here.id)}: {key}",
                self._send, here, some, {}, {},
            )  # fmt: skip
        for what, pairs in (("parameter", params), ("tag", tags)):
            for key, value in pairs.items():
                parts = ({key: value}, {}) if what == "parameter" else ({}, {key: value})
                self._ledger.attempt(
                    what, f"{here.tags.get(f'{PREFIX}run', here.id)}: {key}",
                    self._send, here, (), *parts,
                )  # fmt: skip

    def _links(self, run: Run, here: _Here) -> None:
        """Say which data sets and logged models a run used and made."""
        used = [one for one in map(self._registrar.model_here, run.models_in) if one]
        datasets = [_dataset(one) for one in run.datasets]
        if used or datasets:
            self._ledger.attempt(
                "inputs", run.id, self._tracking.log_inputs, here.id, datasets, used
            )
        made = [
            (ours, step)
            for theirs, step in run.models_out
            if (ours := self._registrar.model_here(theirs))
        ]
        if made:
            self._ledger.attempt("outputs", run.id, self._tracking.log_outputs, here.id, made)

    # -- logged models --------------------------------------------------------------------------

    def _held_models(self, experiment_id: str) -> dict[str, _Here]:
        out = {}
        for one in self._tracking.models(experiment_id) if experiment_id else ():
            tags = {pair.key: pair.value for pair in one.info.tags}
            claim = tags.get(f"{PREFIX}model")
            if claim is not None:
                out[claim] = _Here(
                    one.info.model_id, one.info.artifact_uri, tags.get(_DONE, ""), tags=tags
                )
        return out

    def _model(
        self, model: LoggedModel, experiment_id: str, here: _Here | None
    ) -> tuple[str, str] | None:
        """Make a logged model with its files; returns its id and place here."""
        holder = Holder("model", model.id, model.experiment_id, model.place)
        files = self._files(holder)
        if self._dry_run:
            self._ledger.add("logged_models", "made" if here is None else "kept")
            return None if here is None else (here.id, here.place)
        if here is None:
            here = self._begin(model, experiment_id)
        else:
            self._ledger.add("logged_models", "kept")
        done = f"{model.ready} {'-' if files is None else len(files)}"
        if here.done == done:
            self._ledger.add("files", "kept", len(files or {}))
            return here.id, here.place
        before = self._ledger.refused_total
        for what, pairs in (("parameter", model.params), ("tag", _own_tags(model.tags))):
            send = (
                self._tracking.log_model_params
                if what == "parameter"
                else self._tracking.set_model_tags
            )
            chunks: Iterator[_Pairs] = _chunks(pairs.items(), PAIRS_A_BATCH)
            for some in chunks:
                self._ledger.attempt(what, model.id, send, here.id, dict(some))
        self._copy(holder, here, files)
        status = ModelStatus.READY if model.ready else ModelStatus.FAILED
        self._tracking.finish_model(here.id, status)
        if self._ledger.refused_total == before:
            self._tracking.set_model_tags(here.id, {_DONE: done})
        return here.id, here.place

    def _begin(self, model: LoggedModel, experiment_id: str) -> _Here:
        claims = {f"{PREFIX}model": model.id, f"{PREFIX}created_ms": str(model.created_ms)}
        made = self._tracking.create_model(
            experiment_id, model.name, model_type=model.model_type,
            run_id=self._registrar.run_here(model.run_id), tags=claims,
        )  # fmt: skip
        self._ledger.add("logged_models", "made")
        return _Here(made.info.model_id, made.info.artifact_uri, fresh=True)

    # -- files ----------------------------------------------------------------------------------

    def _files(self, holder: Holder) -> dict[str, int] | None:
        found = self._ledger.attempt("files", holder.id, self._source.files, holder)
        if found is None:
            self._ledger.unread += 1
            return None
        self._ledger.add("files", "found", len(found))
        return {one.path: one.size for one in found}

    def _copy(self, holder: Holder, here: _Here, files: Mapping[str, int] | None) -> None:
        """Write the files that are not here with the same size."""
        if not files:
            return
        held = {} if here.fresh else dict(self._tracking.files(here.place))
        for path, size in files.items():
            if held.get(path) == size:
                self._ledger.add("files", "kept")
                continue
            self._ledger.attempt("file", f"{holder.id}: {path}", self._copy_one, holder, here, path)

    def _copy_one(self, holder: Holder, here: _Here, path: str) -> None:
        with self._source.open(holder, path) as content:
            self._tracking.put_file(here.place, path, content)
        self._ledger.add("files", "made")


def _points_of(source: Source, run: Run) -> list[Point]:
    points = list(islice(source.points(run), MAX_RUN_POINTS + 1))
    if len(points) > MAX_RUN_POINTS:
        raise LimitExceededError(
            f"the run has more than {MAX_RUN_POINTS} points", code="import.run-size"
        )
    return points


def _own_tags(tags: Mapping[str, str]) -> dict[str, str]:
    """Return tags without those that are the server's or an import's."""
    return {k: v for k, v in tags.items() if k != _RUN_NAME and not k.startswith(PREFIX)}


def _told(value: float) -> str:
    return "nan" if math.isnan(value) else repr(value)


def _metric(one: Point, link: tuple[str, str, str] | None) -> mlflow.MetricValue:
    value: mlflow.Number = one.value
    if not math.isfinite(one.value):
        value = "NaN" if math.isnan(one.value) else "Infinity" if one.value > 0 else "-Infinity"
    model, name, digest = link or ("", "", "")
    return mlflow.MetricValue(
        key=one.key, value=value, timestamp=one.at_ms, step=one.step, model_id=model,
        dataset_name=name, dataset_digest=digest,
    )  # fmt: skip


def _dataset(one: Dataset) -> mlflow.DatasetInput:
    told = mlflow.DatasetFields(
        name=one.name, digest=one.digest, source_type=one.source_type, source=one.source,
        schema=one.schema, profile=one.profile,
    )  # fmt: skip
    return mlflow.DatasetInput(
        dataset=told, tags=tuple(mlflow.Pair(key=k, value=v) for k, v in one.tags.items())
    )


def _chunks(values: Iterable[K], size: int) -> Iterator[tuple[K, ...]]:
    left = iter(values)
    while chunk := tuple(islice(left, size)):
        yield chunk
