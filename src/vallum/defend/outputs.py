"""Answers that tell less: temperature, noise, the top few, rounding, labels alone.

Each is a thin layer around a model's scores. What it costs an attacker is for an attack to show;
none of them stops one who needs labels only.
"""

import hashlib
import hmac
import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from vallum.base import GateError, InputError
from vallum.defend.features import Floats, softmax
from vallum.defend.poisoning import Scorer

Answers = Literal["probabilities", "logits"]
MAX_DECIMALS = 6
_KEY_BYTES = 16
_MATRIX = 2


@dataclass(frozen=True, slots=True)
class Hardening:
    """What is done to probabilities, in this order.

    Attributes:
        temperature: Logarithms are divided by it, > 0; above 1 the answer is less sure.
        noise: Standard deviation of normal noise on logarithms, >= 0. It is a function of record
            and key: the same question gets the same answer, so that asking again averages nothing
            out. The likeliest class stays.
        top_k: Classes that are answered, 0 for all; the others share what is left evenly.
        decimals: Places that are kept, or None; the likeliest class stays ahead.
        label_only: 1 for the likeliest class and 0 for the others.
    """

    temperature: float = 1.0
    noise: float = 0.0
    top_k: int = 0
    decimals: int | None = None
    label_only: bool = False

    def check(self) -> None:
        """Refuse parameters out of range.

        Raises:
            InputError: Names the one.
        """
        if not (self.temperature > 0 and math.isfinite(self.temperature)):
            raise InputError(
                f"`temperature` must be positive, got {self.temperature:g}", code="defend.outputs"
            )
        if not (self.noise >= 0 and math.isfinite(self.noise)):
            raise InputError(f"`noise` must be at least 0, got {self.noise:g}",
                             code="defend.outputs")  # fmt: skip
        if self.top_k < 0:
            raise InputError(f"`top_k` must be at least 0, got {self.top_k}",
                             code="defend.outputs")  # fmt: skip
        if self.decimals is not None and not 0 <= self.decimals <= MAX_DECIMALS:
            raise InputError(
                f"`decimals` must be from 0 to {MAX_DECIMALS}, got {self.decimals}",
                code="defend.outputs",
            )


class HardenedModel:
    """A model whose answers went through a `Hardening`; a `Scorer` itself."""

    def __init__(
        self, model: Scorer, hardening: Hardening, *, answers: Answers, key: bytes = b""
    ) -> None:
        """Wrap `model`.

        Args:
            model: Answers one row of scores for each record.
            hardening: What is done to them.
            answers: What those scores are.
            key: Secret of the noise, at least 16 bytes where there is any.

        Raises:
            InputError: A parameter is out of range, or noise has no key.
        """
        hardening.check()
        if hardening.noise > 0 and len(key) < _KEY_BYTES:
            raise InputError(
                f"noise needs a key of at least {_KEY_BYTES} bytes", code="defend.outputs",
                hint="secrets.token_bytes(16), kept with the model",
            )  # fmt: skip
        self._model, self._hardening, self._answers, self._key = model, hardening, answers, key

    def __repr__(self) -> str:
        """Name what is done, never the key."""
        return f"HardenedModel({self._hardening})"

    def predict(self, x: NDArray[np.float32]) -> Floats:
        """Return hardened probabilities (n, c).

        Raises:
            GateError: The model's answer is no matrix of finite scores.
        """
        scores = np.asarray(self._model.predict(x), dtype=np.float64)
        if scores.ndim != _MATRIX or len(scores) != len(x) or not np.isfinite(scores).all():
            raise GateError("the model answers no scores", code="defend.outputs")
        how = self._hardening
        if self._answers == "probabilities":
            scores = np.log(np.clip(scores, 1e-12, None))
        winner = scores.argmax(axis=1)
        scores = scores / how.temperature
        if how.noise > 0:
            scores = scores + how.noise * self._noise(x, scores.shape[1])
        found = softmax(_ahead(scores, winner))
        rows = np.arange(len(found))
        classes = found.shape[1]
        if how.label_only:
            found = np.zeros_like(found)
            found[rows, winner] = 1.0
            return found
        if 0 < how.top_k < classes:
            order = np.argsort(-found, axis=1, kind="stable")[:, how.top_k :]
            left = np.take_along_axis(found, order, axis=1).sum(axis=1, keepdims=True)
            np.put_along_axis(found, order, left / (classes - how.top_k), axis=1)
            found = _ahead(found, winner)
        if how.decimals is not None:
            found = np.round(found, how.decimals)
            found[rows, winner] = np.maximum(
                found[rows, winner], found.max(axis=1) + _tie(found, winner, how.decimals)
            )
        return found

    def _noise(self, x: NDArray[Any], classes: int) -> Floats:
        """Return normal numbers that only record and key decide."""
        drawn = np.empty((len(x), classes))
        for at, record in enumerate(np.ascontiguousarray(x, dtype=np.float32)):
            digest = hmac.digest(self._key, record.tobytes(), hashlib.sha256)
            seed = int.from_bytes(digest, "big")
            drawn[at] = np.random.Generator(np.random.Philox(seed)).standard_normal(classes)
        return drawn


def _ahead(scores: Floats, winner: NDArray[np.intp]) -> Floats:
    """Return the scores with the winner first again, by exchange with whoever took its place."""
    taken = scores.argmax(axis=1)
    rows = np.arange(len(scores))
    out: Floats = scores.copy()
    out[rows, taken], out[rows, winner] = scores[rows, winner], scores[rows, taken]
    return out


def _tie(found: Floats, winner: NDArray[np.intp], decimals: int) -> Floats:
    """Return one unit of the last place where rounding left another class level, else 0."""
    rows = np.arange(len(found))
    others = found.copy()
    others[rows, winner] = -np.inf
    level: Floats = np.where(others.max(axis=1) >= found[rows, winner], 10.0**-decimals, 0.0)
    return level
