"""MLflow's filter language: parsed within bounds, matched in linear time, never turned into SQL.

    filter     := comparison (AND comparison)*
    comparison := field OP value | field [NOT] IN (text, …) | field IS [NOT] NULL
    field      := [entity .] key      entity: metrics, params, tags, attributes, …
    key        := bare word | `quoted` | "quoted"
    order      := field [ASC | DESC]

Semantics are MLflow's: a comparison with what a row does not have is false, `!=` too.

Source: mlflow.org/docs/latest/ml/search/search-runs; mlflow/utils/search_utils.py.
"""

import operator
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, NoReturn, TypeVar

import re2

from vallum.base import InputError

T = TypeVar("T")

Value = str | float | None
Getter = Callable[[T, str], Value]
Several = Callable[[T, str], Iterable[Value]]

MAX_FILTER = 8000
MAX_COMPARISONS = 100
MAX_LIST = 1000
MAX_PATTERN = 250  # characters of a LIKE or RLIKE pattern
MAX_AUTOMATON = 256 * 1024  # bytes that a regular expression may take
MAX_ORDERS = 20

_TOKEN = re.compile(
    r"""\s*(?:
      (?P<text>'(?:[^']|'')*')
    | (?P<number>[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?(?![\w.]))
    | (?P<quoted>`[^`]*`|"[^"]*")
    | (?P<word>[\w][\w\-/:]*)
    | (?P<op>!=|<=|>=|=|<|>)
    | (?P<mark>[.,()])
    )""",
    re.VERBOSE,
)
_NUMERIC: Mapping[str, Callable[[float, float], bool]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_TEXTUAL = ("=", "!=", "LIKE", "ILIKE", "IN", "NOT IN", "IS NULL", "IS NOT NULL")
_ENTITIES = {
    "metric": "metric",
    "metrics": "metric",
    "parameter": "param",
    "parameters": "param",
    "param": "param",
    "params": "param",
    "tag": "tag",
    "tags": "tag",
    "attribute": "attribute",
    "attributes": "attribute",
    "attr": "attribute",
    "run": "attribute",
    "dataset": "dataset",
    "datasets": "dataset",
    "trace": "attribute",
    "traces": "attribute",
    "metadata": "metadata",
    "request_metadata": "metadata",
    "feedback": "feedback",
    "expectation": "expectation",
    "span": "span",
}


@dataclass(frozen=True, slots=True)
class Vocabulary(Generic[T]):
    """What can be asked about one kind of row.

    Attributes:
        entities: Which of `metric`, `param`, `tag`, `attribute` it has, and how to read them.
        numeric: Attributes that are numbers.
        textual: Attributes that are texts.
        aliases: Other names of attributes.
        several: Entities of which a row has several values under one key, such as its data sets:
            a comparison holds if it does for one of them.
        keys: Of entities that do not have just any key: which there are. One that ends in a dot
            stands for all that begin so.
        operators: Of an entity, or of one key of it (`entity.key`): how its texts are compared,
            where that is not as all are.
    """

    entities: Mapping[str, Getter[T]]
    numeric: frozenset[str]
    textual: frozenset[str]
    aliases: Mapping[str, str]
    several: Mapping[str, Several[T]] = field(default_factory=dict)
    keys: Mapping[str, frozenset[str]] = field(default_factory=dict)
    operators: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Field:
    """What is compared or ordered by."""

    entity: str
    key: str
    numeric: bool


@dataclass(frozen=True, slots=True)
class Comparison:
    """One comparison; `value` fits the operator and the field."""

    field: Field
    op: str
    value: str | float | tuple[str, ...] | None


@dataclass(frozen=True, slots=True)
class Order:
    """By what rows are ordered."""

    field: Field
    ascending: bool


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    at: int


def parse_filter(text: str, vocabulary: Vocabulary[T]) -> tuple[Comparison, ...]:
    """Parse a filter; empty: every row passes.

    Raises:
        InputError: Code `mlflow.filter`; the message tells where and what was expected.
    """
    reader = _Reader(text, vocabulary)
    found: list[Comparison] = []
    if reader.done():
        return ()
    while True:
        found.append(reader.comparison())
        if len(found) > MAX_COMPARISONS:
            raise _wrong(f"a filter has at most {MAX_COMPARISONS} comparisons")
        if reader.done():
            return tuple(found)
        if reader.word("OR"):
            raise _wrong("`OR` is not part of the filter language; search twice instead")
        if not reader.word("AND"):
            reader.expected("`AND` or the end")


def parse_orders(texts: Sequence[str], vocabulary: Vocabulary[T]) -> tuple[Order, ...]:
    """Parse `order_by` clauses.

    Raises:
        InputError: Code `mlflow.filter`.
    """
    if len(texts) > MAX_ORDERS:
        raise _wrong(f"at most {MAX_ORDERS} clauses order a search")
    return tuple(_Reader(text, vocabulary).order() for text in texts)


def matcher(comparisons: Sequence[Comparison], vocabulary: Vocabulary[T]) -> Callable[[T], bool]:
    """Return a function that tells whether a row passes all comparisons."""
    tests = [_test(one, vocabulary) for one in comparisons]
    return lambda row: all(test(row) for test in tests)


def ordered(rows: Sequence[T], orders: Sequence[Order], vocabulary: Vocabulary[T]) -> list[T]:
    """Sort stably by `orders`, the first counting most; NaN and what is missing come last."""
    out = list(rows)
    for one in reversed(orders):
        get, key = vocabulary.entities[one.field.entity], one.field.key
        known = [(value, row) for row in out if _comparable(value := get(row, key))]
        unknown = [row for row in out if not _comparable(get(row, key))]
        known.sort(key=lambda pair: pair[0], reverse=not one.ascending)  # type: ignore[arg-type,return-value]  # one type a key
        out = [*(row for _, row in known), *unknown]
    return out


def like(text: str, pattern: str, *, fold: bool = False) -> bool:
    """Tell whether SQL's LIKE matches: `%` any run, `_` any one character."""
    return _pattern(pattern, fold=fold)(text)


def _pattern(pattern: str, *, fold: bool) -> Callable[[str], bool]:
    """Return the matcher of a LIKE pattern.

    Each part between two `%` is looked for where it first fits after the one before it, which is
    right because `%` takes anything: nothing is ever tried twice, however the text was chosen.
    """
    parts = (pattern.lower() if fold else pattern).split("%")
    if len(parts) == 1:
        whole = _part(parts[0])
        return lambda text: whole.fullmatch(text.lower() if fold else text) is not None
    first, last = _part(parts[0]), parts[-1]
    between = [_part(part) for part in parts[1:-1] if part]
    end = _part(last)

    def matches(text: str) -> bool:
        text = text.lower() if fold else text
        found = first.match(text)
        if found is None:
            return False
        at = found.end()
        for part in between:
            found = part.search(text, at)
            if found is None:
                return False
            at = found.end()
        start = len(text) - len(last)
        return start >= at and end.match(text, start) is not None

    return matches


def regular(pattern: str) -> Callable[[str], bool]:
    """Return what looks for a regular expression: RE2's, which takes linear time.

    Raises:
        InputError: It is none, or would take too much memory.
    """
    options = re2.Options()
    options.max_mem = MAX_AUTOMATON
    options.log_errors = False
    try:
        search = re2.compile(pattern, options).search
    except (re2.error, UnicodeEncodeError):
        raise _wrong(f"{pattern[:40]!a} is no regular expression, or one too large") from None
    # Half a surrogate pair, which JSON can tell, is no text that RE2 takes.
    return lambda text: search(text.encode(errors="replace").decode()) is not None


def _part(part: str) -> re.Pattern[str]:
    return re.compile("".join("." if char == "_" else re.escape(char) for char in part), re.DOTALL)


def _comparable(value: Value) -> bool:
    return value is not None and value == value  # noqa: PLR0124 - NaN


def _test(one: Comparison, vocabulary: Vocabulary[T]) -> Callable[[T], bool]:
    passes, key = _predicate(one), one.field.key
    several = vocabulary.several.get(one.field.entity)
    if several is not None:
        return lambda row: any(passes(value) for value in several(row, key))
    get = vocabulary.entities[one.field.entity]
    return lambda row: passes(get(row, key))


def _predicate(one: Comparison) -> Callable[[Value], bool]:
    """Return what tells whether a value passes; None is a value that a row does not have."""
    wanted = one.value
    if one.op == "IS NULL":
        return lambda value: value is None
    if one.op == "IS NOT NULL":
        return lambda value: value is not None
    if one.field.numeric:
        compare, limit = _NUMERIC[one.op], float(wanted)  # type: ignore[arg-type]  # the parser made it one
        return lambda value: value is not None and compare(float(value), limit)
    if isinstance(wanted, tuple):
        members, inside = frozenset(wanted), one.op == "IN"
        return lambda value: value is not None and (value in members) is inside
    text = str(wanted)
    if one.op in {"LIKE", "ILIKE"}:
        like_it = _pattern(text, fold=one.op == "ILIKE")
        return lambda value: value is not None and like_it(str(value))
    if one.op == "RLIKE":
        found = regular(text)
        return lambda value: value is not None and found(str(value))
    equal = one.op == "="
    return lambda value: value is not None and (value == text) is equal


class _Reader(Generic[T]):
    """Holds the tokens of one text and how far it was read."""

    def __init__(self, text: str, vocabulary: Vocabulary[T]) -> None:
        if len(text) > MAX_FILTER:
            raise _wrong(f"a filter or order has at most {MAX_FILTER} characters")
        self._vocabulary = vocabulary
        self._tokens = list(_tokens(text))
        self._at = 0

    def done(self) -> bool:
        return self._at == len(self._tokens)

    def word(self, *words: str) -> bool:
        """Take these words if they follow."""
        following = self._tokens[self._at : self._at + len(words)]
        if [one.text.upper() for one in following if one.kind == "word"] != list(words):
            return False
        self._at += len(words)
        return True

    def expected(self, what: str) -> NoReturn:
        if self.done():
            raise _wrong(f"expected {what}, got the end")
        token = self._tokens[self._at]
        raise _wrong(f"expected {what} at character {token.at + 1}, got {token.text[:40]!a}")

    def comparison(self) -> Comparison:
        field = self._field()
        if self.word("IS", "NOT", "NULL"):
            return self._checked(field, "IS NOT NULL", None)
        if self.word("IS", "NULL"):
            return self._checked(field, "IS NULL", None)
        if self.word("NOT", "IN"):
            return self._checked(field, "NOT IN", self._list())
        if self.word("IN"):
            return self._checked(field, "IN", self._list())
        for op in ("LIKE", "ILIKE", "RLIKE"):
            if self.word(op):
                pattern = self._text()
                if len(pattern) > MAX_PATTERN:
                    raise _wrong(f"a pattern has at most {MAX_PATTERN} characters")
                return self._checked(field, op, pattern)
        if self.done() or self._tokens[self._at].kind != "op":
            self.expected("a comparison such as `=`, `LIKE` or `IN`")
        op = self._take().text
        value = self._number() if field.numeric else self._text()
        return self._checked(field, op, value)

    def order(self) -> Order:
        field = self._field()
        if field.entity not in self._vocabulary.entities:
            raise _wrong(f"a row has several {field.entity}s: it cannot be ordered by them")
        ascending = not self.word("DESC")
        if ascending:
            self.word("ASC")
        if not self.done():
            self.expected("`ASC`, `DESC` or the end")
        return Order(field, ascending)

    def _checked(
        self, field: Field, op: str, value: str | float | tuple[str, ...] | None
    ) -> Comparison:
        operators = self._vocabulary.operators
        textual = operators.get(
            f"{field.entity}.{field.key}", operators.get(field.entity, _TEXTUAL)
        )
        allowed = _NUMERIC if field.numeric else textual
        if op not in allowed:
            kind = "numbers" if field.numeric else "texts"
            raise _wrong(f"`{op}` does not compare {kind}; use {', '.join(allowed)}")
        return Comparison(field, op, value)

    def _take(self) -> _Token:
        token = self._tokens[self._at]
        self._at += 1
        return token

    def _is(self, kind: str, text: str = "") -> bool:
        if self.done():
            return False
        token = self._tokens[self._at]
        return token.kind == kind and (not text or token.text == text)

    def _field(self) -> Field:
        first = self._name("a field such as metrics.accuracy")
        entity = _ENTITIES.get(first.lower())
        if not self._is("mark", "."):
            return self._attribute(first)
        if entity not in self._vocabulary.entities and entity not in self._vocabulary.several:
            all_of_them = dict.fromkeys([*self._vocabulary.entities, *self._vocabulary.several])
            known = ", ".join(f"{one}s" for one in all_of_them)
            raise _wrong(f"{first[:40]!a} is not one of {known}")
        self._take()
        key = self._name("a key")
        while self._is("mark", "."):
            self._take()
            key += "." + self._name("a key")
        if entity == "attribute":
            return self._attribute(key)
        keys = self._vocabulary.keys.get(str(entity))
        if keys is not None:  # others may have any
            families = tuple(one for one in keys if one.endswith("."))
            if key in families or not (key in keys or key.startswith(families)):
                raise _wrong(f"{entity} {key[:40]!a} is none of {', '.join(sorted(keys))}")
        return Field(str(entity), key, numeric=entity == "metric")

    def _attribute(self, name: str) -> Field:
        key = self._vocabulary.aliases.get(name, name)
        if name in self._vocabulary.aliases and "." in key:  # of another entity
            entity, _, key = key.partition(".")
            return Field(entity, key, numeric=False)
        if key in self._vocabulary.numeric:
            return Field("attribute", key, numeric=True)
        if key in self._vocabulary.textual:
            return Field("attribute", key, numeric=False)
        # An attribute of which a row has several.
        if key in self._vocabulary.several and key not in _ENTITIES:
            return Field(key, key, numeric=False)
        known = ", ".join(sorted(self._vocabulary.numeric | self._vocabulary.textual))
        raise _wrong(f"{name[:40]!a} is not an attribute; there are {known}")

    def _name(self, what: str) -> str:
        if self._is("word"):
            return self._take().text
        if self._is("quoted"):
            return self._take().text[1:-1]
        # A key such as `0` or `2.5` in tags.2.5 was taken for a number.
        if self._at and self._is("number") and self._tokens[self._at - 1].text == ".":
            return self._take().text
        return self.expected(what)

    def _text(self) -> str:
        if self._is("text"):
            return self._take().text[1:-1].replace("''", "'")
        if self._is("quoted") and self._tokens[self._at].text[0] == '"':
            return self._take().text[1:-1]
        return self.expected("a text in quotes")

    def _number(self) -> float:
        if self._is("number"):
            return float(self._take().text)
        # Clients quote numbers too: MLflow takes attributes.start_time > '1'.
        if self._is("text") or self._is("quoted"):
            text = self._text()
            try:
                return float(text)
            except ValueError:
                raise _wrong(f"{text[:40]!a} is not a number") from None
        return self.expected("a number")

    def _list(self) -> tuple[str, ...]:
        if not self._is("mark", "("):
            self.expected("`(`")
        self._take()
        out = [self._text()]
        while self._is("mark", ","):
            self._take()
            if self._is("mark", ")"):  # Python's tuple of one
                break
            out.append(self._text())
            if len(out) > MAX_LIST:
                raise _wrong(f"a list has at most {MAX_LIST} members")
        if not self._is("mark", ")"):
            self.expected("`)`")
        self._take()
        return tuple(out)


def _tokens(text: str) -> list[_Token]:
    out: list[_Token] = []
    at = 0
    end = len(text.rstrip())
    while at < end:
        found = _TOKEN.match(text, at, end)
        if found is None:
            rest = text[at:end].lstrip()
            raise _wrong(f"{rest[:20]!a} at character {end - len(rest) + 1} cannot be read")
        kind = str(found.lastgroup)
        out.append(_Token(kind, found.group(kind), found.start(kind)))
        at = found.end()
    return out


def _wrong(message: str) -> InputError:
    return InputError(
        message,
        code="mlflow.filter",
        hint="such as metrics.accuracy > 0.9 AND params.kind = 'tree' AND tags.team LIKE 'a%'",
    )
