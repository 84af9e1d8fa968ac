"""Steps on the tests of models: make them, and read the report."""

from collections.abc import Iterator, Sequence

from vallum.attack.gate import Wanted, run_tests
from vallum.base import GateError, InputError, NotFoundError, new_id, timestamp
from vallum.schema import Ask, AssetVersion, Caller, Record, api
from vallum.workspace.context import Context, ask
from vallum.workspace.gates.attacks import ATTACKED, Judgement, judge
from vallum.workspace.gates.table import ALLOWED
from vallum.workspace.step import Act, Download, Effect, Length, Step, Work
from vallum.workspace.versions import content_chunks, shown

_KINDS = ("onnx", "skops")  # formats that are registered and can be opened


class ReportRow(Record, frozen=True):
    """A report on a model version."""

    id: str
    made_at: str
    report: str  # JSON text


def _test_asks(context: Context, args: api.ModelTest, caller: Caller) -> Sequence[Ask]:
    model = context.version_resource(context.version("model", args.name, args.version))
    data = [
        context.version_resource(context.version("data", name))
        for name in (args.data, args.holdout)
        if name
    ]
    return (
        *ask("evidence/write", model),
        *ask("models/versions/content/read", model),
        *ask("data/versions/content/read", *data),
    )


def _prepare_test(work: Work, args: api.ModelTest) -> Judgement:
    version = work.read(lambda context: context.version("model", args.name, args.version))
    if not args.holdout or not args.label_column:
        raise InputError(
            "testing needs a holdout and the label column",
            code="model.test",
            hint="vallum model test NAME --data D:1 --holdout H:1 --label-column COL",
        )
    if len(version.parts) != 1 or version.format not in _KINDS:
        raise InputError(
            f"a model of the format `{version.format}` cannot be attacked", code="model.test",
            hint="register it as ONNX or skops",
        )  # fmt: skip
    others = work.read(lambda context: context.version("data", args.holdout))
    members = None
    if args.data:
        members = work.read(lambda context: context.version("data", args.data))
    wanted = Wanted(
        others_kind=others.format,
        members_kind="" if members is None else members.format,
        label=args.label_column,
        features=args.features,
        segments=args.segments,
        suite=args.suite,
        access=args.access,
        budget_s=args.budget_s,
        seed=work.seed % 2**53,
    )
    found = run_tests(
        work.house.runner,
        model=_content(work, version),
        kind=version.format,
        others=_content(work, others),
        members=b"" if members is None else _content(work, members),
        options=wanted,
        allowed=ALLOWED,
    )
    made = judge(
        found, version=version, others=others, members=members, kind=version.format,
        wanted=wanted, now=work.now,
    )  # fmt: skip
    if not any(one.gate in ATTACKED for one in made.evidence):
        raise GateError(
            f"nothing could be tested: {'; '.join(made.untested)[:300]}", code="model.test"
        )
    return made


def _content(work: Work, version: AssetVersion) -> bytes:
    return b"".join(content_chunks(work, version, version.parts[0]))


def _act_test(act: Act, args: api.ModelTest, made: Judgement) -> api.VersionShown:
    version = act.context.version("model", args.name, args.version)
    for evidence in made.evidence:
        if evidence.subject_digest != version.digest:
            raise GateError("the model changed while it was tested", code="model.test")
        act.leave(evidence, on=version.id)
    row = ReportRow(id=str(new_id("rep")), made_at=timestamp(act.now), report=made.report.decode())
    act.put("report", row, on=version.id, parent_id=version.id)
    return shown(act, version)


def _report_asks(context: Context, args: api.Named, caller: Caller) -> Sequence[Ask]:
    version = context.version("model", args.name, args.version)
    return ask("models/versions/read", context.version_resource(version))


def _act_report(act: Act, args: api.Named) -> Download:
    version = act.context.version("model", args.name, args.version)
    rows = act.context.all("report", ReportRow, parent_id=version.id)
    if not rows:
        raise NotFoundError(
            f"`{version.name}:{version.version}` was not tested", code="model.report",
            hint="vallum model test NAME --holdout H:1 --label-column COL",
        )  # fmt: skip
    latest = max(rows, key=lambda row: (row.made_at, row.id))
    return Download(
        file_name=f"{version.name}-{version.version}.report.json", chunks=_written(latest)
    )


def _written(row: ReportRow) -> Iterator[bytes]:
    yield row.report.encode()


STEPS = (
    Step(
        "model.test",
        api.ModelTest,
        _test_asks,
        _act_test,
        length=Length.LONG,
        prepare=_prepare_test,
        threat="evasion",
    ),
    Step("model.report", api.Named, _report_asks, _act_report, Effect.READ),
)
