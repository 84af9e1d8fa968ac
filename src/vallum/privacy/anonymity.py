"""k-anonymity, l-diversity and t-closeness, counted from a table alone, in few plain lines.

Independent of how the table was made. Nulls are values like any other.

Source: Sweeney 2002 (k); Machanavajjhala et al. 2007 (distinct l); Li, Li, Venkatasubramanian
2007 (t, equal distance: half the L1 distance of the distributions).
"""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from vallum.base import InputError


@dataclass(frozen=True, slots=True)
class AnonymityCheck:
    """What a table reaches; l and t are the worst over the sensitive columns (l 0: none given)."""

    k: int
    l: int  # noqa: E741 - the model's name
    t: float
    classes: int
    records: int


def check_anonymity(
    frame: pl.DataFrame, quasi_identifiers: Sequence[str], sensitive: Sequence[str] = ()
) -> AnonymityCheck:
    """Count the smallest class, the fewest sensitive values in one, and the largest distance.

    Raises:
        InputError: A column is missing.
    """
    for name in (*quasi_identifiers, *sensitive):
        if name not in frame.columns:
            raise InputError(f"the table has no column `{name}`", code="privacy.column")
    keys = list(zip(*(frame[name].to_list() for name in quasi_identifiers), strict=True))
    if not quasi_identifiers:
        keys = [()] * frame.height
    sizes = Counter(keys)
    fewest, farthest = 0, 0.0
    for name in sensitive:
        values = frame[name].to_list()
        overall = Counter(values)
        groups: dict[tuple[object, ...], Counter[object]] = defaultdict(Counter)
        for key, value in zip(keys, values, strict=True):
            groups[key][value] += 1
        least = min((len(group) for group in groups.values()), default=0)
        fewest = least if fewest == 0 else min(fewest, least)
        for key, group in groups.items():
            distance = sum(
                abs(group[value] / sizes[key] - count / len(values))
                for value, count in overall.items()
            )
            farthest = max(farthest, distance / 2)
    return AnonymityCheck(
        k=min(sizes.values(), default=0),
        l=fewest,
        t=farthest,
        classes=len(sizes),
        records=frame.height,
    )
