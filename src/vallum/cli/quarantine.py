"""`vallum data check|quarantine|quarantined|affected|revert`: poisoned data in a workspace."""

from collections.abc import Sequence
from typing import Annotated

import typer

from vallum.cli.border import SESSION, show, table
from vallum.cli.options import DryRun, Name, Version, names_of, version_text
from vallum.cli.progress import progress
from vallum.cli.views import data
from vallum.schema import api, poisoning

__all__ = ["data"]

_SHOWN = 20
LabelColumn = Annotated[str, typer.Option(help="Column with the class.")]
Features = Annotated[
    str, typer.Option(help="The model's columns, by commas; all are looked at if not.")
]
Contributor = Annotated[str, typer.Option(help="Column that names who contributed a row.")]
ByVersion = Annotated[
    bool, typer.Option("--by-version", help="A row is of who added the first version with it.")
]


@data.command("check")
def data_check(
    name: Name,
    label_column: LabelColumn,
    features: Features = "",
    contributor: Contributor = "",
    by_version: ByVersion = False,
    version: Version = None,
    dry_run: DryRun = False,
) -> None:
    """Look for poisoned rows. Example: vallum data check leaves --label-column kind."""
    with progress("looking for poison"), SESSION.client() as client:
        found = client.data.check(
            name, version=version, label_column=label_column, features=names_of(features),
            contributor=contributor, by_version=by_version, dry_run=dry_run,
        )  # fmt: skip
    told = api.VersionShown(version=found.version, evidence=found.evidence, aliases=found.aliases)
    show("data.check", found, "\n".join([version_text(told), *_contributors(found.contributors)]))
    if any(one.gate == "poisoning" and one.verdict.value != "pass" for one in found.evidence):
        raise typer.Exit(1)


@data.command("quarantine")
def data_quarantine(
    name: Name,
    label_column: LabelColumn,
    features: Features = "",
    contributor: Contributor = "",
    by_version: ByVersion = False,
    version: Version = None,
    dry_run: DryRun = False,
) -> None:
    """Take suspicious rows out. Example: vallum data quarantine leaves:2 --label-column kind."""
    with progress("looking for poison"), SESSION.client() as client:
        made = client.data.quarantine(
            name, version=version, label_column=label_column, features=names_of(features),
            contributor=contributor, by_version=by_version, dry_run=dry_run,
        )  # fmt: skip
    show("data.quarantine", made, _quarantined_text(made))


def _quarantined_text(made: poisoning.DataQuarantined) -> str:
    source = f"{made.name}:{made.source}"
    if made.version is None:
        return f"nothing of {source} is suspicious; no version was made"
    reasons = ", ".join(f"{name} {count}" for name, count in made.reasons.items())
    lines = [
        f"{made.name}:{made.version} has {made.kept} rows of {source}",
        f"  {made.removed} are in quarantine: {reasons}",
    ]
    if made.suspicious:
        lines.append("  what is left still stands out: it has not passed `poisoning`")
    return "\n".join([*lines, *_contributors(made.contributors)])


def _contributors(found: Sequence[poisoning.Contributor]) -> list[str]:
    if not found:
        return []
    rows = [
        (one.name, one.rows, one.flagged, f"{one.low:.1%} to {one.high:.1%}",
         "improbable" if one.improbable else "")
        for one in found[:_SHOWN]
    ]  # fmt: skip
    return [table(("contributor", "rows", "flagged", "share", ""), rows)]


@data.command("quarantined")
def data_quarantined(name: Name, version: Version = None) -> None:
    """Show which rows a version lacks, and why. Example: vallum data quarantined leaves:3."""
    with SESSION.client() as client:
        found = client.data.quarantined(name, version)
    head = f"{found.name}:{found.version} lacks {len(found.rows)} row(s) of "
    rows = [(one.row, f"{one.score:.2f}", one.reason, one.by) for one in found.rows[:_SHOWN]]
    lines = [head + (found.source or "a version that is not for you, or gone")]
    lines.append(table(("row", "score", "reason", "by"), rows))
    if len(found.rows) > _SHOWN:
        lines.append(f"and {len(found.rows) - _SHOWN} more; --json tells all of them")
    show("data.quarantined", found, "\n".join([*lines, *_contributors(found.contributors)]))


@data.command("affected")
def data_affected(name: Name, version: Version = None) -> None:
    """Show what a version reached, by lineage. Example: vallum data affected leaves:2."""
    with SESSION.client() as client:
        found = client.data.affected(name, version)
    rows = [
        *(("model", f"{one.name}:{one.version}", one.why, one.job) for one in found.models),
        *(("data", f"{one.name}:{one.version}", one.why, one.job) for one in found.data),
        *(("endpoint", f"{one.endpoint}/{one.deployment}",
           f"runs {one.model or 'a model that is not for you'}, {one.traffic} % of the traffic", "")
          for one in found.deployments),
        *(("job", one, "not done yet", "") for one in found.jobs),
    ]  # fmt: skip
    lines = [f"data {found.name}:{found.version} reached {len(rows)} thing(s) that you may see"]
    if rows:
        lines.append(table(("kind", "name", "how", "by job"), rows))
    if found.hidden:
        lines.append(f"and {found.hidden} that you may not see")
    show("data.affected", found, "\n".join(lines))


@data.command("revert")
def data_revert(
    name: Name,
    version: Version = None,
    alias: Annotated[str, typer.Option(help="NAME@ALIAS names the version from now on.")] = (
        "trusted"
    ),
    dry_run: DryRun = False,
) -> None:
    """Point an alias at the newest clean version. Example: vallum data revert leaves."""
    with SESSION.client() as client:
        made = client.data.revert(name, version=version, alias=alias, dry_run=dry_run)
    before = "" if made.before is None else f", it was version {made.before}"
    lines = [f"{made.name}@{made.alias} is version {made.version}{before}"]
    for one in made.retrain:
        how = f", by job {one.job} again" if one.job else ""
        lines.append(f"  train {one.model} again on {one.on} instead of {one.instead_of}{how}")
    if made.hidden:
        lines.append(f"  and {made.hidden} model(s) that you may not see")
    show("data.revert", made, "\n".join(lines))
