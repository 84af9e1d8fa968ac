"""The headers of tar archives, for the two readers of them: a strict one, and one for images.

Source: POSIX.1-2017 pax, "ustar Interchange Format" and "pax Extended Header"; GNU tar manual,
"Basic Tar Format".
"""

from collections.abc import Iterator

from vallum.formats.refusal import refuse

BLOCK = 512
MAX_META = 64 * 1024
FILE, FOLDER, PAX, PAX_GLOBAL, LONG_NAME = b"0\0", b"5", b"x", b"g", b"L"
PAX_HARMLESS = frozenset({"mtime", "atime", "ctime", "uid", "gid", "uname", "gname", "comment"})


def check_header(header: bytes, at: int) -> tuple[bytes, int]:
    """Return the type and the size that a header of 512 bytes declares.

    Raises:
        InputError: The check sum is wrong, it is no ustar header, or a number is malformed.
    """
    total = sum(header[:148]) + 8 * 0x20 + sum(header[156:])
    if octal(header[148:156]) != total:
        refuse("archive.tar.checksum", f"a header's check sum is wrong at offset {at}")
    if header[257:262] != b"ustar":
        refuse("archive.tar.magic", f"no ustar header at offset {at}")
    return header[156:157], octal(header[124:136])


def octal(field: bytes) -> int:
    """Return a number of a header, octal or GNU's base 256.

    Raises:
        InputError: It is neither.
    """
    if field[:1] and field[0] & 0x80:  # GNU's base 256, positive
        return int.from_bytes(bytes([field[0] & 0x7F]) + field[1:], "big")
    text = field.strip(b" \0")
    if not text:
        return 0
    if not all(digit in b"01234567" for digit in text):
        refuse("archive.tar.number", "a number in a header is not octal")
    return int(text, 8)


def decimal(text: str) -> int:
    """Return a number of an extra header.

    Raises:
        InputError: It is not one.
    """
    if not (text.isascii() and text.isdigit() and len(text) < 20):  # noqa: PLR2004 - 2**64's digits
        refuse("archive.tar.number", "a number in an extra header is not decimal")
    return int(text)


def header_name(header: bytes) -> bytes:
    """Return the path that a header gives to its member."""
    name, prefix = header[:100].split(b"\0")[0], header[345:500].split(b"\0")[0]
    posix = header[257:265] == b"ustar\x0000"  # GNU keeps times in the prefix field
    return prefix + b"/" + name if posix and prefix else name


def pax_records(content: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield the fields of an extra header, each once; a value may be any bytes.

    Raises:
        InputError: A record is malformed, its name is no text, or it appears twice.
    """
    seen: set[str] = set()
    at = 0
    while at < len(content):
        space = content.find(b" ", at, at + 21)
        length = decimal(content[at:space].decode("ascii", "replace")) if space > 0 else 0
        record = content[space + 1 : at + length]
        if not record.endswith(b"\n") or b"=" not in record:
            refuse("archive.tar.pax", "an extra header is malformed")
        key, value = record[:-1].split(b"=", 1)
        try:
            name = key.decode("ascii")
        except UnicodeDecodeError as error:
            refuse("archive.tar.pax", "an extra header is not text", cause=error)
        if name in seen:
            refuse("archive.tar.pax", f"the field `{name[:80]}` appears twice")
        seen.add(name)
        yield name, value
        at += length
