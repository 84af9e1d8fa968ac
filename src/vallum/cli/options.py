"""Arguments and options that verbs on assets share, and how a version is told to people."""

from pathlib import Path
from typing import Annotated

import typer

from vallum.cli.bom import printable
from vallum.cli.border import SESSION
from vallum.schema import Texts, api

data = typer.Typer(name="data", help="Data assets: ingest, protect, read, erase.",
                   no_args_is_help=True)  # fmt: skip

Name = Annotated[str, typer.Argument(help="Name, or NAME:VERSION.")]
Version = Annotated[int | None, typer.Option("--version", help="Version; the newest if not given.")]


def _dry_run(dry_run: bool) -> bool:
    SESSION.dry_run = dry_run  # `show` says it, for every command alike
    return dry_run


DryRun = Annotated[
    bool,
    typer.Option("--dry-run", help="Check everything, change nothing.", callback=_dry_run),
]
Output = Annotated[Path | None, typer.Option("-o", "--output", help="File to write; - for stdout.")]


def version_text(shown: api.VersionShown) -> str:
    """Return a version and its verdicts for people."""
    one = shown.version
    files = [part for part in one.parts if not part.part.startswith("_")]
    size, made = sum(part.length for part in files), one.created_at[:19]
    lines = [
        f"{one.kind} {one.name}:{one.version}  {one.digest}",
        f"{one.label or 'unclassified'}, {size} bytes in {len(files)} file(s), made {made}",
    ]
    lines += [
        f"signed by {one.name or one.signer} with the {one.key_kind} key {one.key_id[:16]}".rstrip()
        for one in {(one.signer, one.key_id): one for one in shown.signatures}.values()
    ]
    if shown.aliases:
        lines.append("aliases: " + ", ".join(f"{a.name} = {a.version}" for a in shown.aliases))
    lines += texts_lines(shown.texts)
    said: dict[str, None] = {}  # the newest of what was found again and again, oldest gate first
    for evidence in shown.evidence:
        measures = ", ".join(f"{key} {value}" for key, value in sorted(evidence.measures.items()))
        line = f"  {evidence.gate:<11} {evidence.verdict.value:<5} {measures}".rstrip()
        said.pop(line, None)
        said[line] = None
    return "\n".join([*lines, *said])


def texts_lines(texts: Texts) -> list[str]:
    """Return a description and tags for people; a text of somebody else's is escaped."""
    told = [f"description: {texts.description}"] if texts.description else []
    told += [f"tag {key} = {value}" for key, value in sorted(texts.tags.items())]
    return [printable(one) for one in told]


def names_of(text: str) -> tuple[str, ...]:
    """Return names that an option gives by commas."""
    return tuple(one.strip() for one in text.split(",") if one.strip())
