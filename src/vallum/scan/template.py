"""Chat templates: a Jinja text may read messages and build a text, and nothing else.

An allow-list over its words: a template that reaches an attribute beginning with `_`, a filter
that fetches attributes, or a name that leads to Python's internals is a finding. So is one that
builds names from parts, because then nobody can say what it reaches.
"""

import re

from vallum.scan.report import Findings

_BLOCK = re.compile(r"\{[{%#].*?[}%#]\}", re.DOTALL)
_OPEN = re.compile(r"\{[{%]")
_STRING = re.compile(r"'(?:\\.|[^'\\])*'|\"(?:\\.|[^\"\\])*\"", re.DOTALL)
_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_ATTRIBUTE = re.compile(r"\.\s*([A-Za-z_][A-Za-z0-9_]*)")
_FILTER = re.compile(r"\|\s*([A-Za-z_][A-Za-z0-9_.]*)")
_CALL = re.compile(r"([.|]?)\s*\b([A-Za-z_][A-Za-z0-9_]*)\s*\(")
_COMPUTED = re.compile(r"\[[^\]]*(?:~|\+|%|\|)[^\]]*\]")
_MACRO = re.compile(r"\{%-?\s*macro\s+([A-Za-z_]\w*)")
_SET = re.compile(r"\{%[-+]?\s*set\s+([A-Za-z_]\w*)\s*=")
_TAG = re.compile(r"\{%[-+]?\s*([a-z]+)")
_ESCAPE = re.compile(r"\\(?:x|u|U|N|[0-7])")

_SPELLED = re.compile(
    r"\battribute\s*=\s*(?P<quote>['\"])[A-Za-z][A-Za-z0-9]*(?:_[A-Za-z0-9]+)*(?P=quote)"
)
_ELEMENT = re.compile(
    r"\|\s*map\s*\(\s*(?:(?P<quote>['\"])(?:trim|string|upper|lower|int|length|tojson)(?P=quote))?\s*\)"
)

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
    endgeneration break continue raw endraw with endwith do""".split()  # noqa: SIM905 - a table
)  # fmt: skip
_NAMES = frozenset(
    """lipsum cycler joiner self request config url_for get_flashed_messages session g application
    context environment getattr eval exec open import os sys subprocess builtins globals
    popen""".split()  # noqa: SIM905 - a table
)  # fmt: skip
# What nothing gives a chat template: only one that sets such a name itself has it, as a variable.
_PLAIN = frozenset({"application", "context", "environment", "os", "sys"})
MAX_TEMPLATE = 1 << 20
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
    macros = set(_MACRO.findall(text))
    given = _PLAIN.intersection(_SET.findall(text))  # variables of the template's own
    blocks = [match for match in _BLOCK.finditer(text) if not match.group().startswith("{#")]
    rest = _BLOCK.sub("", text)
    if _OPEN.search(rest):
        findings.add("template.malformed", "a block is not closed", member=member, atlas=_ATLAS)
    for match in blocks:
        for id_, message in _judge(match.group(), macros, given):
            severity = "critical" if id_ == "template.internals" else "high"
            findings.add(
                id_, message, severity=severity, member=member, offset=match.start(), atlas=_ATLAS
            )


def _judge(block: str, macros: set[str], given: frozenset[str]) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    if "__" in block:
        found.append(("template.internals", "the template reaches names that begin with `__`"))
    for string in _STRING.findall(block):
        if _ESCAPE.search(string):
            found.append(("template.escape", "a text in the template hides characters"))
    # An attribute that is spelled out, and a filter that is known, are what they would be in place.
    block = _ELEMENT.sub("|first", _SPELLED.sub("", block))
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
        known = _METHODS if before == "." else _FILTERS if before == "|" else _CALLS | macros
        if name not in known and not (before == "" and name in _METHODS | _FILTERS):
            found.append(("template.call", f"the template calls `{name}`"))
    for name in _WORD.findall(bare):
        if name in _NAMES and name not in given:
            found.append(("template.internals", f"the template names `{name}`"))
    if _COMPUTED.search(re.sub(r"\[\s*\d*\s*:[^\]]*\]", "", _unnested(bare))):
        found.append(("template.computed", "the template computes the name of an attribute"))
    if re.search(r"\bmap\b|\battr\b|\|\s*format\b|attribute\s*=", bare):
        found.append(("template.internals", "the template fetches attributes by name"))
    return found


def _unnested(text: str) -> str:
    """Blank list literals, which hold expressions without naming anything."""
    return re.sub(r"(?<![\w\])'\"])\s*\[[^\[\]]*\]", " ", text)
