"""Several processes of ours over batches: what a function of the checks wing takes as `run`.

They are no sandboxes: what an offline verb reads, it reads with its user's rights.
"""

import contextlib
import multiprocessing
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

from vallum.base import Run, UnavailableError
from vallum.base.run import A, B


@contextlib.contextmanager
def process_pool(workers: int | None = None) -> Iterator[Run]:
    """Yield what applies a function to batches in processes that end with the block.

    Args:
        workers: How many; as many as there are processors for us if nothing.

    Raises:
        UnavailableError: A process was ended from outside, for want of memory for instance.
    """
    count = len(os.sched_getaffinity(0)) if workers is None else workers
    context = multiprocessing.get_context("spawn")  # forking would copy the locks of threads
    with ProcessPoolExecutor(count, mp_context=context) as pool:

        def run(function: Callable[[A], B], batches: Iterable[A], /) -> Iterator[B]:
            try:
                yield from pool.map(function, batches)
            except BrokenProcessPool as error:
                raise UnavailableError(
                    "a process of this command was ended from outside",
                    hint="is there enough memory? Ask for less at once",
                ) from error

        yield run
