"""A model version as a CycloneDX 1.6 bill of materials: files, data, evaluations, what made it.

The official library writes components, hashes, dependencies and the document around them. It has
no model cards, no descriptions of data sets and no formulation (docs/adr/0040): those are added to
what it wrote, in the form of the schema.

Nothing comes from a clock: the same records make the same bytes.

Source: OWASP Foundation, CycloneDX 1.6, ECMA-424.
"""

import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from vallum.base import canonical_json, parse_timestamp
from vallum.schema import AssetVersion, Evidence, Job, ModelInterface, ModelValue, Verdict

if TYPE_CHECKING:
    from cyclonedx.model import HashType
    from cyclonedx.model.component import Component
    from packageurl import PackageURL

_WITHHELD = "vallum:withheld"
"""Property of a part of the lineage that the reader may not read, or that was erased."""
_NAMESPACE = uuid.UUID("22740b1e-87eb-424a-88d3-01839ce58364")  # drawn once, for these documents
_SHA256 = "sha256:"
_DATA = "dver-"  # ids of data versions
# Verdicts about bytes, not about how the model behaves: no figures of an analysis.
_ABOUT_BYTES = frozenset({"integrity", "scan", "signature"})
# Gates whose figures on a data set are told: not those of `pii` and `risk`, about its people.
_TOLD = frozenset({"anonymity", "drift", "private-release"})

JsonObject = dict[str, object]


@dataclass(frozen=True, slots=True)
class Source:
    """One version that a model was made from.

    Attributes:
        id: Of the version.
        version: Its record; None where the reader may not read it, or where it was erased.
        evidence: What gates found about it.
    """

    id: str
    version: AssetVersion | None = None
    evidence: tuple[Evidence, ...] = ()


@dataclass(frozen=True, slots=True)
class Inventory:
    """All that a bill of materials is made from.

    Attributes:
        workspace_id: Namespace of the package URLs.
        version: The model version.
        evidence: What gates found about it.
        sources: Its lineage, all the way up.
        description: Of the model.
        job: What made it; None where nothing did, or the reader may not read it.
    """

    workspace_id: str
    version: AssetVersion
    evidence: tuple[Evidence, ...] = ()
    sources: tuple[Source, ...] = ()
    description: str = ""
    job: Job | None = None


def bill_of_materials(inventory: Inventory, *, version: str) -> bytes:
    """Return the bill of materials as JSON text.

    No digest of data is in it: a commitment is no hash, and a hash of personal data would let
    anybody confirm a guess.

    Args:
        inventory: What it lists.
        version: Of vallum.

    Returns:
        UTF-8, indented, ending in a line feed. The serial number names the version and what of its
        lineage is told; the document's own version grows with the evidence.
    """
    document = msgspec.json.decode(_document(inventory, version))
    root = document["metadata"]["component"]
    root["modelCard"] = _model_card(inventory)
    versions = {one.id: one.version for one in inventory.sources}
    for component in document.get("components", ()):
        source = versions[component["bom-ref"]]
        if source is not None and source.kind == "data":
            component["data"] = [_data_set(source)]
    if inventory.job is not None:
        document["formulation"] = [_formula(inventory, inventory.job)]
    return msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n"


# -- what the library writes --------------------------------------------------------------------


def _document(inventory: Inventory, version: str) -> str:
    from cyclonedx.model.bom import Bom, BomMetaData
    from cyclonedx.model.component import Component, ComponentType
    from cyclonedx.model.tool import ToolRepository
    from cyclonedx.output.json import JsonV1Dot6

    tool = Component(
        name="vallum", version=version, type=ComponentType.APPLICATION, bom_ref="tool:vallum"
    )
    known = _every_evidence(inventory)
    made = max([inventory.version.created_at, *(one.made_at for one in known)])
    model = _model(inventory)
    bom = Bom(
        serial_number=_serial_number(inventory),
        version=max(1, len(known)),
        metadata=BomMetaData(
            timestamp=parse_timestamp(made),
            component=model,
            tools=ToolRepository(components=[tool]),
        ),
    )
    parts = {one.id: _source(inventory.workspace_id, one) for one in inventory.sources}
    for part in parts.values():
        bom.components.add(part)
    bom.register_dependency(model, _found(parts, inventory.version.lineage))
    for one in inventory.sources:
        lineage = () if one.version is None else one.version.lineage
        bom.register_dependency(parts[one.id], _found(parts, lineage))
    return JsonV1Dot6(bom).output_as_string()


def _every_evidence(inventory: Inventory) -> list[Evidence]:
    """Return the evidence about a model and about its sources."""
    return [
        *inventory.evidence,
        *(evidence for source in inventory.sources for evidence in source.evidence),
    ]


def _found(parts: "dict[str, Component]", lineage: Iterable[str]) -> "list[Component]":
    return [parts[one] for one in lineage if one in parts]


def _serial_number(inventory: Inventory) -> uuid.UUID:
    """Name the version and what is told of its lineage: another reader's view is another document.

    Source: RFC 9562, section 5.5.
    """
    told = sorted(
        [one.id, None if one.version is None else one.version.label] for one in inventory.sources
    )
    subject = {
        "version": inventory.version.id,
        "digest": inventory.version.digest,
        "lineage": told,
        "job": "" if inventory.job is None else inventory.job.id,
    }
    return uuid.uuid5(_NAMESPACE, canonical_json(subject).decode())


def _model(inventory: Inventory) -> "Component":
    from cyclonedx.model import Property
    from cyclonedx.model.component import Component, ComponentType

    version = inventory.version
    files = [
        Component(
            name=part.part,
            type=ComponentType.FILE,
            bom_ref=f"{version.id}/{part.part}",
            hashes=_hashes(part.digest),
        )
        for part in version.parts
    ]
    facts = [
        ("vallum:digest", version.digest),
        ("vallum:format", version.format),
        ("vallum:label", version.label or "unclassified"),
        *verdicts(inventory.evidence),
        *(("vallum:signer", one) for one in _signers(inventory.evidence)),
    ]
    if version.job_id:
        facts.append(("vallum:job", version.job_id))
    return Component(
        name=version.name,
        version=str(version.version),
        type=ComponentType.MACHINE_LEARNING_MODEL,
        bom_ref=version.id,
        purl=_purl(inventory.workspace_id, version),
        description=inventory.description or None,
        components=files,
        properties=[Property(name=name, value=value) for name, value in facts],
    )


def _source(workspace_id: str, source: Source) -> "Component":
    from cyclonedx.model import Property
    from cyclonedx.model.component import Component, ComponentType

    version = source.version
    data = source.id.startswith(_DATA)
    kind = ComponentType.DATA if data else ComponentType.MACHINE_LEARNING_MODEL
    if version is None:
        return Component(
            name=source.id,
            type=kind,
            bom_ref=source.id,
            properties=[Property(name=_WITHHELD, value="true")],
        )
    facts = [
        ("vallum:format", version.format),
        ("vallum:label", version.label or "unclassified"),
        *verdicts(source.evidence),
    ]
    if data:
        facts.append(("vallum:protected", "true" if version.protected else "false"))
        facts += [
            (f"vallum:measure:{one.gate}:{name}", value)
            for one in _newest(source.evidence)
            if one.gate in _TOLD
            for name, value in one.measures.items()
        ]
    else:
        facts.append(("vallum:digest", version.digest))
    return Component(
        name=version.name,
        version=str(version.version),
        type=kind,
        bom_ref=version.id,
        purl=_purl(workspace_id, version),
        properties=[Property(name=name, value=value) for name, value in facts],
    )


def _hashes(digest: str) -> "list[HashType]":
    from cyclonedx.model import HashAlgorithm, HashType

    if not digest.startswith(_SHA256):
        return []  # a keyed commitment: nobody else could check it
    return [HashType(alg=HashAlgorithm.SHA_256, content=digest.removeprefix(_SHA256))]


def _purl(workspace_id: str, version: AssetVersion) -> "PackageURL":
    from packageurl import PackageURL

    kind = "data" if version.kind == "data" else "models"
    return PackageURL("generic", f"{workspace_id}/{kind}", version.name, str(version.version))


def verdicts(evidence: Iterable[Evidence]) -> list[tuple[str, str]]:
    """Return every verdict, old ones too: a failure stays on record when a test is repeated."""
    return [
        (f"vallum:evidence:{one.gate}", f"{one.made_at} {one.verdict.value} {one.id}")
        for one in evidence
    ]


def _signers(evidence: Iterable[Evidence]) -> list[str]:
    """Return who signed, by the evidence of the gate that checked the signatures."""
    return sorted(
        {
            one.parameters["signer"]
            for one in evidence
            if one.gate == "signature"
            and one.verdict is Verdict.PASS
            and one.parameters.get("signer")
        }
    )


def _newest(evidence: Iterable[Evidence]) -> list[Evidence]:
    """Return the newest evidence of each gate, in the order of their names."""
    found: dict[str, Evidence] = {}
    for one in sorted(evidence, key=lambda one: (one.made_at, one.id)):
        found[one.gate] = one
    return [found[gate] for gate in sorted(found)]


# -- what the library has not -------------------------------------------------------------------


def _model_card(inventory: Inventory) -> JsonObject:
    version = inventory.version
    interface = ModelInterface() if version.interface is None else version.interface
    parameters: JsonObject = {}
    task = version.tags.get("task") or interface.task
    if task:
        parameters["task"] = task
    data = sorted(one.id for one in inventory.sources if one.id.startswith(_DATA))
    if data:
        parameters["datasets"] = [{"ref": one} for one in data]
    if interface.inputs:
        parameters["inputs"] = [{"format": _format(one)} for one in interface.inputs]
    if interface.outputs:
        parameters["outputs"] = [{"format": _format(one)} for one in interface.outputs]
    card: JsonObject = {"bom-ref": f"{version.id}#card", "modelParameters": parameters}
    metrics = _metrics(inventory)
    if metrics:
        card["quantitativeAnalysis"] = {"performanceMetrics": metrics}
    if interface.producer:
        card["properties"] = [{"name": "vallum:producer", "value": interface.producer}]
    return card


def _format(value: ModelValue) -> str:
    shape = "" if value.shape is None else f"[{', '.join(value.shape)}]"
    return f"{value.name}: {value.type}{shape}"


def _metrics(inventory: Inventory) -> list[JsonObject]:
    """Return the figures of the newest evaluation by each gate."""
    names = {
        one.version.digest: f"{one.version.name}:{one.version.version}"
        for one in sorted(inventory.sources, key=lambda one: one.id)
        if one.version is not None
    }
    metrics: list[JsonObject] = []
    for evidence in _newest(inventory.evidence):
        if evidence.gate in _ABOUT_BYTES:
            continue
        bounds = _intervals(evidence)
        limits = {name for pair in bounds.values() for name in pair.values()}
        for name in sorted(set(evidence.measures) - limits):
            metric: JsonObject = {
                "type": f"{evidence.gate}.{name}",
                "value": evidence.measures[name],
            }
            if evidence.data_digest in names:
                metric["slice"] = names[evidence.data_digest]
            if name in bounds:
                metric["confidenceInterval"] = {
                    bound: evidence.measures[limit] for bound, limit in bounds[name].items()
                }
            metrics.append(metric)
    return metrics


def _intervals(evidence: Evidence) -> dict[str, dict[str, str]]:
    """Return which measures are the ends of which other's interval: `auc_low` is one of `auc`."""
    found: dict[str, dict[str, str]] = {}
    for name in evidence.measures:
        stem = name.removesuffix("_rate")  # `success_rate` ends at `success_high`
        ends = {"lowerBound": f"{stem}_low", "upperBound": f"{stem}_high"}
        held = {bound: end for bound, end in ends.items() if end in evidence.measures}
        if held:
            found[name] = held
    return found


def _data_set(version: AssetVersion) -> JsonObject:
    return {
        "type": "dataset",
        "name": version.name,
        "classification": version.label or "unclassified",
    }


def _formula(inventory: Inventory, job: Job) -> JsonObject:
    """Return how the version was made: the job, the digest of its code, what it read.

    Parameters of the job are left out: people put secrets there.
    """
    code = f"{job.id}/code"
    listed = {one.id for one in inventory.sources}
    inputs = [code, *sorted(set(job.inputs.values()) & listed)]
    workflow: JsonObject = {
        "bom-ref": job.id,
        "uid": job.id,
        "name": job.name,
        "taskTypes": ["build"],
        "inputs": [{"resource": {"ref": one}} for one in inputs],
        "outputs": [{"type": "artifact", "resource": {"ref": inventory.version.id}}],
        "properties": [{"name": "vallum:entry", "value": job.entry}],
    }
    if job.started_at:
        workflow["timeStart"] = job.started_at
    if job.ended_at:
        workflow["timeEnd"] = job.ended_at
    component: JsonObject = {"type": "file", "bom-ref": code, "name": job.code.part}
    if job.code.digest.startswith(_SHA256):
        component["hashes"] = [{"alg": "SHA-256", "content": job.code.digest.removeprefix(_SHA256)}]
    return {"components": [component], "workflows": [workflow]}
