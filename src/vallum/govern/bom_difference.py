"""What changed between two bills of materials, by what a component is called and not by its id."""

from collections.abc import Iterable, Mapping

import msgspec

from vallum.base import InputError
from vallum.schema import Record

Facts = dict[tuple[str, str], str]
_VERDICT = "vallum:evidence:"
# Properties of a model that are facts about it; the others are ids.
_FACTS = {
    "vallum:base": "base", "vallum:distribution": "distribution", "vallum:format": "format",
    "vallum:label": "label", "vallum:platform": "platform", "vallum:signer": "signer",
    "vallum:user": "user",
}  # fmt: skip
_LAYER = "vallum:layer:"


class BomFact(Record, frozen=True):
    """One thing that only one of the two lists."""

    kind: str  # `code`, `data`, `deb`, `file`, `gate`, `layer`, `metric`, `model`, `pypi`, …
    name: str
    value: str


class BomChange(Record, frozen=True):
    """One thing that both list, with another value."""

    kind: str
    name: str
    before: str
    after: str


class BomDifference(Record, frozen=True):
    """What the newer one has more, less and otherwise."""

    added: tuple[BomFact, ...] = ()
    removed: tuple[BomFact, ...] = ()
    changed: tuple[BomChange, ...] = ()


class _Named(msgspec.Struct):
    name: str = ""
    value: str = ""


class _Hash(msgspec.Struct):
    alg: str = ""
    content: str = ""


class _DataSet(msgspec.Struct):
    classification: str = ""


class _Component(msgspec.Struct, rename={"card": "modelCard"}):
    type: str = ""
    name: str = ""
    version: str = ""
    description: str = ""
    hashes: tuple[_Hash, ...] = ()
    components: "tuple[_Component, ...]" = ()
    properties: tuple[_Named, ...] = ()
    data: tuple[_DataSet, ...] = ()
    purl: str = ""
    card: "_Card | None" = None


class _Format(msgspec.Struct):
    format: str = ""


class _Parameters(msgspec.Struct):
    task: str = ""
    inputs: tuple[_Format, ...] = ()
    outputs: tuple[_Format, ...] = ()


class _Metric(msgspec.Struct, rename={"interval": "confidenceInterval"}):
    type: str = ""
    value: str = ""
    slice: str = ""
    interval: dict[str, str] = {}


class _Analysis(msgspec.Struct, rename={"metrics": "performanceMetrics"}):
    metrics: tuple[_Metric, ...] = ()


class _Card(msgspec.Struct, rename={"parameters": "modelParameters",
                                    "analysis": "quantitativeAnalysis"}):  # fmt: skip
    parameters: _Parameters = msgspec.field(default_factory=_Parameters)
    analysis: _Analysis = msgspec.field(default_factory=_Analysis)


class _Metadata(msgspec.Struct):
    component: _Component = msgspec.field(default_factory=_Component)


class _Formula(msgspec.Struct):
    components: tuple[_Component, ...] = ()


class _Bom(msgspec.Struct):
    bomFormat: str  # noqa: N815 - the schema's name
    metadata: _Metadata = msgspec.field(default_factory=_Metadata)
    components: tuple[_Component, ...] = ()
    formulation: tuple[_Formula, ...] = ()


def bom_difference(before: bytes, after: bytes) -> BomDifference:
    """Compare two bills of materials that `bill_of_materials` wrote.

    Components are the same when they have type and name; metrics, gates, inputs and outputs when
    they have the name. Fields that are not ours are not compared.

    Raises:
        InputError: One of them is no CycloneDX document in JSON.
    """
    old, new = _facts(before), _facts(after)
    return BomDifference(
        added=_only(new, old),
        removed=_only(old, new),
        changed=tuple(
            BomChange(kind=key[0], name=key[1], before=old[key], after=new[key])
            for key in sorted(set(old) & set(new))
            if old[key] != new[key]
        ),
    )


def _only(these: Mapping[tuple[str, str], str], others: Facts) -> tuple[BomFact, ...]:
    return tuple(
        BomFact(kind=key[0], name=key[1], value=these[key])
        for key in sorted(set(these) - set(others))
    )


def _facts(document: bytes) -> Facts:
    try:
        bom = msgspec.json.decode(document, type=_Bom)
    except (msgspec.DecodeError, RecursionError) as error:
        raise InputError("this is no bill of materials in JSON", code="bom.form") from error
    if bom.bomFormat != "CycloneDX":
        raise InputError("this is no CycloneDX document", code="bom.form")
    model = bom.metadata.component
    facts: Facts = {("description", ""): model.description} if model.description else {}
    facts |= {("file", one.name): _digest(one) for one in model.components}
    facts |= {
        ("code", one.name): _digest(one) for made in bom.formulation for one in made.components
    }
    facts |= _lineage(one for one in bom.components if one.type != "library")
    facts |= _packages(one for one in bom.components if one.type == "library")
    if model.type == "container":
        facts["image", ""] = model.version
    facts |= _of_model(model.properties)
    facts |= _verdicts(model.properties)
    if model.card is not None:
        facts |= _of_card(model.card)
    return facts


def _digest(component: _Component) -> str:
    return ", ".join(f"{one.alg} {one.content}" for one in component.hashes)


def _lineage(components: Iterable[_Component]) -> Facts:
    """Return the lineage; a name that is there in several versions has them all in one value."""
    found: dict[tuple[str, str], list[str]] = {}
    for one in components:
        kind = "data" if one.type == "data" else "model"
        words = [one.version or "withheld", *(data.classification for data in one.data)]
        found.setdefault((kind, one.name), []).append(" ".join(words))
    return {key: ", ".join(sorted(values)) for key, values in found.items()}


def _packages(components: Iterable[_Component]) -> Facts:
    """Return packages by their kind and name; one that is there several times has each version."""
    found: dict[tuple[str, str], list[str]] = {}
    for one in components:
        kind = one.purl.removeprefix("pkg:").partition("/")[0] or "package"
        found.setdefault((kind, one.name), []).append(one.version)
    return {key: ", ".join(sorted(set(values))) for key, values in found.items()}


def _of_model(properties: Iterable[_Named]) -> Facts:
    facts: Facts = {}
    for one in properties:
        kind = _FACTS.get(one.name)
        if kind == "signer":
            facts[kind, one.value] = ""
        elif kind is not None:
            facts[kind, ""] = one.value
        elif one.name.startswith(_LAYER):
            facts["layer", one.name.removeprefix(_LAYER)] = one.value
    return facts


def _verdicts(properties: Iterable[_Named]) -> Facts:
    """Return the newest verdict of each gate: a value begins with its time."""
    facts: Facts = {}
    for one in sorted(properties, key=lambda one: one.value):
        if one.name.startswith(_VERDICT):
            words = one.value.split(" ")
            facts["gate", one.name.removeprefix(_VERDICT)] = words[1] if len(words) > 1 else ""
    return facts


def _of_card(card: _Card) -> Facts:
    facts: Facts = {("task", ""): card.parameters.task} if card.parameters.task else {}
    for kind, values in (("input", card.parameters.inputs), ("output", card.parameters.outputs)):
        for value in values:
            name, _, form = value.format.rpartition(": ")
            facts[kind, name] = form
    for metric in card.analysis.metrics:
        low, high = (metric.interval.get(one, "") for one in ("lowerBound", "upperBound"))
        interval = f" [{low}, {high}]" if metric.interval else ""
        on = f" on {metric.slice}" if metric.slice else ""
        facts["metric", metric.type] = f"{metric.value}{interval}{on}"
    return facts
