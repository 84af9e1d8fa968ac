"""Private steps: sample, clip by book-keeping, add noise, step. This module imports torch."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import nn

from vallum.base import ConflictError, InputError
from vallum.defend.dp import memory
from vallum.defend.dp import model as models
from vallum.defend.dp.contributions import Contribution
from vallum.defend.dp.layers import Room
from vallum.defend.dp.noise import BLOCK, add_noise
from vallum.defend.dp.problems import Problem
from vallum.defend.dp.sampling import poisson_sample
from vallum.defend.dp.shapes import Precisions, Shapes, bits, largest, signal, without_chance
from vallum.defend.dp.spend import SLACK, Spend

_PROBES = (3, 5)
"""Sizes of the batches on which the model is tried: no axis of a layer has both."""
_ALIKE = 1e-3

Indices = Sequence[int]
Rows = Callable[[Indices], tuple[torch.Tensor, ...]]


class Trainer:
    """A model under private training: holds its ledgers, and the steps that are left.

    One logical batch may come in several physical ones; what they add up to is clipped sample by
    sample, and noise is added once. A physical batch may end with samples of its own again, which
    count for nothing: see `vallum.defend.dp.shapes`. Made by `make_private`.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        rows: Rows,
        *,
        spend: Spend,
        physical_batch: int,
        replaced: tuple[Problem, ...] = (),
    ) -> None:
        """Store; `vallum.defend.dp.make_private` checks and attaches."""
        self.model = model
        self.optimizer = optimizer
        self.spend = spend
        self.replaced = tuple(str(one) for one in replaced)
        self._rows = rows
        self._expected = spend.sampling_rate * spend.records
        self._physical = largest(physical_batch, self._expected, spend.records)
        self._shapes = Shapes(self._physical, self._bits)
        self._parameters = [one for one in model.parameters() if one.requires_grad]
        self._sums: list[torch.Tensor] | None = None
        self._drawn: int | None = None
        self._steps = 0
        self._room = Room()
        self._ledgers = models.attach(model, self._room)
        memory.keep_freed()

    @property
    def steps_left(self) -> int:
        """Return how many noisy steps `spend` still pays for."""
        return self.spend.steps - self._steps

    @property
    def _precisions(self) -> Precisions:
        return frozenset(self._room.precisions)

    def batches(self, *, steps: int | None = None) -> Iterator[tuple[torch.Tensor, ...]]:
        """Yield physical batches of Poisson samples; after each, call `step`.

        A logical batch may be empty: then noise alone makes the step, and nothing is yielded.

        Args:
            steps: How many logical batches; all that are left, if not given.

        Raises:
            ConflictError: A batch was yielded and `step` was not called for it.
        """
        wanted = self.steps_left if steps is None else min(steps, self.steps_left)
        first_of_all = not self._precisions
        for _ in range(wanted):
            drawn = poisson_sample(self.spend.records, self.spend.sampling_rate)
            for first in range(0, len(drawn), self._physical):
                places = drawn[first : first + self._physical].tolist()
                filled = self.filled(places)
                yield from self._stepped(filled, len(places))
                # The first step tells in which precision the passes run; a tiny batch may then be
                # found to be of a wrong size, and is taken anew.
                if first_of_all and not self._shapes.fits(len(filled), self._precisions):
                    self._sums = None
                    yield from self._stepped(self.filled(places), len(places))
                first_of_all = False
            self._finish()

    def _stepped(self, places: list[int], drawn: int) -> Iterator[tuple[torch.Tensor, ...]]:
        """Yield a physical batch, of which the first so many count, and see that it is used."""
        self._drawn = drawn
        yield self._rows(places)
        if self._drawn is not None:
            raise ConflictError(
                "a batch was taken and no step was made of it",
                code="defend.dp.step",
                hint="call step(losses) once for every batch",
            )

    def step(self, losses: torch.Tensor) -> None:
        """Run the backward pass of a physical batch, and clip what each sample contributes.

        The noise is added, and the optimizer steps, when the logical batch is complete.

        Args:
            losses: One loss for each sample of the batch, (n,): a loss of `reduction="none"`.

        Raises:
            InputError: It is not one loss a sample, or a layer does not keep samples apart.
            ConflictError: No batch waits for a step.
        """
        if self._drawn is None:
            raise ConflictError(
                "no batch waits for a step", code="defend.dp.step",
                hint="for batch in trainer.batches(): trainer.step(losses)",
            )  # fmt: skip
        total = self.clipped(losses, self._drawn)
        if self._sums is not None:
            held = zip(self._sums, total, strict=True)
            total = [one.to(torch.float64).add_(more) for one, more in held]
        self._sums = total
        self._drawn = None

    def filled(self, places: list[int]) -> list[int]:
        """Return the records of a physical batch: `places`, and some of them again.

        Args:
            places: Numbers of records, at least one, at most as many as the largest batch has.
        """
        return self._shapes.fill(places, self._precisions)

    def clipped(self, losses: torch.Tensor, drawn: int | None = None) -> list[torch.Tensor]:
        """Return the sum over samples of clipped gradients, one tensor a trained parameter.

        This is not private: `step` adds the noise. It is here for those who check the clipping.

        Args:
            losses: As of `step`.
            drawn: How many count, from the first; all, if not given.

        Raises:
            InputError: As of `step`.
        """
        if losses.ndim != 1:
            raise InputError(
                f"expected one loss a sample, got {tuple(losses.shape)}",
                code="defend.dp.losses",
                hint='make the loss with reduction="none"',
            )
        parts = self._parts(losses)
        self._refuse_gradients()
        with torch.no_grad():
            return self._weighted(parts, len(losses) if drawn is None else drawn)

    def release(self) -> nn.Module:
        """Return the model as it was handed over, trained; nothing of this trainer stays in it."""
        models.detach(self.model)
        memory.give_back()
        return self.model

    def _parts(self, losses: torch.Tensor) -> list[Contribution]:
        """Run the backward pass; return what the layers recorded."""
        try:
            for ledger in self._ledgers:
                ledger.samples = len(losses)
            losses.sum().backward()
        finally:
            for ledger in self._ledgers:
                ledger.samples = None
            parts = [one for ledger in self._ledgers for one in ledger.take()]
            self._room.begin()
        return parts

    def _bits(self, places: Indices, precisions: Precisions) -> torch.Tensor:
        """Return bits (k, n) of all that passes compute about each of n samples.

        They are noise, the same at a place each time, where records are floating-point numbers:
        the size of a batch is not to be chosen by what the records say.
        """
        if not self.model.training:
            raise ConflictError("the model is not in training mode", code="defend.dp.model")
        found = []
        for precision in precisions:
            device = self._parameters[0].device.type
            cast = torch.autocast(device, precision, enabled=precision is not None)
            with without_chance(self.model), torch.enable_grad(), cast:
                given = self._rows([at % self.spend.records for at in places])[0]
                if isinstance(given, torch.Tensor) and given.is_floating_point():
                    given = torch.randn(len(given), *given.shape[1:])[places].to(given)
                try:
                    answer = _answer(self.model(given))
                    parts = self._parts(signal(answer))
                except Exception as error:
                    # Whatever a model raises about records that nobody else would ask it about.
                    raise InputError("the model answers nothing", code="defend.dp.model") from error
            found.append(bits([answer]))
            found.extend(bits(one) for part in parts for one in part.recorded())
        return torch.stack(found)

    def _refuse_gradients(self) -> None:
        """Refuse what reached a parameter around its layer."""
        for name, one in self.model.named_parameters():
            if one.requires_grad and one.grad is not None:
                self.optimizer.zero_grad(set_to_none=True)
                raise InputError(
                    f"`{name}` is used outside of its layer's own call",
                    code="defend.dp.layer",
                    hint="call the layer, in training mode; do not read its weight in `forward`",
                )

    def _weighted(self, parts: list[Contribution], drawn: int) -> list[torch.Tensor]:
        """Return what those of the first samples sum up to, clipped; `parts` is empty then."""
        if not parts:
            return [torch.zeros_like(one) for one in self._parameters]
        norms = torch.stack([one.norms() for one in parts])
        lost = ~torch.isfinite(norms).all(dim=0)
        if bool(lost.any()):
            # A sample whose gradient is no number contributes nothing.
            for part in parts:
                part.drop(lost)
            norms = norms.masked_fill(lost[None], 0)
        length = torch.linalg.vector_norm(norms, dim=0, dtype=torch.float64)
        bound = self.spend.max_grad_norm * (1 - SLACK)
        weights = (bound / length.clamp(min=1e-300)).clamp(max=1.0).to(torch.float32)
        weights[drawn:] = 0
        # Tied parameters are refused: each has one part, or none where its layer was not called.
        found = {}
        while parts:  # each is let go at once
            part = parts.pop()
            found[id(part.parameter)] = part.weighted(weights)
        return [
            found[id(one)] if id(one) in found else torch.zeros_like(one)
            for one in self._parameters
        ]

    def _finish(self) -> None:
        """Add noise to the sum of the logical batch, and step."""
        sums = self._sums
        if sums is None:
            sums = [torch.zeros_like(one) for one in self._parameters]
        self._sums = None
        alike: dict[tuple[torch.device, torch.dtype], list[int]] = {}
        for at, one in enumerate(self._parameters):
            alike.setdefault((one.device, one.dtype), []).append(at)
        for places in alike.values():
            chosen = [self._parameters[at] for at in places]
            flat = self._released(torch.cat([sums[at].flatten() for at in places]), chosen[0].dtype)
            for one, piece in zip(chosen, flat.split([one.numel() for one in chosen]), strict=True):
                one.grad = piece.view_as(one)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self._steps += 1

    def _released(self, total: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
        """Return a sum (count,) with noise, over the expected batch, in the precision `dtype`."""
        deviation = self.spend.noise_multiplier * self.spend.max_grad_norm
        out = total if total.dtype == dtype else torch.empty_like(total, dtype=dtype)
        for kept, part in zip(out.split(BLOCK), total.split(BLOCK), strict=True):
            # In double precision, a block at a time: all of it would be more memory than the sum.
            kept.copy_(add_noise(part.to(torch.float64), deviation).mul_(1 / self._expected))
        return out


def check_apart(model: nn.Module, rows: Rows, records: int) -> None:
    """Try whether what the model answers about a sample depends on the others of its batch.

    Two batches that share their first sample must get the same answer about it. This finds what
    normalises over the batch; it is a trial, not a proof.

    Raises:
        InputError: It does.
    """
    if records < _PROBES[1]:
        return
    training = model.training
    model.train()
    devices = {one.device for one in model.parameters() if one.device.type == "cuda"}
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=list(devices)):
            answers = []
            for others in (range(1, _PROBES[0]), range(_PROBES[0], 2 * _PROBES[0] - 1)):
                torch.manual_seed(0)
                answers.append(_answer(model(rows([0, *others])[0]))[0].double())
    finally:
        model.train(training)
    scale = max(float(answers[0].abs().max()), 1e-6)
    if float((answers[0] - answers[1]).abs().max()) > _ALIKE * scale:
        raise InputError(
            "what the model answers about a sample depends on the other samples of its batch",
            code="defend.dp.mixing",
            hint="no part of `forward` may compute over the first axis",
        )


def _answer(answer: Any) -> torch.Tensor:  # noqa: ANN401 - whatever the model answers
    while isinstance(answer, (tuple, list)):
        answer = answer[0]
    if isinstance(answer, dict):
        answer = next(iter(answer.values()))
    if not isinstance(answer, torch.Tensor) or answer.ndim == 0:
        raise InputError("the model answers no tensor of samples", code="defend.dp.model")
    return answer


def rows_of(data: Any, device: torch.device) -> tuple[Rows, int]:  # noqa: ANN401 - what users have
    """Return how to read rows of `data`, and how many there are.

    Args:
        data: A tuple of tensors or arrays of one length, a data set with `__len__` and
            `__getitem__`, or a `DataLoader` over one.
        device: Where rows go.

    Raises:
        InputError: It is none of these, has no record, or its parts differ in length.
    """
    collate: Callable[[list[Any]], Any] = torch.utils.data.default_collate
    if isinstance(data, torch.utils.data.DataLoader):
        collate = data.collate_fn if data.collate_fn is not None else collate
        data = data.dataset
    if isinstance(data, torch.utils.data.TensorDataset):
        data = data.tensors
    if isinstance(data, (tuple, list)) and all(hasattr(one, "shape") for one in data):
        tensors = tuple(torch.as_tensor(one) for one in data)
        sizes = {len(one) for one in tensors}
        if len(sizes) != 1:
            raise InputError(
                f"the parts of the data have {sorted(sizes)} rows", code="defend.dp.data"
            )

        def cut(places: Indices) -> tuple[torch.Tensor, ...]:
            chosen = torch.as_tensor(places)
            return tuple(one[chosen].to(device) for one in tensors)

        return cut, _some(len(tensors[0]))
    if isinstance(data, torch.utils.data.IterableDataset) or not (
        hasattr(data, "__len__") and hasattr(data, "__getitem__")
    ):
        raise InputError(
            "private training draws records by their number: the data must have a length",
            code="defend.dp.data",
            hint="a tuple of tensors, or a data set with __len__ and __getitem__",
        )

    def gather(places: Indices) -> tuple[torch.Tensor, ...]:
        batch = collate([data[place] for place in places])
        return tuple(one.to(device) for one in batch)

    return gather, _some(len(data))


def _some(records: int) -> int:
    if records < 1:
        raise InputError("the data has no record", code="defend.dp.data")
    return records
