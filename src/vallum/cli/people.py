"""`vallum group …`, `identity …`, `key …` and `approval …`."""

from pathlib import Path
from typing import Annotated

import typer

from vallum.base import InputError
from vallum.cli.border import SESSION, check_output, show, table
from vallum.cli.options import DryRun, Output, Version
from vallum.cli.serving import secret_out
from vallum.schema import api

group = typer.Typer(name="group", help="Groups, which may nest.", no_args_is_help=True)
identity = typer.Typer(name="identity", help="Users and service principals.",
                       no_args_is_help=True)  # fmt: skip
key = typer.Typer(name="key", help="API keys: create, rotate, revoke.", no_args_is_help=True)
approval = typer.Typer(name="approval", help="A second person's yes.", no_args_is_help=True)
Name = Annotated[str, typer.Argument(help="Name.")]
KeyId = Annotated[str, typer.Argument(help="Id of the key.")]


@group.command("list")
def group_list() -> None:
    """List groups. Example: vallum group list."""
    with SESSION.client() as client:
        found = client.groups.list()
    rows = [(one.name, one.id, len(one.members)) for one in found]
    show("group.list", api.Listing(principals=tuple(found)),
         table(("name", "id", "members"), rows))  # fmt: skip


@group.command("create")
def group_create(name: Name, dry_run: DryRun = False) -> None:
    """Create a group. Example: vallum group create team."""
    with SESSION.client() as client:
        done = client.groups.create(name, dry_run=dry_run)
    show("group.create", done, done.text)


@group.command("add")
def group_add(
    name: Name, member: Annotated[str, typer.Argument(help="Member.")], dry_run: DryRun = False
) -> None:
    """Add a member. Example: vallum group add team ana."""
    with SESSION.client() as client:
        done = client.groups.add(name, member, dry_run=dry_run)
    show("group.add", done, done.text)


@group.command("remove")
def group_remove(
    name: Name, member: Annotated[str, typer.Argument(help="Member.")], dry_run: DryRun = False
) -> None:
    """Remove a member. Example: vallum group remove team ana."""
    with SESSION.client() as client:
        done = client.groups.remove(name, member, dry_run=dry_run)
    show("group.remove", done, done.text)


@identity.command("list")
def identity_list() -> None:
    """List principals. Example: vallum identity list."""
    with SESSION.client() as client:
        found = client.identities.list()
    rows = [(one.name, one.kind.value, one.id, "disabled" if one.disabled else "") for one in found]
    show("identity.list", api.Listing(principals=tuple(found)),
         table(("name", "kind", "id", ""), rows))  # fmt: skip


@identity.command("create")
def identity_create(
    name: Name,
    kind: Annotated[str, typer.Option(help="user or service-principal.")] = "user",
    dry_run: DryRun = False,
) -> None:
    """Create a principal. Example: vallum identity create ana."""
    with SESSION.client() as client:
        done = client.identities.create(name, kind=kind, dry_run=dry_run)
    show("identity.create", done, done.text)


@identity.command("disable")
def identity_disable(name: Name, dry_run: DryRun = False) -> None:
    """Disable a principal and its keys. Example: vallum identity disable ana."""
    with SESSION.client() as client:
        done = client.identities.disable(name, dry_run=dry_run)
    show("identity.disable", done, done.text)


@identity.command("federate")
def identity_federate(
    name: Name,
    subject: Annotated[
        str, typer.Option(help="`sub` of its tokens; or a URI, DNS name or e-mail in certificates.")
    ],
    issuer: Annotated[str, typer.Option(help="https:// address of the OpenID provider.")] = "",
    audience: Annotated[
        str, typer.Option(help="`aud` of its tokens: this workspace's name there.")
    ] = "",
    keys: Annotated[
        Path | None,
        typer.Option(help="JSON Web Key Set to use; else the issuer is asked for its keys."),
    ] = None,
    authority: Annotated[
        Path | None,
        typer.Option(help="Certificate, PEM: of who signs clients' certificates for endpoints."),
    ] = None,
    expires_at: Annotated[str, typer.Option(help="RFC 3339 time.")] = "",
    action: Annotated[list[str] | None, typer.Option(help="Narrow to this pattern.")] = None,
    scope: Annotated[str, typer.Option(help="Narrow to this scope.")] = "",
    dry_run: DryRun = False,
) -> None:
    """Let an OpenID provider's tokens, or certificates, act as a principal.

    `vallum key revoke` ends it.

    Example: vallum identity federate robot --issuer https://id.example.org --subject robot
    --audience vallum.
    """
    if (authority is None) == (not issuer):
        raise InputError("give an --issuer of tokens or an --authority of certificates",
                         code="cli.usage")  # fmt: skip
    held, signer = ("" if path is None else _text(path) for path in (keys, authority))
    with SESSION.client() as client:
        done = client.identities.federate(
            name, issuer=issuer, subject=subject, audience=audience, public_keys=held,
            authority=signer, expires_at=expires_at, actions=action or (), scope=scope,
            dry_run=dry_run,
        )  # fmt: skip
    show("identity.federate", done, done.text)


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"`{path}` cannot be read", code="cli.file") from error


@identity.command("session")
def identity_session(
    minutes: Annotated[int, typer.Option(help="How long it lasts.")] = 15,
    output: Output = None,
    dry_run: DryRun = False,
) -> None:
    """Open an interactive session for approvals. Example: vallum identity session -o s.key."""
    check_output(output)
    with SESSION.client() as client:
        shown = client.identities.session(minutes=minutes, dry_run=dry_run)
    secret_out("identity.session", shown, output, dry_run=dry_run)


@key.command("list")
def key_list() -> None:
    """List keys. Example: vallum key list."""
    with SESSION.client() as client:
        found = client.keys.list()
    rows = [
        (one.id, one.name, one.principal_id, one.expires_at[:19] or "never",
         "revoked" if one.revoked_at else "")
        for one in found
    ]  # fmt: skip
    show("key.list", api.Listing(keys=tuple(found)),
         table(("id", "name", "principal", "expires", ""), rows))  # fmt: skip


@key.command("create")
def key_create(
    name: Name,
    principal: Annotated[str, typer.Option(help="For whom; yourself if not given.")] = "",
    expires_at: Annotated[str, typer.Option(help="RFC 3339 time.")] = "",
    action: Annotated[list[str] | None, typer.Option(help="Narrow to this pattern.")] = None,
    scope: Annotated[str, typer.Option(help="Narrow to this scope.")] = "",
    output: Output = None,
    dry_run: DryRun = False,
) -> None:
    """Issue a key. Example: vallum key create laptop --principal ana -o ana.key."""
    check_output(output)
    with SESSION.client() as client:
        shown = client.keys.create(
            name, principal=principal, expires_at=expires_at, actions=action or (), scope=scope,
            dry_run=dry_run,
        )  # fmt: skip
    secret_out("key.create", shown, output, dry_run=dry_run)


@key.command("rotate")
def key_rotate(key_id: KeyId, output: Output = None, dry_run: DryRun = False) -> None:
    """Replace a key's secret. Example: vallum key rotate key-… -o ana.key."""
    check_output(output)
    with SESSION.client() as client:
        shown = client.keys.rotate(key_id, dry_run=dry_run)
    secret_out("key.rotate", shown, output, dry_run=dry_run)


@key.command("revoke")
def key_revoke(key_id: KeyId, dry_run: DryRun = False) -> None:
    """Revoke a key at once. Example: vallum key revoke key-…."""
    with SESSION.client() as client:
        done = client.keys.revoke(key_id, dry_run=dry_run)
    show("key.revoke", done, done.text)


@approval.command("list")
def approval_list() -> None:
    """List approvals. Example: vallum approval list."""
    with SESSION.client() as client:
        found = client.approvals.list()
    rows = [
        (one.id, one.step, one.subject_digest[:26], one.by, one.expires_at[:19]) for one in found
    ]
    show("approval.list", api.Approvals(approvals=found),
         table(("id", "step", "subject", "by", "expires"), rows))  # fmt: skip


@approval.command("create")
def approval_create(
    model: Annotated[str, typer.Argument(help="Model, or MODEL:VERSION.")],
    endpoint: Annotated[str, typer.Option(help="For this endpoint only.")] = "",
    days: Annotated[int, typer.Option(help="How long it holds.")] = 7,
    version: Version = None,
    dry_run: DryRun = False,
) -> None:
    """Approve a deployment. Example: vallum --token-file s.key approval create risk:1."""
    with SESSION.client() as client:
        done = client.approvals.create(
            model, version=version, endpoint=endpoint, days=days, dry_run=dry_run
        )
    show("approval.create", done, done.text)
