"""Secrets in texts: tokens that have a form, and values that are given to a name like `password`.

What forms tokens have, the caller brings (`privacy` knows them): this room knows only names and
what stands in for a value. A finding never holds the secret, not even in part.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from vallum.scan.report import Findings

SecretFinder = Callable[[Sequence[str]], Sequence[Sequence[tuple[int, str]]]]
"""For each text, the places (in code points) and kinds of tokens in it, such as `token.aws`."""

_ATLAS = "AML.T0055"
_BATCH = 5_000
_NAME = (
    r"(?:pass(?:word|wd|phrase)?|pwd|secret|token|api[_-]?key|access[_-]?key|account[_-]?key|"
    r"secret[_-]?key|private[_-]?key|auth[_-]?key|credentials?)"
)
_IS_NAME = re.compile(rf"(?:^|[_.\-]|[a-z](?=[A-Z])){_NAME}$", re.IGNORECASE)
_GIVEN = re.compile(
    rf"([\w.\-]{{0,60}}{_NAME})[\"']?\s{{0,3}}(?::|=>|=)\s{{0,3}}[\"']?([^\s\"',;]{{6,256}})",
    re.IGNORECASE,
)
_LITERAL = re.compile(r"^[A-Za-z]{0,3}(?:'''|\"\"\"|'|\")(.*?)(?:'''|\"\"\"|'|\")$", re.DOTALL)
# What stands in for a value: a variable, a call, a placeholder, the special tokens of a tokenizer.
_STANDS_IN = re.compile(
    r"^[$<{\[(%*@]|^(?:x+|\.+|\*+|-+|none|null|true|false|todo|str|string|bytes)$|"
    r"\bos\.|environ|getenv|getpass|[(\[]|your[_-]|my[_-]|example|placeholder|changeme|dummy|redacted|"
    r"^https?://|^/|^\./",
    re.IGNORECASE,
)
_LONG_ENOUGH = 16
_URL = re.compile(r"\b[a-z][a-z0-9+.\-]{1,20}://[^\s/:@\"'<>]{1,100}:([^\s/@\"'<>]{3,200})@")
_MAX_TEXT = 4_000
# Enough to keep a parameter back where no finder is at hand: the beginnings of well-known tokens.
_FORMS = re.compile(
    r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b|\bgh[pousr]_\w{20,}|\bsk-[\w-]{20,}|\bhf_\w{20,}|"
    r"\bxox[abprs]-|\beyJ[\w-]{10,}\.|-----BEGIN|\bvlm_\w{20,}|\bglpat-"
)


@dataclass(frozen=True, slots=True)
class Text:
    """A piece of a file that is searched.

    Attributes:
        text: The piece.
        member: Where in the file it lies.
        line: Of its first character there, from 1; None where lines mean nothing.
        name: What the text is the value of; empty if that stands in the text itself, or nowhere.
    """

    text: str
    member: str = ""
    line: int | None = None
    name: str = ""


def is_secret(name: str, value: str) -> bool:
    """Tell whether a value looks like a secret, by the name that it is given to or by its form."""
    findings = Findings()
    scan_secrets([Text(value, name=name)], findings, None)
    return bool(findings.items) or bool(_FORMS.search(value))


def lines_of(text: str, member: str = "") -> list[Text]:
    """Return the lines of a text; a long line in pieces that overlap."""
    step = _MAX_TEXT - 300
    return [
        Text(line[at : at + _MAX_TEXT], member, number)
        for number, line in enumerate(text.splitlines(), 1)
        if line.strip()
        for at in range(0, max(len(line) - 300, 1), step)
    ]


def scan_secrets(texts: Iterable[Text], findings: Findings, finder: SecretFinder | None) -> None:
    """Report secrets, each kind once a line."""
    seen: set[tuple[str, int | None, str]] = set()
    pieces = list(texts)
    for start in range(0, len(pieces), _BATCH):
        batch = pieces[start : start + _BATCH]
        found = finder([one.text for one in batch]) if finder is not None else [()] * len(batch)
        for piece, spans in zip(batch, found, strict=True):
            kinds = [
                (None if piece.line is None else piece.line + piece.text.count("\n", 0, at), kind)
                for at, kind in spans
            ]
            if not kinds:
                kind = _by_name(piece)
                kinds = [(piece.line, kind)] if kind else []
            for line, kind in kinds:
                if (piece.member, line, kind) in seen:
                    continue
                seen.add((piece.member, line, kind))
                findings.add(
                    f"secret.{kind}",
                    f"a secret is written here ({kind.replace('_', ' ').replace('.', ' of ')})",
                    member=piece.member,
                    line=line,
                    atlas=_ATLAS,
                )


def _by_name(piece: Text) -> str:
    for match in _URL.finditer(piece.text):
        if not _STANDS_IN.search(match[1]):
            return "url_password"
    if piece.name:
        literal = _LITERAL.match(piece.text)
        value = literal[1] if literal is not None else piece.text
        return "named" if _IS_NAME.search(piece.name) and _counts(piece.name, value) else ""
    for match in _GIVEN.finditer(piece.text):
        if _IS_NAME.search(match[1]) and _counts(match[1], match[2]):
            return "named"
    return ""


def _counts(name: str, value: str) -> bool:
    """Tell whether a value is one that a person would have to change after it was seen."""
    if len(value) < 6 or any(one.isspace() for one in value) or _STANDS_IN.search(value):  # noqa: PLR2004 - as the pattern
        return False
    if name.lower().endswith("token") or name.lower().endswith("credentials"):
        # Tokenizers have tokens too: `pad_token`, `mask_token`.
        mixed = any(one.isdigit() for one in value) and any(one.isalpha() for one in value)
        return len(value) >= _LONG_ENOUGH and mixed
    return not value.replace("_", "").replace("-", "").replace(".", "").isalpha() or (
        name.lower().endswith(("password", "passwd", "pwd", "passphrase"))
    )
