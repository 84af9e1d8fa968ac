"""Programs that torch exported (`.pt2`), opened without the pickles in them."""

import io
from typing import Any, Self

import numpy as np

from vallum.base import InputError
from vallum.convert.kind import Original
from vallum.formats import without_pickles

_OPSET = 18


class Program(Original):
    """An exported module of one matrix; its answers are numbers, whatever they mean."""

    name = "torch.export.ExportedProgram"
    classes = ()
    features = ()
    scored = True

    def __init__(self, program: Any) -> None:
        """Look at `program`.

        Raises:
            InputError: It does not take one matrix of any number of rows.
        """
        self._program = program
        self._module = program.module()
        taken = program.graph_signature.user_inputs
        sizes = [node.meta["val"].shape for node in program.graph.nodes if node.name in taken]
        shape: list[Any] = list(sizes[0]) if len(sizes) == 1 else []
        if len(shape) != 2 or isinstance(shape[0], int) or not isinstance(shape[1], int):  # noqa: PLR2004 - a matrix
            raise InputError(
                "the program does not take one matrix of any number of rows",
                code="convert.model",
                hint="export it with dynamic_shapes=({0: torch.export.Dim.DYNAMIC},)",
            )
        self.width = shape[1]

    @classmethod
    def read(cls, payload: bytes) -> Self:
        """Open an archive of `torch.export.save`.

        Raises:
            InputError: It is none, or keeps weights as pickles.
            LimitExceededError: A bound on archives.
        """
        harmless = without_pickles(payload)
        import torch

        torch.set_num_threads(1)
        return cls(torch.export.load(io.BytesIO(harmless)))

    def export(self) -> Any:
        """Return it as ONNX over one matrix of float32."""
        import onnxscript  # noqa: F401 - torch needs it, and would say so at length
        import torch

        made = torch.onnx.export(
            self._program, (torch.zeros(2, self.width),), dynamo=True, verbose=False,
            opset_version=_OPSET,
        ).model_proto  # fmt: skip
        del made.metadata_props[:]  # of torch's own passes, with paths of source files
        for part in (made.graph, *made.graph.node, *made.graph.input, *made.graph.output,
                     *made.graph.value_info):  # fmt: skip
            del part.metadata_props[:]
        return made

    def answer(self, x: "np.ndarray[Any, Any]") -> tuple[Any, Any]:
        """Return the numbers that it answers."""
        import torch

        with torch.no_grad():
            told = self._module(torch.from_numpy(x.astype(np.float32)))
        if not isinstance(told, torch.Tensor):
            raise InputError("the program answers more than one tensor", code="convert.model")
        return None, told.numpy()
