"""Progress of what takes longer than a second: on stderr, on a terminal only, never for `--json`.

One helper for a known amount of work (a bar), an unknown one (a count), and mere waiting (a
spinner with the time that has passed).
"""

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

AFTER_S = 1.0

Advance = Callable[[int], None]


@dataclass(slots=True)
class Display:
    """Whether this command may show progress at all; with `--json` it may not."""

    quiet: bool = False


DISPLAY = Display()


@contextmanager
def progress(
    text: str, *, total: int | None = None, unit: Literal["bytes", "files", "steps", ""] = ""
) -> Iterator[Advance]:
    """Show how far something is, once it has taken a second; yields what to call as it goes on.

    Args:
        text: What is going on, such as `receiving`.
        total: Amount of work; unknown if None.
        unit: What is counted; empty where there is nothing to count.
    """
    if DISPLAY.quiet or not sys.stderr.isatty():
        yield _nothing
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        MofNCompleteColumn,
        Progress,
        ProgressColumn,
        SpinnerColumn,
        TextColumn,
        TimeElapsedColumn,
    )

    columns: list[ProgressColumn] = [SpinnerColumn(), TextColumn("{task.description}")]
    if total is not None:
        columns.append(BarColumn())
    if unit:
        columns.append(DownloadColumn() if unit == "bytes" else MofNCompleteColumn())
    columns.append(TimeElapsedColumn())
    display = Progress(
        *columns,
        console=Console(stderr=True),
        transient=True,
        redirect_stdout=sys.stdout.isatty(),  # else the result would leave its pipe
    )
    task = display.add_task(text, total=total)
    later = threading.Timer(AFTER_S, display.start)
    later.daemon = True
    later.start()
    try:
        yield lambda amount: display.advance(task, amount)
    finally:
        later.cancel()
        later.join()  # a display that starts after this would never stop
        display.stop()


def _nothing(amount: int) -> None:
    """Advance nothing that anybody sees."""
