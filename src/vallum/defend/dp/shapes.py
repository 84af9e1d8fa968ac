"""Sizes of batches in which nobody's arithmetic depends on who else is there.

Libraries choose a product's kernel by its shape, and kernels add up in different orders: a sample
of a batch of seven is rounded otherwise than in a batch of six. Where a network is saturated such a
difference becomes a large one, in gradients that are not those of the sample that was left out, and
that no clipping bounds. So a batch is filled up to one of few sizes, of which a trial has shown
that they give every sample the same bits. This module imports torch.
"""

import contextlib
import math
import warnings
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import nn

from vallum.base import VallumError
from vallum.defend.dp.modules import Attention

_SIZES = 16
_TINY = 64  # below it, kernels also look at a sample's place
_CHUNK = 2**18  # numbers whose bits are added up at a time
_WHOLE = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}

Precisions = frozenset[torch.dtype | None]
Trial = Callable[[Sequence[int], Precisions], torch.Tensor]


class Shapes:
    """To which sizes the batches of one training are filled, for each precision."""

    def __init__(self, largest: int, trial: Trial) -> None:
        """Store.

        Args:
            largest: Size of the largest batch, >= 1.
            trial: Runs passes over records at the places given, one in each precision, and returns
                bits (k, n) of all that it computed about each of them; it raises VallumError if the
                model answers nothing about them.
        """
        self._largest = largest
        self._trial = trial
        self._alike: dict[Precisions, list[int]] = {}
        self._step = -(-largest // _SIZES)
        self._open: set[Precisions] = set()

    def fill(self, places: list[int], precisions: Precisions) -> list[int]:
        """Return `places` and as many of them again as the next size needs.

        Args:
            places: Numbers of records, at least one and at most `largest`.
            precisions: In which passes ran until now; None is the parameters' own.
        """
        size = self.size(len(places), precisions)
        return [places[at % len(places)] for at in range(size)]

    def size(self, count: int, precisions: Precisions) -> int:
        """Return the size to which a batch of `count` is filled: before any pass, the largest."""
        if not precisions:
            return self._largest
        alike = self._sizes(precisions)
        if precisions in self._open and alike[-1] - self._step >= count:
            self._shrink(precisions, alike, count)
        return min(one for one in alike if one >= count)

    def fits(self, size: int, precisions: Precisions) -> bool:
        """Tell whether passes in `precisions` may have batches of this size."""
        return size in self._sizes(precisions)

    def _sizes(self, precisions: Precisions) -> list[int]:
        if precisions not in self._alike:
            self._alike[precisions] = [self._settled(precisions)]
        return self._alike[precisions]

    def _settled(self, precisions: Precisions) -> int:
        """Return the least size, not below the largest batch, in which no place differs."""
        size = self._largest
        while True:
            with contextlib.suppress(VallumError):
                whole = self._trial(range(size), precisions)
                if torch.equal(whole.roll(-1, 1), self._trial([*range(1, size), 0], precisions)):
                    self._open.add(precisions)
                    return size
            if size >= _TINY:
                break
            size *= 2
        warnings.warn(
            "what is computed about a sample depends in its last bits on the samples beside it: "
            "the accounted sensitivity does not cover that; where torch runs on MKL, start Python "
            "with MKL_CBWR=AUTO in the environment",
            RuntimeWarning,
            stacklevel=2,
        )
        return self._largest

    def _shrink(self, precisions: Precisions, alike: list[int], count: int) -> None:
        """Try smaller sizes down to `count`; at the first that differs the search is over."""
        with contextlib.suppress(VallumError):
            whole = self._trial(range(alike[0]), precisions)
            while (size := alike[-1] - self._step) >= count:
                if not torch.equal(whole[:, :size], self._trial(range(size), precisions)):
                    break
                alike.append(size)
            else:
                return
        self._open.remove(precisions)


def bits(pieces: Sequence[torch.Tensor]) -> torch.Tensor:
    """Return a number (n,) for each sample of tensors that have n together, (., ...)."""
    return torch.cat([_bits(one.detach().reshape(len(one), -1)) for one in pieces])


def _bits(rows: torch.Tensor) -> torch.Tensor:
    # Odd factors have inverses modulo 2^64: no single change is lost.
    factors = torch.arange(1, 2 * rows.shape[1], 2, device=rows.device)
    kind = _WHOLE[rows.element_size()]
    parts = rows.split(max(1, _CHUNK // max(1, rows.shape[1])))
    return torch.cat([(part.contiguous().view(kind) * factors).sum(1) for part in parts])


def signal(answer: torch.Tensor) -> torch.Tensor:
    """Return one number a sample (n,) of what a model answers, with a slope everywhere."""
    rows = answer.reshape(len(answer), -1)
    slopes = torch.arange(rows.shape[1], device=rows.device, dtype=torch.float32).cos()
    return (rows * slopes.to(rows.dtype)).sum(1)


@contextlib.contextmanager
def without_chance(model: nn.Module) -> Iterator[None]:
    """Have nothing be dropped by chance, and leave chance elsewhere as it was."""
    chosen = [
        one
        for one in model.modules()
        if one.training and isinstance(one, (nn.modules.dropout._DropoutNd, Attention))  # noqa: SLF001 - the base of them all
    ]
    devices = {one.device for one in model.parameters() if one.device.type == "cuda"}
    with torch.random.fork_rng(devices=list(devices)):
        torch.manual_seed(0)
        try:
            for one in chosen:
                one.training = False  # itself, not its layers
            yield
        finally:
            for one in chosen:
                one.training = True


def largest(physical: int, expected: float, records: int) -> int:
    """Return the size of the largest batch: rarely more than one is drawn, if it may be so large.

    Args:
        physical: What is the most.
        expected: Size of the batches that are drawn, in the mean, > 0.
        records: How many there are, >= 1.
    """
    return min(physical, records, math.ceil(expected + 4 * math.sqrt(expected)))
