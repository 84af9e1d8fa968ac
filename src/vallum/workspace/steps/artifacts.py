"""Steps on files of runs and logged models: write, read, list, delete.

A file is scanned when it is first read: what may carry code, such as a pickle, is quarantined and
read by a right of its own. What is registered is read here too, and never written.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import BinaryIO

import msgspec

from vallum.base import (
    ConflictError,
    GateError,
    InputError,
    LimitExceededError,
    NotFoundError,
    new_id,
    timestamp,
)
from vallum.base.bounds import JSON
from vallum.formats import load_json
from vallum.scan import ScanVerdict
from vallum.schema import (
    Artifact,
    Ask,
    Caller,
    EntryKind,
    Erasure,
    Part,
    WrappedDataKey,
    mlflow,
    mlflow_models,
)
from vallum.workspace.context import Context, ask
from vallum.workspace.gates.models import carries_no_code, scan_model
from vallum.workspace.step import Act, Asks, Download, Effect, Length, Step, Work
from vallum.workspace.tracking import places, shown
from vallum.workspace.tracking.bundles import milliseconds
from vallum.workspace.tracking.places import Place, place_of
from vallum.workspace.tracking.tracing import FOLDER, SPANS_FILE
from vallum.workspace.versions import content_chunks, content_chunks_of, put_key, shred, stage

MAX_FILES = 10_000  # of one run or logged model
MAX_TOGETHER = 64 * 1024 * 1024  # bytes that one scan takes
CLEAN = ScanVerdict.CLEAN.value
QUARANTINE = "experiments/quarantine/read"
SYSTEM_SCAN = "system-scan"


def _own(action: str) -> Asks:
    def asks(context: Context, args: mlflow_models.ArtifactNamed, caller: Caller) -> Sequence[Ask]:
        return place_of(context, args.path).asks(context, action)

    return asks


# -- write --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Staged:
    id: str
    wrapped: WrappedDataKey
    part: Part
    verdict: str = ""


def _prepare_put(work: Work, args: mlflow_models.ArtifactNamed) -> _Staged:
    place = work.read(lambda context: place_of(context, args.path))
    if place.version is not None:
        raise ConflictError("a registered version never changes", code="mlflow.registered")
    if not place.path:
        raise InputError("the path names no file", code="mlflow.path")
    identity, content = str(new_id("art")), work.require_content()
    verdict = CLEAN if _are_spans(place, content) else ""
    wrapped, parts = stage(work, identity, [(place.path, content)], personal=True)
    return _Staged(identity, wrapped, parts[0], verdict)


def _are_spans(place: Place, content: BinaryIO) -> bool:
    """Tell whether these are the spans of a trace: a JSON object, which carries no code.

    They are read by the hundred, and a scan of each in a sandbox would say no more.
    """
    if place.area != FOLDER or place.path != SPANS_FILE:
        return False
    data = content.read(JSON.max_bytes + 1)
    content.seek(0)
    try:
        return isinstance(load_json(data), dict)
    except (InputError, LimitExceededError):
        return False


def _act_put(act: Act, args: mlflow_models.ArtifactNamed, made: _Staged) -> mlflow.Nothing:
    place = place_of(act.context, args.path)
    if place.experiment is None:
        raise ConflictError("a registered version never changes", code="mlflow.registered")
    held = act.context.all("artifact", Artifact, parent_id=place.holder_id)
    if len(held) >= MAX_FILES:
        raise LimitExceededError(f"a run has at most {MAX_FILES} files", code="mlflow.run-size")
    for one in held:
        if one.path == place.path:
            erase_files(act, [one], reason="replaced")
        elif one.path.startswith(f"{place.path}/") or place.path.startswith(f"{one.path}/"):
            raise ConflictError(
                f"{place.path[:60]!a} would be a file and a folder", code="mlflow.path"
            )
    artifact = Artifact(
        id=made.id,
        holder_id=place.holder_id,
        experiment_id=place.experiment.id,
        path=place.path,
        content=made.part,
        made_by=act.caller.id,
        made_ms=milliseconds(act),
        verdict=made.verdict,
    )
    _put(act, artifact)
    put_key(act, made.wrapped, on=place.experiment.id)
    return mlflow.Nothing()


def _put(act: Act, one: Artifact) -> None:
    act.put("artifact", one, on=one.experiment_id, parent_id=one.holder_id)


def erase_files(act: Act, doomed: Iterable[Artifact], *, reason: str) -> None:
    """Remove files; once that is committed, destroy their keys and objects."""
    gone = []
    for one in doomed:
        act.remove("wrapped-key", one.id, on=one.experiment_id)
        act.remove("artifact", one.id, on=one.experiment_id)
        told = Erasure(
            id=one.id, name=one.path, version=0, kind="artifact",
            erased_at=timestamp(act.now), erased_by=act.caller.id, reason=reason,
        )  # fmt: skip
        act.put("erasure", told, on=one.experiment_id, parent_id=one.holder_id)
        act.after_commit.append(lambda part=one.content: act.house.objects.discard(part))  # type: ignore[misc]  # default binds the loop variable
        gone.append(one.id)
    act.after_commit.append(lambda: shred(act.house, gone))


def _act_delete(act: Act, args: mlflow_models.ArtifactNamed) -> mlflow.Nothing:
    place = place_of(act.context, args.path)
    if place.version is not None:
        raise ConflictError("a registered version never changes", code="mlflow.registered")
    found = places.artifacts(act.context, place)
    if not found:
        raise NotFoundError("there is no such artifact")
    erase_files(act, found, reason="deleted")
    return mlflow.Nothing()


# -- read ---------------------------------------------------------------------------------------


def _get_asks(context: Context, args: mlflow_models.ArtifactNamed, caller: Caller) -> Sequence[Ask]:
    place = place_of(context, args.path)
    asks = place.asks(context, "read")
    if place.experiment is None:
        return asks
    known = {one.verdict for one in places.artifacts(context, place) if one.path == place.path}
    if known - {CLEAN, ""}:
        asks = (*asks, *ask(QUARANTINE, context.experiment_resource(place.experiment)))
    return asks


def file_of(context: Context, place: Place) -> Artifact:
    """Return the one file at a place.

    Raises:
        NotFoundError: There is none.
    """
    for one in places.artifacts(context, place):
        if one.path == place.path:
            return one
    raise NotFoundError("there is no such artifact")


def _prepare_get(work: Work, args: mlflow_models.ArtifactNamed) -> None:
    """Scan what was not scanned yet: the file that is read, and what fits beside it.

    The verdicts are written whatever comes of the request: the second decision, which asks for the
    right to read what is in quarantine, needs them, and nobody makes the server scan twice.
    """
    place = work.read(lambda context: place_of(context, args.path))
    if place.experiment is None:
        return
    wanted = work.read(lambda context: file_of(context, place))
    if wanted.verdict:
        return
    beside = Place(place.holder_id, "", place.experiment, area=place.area)
    taken = [wanted]
    for one in work.read(lambda context: places.artifacts(context, beside)):
        total = sum(other.content.length for other in taken) + one.content.length
        if not one.verdict and one.id != wanted.id and total <= MAX_TOGETHER:
            taken.append(one)
    try:
        scanned = scan_model(work.house.runner, [(one.path, read_file(work, one)) for one in taken])
    except GateError:  # it broke the scanner, or alone is too much for it: that is no pass
        _keep(work, {wanted.id: ScanVerdict.SUSPICIOUS.value})
        return
    verdicts = {
        report.path: CLEAN if carries_no_code(report) else report.verdict.value
        for report in scanned.report.files
    }
    _keep(work, {one.id: verdicts.get(one.path, ScanVerdict.SUSPICIOUS.value) for one in taken})


def _keep(work: Work, verdicts: dict[str, str]) -> None:
    """Write what a scan said about files, which never change, in a transaction of its own."""
    house = work.house
    with house.log.transaction() as tx:
        permit = house.log.system_permit(
            tx,
            step="artifact.scan",
            kind=EntryKind.EVIDENCE,
            principal_id=SYSTEM_SCAN,
            resources=(work.on,),
            intent_id=work.permit.entry_id,
        )
        changes = []
        for identity, verdict in verdicts.items():
            try:
                one = house.records.get(tx, "artifact", identity, Artifact)
            except NotFoundError:  # replaced or deleted meanwhile
                continue
            made = msgspec.structs.replace(one, verdict=verdict)
            changes.append(
                house.records.put(tx, permit, "artifact", made, on=work.on, parent_id=one.holder_id)
            )
        house.log.seal(tx, permit, changes=changes, details={"verdicts": dict(verdicts)})


def read_file(holder: Act | Work, one: Artifact) -> bytes:
    """Return the content of a file, in memory."""
    return b"".join(content_chunks_of(holder, one.id, one.content, on=one.experiment_id))


def _act_get(act: Act, args: mlflow_models.ArtifactNamed, made: None) -> Download:
    place = place_of(act.context, args.path)
    name = place.path.rpartition("/")[2]
    if place.version is not None:
        for part in place.version.parts:
            if part.part == place.path:
                return Download(file_name=name, chunks=content_chunks(act, place.version, part))
        raise NotFoundError("there is no such artifact")
    one = file_of(act.context, place)
    if not one.verdict:  # it was replaced while the other was scanned
        raise ConflictError("the file was replaced meanwhile", code="mlflow.changed")
    chunks = content_chunks_of(act, one.id, one.content, on=one.experiment_id)
    return Download(file_name=name, chunks=chunks)


# -- list ---------------------------------------------------------------------------------------


def listed(context: Context, place: Place, *, full: bool) -> tuple[mlflow_models.FileShown, ...]:
    """Return what a folder holds, as MLflow lists it.

    Args:
        context: Where to look.
        place: The folder.
        full: Paths from the root of the holder; else names within the folder. A file holds nothing,
            which is how old clients tell it from a folder.
    """
    folder = f"{place.path}/" if place.path else ""
    names: dict[str, int | None] = {}
    for path, size in places.sizes(context, place).items():
        if path == place.path:
            continue
        first, slash, _ = path[len(folder) :].partition("/")
        names[folder + first if full else first] = None if slash else size
    return tuple(
        mlflow_models.FileShown(path=name, is_dir=size is None, file_size=size)
        for name, size in sorted(names.items())
    )


def _act_list(act: Act, args: mlflow_models.ArtifactNamed) -> mlflow_models.FilesFound:
    return mlflow_models.FilesFound(
        files=listed(act.context, place_of(act.context, args.path), full=False)
    )


def _run_path(context: Context, args: mlflow_models.ArtifactsOfRun) -> str:
    root = shown.run_location(context.run(args.run_id or args.run_uuid))
    return f"{root}/{args.path}".removeprefix(places.SCHEME)


def _run_asks(
    context: Context, args: mlflow_models.ArtifactsOfRun, caller: Caller
) -> Sequence[Ask]:
    return place_of(context, _run_path(context, args)).asks(context, "read")


def _act_run(act: Act, args: mlflow_models.ArtifactsOfRun) -> mlflow_models.FilesFound:
    place = place_of(act.context, _run_path(act.context, args))
    root = shown.run_location(act.context.run(args.run_id or args.run_uuid))
    return mlflow_models.FilesFound(files=listed(act.context, place, full=True), root_uri=root)


def _model_path(context: Context, args: mlflow_models.ArtifactsOfModel) -> str:
    root = places.model_location(context.logged_model(args.model_id))
    return f"{root}/{args.artifact_directory_path}".removeprefix(places.SCHEME)


def _model_asks(
    context: Context, args: mlflow_models.ArtifactsOfModel, caller: Caller
) -> Sequence[Ask]:
    return place_of(context, _model_path(context, args)).asks(context, "read")


def _act_model(act: Act, args: mlflow_models.ArtifactsOfModel) -> mlflow_models.FilesFound:
    place = place_of(act.context, _model_path(act.context, args))
    root = places.model_location(act.context.logged_model(args.model_id))
    return mlflow_models.FilesFound(files=listed(act.context, place, full=True), root_uri=root)


STEPS = (
    Step("artifact.put", mlflow_models.ArtifactNamed, _own("write"), _act_put,
         length=Length.LONG, prepare=_prepare_put, content=True),
    Step("artifact.get", mlflow_models.ArtifactNamed, _get_asks, _act_get, Effect.READ,
         Length.LONG, _prepare_get, threat="model-tampering"),
    Step("artifact.list", mlflow_models.ArtifactNamed, _own("read"), _act_list, Effect.READ),
    Step("artifact.delete", mlflow_models.ArtifactNamed, _own("write"), _act_delete),
    Step("artifact.list-run", mlflow_models.ArtifactsOfRun, _run_asks, _act_run, Effect.READ),
    Step("artifact.list-model", mlflow_models.ArtifactsOfModel, _model_asks, _act_model,
         Effect.READ),
)  # fmt: skip
