"""Signs that a record was made to be misclassified, compared with records that were not.

Four statistics of one record and the model's answer to it, each beyond what 99.5 % of held
records of the reference show, the last well beyond:

- *unsure*: the two highest scores are close. Attacks that look for the smallest change end here.
- *trust*: the nearest known record that the model puts into this class is further away, relative
  to the nearest of any other class, than is usual.
- *squeezed*: the answer changes when every feature is rounded to a quarter of its deviation.
- *far*: the record is further from every known one than is usual.

What is known of them: *far* sees large changes and no small ones. *Squeezed* sees small changes
to smooth, steep models (neural networks), and next to none to linear models and forests. A record
that is changed until all four say nothing is not seen: these are hurdles, no proof. Learn from
records that the model was *not* trained on: on its own training data a model is surer than it
will ever be again, and honest records will look unsure.

Sources: Xu, Evans, Qi, "Feature squeezing: detecting adversarial examples in deep neural
networks", NDSS 2018 (bit depth, and the L1 distance of answers); Jiang, Kim, Guan, Gupta, "To trust
or not to trust a classifier", NeurIPS 2018 (the ratio of distances); Chow, "On optimum recognition
error and reject tradeoff", IEEE Trans. Inf. Theory 1970 (abstention by the margin).
"""

from collections import OrderedDict, deque
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from vallum.base import InputError
from vallum.schema import Record

MIN_REFERENCE = 100
MAX_WIDTH = 4096
MAX_CALLERS = 512
WINDOW = 64
_LANDMARKS = 512
_HELD = 512
_BYTES = 8 * 1024 * 1024  # of records in a profile
_LEAST_SPREAD = 0.05  # of the typical deviation: a feature that hardly varies must not rule
_STEP = 0.25  # deviations
_BEYOND = 0.995  # of held records; four statistics together: 2 % at most
_WIDER = 1.5  # times the squared distance of held records: drift stays below
_SUSPECT = 32  # of the window
_ALL = (1 << WINDOW) - 1
_CHUNK = 1024  # rows judged at once
_MATRIX = 2  # dimensions

Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]


class Sign(StrEnum):
    """Why a record is suspect."""

    UNSURE = "unsure"
    TRUST = "trust"
    SQUEEZED = "squeezed"
    FAR = "far"


class EvasionProfile(Record, frozen=True):
    """Records that a model's queries are compared with, learned from a reference table.

    Attributes:
        width: Features of a record.
        mean: Of each.
        scale: Deviation of each.
        landmarks: Records, float32 little-endian, row by row.
        held: Others, on which the statistics are calibrated.
    """

    width: int
    mean: tuple[float, ...]
    scale: tuple[float, ...]
    landmarks: bytes
    held: bytes


class EvasionAlarm(Record, frozen=True):
    """Many of a caller's records look made to be misclassified.

    Attributes:
        statistic: Always `adversarial`.
        value: Suspect records of the window.
        threshold: From which it alarms.
        queries: Records that the caller had asked about.
        signs: How often each sign was seen.
    """

    statistic: str
    value: float
    threshold: float
    queries: int
    signs: dict[str, int]


def learn_evasion(reference: NDArray[np.floating], *, seed: int) -> EvasionProfile:
    """Learn what records a model is asked about.

    Args:
        reference: Records, shape (n, d), n >= 100, best such as the model was not trained on; what
            is not finite counts as the column's mean.
        seed: Of the records that are kept.

    Raises:
        InputError: Too few records, too many features, or nothing varies.
    """
    if reference.ndim != _MATRIX or len(reference) < MIN_REFERENCE or reference.shape[1] < 1:
        raise InputError(
            f"an evasion profile needs at least {MIN_REFERENCE} records", code="evasion.reference"
        )
    width = reference.shape[1]
    if width > MAX_WIDTH:
        raise InputError(
            f"evasion is watched for up to {MAX_WIDTH} features", code="evasion.reference"
        )
    most = min(_LANDMARKS + _HELD, _BYTES // (4 * width))
    order = np.random.default_rng(seed).permutation(len(reference))[:most]
    with np.errstate(over="ignore"):
        rows = reference[order].astype(np.float32).astype(np.float64)
    known = np.isfinite(rows)
    count = np.maximum(known.sum(axis=0), 1)
    mean = np.where(known, rows, 0.0).sum(axis=0) / count
    rows = np.where(known, rows, mean)
    spread = rows.std(axis=0)
    if not (spread > 0).any():
        raise InputError("no feature of the records varies", code="evasion.reference")
    scale = np.maximum(spread, _LEAST_SPREAD * float(np.median(spread[spread > 0])))
    cut = min(_LANDMARKS, len(rows) // 2)
    packed = rows.astype("<f4")
    return EvasionProfile(
        width=width,
        mean=tuple(float(one) for one in mean),
        scale=tuple(float(one) for one in scale),
        landmarks=packed[:cut].tobytes(),
        held=packed[cut:].tobytes(),
    )


@dataclass(slots=True)
class _Caller:
    """The last 64 records of one caller, a bit each, suspect or not."""

    bits: int = 0
    queries: int = 0
    signs: dict[Sign, int] = field(default_factory=lambda: dict.fromkeys(Sign, 0))
    last: deque[int] = field(default_factory=lambda: deque(maxlen=WINDOW))
    alarmed: bool = False


class EvasionWatch:
    """Judges records by one deployment's model. For one event loop, but for `judge`."""

    def __init__(self, profile: EvasionProfile) -> None:
        """Unpack a profile; `calibrate` before the first record is judged."""
        self.width = profile.width
        self._mean = np.array(profile.mean, dtype=np.float32)
        self._scale = np.array(profile.scale, dtype=np.float32)
        self._known = _rows(profile.landmarks, profile.width)
        self._held = _rows(profile.held, profile.width)
        self._z = self._scaled(self._known)
        self._squares = np.einsum("ij,ij->i", self._z, self._z)
        self._classes: NDArray[np.intp] = np.zeros(0, dtype=np.intp)
        self._limits = dict.fromkeys(Sign, np.inf)
        self._callers: OrderedDict[bytes, _Caller] = OrderedDict()

    @property
    def asks(self) -> Floats:
        """Return the rows whose scores `calibrate` takes."""
        return np.concatenate([self._known, self._held, self.squeezed(self._held)])

    def calibrate(self, scores: NDArray[np.floating]) -> None:
        """Learn how the model answers known records.

        Args:
            scores: Of `asks`, shape (n, k), k >= 2.

        Raises:
            InputError: They are none, or the model puts every known record into one class.
        """
        known, held = len(self._known), len(self._held)
        if (
            scores.ndim != _MATRIX
            or len(scores) != known + 2 * held
            or scores.shape[1] < 2  # noqa: PLR2004 - classes
            or not np.isfinite(scores).all()
        ):
            raise InputError(
                "the model answers no scores of two classes or more: evasion cannot be watched",
                code="evasion.scores",
            )
        self._classes = scores[:known].argmax(axis=1)
        if len(np.unique(self._classes)) == 1:
            raise InputError(
                "the model puts every known record into one class", code="evasion.scores"
            )
        found = self._statistics(self._held, scores[known : known + held], scores[known + held :])
        for sign, values in found.items():
            self._limits[sign] = float(np.quantile(values, _BEYOND))
        self._limits[Sign.FAR] *= _WIDER
        self._held = self._held[:0]

    def squeezed(self, x: Floats) -> Floats:
        """Return rows with every feature rounded to a quarter of its deviation."""
        z = np.round(self._scaled(x) / np.float32(_STEP)) * np.float32(_STEP)
        out: Floats = z * self._scale + self._mean
        return out

    def judge(
        self, x: Floats, scores: NDArray[np.floating], squeezed: NDArray[np.floating]
    ) -> dict[Sign, Mask]:
        """Return which rows show which sign. Safe for threads.

        Args:
            x: Rows, (n, d).
            scores: The model's answer to them, (n, k).
            squeezed: Its answer to the squeezed rows, (n, k).

        Raises:
            InputError: The shapes are others.
        """
        if x.ndim != _MATRIX or x.shape[1] != self.width or scores.shape != squeezed.shape:
            raise InputError("the rows have another width", code="evasion.queries")
        out = {sign: np.zeros(len(x), dtype=np.bool_) for sign in Sign}
        for start in range(0, len(x), _CHUNK):
            part = slice(start, start + _CHUNK)
            found = self._statistics(x[part], scores[part], squeezed[part])
            for sign, values in found.items():
                out[sign][part] = values > self._limits[sign]
        return out

    def note(self, caller: bytes, x: Floats, found: dict[Sign, Mask]) -> EvasionAlarm | None:
        """Remember what a caller's rows showed; return an alarm once for a caller.

        Args:
            caller: Whoever is to be told from others.
            x: Rows, (n, d); one that is among the last 64 of the caller tells nothing new.
            found: What `judge` said of them.
        """
        suspect = np.logical_or.reduce(tuple(found.values()))
        one = self._callers.pop(caller, None)
        if one is None:
            one = _Caller()
            if len(self._callers) >= MAX_CALLERS:
                self._callers.popitem(last=False)
        self._callers[caller] = one
        one.queries += len(suspect)
        for row, flag in zip(x[-WINDOW:], suspect[-WINDOW:].tolist(), strict=True):
            name = hash(row.tobytes())
            if name not in one.last:
                one.last.append(name)
                one.bits = (one.bits << 1 | flag) & _ALL
        if not suspect.any():
            return None
        for sign, rows in found.items():
            one.signs[sign] += int(rows.sum())
        count = one.bits.bit_count()
        if one.alarmed or count < _SUSPECT:
            return None
        one.alarmed = True
        return EvasionAlarm(
            statistic="adversarial", value=float(count), threshold=float(_SUSPECT),
            queries=one.queries, signs={str(sign): seen for sign, seen in one.signs.items()},
        )  # fmt: skip

    def alarmed(self, caller: bytes) -> bool:
        """Tell whether there was an alarm about a caller that is remembered."""
        one = self._callers.get(caller)
        return one is not None and one.alarmed

    def _scaled(self, x: Floats) -> Floats:
        with np.errstate(over="ignore"):
            out: Floats = (x - self._mean) / self._scale
        return np.clip(out, -1e6, 1e6, out=out)  # further, squares would overflow

    def _statistics(
        self, x: Floats, scores: NDArray[np.floating], squeezed: NDArray[np.floating]
    ) -> dict[Sign, NDArray[np.floating]]:
        """Return each statistic, (n,): the higher the more suspect."""
        z = self._scaled(x)
        distance = self._squares - 2 * (z @ self._z.T)
        distance += np.einsum("ij,ij->i", z, z)[:, None]
        np.maximum(distance, 1e-12, out=distance)
        kind = scores.argmax(axis=1)
        same = self._classes == kind[:, None]
        own = np.where(same, distance, np.inf).min(axis=1)
        other = np.where(same, np.inf, distance).min(axis=1)
        rows = np.arange(len(scores))
        rest = scores.copy()
        rest[rows, kind] = -np.inf
        # A class that no known record has is no reason for trust.
        ratio = np.where(np.isfinite(own), own, 1e12) / np.where(np.isfinite(other), other, 1e12)
        return {
            Sign.UNSURE: rest.max(axis=1) - scores[rows, kind],
            Sign.TRUST: ratio,
            Sign.SQUEEZED: np.abs(scores - squeezed).sum(axis=1),
            Sign.FAR: np.minimum(own, other),
        }


def _rows(packed: bytes, width: int) -> Floats:
    try:
        return np.frombuffer(packed, dtype="<f4").reshape(-1, width).astype(np.float32)
    except ValueError as error:
        raise InputError("the profile has another form", code="evasion.profile") from error
