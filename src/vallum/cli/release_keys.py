"""`vallum release-key …`: whose signatures on models count."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from vallum.base import InputError
from vallum.cli.border import SESSION, read_file, show, table
from vallum.cli.options import DryRun
from vallum.schema.release import ReleaseKey, ReleaseKeys

release_key = typer.Typer(name="release-key", help="Keys whose signatures on models count.",
                          no_args_is_help=True)  # fmt: skip


def _confirm(name: str, keys: Sequence[ReleaseKey]) -> None:
    """Ask before the workspace's own key is retired: nothing is signed until another is chosen.

    Raises:
        InputError: Nobody can be asked, or they say no.
    """
    own = [one for one in keys if one.kind != "public" and not one.until]
    if not any(name in (one.name, one.key_id, one.id) for one in own):
        return
    if SESSION.as_json or not sys.stdin.isatty():
        raise InputError(
            "the workspace signs nothing from then on, until it is started with another key",
            code="cli.confirm", hint="add --yes",
        )  # fmt: skip
    if not typer.confirm("Retire the key that the workspace signs with?", err=True):
        raise InputError("nothing was retired", code="cli.confirm")


def _state(one: ReleaseKey) -> str:
    if one.compromised:
        return "compromised"
    return f"until {one.until[:16]}" if one.until else "signs"


@release_key.command("list")
def release_key_list() -> None:
    """List who signs with which key. Example: vallum release-key list."""
    with SESSION.client() as client:
        found = client.release_keys.list()
    rows = [
        (one.name, one.kind, one.key_id[:16], one.owner_id, one.since[:16], _state(one))
        for one in found
    ]
    show("release-key.list", ReleaseKeys(keys=found),
         table(("name", "kind", "key", "owner", "since", "state"), rows))  # fmt: skip


@release_key.command("add")
def release_key_add(
    name: Annotated[str, typer.Argument(help="Name of the key.")],
    public_key: Annotated[Path, typer.Option(help="Its public half in PEM: P-256 or Ed25519.")],
    principal: Annotated[str, typer.Option(help="Who signs with it; you if not given.")] = "",
    dry_run: DryRun = False,
) -> None:
    """Let somebody sign. Example: vallum release-key add ana-card --public-key ana.pub."""
    with SESSION.client() as client:
        done = client.release_keys.add(
            name, public_key=read_file(public_key), principal=principal, dry_run=dry_run
        )
    show("release-key.add", done, done.text)


@release_key.command("retire")
def release_key_retire(
    name: Annotated[str, typer.Argument(help="Name, or key id, as `release-key list` shows it.")],
    compromised: Annotated[
        bool, typer.Option("--compromised", help="Nothing that it ever signed counts any more.")
    ] = False,
    yes: Annotated[
        bool, typer.Option("--yes", help="Do not ask, also where it is the workspace's own key.")
    ] = False,
    dry_run: DryRun = False,
) -> None:
    """Let a key sign no more. Example: vallum release-key retire ana-card."""
    with SESSION.client() as client:
        if not (yes or dry_run):
            _confirm(name, client.release_keys.list())
        done = client.release_keys.retire(name, compromised=compromised, dry_run=dry_run)
    show("release-key.retire", done, done.text)
