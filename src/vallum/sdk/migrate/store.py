"""MLflow's own database, read table by table: SQLite or PostgreSQL, of MLflow 1.x to 3.x.

Source: `mlflow/store/tracking/dbmodels/models.py` and `mlflow/store/model_registry/dbmodels/
models.py` of MLflow 3. What an older version does not have is read as empty.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import BinaryIO

from vallum.sdk.migrate.folder import Folder
from vallum.sdk.migrate.rows import Row, Rows
from vallum.sdk.migrate.source import (
    Dataset,
    Experiment,
    File,
    Holder,
    LoggedModel,
    ModelPoint,
    Point,
    Registered,
    Run,
    Version,
    integer,
    not_mlflow,
    real,
    text,
)

CHUNK = 200  # runs whose tags are read together
_READY = 2  # LoggedModelStatus.READY: 1 is pending, 3 failed
_RUN, _MODEL, _DATASET = "RUN", ("RUN_INPUT", "RUN_OUTPUT"), "DATASET"


class SqlSource:
    """An MLflow database, and a folder with the files that it names."""

    def __init__(self, kind: str, rows: Rows, artifacts: Path | None) -> None:
        """Take rows and folder.

        Raises:
            InputError: The database has not the tables of MLflow.
        """
        self.kind = kind
        self._rows = rows
        self._folder = None if artifacts is None else Folder(artifacts)
        for table in ("experiments", "runs", "metrics", "params", "tags"):
            if not rows.columns(table):
                raise not_mlflow(f"it has no table `{table}`")

    def close(self) -> None:
        """Close the database."""
        self._rows.close()

    def _read(
        self, table: str, columns: Sequence[str], where: str = "", values: Sequence[object] = (),
        order: str = "",
    ) -> Iterator[Row]:  # fmt: skip
        """Yield columns of a table; a column that this version of MLflow has not is nothing."""
        known = self._rows.columns(table)
        if not known:
            return iter(())
        wanted = ", ".join(f'"{one}"' if one in known else "NULL" for one in columns)
        query = f'SELECT {wanted} FROM "{table}"'  # noqa: S608 - names are of this module
        if where:
            query += f" WHERE {where}"
        if order:
            query += f" ORDER BY {order}"
        return self._rows.select(query, values)

    def _pairs(self, table: str, where: str, values: Sequence[object]) -> dict[str, str]:
        found = self._read(table, ("key", "value"), where, values)
        return {text(key): text(value) for key, value in found}

    # -- tracking -------------------------------------------------------------------------------

    def experiments(self) -> Sequence[Experiment]:
        """Return every active experiment."""
        found = self._read(
            "experiments",
            ("experiment_id", "name", "creation_time", "artifact_location"),
            "lifecycle_stage = ?",
            ("active",),
            "experiment_id",
        )
        return [
            Experiment(
                id=text(identity),
                name=text(name),
                created_ms=integer(created),
                place=text(place),
                tags=self._pairs("experiment_tags", "experiment_id = ?", (identity,)),
            )
            for identity, name, created, place in list(found)
        ]

    def deleted(self) -> int:
        """Return how many runs and experiments are marked as deleted."""
        total = 0
        for table in ("runs", "experiments"):
            query = f"SELECT count(*) FROM {table} WHERE lifecycle_stage = ?"  # noqa: S608 - ours
            total += sum(integer(one) for (one,) in self._rows.select(query, ("deleted",)))
        return total

    def count(self, experiment_id: str) -> tuple[int, int]:
        """Return how many active runs an experiment has, and how many points they have."""
        runs = "SELECT run_uuid FROM runs WHERE experiment_id = ? AND lifecycle_stage = ?"
        queries = (
            runs.replace("run_uuid", "count(*)", 1),
            f"SELECT count(*) FROM metrics WHERE run_uuid IN ({runs})",  # noqa: S608 - ours
        )
        asked = (integer(experiment_id), "active")
        runs_here, points = (
            integer(number) for query in queries for (number,) in self._rows.select(query, asked)
        )
        return runs_here, points

    def runs(self, experiment_id: str) -> Iterator[Run]:
        """Yield the active runs of an experiment, oldest first."""
        ids = self._rows.select(
            "SELECT run_uuid FROM runs WHERE experiment_id = ? AND lifecycle_stage = ?"
            " ORDER BY start_time, run_uuid",
            (integer(experiment_id), "active"),
        )
        names = [text(one) for (one,) in ids]
        for first in range(0, len(names), CHUNK):
            chunk = names[first : first + CHUNK]
            found = {run.id: run for run in self._some(chunk)}
            yield from (found[one] for one in chunk if one in found)

    def _some(self, ids: Sequence[str]) -> Iterator[Run]:
        among = f"run_uuid IN ({_marks(ids)})"
        params: dict[str, dict[str, str]] = defaultdict(dict)
        tags: dict[str, dict[str, str]] = defaultdict(dict)
        for table, into in (("params", params), ("tags", tags)):
            for run, key, value in self._read(table, ("run_uuid", "key", "value"), among, ids):
                into[text(run)][text(key)] = text(value)
        used = self._inputs(ids)
        linked = self._model_links(ids)
        for one in self._read(
            "runs",
            ("run_uuid", "experiment_id", "name", "user_id", "status", "start_time", "end_time",
             "artifact_uri"),
            among,
            ids,
        ):  # fmt: skip
            identity = text(one[0])
            yield Run(
                id=identity,
                experiment_id=text(one[1]),
                name=tags[identity].get("mlflow.runName") or text(one[2]),
                user=text(one[3]),
                status=text(one[4]),
                started_ms=integer(one[5]),
                ended_ms=integer(one[6]),
                place=text(one[7]),
                params=params[identity],
                tags=tags[identity],
                datasets=tuple(used[identity]),
                models_in=tuple(to for what, to, _ in linked[identity] if what == _MODEL[0]),
                models_out=tuple(
                    (to, step) for what, to, step in linked[identity] if what == _MODEL[1]
                ),
            )

    def _inputs(self, ids: Sequence[str]) -> dict[str, list[Dataset]]:
        out: dict[str, list[Dataset]] = defaultdict(list)
        found = list(
            self._read(
                "inputs",
                ("input_uuid", "source_id", "destination_id"),
                f"source_type = ? AND destination_type = ? AND destination_id IN ({_marks(ids)})",
                (_DATASET, _RUN, *ids),
            )
        )
        described = {
            text(one[0]): one
            for chunk in _chunks([text(dataset) for _, dataset, _ in found])
            for one in self._read(
                "datasets",
                ("dataset_uuid", "name", "digest", "dataset_source_type", "dataset_source",
                 "dataset_schema", "dataset_profile"),
                f"dataset_uuid IN ({_marks(chunk)})",
                chunk,
            )
        }  # fmt: skip
        tags: dict[str, dict[str, str]] = defaultdict(dict)
        for chunk in _chunks([text(identity) for identity, _, _ in found]):
            for identity, name, value in self._read(
                "input_tags", ("input_uuid", "name", "value"),
                f"input_uuid IN ({_marks(chunk)})", chunk,
            ):  # fmt: skip
                tags[text(identity)][text(name)] = text(value)
        for identity, dataset, run in found:
            one = described.get(text(dataset))
            if one is not None:
                _, *told = map(text, one)
                name, digest, source_type, source, schema, profile = told
                out[text(run)].append(
                    Dataset(
                        name, digest, source_type, source, schema, profile, tags[text(identity)]
                    )
                )
        return out

    def _model_links(self, ids: Sequence[str]) -> dict[str, list[tuple[str, str, int]]]:
        out: dict[str, list[tuple[str, str, int]]] = defaultdict(list)
        for run, what, to, step in self._read(
            "inputs", ("source_id", "source_type", "destination_id", "step"),
            f"source_type IN (?, ?) AND source_id IN ({_marks(ids)})", (*_MODEL, *ids),
        ):  # fmt: skip
            out[text(run)].append((text(what), text(to), integer(step)))
        return out

    def points(self, run: Run) -> Iterable[Point]:
        """Yield every point of a run's metrics, a metric after another in order of its steps."""
        for key, value, at_ms, step, is_nan in self._read(
            "metrics", ("key", "value", "timestamp", "step", "is_nan"), "run_uuid = ?", (run.id,),
            'key, step, "timestamp", value',
        ):  # fmt: skip
            number = math.nan if is_nan else real(value)
            yield Point(text(key), number, integer(at_ms), integer(step))

    def models(self, experiment_id: str) -> Iterator[LoggedModel]:
        """Yield the active logged models of an experiment."""
        for one in list(
            self._read(
                "logged_models",
                ("model_id", "experiment_id", "name", "model_type", "source_run_id", "status",
                 "creation_timestamp_ms", "artifact_location"),
                "experiment_id = ? AND lifecycle_stage = ?",
                (integer(experiment_id), "active"),
                "creation_timestamp_ms, model_id",
            )
        ):  # fmt: skip
            identity = text(one[0])
            of_it = ("model_id = ?", (identity,))
            params = self._read("logged_model_params", ("param_key", "param_value"), *of_it)
            tags = self._read("logged_model_tags", ("tag_key", "tag_value"), *of_it)
            points = self._read(
                "logged_model_metrics",
                ("run_id", "metric_name", "metric_timestamp_ms", "metric_step", "dataset_name",
                 "dataset_digest"),
                *of_it,
            )  # fmt: skip
            yield LoggedModel(
                id=identity,
                experiment_id=text(one[1]),
                name=text(one[2]),
                model_type=text(one[3]),
                run_id=text(one[4]),
                ready=integer(one[5]) == _READY,
                created_ms=integer(one[6]),
                place=text(one[7]),
                params={text(key): text(value) for key, value in params},
                tags={text(key): text(value) for key, value in tags},
                points=tuple(
                    ModelPoint(
                        text(run),
                        text(key),
                        integer(at_ms),
                        integer(step),
                        text(name),
                        text(digest),
                    )
                    for run, key, at_ms, step, name, digest in points
                ),
            )

    # -- registry -------------------------------------------------------------------------------

    def registered(self) -> Sequence[Registered]:
        """Return every registered model."""
        found = self._read(
            "registered_models", ("name", "creation_time", "description"), order="name"
        )
        out = []
        for name, created, description in list(found):
            aliases = self._read("registered_model_aliases", ("alias", "version"), "name = ?",
                                 (name,))  # fmt: skip
            out.append(
                Registered(
                    name=text(name),
                    created_ms=integer(created),
                    description=text(description),
                    tags=self._pairs("registered_model_tags", "name = ?", (name,)),
                    aliases={text(alias): integer(number) for alias, number in aliases},
                )
            )
        return out

    def versions(self, name: str) -> Sequence[Version]:
        """Return the versions of a registered model, in order."""
        found = self._read(
            "model_versions",
            ("name", "version", "creation_time", "user_id", "description", "current_stage",
             "source", "storage_location", "run_id"),
            "name = ? AND (current_stage IS NULL OR current_stage <> ?)",
            (name, "Deleted_Internal"),
            "version",
        )  # fmt: skip
        return [
            Version(
                name=text(one[0]),
                number=integer(one[1]),
                created_ms=integer(one[2]),
                user=text(one[3]),
                description=text(one[4]),
                stage=text(one[5]) or "None",
                source=text(one[6]),
                place=text(one[7]),
                run_id=text(one[8]),
                tags=self._pairs("model_version_tags", "name = ? AND version = ?", (name, one[1])),
            )
            for one in list(found)
        ]

    # -- files ----------------------------------------------------------------------------------

    def files(self, holder: Holder) -> Sequence[File] | None:
        """Return the files of a run or logged model; None if they cannot be read from here."""
        return None if self._folder is None else self._folder.files(holder)

    def open(self, holder: Holder, path: str) -> BinaryIO:
        """Open one of them."""
        if self._folder is None:
            raise not_mlflow("there is no folder of artifacts")
        return self._folder.open(holder, path)


def _marks(values: Sequence[object]) -> str:
    return ", ".join("?" for _ in values) or "NULL"


def _chunks(values: Sequence[str]) -> Iterator[list[str]]:
    left = iter(dict.fromkeys(values))
    while chunk := list(islice(left, CHUNK)):
        yield chunk
