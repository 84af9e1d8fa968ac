"""Start the peers, each in its own environment, and read what they conclude."""

import json
import subprocess
from pathlib import Path

PEERS = ("picklescan", "modelscan", "fickling", "modelaudit")


def peer(folder: Path, name: str, paths: list[Path]) -> list[dict[str, object]] | None:
    program = folder / name / "bin" / "python"
    if not program.exists():
        return None
    here = Path(__file__).with_name("peers.py")
    done = subprocess.run(
        [program, here, name], input="\n".join(map(str, paths)) + "\n", text=True,
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True, cwd=paths[0].parent,
    )  # fmt: skip
    return [json.loads(line) for line in done.stdout.splitlines()]


def share(hits: int, total: int) -> str:
    return f"{hits} of {total} ({hits / total:.1%})"
