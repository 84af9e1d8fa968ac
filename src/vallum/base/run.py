"""How work over batches is run: one after the other, or by several processes."""

from collections.abc import Callable, Iterable, Iterator
from typing import Protocol, TypeVar

A = TypeVar("A")
B = TypeVar("B")


class Run(Protocol):
    """Applies a function to batches; the results come in the batches' order."""

    def __call__(self, function: Callable[[A], B], batches: Iterable[A], /) -> Iterator[B]:
        """Yield `function(batch)` of each batch."""
        ...


def run_here(function: Callable[[A], B], batches: Iterable[A], /) -> Iterator[B]:
    """Apply a function to one batch after the other, in this thread."""
    return map(function, batches)
