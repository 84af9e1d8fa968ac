"""`vallum anonymize`: k-anonymity, l-diversity and t-closeness for a file, and their proof."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from vallum.base import InputError
from vallum.cli.border import SESSION, check_content, check_output, read_file, say, show, table
from vallum.cli.border import write_out as write
from vallum.cli.offline import encoded, read_input
from vallum.cli.options import names_of
from vallum.cli.progress import progress

if TYPE_CHECKING:
    import polars as pl

    from vallum.privacy import PresenceCheck
    from vallum.privacy.anonymize import Anonymized, Hierarchy, Requirements

_HIERARCHY = "_hierarchy_"


def anonymize(
    file: Annotated[Path, typer.Argument(help="CSV, Parquet or JSON lines.")],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="File to write: .csv or .parquet.")
    ] = None,
    qi: Annotated[str, typer.Option(help="Quasi-identifiers, separated by commas.")] = "",
    sensitive: Annotated[str, typer.Option(help="Sensitive columns, by commas.")] = "",
    k: Annotated[int, typer.Option(help="Least records of a class.")] = 5,
    l: Annotated[  # noqa: E741 - the model's name
        list[str] | None,
        typer.Option(help="distinct:3, entropy:3 or recursive:C:3; COLUMN=… for one column."),
    ] = None,
    t: Annotated[
        list[str] | None, typer.Option(help="0.2, 0.2:ordered or 0.2:hierarchical.")
    ] = None,
    hierarchies: Annotated[
        Path | None, typer.Option(help="Folder with *_hierarchy_COLUMN.csv files.")
    ] = None,
    max_suppression: Annotated[
        float, typer.Option(help="Share of records that may be left out.")
    ] = 0.04,
    method: Annotated[
        Literal["auto", "global", "local", "mondrian"], typer.Option(help="How to generalise.")
    ] = "auto",
    time_budget: Annotated[float, typer.Option(help="Seconds for the search.")] = 60.0,
    population: Annotated[
        str, typer.Option(help="Everybody it could be about: a file, or how many; 0: the table.")
    ] = "0",
    presence: Annotated[
        str, typer.Option(help="Share of each class of the population FILE: 0.1:0.8.")
    ] = "",
    population_output: Annotated[
        Path | None, typer.Option(help="Write the population, generalised alike, here.")
    ] = None,
    keep: Annotated[
        str, typer.Option(help="Columns to keep although they identify, by commas.")
    ] = "",
    keep_order: Annotated[
        bool, typer.Option(help="Keep the order of records, which may tell who is who.")
    ] = False,
    report: Annotated[
        Path | None, typer.Option(help="Write a before-and-after report: .html or .json.")
    ] = None,
    write_hierarchies: Annotated[
        Path | None, typer.Option(help="Write the hierarchies that were used into this folder.")
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Change nothing: tell what FILE reaches.")
    ] = False,
    suggest: Annotated[
        bool, typer.Option("--suggest", help="Change nothing: tell which columns recognise.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Write no table.")] = False,
) -> None:
    """Anonymize a table. Example: vallum anonymize adult.csv -o safe.csv --qi age,sex --k 5."""
    from vallum.privacy import discover_table
    from vallum.privacy.anonymize import Requirements
    from vallum.privacy.anonymize import anonymize as run

    SESSION.dry_run = dry_run
    if sum((check, suggest, dry_run)) > 1:
        raise InputError("--check, --suggest and --dry-run are three things", code="cli.usage")
    if not (check or suggest or dry_run):
        check_content(output)
    check_output(report)
    check_output(population_output)
    size, everybody = _population(population, presence, population_output)
    frame = read_input(file)
    named = names_of(sensitive)
    if suggest:
        _suggest(frame, named)
        return
    columns = names_of(qi)
    if not columns:
        raise InputError(
            "no quasi-identifiers are named",
            code="cli.usage",
            hint=f"vallum anonymize {file} --suggest tells which columns recognise people",
        )
    for name in (*columns, *named):
        if name not in frame.columns:
            raise InputError(f"the table has no column `{name}`", code="privacy.column")
    given = _hierarchies(hierarchies, (*columns, *named))
    wanted = Requirements(
        k=k, l=tuple(l or ()), t=tuple(t or ()), max_suppression=max_suppression, presence=presence
    )
    if check:
        raise typer.Exit(_check(frame, columns, named, wanted, given, everybody))
    kinds = {}
    rest = [one for one in frame.columns if one not in {*columns, *named}]
    for one in discover_table(frame.select([*columns, *rest])).columns:
        kinds[one.name] = one.type
        if one.direct and one.type and one.name in rest and one.name not in names_of(keep):
            say(f"dropping column `{one.name}`: it identifies ({one.type}); --keep keeps it")
            frame = frame.drop(one.name)
    with progress("anonymizing", total=100) as advance:
        reached = [0]

        def told(share: float) -> None:
            now = int(share * 100)
            if now > reached[0]:
                advance(now - reached[0])
                reached[0] = now

        made = run(
            frame, columns, wanted, sensitive=named, hierarchies=given, kinds=kinds,
            method=method, seconds=time_budget, keep_order=keep_order, progress=told,
            population=everybody if presence else None,
        )  # fmt: skip
    record = _report(frame, columns, named, made, size, report)
    if write_hierarchies is not None:
        _write_hierarchies(write_hierarchies, file.stem, made.hierarchies)
    if not dry_run:
        if population_output is not None and made.population is not None:
            write(encoded(made.population, population_output), population_output)
        write(encoded(made.table, output), output)
    if SESSION.as_json or output is not None or dry_run:
        _show(record, made, output)


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("anonymize")(anonymize)


def _population(text: str, presence: str, output: Path | None) -> "tuple[int, pl.DataFrame | None]":
    """Return the records of the population, and who they are if a file lists them."""
    try:
        size, everybody = int(text), None
    except ValueError:
        everybody = read_input(Path(text))
        size = everybody.height
    if presence and everybody is None:
        raise InputError(
            "--presence needs --population FILE, which lists everybody", code="cli.usage"
        )
    if output is not None and not presence:
        raise InputError("--population-output needs --presence", code="cli.usage")
    return size, everybody


def hierarchy_files(folder: Path) -> dict[str, Path]:
    """Return the hierarchy files of a folder by their column.

    Raises:
        InputError: There is no such folder, none in it, or two of one column.
    """
    if not folder.is_dir():
        raise InputError(f"`{folder}` is no folder", code="cli.file")
    found: dict[str, Path] = {}
    for path in sorted(folder.glob(f"*{_HIERARCHY}*.csv")):
        column = path.stem.partition(_HIERARCHY)[2]
        if column in found:
            raise InputError(
                f"`{folder}` has two hierarchies of `{column}`", code="hierarchy.twice"
            )
        found[column] = path
    if not found:
        raise InputError(f"`{folder}` has no *{_HIERARCHY}COLUMN.csv", code="hierarchy.none")
    return found


def hierarchy_texts(folder: Path | None) -> dict[str, str]:
    """Return the texts of the hierarchy files of a folder by their column.

    Raises:
        InputError: As `hierarchy_files`, or a file is not UTF-8.
    """
    out = {}
    for column, path in ({} if folder is None else hierarchy_files(folder)).items():
        try:
            out[column] = read_file(path).decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise InputError(f"`{path}` is not UTF-8", code="hierarchy.text") from error
    return out


def _hierarchies(folder: Path | None, columns: tuple[str, ...]) -> "dict[str, Hierarchy]":
    from vallum.privacy.anonymize import read_hierarchy

    return {
        name: read_hierarchy(read_file(path), name=name)
        for name, path in ({} if folder is None else hierarchy_files(folder)).items()
        if name in columns
    }


def _suggest(frame: "pl.DataFrame", sensitive: tuple[str, ...]) -> None:
    from dataclasses import asdict

    from vallum.privacy import discover_table, suggest_quasi_identifiers

    direct = [one.name for one in discover_table(frame).columns if one.direct and one.type]
    found = suggest_quasi_identifiers(frame, sensitive=sensitive, direct=direct)
    rows = [
        (one.column, one.role, f"{one.distinction:.2%}", f"{one.separation:.2%}",
         f"{one.joint:.2%}" if one.joint else "-")
        for one in found
    ]  # fmt: skip
    show(
        "anonymize",
        {"suggestions": [asdict(one) for one in found]},
        table(("column", "role", "distinction", "separation", "joint"), rows),
    )


def _check(
    frame: "pl.DataFrame",
    columns: tuple[str, ...],
    sensitive: tuple[str, ...],
    wanted: "Requirements",
    given: "dict[str, Hierarchy]",
    everybody: "pl.DataFrame | None",
) -> int:
    from dataclasses import asdict

    from vallum.privacy import check_anonymity
    from vallum.privacy.anonymize import measure_presence, unmet

    lines = {name: given[name].rows() for name in sensitive if name in given}
    found = check_anonymity(frame, columns, sensitive, lines)
    there = (
        measure_presence(frame, everybody, columns, given)
        if everybody is not None and wanted.presence
        else None
    )
    missed = unmet(found, wanted, sensitive, there)
    record = {**asdict(found), "met": not missed, "unmet": missed}
    if there is not None:
        record["presence"] = asdict(there)
    text = [
        f"k = {found.k} over {found.classes} classes of {found.records} records",
        *(
            f"{one.column}: distinct l = {one.distinct}, entropy l = {one.entropy:.3f}, "
            f"t = {one.t_equal:.4f} (equal), {one.t_ordered:.4f} (ordered)"
            for one in found.diversity
        ),
        *([] if there is None else [_presence(there)]),
        f"not met: {', '.join(missed)}" if missed else "met",
    ]
    show("anonymize", json.loads(json.dumps(record).replace("Infinity", "null")), "\n".join(text))
    return 1 if missed else 0


def _presence(found: "PresenceCheck") -> str:
    return (
        f"presence {found.low:.4f} to {found.high:.4f} in {found.classes} classes of the "
        f"population, {found.absent} of them without a record"
    )


def _report(
    frame: "pl.DataFrame",
    columns: tuple[str, ...],
    sensitive: tuple[str, ...],
    made: "Anonymized",
    population: int,
    target: Path | None,
) -> dict[str, object]:
    from vallum.privacy import measure_risk
    from vallum.privacy.anonymize import measure_utility, report_page, report_record

    before = measure_risk(frame, columns, population=population)
    after = measure_risk(made.table, columns, population=population)
    utility = measure_utility(frame, made, columns, sensitive)
    record = report_record(made, before, after, utility)
    if target is not None:
        page = (
            json.dumps({"schema": "vallum.anonymize/1", **record}, indent=2) + "\n"
            if target.suffix == ".json"
            else report_page(frame, columns, made, (before, after), utility)
        )
        write(page.encode(), target)
    return record


def _write_hierarchies(folder: Path, stem: str, used: "dict[str, Hierarchy]") -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"`{folder}` cannot be made: {error.strerror}", code="cli.file") from error
    for name, hierarchy in used.items():
        if "/" in name or name.startswith("."):
            raise InputError(f"column `{name}` gives no file name", code="cli.file")
        write(hierarchy.to_csv(), folder / f"{stem}{_HIERARCHY}{name}.csv")


def _show(record: dict[str, object], made: "Anonymized", output: Path | None) -> None:
    if SESSION.as_json:
        show("anonymize", {"file": None if output is None else str(output), **record}, "")
        return
    risk = record["risk"]
    lines = [
        (
            f"{', '.join(made.requirements)}: {made.table.height} records in {made.check.classes} "
            f"classes, {made.suppressed} suppressed, loss {made.loss:.4f} ({made.method})"
        ),
        f"checked: k = {made.check.k}"
        + (f", l = {made.check.l}, t = {made.check.t:.4f}" if made.check.diversity else ""),
        *([] if made.presence is None else [f"checked: {_presence(made.presence)}"]),
    ]
    if isinstance(risk, dict):
        lines.append(
            f"highest risk {risk['before']['prosecutor_max']:.2%} before, "
            f"{risk['after']['prosecutor_max']:.2%} after; mean "
            f"{risk['before']['prosecutor_mean']:.2%} before, "
            f"{risk['after']['prosecutor_mean']:.2%} after"
        )
    text = "\n".join(lines) + "\n"
    (sys.stderr if output is None and not SESSION.dry_run else sys.stdout).write(text)
    if SESSION.dry_run:
        say("dry run: no table was written")
