"""What of a model cannot be trained privately, whichever library it is of."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NoReturn

from vallum.base import InputError

GROUPS = 32
"""Most groups of the normalisation that replaces one over the batch."""
MIXES = "mixes the samples of a batch"
_SHOWN = 10


@dataclass(frozen=True, slots=True)
class Problem:
    """A layer that cannot be trained privately as it is.

    Attributes:
        name: Its place in the model, `features.3`.
        kind: Its class.
        reason: Why not.
        replacement: What does; empty where nothing does.
        automatic: Whether `replace=True` puts it there.
    """

    name: str
    kind: str
    reason: str
    replacement: str
    automatic: bool = False

    def __str__(self) -> str:
        """Return one line."""
        use = f"; use {self.replacement}" if self.replacement else ""
        return f"`{self.name}` ({self.kind}): {self.reason}{use}"


def refuse(found: Sequence[Problem]) -> NoReturn:
    """Refuse a model for its problems.

    Raises:
        InputError: Every such layer is named, with what to use instead.
    """
    shown = "; ".join(str(one) for one in found[:_SHOWN])
    more = f"; and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    able = any(one.automatic for one in found)
    raise InputError(
        f"the model cannot be trained privately: {shown}{more}",
        code="defend.dp.layer",
        hint="replace=True puts the replacements there" if able else "",
    )
