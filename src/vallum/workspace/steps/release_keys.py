"""Steps on release keys: list them, let a principal sign with one of their own, retire one."""

import msgspec

from vallum.base import ConflictError, NotFoundError, check_name, new_id, timestamp
from vallum.crypto import VerifyKey
from vallum.schema import Principal, api
from vallum.schema.release import ReleaseKey, ReleaseKeyAdd, ReleaseKeyRetire, ReleaseKeys
from vallum.workspace.release_keys import PUBLIC, release_keys, require_uncompromised
from vallum.workspace.step import Act, Effect, Step, on_workspace


def _act_list(act: Act, args: api.Page) -> ReleaseKeys:
    return ReleaseKeys(keys=tuple(release_keys(act.house, act.context)))


def _act_add(act: Act, args: ReleaseKeyAdd) -> api.Done:
    name = check_name(args.name, what="release key name")
    public = VerifyKey.from_pem(args.public_key.encode())
    owner = act.caller.id
    if args.principal:
        owner = act.context.named("principal", args.principal, Principal).id
    known = release_keys(act.house, act.context)
    require_uncompromised(known, public.id)
    for one in known:
        if not one.until and public.id == one.key_id:
            raise ConflictError(f"the key signs already, as `{one.name}`", code="release.key")
        if not one.until and name == one.name:
            raise ConflictError(
                f"release key `{name}` exists already", code="release.key",
                hint=f"vallum release-key retire {name}",
            )  # fmt: skip
    key = ReleaseKey(
        id=str(new_id("rlk")), name=name, owner_id=owner, kind=PUBLIC, key_id=public.id,
        public_key=public.to_pem().decode(), since=timestamp(act.now),
    )  # fmt: skip
    _put(act, key)
    return api.Done(id=key.id, text=f"{owner} signs with the key {public.id[:16]} from now on")


def _act_retire(act: Act, args: ReleaseKeyRetire) -> api.Done:
    known = release_keys(act.house, act.context)
    # Compromise may show after a key was retired: then what it signed before falls too.
    found = [
        one
        for one in known
        if args.name in (one.name, one.key_id, one.id)
        and (not one.until or (args.compromised and not one.compromised))
    ]
    if not found:
        raise NotFoundError(
            f"no release key that signs is called `{args.name[:80]}`",
            hint="vallum release-key list",
        )
    if len({one.key_id for one in found}) > 1 and len([one for one in found if not one.until]) != 1:
        raise ConflictError(
            f"several release keys were called `{args.name[:80]}`", code="release.key",
            hint="name it by its key id: vallum release-key list",
        )  # fmt: skip
    meant = next((one for one in found if not one.until), found[0]).key_id
    for one in known:
        if one.key_id == meant and (not one.until or args.compromised):
            ended = one.until or timestamp(act.now)
            _put(
                act,
                msgspec.structs.replace(
                    one, until=ended, compromised=one.compromised or args.compromised
                ),
            )
    what = "nothing that it signed counts" if args.compromised else "what it signed still counts"
    act.details["release_key"] = {"key_id": meant, "compromised": args.compromised}
    return api.Done(id=meant, text=f"the key {meant[:16]} signs no more; {what}")


def _put(act: Act, key: ReleaseKey) -> None:
    top = act.context.workspace_id
    act.put("release-key", key, on=top, parent_id=top)


STEPS = (
    Step("release-key.list", api.Page, on_workspace("releaseKeys/read"), _act_list, Effect.READ),
    Step("release-key.add", ReleaseKeyAdd, on_workspace("releaseKeys/write"), _act_add,
         threat="model-tampering"),
    Step("release-key.retire", ReleaseKeyRetire, on_workspace("releaseKeys/write"), _act_retire,
         threat="model-tampering"),
)  # fmt: skip
