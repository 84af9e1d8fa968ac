"""HTML from templates: everything that is shown is escaped, nothing inline is ever needed.

The pages work without scripts and have none: the Content-Security-Policy forbids them.
"""

import functools
import hashlib
from importlib.resources import files

import jinja2

from vallum.base import VallumError
from vallum.console.pages import PAGES

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self';"
    " frame-ancestors 'none'; base-uri 'none'"
)
STYLE_PATH = "/style.css"


@functools.cache
def _environment() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.PackageLoader("vallum.console"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def render(template: str, *, title: str, path: str, signed_in_as: str = "", csrf: str = "",
           **values: object) -> bytes:  # fmt: skip
    """Return a page.

    Args:
        template: File of the template.
        title: Of the page.
        path: Of the page, for the menu.
        signed_in_as: Name of the caller; empty: nobody is signed in and there is no menu.
        csrf: The session's token, for every form.
        values: What the template shows.
    """
    menu = [(page.path, page.title) for page in PAGES if page.menu] if signed_in_as else []
    page = _environment().get_template(template).render(
        title=title, path=path, menu=menu, signed_in_as=signed_in_as, csrf=csrf,
        style=f"{STYLE_PATH}?{style_version()}", **values,
    )  # fmt: skip
    return page.encode()


def render_error(error: VallumError, *, status: int, request_id: str, path: str,
                 signed_in_as: str = "", csrf: str = "") -> bytes:  # fmt: skip
    """Return a page that says what went wrong, what helps, and under which id it is logged."""
    return render(
        "error.html", title="That did not work", path=path, signed_in_as=signed_in_as, csrf=csrf,
        error=error, status=status, request_id=request_id,
    )  # fmt: skip


@functools.cache
def style() -> bytes:
    """Return the style sheet."""
    return files("vallum.console").joinpath("style.css").read_bytes()


@functools.cache
def style_version() -> str:
    """Return what tells one version of the style sheet from another."""
    return hashlib.sha256(style()).hexdigest()[:12]
