"""Names that people type, checked once at the border. Names only look up; ids identify.

A name is 1 to 128 characters, letters, digits, `-`, `_` and `.`, begins and ends with a letter
or digit, is NFKC already, and uses one script beside digits, so that no Cyrillic letter passes for
its Latin twin (UTS 39, single-script restriction).
"""

import unicodedata

from vallum.base.errors import InputError

MAX_CHARS = 128
_PUNCTUATION = frozenset("-_.")
_SCRIPTS = (
    "LATIN",
    "GREEK",
    "CYRILLIC",
    "ARMENIAN",
    "HEBREW",
    "ARABIC",
    "DEVANAGARI",
    "BENGALI",
    "THAI",
    "GEORGIAN",
    "HANGUL",
    "HIRAGANA",
    "KATAKANA",
    "CJK",
)


def check_name(text: str, *, what: str = "name") -> str:
    """Return `text` if it is an acceptable name.

    Raises:
        InputError: Empty, too long, forbidden or invisible characters, not NFKC, path-like
            (`..`), or mixed scripts.
    """
    shown = ascii(text[:40])
    if not text or len(text) > MAX_CHARS:
        raise InputError(
            f"{what} {shown} has {len(text)} characters, expected 1 to {MAX_CHARS}",
            code="name.length",
        )
    if unicodedata.normalize("NFKC", text) != text:
        raise InputError(f"{what} {shown} is not in normal form NFKC", code="name.form")
    for char in text:
        if not (char.isalnum() or char in _PUNCTUATION):
            raise InputError(
                f"{what} {shown} contains {char!a}",
                code="name.character",
                hint="use letters, digits, `-`, `_` and `.`",
            )
    if not (text[0].isalnum() and text[-1].isalnum()) or ".." in text:
        raise InputError(
            f"{what} {shown} must begin and end with a letter or digit and not contain `..`",
            code="name.form",
        )
    scripts = {_script(char) for char in text if char.isalpha()}
    if len(scripts) > 1:
        raise InputError(f"{what} {shown} mixes scripts", code="name.confusable")
    return text


def name_key(text: str) -> str:
    """Return the form under which names are unique: NFKC and case-folded."""
    return unicodedata.normalize("NFKC", text).casefold()


def _script(char: str) -> str:
    name = unicodedata.name(char, "")
    return next((script for script in _SCRIPTS if name.startswith(script)), name)
