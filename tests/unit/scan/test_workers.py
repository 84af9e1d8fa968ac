"""Scans of folders and archives in several processes."""

import io
import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest

from vallum.base.bounds import ARCHIVE, MODEL, ArchiveBounds
from vallum.scan import ScanVerdict, count_files, folder, scan_each, scan_path, workers
from vallum.scan.files import ScanRules

EVIL = b"cos\nsystem\n(S'echo'\ntR."
LIMITS = ScanRules(MODEL, ARCHIVE, None, digest=True, folder=True)


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make several processes pay for however little."""
    monkeypatch.setattr(folder, "_MUCH", -1)
    monkeypatch.setattr(folder, "_MANY", 0)


def zip_of(files: dict[str, bytes]) -> bytes:
    with zipfile.ZipFile(buffer := io.BytesIO(), "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


@pytest.mark.usefixtures("at_once")
def test_several_processes_report_what_one_reports_in_the_same_order(tmp_path: Path) -> None:
    from onnx import TensorProto, helper, save_model

    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "evil.pkl").write_bytes(EVIL)
    (tmp_path / "a" / "link").symlink_to("/etc/passwd")
    (tmp_path / "b.json").write_bytes(b'{"lr": 0.1}')
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / os.fsdecode(b"\xff.txt")).write_bytes(b"words\n")
    (tmp_path / "quoted.json").write_text(json.dumps({"_target_": "\ud800", "py/\ud800": 1}))
    (tmp_path / "m.zip").write_bytes(
        zip_of({"1.json": b"{}", "2.pkl": EVIL, "3.py": b"import os\n", "4.bin": b"\0\1\2"})
    )
    weight = helper.make_tensor(
        "w", TensorProto.FLOAT, [64], np.ones(64, "<f4").tobytes(), raw=True
    )
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, [64])
    out = helper.make_tensor_value_info("y", TensorProto.FLOAT, [64])
    node = helper.make_node("Add", ["x", "w"], ["y"])
    save_model(
        helper.make_model(helper.make_graph([node], "g", [value], [out], [weight])),
        tmp_path / "graph.onnx", save_as_external_data=True, location="w.data", size_threshold=8,
    )  # fmt: skip
    done: list[int] = []
    alone = scan_path(tmp_path)
    together = tuple(scan_each(tmp_path, workers=3, done=done.append))
    assert together == alone.files
    assert sum(done) == len(together) == count_files(tmp_path)
    verdicts = {Path(file.path).name: file.verdict for file in together}
    assert verdicts["w.data"] is ScanVerdict.CLEAN
    assert verdicts["m.zip"] is ScanVerdict.MALICIOUS


@pytest.mark.usefixtures("at_once")
def test_what_shares_of_an_archive_expand_to_is_added_up(tmp_path: Path) -> None:
    path = tmp_path / "m.zip"
    path.write_bytes(zip_of({f"{at}.zip": zip_of({"a": b" " * 600}) for at in range(3)}))
    bounds = ArchiveBounds(max_total_bytes=3_000)
    for count in (1, 3):
        (file,) = scan_path(path, archive=bounds, workers=count).files
        assert [one.id for one in file.findings] == ["archive.too-large"], count


def test_a_process_that_dies_is_a_finding_of_its_file_and_of_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good, doomed = tmp_path / "good.json", tmp_path / "doomed.json"
    good.write_bytes(b"{}")
    doomed.write_bytes(b"{}")
    give = workers._Worker.give

    def kill(self: workers._Worker, batch: workers.Batch) -> None:
        if any(task.path == doomed for task in batch):
            self._process.kill()
        give(self, batch)

    monkeypatch.setattr(workers._Worker, "give", kill)
    tasks = (workers.Task(0, good), workers.Task(1, doomed)), (workers.Task(2, good),)
    found = {task.at: one.report for task, one in workers.scan_at_once(tasks, LIMITS, 1)}
    assert {at: one.verdict for at, one in found.items()} == {
        0: ScanVerdict.CLEAN, 1: ScanVerdict.SUSPICIOUS, 2: ScanVerdict.CLEAN,
    }  # fmt: skip
    assert found[1].findings[0].id == "file.unscanned"


def test_a_parser_that_breaks_is_a_finding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(workers, "scan_file", broken)
    (tmp_path / "a").write_bytes(b"{}")
    (file,) = scan_path(tmp_path).files
    assert (file.verdict, file.findings[0].id) == (ScanVerdict.SUSPICIOUS, "file.unscanned")


def test_an_interrupt_ends_a_scan_and_its_processes(tmp_path: Path) -> None:
    numbers = b"[" + b"0.123456789," * 2_000_000 + b"1]"
    (tmp_path / "0.json").write_bytes(numbers)
    for at in range(1, 200):
        (tmp_path / f"{at}.json").hardlink_to(tmp_path / "0.json")
    program = (
        "import sys; from pathlib import Path; from vallum.scan import folder, scan_path\n"
        "if __name__ == '__main__':\n"
        "    folder._MUCH = -1\n"
        "    print('begun', flush=True)\n"
        "    scan_path(Path(sys.argv[1]), workers=2)\n"
    )
    script = tmp_path / "program.py"
    script.write_text(program)
    with subprocess.Popen(  # noqa: S603 - our interpreter
        [sys.executable, script, tmp_path], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stdout.readline() == b"begun\n"
        time.sleep(2)
        os.killpg(process.pid, signal.SIGINT)
        process.stdout.read()  # ends when the last process of the group is gone
        assert process.wait(20) != 0


def test_a_file_scanned_in_this_process_ends_when_its_time_is_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "_MAX_CPU_S", 0.05)
    (tmp_path / "x").write_bytes(b"N0" * 2_000_000)
    (file,) = scan_path(tmp_path / "x").files
    assert [one.id for one in file.findings] == ["file.unscanned"]
    assert signal.getitimer(signal.ITIMER_PROF) == (0.0, 0.0)
