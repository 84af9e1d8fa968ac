"""Scoring code of one's own, as `vallum endpoint deploy --file` sends it."""

from pathlib import Path

from vallum.base import InputError
from vallum.cli.border import say
from vallum.cli.progress import progress
from vallum.sdk import Client


def freeze(client: Client, endpoint: str, folder: Path, entry: str, *, dry_run: bool) -> str:
    """Have scoring code scanned, signed and frozen; return its id for a deployment.

    Raises:
        InputError: It is a dry run: it went well, and what comes after it needs the code.
    """
    with progress(f"scanning {folder.name}"):
        made = client.endpoints.add_code(endpoint, folder, entry=entry, dry_run=dry_run)
    if dry_run:
        raise InputError(
            "the scoring code would be accepted; its deployment cannot be rehearsed before"
            " the code is frozen",
            code="cli.dry-run",
            hint="leave --dry-run out",
        )
    (found,) = made.evidence
    say(f"scoring code {made.digest}: {found.gate} {found.verdict.value}, signed, frozen")
    return made.id
