"""The text of a table of scores: rows appended to it, in order, under one header."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

from vallum.base import GateError, InputError

if TYPE_CHECKING:
    import polars as pl

ERROR: Final = "error"
HELD_ERROR: Final = "\0error"
"""Column of errors beside kept columns, which can have no such name."""


class Text:
    """Writes rows once it is known which columns scores have: as soon as one row has some.

    Attributes:
        scores: Columns of the model's answers; empty as long as they are not known.
        columns: Of the table; empty before its header.
    """

    def __init__(
        self, keep: Sequence[str], scores: Sequence[str] = (), columns: Sequence[str] = ()
    ) -> None:
        self._keep = keep
        self._waiting: list[pl.DataFrame] = []  # failed rows, before the first that did not
        self.scores = tuple(scores)
        self.columns = tuple(columns)

    @property
    def waits(self) -> bool:
        """Tell whether rows wait for it to be known which columns scores have."""
        return bool(self._waiting)

    def add(self, kept: "pl.DataFrame", scores: "Mapping[str, pl.Series]") -> bytes:
        """Return the text of rows; nothing while they have to wait.

        Args:
            kept: Their kept columns, and errors as `HELD_ERROR`.
            scores: Their scores; nothing if they all failed.

        Raises:
            GateError: They have other columns than those before them.
            InputError: A kept column is called as a score.
        """
        if scores:
            out = self.know(tuple(scores))
        elif self.scores:
            out = b""
        else:
            self._waiting.append(kept)
            return b""
        return out + self._rows(kept, scores)

    def know(self, scores: tuple[str, ...]) -> bytes:
        """Take note of the columns of scores; return the text of the rows that waited for it.

        Raises:
            GateError: They are known already, and others.
        """
        if self.scores and scores != self.scores:
            raise GateError("the model answers now more, now less a row", code="score.answer")
        self.scores = scores
        return self.end()

    def begin(self, scores: tuple[str, ...]) -> bytes:
        """Take note of the columns of scores; return the header and the rows that waited for it.

        For a table whose further rows are written elsewhere.

        Raises:
            GateError: They are known already, and others.
        """
        import polars as pl

        self._waiting.insert(0, pl.DataFrame({name: [] for name in (*self._keep, HELD_ERROR)}))
        return self.know(scores)

    def end(self) -> bytes:
        """Return the text of the rows that wait; at the end of a table that has no scores."""
        out = b"".join(self._rows(one, {}) for one in self._waiting)
        self._waiting = []
        return out

    def held(self) -> "pl.DataFrame | None":
        """Take the rows that wait out of it."""
        import polars as pl

        waiting, self._waiting = self._waiting, []
        return pl.concat(waiting) if waiting else None

    def _rows(self, kept: "pl.DataFrame", scores: "Mapping[str, pl.Series]") -> bytes:
        import polars as pl

        from vallum.formats import write_csv_safe

        names = self.scores
        taken = {*self._keep} & {*names, ERROR}
        if taken:
            raise InputError(
                f"a kept column is called `{min(taken)[:80]}`, as a score is", code="score.column"
            )
        nothing = pl.repeat(None, kept.height, dtype=pl.String, eager=True)
        made = pl.DataFrame(
            [
                *(kept[name] for name in self._keep),
                *(scores.get(name, nothing).alias(name) for name in names),
                kept[HELD_ERROR].alias(ERROR),
            ]
        )
        header = not self.columns
        self.columns = tuple(made.columns)
        return write_csv_safe(made, header=header)
