"""How versions of packages are ordered: by dpkg, rpm, apk, npm and Python, each by its own rules.

Every function returns a key that compares with keys of the same function, and raises ValueError
where a text is no version: who asks must not guess that it is an old one or a new one.

Sources: deb-version(7); rpm's `rpmvercmp` (rpm-version(7)); apk-tools' `apk_version_compare`;
Semantic Versioning 2.0.0, item 11; PEP 440 (packaging).
"""

import re
from collections.abc import Callable
from functools import cmp_to_key
from itertools import zip_longest
from typing import Protocol, Self

_MAX_CHARS = 512
_DPKG_UPSTREAM = re.compile(r"[0-9A-Za-z.+~:-]+")
_DPKG_REVISION = re.compile(r"[0-9A-Za-z.+~]*")
_DPKG_PIECE = re.compile(r"([^0-9]*)([0-9]*)")
_RPM = re.compile(r"[\x21-\x7e]+")
_RPM_SEPARATORS = re.compile(r"[^A-Za-z0-9~^]+")
_RPM_PIECE = re.compile(r"[0-9]+|[A-Za-z]+")
_APK = re.compile(
    r"(?P<digits>[0-9]+(?:\.[0-9]+)*)(?P<letter>[a-z]?)(?P<suffixes>(?:_[a-z]+[0-9]*)*)"
    r"(?P<hash>(?:~[0-9a-f]+)?)(?P<revision>(?:-r[0-9]+)?)"
)
_APK_SUFFIX = re.compile(r"_([a-z]+)([0-9]*)")
_APK_BEFORE = ("alpha", "beta", "pre", "rc")
_APK_AFTER = ("cvs", "svn", "git", "hg", "p")
_SEMVER = re.compile(
    r"[v=]?\s?(\d+)(?:\.(\d+))?(?:\.(\d+))?(?:-([0-9A-Za-z.-]+))?(?:\+[0-9A-Za-z.-]+)?"
)
_MAX_EPOCH = 2**31


class Key(Protocol):
    """What two versions are compared by."""

    def __lt__(self, other: Self, /) -> bool:
        """Tell whether this version comes before the other."""
        ...

    def __le__(self, other: Self, /) -> bool:
        """Tell whether this version does not come after the other."""
        ...


def dpkg_key(text: str) -> Key:
    """Return the key of a Debian version, `[epoch:]upstream[-revision]`."""
    text = _bounded(text)
    epoch, colon, rest = text.partition(":")
    if not colon:
        epoch, rest = "0", text
    upstream, dash, revision = rest.rpartition("-")
    if not dash:
        upstream, revision = rest, ""
    if not (
        _is_number(epoch) and _DPKG_UPSTREAM.fullmatch(upstream)
        and _DPKG_REVISION.fullmatch(revision) and int(epoch) < _MAX_EPOCH
    ):  # fmt: skip
        raise ValueError(text[:80])
    return (int(epoch), _dpkg_part(upstream), _dpkg_part(revision))


def _dpkg_part(text: str) -> tuple[tuple[tuple[int, ...], int], ...]:
    """Return text and number by turns: `~` before the end, the end before letters, then the rest.

    The last pair stands for the end, so that `1` comes after `1~` and before `1a`.
    """
    pieces = [
        ((*map(_dpkg_order, words), 0), int(digits or "0"))
        for words, digits in _DPKG_PIECE.findall(text or "0")
        if words or digits
    ]
    return (*pieces, ((0,), 0))


def _dpkg_order(char: str) -> int:
    if char == "~":
        return -1
    return ord(char) if char.isalpha() else ord(char) + 256


def rpm_key(text: str) -> Key:
    """Return the key of `[epoch:]version[-release]`."""
    text = _bounded(text)
    if not _RPM.fullmatch(text):
        raise ValueError(text[:80])
    epoch, colon, rest = text.partition(":")
    if not colon:
        epoch, rest = "0", text
    version, _, release = rest.partition("-")
    if not _is_number(epoch) or not version:
        raise ValueError(text[:80])
    return cmp_to_key(_compare_rpm)((int(epoch), version, release))  # type: ignore[return-value]  # it compares


def _compare_rpm(a: tuple[int, str, str], b: tuple[int, str, str]) -> int:
    if a[0] != b[0]:
        return 1 if a[0] > b[0] else -1
    return _rpmvercmp(a[1], b[1]) or _rpmvercmp(a[2], b[2])


def _rpmvercmp(a: str, b: str) -> int:
    """Compare piece by piece: `~` before the end, `^` after it, a number after a word."""
    while a or b:
        a, b = _rpm_skip(a), _rpm_skip(b)
        if a[:1] == "~" or b[:1] == "~":
            if a[:1] != b[:1]:
                return -1 if a[:1] == "~" else 1
            a, b = a[1:], b[1:]
            continue
        if a[:1] == "^" or b[:1] == "^":
            if a[:1] == b[:1]:
                a, b = a[1:], b[1:]
                continue
            if not a:
                return -1
            if not b:
                return 1
            return -1 if a[:1] == "^" else 1
        if not a or not b:
            break
        found, a, b = _rpm_piece(a, b)
        if found:
            return found
    return (a > b) - (a < b) if not (a and b) else 0


def _rpm_skip(text: str) -> str:
    match = _RPM_SEPARATORS.match(text)
    return text if match is None else text[match.end() :]


def _rpm_piece(a: str, b: str) -> tuple[int, str, str]:
    left, right = _RPM_PIECE.match(a), _RPM_PIECE.match(b)
    assert left is not None  # noqa: S101 - only letters and digits are left
    assert right is not None  # noqa: S101
    one, two = left[0], right[0]
    rest = a[left.end() :], b[right.end() :]
    if one.isdigit() != two.isdigit():
        return (1 if one.isdigit() else -1), *rest
    if one.isdigit():
        return (int(one) > int(two)) - (int(one) < int(two)), *rest
    return (one > two) - (one < two), *rest


def apk_key(text: str) -> Key:
    """Return the key of an Alpine version, such as `1.2.3a_rc1-r4`."""
    text = _bounded(text)
    match = _APK.fullmatch(text)
    if match is None:
        raise ValueError(text[:80])
    tokens: list[tuple[int, object]] = []
    for at, digits in enumerate(match["digits"].split(".")):
        tokens.append((_FIRST if at == 0 else _DIGITS, digits))
    if match["letter"]:
        tokens.append((_LETTER, match["letter"]))
    for name, number in _APK_SUFFIX.findall(match["suffixes"]):
        if name not in _APK_BEFORE + _APK_AFTER:
            raise ValueError(text[:80])
        rank = (
            _APK_BEFORE.index(name) - len(_APK_BEFORE)
            if name in _APK_BEFORE
            else _APK_AFTER.index(name)
        )
        tokens.append((_SUFFIX, rank))
        if number:
            tokens.append((_SUFFIX_NUMBER, int(number)))
    if match["hash"]:
        tokens.append((_HASH, match["hash"]))
    if match["revision"]:
        tokens.append((_REVISION, int(match["revision"][2:])))
    tokens.append((_END, 0))
    return cmp_to_key(_compare_apk)(tuple(tokens))  # type: ignore[return-value]  # it compares


# The order in which parts of a version stand; where one ends, the earlier kind is the greater.
_FIRST, _DIGITS, _LETTER, _SUFFIX, _SUFFIX_NUMBER, _HASH, _REVISION, _END = range(8)
_Tokens = tuple[tuple[int, object], ...]


def _compare_apk(a: _Tokens, b: _Tokens) -> int:
    for (kind, one), (other, two) in zip_longest(a, b, fillvalue=(_END, 0)):
        if kind != other:
            if kind == _SUFFIX and isinstance(one, int) and one < 0:
                return -1
            if other == _SUFFIX and isinstance(two, int) and two < 0:
                return 1
            return -1 if kind > other else 1
        found = _compare_apk_token(kind, one, two)
        if found:
            return found
    return 0


def _compare_apk_token(kind: int, one: object, two: object) -> int:
    if kind in (_FIRST, _DIGITS):
        left, right = str(one), str(two)
        # After the first, a leading zero makes it a fraction: 1.02 comes before 1.1.
        if kind == _FIRST or not (left.startswith("0") or right.startswith("0")):
            return (int(left) > int(right)) - (int(left) < int(right))
        return (left > right) - (left < right)
    if isinstance(one, int) and isinstance(two, int):
        return (one > two) - (one < two)
    return (str(one) > str(two)) - (str(one) < str(two))


def semver_key(text: str) -> Key:
    """Return the key of a semantic version; what stands after `+` does not count."""
    text = _bounded(text)
    match = _SEMVER.fullmatch(text)
    if match is None:
        raise ValueError(text[:80])
    numbers = tuple(int(one or "0") for one in match.groups()[:3])
    if match[4] is None:
        return (*numbers, (1,))
    before = tuple(
        (0, int(one), "") if _is_number(one) else (1, 0, one) for one in match[4].split(".")
    )
    return (*numbers, (0, before))


def python_key(text: str) -> Key:
    """Return the key of a version by PEP 440, without what marks a local build."""
    from packaging.version import Version

    return Version(Version(_bounded(text)).public)  # InvalidVersion is a ValueError


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit()


def _bounded(text: str) -> str:
    if not text or len(text) > _MAX_CHARS or not text.isascii():
        raise ValueError("no version")
    return text


KEYS: dict[str, Callable[[str], Key]] = {
    "Alpine": apk_key,
    "AlmaLinux": rpm_key,
    "Chainguard": apk_key,
    "Debian": dpkg_key,
    "Mageia": rpm_key,
    "PyPI": python_key,
    "Red Hat": rpm_key,
    "Rocky Linux": rpm_key,
    "SUSE": rpm_key,
    "Ubuntu": dpkg_key,
    "Wolfi": apk_key,
    "npm": semver_key,
    "openEuler": rpm_key,
    "openSUSE": rpm_key,
}
"""By OSV's name of the ecosystem, without its release."""
