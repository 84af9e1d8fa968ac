"""What a release costs, in exact decimals, and how costs add up.

Neighbouring relation everywhere in this package: one person's records are added or removed.

Sources: Dwork and Roth 2014 (basic composition); Bun and Steinke 2016 (zero-concentrated DP,
"zCDP": prop. 1.4, epsilon-DP implies epsilon^2/2-zCDP; lemma 1.7, composition); Canonne, Kamath
and Steinke 2020, prop. 7 with cor. 13 (conversion to approximate DP).
"""

import math
from collections.abc import Iterable, Sequence
from decimal import ROUND_CEILING, Context, Decimal, InvalidOperation

from vallum.base import InputError
from vallum.schema import Record

# 60 digits: sums and squares of what `decimal` accepts below are exact.
_EXACT = Context(prec=60, rounding=ROUND_CEILING)
_PLACES = 9
_MAX = Decimal(1000)
ZERO = Decimal(0)


class Cost(Record, frozen=True):
    """A privacy loss: either epsilon (pure) or rho (zero-concentrated), each with delta.

    Numbers are decimal text. Exactly one of `epsilon` and `rho` is positive; `delta` is what
    releasing groups that are not public costs beside it.
    """

    epsilon: str = "0"
    rho: str = "0"
    delta: str = "0"


def decimal(text: str, what: str, *, positive: bool = False) -> Decimal:
    """Read a privacy parameter: at most nine decimal places, 0 to 1000.

    Raises:
        InputError: It is not such a number, or is not positive where it must be.
    """
    try:
        number = Decimal(text.strip())
    except InvalidOperation as error:
        raise InputError(f"{what} `{text[:40]}` is not a number", code="dp.parameter") from error
    places = 3 * _PLACES if what == "delta" else _PLACES
    if not number.is_finite() or not ZERO <= number <= _MAX:
        raise InputError(f"{what} must be from 0 to {_MAX}, got `{text[:40]}`", code="dp.parameter")
    exponent = number.normalize().as_tuple().exponent
    if isinstance(exponent, int) and -exponent > places:
        raise InputError(f"{what} has more than {places} decimal places", code="dp.parameter")
    if positive and number == ZERO:
        raise InputError(
            f"{what} must be positive: without noise there is no privacy", code="dp.parameter"
        )
    return number


def spend(*, epsilon: str = "0", rho: str = "0", delta: str = "0") -> Cost:
    """Check what a query may spend.

    Raises:
        InputError: Both or neither of epsilon and rho are given, or one is out of range.
    """
    given = [
        name for name, text in (("epsilon", epsilon), ("rho", rho)) if decimal(text, name) > ZERO
    ]
    if len(given) != 1:
        raise InputError(
            "a query spends epsilon or rho: give exactly one of them, and more than 0",
            code="dp.parameter",
            hint="--epsilon 0.5, or --rho 0.01 for Gaussian noise",
        )
    if decimal(delta, "delta") >= 1:
        raise InputError("delta must be below 1", code="dp.parameter")
    return Cost(epsilon=_text(epsilon), rho=_text(rho), delta=_text(delta))


def _text(number: str | Decimal) -> str:
    return f"{Decimal(number).normalize():f}"


def add(costs: Sequence[Cost]) -> Cost:
    """Return the sum, parameter by parameter: basic composition in each measure by itself."""
    return Cost(
        epsilon=_text(_sum(one.epsilon for one in costs)),
        rho=_text(_sum(one.rho for one in costs)),
        delta=_text(_sum(one.delta for one in costs)),
    )


def _sum(texts: Iterable[str]) -> Decimal:
    total = ZERO
    for text in texts:
        total = _EXACT.add(total, Decimal(text))
    return total


def as_rho(cost: Cost) -> Decimal:
    """Return a cost in zero-concentrated terms; what is pure epsilon counts epsilon^2 / 2."""
    epsilon = Decimal(cost.epsilon)
    return _EXACT.add(Decimal(cost.rho), _EXACT.divide(_EXACT.multiply(epsilon, epsilon), 2))


def epsilon_of_rho(rho: float, delta: float) -> float:
    """Convert zero-concentrated to approximate DP.

    Args:
        rho: Zero-concentrated loss, >= 0.
        delta: Probability that epsilon does not hold, 0 < delta < 1.

    Returns:
        The smallest epsilon that the conversion proves, rounded up.

    Source: Canonne, Kamath and Steinke 2020, prop. 7 and cor. 13.
    """
    if rho <= 0:
        return 0.0

    def proved(order: float) -> float:
        tail = math.log1p(-1 / order) * order - math.log(order - 1) - math.log(delta)
        return order * rho + tail / (order - 1)

    best = min(proved(1 + 10 ** (step / 40)) for step in range(-160, 321))
    return math.nextafter(max(0.0, best), math.inf)


def rho_of_epsilon(epsilon: float, delta: float) -> float:
    """Return the largest rho whose conversion stays within (epsilon, delta), rounded down."""
    low, high = 0.0, epsilon + 1.0
    for _ in range(80):
        middle = (low + high) / 2
        if epsilon_of_rho(middle, delta) <= epsilon:
            low = middle
        else:
            high = middle
    return low
