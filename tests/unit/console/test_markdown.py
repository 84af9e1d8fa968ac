"""Markdown of others becomes HTML that can do nothing."""

import re
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vallum.console.markdown import markdown

ALLOWED = frozenset({
    "p", "h3", "h4", "h5", "h6", "em", "strong", "code", "pre", "ul", "ol", "li", "blockquote",
    "a", "br", "hr", "table", "thead", "tbody", "tr", "th", "td",
})  # fmt: skip


class Tags(HTMLParser):
    """Collects what a browser would see."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))

    def handle_decl(self, decl: str) -> None:
        raise AssertionError(decl)

    def handle_pi(self, data: str) -> None:
        raise AssertionError(data)


def check(html: str) -> None:
    tags = Tags()
    tags.feed(html)
    tags.close()
    for tag, attributes in tags.seen:
        assert tag in ALLOWED, html
        left = set(attributes) - {"href", "title", "rel", "start", "style", "class"}
        assert not left, html
        assert not (attributes.get("style") and tag not in {"td", "th"}), html
        if tag == "a":
            assert re.match(r"https?://", attributes["href"] or "", re.IGNORECASE), html
            assert attributes["rel"] == "noopener noreferrer nofollow"


@pytest.mark.parametrize(
    "text",
    [
        "<script>alert(1)</script>",
        "<img src=x onerror=alert(1)>",
        "![x](https://example.org/pixel.png)",
        "[x](javascript:alert(1))",
        "[x](  JaVaScRiPt:alert(1))",
        "[x](data:text/html;base64,PHNjcmlwdD4=)",
        "[x](/models/risk/approve)",
        "[x](//evil.example)",
        "[x](vbscript:x) <https://example.org>",
        '[x](https://example.org "onmouseover=alert(1)")',
        '[x](https://example.org/"onclick="alert(1))',
        "[x][1]\n\n[1]: javascript:alert(1)",
        "```html\n<script>x</script>\n```",
        "<!-- comment --> <?php x ?> <!DOCTYPE x>",
        "&lt;script&gt; &#60;script&#62;",
    ],
)
def test_what_could_run_or_load_is_text(text: str) -> None:
    html = str(markdown(text))
    check(html)
    assert "<script" not in html
    assert "<img" not in html


def test_what_people_write_is_shown() -> None:
    html = str(markdown("# Risk\n\n*a* **b** `c`\n\n- [x](https://example.org)\n\n|a|\n|-|\n|1|\n"))
    assert "<h3>Risk</h3>" in html
    assert '<a href="https://example.org" rel="noopener noreferrer nofollow">x</a>' in html
    assert "<td>1</td>" in html
    assert markdown(" \n") == ""


@given(st.text(alphabet=st.sampled_from("<>[]()!\"'`*_#|-: \n&;/ahrefjsvcipt=on"), max_size=200))
def test_any_text_becomes_harmless_html(text: str) -> None:
    check(str(markdown(text)))


def test_deep_nesting_is_bounded() -> None:
    check(str(markdown(">" * 5000 + "x")))
    check(str(markdown("[" * 5000 + "x" + "](https://a.b)" * 200)))
