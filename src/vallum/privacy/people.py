"""A person in tables: a keyed index of who is in one, and the table without them.

The index holds 8 bytes of a keyed digest for each value of a column that tells persons apart: by
the column's type where it was recognised, else by its name. It is personal data itself, and is
kept encrypted with the table that it is about.
"""

import hmac
from collections.abc import Mapping, Sequence
from typing import Final

import polars as pl

from vallum.base import InputError
from vallum.privacy.discover import Discovery, discover_table

DIGEST_BYTES: Final = 8
MAX_DIGESTS: Final = 4_000_000
_KEY_SHARE = 0.95  # of the values that differ: then the column tells records apart
_KEY_CHARS = 3  # of a value, at least: smaller numbers tell nobody apart
_MAX_IDENTIFIERS = 100
_MAX_CHARS = 1000


def same(value: str) -> str:
    """Return what is left of an identifier when its writing is not: case, spaces, dashes."""
    return "".join(char for char in value.casefold() if char.isalnum()) or value


def parse_identifiers(lines: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """Return (column or type, value) of lines `email=ada@example.org`.

    Raises:
        InputError: A line has another form, or there are none or too many; no line is quoted.
    """
    found = []
    for number, line in enumerate(lines, 1):
        name, equals, value = line.partition("=")
        if not equals or not name.strip() or not same(value.strip()) or len(line) > _MAX_CHARS:
            raise InputError(
                f"line {number} is not NAME=VALUE",
                code="privacy.identifier",
                hint="write a column's name or a type, and the person's value:"
                " email=ada@example.org",
            )
        found.append((name.strip(), value.strip()))
    if not 1 <= len(found) <= _MAX_IDENTIFIERS:
        raise InputError(f"1 to {_MAX_IDENTIFIERS} identifiers are needed",
                         code="privacy.identifier")  # fmt: skip
    return tuple(found)


def digest_of(key: bytes, name: str, value: str) -> bytes:
    """Return what an index holds for one value under a type or a column's name."""
    framed = _last(name).encode() + b"\x00" + same(value).encode()
    return hmac.digest(key, framed, "sha256")[:DIGEST_BYTES]


def _last(name: str) -> str:
    return name.rpartition(".")[2].casefold()


def index_people(frame: pl.DataFrame, found: Discovery, *, key: bytes) -> bytes | None:
    """Return the sorted digests of all identifying values; None where there are too many."""
    digests: set[bytes] = set()
    for column, name in identifying(frame, found).items():
        values = frame[column].cast(pl.String).drop_nulls().unique().to_list()
        if len(digests) + len(values) > MAX_DIGESTS:
            return None
        prefix = _last(name).encode() + b"\x00"
        digests.update(
            hmac.digest(key, prefix + same(value).encode(), "sha256")[:DIGEST_BYTES]
            for value in values
        )
    return b"".join(sorted(digests))


def holds(index: bytes, digests: Sequence[bytes]) -> bool:
    """Tell whether an index holds one of `digests`, by bisection."""
    size = len(index) // DIGEST_BYTES
    for digest in digests:
        low, high = 0, size
        while low < high:
            middle = (low + high) // 2
            if index[middle * DIGEST_BYTES : (middle + 1) * DIGEST_BYTES] < digest:
                low = middle + 1
            else:
                high = middle
        if index[low * DIGEST_BYTES : (low + 1) * DIGEST_BYTES] == digest:
            return True
    return False


def identifying(frame: pl.DataFrame, found: Discovery) -> dict[str, str]:
    """Return the columns that tell persons apart, each with the name it is indexed under."""
    out = {}
    for one in found.columns:
        if one.direct and one.type:
            out[one.name] = one.type
            continue
        column = frame[one.name]
        if column.dtype.is_nested() or column.dtype.is_float() or not len(column):
            continue
        texts = column.cast(pl.String).drop_nulls()
        longest = texts.str.len_chars().max()
        if (
            texts.n_unique() >= _KEY_SHARE * len(column)
            and isinstance(longest, int)
            and longest >= _KEY_CHARS
        ):
            out[one.name] = one.name
    return out


def without(
    frame: pl.DataFrame, identifiers: Sequence[tuple[str, str]], types: Mapping[str, str]
) -> pl.DataFrame:
    """Return the records that hold none of the identifiers.

    Args:
        frame: Any table.
        identifiers: (column's name or type, value).
        types: What the columns were recognised as.
    """
    hit = pl.Series([False] * frame.height, dtype=pl.Boolean)
    for column in frame.columns:
        names = {
            column.casefold(),
            _last(column),
            types.get(column, ""),
            _last(types.get(column, "")),
        }
        wanted = {same(value) for name, value in identifiers if name.casefold() in names}
        if not wanted or frame[column].dtype.is_nested():
            continue
        texts = frame[column].cast(pl.String)
        distinct = texts.drop_nulls().unique()
        held = [value for value in distinct.to_list() if same(value) in wanted]
        if held:
            hit |= texts.is_in(pl.Series(held, dtype=pl.String)).fill_null(value=False)
    return frame.filter(~hit)


def types_of(frame: pl.DataFrame) -> dict[str, str]:
    """Return what each column was recognised as."""
    return {one.name: one.type for one in discover_table(frame).columns if one.type}
