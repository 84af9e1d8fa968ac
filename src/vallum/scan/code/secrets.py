"""Secrets in texts: tokens that have a form, values of names like `password`, and random texts.

Most forms the caller brings (`privacy` knows them); further ones are here. A finding never holds
the secret, not even in part.

Source: detect-secrets 1.5 for the forms and the limit of entropy; the services' documentation.
"""

import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from vallum.scan.report import Findings

SecretFinder = Callable[[Sequence[str]], Sequence[Sequence[tuple[int, str]]]]
"""For each text, the places (in code points) and kinds of tokens in it, such as `token.aws`."""

_ATLAS = "AML.T0055"
_CHANCE = "high_entropy"
_RUN = re.compile(r"abcdef|qwerty|012345|1234567|(.)\1{4}")
_BATCH = 5_000
_NAME = (
    r"(?:pass(?:word|wd|phrase)?|pwd|secret|token|api[_-]?key|access[_-]?key|account[_-]?key|"
    r"secret[_-]?key|private[_-]?key|auth[_-]?key|credentials?)"
)
_IS_NAME = re.compile(rf"(?:^|[_.\-]|[a-z](?=[A-Z])){_NAME}$", re.IGNORECASE)
_GIVEN = re.compile(
    rf"{_NAME}[\"']?\s{{0,3}}(?::|=>|=)\s{{0,3}}[\"']?([^\s\"',;]{{6,256}})",
    re.IGNORECASE,
)
_WORDS = re.compile(r"[\w.\-]+$")
_MAX_NAME = 60
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
# Forms that the finder of personal data does not have, or that a line break would hide from it.
_FORMS = (
    ("private_key", r"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY(?: BLOCK)?-----"),
    ("token.github", r"\bgithub_pat_\w{22}_\w{59}\b"),
    ("token.slack", r"hooks\.slack\.com/services/T\w{6,12}/B\w{6,12}/\w{20,30}"),
    ("token.discord", r"\b[MNO][\w-]{23,27}\.[\w-]{6}\.[\w-]{27,40}(?![\w-])"),
    ("token.discord", r"discord(?:app)?\.com/api/webhooks/\d{15,21}/[\w-]{60,72}"),
    ("token.twilio", r"\b(?:SK|AC)[0-9a-f]{32}\b"),
    ("token.mailchimp", r"\b[0-9a-f]{32}-us\d{1,2}\b"),
    ("token.square", r"\bsq0(?:csp|atp)-[\w-]{22,43}(?![\w-])"),
    ("token.artifactory", r"\bAKC[A-Za-z0-9]{10,}|\bAP[0-9A-F][A-Za-z0-9]{40,}\b"),
    ("token.digitalocean", r"\bdo[opr]_v1_[0-9a-f]{64}\b"),
    ("token.databricks", r"\bdapi[0-9a-f]{32}(?:-\d)?\b"),
    ("token.azure", r"\bAccountKey=[A-Za-z0-9+/]{60,88}={0,2}"),
    ("token.azure", r"[?&]sig=[A-Za-z0-9%+/]{40,64}(?:=|%3D)"),
    ("token.wandb", r"(?i:wandb)\W{1,40}[0-9a-f]{40}\b"),
    ("token.replicate", r"\br8_[A-Za-z0-9]{37,40}\b"),
)
_OWN = tuple((kind, re.compile(pattern)) for kind, pattern in _FORMS)
# The beginnings of what the finder has, where none is at hand.
_BEGINNINGS = re.compile(
    r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b|\bgh[pousr]_\w{20,}|\bsk-[\w-]{20,}|\bhf_\w{20,}|"
    r"\bxox[abprs]-|\beyJ[\w-]{10,}\.|\bvlm_\w{20,}|\bglpat-"
)
# A random text between quotes: detect-secrets' limit for base64, and what is a hash is none.
_QUOTED = re.compile(r"[\"'`]([A-Za-z0-9+/_=-]{20,200})[\"'`]")
_ENTROPY_BITS = 4.5
_NO_SECRET = re.compile(
    r"(?:hash|digest|sha\d*|md5|integrity|checksum|etag|uuid|commit|revision|alphabet|chars|public)"
    r"\w*$",
    re.IGNORECASE,
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
    return bool(findings.items) or bool(_BEGINNINGS.search(value))


def has_token(text: str) -> bool:
    """Tell whether a text holds a token by its form alone; no name and no chance counts."""
    return bool(_by_form(text)) or bool(_BEGINNINGS.search(text))


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
                kind = _by_form(piece.text) or _by_name(piece) or _by_chance(piece)
                kinds = [(piece.line, kind)] if kind else []
            for line, kind in kinds:
                if (piece.member, line, kind) in seen:
                    continue
                seen.add((piece.member, line, kind))
                findings.add(
                    f"secret.{kind}",
                    f"a secret is written here ({kind.replace('_', ' ').replace('.', ' of ')})",
                    severity="medium" if kind == _CHANCE else "high",
                    member=piece.member,
                    line=line,
                    atlas=_ATLAS,
                )


def _by_form(text: str) -> str:
    return next((kind for kind, pattern in _OWN if pattern.search(text)), "")


def _by_chance(piece: Text) -> str:
    """Tell of a quoted text that looks drawn: mixed, of high entropy, and no hash by its name."""
    if _NO_SECRET.search(piece.name):
        return ""
    for match in _QUOTED.finditer(piece.text):
        value = match[1]
        before = piece.text[max(0, match.start() - 40) : match.start()]
        name = re.sub(r"\W+$", "", before)
        mixed = (
            any(one.islower() for one in value)
            and any(one.isupper() for one in value)
            and sum(one.isdigit() for one in value) > 1
        )
        if not mixed or _NO_SECRET.search(name) or _RUN.search(value.lower()):
            continue
        if _entropy(value) >= _ENTROPY_BITS:
            return _CHANCE
    return ""


def _entropy(text: str) -> float:
    """Return Shannon's entropy of a text's characters, in bits each."""
    counts = Counter(text)
    return -sum(n / len(text) * math.log2(n / len(text)) for n in counts.values())


def _by_name(piece: Text) -> str:
    for match in _URL.finditer(piece.text):
        if not _STANDS_IN.search(match[1]):
            return "url_password"
    if piece.name:
        literal = _LITERAL.match(piece.text)
        value = literal[1] if literal is not None else piece.text
        return "named" if _IS_NAME.search(piece.name) and _counts(piece.name, value) else ""
    for match in _GIVEN.finditer(piece.text):
        # What stands before the word is looked at afterwards: as a part of the pattern it would
        # be tried at every character.
        before = _WORDS.search(piece.text[max(0, match.start() - _MAX_NAME) : match.start()])
        word = re.split(r"[\"'\s:=]", match[0], maxsplit=1)[0]
        name = (before[0] if before is not None else "") + word
        if _IS_NAME.search(name) and _counts(name, match[1]):
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
