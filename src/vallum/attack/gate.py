"""A registered model's tests: the suite in one sandbox, the model in another, numbers between them.

Who breaks out of a model's runtime must not write the report, and the tables of a test must not be
parsed beside keys: so the suite runs in a sandbox of its own, and what it asks is handed to the
model's. The process between them looks at sizes only.
"""

import contextlib
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from queue import SimpleQueue
from threading import Thread
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from vallum.attack.isolated import LIMITS, QUESTION_BYTES, IsolatedPredictor, seen_as, unpacked
from vallum.attack.opened import Answered, Described, Differentiated, Thresholds
from vallum.attack.oracle import Classes
from vallum.attack.predictor import Checked, Predictor, Records, Scores, class_name
from vallum.attack.segments import (
    ColumnReport,
    PerformanceReport,
    by_segment,
    performance,
)
from vallum.attack.suite.bench import one_hot
from vallum.attack.suite.data import (
    DataFile,
    DataOptions,
    columns_of,
    prepare,
    rows_of,
    text_column,
    texts_of,
)
from vallum.attack.suite.plan import make_plan
from vallum.attack.suite.record import SuiteReport
from vallum.attack.suite.run import run_suite
from vallum.attack.suite.subject import class_indices
from vallum.attack.suite.table import ACCESS, SUITES, Access
from vallum.attack.thresholds import Splits
from vallum.attack.writing import written
from vallum.base import GateError, InputError, VallumError
from vallum.sandbox import BubblewrapRunner, Resident
from vallum.schema import Record

if TYPE_CHECKING:
    import polars as pl

OPEN_TESTS = "vallum.attack.gate:open_tests"
MAX_ROWS = 100_000
"""On which performance is measured; beyond it, a sample is drawn, and the report says so."""
MAX_CHARACTERS = 2**25
"""Of all texts on which performance is measured, filled up to the longest."""
MAX_BUDGET_S = 3600
_AFTER_S = 60.0  # to open the sandboxes, and for what is measured after the suite
R = TypeVar("R")


class ModelReport(Record, frozen=True):
    """What the tests of a registered model found.

    Attributes:
        suite: The attacks.
        performance: On all held-out records; none where the model could not be asked.
        segments: Of each column that was named.
        not_assessed: What is not known beside the attacks, and why.
        notes: What was left out of the records that performance is measured on.
    """

    suite: SuiteReport
    performance: PerformanceReport | None
    segments: tuple[ColumnReport, ...] = ()
    not_assessed: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


class Turn(Record, frozen=True):
    """What the suite says next: a question to the model, or the report."""

    question: bytes = b""
    report: ModelReport | None = None


class Wanted(Record, frozen=True):
    """What is tested, and how.

    Attributes:
        others_kind: Format of the held-out records, such as `parquet`.
        members_kind: Format of the training table; empty without one.
        label: Column of the class.
        features: The model's columns in order; its own, or every numeric one if empty.
        segments: Columns whose values are compared.
        suite: `quick`, `standard` or `full`.
        access: What an attacker sees at most.
        budget_s: Seconds of the suite.
        seed: Of every random choice.
    """

    others_kind: str
    label: str
    seed: int
    members_kind: str = ""
    features: tuple[str, ...] = ()
    segments: tuple[str, ...] = ()
    suite: str = "quick"
    access: str = "gradients"
    budget_s: int = 60


class _Payload(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    others: bytes
    members: bytes = b""
    thresholds: Thresholds = Thresholds()


class _Question(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    ask: str
    x: bytes
    shape: tuple[int, ...]
    slopes: bytes = b""


def run_tests(
    runner: BubblewrapRunner,
    *,
    model: bytes,
    kind: str,
    others: bytes,
    members: bytes,
    options: Wanted,
    allowed: Collection[str] = frozenset({OPEN_TESTS}),
) -> ModelReport:
    """Test a model in fresh sandboxes.

    Args:
        runner: Whose sandboxes they are.
        model: The file, scanned.
        kind: One of `opened.KINDS`.
        others: Table of records that the model never saw.
        members: The training table, or nothing.
        options: What is tested.
        allowed: Functions that may be called in a sandbox.

    Raises:
        InputError: Model, data and options do not fit.
        GateError: A sandbox was killed or late: that is no pass.
        UnavailableError: There is no sandbox.
    """
    if not 1 <= options.budget_s <= MAX_BUDGET_S:
        raise InputError(
            f"the budget is 1 to {MAX_BUDGET_S} s; got {options.budget_s}",
            code="model.budget",
        )
    for what, given, known in (
        ("access", options.access, ACCESS),
        ("suite", options.suite, SUITES),
    ):
        if given not in known:
            raise InputError(
                f"no {what} is called `{given[:40]}`", code=f"attack.{what}", hint=", ".join(known)
            )
    end = time.monotonic() + options.budget_s + _AFTER_S
    limits = msgspec.structs.replace(LIMITS, wall_s=options.budget_s + _AFTER_S)
    with IsolatedPredictor.open(
        runner, model, kind=kind, gradients=options.access == "gradients"
    ) as victim:
        victim.until(end)
        told = Thresholds()
        if options.access == "gradients":  # an attacker who holds the model knows its thresholds
            told = victim.ask(Thresholds, {"ask": "thresholds", "x": b"", "shape": [0]})
        payload = msgspec.msgpack.encode(_Payload(others, members, told))
        arguments = {
            "options": msgspec.to_builtins(options),
            "described": msgspec.to_builtins(victim.described),
            "kind": kind,
        }
        suite = Resident.open(
            runner, OPEN_TESTS, payload, allowed=allowed, arguments=arguments, limits=limits
        )
        with contextlib.closing(suite):
            answer: dict[str, object] = {}
            while True:
                turn = suite.ask(
                    Turn, answer, max_bytes=4 * QUESTION_BYTES,
                    wall_s=max(0.05, end - time.monotonic()),
                )  # fmt: skip
                if turn.report is not None:
                    return turn.report
                answer = _hand_over(victim, turn.question)


def _hand_over(victim: IsolatedPredictor, question: bytes) -> dict[str, object]:
    """Put one question of the suite to the model."""
    try:
        asked = msgspec.msgpack.decode(question, type=_Question)
    except msgspec.DecodeError as error:
        raise GateError("the suite talks nonsense", code="attack.answer") from error
    try:
        report = victim.ask(
            Differentiated if asked.ask == "gradient" else Answered, msgspec.structs.asdict(asked)
        )
    except VallumError as error:
        return {"refusal": [error.code, error.message]}
    return {"answer": msgspec.msgpack.encode(report)}


# -- inside the sandbox of the suite ------------------------------------------------------------


def open_tests(payload: bytes, *, options: object, described: object, kind: str) -> "_Tests":
    """Read the tables and plan; return what takes answers and gives questions, then the report.

    Raises:
        InputError: The data does not fit the model or the options; the reason is named.
    """
    from vallum.formats import read_table

    try:
        given = msgspec.msgpack.decode(payload, type=_Payload)
        wanted = msgspec.convert(options, Wanted)
        told = msgspec.convert(described, Described)
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise InputError("the payload has another form", code="attack.payload") from error
    others = read_table(given.others, kind=wanted.others_kind)
    members = None
    if wanted.members_kind:
        members = read_table(given.members, kind=wanted.members_kind)
    return _Tests(
        _Work(wanted, told, kind, others, members=members, splits=unpacked(given.thresholds))
    )


class _Tests:
    """The tests in a thread of their own, which stands still while a question is answered."""

    def __init__(self, work: "_Work") -> None:
        self._said: SimpleQueue[Turn | VallumError] = SimpleQueue()
        self._answers: SimpleQueue[tuple[bytes, Sequence[str]]] = SimpleQueue()
        self._work = work
        self._thread: Thread | None = None

    def __call__(self, *, answer: bytes = b"", refusal: Sequence[str] = ()) -> Turn:
        """Go on with the answer to the last question."""
        if self._thread is None:
            self._thread = Thread(target=self._run, daemon=True)
            self._thread.start()
        else:
            self._answers.put((answer, refusal))
        said = self._said.get()
        if isinstance(said, VallumError):
            raise said
        return said

    def _run(self) -> None:
        try:
            self._said.put(Turn(report=self._work.run(self)))
        except VallumError as error:
            self._said.put(error)
        except Exception as error:  # noqa: BLE001 - a thread's error would be lost
            self._said.put(
                GateError(f"the tests crashed ({type(error).__name__})", code="attack.crash")
            )

    def ask(
        self,
        report_type: type[R],
        arguments: Mapping[str, object],
        *,
        max_bytes: int = 0,  # noqa: ARG002 - whoever hands it over bounds it
        wall_s: float | None = None,  # noqa: ARG002
    ) -> R:
        """Ask the model, as `Resident.ask` does."""
        question: dict[str, Any] = dict(arguments)
        self._said.put(Turn(question=msgspec.msgpack.encode(question)))
        answer, refusal = self._answers.get()
        if refusal:
            code, message = refusal
            raise GateError(message, code=code)
        try:
            return msgspec.msgpack.decode(answer, type=report_type)
        except msgspec.DecodeError as error:
            raise GateError("the sandbox talks nonsense", code="attack.answer") from error

    def close(self) -> None:
        """End nothing: the sandbox ends with its process."""


class _Work:
    """The tables, the subject and the plan."""

    def __init__(
        self,
        options: Wanted,
        described: Described,
        kind: str,
        others: "pl.DataFrame",
        *,
        members: "pl.DataFrame | None",
        splits: Splits | None,
    ) -> None:
        self.options, self.described = options, described
        for column in options.segments:
            if column not in others.columns:
                raise InputError(f"the data has no column `{column[:80]}`", code="attack.segments")
        known = DataOptions(label=options.label, features=options.features, seed=options.seed)
        for frame in (others, members):
            if frame is not None and options.label not in frame.columns:
                raise InputError(
                    f"the data has no label column `{options.label[:80]}`", code="attack.label"
                )
        self.names = self._columns(others, known)
        known = replace(known, features=self.names)
        inside = None if members is None else DataFile("", members, None)
        self.others = others
        self.subject = prepare(
            DataFile("", others, None), inside, known, known=described.features,
            shape=described.shape, text=described.text,
        )  # fmt: skip
        self.subject = replace(self.subject, splits=splits)
        access: Access = "labels" if options.access == "labels" else "scores"
        if options.access == "gradients" and described.gradients:
            access = "gradients"
        self.plan = make_plan(
            self.subject, kind=kind, access=access, suite=options.suite,
            budget_s=float(options.budget_s), seed=options.seed,
        )  # fmt: skip

    def _columns(self, others: "pl.DataFrame", known: DataOptions) -> tuple[str, ...]:
        options, described = self.options, self.described
        if described.text:
            return (text_column(others, known, beside=options.segments),)
        names = columns_of(others, known, described.features)
        if described.shape not in ((), (-1,), (len(names),)) and not options.features:
            # What is only compared is no feature, where the model has no room for it.
            names = tuple(name for name in names if name not in options.segments)
        return names

    def run(self, tests: _Tests) -> ModelReport:
        """Attack, then measure."""
        model = seen_as(tests, self.described)
        end = time.monotonic() + self.options.budget_s
        model.until(end)
        found = run_suite(model, self.subject, self.plan, classes=self.described.classes)
        model.until(end + _AFTER_S)
        notes: list[str] = []
        try:
            figures, columns = self._figures(model, notes)
        except GateError as error:
            return ModelReport(
                suite=found, performance=None, notes=tuple(notes),
                not_assessed=(f"performance: {error.message}",),
            )  # fmt: skip
        return ModelReport(suite=found, performance=figures, segments=columns, notes=tuple(notes))

    def _figures(
        self, model: Predictor, notes: list[str]
    ) -> tuple[PerformanceReport, tuple[ColumnReport, ...]]:
        x, labels, frame = self._records(notes)
        scores = _scores(model, x, len(self.described.classes) or len(set(labels.tolist())))
        y = class_indices(labels, self.described.classes, scores.shape[1])
        names = self.described.classes or _names(labels, y, scores.shape[1])
        columns = {
            name: np.array(frame[name].to_list(), dtype=object) for name in self.options.segments
        }
        said: Classes = scores.argmax(axis=1)
        return performance(scores, y, names), by_segment(said, y, columns, names)

    def _records(self, notes: list[str]) -> "tuple[Records, NDArray[Any], pl.DataFrame]":
        """Return the held-out records, (n, ...), their labels and their rows; at most so many."""
        told = self.options.label, "the data", notes
        if self.described.text:
            texts, labels, kept = texts_of(self.others, self.names[0], *told)
            longest = max((len(one) for one in texts), default=1)
            rows = self._sample(len(texts), min(MAX_ROWS, MAX_CHARACTERS // longest), notes)
            x = written([texts[at] for at in rows.tolist()])
        else:
            every, labels, kept = rows_of(self.others, self.names, *told)
            rows = self._sample(len(every), MAX_ROWS, notes)
            x = every[rows]
        return x, labels[rows], self.others.filter(kept)[rows]

    def _sample(self, count: int, most: int, notes: list[str]) -> NDArray[np.intp]:
        if count <= most:
            return np.arange(count)
        notes.append(f"performance is measured on a sample of {most} of {count} records")
        rng = np.random.default_rng([self.options.seed, 1])
        return np.sort(rng.permutation(count)[:most])


def _scores(model: Predictor, x: Records, count: int) -> Scores:
    """Return scores, (n, c); labels as 0 and 1.

    Raises:
        GateError: They are none.
    """

    class Ready:
        def predict(self, x: Records) -> Scores:
            scores = model.predict(x)
            return one_hot(scores, count) if scores.ndim == 1 else scores

    return Checked(Ready()).predict(x)


def _names(labels: Any, y: Classes, count: int) -> tuple[str, ...]:  # noqa: ANN401 - as the data has them
    known = {int(at): class_name(label) for at, label in zip(y, labels.tolist(), strict=True)}
    return tuple(known.get(at, str(at)) for at in range(count))
