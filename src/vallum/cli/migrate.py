"""`vallum import …`: bring what another server holds into a workspace."""

from pathlib import Path
from typing import Annotated, Literal

import msgspec
import typer

from vallum.cli.border import SESSION, hint, say, show, table
from vallum.cli.options import DryRun
from vallum.cli.progress import progress
from vallum.sdk import Client
from vallum.sdk.migrate import (
    Grants,
    Importer,
    ImportReport,
    RightsRow,
    Source,
    Tally,
    open_source,
    open_sqlite,
    rights_after,
    rights_before,
)

importing = typer.Typer(
    name="import", help="Bring what another server holds into a workspace.", no_args_is_help=True
)
SHOWN = 20  # lines of refusals and rights for people; `--json` has all
_KINDS = {
    "experiments": "experiments",
    "runs": "runs",
    "points": "points of metrics",
    "logged_models": "logged models",
    "files": "files",
    "registered_models": "registered models",
    "versions": "model versions",
    "aliases": "aliases",
}


@importing.command("mlflow")
def import_mlflow(
    source: Annotated[
        str,
        typer.Option("--from", help="sqlite:///PATH, postgresql://HOST/DB, or an MLflow server."),
    ],
    experiment: Annotated[
        list[str] | None, typer.Option(help="Only this experiment, and what was registered of it.")
    ] = None,
    artifacts: Annotated[
        Path | None, typer.Option(help="Folder with the files that a database names.")
    ] = None,
    source_secret_file: Annotated[
        Path | None, typer.Option(help="0600 file with the source's password or token.")
    ] = None,
    auth_db: Annotated[
        Path | None, typer.Option(help="MLflow's database of users and permissions.")
    ] = None,
    default_permission: Annotated[
        Literal["NO_PERMISSIONS", "READ", "EDIT", "MANAGE"],
        typer.Option(help="What MLflow gave without a grant; with --auth-db."),
    ] = "READ",
    merge: Annotated[
        bool, typer.Option("--merge", help="Add to things of the same name not imported before.")
    ] = False,
    dry_run: DryRun = False,
) -> None:
    """Import experiments and models. Example: vallum import mlflow --from sqlite:///mlflow.db."""
    opened = open_source(source, artifacts=artifacts, secret_file=source_secret_file)
    try:
        with SESSION.client() as client:
            made = Importer(
                client, opened, experiments=experiment or (), merge=merge, dry_run=dry_run
            )
            wanted = made.experiments()
            rights = (
                _rights(client, opened, {one.id: one.name for one in wanted}, auth_db,
                        default_permission)
                if dry_run
                else []
            )  # fmt: skip
            total = sum(opened.count(one.id)[0] for one in wanted)
            with progress(
                "importing", total=total if total >= 0 else None, unit="steps"
            ) as advance:
                made.advance = advance
                done = made.run()
    finally:
        opened.close()
    told = msgspec.to_builtins(done)
    lines = [_text(done)]
    if dry_run:
        told["rights"] = msgspec.to_builtins(rights)
        lines.append(_rights_text(rights, known=auth_db is not None))
    show("import.mlflow", told, "\n".join(lines))
    _refusals(done)
    if done.refused_total:
        raise typer.Exit(1)


def _rights(
    client: Client,
    source: Source,
    experiments: dict[str, str],
    auth_db: Path | None,
    default: str,
) -> list[RightsRow]:
    grants = None
    if auth_db is not None:
        rows = open_sqlite(str(auth_db))
        try:
            grants = Grants(rows, default)
        finally:
            rows.close()
    models = [one.name for one in source.registered()]
    return rights_after(client, rights_before(grants, experiments, models))


def _text(done: ImportReport) -> str:
    def number(one: int) -> str:
        return "not counted" if one < 0 else str(one)

    rows = []
    for kind, text in _KINDS.items():
        tally: Tally = getattr(done, kind)
        rows.append((text, number(tally.found), tally.made, tally.kept))
    lines = [table(("what", "found", "imported", "here already"), rows)]
    if done.unread:
        lines.append(
            f"files of {done.unread} run(s) and logged model(s) are not readable from here"
        )
    if done.deleted > 0:
        lines.append(f"left out: {done.deleted} deleted run(s) and experiment(s)")
    lines += [f"renumbered: {one}" for one in done.renumbered[:SHOWN]]
    return "\n".join(lines)


def _refusals(done: ImportReport) -> None:
    """Tell on stderr what was refused and why."""
    for one in done.refused[:SHOWN]:
        say(f"not imported: {one.what} {one.name}: {one.reason}")
    left = done.refused_total - min(len(done.refused), SHOWN)
    if left > 0:
        say(f"not imported: {left} more")
        hint("--json tells all of them")


def _rights_text(rights: list[RightsRow], *, known: bool) -> str:
    changed = [one for one in rights if one.before != one.after]
    rows = [(one.principal, one.kind, one.name, one.before, one.after) for one in changed[:SHOWN]]
    first = (
        "rights that change, as MLflow's permissions gave them and as roles give them here:"
        if known
        else "without authentication (--auth-db), everybody who reaches MLflow may change all of"
        " it; here:"
    )
    lines = [first, table(("who", "what", "name", "before", "after"), rows)]
    if len(changed) > SHOWN:
        lines.append(f"… and {len(changed) - SHOWN} more: --json has all of them")
    return "\n".join(lines)
