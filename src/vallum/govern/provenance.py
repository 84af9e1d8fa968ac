"""How a model version was made, as an in-toto statement with SLSA's provenance predicate.

It says what records say: the job, the digest of its code, the versions that it read, its
parameters. A version that was uploaded says that, and what was claimed. No digest of data is in
it (a hash of personal data would let anybody confirm a guess): data is named by its version.

Source: in-toto Attestation Framework, Statement v1; SLSA 1.0, provenance.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import msgspec

from vallum.base import IntegrityError, canonical_json
from vallum.govern.bom import Inventory, Source
from vallum.schema import Job

PAYLOAD_TYPE = "application/vnd.in-toto+json"
_STATEMENT = "https://in-toto.io/Statement/v1"
_PREDICATE = "https://slsa.dev/provenance/v1"
JOB, UPLOAD = "urn:vallum:build:job:1", "urn:vallum:build:upload:1"
_WITHHELD = "vallum:withheld"
_SHA256 = "sha256:"

JsonObject = dict[str, object]
Withholds = Callable[[str, str], bool]
"""Tells of a parameter's name and value whether the value stays here: people put secrets there."""


def provenance_statement(inventory: Inventory, *, version: str, withholds: Withholds) -> bytes:
    """Return the statement as canonical JSON; the same records make the same bytes.

    Args:
        inventory: The version, its lineage and its job, as their reader may know them.
        version: Of vallum.
        withholds: Asked about every parameter of the job.

    What the reader may not know is named by its id and marked as withheld.
    """
    model, job = inventory.version, inventory.job
    metadata: JsonObject = {}
    hidden: list[str] = []
    if job is not None:
        kind = JOB
        external, internal, hidden = _of_job(inventory, job, withholds)
        metadata = {"invocationId": job.id}
        if job.started_at:
            metadata["startedOn"] = job.started_at
        if job.ended_at:
            metadata["finishedOn"] = job.ended_at
    else:
        kind = JOB if model.job_id else UPLOAD
        external = {"model": f"{model.name}:{model.version}"}
        internal = {}
        if model.job_id:
            metadata = {"invocationId": model.job_id}
            hidden = ["job"]
        else:
            metadata = {"finishedOn": model.created_at}
    if hidden:
        internal[_WITHHELD] = hidden
    predicate: JsonObject = {
        "buildDefinition": {
            "buildType": kind,
            "externalParameters": external,
            "internalParameters": internal,
            "resolvedDependencies": _dependencies(inventory),
        },
        "runDetails": {
            "builder": {
                "id": f"urn:vallum:workspace:{inventory.workspace_id}",
                "version": {"vallum": version},
            },
            "metadata": metadata,
        },
    }
    statement: JsonObject = {
        "_type": _STATEMENT,
        "subject": [
            {"name": part.part, "digest": {"sha256": part.digest.removeprefix(_SHA256)}}
            for part in model.parts
        ],
        "predicateType": _PREDICATE,
        "predicate": predicate,
    }
    return canonical_json(statement)


def _of_job(
    inventory: Inventory, job: Job, withholds: Withholds
) -> tuple[JsonObject, JsonObject, list[str]]:
    """Return external and internal parameters of a job, and what of them is withheld."""
    known = {one.id: one for one in inventory.sources}
    kept = {name: value for name, value in job.parameters.items() if not withholds(name, value)}
    external: JsonObject = {
        "job": job.name,
        "entry": job.entry,
        "inputs": {
            name: _uri(inventory, known.get(one, Source(one))) for name, one in job.inputs.items()
        },
        "outputs": dict(job.outputs),
        "parameters": kept,
    }
    if job.purpose:
        external["purpose"] = job.purpose
    internal: JsonObject = {"enforcedLimits": sorted(job.enforced)}
    return external, internal, [f"parameters/{one}" for one in sorted({*job.parameters} - {*kept})]


def _dependencies(inventory: Inventory) -> list[JsonObject]:
    """Return the code and the whole lineage; in-toto asks each for a digest or a URI."""
    found: list[JsonObject] = []
    if inventory.job is not None:
        code = inventory.job.code
        listed: JsonObject = {"name": "code", "uri": f"urn:vallum:{inventory.job.id}/code"}
        if code.digest.startswith(_SHA256):
            listed["digest"] = {"sha256": code.digest.removeprefix(_SHA256)}
        found.append(listed)
    for one in inventory.sources:
        entry: JsonObject = {"uri": _uri(inventory, one)}
        if one.version is None:
            entry["annotations"] = {_WITHHELD: True}
        else:
            entry["name"] = f"{one.version.name}:{one.version.version}"
            direct = one.id in inventory.version.lineage
            entry["annotations"] = {"id": one.id, "direct": direct}
            if one.version.kind == "model" and one.version.digest.startswith(_SHA256):
                entry["digest"] = {"sha256": one.version.digest.removeprefix(_SHA256)}
        found.append(entry)
    return found


def _uri(inventory: Inventory, source: Source) -> str:
    if source.version is None:
        return f"urn:vallum:{source.id}"
    kind = "data" if source.version.kind == "data" else "models"
    name = f"{source.version.name}:{source.version.version}"
    return f"urn:vallum:{inventory.workspace_id}:{kind}:{name}"


# -- reading one back ---------------------------------------------------------------------------


class _Subject(msgspec.Struct):
    name: str
    digest: dict[str, str]


class _Definition(msgspec.Struct, rename="camel"):
    build_type: str
    resolved_dependencies: tuple[dict[str, object], ...] = ()


class _Builder(msgspec.Struct):
    id: str


class _Metadata(msgspec.Struct, rename="camel"):
    invocation_id: str = ""


class _Details(msgspec.Struct):
    builder: _Builder
    metadata: _Metadata = msgspec.field(default_factory=_Metadata)


class _Predicate(msgspec.Struct, rename="camel"):
    build_definition: _Definition
    run_details: _Details


class _Statement(msgspec.Struct, rename={"type": "_type", "predicate_type": "predicateType"}):
    type: str
    subject: tuple[_Subject, ...]
    predicate_type: str
    predicate: _Predicate


@dataclass(frozen=True, slots=True)
class Provenance:
    """What a statement says that was checked against files.

    Attributes:
        builder: Who says so.
        build_type: `JOB` or `UPLOAD`.
        invocation: Id of the job; empty for an upload.
        dependencies: How many things it names that the version was made from.
    """

    builder: str
    build_type: str
    invocation: str
    dependencies: int


def read_provenance(payload: bytes, files: Mapping[str, str]) -> Provenance:
    """Return what a statement says about exactly these files.

    The caller has verified who signed the payload.

    Args:
        payload: Of the envelope.
        files: Path to SHA-256, in hexadecimal, of every file of the model.

    Raises:
        IntegrityError: It is no provenance of SLSA 1, or about other files.
    """
    try:
        statement = msgspec.json.decode(payload, type=_Statement)
    except (msgspec.DecodeError, RecursionError) as error:
        raise IntegrityError("the statement has another form", code="provenance.form") from error
    if statement.type != _STATEMENT or statement.predicate_type != _PREDICATE:
        raise IntegrityError("this is no provenance of SLSA 1", code="provenance.form")
    said = {one.name: one.digest.get("sha256", "") for one in statement.subject}
    if len(said) != len(statement.subject) or said != dict(files):
        raise IntegrityError("the provenance is about other files", code="provenance.subject")
    predicate = statement.predicate
    return Provenance(
        builder=predicate.run_details.builder.id,
        build_type=predicate.build_definition.build_type,
        invocation=predicate.run_details.metadata.invocation_id,
        dependencies=len(predicate.build_definition.resolved_dependencies),
    )
