"""Rates and quotas of endpoints: which can be held."""

from collections.abc import Iterable
from typing import Final

from vallum.base import InputError
from vallum.schema import Quota, Rate
from vallum.workspace.information import MAX_PER_S, MIN_PER_S

RATED: Final = ("principal", "network", "endpoint")
COUNTED: Final = ("principal", "key", "network", "endpoint")
MAX_RATE: Final = 1_000_000  # requests, and as many at once
MAX_RATE_S: Final = 86_400
MAX_REFILL_S: Final = 7 * 86_400
"""A burst is had again after so long: gateways keep no more of it over a restart."""
MAX_QUOTA: Final = 10**12


def check_rates(rates: Iterable[Rate]) -> tuple[Rate, ...]:
    """Return rates that can be held, one for each that requests are counted by.

    Raises:
        InputError: One is out of its range, or there are two of a kind.
    """
    found = tuple(rates)
    _check_kinds([one.per for one in found], RATED, "rate")
    for one in found:
        if not (0 < one.requests <= MAX_RATE and 0 < one.per_s <= MAX_RATE_S) or not (
            0 <= one.burst <= MAX_RATE
        ):
            raise InputError(
                f"a rate is 1 to {MAX_RATE} requests in 1 s to 1 day, a burst at most {MAX_RATE}",
                code="endpoint.rate",
                hint="such as --rate 500/1s,per=endpoint",
            )
        if one.burst * one.per_s > MAX_REFILL_S * one.requests:
            raise InputError(
                f"a burst of {one.burst} takes longer than seven days to be had again",
                code="endpoint.rate",
                hint="give a smaller one",
            )
    return found


def check_quotas(quotas: Iterable[Quota]) -> tuple[Quota, ...]:
    """Return quotas that can be held, one for each that requests are counted by.

    Raises:
        InputError: One is out of its range, or there are two of a kind.
    """
    found = tuple(quotas)
    _check_kinds([one.per for one in found], COUNTED, "quota")
    for one in found:
        if not (0 < one.requests <= MAX_QUOTA and MIN_PER_S <= one.per_s <= MAX_PER_S):
            raise InputError(
                f"a quota is 1 to {MAX_QUOTA} requests in {MIN_PER_S} s to"
                f" {MAX_PER_S // 86_400} days",
                code="endpoint.quota",
                hint="such as --quota 10000/1d",
            )
    return found


def _check_kinds(kinds: list[str], known: tuple[str, ...], what: str) -> None:
    for one in kinds:
        if one not in known:
            raise InputError(
                f"`{one[:40]}` is nothing that a {what} is per",
                code=f"endpoint.{what}",
                hint=f"use {', '.join(known)}"
                + ("; --rate-per-s is that of a key" if one == "key" else ""),
            )
    if len(set(kinds)) < len(kinds):
        raise InputError(f"two {what}s per the same", code=f"endpoint.{what}", hint="give one")
