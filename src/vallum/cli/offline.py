"""Verbs that need no workspace: `pii`, `mask`, `doctor`, `version`."""

import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from vallum.base import InputError, LimitExceededError, Secret
from vallum.base.version import VERSION
from vallum.cli.border import (
    SESSION,
    check_content,
    read_file,
    say,
    show,
    table,
    write_out,
)
from vallum.cli.progress import progress
from vallum.sdk import read_key_file

if TYPE_CHECKING:
    import polars as pl

    from vallum.privacy import Recognizer, Span
    from vallum.privacy.dp import Cost

TABLES = {".csv": "csv", ".parquet": "parquet", ".jsonl": "jsonl", ".ndjson": "jsonl"}
_NO_TABLE = {  # but documents
    "format.jsonl.nested", "format.jsonl.ragged", "format.jsonl.types", "format.jsonl.row",
    "format.json.too-deep", "format.json.too-many-nodes",
}  # fmt: skip
_INDEX = re.compile(r"\[\d+\]")
MAX_TEXT_BYTES = 256 * 1024 * 1024
_MANY_CHARS = 48 * 1024 * 1024


def pii(
    files: Annotated[list[Path], typer.Argument(help="CSV, Parquet, JSON, JSON lines or text.")],
    hipaa: Annotated[
        bool, typer.Option("--hipaa", help="Tell which of Safe Harbor's 18 identifiers were found.")
    ] = False,
    spacy_model: Annotated[
        Path | None,
        typer.Option(help="Folder of a spaCy pipeline that names people and places as well."),
    ] = None,
) -> None:
    """Find personal data; never prints a value. Example: vallum pii patients.csv."""
    from vallum.privacy import (
        discover_nested,
        discover_table,
        pii_report,
        read_spacy,
    )
    from vallum.privacy.hipaa import safe_harbor

    asked = [] if spacy_model is None else [read_spacy(spacy_model)]
    tables = []
    texts = []
    for path in files:
        kind = TABLES.get(path.suffix.lower())
        documents = _documents(path, kind)
        if documents is not None:
            texts.append((str(path), discover_nested(documents, recognizers=asked)))
        elif kind is not None:
            tables.append((str(path), discover_table(read_input(path), recognizers=asked)))
        else:
            found = _search_lines(_lines(path), asked)
            texts.append((str(path), [tuple(("", span) for span in one) for one in found]))
    report = pii_report(tables, texts)
    types = {one.type for _, found in tables for one in found.columns if one.type}
    types |= {span.type for _, records in texts for one in records for _, span in one}
    if SESSION.as_json:
        if hipaa:
            report["safe_harbor"] = [
                {"letter": one.letter, "name": one.name, "status": status, "note": one.note}
                for one, status in safe_harbor(types)
            ]
        sys.stdout.write(json.dumps(report) + "\n")
        return
    for name, held in tables:
        rows = [
            (one.name, one.type, one.count, f"{one.share:.0%}", one.label.value)
            for one in held.columns
            if one.type
        ]
        sys.stdout.write(f"{name}: {held.rows} records, label {held.label.value}\n")
        sys.stdout.write(table(("column", "type", "count", "share", "label"), rows) + "\n")
    for name, records in texts:
        spans = [(field, span.type) for record in records for field, span in record]
        fields = sorted({(_INDEX.sub("[]", field), kind) for field, kind in spans})
        counts = [
            (*([field] if any(name for name, _ in fields) else []), kind,
             sum((_INDEX.sub("[]", at), one) == (field, kind) for at, one in spans))
            for field, kind in fields
        ]  # fmt: skip
        header = ("field", "type", "count")[-len(counts[0]) if counts else -2 :]
        sys.stdout.write(f"{name}: {len(spans)} span(s)\n{table(header, counts)}\n")
    if hipaa:
        held_types = [
            (f"({one.letter})", one.name, status, one.note) for one, status in safe_harbor(types)
        ]
        sys.stdout.write(table(("", "identifier", "status", "note"), held_types) + "\n")


def _search_lines(lines: Sequence[str], asked: Sequence["Recognizer"]) -> list[tuple["Span", ...]]:
    """Search lines, in several processes where they save more time than they take to start."""
    from vallum.privacy import discover_texts
    from vallum.sandbox import process_pool

    if asked or sum(map(len, lines)) < _MANY_CHARS:
        return discover_texts(lines, recognizers=asked)
    with progress("searching"), process_pool() as run:
        return discover_texts(lines, run=run)


def _documents(path: Path, kind: str | None) -> list[object] | None:
    """Return the documents of a JSON file, or of JSON lines that are no table."""
    from vallum.formats import load_json

    if path.suffix.lower() == ".json":
        document = load_json(read_file(path))
        return document if isinstance(document, list) else [document]
    if kind != "jsonl":
        return None
    try:
        read_input(path)
    except (InputError, LimitExceededError) as error:
        if error.code not in _NO_TABLE:
            raise
        return [load_json(line.encode()) for line in _lines(path) if line.strip()]
    return None


def mask(
    file: Annotated[Path, typer.Argument(help="CSV, Parquet, JSON lines or text.")],
    recipe: Annotated[Path | None, typer.Option(help="YAML recipe.")] = None,
    suggest: Annotated[bool, typer.Option(help="Write a recipe instead.")] = False,
    reverse: Annotated[bool, typer.Option(help="Undo ff1 and date_shift of the recipe.")] = False,
    replacement: Annotated[
        Literal["type", "pseudonym", "surrogate"], typer.Option(help="For spans of a text file.")
    ] = "type",
    key_file: Annotated[
        Path | None, typer.Option(help="0600 file: key of pseudonyms, surrogates and FF1.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="File to write: .csv or .parquet.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Tell what would happen.")] = False,
) -> None:
    """Mask personal data by recipe, or randomise it before it leaves this device.

    Example: vallum mask patients.csv -o masked.csv
    """
    import msgspec

    from vallum.formats import load_yaml
    from vallum.privacy import (
        discover_table,
        local_costs,
        mask_table,
        mask_text,
        parse_recipe,
        suggest_recipe,
        unmask_table,
    )

    SESSION.dry_run = dry_run
    if not dry_run:
        check_content(output)
    if reverse and (recipe is None or key_file is None):
        raise InputError("--reverse needs --recipe and --key-file", code="cli.usage")
    kind = TABLES.get(file.suffix.lower())
    if kind is None:
        if suggest or dry_run or recipe is not None:
            raise InputError("recipes are for tables", code="mask.kind")
        key = _mask_key(key_file, needed=replacement != "type")
        masked = "\n".join(
            mask_text(line, key=key.reveal(), replacement=replacement) for line in _lines(file)
        )
        _written(masked.encode() + b"\n", output)
        return
    frame = read_input(file)
    used = (
        suggest_recipe(discover_table(frame))
        if recipe is None
        else parse_recipe(load_yaml(read_file(recipe)))
    )
    if suggest:
        _written(msgspec.yaml.encode(used), output)
        return
    if recipe is None:
        say(f"no recipe given: masking {len(used.columns)} column(s) that were found")
    keyed = {"pseudonym", "surrogate", "ff1", "date_shift"}
    key = _mask_key(
        key_file,
        needed=any(
            one.operation in keyed or (one.operation == "spans" and one.replacement != "type")
            for one in used.columns
        ),
    )
    costs = {} if reverse else local_costs(used)
    with progress("masking"):
        run = unmask_table if reverse else mask_table
        made = run(frame, used, key=key.reveal())
    local = _local(costs)
    if dry_run:
        rows = [
            (one.column, one.operation, frame[one.column].n_unique(),
             made[one.column].n_unique() if one.column in made.columns else 0)
            for one in used.columns if one.column in frame.columns
        ]  # fmt: skip
        record = [
            {"column": name, "operation": how, "distinct_before": before, "distinct_after": after}
            for name, how, before, after in rows
        ]
        header = ("column", "operation", "distinct before", "after")
        show("mask", {"columns": record, **local}, table(header, rows))
        return
    _written(encoded(made, output), output, **local)


def read_input(path: Path) -> "pl.DataFrame":
    """Read a table by the kind that its name says; Ctrl-C ends the reading, of a pipe too."""
    import signal

    from vallum.formats import read_table

    # polars puts a handler of its own in place that restarts reads which a signal ended.
    signal.siginterrupt(signal.SIGINT, True)
    return read_table(path, kind=TABLES.get(path.suffix.lower()))


def encoded(made: "pl.DataFrame", target: Path | None) -> bytes:
    """Return a table in the form that the target's name asks for: Parquet, or CSV.

    Parquet is written anew: nothing of the source's footer, statistics or names of files is in it.
    """
    import io

    from vallum.formats import write_csv_safe

    if target is not None and target.suffix.lower() == ".parquet":
        out = io.BytesIO()
        made.write_parquet(out)
        return out.getvalue()
    return write_csv_safe(made)


def _mask_key(file: Path | None, *, needed: bool) -> Secret:
    import secrets

    if file is not None:
        return read_key_file(file)
    if needed:
        say("pseudonyms are under a key drawn now; pass --key-file to get the same ones again")
    return Secret(secrets.token_bytes(32))


def doctor(
    data: Annotated[Path, typer.Option(help="Data folder.")] = Path("vallum-data"),
) -> None:
    """Name insecure settings and how to mend each. Example: vallum doctor."""
    from vallum.cli.doctor import examine

    problems = examine(data)
    if SESSION.as_json:
        found = [{"what": what, "fix": fix} for what, fix in problems]
        sys.stdout.write(json.dumps({"schema": "vallum.doctor/1", "problems": found}) + "\n")
    elif problems:
        for what, fix in problems:
            sys.stdout.write(f"{what}\n  fix: {fix}\n")
    else:
        sys.stdout.write("nothing to mend\n")
    raise typer.Exit(1 if problems else 0)


def version() -> None:
    """Print the version. Example: vallum version."""
    show("version", {"version": VERSION}, VERSION)


def register(app: typer.Typer) -> None:
    """Add the verbs."""
    app.command("pii")(pii)
    app.command("mask")(mask)
    app.command("doctor")(doctor)
    app.command("version")(version)


def _local(costs: "dict[str, Cost]") -> dict[str, object]:
    """Say what one row spends on local randomisation, and return it for the JSON."""
    import msgspec

    if not costs:
        return {}
    built: dict[str, dict[str, str]] = msgspec.to_builtins(costs)
    total = built.pop("")
    spent = ", ".join(f"{name} {number}" for name, number in total.items() if number != "0")
    say(
        f"local randomisation of {len(built)} column(s) costs each row {spent}; "
        "rows of the same person add up, and so does each further run"
    )
    return {"local": {**total, "columns": built}}


def _written(data: bytes, output: Path | None, **more: object) -> None:
    write_out(data, output)
    if SESSION.as_json:
        show("mask", {"file": str(output), "bytes": len(data), **more}, "")


def _lines(path: Path) -> list[str]:
    try:
        if path.stat().st_size > MAX_TEXT_BYTES:
            raise LimitExceededError(f"`{path}` exceeds {MAX_TEXT_BYTES} bytes", code="pii.size")
        return path.read_text().splitlines()
    except UnicodeDecodeError as error:
        raise InputError(f"`{path}` is not UTF-8 text", code="pii.text") from error
    except OSError as error:
        raise InputError(f"`{path}` cannot be read: {error.strerror}", code="cli.file") from error
