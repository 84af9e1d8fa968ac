"""Run one peer over the samples named on standard input; each peer's own interpreter runs this.

    FOLDER/picklescan/bin/python held_out/peers.py picklescan < paths

For each path a line of JSON comes out: `flagged`, what the peer refuses at its default level;
`strict`, what it does not call safe at its strictest level; `error` if it broke or was too slow,
and `seen`, whether it looked at anything at all. A peer that breaks has not refused by default (its
program ends with a code for errors, not for findings), and is counted as strict.
"""

import contextlib
import io
import json
import logging
import os
import signal
import sys
from pathlib import Path
from typing import Any

LIMIT_S = 60


def picklescan(path: Path) -> dict[str, Any]:
    from picklescan.scanner import SafetyLevel, scan_directory_path, scan_file_path

    done = (scan_directory_path if path.is_dir() else scan_file_path)(str(path))
    unsure = any(g.safety != SafetyLevel.Innocuous for g in done.globals)
    return {
        "flagged": done.issues_count > 0,
        "strict": done.issues_count > 0 or unsure or done.scan_err,
        "error": "scan error" if done.scan_err else "",
        "seen": done.scanned_files > 0,
    }


def modelscan(path: Path) -> dict[str, Any]:
    from modelscan.modelscan import ModelScan

    scan = ModelScan()
    scan.scan(path)
    found = len(scan.issues.all_issues)
    return {
        "flagged": found > 0,
        "strict": found > 0 or bool(scan.errors),
        "error": str(scan.errors[0])[:200] if scan.errors else "",
        "seen": bool(scan.scanned),
    }


def fickling(path: Path) -> dict[str, Any]:
    from fickling.analysis import Severity, check_safety
    from fickling.fickle import StackedPickle
    from fickling.loader import scan_zip_archive

    worst, broke, seen = Severity.LIKELY_SAFE, "", False
    for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
        if not file.is_file():
            continue
        try:
            if file.read_bytes()[:4] == b"PK\x03\x04":
                results = scan_zip_archive(str(file))
                found = [r.severity for r in results.values()]
            else:
                with file.open("rb") as opened:
                    stack = StackedPickle.load(opened, fail_on_decode_error=False)
                found = [check_safety(one).severity for one in stack]
            seen = seen or bool(found)
            worst = max([worst, *found])
        except Exception as error:  # noqa: BLE001 - as its program reports it
            broke = f"{type(error).__name__}: {error}"[:200]
    unsafe = worst > Severity.LIKELY_SAFE
    return {"flagged": unsafe, "strict": unsafe or bool(broke), "error": broke, "seen": seen}


def modelaudit(path: Path) -> dict[str, Any]:
    from modelaudit.core import scan_model_directory_or_file

    done = scan_model_directory_or_file(str(path), cache_enabled=False)
    levels = {str(getattr(i.severity, "value", i.severity)) for i in done.issues}
    return {
        "flagged": "critical" in levels,
        "strict": bool(levels & {"critical", "warning"}) or done.has_errors,
        "error": "scan error" if done.has_errors else "",
        "seen": done.files_scanned > 0,
    }


def late(*_: object) -> None:
    raise TimeoutError(f"not done in {LIMIT_S} s")


def main() -> None:
    work = {f.__name__: f for f in (picklescan, modelscan, fickling, modelaudit)}[sys.argv[1]]
    logging.disable(logging.CRITICAL)
    signal.signal(signal.SIGALRM, late)
    out = os.fdopen(os.dup(1), "w")
    os.environ.update(NO_ANALYTICS="1", PROMPTFOO_DISABLE_TELEMETRY="1")
    for line in sys.stdin:
        path = Path(line.rstrip("\n"))
        signal.alarm(LIMIT_S)
        try:
            with (
                contextlib.redirect_stdout(io.StringIO()),
                contextlib.redirect_stderr(io.StringIO()),
            ):
                result = work(path)
        except BaseException as error:  # noqa: BLE001 - a peer that breaks is a row too
            broke = f"{type(error).__name__}: {error}"[:200]
            result = {"flagged": False, "strict": True, "error": broke, "seen": False}
        signal.alarm(0)
        out.write(json.dumps(result) + "\n")
        out.flush()


if __name__ == "__main__":
    main()
