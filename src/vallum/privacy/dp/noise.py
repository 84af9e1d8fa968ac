"""Noise from OpenDP's measurements, whose samplers are exact; the only importer of `opendp`.

Every value is an integer or a bit (see `engine` and `local`), so no floating-point rounding reaches
a release (Mironov 2012; Casacuberta et al. 2022). Each measurement is built first, from the
declaration alone, and its own privacy map must prove the loss that it is charged for; what is made
of fair and biased coins instead proves its own, in exact arithmetic (`local`).

Sources: Ghosh, Roughgarden and Sundararajan 2012 (discrete Laplace); Canonne, Kamath and Steinke
2020 (discrete Gaussian); McKenna and Sheldon 2020 (noisy maximum); Rogers 2023 (thresholds).
"""

import functools
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vallum.base import InputError, UnavailableError

_GROWTH = 1 + 1e-9
_TRIES = 200
_BYTES = 2**16  # of one call, between which an interrupt is heard


@dataclass(frozen=True, slots=True)
class Noise:
    """One measurement.

    Attributes:
        mechanism: Its name in the answer.
        scale: Of its noise, in units of the integers it is added to.
        threshold: Below which a group is not released; 0 where none is.
        release: The measurement.
    """

    mechanism: str
    scale: float
    release: Callable[[Any], Any]
    threshold: int = 0

    def half_width(self, miss: float) -> float:
        """Return how far off the noise may be, but for a chance of `miss`, 0 < miss < 1.

        Continuous tails plus one: those of the discrete laws are no heavier than one step more.
        """
        if self.mechanism == "gaussian":
            return self.scale * math.sqrt(2 * math.log(2 / miss)) + 1
        return self.scale * math.log(1 / miss) + 1


@functools.cache
def _library() -> Any:  # noqa: ANN401 - a foreign module without types
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import opendp.prelude as library
    except ImportError as error:
        raise UnavailableError(
            "differential privacy needs the extra `dp`",
            code="dp.extra",
            hint="pip install 'vallum[dp]'",
        ) from error
    library.enable_features("contrib")
    return library


def additive(sensitivity: int, *, epsilon: Decimal, rho: Decimal) -> Noise:
    """Return noise for a vector of integers.

    Args:
        sensitivity: Most that one person moves the vector, in L1 (which bounds L2), >= 1.
        epsilon: Loss of discrete Laplace noise, or 0.
        rho: Loss of discrete Gaussian noise, or 0.
    """
    library = _library()
    domain = library.vector_domain(library.atom_domain(T="i64"))
    if epsilon > 0:
        space = domain, library.l1_distance(T="i64")
        make = functools.partial(library.m.make_laplace, *space)
        return _calibrated(
            "laplace", make, sensitivity, float(epsilon), sensitivity / float(epsilon)
        )
    space = domain, library.l2_distance(T="f64")
    make = functools.partial(library.m.make_gaussian, *space)
    start = sensitivity / math.sqrt(2 * float(rho))
    return _calibrated("gaussian", make, float(sensitivity), float(rho), start)


def choice(sensitivity: int, *, epsilon: Decimal, rho: Decimal) -> Noise:
    """Return a measurement that gives the index of about the smallest of a vector of integers.

    Args:
        sensitivity: Most that one person moves any of them, >= 1.
        epsilon: Pure loss, or 0.
        rho: Zero-concentrated loss, or 0.
    """
    library = _library()
    space = (
        library.vector_domain(library.atom_domain(T="i64")),
        library.linf_distance(T="i64"),
    )
    pure = epsilon > 0
    measure = library.max_divergence() if pure else library.zero_concentrated_divergence()
    make = functools.partial(library.m.make_noisy_max, *space, measure, negate=True)
    loss = float(epsilon) if pure else float(rho)
    start = 2 * sensitivity / loss if pure else sensitivity / math.sqrt(2 * loss)
    return _calibrated("noisy-max", make, sensitivity, loss, start)


def thresholded(groups: int, *, epsilon: Decimal, rho: Decimal, delta: Decimal) -> Noise:
    """Return a measurement that releases only the groups whose noisy count is large enough.

    Args:
        groups: Most groups that one person is in, each with one, >= 1.
        epsilon: Pure loss of the counts, or 0.
        rho: Zero-concentrated loss of the counts, or 0.
        delta: Chance that a group of one person is released, > 0.
    """
    library = _library()
    domain = library.map_domain(library.atom_domain(T="String"), library.atom_domain(T="i64"))
    inner = library.absolute_distance(T="i64")
    pure = epsilon > 0
    if pure:
        space = domain, library.l01inf_distance(inner)
        scale = groups / float(epsilon)
        make = functools.partial(library.m.make_laplace_threshold, *space)
        name = "laplace"
    else:
        space = domain, library.l02inf_distance(inner)
        scale = math.sqrt(groups / (2 * float(rho)))
        make = functools.partial(library.m.make_gaussian_threshold, *space)
        name = "gaussian"
    loss, slack = (float(epsilon) if pure else float(rho)), float(delta)
    # In L2 one person with a 1 in each of `groups` groups moves sqrt(groups), rounded up.
    distance = (groups, groups if pure else math.isqrt(groups - 1) + 1, 1)
    scale *= _GROWTH if pure else distance[1] / math.sqrt(groups) * _GROWTH
    threshold = max(2, math.ceil(scale))
    for _ in range(_TRIES):
        made = make(scale=scale, threshold=threshold)
        proved, missed = made.map(distance)
        if proved > loss:
            scale *= 1 + 1e-6
        elif missed > slack:
            threshold = math.ceil(threshold * 1.1) + 1
        else:
            return Noise(f"{name}-threshold", scale, made, threshold)
    raise InputError("no threshold keeps to this delta", code="dp.parameter")


def _calibrated(
    name: str, make: Callable[..., Any], distance: float, loss: float, start: float
) -> Noise:
    """Return the measurement with about the smallest scale whose map proves `loss`."""
    scale = start
    for _ in range(_TRIES):
        if scale > 0 and math.isfinite(scale):
            made = make(scale=scale)
            if made.map(distance) <= loss:
                return Noise(name, scale, made)
        scale *= _GROWTH
    raise InputError("no noise can be proved to keep to this loss", code="dp.parameter")


def coins(count: int, chance: float) -> NDArray[np.bool_]:
    """Return independent draws, each true with exactly this chance.

    OpenDP's randomised response flips each bit of a vector with a chance of half its `f`, so that
    of a vector of zeros it leaves the flips: 2.5 million a second, where its response for single
    values answers 20,000 times. Beyond one half the flips say where a draw is false.

    Args:
        count: How many.
        chance: 0 < chance < 1; 1 - chance is exact above one half (Sterbenz).
    """
    library = _library()
    rare = min(chance, 1 - chance)
    # Zeros have no weight; the measurement's own map speaks of data, and there is none.
    space = library.bitvector_domain(max_weight=1), library.discrete_distance()
    flips = library.m.make_randomized_response_bitvec(*space, f=2 * rare)
    found = [
        np.unpackbits(np.frombuffer(flips(bytes(min(_BYTES, left))), dtype=np.uint8))
        for left in range((count + 7) // 8, 0, -_BYTES)
    ]
    drawn = np.concatenate([np.zeros(0, dtype=np.uint8), *found])[:count].astype(np.bool_)
    return drawn if chance == rare else ~drawn


def noisy(noise: Noise, values: Sequence[int]) -> list[int]:
    """Return the values with noise."""
    return [int(one) for one in noise.release(list(values))]


def chosen(noise: Noise, scores: Sequence[int]) -> int:
    """Return the index that was drawn."""
    return int(noise.release(list(scores)))


def released(noise: Noise, counts: Mapping[str, int]) -> dict[str, int]:
    """Return the groups that may be seen, with noisy counts."""
    return {str(key): int(count) for key, count in noise.release(dict(counts)).items()}
