"""What every kind of original has."""

from typing import Any

import numpy as np

from vallum.base import InputError
from vallum.convert.numbers import class_text


class Original:
    """What every kind of original has; see `Exported` for the attributes."""

    name: str
    classes: tuple[str, ...]
    features: tuple[str, ...]
    width: int
    scored: bool
    exact: bool = True

    def export(self) -> Any:
        """Return it as an ONNX model."""
        raise NotImplementedError

    def answer(self, x: "np.ndarray[Any, Any]") -> tuple[Any, Any]:
        """Return labels (or None) and scores (or None) of rows (n, width), float64."""
        raise NotImplementedError


def names_of(given: object) -> tuple[str, ...]:
    """Return names of columns as text; empty for none."""
    if given is None:
        return ()
    return tuple(str(one)[:200] for one in given)  # type: ignore[attr-defined]  # numpy or a list


def class_names(given: Any) -> tuple[str, ...]:
    """Return the classes of a model as text.

    Raises:
        InputError: It has several outputs.
    """
    every = list(given)
    if any(isinstance(one, list | np.ndarray) for one in every):
        raise InputError("the model has several outputs", code="convert.model")
    return tuple(class_text(one) for one in every)
