"""Jupyter notebooks: every code cell as source, and outputs and metadata as what they can do.

Source: nbformat 4.5 (and 3, with its worksheets).
"""

import re
from collections.abc import Iterator
from typing import Any

from vallum.base.bounds import MIB, JsonBounds
from vallum.formats import load_json
from vallum.scan.code.python import python_texts, scan_python
from vallum.scan.code.secrets import SecretFinder, Text, lines_of, scan_secrets
from vallum.scan.report import Findings

BOUNDS = JsonBounds(max_bytes=64 * MIB, max_depth=32, max_nodes=1_000_000)
_ATLAS = "AML.T0011"
_MAGIC = re.compile(r"^(\s*)(?:[%!?]|\w+\s*=\s*[%!])")
_SHELL = re.compile(r"^\s*(?:[\w, ]+=\s*)?(?:!|%(?:system|sx|sh|script)\b)")
_INSTALL = re.compile(
    r"^\s*(?:!|%)\s*(?:python3?\s+-m\s+)?(?:pip3?|conda|mamba|uv|apt(?:-get)?)\b.*\binstall\b"
)
_CELL_MAGIC = re.compile(r"^\s*%%(\w+)")
_PYTHON_MAGICS = frozenset({"time", "timeit", "capture", "prun", "writefile"})
_ACTIVE = ("text/html", "image/svg+xml")
_ACTS = re.compile(r"<script|<iframe|<object|<embed|\bon[a-z]{3,20}\s*=|javascript:", re.IGNORECASE)
_SCRIPT = re.compile(r"^application/(?:javascript|ecmascript)$|^text/javascript$")
_PICTURE = re.compile(r"^(?:image/(?!svg)|audio/|video/|application/(?:pdf|octet-stream))")


def scan_notebook(data: bytes, findings: Findings, finder: SecretFinder | None = None) -> None:
    """Report what a notebook's cells do, what its outputs could do, and secrets anywhere in it.

    Args:
        data: The file, JSON within `BOUNDS`.
        findings: Added to; the member is `cell N`, `cell N/output M` or `metadata`, from 1.
        finder: Of tokens that have a form.

    Raises:
        InputError: It is not JSON, or no notebook.
        LimitExceededError: It is beyond a bound.
    """
    document = load_json(data, BOUNDS)
    cells = list(cells_of(document))
    if not cells and not (isinstance(document, dict) and "nbformat" in document):
        findings.add("notebook.form", "this is no notebook", severity="medium", atlas=_ATLAS)
        return
    findings.code_capable = True
    language = language_of(document)
    texts: list[Text] = list(_strings(document.get("metadata"), "metadata"))
    for number, cell in enumerate(cells, 1):
        member = f"cell {number}"
        source = joined(cell.get("source", cell.get("input", "")))
        if cell.get("cell_type") == "code":
            texts += _scan_cell(source, language, findings, member)
        else:
            texts += lines_of(source, member)
            _active("text/html", source, findings, member)
            texts += _strings(cell.get("attachments"), f"{member}/attachments")
        texts += _strings(cell.get("metadata"), f"{member}/metadata")
        outputs = cell.get("outputs")
        for at, output in enumerate(outputs if isinstance(outputs, list) else (), 1):
            texts += _scan_output(output, findings, f"{member}/output {at}")
    scan_secrets(texts, findings, finder)


def cells_of(document: object) -> Iterator[dict[str, Any]]:
    """Yield the cells of a notebook, those of worksheets too."""
    if not isinstance(document, dict):
        return
    lists = [document.get("cells")]
    sheets = document.get("worksheets")  # nbformat 3
    if isinstance(sheets, list):
        lists += [sheet.get("cells") for sheet in sheets if isinstance(sheet, dict)]
    for cells in lists:
        if isinstance(cells, list):
            yield from (cell for cell in cells if isinstance(cell, dict))


def language_of(document: dict[str, Any]) -> str:
    """Return the language of the code cells, in lower case."""
    metadata = document.get("metadata")
    for key in ("kernelspec", "language_info"):
        info = metadata.get(key) if isinstance(metadata, dict) else None
        if isinstance(info, dict):
            named = info.get("language") or (info.get("name") if key == "language_info" else None)
            if isinstance(named, str):
                return named.lower()
    return "python"


def _scan_cell(source: str, language: str, findings: Findings, member: str) -> list[Text]:
    """Judge one code cell and return what to search for secrets."""
    magic = _CELL_MAGIC.match(source)
    if not language.startswith("python") or (magic and magic[1] not in _PYTHON_MAGICS):
        what = f"the cell runs `%%{magic[1][:20]}`" if magic else f"the cell is {language[:20]}"
        findings.add("notebook.other-language", f"{what}, which is not checked",
                     severity="medium", member=member, line=1, atlas=_ATLAS)  # fmt: skip
        return lines_of(source, member)
    lines = source.split("\n")
    magics: list[Text] = []
    for at, line in enumerate(lines):
        if not _MAGIC.match(line):
            continue
        if _SHELL.match(line) or _INSTALL.match(line):
            install = bool(_INSTALL.match(line))
            findings.add(
                "notebook.install" if install else "notebook.shell",
                "the cell installs packages when it runs" if install
                else "the cell runs a command of the shell",
                severity="low" if install else "medium", member=member, line=at + 1,
                atlas="AML.T0011.001" if install else "AML.T0050",
            )  # fmt: skip
        magics.append(Text(line[:4_000], member, at + 1))
        indent = line[: len(line) - len(line.lstrip())]
        lines[at] = f"{indent}pass"  # one line for one line: numbers stay right
    python = "\n".join(lines).encode("utf-8", "replace")
    scan_python(python, findings, member)
    return [*magics, *python_texts(python, member)]


def _scan_output(output: object, findings: Findings, member: str) -> Iterator[Text]:
    if not isinstance(output, dict):
        return
    bundle = output.get("data")
    for kind, content in bundle.items() if isinstance(bundle, dict) else ():
        if _PICTURE.match(kind):
            continue
        text = joined(content)
        if _SCRIPT.match(kind):
            findings.add("notebook.script", "the output is a script that a viewer runs",
                         severity="medium", member=member, atlas=_ATLAS)  # fmt: skip
        _active(kind, text, findings, member)
        yield from lines_of(text, member) if text else _strings(content, member)
    for key in ("text", "traceback", "html", "evalue", "javascript"):  # streams, errors, nbformat 3
        text = joined(output.get(key))
        if key == "html":
            _active("text/html", text, findings, member)
        yield from lines_of(text, member)
    yield from _strings(output.get("metadata"), member)


def _active(kind: str, text: str, findings: Findings, member: str) -> None:
    match = _ACTS.search(text) if kind in _ACTIVE else None
    if match is not None:
        line = text.count("\n", 0, match.start()) + 1
        findings.add("notebook.active-markup", "the markup can act in the browser of a reader",
                     severity="medium", member=member, line=line, atlas=_ATLAS)  # fmt: skip


def joined(value: object) -> str:
    """Return a multi-line string as nbformat writes it: a text, or a list of its lines."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return "".join(one for one in value if isinstance(one, str))
    return ""


def _strings(value: object, member: str, name: str = "") -> Iterator[Text]:
    """Yield every string of a value, named by its key; its reader bounded the depth."""
    if isinstance(value, str):
        for piece in lines_of(value, member):
            yield Text(piece.text, member, None, name)
    elif isinstance(value, list):
        for one in value:
            yield from _strings(one, member, name)
    elif isinstance(value, dict):
        for key, one in value.items():
            yield from _strings(one, member, str(key))
