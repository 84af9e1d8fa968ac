"""What of a model's answer leaves: labels only, the top k, bounded, softened, noisy.

In this order, each by the deployment's policy: labels only, or else temperature, noise, bounds,
top k; rounding comes last (`shape_output`). The class with the highest probability stays the
highest through all of it: a label beside the probabilities never contradicts them.

Noise is a function of the input under a key: who asks again is told the same, so that averaging
repeated queries gains nothing. Averaging over *neighbours* of an input still does; the rates of an
endpoint and its watch bound how many there are.

An output that a policy does not fit, such as scores that are no probabilities where probabilities
are to be bounded, is refused, not let out as it is.

Sources: Tramèr and others, "Stealing machine learning models via prediction APIs", USENIX Security
2016 (rounding, labels only); Shokri and others, "Membership inference attacks against machine
learning models", S&P 2017, section VIII (top k, rounding, temperature); Jia and others, "MemGuard",
CCS 2019 (noise that keeps the label).
"""

import hashlib
import math
from dataclasses import dataclass

import msgspec
import numpy as np
from numpy.typing import NDArray

from vallum.base import GateError, InputError
from vallum.guard.session import Arrays
from vallum.schema import OutputPolicy

Wide = NDArray[np.float64]
TASKS = ("classification", "regression")
MAX_TEMPERATURE = 100.0
NOISE_KEY_BYTES = 32
_SUM = 1e-3  # how far from one the sum of float32 probabilities may be
_MATRIX = 2  # dimensions
_LEAD = 1e-6  # of the first class before the others: rounding to float32 keeps it
_LEAST = 1e-30  # a probability is not less: its logarithm is finite
_WORD = 8  # bytes of keyed stream for each uniform number
_MANTISSA = 11  # bits of a word that a binary64 has no room for


@dataclass(frozen=True, slots=True)
class _Numbers:
    clip: tuple[float, float] | None
    temperature: float
    noise: float


def check_policy(policy: OutputPolicy) -> None:
    """Check that a policy can be followed.

    Raises:
        InputError: A value is out of its range, or not of the task.
    """
    _numbers(policy)


def _numbers(policy: OutputPolicy) -> _Numbers:
    try:
        low, high = (None, None) if policy.clip is None else (float(one) for one in policy.clip)
        found = _Numbers(
            clip=None if low is None or high is None else (low, high),
            temperature=float(policy.temperature),
            noise=float(policy.noise),
        )
    except ValueError as error:
        raise InputError("the output policy's numbers are none", code="deploy.output") from error
    bounds = found.clip
    wrong = None
    if policy.task not in TASKS:
        wrong = f"`{policy.task[:40]}` is no task", f"use {' or '.join(TASKS)}"
    elif policy.top_k < 0:
        wrong = "top-k is negative", "say how many classes are told: --top-k 3"
    elif not 0 < found.temperature <= MAX_TEMPERATURE:
        wrong = f"a temperature is above 0, at most {MAX_TEMPERATURE:.0f}", "above 1 softens"
    elif not (math.isfinite(found.noise) and found.noise >= 0):
        wrong = "noise is a standard deviation, 0 or more", "such as --noise 0.02"
    elif bounds is not None and not (
        all(math.isfinite(one) for one in bounds) and bounds[0] < bounds[1]
    ):
        wrong = "the lower bound is not below the upper one", "such as --clip 0.05,0.95"
    elif policy.task == "regression":
        if policy.labels_only or policy.top_k or found.temperature != 1:
            wrong = (
                "labels, top-k and temperature are of classes, and a regression has none",
                "bound or blur it: --clip LOW,HIGH --noise DEVIATION --decimals N",
            )
    elif bounds is not None and not (bounds[0] >= 0 and bounds[1] <= 1):
        wrong = "probabilities lie between 0 and 1", "such as --clip 0.05,0.95"
    if wrong is not None:
        raise InputError(wrong[0], code="deploy.output", hint=wrong[1])
    return found


def labels_of(value: NDArray[np.generic]) -> NDArray[np.generic]:
    """Return scores as a one for the largest and zeros; other numbers rounded to whole ones."""
    scores = value.ndim == _MATRIX and value.shape[1] > 1
    if value.dtype.kind != "f" and not (value.dtype.kind in "iu" and scores):
        return value
    wide = np.asarray(value, dtype=np.float64)
    if scores:
        out = np.zeros_like(wide)
        out[np.arange(len(wide)), wide.argmax(axis=1)] = 1.0
    else:
        out = np.rint(wide)
    return out.astype(value.dtype)


class Hardening:
    """Applies one policy. Keeps nothing of what it sees; safe for threads."""

    def __init__(self, policy: OutputPolicy, key: bytes) -> None:
        """Take a policy.

        Args:
            policy: What leaves.
            key: Of the noise, 32 bytes.

        Raises:
            InputError: The policy cannot be followed, or the key has another length.
        """
        self._numbers = _numbers(policy)
        if len(key) != NOISE_KEY_BYTES:
            raise InputError("the key of the noise has another length", code="deploy.output")
        self._policy = policy
        # Another policy has another noise: what two of them tell must not cancel it out.
        self._key = hashlib.blake2b(
            msgspec.json.encode(policy), key=key, digest_size=NOISE_KEY_BYTES
        ).digest()

    def __repr__(self) -> str:
        return f"Hardening({self._policy!r}, key=<secret>)"

    def apply(self, x: NDArray[np.float32], outputs: Arrays) -> Arrays:
        """Return what leaves of the answer to `x`, (n, d): as many outputs of the same shapes.

        Raises:
            GateError: The policy does not fit an output.
        """
        return [
            (name, self._shaped(x, value) if value.dtype.kind == "f" else self._labels(value))
            for name, value in outputs
        ]

    def _labels(self, value: NDArray[np.generic]) -> NDArray[np.generic]:
        """Return labels as they are.

        Raises:
            GateError: These are scores as whole numbers, which the policy does not fit.
        """
        wide = value.ndim == _MATRIX and value.shape[1] > 1
        if value.dtype.kind in "iu" and (wide or self._policy.task == "regression"):
            raise GateError("the model's scores are whole numbers", code="score.policy")
        return value

    def _shaped(self, x: NDArray[np.float32], value: NDArray[np.generic]) -> NDArray[np.generic]:
        wide = value.astype(np.float64)
        if wide.ndim not in {1, _MATRIX} or len(wide) != len(x) or not _finite(wide):
            raise GateError("the model answers for other rows", code="score.answer")
        if self._policy.task == "regression":
            return (
                self._number(x, wide.reshape(len(wide), -1))
                .reshape(value.shape)
                .astype(value.dtype)
            )
        if wide.ndim == _MATRIX and wide.shape[1] > 1:
            if self._policy.labels_only:
                return labels_of(value)
            return self._classes(x, _distribution(wide)).astype(value.dtype)
        # One number a row: the probability of the second of two classes.
        one = wide.reshape(-1)
        both = self._classes(x, _distribution(np.stack([1 - one, one], axis=1)))
        out: NDArray[np.generic] = both[:, 1].reshape(value.shape).astype(value.dtype)
        return out

    def _number(self, x: NDArray[np.float32], value: Wide) -> Wide:
        by = self._numbers
        if by.noise > 0:
            value = value + by.noise * self._normal(x, value.shape[1])
        return value if by.clip is None else np.clip(value, *by.clip)

    def _classes(self, x: NDArray[np.float32], p: Wide) -> Wide:
        """Return what leaves of distributions, (n, k)."""
        policy, by = self._policy, self._numbers
        rows = np.arange(len(p))
        if policy.labels_only:
            label = np.zeros_like(p)
            label[rows, p.argmax(axis=1)] = 1.0
            return label
        first = p.argmax(axis=1) if by.noise > 0 else rows
        if by.temperature != 1:
            logs = np.log(np.maximum(p, _LEAST)) / by.temperature
            p = np.exp(logs - logs.max(axis=1, keepdims=True))
            p /= p.sum(axis=1, keepdims=True)
        if by.noise > 0:
            p = np.clip(p + by.noise * self._normal(x, p.shape[1]), 0, 1)
            now = p.argmax(axis=1)
            p[rows, first], p[rows, now] = p[rows, now] + _LEAD, p[rows, first].copy()
            same = now == first
            p[rows[same], first[same]] += _LEAD
            p /= p.sum(axis=1, keepdims=True)
        if by.clip is not None:
            p = _bounded(p, *by.clip)
        if 0 < policy.top_k < p.shape[1]:
            told = np.argsort(-p, axis=1, kind="stable")[:, : policy.top_k]
            few = np.zeros_like(p)
            few[rows[:, None], told] = p[rows[:, None], told]
            return few
        return p

    def _normal(self, x: NDArray[np.float32], width: int) -> Wide:
        """Return standard normal numbers, (n, width), that the rows of `x` and the key decide.

        SHAKE256 of key and row is the stream: a sponge with the key first is a pseudo-random
        function (Bertoni and others, "Cryptographic sponge functions", 2011). Box and Muller 1958.
        """
        rows = np.ascontiguousarray(x + np.float32(0), dtype="<f4")  # -0 asks what 0 does
        length = 2 * width * _WORD
        stream = b"".join(
            hashlib.shake_256(self._key + row.tobytes()).digest(length) for row in rows
        )
        words = np.frombuffer(stream, dtype="<u8").reshape(len(rows), 2, width) >> _MANTISSA
        uniform = (words + 0.5) * 2.0**-53
        out: Wide = np.sqrt(-2 * np.log(uniform[:, 0])) * np.cos(2 * np.pi * uniform[:, 1])
        return out


def _distribution(p: Wide) -> Wide:
    """Return rows of probabilities that sum to one.

    Raises:
        GateError: They are none.
    """
    total = p.sum(axis=1, keepdims=True)
    least = float(p.min(initial=0.0))
    if least < -_SUM or not _near_one(total):
        raise GateError(
            "the deployment's output policy is for probabilities, and the model answers none",
            code="score.policy",
        )
    if least < 0:
        p = np.maximum(p, 0)
        total = p.sum(axis=1, keepdims=True)
    out: Wide = p / total
    return out


def _near_one(total: Wide) -> bool:
    return float(total.min(initial=1.0)) >= 1 - _SUM and float(total.max(initial=1.0)) <= 1 + _SUM


def _finite(values: Wide) -> bool:
    return b"\0" not in np.isfinite(values).tobytes()  # half the time of `.all()` for one row


def _bounded(p: Wide, low: float, high: float) -> Wide:
    """Mix each row with the uniform distribution, as little as bounds it by `low` and `high`.

    Clipping each number would break the sum; so order and sum stay, and every first probability
    above the bound becomes the bound.

    Raises:
        GateError: So many classes cannot all lie between the bounds.
    """
    even = 1.0 / p.shape[1]
    if not low < even < high:
        raise GateError(
            f"{p.shape[1]} probabilities cannot all lie between {low} and {high}",
            code="score.policy",
        )
    most, least = p.max(axis=1, keepdims=True), p.min(axis=1, keepdims=True)
    if float(most.max()) <= high and float(least.min()) >= low:
        return p
    share = np.zeros_like(most)
    above, below = most > high, least < low
    share[above] = (most[above] - high) / (most[above] - even)
    share[below] = np.maximum(share[below], (low - least[below]) / (even - least[below]))
    out: Wide = np.clip(p + share * (even - p), low, high)
    return out
