"""Rates and quotas as they are written: `500/1s,per=endpoint`, `10000/1d,per=key`, `none`."""

import re
from collections.abc import Sequence
from typing import Annotated, Final

import typer

from vallum.base import InputError
from vallum.cli.information import SECONDS, time_text
from vallum.schema import Quota, Rate

_FORM: Final = re.compile(r"([1-9][0-9]{0,15})/([1-9][0-9]{0,8})([smhd])((?:,[a-z]+=[a-z0-9]+)*)")
_COUNTED: Final = {
    "principal": "a principal",
    "key": "a key",
    "network": "a network",
    "endpoint": "all callers together",
}

Rates = Annotated[
    list[str] | None,
    typer.Option(
        "--rate",
        metavar="COUNT/TIME[,burst=N][,per=WHOM]",
        help="How fast requests may come: 500/1s. WHOM: endpoint (all together), network,"
        " principal; keys have --rate-per-s. Repeat it for several; `none` ends all.",
    ),
]
Quotas = Annotated[
    list[str] | None,
    typer.Option(
        "--quota",
        metavar="COUNT/TIME[,per=WHOM]",
        help="Requests in one window, over all gateways and restarts: 10000/1d. WHOM: principal,"
        " key, network, endpoint. Repeat it for several; `none` ends all.",
    ),
]


def read_rates(texts: Sequence[str] | None) -> tuple[Rate, ...] | None:
    """Return the rates in texts, none for `none`, nothing where no text is.

    Raises:
        InputError: One is no rate.
    """
    if not texts or list(texts) == ["none"]:
        return () if texts else None
    found = []
    for text in texts:
        count, seconds, more = _read(text, {"per", "burst"}, "rate", "500/1s,per=endpoint")
        burst = more.get("burst", "0")
        if not burst.isdigit() or len(burst) > 15:  # noqa: PLR2004 - digits
            raise InputError(f"`{burst[:40]}` is no burst", code="cli.usage", hint="a number")
        found.append(Rate(count, seconds, int(burst), more.get("per", "endpoint")))
    return tuple(found)


def read_quotas(texts: Sequence[str] | None) -> tuple[Quota, ...] | None:
    """Return the quotas in texts, none for `none`, nothing where no text is.

    Raises:
        InputError: One is no quota.
    """
    if not texts or list(texts) == ["none"]:
        return () if texts else None
    found = []
    for text in texts:
        count, seconds, more = _read(text, {"per"}, "quota", "10000/1d or 500/1h,per=key")
        found.append(Quota(count, seconds, more.get("per", "principal")))
    return tuple(found)


def limits_text(rates: Sequence[Rate], quotas: Sequence[Quota]) -> list[str]:
    """Return rates and quotas as people read them, one a line."""
    return [
        f"takes at most {one.requests} requests in {time_text(one.per_s)} from {_COUNTED[one.per]},"
        f" {one.burst or one.requests} at once"
        for one in rates
    ] + [
        f"takes at most {one.requests} requests in a window of {time_text(one.per_s)}"
        f" from {_COUNTED[one.per]}"
        for one in quotas
    ]


def _read(text: str, known: set[str], what: str, such: str) -> tuple[int, int, dict[str, str]]:
    found = _FORM.fullmatch(text)
    pairs = [] if found is None else [one.split("=", 1) for one in found[4].split(",")[1:]]
    more = dict(pairs)
    if found is None or len(more) < len(pairs) or not set(more) <= known:
        raise InputError(
            f"`{text[:40]}` is no {what}", code="cli.usage", hint=f"count and time, such as {such}"
        )
    return int(found[1]), int(found[2]) * SECONDS[found[3]], more
