"""Modules that private training understands, where torch's own mix parameters in one call.

This module imports torch.
"""

import torch
from torch import nn
from torch.nn import functional


class Offset(nn.Module):
    """Add one learned tensor to every sample: positions, for instance.

    A bare `nn.Parameter` added in a `forward` cannot be trained privately; this can.
    """

    def __init__(self, *shape: int) -> None:
        """Make an offset of `shape`, that of one sample, zero at the start."""
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(shape))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return `x` (n, *shape) plus the offset."""
        out: torch.Tensor = x + self.weight
        return out


class Attention(nn.Module):
    """Multi-head attention out of four linear layers; called like `nn.MultiheadAttention`.

    `bias_k`, `bias_v` and `add_zero_attn` are not there.
    """

    in_proj_bias = None  # so that torch's encoder layers do not take their own fast path
    in_proj_weight = None
    _qkv_same_embed_dim = False

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        *,
        dropout: float = 0.0,
        bias: bool = True,
        kdim: int | None = None,
        vdim: int | None = None,
        batch_first: bool = True,
    ) -> None:
        """Make the layers.

        Args:
            embed_dim: Width of queries and of the answer, a multiple of `num_heads`.
            num_heads: How many attentions side by side.
            dropout: Share of attention weights that training drops.
            bias: Whether the four layers have one.
            kdim: Width of keys, if another.
            vdim: Width of values, if another.
            batch_first: Inputs are (n, t, d); otherwise (t, n, d).
        """
        super().__init__()
        self.embed_dim, self.num_heads = embed_dim, num_heads
        self.dropout, self.batch_first = dropout, batch_first
        self.query = nn.Linear(embed_dim, embed_dim, bias=bias)
        self.key = nn.Linear(embed_dim if kdim is None else kdim, embed_dim, bias=bias)
        self.value = nn.Linear(embed_dim if vdim is None else vdim, embed_dim, bias=bias)
        self.out = nn.Linear(embed_dim, embed_dim, bias=bias)

    @classmethod
    def of(cls, given: nn.MultiheadAttention) -> "Attention":
        """Return an attention that computes the same with the same weights."""
        made = cls(
            given.embed_dim, given.num_heads, dropout=given.dropout,
            bias=given.in_proj_bias is not None, kdim=given.kdim, vdim=given.vdim,
            batch_first=given.batch_first,
        )  # fmt: skip
        if given.in_proj_weight is not None:
            weights = given.in_proj_weight.chunk(3)
        else:
            weights = (given.q_proj_weight, given.k_proj_weight, given.v_proj_weight)
        with torch.no_grad():
            for at, layer in enumerate((made.query, made.key, made.value)):
                layer.weight.copy_(weights[at])
                if given.in_proj_bias is not None:
                    layer.bias.copy_(given.in_proj_bias.chunk(3)[at])
            made.out.weight.copy_(given.out_proj.weight)
            if given.out_proj.bias is not None:
                made.out.bias.copy_(given.out_proj.bias)
        made.to(given.out_proj.weight).train(given.training)
        return made

    def forward(  # noqa: PLR0917 - torch's own signature
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        key_padding_mask: torch.Tensor | None = None,
        need_weights: bool = True,  # noqa: FBT001, FBT002 - torch's own signature
        attn_mask: torch.Tensor | None = None,
        average_attn_weights: bool = True,  # noqa: FBT001, FBT002 - torch's own signature
        is_causal: bool = False,  # noqa: FBT001, FBT002 - torch's own signature
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Attend, as `nn.MultiheadAttention.forward` does; masks are true where not to look."""
        if not self.batch_first:
            query, key, value = (one.transpose(0, 1) for one in (query, key, value))
        q = self._heads(self.query(query))
        k = self._heads(self.key(key))
        v = self._heads(self.value(value))
        mask = self._mask(q, k, key_padding_mask, attn_mask, causal=is_causal)
        weights = None
        if need_weights:
            scores = q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5
            scores = scores if mask is None else scores + mask
            weights = scores.softmax(-1)
            dropped = functional.dropout(weights, self.dropout, self.training)
            found = dropped @ v
            weights = weights.mean(1) if average_attn_weights else weights
        else:
            dropout = self.dropout if self.training else 0.0
            found = functional.scaled_dot_product_attention(q, k, v, mask, dropout)
        out = self.out(found.transpose(1, 2).flatten(2))
        return (out if self.batch_first else out.transpose(0, 1)), weights

    def _heads(self, x: torch.Tensor) -> torch.Tensor:
        """Return (n, heads, t, width)."""
        split: torch.Tensor = x.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
        return split

    def _mask(
        self,
        q: torch.Tensor,
        k: torch.Tensor,
        padding: torch.Tensor | None,
        mask: torch.Tensor | None,
        *,
        causal: bool,
    ) -> torch.Tensor | None:
        """Return what is added to the scores, or None."""
        total = None
        if mask is None and causal:
            shape = (q.shape[2], k.shape[2])
            mask = torch.ones(shape, dtype=torch.bool, device=q.device).triu(1)
        for one in (mask, None if padding is None else padding[:, None, None, :]):
            if one is None:
                continue
            added = one
            if one.dtype == torch.bool:
                added = torch.zeros(one.shape, dtype=q.dtype, device=q.device)
                added = added.masked_fill(one, float("-inf"))
            elif one.ndim == 3:  # noqa: PLR2004 - (n * heads, t, s), as torch has it
                added = one.unflatten(0, (-1, self.num_heads))
            total = added if total is None else total + added
        return total
