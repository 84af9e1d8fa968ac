"""Detection and false alarms of `vallum.scan` on the development corpus, beside the peers.

    SCAN_PEERS=FOLDER benchmarks/scan_corpus.py [folder with corpus.tar.xz and manifest.jsonl]

Then the same files lie in a folder `COPIES` times, and a scan of it in one process stands beside
one in a process for each processor, in turns: time, and time of the processors, children included.

The files are bytes to us: none is loaded. A file with the label `inert` is not scored. FOLDER holds
an environment a peer (docs/adr/0088); `held_out/peers.py` says what counts as refused by default
and strictly. Ours was tuned on this corpus: what was not seen is in `scan_held_out.py`.
"""

import json
import os
import platform
import resource
import sys
import tarfile
import tempfile
import time
from collections import defaultdict
from pathlib import Path

from held_out.run_peers import PEERS, peer, share

from vallum.scan import ScanVerdict, scan_bytes, scan_path

CORPUS = Path(__file__).resolve().parents[2] / "shared" / "data" / "scan"
COPIES, ROUNDS = 32, 2


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else CORPUS
    rows = [json.loads(line) for line in (folder / "manifest.jsonl").read_text().splitlines()]
    with tarfile.open(folder / "corpus.tar.xz") as archive:
        data = {}
        for info in archive:
            file = archive.extractfile(info)
            if file is not None:
                data[info.name.removeprefix("./")] = file.read()
    counts: dict[tuple[str, str], list[int]] = defaultdict(lambda: [0, 0])
    missed, alarms = [], []
    begun = time.perf_counter()
    for row in rows:
        report = scan_bytes(row["path"], data[row["path"]])
        flagged = report.exit_code == 1
        count = counts[row["label"], row["cls"]]
        count[0] += 1
        count[1] += flagged
        if row["label"] == "mal" and not flagged:
            missed.append(row["path"])
        if row["label"] == "ben" and flagged:
            first = report.files[0].findings[0]
            alarms.append(f"{row['path']}: {first.id}: {first.message}")
    took = time.perf_counter() - begun
    print(f"{platform.machine()}, Python {platform.python_version()}, {len(rows)} files\n")
    print("| label | class | files | flagged |\n|---|---|---|---|")
    for (label, name), (total, flagged) in sorted(counts.items()):
        print(f"| {label} | {name} | {total} | {flagged} |")
    for label, what in (("mal", "detection"), ("ben", "false alarms")):
        total = sum(c[0] for k, c in counts.items() if k[0] == label)
        hit = sum(c[1] for k, c in counts.items() if k[0] == label)
        print(f"\n{what}: {hit} of {total} = {hit / total:.2%}")
    print(f"\n{took / len(rows) * 1e3:.2f} ms a file, digest included\n")
    at_once([row["path"] for row in rows], data)
    if folder_of_peers := os.environ.get("SCAN_PEERS", ""):
        beside(Path(folder_of_peers), rows, data)
    else:
        print("The peers were not run: SCAN_PEERS names no folder.\n")
    for path in missed:
        print(f"missed: {path}")
    for alarm in alarms:
        print(f"false alarm: {alarm}")


def at_once(names: list[str], data: dict[str, bytes]) -> None:
    """Print what a scan of a folder takes in one process and in one a processor; reports agree."""
    processors = len(os.sched_getaffinity(0))
    taken: dict[int, list[tuple[float, float]]] = {1: [], processors: []}
    with tempfile.TemporaryDirectory() as name:
        for copy in range(COPIES):
            for at, path in enumerate(names):
                file = Path(name) / f"{copy}" / f"{at:05d}" / Path(path).name
                file.parent.mkdir(parents=True)
                file.write_bytes(data[path])
        reports = set()
        for _ in range(ROUNDS):
            for workers, times in taken.items():
                begun, used = time.perf_counter(), cpu()
                reports.add(scan_path(Path(name), workers=workers))
                times.append((time.perf_counter() - begun, cpu() - used))
    print(
        f"a folder of {COPIES * len(names)} files; the reports are the same: {len(reports) == 1}\n"
    )
    print("| processes | s, best | s of processors |\n|---|---|---|")
    for workers, times in taken.items():
        print(f"| {workers} | {min(t[0] for t in times):.2f} | {min(t[1] for t in times):.2f} |")
    print(flush=True)


def cpu() -> float:
    """Return the seconds of processor of this process and its children that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def beside(folder: Path, rows: list[dict[str, str]], data: dict[str, bytes]) -> None:
    """Print a row a tool and level: malicious files found, benign files refused."""
    scored = [row for row in rows if row["label"] in ("mal", "ben")]
    results: dict[str, list[dict[str, object]] | None] = {"vallum": []}
    for row in scored:
        report = scan_bytes(row["path"], data[row["path"]], digest=False)
        clean = report.verdict is ScanVerdict.CLEAN
        results["vallum"] += [{"flagged": report.exit_code == 1, "strict": not clean, "error": ""}]  # type: ignore[operator]
    print("| tool | level | malicious found | benign refused | broke |\n|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as name:
        paths = []
        for at, row in enumerate(scored):
            paths.append(Path(name) / f"{at:05d}" / Path(row["path"]).name)
            paths[-1].parent.mkdir()
            paths[-1].write_bytes(data[row["path"]])
        for tool in ("vallum", *PEERS):
            found = results["vallum"] if tool == "vallum" else peer(folder, tool, paths)
            if found is None:
                print(f"| {tool} | not installed | | | |")
                continue
            broke = sum(bool(one["error"]) for one in found)
            for level, key in (("default", "flagged"), ("strict", "strict")):
                hits = {
                    label: [bool(one[key]) for one, row in zip(found, scored, strict=True)
                            if row["label"] == label]
                    for label in ("mal", "ben")
                }  # fmt: skip
                shown = [share(sum(hits[label]), len(hits[label])) for label in ("mal", "ben")]
                print(f"| {tool} | {level} | {shown[0]} | {shown[1]} | {broke} |", flush=True)
    print()


if __name__ == "__main__":
    main()
