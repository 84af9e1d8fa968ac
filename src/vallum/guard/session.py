"""An ONNX model that takes one matrix, as endpoints and batches run it."""

import ctypes

import numpy as np
from numpy.typing import NDArray

from vallum.base import GateError, InputError

Arrays = list[tuple[str, NDArray[np.generic]]]


class Session:
    """A loaded ONNX model of standard operators.

    Attributes:
        width: Number of features that it takes, None if any.
    """

    def __init__(self, data: bytes, *, threads: int = 1) -> None:
        """Load a model.

        Args:
            data: The model.
            threads: How many it may use.

        Raises:
            InputError: It does not load, or does not take one matrix.
        """
        import onnxruntime as ort

        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 4
        try:
            session = ort.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime raises bare RuntimeErrors of many kinds
            raise InputError("the model does not load", code="model.load") from error
        # It keeps the bytes for other providers, which we have none of, and loading leaves as much
        # again in the allocator: a process would have three times its model.
        session.disable_fallback()
        session._model_bytes = None  # noqa: SLF001 - there is no other way to let go of them
        _give_back()
        inputs = session.get_inputs()
        if len(inputs) != 1 or len(inputs[0].shape) != 2:  # noqa: PLR2004 - rows and columns
            raise InputError("the model does not take one matrix", code="model.load")
        width = inputs[0].shape[1]
        self.width: int | None = width if isinstance(width, int) else None
        # What `run` does besides is to check the names, which are the session's own, and to fall
        # back to other providers: a tenth of a small model's time.
        self._run = session._sess.run  # noqa: SLF001 - as above
        self._input: str = inputs[0].name
        self._outputs: list[str] = [one.name for one in session.get_outputs()]

    def run(self, x: NDArray[np.float32]) -> Arrays:
        """Run it.

        Raises:
            GateError: It answers something that is no array.
            Exception: Of onnxruntime, of many kinds: it fails on this input.
        """
        values = self._run(self._outputs, {self._input: x}, None)
        for value in values:
            if not isinstance(value, np.ndarray):
                raise GateError("the model answers what is no tensor", code="model.output")
        return list(zip(self._outputs, values, strict=True))


def _give_back() -> None:
    """Return to the system what was freed, where the C library (glibc) can."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
