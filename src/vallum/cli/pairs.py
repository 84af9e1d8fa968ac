"""What endpoint commands take as pairs: `blue=90 green=10`, `0.05,0.95`."""

from vallum.base import InputError


def shares_of(texts: list[str]) -> dict[str, int]:
    """Parse what each deployment gets.

    Raises:
        InputError: A text is not DEPLOYMENT=PER_CENT, or names one twice.
    """
    found: dict[str, int] = {}
    for one in texts:
        deployment, equals, text = one.partition("=")
        if not equals or not deployment or not text.isdecimal() or deployment in found:
            raise InputError(
                f"`{one[:80]}` is not DEPLOYMENT=PER_CENT",
                code="cli.usage",
                hint="blue=90 green=10",
            )
        found[deployment] = int(text)
    return found


def bounds_of(given: str) -> tuple[str, str] | None:
    """Return the bounds of `LOW,HIGH`; None of nothing."""
    if not given:
        return None
    try:
        low, high = (float(one) for one in given.split(","))
    except ValueError as error:
        raise InputError(
            f"`{given[:40]}` is not LOW,HIGH", code="cli.usage", hint="--clip 0.05,0.95"
        ) from error
    return str(low), str(high)
