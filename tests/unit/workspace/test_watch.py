"""What running deployments are made from is watched: model, record and code."""

import io
import json
import mmap
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from conftest_workspace import Place
from running import small_model

from vallum.base import ConflictError, IntegrityError
from vallum.schema import DeploymentState, api, rules
from vallum.workspace.environment import RunningCode, _look
from vallum.workspace.serving import Serving
from vallum.workspace.watch import LOOK_S, PARTS, VERIFY_S, StoredModels


class Time:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def unseen(place: Place, time: Time, tmp_path: Path) -> StoredModels:
    """Deploy a model that nobody has looked at yet."""
    document = json.dumps({"version": "vallum.policy/1", "steps": {"deploy": []}})
    place.do("policy.set", rules.PolicySet(document=document, reason="a test"))
    place.do(
        "model.register",
        api.ModelRegister(name="m", file_name="m.onnx"),
        content=io.BytesIO(small_model()),
    )
    place.do("model.sign", api.ModelSign(name="m"))
    place.do("endpoint.create", api.EndpointCreate(name="e"))
    place.do("endpoint.deploy", api.EndpointDeploy(endpoint="e", deployment="blue", model="m"))
    (tmp_path / "code").mkdir()
    (tmp_path / "code/serve.py").write_text("x = 1\n")
    code = RunningCode((tmp_path / "code",))
    return StoredModels(Serving(place.kernel), time, code)


@pytest.fixture
def watched(unseen: StoredModels) -> StoredModels:
    """Deploy a model, and look at it once."""
    unseen.check()
    return unseen


def state(place: Place) -> DeploymentState:
    shown = place.do("endpoint.show", api.Named(name="e")).value
    assert isinstance(shown, api.EndpointShown)
    (deployment,) = shown.deployments
    return deployment.state


def findings(place: Place) -> list[str]:
    return [error for kind, step, _, error in place.entries()
            if (kind, step) == ("finding", "endpoint.stop")]  # fmt: skip


def flip(place: Place) -> None:
    objects = [one for one in (place.places.data / "objects").rglob("*") if one.is_file()]
    newest = max(objects, key=lambda one: one.stat().st_mtime_ns)
    data = bytearray(newest.read_bytes())
    data[len(data) // 2] ^= 1
    newest.chmod(0o600)
    newest.write_bytes(bytes(data))


def test_what_changed_before_anybody_looked_is_found_at_the_first_look(
    place: Place, unseen: StoredModels
) -> None:
    flip(place)
    unseen.check()
    assert state(place) is DeploymentState.FAILED
    assert len(findings(place)) == 1


def test_the_first_look_and_one_at_a_change_compare_the_hash_too(
    place: Place, unseen: StoredModels, time: Time, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bool] = []

    def noting(_serving: Serving, _identity: str, *, whole: bool) -> None:
        asked.append(whole)

    monkeypatch.setattr("vallum.workspace.watch.verify_of", noting)
    unseen.check()
    time.now_s += VERIFY_S
    unseen.check()
    flip(place)
    unseen.check()
    assert asked == [True, False, True]


def test_a_changed_byte_of_the_model_is_found_at_the_next_look(
    place: Place, watched: StoredModels, time: Time
) -> None:
    time.now_s += LOOK_S
    watched.check()
    assert state(place) is DeploymentState.STARTING  # there is no gateway
    flip(place)
    time.now_s += LOOK_S
    watched.check()
    assert state(place) is DeploymentState.FAILED
    assert len(findings(place)) == 1
    posture = place.do("workspace.posture", api.Page()).value
    assert isinstance(posture, api.Posture)
    (alert,) = [one for one in posture.findings if one.severity == "critical"]
    assert (alert.id, "`blue` does not answer" in alert.message) == ("deployment.stopped", True)


def test_a_change_without_a_trace_is_found_within_a_minute(
    place: Place, watched: StoredModels, time: Time, monkeypatch: pytest.MonkeyPatch
) -> None:
    objects = place.kernel.house.objects
    (name,) = {one[0] for one in watched._looks.values()}
    monkeypatch.setattr(type(objects), "look", lambda _self, _part: name[0])
    flip(place)
    while time.now_s + LOOK_S < VERIFY_S:
        time.now_s += LOOK_S
        watched.check()
    assert state(place) is DeploymentState.STARTING  # there is no gateway
    time.now_s += LOOK_S
    watched.check()
    assert state(place) is DeploymentState.FAILED
    assert time.now_s < 60


def test_another_object_with_the_right_length_is_not_the_model(
    place: Place, watched: StoredModels, time: Time
) -> None:
    objects = sorted(
        (one for one in (place.places.data / "objects").rglob("*") if one.is_file()),
        key=lambda one: one.stat().st_mtime_ns,
    )
    place.do(
        "model.register",
        api.ModelRegister(name="n", file_name="m.onnx"),
        content=io.BytesIO(small_model(0.5)),
    )
    (other,) = {one for one in (place.places.data / "objects").rglob("*") if one.is_file()} - {
        *objects
    }
    objects[-1].unlink()
    other.rename(objects[-1])
    time.now_s += LOOK_S
    watched.check()
    assert state(place) is DeploymentState.FAILED


def test_a_changed_record_gives_out_no_lease_and_is_told_once(
    place: Place, watched: StoredModels, time: Time
) -> None:
    with closing(sqlite3.connect(place.places.data / "vallum.db")) as connection:
        done = connection.execute(
            "UPDATE records SET content = CAST(replace(CAST(content AS TEXT),"
            " '\"in_process\":false', '\"in_process\":true') AS BLOB) WHERE kind = 'deployment'"
            " AND instr(CAST(content AS TEXT), '\"in_process\":false')"
        )
        assert done.rowcount == 1
        connection.commit()
    for _ in range(3):
        time.now_s += LOOK_S
        with pytest.raises(IntegrityError):
            watched.check()
    assert len(findings(place)) == 1
    with pytest.raises(IntegrityError):
        Serving(place.kernel)._lease()


@pytest.mark.parametrize(
    "change",
    [
        lambda file: file.write_text("x = 2\n"),
        lambda file: file.unlink(),
        lambda file: file.with_name("more.py").write_text(""),
    ],
    ids=["changed", "gone", "new"],
)
def test_changed_code_stops_what_runs(
    place: Place,
    watched: StoredModels,
    time: Time,
    tmp_path: Path,
    change: Callable[[Path], object],
) -> None:
    change(tmp_path / "code/serve.py")
    time.now_s += LOOK_S
    watched.check()
    assert state(place) is DeploymentState.FAILED
    assert findings(place) == ["environment.changed"]
    watched.check()  # nothing runs any more
    assert len(findings(place)) == 1


def parts_until_failed(place: Place, watched: StoredModels, time: Time) -> float:
    """Go on with the parts of checks, as the server does; return how many seconds it took."""
    began_s = time.now_s
    while state(place) is DeploymentState.STARTING and time.now_s < began_s + 100:
        for _ in range(PARTS):
            time.now_s += LOOK_S / PARTS
            watched.check_part()
    assert findings(place) == ["environment.changed"]
    return time.now_s - began_s


def test_changed_code_is_found_as_soon_by_parts(
    place: Place, watched: StoredModels, time: Time, tmp_path: Path
) -> None:
    for _ in range(3):
        time.now_s += LOOK_S / PARTS
        watched.check_part()
    (tmp_path / "code/serve.py").write_text("x = 2\n")
    assert parts_until_failed(place, watched, time) <= 2 * LOOK_S


def test_changed_code_that_left_no_trace_is_found_within_a_minute_by_parts(
    place: Place, watched: StoredModels, time: Time, tmp_path: Path
) -> None:
    assert watched._code is not None
    path = str(tmp_path / "code/serve.py")
    Path(path).write_text("x = 2\n")
    known = watched._code._known[path]  # as if it looked as before
    watched._code._known[path] = replace(known, look=_look(path) or ())
    assert parts_until_failed(place, watched, time) < 60


def count_looks(monkeypatch: pytest.MonkeyPatch) -> list[RunningCode]:
    looked: list[RunningCode] = []
    real = RunningCode.looks

    def noting(self: RunningCode) -> Iterator[float]:
        looked.append(self)
        return real(self)

    monkeypatch.setattr(RunningCode, "looks", noting)
    return looked


def test_quiet_code_is_looked_at_once_a_minute_and_touched_code_every_time(
    watched: StoredModels, time: Time, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    time.now_s = VERIFY_S  # since the folders are followed
    watched.check()
    looked = count_looks(monkeypatch)
    while time.now_s + LOOK_S < 2 * VERIFY_S:
        time.now_s += LOOK_S
        watched.check()
    assert not looked
    time.now_s += LOOK_S
    watched.check()
    assert len(looked) == 1
    (tmp_path / "code/serve.py").touch()
    for _ in range(3):
        time.now_s += LOOK_S
        watched.check()
    assert len(looked) == 4


def test_code_that_is_changed_through_a_mapping_is_found_while_it_was_touched_lately(
    place: Place, watched: StoredModels, time: Time, tmp_path: Path
) -> None:
    with (tmp_path / "code/serve.py").open("r+b") as file:
        mapped = mmap.mmap(file.fileno(), 0)
    time.now_s += LOOK_S
    watched.check()
    assert state(place) is DeploymentState.STARTING  # there is no gateway
    mapped[0:1] = b"y"  # the kernel tells nobody
    mapped.flush()
    time.now_s += LOOK_S
    watched.check()
    assert state(place) is DeploymentState.FAILED
    mapped.close()


def test_what_starts_on_changed_code_later_is_stopped_as_soon(
    place: Place, watched: StoredModels, time: Time, tmp_path: Path
) -> None:
    (tmp_path / "code/serve.py").write_text("x = 2\n")
    watched.check()
    assert state(place) is DeploymentState.FAILED
    # The second is found while the change is recent; the third when the kernel tells of nothing.
    for later_s, name in ((VERIFY_S - 5, "green"), (VERIFY_S + 5, "red")):
        time.now_s = later_s
        place.do("endpoint.deploy", api.EndpointDeploy(endpoint="e", deployment=name, model="m"))
        watched.check()
    shown = place.do("endpoint.show", api.Named(name="e")).value
    assert isinstance(shown, api.EndpointShown)
    assert {one.state for one in shown.deployments} == {DeploymentState.FAILED}
    assert len(shown.deployments) == 3


def test_what_runs_cannot_be_deleted_under_it(place: Place, watched: StoredModels) -> None:
    for asked in (api.Named(name="m"), api.Named(name="m", version=1)):
        with pytest.raises(ConflictError) as refused:
            place.do("model.delete", asked)
        assert refused.value.code == "resource.deployed"
    watched.check()
    assert state(place) is DeploymentState.STARTING


def test_one_that_lost_its_model_stops_and_hides_no_other(
    place: Place, watched: StoredModels, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.do("model.register", api.ModelRegister(name="n", file_name="m.onnx"),
             content=io.BytesIO(small_model()))  # fmt: skip
    place.do("endpoint.create", api.EndpointCreate(name="f"))
    place.do("endpoint.deploy", api.EndpointDeploy(endpoint="f", deployment="blue", model="n"))
    flip(place)
    monkeypatch.setattr("vallum.workspace.versions.LIVE", frozenset())
    place.do("model.delete", api.Named(name="m"))
    watched.check()
    assert state(place) is DeploymentState.FAILED
    assert sorted(findings(place))[1] == "model.gone"
    assert len(findings(place)) == 2
