"""Detection and false alarms of `vallum scan` on corpora made from a seed, beside the peers.

    SCAN_PEERS=FOLDER benchmarks/scan_held_out.py [seed] [round]

The samples are in `held_out/`: hostile ones assembled bytewise, harmless ones written by the real
libraries; round 1 was written before the scanner was measured on it, and the figures of that first
measurement are in RESULTS.md, whatever was mended since. No sample is loaded by anybody. "Refused"
is exit 1; "not clean" also counts what passes with a reservation (`data_like`). Categories
that begin with "borderline" or "beyond" are shown but not counted: formats that carry code by
design, that no loader of ours reads, or that the development corpus does not have. FOLDER holds an
environment a peer (docs/adr/0088).
"""

import os
import platform
import sys
import tempfile
import warnings
from collections import defaultdict
from pathlib import Path, PurePosixPath

import numpy as np
from held_out import Sample
from held_out.run_peers import PEERS, peer, share

from vallum.scan import ScanVerdict, scan_path


def made(seed: int, which: int) -> tuple[list[Sample], list[Sample]]:
    """Return hostile and harmless samples."""
    from held_out import (
        bad_containers,
        bad_formats,
        bad_pickles,
        fifth_bad,
        fifth_good,
        fourth_bad,
        fourth_good,
        good_networks,
        good_tables,
        second_bad,
        second_good,
        seventh_bad,
        seventh_good,
        sixth_bad,
        sixth_good,
        third_bad,
        third_good,
    )

    first = ((bad_pickles, bad_containers, bad_formats), (good_tables, good_networks))
    later = {
        2: ((second_bad,), (second_good,)),
        3: ((third_bad,), (third_good,)),
        4: ((fourth_bad,), (fourth_good,)),
        5: ((fifth_bad,), (fifth_good,)),
        6: ((sixth_bad,), (sixth_good,)),
        7: ((seventh_bad,), (seventh_good,)),
    }
    hostile, harmless = later.get(which, first)
    os.environ.setdefault("KERAS_BACKEND", "torch")
    np.random.seed(seed)  # noqa: NPY002 - scikit-learn's estimators draw from it
    rng = np.random.default_rng(seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # duplicate members are meant
        bad = [s for part in hostile for s in part.samples(rng)]
        good = [s for part in harmless for s in part.samples(rng)]
    return bad, good


def write(sample: Sample, folder: Path) -> Path:
    """Write a sample; a folder if it has more than one file."""
    folder.mkdir(parents=True)
    for name, data in sample.files.items():
        path = folder / PurePosixPath(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return path if len(sample.files) == 1 else folder


def ours(paths: list[Path]) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    for path in paths:
        report = scan_path(path, digest=False)
        first = next((f"{f.id}: {f.message}" for r in report.files for f in r.findings), "")
        clean = report.verdict is ScanVerdict.CLEAN
        rows.append({"flagged": report.exit_code == 1, "strict": not clean, "error": first})
    return rows


def main() -> None:
    seed = int(sys.argv[1]) if len(sys.argv) > 1 else 1
    which = int(sys.argv[2]) if len(sys.argv) > 2 else 1
    bad, good = made(seed, which)
    print(f"{platform.machine()}, Python {platform.python_version()}, seed {seed}, round {which}\n")
    with tempfile.TemporaryDirectory() as name:
        samples = [(True, s) for s in bad] + [(False, s) for s in good]
        paths = [write(s, Path(name) / f"{at:05d}") for at, (_, s) in enumerate(samples)]
        rows = {"vallum": ours(paths)}
        if peers := os.environ.get("SCAN_PEERS", ""):
            for one in PEERS:
                found = peer(Path(peers), one, paths)
                if found is None:
                    print(f"{one} is not installed: left out\n")
                else:
                    rows[one] = found
        else:
            print("The peers were not run: SCAN_PEERS names no folder.\n")
    counts: dict[tuple[bool, str], list[int]] = defaultdict(lambda: [0, 0, 0])
    for (hostile, sample), row in zip(samples, rows["vallum"], strict=True):
        count = counts[hostile, sample.category]
        count[0] += 1
        count[1] += bool(row["flagged"])
        count[2] += bool(row["strict"])
    print("| label | category | samples | refused | not clean |\n|---|---|---|---|---|")
    for (hostile, category), (total, flagged, strict) in sorted(counts.items()):
        label = "hostile" if hostile else "harmless"
        print(f"| {label} | {category} | {total} | {flagged} | {strict} |")
    print("\n| tool | hostile refused | hostile not clean | harmless refused | broke |")
    print("|---|---|---|---|---|")
    counted = [not s.category.startswith(("borderline", "beyond")) for _, s in samples]
    for tool, found in rows.items():
        hostile = [r for (is_bad, _), r in zip(samples, found, strict=True) if is_bad]
        harmless = [
            r for (is_bad, _), r, c in zip(samples, found, counted, strict=True) if not is_bad and c
        ]
        broke = sum(bool(r["error"]) for r in found) if tool != "vallum" else 0
        alarms = [sum(bool(r[level]) for r in harmless) for level in ("flagged", "strict")]
        print(
            f"| {tool} | {share(sum(bool(r['flagged']) for r in hostile), len(hostile))}"
            f" | {share(sum(bool(r['strict']) for r in hostile), len(hostile))}"
            f" | {share(alarms[0], len(harmless))}"
            + (f"; strict {share(alarms[1], len(harmless))}" if tool != "vallum" else "")
            + f" | {broke} |"
        )
    beyond = [
        row
        for (_, sample), row in zip(samples, rows["vallum"], strict=True)
        if sample.category.startswith("beyond")
    ]
    if beyond:
        refused = share(sum(bool(row["flagged"]) for row in beyond), len(beyond))
        print(f"\nBeyond the development corpus's classes, harmless: {refused} refused by vallum.")
    print()
    for (hostile, sample), row in zip(samples, rows["vallum"], strict=True):
        where = f"{sample.category}: {sample.name}"
        if hostile and not row["flagged"]:
            print(f"missed: {where}{' (not clean)' if row['strict'] else ' (CLEAN)'}")
        elif not hostile and row["flagged"]:
            print(f"refused: {where}: {row['error']}")


if __name__ == "__main__":
    main()
