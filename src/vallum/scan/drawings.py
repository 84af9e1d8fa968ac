"""SVG: shapes and words by an allow-list of elements, which names nothing outside and does nothing.

Refused are scripts, handlers of events, foreign content, animation, entities, instructions, styles
that fetch, and links to anything but a part of the drawing, a page of the web that a reader may
follow, or a picture in place, which is read to its last byte as a file would be.

Source: W3C, SVG 1.1 and 2; "Associating Style Sheets".
"""

import base64
import binascii
import re
from xml.parsers import expat

from vallum.scan.images import jpeg_fault, png_fault

_SVG = "http://www.w3.org/2000/svg"
_ELEMENTS = frozenset(
    """svg g defs desc title metadata symbol use path rect circle ellipse line polyline polygon
    text tspan textPath image clipPath mask pattern linearGradient radialGradient stop marker style
    a switch filter feGaussianBlur feOffset feBlend feColorMatrix feComponentTransfer feFuncA
    feComposite feFlood feMerge feMergeNode feDropShadow""".split()  # noqa: SIM905 - a table
)  # fmt: skip
_DESCRIBES = (  # vocabularies of what a drawing says of itself: words only
    "http://www.w3.org/1999/02/22-rdf-syntax-ns#", "http://purl.org/dc/elements/1.1/",
    "http://creativecommons.org/ns#", "http://web.resource.org/cc/",
)  # fmt: skip
_XLINK, _XML = "http://www.w3.org/1999/xlink", "http://www.w3.org/XML/1998/namespace"
_LINKS = frozenset({"href", f"{_XLINK} href"})
_PART, _PAGE = re.compile(r"^#[\w.:-]{1,200}\Z"), re.compile(r"^https?://[^\s\x00-\x1f]{1,2000}\Z")
_PICTURE = re.compile(r"^data:image/(png|jpe?g);base64,")
_WORDS = frozenset({"id", "aria-label", "label", "title", "class"})  # of nothing that is drawn
_FETCHES = re.compile(
    r"@|\\|expression|javascript|behaviou?r|-moz-binding|url\s*\((?!\s*[\"']?#)", re.IGNORECASE
)
_MAX_DEPTH, _MAX_BYTES = 256, 64 << 20
_STEP = 1 << 20


class _Refusal(Exception):  # noqa: N818 - it ends one document
    pass


def svg_fault(data: memoryview) -> str:
    """Return what is wrong with UTF-8 bytes as SVG; empty if nothing is."""
    if len(data) > _MAX_BYTES:
        return "a drawing that is too large to be read"
    stack: list[str] = []

    def refuse(*_: object) -> None:
        raise _Refusal("an entity, an instruction or a part that is not parsed")

    def doctype(name: str, _: str | None, __: str | None, internal: int) -> None:
        if name != "svg" or internal:
            raise _Refusal("a document type of its own")

    def begin(name: str, attributes: dict[str, str]) -> None:
        space, _, local = name.rpartition(" ")
        own = space == _SVG and local in _ELEMENTS
        if not own and not (space in _DESCRIBES and "metadata" in stack):
            raise _Refusal(f"the element `{name[-80:]}`")
        if (not stack and local != "svg") or len(stack) > _MAX_DEPTH:
            raise _Refusal("no drawing, or one nested too deeply")
        stack.append(local if own else "")
        for key, value in attributes.items():
            _check_attribute(local if own else "", key, value)

    def end(_: str) -> None:
        stack.pop()

    def words(text: str) -> None:
        if stack and stack[-1] == "style" and _FETCHES.search(text):
            raise _Refusal("a style that fetches")

    parser = expat.ParserCreate("UTF-8", " ")
    parser.buffer_text = True
    parser.StartElementHandler, parser.EndElementHandler = begin, end
    parser.CharacterDataHandler, parser.StartDoctypeDeclHandler = words, doctype
    parser.EntityDeclHandler = parser.ProcessingInstructionHandler = refuse
    try:
        for at in range(0, len(data), _STEP):
            parser.Parse(bytes(data[at : at + _STEP]), False)  # noqa: FBT003 - expat's signature
        parser.Parse(b"", True)  # noqa: FBT003
    except (_Refusal, expat.ExpatError, ValueError) as error:
        return str(error)[:200]
    return ""


def _check_attribute(element: str, key: str, value: str) -> None:
    space, _, local = key.rpartition(" ")
    if space not in ("", _XLINK, _XML, *_DESCRIBES) or local.lower().startswith("on"):
        raise _Refusal(f"the attribute `{key[-80:]}`")
    if local == "base" or (space == _XML and local not in ("space", "lang", "id")):
        raise _Refusal("a base for links")
    if key in _LINKS and not _PART.match(value):
        picture = _PICTURE.match(value) if element == "image" else None
        if picture is not None:
            _check_picture(picture.group(1), value[picture.end() :])
        elif element != "a" or not _PAGE.match(value):
            raise _Refusal(f"a link to `{value[:80]}`")
    elif not (local in _WORDS or space in _DESCRIBES or key in _LINKS) and _FETCHES.search(value):
        raise _Refusal(f"the attribute `{key[:80]}` fetches")


def _check_picture(kind: str, text: str) -> None:
    try:
        content = memoryview(base64.b64decode("".join(text.split()), validate=True))
    except (binascii.Error, ValueError) as error:
        raise _Refusal("a picture that is none") from error
    magic = b"\x89PNG\r\n\x1a\n" if kind == "png" else b"\xff\xd8\xff"
    if bytes(content[: len(magic)]) != magic:
        raise _Refusal("a picture that is none")
    fault = png_fault(content) if kind == "png" else jpeg_fault(content)
    if fault:
        raise _Refusal(f"a picture: {fault}")
