"""Names and places: found where something says so, and not in what is written alike."""

from collections.abc import Callable

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vallum.privacy import discover_nested, discover_table, discover_text, discover_texts
from vallum.privacy.hipaa import safe_harbor
from vallum.privacy.lexicon import CITY, COMMON, FAMILY, GIVEN, candidates, lexicon

NAME, CITY_TYPE, COUNTRY_TYPE = "personal.name", "location.city", "location.country"


def found(text: str) -> list[tuple[str, str]]:
    kinds = (NAME, CITY_TYPE, COUNTRY_TYPE)
    return [
        (text[span.start : span.end], span.type)
        for span in discover_text(text)
        if span.type in kinds
    ]


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Rebecca Gairbekov signed it.", "Rebecca Gairbekov"),
        ("we met Jean-Pierre Martin there", "Jean-Pierre Martin"),
        ("Ludwig van Beethoven wrote it", "Ludwig van Beethoven"),
        ("a book by J. K. Osborne", "J. K. Osborne"),
        ("author: Eric S. Raymond", "Eric S. Raymond"),
        ("Dear Mark, thank you", "Mark"),
        ("her name is Rose", "Rose"),
        ("ask Dr. Xolqvist about it", "Xolqvist"),
        ("Frau Schneider ist krank", "Schneider"),
        ("selon Mme Dupont, oui", "Dupont"),
        ("please call Will Smith back", "Will Smith"),
        ("Mathilde, can I please speak to your boss?", "Mathilde"),
        ("that is Anna's car", "Anna"),
        ("“Günther Müller” said no", "Günther Müller"),
        ("подписал Иван Петров", "Иван Петров"),
        ('{"name": "Rose"}', "Rose"),
        ("ANNA SCHMIDT", "ANNA SCHMIDT"),
        ("her maiden name is Sqorbeyev", "Sqorbeyev"),
        ("je m'appelle Zxoubrand", "Zxoubrand"),
    ],
)
def test_a_name_is_found_by_the_company_it_keeps(text: str, name: str) -> None:
    assert (name, NAME) in found(text)


@pytest.mark.parametrize(
    ("text", "place", "kind"),
    [
        ("she lives in Paris now", "Paris", CITY_TYPE),
        ("er wohnt in München", "München", CITY_TYPE),
        ("il habite à Saint-Étienne", "Saint-Étienne", CITY_TYPE),
        ("flying to New York tomorrow", "New York", CITY_TYPE),
        ("I was born in Reading", "Reading", CITY_TYPE),
        ("I'm originally from Malaysia", "Malaysia", COUNTRY_TYPE),
        ("exports of the United States", "United States", COUNTRY_TYPE),
        ("aus Österreich", "Österreich", COUNTRY_TYPE),
        ("born in Georgia", "Georgia", COUNTRY_TYPE),
        ("my friend lives in FOSNAVÅG", "FOSNAVÅG", CITY_TYPE),
        ("we moved here from Dohmaheim", "Dohmaheim", CITY_TYPE),
    ],
)
def test_a_place_is_found_by_the_words_before_it(text: str, place: str, kind: str) -> None:
    assert (place, kind) in found(text)


ORDINARY = {
    "english": [
        "Mark the date; May is next, and Will Power is a virtue. Reading is Nice.",
        "Grace and Hope are virtues. The Rose in the garden. A Frank answer.",
        "The Washington Post, Morgan & Co and Franklin Street are no people.",
        "In March the Company shall pay the Lender on Sunday. Section Three applies.",
        "She was born in December and works in Marketing. Here is Everything you need.",
        "Our Python and Java code runs on Windows. Ask the Oracle.",
        "Bath water is hot. Mobile phones and Split peas. Turkey is for Christmas.",
        "THIS LICENSE WILL GRANT ANY HOLDER THE RIGHT TO MAY USE",
    ],
    "german": [
        "Der Koch und der Bauer gingen nach Hause. Die Rose blüht im Mai.",
        "Das Essen ist fertig. Der Kaiser und der König. Ein Wolf im Wald.",
        "Die Stadt hat einen Markt, eine Mühle und eine alte Kirche.",
    ],
    "french": [
        "Le Marché de Noël est ouvert. La Rose est rouge.",
        "Les Tours sont hautes. Orange est une couleur. Mars et Avril sont des mois.",
    ],
    "code": [
        "class Martin(Base): pass",
        "Anna.run(); anna_Anna = Paris.utils",
        "from Paris.Lyon import Marie_Curie",
        "SELECT Name FROM City WHERE Country = 'X'",
        "#define LONG 5; SHA, NaN, MACs",
        "const {Victoria} = require('./Dallas')",
    ],
    "logs": [
        "2024-05-17T12:30:45 INFO Server Started in Production mode",
        "ERROR Connection Refused by Host; Retry Later",
        "GET /users/Anna/Paris HTTP/1.1",
    ],
}


@pytest.mark.parametrize("text", [line for lines in ORDINARY.values() for line in lines])
def test_ordinary_words_are_no_names(text: str) -> None:
    assert found(text) == []


def test_two_signs_weigh_more_than_one() -> None:
    text = "Anna came. Then Mr. Anna Smith"
    (alone, both) = [span.score for span in discover_text(text)]
    assert 0.5 <= alone < both <= 1.0


def test_offsets_are_code_points_of_the_text_as_written() -> None:
    text = "日本 😀 “&lt;” Anna&nbsp;Smith lives in M&uuml;nchen"
    spans = {(text[span.start : span.end], span.type) for span in discover_text(text)}
    assert ("Anna&nbsp;Smith", NAME) in spans
    assert ("M&uuml;nchen", CITY_TYPE) in spans


def test_an_identifier_is_not_cut_by_a_name_within_it() -> None:
    (span,) = discover_text("write to Anna.Smith@example.org")
    assert span.type == "personal.email"


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (["Anna Smith", "Peter Jones", "Maria Garcia", "Luca Rossi", "Eva Novak"], NAME),
        (["Anna", "Peter", "Maria", "Luca", "Sabine"], NAME),
        (["Smith", "Müller", "Garcia", "Rossi", "Nowak", "Petrov"], NAME),
        (["Berlin", "Chicago", "New York", "Osaka", "Toulouse"], CITY_TYPE),
        (["Germany", "France", "United-States", "Japan", "Cuba"], COUNTRY_TYPE),
    ],
)
def test_a_column_is_told_by_its_values_whatever_its_header(values: list[str], kind: str) -> None:
    (column,) = discover_table(pl.DataFrame({"f3": [*values, *values]})).columns
    assert column.type == kind
    assert column.count == 2 * len(values)
    assert column.share == 1.0
    assert 0.0 < column.confidence[0] < column.confidence[1] <= 1.0
    assert column.direct == (kind == NAME)
    assert column.quasi == (kind != NAME)


@pytest.mark.parametrize(
    "values",
    [
        ["January", "April", "May", "June", "August"],
        ["Red", "Rose", "Violet", "Amber", "Ruby"],
        ["Private", "State-gov", "Self-emp", "Never-worked", "Local-gov"],
        ["Anna", "Peter"],
        ["mark", "will", "rose", "frank", "grace"],
    ],
)
def test_a_column_of_ordinary_words_is_none_of_names(values: list[str]) -> None:
    (column,) = discover_table(pl.DataFrame({"f3": values})).columns
    assert column.type == ""


def test_a_header_supports_what_few_values_do_not() -> None:
    frame = pl.DataFrame({"city": ["Nowhereville", "Xyzzy"], "nachname": ["Abc", "Def"]})
    assert [one.type for one in discover_table(frame).columns] == [CITY_TYPE, NAME]


def test_one_word_that_may_be_a_name_condemns_no_column() -> None:
    frame = pl.DataFrame({"note": ["all is well", "the Mathilde report", "nothing to say"]})
    assert discover_table(frame).columns[0].type == ""


def test_the_lexicon_knows_what_is_an_ordinary_word_too() -> None:
    words = lexicon().words
    assert words["anna"] & GIVEN
    assert not words["anna"] & COMMON
    assert words["rose"] & GIVEN
    assert words["rose"] & COMMON
    assert words["müller"] & words["muller"] & FAMILY
    assert lexicon().places["new york"] & CITY
    assert "the" not in words or not words["the"] & (GIVEN | FAMILY)


@settings(max_examples=150)
@given(
    st.lists(
        st.sampled_from(
            ["Anna", "Smith", "Mr.", "Dear", "New", "York", "van", "der", "J.", "O'Brien", "’s",
             "in", "name:", "É", "Ö", "\x1e", "\n", "-", ",", "&#65;", "\ud800", "日本", "Иван"]
        ), max_size=30,
    ),
    st.sampled_from(["", " ", "-", "'"]),
)  # fmt: skip
def test_any_words_have_spans_in_order_and_as_each_text_by_itself(
    words: list[str], joint: str
) -> None:
    text = joint.join(words)
    end = 0
    for span in discover_text(text):
        assert end <= span.start < span.end <= len(text)
        assert 0.0 < span.score <= 1.0
        end = span.end
    assert discover_texts(["Anna Smith", text, "Paris"])[1] == discover_text(text)


@settings(max_examples=100)
@given(
    st.sampled_from(["anna", "østergård", "šimon", "петр", "παῦλος", "josé"]),
    st.sampled_from([str.upper, str.title]),
)
def test_a_word_is_a_candidate_however_its_capitals_are_written(
    word: str, written: Callable[[str], str]
) -> None:
    if word not in lexicon().words or lexicon().words[word] & COMMON:
        return
    text = f"ask {written(word)} today"
    if lexicon().words[word] & GIVEN:
        assert list(candidates(text.encode())) == [4]


def test_the_key_of_a_json_value_says_what_it_is() -> None:
    documents = [{"firstName": "Rose", "city": "Reading", "product": "Rose", "state": "Reading"}]
    (spans,) = discover_nested(documents)
    assert [(field, span.type) for field, span in spans] == [
        ("firstName", NAME),
        ("city", CITY_TYPE),
    ]


def test_a_country_alone_is_nothing_that_safe_harbor_removes() -> None:
    statuses = {one.letter: status for one, status in safe_harbor({COUNTRY_TYPE})}
    assert statuses["B"] == "not found"
    assert {one.letter: status for one, status in safe_harbor({CITY_TYPE, NAME})}["B"] == "found"
