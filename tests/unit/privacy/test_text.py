"""Spans in text: whatever an identifier is written with, where it stands, and in any company."""

import base64
import html
import urllib.parse
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vallum.privacy import discover_text, discover_texts
from vallum.privacy.patterns import KINDS
from vallum.privacy.plain import plain_text
from vallum.privacy.regions import regions
from vallum.sandbox import process_pool

VALUES = {
    "personal.email": "ann.lee@example.org",
    "financial.card": "4111 1111 1111 1111",
    "financial.iban": "GB82 WEST 1234 5698 7654 32",
    "government.us.ssn": "219-09-9999",
    "network.ip": "192.168.7.13",
    "personal.phone": "+44 20 7946 0018",
    "network.url": "https://example.org/a?b=1",
}


def found(text: str) -> list[tuple[str, str]]:
    return [(span.type, text[span.start : span.end]) for span in discover_text(text)]


@pytest.mark.parametrize(("kind", "value"), VALUES.items())
def test_an_identifier_is_found_wherever_it_stands(kind: str, value: str) -> None:
    for text in (
        value,
        f"see {value}.",
        f"({value})",
        f"a\n{value}\nb",
        f"“{value}” 日本語",
        f"<{value}>",
    ):
        assert (kind, value) in found(text), text


@pytest.mark.parametrize("kind", [one for one in VALUES if one != "network.url"])
def test_writing_it_otherwise_hides_nothing(kind: str) -> None:
    value = VALUES[kind]
    wide = "".join(chr(ord(one) + 0xFEE0) if "!" <= one <= "~" else one for one in value)
    ways = {
        "full width": wide,
        "invisible": "\u200b".join(value),
        "soft hyphens": "\u00ad".join(value),
        "entities": "".join(f"&#{ord(one)};" for one in value),
        "no-break spaces": value.replace(" ", "\u00a0"),
        "other dashes": value.replace("-", "–"),
        "percent": urllib.parse.quote(value, safe=""),
        "arabic digits": "".join(chr(0x660 + int(one)) if one.isdigit() else one for one in value),
    }
    if len(value) % 3 == 0 or kind == "personal.email":
        ways["base64"] = base64.b64encode(f"mail me: {value} ok".encode()).decode()
    for way, written in ways.items():
        text = f"kindly note {written} for the record"
        spans = [span for span in discover_text(text) if span.type == kind]
        assert spans, way
        assert text[spans[0].start : spans[0].end].strip() in written.strip() or way == "base64", (
            way
        )


@pytest.mark.parametrize(
    "text",
    ["ann.lee (at) example (dot) org", "ann.lee[at]example[dot]org", "ann.lee &#64; example.org"],
)
def test_an_address_for_people_only_is_read_too(text: str) -> None:
    kinds = [kind for kind, _ in found(f"write to {text.replace(' &#64; ', '&#64;')} soon")]
    assert kinds == ["personal.email"]


@pytest.mark.parametrize(
    "text",
    [
        "the years 2019-2021 and 1998/1999",
        "version 10.2.3 of 2024-05-17 at 12:30:45",
        "section 12.3.4, page 56, figures 7-9",
        "between 1,000,000 and 2,500,000 units",
        "see e.g. Smith et al. (2004), pp. 123-145",
        "commit 4f2a9c1d and build 20240517.1",
        "a ratio of 3.1415926535 to 2.7182818284",
        "order 4111 1111 1111 1112 is not a card",
    ],
)
def test_numbers_that_identify_nobody_are_left_alone(text: str) -> None:
    assert found(text) == []


def test_a_weak_number_needs_a_word_near_it() -> None:
    assert found("the batch 9434765919 was shipped") == []
    assert ("government.uk.nhs", "9434765919") in found("her NHS number is 9434765919")
    assert ("personal.phone", "785 8949") in found("they are not answering at 785 8949")


def test_many_texts_are_searched_as_each_by_itself() -> None:
    texts = [
        "",
        "nothing",
        "ann@example.org",
        "4111111111111111 é",
        "日本 +44 20 7946 0018",
        "a" * 5000,
    ]
    assert discover_texts(texts) == [discover_text(text) for text in texts]


def test_the_taxonomy_has_sixty_types_and_more() -> None:
    assert len({kind.name for kind in KINDS}) >= 60


pieces = st.one_of(
    st.sampled_from([*VALUES.values(), "&#", "%4", "(at)", "\x1e", "\n", "\u200b", "=", "0", "@"]),
    st.text(max_size=8),
)


@settings(max_examples=150)
@given(st.lists(pieces, max_size=30))
def test_any_text_has_spans_in_order_within_it(parts: list[str]) -> None:
    text = " ".join(parts)
    end = 0
    for span in discover_text(text):
        assert end <= span.start < span.end <= len(text)
        end = span.end


@settings(max_examples=100)
@given(st.text(max_size=200))
def test_every_character_of_a_plain_text_has_its_place(text: str) -> None:
    plain = plain_text(text)
    for at in range(len(plain.text)):
        start, end = plain.place(at, at + 1)
        assert 0 <= start < end <= len(text)


@settings(max_examples=100)
@given(
    st.lists(
        st.sampled_from(["word", "e.g.", "GB82", "WEST", "1234", "5698", "x@y", "\n"]), max_size=40
    )
)
def test_no_word_with_a_mark_or_many_digits_is_outside_a_region(words: list[str]) -> None:
    text = " ".join(words)
    places = list(regions(text.encode()))
    for word in ("x@y", "12345698"):
        at = text.find(word)
        if at >= 0:
            assert any(start <= at and at + len(word) <= end for start, end in places)


def test_entities_are_read_once() -> None:
    assert plain_text(html.escape("&amp;#64;")).text == "&amp;amp;#64;".replace("&amp;", "&", 1)


def test_batches_in_several_processes_find_what_one_pass_finds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    texts = [f"write to ada{at}@example.org, or call Maria Gonzalez" for at in range(50)]
    texts += ["", "nothing here", "x" * 300, ""]
    whole = discover_texts(texts)
    assert sum(map(len, whole)) >= 100
    monkeypatch.setattr("vallum.privacy.text._BATCH_CHARS", 120)
    cut: list[int] = []

    def counted(function: Callable[[Any], Any], batches: Iterable[Any], /) -> Iterator[Any]:
        for batch in batches:
            cut.append(len(batch))
            yield function(batch)

    assert discover_texts(texts, run=counted) == whole
    assert len(cut) > 20
    assert sum(cut) == len(texts)
    assert discover_texts([]) == []
    with process_pool(2) as run:
        assert discover_texts(texts, run=run) == whole
