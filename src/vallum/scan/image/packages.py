"""Which packages are installed: read from what dpkg, apk, rpm, pip and npm leave in an image.

A package that a distribution brought is matched against that distribution's advisories alone: the
same version with a mend of its own would be a false alarm in the library's ecosystem.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from vallum.base.bounds import ImageBounds
from vallum.base.errors import InputError, LimitExceededError
from vallum.scan.image.rpmdb import read_rpmdb
from vallum.schema import Package

_DPKG = re.compile(r"^var/lib/dpkg/(status|status\.d/[^/]+)$")
_DPKG_FILES = re.compile(r"^var/lib/dpkg/info/[^/]+\.list$")
_DPKG_SUMS = re.compile(r"^var/lib/dpkg/status\.d/[^/]+\.md5sums$")  # without its own list
_APK = re.compile(r"^(usr/)?lib/apk/db/installed$")
_RPM = re.compile(
    r"^(var/lib/rpm|usr/lib/sysimage/rpm|usr/share/rpm)/(rpmdb\.sqlite|Packages|Packages\.db)$"
)
_PYTHON = re.compile(
    r"(^|/)[^/]+\.(dist-info/METADATA|egg-info/PKG-INFO|egg-info|egg/EGG-INFO/PKG-INFO)$"
)
_NPM = re.compile(r"(^|/)node_modules/(@[^/]+/)?[^/]+/package\.json$")
OS_RELEASE = ("etc/os-release", "usr/lib/os-release")
_SOURCE = re.compile(r"^(\S+)(?:\s+\(([^)]+)\))?$")
_INSTALLED = frozenset({"installed", "unpacked", "half-configured", "triggers-awaited",
                        "triggers-pending"})  # fmt: skip
_DATABASES = {"debian": "deb", "ubuntu": "deb", "alpine": "apk", "wolfi": "apk",
              "chainguard": "apk", "rhel": "rpm", "centos": "rpm", "fedora": "rpm",
              "rocky": "rpm", "almalinux": "rpm", "amzn": "rpm", "opensuse-leap": "rpm",
              "opensuse-tumbleweed": "rpm", "sles": "rpm", "ol": "rpm", "mageia": "rpm",
              "openEuler": "rpm"}  # fmt: skip
_MAX_FIELD = 300


def is_record(path: str) -> bool:
    """Tell whether a file says which packages are installed, or which distribution it is."""
    return path in OS_RELEASE or any(
        one.search(path) for one in (_DPKG, _DPKG_FILES, _APK, _RPM, _PYTHON, _NPM)
    )


@dataclass(slots=True)
class Inventory:
    """What was found.

    Attributes:
        distribution: Identifier and version, such as `debian 12`; empty where there is none.
        ecosystem: OSV's name of the distribution; empty where it has none.
        packages: Every one.
        unread: Records that could not be read: path and reason.
        missing: The kind of database that the distribution should have and has not.
    """

    distribution: str = ""
    ecosystem: str = ""
    packages: list[Package] = field(default_factory=list)
    unread: list[tuple[str, str]] = field(default_factory=list)
    missing: str = ""


def take_inventory(files: Mapping[str, bytes], bounds: ImageBounds) -> Inventory:
    """List the packages of an image.

    Args:
        files: Path and content of its records, as `is_record` chose them.
        bounds: On the number of packages.

    Raises:
        LimitExceededError: There are too many packages.
    """
    found = Inventory()
    release = _os_release(next((files[one] for one in OS_RELEASE if one in files), b""))
    identity = release.get("ID", "")
    found.distribution = " ".join(one for one in (identity, release.get("VERSION_ID", "")) if one)
    found.ecosystem = _ecosystem(identity, release.get("VERSION_ID", ""))
    owned: set[str] = set()
    for path in sorted(files):
        try:
            for one in _read(path, files[path], found.ecosystem, owned, bounds):
                found.packages.append(one)
                if len(found.packages) > bounds.max_packages:
                    limit = bounds.max_packages
                    raise LimitExceededError(
                        f"more than {limit} packages", code="image.too-many-packages"
                    )
        except InputError as error:
            found.unread.append((path, error.message))
    kinds = {one.kind for one in found.packages}
    if _DATABASES.get(identity, "") not in {"", *kinds}:
        found.missing = _DATABASES[identity]
    found.packages = [_apart(one, owned) for one in found.packages]
    return found


def _apart(one: Package, owned: set[str]) -> Package:
    """Leave a distribution's build of a library to the distribution's own advisories."""
    if one.kind not in ("pypi", "npm") or one.place not in owned:
        return one
    return Package(kind=one.kind, name=one.name, version=one.version, license=one.license,
                   place=one.place)  # fmt: skip


def _read(
    path: str, data: bytes, ecosystem: str, owned: set[str], bounds: ImageBounds
) -> Iterator[Package]:
    if _RPM.match(path):
        for rpm in read_rpmdb(data, max_packages=bounds.max_packages):
            owned |= rpm.files
            yield Package(
                kind="rpm", name=rpm.name, version=rpm.version, ecosystem=ecosystem,
                source="-".join(rpm.source.split("-")[:-2]), architecture=rpm.architecture,
                license=rpm.license[:_MAX_FIELD], place=path,
            )  # fmt: skip
        return
    text = data.decode("utf-8", "replace")
    if _DPKG_FILES.match(path):
        owned |= {line.lstrip("/") for line in text.splitlines()}
    elif _DPKG_SUMS.match(path):
        owned |= {line.partition("  ")[2].lstrip("./") for line in text.splitlines()}
    elif _DPKG.match(path):
        yield from _dpkg(text, path, ecosystem)
    elif _APK.match(path):
        yield from _apk(text, path, ecosystem, owned)
    elif _PYTHON.search(path):
        yield from _python(text, path)
    elif _NPM.search(path):
        yield from _npm(data, path)


def _os_release(data: bytes) -> dict[str, str]:
    """Read os-release(5)."""
    fields = {}
    for line in data.decode("utf-8", "replace").splitlines():
        name, equals, value = line.strip().partition("=")
        if equals and name.isascii() and name.isidentifier():
            fields[name] = value.strip().strip("\"'")[:80]
    return fields


def _ecosystem(identity: str, version: str) -> str:
    """Return OSV's name of a distribution; empty where there is none."""
    major = version.partition(".")[0]
    if not version and identity not in ("wolfi", "chainguard"):
        return ""
    return {
        "debian": f"Debian:{major}",
        "ubuntu": f"Ubuntu:{version}",
        "alpine": f"Alpine:v{'.'.join(version.split('.')[:2])}",
        "wolfi": "Wolfi",
        "chainguard": "Chainguard",
        "rhel": f"Red Hat:{major}",
        "rocky": f"Rocky Linux:{major}",
        "almalinux": f"AlmaLinux:{major}",
        "opensuse-leap": f"openSUSE:Leap {version}",
        "mageia": f"Mageia:{major}",
    }.get(identity, "")


def _stanzas(text: str) -> Iterator[dict[str, str]]:
    """Yield deb822 paragraphs; what is folded over several lines is not needed here."""
    fields: dict[str, str] = {}
    for line in text.splitlines():
        if not line.strip():
            if fields:
                yield fields
            fields = {}
        elif line[0] not in " \t":
            name, colon, value = line.partition(":")
            if colon:
                fields.setdefault(name.lower(), value.strip())
    if fields:
        yield fields


def _dpkg(text: str, path: str, ecosystem: str) -> Iterator[Package]:
    for one in _stanzas(text):
        state = one.get("status", "install ok installed").split(" ")[-1]
        if state not in _INSTALLED:
            continue
        name, version = one.get("package", ""), one.get("version", "")
        if not name or not version:
            raise InputError("a package without name or version", code="image.packages")
        source = _SOURCE.match(one.get("source", "")) or _SOURCE.match(name)
        yield Package(
            kind="deb", name=name, version=version, ecosystem=ecosystem,
            source=name if source is None else source[1],
            source_version=version if source is None else source[2] or version,
            architecture=one.get("architecture", ""), place=path,
        )  # fmt: skip


def _apk(text: str, path: str, ecosystem: str, owned: set[str]) -> Iterator[Package]:
    for paragraph in text.split("\n\n"):
        fields: dict[str, str] = {}
        folder = ""
        for line in paragraph.splitlines():
            key, _, value = line.partition(":")
            if key == "F":
                folder = value
            elif key == "R":
                owned.add(f"{folder}/{value}".lstrip("/"))
            else:
                fields.setdefault(key, value)
        if not fields:
            continue
        if not fields.get("P") or not fields.get("V"):
            raise InputError("a package without name or version", code="image.packages")
        yield Package(
            kind="apk", name=fields["P"], version=fields["V"], ecosystem=ecosystem,
            source=fields.get("o", fields["P"]), source_version=fields["V"],
            architecture=fields.get("A", ""), license=fields.get("L", "")[:_MAX_FIELD], place=path,
        )  # fmt: skip


def _python(text: str, path: str) -> Iterator[Package]:
    head = next(_stanzas(text.replace("\r\n", "\n")), {})
    name, version = head.get("name", ""), head.get("version", "")
    if not name or not version:
        raise InputError("metadata of Python without name or version", code="image.packages")
    license_ = head.get("license-expression") or head.get("license", "")
    yield Package(
        kind="pypi", name=name, version=version, ecosystem="PyPI",
        license=license_[:_MAX_FIELD], place=path,
    )  # fmt: skip


def _npm(data: bytes, path: str) -> Iterator[Package]:
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise InputError("malformed JSON", code="image.packages") from error
    if not isinstance(document, dict):
        raise InputError("no object", code="image.packages")
    name, version = document.get("name"), document.get("version")
    if not isinstance(name, str) or not isinstance(version, str) or not version:
        return  # a folder of a package, or a test's fixture: npm installs no such thing
    license_ = document.get("license")
    yield Package(
        kind="npm", name=name, version=version, ecosystem="npm",
        license=license_[:_MAX_FIELD] if isinstance(license_, str) else "", place=path,
    )  # fmt: skip


def advised_as(one: Package) -> tuple[tuple[str, str], ...]:
    """Return the names and versions that advisories about a package may be written with.

    Debian's, Ubuntu's and Alpine's name the source package; Red Hat's and its relatives' name one
    or the other.
    """
    if one.kind in ("deb", "apk") and one.source:
        return ((one.source, one.source_version or one.version),)
    names = dict.fromkeys([one.name, one.source] if one.source else [one.name])
    return tuple((name, one.version) for name in names)
