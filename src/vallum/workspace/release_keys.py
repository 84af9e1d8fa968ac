"""The keys whose signatures on models count: the workspace's own, and those of principals.

The workspace signs with a key derived from its secret, until it is told to use one in a PKCS#11
token. From then on only the token signs: without it nothing does, and nobody falls back. What a
key signed before it was retired still verifies, unless it was compromised.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from vallum.base import (
    IntegrityError,
    RefusedError,
    Secret,
    UnavailableError,
    new_id,
    timestamp,
    write_atomic,
)
from vallum.crypto import Signer, VerifyKey
from vallum.crypto.token import TokenKey
from vallum.schema import EntryKind, Evidence, Workspace
from vallum.schema.release import ReleaseKey
from vallum.workspace.context import Context
from vallum.workspace.house import House
from vallum.workspace.step import Act, Work

DERIVED, TOKEN, PUBLIC = "derived", "token", "public"
SYSTEM_START = "system-start"
HINT = "vallum up --release-key 'pkcs11:token=NAME;object=LABEL' --pkcs11-module FILE"
_FILE = "release-key.json"


@dataclass(frozen=True, slots=True)
class TokenChoice:
    """Which key of which token signs.

    Attributes:
        uri: `pkcs11:token=NAME;object=LABEL`.
        module: The token's library.
        pin_file: Where each start reads the PIN; None: from elsewhere.
    """

    uri: str
    module: Path
    pin_file: Path | None = None


class _Kept(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a start needs to find the token again: no secret."""

    uri: str
    module: str
    pin_file: str = ""


# -- which keys count ---------------------------------------------------------------------------


def release_keys(house: House, context: Context) -> list[ReleaseKey]:
    """Return every key that signs or signed, the workspace's own first, then by age."""
    rows = context.all("release-key", ReleaseKey)
    own = [one for one in rows if one.owner_id == house.workspace_id]
    if not own:  # nobody ever chose another
        made = context.records.get(context.snapshot, "workspace", house.workspace_id, Workspace)
        own = [_derived(house, made.created_at)]
    others = [one for one in rows if one.owner_id != house.workspace_id]
    return [*sorted(own, key=lambda one: one.since), *sorted(others, key=lambda one: one.since)]


def own_key(house: House, context: Context) -> ReleaseKey:
    """Return the key that the workspace signs with.

    Raises:
        UnavailableError: It is retired, and no other was chosen.
    """
    for one in release_keys(house, context):
        if one.owner_id == house.workspace_id and not one.until:
            return one
    raise UnavailableError(
        "the workspace's release key is retired",
        code="release.key",
        hint=HINT,
    )


def own_signer(holder: Act | Work) -> Signer:
    """Return what signs for the workspace now.

    Raises:
        UnavailableError: The key is in a token that is not open: nothing else signs instead.
    """
    house = holder.house
    key = holder.read(lambda context: own_key(house, context))
    if key.kind == DERIVED:
        return house.derived_release_key()
    signer = house.release_token
    if signer is None or signer.verify_key.id != key.key_id:
        raise _closed(key)
    return signer


def trusted_at(keys: Sequence[ReleaseKey], made_at: str) -> dict[str, VerifyKey]:
    """Return the keys, by their row's id, that signed at a moment.

    Args:
        keys: All of them.
        made_at: When the signature was attached; empty: before that was recorded, when there was
            only the derived key.
    """
    return {
        one.id: VerifyKey.from_pem(one.public_key.encode())
        for one in keys
        if not one.compromised
        and (one.since <= made_at if made_at else one.kind == DERIVED)
        and (not one.until or made_at < one.until)
    }


def standing(context: Context, found: Sequence[Evidence]) -> list[Evidence]:
    """Return the evidence without signatures by keys that were given up as compromised."""
    if not any(one.gate == "signature" for one in found):
        return list(found)
    lost = {one.key_id: one for one in context.all("release-key", ReleaseKey) if one.compromised}
    # Evidence from before release keys had records names none: it was the derived one.
    nameless = any(one.kind == DERIVED for one in lost.values())
    return [
        one
        for one in found
        if one.gate != "signature"
        or (one.parameters["key"] not in lost if "key" in one.parameters else not nameless)
    ]


def require_uncompromised(known: Sequence[ReleaseKey], key_id: str) -> None:
    """Refuse to let a key sign (again) that was given up as compromised.

    Raises:
        RefusedError: It was.
    """
    if any(one.key_id == key_id and one.compromised for one in known):
        raise RefusedError(
            f"the key {key_id[:16]} was given up as compromised", code="release.compromised",
            hint="make another key",
        )  # fmt: skip


def _derived(house: House, since: str) -> ReleaseKey:
    public = house.derived_release_key().verify_key
    return ReleaseKey(
        id="rlk-derived", name="workspace", owner_id=house.workspace_id, kind=DERIVED,
        key_id=public.id, public_key=public.to_pem().decode(), since=since,
    )  # fmt: skip


# -- at start -----------------------------------------------------------------------------------


def remembered_token(keys: Path) -> TokenChoice | None:
    """Return the token that a workspace was told to sign with, by what lies beside its keys.

    Raises:
        IntegrityError: It is damaged.
    """
    try:
        kept = msgspec.json.decode((keys / _FILE).read_bytes(), type=_Kept)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.DecodeError) as error:
        raise IntegrityError(f"{_FILE} is damaged", code="workspace.file") from error
    return TokenChoice(kept.uri, Path(kept.module), Path(kept.pin_file) if kept.pin_file else None)


def open_token(place: TokenChoice, pin: Secret | None) -> TokenKey:
    """Open a key in a token.

    Raises:
        UnavailableError: The token does not open, or its PIN is missing.
        InputError: The URI names no key.
    """
    if pin is None:
        raise UnavailableError(
            "the PIN of the release key's token is missing", code="release.pin",
            hint="--pin-file, or set VALLUM_TOKEN_PIN",
        )  # fmt: skip
    return TokenKey(place.module, place.uri, pin)


def open_release_key(
    house: House, keys: Path, *, token: TokenChoice | None, derived: bool, pin: Secret | None
) -> None:
    """Open the token that the workspace signs with, or change to another key.

    Args:
        house: Open, and not served yet.
        keys: Folder beside the data, where the place of the token is remembered.
        token: The key to use from now on; None: the one in use, found where it was.
        derived: Go back to the key derived from the workspace's secret.
        pin: Of the token's user.

    Raises:
        UnavailableError: The token does not open, or its PIN is missing: do not serve.
        IntegrityError: It holds another key than the one that signs.
        InputError: The URI names no key.
        RefusedError: The key was given up, or was retired.
    """
    with house.database.snapshot() as snapshot:
        context = Context(records=house.records, snapshot=snapshot, workspace_id=house.workspace_id)
        known = release_keys(house, context)
    current = next(
        (one for one in known if one.owner_id == house.workspace_id and not one.until), None
    )
    if derived:
        if current is None or current.kind != DERIVED:
            new = _derived(house, "")
            _require_usable(known, current, new.key_id)
            _change(house, current, new)
        (keys / _FILE).unlink(missing_ok=True)
        return
    place = remembered_token(keys) if token is None else token
    if token is None and current is None:
        return  # whoever signs is told
    if token is None and current is not None and current.kind == DERIVED:
        if place is None:
            return
        # A backup from before the token, or a change that a crash cut short: a person decides.
        raise IntegrityError(
            "the workspace was told to sign with a token, and its records name the derived key",
            code="release.key", hint=f"{HINT}, or --release-key derived",
        )  # fmt: skip
    if place is None:
        raise UnavailableError(
            "the workspace signs with a key in a token, and nothing says which",
            code="release.key", hint=HINT,
        )  # fmt: skip
    opened = open_token(place, pin)
    public = opened.verify_key
    if current is None or current.key_id != public.id:
        if token is None:
            signs = "none" if current is None else current.key_id[:16]
            raise IntegrityError(
                f"the token holds the key {public.id[:16]}, and the workspace signs with {signs}",
                code="release.key",
                hint="to use another from now on, name it with --release-key",
            )
        _require_usable(known, current, public.id)
        # Where it is comes first: if this were all that happens, no other key would sign instead.
        _remember(keys, place)
        new = ReleaseKey(
            id="", name="workspace", owner_id=house.workspace_id, kind=TOKEN, key_id=public.id,
            public_key=public.to_pem().decode(), since="",
        )  # fmt: skip
        _change(house, current, new)
    elif token is not None:
        _remember(keys, place)
    house.release_token = opened


def _require_usable(known: Sequence[ReleaseKey], current: ReleaseKey | None, key_id: str) -> None:
    """Refuse a key that was given up, or that somebody retired and no other has replaced since.

    A start is repeated with the options that it always had: that brings back what nobody meant.

    Raises:
        RefusedError: It is one.
    """
    require_uncompromised(known, key_id)
    if current is None and any(one.key_id == key_id and one.kind != PUBLIC for one in known):
        raise RefusedError(
            f"the release key {key_id[:16]} was retired, and a start does not bring it back",
            code="release.retired",
            hint="leave --release-key out, or name another key",
        )


def _remember(keys: Path, place: TokenChoice) -> None:
    kept = _Kept(
        uri=place.uri,
        module=str(place.module.absolute()),
        pin_file="" if place.pin_file is None else str(place.pin_file.absolute()),
    )
    write_atomic(keys / _FILE, msgspec.json.encode(kept))


def _change(house: House, current: ReleaseKey | None, new: ReleaseKey) -> None:
    """Retire what signed and begin to sign with another, in one transaction with its log entry."""
    top = house.workspace_id
    with house.log.transaction() as tx:
        permit = house.log.system_permit(
            tx, step="release-key.use", kind=EntryKind.DECISION, principal_id=SYSTEM_START,
            resources=(top,), actions=("releaseKeys/write",),
        )  # fmt: skip
        now = timestamp(house.clock.now())
        rows = [msgspec.structs.replace(new, id=str(new_id("rlk")), since=now)]
        if current is not None:
            rows.append(msgspec.structs.replace(current, until=now))
        changes = [
            house.records.put(tx, permit, "release-key", row, on=top, parent_id=top) for row in rows
        ]
        told: dict[str, object] = {
            "release_key": {"kind": new.kind, "key_id": new.key_id, "since": now},
            "retired": "" if current is None else current.key_id,
        }
        house.log.seal(tx, permit, changes=changes, details=told)


def _closed(key: ReleaseKey) -> UnavailableError:
    return UnavailableError(
        f"the workspace signs with the key {key.key_id[:16]} of a token that is not open",
        code="release.key",
        hint=HINT,
    )
