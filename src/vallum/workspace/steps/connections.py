"""Steps on connections: their secrets go in and never come out."""

import base64
from collections.abc import Sequence

from vallum.base import ConflictError, InputError, new_id, timestamp
from vallum.crypto import Purpose, seal
from vallum.schema import Ask, Caller, Connection, api
from vallum.workspace.context import Context, ask
from vallum.workspace.step import Act, Effect, Step

KINDS = ("datastore", "registry", "webhook")


def _list_asks(context: Context, args: api.Page, caller: Caller) -> Sequence[Ask]:
    return ask("connections/read", context.workspace())


def _act_list(act: Act, args: api.Page) -> api.Listing:
    found = [
        api.ConnectionShown(
            id=one.id, name=one.name, kind=one.kind, target=one.target, created_at=one.created_at
        )
        for one in act.context.all("connection", Connection)
        if one.id > args.after
    ][: args.limit]
    after = found[-1].id if len(found) == args.limit else ""
    return api.Listing(connections=tuple(found), after=after)


def _create_asks(context: Context, args: api.ConnectionCreate, caller: Caller) -> Sequence[Ask]:
    return ask("connections/write", context.workspace())


def _act_create(act: Act, args: api.ConnectionCreate) -> api.Done:
    workspace_id = act.context.workspace_id
    if args.kind not in KINDS:
        raise InputError(
            f"`{args.kind[:40]}` is not a kind of connection",
            code="connection.kind",
            hint=f"use one of {', '.join(KINDS)}",
        )
    if act.context.find("connection", args.name, Connection) is not None:
        raise ConflictError(f"connection `{args.name}` exists already")
    identity = str(new_id("conn"))
    sealed = seal(
        act.house.keyring.derive(Purpose.DETAILS, info=b"connection"),
        args.secret.encode(),
        identity.encode(),
    )
    connection = Connection(
        id=identity,
        name=args.name,
        kind=args.kind,
        target=args.target,
        owner_id=act.caller.id,
        created_at=timestamp(act.now),
        sealed_secret=base64.b64encode(sealed).decode(),
    )
    act.put("connection", connection, on=workspace_id, parent_id=workspace_id, name=args.name)
    return api.Done(id=identity, text=f"created connection {args.name}")


def _delete_asks(context: Context, args: api.Named, caller: Caller) -> Sequence[Ask]:
    connection = context.connection(args.name)
    return ask("connections/delete", context.plain("connection", connection.id))


def _act_delete(act: Act, args: api.Named) -> api.Done:
    connection = act.context.connection(args.name)
    act.remove("connection", connection.id, on=connection.id)
    return api.Done(id=connection.id, text=f"deleted connection {connection.name}")


STEPS = (
    Step("connection.list", api.Page, _list_asks, _act_list, Effect.READ),
    Step("connection.create", api.ConnectionCreate, _create_asks, _act_create),
    Step("connection.delete", api.Named, _delete_asks, _act_delete),
)
