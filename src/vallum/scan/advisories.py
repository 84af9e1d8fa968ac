"""Advisories about packages, from snapshots in OSV's format, matched without the network.

A snapshot is imported by hand: it says what was known when it was made, and nothing later. There
is one for each family of ecosystems, such as `PyPI` or `Debian`.

Source: OSV schema 1.6, "Evaluation"; versions compare as their ecosystem does (`scan.versions`).
"""

import os
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import msgspec

from vallum.base.atomic import write_atomic
from vallum.base.bounds import GIB, MIB, ArchiveBounds
from vallum.base.errors import InputError, LimitExceededError
from vallum.formats import ZipArchive
from vallum.scan.severity import vector_severity
from vallum.scan.versions import KEYS, Key

BOUNDS = ArchiveBounds(
    max_bytes=1 * GIB, max_entries=500_000, max_member_bytes=16 * MIB, max_total_bytes=4 * GIB,
    max_ratio=1_000,
)  # fmt: skip
MAX_RANGES = 1_000
MAX_VERSIONS = 20_000
T = TypeVar("T")
_UBUNTU = re.compile(r"^Ubuntu:(?:Pro:)?(?:FIPS[\w-]*:)?(\d\d\.\d\d)")
_RED_HAT = re.compile(r"^Red Hat:enterprise_linux:(\d+)")
_FORM = "vallum.advisories/1"
_TIME = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?Z$")
_NAME = re.compile(r"[-_.]+")
# Words of GitHub's advisories to ours.
_ORDER = {"low": 0, "medium": 1, "high": 2, "critical": 3}
_SEVERITIES = {
    "LOW": "low", "MODERATE": "medium", "MEDIUM": "medium", "HIGH": "high", "CRITICAL": "critical",
}  # fmt: skip


class Event(msgspec.Struct, frozen=True, array_like=True):
    """One change along the line of versions: `introduced`, `fixed`, `last_affected` or `limit`."""

    kind: str
    version: str


class Advisory(msgspec.Struct, frozen=True, array_like=True):
    """What one advisory says about one package.

    Attributes:
        id: In its database, such as `PYSEC-2021-94`.
        aliases: In others.
        severity: As of a finding; empty where nobody said.
        ranges: Events of each range, in the order of the file.
        versions: Named one by one.
        summary: One line.
    """

    id: str
    aliases: tuple[str, ...]
    severity: str
    ranges: tuple[tuple[Event, ...], ...]
    versions: tuple[str, ...]
    summary: str


class Snapshot(msgspec.Struct, frozen=True):
    """All advisories of one family of ecosystems that were imported.

    Attributes:
        form: Of the file.
        newest: When the newest of them was changed, in the form of RFC 3339.
        count: How many were read.
        packages: By the normalised name of the package; where a family has releases, after the
            ecosystem with its release: `Debian:12/openssl`.
        family: Of ecosystems.
    """

    form: str
    newest: str
    count: int
    packages: dict[str, tuple[Advisory, ...]]
    family: str = "PyPI"


@dataclass(frozen=True, slots=True)
class Match:
    """An advisory, with its doubles in other databases, that a version is affected by.

    Where none of them says how bad it is, it is `high`: it is not hidden.
    """

    ids: tuple[str, ...]
    severity: str
    summary: str
    fixed: tuple[str, ...]


# -- OSV's own form -----------------------------------------------------------------------------


class _Package(msgspec.Struct):
    ecosystem: str = ""
    name: str = ""


class _Range(msgspec.Struct):
    type: str = ""
    events: tuple[dict[str, str], ...] = ()


class _Scored(msgspec.Struct):
    type: str = ""
    score: str = ""


class _Affected(msgspec.Struct):
    package: _Package | None = None
    severity: tuple[_Scored, ...] | None = ()
    ranges: tuple[_Range, ...] | None = ()
    versions: tuple[str, ...] | None = ()


class _Osv(msgspec.Struct):
    id: str
    modified: str
    withdrawn: str | None = None
    aliases: tuple[str, ...] | None = ()
    summary: str | None = ""
    affected: tuple[_Affected, ...] | None = ()
    severity: tuple[_Scored, ...] | None = ()
    database_specific: dict[str, msgspec.Raw] | None = None


_DECODER = msgspec.json.Decoder(_Osv)
_MANY = msgspec.json.Decoder(tuple[_Osv, ...])


def read_osv(data: bytes) -> tuple[Snapshot, ...]:
    """Read advisories: OSV's zip of an ecosystem, one advisory in JSON, or a list of them.

    Withdrawn advisories and ecosystems whose versions are not known here are left out.

    Returns:
        A snapshot for each family of ecosystems, by name.

    Raises:
        InputError: One of them is malformed, or none is about a known ecosystem; nothing is taken
            then.
        LimitExceededError: Beyond a bound.
    """
    packages: dict[str, dict[str, list[Advisory]]] = {}
    newest: dict[str, str] = {}
    count: dict[str, int] = {}
    withdrawn = ""
    for one in _documents(data):
        if not _TIME.match(one.modified):
            raise InputError(f"`{one.id[:80]}` has no time in UTC", code="advisories.form")
        if one.withdrawn is not None:
            withdrawn = max(withdrawn, one.modified)
            continue
        found = _taken(one)
        for family, name, advisory in found:
            packages.setdefault(family, {}).setdefault(name, []).append(advisory)
        for family in {family for family, _, _ in found}:
            count[family] = count.get(family, 0) + 1
            newest[family] = max(newest.get(family, withdrawn), one.modified)
    if not packages:
        raise InputError(
            "the file holds no advisory about a package of a known ecosystem",
            code="advisories.none",
            hint="the zip of an ecosystem is `PyPI/all.zip` or `Debian/all.zip` in OSV's bucket",
        )
    return tuple(
        Snapshot(
            form=_FORM, newest=max(newest[family], withdrawn), count=count[family],
            packages={name: tuple(known[name]) for name in sorted(known)}, family=family,
        )
        for family, known in sorted(packages.items())
    )  # fmt: skip


def _documents(data: bytes) -> Iterator[_Osv]:
    if data[:2] != b"PK":
        if len(data) > BOUNDS.max_member_bytes:
            raise LimitExceededError("the JSON is too large", code="advisories.size")
        if data.lstrip()[:1] == b"[":
            yield from _decoded(_MANY, data, "the list")
        else:
            yield _decoded(_DECODER, data, "the advisory")
        return
    archive = ZipArchive(data, BOUNDS)
    for member in archive.files():
        if member.name.endswith(".json"):
            content = archive.read(member, BOUNDS.max_member_bytes)
            yield _decoded(_DECODER, content, f"`{member.name[:80]}`")


def _decoded(decoder: "msgspec.json.Decoder[T]", data: bytes, what: str) -> T:
    try:
        return decoder.decode(data)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise InputError(
            f"{what} is not in OSV's form", code="advisories.form",
            hint="nothing was changed; get the file again",
        ) from error  # fmt: skip


def _taken(one: _Osv) -> list[tuple[str, str, Advisory]]:
    found = []
    for affected in one.affected or ():
        package = affected.package
        if package is None or not package.name or family_of(package.ecosystem) not in KEYS:
            continue
        ranges = [
            tuple(Event(kind, version) for event in part.events for kind, version in event.items())
            for part in affected.ranges or ()
            if part.type in ("ECOSYSTEM", "SEMVER")
        ]
        versions = affected.versions or ()
        if sum(map(len, ranges)) > MAX_RANGES or len(versions) > MAX_VERSIONS:
            raise LimitExceededError(f"`{one.id[:80]}` is too long", code="advisories.size")
        advisory = Advisory(
            id=one.id[:80], aliases=tuple(alias[:80] for alias in one.aliases or ()),
            severity=_severity(one), ranges=tuple(ranges), versions=versions,
            summary=" ".join((one.summary or "").split())[:160],
        )  # fmt: skip
        family = family_of(package.ecosystem)
        found.append((family, _key(package.ecosystem, package.name), advisory))
    return found


def _severity(one: _Osv) -> str:
    if one.id.startswith("MAL-"):  # the package itself is an attack
        return "critical"
    said = (one.database_specific or {}).get("severity")
    word = "" if said is None else bytes(said).decode("utf-8", "replace").strip('"').upper()
    if word in _SEVERITIES:
        return _SEVERITIES[word]
    # Otherwise the worst of the vectors, which may be of several versions of CVSS.
    scored = [*(one.severity or ())]
    for affected in one.affected or ():
        scored += affected.severity or ()
    words = {vector_severity(each.score) for each in scored if each.type.startswith("CVSS_V")}
    return max(words & _ORDER.keys(), key=_ORDER.__getitem__, default="")


# -- keeping ------------------------------------------------------------------------------------


def advisories_path(family: str = "PyPI") -> Path:
    """Return where advisories are kept: `VALLUM_ADVISORIES`, or the user's data folder (XDG)."""
    name = family.lower().replace(" ", "-") + ".msgpack"
    named = os.environ.get("VALLUM_ADVISORIES", "")
    if named:
        return Path(named) / name
    data = os.environ.get("XDG_DATA_HOME", "")
    folder = Path(data) if data else Path.home() / ".local" / "share"
    return folder / "vallum" / "advisories" / name


def keep_snapshot(snapshot: Snapshot, path: Path) -> None:
    """Write a snapshot in place of the one that is there.

    Raises:
        InputError: The one that is there is newer, or the file cannot be written.
    """
    try:
        known: Snapshot | None = load_snapshot(path)
    except InputError:
        known = None  # unreadable: it is replaced
    if known is not None and known.newest > snapshot.newest:
        raise InputError(
            f"the advisories that are kept are newer ({known.newest} against {snapshot.newest})",
            code="advisories.older",
            hint=f"remove `{path}` first if that is what you want",
        )
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_atomic(path, msgspec.msgpack.encode(snapshot))
    except OSError as error:
        raise InputError(
            f"`{path}` cannot be written: {error.strerror}", code="advisories.file"
        ) from error


def load_snapshot(path: Path) -> Snapshot | None:
    """Return the snapshot that is kept; None where there is none.

    Raises:
        InputError: The file is there and cannot be read.
    """
    try:
        snapshot = msgspec.msgpack.decode(path.read_bytes(), type=Snapshot)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.DecodeError) as error:
        raise InputError(
            f"the advisories in `{path}` cannot be read", code="advisories.file",
            hint="vallum scan --update-advisories FILE",
        ) from error  # fmt: skip
    if snapshot.form != _FORM:
        raise InputError(
            f"the advisories in `{path}` have another form", code="advisories.file",
            hint="vallum scan --update-advisories FILE",
        )  # fmt: skip
    return snapshot


# -- matching -----------------------------------------------------------------------------------


def normal_name(name: str) -> str:
    """Return the name of a package as PEP 503 normalises it."""
    return _NAME.sub("-", name.strip()).lower()


def family_of(ecosystem: str) -> str:
    """Return OSV's name of an ecosystem without its release: `Debian` of `Debian:12`."""
    return ecosystem.partition(":")[0]


def _key(ecosystem: str, name: str) -> str:
    if ecosystem == "PyPI":
        return normal_name(name)
    if ecosystem == "npm":
        return name
    ubuntu, red_hat = _UBUNTU.match(ecosystem), _RED_HAT.match(ecosystem)
    if ubuntu is not None:  # what Ubuntu mends for subscribers only is open for the others
        ecosystem = f"Ubuntu:{ubuntu[1]}"
    if red_hat is not None:
        ecosystem = f"Red Hat:{red_hat[1]}"
    return f"{ecosystem}/{name}"


def affecting(
    snapshot: Snapshot, name: str, version: str, *, ecosystem: str = "PyPI"
) -> tuple[Match, ...]:
    """Return what affects a version of a package, doubles joined by their aliases.

    An advisory whose versions cannot be compared affects every version: it is not hidden.

    Args:
        snapshot: Of the family of the ecosystem.
        name: Of the package; of distributions, that of the source package.
        version: As installed.
        ecosystem: As OSV writes it, with the release where there is one: `Debian:12`.
    """
    key = KEYS[snapshot.family]
    known = snapshot.packages.get(_key(ecosystem, name), ())
    found = [one for one in known if _affects(one, version, key)]
    groups: list[list[Advisory]] = []
    for one in found:
        names = {one.id, *one.aliases}
        same = [g for g in groups if any(names & {had.id, *had.aliases} for had in g)]
        groups = [g for g in groups if g not in same]
        groups.append([one, *(had for g in same for had in g)])
    return tuple(sorted((_match(group) for group in groups), key=lambda one: one.ids))


def _match(group: Iterable[Advisory]) -> Match:
    listed = sorted(group, key=lambda one: one.id)
    ids = [*(one.id for one in listed), *(alias for one in listed for alias in one.aliases)]
    words = [one.severity for one in listed if one.severity]
    return Match(
        ids=tuple(dict.fromkeys(ids)),
        severity=max(words, key=_ORDER.__getitem__, default="high"),
        summary=next((one.summary for one in listed if one.summary), ""),
        fixed=tuple(
            dict.fromkeys(
                event.version
                for one in listed for events in one.ranges for event in events
                if event.kind == "fixed"
            )
        ),
    )  # fmt: skip


def _affects(advisory: Advisory, version: str, key: Callable[[str], Key]) -> bool:
    if version in advisory.versions:
        return True
    try:
        at = key(version)
    except ValueError:
        return bool(advisory.ranges)
    if key is KEYS["PyPI"]:  # where one version has several spellings
        for named in advisory.versions:
            try:
                if key(named) == at:
                    return True
            except ValueError:
                continue
    return any(_in_range(events, at, key) for events in advisory.ranges)


def _in_range(events: Iterable[Event], at: Key, key: Callable[[str], Key]) -> bool:
    """Walk along the events of one range; OSV's own algorithm."""
    order: list[tuple[Key, int, str]] = []
    limits: list[Key] = []
    affected = False
    try:
        for event in events:
            if event.kind == "limit":
                if event.version != "*":
                    limits.append(key(event.version))
            elif event.kind == "introduced" and event.version == "0":
                affected = True  # before every version
            else:
                rank = 0 if event.kind == "introduced" else 1
                order.append((key(event.version), rank, event.kind))
    except ValueError:
        return True
    if limits and not any(at < limit for limit in limits):
        return False
    for place, _, kind in sorted(order):
        if kind == "introduced":
            affected = affected or place <= at
        elif kind == "fixed":
            affected = affected and at < place
        elif kind == "last_affected":
            affected = affected and at <= place
    return affected
