"""A subset of SQL as queries: SELECT aggregates FROM one table WHERE … GROUP BY columns."""

from typing import TYPE_CHECKING, Any

from vallum.base import InputError, UnavailableError
from vallum.privacy.dp.query import (
    Aggregate,
    Both,
    Compare,
    Condition,
    Either,
    Missing,
    Not,
    OneOf,
    Query,
    Scalar,
)

if TYPE_CHECKING:
    from sqlglot import exp

MAX_CHARS = 10_000
MAX_VALUES = 1_000
MAX_DEPTH = 50
_DIGITS = 15  # beyond, not every integer is a number of 64 bits
_SUPPORTED = (
    "COUNT(*), COUNT(x), COUNT(DISTINCT person), SUM, AVG, VARIANCE, STDDEV, MEDIAN"
    " and QUANTILE(x, 0.9)"
)
_TABLE = {"this", "db", "catalog", "alias"}
_CLAUSES = {"expressions", "from_", "from", "where", "group", "kind"}


def parse_sql(text: str, *, person: str = "") -> Query:
    """Read a query; nothing of it is ever executed as SQL.

    Args:
        text: One SELECT statement.
        person: Column that `COUNT(DISTINCT …)` may name: the unit of privacy.

    Raises:
        InputError: It is no SELECT of this subset; the message names the part.
        UnavailableError: The parser is not installed.
    """
    try:
        import sqlglot
        from sqlglot import exp
    except ImportError as error:
        raise UnavailableError(
            "queries in SQL need the extra `dp`", code="dp.extra", hint="pip install 'vallum[dp]'"
        ) from error
    if len(text) > MAX_CHARS:
        raise InputError(f"the query has more than {MAX_CHARS} characters", code="dp.sql")
    try:
        statements = sqlglot.parse(text, read="duckdb")
    except (sqlglot.errors.SqlglotError, RecursionError) as error:
        raise InputError("the query is not SQL that can be read", code="dp.sql") from error
    if len(statements) != 1 or not isinstance(statements[0], exp.Select):
        raise InputError("the query must be one SELECT", code="dp.sql")
    return _Reader(exp, person).select(statements[0])


class _Reader:
    """Turns the tree into a query; holds the parser's classes, which are loaded when used."""

    def __init__(self, classes: Any, person: str) -> None:  # noqa: ANN401 - a module
        self._exp = classes
        self._person = person

    def select(self, tree: "exp.Select") -> Query:
        for name, value in tree.args.items():
            if value and name not in _CLAUSES:
                raise _refuse(f"`{name.rstrip('_').upper()}` is not part of a private query")
        source = tree.args.get("from_") or tree.args.get("from")
        if source is None or not isinstance(source.this, self._exp.Table):
            raise _refuse("the query must read from one table")
        if any(value for name, value in source.this.args.items() if name not in _TABLE):
            raise _refuse("the table must stand by itself: no samples, versions or joins")
        group = tree.args.get("group")
        if group is not None and any(
            value for name, value in group.args.items() if name != "expressions"
        ):
            raise _refuse("only GROUP BY columns can be answered")
        keys = () if group is None else tuple(self._column(one) for one in group.expressions)
        if len(set(keys)) != len(keys):
            raise _refuse("a column is grouped by twice")
        aggregates = []
        for one in tree.expressions:
            inner, name = (one.this, one.alias) if isinstance(one, self._exp.Alias) else (one, "")
            if isinstance(inner, self._exp.Column):
                if self._column(inner) not in keys or name:
                    raise _refuse(
                        f"`{self._column(inner)}` is a value of single records: aggregate it, or"
                        " group by it"
                    )
                continue
            aggregates.append(self._aggregate(inner, name))
        names = [one.name for one in aggregates]
        if not aggregates:
            raise _refuse(f"the query asks for no figure: use {_SUPPORTED}")
        if len({*names, *keys}) != len(names) + len(keys):
            raise _refuse("two columns of the answer have one name: give them names with AS")
        where = tree.args.get("where")
        condition = None if where is None else self._condition(where.this, 0)
        return Query(aggregates=tuple(aggregates), where=condition, group_by=keys)

    def _aggregate(self, tree: Any, name: str) -> Aggregate:  # noqa: ANN401 - a parser's node
        e = self._exp
        if isinstance(tree, e.Count):
            if tree.args.get("expressions"):
                raise _refuse("COUNT takes one column")
            if isinstance(tree.this, e.Star):
                return Aggregate(kind="count", name=name or "count")
            if isinstance(tree.this, e.Distinct):
                named = [self._column(one) for one in tree.this.expressions]
                if named != [self._person]:
                    raise _refuse("only the column of the person can be counted DISTINCT")
                return Aggregate(kind="persons", name=name or "persons")
            column = self._column(tree.this)
            return Aggregate(kind="count", name=name or f"count_{column}", column=column)
        simple = {
            e.Sum: "sum", e.Avg: "mean", e.Variance: "variance", e.Stddev: "stddev",
            e.StddevSamp: "stddev",
        }  # fmt: skip
        for cls, kind in simple.items():
            if isinstance(tree, cls):
                column = self._column(tree.this)
                return Aggregate(kind=kind, name=name or f"{kind}_{column}", column=column)  # type: ignore[arg-type]  # the table above holds kinds only
        found = self._quantile(tree)
        if found is not None:
            column, at = found
            return Aggregate(
                kind="quantile", name=name or f"quantile_{column}_{at}", column=column, at=at
            )
        if isinstance(tree, e.Min | e.Max):
            raise _refuse(
                "MIN and MAX are single records: ask for QUANTILE(x, 0.01) or QUANTILE(x, 0.99)"
            )
        raise _refuse(f"`{tree.sql()[:60]}` cannot be answered: use {_SUPPORTED}")

    def _quantile(self, tree: Any) -> tuple[str, str] | None:  # noqa: ANN401 - a parser's node
        e = self._exp
        if isinstance(tree, e.Median):
            return self._column(tree.this), "0.5"
        if isinstance(tree, e.Quantile):
            return self._column(tree.this), self._share(tree.args.get("quantile"))
        if isinstance(tree, e.WithinGroup) and isinstance(
            tree.this, e.PercentileCont | e.PercentileDisc
        ):
            ordered = tree.expression.expressions
            if len(ordered) != 1 or ordered[0].args.get("desc"):
                raise _refuse("a percentile is WITHIN GROUP (ORDER BY one column)")
            return self._column(ordered[0].this), self._share(tree.this.this)
        return None

    def _share(self, tree: Any) -> str:  # noqa: ANN401 - a parser's node
        value = self._scalar(tree)
        if isinstance(value, str) or not 0 < value < 1:
            raise _refuse("a quantile is a number between 0 and 1")
        return str(value)

    def _condition(self, tree: Any, depth: int) -> Condition:  # noqa: ANN401 - a parser's node
        e = self._exp
        if depth > MAX_DEPTH:
            raise _refuse(f"the condition is nested deeper than {MAX_DEPTH}")
        if isinstance(tree, e.Paren):
            return self._condition(tree.this, depth + 1)
        if isinstance(tree, e.And | e.Or):
            left = self._condition(tree.this, depth + 1)
            right = self._condition(tree.expression, depth + 1)
            return (Both if isinstance(tree, e.And) else Either)(left=left, right=right)
        if isinstance(tree, e.Not):
            return Not(of=self._condition(tree.this, depth + 1))
        if isinstance(tree, e.Is) and isinstance(tree.expression, e.Null):
            return Missing(column=self._column(tree.this))
        if isinstance(tree, e.In):
            return self._one_of(tree)
        if isinstance(tree, e.Between):
            column = self._column(tree.this)
            low, high = self._scalar(tree.args["low"]), self._scalar(tree.args["high"])
            return Both(
                left=Compare(column=column, op=">=", value=low),
                right=Compare(column=column, op="<=", value=high),
            )
        compare = {e.EQ: "=", e.NEQ: "<>", e.LT: "<", e.LTE: "<=", e.GT: ">", e.GTE: ">="}
        for cls, op in compare.items():
            if type(tree) is cls:
                return Compare(
                    column=self._column(tree.this),
                    op=op,  # type: ignore[arg-type]  # the table above holds operators only
                    value=self._scalar(tree.expression),
                )
        raise _refuse(
            f"`{tree.sql()[:60]}` is not a condition that can be used: compare a column with a"
            " constant"
        )

    def _one_of(self, tree: Any) -> Condition:  # noqa: ANN401 - a parser's node
        if any(value for name, value in tree.args.items() if name not in {"this", "expressions"}):
            raise _refuse("IN takes constants")
        if not 0 < len(tree.expressions) <= MAX_VALUES:
            raise _refuse(f"IN takes 1 to {MAX_VALUES} constants")
        values = tuple(self._scalar(one) for one in tree.expressions)
        return OneOf(column=self._column(tree.this), values=values)

    def _column(self, tree: Any) -> str:  # noqa: ANN401 - a parser's node
        if not isinstance(tree, self._exp.Column) or isinstance(tree.this, self._exp.Star):
            shown = tree.sql()[:60] if tree is not None else ""
            raise _refuse(f"`{shown}` is not a column: expressions over columns have no bounds")
        return str(tree.name)

    def _scalar(self, tree: Any) -> Scalar:  # noqa: ANN401 - a parser's node
        e = self._exp
        sign = 1
        if isinstance(tree, e.Neg):
            sign, tree = -1, tree.this
        if isinstance(tree, e.Literal):
            if tree.is_string and sign == 1:
                return str(tree.this)
            if not tree.is_string:
                return _number(str(tree.this), sign)
        raise _refuse(f"`{'' if tree is None else tree.sql()[:60]}` is not a constant")


def _number(text: str, sign: int) -> Scalar:
    try:
        return sign * (int(text) if text.isdecimal() and len(text) <= _DIGITS else float(text))
    except ValueError as error:
        raise _refuse(f"`{text[:60]}` is not a number") from error


def _refuse(message: str) -> InputError:
    return InputError(message, code="dp.sql")
