"""The step on scoring code of one's own: scanned in the sandbox, signed, frozen."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from vallum.base import (
    ConflictError,
    GateError,
    InputError,
    IntegrityError,
    LimitExceededError,
    NotFoundError,
    RefusedError,
    new_id,
    timestamp,
)
from vallum.base.bounds import MIB
from vallum.crypto import sign_manifest, verify_manifest
from vallum.sandbox import run_check
from vallum.scan import ScanReport, ScanVerdict
from vallum.schema import (
    Ask,
    AssetVersion,
    Caller,
    Endpoint,
    Erasure,
    Evidence,
    Part,
    ScoringCode,
    Verdict,
    WrappedDataKey,
    api,
)
from vallum.schema.code import UNFROZEN, CodeAdd, CodeShown
from vallum.schema.release import LOCAL
from vallum.workspace.context import Context, ask
from vallum.workspace.gates.models import Scanned
from vallum.workspace.gates.table import ALLOWED, ISSUER, SCORING_CODE, About, evidence
from vallum.workspace.opening import model_files
from vallum.workspace.release_keys import own_signer, release_keys, trusted_at
from vallum.workspace.step import Act, Length, Step, Work
from vallum.workspace.steps.models import tar_files
from vallum.workspace.versions import manifest_digest, put_key, shred, stage

CODE = "onlineEndpoints/deployments/code/action"
MAX_CODE_BYTES = 4 * MIB
MAX_FILES = 64  # of code; of a model, too: each is a descriptor that a sandbox gets
MAX_KEPT = 100  # of an endpoint


def _asks(context: Context, args: CodeAdd, caller: Caller) -> Sequence[Ask]:
    return ask(CODE, context.endpoint_resource(context.endpoint(args.endpoint)))


@dataclass(frozen=True, slots=True)
class _Made:
    id: str
    wrapped: WrappedDataKey
    parts: tuple[Part, ...]
    evidence: Evidence
    bundle: str
    files: dict[str, str]  # path to SHA-256, hexadecimal


def _prepare(work: Work, args: CodeAdd) -> _Made:
    content = work.require_content().read(MAX_CODE_BYTES + 1)
    if len(content) > MAX_CODE_BYTES:
        raise LimitExceededError(f"the code exceeds {MAX_CODE_BYTES} bytes", code="code.size")
    files = tar_files(content)
    if len(files) > MAX_FILES:
        raise LimitExceededError(f"the code has more than {MAX_FILES} files", code="code.files")
    if args.entry not in {name for name, _ in files} or not args.entry.endswith(".py"):
        raise InputError(
            f"the code holds no Python file {args.entry[:80]!a}",
            code="code.entry",
            hint="scoring_script names one, from the top of the code folder",
        )
    report = run_check(
        work.house.runner, SCORING_CODE.function, msgspec.msgpack.encode(dict(files)),
        report_type=ScanReport, allowed=ALLOWED,
    )  # fmt: skip
    code_id = str(new_id("code"))
    wrapped, parts = stage(work, code_id, files, personal=False)
    made_of = manifest_digest(parts)
    passed = report.verdict in {ScanVerdict.CLEAN, ScanVerdict.DATA_LIKE}
    found = evidence(
        SCORING_CODE,
        Verdict.PASS if passed else Verdict.FAIL,
        About(code_id, made_of, work.now),
        measures={
            "files": len(report.files),
            "findings": sum(len(file.findings) for file in report.files),
        },
        parameters={"verdict": report.verdict.value, "entry": args.entry},
    )
    if not passed:
        work.failed.append(found)
        raise GateError(
            f"the scoring code is {report.verdict.value}: {Scanned(report).worst()}",
            code="gate.code",
            hint="`vallum scan --code FOLDER` shows every finding",
        )
    digests = {name: hashlib.sha256(data).hexdigest() for name, data in files}
    bundle = sign_manifest(code_id, digests, own_signer(work))
    return _Made(code_id, wrapped, parts, found, bundle.decode(), digests)


def _act(act: Act, args: CodeAdd, made: _Made) -> CodeShown:
    require_allowed(act)
    endpoint = act.context.endpoint(args.endpoint)
    if len(codes_of(act.context, endpoint)) >= MAX_KEPT:
        raise LimitExceededError(
            f"the endpoint has {MAX_KEPT} versions of scoring code", code="code.kept",
            hint="delete the endpoint, or use another",
        )  # fmt: skip
    made_at = timestamp(act.now)
    trusted = trusted_at(release_keys(act.house, act.context), made_at)
    try:
        verify_manifest(made.bundle.encode(), made.files, trusted)
    except IntegrityError as error:
        raise ConflictError(
            "the release key was retired meanwhile", code="signature.key"
        ) from error
    code = ScoringCode(
        id=made.id,
        endpoint_id=endpoint.id,
        entry=args.entry,
        digest=manifest_digest(made.parts),
        parts=made.parts,
        bundle=made.bundle,
        made_by=act.caller.id,
        made_at=made_at,
    )
    act.put("scoring-code", code, on=endpoint.id, parent_id=endpoint.id)
    put_key(act, made.wrapped, on=endpoint.id)
    act.leave(made.evidence, on=endpoint.id)
    act.details["code"] = {"digest": code.digest, "files": len(code.parts), "entry": code.entry}
    return CodeShown(
        id=code.id,
        endpoint=endpoint.name,
        entry=code.entry,
        digest=code.digest,
        files=tuple(part.part for part in code.parts),
        evidence=(made.evidence,),
    )


def require_allowed(act: Act) -> None:
    """Refuse scoring code where the policy file does not allow any.

    Raises:
        RefusedError: It does not.
    """
    if not act.rules.requirements.scoring_code.allow:
        raise RefusedError(
            "the policy file does not allow scoring code of one's own",
            code="code.forbidden",
            hint="`scoring_code: {allow: true}` in it: vallum policy set FILE",
        )


def code_for(act: Act, args: api.EndpointDeploy, version: AssetVersion) -> ScoringCode | None:
    """Return the scoring code that a deployment is to run; None where the model answers.

    Raises:
        RefusedError: The policy file does not allow any.
        NotFoundError: The endpoint has no such code.
        GateError: No passed scan of it is on record.
        InputError: It does not go with what else is asked for.
    """
    if not args.code:
        return None
    require_allowed(act)
    endpoint = act.context.endpoint(args.endpoint)
    if args.code == UNFROZEN:
        code = _unfrozen(act, endpoint)
    else:
        code = act.house.records.get(act.tx, "scoring-code", args.code, ScoringCode)
    if code.endpoint_id != endpoint.id:
        raise NotFoundError("the endpoint has no such scoring code", code="code.unknown")
    if endpoint.stage != "development" and code.made_by == act.caller.id:
        raise RefusedError(
            "who brought scoring code does not deploy it to production",
            code="code.maker",
            hint="have a second person read and deploy it",
        )
    if code.id:
        _require_scanned(act, code)
    _check_alone(args, endpoint)
    if len(model_files(version)) > MAX_FILES:
        raise LimitExceededError(
            f"the model has more than {MAX_FILES} files, too many for a sandbox with code",
            code="code.files",
        )
    return code


def _unfrozen(act: Act, endpoint: Endpoint) -> ScoringCode:
    """Return what stands in a dry run for code that its caller would bring.

    Raises:
        InputError: It is no dry run.
    """
    if not act.dry_run:
        raise InputError("scoring code is frozen before it is deployed", code="code.unknown")
    return ScoringCode(
        id="", endpoint_id=endpoint.id, entry="", digest=UNFROZEN, parts=(), bundle="",
        made_by=act.caller.id, made_at=timestamp(act.now),
    )  # fmt: skip


def _require_scanned(act: Act, code: ScoringCode) -> None:
    found = [one for one in act.context.evidence(code.digest) if one.gate == SCORING_CODE.name]
    latest = max(found, key=lambda one: one.made_at, default=None)
    if latest is None or latest.verdict is not Verdict.PASS or latest.issuer != ISSUER:
        raise GateError("no passed scan of the scoring code is on record", code="gate.code")


def _check_alone(args: api.EndpointDeploy, endpoint: Endpoint) -> None:
    """Refuse what needs the numbers that go in and come out: of code nobody knows which they are.

    Raises:
        InputError: It is asked for.
    """
    for asked, what, hint in (
        (args.in_process, "run inside the gateway", "leave --in-process out"),
        (args.watch is not None, "be watched: detectors need rows of numbers",
         "leave --watch-data out, or serve the model without code"),
        (args.output is not None or args.decimals is not None,
         "have its answers shaped: they are whatever run() returns", "round in run()"),
        (args.scale is not None and args.scale.max_instances > 1,
         "run as several processes", "leave --instances out"),
        (args.scale is not None and args.scale.engine != LOCAL,
         "run on Ray: it may do more than answer, and a lost request is asked again there",
         "leave --engine out"),
        (endpoint.information is not None,
         "be held to a budget of information: nobody knows what its answers tell",
         "serve the model without code, or at an endpoint without a budget"),
    ):  # fmt: skip
        if asked:
            raise InputError(f"scoring code cannot {what}", code="code.alone", hint=hint)


def codes_of(context: Context, endpoint: Endpoint) -> list[ScoringCode]:
    """Return all scoring code of an endpoint."""
    return context.all("scoring-code", ScoringCode, parent_id=endpoint.id)


def erase_codes(act: Act, endpoint: Endpoint) -> None:
    """Remove the scoring code of an endpoint; once committed, destroy its keys and objects."""
    doomed = codes_of(act.context, endpoint)
    for code in doomed:
        act.remove("wrapped-key", code.id, on=endpoint.id)
        act.remove("scoring-code", code.id, on=endpoint.id)
        told = Erasure(
            id=code.id, name=endpoint.name, version=0, kind="scoring-code",
            erased_at=timestamp(act.now), erased_by=act.caller.id, reason="endpoint deleted",
        )  # fmt: skip
        act.put("erasure", told, on=endpoint.id, parent_id=endpoint.id)
        for part in code.parts:
            act.after_commit.append(lambda part=part: act.house.objects.discard(part))  # type: ignore[misc]  # default binds the loop variable
    if doomed:
        ids = [code.id for code in doomed]
        act.after_commit.append(lambda: shred(act.house, ids))


STEPS = (
    Step("endpoint.add-code", CodeAdd, _asks, _act, length=Length.LONG, prepare=_prepare,
         content=True, threat="supply-chain"),
)  # fmt: skip
