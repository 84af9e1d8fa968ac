"""The verb `attack`: measured attacks on a model file or an endpoint, without a workspace."""

import contextlib
import os
import re
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec
import typer
import typer.core

from vallum.base import InputError, Secret
from vallum.cli.border import SESSION, check_output, read_file, show, table, write_out
from vallum.cli.options import DryRun, names_of
from vallum.cli.progress import progress
from vallum.cli.usage import Nouns
from vallum.sdk import read_key_file

if TYPE_CHECKING:
    from vallum.attack import Predictor
    from vallum.attack.isolated import IsolatedPredictor
    from vallum.attack.suite import Plan, Subject
    from vallum.attack.suite.data import DataOptions
    from vallum.attack.suite.diff import Difference
    from vallum.attack.suite.plan import Cost
    from vallum.attack.suite.table import Access
    from vallum.attack.thresholds import Splits
    from vallum.cli.attack_endpoint import EndpointPredictor
    from vallum.cli.attack_target import ModelFile

_BUDGET = re.compile(r"(\d{1,6})(s|m|h)?")
_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600}
_VERBS = {"run", "diff"}


class _Verb(Nouns):
    """A group that runs `run` where no verb of its own is named: `vallum attack MODEL`."""

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:  # type: ignore[override]  # typer hides the base's
        """Put `run` before what is a model or an option of it."""
        if args and args[0] not in _VERBS | {"-h", "--help"}:
            args = ["run", *args]
        return super().parse_args(ctx, args)


attack = typer.Typer(
    name="attack", no_args_is_help=True,
    help="Attack a model, and compare reports. `vallum attack MODEL` is `vallum attack run MODEL`.",
)  # fmt: skip


@attack.command("run")
def run(
    model: Annotated[
        str,
        typer.Argument(help="ONNX, skops, .pt2, XGBoost's JSON; NAME:VERSION; or a URL."),
    ],
    data: Annotated[
        Path,
        typer.Option(
            help="Held-out records: .csv, .parquet, .jsonl, .npz; of a registered model by name."
        ),
    ],
    label: Annotated[
        str, typer.Option(help="The column of classes; in .npz the array, `y` if not given.")
    ] = "",
    train: Annotated[
        Path | None, typer.Option(help="The training data: membership can be measured then.")
    ] = None,
    budget: Annotated[str, typer.Option(help="Time to spend at most: 90s, 10m, 1h.")] = "10m",
    suite: Annotated[
        Literal["quick", "standard", "full"], typer.Option(help="How much to do.")
    ] = "standard",
    seed: Annotated[int, typer.Option(min=0, help="Of every random choice.")] = 0,
    access: Annotated[
        Literal["labels", "scores", "gradients"],
        typer.Option(help="What an attacker sees at most; less where the model offers less."),
    ] = "gradients",
    limit: Annotated[
        list[str] | None,
        typer.Option(help="evasion=0.5: what the upper end of an interval must not exceed."),
    ] = None,
    epsilon: Annotated[
        float | None,
        typer.Option(
            help="A small change: in standard deviations, as a share of the range, or of the words."
        ),
    ] = None,
    features: Annotated[
        str,
        typer.Option(
            help="The model's columns in order, by commas, all numeric ones if not; of a text"
            " classifier its column of texts."
        ),
    ] = "",
    immutable: Annotated[
        str, typer.Option(help="Columns that no attacker can change, by commas.")
    ] = "",
    real: Annotated[
        str, typer.Option(help="Columns of whole numbers that may take others, by commas.")
    ] = "",
    range_: Annotated[
        list[str] | None,
        typer.Option("--range", help="age=0:120, where the data does not show it."),
    ] = None,
    clip: Annotated[str, typer.Option(help="Range of an array's values: 0:1.")] = "",
    key_file: Annotated[
        Path | None, typer.Option(help="0600 file with the endpoint's key; else VALLUM_TOKEN.")
    ] = None,
    rate: Annotated[float, typer.Option(help="Requests a second to an endpoint, at most.")] = 20.0,
    report: Annotated[
        Path | None, typer.Option(help="Write the report here: .html, or .json.")
    ] = None,
    sarif: Annotated[Path | None, typer.Option(help="Write SARIF 2.1.0 here.")] = None,
    dry_run: DryRun = False,
) -> None:
    """Attack a model within a budget; exit 1 if it does not pass.

    Example: vallum attack run model.onnx --data held-out.csv --label ill --report attack.html
    """
    from vallum.attack.suite import run_suite
    from vallum.attack.suite.data import DataOptions, prepare
    from vallum.cli.attack_registered import Registered, is_registered
    from vallum.cli.attack_report import page, record_of, sarif_of, text
    from vallum.cli.attack_target import read_data

    check_output(report)
    check_output(sarif)
    if is_registered(model):
        unused = {
            "--limit": limit, "--epsilon": epsilon, "--immutable": immutable, "--real": real,
            "--range": range_, "--clip": clip, "--key-file": key_file, "--seed": seed,
        }  # fmt: skip
        Registered(
            model=model, data=str(data), train="" if train is None else str(train), label=label,
            features=names_of(features), suite=suite, access=access, budget_s=int(_seconds(budget)),
            unused=tuple(name for name, value in unused.items() if value),
        ).attack(report=report, sarif=sarif, dry_run=dry_run)  # fmt: skip
    budget_s = _seconds(budget)
    limits = _limits(limit or [])
    held = read_data(data, label)
    inside = None if train is None else read_data(train, label)
    options = DataOptions(
        label=label, features=names_of(features), immutable=names_of(immutable),
        real=names_of(real), ranges=tuple(range_ or ()), clip=clip, epsilon=epsilon, seed=seed,
    )  # fmt: skip
    about = {
        "file": str(data), "sha256": held.sha256, "train_file": "" if train is None else str(train),
        "train_sha256": "" if inside is None else inside.sha256,
    }  # fmt: skip
    with contextlib.ExitStack() as stack:
        target = stack.enter_context(
            _endpoint(model, key_file, rate, suite, seed)
            if "://" in model
            else _opened(Path(model), gradients=access == "gradients")
        )
        subject = prepare(
            held, inside, options, known=target.features, shape=target.shape, notes=target.notes,
            text=target.text,
        )  # fmt: skip
        if access == "gradients":  # whoever holds the model knows its trees' thresholds
            subject = replace(subject, splits=target.splits)
        plan = _planned(target, subject, access, suite, budget_s, seed)
        settings = _settings(options, plan)
        if dry_run:
            made = {"model": target.about, "data": about, "settings": settings,
                    "plan": msgspec.to_builtins(plan)}  # fmt: skip
            show("attack", made, _plan_text(target, plan))
            return
        target.until(time.monotonic() + budget_s)
        with progress("attacking", total=plan.queries, unit="steps") as advance:
            found = run_suite(
                target.predictor, subject, plan, classes=target.classes, limits=limits,
                advance=advance,
            )  # fmt: skip
    record = record_of(target.about, about, settings, found)
    if report is not None:
        write_out(page(record, found, report), report)
    if sarif is not None:
        write_out(sarif_of(target.about["file"], found), sarif)
    show("attack", record, text(target.about["file"], found))
    raise typer.Exit(0 if found.verdict.value == "passed" else 1)


@attack.command("diff")
def diff(
    before: Annotated[Path, typer.Argument(help="A report, .json.")],
    after: Annotated[Path, typer.Argument(help="A later one, of the same data and options.")],
) -> None:
    """Compare two reports; exit 1 if the second is worse.

    Example: vallum attack diff before.json after.json
    """
    from vallum.attack.suite import compare_reports

    found = compare_reports(read_file(before), read_file(after))
    show("attack.diff", found, _changes(found))
    raise typer.Exit(1 if found.worse else 0)


def register(app: typer.Typer) -> None:
    """Add the verbs."""
    app.add_typer(attack, cls=_Verb)


class _Target:
    """What is attacked: a predictor, and what is known of it before it is asked."""

    def __init__(
        self,
        predictor: "IsolatedPredictor | EndpointPredictor",
        about: dict[str, str],
        *,
        gradients: bool = False,
        cost: "Cost | None" = None,
    ) -> None:
        self.open = predictor
        self.about, self.gradients, self.cost = about, gradients, cost
        self.classes: tuple[str, ...] = ()
        self.features: tuple[str, ...] = ()
        self.shape: tuple[int, ...] = ()
        self.notes: tuple[str, ...] = ()
        self.splits: Splits | None = None
        self.text = False

    @property
    def predictor(self) -> "Predictor":
        return self.open

    def until(self, deadline_s: float) -> None:
        self.open.until(deadline_s)


@contextlib.contextmanager
def _opened(path: Path, *, gradients: bool) -> Iterator[_Target]:
    from vallum.attack.isolated import IsolatedPredictor
    from vallum.cli.attack_target import read_model
    from vallum.sandbox import BubblewrapRunner

    given: ModelFile = read_model(path)
    with progress("opening the model"):
        made = IsolatedPredictor.open(
            BubblewrapRunner.open(), given.payload, kind=given.kind, gradients=gradients
        )
    with made:
        about = {"file": given.name, "kind": given.kind, "sha256": given.sha256}
        target = _Target(made, about, gradients=made.described.gradients)
        target.classes, target.features = made.described.classes, made.described.features
        target.shape, target.text = made.described.shape, made.described.text
        target.splits = made.splits() if gradients else None
        if (difference := made.described.difference) is not None:
            said = (
                "gradients are those of the graph in torch; its scores differ from the model's by"
            )
            target.notes = (f"{said} at most {difference:.1e}",)
        yield target


@contextlib.contextmanager
def _endpoint(
    url: str, key_file: Path | None, rate: float, suite: str, seed: int
) -> Iterator[_Target]:
    from vallum.attack.suite.plan import Cost
    from vallum.cli.attack_endpoint import MOST_ROWS, EndpointPredictor

    made = EndpointPredictor(
        url, _key(key_file), test=f"attack; suite={suite}; seed={seed}", rate_per_s=rate,
        ca_file=SESSION.ca_file,
    )  # fmt: skip
    cost = Cost(row_s=1e-4, call_s=1.2 / rate, most=MOST_ROWS)
    with made:
        yield _Target(made, {"file": made.url, "kind": "endpoint", "sha256": ""}, cost=cost)


def _key(key_file: Path | None) -> Secret:
    file = key_file or SESSION.token_file
    if file is not None:
        return read_key_file(file)
    given = os.environ.get("VALLUM_TOKEN", "")
    if not given:
        raise InputError(
            "an endpoint needs a key", code="cli.usage",
            hint="--key-file FILE, or the environment variable VALLUM_TOKEN",
        )  # fmt: skip
    return Secret(given)


def _planned(
    target: _Target, subject: "Subject", access: "Access", suite: str, budget_s: float, seed: int
) -> "Plan":
    from vallum.attack.suite import make_plan

    if access == "gradients" and not target.gradients:
        access = "scores"
    return make_plan(
        subject, kind=target.about["kind"], access=access, suite=suite, budget_s=budget_s,
        seed=seed, cost=target.cost,
    )  # fmt: skip


def _settings(options: "DataOptions", plan: "Plan") -> dict[str, str]:
    """Return what makes two reports comparable, as text."""
    return {
        "access": plan.access,
        "label": options.label or "y",
        "features": ",".join(options.features),
        "immutable": ",".join(options.immutable),
        "real": ",".join(options.real),
        "ranges": " ".join(sorted(options.ranges)),
        "clip": options.clip,
        "epsilon": "" if options.epsilon is None else repr(options.epsilon),
        "suite": plan.suite,
        "seed": str(plan.seed),
        "budget_s": f"{plan.budget_s:g}",
    }


def _plan_text(target: _Target, plan: "Plan") -> str:
    rows = [(one.attack, one.threat, one.access, f"{one.queries:,}", f"{one.seconds:.1f}")
            for one in plan.attacks]  # fmt: skip
    head = (
        f"{target.about['file']}: {target.about['kind']}, suite {plan.suite} at {plan.share:.0%},"
        f" up to {plan.queries:,} queries on up to {plan.records} records"
    )
    lines = [
        head,
        table(("attack", "threat", "needs", "queries", "seconds"), rows),
    ]
    lines += [f"left out: {name}: {why}" for name, why in plan.left_out.items()]
    return "\n".join(lines)


def _changes(found: "Difference") -> str:
    rows = [
        (
            one.threat if not one.attack else f"  {one.attack}",
            "-" if one.before is None else f"{one.before:.3f}",
            "-" if one.after is None else f"{one.after:.3f}",
            "" if one.difference is None else f"{one.difference:+.3f}",
            one.verdict,
        )
        for one in found.changes
    ]
    head = f"{found.before.get('file', '')} -> {found.after.get('file', '')}"
    return f"{head}: {'worse' if found.worse else 'not worse'}\n" + table(
        ("threat", "before", "after", "change", "verdict"), rows
    )


def _seconds(text: str) -> float:
    found = _BUDGET.fullmatch(text.strip())
    if found is None or int(found[1]) == 0:
        raise InputError(
            f"`{text[:40]}` is no budget", code="cli.usage", hint="--budget 90s, 10m or 1h"
        )
    return float(int(found[1]) * _SECONDS[found[2] or ""])


def _limits(given: list[str]) -> dict[str, float]:
    limits = {}
    for one in given:
        name, found, value = one.partition("=")
        try:
            if not found:
                raise ValueError("no number")
            limits[name] = float(value)
        except ValueError as error:
            raise InputError(
                f"`{one[:80]}` is no limit", code="cli.usage", hint="--limit evasion=0.5"
            ) from error
    return limits
