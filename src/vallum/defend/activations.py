"""Poisoned rows where a model sees them: what goes into one of its layers.

Triggers in a model without its training data are sought by `vallum.attack.invert_triggers`.
"""

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vallum.base import InputError, UnavailableError

if TYPE_CHECKING:
    import torch

Floats = NDArray[np.float64]


def hidden_activations(
    model: "torch.nn.Module", x: NDArray[Any], *, layer: str = "", batch_size: int = 1024
) -> Floats:
    """Return what goes into a layer of `model` for each record, (n, k).

    `vallum.defend.detect_poisoning(hidden_activations(model, x), y)` then looks for a class that
    falls into two where the model sees it (activation clustering, Chen et al. 2018): a model that
    was trained on the data pulls records with a trigger away from those without.

    Args:
        model: Trained on the data that are judged.
        x: Records (n, ...), float32.
        layer: Its name; the last linear layer if empty.
        batch_size: Records of a pass.

    Raises:
        InputError: There is no such layer, or it is given something else than rows.
        UnavailableError: torch is not installed.
    """
    try:
        import torch
    except ImportError as error:
        raise UnavailableError(
            "activations need the extra `torch`", code="defend.torch",
            hint="pip install 'vallum[torch]'",
        ) from error  # fmt: skip
    named = dict(model.named_modules())
    linear = [name for name, one in named.items() if isinstance(one, torch.nn.Linear)]
    wanted = layer or (linear[-1] if linear else "")
    if not wanted or wanted not in named:
        raise InputError(
            f"the model has no layer `{layer[:80] or 'of kind Linear'}`",
            code="defend.activations.layer",
        )
    seen: list[torch.Tensor] = []
    hook = named[wanted].register_forward_pre_hook(
        lambda _, given: seen.append(given[0].detach().flatten(1))
    )
    model.eval()
    records = torch.from_numpy(np.ascontiguousarray(x, dtype=np.float32))
    try:
        with torch.no_grad():
            for part in records.split(batch_size):
                model(part.to(_device(model)))
    finally:
        hook.remove()
    found: Floats = torch.cat(seen).double().cpu().numpy() if seen else np.zeros((0, 0))
    if len(found) != len(records):
        raise InputError(
            f"`{wanted}` is not given one row a record", code="defend.activations.layer"
        )
    return found


def _device(model: "torch.nn.Module") -> "torch.device":
    import torch

    first = next(model.parameters(), None)
    return torch.device("cpu") if first is None else first.device
