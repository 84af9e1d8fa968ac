"""Numbers that cross the border of a sandbox, and answers made of them."""

from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from vallum.base import GateError
from vallum.schema import Record

_PLAIN = frozenset("fiub")


class Numbers(Record, frozen=True):
    """An array: its shape, NumPy's name of its type, and its values, little-endian."""

    shape: tuple[int, ...]
    type: str
    values: bytes

    @classmethod
    def of(cls, array: "NDArray[Any]") -> Self:
        """Pack an array of numbers."""
        plain = np.ascontiguousarray(array)
        return cls(shape=plain.shape, type=plain.dtype.str, values=plain.tobytes())

    def array(self) -> "NDArray[np.float64]":
        """Unpack it.

        Raises:
            GateError: The values are not what shape and type say.
        """
        try:
            type_ = np.dtype(self.type)
            if type_.kind not in _PLAIN:
                raise ValueError("no numbers")
            flat = np.frombuffer(self.values, dtype=type_).reshape(self.shape)
        except (TypeError, ValueError) as error:
            raise GateError("the sandbox talks nonsense", code="convert.answer") from error
        return flat.astype(np.float64)


class Answers(Record, frozen=True):
    """What a model answers to rows.

    Attributes:
        labels: Place of each row's label among the classes, (n,), -1 where it is none of them;
            None where the model answers numbers.
        scores: (n, c), a column a class, or (n, outputs); None where it answers labels only.
    """

    labels: Numbers | None
    scores: Numbers | None


def class_text(value: object) -> str:
    """Return a class as text, alike for original and result: 1.0, 1 and true are one."""
    plain = value.item() if isinstance(value, np.generic) else value
    if isinstance(plain, bytes):
        plain = plain.decode(errors="replace")
    if isinstance(plain, bool) or (isinstance(plain, float) and plain.is_integer()):
        return str(int(plain))
    return str(plain)


def places(labels: "NDArray[Any]", classes: tuple[str, ...]) -> "NDArray[np.int64]":
    """Return each label's place among `classes`, -1 for any other."""
    known = {name: place for place, name in enumerate(classes)}
    values, back = np.unique(labels.ravel(), return_inverse=True)
    found = np.array([known.get(class_text(one), -1) for one in values], dtype=np.int64)
    return found[back] if len(found) else np.zeros(0, dtype=np.int64)
