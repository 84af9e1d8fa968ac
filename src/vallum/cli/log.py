"""`vallum audit …`, `vallum workspace …` and `vallum verify`."""

import os
import shutil
import tarfile
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from vallum.base import InputError, UnavailableError
from vallum.cli.border import SESSION, check_content, content_out, read_file, say, show, table
from vallum.cli.options import DryRun, Output
from vallum.cli.progress import progress
from vallum.schema import api
from vallum.sdk import read_key_file

audit = typer.Typer(name="audit", help="The log: list, show, verify, export.",
                    no_args_is_help=True)  # fmt: skip
workspace = typer.Typer(name="workspace", help="Show, verify, back up, restore, rotate keys.",
                        no_args_is_help=True)  # fmt: skip
BROKEN = 5


@audit.command("list")
def audit_list(
    after: Annotated[
        int, typer.Option(help="Entries beyond this index; below it, with --newest-first.")
    ] = -1,
    limit: Annotated[int, typer.Option(help="How many.")] = 100,
    kind: Annotated[str, typer.Option(help="Kind of entry.")] = "",
    step: Annotated[str, typer.Option(help="Step, such as model.sign.")] = "",
    principal: Annotated[str, typer.Option(help="Principal's id.")] = "",
    resource: Annotated[str, typer.Option(help="Resource's id.")] = "",
    newest_first: Annotated[
        bool, typer.Option("--newest-first", help="Begin at the end of the log.")
    ] = False,
) -> None:
    """List log entries. Example: vallum audit list --kind refusal."""
    with SESSION.client() as client:
        found = client.audit.list(
            after=after, limit=limit, kind=kind, step=step, principal=principal, resource=resource,
            newest_first=newest_first,
        )  # fmt: skip
    rows = [
        (one.index, one.entry.at[:19], one.entry.kind.value, one.entry.step,
         one.entry.principal_id, one.entry.error or ("" if one.entry.allowed else "refused"))
        for one in found
    ]  # fmt: skip
    show("audit.list", api.Listing(entries=found),
         table(("index", "at", "kind", "step", "principal", ""), rows))  # fmt: skip


@audit.command("show")
def audit_show(entry: Annotated[str, typer.Argument(help="Index or id of the entry.")]) -> None:
    """Show an entry with its proof. Example: vallum audit show 12."""
    import msgspec

    with SESSION.client() as client:
        if entry.isascii() and entry.isdecimal():
            at = int(entry[:18])
            found = client.audit.list(after=at - 1, limit=1)
            entry = found[0].entry.id if found and found[0].index == at else entry
        shown = client.audit.show(entry)
    text = msgspec.json.format(msgspec.json.encode(shown.entry)).decode()
    text += f"\nentry {shown.index}, proven by {len(shown.path)} hashes to the checkpoint\n"
    text += shown.checkpoint
    if shown.details:
        text += f"\ndetails: {shown.details}"
    show("audit.show", shown, text)


@audit.command("verify")
def audit_verify(
    folder: Annotated[
        Path | None, typer.Argument(help="Unpacked export, or its tar; the server if not given.")
    ] = None,
    key: Annotated[Path | None, typer.Option(help="The log's key as you know it (PEM).")] = None,
    anchor: Annotated[Path | None, typer.Option(help="A signed note that you kept.")] = None,
) -> None:
    """Verify the log; offline on an export. Example: vallum audit verify export.tar."""
    if folder is None:
        with progress("verifying"), SESSION.client() as client:
            made = client.audit.verify()
        _verification("audit.verify", made)
        return
    from vallum.audit import verify_export
    from vallum.crypto import VerifyKey

    if key is None and anchor is None:
        say("checked against the key inside the export; pass --key or --anchor to know whose it is")
    trusted = None if key is None else VerifyKey.from_pem(read_file(key))
    kept = "" if anchor is None else read_file(anchor).decode(errors="replace")
    with progress("verifying"), tempfile.TemporaryDirectory() as name:
        unpacked = folder if folder.is_dir() else _unpack(folder, Path(name))
        report = verify_export(unpacked, key=trusted, anchor=kept)
    _verification(
        "audit.verify",
        api.Verification(
            entries=report.size, records=0, objects=0, root=report.root.hex(),
            findings=tuple(report.findings),
        ),
    )  # fmt: skip


@audit.command("anchor")
def audit_anchor(
    forget: Annotated[
        bool, typer.Option("--forget", help="Trust the next log that answers.")
    ] = False,
    dry_run: DryRun = False,
) -> None:
    """Show what was last seen of the server's log. Example: vallum audit anchor."""
    with SESSION.client() as client:
        anchor = client.anchor
        seen = None if anchor is None else anchor.read()
        if anchor is not None and forget and not dry_run:
            anchor.forget()
    said: dict[str, object] = {
        "size": 0 if seen is None else seen.size,
        "origin": "" if seen is None else seen.origin,
        "note": "" if seen is None else seen.note,
        "forgotten": forget and not dry_run,
    }
    text = "nothing was seen of this server yet" if seen is None else seen.note
    show("audit.anchor", said, text + ("forgotten\n" if said["forgotten"] else ""))


@audit.command("export")
def audit_export(output: Output = None) -> None:
    """Export for offline verification. Example: vallum audit export -o export.tar."""
    check_content(output)
    with SESSION.client() as client:
        content_out("audit.export", client.audit.export(), output)


@workspace.command("show")
def workspace_show() -> None:
    """Show the workspace. Example: vallum workspace show."""
    with SESSION.client() as client:
        shown = client.workspace.show()
    text = (
        f"workspace {shown.name} ({shown.id}), vallum {shown.version}\n"
        f"{shown.entries} log entries, root {shown.root}\n{shown.checkpoint}"
    )
    show("workspace.show", shown, text)


@workspace.command("verify")
def workspace_verify() -> None:
    """Verify every row, object and entry. Example: vallum workspace verify."""
    _verify("workspace.verify")


@workspace.command("posture")
def workspace_posture() -> None:
    """List insecure settings. Example: vallum workspace posture."""
    with SESSION.client() as client:
        found = client.workspace.posture()
    rows = [(one.severity, one.message, one.fix) for one in found.findings]
    show("workspace.posture", found, table(("severity", "finding", "fix"), rows))
    if any(one.severity in {"critical", "high"} for one in found.findings):
        raise typer.Exit(1)


@workspace.command("backup")
def workspace_backup(output: Output = None) -> None:
    """Download an encrypted backup. Example: vallum workspace backup -o backup.tar."""
    check_content(output)
    with SESSION.client() as client:
        content_out("workspace.backup", client.workspace.backup(), output, secret=True)


@workspace.command("rotate-keys")
def workspace_rotate_keys(
    destroy_old: Annotated[
        bool, typer.Option("--destroy-old", help="Older backups cannot be read any more.")
    ] = False,
    dry_run: DryRun = False,
) -> None:
    """Wrap every key under a new one. Example: vallum workspace rotate-keys --dry-run."""
    with SESSION.client() as client:
        done = client.workspace.rotate_keys(destroy_old=destroy_old, dry_run=dry_run)
    show("workspace.rotate-keys", done, done.text)


@workspace.command("restore")
def workspace_restore(
    archive: Annotated[Path, typer.Argument(help="What `workspace backup` wrote.")],
    data: Annotated[Path, typer.Option(help="Data folder to make.")] = Path("vallum-data"),
    accept_rollback: Annotated[
        bool, typer.Option("--accept-rollback", help="Give up what came after the backup.")
    ] = False,
    reason: Annotated[str, typer.Option(help="Why history is given up.")] = "",
    second_token_file: Annotated[
        Path | None, typer.Option(help="Key of the second person who agrees.")
    ] = None,
    passphrase_file: Annotated[
        Path | None, typer.Option(help="File with the passphrase of the keys.")
    ] = None,
    dry_run: DryRun = False,
) -> None:
    """Restore a backup beside its keys, offline. Example: vallum workspace restore backup.tar."""
    try:
        from vallum.workspace.bootstrap import Places
        from vallum.workspace.restore import Acceptance, restore
    except ImportError as error:
        raise UnavailableError(
            f"this installation has no server: `{error.name}` is missing",
            code="up.extra",
            hint="pip install 'vallum[server]'",
        ) from error
    acceptance = None
    places = Places.below(data)
    if accept_rollback:
        owner = SESSION.token_file or Path(
            os.environ.get("VALLUM_TOKEN_FILE", str(places.owner_key))
        )
        acceptance = Acceptance(
            reason=reason,
            owner=read_key_file(owner),
            second=None if second_token_file is None else read_key_file(second_token_file),
        )
    made = restore(
        archive,
        places,
        acceptance=acceptance,
        passphrase=None if passphrase_file is None else read_key_file(passphrase_file),
        dry_run=dry_run,
        progress=say,
    )
    done = "would restore" if dry_run else "restored"
    counts = f"{made.entries} log entries, {made.rows} rows, {made.objects} objects"
    lines = [f"{done} {counts} to {places.data}"]
    if made.rollback:
        lines.append(f"{made.anchored - made.entries} anchored entries are given up")
    if made.owner_key is not None:
        lines.append(f"every key is revoked; the new owner's key is in {made.owner_key}")
    said: dict[str, object] = {
        "entries": made.entries, "anchored": made.anchored, "rows": made.rows,
        "objects": made.objects, "rollback": made.rollback, "dry_run": dry_run,
        "owner_key": str(made.owner_key or ""),
    }  # fmt: skip
    show("workspace.restore", said, "\n".join(lines))


def register(app: typer.Typer) -> None:
    """Add the verb `verify`."""

    @app.command("verify")
    def verify() -> None:
        """Verify the whole workspace. Example: vallum verify."""
        _verify("verify")


def _verify(command: str) -> None:
    with progress("verifying"), SESSION.client() as client:
        made = client.workspace.verify()
    _verification(command, made)


def _verification(command: str, made: api.Verification) -> None:
    lines = [f"{made.entries} entries, {made.records} rows, {made.objects} objects: " + (
        f"{len(made.findings)} finding(s)" if made.findings else "everything held"
    )]  # fmt: skip
    for one in made.findings:
        place = "" if one.position is None else f" at {one.position}"
        lines.append(f"  {one.code}{place}: {one.message}")
    show(command, made, "\n".join(lines))
    if made.findings:
        raise typer.Exit(BROKEN)


def _unpack(archive: Path, target: Path) -> Path:
    """Unpack the four plain files of an export, and nothing else."""
    wanted = {"manifest.json", "key.pem", "checkpoint", "leaves.bin"}
    try:
        with tarfile.open(archive, mode="r:") as opened:  # plain: nothing expands
            for member in opened:
                content = opened.extractfile(member) if member.isreg() else None
                if member.name not in wanted or content is None or member.sparse is not None:
                    raise InputError(
                        f"the archive holds `{member.name[:80]}`, which no export has",
                        code="audit.export",
                    )
                with (target / member.name).open("wb") as file:
                    shutil.copyfileobj(content, file)
    except (OSError, tarfile.TarError) as error:
        raise InputError(f"`{archive}` cannot be read", code="audit.export") from error
    return target
