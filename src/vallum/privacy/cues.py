"""Words before a name or a place that say so, in five languages; all in lower case."""

from typing import Final, NamedTuple


def word_set(text: str) -> frozenset[str]:
    """Return the words of a text."""
    return frozenset(text.split())


TITLES: Final = word_set("""
    mr mrs ms mx miss mister dr prof professor doctor sir dame herr herrn hr fr frau
    fräulein monsieur madame mademoiselle mme mlle m señor señora señorita sr sra doña
    signor signora sig dott ing senhor senhora mevrouw meneer dhr mevr pan pani
""")
GREETINGS: Final = word_set("""
    dear hello hi hey lieber liebe liebes cher chère querido querida caro cara thanks
    regards sincerely yours best cheers greetings grüße gruß cordialement saludos
""")
# After these even an ordinary word is a name: `name: Mark`, `signed by Rose`.
NAMED: Final = word_set("""
    name names named nom namens nommé nommée appelle llamo llama chiamo heißt heiße signed
    signé firmado gezeichnet unterzeichnet patient attn author forename surname vorname
    nachname prénom nombre apellido nome cognome
""")
# `name is`, `i am`, `signed by`: the word before, and what it needs before it.
_NAMED_BY: Final = {
    "is": frozenset({"name", "this", "surname", "forename"}),
    "am": frozenset({"i"}),
    "by": frozenset({"signed", "written", "authored"}),
    "of": frozenset({"behalf"}),
    "ist": frozenset({"name", "vorname", "nachname"}),
    "est": frozenset({"nom", "prénom"}),
    "es": frozenset({"nombre"}),
}
# After these a name may stand: one that is no ordinary word.
PERSONS: Final = word_set("""
    i'm i’m customer client employee wife husband brother sister son daughter mother father
    friend colleague boss contact called tell ask met kontakt says said told thanked
""")
STREETS: Final = word_set("""
    rue rua via calle avenida avenue ul ulica plaza place piazza port fort mount st san
    santa são & c/o
""")
_PARTICLES: Final = word_set("""
    de das dos da do della del la le du des
""")
INSIDE: Final = word_set("""
    in from near outside around nach aus à au aux en desde hacia towards toward
""")
# A place follows, with or without one of `INSIDE` or `_AT` between.
LIVED: Final = word_set("""
    live lives lived living born based reside resides resided residing located move moves
    moved moving travel travels travelled traveled travelling traveling fly flies flew
    flying trip visit visits visited visiting arrive arrives arrived arriving up city town
    country citizen originally birthplace wohnt wohnte wohnhaft lebt lebte geboren ansässig
    stammt stammte zog reist reiste ort stadt land habite habitait né née réside résidait
    vit vivait situé située originaire ville pays vive vivió nacido nacida reside abita nato
    nata location nationality capital ciudad país città paese
""")
_LIVED_OR_HERE: Final = LIVED | {"here"}  # `moved here from`
_AT: Final = word_set("""
    at to of
""")

# Of those above, what only a person does: a word in no list that follows is a place, a name.
_SETTLED: Final = word_set("""
    lives lived living born grew up originally wohnt wohnte wohnhaft lebt lebte geboren stammt
    habite habitait né née vive vivió nacido nacida abita nato nata here
""")
_CALLED: Final = frozenset({"heiße", "appelle", "llamo", "chiamo", "is", "ist", "est", "es"})
TIMES: Final = word_set("""
    january february march april may june july august september october november december monday
    tuesday wednesday thursday friday saturday sunday spring summer autumn winter januar februar
    märz mai juni juli oktober dezember janvier février mars avril juin juillet août septembre
    octobre novembre décembre enero febrero marzo abril mayo junio julio agosto septiembre octubre
    noviembre diciembre
""")

# The last word of everything above: a word of the lexicon that is weak is looked at only after one.
ALONE: Final = INSIDE | _CALLED  # after these a word that is in no list is looked at
LAST: Final = GREETINGS | NAMED | frozenset(_NAMED_BY) | PERSONS | INSIDE | LIVED | _AT
_QUOTES = "\"'“”‘’ \t("


class Cues(NamedTuple):
    """What the words before say.

    Attributes:
        titled: A title: whatever follows with a capital is a name.
        named: What follows is a name, an ordinary word too.
        person: It may be a name.
        street: It is the name of a street or a company.
        inside: It may be a place.
        lived: It is a place.
        certain: Even if it is in no list.
    """

    titled: bool = False
    named: bool = False
    person: bool = False
    street: bool = False
    inside: bool = False
    lived: bool = False
    certain: bool = False


_NONE = Cues()


def read_cues(before: str) -> Cues:
    """Return what the words at the end of `before`, on its last line, say about what follows."""
    plain = before.rstrip(_QUOTES)
    if plain == before and before[-1:] not in {":", "="}:
        return _NONE  # nothing between
    words = plain[plain.rfind("\n") + 1 :].lower().split()[-4:]
    if not words or (plain[-1:] == "\n"):
        return _NONE
    last = words[-1].strip("\"'“”(){[")
    ended = last.endswith((".", "!", "?", ";"))
    last = last.rstrip(".:,=!?;").strip("\"'")
    if last not in PERSONS:  # `i'm`
        last = last.replace("’", "'").rpartition("'")[2]  # `m'appelle`
    if last in TITLES:
        return Cues(titled=True, named=True, person=True)
    if ended and last not in STREETS:
        return _NONE
    earlier = words[-2].strip("\"'“”(,:") if len(words) > 1 else ""
    if last in STREETS or (last in _PARTICLES and earlier in STREETS):
        return Cues(street=True)
    if last in GREETINGS or last in NAMED or earlier in _NAMED_BY.get(last, ()):
        return Cues(named=True, person=True, certain=last in _CALLED)
    if last in PERSONS:
        return Cues(person=True)
    inside = last in INSIDE
    if last in LIVED or ((inside or last in _AT) and earlier in _LIVED_OR_HERE):
        return Cues(lived=True, inside=True, certain=inside and earlier in _SETTLED)
    return Cues(inside=True) if inside else _NONE
