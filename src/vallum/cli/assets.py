"""`vallum data …` and `vallum model …`."""

import sys
from pathlib import Path
from typing import Annotated, Literal

import msgspec
import typer

from vallum.base import InputError
from vallum.cli.anonymize import hierarchy_texts
from vallum.cli.attack_report import left_open, page_of
from vallum.cli.bom import difference_text, printable
from vallum.cli.border import (
    SESSION,
    check_content,
    check_output,
    content_out,
    read_file,
    show,
    table,
    write_out,
)
from vallum.cli.notebook import notebook_lines
from vallum.cli.options import DryRun, Name, Output, Version, data, texts_lines, version_text
from vallum.cli.progress import progress
from vallum.govern import bom_difference
from vallum.schema import Asset, api

TESTED = frozenset({"evasion", "extraction", "fairness", "inversion", "membership", "performance"})
model = typer.Typer(name="model", help="Models: register, convert, test, sign, alias, delete.",
                    no_args_is_help=True)  # fmt: skip


def _assets(found: list[Asset]) -> str:
    return table(
        ("name", "created", "description"),
        [(one.name, one.created_at[:19], one.description) for one in found],
    )


@data.command("create")
def data_create(
    name: Annotated[str, typer.Argument(help="Name of the data asset.")],
    source: Annotated[Path, typer.Argument(help="CSV, Parquet or JSON lines file; - for stdin.")],
    format_: Annotated[str, typer.Option("--format", help="csv, parquet or jsonl.")] = "",
    label: Annotated[str, typer.Option(help="Raise the label that is suggested.")] = "",
    description: Annotated[str, typer.Option(help="For people.")] = "",
    purpose: Annotated[
        list[str] | None, typer.Option("--for", help="What it may be read for; else anything.")
    ] = None,
    dry_run: DryRun = False,
) -> None:
    """Ingest a table as a new version. Example: vallum data create patients patients.csv."""
    with (
        progress("ingesting", total=size_of(source), unit="bytes") as advance,
        SESSION.client(advance) as client,
    ):
        given = sys.stdin.buffer if str(source) == "-" else source
        shown = client.data.create(
            name, given, format=format_, label=label, description=description,
            tags={"purpose": ",".join(purpose)} if purpose else {}, dry_run=dry_run,
        )  # fmt: skip
    show("data.create", shown, version_text(shown))


@data.command("list")
def data_list() -> None:
    """List what you may read. Example: vallum data list."""
    with SESSION.client() as client:
        found = client.data.list()
    show("data.list", api.Listing(assets=tuple(found)), _assets(found))


@data.command("show")
def data_show(name: Name, version: Version = None) -> None:
    """Show a version and the verdicts about it. Example: vallum data show patients."""
    with SESSION.client() as client:
        shown = client.data.show(name, version)
    show("data.show", shown, version_text(shown))


@data.command("download")
def data_download(name: Name, version: Version = None, output: Output = None) -> None:
    """Download a version. Example: vallum data download patients -o patients.csv."""
    check_content(output)
    with SESSION.client() as client:
        content_out("data.download", client.data.stream(name, version), output)


@data.command("protect")
def data_protect(
    name: Name,
    version: Version = None,
    k: Annotated[int, typer.Option(help="Smallest class of equal records.")] = 5,
    max_suppression: Annotated[str, typer.Option(help="Share that may be left out.")] = "0.04",
    drop: Annotated[list[str] | None, typer.Option(help="Column to drop.")] = None,
    pseudonymise: Annotated[list[str] | None, typer.Option(help="Column to replace.")] = None,
    qi: Annotated[list[str] | None, typer.Option(help="Quasi-identifier.")] = None,
    sensitive: Annotated[list[str] | None, typer.Option(help="Sensitive column.")] = None,
    l: Annotated[  # noqa: E741 - the model's name
        list[str] | None, typer.Option(help="distinct:3, entropy:3 or recursive:C:3.")
    ] = None,
    t: Annotated[
        list[str] | None, typer.Option(help="0.2, 0.2:ordered or 0.2:hierarchical.")
    ] = None,
    method: Annotated[
        Literal["auto", "global", "local", "mondrian"], typer.Option(help="How to generalise.")
    ] = "auto",
    hierarchies: Annotated[
        Path | None, typer.Option(help="Folder with *_hierarchy_COLUMN.csv files.")
    ] = None,
    into: Annotated[str, typer.Option(help="Name of the protected asset.")] = "",
    dry_run: DryRun = False,
) -> None:
    """Make a protected version. Example: vallum data protect patients --k 5."""
    with progress("protecting"), SESSION.client() as client:
        shown = client.data.protect(
            name, version=version, k=k, max_suppression=max_suppression, drop=drop or (),
            pseudonymise=pseudonymise or (), quasi_identifiers=qi or (),
            sensitive=sensitive or (), diversity=l or (), closeness=t or (), method=method,
            hierarchies=hierarchy_texts(hierarchies), into=into, dry_run=dry_run,
        )  # fmt: skip
    show("data.protect", shown, version_text(shown))


@data.command("drift")
def data_drift(
    name: Name,
    reference: Annotated[str, typer.Option(help="NAME:VERSION to compare with.")],
    version: Version = None,
    dry_run: DryRun = False,
) -> None:
    """Compare with a reference. Example: vallum data drift new --reference patients:1."""
    with progress("comparing"), SESSION.client() as client:
        shown = client.data.drift(name, reference=reference, version=version, dry_run=dry_run)
    show("data.drift", shown, version_text(shown))


@data.command("delete")
def data_delete(name: Name, version: Version = None, dry_run: DryRun = False) -> None:
    """Delete by destroying keys. Example: vallum data delete patients --dry-run."""
    with SESSION.client() as client:
        done = client.data.delete(name, version, dry_run=dry_run)
    show("data.delete", done, done.text)


@model.command("register")
def model_register(
    name: Annotated[str, typer.Argument(help="Name of the model.")],
    source: Annotated[Path, typer.Argument(help="File or folder.")],
    label: Annotated[str, typer.Option(help="Sensitivity label.")] = "",
    lineage: Annotated[list[str] | None, typer.Option(help="Data version id.")] = None,
    description: Annotated[str, typer.Option(help="For people.")] = "",
    card: Annotated[
        Path | None, typer.Option(help="Model card, Markdown; else the folder's README.md.")
    ] = None,
    convert: Annotated[
        bool, typer.Option("--convert", help="Register what it is as ONNX, made in a sandbox.")
    ] = False,
    data_name: Annotated[
        str, typer.Option("--data", help="NAME:VERSION that the conversion is measured on, too.")
    ] = "",
    feature: Annotated[list[str] | None, typer.Option(help="Column of it, in order.")] = None,
    bundle: Annotated[
        Path | None, typer.Option(help="Signature of it, by a release key of yours.")
    ] = None,
    dry_run: DryRun = False,
) -> None:
    """Scan and register a version. Example: vallum model register risk model.onnx."""
    told = b"" if card is None else read_file(card)
    with (
        progress("registering", total=size_of(source), unit="bytes") as advance,
        SESSION.client(advance) as client,
    ):
        shown = client.models.register(
            name, source, label=label, lineage=lineage or (), description=description, card=told,
            convert=convert, data=data_name, features=feature or (),
            bundle=b"" if bundle is None else read_file(bundle), dry_run=dry_run,
        )  # fmt: skip
    show("model.register", shown, version_text(shown))


@model.command("card")
def model_card(name: Name, version: Version = None) -> None:
    """Print the model card of a version. Example: vallum model card risk."""
    with SESSION.client() as client:
        text = client.models.card(name, version)
    show(
        "model.card",
        {"text": text},
        "\n".join(printable(line.expandtabs()) for line in text.splitlines()),
    )


@model.command("list")
def model_list() -> None:
    """List what you may read. Example: vallum model list."""
    with SESSION.client() as client:
        found = client.models.list()
    show("model.list", api.Listing(assets=tuple(found)), _assets(found))


@model.command("show")
def model_show(name: Name, version: Version = None) -> None:
    """Show a version and the verdicts about it. Example: vallum model show risk."""
    with SESSION.client() as client:
        shown = client.models.show(name, version)
    show("model.show", shown, version_text(shown))


@model.command("download")
def model_download(
    name: Name,
    version: Version = None,
    bom: Annotated[
        Path | None, typer.Option(help="Also write its bill of materials, CycloneDX.")
    ] = None,
    output: Output = None,
) -> None:
    """Download as a tar archive. Example: vallum model download risk -o risk.tar."""
    check_content(output)
    if str(bom) == "-":
        raise InputError("--bom takes a file: stdout is the model's", code="cli.usage")
    check_output(bom)
    if bom is not None and output is not None and bom.resolve() == output.resolve():
        raise InputError("--bom and -o name the same file", code="cli.usage")
    with SESSION.client() as client:
        if bom is not None:
            version = client.models.show(name, version).version.version  # both of one version
            name = name.partition(":")[0]
            write_out(client.models.bom(name, version), bom)
        content_out("model.download", client.models.stream(name, version), output)


@model.command("notebook")
def model_notebook(
    name: Name,
    path: Annotated[str, typer.Argument(help="Of the notebook within the version.")],
    version: Version = None,
) -> None:
    """Show a notebook of a version as text. Example: vallum model notebook risk look.ipynb."""
    with SESSION.client() as client:
        told = client.models.notebook(name, path, version)
    show("model.notebook", told, notebook_lines(told.notebook))


@model.command("bom")
def model_bom(
    name: Name,
    version: Version = None,
    diff: Annotated[
        str, typer.Option(help="Tell how NAME:VERSION differs instead; NAME comes first.")
    ] = "",
    output: Output = None,
) -> None:
    """Write the bill of materials, CycloneDX. Example: vallum model bom risk -o risk.cdx.json."""
    if not diff:
        check_content(output)
        with SESSION.client() as client:
            content_out("model.bom", [client.models.bom(name, version)], output)
        return
    if output is not None:
        raise InputError("--diff prints what differs and writes no file", code="cli.usage")
    with SESSION.client() as client:
        found = bom_difference(client.models.bom(name, version), client.models.bom(diff))
    show("model.bom-diff", msgspec.to_builtins(found), difference_text(found))


@model.command("provenance")
def model_provenance(
    name: Name,
    version: Version = None,
    check: Annotated[
        Path | None, typer.Option(help="Check this statement instead of writing one.")
    ] = None,
    public_key: Annotated[
        bool, typer.Option("--public-key", help="Write the key that checks statements instead.")
    ] = False,
    output: Output = None,
) -> None:
    """Write how a version was made, signed. Example: vallum model provenance risk -o r.jsonl."""
    if check is not None:
        if output is not None or public_key:
            raise InputError("--check writes no file", code="cli.usage")
        with SESSION.client() as client:
            done = client.models.check_provenance(name, version, envelope=read_file(check))
        show("model.provenance", done, done.text)
        return
    check_content(output)
    with SESSION.client() as client:
        written = client.models.provenance(name, version, key=public_key)
    content_out("model.provenance", [written], output)


@model.command("sign")
def model_sign(
    name: Name,
    version: Version = None,
    bundle: Annotated[Path | None, typer.Option(help="Your own signature bundle.")] = None,
    dry_run: DryRun = False,
) -> None:
    """Sign with the workspace's key. Example: vallum model sign risk."""
    given = b"" if bundle is None else read_file(bundle)
    with SESSION.client() as client:
        shown = client.models.sign(name, version, bundle=given, dry_run=dry_run)
    show("model.sign", shown, version_text(shown))


@model.command("verify")
def model_verify(name: Name, version: Version = None, dry_run: DryRun = False) -> None:
    """Check every byte and signature. Example: vallum model verify risk."""
    with progress("verifying"), SESSION.client() as client:
        done = client.models.verify(name, version, dry_run=dry_run)
    show("model.verify", done, done.text)


@model.command("test")
def model_test(
    name: Name,
    holdout: Annotated[str, typer.Option(help="Data that the model never saw.")],
    label_column: Annotated[str, typer.Option(help="Column with the class.")],
    data_name: Annotated[
        str, typer.Option("--data", help="Training data, NAME:VERSION: for attacks on privacy.")
    ] = "",
    feature: Annotated[list[str] | None, typer.Option(help="Column, in order.")] = None,
    segment: Annotated[
        list[str] | None, typer.Option(help="Column whose values are compared; again for more.")
    ] = None,
    suite: Annotated[
        Literal["quick", "standard", "full"], typer.Option(help="How much to do.")
    ] = "quick",
    access: Annotated[
        Literal["labels", "scores", "gradients"],
        typer.Option(help="What an attacker sees at most."),
    ] = "gradients",
    budget_s: Annotated[int, typer.Option(help="Seconds to attack.")] = 60,
    version: Version = None,
    dry_run: DryRun = False,
) -> None:
    """Test a version. Example: vallum model test r --data d:1 --holdout h --label-column y."""
    with progress("attacking"), SESSION.client() as client:
        shown = client.models.test(
            name, version, data=data_name, holdout=holdout, label_column=label_column,
            features=feature or (), segments=segment or (), suite=suite, access=access,
            budget_s=budget_s, dry_run=dry_run,
        )  # fmt: skip
        written = (
            b"" if dry_run else client.models.report(shown.version.name, shown.version.version)
        )
    show("model.test", shown, version_text(shown))
    if written and (untested := left_open(written)):
        for one in untested:
            sys.stderr.write(f"vallum: not tested: {one}\n")
        raise typer.Exit(1)
    if any(one.gate in TESTED and one.verdict.value != "pass" for one in shown.evidence):
        raise typer.Exit(1)


@model.command("report")
def model_report(
    name: Name,
    version: Version = None,
    html: Annotated[bool, typer.Option("--html", help="Write a page with plots instead.")] = False,
    output: Output = None,
) -> None:
    """Write the report of the last test. Example: vallum model report risk --html -o risk.html."""
    check_content(output)
    with SESSION.client() as client:
        written = client.models.report(name, version)
    if html:
        written = page_of(written)
    content_out("model.report", [written], output)


@model.command("alias")
def model_alias(
    name: Name,
    alias: Annotated[str, typer.Argument(help="Such as champion; NAME@ALIAS names the version.")],
    version: Version = None,
    dry_run: DryRun = False,
) -> None:
    """Point an alias at a version. Example: vallum model alias risk champion --version 3."""
    with SESSION.client() as client:
        shown = client.models.alias(name, alias, version, dry_run=dry_run)
    show("model.alias", shown, version_text(shown))


@model.command("unalias")
def model_unalias(
    name: Annotated[str, typer.Argument(help="Name of the model.")],
    alias: Annotated[str, typer.Argument(help="The alias to remove.")],
    dry_run: DryRun = False,
) -> None:
    """Remove an alias. Example: vallum model unalias risk champion."""
    with SESSION.client() as client:
        done = client.models.unalias(name, alias, dry_run=dry_run)
    show("model.unalias", done, done.text)


@model.command("update")
def model_update(
    name: Annotated[str, typer.Argument(help="Name of the model, or NAME:VERSION.")],
    description: Annotated[
        str | None, typer.Option(help="For people; an empty one removes it.")
    ] = None,
    tag: Annotated[list[str] | None, typer.Option(help="KEY=VALUE to set; again for more.")] = None,
    remove_tag: Annotated[list[str] | None, typer.Option(help="Tag to remove.")] = None,
    version: Annotated[int | None, typer.Option(help="That version; else the model.")] = None,
    dry_run: DryRun = False,
) -> None:
    """Change description and tags. Example: vallum model update risk:2 --tag stage=trial."""
    tags: dict[str, str] = {}
    for one in tag or ():
        key, equals, value = one.partition("=")
        if not equals or tags.setdefault(key, value) != value:
            raise InputError("a tag is written KEY=VALUE, and once", code="cli.usage",
                             hint="--tag owner=fraud-team")  # fmt: skip
    with SESSION.client() as client:
        told = client.models.update(
            name, version, description=description, tags=tags, remove_tags=remove_tag or (),
            dry_run=dry_run,
        )  # fmt: skip
    number = "" if told.version is None else f":{told.version}"
    show("model.update", told, "\n".join([f"model {told.name}{number}", *texts_lines(told.texts)]))


@model.command("delete")
def model_delete(name: Name, version: Version = None, dry_run: DryRun = False) -> None:
    """Delete by destroying keys. Example: vallum model delete risk --version 1."""
    with SESSION.client() as client:
        done = client.models.delete(name, version, dry_run=dry_run)
    show("model.delete", done, done.text)


def size_of(source: Path) -> int | None:
    """Return how many bytes an upload will have at least; None if nobody knows."""
    try:
        if source.is_dir():
            return sum(one.stat().st_size for one in source.rglob("*") if one.is_file())
        return source.stat().st_size
    except OSError:
        return None  # whatever is wrong is told by who reads it
