"""Texts of records: logs, JSON a line, tables. Words in them look like code by chance.

What a log says of `import` or `eval(` is nothing that runs, if the text cannot be a program. A log
passes with such words if its first line begins with a moment or a level in brackets, which no
language's parser takes, and every other line begins so, or goes on from the line before. A table
passes if it has a header of plain names, as many cells in every row, and calls only in quoted ones.
Python's own parser must refuse both. What acts by itself in a shell, a page or a sheet is a
finding here as elsewhere.
"""

import ast
import csv
import io
import re
import warnings
from collections.abc import Iterator

from vallum.base.bounds import MIB, JsonBounds
from vallum.formats import load_json

_MAX_RECORDS = 16 * MIB  # of a log or a table that is read as a whole
_MAX_PARSED = 1 << 16  # of it that Python's parser gets
_LEVEL = rb"(?:DEBUG|INFO|NOTE|NOTICE|WARN|WARNING|ERROR|CRITICAL|FATAL|TRACE|[DIWEF])"
_MOMENT = (
    rb"\[?(?:\d{4}[-/.]\d\d[-/.]\d\d[T ,]\s?\d\d:\d\d|\d\d[-/.]\d\d[-/.]\d{4} \d\d:\d\d|"
    rb"\[?\d\d:\d\d:\d\d[\s,.|\]]|(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun) [A-Z][a-z]{2} [ \d]\d \d\d:)|"
    rb"\[%b\][ \t]+\w|[DIWEF]\d{4} \d\d:\d\d:\d\d" % _LEVEL
)
_BEGINS = re.compile(rb"(?:%b)" % _MOMENT)
_GOES_ON = re.compile(
    rb"[ \t]|Traceback \(|[\w.]{1,80}(?:Error|Exception|Warning|Interrupt)\b|"
    rb"%b(?::[\w.]{1,80})?:|(?i:epoch|step|iter|iteration|train|valid|test|eval)\b[ :=\[#]{1,3}\d|"
    rb"[-=*_#+|~]{3,}|\r?\Z" % _LEVEL
)
_ONE = re.compile(rb"[^\n]++\n?|\n")
_HEADER = re.compile(r"^[\w .:%/#°-]{0,100}\Z")
_QUOTED = re.compile(r'"(?:[^"]|"")*+"')
_OPEN = ("unterminated", "was never closed", "unexpected EOF", "expected an indented")
_LINE = JsonBounds(max_bytes=2 * MIB, max_depth=128, max_nodes=2 * MIB)


def json_lines(data: memoryview) -> Iterator[object]:
    """Yield the value of each line.

    Raises:
        InputError: A line is no JSON.
        LimitExceededError: A line is beyond the bounds of JSON.
    """
    for match in _ONE.finditer(data):
        line = match.group().strip()
        if line:
            yield load_json(line, _LINE, finite=False)


def are_records(data: memoryview) -> bool:
    """Whether UTF-8 bytes are a log or a table, and no program."""
    if len(data) > _MAX_RECORDS:
        return False
    return (_is_log(data) or _is_table(data)) and not is_python(data)


def is_python(data: memoryview) -> bool:
    """Whether Python's parser takes the text, or might if it saw more than the part it got."""
    text = bytes(data[:_MAX_PARSED])
    if len(text) < len(data):
        text = text[: text.rfind(b"\n") + 1]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ast.parse(text)
    except SyntaxError as error:
        # What may go on behind the part that was read is not known to be no program.
        return len(text) < len(data) and any(one in str(error.msg) for one in _OPEN)
    except (ValueError, RecursionError, MemoryError):
        return True
    return True


def _is_log(data: memoryview) -> bool:
    first = True
    for match in _ONE.finditer(data):
        line = match.group()
        if not line.strip():
            continue
        if _BEGINS.match(line) is None and (first or _GOES_ON.match(line) is None):
            return False
        first = False
    return not first


def _is_table(data: memoryview) -> bool:
    text = bytes(data).decode("utf-8-sig")
    head = text[: text.find("\n")]
    mark = max(",\t;|", key=head.count)
    width = 0
    try:
        for row in csv.reader(io.StringIO(text, newline=""), delimiter=mark, strict=True):
            if width == 0:
                width = len(row)
                if width < 2 or not all(_HEADER.match(cell) for cell in row):  # noqa: PLR2004 - one column is any text
                    return False
            elif len(row) not in (0, width):
                return False
    except csv.Error:
        return False
    return width > 0 and "(" not in _QUOTED.sub("", text)  # a call elsewhere could be JavaScript's
