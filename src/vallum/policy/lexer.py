"""The tokens of a condition."""

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from vallum.base import InputError, LimitExceededError

MAX_CHARS: Final = 8192  # Azure: 8 KB


class TokenKind(StrEnum):
    """The kinds, named as error messages show them."""

    ATTRIBUTE = "an attribute"
    CLOSE = "`)`"
    CLOSE_SET = "`}`"
    COMMA = "`,`"
    END = "the end"
    JOIN = "`AND` or `OR`"
    NOT = "`NOT`"
    OPEN = "`(`"
    OPEN_SET = "`{`"
    STRING = "a string"
    WORD = "a word"


@dataclass(frozen=True, slots=True)
class Token:
    """One token; `start` counts characters from 0."""

    kind: TokenKind
    text: str
    start: int


# Every alternative reads each character at most once: no backtracking on hostile text.
_TOKEN = re.compile(
    r"""(?P<space>[ \t\r\n]+)
    |   @(?P<attribute>[A-Za-z]+\[[A-Za-z0-9_.:/\-]{1,256}\])
    |   '(?P<string>(?:[^'\\]|\\.)*)'
    |   (?P<symbol>[(){},!]|&&|\|\|)
    |   (?P<word>[A-Za-z0-9_+:.\-]+)
    """,
    re.VERBOSE | re.DOTALL,
)
_SYMBOLS = {
    "(": (TokenKind.OPEN, "("),
    ")": (TokenKind.CLOSE, ")"),
    "{": (TokenKind.OPEN_SET, "{"),
    "}": (TokenKind.CLOSE_SET, "}"),
    ",": (TokenKind.COMMA, ","),
    "!": (TokenKind.NOT, "!"),
    "&&": (TokenKind.JOIN, "AND"),
    "||": (TokenKind.JOIN, "OR"),
}
_WORDS = {
    "AND": (TokenKind.JOIN, "AND"),
    "OR": (TokenKind.JOIN, "OR"),
    "NOT": (TokenKind.NOT, "NOT"),
}


def tokenize(text: str) -> tuple[Token, ...]:
    r"""Split `text` into tokens, the last of them `END`. In strings `\` escapes one character.

    Raises:
        LimitExceededError: Over `MAX_CHARS` characters.
        InputError: A character that begins no token.
    """
    if len(text) > MAX_CHARS:
        raise LimitExceededError(
            f"the condition has {len(text)} characters, at most {MAX_CHARS}",
            code="condition.length",
        )
    tokens: list[Token] = []
    position = 0
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            raise InputError(
                f"unexpected {text[position]!a} at character {position}",
                code="condition.syntax",
            )
        if match["symbol"] is not None:
            tokens.append(Token(*_SYMBOLS[match["symbol"]], position))
        elif match["word"] is not None:
            word = match["word"]
            kind, shown = _WORDS.get(word.upper(), (TokenKind.WORD, word))
            tokens.append(Token(kind, shown, position))
        elif match["string"] is not None:
            plain = re.sub(r"\\(.)", r"\1", match["string"], flags=re.DOTALL)
            tokens.append(Token(TokenKind.STRING, plain, position))
        elif match["attribute"] is not None:
            tokens.append(Token(TokenKind.ATTRIBUTE, match["attribute"], position))
        position = match.end()
    return (*tokens, Token(TokenKind.END, "", len(text)))
