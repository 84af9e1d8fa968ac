"""`requirements.txt` and single requirements of Python.

Source: pip 25, "Requirements File Format"; PEP 508 and PEP 440 by `packaging`.
"""

import re
from collections.abc import Iterator

from vallum.scan.code.declared import MAX_DECLARED, Declaration, Declared, Source, is_commit

MAX_LINE = 20_000
_COMMENT = re.compile(r"(^|\s+)#.*$")
_HASH = re.compile(r"\s--hash[= ](sha(?:256|384|512)):([0-9a-fA-F]{64,128})(?=\s|$)")
_OPTION = re.compile(r"^(-[a-zA-Z]|--[a-z][a-z-]*)(?:[= ]\s*(.*))?$")
_PER_LINE = re.compile(r"\s--(?:global-option|config-settings?|install-option|no-binary)[= ]\S+.*$")
_VCS = re.compile(r"^(git|hg|svn|bzr)\+")
_PATH = re.compile(r"^(?:\.{1,2}(?:/|$)|/|~/|file:)|\.(?:whl|tar\.gz|zip)$")
_FRAGMENT_HASH = re.compile(r"[#&]sha(?:256|384|512)=[0-9a-f]{64,128}\b")
_EGG = re.compile(r"[#&]egg=([A-Za-z0-9._-]+)")
_INDEX = frozenset({"-i", "--index-url", "--pypi-url", "--extra-index-url", "-f", "--find-links"})
_HARMLESS = frozenset(
    {"--no-index", "--prefer-binary", "--require-hashes", "--only-binary", "--no-binary", "--pre",
     "--use-feature", "--no-deps"}
)  # fmt: skip


def parse_requirements(text: str) -> Declaration:
    """Read a requirements file; what pip would read and this does not is `unread`."""
    declared = Declaration("requirements")
    for number, line in _logical_lines(text):
        if len(declared.packages) > MAX_DECLARED:
            break  # `judge` says so
        if len(line) > MAX_LINE:
            declared.unread.append((line[:80], number))
            continue
        option = _OPTION.match(line)
        if option is not None:
            _take_option(option[1], (option[2] or "").strip().strip("'\""), declared, number)
        else:
            hashed = bool(_HASH.search(line))
            bare = _PER_LINE.sub("", _HASH.sub(" ", line)).strip()
            declared.packages.append(
                read_requirement(bare, declared, line=number, hashed=hashed)
            ) if bare else None
    declared.packages = [one for one in declared.packages if one.name or one.url]
    return declared


def read_requirement(
    text: str,
    declared: Declaration,
    *,
    line: int | None = None,
    hashed: bool = False,
    abstract: bool = False,
) -> Declared:
    """Return what one requirement asks for; without name and URL where it is not understood."""
    from packaging.requirements import InvalidRequirement, Requirement

    text = text.strip()
    if _VCS.match(text) or re.match(r"^(https?|ftp)://", text):
        egg = _EGG.search(text)
        return from_url(egg[1] if egg else "", text, line=line, hashed=hashed)
    if _PATH.search(text.split(" ;")[0].split("[")[0]) and " @ " not in text:
        return Declared(text[:80], line=line, source="local", url=text[:200])
    try:
        requirement = Requirement(text)
    except (InvalidRequirement, RecursionError):
        declared.unread.append((text, line))
        return Declared("")
    if requirement.url:
        return from_url(requirement.name, requirement.url, line=line, hashed=hashed)
    return Declared(
        requirement.name, exact(str(requirement.specifier)), line, fixed=hashed, abstract=abstract
    )


def exact(specifier: str) -> str:
    """Return the one version that a specifier allows; empty where it allows several."""
    for part in specifier.split(","):
        match = re.match(r"^\s*===?\s*([^\s*=]+)\s*$", part)
        if match is not None:
            return match[1]
    return ""


def from_url(name: str, url: str, *, line: int | None = None, hashed: bool = False) -> Declared:
    """Return a package that an address names."""
    if url.startswith("file:"):
        return Declared(name or url[:80], line=line, source="local", url=url)
    source: Source = "url"
    fixed = hashed or bool(_FRAGMENT_HASH.search(url))
    if _VCS.match(url):
        source = "vcs"
        bare = url.partition("#")[0].rpartition("://")[2]
        revision = bare.rpartition("@")[2] if "@" in bare.partition("/")[2] else ""
        fixed = is_commit(revision)
    return Declared(name, line=line, source=source, url=url, fixed=fixed)


def _logical_lines(text: str) -> Iterator[tuple[int, str]]:
    r"""Yield lines without comments, those that `\` continues joined, with their first number."""
    held = ""
    first = 0
    for number, raw in enumerate(text.splitlines(), 1):
        if not held:
            first = number
        if raw.endswith("\\") and not raw.lstrip().startswith("#"):
            held += raw[:-1] + " "
            continue
        line = _COMMENT.sub("", held + raw).strip()
        held = ""
        if line:
            yield first, line
    if held.strip():
        yield first, held.strip()


def _take_option(option: str, value: str, declared: Declaration, number: int) -> None:
    if option in _INDEX:
        declared.indexes.append((value, number))
        if option == "--extra-index-url":
            declared.notes.append((
                "dependency.confusion", "high",
                "pip takes the highest version of several indexes, so anybody's package may win",
                number,
            ))  # fmt: skip
    elif option == "--trusted-host":
        declared.notes.append((
            "dependency.plain-http", "high", f"the certificate of `{value[:80]}` is not checked",
            number,
        ))  # fmt: skip
    elif option in ("-r", "--requirement", "-c", "--constraint"):
        declared.notes.append((
            "dependency.include", "info", f"`{value[:80]}` is included, and judged by itself",
            number,
        ))  # fmt: skip
        if "://" in value:
            declared.indexes.append((value, number))
    elif option in ("-e", "--editable"):
        declared.packages.append(read_requirement(value, declared, line=number))
    elif option not in _HARMLESS:
        declared.unread.append((f"{option} {value}", number))
