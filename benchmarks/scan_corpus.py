"""Detection and false alarms of `vallum.scan` on the development corpus, by class.

Run: .venv/bin/python benchmarks/scan_corpus.py [folder with corpus.tar.xz and manifest.jsonl]
The files are bytes to us: none is loaded. A file with the label `inert` is not scored.
"""

import json
import platform
import sys
import tarfile
import time
from collections import defaultdict
from pathlib import Path

from vallum.scan import scan_bytes

CORPUS = Path(__file__).resolve().parents[2] / "shared" / "data" / "scan"


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
    for path in missed:
        print(f"missed: {path}")
    for alarm in alarms:
        print(f"false alarm: {alarm}")


if __name__ == "__main__":
    main()
