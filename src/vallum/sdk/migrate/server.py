"""A running MLflow server, read over its REST interface (MLflow 2 and 3).

Source: `mlflow/protos/service.proto`, `model_registry.proto`, `mlflow/server/handlers.py`.
"""

import io
import os
import ssl
from collections.abc import Iterable, Iterator, Mapping, Sequence
from http import HTTPStatus
from typing import Any, BinaryIO
from urllib.parse import quote, urlsplit

import httpx

from vallum.base import InputError, NotFoundError, Secret, UnauthenticatedError, UnavailableError
from vallum.base.hosts import is_loopback
from vallum.formats import load_json
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

MAX_REPLY_BYTES = 16 * 1024 * 1024
MAX_FILES = 10_000
MAX_FOLDERS = 2_000  # asked for one holder
MAX_PAGES = 100_000
RUNS_A_PAGE = 100
POINTS_A_PAGE = 10_000
_API = "/api/2.0/mlflow"
_PROXY = "/api/2.0/mlflow-artifacts/artifacts"


class ServerSource:
    """An MLflow server; what it may read is what its credential may."""

    kind = "server"

    def __init__(self, url: str, *, user: str, secret: Secret | None, ca_file: str) -> None:
        """Check the address.

        Raises:
            InputError: It holds a password, or would send one in the open.
        """
        parts = urlsplit(url)
        if parts.username or parts.password:
            raise InputError(
                "the address of the source holds a credential, which every process here can read",
                code="import.password",
                hint="set MLFLOW_TRACKING_TOKEN, or MLFLOW_TRACKING_USERNAME and _PASSWORD",
            )
        if parts.scheme == "http" and not is_loopback(parts.hostname):
            raise InputError(
                f"`{parts.hostname}` is not this machine, and http:// would send the key openly",
                code="import.plain-http",
                hint="use https://",
            )
        headers: dict[str, str] = {}
        auth = None
        if secret is not None and user:
            auth = httpx.BasicAuth(user, secret.reveal().decode())
        elif secret is not None:
            headers["authorization"] = f"Bearer {secret.reveal().decode()}"
        try:
            context = ssl.create_default_context(cafile=ca_file or None)
        except (OSError, ssl.SSLError) as error:
            raise InputError(
                f"`{ca_file}` is not a readable certificate authority", code="import.ca"
            ) from error
        self._client = httpx.Client(
            base_url=f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}",
            verify=context,
            headers=headers,
            auth=auth,
            timeout=httpx.Timeout(300.0, connect=10.0),
            follow_redirects=False,
            trust_env=False,
        )

    def close(self) -> None:
        """Close the sockets."""
        self._client.close()

    # -- requests -------------------------------------------------------------------------------

    def _ask(
        self,
        method: str,
        path: str,
        *,
        body: Mapping[str, Any] | None = None,
        params: Mapping[str, str | int] | None = None,
        missing: bool = False,
    ) -> dict[str, Any]:
        """Return a reply; with `missing`, an interface that the server has not is empty.

        Raises:
            UnauthenticatedError: The source takes no such credential, or refuses.
            UnavailableError: It does not answer, or with an error.
            InputError: Its answer is not MLflow's.
        """
        try:
            request = self._client.build_request(method, path, json=body, params=params)
            answer = self._client.send(request, stream=True)
            try:
                data = _bounded(answer)
            finally:
                answer.close()
        except httpx.HTTPError as error:
            raise UnavailableError(
                "the source does not answer", code="import.unreachable"
            ) from error
        if answer.status_code in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
            raise UnauthenticatedError(
                "the source refuses what it is asked",
                code="import.credential",
                hint="set MLFLOW_TRACKING_TOKEN, or MLFLOW_TRACKING_USERNAME and _PASSWORD",
            )
        if missing and answer.status_code in {HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED}:
            return {}
        if not answer.is_success:
            raise UnavailableError(
                f"the source answered {answer.status_code} to {method} {path.rpartition('/')[2]}",
                code="import.reply",
            )
        reply = load_json(data)
        if not isinstance(reply, dict):
            raise not_mlflow("an answer is no JSON object")
        return reply

    def _pages(
        self,
        method: str,
        path: str,
        what: str,
        asked: Mapping[str, Any],
        *,
        missing: bool = False,
        field: str = "page_token",
    ) -> Iterator[dict[str, Any]]:
        token, seen = "", 0
        while seen < MAX_PAGES:
            more = {**asked, **({field: token} if token else {})}
            sent = {"body": more} if method == "POST" else {"params": more}
            reply = self._ask(method, path, missing=missing, **sent)
            yield from _objects(reply.get(what))
            token = text(reply.get("next_page_token"))
            seen += 1
            if not token:
                return
        raise not_mlflow("its pages never end")

    # -- tracking -------------------------------------------------------------------------------

    def experiments(self) -> Sequence[Experiment]:
        """Return every active experiment."""
        found = self._pages(
            "POST", f"{_API}/experiments/search", "experiments",
            {"max_results": 1000, "view_type": "ACTIVE_ONLY"},
        )  # fmt: skip
        made = [
            Experiment(
                id=text(one.get("experiment_id")),
                name=text(one.get("name")),
                created_ms=integer(one.get("creation_time")),
                place=text(one.get("artifact_location")),
                tags=_pairs(one.get("tags")),
            )
            for one in found
        ]
        return sorted(made, key=lambda one: (one.created_ms, one.id))

    def deleted(self) -> int:
        """Return -1: a server would have to be asked for all of them."""
        return -1

    def count(self, experiment_id: str) -> tuple[int, int]:
        """Return -1 twice: a server tells only by showing all of them."""
        del experiment_id
        return -1, -1

    def runs(self, experiment_id: str) -> Iterator[Run]:
        """Yield the active runs of an experiment, oldest first."""
        for one in self._pages(
            "POST", f"{_API}/runs/search", "runs",
            {"experiment_ids": [experiment_id], "max_results": RUNS_A_PAGE,
             "run_view_type": "ACTIVE_ONLY", "order_by": ["attributes.start_time ASC"]},
        ):  # fmt: skip
            info, data = _object(one.get("info")), _object(one.get("data"))
            inputs, outputs = _object(one.get("inputs")), _object(one.get("outputs"))
            yield Run(
                id=text(info.get("run_id") or info.get("run_uuid")),
                experiment_id=experiment_id,
                name=text(info.get("run_name")),
                user=text(info.get("user_id")),
                status=text(info.get("status")),
                started_ms=integer(info.get("start_time")),
                ended_ms=integer(info.get("end_time")),
                place=text(info.get("artifact_uri")),
                params=_pairs(data.get("params")),
                tags=_pairs(data.get("tags")),
                metrics=tuple(text(metric.get("key")) for metric in _objects(data.get("metrics"))),
                datasets=tuple(_dataset(used) for used in _objects(inputs.get("dataset_inputs"))),
                models_in=tuple(
                    text(used.get("model_id")) for used in _objects(inputs.get("model_inputs"))
                ),
                models_out=tuple(
                    (text(made.get("model_id")), integer(made.get("step")))
                    for made in _objects(outputs.get("model_outputs"))
                ),
            )

    def points(self, run: Run) -> Iterable[Point]:
        """Yield every point of a run's metrics, a metric after another."""
        for key in sorted(run.metrics):
            asked = {"run_id": run.id, "metric_key": key, "max_results": POINTS_A_PAGE}
            for one in self._pages("GET", f"{_API}/metrics/get-history", "metrics", asked):
                yield Point(
                    key,
                    real(one.get("value")),
                    integer(one.get("timestamp")),
                    integer(one.get("step")),
                )

    def models(self, experiment_id: str) -> Iterator[LoggedModel]:
        """Yield the active logged models of an experiment."""
        for one in self._pages(
            "POST", f"{_API}/logged-models/search", "models",
            {"experiment_ids": [experiment_id], "max_results": 50}, missing=True,
        ):  # fmt: skip
            info, data = _object(one.get("info")), _object(one.get("data"))
            yield LoggedModel(
                id=text(info.get("model_id")),
                experiment_id=experiment_id,
                name=text(info.get("name")),
                model_type=text(info.get("model_type")),
                run_id=text(info.get("source_run_id")),
                ready=text(info.get("status")).endswith("READY"),
                created_ms=integer(info.get("creation_timestamp_ms")),
                place=text(info.get("artifact_uri")),
                params=_pairs(data.get("params")),
                tags=_pairs(info.get("tags")),
                points=tuple(
                    ModelPoint(
                        text(point.get("run_id")),
                        text(point.get("key")),
                        integer(point.get("timestamp")),
                        integer(point.get("step")),
                        text(point.get("dataset_name")),
                        text(point.get("dataset_digest")),
                    )
                    for point in _objects(data.get("metrics"))
                ),
            )

    # -- registry -------------------------------------------------------------------------------

    def registered(self) -> Sequence[Registered]:
        """Return every registered model."""
        found = self._pages(
            "GET", f"{_API}/registered-models/search", "registered_models", {"max_results": 100},
            missing=True,
        )  # fmt: skip
        return [
            Registered(
                name=text(one.get("name")),
                created_ms=integer(one.get("creation_timestamp")),
                description=text(one.get("description")),
                tags=_pairs(one.get("tags")),
                aliases={
                    text(alias.get("alias")): integer(alias.get("version"))
                    for alias in _objects(one.get("aliases"))
                },
            )
            for one in found
        ]

    def versions(self, name: str) -> Sequence[Version]:
        """Return the versions of a registered model, in order."""
        quoted = name.replace("'", "''")
        found = self._pages(
            "GET", f"{_API}/model-versions/search", "model_versions",
            {"filter": f"name = '{quoted}'", "max_results": 1000},
        )  # fmt: skip
        made = [
            Version(
                name=text(one.get("name")),
                number=integer(one.get("version")),
                created_ms=integer(one.get("creation_timestamp")),
                user=text(one.get("user_id")),
                description=text(one.get("description")),
                stage=text(one.get("current_stage")) or "None",
                source=text(one.get("source")),
                run_id=text(one.get("run_id")),
                tags=_pairs(one.get("tags")),
            )
            for one in found
        ]
        return sorted((one for one in made if one.name == name), key=lambda one: one.number)

    # -- files ----------------------------------------------------------------------------------

    def files(self, holder: Holder) -> Sequence[File] | None:
        """Return the files of a run or logged model; None if the server lists none.

        Raises:
            InputError: More than one run may have, or folders without an end.
        """
        found: list[File] = []
        folders, asked = [""], 0
        while folders:
            folder = folders.pop()
            asked += 1
            if asked > MAX_FOLDERS or len(found) > MAX_FILES:
                raise InputError(
                    f"{holder.kind} `{holder.id[:60]}` has too many files", code="import.artifacts"
                )
            for one in _objects(self._listed(holder, folder).get("files")):
                path = text(one.get("path"))
                below = f"{folder}/" if folder else ""
                if not path.startswith(below) or {"", ".", ".."} & set(path.split("/")):
                    raise not_mlflow("a folder lists what is not in it")
                if one.get("is_dir"):
                    folders.append(path)
                else:
                    size = one.get("file_size")
                    found.append(File(path, -1 if size is None else integer(size)))
        return sorted(found, key=lambda one: one.path)

    def _listed(self, holder: Holder, folder: str) -> dict[str, Any]:
        if holder.kind == "run":
            asked = {"run_id": holder.id, **({"path": folder} if folder else {})}
            return self._ask("GET", f"{_API}/artifacts/list", params=asked)
        return self._ask(
            "GET",
            f"{_API}/logged-models/{quote(holder.id, safe='')}/artifacts/directories",
            params={"artifact_directory_path": folder} if folder else {},
            missing=True,
        )

    def open(self, holder: Holder, path: str) -> BinaryIO:
        """Open a file: through the proxy where the files are there, else as the pages do."""
        place = urlsplit(holder.place)
        params: dict[str, str] = {}
        if place.scheme == "mlflow-artifacts":
            below = quote(f"{place.path.strip('/')}/{path}")
            url = f"{_PROXY}/{below}"
        elif holder.kind == "run":
            url, params = "/get-artifact", {"run_uuid": holder.id, "path": path}
        else:
            identity = quote(holder.id, safe="")
            url = f"/ajax-api/2.0/mlflow/logged-models/{identity}/artifacts/files"
            params = {"artifact_file_path": path}
        try:
            answer = self._client.send(
                self._client.build_request("GET", url, params=params), stream=True
            )
        except httpx.HTTPError as error:
            raise UnavailableError(
                "the source does not answer", code="import.unreachable"
            ) from error
        if not answer.is_success:
            answer.close()
            raise NotFoundError(
                f"the source answered {answer.status_code} for the file", code="import.artifacts"
            )
        return _Content(answer)


class _Content(io.RawIOBase, BinaryIO):
    """The body of an answer as a file that is read once."""

    def __init__(self, answer: httpx.Response) -> None:
        self._answer = answer
        self._chunks = answer.iter_bytes()
        self._left = b""

    def readable(self) -> bool:
        """Tell that it can be read."""
        return True

    def read(self, size: int = -1) -> bytes:
        """Return up to `size` bytes; nothing at the end."""
        while not self._left or size < 0:
            try:
                chunk = next(self._chunks, b"")
            except httpx.HTTPError as error:
                raise UnavailableError("the source broke off", code="import.unreachable") from error
            if not chunk:
                break
            self._left += chunk
        cut = len(self._left) if size < 0 else size
        taken, self._left = self._left[:cut], self._left[cut:]
        return taken

    def close(self) -> None:
        """Close the answer."""
        self._answer.close()
        super().close()


def _bounded(answer: httpx.Response) -> bytes:
    data = b""
    for chunk in answer.iter_bytes():
        data += chunk
        if len(data) > MAX_REPLY_BYTES:
            raise not_mlflow(f"an answer has more than {MAX_REPLY_BYTES} bytes")
    return data


def _object(value: object) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise not_mlflow("an answer has another shape")
    return value


def _objects(value: object) -> list[dict[str, Any]]:
    if value is None:
        return []
    if not isinstance(value, list):
        raise not_mlflow("an answer has another shape")
    return [_object(one) for one in value]


def _pairs(value: object) -> dict[str, str]:
    return {text(one.get("key")): text(one.get("value")) for one in _objects(value)}


def _dataset(one: dict[str, Any]) -> Dataset:
    told = _object(one.get("dataset"))
    return Dataset(
        name=text(told.get("name")),
        digest=text(told.get("digest")),
        source_type=text(told.get("source_type")),
        source=text(told.get("source")),
        schema=text(told.get("schema")),
        profile=text(told.get("profile")),
        tags=_pairs(one.get("tags")),
    )


def from_environment() -> tuple[str, Secret | None, str]:
    """Return user, secret and certificate authority as MLflow's own clients find them."""
    authority = os.environ.get("MLFLOW_TRACKING_SERVER_CERT_PATH", "")
    token = os.environ.get("MLFLOW_TRACKING_TOKEN")
    if token:
        return "", Secret(token.strip()), authority
    password = os.environ.get("MLFLOW_TRACKING_PASSWORD")
    if password:
        return os.environ.get("MLFLOW_TRACKING_USERNAME", ""), Secret(password), authority
    return "", None, authority
