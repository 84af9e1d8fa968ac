"""A notebook as text: what its cells say, and of their outputs what is plain text.

Markup, pictures and scripts of outputs are named and not shown. Called in the sandbox.
"""

from typing import Any

from vallum.base.errors import InputError
from vallum.formats import load_json
from vallum.scan.code.notebook import BOUNDS, cells_of, joined, language_of
from vallum.schema.release import NotebookCell, NotebookText

_MAX_CELLS = 2_000
_MAX_CHARS = 20_000  # of one cell, and of one output
_MAX_TOTAL = 1_000_000


def notebook_text(payload: bytes) -> NotebookText:
    """Return a notebook's text within bounds.

    Raises:
        InputError: It is not JSON, or no notebook.
        LimitExceededError: It is beyond a bound.
    """
    document = load_json(payload, BOUNDS)
    cells = list(cells_of(document))
    if not cells and not (isinstance(document, dict) and "nbformat" in document):
        raise InputError("this is no notebook", code="notebook.form")
    left = _Left()
    shown = tuple(_cell(one, left) for one in cells[:_MAX_CELLS])
    return NotebookText(
        language=language_of(document)[:40] if isinstance(document, dict) else "",
        cells=shown,
        cut=left.cut or len(cells) > _MAX_CELLS,
    )


class _Left:
    """How much text may still be shown."""

    def __init__(self) -> None:
        self._chars = _MAX_TOTAL
        self.cut = False

    def take(self, text: str) -> str:
        """Return as much of a text as there is room for."""
        room = min(_MAX_CHARS, self._chars)
        self.cut = self.cut or len(text) > room
        self._chars -= min(len(text), room)
        return text[:room]


def _cell(cell: dict[str, Any], left: _Left) -> NotebookCell:
    source = left.take(joined(cell.get("source", cell.get("input", ""))))
    given = cell.get("outputs")
    outputs: list[str] = []
    withheld: list[str] = []
    for one in given if isinstance(given, list) else ():
        if isinstance(one, dict):
            _output(one, outputs, withheld)
    return NotebookCell(
        kind={"code": "code", "markdown": "markdown"}.get(str(cell.get("cell_type")), "text"),
        source=source,
        outputs=tuple(left.take(one) for one in outputs if one),
        withheld=tuple(sorted({one[:60] for one in withheld})),
    )


def _output(output: dict[str, Any], outputs: list[str], withheld: list[str]) -> None:
    for key in ("text", "traceback"):  # streams, errors, nbformat 3
        outputs.append(joined(output.get(key)))
    bundle = output.get("data")
    for kind, content in bundle.items() if isinstance(bundle, dict) else ():
        if kind == "text/plain":
            outputs.append(joined(content))
        else:
            withheld.append(kind)
    withheld += [key for key in ("html", "javascript", "svg", "png", "jpeg") if output.get(key)]
