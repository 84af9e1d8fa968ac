"""Private queries written in Python: what `dp query` takes as SQL, with names and values quoted.

select().count().mean("age").where("ill", "=", 1).group_by("sex")
"""

import math
from dataclasses import dataclass, replace
from typing import Literal

from vallum.base import InputError

Operator = Literal["=", "<>", "<", "<=", ">", ">=", "in", "is null", "is not null"]
Value = str | int | float
_OPERATORS = ("=", "<>", "<", "<=", ">", ">=")


@dataclass(frozen=True, slots=True)
class Select:
    """A query; every method returns a new one, `str` the SQL."""

    figures: tuple[str, ...] = ()
    conditions: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()

    def count(self, column: str = "", *, name: str = "") -> "Select":
        """Ask for the records, or those with a value of `column`."""
        return self._and(f"COUNT({_name(column) if column else '*'})", name)

    def persons(self, column: str, *, name: str = "") -> "Select":
        """Ask for the persons; `column` is the declared unit of privacy."""
        return self._and(f"COUNT(DISTINCT {_name(column)})", name)

    def sum(self, column: str, *, name: str = "") -> "Select":
        """Ask for the sum."""
        return self._and(f"SUM({_name(column)})", name)

    def mean(self, column: str, *, name: str = "") -> "Select":
        """Ask for the mean."""
        return self._and(f"AVG({_name(column)})", name)

    def variance(self, column: str, *, name: str = "") -> "Select":
        """Ask for the variance."""
        return self._and(f"VARIANCE({_name(column)})", name)

    def stddev(self, column: str, *, name: str = "") -> "Select":
        """Ask for the standard deviation."""
        return self._and(f"STDDEV({_name(column)})", name)

    def median(self, column: str, *, name: str = "") -> "Select":
        """Ask for the median."""
        return self._and(f"MEDIAN({_name(column)})", name)

    def quantile(self, column: str, at: float, *, name: str = "") -> "Select":
        """Ask for a quantile, 0 < `at` < 1.

        Raises:
            InputError: `at` is out of range.
        """
        if not 0.0 < at < 1.0:
            raise InputError("a quantile is between 0 and 1", code="dp.quantile")
        return self._and(f"QUANTILE({_name(column)}, {_value(at)})", name)

    def where(
        self, column: str, operator: Operator, value: Value | tuple[Value, ...] = ""
    ) -> "Select":
        """Keep records that fulfil a condition, and those named before.

        Args:
            column: A declared column.
            operator: `=`, `<>`, `<`, `<=`, `>`, `>=`, `in`, `is null`, `is not null`.
            value: A constant; for `in` a tuple of them.

        Raises:
            InputError: The operator is unknown, or a value is no constant.
        """
        if operator in {"is null", "is not null"}:
            said = f"{_name(column)} IS NULL"
            said = f"NOT ({said})" if operator == "is not null" else said
        elif operator == "in":
            values = value if isinstance(value, tuple) else (value,)
            if not values:
                raise InputError("`in` needs a value", code="dp.value")
            said = f"{_name(column)} IN ({', '.join(_value(one) for one in values)})"
        elif operator in _OPERATORS and not isinstance(value, tuple):
            said = f"{_name(column)} {operator} {_value(value)}"
        else:
            raise InputError(f"`{str(operator)[:20]}` is no operator", code="dp.operator")
        return replace(self, conditions=(*self.conditions, said))

    def group_by(self, *columns: str) -> "Select":
        """Ask for each group; groups come from the declaration or by stable thresholding."""
        return replace(self, groups=(*self.groups, *columns))

    def __str__(self) -> str:
        keys = [_name(one) for one in self.groups]
        text = f"SELECT {', '.join([*keys, *self.figures])} FROM t"  # noqa: S608 - parsed, never run
        if self.conditions:
            text += f" WHERE {' AND '.join(f'({one})' for one in self.conditions)}"
        return text + (f" GROUP BY {', '.join(keys)}" if keys else "")

    def _and(self, figure: str, name: str) -> "Select":
        said = f"{figure} AS {_name(name)}" if name else figure
        return replace(self, figures=(*self.figures, said))


def select() -> Select:
    """Begin a query."""
    return Select()


def _name(column: str) -> str:
    if not column or "\0" in column:
        raise InputError("a column has a name", code="dp.column")
    return '"' + column.replace('"', '""') + '"'


def _value(value: Value) -> str:
    if isinstance(value, str):
        if "\0" in value:
            raise InputError("a text has no NUL", code="dp.value")
        return "'" + value.replace("'", "''") + "'"
    if isinstance(value, bool) or not math.isfinite(value):
        raise InputError("a constant is a text or a finite number", code="dp.value")
    return repr(value)
