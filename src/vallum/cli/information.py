"""Budgets of information as they are written: `50000/1d`, `50000/12h,stop`, `none`."""

import re
from typing import Annotated, Final

import typer

from vallum.base import InputError
from vallum.schema import InformationBudget

SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_FORM: Final = re.compile(r"([1-9][0-9]{0,15})/([1-9][0-9]{0,8})([smhd])(?:,([a-z]{1,16}))?")

Information = Annotated[
    str,
    typer.Option(
        "--information",
        metavar="BITS/TIME[,RESPONSE]",
        help="What answers may tell each principal: 50000/1d. RESPONSE: degrade, stop, alert."
        " `none` ends it.",
    ),
]


def read_information(text: str) -> InformationBudget | None:
    """Return the budget in a text, one of no bits for `none`, nothing for an empty text.

    Raises:
        InputError: It is no budget.
    """
    if not text:
        return None
    if text == "none":
        return InformationBudget(bits=0)
    found = _FORM.fullmatch(text)
    if found is None:
        raise InputError(
            f"`{text[:40]}` is no budget of information", code="cli.usage",
            hint="bits, time and what then, such as 50000/1d or 50000/12h,stop",
        )  # fmt: skip
    bits, count, unit, response = found.groups()
    return InformationBudget(int(bits), int(count) * SECONDS[unit], response or "degrade")


def time_text(seconds: int) -> str:
    """Return a time in the largest unit that it is a multiple of, such as `12h`."""
    unit = next(one for one in "dhms" if seconds % SECONDS[one] == 0)
    return f"{seconds // SECONDS[unit]}{unit}"


def information_text(budget: InformationBudget) -> str:
    """Return a budget as people read it."""
    return (
        f"tells a principal at most {budget.bits} bits in"
        f" {time_text(budget.per_s)}, then: {budget.response}"
    )
