"""The verb `scan`, and where the advisories that it matches against are kept."""

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vallum.base import InputError
from vallum.base.version import VERSION
from vallum.cli.border import SESSION, check_output, read_file, say, show, write_out
from vallum.cli.progress import progress

if TYPE_CHECKING:
    from vallum.scan import CodeRules, FileReport

_SECRET = "security."  # noqa: S105 - how the types of tokens begin


def scan(
    paths: Annotated[list[Path] | None, typer.Argument(help="Files or folders.")] = None,
    code: Annotated[
        bool,
        typer.Option(
            "--code",
            help="Judge source, notebooks, dependency files and licences as what they are; "
            "without it they are taken for parts of a model, in which code is a finding.",
        ),
    ] = False,
    allow_license: Annotated[
        list[str] | None,
        typer.Option(help="SPDX identifier; with one, every other licence is a finding."),
    ] = None,
    trust_index: Annotated[
        list[str] | None,
        typer.Option(help="Host of a package index, or conda channel, that is yours."),
    ] = None,
    update_advisories: Annotated[
        Path | None,
        typer.Option(
            help="Keep the advisories of this file: OSV's zip of an ecosystem, or its JSON."
        ),
    ] = None,
    sarif: Annotated[
        Path | None, typer.Option(help="Also write SARIF 2.1.0 here; - is stdout instead.")
    ] = None,
) -> None:
    """Scan model files without loading them; exit 1 on findings. Example: vallum scan model.pkl."""
    from vallum.govern import sarif as as_sarif
    from vallum.scan import ScanReport, scan_each

    only_sarif = sarif is not None and str(sarif) == "-"
    if only_sarif and SESSION.as_json:
        raise InputError(
            "SARIF and `--json` cannot share stdout", code="cli.output", hint="give --sarif a file"
        )
    if not code and (allow_license or trust_index):
        raise InputError(
            "--allow-license and --trust-index are about code", code="cli.usage", hint="add --code"
        )
    check_output(sarif)
    if update_advisories is not None:
        _update(update_advisories, alone=not paths)
        if not paths:
            return
    if not paths:
        raise InputError("there is nothing to scan", code="cli.usage", hint="vallum scan PATH")
    rules = _rules(allow_license or (), trust_index or ()) if code else None
    files = []
    with progress("scanning", unit="files") as advance:
        for path in paths:
            for file in scan_each(path, code=rules):
                files.append(file)
                advance(1)
    report = ScanReport(tuple(files))
    if sarif is not None:
        found = [(file.path, finding) for file in files for finding in file.findings]
        write_out(json.dumps(as_sarif(found, version=VERSION), indent=2).encode() + b"\n", sarif)
    if SESSION.as_json:
        sys.stdout.write(json.dumps(report.to_json()) + "\n")
    elif not only_sarif:
        for file in files:
            _print(file)
    raise typer.Exit(report.exit_code)


def advisories_path(family: str = "PyPI") -> Path:
    """Return where advisories are kept: `VALLUM_ADVISORIES`, or the user's data folder (XDG)."""
    name = family.lower().replace(" ", "-") + ".msgpack"
    named = os.environ.get("VALLUM_ADVISORIES", "")
    if named:
        return Path(named) / name
    data = os.environ.get("XDG_DATA_HOME", "")
    folder = Path(data) if data else Path.home() / ".local" / "share"
    return folder / "vallum" / "advisories" / name


def _update(file: Path, *, alone: bool) -> None:
    from vallum.scan.advisories import BOUNDS, keep_snapshot, read_osv

    try:
        size = file.stat().st_size
    except OSError as error:
        raise InputError(f"`{file}` cannot be read: {error.strerror}", code="cli.file") from error
    if size > BOUNDS.max_bytes:
        raise InputError(f"`{file}` exceeds {BOUNDS.max_bytes} bytes", code="advisories.size")
    with progress("reading advisories"):
        snapshots = read_osv(read_file(file))
        for snapshot in snapshots:
            keep_snapshot(snapshot, advisories_path(snapshot.family))
    count = sum(one.count for one in snapshots)
    packages = sum(len(one.packages) for one in snapshots)
    newest = max(one.newest for one in snapshots)
    text = f"{count} advisories about {packages} packages are kept; the newest is of {newest}"
    if not alone:
        say(text)
        return
    result: dict[str, object] = {
        "advisories": count, "packages": packages, "newest": newest,
        "ecosystems": [one.family for one in snapshots],
    }  # fmt: skip
    show("advisories", result, text)


def _rules(licenses: Sequence[str], indexes: Sequence[str]) -> "CodeRules":
    from vallum.scan import CodeRules
    from vallum.scan.advisories import load_snapshot
    from vallum.scan.code.licenses import check_allowed

    return CodeRules(
        advisories=load_snapshot(advisories_path()),
        licenses=check_allowed(licenses) if licenses else None,
        trusted_indexes=frozenset(indexes),
        finder=_tokens,
    )


def _tokens(texts: Sequence[str]) -> list[list[tuple[int, str]]]:
    """Find tokens by the forms that the discovery of personal data knows."""
    from vallum.privacy import discover_texts

    return [
        [
            (span.start, span.type.removeprefix(_SECRET))
            for span in spans
            # Passwords are told by names, which the scan reads with more of their context.
            if span.type.startswith(_SECRET) and span.type != "security.password"
        ]
        for spans in discover_texts(texts)
    ]


def _print(file: "FileReport") -> None:
    sys.stdout.write(f"{file.verdict.value:<10} {file.format:<12} {file.path}\n")
    for finding in file.findings:
        where = f" at {finding.offset}" if finding.offset is not None else ""
        if finding.line is not None:
            where = f" in line {finding.line}"
        if finding.member and finding.line is not None:
            where += f" of {finding.member}"
        rule = " ".join(one for one in (finding.id, finding.atlas) if one)
        sys.stdout.write(f"    {finding.severity}: {finding.message}{where} [{rule}]\n")


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("scan")(scan)
