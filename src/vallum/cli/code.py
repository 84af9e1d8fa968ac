"""Scoring code of one's own, as `vallum endpoint deploy --file` sends it."""

from pathlib import Path

from vallum.cli.border import say
from vallum.cli.progress import progress
from vallum.schema.code import CodeShown
from vallum.sdk import Client


def freeze(client: Client, endpoint: str, folder: Path, entry: str, *, dry_run: bool) -> CodeShown:
    """Have scoring code scanned, signed and frozen; a dry run only scans it."""
    with progress(f"scanning {folder.name}"):
        made = client.endpoints.add_code(endpoint, folder, entry=entry, dry_run=dry_run)
    (found,) = made.evidence
    end = "it would be signed and frozen" if dry_run else "signed, frozen"
    say(f"scoring code {made.digest}: {found.gate} {found.verdict.value}, {end}")
    return made
