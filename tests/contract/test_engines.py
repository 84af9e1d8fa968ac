"""Every engine tells the same of the same batch: rows, marks, failures; and goes on at a mark.

The suite is what `Engine` promises beyond its types. Between an engine and Ray stands a door; the
partitions of `parted` are scored by what runs on Ray's nodes, but in this process. The tests that
start Ray itself take long and are few.
"""

import contextlib
import os
import secrets
import signal
from collections import deque
from collections.abc import Iterator
from io import BytesIO

import msgspec
import polars as pl
import pytest
from batch_models import fails_above, linear
from processes import below

from vallum.base import GateError, InputError, IntegrityError, Secret, UnavailableError
from vallum.crypto import DataKey, EncryptingWriter, StreamReader
from vallum.guard.batch import Mark
from vallum.sandbox import BubblewrapRunner
from vallum.schema.engines import RayAnswer, RayBegin, RayPart
from vallum.worker import ray_task
from vallum.workspace.engines.local import LocalEngine
from vallum.workspace.engines.port import Batch, Engine
from vallum.workspace.engines.ray import RayEngine

MODEL = fails_above(5)  # its score of a row is 0.5


class Here:
    """Scores partitions where it is asked, as a node does."""

    slots = 2

    def __init__(self, begin: RayBegin) -> None:
        self._begin = begin
        self._asked: deque[RayPart] = deque()

    def send(self, part: RayPart) -> None:
        self._asked.append(part)

    def receive(self, _kind: type[RayAnswer], _wall_s: float) -> RayAnswer:
        one, begin = self._asked.popleft(), self._begin
        return RayAnswer(answer=ray_task.score(begin.task, begin.digest, one.part, one.first))


class PartedEngine(RayEngine):
    """Scores partitions as Ray's nodes do, here."""

    @contextlib.contextmanager
    def _host(self, batch: Batch) -> Iterator[Here]:  # type: ignore[override]
        try:
            yield Here(self._begin(batch))
        finally:
            ray_task.close()


@pytest.fixture(scope="module")
def runner() -> BubblewrapRunner:
    return BubblewrapRunner.open()


@pytest.fixture(params=["local", "parted"])
def engine(request: pytest.FixtureRequest, runner: BubblewrapRunner) -> Engine:
    if request.param == "local":
        return LocalEngine(lambda: runner)
    return PartedEngine(lambda: runner)


class Stored:
    def __init__(self, data: bytes) -> None:
        self._data = data

    def read(self, offset: int, length: int, /) -> bytes:
        return self._data[offset : offset + length]


def stored(frame: pl.DataFrame, *, group: int = 10, kind: str = "parquet") -> StreamReader:
    """Return an encrypted table; each row group of it is a piece."""
    plain, out = BytesIO(), BytesIO()
    if kind == "csv":
        frame.write_csv(plain)
    else:
        frame.write_parquet(plain, row_group_size=group)
    key = DataKey(Secret(secrets.token_bytes(32)))
    writer = EncryptingWriter(out, key, b"test")
    writer.write(plain.getvalue())
    writer.close()
    return StreamReader(Stored(out.getvalue()), key, b"test", len(out.getvalue()))


def table(values: list[int]) -> pl.DataFrame:
    """Return rows of which those with 9 fail."""
    return pl.DataFrame(
        {"id": [f"p{at}" for at in range(len(values))], "x": values},
        schema={"id": pl.String, "x": pl.Int64},
    )


def batch(**more: object) -> Batch:
    given = {"model": MODEL, "kind": "parquet", "features": ("x",), "keep": ("id",), **more}
    return Batch(**{"max_failed": 1000, "mini_batch": 4, **given})  # type: ignore[arg-type]


class Took:
    """What was told, piece by piece."""

    def __init__(self) -> None:
        self.told: list[tuple[bytes, Mark | None]] = []

    def __call__(self, text: bytes, mark: Mark | None) -> None:
        self.told.append((text, mark))

    @property
    def text(self) -> bytes:
        return b"".join(text for text, _ in self.told)


def score(
    engine: Engine, frame: pl.DataFrame, *, mark: Mark | None = None, **more: object
) -> tuple[Mark, Took]:
    took = Took()
    kind = str(more.get("kind", "parquet"))
    return engine.score(batch(**more), stored(frame, kind=kind), mark, took), took


VALUES = {
    "some": [9 if at % 7 == 3 else at % 3 for at in range(35)],
    "none at first": [9] * 23 + [1, 2, 9, 0, 1] + [9] * 17 + [0] * 3,
    "none at all": [9] * 25,
    "no row": [],
}


@pytest.mark.parametrize(
    ("values", "kind"),
    [*((values, "parquet") for values in VALUES.values()), (VALUES["some"], "csv")],
    ids=[*VALUES, "csv"],
)
def test_every_row_is_told_once_in_order(engine: Engine, values: list[int], kind: str) -> None:
    mark, took = score(engine, table(values), kind=kind)
    known = any(value != 9 for value in values)
    assert mark.columns == (("id", "score", "error") if known else ("id", "error"))
    assert (mark.rows, mark.failed) == (len(values), values.count(9))
    told = pl.read_csv(took.text, infer_schema=False)
    assert tuple(told.columns) == mark.columns
    assert told["id"].to_list() == [f"p{at}" for at in range(len(values))]
    errors = ["the model fails on it" if value == 9 else None for value in values]
    assert told["error"].to_list() == errors
    if known:
        assert told["score"].to_list() == [None if value == 9 else "0.5" for value in values]
    assert mark.first == (
        f"row {values.index(9) + 1}, the model fails on it" if 9 in values else ""
    )
    assert took.told[-1][1] in {mark, None}


def test_whoever_goes_on_at_a_mark_tells_the_rest(engine: Engine, runner: BubblewrapRunner) -> None:
    frame = table(VALUES["none at first"])
    whole_mark, whole = score(engine, frame)
    before, marks = b"", 0
    for text, mark in whole.told:
        before += text
        if mark is None:
            continue
        marks += 1
        for other in (LocalEngine(lambda: runner), PartedEngine(lambda: runner)):
            again, rest = score(other, frame, mark=mark)  # whichever it was begun with
            assert before + rest.text == whole.text
            assert again == whole_mark
    assert marks >= 2


def test_too_many_failed_rows_end_a_batch(engine: Engine) -> None:
    frame = table([0] * 12 + [9, 0, 9, 9])
    with pytest.raises(GateError, match="3 of 16 rows failed, and 2 may: the first is row 13, the"):
        score(engine, frame, max_failed=2)
    assert score(engine, frame, max_failed=3)[0].failed == 3


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        ({"features": ("y",)}, "no column `y`"),
        ({"features": ("id",)}, "`id` is not numeric"),
        ({"features": ("x", "x2")}, "no column `x2`"),
        ({"model": b"none"}, "does not load"),
        ({"model": linear()}, "takes 2 features, the data has 1"),
        ({"keep": ("id", "gone")}, "no column `gone`"),
        ({"output": {"task": 3}}, "output policy"),
    ],
)
def test_what_does_not_fit_is_told(engine: Engine, wrong: dict[str, object], text: str) -> None:
    with pytest.raises(InputError, match=text):
        score(engine, table([0, 1]), **wrong)


def test_answers_are_hardened_as_the_endpoint_does(engine: Engine) -> None:
    output = {"task": "regression", "clip": ("0.1", "0.25")}
    mark, took = score(engine, table([0, 1]), output=output, noise_key=bytes(32))
    assert pl.read_csv(took.text)["score"].to_list() == [0.25, 0.25]
    assert mark.rows == 2


def test_no_key_leaves_this_machine(runner: BubblewrapRunner) -> None:
    with pytest.raises(InputError, match="a key does not leave"):
        score(PartedEngine(lambda: runner), table([0]), noisy=True, noise_key=bytes(32))


def test_a_node_takes_no_other_model_than_was_sent(runner: BubblewrapRunner) -> None:
    begin = PartedEngine(lambda: runner)._begin(batch())
    assert bytes(32) not in begin.task
    for at in range(0, len(begin.task), max(1, len(begin.task) // 20)):
        changed = bytearray(begin.task)
        changed[at] ^= 1
        with pytest.raises(IntegrityError, match="not what was sent"):
            ray_task.score(bytes(changed), begin.digest, b"", 0)


def test_a_node_that_answers_of_other_rows_is_refused(
    runner: BubblewrapRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lies(self: Here, kind: type[RayAnswer], wall_s: float) -> RayAnswer:
        made = msgspec.msgpack.decode(true(self, kind, wall_s).answer)
        made["report"]["mark"]["rows"] += 1
        return RayAnswer(answer=msgspec.msgpack.encode(made))

    true = Here.receive
    monkeypatch.setattr(Here, "receive", lies)
    with pytest.raises(GateError, match="other rows"):
        score(PartedEngine(lambda: runner), table([0] * 5))


# -- on Ray itself ------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_ray_tells_the_same_though_its_workers_are_killed(runner: BubblewrapRunner) -> None:
    pytest.importorskip("ray", reason="the extra `ray` is not installed")
    frame = table(VALUES["none at first"] + VALUES["some"] * 8)
    mark, whole = score(LocalEngine(lambda: runner), frame)
    killed: list[int] = []
    took = Took()

    def take(text: bytes, mark: Mark | None) -> None:
        took(text, mark)
        if len(took.told) in {2, 6}:
            for pid, name in below(os.getpid()).items():
                if name.startswith(("ray::score", "ray::IDLE")):
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                        killed.append(pid)

    made = RayEngine(lambda: runner).score(batch(), stored(frame), None, take)
    assert len(killed) >= 2
    assert made == mark
    assert took.text == whole.text
    assert not [name for name in below(os.getpid()).values() if "ray" in name]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_batch_that_ends_takes_ray_with_it_and_a_lost_door_can_be_gone_on_from(
    runner: BubblewrapRunner,
) -> None:
    pytest.importorskip("ray", reason="the extra `ray` is not installed")
    frame = table([0] * 60)
    took = Took()

    def take(text: bytes, mark: Mark | None) -> None:
        took(text, mark)
        door = [pid for pid, name in below(os.getpid()).items() if "ray_host" in name]
        for pid in door:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    with pytest.raises(UnavailableError, match="door to Ray is gone"):
        RayEngine(lambda: runner).score(batch(), stored(frame, group=2), None, take)
    assert not [name for name in below(os.getpid()).values() if "ray" in name]
    (*_, mark) = [mark for _, mark in took.told if mark is not None]
    _, rest = score(LocalEngine(lambda: runner), frame)
    again = Took()
    LocalEngine(lambda: runner).score(batch(), stored(frame, group=2), mark, again)
    assert took.text + again.text == rest.text
