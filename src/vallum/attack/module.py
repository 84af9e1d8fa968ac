"""A live torch module as attacks see it. torch is imported only when one is made."""

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vallum.attack.predictor import Loss, LossGradient, Records, Scores
from vallum.base import GateError, InputError

if TYPE_CHECKING:
    import torch

_MATRIX = 2


class TorchPredictor:
    """A `torch.nn.Module` of float32 parameters, in evaluation mode, behind numpy arrays.

    It is put into evaluation mode and stays there: dropout, or statistics of the batch, would make
    its answers random and hide adversarial records.
    Its parameters collect no gradients.
    """

    def __init__(
        self,
        module: "torch.nn.Module",
        *,
        clip: tuple[float, float] = (0.0, 1.0),
        batch_size: int = 1024,
    ) -> None:
        """Wrap `module`.

        Args:
            module: Maps (n, ...) float32 to logits (n, c), c >= 2.
            clip: Least and greatest value that an input may have.
            batch_size: Records in one pass where no gradient is asked for, >= 1.

        Raises:
            InputError: torch is missing, or the module or an argument is not as described.
        """
        try:
            import torch
        except ImportError as error:
            raise InputError(
                "torch is not installed", code="attack.torch", hint="pip install 'vallum[torch]'"
            ) from error
        if not isinstance(module, torch.nn.Module):
            raise InputError("not a torch module", code="attack.model")
        kinds = {one.dtype for one in module.parameters() if one.is_floating_point()}
        if kinds - {torch.float32}:
            named = ", ".join(sorted(str(one) for one in kinds))
            raise InputError(
                f"the module's parameters are {named}, expected torch.float32",
                code="attack.model",
                hint="pass a copy: copy.deepcopy(module).float()",
            )
        if not clip[0] < clip[1]:
            raise InputError(
                f"`clip` must be (low, high), low < high; got {clip}", code="attack.clip"
            )
        if batch_size < 1:
            raise InputError("`batch_size` must be at least 1", code="attack.batch")
        self.clip = clip
        self._module = module
        self._batch = batch_size
        parameter = next(module.parameters(), None)
        self._device = torch.device("cpu") if parameter is None else parameter.device
        self._near = self._device.type == "cpu"
        self._parts = tuple(module.modules())
        self._settle()

    def predict(self, x: Records) -> Scores:
        """Return logits, shape (n, c), for `x`, shape (n, ...)."""
        import torch

        self._settle()
        with torch.no_grad():
            parts = [
                self._logits(self._tensor(x[first : first + self._batch]))
                for first in range(0, len(x), self._batch)
            ]
        return np.concatenate([_floats(one) for one in parts])

    def loss_gradient(self, x: Records, loss: Loss) -> LossGradient:
        """Return logits, values of `loss`, and its gradient for each record, in one pass.

        Raises:
            GateError: No gradient flows from the module's answer to its input.
        """
        import torch

        self._settle()
        if torch.is_grad_enabled():
            return self._differentiated(self._tensor(x), loss)
        with torch.enable_grad():
            return self._differentiated(self._tensor(x), loss)

    def _differentiated(self, given: "torch.Tensor", loss: Loss) -> LossGradient:
        import torch

        given.requires_grad_()
        logits = self._logits(given)
        if not logits.requires_grad:
            raise GateError("no gradient reaches the module's input", code="attack.gradient")
        scores = _floats(logits)
        values, slopes = loss(scores)
        weights = torch.from_numpy(slopes.astype(np.float32))
        if not logits.is_cpu:
            weights = weights.to(logits.device)
        (gradient,) = torch.autograd.grad(logits, given, weights)
        return LossGradient(scores, values, _numbers(gradient))

    def _settle(self) -> None:
        """Put every part into evaluation mode, should somebody have put one into training."""
        if any(one.training for one in self._parts):
            self._module.eval()

    def _tensor(self, x: Records) -> "torch.Tensor":
        import torch

        x = np.ascontiguousarray(x, dtype=np.float32)
        made = torch.from_numpy(x if x.flags.writeable else x.copy())
        return made if self._near else made.to(self._device)

    def _logits(self, given: "torch.Tensor") -> "torch.Tensor":
        import torch

        answer = self._module(given)
        if not isinstance(answer, torch.Tensor) or answer.ndim != _MATRIX:
            raise GateError("the module answers no matrix of scores", code="attack.scores")
        return answer


def _floats(logits: "torch.Tensor") -> Scores:
    if not logits.is_floating_point():
        raise GateError("the module answers no scores", code="attack.scores")
    return _numbers(logits.detach()).astype(np.float64)


def _numbers(found: "torch.Tensor") -> NDArray[Any]:
    # `cpu` goes through all of torch's dispatch to copy nothing, and this is in every step.
    out: NDArray[Any] = (found if found.is_cpu else found.cpu()).numpy()
    return out
