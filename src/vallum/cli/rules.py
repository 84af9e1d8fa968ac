"""`vallum policy …`, `vallum waiver …` and `vallum break-glass …`."""

import json
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from vallum.base import InputError
from vallum.cli.border import SESSION, read_file, show, table, write_out
from vallum.cli.options import DryRun, Output, Version
from vallum.cli.serving import secret_out
from vallum.schema import api, rules

policy = typer.Typer(name="policy", help="What evidence each step needs.",
                     no_args_is_help=True)  # fmt: skip
waiver = typer.Typer(name="waiver", help="A second person's expiring leave.",
                     no_args_is_help=True)  # fmt: skip
break_glass = typer.Typer(name="break-glass", help="The sealed principal, for emergencies.",
                          no_args_is_help=True)  # fmt: skip

File = Annotated[Path, typer.Argument(help="Policy file, YAML or JSON.")]
Reason = Annotated[str, typer.Option(help="Why; everybody will read it.")]


def _document(file: Path) -> dict[str, object]:
    from vallum.formats import load_yaml

    document = load_yaml(read_file(file))
    if not isinstance(document, dict):
        raise InputError(f"`{file}` is not a policy file", code="policy.file")
    return document


def _shown(shown: rules.PolicyShown) -> str:
    head = "the strict default" if shown.revision == 0 else f"revision {shown.revision}"
    lines = [f"# {head}, {shown.digest}"]
    if shown.changed_at:
        lines.append(f"# {shown.changed_at[:16]} by {shown.changed_by}: {shown.reason}")
    lines.extend(f"# {one.effect}: {one.text}" for one in shown.changes)
    return "\n".join(lines)


@policy.command("show")
def policy_show(output: Output = None) -> None:
    """Show the policy file in force. Example: vallum policy show -o policy.yaml."""
    with SESSION.client() as client:
        shown = client.policy.show()
    text = msgspec.yaml.encode(json.loads(shown.document)).decode()
    if output is not None:
        write_out(text.encode(), output)
        show("policy.show", shown, f"{_shown(shown)}\n# the file is {output}")
        return
    show("policy.show", shown, f"{_shown(shown)}\n{text}")


@policy.command("check")
def policy_check(file: File) -> None:
    """Check a policy file, offline. Example: vallum policy check policy.yaml."""
    from vallum.policy import parse_requirements
    from vallum.scan.image import rules_of as image_rules_of

    checked = parse_requirements(_document(file))
    image_rules_of(checked.images)
    rows = [
        (step, when, len(listed))
        for when, rules_of in (("before", checked.steps), ("result", checked.results))
        for step, listed in sorted(rules_of.items())
    ]
    show("policy.check", msgspec.to_builtins(checked), table(("step", "asked", "rules"), rows))


@policy.command("set")
def policy_set(file: File, reason: Reason = "", dry_run: DryRun = False) -> None:
    """Replace the policy file. Example: vallum policy set policy.yaml --reason "audit"."""
    with SESSION.client() as client:
        shown = client.policy.set(_document(file), reason=reason, dry_run=dry_run)
    show("policy.set", shown, _shown(shown))


@waiver.command("create")
def waiver_create(
    name: Annotated[str, typer.Argument(help="Model (or data) version: NAME or NAME:VERSION.")],
    gate: Annotated[str, typer.Option(help="Gate that is waived.")] = "",
    reason: Reason = "",
    kind: Annotated[str, typer.Option(help="model or data.")] = "model",
    version: Version = None,
    days: Annotated[int, typer.Option(help="How long it holds, at most 30.")] = 7,
    dry_run: DryRun = False,
) -> None:
    """Waive a gate. Example: vallum waiver create risk:1 --gate evasion --reason "demo"."""
    with SESSION.client() as client:
        done = client.waivers.create(
            name, gate=gate, reason=reason, kind=kind, version=version, days=days, dry_run=dry_run
        )
    show("waiver.create", done, done.text)


@waiver.command("list")
def waiver_list() -> None:
    """List waivers. Example: vallum waiver list."""
    with SESSION.client() as client:
        found = client.waivers.list()
    rows = [
        (one.id, one.gate, one.subject_digest[:26], one.by, one.expires_at[:16], one.reason)
        for one in found
    ]
    show("waiver.list", rules.Waivers(waivers=found),
         table(("id", "gate", "subject", "by", "until", "reason"), rows))  # fmt: skip


@waiver.command("revoke")
def waiver_revoke(
    waiver_id: Annotated[str, typer.Argument(help="Id of the waiver.")], dry_run: DryRun = False
) -> None:
    """Take a waiver back. Example: vallum waiver revoke wvr-…."""
    with SESSION.client() as client:
        done = client.waivers.revoke(waiver_id, dry_run=dry_run)
    show("waiver.revoke", done, done.text)


def _seal(shown: rules.BreakGlassShown) -> str:
    lines = [f"{shown.state}; breaking the seal takes {shown.persons_needed} person(s)"]
    if shown.opened_at:
        lines.append(
            f"broken {shown.opened_at[:16]} by {', '.join(shown.opened_by)}: {shown.reason};"
            f" until {shown.expires_at[:16]}"
        )
    return "\n".join(lines)


@break_glass.command("create")
def break_glass_create(dry_run: DryRun = False) -> None:
    """Make the sealed principal. Example: vallum break-glass create."""
    with SESSION.client() as client:
        shown = client.break_glass.create(dry_run=dry_run)
    show("break-glass.create", shown, _seal(shown))


@break_glass.command("show")
def break_glass_show() -> None:
    """Show whether the seal is broken. Example: vallum break-glass show."""
    with SESSION.client() as client:
        shown = client.break_glass.show()
    show("break-glass.show", shown, _seal(shown))


@break_glass.command("open")
def break_glass_open(reason: Reason = "", output: Output = None, dry_run: DryRun = False) -> None:
    """Break the seal for an hour. Example: vallum break-glass open --reason "outage" -o g.key."""
    with SESSION.client() as client:
        shown = client.break_glass.open(reason=reason, dry_run=dry_run)
    if not shown.secret:
        show("break-glass.open", shown, _seal(shown))
        return
    key = api.Shown(id=shown.principal_id, name="break-glass", secret=shown.secret,
                    expires_at=shown.expires_at)  # fmt: skip
    secret_out("break-glass.open", key, output, dry_run=dry_run)


@break_glass.command("close")
def break_glass_close(dry_run: DryRun = False) -> None:
    """Seal it again. Example: vallum break-glass close."""
    with SESSION.client() as client:
        shown = client.break_glass.close(dry_run=dry_run)
    show("break-glass.close", shown, _seal(shown))
