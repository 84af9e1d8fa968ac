"""Secrets, and in model cards personal data, in the texts that travel with models.

Cards, descriptions and tags are read by whoever may read a model's record, so nothing in them may
be worth stealing. A refusal names the place and the kind, never what stands there. Files are
searched in a sandbox; `find` also takes what is short, such as a tag, where it is.
"""

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import msgspec

from vallum.base import GateError, InputError
from vallum.privacy import discover_texts
from vallum.scan.code.notebook import scan_notebook
from vallum.scan.code.secrets import Text, lines_of, scan_secrets
from vallum.scan.report import Findings
from vallum.schema import Record

MAX_CARD_BYTES = 128 * 1024
MAX_TEXT_BYTES = 4 * 1024 * 1024  # of one file; what is larger is no text that people wrote
CARDS = ("README.md", "MODEL_CARD.md")
_TOKEN = "security."  # noqa: S105 - how kinds of tokens begin
# What identifies one person by itself; names and places do not, and cards tell who made a model.
_PERSONAL = (
    "financial.account", "financial.card", "financial.iban", "government.", "health.",
    "personal.address", "personal.birth_date", "personal.email", "personal.phone",
)  # fmt: skip
_TEXTS = re.compile(
    r"(?i:\.(?:md|txt|ya?ml|toml|cfg|ini|json|csv|env|rst|html?)|(?:^|/)(?:MLmodel|\.env))$"
)
_BIDI = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")  # CVE-2021-42574
_HINT = "take it out, revoke it if it was a secret, and register again"


class Hit(Record, frozen=True):
    """What must not stand in a text: where, and of which kind."""

    place: str
    kind: str
    line: int | None = None

    def sentence(self) -> str:
        """Return it for people."""
        where = self.place if self.line is None else f"line {self.line} of {self.place}"
        return f"{where} holds {self.kind}"


@dataclass(frozen=True, slots=True)
class TextReport:
    """What was found in files."""

    hits: tuple[Hit, ...]


def find(texts: Iterable[Text], *, personal: bool) -> tuple[Hit, ...]:
    """Return secrets in texts, and with `personal` what identifies a person."""
    pieces = list(texts)
    findings = Findings()
    scan_secrets(pieces, findings, _tokens)
    hits = _secrets(findings)
    if personal:
        for piece, found in zip(pieces, discover_texts([one.text for one in pieces]), strict=True):
            hits += [
                Hit(place=piece.member, kind=f"personal data ({span.type})", line=piece.line)
                for span in found
                if span.type.startswith(_PERSONAL)
            ]
    return tuple(dict.fromkeys(hits))


def _secrets(findings: Findings, file: str = "") -> list[Hit]:
    return [
        Hit(
            place=" of ".join(one for one in (found.member, file) if one),
            kind=f"a secret ({found.id.removeprefix('secret.').replace('_', ' ')})",
            line=found.line,
        )
        for found in findings.items
        if found.id.startswith("secret.") and found.severity == "high"
    ]


def inspect_files(payload: bytes) -> TextReport:
    """Search files given as a MessagePack map of path to bytes: the gate `secrets`.

    Raises:
        InputError: The payload is not one.
    """
    try:
        files = msgspec.msgpack.decode(payload, type=dict[str, bytes])
    except msgspec.DecodeError as error:
        raise InputError("the payload is not a map of files", code="texts.payload") from error
    hits: list[Hit] = []
    for path, data in sorted(files.items()):
        if path.lower().endswith(".ipynb"):
            findings = Findings()
            scan_notebook(data, findings, _tokens)
            hits += _secrets(findings, f"`{path}`")
        else:
            text = data.decode("utf-8", "replace")
            hits += find(lines_of(text, f"`{path}`"), personal=path in CARDS)
    return TextReport(tuple(hits))


def _tokens(texts: Sequence[str]) -> list[list[tuple[int, str]]]:
    return [
        [
            (span.start, span.type.removeprefix(_TOKEN))
            for span in found
            if span.type.startswith(_TOKEN) and span.type != "security.password"
        ]
        for found in discover_texts(texts)
    ]


def searched(files: Sequence[tuple[str, bytes]]) -> dict[str, bytes]:
    """Return the files that people write: cards, notebooks, configurations."""
    return {
        path: data
        for path, data in files
        if (len(data) <= MAX_TEXT_BYTES and _TEXTS.search(path))
        or path.lower().endswith(".ipynb")  # whose size the scan bounds
    }


def card_of(files: Sequence[tuple[str, bytes]]) -> str:
    """Return the model card among files: the first of `CARDS` at the top; empty if there is none.

    Raises:
        InputError: It is no text, or too long.
    """
    given = dict(files)
    return next((checked_card(given[name]) for name in CARDS if name in given), "")


def checked_card(data: bytes) -> str:
    """Return a model card as text.

    Raises:
        InputError: It is not UTF-8, holds characters that nobody sees, or is too long.
    """
    if len(data) > MAX_CARD_BYTES:
        raise InputError(f"a model card has at most {MAX_CARD_BYTES} bytes", code="model.card")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError("the model card is not UTF-8", code="model.card") from error
    if any(
        char in _BIDI or (unicodedata.category(char) == "Cc" and char not in "\n\r\t")
        for char in text
    ):
        raise InputError("the model card holds characters that nobody sees", code="model.card")
    return text


def require_clean(
    *, tags: Mapping[str, str] | None = None, description: str = "", card: str = ""
) -> None:
    """Refuse texts that hold what must not be read by everybody who reads a model's record.

    Raises:
        GateError: One does; the first place is named, and the kind.
    """
    texts: list[Text] = []
    for key, value in (tags or {}).items():
        texts.append(Text(key, "the name of a tag"))
        texts.append(Text(value[:_MAX_NAMED], f"tag {key[:60]!a}", None, key))
        texts += [Text(one.text, f"tag {key[:60]!a}") for one in lines_of(value)]
    texts += [Text(one.text, "the description", one.line) for one in lines_of(description)]
    refuse(find(texts, personal=False))
    if card:
        refuse(find(lines_of(card, "the model card"), personal=True))


_MAX_NAMED = 4_000


def refuse(hits: Sequence[Hit]) -> None:
    """Refuse if there is a hit.

    Raises:
        GateError: There is; the message tells the first, and how many more.
    """
    if hits:
        more = f", and {len(hits) - 1} more" if len(hits) > 1 else ""
        raise GateError(f"{hits[0].sentence()}{more}", code="gate.secrets", hint=_HINT)
