"""Masking by recipe: per column, and for spans inside free text."""

from collections.abc import Callable
from typing import Literal

import msgspec
import polars as pl

from vallum.base import InputError
from vallum.crypto.prf import pseudonym
from vallum.privacy.discover import Discovery
from vallum.privacy.text import discover_text
from vallum.schema import Record

Operation = Literal["drop", "keep", "partial", "pseudonym", "redact", "spans", "truncate"]
REDACTED = "[redacted]"
_SHOWN = 4


class Masking(Record, frozen=True):
    """What happens to one column."""

    column: str
    operation: Operation
    length: int = 4  # of `truncate`: characters that stay


class Recipe(Record, frozen=True):
    """A masking recipe: `vallum.mask/1`. A column that it does not name is kept."""

    version: Literal["vallum.mask/1"]
    columns: tuple[Masking, ...] = ()


def parse_recipe(document: object) -> Recipe:
    """Check a recipe that a bounded reader has turned into plain values.

    Raises:
        InputError: A field is missing, unknown or of another form.
    """
    try:
        return msgspec.convert(document, Recipe)
    except msgspec.ValidationError as error:
        raise InputError(
            f"the recipe does not fit: {str(error)[:200]}",
            code="mask.recipe",
            hint="`vallum mask FILE --suggest` writes one",
        ) from error


def suggest_recipe(discovery: Discovery) -> Recipe:
    """Return a recipe that leaves no discovered value: pseudonyms for what identifies."""
    columns = []
    for found in discovery.columns:
        if not found.type:
            continue
        operation: Operation = "redact"
        if found.share < 1.0 and found.type and not found.quasi:
            operation = "spans" if found.share < 0.5 else "redact"  # noqa: PLR2004 - mostly text
        if found.direct and found.share >= 0.5:  # noqa: PLR2004 - mostly that type
            operation = "pseudonym"
        if found.type.startswith("security."):
            operation = "redact"
        columns.append(Masking(column=found.name, operation=operation))
    return Recipe(version="vallum.mask/1", columns=tuple(columns))


def mask_table(frame: pl.DataFrame, recipe: Recipe, *, key: bytes) -> pl.DataFrame:
    """Return a masked copy.

    Args:
        frame: Any table.
        recipe: What to do.
        key: Of the pseudonyms, at least 32 random bytes.

    Raises:
        InputError: The recipe names a column that is missing or names one twice.
    """
    named = [one.column for one in recipe.columns]
    if len(set(named)) != len(named):
        raise InputError("the recipe names a column twice", code="mask.recipe")
    out = frame
    for one in recipe.columns:
        if one.column not in frame.columns:
            raise InputError(f"the table has no column `{one.column}`", code="mask.column")
        if one.operation == "keep":
            continue
        if one.operation == "drop":
            out = out.drop(one.column)
            continue
        out = out.with_columns(masked_column(frame[one.column], _function(one, key)))
    return out


def mask_text(text: str) -> str:
    """Return `text` with every discovered span replaced by its type."""
    out = []
    at = 0
    for span in discover_text(text):
        out.append(text[at : span.start])
        out.append(f"[{span.type}]")
        at = span.end
    return "".join([*out, text[at:]])


def masked_column(column: pl.Series, make: Callable[[str], str]) -> pl.Series:
    """Apply `make` once to each distinct value."""
    texts = column.cast(pl.String)
    distinct = texts.drop_nulls().unique()
    mapping = pl.DataFrame(
        {"old": distinct, "new": pl.Series([make(value) for value in distinct], dtype=pl.String)}
    )
    joined = pl.DataFrame({"old": texts}).join(mapping, on="old", how="left", maintain_order="left")
    return joined["new"].alias(column.name)


def _function(masking: Masking, key: bytes) -> Callable[[str], str]:
    column = masking.column
    operations: dict[str, Callable[[str], str]] = {
        "redact": lambda _: REDACTED,
        "partial": lambda value: (
            "*" * max(0, len(value) - _SHOWN) + value[-_SHOWN:]
            if len(value) > 2 * _SHOWN
            else "*" * len(value)
        ),
        "pseudonym": lambda value: pseudonym(key, column, value),
        "truncate": lambda value: value[: masking.length],
        "spans": mask_text,
    }
    return operations[masking.operation]
