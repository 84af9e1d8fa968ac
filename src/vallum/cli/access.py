"""`vallum role …` and `vallum connection …`."""

from pathlib import Path
from typing import Annotated

import typer

from vallum.base import InputError, Secret
from vallum.cli.border import SESSION, show, table
from vallum.cli.options import DryRun
from vallum.schema import api
from vallum.sdk import read_key_file

role = typer.Typer(name="role", help="Who may do what: roles, assignments, denies.",
                   no_args_is_help=True)  # fmt: skip
connection = typer.Typer(name="connection", help="Connections, whose secrets are write-only.",
                         no_args_is_help=True)  # fmt: skip
Name = Annotated[str, typer.Argument(help="Name.")]
Scope = Annotated[
    str, typer.Option(help="data/NAME, model/NAME, environment/NAME, endpoint/NAME; else all.")
]
Actions = Annotated[list[str] | None, typer.Option("--action", help="Control action.")]
DataActions = Annotated[list[str] | None, typer.Option("--data-action", help="Data action.")]


@role.command("list")
def role_list() -> None:
    """List roles, assignments and denies. Example: vallum role list."""
    with SESSION.client() as client:
        roles, held, denies = client.roles.list(), client.roles.assignments(), client.roles.denies()
    names = {one.id: one.name for one in roles}
    defined = [(one.name, "yes" if one.built_in else "no", one.description) for one in roles]
    text = table(("role", "built in", "description"), defined)
    text += "\n\n" + table(
        ("assignment", "role", "principal", "scope"),
        [
            (one.id, names.get(one.role_id, one.role_id), one.principal_id, one.scope)
            for one in held
        ],
    )
    if denies:
        rows = [(one.id, one.name, one.scope) for one in denies]
        text += "\n\n" + table(("deny", "name", "scope"), rows)
    listing = api.Listing(roles=tuple(roles), assignments=held, denies=denies)
    show("role.list", listing, text)


@role.command("show")
def role_show(name: Name) -> None:
    """Show a role. Example: vallum role show Reader."""
    with SESSION.client() as client:
        found = client.roles.show(name)
    lines = [f"{found.name}: {found.description}"]
    for what, patterns in (
        ("actions", found.actions), ("not actions", found.not_actions),
        ("data actions", found.data_actions), ("not data actions", found.not_data_actions),
    ):  # fmt: skip
        lines += [f"  {what}: {pattern}" for pattern in patterns]
    show("role.show", found, "\n".join(lines))


@role.command("create")
def role_create(
    name: Name,
    description: Annotated[str, typer.Option(help="For people.")] = "",
    action: Actions = None,
    not_action: Annotated[list[str] | None, typer.Option(help="Taken away again.")] = None,
    data_action: DataActions = None,
    not_data_action: Annotated[list[str] | None, typer.Option(help="Taken away again.")] = None,
    dry_run: DryRun = False,
) -> None:
    """Create or replace a role. Example: vallum role create Tester --action 'evidence/*'."""
    with SESSION.client() as client:
        done = client.roles.create(
            name, description=description, actions=action or (), not_actions=not_action or (),
            data_actions=data_action or (), not_data_actions=not_data_action or (),
            dry_run=dry_run,
        )  # fmt: skip
    show("role.create", done, done.text)


@role.command("import")
def role_import(
    file: Annotated[Path, typer.Argument(help="Azure role file, ARM or PowerShell form.")],
    scope: Annotated[list[str] | None, typer.Option(help="OLD=NEW")] = None,
    dry_run: DryRun = False,
) -> None:
    """Import an Azure role. Example: vallum role import role.json --dry-run."""
    scopes = {}
    for text in scope or ():
        old, equals, new = text.partition("=")
        if not equals:
            raise InputError(f"`{text[:60]}` is not OLD=NEW", code="cli.pair")
        scopes[old] = new
    try:
        document = file.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"`{file}` cannot be read", code="cli.file") from error
    with SESSION.client() as client:
        done = client.roles.import_azure(document, scopes=scopes, dry_run=dry_run)
    said = "would be imported" if dry_run else "is imported"
    lines = [f"role {done.role.name} {said}, {len(done.differences)} difference(s)"]
    show("role.import", done, "\n".join([*lines, *(f"  {one}" for one in done.differences)]))


@role.command("assign")
def role_assign(
    role_name: Annotated[str, typer.Argument(metavar="ROLE", help="Role.")],
    principal: Annotated[str, typer.Argument(help="User, group or service principal.")],
    scope: Scope = "",
    condition: Annotated[str, typer.Option(help="Azure ABAC condition.")] = "",
    expires_at: Annotated[str, typer.Option(help="RFC 3339 time.")] = "",
    dry_run: DryRun = False,
) -> None:
    """Give a role. Example: vallum role assign Reader ana --scope data/patients."""
    with SESSION.client() as client:
        done = client.roles.assign(
            role_name, principal, scope=scope, condition=condition, expires_at=expires_at,
            dry_run=dry_run,
        )  # fmt: skip
    show("role.assign", done, done.text)


@role.command("unassign")
def role_unassign(
    assignment: Annotated[str, typer.Argument(help="Id of an assignment or deny.")],
    dry_run: DryRun = False,
) -> None:
    """Remove an assignment or deny. Example: vallum role unassign ra-…."""
    with SESSION.client() as client:
        done = client.roles.unassign(assignment, dry_run=dry_run)
    show("role.unassign", done, done.text)


@role.command("deny")
def role_deny(
    name: Name,
    principal: Annotated[list[str], typer.Option(help="Principal; * is everyone.")],
    action: Actions = None,
    data_action: DataActions = None,
    exclude: Annotated[list[str] | None, typer.Option(help="Principal to spare.")] = None,
    scope: Scope = "",
    condition: Annotated[str, typer.Option(help="Azure ABAC condition.")] = "",
    dry_run: DryRun = False,
) -> None:
    """Refuse actions. Example: vallum role deny freeze --principal '*' --action models/delete."""
    with SESSION.client() as client:
        done = client.roles.deny(
            name, principal, actions=action or (), data_actions=data_action or (),
            exclude_principals=exclude or (), scope=scope, condition=condition, dry_run=dry_run,
        )  # fmt: skip
    show("role.deny", done, done.text)


@role.command("explain")
def role_explain(
    principal: Annotated[str, typer.Argument(help="Who.")],
    action: Annotated[str, typer.Argument(help="What.")],
    resource: Annotated[str, typer.Option(help="On what; the workspace if not given.")] = "",
) -> None:
    """Say why. Example: vallum role explain ana models/versions/sign/action."""
    with SESSION.client() as client:
        told = client.roles.explain(principal, action, resource)
    lines = ["allowed" if told.allowed else "refused", *(f"  {one.text}" for one in told.reasons)]
    if told.grantors:
        lines.append(f"could be granted by {', '.join(told.grantors)}")
    show("role.explain", told, "\n".join(lines))


@role.command("whatif")
def role_whatif(
    role_name: Annotated[str, typer.Option("--assign", help="Role to give.")] = "",
    principal: Annotated[str, typer.Option(help="To whom.")] = "",
    scope: Scope = "",
    remove: Annotated[str, typer.Option(help="Assignment to remove.")] = "",
) -> None:
    """Show what would change. Example: vallum role whatif --assign Reader --principal ana."""
    assign = api.RoleAssign(role=role_name, principal=principal, scope=scope) if role_name else None
    with SESSION.client() as client:
        told = client.roles.whatif(assign=assign, remove=remove)
    rows = [
        (one.principal, one.action, "gains" if one.after else "loses") for one in told.differences
    ]
    text = table(("principal", "action", "change"), rows)
    if told.escalations:
        text += "\nwould be refused: " + "; ".join(told.escalations[:5])
    show("role.whatif", told, text)


@connection.command("list")
def connection_list() -> None:
    """List connections. Example: vallum connection list."""
    with SESSION.client() as client:
        found = client.connections.list()
    rows = [(one.name, one.kind, one.target) for one in found]
    show("connection.list", api.Listing(connections=tuple(found)),
         table(("name", "kind", "target"), rows))  # fmt: skip


@connection.command("create")
def connection_create(
    name: Name,
    kind: Annotated[str, typer.Option(help="datastore, registry or webhook.")],
    target: Annotated[str, typer.Option(help="Address.")],
    secret_file: Annotated[Path | None, typer.Option(help="0600 file with the secret.")] = None,
    dry_run: DryRun = False,
) -> None:
    """Create a connection. Example: vallum connection create lake --kind datastore --target s3://b."""
    secret = Secret("") if secret_file is None else read_key_file(secret_file)
    with SESSION.client() as client:
        done = client.connections.create(
            name, kind=kind, target=target, secret=secret.reveal().decode(), dry_run=dry_run
        )
    show("connection.create", done, done.text)


@connection.command("delete")
def connection_delete(name: Name, dry_run: DryRun = False) -> None:
    """Delete a connection. Example: vallum connection delete lake."""
    with SESSION.client() as client:
        done = client.connections.delete(name, dry_run=dry_run)
    show("connection.delete", done, done.text)
