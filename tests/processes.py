"""Processes that others started, for tests that look at them or end them."""

import contextlib
from pathlib import Path


def below(pid: int) -> dict[int, str]:
    """Return the processes that a process started, and theirs, with their commands."""
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                parents.setdefault(int(fields[1]), []).append(int(entry.name))
    found, left = {}, [pid]
    while left:
        for one in parents.get(left.pop(), []):
            left.append(one)
            with contextlib.suppress(OSError):
                found[one] = (
                    (Path(f"/proc/{one}") / "cmdline").read_bytes().decode(errors="replace")
                )
    return found
