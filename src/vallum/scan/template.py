"""Chat templates: a Jinja text may read messages and build a text, and nothing else.

An allow-list over its words: a template that reaches an attribute beginning with `_`, a filter
that fetches attributes, or a name that leads to Python's internals is a finding. So is one that
builds names from parts, because then nobody can say what it reaches, and one that calls anything
but what it names in place. Where a block ends is for Jinja's own lexer to say: a string or a brace
in it may look like its end.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from vallum.scan.report import Findings

_OPEN = re.compile(r"\{[{%]")
_STRING = re.compile(r"'(?:\\.|[^'\\])*'|\"(?:\\.|[^\"\\])*\"", re.DOTALL)
_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_ATTRIBUTE = re.compile(r"\.\s*([A-Za-z_][A-Za-z0-9_]*)")
_FILTER = re.compile(r"\|\s*([A-Za-z_][A-Za-z0-9_.]*)")
_CALL = re.compile(r"(?:([.|])\s*+)?\b([A-Za-z_][A-Za-z0-9_]*+)\s*+\(")
_FETCHED = re.compile(r"[\])'}]\s*+\(")
_BRACKET = re.compile(r"[\[\]]")
_LAST = re.compile(r"\w++\Z")
_BUILDS = re.compile(r"[~%|]|(?<!\d)\s*\+(?!\s*\d)")
_COUNTS = re.compile(r"\|\s*(?:length|count|int)\b")
_KEYWORDS = frozenset("in not and or is if else elif set print".split())  # noqa: SIM905 - a table
_MACRO = re.compile(r"\{%-?\s*macro\s+([A-Za-z_]\w*)")
_BOUND = re.compile(r"\b([A-Za-z_]\w*+)\s*+=(?!=)")
_TARGETS = re.compile(r"\{%[-+]?\s*+(?:for|set|macro\s++\w++)\b([^=%]{0,400})")
_SET = re.compile(r"\{%[-+]?\s*(?:set\s+([A-Za-z_]\w*)\s*=|for\s+([A-Za-z_]\w*)\s+in\b)")
_TAG = re.compile(r"\{%[-+]?\s*([a-z]+)")
_REACHES = re.compile(r"\[|attr\b|\bmap\b")
_LINE_END = re.compile(r"\r\n|\r")
_ESCAPE = re.compile(r"\\(?:x|u|U|N|[0-7])")

_SPELLED = re.compile(
    r"\battribute\s*=\s*(?P<quote>['\"])[A-Za-z][A-Za-z0-9]*(?:_[A-Za-z0-9]+)*(?P=quote)"
)
_ELEMENT = re.compile(
    r"\|\s*map\s*\(\s*(?:(?P<quote>['\"])(?:trim|string|upper|lower|int|length|tojson)(?P=quote))?\s*\)"
)

_FORMAT = re.compile(r"\s*\|\s*format\b")
# As in C, of what is given: no name of an attribute, as `str.format` takes it, and no large width.
_FILLED = re.compile(
    r".(?:[^{}]|\{\{|\}\}|\{[A-Za-z0-9]{0,40}(?::\d{0,2}[sdfgx]?)?\})*.", re.DOTALL
)
_FILLS = re.compile(r"\s*\.\s*format\b")
_PRINTED = re.compile(r".(?:[^%]|%%|%[-+ 0]{0,2}\d{0,2}(?:\.\d{1,2})?[sdifgx])*.", re.DOTALL)

_WORK = re.compile(r"\*\*|\d{5,}|'\s*\*|\*\s*'")
_FILTERS = frozenset(
    """abs bool capitalize count default d escape e first float indent int items join last length
    list lower max min reject rejectattr replace reverse round safe select selectattr sort string
    strip sum title tojson trim truncate unique upper wordcount dictsort batch slice""".split()  # noqa: SIM905 - a table
)  # fmt: skip
_CALLS = frozenset(
    """raise_exception strftime_now range namespace dict loop caller if elif and or not in is else
    set print""".split()  # noqa: SIM905 - a table
)  # fmt: skip
_METHODS = frozenset(
    """strip lstrip rstrip split rsplit splitlines startswith endswith upper lower title capitalize
    replace get items keys values join count find index append cycle changed isdigit""".split()  # noqa: SIM905 - a table
)  # fmt: skip
_TAGS = frozenset(
    """if elif else endif for endfor set endset macro endmacro filter endfilter generation
    endgeneration break continue raw endraw with endwith do call endcall""".split()  # noqa: SIM905 - a table
)  # fmt: skip
_NAMES = frozenset(
    """lipsum cycler joiner self request config url_for get_flashed_messages session g application
    context environment getattr eval exec open import os sys subprocess builtins globals
    popen""".split()  # noqa: SIM905 - a table
)  # fmt: skip
# What nothing gives a chat template: only one that sets such a name itself has it, as a variable.
_PLAIN = frozenset({"application", "context", "environment", "os", "sys"})
MAX_TEMPLATE = 1 << 20
_MAX_BLOCK = 1 << 16
_MAX_DOUBTED = 1 << 12
_MAX_SUBSCRIPT = 400
_MAX_NAME = 80
_ATLAS = "AML.T0011.000"


def is_template(text: str) -> bool:
    """Whether a text holds Jinja blocks."""
    return bool(_OPEN.search(text))


def scan_template(text: str, findings: Findings, member: str = "") -> None:
    """Report what in a template goes beyond text building."""
    findings.code_capable = True
    if len(text) > MAX_TEMPLATE:
        findings.add("template.too-large", "the template is above 1 MiB", member=member)
        return
    malformed = False
    try:
        blocks = list(_blocks(text))
    except ValueError as error:
        findings.add("template.malformed", str(error), member=member, atlas=_ATLAS)
        blocks = [(0, text[:_MAX_DOUBTED])]  # it is refused; this is for the reasons
        malformed = True
    names = _Names(
        macros=frozenset(_MACRO.findall(text)),
        given=_PLAIN.intersection(one for pair in _SET.findall(text) for one in pair),
        bound=frozenset(_bound(block for _, block in blocks)),
    )
    if not malformed and any(_REACHES.search(block) for _, block in blocks):
        from vallum.scan.template_names import names_faults

        for id_, message in names_faults(text):
            findings.add(id_, message, member=member, atlas=_ATLAS)
    for offset, block in blocks:
        if len(block) > _MAX_BLOCK:
            findings.add("template.too-large", "a block is above 64 KiB", member=member)
            continue
        for id_, message in _judge(block, names):
            severity = "critical" if id_ == "template.internals" else "high"
            findings.add(
                id_, message, severity=severity, member=member, offset=offset, atlas=_ATLAS
            )


@dataclass(frozen=True, slots=True)
class _Names:
    """What a template names itself."""

    macros: frozenset[str]
    given: frozenset[str]
    bound: frozenset[str]  # everything that may have been given another value


def _blocks(text: str) -> Iterator[tuple[int, str]]:
    """Yield where each block of code begins, and the block, as Jinja tells them apart.

    Raises:
        ValueError: Jinja would not read it.
    """
    from jinja2 import TemplateSyntaxError

    from vallum.scan.template_names import environment

    block: list[str] = []
    at = 0
    text = _LINE_END.sub("\n", text)  # as the lexer does: what it yields is found where it stands
    try:
        for _, kind, value in environment().lexer.tokeniter(text, None):
            if block or kind in ("block_begin", "variable_begin"):
                block.append(value)
            if kind in ("block_end", "variable_end"):
                whole = "".join(block).rstrip()
                at = max(at, text.find(whole, at))
                yield at, whole
                block = []
    except TemplateSyntaxError as error:
        raise ValueError(f"it is no template of Jinja's: {error.message}"[:200]) from error
    if block:
        raise ValueError("a block is not closed")


def _bound(blocks: Iterator[str]) -> Iterator[str]:
    """Yield what is assigned, looped over, or a parameter."""
    for block in blocks:
        yield from _BOUND.findall(block)
        for targets in _TARGETS.findall(block):
            yield from _WORD.findall(targets.partition(" in ")[0].partition("(")[0])
            yield from _WORD.findall(targets.partition("(")[2].partition(")")[0])


def _judge(block: str, names: _Names) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    if "__" in block:
        found.append(("template.internals", "the template reaches names that begin with `__`"))
    for string in _STRING.findall(block):
        if _ESCAPE.search(string):
            found.append(("template.escape", "a text in the template hides characters"))
    # An attribute that is spelled out, and a filter that is known, are what they would be in place.
    block = _printed(_ELEMENT.sub("|first", _SPELLED.sub("", block)))
    bare = _STRING.sub("''", block)
    if _WORK.search(bare):
        found.append(("template.work", "the template repeats work or text without a small bound"))
    for tag in _TAG.findall(bare):
        if tag not in _TAGS:
            found.append(("template.tag", f"the template uses the tag `{tag}`"))
    for name in _FILTER.findall(bare):
        if name not in _FILTERS:
            found.append(("template.filter", f"the template uses the filter `{name}`"))
    for name in _ATTRIBUTE.findall(bare):
        if name.startswith("_"):
            found.append(("template.internals", f"the template reaches `{name}`"))
    for before, name in _CALL.findall(bare):
        known = _METHODS if before == "." else _FILTERS if before == "|" else _CALLS | names.macros
        if name not in known and not (before == "" and name in _METHODS | _FILTERS):
            found.append(("template.call", f"the template calls `{name}`"))
        elif not before and name in names.bound - _KEYWORDS:
            found.append(("template.call", f"the template calls `{name}`, which it binds itself"))
    if _FETCHED.search(bare):
        found.append(("template.call", "the template calls what it has fetched"))
    for name in _WORD.findall(bare):
        if name in _NAMES and name not in names.given:
            found.append(("template.internals", f"the template names `{name}`"))
    if any(map(_computes, _subscripts(bare))):
        found.append(("template.computed", "the template computes the name of an attribute"))
    if re.search(r"\bmap\b|\battr\b|\|\s*format\b|attribute\s*=", bare):
        found.append(("template.internals", "the template fetches attributes by name"))
    return found


def _printed(block: str) -> str:
    """Return a block in which a text that is spelled out and formatted is a text made a text."""
    parts, at = [], 0
    for string in _STRING.finditer(block):
        beside = block[at : string.start()].rstrip()[-1:] in ("'", '"')  # both are one text
        for which, form, plain in (
            (_FORMAT, _PRINTED, "|string"),
            (_FILLS, _FILLED, ".strip"),
        ):
            after = which.match(block, string.end())
            if after is not None and not beside and form.fullmatch(string.group()):
                parts += [block[at : string.end()], plain]
                at = after.end()
    return "".join((*parts, block[at:]))


def _subscripts(bare: str) -> Iterator[str]:
    """Yield what stands before and in each subscript of a block without strings."""
    begun: list[tuple[int, str]] = []
    for match in _BRACKET.finditer(bare):
        at = match.start()
        if match.group() == "[":
            before = bare[max(0, at - _MAX_NAME) : at].rstrip()
            far = not before and at > _MAX_NAME  # whoever writes so hides what it is of
            named = (bool(before) and before[-1] in "])'}") or (
                (word := _LAST.search(before)) is not None and word.group() not in _KEYWORDS
            )
            begun.append((at, "?" if far else before[-1:] if named else ""))
        elif begun:
            start, base = begun.pop()
            if base:
                yield base + bare[start + 1 : at][:_MAX_SUBSCRIPT]


def _computes(subscript: str) -> bool:
    """Whether a subscript, behind the first character of what it is of, may build a name."""
    base, inside = subscript[:1], subscript[1:]
    if base == "'" or len(inside) >= _MAX_SUBSCRIPT:
        return True  # a letter of a text that stands there, and what nobody writes
    inside = _COUNTS.sub("", inside)
    return not _is_slice(inside) and bool(_BUILDS.search(inside))


def _is_slice(inside: str) -> bool:
    """Whether a colon stands outside all brackets: a part of a list, never an attribute."""
    depth = 0
    for one in inside:
        depth += (one in "([{") - (one in ")]}")
        if one == ":" and depth == 0:
            return True
    return False
