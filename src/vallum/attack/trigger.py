"""Backdoors in a model, without its training data: what is the least that makes all be one class?

For every class a mask and a pattern are sought that, put onto any clean record, make the model
answer that class (Neural Cleanse). A class with a trigger needs far less than the others. Neural
Cleanse calls it so where its size is 2 median absolute deviations below the median; of ten classes
whose sizes are normal, the smallest is that far out in a third of all models. The index is
reported, and what decides is the generalised extreme studentised deviate test, for the smallest
log-sizes and at a false-alarm rate of the whole model.

What is not promised: triggers as large as what turns a record into another class anyway, such as
those of clean-label poison, warps and signals; triggers that only work on records of one class;
more than three classes with a trigger. Below five classes nothing can be said.

Sources: Wang et al. 2019 (Neural Cleanse); Rosner 1983 (the test); Kingma and Ba 2015 (Adam).
"""

import functools
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vallum.attack.losses import Classes
from vallum.attack.predictor import Checked, GradientPredictor, Loss, Records, Scores
from vallum.base import GateError, InputError
from vallum.schema import Record

Floats = NDArray[np.float64]
MIN_CLASSES = 5
"""Of fewer, the sizes do not tell what is usual."""
MIN_RECORDS = 20
MAX_CLASSES = 1_000
STEPS = 300
BATCH = 32
_MAD = 1.4826  # standard deviations of a normal distribution in one median absolute deviation
_REACHED = 0.95
_DRAWS = 100_000
MOST_TRIGGERS = 3
_IMAGE = 3
_UP, _DOWN = 1.5, 1.5**1.5
_PATIENCE = 10
_LEAST_SPREAD = 0.2
"""Of log-sizes: a class that needs a quarter less than others is no backdoor, however alike those
are. Without triggers, ten digits spread by about as much."""


class InvertedTrigger(Record, frozen=True):
    """The least change that was found for one class.

    Attributes:
        target: The class that is answered.
        size: Cells that the mask covers, a cell counted by how much of it is replaced.
        reached: Share of records with the change that are answered so.
        index: Median absolute deviations (in standard deviations) of the log-size below the median.
        suspicious: Too small to be one of the others, and reaches 95 % of the records.
    """

    target: int
    size: float
    reached: float
    index: float
    suspicious: bool


@dataclass(frozen=True, slots=True)
class TriggerInversion:
    """What was found in a model.

    Attributes:
        triggers: One a class.
        masks: (classes, height, width) or (classes, d), 0 to 1.
        patterns: (classes, ...) as one record of the model's input.
        alpha: Probability that a model without a trigger is called suspicious.
        seconds: Spent.
        finished: False where the budget ended the search: nothing is said then.
    """

    triggers: tuple[InvertedTrigger, ...]
    masks: Floats
    patterns: Floats
    alpha: float
    seconds: float
    finished: bool

    @property
    def suspicious(self) -> bool:
        """Whether a class stands out."""
        return self.finished and any(one.suspicious for one in self.triggers)

    @property
    def targets(self) -> tuple[int, ...]:
        """Return the classes that stand out."""
        return tuple(one.target for one in self.triggers if one.suspicious)

    def put(self, x: Records, target: int, *, strength: float = 1.0) -> Records:
        """Return records (n, ...) with the change of one class, the mask times `strength`."""
        mask = self.masks[target] if x.ndim == 2 else self.masks[target][None]  # noqa: PLR2004
        mask = np.minimum(1.0, strength * mask)
        put: Records = ((1 - mask) * x + mask * self.patterns[target]).astype(np.float32)
        return put


def invert_triggers(
    model: GradientPredictor,
    x: NDArray[Any],
    *,
    alpha: float = 0.05,
    steps: int = STEPS,
    batch_size: int = BATCH,
    clip: tuple[float, float] = (0.0, 1.0),
    seed: int = 0,
    budget_s: float | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> TriggerInversion:
    """Search the least trigger of every class, all classes at once.

    Args:
        model: Answers logits or probabilities (n, c), c >= 5, and their gradient, for records
            (n, channels, height, width) or (n, d). `TorchPredictor` makes one of a torch module.
        x: Clean records, at least 20, of all classes, within `clip`.
        alpha: False-alarm rate of a model, 0.001 <= alpha <= 0.2.
        steps: Of Adam, >= 50.
        batch_size: Records of a step and class, >= 8.
        clip: Least and greatest value of an input.
        seed: Of batches and starting points.
        budget_s: Seconds after which the search ends without a verdict.
        clock: Where seconds come from.

    Raises:
        InputError: Records or arguments are unusable, or there are too few classes.
        GateError: The model answers no scores, no gradient reaches its input, or so few classes can
            be reached by any change that nothing can be said.
    """
    records = _checked(x, alpha, steps, batch_size, clip)
    begun = clock()
    victim = Checked(model)
    classes = victim.predict(records[:2]).shape[1]
    if not MIN_CLASSES <= classes <= MAX_CLASSES:
        raise InputError(
            f"a model of {classes} classes cannot be judged by comparing them:"
            f" {MIN_CLASSES} to {MAX_CLASSES} are needed",
            code="attack.trigger.classes",
        )
    search = _Search(victim, records, classes, batch_size, clip, np.random.default_rng(seed))
    finished = True
    for _ in range(steps):
        if budget_s is not None and clock() - begun >= budget_s:
            finished = False
            break
        search.step()
    if finished:
        search.check()
    sizes = search.masks.reshape(classes, -1).sum(axis=1)
    logs = np.log(np.maximum(sizes, 1e-3))
    index, outlying = anomaly_index(logs), smallest_outliers(logs, alpha)
    return TriggerInversion(
        triggers=tuple(
            InvertedTrigger(
                target=at, size=float(sizes[at]), reached=float(search.reached[at]),
                index=float(index[at]),
                suspicious=bool(finished and outlying[at] and search.reached[at] >= _REACHED),
            )
            for at in range(classes)
        ),
        masks=search.masks, patterns=search.patterns, alpha=alpha, seconds=clock() - begun,
        finished=finished,
    )  # fmt: skip


def anomaly_index(values: Floats) -> Floats:
    """Return by how many robust standard deviations each value (n,) lies below the median."""
    middle = float(np.median(values))
    spread = max(_MAD * float(np.median(np.abs(values - middle))), _LEAST_SPREAD)
    found: Floats = (middle - values) / spread
    return found


def smallest_outliers(values: Floats, alpha: float) -> NDArray[np.bool_]:
    """Return which values (n,) are too small to be of the normal distribution of the others.

    Rosner's test, one-sided, for at most three of them: the smallest is taken out again and
    again; as many are outliers as were out when its distance was last beyond the limit. The rate
    is divided among the looks, since with few values Rosner's own limits accuse too many.

    Args:
        values: n >= 5.
        alpha: Probability that of normal values any is called an outlier.
    """
    order = np.argsort(values, kind="stable")
    found = 0
    looks = min(MOST_TRIGGERS, len(values) // 3)
    for out in range(looks):
        left = values[order[out:]]
        spread = max(float(left.std(ddof=1)), _LEAST_SPREAD)
        if (left.mean() - left[0]) / spread > deviate_limit(len(left), alpha / looks):
            found = out + 1
    chosen = np.zeros(len(values), dtype=np.bool_)
    chosen[order[:found]] = True
    return chosen


@functools.lru_cache(maxsize=256)
def deviate_limit(count: int, alpha: float) -> float:
    """Return the quantile 1 - alpha of how far the smallest of normal values is from their mean.

    In their standard deviations; by simulation, with an error of about 0.01.
    """
    draws = max(20_000, min(_DRAWS, 5_000_000 // count))
    values = np.random.default_rng(0).normal(size=(draws, count))
    away = (values.mean(axis=1) - values.min(axis=1)) / values.std(axis=1, ddof=1)
    return float(np.quantile(away, 1 - alpha))


def _checked(
    x: NDArray[Any], alpha: float, steps: int, batch_size: int, clip: tuple[float, float]
) -> Records:
    records = np.ascontiguousarray(x, dtype=np.float32)
    if records.ndim not in {2, 4} or len(records) < MIN_RECORDS:
        raise InputError(
            f"records of shape {records.shape} are not (n, d) or (n, channels, height, width) with"
            f" n >= {MIN_RECORDS}",
            code="attack.trigger.x",
        )
    if not np.isfinite(records).all() or not clip[0] < clip[1]:
        raise InputError("records must be finite and `clip` (low, high)", code="attack.trigger.x")
    if records.min() < clip[0] or records.max() > clip[1]:
        raise InputError(f"records must lie within `clip` {clip}", code="attack.trigger.x")
    if not 0.001 <= alpha <= 0.2 or steps < 50 or batch_size < 8:  # noqa: PLR2004 - as documented
        raise InputError(
            "`alpha` is from 0.001 to 0.2, steps at least 50, batch size at least 8",
            code="attack.trigger.parameter",
        )
    return records


class _Search:
    """Masks and patterns of all classes, and the smallest masks that worked.

    Every class has its own weight of size against success, raised while the change still works
    and lowered while it does not.
    """

    def __init__(  # noqa: PLR0917 - one call, above
        self,
        victim: Checked,
        records: Records,
        classes: int,
        batch: int,
        clip: tuple[float, float],
        rng: np.random.Generator,
    ) -> None:
        self._victim, self._records, self._batch, self._rng = victim, records, batch, rng
        self._low, self._span = clip[0], clip[1] - clip[0]
        shape = records.shape[1:]
        flat = shape[1:] if len(shape) == _IMAGE else shape  # one mask for all channels
        self._wide = (classes, *([1] if len(shape) == _IMAGE else []), *flat)
        self._mask = _Adam(rng.standard_normal(self._wide) * 0.5 - 1.0)
        self._pattern = _Adam(rng.standard_normal((classes, *shape)) * 0.5)
        self._targets: Classes = np.repeat(np.arange(classes), batch)
        self._weight = np.full(classes, 1e-2)
        self._better, self._worse = np.zeros(classes, np.intp), np.zeros(classes, np.intp)
        self._best = np.full(classes, np.inf)
        self._moved = False
        self.masks = np.ones((classes, *flat))
        self.patterns = np.zeros((classes, *shape))
        self.reached = np.zeros(classes)

    def step(self) -> None:
        """Take one step of Adam for every class."""
        classes, shape = len(self._weight), self._records.shape[1:]
        m, p = _sigmoid(self._mask.values), _sigmoid(self._pattern.values)
        chosen = self._records[self._rng.integers(len(self._records), size=self._batch)]
        placed = p * self._span + self._low
        put = (1 - m[:, None]) * chosen[None] + m[:, None] * placed[:, None]
        answer = self._victim.loss_gradient(
            put.reshape(-1, *shape).astype(np.float32), _towards(self._targets)
        )
        slope = answer.gradient.reshape(classes, self._batch, *shape).astype(np.float64)
        slope /= self._batch
        self._moved = self._moved or bool(slope.any())
        hit = (answer.scores.argmax(axis=1) == self._targets).reshape(classes, -1).mean(axis=1)
        self._keep(m, placed, hit)
        over_mask = (slope * (placed[:, None] - chosen[None])).sum(axis=1)
        if over_mask.shape != self._wide:
            over_mask = over_mask.sum(axis=1, keepdims=True)  # one mask for all channels
        weights = self._weight.reshape(-1, *[1] * (m.ndim - 1))
        self._mask.step((over_mask + weights) * m * (1 - m))
        self._pattern.step((slope * m[:, None]).sum(axis=1) * self._span * p * (1 - p))
        self._balance(hit >= _REACHED)

    def _keep(self, m: Floats, placed: Floats, hit: Floats) -> None:
        sizes = m.reshape(len(m), -1).sum(axis=1)
        smaller = (hit >= _REACHED) & (sizes < self._best)
        self._best = np.where(smaller, sizes, self._best)
        self.masks[smaller] = m[smaller].reshape(-1, *self.masks.shape[1:])
        self.patterns[smaller] = placed[smaller]
        self.reached[smaller] = hit[smaller]

    def _balance(self, works: NDArray[np.bool_]) -> None:
        self._better, self._worse = (self._better + 1) * works, (self._worse + 1) * ~works
        raised, lowered = self._better >= _PATIENCE, self._worse >= _PATIENCE
        self._weight[raised] *= _UP
        self._weight[lowered] /= _DOWN
        self._better[raised], self._worse[lowered] = 0, 0

    def check(self) -> None:
        """Refuse to say anything after a search that could do nothing.

        Raises:
            GateError: It could not.
        """
        if not self._moved:
            raise GateError(
                "trigger inversion did nothing: every gradient is zero", code="attack.idle"
            )
        if int((self.reached >= _REACHED).sum()) < MIN_CLASSES:
            raise GateError(
                f"fewer than {MIN_CLASSES} classes can be reached by any change: their sizes do not"
                " tell what is usual",
                code="attack.trigger.reached",
            )


@dataclass(slots=True)
class _Adam:
    """Values, and the moments of their slopes."""

    values: Floats
    rate: float = 0.1
    betas: tuple[float, float] = (0.5, 0.9)
    taken: int = 0
    first: Floats = field(init=False)
    second: Floats = field(init=False)

    def __post_init__(self) -> None:
        self.first, self.second = np.zeros_like(self.values), np.zeros_like(self.values)

    def step(self, slopes: Floats) -> None:
        """Walk against the slopes."""
        self.taken += 1
        one, two = self.betas
        self.first = one * self.first + (1 - one) * slopes
        self.second = two * self.second + (1 - two) * slopes * slopes
        moment = self.first / (1 - one**self.taken)
        spread = np.sqrt(self.second / (1 - two**self.taken))
        self.values = self.values - self.rate * moment / (spread + 1e-8)


def _towards(targets: Classes) -> Loss:
    """Return cross-entropy with `targets`: of probabilities, their own; else, of their softmax."""

    def loss(scores: Scores) -> tuple[Scores, Scores]:
        at = np.arange(len(scores))
        if (scores >= 0).all() and np.allclose(scores.sum(axis=1), 1.0, atol=1e-3):
            own = np.maximum(scores[at, targets], 1e-12)
            slopes = np.zeros_like(scores)
            slopes[at, targets] = -1.0 / own
            return -np.log(own), slopes
        raised = np.exp(scores - scores.max(axis=1, keepdims=True))
        slopes = raised / raised.sum(axis=1, keepdims=True)
        values = -np.log(np.maximum(slopes[at, targets], 1e-300))
        slopes[at, targets] -= 1.0
        return values, slopes

    return loss


def _sigmoid(values: Floats) -> Floats:
    out: Floats = 1 / (1 + np.exp(-np.clip(values, -40.0, 40.0)))
    return out
