"""`vallum dp …`: private queries, on a file or in the workspace."""

from pathlib import Path
from typing import Annotated

import msgspec
import typer

from vallum.base import InputError
from vallum.cli.border import SESSION, read_file, say, show, table
from vallum.cli.options import DryRun
from vallum.cli.progress import progress
from vallum.schema import privacy

dp = typer.Typer(name="dp", help="Differential privacy: ask about people, learn about nobody.",
                 no_args_is_help=True)  # fmt: skip

_FORMATS = {".csv": "csv", ".parquet": "parquet", ".jsonl": "jsonl", ".ndjson": "jsonl"}
Name = Annotated[str, typer.Argument(help="Data asset: NAME or NAME:VERSION.")]
Epsilon = Annotated[str, typer.Option(help="Pure privacy loss (Laplace noise).")]
Rho = Annotated[str, typer.Option(help="Zero-concentrated loss (Gaussian noise).")]
Delta = Annotated[str, typer.Option(help="For groups that are not declared.")]


@dp.command("query")
def dp_query(
    data: Annotated[str, typer.Argument(help="A table file, or a data asset NAME[:VERSION].")],
    sql: Annotated[str, typer.Argument(help="One SELECT of aggregates.")],
    epsilon: Epsilon = "0",
    rho: Rho = "0",
    delta: Delta = "0",
    declaration: Annotated[
        Path | None, typer.Option(help="vallum.dp/1 file: the query is on a file, without ledger.")
    ] = None,
    retry_id: Annotated[str, typer.Option(help="The same again costs nothing.")] = "",
    dry_run: DryRun = False,
) -> None:
    """Ask a question. Example: vallum dp query patients "SELECT AVG(age) FROM t" --epsilon 0.5."""
    if declaration is not None:
        answer = _offline(Path(data), sql, declaration, (epsilon, rho, delta), dry_run=dry_run)
    else:
        with SESSION.client() as client:
            answer = client.dp.query(
                data, sql, epsilon=epsilon, rho=rho, delta=delta, retry_id=retry_id,
                dry_run=dry_run,
            )  # fmt: skip
    show("dp.query", answer, _answer(answer))


def _offline(
    path: Path, sql: str, declaration: Path, cost: tuple[str, str, str], *, dry_run: bool
) -> privacy.DpAnswer:
    from vallum.formats import load_yaml, read_table
    from vallum.privacy.dp import PrivateTable, make_plan, parse_declaration, parse_sql, spend

    kind = _FORMATS.get(path.suffix.lower())
    if kind is None:
        raise InputError(
            f"`{path}` is not a table",
            code="dp.file",
            hint="a CSV, Parquet or JSON lines file; without --declaration, a data asset",
        )
    epsilon, rho, delta = cost
    spent = spend(epsilon=epsilon, rho=rho, delta=delta)
    declared = parse_declaration(load_yaml(read_file(declaration)))
    plan = make_plan(parse_sql(sql, person=declared.unit.column), declared, spent)
    told = privacy.DpAnswer(
        charge_id="", retry_id="", epsilon=spent.epsilon, rho=spent.rho, delta=spent.delta
    )
    if dry_run:
        return told
    say("no ledger keeps count of queries on a file: add up what you spend yourself")
    answer = PrivateTable.open(read_table(path, kind=kind), declared).answer(plan)
    return msgspec.structs.replace(
        told,
        group_by=answer.group_by,
        unit=answer.unit,
        groups=msgspec.convert(msgspec.to_builtins(answer.groups), tuple[privacy.DpGroup, ...]),
    )


def _answer(answer: privacy.DpAnswer) -> str:
    price = _loss(answer.epsilon, answer.rho, answer.delta)
    lines = []
    if answer.groups:
        names = [one.name for one in answer.groups[0].figures]
        rows = [(*group.key, *map(_figure, group.figures)) for group in answer.groups]
        lines.append(table((*answer.group_by, *names), rows))
        lines.append(f"cost {price} per {answer.unit}; intervals are those of the noise, at 95 %")
    elif answer.group_by:
        lines.append("no group has enough people to be seen")
    else:
        lines.append(f"would cost {price}")
    if answer.replayed:
        lines.append("the stored answer to the same question; nothing was charged")
    lines.extend(_budget(one) for one in answer.budgets)
    return "\n".join(lines)


def _figure(figure: privacy.DpFigure) -> str:
    if figure.value is None:
        return "too few"
    value = f"{figure.value:.6g}"
    if figure.low is not None and figure.high is not None:
        return f"{value} [{figure.low:.6g}, {figure.high:.6g}]"
    if figure.rank_error is not None:
        return f"{value} (rank ± {figure.rank_error:.0f})"
    return value


def _loss(epsilon: str, rho: str, delta: str) -> str:
    parts = [("epsilon", epsilon), ("rho", rho), ("delta", delta)]
    return ", ".join(f"{name} {text}" for name, text in parts if text != "0") or "nothing"


def _budget(one: privacy.PrivacyBudget) -> str:
    whose = f"of {one.holder}" if one.holder else "of everybody"
    spent = _loss(one.spent_epsilon, one.spent_rho, one.spent_delta)
    limit = _loss(one.epsilon, one.rho, one.delta)
    return f"budget {whose}: {spent} spent of {limit}, period {one.period}"


@dp.command("declare")
def dp_declare(
    name: Name,
    file: Annotated[Path, typer.Argument(help="YAML: unit, bounds and public groups.")],
    dry_run: DryRun = False,
) -> None:
    """Declare what may be asked. Example: vallum dp declare patients patients.dp.yaml."""
    from vallum.formats import load_yaml

    document = load_yaml(read_file(file))
    if not isinstance(document, dict):
        raise InputError(f"`{file}` is not a declaration", code="dp.declaration")
    with SESSION.client() as client:
        shown = client.dp.declare(name, document, dry_run=dry_run)
    show("dp.declare", shown, _shown(shown))


@dp.command("budget")
def dp_budget(
    name: Name,
    epsilon: Epsilon = "0",
    rho: Rho = "0",
    delta: Delta = "0",
    holder: Annotated[str, typer.Option("--for", help="Principal or group it bounds.")] = "",
    renew: Annotated[bool, typer.Option("--renew", help="Begin a new period.")] = False,
    reason: Annotated[str, typer.Option(help="Why; a renewal needs it.")] = "",
    dry_run: DryRun = False,
) -> None:
    """Set or renew a budget. Example: vallum dp budget patients --epsilon 10."""
    with SESSION.client() as client:
        shown = client.dp.budget(
            name, epsilon=epsilon, rho=rho, delta=delta, holder=holder, renew=renew,
            reason=reason, dry_run=dry_run,
        )  # fmt: skip
    show("dp.budget", shown, _shown(shown))


@dp.command("release")
def dp_release(
    name: Name,
    into: Annotated[str, typer.Option(help="Name of the asset that holds the release.")],
    marginal: Annotated[list[str], typer.Option(help="Columns, separated by commas.")],
    epsilon: Epsilon = "0",
    rho: Rho = "0",
    delta: Delta = "0",
    synthetic: Annotated[
        bool, typer.Option("--synthetic", help="Records made up from it.")
    ] = False,
    rows: Annotated[int, typer.Option(help="Of them; as many as counted if 0.")] = 0,
    dry_run: DryRun = False,
) -> None:
    """Release marginals. Example: vallum dp release d --into open --marginal age,ill --rho 0.1."""
    with progress("releasing"), SESSION.client() as client:
        made = client.dp.release(
            name, into, marginal, epsilon=epsilon, rho=rho, delta=delta, synthetic=synthetic,
            rows=rows, dry_run=dry_run,
        )  # fmt: skip
    price = _loss(made.epsilon, made.rho, made.delta)
    lines = [f"would cost {price}"]
    if made.version is not None:
        lines = [f"data {made.name}:{made.version}: {made.rows} records; cost {price}"]
    show("dp.release", made, "\n".join([*lines, *map(_budget, made.budgets)]))


@dp.command("show")
def dp_show(name: Name) -> None:
    """Show what may be asked and what is left. Example: vallum dp show patients."""
    with SESSION.client() as client:
        shown = client.dp.show(name)
    show("dp.show", shown, _shown(shown))


def _shown(shown: privacy.DpShown) -> str:
    columns = msgspec.json.decode(shown.declaration, type=dict[str, object]).get("columns")
    lines = [f"data {shown.name}:{shown.version}, one person is one `{shown.unit}`"]
    if isinstance(columns, dict):
        lines.append(f"columns: {', '.join(sorted(columns))}")
    lines.extend(_budget(one) for one in shown.budgets)
    if not shown.budgets:
        lines.append("no budget: nothing may be asked yet")
    return "\n".join(lines)
