"""What an MLflow store holds, whichever way it is read.

All of it is somebody else's word: names, users, times and places are passed on as claims, and the
server that takes them in checks each value again.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import BinaryIO, Protocol

from vallum.base import InputError

MAX_TEXT = 4 * 1024 * 1024  # characters of one value


@dataclass(frozen=True, slots=True)
class Experiment:
    """An experiment; `place` is where its files are."""

    id: str
    name: str
    created_ms: int = 0
    place: str = ""
    tags: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Point:
    """One point of a metric; the value may be NaN or infinite."""

    key: str
    value: float
    at_ms: int
    step: int


@dataclass(frozen=True, slots=True)
class Dataset:
    """A data set that a run used."""

    name: str
    digest: str
    source_type: str = ""
    source: str = ""
    schema: str = ""
    profile: str = ""
    tags: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Run:
    """A run without its points."""

    id: str
    experiment_id: str
    name: str = ""
    user: str = ""
    status: str = "FINISHED"
    started_ms: int = 0
    ended_ms: int = 0
    place: str = ""
    params: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    metrics: tuple[str, ...] = ()  # names, where the source tells them with the run
    datasets: tuple[Dataset, ...] = ()
    models_in: tuple[str, ...] = ()
    models_out: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True, slots=True)
class ModelPoint:
    """That a point of a run's metric is about a logged model, perhaps on a data set."""

    run_id: str
    key: str
    at_ms: int
    step: int
    dataset_name: str = ""
    dataset_digest: str = ""


@dataclass(frozen=True, slots=True)
class LoggedModel:
    """A logged model of MLflow 3."""

    id: str
    experiment_id: str
    name: str = ""
    model_type: str = ""
    run_id: str = ""
    ready: bool = True
    created_ms: int = 0
    place: str = ""
    params: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    points: tuple[ModelPoint, ...] = ()


@dataclass(frozen=True, slots=True)
class Registered:
    """A registered model."""

    name: str
    created_ms: int = 0
    description: str = ""
    tags: dict[str, str] = field(default_factory=dict)
    aliases: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Version:
    """A model version; `source` is what was registered, `place` where its files are."""

    name: str
    number: int
    created_ms: int = 0
    user: str = ""
    description: str = ""
    stage: str = "None"
    source: str = ""
    place: str = ""
    run_id: str = ""
    tags: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Holder:
    """A run or logged model as the holder of files."""

    kind: str  # `run` or `model`
    id: str
    experiment_id: str
    place: str


@dataclass(frozen=True, slots=True)
class File:
    """A file of a holder: its path there, and its size in bytes, -1 where nobody tells it."""

    path: str
    size: int


class Source(Protocol):
    """An MLflow store that is read, never written."""

    kind: str

    def experiments(self) -> Sequence[Experiment]:
        """Return every active experiment."""

    def deleted(self) -> int:
        """Return how many runs and experiments are marked as deleted, -1 if nobody tells."""

    def count(self, experiment_id: str) -> tuple[int, int]:
        """Return how many active runs an experiment has, and points; -1 if nobody tells."""

    def runs(self, experiment_id: str) -> Iterator[Run]:
        """Yield the active runs of an experiment, oldest first."""

    def points(self, run: Run) -> Iterable[Point]:
        """Yield every point of a run's metrics, a metric after another in order of its steps."""

    def models(self, experiment_id: str) -> Iterator[LoggedModel]:
        """Yield the active logged models of an experiment."""

    def registered(self) -> Sequence[Registered]:
        """Return every registered model."""

    def versions(self, name: str) -> Sequence[Version]:
        """Return the versions of a registered model, in order."""

    def files(self, holder: Holder) -> Sequence[File] | None:
        """Return the files of a run or logged model; None if they cannot be read from here."""

    def open(self, holder: Holder, path: str) -> BinaryIO:
        """Open one of them."""

    def close(self) -> None:
        """Let go of the source."""


def text(value: object) -> str:
    """Return a value that MLflow keeps as text; nothing is empty text.

    Raises:
        InputError: It is no text, or of a length that MLflow never writes.
    """
    if value is None:
        return ""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)  # an experiment's id is a number in a database
    if not isinstance(value, str) or len(value) > MAX_TEXT:
        raise not_mlflow("a value is not text")
    return value


def integer(value: object) -> int:
    """Return a whole number; nothing is 0.

    Raises:
        InputError: It is none, or beyond 2**53 - 1.
    """
    if value is None:
        return 0
    if isinstance(value, str) and value.lstrip("-").isdecimal() and len(value) < 20:  # noqa: PLR2004 - of 64 bits
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or abs(value) >= 2**53:
        raise not_mlflow("a value is not a whole number")
    return value


def real(value: object) -> float:
    """Return a metric's value, which may be NaN or infinite.

    MLflow's databases keep an infinity as the widest finite number, and its server tells it so.

    Raises:
        InputError: It is none.
    """
    if isinstance(value, str) and value in _NAMED:
        return float(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise not_mlflow("a value is not a number")
    try:
        number = float(value)
    except OverflowError:
        raise not_mlflow("a value is not a number") from None
    return math.copysign(math.inf, number) if abs(number) >= _WIDEST else number


_WIDEST = 1.7976931348623157e308
_NAMED = {"NaN", "Infinity", "-Infinity"}


def not_mlflow(why: str) -> InputError:
    """Return the refusal of a source that is not what MLflow writes."""
    return InputError(f"the source is not an MLflow store: {why}", code="import.form")
