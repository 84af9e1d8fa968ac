"""The authority: which rows decide what anyone may do, and the proof that the set is whole.

A row's MAC shows that the row was once written; it does not show that it still stands, or that
another one is not missing. So each authority kind has a *set root*: the number of its rows and an
incremental multiset hash over them (MSet-Add-Hash), which changes with each row in O(1):

    accumulator = pad(kind, nonce) + Σ element(row mac)   mod 2**256,   both by HMAC-SHA256

The fresh `nonce` of each change blinds the sum. The whole carries a MAC of its own, and one value
in `meta` binds all set roots and the *authority generation* together.

Source: Clarke, Devadas, van Dijk, Gassend, Suh, "Incremental multiset hash functions and their
application to memory integrity checking", ASIACRYPT 2003, section 4 (MSet-Add-Hash).
"""

import hashlib
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from vallum.base import IntegrityError, NotFoundError, Secret, canonical_json
from vallum.crypto import mac, verify_mac
from vallum.store.rows import R, Row, checked_rows
from vallum.store.tables import meta, records, set_roots

AUTHORITY_KINDS = frozenset(
    {
        "alias",
        "approval",
        "break-glass",
        "budget",
        "credential",
        "data-view",
        "deny-assignment",
        "deployment",
        "group",
        "keyring",
        "policy",
        "principal",
        "private-data",
        "release-key",
        "role",
        "role-assignment",
        "waiver",
        "wrapped-key",
    }
)

_ROOT_DOMAIN = b"vallum.set-root/1"
_PAD_DOMAIN = b"vallum.set-pad/1"
_ELEMENT_DOMAIN = b"vallum.set-element/1"
_AUTHORITY_DOMAIN = b"vallum.authority/1"
_AUTHORITY_KEY = "authority"
_MODULUS = 1 << 256


@dataclass(frozen=True, slots=True)
class SetRoot:
    """What all rows of one kind add up to. `total` is the sum without the pad."""

    kind: str
    count: int
    total: int
    generation: int
    mac: bytes


@dataclass(frozen=True, slots=True)
class Standing:
    """The verified set roots and the generation that binds them.

    Attributes:
        root: Hexadecimal SHA-256 over the MACs of all set roots; goes into log entries.
    """

    generation: int
    root: str
    roots: Mapping[str, SetRoot]


@dataclass(frozen=True, slots=True)
class KindRows:
    """Every row of one kind, checked against its set root."""

    root: SetRoot
    rows: Mapping[str, Row]  # by id
    names: Mapping[tuple[str, str], str]  # (parent, folded name) to id


@dataclass(frozen=True, slots=True)
class AuthorityRows:
    """All authority rows of one generation, checked as rows and as sets."""

    generation: int
    root: str
    _kinds: Mapping[str, KindRows] = field(repr=False)

    def all(self, kind: str, type_: type[R]) -> tuple[R, ...]:
        """Return every record of `kind`, by id."""
        rows = self._kinds[kind].rows if kind in self._kinds else {}
        return tuple(rows[id_].decode(type_) for id_ in sorted(rows))

    def get(self, kind: str, id_: str, type_: type[R]) -> R:
        """Return one record.

        Raises:
            NotFoundError: There is none.
        """
        rows = self._kinds[kind].rows if kind in self._kinds else {}
        if id_ not in rows:
            raise NotFoundError(f"there is no {kind} `{id_}`")
        return rows[id_].decode(type_)


def read_standing(connection: Connection, key: Secret) -> Standing:
    """Read and verify the set roots and the authority generation.

    Raises:
        IntegrityError: One of them was changed, removed, added or exchanged for an older one.
    """
    roots = {}
    for kind, count, nonce, accumulator, generation, tag in connection.execute(
        sa.select(
            set_roots.c.kind,
            set_roots.c.count,
            set_roots.c.nonce,
            set_roots.c.accumulator,
            set_roots.c.generation,
            set_roots.c.mac,
        )
    ):
        try:
            verify_mac(key, tag, *_root_parts(kind, count, nonce, accumulator, generation))
            total = (int.from_bytes(accumulator, "big") - _pad(key, kind, nonce)) % _MODULUS
        except (IntegrityError, AttributeError, TypeError, ValueError, OverflowError) as error:
            raise IntegrityError(
                f"the set root of `{kind}` is not what was written", code="store.set-root"
            ) from error
        roots[kind] = SetRoot(kind, count, total, generation, tag)
    stored = connection.execute(
        sa.select(meta.c.value).where(meta.c.key == _AUTHORITY_KEY)
    ).scalar_one_or_none()
    root = _authority_root(roots)
    if stored is None:
        if roots:
            raise IntegrityError("the authority generation is missing", code="store.authority")
        return Standing(0, root, roots)
    try:
        found = msgspec.json.decode(stored, type=_Authority)
        verify_mac(key, bytes.fromhex(found.mac), *_authority_parts(found.generation, found.root))
    except (msgspec.MsgspecError, IntegrityError, TypeError, ValueError, OverflowError) as error:
        raise IntegrityError(
            "the authority generation is not what was written", code="store.authority"
        ) from error
    if found.root != root:
        raise IntegrityError(
            "the set roots do not belong to the authority generation", code="store.authority"
        )
    return Standing(found.generation, root, roots)


def write_change(
    connection: Connection,
    key: Secret,
    standing: Standing,
    kind: str,
    *,
    before: bytes | None,
    after: bytes | None,
) -> None:
    """Replace row MAC `before` by `after` in the set of `kind`, as the next generation."""
    generation = standing.generation + 1
    old = standing.roots.get(kind)
    count = (0 if old is None else old.count) - (before is not None) + (after is not None)
    total = 0 if old is None else old.total
    if before is not None:
        total -= _element(key, before)
    if after is not None:
        total += _element(key, after)
    total %= _MODULUS
    if count < 0:
        raise IntegrityError(f"the set of `{kind}` lacks rows", code="store.set")
    nonce = secrets.token_bytes(32)
    accumulator = ((total + _pad(key, kind, nonce)) % _MODULUS).to_bytes(32, "big")
    tag = mac(key, *_root_parts(kind, count, nonce, accumulator, generation))
    values = {
        "count": count,
        "nonce": nonce,
        "accumulator": accumulator,
        "generation": generation,
        "mac": tag,
    }
    if old is None:
        connection.execute(sa.insert(set_roots).values(kind=kind, **values))
    else:
        connection.execute(sa.update(set_roots).where(set_roots.c.kind == kind).values(**values))
    roots = {**standing.roots, kind: SetRoot(kind, count, total, generation, tag)}
    root = _authority_root(roots)
    found = _Authority(
        generation=generation, root=root, mac=mac(key, *_authority_parts(generation, root)).hex()
    )
    value = canonical_json(msgspec.to_builtins(found))
    if standing.roots:
        changed = sa.update(meta).where(meta.c.key == _AUTHORITY_KEY).values(value=value)
        connection.execute(changed)
    else:
        connection.execute(sa.insert(meta).values(key=_AUTHORITY_KEY, value=value))


def read_kind(connection: Connection, row_key: Secret, key: Secret, root: SetRoot) -> KindRows:
    """Read every row of a kind and check them against its set root.

    Raises:
        IntegrityError: A row was changed, removed, added or exchanged for an older one.
    """
    rows = {row.id: row for row in checked_rows(connection, row_key, records.c.kind == root.kind)}
    total = sum(_element(key, row.mac) for row in rows.values()) % _MODULUS
    if len(rows) != root.count or total != root.total:
        raise IntegrityError(
            f"the rows of `{root.kind}` are not the set that was written", code="store.set"
        )
    return KindRows(root, rows, _names(rows.values()))


def advance_kind(
    connection: Connection, row_key: Secret, key: Secret, known: KindRows, root: SetRoot
) -> KindRows | None:
    """Bring `known` up to `root` by reading only newer rows; None if that does not add up.

    It does not after a removal, which leaves no newer row behind: the caller reads the whole
    kind then, and that decides.
    """
    newer = (records.c.kind == root.kind) & (records.c.generation > known.root.generation)
    rows = dict(known.rows)
    total = known.root.total
    for row in checked_rows(connection, row_key, newer):
        if row.id in rows:
            total -= _element(key, rows[row.id].mac)
        total += _element(key, row.mac)
        rows[row.id] = row
    if len(rows) != root.count or total % _MODULUS != root.total:
        return None
    return KindRows(root, rows, _names(rows.values()))


def empty_kind(kind: str) -> KindRows:
    """Return the rows of a kind that nothing was ever put into."""
    return KindRows(SetRoot(kind, 0, 0, 0, b""), {}, {})


class _Authority(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    generation: int
    mac: str
    root: str


def _names(rows: Iterable[Row]) -> dict[tuple[str, str], str]:
    return {(row.parent_id, row.name): row.id for row in rows if row.name}


def _pad(key: Secret, kind: str, nonce: bytes) -> int:
    return int.from_bytes(mac(key, _PAD_DOMAIN, kind.encode(), nonce), "big")


def _element(key: Secret, row_mac: bytes) -> int:
    return int.from_bytes(mac(key, _ELEMENT_DOMAIN, row_mac), "big")


def _root_parts(
    kind: str, count: int, nonce: bytes, accumulator: bytes, generation: int
) -> tuple[bytes, ...]:
    return (
        _ROOT_DOMAIN,
        kind.encode(),
        count.to_bytes(8, "big"),
        nonce,
        accumulator,
        generation.to_bytes(8, "big"),
    )


def _authority_parts(generation: int, root: str) -> tuple[bytes, ...]:
    return (_AUTHORITY_DOMAIN, generation.to_bytes(8, "big"), root.encode())


def _authority_root(roots: Mapping[str, SetRoot]) -> str:
    total = hashlib.sha256(_AUTHORITY_DOMAIN)
    for kind in sorted(roots):
        total.update(len(kind).to_bytes(8, "big") + kind.encode() + roots[kind].mac)
    return total.hexdigest()
