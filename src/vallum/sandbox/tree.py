"""How much memory a process and all its descendants hold now, as the kernel tells."""

from pathlib import Path

_PROC = Path("/proc")
_COUNTED = ("RssAnon:", "RssShmem:")  # pages of files can be dropped at any time
_MAX_PROCESSES = 4096


def held_bytes(pid: int) -> int:
    """Return the resident memory of `pid` and its descendants, without mapped files.

    Processes that end while we look count as nothing.
    """
    total = 0
    waiting, seen = [pid], 0
    while waiting and seen < _MAX_PROCESSES:
        at = waiting.pop()
        seen += 1
        total += _held(at)
        waiting += _children(at)
    return total


def _held(pid: int) -> int:
    try:
        text = (_PROC / str(pid) / "status").read_text(encoding="ascii", errors="replace")
    except OSError:
        return 0
    return sum(
        int(line.split()[1]) * 1024 for line in text.splitlines() if line.startswith(_COUNTED)
    )


def _children(pid: int) -> list[int]:
    """Return the children of every thread of `pid`."""
    found: list[int] = []
    try:
        for task in (_PROC / str(pid) / "task").iterdir():
            found += map(int, (task / "children").read_text(encoding="ascii").split())
    except OSError:
        return found
    return found
