"""What each sample of a batch adds to a parameter's gradient: its norm, and a weighted sum.

Two forms. *Kept*: the gradient of each sample as a tensor, where it is not much larger than what
it is made from. *Ghost*: the inputs and output gradients of the layer, from which the norm follows
without the gradient (Goodfellow 2015; Li et al. 2022), and the sum by one product (Bu et al.
2023, "book-keeping").

**Soundness.** A sample's contribution, as it is really computed, must not be longer than the norm
that was measured of it. A kept gradient is measured and summed as it lies there, whatever its
precision. In the ghost form norm and sum are two computations that round differently, and the
norm is a sum whose terms may cancel; so both are done in single precision at least, and the norm
is raised by a bound of both errors: with s the sum of |a_t| |g_t| over positions t, by Higham's
bounds |computed N^2 - N^2| <= k u s^2, and the product is off by at most k u s.
"""

import math
from collections.abc import Callable, Sequence
from typing import Protocol

import torch

_ROWS_BYTES = 2**20  # of rows that are widened: the second cache has them for the sum
_PIECE = 2**20  # bytes, in which they are measured
_WORD = 4
_FLOAT = torch.float32
_CONVOLVED = 1024
"""Units of rounding of a sum over positions, which is made in blocks, and of its factors."""


class Contribution(Protocol):
    """One parameter's share of every sample's gradient."""

    parameter: torch.Tensor

    def norms(self) -> torch.Tensor:
        """Return the norm of each sample's share, never too small, shape (n,), float32."""
        ...

    def weighted(self, weights: torch.Tensor) -> torch.Tensor:
        """Return the sum over samples of weight (n,) times share, shaped as the parameter."""
        ...

    def drop(self, rows: torch.Tensor) -> None:
        """Forget the samples of `rows`, (n,) bool: infinities times zero are not zero."""
        ...

    def recorded(self) -> Sequence[Sequence[torch.Tensor]]:
        """Return all that is known of the samples, tensors (n, ...) in pieces (., ...)."""
        ...


class Kept:
    """Each sample's gradient, (n, ...), in the precision that it was computed in."""

    def __init__(self, parameter: torch.Tensor, *pieces: torch.Tensor) -> None:
        self.parameter = parameter
        self._pieces = [one.reshape(len(one), -1) for one in pieces]
        self._norms: torch.Tensor | None = None

    @classmethod
    def product(cls, parameter: torch.Tensor, a: torch.Tensor, g: torch.Tensor) -> "Kept":
        """Return the gradients g^T a of inputs (n, t, d) and output gradients (n, t, p).

        On a processor they come in pieces: small enough that its cache has them when they are
        measured, and that they fit where the backward pass gave memory back.
        """
        rows = len(a)
        if a.device.type == "cpu":
            rows = max(1, _PIECE // (parameter.numel() * a.element_size()))
            rows *= torch.get_num_threads()
        pieces, norms = [], []
        for left, right in zip(g.transpose(1, 2).split(rows), a.split(rows), strict=True):
            pieces.append(torch.bmm(left, right))
            norms.append(_norms(pieces[-1]))
        made = cls(parameter, *pieces)
        made._norms = torch.cat(norms)
        return made

    def add(self, gradient: torch.Tensor) -> None:
        """Add what another use of the same layer contributes."""
        self._pieces = [torch.cat(self._pieces) + gradient.reshape(len(gradient), -1)]
        self._norms = None

    def norms(self) -> torch.Tensor:
        """Return norms (n,)."""
        if self._norms is None:
            self._norms = torch.cat([_norms(one) for one in self._pieces])
        return self._norms

    def weighted(self, weights: torch.Tensor) -> torch.Tensor:
        """Return the weighted sum; a few rows at a time where they must be widened first."""
        first = self._pieces[0]
        wide = torch.promote_types(first.dtype, _FLOAT)
        pieces, weights = self._pieces, weights.to(wide)[None]
        if first.dtype != wide:
            rows = max(1, _ROWS_BYTES // (_WORD * first.shape[1]))
            pieces = [part for one in pieces for part in one.split(rows)]
        if len(pieces) == 1:
            return (weights @ pieces[0].to(wide)).view(self.parameter.shape)
        total = torch.zeros((1, first.shape[1]), dtype=wide, device=first.device)
        for one, of in zip(pieces, weights.split([len(one) for one in pieces], 1), strict=True):
            total.addmm_(of, one.to(wide))
        return total.view(self.parameter.shape)

    def drop(self, rows: torch.Tensor) -> None:
        """Make the samples' gradients zero."""
        of_each = rows.split([len(one) for one in self._pieces])
        self._pieces = [
            one.masked_fill(of[:, None], 0) for one, of in zip(self._pieces, of_each, strict=True)
        ]

    def recorded(self) -> Sequence[Sequence[torch.Tensor]]:
        """Return the samples' gradients."""
        return [self._pieces]


class Pairs:
    """Inputs (n, t, d) and output gradients (n, t, p) of a matrix (p, d): shares are g^T a."""

    def __init__(self, parameter: torch.Tensor, a: torch.Tensor, g: torch.Tensor) -> None:
        self.parameter = parameter
        self._a = [a]
        self._g = [g]

    def add(self, a: torch.Tensor, g: torch.Tensor) -> None:
        """Append the positions of another use of the same layer: shares of both add up."""
        self._a.append(a)
        self._g.append(g)

    def norms(self) -> torch.Tensor:
        """Return norms (n,), from the inner products of positions."""
        a, g = self._wide()
        if a.shape[1] == 1:
            # One outer product: nothing cancels.
            found: torch.Tensor = _lengths(a)[:, 0] * _lengths(g)[:, 0]
            return found
        inner = torch.bmm(a, a.transpose(1, 2)).mul_(torch.bmm(g, g.transpose(1, 2)))
        return raised(inner, a.shape[2] + g.shape[2])

    def weighted(self, weights: torch.Tensor) -> torch.Tensor:
        """Return the weighted sum."""
        a, g = self._wide()
        scale = weights.to(g.dtype)[:, None, None]
        # Scale the narrower, and have it on the left: both are less work.
        if a.shape[2] < g.shape[2]:
            found = ((a * scale).flatten(0, 1).t() @ g.flatten(0, 1)).t()
        else:
            found = (g * scale).flatten(0, 1).t() @ a.flatten(0, 1)
        return found.view(self.parameter.shape)

    def drop(self, rows: torch.Tensor) -> None:
        """Make the samples' inputs and gradients zero."""
        self._a = [one.masked_fill(rows[:, None, None], 0) for one in self._a]
        self._g = [one.masked_fill(rows[:, None, None], 0) for one in self._g]

    def recorded(self) -> Sequence[Sequence[torch.Tensor]]:
        """Return inputs and output gradients."""
        return [[one] for one in (*self._a, *self._g)]

    def _wide(self) -> tuple[torch.Tensor, torch.Tensor]:
        return _joined(self._a), _joined(self._g)


class Measured:
    """A convolution whose samples' gradients were measured and let go; the sum is made anew.

    The two computations add the same products in another order, and in another precision: the
    norm is raised by what that may hide, and the sum is made in single precision at least.
    """

    def __init__(
        self,
        parameter: torch.Tensor,
        gradient: torch.Tensor,
        a: torch.Tensor,
        g: torch.Tensor,
        convolve: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    ) -> None:
        self.parameter = parameter
        self._a, self._g, self._convolve = a, g, convolve
        found = _norms(gradient)
        # Each place of the input meets each place of the kernel at most once.
        meetings = math.prod(parameter.shape[2:]) ** 0.5
        unit = max(torch.finfo(gradient.dtype).eps, torch.finfo(_FLOAT).eps) / 2
        spread = _norms(a) * _norms(g) * meetings
        exact = torch.finfo(_FLOAT).eps / 2 * _CONVOLVED * spread
        # A gradient of low precision was rounded once, number by number.
        self._norms = found * (1 + unit) + exact

    def norms(self) -> torch.Tensor:
        """Return norms (n,)."""
        return self._norms

    def weighted(self, weights: torch.Tensor) -> torch.Tensor:
        """Return the weighted sum."""
        wide = torch.promote_types(self._g.dtype, _FLOAT)
        scale = weights.to(wide).view(-1, *[1] * (self._g.ndim - 1))
        return self._convolve(self._a.to(wide), self._g.to(wide) * scale)

    def drop(self, rows: torch.Tensor) -> None:
        """Make the samples' inputs and gradients zero."""
        wide = rows.view(-1, *[1] * (self._g.ndim - 1))
        self._a, self._g = self._a.masked_fill(wide, 0), self._g.masked_fill(wide, 0)

    def recorded(self) -> Sequence[Sequence[torch.Tensor]]:
        """Return norms, inputs and output gradients."""
        return [[self._norms], [self._a], [self._g]]


class Looked:
    """Rows of a table that were looked up, ids (n, t), and output gradients (n, t, d)."""

    def __init__(self, parameter: torch.Tensor, ids: torch.Tensor, g: torch.Tensor) -> None:
        self.parameter = parameter
        self._ids = [ids]
        self._g = [g]

    def add(self, ids: torch.Tensor, g: torch.Tensor) -> None:
        """Append the positions of another use of the same table."""
        self._ids.append(ids)
        self._g.append(g)

    def norms(self) -> torch.Tensor:
        """Return norms (n,): positions that name the same row add up, others do not meet."""
        ids, g = torch.cat(self._ids, dim=1), _joined(self._g)
        same = ids[:, :, None] == ids[:, None, :]
        inner = torch.bmm(g, g.transpose(1, 2)).mul_(same)
        return raised(inner, g.shape[2])

    def weighted(self, weights: torch.Tensor) -> torch.Tensor:
        """Return the weighted sum."""
        ids, g = torch.cat(self._ids, dim=1), _joined(self._g)
        total = torch.zeros(self.parameter.shape, dtype=g.dtype, device=g.device)
        scaled = g * weights.to(g.dtype)[:, None, None]
        return total.index_add_(0, ids.flatten(), scaled.flatten(0, 1))

    def drop(self, rows: torch.Tensor) -> None:
        """Make the samples' gradients zero."""
        self._g = [one.masked_fill(rows[:, None, None], 0) for one in self._g]

    def recorded(self) -> Sequence[Sequence[torch.Tensor]]:
        """Return what was looked up, and output gradients."""
        return [[one] for one in (*self._ids, *self._g)]


def raised(inner: torch.Tensor, terms: int) -> torch.Tensor:
    """Return the norms (n,) of samples, raised by what rounding may have hidden.

    Args:
        inner: (a_t a_u)(g_t g_u) for every pair of positions t and u, (n, t, t); their sum is the
            squared norm, and the roots of the diagonal are the products of lengths.
        terms: Numbers that were added up in one such product.
    """
    unit = torch.finfo(inner.dtype).eps / 2
    spread = inner.diagonal(dim1=1, dim2=2).clamp(min=0).sqrt().sum(dim=1)
    # An inner product of d terms is off by at most d u of the sum of their sizes; the sum over
    # pairs of positions is a tree, whose depth 64 bounds.
    hidden = (terms + 64) * unit * spread
    squares = inner.sum(dim=(1, 2)).clamp(min=0)
    return (squares + hidden * spread).sqrt().add(hidden).to(_FLOAT)


def _norms(gradient: torch.Tensor) -> torch.Tensor:
    """Return the norm of each of (n, ...), as it lies there, never too small."""
    rows = gradient.flatten(1)
    if rows.dtype == _FLOAT:
        return torch.linalg.vector_norm(rows, dim=1)
    if rows.dtype == torch.bfloat16 and rows.device.type == "cpu":
        # Asked for single precision, torch widens all of it first. Its own bf16 kernel adds in
        # single precision as well and rounds the norm alone, by half an epsilon at most.
        narrow = torch.linalg.vector_norm(rows, dim=1).to(_FLOAT)
        return narrow * (1 + torch.finfo(torch.bfloat16).eps)
    wide = torch.promote_types(rows.dtype, _FLOAT)
    return torch.linalg.vector_norm(rows, dim=1, dtype=wide).to(_FLOAT)


def _lengths(rows: torch.Tensor) -> torch.Tensor:
    """Return the length of every last-axis vector."""
    return torch.linalg.vector_norm(rows, dim=-1)


def _joined(parts: Sequence[torch.Tensor]) -> torch.Tensor:
    """Return the positions of all uses, (n, t, d), in single precision at least."""
    wide = [one.to(torch.promote_types(one.dtype, _FLOAT)) for one in parts]
    return wide[0] if len(wide) == 1 else torch.cat(wide, dim=1)
