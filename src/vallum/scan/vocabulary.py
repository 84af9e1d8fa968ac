"""Vocabularies of tokenizers: one token a line, or two with a space or tab, as merges and scores.

Their words look like code by chance: `run ning` is a merge, `__init__` a token. A file passes with
them if its name is that of a vocabulary, every line has the shape of one and it is no program of
Python. What acts by itself in a shell, a page or a sheet is a finding here as elsewhere.
"""

import re

from vallum.scan.records import is_python
from vallum.schema import Finding

_NAME = re.compile(
    r"(^|/)(vocab|merges|labels|words|dict|tokens|units|phones|chars|[^/]+\.vocab|vocab\.bpe|bpe\.codes)(\.txt)?$"
)
_LINE = rb"[^\s]++(?:[ \t][^\s]++)?"
_SHAPE = re.compile(rb"(?:#version[^\n]{0,40}\n)?(?:%b(?:\r?\n|\Z))++\s*\Z" % _LINE)
_EXCUSED = re.compile(
    r"^the text holds (an import|a definition|a call|a lambda|a name|an instr|source's)"
)
_FIRST_LINE = "the text holds a script's first line"
_ACTS = re.compile(rb"<\w+[\s/]+on\w+\s*=", re.IGNORECASE)


def is_vocabulary(name: str, data: memoryview) -> bool:
    """Whether a file is a vocabulary by its name and by all of its lines, and is no program."""
    if not _NAME.search(name.replace("\\", "/")) or _SHAPE.match(data) is None:
        return False
    if _ACTS.search(data):
        return False
    return not is_python(data)


def is_excused(finding: Finding) -> bool:
    """Whether a finding is about words that a vocabulary has by chance."""
    if finding.id == "text.code":
        first = finding.message == _FIRST_LINE and bool(finding.offset)
        return first or bool(_EXCUSED.match(finding.message))
    return finding.id.startswith(("template.", "format.yaml.", "text.markup"))
