"""PMML: XML with the elements of one vocabulary, which computes and names nothing to import.

A document type is refused, and with it every entity; so are processing instructions, elements and
attributes of other vocabularies, `Extension`, whose content is anybody's, and functions named as
the classes of a program are.

Source: Data Mining Group, PMML 4.4.1, "General structure", "Functions".
"""

import re
from xml.parsers import expat

_NAME = re.compile(r"^http://www\.dmg\.org/PMML-[0-9]_[0-9](?:_[0-9])? (\w+)$")
_SCHEMA = "http://www.w3.org/2001/XMLSchema-instance schemaLocation"
_FUNCTION = re.compile(r"^(?:[A-Za-z][\w:-]{0,100}|[-+*/])$")
_MAX_DEPTH = 256
_STEP = 1 << 20


class _Refusal(Exception):  # noqa: N818 - it ends one document
    pass


def pmml_fault(data: memoryview) -> str:
    """Return what is wrong with UTF-8 bytes as PMML; empty if nothing is."""
    depth = 0

    def refuse(*_: object) -> None:
        raise _Refusal("a document type, an entity or an instruction")

    def begin(name: str, attributes: dict[str, str]) -> None:
        nonlocal depth
        known = _NAME.match(name)
        depth += 1
        if known is None or (depth == 1) != (known.group(1) == "PMML") or depth > _MAX_DEPTH:
            raise _Refusal(f"the element `{name[-80:]}` where none may be")
        if known.group(1) == "Extension" or any(" " in a and a != _SCHEMA for a in attributes):
            raise _Refusal("an extension")
        function = attributes.get("function")
        if known.group(1) == "Apply" and not _FUNCTION.match(function or ""):
            raise _Refusal(f"the function `{str(function)[:80]}`")

    def end(_: str) -> None:
        nonlocal depth
        depth -= 1

    parser = expat.ParserCreate("UTF-8", " ")
    parser.StartElementHandler, parser.EndElementHandler = begin, end
    parser.StartDoctypeDeclHandler = parser.EntityDeclHandler = refuse
    parser.ProcessingInstructionHandler = refuse
    try:
        for at in range(0, len(data), _STEP):
            parser.Parse(bytes(data[at : at + _STEP]), False)  # noqa: FBT003 - expat's signature
        parser.Parse(b"", True)  # noqa: FBT003
    except (_Refusal, expat.ExpatError, ValueError) as error:
        return str(error)[:200]
    return ""
