"""Names of people, cities and countries in text: a word of the lexicon and what is near it.

No word is a name by itself: Mark, Rose and Reading are ordinary words, and half of all family names
are trades. What counts is company: a title, a given name before a family name, `name:`, `born in`.
Offsets in code points; scores from 0 to 1.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from vallum.privacy.cues import TIMES, Cues, read_cues
from vallum.privacy.lexicon import (
    BIG,
    CITY,
    COMMON,
    COUNTRY,
    FAMILY,
    FIRST,
    GIVEN,
    TITLE,
    Lexicon,
    lexicon,
)

NAME: Final = "personal.name"
PLACES: Final = {CITY: "location.city", COUNTRY: "location.country"}

SURE: Final = 0.9  # two things say so
LIKELY: Final = 0.8
FAIR: Final = 0.6  # a given name alone, that is no word
_BEFORE = 40  # characters before a name that may say what it is
_MOST_WORDS = 5
_LONGEST_PLACE = 48
_BREAK = re.compile(r"(?<=\w)(?!\w)")
_ACRONYM = 4  # capitals only, and so short: no name

_WORD = r"[^\W\d_]+(?:['’][^\W\d_]{2,})?"
_PARTICLES = (
    r"(?:van|von|der|den|de|la|le|du|del|della|di|da|dos|das|do|bin|ibn|al|el|ben|ter|ten|zu|af|y)"
)
# What joins two words of one name: a space or hyphen, a full stop after an initial, particles.
_JOIN = re.compile(rf" (?:{_PARTICLES} ){{1,2}}|-|['’]|[ \u00a0]")
_NEXT = re.compile(_WORD)
_INITIALS = re.compile(r"(?<!\w)([^\W\d_])\. ?(?:[^\W\d_]\. ?)?\Z")
_PARTS = re.compile(r"[ ,.'-]+")
_MIXED = re.compile(
    r"(?!Ma?c|De|Di|Du|La|Le|Fitz|Van|O')[^\W_]+[a-zà-ÿ][A-ZÀ-ß]|[A-ZÀ-ß]{2,}[a-zà-ÿ]"
)
_ENDING = (
    r"(?:Inc|Ltd|LLC|Corp|GmbH|AG|SE|Co|Company|Group|Bank|University|College|School|"
    r"Hospital|Clinic|Institute|Foundation|Church|Street|Road|Avenue|Lane|Drive|Boulevard|Square|"
    r"Park|Airport|Station|Bridge|River|Lake|Island|Islands|County|Times|Post|Journal|University|"
    r"Hotel|Stadium|Award|Prize|Act|Theorem|Law|Protocol|Convention|Agreement|Museum|Centre|Center|"
    r"Straße|Strasse|Platz|Allee|Weg|Corporation|St|Rd|Ave|Apt|Dr|Blvd|Region|Valley|Beach)"
)
_ENDS = re.compile(rf"[ \t]*&|,? ?{_ENDING}\b")
_ENDED = re.compile(_ENDING)
_CODE_BEFORE = frozenset("_./\\@#$=<-&+*[{0123456789")
_CODE_AFTER = frozenset("_(/\\@=[{<>0123456789")


class Found(NamedTuple):
    """A name or a place: code points, type and score."""

    start: int
    end: int
    type: str
    score: float


class _Word(NamedTuple):
    start: int
    end: int
    text: str
    flags: int
    titled: bool = False

    @property
    def initial(self) -> bool:
        return len(self.text) == 1

    def is_a(self, flag: int) -> bool:
        return bool(self.flags & flag)

    @property
    def common(self) -> bool:
        return bool(self.flags & COMMON)


def find_names(text: str, places: Iterable[int]) -> Iterator[Found]:
    """Find names and places.

    Args:
        text: Any text.
        places: Where words that may be in the lexicon begin, in order.

    Yields:
        What was found, in order, none overlapping.
    """
    words = lexicon()
    done = 0
    for at in places:
        first = _word(text, at, words) if at >= done else None
        if first is not None and first.flags & TITLE and not first.flags & (GIVEN | FAMILY):
            first = _titled(text, first, words)
        if first is None:
            continue
        known = first.flags or first.titled
        found = _found(text, first, words) if known else _unknown(text, first, words)
        if found is not None and found.start >= done:
            done = found.end
            yield found


def _found(text: str, first: _Word, words: Lexicon) -> Found | None:
    before = _line_before(text, first.start)
    listed = before == "-" or before.endswith(" -")
    if before and before[-1] in _CODE_BEFORE and not listed:
        return None
    if first.flags & FIRST:
        place = _several(text, first, words)
        if place is not None:
            return _place(text, place, read_cues(before), alone=True)
    run = _run(text, first, words)
    if len(run) > 1 and not first.titled and not _begins(run):
        if first.flags & (CITY | COUNTRY):
            return _place(text, first, read_cues(before), alone=False)
        return None  # what is left of the run is looked at in its turn
    if first.initial or (before.endswith(". ") and before[-3:-2].isupper()):
        first, run, before = _initials(text, run)
    cues = read_cues(before)
    found = _person(text, run, before, cues) or _reversed(text, run, words)
    if found is None and not cues.titled and first.flags & (CITY | COUNTRY):
        return _place(text, first, cues, alone=len(run) == 1)
    return found


def _unknown(text: str, first: _Word, words: Lexicon) -> Found | None:
    """Return a word that is in no list, after what can only be followed by a place or a name."""
    cues = read_cues(_line_before(text, first.start))
    if not cues.certain or len(first.text) <= _ACRONYM or first.text.lower() in TIMES:
        return None
    if cues.lived:
        return _place(text, first._replace(flags=CITY), cues, alone=True)
    if not first.text[1:].islower():
        return None
    return Found(first.start, _extent(_run(text, first, words), titled=True)[-1].end, NAME, FAIR)


def _line_before(text: str, at: int) -> str:
    """Return what stands before on the same line: what is on another says nothing."""
    before = text[max(0, at - _BEFORE) : at]
    return before[before.rfind("\n") + 1 :]


def _initials(text: str, run: list[_Word]) -> tuple[_Word, list[_Word], str]:
    """Take the initials before a name into it."""
    at = run[0].start
    match = _INITIALS.search(text, max(0, at - _BEFORE), at)
    if match is not None:
        one = match.start(1)
        run = [_Word(one, one + 1, text[one], 0), *run]
        at = one
    return run[0], run, _line_before(text, at)


def _word(text: str, at: int, words: Lexicon) -> _Word | None:
    """Return the capitalised word at a place; its flags are 0 if it is not in the lexicon."""
    match = _NEXT.match(text, at)
    if match is None:
        return None
    found = match.group()
    flags = words.words.get(found.lower(), -1)
    cut = found.replace("’", "'").find("'") if flags < 0 else -1
    if cut >= 0 and len(found) - cut <= 2:  # noqa: PLR2004 - `Anna's`
        found = found[:cut]
        flags = words.words.get(found.lower(), -1)
    if not found[0].isupper() or not (found[1:].islower() or _MIXED.match(found) is None):
        return None
    return _Word(at, at + len(found), found, max(flags, 0))


def _titled(text: str, title: _Word, words: Lexicon) -> _Word | None:
    """Return the word after a title."""
    at = title.end + (text[title.end : title.end + 1] == ".")
    found = _word(text, at + 1, words) if text[at : at + 1] == " " else None
    return found and found._replace(titled=True)


def _run(text: str, first: _Word, words: Lexicon) -> list[_Word]:
    """Return the capitalised words that follow each other."""
    run = [first]
    while len(run) < _MOST_WORDS:
        last = run[-1]
        at = last.end
        if last.initial and text[at : at + 1] == ".":
            at += 1
        join = _JOIN.match(text, at)
        if join is None:
            break
        following = _word(text, join.end(), words)
        if following is None:
            break
        run.append(following)
    return run


def _begins(run: list[_Word]) -> bool:
    """Tell whether a name may begin with the first word: not where a better one follows."""
    first, second = run[0], run[1]
    if not first.is_a(GIVEN | FAMILY) and not first.initial:
        return False
    if first.initial:
        return second.is_a(FAMILY) or second.initial
    return not (
        first.common and second.is_a(GIVEN) and not second.common and not second.is_a(FAMILY)
    )


def _several(text: str, first: _Word, words: Lexicon) -> _Word | None:
    """Return a place of several words that begins here: the longest one."""
    near = text[first.start : first.start + _LONGEST_PLACE].lower().replace("-", " ")
    near = near.replace("’", "'")
    for match in reversed(list(_BREAK.finditer(near, len(first.text) + 1))):
        flags = words.places.get(near[: match.start()])
        if flags is not None:
            return _Word(first.start, first.start + match.start(), near[: match.start()], flags)
    return None


def _reversed(text: str, run: list[_Word], words: Lexicon) -> Found | None:
    """Read `Smith, John`."""
    first = run[0]
    if len(run) > 1 or not first.is_a(FAMILY) or first.flags & (GIVEN | CITY | COUNTRY):
        return None
    second = _word(text, first.end + 2, words) if text.startswith(", ", first.end) else None
    if second is None or not second.is_a(GIVEN) or second.flags & (FAMILY | COMMON | CITY):
        return None
    return Found(first.start, second.end, NAME, FAIR)


def _person(text: str, run: list[_Word], before: str, cues: Cues) -> Found | None:
    first = run[0]
    titled, cued = cues.titled, cues.person
    whole = _extent(run, titled=titled)
    if len(whole) == 1 and (whole[0].initial or (first.common and not cues.named)):
        return None
    score = _score(whole, cues)
    if score == 0.0:
        return None
    if not titled and (cues.street or any(_ENDED.fullmatch(one.text) for one in whole[1:])):
        return None
    after = text[whole[-1].end : whole[-1].end + 16]
    if not titled and (_ENDS.match(after) or (len(run) > len(whole) and _is_ending(run, whole))):
        return None
    if len(whole) == 1 and not cued:
        if after[:1] in _CODE_AFTER and after[:1]:
            return None
        if after[:1] in {".", ":", "-"} and after[1:2].isalnum():
            return None
        if first.text.isupper() and (first.common or len(first.text) <= _ACRONYM):
            return None
        if before.endswith((" the ", "The ", " a ", " an ")):
            return None
    return Found(first.start, whole[-1].end, NAME, score)


def _is_ending(run: list[_Word], whole: list[_Word]) -> bool:
    return _ENDS.match(" " + run[len(whole)].text) is not None


def _extent(run: list[_Word], *, titled: bool) -> list[_Word]:
    """Return the words of a run that belong to the name."""
    made = [run[0]]
    for word in run[1:]:
        known = word.is_a(GIVEN | FAMILY) or word.initial
        if not known and word.text.isupper():
            break  # no name but a state or an acronym, or the text around it is all in capitals
        if not known and run[0].is_a(CITY | COUNTRY) and not titled:
            break
        if word.common and not known and not titled:
            break
        if word.is_a(COUNTRY) and not word.is_a(GIVEN | FAMILY):
            break
        made.append(word)
    while len(made) > 1 and made[-1].initial:
        made.pop()
    return made


def _score(whole: list[_Word], cues: Cues) -> float:
    titled, named, cued = cues.titled, cues.named, cues.person
    first, last = whole[0], whole[-1]
    known = first.is_a(GIVEN | FAMILY)
    if titled:
        return SURE if known else (LIKELY if not first.common else 0.0)
    if len(whole) == 1:
        if first.is_a(COUNTRY):
            return FAIR if named and first.is_a(GIVEN) else 0.0
        if first.is_a(GIVEN):
            if cued:
                return LIKELY if not first.common or named else FAIR
            return FAIR if not first.common and not first.is_a(BIG) and len(first.text) > 3 else 0.0  # noqa: PLR2004 - short ones are acronyms and words of other languages
        return FAIR if cued and not first.common and not first.is_a(CITY) else 0.0
    plain = [one for one in whole if not one.common]
    if first.is_a(GIVEN):
        if last.is_a(FAMILY):
            if not first.common and not last.common:
                return SURE
            return LIKELY if plain or cued else 0.0
        return (LIKELY if cued else FAIR + 0.1) if not first.common else (FAIR if cued else 0.0)
    if first.initial and last.is_a(FAMILY):
        return LIKELY if not last.common or cued else 0.0
    if first.is_a(FAMILY) and last.is_a(GIVEN):
        return LIKELY if len(plain) == len(whole) else (FAIR if cued else 0.0)
    return LIKELY if cued and known and plain else 0.0


def _place(text: str, word: _Word, cues: Cues, *, alone: bool) -> Found | None:
    after = text[word.end : word.end + 16]
    if after[:1] in _CODE_AFTER and after[:1]:
        return None
    if after[:1] in {".", ":", "-"} and after[1:2].isalnum():
        return None
    if _ENDS.match(after) or (word.text.isupper() and len(word.text) <= _ACRONYM):
        return None
    kind = COUNTRY if word.is_a(COUNTRY) else CITY
    lived, inside = cues.lived, cues.inside
    person = word.is_a(GIVEN | FAMILY)
    several = " " in word.text or "-" in word.text
    if lived:
        score = SURE if not word.common and word.flags != CITY else FAIR
    elif word.common:
        score = 0.0
    elif kind == COUNTRY:
        score = SURE if inside else (LIKELY if alone and not person else 0.0)
    elif word.is_a(BIG):
        score = LIKELY if inside else (FAIR if alone and not person else 0.0)
    else:
        score = FAIR if inside and alone and (several or not person) else 0.0
    return Found(word.start, word.end, PLACES[kind], score) if score else None


def value_types(value: str) -> tuple[tuple[str, ...], bool]:
    """Return the types that a whole value may have, and whether it is an ordinary word too."""
    words = lexicon()
    plain = value.lower().replace("’", "'")
    flags = words.words.get(plain, 0) | words.places.get(plain.replace("-", " "), 0)
    types = [name for flag, name in PLACES.items() if flags & flag]
    parts = [words.words.get(one, 0) for one in _PARTS.split(plain) if len(one) > 1][:_MOST_WORDS]
    known = sum(bool(one & (GIVEN | FAMILY)) for one in parts)
    if known > len(parts) / 2 and (len(parts) == 1 or any(one & GIVEN for one in parts)):
        types.append(NAME)
    common = bool(parts) and all(one & COMMON for one in parts) and not flags & COUNTRY
    return tuple(types), common
