"""Which models can be trained privately: every problem by name, with what to use instead."""

import functools
import math
import types
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn
from torch.nn.utils import parametrize

from vallum.base import InputError
from vallum.defend.dp import layers
from vallum.defend.dp.layers import Ledger, Room
from vallum.defend.dp.modules import Attention, Offset
from vallum.defend.dp.problems import GROUPS, MIXES, Problem, refuse

_FORWARDS: dict[Any, Callable[..., torch.Tensor]] = {
    nn.Linear: layers.linear,
    nn.Conv1d: layers.convolution,
    nn.Conv2d: layers.convolution,
    nn.Conv3d: layers.convolution,
    nn.Embedding: layers.embedding,
    nn.GroupNorm: layers.group_norm,
    nn.LayerNorm: layers.layer_norm,
    nn.RMSNorm: layers.rms_norm,
    Offset: layers.offset,
}
_BATCH = (nn.modules.batchnorm._BatchNorm,)  # noqa: SLF001 - the base of them all
_INSTANCE = (nn.modules.instancenorm._InstanceNorm,)  # noqa: SLF001 - the base of them all
_RECURRENT = (nn.RNNBase, nn.RNNCellBase)
_INSTEAD: tuple[tuple[tuple[type, ...], str, str], ...] = (
    (_RECURRENT, "its steps are hidden in one call", "cells written with nn.Linear, or Attention"),
    (
        (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d),
        "transposed convolutions are not taken apart by sample",
        "nn.Upsample and a convolution",
    ),
    ((nn.EmbeddingBag,), "bags are not taken apart by sample", "nn.Embedding and a mean"),
    ((nn.Bilinear,), "bilinear forms are not taken apart by sample", "nn.Linear of the product"),
)


def problems(model: nn.Module) -> list[Problem]:
    """Return every layer of `model` that cannot be trained privately as it is."""
    found = [one for name, module in _owners(model) for one in _of_module(name, module)]
    found.extend(_tied(model))
    return found


def make_trainable(model: nn.Module) -> list[Problem]:
    """Replace what can be replaced by itself, in place; return what was.

    Raises:
        InputError: The model is itself such a layer.
    """
    done: list[Problem] = []
    for name, module in list(model.named_modules()):
        made = _replacement(module)
        if made is None:
            continue
        if not name:
            raise InputError(
                "the model is itself a layer that must be replaced", code="defend.dp.layer",
                hint="put it into a nn.Sequential",
            )  # fmt: skip
        done.extend(_of_module(name, module))
        parent, _, key = name.rpartition(".")
        setattr(model.get_submodule(parent), key, made)
    return done


def check_trainable(model: nn.Module) -> None:
    """Refuse a model of which a layer cannot be trained privately.

    Raises:
        InputError: Every such layer is named, with what to use instead.
    """
    found = problems(model)
    if not found:
        if not any(one.requires_grad for one in model.parameters()):
            raise InputError("no parameter of the model is trained", code="defend.dp.model")
        return
    refuse(found)


def attach(model: nn.Module, room: Room) -> list[Ledger]:
    """Have every trained layer keep a ledger, in `room`; `detach` undoes it."""
    ledgers = []
    for name, module in _owners(model):
        if "forward" in vars(module):
            raise InputError(
                f"`{name}` is already changed by somebody else", code="defend.dp.attached",
                hint="detach the earlier private trainer first",
            )  # fmt: skip
        ledger = Ledger(name, room)
        forward = _forward_of(module)
        assert forward is not None  # noqa: S101 - `check_trainable` was asked first
        module.forward = types.MethodType(_chosen(forward, ledger), module)
        ledgers.append(ledger)
    return ledgers


def _chosen(forward: Callable[..., torch.Tensor], ledger: Ledger) -> Callable[..., Any]:
    """Return a forward that is ours while the layer is trained, and its own otherwise."""

    @functools.wraps(forward)
    def run(module: nn.Module, *given: Any, **named: Any) -> Any:  # noqa: ANN401 - torch's
        if module.training and torch.is_grad_enabled():
            ledger.uses += 1
            kind = module.weight.device.type
            ledger.room.precisions.add(
                torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else None
            )
            return forward(module, ledger, *given, **named)
        return type(module).forward(module, *given, **named)

    return run


def detach(model: nn.Module) -> None:
    """Give every layer its own `forward` back."""
    for _, module in _owners(model):
        vars(module).pop("forward", None)


def _forward_of(module: nn.Module) -> Callable[..., torch.Tensor] | None:
    """Return our forward of a layer whose own is one that we know."""
    for kind, forward in _FORWARDS.items():
        if isinstance(module, kind) and getattr(type(module), "forward", None) is kind.forward:
            return forward
    return None


def _owners(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Yield every module that has a trained parameter, or mixes samples, by itself."""
    whole: tuple[str, ...] = ()
    for name, module in model.named_modules():
        if name.startswith(whole):
            continue  # a part of what is replaced as a whole
        if isinstance(module, nn.MultiheadAttention):
            whole = (*whole, f"{name}." if name else "")
        trained = any(one.requires_grad for one in module.parameters(recurse=False))
        if trained or isinstance(module, _BATCH) or parametrize.is_parametrized(module):
            yield name or "model", module


def _of_module(name: str, module: nn.Module) -> Iterator[Problem]:
    kind = type(module).__name__
    if isinstance(module, _BATCH):
        yield Problem(name, kind, MIXES, f"nn.GroupNorm({_groups(module)}, …)", automatic=True)
    elif isinstance(module, _INSTANCE):
        yield Problem(name, kind, "is not known here", "nn.GroupNorm(c, c)", automatic=True)
    elif isinstance(module, nn.MultiheadAttention):
        plain = module.bias_k is None and module.bias_v is None and not module.add_zero_attn
        yield Problem(
            name, kind, "its projections are hidden in one call",
            "vallum.defend.dp.modules.Attention", automatic=plain,
        )  # fmt: skip
    elif isinstance(module, nn.PReLU):
        yield Problem(name, kind, "its slope is not taken apart by sample", "nn.ReLU",
                      automatic=True)  # fmt: skip
    elif parametrize.is_parametrized(module):
        yield Problem(name, kind, "its weight is computed from others", "the layer without it")
    elif any(isinstance(one, nn.UninitializedParameter) for one in module.parameters(False)):  # noqa: FBT003 - not of children
        yield Problem(name, kind, "its shapes are not known yet", "it after one forward pass")
    elif _forward_of(module) is not None:
        yield from _of_options(name, kind, module)
    else:
        for kinds, reason, instead in _INSTEAD:
            if isinstance(module, kinds):
                yield Problem(name, kind, reason, instead)
                return
        own = ", ".join(f"`{key}`" for key, _ in module.named_parameters(recurse=False))
        yield Problem(
            name, kind, f"its own parameters {own} are used in ways that cannot be followed",
            "vallum.defend.dp.modules.Offset, nn.Linear or nn.Embedding to hold them",
        )  # fmt: skip


def _of_options(name: str, kind: str, module: Any) -> Iterator[Problem]:  # noqa: ANN401 - any layer
    if isinstance(module, nn.Embedding) and (
        module.max_norm is not None or module.scale_grad_by_freq or module.sparse
    ):
        yield Problem(
            name, kind, "`max_norm`, `scale_grad_by_freq` and `sparse` look across samples",
            "nn.Embedding without them",
        )  # fmt: skip
    dtypes = {one.dtype for one in module.parameters(recurse=False)}
    if dtypes - {torch.float32, torch.float64}:
        named = ", ".join(sorted(str(one) for one in dtypes))
        yield Problem(name, kind, f"its parameters are {named}", "float32 under torch.autocast")


def _tied(model: nn.Module) -> Iterator[Problem]:
    """Yield parameters that belong to more than one layer."""
    seen: dict[int, str] = {}
    for name, module in model.named_modules():
        for key, parameter in module.named_parameters(recurse=False):
            if not parameter.requires_grad:
                continue
            place = f"{name}.{key}" if name else key
            first = seen.setdefault(id(parameter), place)
            if first != place:
                yield Problem(
                    place, type(module).__name__, f"its weight is also that of `{first}`",
                    "one layer, called twice",
                )  # fmt: skip


def _groups(module: Any) -> int:  # noqa: ANN401 - any batch normalisation
    return math.gcd(GROUPS, module.num_features)


def _replacement(module: nn.Module) -> nn.Module | None:
    if isinstance(module, _BATCH):
        made = nn.GroupNorm(_groups(module), module.num_features, module.eps, module.affine)
    elif isinstance(module, _INSTANCE):
        if not module.affine:
            return None
        made = nn.GroupNorm(module.num_features, module.num_features, module.eps)
    elif isinstance(module, nn.PReLU):
        return nn.ReLU()
    elif isinstance(module, nn.MultiheadAttention):
        plain = module.bias_k is None and module.bias_v is None and not module.add_zero_attn
        return Attention.of(module) if plain else None
    else:
        return None
    if module.affine:
        with torch.no_grad():
            made.weight.copy_(module.weight)
            made.bias.copy_(module.bias)
        made = made.to(module.weight)
    return made.train(module.training)
