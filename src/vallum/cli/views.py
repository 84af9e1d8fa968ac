"""`vallum data view|read|unmask|relabel|forget`."""

import sys
from pathlib import Path
from typing import Annotated, Literal

import msgspec
import typer

from vallum.base import InputError
from vallum.cli.border import (
    SESSION,
    check_content,
    content_out,
    read_file,
    show,
    table,
    write_out,
)
from vallum.cli.options import DryRun, Name, Output, Version, data, version_text
from vallum.cli.progress import progress
from vallum.formats import load_json, load_yaml
from vallum.schema import views

__all__ = ["data"]


@data.command("view")
def data_view(
    name: Annotated[str, typer.Argument(help="Name of the data asset.")],
    recipe: Annotated[
        Path | None, typer.Option(help="Masking recipe, YAML or JSON: the view from now on.")
    ] = None,
    remove: Annotated[bool, typer.Option("--remove", help="Have no view any more.")] = False,
    dry_run: DryRun = False,
) -> None:
    """Show or set the masked view. Example: vallum data view patients --recipe view.yaml."""
    if recipe is not None and remove:
        raise InputError("--recipe and --remove contradict each other", code="cli.usage")
    with SESSION.client() as client:
        if recipe is None and not remove:
            shown = client.data.view(name)
        else:
            text = "" if recipe is None else _recipe_text(recipe)
            shown = client.data.set_view(name, text, dry_run=dry_run)
    show("data.view", shown, _view_text(shown))


def _recipe_text(path: Path) -> str:
    content = read_file(path)
    document = load_json(content) if path.suffix == ".json" else load_yaml(content)
    return msgspec.json.encode(document).decode()


def _view_text(shown: views.DataViewShown) -> str:
    if not shown.recipe:
        return f"data {shown.name} has no masked view"
    recipe = msgspec.json.decode(shown.recipe)
    rows = [(one["column"], one["operation"]) for one in recipe["columns"]]
    return table(("column", "operation"), rows)


@data.command("read")
def data_read(
    name: Name,
    version: Version = None,
    column: Annotated[list[str] | None, typer.Option(help="Column to read.")] = None,
    masked: Annotated[bool, typer.Option("--masked", help="Through the masked view.")] = False,
    output: Output = None,
) -> None:
    """Read some columns, or the masked view. Example: vallum data read patients --masked."""
    check_content(output)
    with SESSION.client() as client:
        chunks = client.data.read(name, version, columns=column or (), masked=masked)
        content_out("data.read", chunks, output)


@data.command("unmask")
def data_unmask(
    name: Annotated[str, typer.Argument(help="Data asset whose view the rows came from.")],
    source: Annotated[Path, typer.Argument(help="CSV, Parquet or JSON lines file; - for stdin.")],
    format_: Annotated[str, typer.Option("--format", help="csv, parquet or jsonl.")] = "",
    output: Output = None,
) -> None:
    """Undo reversible masking. Example: vallum data unmask patients rows.csv -o known.csv."""
    check_content(output)
    given = sys.stdin.buffer if str(source) == "-" else source
    with SESSION.client() as client:
        chunks = client.data.unmask(name, given, format=format_)
        content_out("data.unmask", chunks, output, secret=True)


@data.command("relabel")
def data_relabel(
    name: Name,
    label: Annotated[
        Literal["public", "general", "confidential", "highly-confidential"],
        typer.Argument(help="The label."),
    ],
    version: Version = None,
    reason: Annotated[str, typer.Option(help="Why it may be lowered.")] = "",
    dry_run: DryRun = False,
) -> None:
    """Raise or lower a label. Example: vallum data relabel patients highly-confidential."""
    with SESSION.client() as client:
        shown = client.data.relabel(name, label, version=version, reason=reason, dry_run=dry_run)
    show("data.relabel", shown, version_text(shown))


@data.command("forget")
def data_forget(
    identifiers: Annotated[
        Path, typer.Argument(help="File with NAME=VALUE lines about one person; - for stdin.")
    ],
    reason: Annotated[str, typer.Option(help="Why, for the log.")],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="File for the certificate, as JSON.")
    ] = None,
    dry_run: DryRun = False,
) -> None:
    """Erase a person from all data. Example: vallum data forget ada.txt --reason 'request 17'."""
    content = sys.stdin.buffer.read() if str(identifiers) == "-" else read_file(identifiers)
    try:
        lines = [line for line in content.decode().splitlines() if line.strip()]
    except UnicodeDecodeError as error:
        raise InputError("the identifiers are not UTF-8 text", code="cli.file") from error
    with progress("searching"), SESSION.client() as client:
        made = client.data.forget(lines, reason=reason, dry_run=dry_run)
    if output is not None:
        write_out(msgspec.json.format(msgspec.json.encode(made), indent=2) + b"\n", output)
    show("data.forget", made, _certificate_text(made))


def _certificate_text(made: views.ErasureCertificate) -> str:
    lines = [f"{made.searched} data version(s) searched, {len(made.erased)} erased"]
    for one in made.erased:
        after = "" if one.replaced_by is None else f"; {one.name}:{one.replaced_by} has no"
        after += "" if one.replaced_by is None else f"ne of the {one.removed} record(s)"
        lines.append(f"  {one.name}:{one.version}  {one.why}{after}")
    lines += [f"  trained on it: model {one}" for one in made.models]
    lines += [f"  read before: {one}" for one in made.readers]
    lines += [f"  survives: {one}" for one in made.survives]
    return "\n".join(lines)
