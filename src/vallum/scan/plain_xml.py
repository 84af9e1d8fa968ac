"""XML that says something and does nothing: annotations, settings, measurements.

Refused are document types, entities, instructions, sections that are not parsed, namespaces of
vocabularies that act or are not known, and elements or attributes by which a reader makes objects,
runs a program or fetches: what Java's, .NET's and Python's readers of objects, builds, pages and
styles have.

Source: W3C, XML 1.0 and "Namespaces in XML"; XStream's and XMLDecoder's advisories.
"""

import re
from xml.parsers import expat

_SPACES = frozenset(
    {
        "", "http://www.w3.org/2001/XMLSchema-instance", "http://www.w3.org/XML/1998/namespace",
        "http://www.topografix.com/GPX/1/1", "http://www.opengis.net/kml/2.2",
        "http://www.sitemaps.org/schemas/sitemap/0.9", "http://www.w3.org/2005/Atom",
        "http://purl.org/dc/elements/1.1/", "http://purl.org/dc/terms/",
        "http://graphml.graphdrawing.org/xmlns", "http://www.gexf.net/1.2draft",
        "http://www.gexf.net/1.3",
    }
)  # fmt: skip
_NAME = re.compile(r"[A-Za-z_][\w-]{0,100}", re.ASCII)
_ACTS = frozenset(
    """html head body script iframe object embed applet link meta style form svg foreignobject
    java void new class method constructor func function invoke call exec command cmd shell program
    process run target task script import include bean beans project build plugin plugins dependency
    dependencies stylesheet template macro handler listener event entry map treemap dynamic-proxy
    jdk.nashorn sorted-set tree-map linked-hash-set methodcall methodresponse soap envelope xaml
    window resourcedictionary objectdataprovider module extension""".split()  # noqa: SIM905 - a table
) - {"object", "class", "target", "event", "process", "entry", "map", "program"}  # fmt: skip
_ROOTS = frozenset(
    {"net", "pmml", "plist", "object", "map", "program", "process", "entry", "class", "target"}
)
_ATTRIBUTES = frozenset(
    """class href src action formaction srcdoc style code codebase onload module assembly factory
    serialization schemalocation nonamespaceschemalocation base resource url uri script exec command
    impl implementation handler method library lib plugin path file""".split()  # noqa: SIM905 - a table
)
_ACTIVE = re.compile(
    r"^\s*(javascript|vbscript|data|file|jar|ldap|rmi):|"
    r"\.(so(\.\d+)*|dll|dylib|jar|exe|bat|cmd|ps1|sh|py[cdw]?|js|vbs)\s*$",
    re.IGNORECASE,
)
# Each has ASCII's characters where ASCII has them.
_ENCODINGS = frozenset({"utf-8", "us-ascii", "ascii", "iso-8859-1", "latin1", "windows-1252"})
_MAX_DEPTH, _MAX_BYTES, _STEP = 128, 64 << 20, 1 << 20


class _Refusal(Exception):  # noqa: N818 - it ends one document
    pass


def is_xml(data: memoryview) -> bool:
    """Whether a reader of XML takes the bytes, which may only begin as markup does."""
    try:
        expat.ParserCreate("UTF-8").Parse(bytes(data), True)  # noqa: FBT003 - expat's signature
    except (expat.ExpatError, ValueError):
        return False
    return True


def xml_fault(data: memoryview) -> str:
    """Return why UTF-8 bytes are no XML that does nothing; empty if they are."""
    if len(data) > _MAX_BYTES:
        return "a document that is too large to be read"
    depth = 0

    def refuse(*_: object) -> None:
        raise _Refusal("a document type, an entity, an instruction or an unparsed part")

    def begin(name: str, attributes: dict[str, str]) -> None:
        nonlocal depth
        depth += 1
        space, _, local = name.rpartition(" ")
        low = local.lower()
        known = space in _SPACES and _NAME.fullmatch(local)
        if not known or low in _ACTS or (depth == 1 and low in _ROOTS) or depth > _MAX_DEPTH:
            raise _Refusal(f"the element `{name[-80:]}`")
        for key, value in attributes.items():
            space, _, local = key.rpartition(" ")
            low = local.lower()
            acts = low in _ATTRIBUTES or low.startswith("on") or not _NAME.fullmatch(local)
            acts = acts or (low == "type" and not _NAME.fullmatch(value))  # a class to be made
            if acts or space not in _SPACES or _ACTIVE.search(value):
                raise _Refusal(f"the attribute `{key[-80:]}`")

    def words(text: str) -> None:
        if _ACTIVE.search(text):
            raise _Refusal("a text that names a program or a library")

    def end(_: str) -> None:
        nonlocal depth
        depth -= 1

    def declared(_: str, encoding: str | None, __: int) -> None:
        if encoding and encoding.lower() not in _ENCODINGS:
            raise _Refusal(f"the encoding `{encoding[:40]}`")

    parser = expat.ParserCreate("UTF-8", " ")
    parser.StartElementHandler, parser.EndElementHandler = begin, end
    parser.XmlDeclHandler, parser.CharacterDataHandler = declared, words
    parser.buffer_text = True
    parser.StartDoctypeDeclHandler = parser.EntityDeclHandler = refuse
    parser.ProcessingInstructionHandler = parser.StartCdataSectionHandler = refuse
    try:
        for at in range(0, len(data), _STEP):
            parser.Parse(bytes(data[at : at + _STEP]), False)  # noqa: FBT003 - expat's signature
        parser.Parse(b"", True)  # noqa: FBT003
    except (_Refusal, expat.ExpatError, ValueError) as error:
        return str(error)[:200]
    return ""
