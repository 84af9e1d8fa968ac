"""Masking by recipe: per column, and for spans inside free text.

Two operations are reversible by the holder of the key: `ff1` and `date_shift`. Masked tables are
sorted by what they show, since the order of the originals would tell theirs. Three draw at random
instead of using the key: the local ones (`vallum.privacy.dp.local`), which cost a privacy loss.
"""

import datetime as dt
import itertools
from collections.abc import Callable

import numpy as np
import polars as pl

from vallum.base import InputError
from vallum.crypto import ff1
from vallum.crypto.prf import prf, pseudonym
from vallum.privacy.anonymize.automatic import as_texts, automatic_hierarchy
from vallum.privacy.recipe import (
    LOCAL_OPERATIONS,
    REVERSIBLE,
    Masking,
    Recipe,
    Replacement,
    local_mechanism,
)
from vallum.privacy.surrogate import surrogate
from vallum.privacy.text import discover_text

REDACTED = "[redacted]"
_SHOWN = 4
_MIN_KEY = 32
_ALPHABETS = {
    "digits": "0123456789",
    "alphanumeric": "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ",
}
_MAX_DAYS = 36_500
_BLUR = {"redact", "partial", "truncate", "bucket", "generalise", *LOCAL_OPERATIONS}


def mask_table(frame: pl.DataFrame, recipe: Recipe, *, key: bytes) -> pl.DataFrame:
    """Return a masked copy, sorted by what it shows unless the recipe keeps the order.

    Args:
        frame: Any table.
        recipe: What to do.
        key: Of pseudonyms, surrogates, shifts and FF1: at least 32 random bytes.

    Raises:
        InputError: The recipe names a column that is missing or names one twice, or a value does
            not suit its operation.
    """
    _check(frame, recipe, key)
    out = frame
    shifts = [one for one in recipe.columns if one.operation == "date_shift"]
    for one in recipe.columns:
        if one.operation not in {"keep", "date_shift", "drop"}:
            out = out.with_columns(_masked(frame[one.column], one, key))
    for one in shifts:
        # By the subject as the result shows it, so that the shift can be undone from there.
        out = out.with_columns(_shifted(out[one.column], out[one.subject], one, key, forward=True))
    out = out.drop([one.column for one in recipe.columns if one.operation == "drop"])
    changed = any(one.operation != "keep" for one in recipe.columns)
    if recipe.order == "sorted" and changed and out.width:
        out = out.sort(out.columns)
    return out


def unmask_table(frame: pl.DataFrame, recipe: Recipe, *, key: bytes) -> pl.DataFrame:
    """Undo the reversible operations of a recipe on its result.

    Raises:
        InputError: The recipe has none, or a value does not suit it.
    """
    _check(frame, recipe, key, present=False)
    chosen = [
        one for one in recipe.columns if one.operation in REVERSIBLE and one.column in frame.columns
    ]
    if not chosen:
        raise InputError(
            "the recipe has no operation that can be undone here",
            code="mask.reverse",
            hint=f"{' and '.join(REVERSIBLE)} can; what was redacted or randomised is gone",
        )
    out = frame
    for one in chosen:
        if one.operation == "date_shift":
            if one.subject not in frame.columns:
                raise InputError(
                    f"the table has no column `{one.subject}`, which tells the shift of "
                    f"`{one.column}`",
                    code="mask.column",
                )
            column = _shifted(frame[one.column], frame[one.subject], one, key, forward=False)
        else:
            column = _encrypted(frame[one.column], one, key, forward=False)
        out = out.with_columns(column)
    return out


def mask_text(text: str, *, key: bytes = b"", replacement: Replacement = "type") -> str:
    """Return `text` with every discovered span replaced.

    Args:
        text: Any text.
        key: Of pseudonyms and surrogates; the same value gets the same one, in any text.
        replacement: The span's type in brackets, a pseudonym, or a surrogate of its form.

    Raises:
        InputError: The key is missing or short.
    """
    if replacement != "type":
        _check_key(key)
    out = []
    at = 0
    for span in discover_text(text):
        found = text[span.start : span.end]
        out.append(text[at : span.start])
        if replacement == "pseudonym":
            out.append(pseudonym(key, span.type, found))
        elif replacement == "surrogate":
            out.append(surrogate(key, span.type, found))
        else:
            out.append(f"[{span.type}]")
        at = span.end
    return "".join([*out, text[at:]])


def masked_column(column: pl.Series, make: Callable[[str], str]) -> pl.Series:
    """Apply `make` once to each distinct value."""
    texts = column.cast(pl.String)
    distinct = texts.drop_nulls().unique()
    made = pl.Series([make(value) for value in distinct], dtype=pl.String)
    return _replaced(column, distinct, made)


def _replaced(column: pl.Series, distinct: pl.Series, made: pl.Series) -> pl.Series:
    texts = column.cast(pl.String)
    mapping = pl.DataFrame({"old": distinct, "new": made})
    joined = pl.DataFrame({"old": texts}).join(mapping, on="old", how="left", maintain_order="left")
    return joined["new"].alias(column.name)


def _check(frame: pl.DataFrame, recipe: Recipe, key: bytes, *, present: bool = True) -> None:
    _check_key(key)
    named = [one.column for one in recipe.columns]
    if len(set(named)) != len(named):
        raise InputError("the recipe names a column twice", code="mask.recipe")
    by_name = {one.column: one for one in recipe.columns}
    for one in recipe.columns:
        if present and one.column not in frame.columns:
            raise InputError(f"the table has no column `{one.column}`", code="mask.column")
        if one.operation == "date_shift":
            if present and one.subject not in frame.columns:
                raise InputError(
                    f"`date_shift` of `{one.column}` needs the column of the person as `subject`",
                    code="mask.subject",
                )
            if not 1 <= one.days <= _MAX_DAYS:
                raise InputError(f"`days` is between 1 and {_MAX_DAYS}", code="mask.days")
            subject = by_name.get(one.subject)
            if subject is not None and subject.operation in _BLUR:
                raise InputError(
                    f"`{subject.operation}` of `{one.subject}` leaves no subject to shift by",
                    code="mask.subject",
                    hint="use pseudonym, surrogate, ff1 or drop",
                )
        if one.operation == "bucket" and not (one.width > 0) and not one.bounds:
            raise InputError(
                f"`bucket` of `{one.column}` needs `width` or `bounds`", code="mask.bucket"
            )
        if list(one.bounds) != sorted(set(one.bounds)):
            raise InputError("`bounds` rise", code="mask.bucket")
        if one.length < 0 or one.level < 1:
            raise InputError("`length` is not negative, `level` at least 1", code="mask.recipe")


def _check_key(key: bytes) -> None:
    if len(key) < _MIN_KEY:
        raise InputError(f"the key has fewer than {_MIN_KEY} bytes", code="mask.key")


def _masked(column: pl.Series, one: Masking, key: bytes) -> pl.Series:
    if one.operation == "ff1":
        return _encrypted(column, one, key, forward=True)
    if one.operation in LOCAL_OPERATIONS:
        return local_mechanism(one).randomise(column)
    if one.operation == "bucket":
        return _bucketed(column, one)
    if one.operation == "generalise":
        hierarchy = automatic_hierarchy(column, one.type)
        level = min(one.level, hierarchy.levels - 1)
        labels = [hierarchy.labels[level][code] for code in hierarchy.codes[level]]
        leaves = pl.Series(list(hierarchy.leaves), dtype=pl.String)
        texts = as_texts(column)
        made = _replaced(texts, leaves, pl.Series(labels, dtype=pl.String)).alias(column.name)
        return made.set(column.is_null(), None)
    return masked_column(column, _function(one, key))


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
        "surrogate": lambda value: surrogate(key, masking.type, value),
        "truncate": lambda value: value[: masking.length],
        "spans": lambda value: mask_text(value, key=key, replacement=masking.replacement),
    }
    return operations[masking.operation]


def _encrypted(column: pl.Series, one: Masking, key: bytes, *, forward: bool) -> pl.Series:
    """FF1 of the characters of an alphabet; all others stay where they are."""
    alphabet = _ALPHABETS[one.alphabet]
    index = {character: at for at, character in enumerate(alphabet)}
    distinct = column.cast(pl.String).drop_nulls().unique()
    values = distinct.to_list()
    if one.alphabet == "digits" and any(
        character.isalnum() and character not in index for value in values for character in value
    ):
        raise InputError(
            f"column `{one.column}` has letters, which the alphabet `digits` would leave readable",
            code="mask.ff1",
            hint="alphabet: alphanumeric",
        )
    numerals = [[index[one] for one in value if one in index] for value in values]
    least = ff1.least_length(len(alphabet))
    short = sum(len(one) < least for one in numerals)
    if short:
        raise InputError(
            f"{short} value(s) of `{one.column}` have fewer than {least} characters to encrypt",
            code="mask.ff1",
            hint="use pseudonym or surrogate for short values",
        )
    run = ff1.encrypt if forward else ff1.decrypt
    secret = prf(key, "ff1", one.alphabet)
    made = run(secret, numerals, radix=len(alphabet), tweak=one.column.encode()[:256])
    texts = []
    for value, found in zip(values, made, strict=True):
        rest = iter(found)
        texts.append("".join(alphabet[next(rest)] if c in index else c for c in value))
    return _replaced(column, distinct, pl.Series(texts, dtype=pl.String))


def _shifted(
    column: pl.Series, subject: pl.Series, one: Masking, key: bytes, *, forward: bool
) -> pl.Series:
    """Move dates by a keyed number of days a subject; a date without a subject is left out."""
    people = subject.cast(pl.String).drop_nulls().unique()
    moves = []
    for person in people:
        drawn = int.from_bytes(prf(key, "date shift", person), "big") % (2 * one.days)
        moves.append(drawn - one.days if drawn < one.days else drawn - one.days + 1)
    shift = _replaced(subject, people, pl.Series([str(move) for move in moves], dtype=pl.String))
    days = shift.cast(pl.Int64) * (1 if forward else -1)
    if column.dtype in (pl.Date, pl.Datetime):
        return _moved(column, days).alias(column.name)
    texts = column.cast(pl.String)
    dates = texts.str.slice(0, 10).str.to_date("%Y-%m-%d", strict=False)
    wrong = int((dates.is_null() & texts.is_not_null()).sum())
    if wrong:
        raise InputError(
            f"{wrong} value(s) of `{one.column}` are no dates of the form YYYY-MM-DD",
            code="mask.date",
        )
    years = dates.dt.year().drop_nulls()
    low, high = years.min(), years.max()
    reach = one.days // 365 + 2
    if isinstance(low, int) and isinstance(high, int) and (
        low - reach < dt.MINYEAR or high + reach > dt.MAXYEAR
    ):  # fmt: skip
        raise InputError(f"a date of `{one.column}` would leave the calendar", code="mask.date")
    moved = _moved(dates, days)
    return (moved.dt.strftime("%Y-%m-%d") + texts.str.slice(10)).alias(column.name)


def _moved(dates: pl.Series, days: pl.Series) -> pl.Series:
    both = pl.DataFrame({"date": dates, "days": days})
    return both.select(pl.col("date") + pl.duration(days=pl.col("days")))["date"]


def _bucketed(column: pl.Series, one: Masking) -> pl.Series:
    numbers = column.cast(pl.Float64, strict=False)
    wrong = int((numbers.is_null() & column.is_not_null()).sum()) + int(
        (~numbers.is_finite()).fill_null(value=False).sum()
    )
    if wrong:
        raise InputError(f"{wrong} value(s) of `{one.column}` are no numbers", code="mask.bucket")

    def text(bound: float) -> str:
        return f"{bound:.12g}"

    if one.bounds:
        bounds = list(one.bounds)
        labels = [
            f"<{text(bounds[0])}",
            *(f"[{text(a)}, {text(b)})" for a, b in itertools.pairwise(bounds)),
            f"≥{text(bounds[-1])}",
        ]
        place = np.searchsorted(bounds, numbers.fill_null(0.0).to_numpy(), side="right")
        made = pl.Series(column.name, labels, dtype=pl.String).gather(place)
        return made.set(numbers.is_null(), None)
    low = (numbers / one.width).floor() * one.width
    distinct = low.drop_nulls().unique()
    names = [f"[{text(value)}, {text(value + one.width)})" for value in distinct]
    mapping = pl.DataFrame({"low": distinct, "new": pl.Series(names, dtype=pl.String)})
    joined = pl.DataFrame({"low": low}).join(mapping, on="low", how="left", maintain_order="left")
    return joined["new"].alias(column.name)
