"""What registering does before anything is visible: scan, convert where asked, stage."""

from collections.abc import Sequence
from dataclasses import dataclass

from vallum.base import GateError, InputError, new_id
from vallum.convert import Sample, kind_of, may_be_suspicious
from vallum.scan import ScanVerdict
from vallum.schema import Evidence, ModelInterface, Part, Verdict, WrappedDataKey
from vallum.schema.release import ReleaseKey
from vallum.workspace.gates.conversion import Conversion, convert_model
from vallum.workspace.gates.models import Scanned, carries_no_code, scan_model, search_texts
from vallum.workspace.gates.texts import card_of, refuse, require_clean
from vallum.workspace.step import Work
from vallum.workspace.versions import manifest_digest, stage


@dataclass(frozen=True, slots=True)
class Signature:
    """A model signature that came along and was verified, and the release key that made it."""

    bundle: bytes
    key: ReleaseKey


@dataclass(frozen=True, slots=True)
class Registered:
    """A scanned and staged model version to be."""

    version_id: str
    wrapped: WrappedDataKey
    parts: tuple[Part, ...]
    evidence: tuple[Evidence, ...]
    format: str
    interface: ModelInterface | None = None
    conversion: Conversion | None = None
    card: str = ""
    signature: Signature | None = None


@dataclass(frozen=True, slots=True)
class Conversions:
    """When files are converted to ONNX before they are registered.

    Attributes:
        always: Whatever format they are of; otherwise where one of them can carry code, which is
            then not registered as it is.
        never: Refuse a format that can carry code.
        sample: Rows to measure on.
        data_digest: Of the data version that they are from.
    """

    always: bool = False
    never: bool = False
    sample: Sample | None = None
    data_digest: str = ""


def register_files(
    work: Work,
    files: Sequence[tuple[str, bytes]],
    *,
    single: bool,
    conversions: Conversions | None = None,
    card: str = "",
) -> Registered:
    """Scan `files` and stage them as a model version to be.

    Args:
        work: The long step.
        files: Path and content of each.
        single: There is one file, whose format is the version's.
        conversions: What is converted first; None where files are registered as they are.
        card: The model card; else the one among the files.

    Raises:
        GateError: The scan found something, a conversion was not close enough, or a card, notebook
            or configuration holds a secret; the evidence is in the log.
        InputError: What is to be converted cannot be.
    """
    card = card or card_of(files)
    version_id = str(new_id("mver"))
    scanned = scan_model(work.house.runner, files)
    conversion = None
    if conversions is not None and _may_open(scanned, files, conversions):
        conversion = _convert(work, files, scanned, conversions, version_id, single=single)
        if conversion is not None:
            files = conversion.require()
            scanned = scan_model(work.house.runner, files)
    wrapped, parts = stage(work, version_id, files, personal=False)
    made_of = manifest_digest(parts)
    evidence = scanned.evidence(subject_id=version_id, subject_digest=made_of, now=work.now)
    if evidence.verdict is not Verdict.PASS:
        work.failed.append(evidence)
        first = scanned.worst()
        raise GateError(
            f"the model is {scanned.verdict} and was quarantined: {first}",
            code="gate.scan",
            hint=(
                "take the secret out and make it void"
                if "secret." in first
                else "export it as ONNX, safetensors or skops; `vallum scan FILE` shows all"
            ),
        )
    if card:
        require_clean(card=card)
    leaked = search_texts(
        work.house.runner, files, subject_id=version_id, digest=made_of, now=work.now
    )
    if leaked is not None:
        work.failed.append(leaked.evidence)
        refuse(leaked.hits)
    kind = scanned.format if single else "folder"
    found = [evidence]
    if conversion is not None:
        about = conversion.evidence(subject_id=version_id, subject_digest=made_of, now=work.now)
        found.append(about)
    return Registered(
        version_id, wrapped, parts, tuple(found), kind, scanned.interface, conversion, card
    )


def _may_open(scanned: Scanned, files: Sequence[tuple[str, bytes]], wanted: Conversions) -> bool:
    """Tell whether a sandbox may open what was scanned."""
    if scanned.passed:
        return True
    kind = kind_of(scanned.format, files[0][1]) if len(files) == 1 else ""
    suspicious = scanned.report.verdict is ScanVerdict.SUSPICIOUS
    return wanted.always and suspicious and may_be_suspicious(kind)


def _convert(
    work: Work,
    files: Sequence[tuple[str, bytes]],
    scanned: Scanned,
    wanted: Conversions,
    version_id: str,
    *,
    single: bool,
) -> Conversion | None:
    """Convert the model among `files` where that is wanted; None where it is not."""
    carriers = [one.path for one in scanned.report.files if not carries_no_code(one)]
    if not wanted.always and not carriers:
        return None
    try:
        if wanted.never:
            raise GateError("its tag says that it is not converted", code="gate.conversion")
        made = convert_model(
            work.house.runner,
            files,
            {one.path: one.format for one in scanned.report.files},
            single=single,
            sample=wanted.sample,
            data_digest=wanted.data_digest,
            seed=work.seed % 2**63,
        )
    except (GateError, InputError) as error:
        if wanted.always:
            raise
        raise GateError(
            f"`{carriers[0]}` is of a format that can carry code, and is not converted:"
            f" {error.message}",
            code="gate.conversion",
            hint=error.hint or "log the model as ONNX or skops, and register that",
        ) from error
    if made.report.refusal:
        about = made.evidence(
            subject_id=version_id, subject_digest=made.original_digest, now=work.now
        )
        work.failed.append(about)
    return made
