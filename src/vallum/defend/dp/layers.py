"""Layers whose backward pass gives each sample's share instead of the sum over the batch.

A layer's `forward` is replaced on the object by one that computes the same output through a
function of ours. Its backward pass computes the gradient of the input, as always, but not that of
the weight: it hands input and output gradient to the layer's `Ledger`. So one backward pass does
no more than the usual one until norms are known.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from vallum.base import InputError
from vallum.defend.dp.contributions import Contribution, Kept, Looked, Measured, Pairs

KEEP = 1.35
"""What is kept of all matrices is at most so many times as large as what it is made from.

Larger is faster, and takes more memory than training without privacy. It holds for single
precision; of narrower numbers twice as many are kept.
"""
_LAYER = 1.5
"""One layer may take so many times more: where larger, inner products cost less."""
_MATRIX = 2
_PATCHES = 1024
"""Positions that one product may add up, within what `Measured` allows for rounding."""
_WIDE = (torch.float32, torch.float64)
_WORD = 4  # bytes of single precision, in which sums are made of what is not kept


class Room:
    """What the gradients kept in one pass may take beyond what they are made from.

    `precisions` are what autocast was set to while layers were called, None where it was off.
    """

    def __init__(self) -> None:
        self.precisions: set[torch.dtype | None] = set()
        self.begin()

    def begin(self) -> None:
        """Forget the last pass."""
        self._made_from = self._taken = 0

    def expect(self, count: int) -> None:
        """Say that a matrix's gradient will be made from `count` numbers."""
        self._made_from += count * _WORD

    def take(self, count: int) -> bool:
        """Take so many bytes, which may be negative, if as many are left."""
        enough = self._taken + count <= (KEEP - 1) * self._made_from
        if enough:
            self._taken += count
        return enough


class Ledger:
    """What one backward pass left of one layer; open only while a step is taken."""

    def __init__(self, name: str, room: Room) -> None:
        self.name = name
        self.room = room
        self.samples: int | None = None
        self.uses = 0
        self.contributions: dict[str, Contribution] = {}

    def take(self) -> list[Contribution]:
        """Return what was recorded, and forget it."""
        found = list(self.contributions.values())
        self.contributions = {}
        self.uses = 0
        return found

    def check(self, rows: int) -> None:
        """Refuse what cannot be told apart by sample.

        Raises:
            InputError: No step is being taken, or the first axis is not the batch.
        """
        if self.samples is None:
            raise InputError(
                "`backward` was called outside a private step",
                code="defend.dp.backward",
                hint="hand the losses of the samples to `step`; it runs the backward pass",
            )
        if rows != self.samples:
            raise InputError(
                f"layer `{self.name}` saw {rows} rows for {self.samples} samples",
                code="defend.dp.batch-axis",
                hint="keep the batch on the first axis of every layer's input",
            )

    def keep(self, key: str, parameter: torch.Tensor, gradient: torch.Tensor) -> None:
        """Record gradients (n, ...) of a parameter."""
        held = self.contributions.get(key)
        if isinstance(held, Kept):
            held.add(gradient)
        elif held is None:
            self.contributions[key] = Kept(parameter, gradient)
        else:
            raise InputError(
                f"layer `{self.name}` is used again after its gradient was measured",
                code="defend.dp.layer",
                hint="keep a layer that is used twice out of torch.utils.checkpoint",
            )

    def matrix(self, parameter: torch.Tensor, a: torch.Tensor, g: torch.Tensor) -> None:
        """Record inputs (n, t, d) and output gradients (n, t, p) of a matrix."""
        held = self.contributions.get("weight")
        made_from = a[0].numel() + g[0].numel()
        most = _LAYER * KEEP * made_from * _WORD / a.element_size()
        if isinstance(held, Pairs):
            held.add(a, g)
        elif held is not None:
            self.keep("weight", parameter, torch.bmm(g.transpose(1, 2), a))
        elif a.shape[1] > 1 and parameter.numel() <= most and self.room.take(
            len(a) * (parameter.numel() - made_from) * a.element_size()
        ):  # fmt: skip
            self.contributions["weight"] = Kept.product(parameter, a, g)
        else:
            self.contributions["weight"] = Pairs(parameter, a, g)

    def rows(self, parameter: torch.Tensor, ids: torch.Tensor, g: torch.Tensor) -> None:
        """Record what a table was asked, ids (n, t), and output gradients (n, t, d)."""
        held = self.contributions.get("weight")
        if isinstance(held, Looked):
            held.add(ids, g)
        else:
            self.contributions["weight"] = Looked(parameter, ids, g)

    def kernel(
        self,
        parameter: torch.Tensor,
        a: torch.Tensor,
        g: torch.Tensor,
        gradient: torch.Tensor,
        convolve: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    ) -> None:
        """Record each sample's gradient of a convolution, or only its norm if it is large."""
        made_from = a[0].numel() + g[0].numel()
        if self.uses > 1 or parameter.numel() <= _LAYER * KEEP * made_from:
            self.keep("weight", parameter, gradient)
        else:
            self.contributions["weight"] = Measured(parameter, gradient, a, g, convolve)


def _cast(*tensors: torch.Tensor | None) -> tuple[Any, ...]:
    """Return the tensors as autocast would have them, which does not see into our functions."""
    first = next(one for one in tensors if one is not None)
    kind = first.device.type
    if not torch.is_autocast_enabled(kind):
        return tensors
    dtype = torch.get_autocast_dtype(kind)
    return tuple(None if one is None else one.to(dtype) for one in tensors)


def _wide_sum(g: torch.Tensor, axes: Sequence[int] | int) -> torch.Tensor:
    return g.sum(axes, dtype=torch.promote_types(g.dtype, torch.float32))


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Any, weight: Any, bias: Any, ledger: Ledger, module: Any) -> Any:
        x, matrix, offset = _cast(x, weight, bias)
        with torch.autocast(x.device.type, enabled=False):
            if offset is None or x.device.type != "cpu" or x.dtype not in _WIDE:
                out = functional.linear(x, matrix, offset)
            else:  # torch writes the offset first, and reads it again
                out = functional.linear(x, matrix).add_(offset)
        ledger.room.expect(x.numel() + out.numel())
        ctx.save_for_backward(x, matrix)
        ctx.ledger, ctx.module = ledger, module
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Any) -> Any:
        x, matrix = ctx.saved_tensors
        ledger, module = ctx.ledger, ctx.module
        ledger.check(len(x))
        g = g.contiguous()  # once, not in each product
        inner = g @ matrix if ctx.needs_input_grad[0] else None
        a = x.detach().reshape(len(x), -1, x.shape[-1])  # or its whole graph would be kept
        g = g.reshape(len(x), -1, g.shape[-1])
        if ctx.needs_input_grad[1]:
            ledger.matrix(module.weight, a, g)
        if ctx.needs_input_grad[2]:
            ledger.keep("bias", module.bias, g.sum(1))
        return inner, None, None, None, None


class _Conv(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Any, weight: Any, bias: Any, ledger: Ledger, module: Any, shape: Any
    ) -> Any:
        x, kernel, offset = _cast(x, weight, bias)
        stride, padding, dilation, groups = shape
        with torch.autocast(x.device.type, enabled=False):
            out = torch.ops.aten.convolution(
                x, kernel, offset, stride, padding, dilation, False, [0] * len(stride), groups
            )
        ctx.save_for_backward(x, kernel)
        ctx.ledger, ctx.module, ctx.shape = ledger, module, shape
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Any) -> Any:
        x, kernel = ctx.saved_tensors
        ledger, module = ctx.ledger, ctx.module
        stride, padding, dilation, groups = ctx.shape
        ledger.check(len(x))
        inner = None
        if ctx.needs_input_grad[0]:
            inner = torch.ops.aten.convolution_backward(
                g, x, kernel, None, stride, padding, dilation, False, [0] * len(stride), groups,
                [True, False, False],
            )[0]  # fmt: skip
        if ctx.needs_input_grad[1]:
            found = _of_each(x, g, kernel, ctx.shape)
            ledger.kernel(module.weight, x.detach(), g, found, _convolver(kernel.shape, ctx.shape))
        if ctx.needs_input_grad[2]:
            ledger.keep("bias", module.bias, g.flatten(2).sum(2))
        return inner, None, None, None, None, None


def _of_each(x: Any, g: Any, kernel: Any, shape: Any) -> torch.Tensor:
    """Return each sample's gradient of a kernel: one convolution in which samples are groups."""
    stride, padding, dilation, groups = shape
    n = len(x)
    size = kernel.shape[2:]
    apart = list(stride) == list(size) and groups == 1 and not any(padding)
    if apart and all(one == 1 for one in dilation) and math.prod(g.shape[2:]) <= _PATCHES:
        return torch.bmm(g.flatten(2), _patches(x, g.shape[2:], size)).flatten(1)
    # Only the kernel's shape is looked at.
    pattern = kernel.new_empty(1).expand(n * len(kernel), *kernel.shape[1:])
    found: torch.Tensor = torch.ops.aten.convolution_backward(
        g.reshape(1, -1, *g.shape[2:]), x.reshape(1, -1, *x.shape[2:]), pattern, None,
        stride, padding, dilation, False, [0] * len(stride), n * groups, [False, True, False],
    )[1]  # fmt: skip
    return found.view(n, -1)


def _patches(x: torch.Tensor, counts: torch.Size, size: torch.Size) -> torch.Tensor:
    """Return the patches (n, t, d) that a kernel of `size` sees which never sees a place twice."""
    axes = len(size)
    for axis, (count, side) in enumerate(zip(counts, size, strict=True)):
        x = x.narrow(2 + axis, 0, count * side)
    cut = x.reshape(*x.shape[:2], *(one for pair in zip(counts, size, strict=True) for one in pair))
    places, within = range(2, 2 + 2 * axes, 2), range(3, 2 + 2 * axes, 2)
    return cut.permute(0, *places, 1, *within).reshape(len(x), math.prod(counts), -1)


def _convolver(
    size: torch.Size,
    shape: Any,
) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
    """Return what sums a kernel's gradient over the batch, from inputs and output gradients."""
    stride, padding, dilation, groups = shape

    def convolve(x: torch.Tensor, g: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = torch.ops.aten.convolution_backward(
            g, x, x.new_empty(1).expand(size), None, stride, padding, dilation, False,
            [0] * len(stride), groups, [False, True, False],
        )[1]  # fmt: skip
        return found

    return convolve


class _GroupNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Any, weight: Any, bias: Any, ledger: Ledger, module: Any) -> Any:
        x = x.contiguous()
        n, channels = x.shape[:2]
        size = math.prod(x.shape[2:])
        out, mean, scale = torch.ops.aten.native_group_norm(
            x, weight, bias, n, channels, size, module.num_groups, module.eps
        )
        ctx.save_for_backward(x, weight, mean, scale)
        ctx.ledger, ctx.module = ledger, module
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Any) -> Any:
        x, weight, mean, scale = ctx.saved_tensors
        ledger, module = ctx.ledger, ctx.module
        ledger.check(len(x))
        n, channels = x.shape[:2]
        size = math.prod(x.shape[2:])
        # One sample of n times as many channels: the kernel's sums are then those of each sample.
        inner, of_weight, of_bias = torch.ops.aten.native_group_norm_backward(
            g.reshape(1, n * channels, size), x.view(1, n * channels, size),
            mean.view(1, -1), scale.view(1, -1), weight.repeat(n),
            1, n * channels, size, n * module.num_groups, [ctx.needs_input_grad[0], True, True],
        )  # fmt: skip
        if ctx.needs_input_grad[1]:
            ledger.keep("weight", module.weight, of_weight.view(n, channels))
        if ctx.needs_input_grad[2]:
            ledger.keep("bias", module.bias, of_bias.view(n, channels))
        return (inner.view(x.shape) if ctx.needs_input_grad[0] else None), None, None, None, None


class _LayerNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Any, weight: Any, bias: Any, ledger: Ledger, module: Any) -> Any:
        shape = list(module.normalized_shape)
        out, mean, scale = torch.ops.aten.native_layer_norm(x, shape, weight, bias, module.eps)
        ctx.save_for_backward(x, weight, bias, mean, scale)
        ctx.ledger, ctx.module = ledger, module
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Any) -> Any:
        x, weight, bias, mean, scale = ctx.saved_tensors
        ledger, module = ctx.ledger, ctx.module
        ledger.check(len(x))
        shape = list(module.normalized_shape)
        inner = None
        if ctx.needs_input_grad[0]:
            inner = torch.ops.aten.native_layer_norm_backward(
                g, x, shape, mean, scale, weight, bias, [True, False, False]
            )[0]
        n, width = len(x), math.prod(shape)
        wide = torch.promote_types(g.dtype, torch.float32)
        slope = g.reshape(n, -1, width).to(wide)
        if ctx.needs_input_grad[1]:
            mean, scale = mean.reshape(n, 1, -1).to(wide), scale.reshape(n, 1, -1).to(wide)
            product = slope * x.reshape(n, -1, width)
            # What is taken off, and the offset's share, in one reading of the slope.
            both = torch.bmm(torch.cat([mean * scale, torch.ones_like(scale)], 1), slope)
            found = torch.bmm(scale, product).sub_(both[:, :1])
            ledger.keep("weight", module.weight, found)
            if ctx.needs_input_grad[2]:
                ledger.keep("bias", module.bias, both[:, 1])
        elif ctx.needs_input_grad[2]:
            ledger.keep("bias", module.bias, slope.sum(1))
        return inner, None, None, None, None


class _Embedding(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, ids: Any, weight: Any, ledger: Ledger, module: Any) -> Any:
        ctx.save_for_backward(ids)
        ctx.ledger, ctx.module = ledger, module
        return functional.embedding(ids, weight)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Any) -> Any:
        (ids,) = ctx.saved_tensors
        ledger, module = ctx.ledger, ctx.module
        ledger.check(len(ids))
        flat = ids.reshape(len(ids), -1)
        slope = g.reshape(*flat.shape, -1)
        if module.padding_idx is not None:
            slope = slope.masked_fill((flat == module.padding_idx)[:, :, None], 0)
        ledger.rows(module.weight, flat, slope)
        return None, None, None, None


class _Scale(torch.autograd.Function):
    """Times a vector on the last axes, as RMS normalisation ends."""

    @staticmethod
    def forward(ctx: Any, x: Any, weight: Any, ledger: Ledger, module: Any) -> Any:
        ctx.save_for_backward(x, weight)
        ctx.ledger, ctx.module = ledger, module
        return x * weight

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Any) -> Any:
        x, weight = ctx.saved_tensors
        ctx.ledger.check(len(x))
        product = (g * x).reshape(len(x), -1, weight.numel())
        ctx.ledger.keep("weight", ctx.module.weight, _wide_sum(product, 1))
        return (g * weight if ctx.needs_input_grad[0] else None), None, None, None


class _Offset(torch.autograd.Function):
    """Plus a tensor that is the same for every sample."""

    @staticmethod
    def forward(ctx: Any, x: Any, weight: Any, ledger: Ledger, module: Any) -> Any:
        ctx.rows = len(x)
        ctx.ledger, ctx.module = ledger, module
        return x + weight

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Any) -> Any:
        ctx.ledger.check(ctx.rows)
        ctx.ledger.keep("weight", ctx.module.weight, g)
        return (g if ctx.needs_input_grad[0] else None), None, None, None


def linear(module: nn.Linear, ledger: Ledger, x: torch.Tensor) -> torch.Tensor:
    """Apply `nn.Linear`."""
    if x.ndim < _MATRIX:
        raise InputError(
            f"layer `{ledger.name}` was given one row without a batch axis",
            code="defend.dp.batch-axis",
            hint="keep the batch on the first axis of every layer's input",
        )
    out: torch.Tensor = _Linear.apply(x, module.weight, module.bias, ledger, module)
    return out


def convolution(module: Any, ledger: Ledger, x: torch.Tensor) -> torch.Tensor:
    """Apply `nn.Conv1d`, `nn.Conv2d` or `nn.Conv3d`; what is not plain padding is done before."""
    sides = module._reversed_padding_repeated_twice  # noqa: SLF001 - what its own forward reads
    if module.padding_mode != "zeros":
        x, padding = functional.pad(x, sides, mode=module.padding_mode), [0] * len(module.stride)
    elif isinstance(module.padding, str):
        x, padding = functional.pad(x, sides), [0] * len(module.stride)
    else:
        padding = list(module.padding)
    shape = (list(module.stride), padding, list(module.dilation), module.groups)
    out: torch.Tensor = _Conv.apply(x, module.weight, module.bias, ledger, module, shape)
    return out


def group_norm(module: nn.GroupNorm, ledger: Ledger, x: torch.Tensor) -> torch.Tensor:
    """Apply `nn.GroupNorm`."""
    out: torch.Tensor = _GroupNorm.apply(x, module.weight, module.bias, ledger, module)
    return out


def layer_norm(module: nn.LayerNorm, ledger: Ledger, x: torch.Tensor) -> torch.Tensor:
    """Apply `nn.LayerNorm`."""
    out: torch.Tensor = _LayerNorm.apply(x, module.weight, module.bias, ledger, module)
    return out


def rms_norm(module: Any, ledger: Ledger, x: torch.Tensor) -> torch.Tensor:
    """Apply `nn.RMSNorm`."""
    plain = functional.rms_norm(x, module.normalized_shape, None, module.eps)
    out: torch.Tensor = _Scale.apply(plain, module.weight, ledger, module)
    return out


def embedding(module: nn.Embedding, ledger: Ledger, ids: torch.Tensor) -> torch.Tensor:
    """Apply `nn.Embedding`."""
    out: torch.Tensor = _Embedding.apply(ids, module.weight, ledger, module)
    return out


def offset(module: Any, ledger: Ledger, x: torch.Tensor) -> torch.Tensor:
    """Apply `Offset`."""
    out: torch.Tensor = _Offset.apply(x, module.weight, ledger, module)
    return out
