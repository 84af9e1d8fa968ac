"""What training by noisy clipped gradients costs, and how much noise a budget asks for.

Neighbouring relation: one record is added or removed. The mechanism is the Gaussian one on a
Poisson sample of the records, composed over all steps. Costs come from privacy loss
distributions (PLD), rounded so that they are never too small, and from Rényi DP (RDP).

Sources: Abadi et al. 2016 (DP-SGD); Mironov, Talwar and Zhang 2019 (RDP of the sampled Gaussian
mechanism); Koskela, Jälkö and Honkela 2020, Doroshenko et al. 2022 (PLD). The computation is
dp-accounting's.
"""

import functools
import math
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import msgspec

from vallum.base import InputError, UnavailableError
from vallum.schema import Record

Accountant = Literal["pld", "rdp"]
MAX_STEPS = 10_000_000
MAX_EPSILON = 100.0
SLACK = 2.0**-10
"""Share by which clipping stays below the sensitivity: rounding of norms, factors and sums."""
_LEAST_NOISE = 0.2
_MOST_NOISE = 1e5
_CLOSE = 1e-3
_WASTED = 4e-3
_TRIES = 30
# Whole orders have a closed form; for some sampling rates the series of the others diverges.
_ORDERS = (*range(2, 64), 80, 96, 128, 192, 256, 512, 1024)


class Spend(Record, frozen=True):
    """What a training costs whoever is in its data; known before it begins, and never less.

    Attributes:
        epsilon: Loss, > 0.
        delta: Chance that epsilon does not hold, 0 <= delta < 1.
        accountant: How epsilon was computed.
        noise_multiplier: Standard deviation of the noise over the sensitivity; 0 where the
            mechanism has no such number.
        sampling_rate: Chance of a record to be in a batch; 1 where all are used.
        steps: Number of noisy steps.
        max_grad_norm: Sensitivity: the most that one record contributes to the sum of a step.
        records: In the data.
        neighbours: The neighbouring relation.
    """

    epsilon: float
    delta: float
    accountant: str
    noise_multiplier: float
    sampling_rate: float
    steps: int
    max_grad_norm: float
    records: int
    neighbours: str = "one record added or removed"


def leave_report(spend: Spend, path: str | Path = "/out/privacy.json") -> None:
    """Write what a job of the workspace spent to where it is looked for."""
    Path(path).write_bytes(msgspec.json.encode(spend))


def epsilon_of(
    *,
    noise_multiplier: float,
    sampling_rate: float,
    steps: int,
    delta: float,
    accountant: Accountant = "pld",
) -> float:
    """Return the loss of `steps` noisy steps.

    Args:
        noise_multiplier: Standard deviation of the noise over the sensitivity, >= 0.2.
        sampling_rate: Chance of each record to be in a step's batch, 0 < rate <= 1.
        steps: How many, 1 to ten million.
        delta: Chance that the loss is exceeded, 0 < delta < 1.
        accountant: `pld` is tight, `rdp` is faster and up to a fifth larger.

    Raises:
        InputError: A parameter is out of range.
        UnavailableError: dp-accounting is not installed.
    """
    _check(sampling_rate=sampling_rate, steps=steps, delta=delta, accountant=accountant)
    if not _LEAST_NOISE <= noise_multiplier <= _MOST_NOISE:
        raise InputError(
            f"`noise_multiplier` must be from {_LEAST_NOISE} to {_MOST_NOISE:g},"
            f" got {noise_multiplier:g}",
            code="defend.dp.parameter",
        )
    return _epsilon(noise_multiplier, sampling_rate, steps, delta, accountant)


def noise_multiplier_of(
    *,
    epsilon: float,
    delta: float,
    sampling_rate: float,
    steps: int,
    accountant: Accountant = "pld",
) -> float:
    """Return the least noise, but for half a percent, whose loss is at most `epsilon`.

    Args:
        epsilon: Loss to keep to, 0 < epsilon <= 100.
        delta: Chance that it is exceeded, 0 < delta < 1; less than one over the number of records.
        sampling_rate: Chance of each record to be in a step's batch, 0 < rate <= 1.
        steps: How many, 1 to ten million.
        accountant: `pld` is tight, `rdp` is faster and asks for more noise.

    Raises:
        InputError: A parameter is out of range, or no noise keeps to `epsilon`.
        UnavailableError: dp-accounting is not installed.
    """
    _check(sampling_rate=sampling_rate, steps=steps, delta=delta, accountant=accountant)
    if not 0 < epsilon <= MAX_EPSILON:
        raise InputError(
            f"`epsilon` must be more than 0 and at most {MAX_EPSILON:g}, got {epsilon:g}",
            code="defend.dp.parameter",
        )

    # RDP first: it costs next to nothing, and what it proves PLD proves with less noise. PLD of
    # far too little noise takes minutes and is never asked for.
    def by_rdp(noise: float) -> float:
        return _epsilon(noise, sampling_rate, steps, delta, "rdp")

    high = _LEAST_NOISE
    while by_rdp(high) > epsilon:
        high *= 2
        if high > _MOST_NOISE:
            raise InputError(
                f"no noise keeps {steps} steps to epsilon {epsilon:g} with delta {delta:g}",
                code="defend.dp.unreachable",
                hint="fewer epochs, a smaller batch, or more epsilon",
            )
    low = max(high / 2, _LEAST_NOISE)
    while high / low > 1 + _CLOSE:
        middle = math.sqrt(low * high)
        low, high = (low, middle) if by_rdp(middle) <= epsilon else (middle, high)
    if accountant == "rdp":
        return high
    return _closest(
        high, epsilon, lambda noise: _epsilon(noise, sampling_rate, steps, delta, "pld")
    )


def plan(
    *,
    epsilon: float,
    delta: float,
    max_grad_norm: float,
    epochs: float,
    batch_size: int,
    records: int,
    accountant: Accountant,
) -> Spend:
    """Return what a training will cost, with the least noise that keeps to `epsilon`.

    Args:
        epsilon: Loss to keep to, 0 < epsilon <= 100.
        delta: Chance that it is exceeded; less than one over the number of records.
        max_grad_norm: What each sample's gradient is clipped to, > 0.
        epochs: Expected passes over the data, > 0.
        batch_size: Expected size of a batch, from 1 to all records.
        records: In the data.
        accountant: `pld` or `rdp`.

    Raises:
        InputError: A parameter is out of range, or no noise keeps to `epsilon`.
        UnavailableError: dp-accounting is not installed.
    """
    if not (max_grad_norm > 0 and math.isfinite(max_grad_norm)):
        raise InputError(
            f"`max_grad_norm` must be positive, got {max_grad_norm:g}", code="defend.dp.parameter"
        )
    if not 1 <= batch_size <= records:
        raise InputError(
            f"`batch_size` must be from 1 to the {records} records, got {batch_size}",
            code="defend.dp.parameter",
        )
    if not epochs > 0:
        raise InputError(f"`epochs` must be positive, got {epochs:g}", code="defend.dp.parameter")
    if delta >= 1 / records:
        raise InputError(
            f"`delta` {delta:g} is not below 1/{records}: publishing whole records would pass",
            code="defend.dp.delta",
            hint=f"delta={0.1 / records:.0e}",
        )
    rate, steps = batch_size / records, math.ceil(epochs * records / batch_size)
    noise = noise_multiplier_of(
        epsilon=epsilon, delta=delta, sampling_rate=rate, steps=steps, accountant=accountant
    )
    return Spend(
        epsilon=epsilon_of(
            noise_multiplier=noise, sampling_rate=rate, steps=steps, delta=delta,
            accountant=accountant,
        ),
        delta=delta, accountant=accountant, noise_multiplier=noise, sampling_rate=rate,
        steps=steps, max_grad_norm=max_grad_norm, records=records,
    )  # fmt: skip


def _closest(enough: float, epsilon: float, cost: Callable[[float], float]) -> float:
    """Return the least noise, but for a few thousandths, that costs at most `epsilon`.

    Secants in logarithms, in which cost falls almost linearly with noise, inside a bracket.
    """
    reached = cost(enough)
    low = _LEAST_NOISE
    slope = -1.5
    for _ in range(_TRIES):
        if reached >= epsilon * (1 - _WASTED) or enough / low <= 1 + _CLOSE:
            break
        wanted = math.log(epsilon * (1 - _WASTED / 2) / reached)
        guess = enough * math.exp(wanted / slope)
        if not low < guess < enough:
            guess = math.sqrt(low * enough)
        found = cost(guess)
        if found != reached:
            slope = min(math.log(found / reached) / math.log(guess / enough), -0.1)
        if found <= epsilon:
            enough, reached = guess, found
        else:
            low = guess
    return enough


def _check(*, sampling_rate: float, steps: int, delta: float, accountant: str) -> None:
    if not 0 < sampling_rate <= 1:
        raise InputError(
            f"`sampling_rate` must be more than 0 and at most 1, got {sampling_rate:g}",
            code="defend.dp.parameter",
        )
    if not 1 <= steps <= MAX_STEPS:
        raise InputError(
            f"`steps` must be from 1 to {MAX_STEPS}, got {steps}", code="defend.dp.parameter"
        )
    if not 0 < delta < 1:
        raise InputError(
            f"`delta` must be more than 0 and less than 1, got {delta:g}",
            code="defend.dp.parameter",
        )
    if accountant not in {"pld", "rdp"}:
        raise InputError(
            f"`{accountant}` is not an accountant",
            code="defend.dp.parameter",
            hint="`pld` or `rdp`",
        )


@functools.lru_cache(maxsize=256)
def _epsilon(
    noise_multiplier: float, sampling_rate: float, steps: int, delta: float, accountant: Accountant
) -> float:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import dp_accounting
            from dp_accounting import pld, rdp
    except ImportError as error:
        raise UnavailableError(
            "accounting for private training needs the extra `dptrain`",
            code="defend.dp.extra",
            hint="pip install 'vallum[dptrain]'",
        ) from error
    if sampling_rate < 1:
        step = dp_accounting.GaussianDpEvent(noise_multiplier)
        step = dp_accounting.PoissonSampledDpEvent(sampling_rate, step)
        event = dp_accounting.SelfComposedDpEvent(step, steps)
    else:
        # Exactly the same as one release with less noise (Dong, Roth and Su 2019).
        event = dp_accounting.GaussianDpEvent(noise_multiplier / math.sqrt(steps))
    counted = pld.PLDAccountant() if accountant == "pld" else rdp.RdpAccountant(_ORDERS)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        counted.compose(event)
        return float(counted.get_epsilon(delta))
