"""Room `console`: pages rendered on the server; they show what steps answer, and nothing else."""

from vallum.console.pages import FORMS, PAGES, Form, Page
from vallum.console.render import (
    CONTENT_SECURITY_POLICY,
    STYLE_PATH,
    render,
    render_error,
    style,
)

__all__ = [
    "CONTENT_SECURITY_POLICY",
    "FORMS",
    "PAGES",
    "STYLE_PATH",
    "Form",
    "Page",
    "render",
    "render_error",
    "style",
]
