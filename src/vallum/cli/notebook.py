"""A notebook for a terminal: its lines escaped, since somebody else wrote them."""

from vallum.cli.bom import printable
from vallum.schema.release import NotebookText


def notebook_lines(notebook: NotebookText) -> str:
    """Return cells and their outputs, each line as it stands or escaped."""
    lines: list[str] = []
    for number, cell in enumerate(notebook.cells, 1):
        lines += [f"[{number}] {cell.kind}", *_indented(cell.source)]
        for text in cell.outputs:
            lines += ["  output:", *_indented(text)]
        lines += [f"  not shown: {printable(kind)}" for kind in cell.withheld]
    return "\n".join([*lines, "(the rest is left out)"] if notebook.cut else lines)


def _indented(text: str) -> list[str]:
    return [f"    {printable(line.expandtabs(4))}" for line in text.splitlines()]
