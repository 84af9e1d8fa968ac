"""The verb `scan`."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from vallum.base import InputError
from vallum.base.version import VERSION
from vallum.cli.border import SESSION, check_output, read_file, say, show, write_out
from vallum.cli.progress import progress
from vallum.cli.scan_image import (
    judge_image,
    tokens,
    told,
    write_image_bom,
)

if TYPE_CHECKING:
    from vallum.scan import CodeRules, FileReport


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
    image: Annotated[
        bool,
        typer.Option(
            "--image", help="Judge a container image: an OCI layout, a folder or a tar of one."
        ),
    ] = False,
    digest: Annotated[
        str, typer.Option(help="With --image: the image that is meant, sha256:…; it is pinned so.")
    ] = "",
    rules_file: Annotated[
        Path | None,
        typer.Option("--rules", help="With --image: what it must be, YAML; missing is refused."),
    ] = None,
    key: Annotated[
        list[Path] | None,
        typer.Option(help="With --image: PEM public key that must have signed it, as cosign does."),
    ] = None,
    reports: Annotated[
        list[Path] | None,
        typer.Option("--report", help="With --image: JSON of Trivy or Grype about it, to count."),
    ] = None,
    bom: Annotated[
        Path | None, typer.Option(help="With --image: also write its packages here, CycloneDX.")
    ] = None,
    workers: Annotated[
        int,
        typer.Option(
            min=0,
            max=64,
            help="Processes that scan at once where it pays; 0, the default, is one a processor.",
        ),
    ] = 0,
    sarif: Annotated[
        Path | None, typer.Option(help="Also write SARIF 2.1.0 here; - is stdout instead.")
    ] = None,
) -> None:
    """Scan model files without loading them; exit 1 on findings. Example: vallum scan model.pkl."""
    from vallum.scan import count_files, scan_each
    from vallum.scan.image import is_layout

    only_sarif = sarif is not None and str(sarif) == "-"
    if only_sarif and SESSION.as_json:
        raise InputError(
            "SARIF and `--json` cannot share stdout", code="cli.output", hint="give --sarif a file"
        )
    if not code and (allow_license or trust_index):
        raise InputError(
            "--allow-license and --trust-index are about code", code="cli.usage", hint="add --code"
        )
    if not image and (digest or rules_file or key or reports or bom):
        raise InputError(
            "--digest, --rules, --key, --report and --bom are about images",
            code="cli.usage", hint="add --image",
        )  # fmt: skip
    if image and (code or len(paths or ()) > 1):
        raise InputError(
            "--image judges one layout, without --code", code="cli.usage",
            hint="vallum scan --image LAYOUT",
        )  # fmt: skip
    check_output(sarif)
    check_output(bom)
    if update_advisories is not None:
        _update(update_advisories, alone=not paths)
        if not paths:
            return
    if not paths:
        raise InputError("there is nothing to scan", code="cli.usage", hint="vallum scan PATH")
    if image:
        with progress("scanning"):
            images = judge_image(
                paths[0], digest=digest, rules_file=rules_file, keys=key or (),
                reports=reports or (),
            )  # fmt: skip
        write_image_bom(images, paths[0].name, bom)
        _finish([images.file], sarif, only_sarif=only_sarif, more={"images": told(images)})
    rules = _rules(allow_license or (), trust_index or ()) if code else None
    files: list[FileReport] = []
    counts = [count_files(path, code=rules) for path in paths]
    for path, count in zip(paths, counts, strict=True):
        if not count:
            raise InputError(
                f"there is nothing to scan in `{path}`", code="cli.usage", hint="vallum scan PATH"
            )
    with progress("scanning", total=sum(counts), unit="files") as advance:
        for path in paths:
            files += scan_each(path, code=rules, workers=workers or None, done=advance)
        if any(is_layout(path) for path in paths):
            say("a container image is judged with `vallum scan --image`")
    _finish(files, sarif, only_sarif=only_sarif)


def _finish(
    files: "list[FileReport]", sarif: Path | None, *, only_sarif: bool,
    more: dict[str, object] | None = None,
) -> NoReturn:  # fmt: skip
    """Write what was found where it was asked for, and exit as the verdict says."""
    from vallum.govern import sarif as as_sarif
    from vallum.scan import ScanReport

    report = ScanReport(tuple(files))
    if sarif is not None:
        found = [(file.path, finding) for file in files for finding in file.findings]
        write_out(json.dumps(as_sarif(found, version=VERSION), indent=2).encode() + b"\n", sarif)
    if SESSION.as_json:
        sys.stdout.write(json.dumps({**report.to_json(), **(more or {})}) + "\n")
    elif not only_sarif:
        for file in files:
            _print(file)
    raise typer.Exit(report.exit_code)


def _update(file: Path, *, alone: bool) -> None:
    from vallum.scan.advisories import BOUNDS, advisories_path, keep_snapshot, read_osv

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
    from vallum.scan.advisories import advisories_path, load_snapshot
    from vallum.scan.code.licenses import check_allowed

    return CodeRules(
        advisories=load_snapshot(advisories_path()),
        licenses=check_allowed(licenses) if licenses else None,
        trusted_indexes=frozenset(indexes),
        finder=tokens,
    )


def _print(file: "FileReport") -> None:
    sys.stdout.write(f"{file.verdict.value:<10} {file.format:<12} {file.path}\n")
    for finding in file.findings:
        where = f" at {finding.offset}" if finding.offset is not None else ""
        if finding.line is not None:
            where = f" in line {finding.line}"
        if finding.member and finding.line is not None:
            where += f" of {finding.member}"
        elif finding.member and file.format.startswith("oci-"):
            where += f" in {finding.member}"
        rule = " ".join(one for one in (finding.id, finding.atlas) if one)
        sys.stdout.write(f"    {finding.severity}: {finding.message}{where} [{rule}]\n")


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("scan")(scan)
