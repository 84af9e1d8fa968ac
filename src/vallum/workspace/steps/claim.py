"""Claiming a new workspace: the first owner, in a browser, with the code of the 0600 file.

The console alone performs it; no route of the API leads to it. The code is the owner's key, typed
in: the link that is printed carries no secret.
"""

import msgspec

from vallum.base import ConflictError, timestamp
from vallum.schema import Record, Workspace, api
from vallum.workspace.house import House
from vallum.workspace.step import Act, Step, on_workspace


class Claim(Record, frozen=True):
    """Claim the workspace."""


def claimed(house: House) -> bool:
    """Tell whether somebody has claimed the workspace."""
    with house.database.snapshot() as snapshot:
        found = house.records.get(snapshot, "workspace", house.workspace_id, Workspace)
    return bool(found.claimed_at)


def _act(act: Act, args: Claim) -> api.Done:
    top = act.context.workspace_id
    workspace = act.house.records.get(act.tx, "workspace", top, Workspace)
    if workspace.claimed_at:
        raise ConflictError(
            "this workspace is claimed already", code="workspace.claimed", hint="sign in instead"
        )
    made = msgspec.structs.replace(
        workspace, claimed_at=timestamp(act.now), claimed_by=act.caller.id
    )
    act.put("workspace", made, on=top, name=made.name)
    return api.Done(id=top, text=f"{act.caller.name} claimed {made.name}")


STEPS = (
    Step("workspace.claim", Claim, on_workspace("workspaces/write", "dataGrants/write"), _act,
         threat="privilege-escalation"),
)  # fmt: skip
