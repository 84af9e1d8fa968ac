"""Markdown that somebody else wrote as HTML: no HTML of theirs, no images, links to the web alone.

What a page may load is forbidden by the Content-Security-Policy as well; this keeps a model card
from looking like a part of the console, or from sending its readers to a form of it.
"""

import functools
from collections.abc import Sequence

from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token
from markdown_it.utils import OptionsDict
from markupsafe import Markup

MAX_CHARS = 256 * 1024
MAX_NESTING = 20  # of quotes and lists; deeper ones are text
_SCHEMES = ("https://", "http://")


@functools.cache
def _parser() -> MarkdownIt:
    made = MarkdownIt("commonmark", {"html": False, "maxNesting": MAX_NESTING})
    made.disable(["image", "html_block", "html_inline", "autolink"])
    made.enable("table")
    made.validateLink = lambda url: url.lower().startswith(_SCHEMES)  # type: ignore[method-assign]  # as its documentation does
    made.add_render_rule("link_open", _link_open)
    made.add_render_rule("heading_open", _heading)
    made.add_render_rule("heading_close", _heading)
    return made


def _link_open(
    renderer: RendererHTML, tokens: Sequence[Token], at: int, options: OptionsDict, env: object
) -> str:
    del env
    tokens[at].attrSet("rel", "noopener noreferrer nofollow")
    return renderer.renderToken(tokens, at, options, {})


def _heading(
    renderer: RendererHTML, tokens: Sequence[Token], at: int, options: OptionsDict, env: object
) -> str:
    """Put headings two levels below those of the page."""
    del env
    tokens[at].tag = f"h{min(6, int(tokens[at].tag[1:]) + 2)}"
    return renderer.renderToken(tokens, at, options, {})


def markdown(text: str) -> Markup:
    """Return Markdown as HTML that is safe to show; empty if there is none."""
    return Markup(_parser().render(text[:MAX_CHARS]) if text.strip() else "")  # noqa: S704 - the renderer escapes
