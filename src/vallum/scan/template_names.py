"""Names in chat templates that are built from parts: what a subscript reaches is told in place.

Jinja joins texts that stand beside each other, and a text may be put together far from where it is
used: in a variable, a loop, a macro. So the template's tree is followed: a value is built where
texts are joined, changed or rendered, and whoever gets such a value has it too. A subscript, and
what a filter takes for an attribute, must be none. Numbers, and items of what the template was
given, are none either.

Source: jinja2 3.1, `nodes.py`, `parser.py`.
"""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

from jinja2 import Environment, TemplateSyntaxError, nodes
from jinja2.ext import Extension
from jinja2.parser import Parser

_INTERNAL = re.compile(
    r"__|\b(?:gi|cr|ag|tb|f|co|func)_"
    r"(?:frame|code|globals|builtins|locals|back|yieldfrom|await|closure|next|consts|names)\b|"
    r"^_(?:environment|func|undefined|context|module|caller|iterator|iterable|recurse)\Z"
)
_KEEP = frozenset(  # what these return are items of what they get, or it
    """first last default d list sort dictsort unique select reject selectattr rejectattr items min
    max batch slice""".split()  # noqa: SIM905 - a table
)
_NUMBERS = frozenset("length count int float abs round wordcount bool sum".split())  # noqa: SIM905
# A text that the template was given stays one of what it was given, if no underline comes into it.
_CHANGE = frozenset(
    """replace trim upper lower title capitalize strip lstrip rstrip split rsplit
    splitlines""".split()  # noqa: SIM905 - a table
)
_KEEPING = frozenset({"get", "keys", "values", "items"})
_COUNTING = frozenset({"append", "count", "find", "index", "startswith", "endswith", "isdigit"})
_LOOP = frozenset({"index", "index0", "revindex", "revindex0", "length", "depth", "depth0"})
_BY_NAME = frozenset({"selectattr", "rejectattr", "map", "groupby"})
_NUMERIC = (nodes.Sub, nodes.Div, nodes.FloorDiv, nodes.Pow, nodes.Neg, nodes.Pos)
_MAX_ROUNDS = 32


class _Generation(Extension):
    """The tag by which a template marks what an assistant said."""

    tags = {"generation"}

    def parse(self, parser: Parser) -> list[nodes.Node]:
        """Read the block as what stands in it."""
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


@lru_cache(maxsize=1)
def environment() -> Environment:
    """Return an environment that reads chat templates; it runs none."""
    extensions: list[str | type[Extension]] = [
        "jinja2.ext.loopcontrols",
        "jinja2.ext.do",
        _Generation,
    ]
    return Environment(autoescape=True, extensions=extensions)


def names_faults(text: str) -> Iterator[tuple[str, str]]:
    """Yield id and message of each name that is built, or that leads to internals.

    What Jinja does not parse is a fault too: another reader of templates may take it.
    """
    try:
        tree = environment().parse(text)
        yield from _faults(tree)
    except TemplateSyntaxError as error:
        yield "template.syntax", f"it is no template of Jinja's: {error.message}"[:200]
    except RecursionError:
        yield "template.computed", "the template is nested beyond what is read"


def _faults(tree: nodes.Template) -> Iterator[tuple[str, str]]:
    found: dict[type[nodes.Node], list[Any]] = defaultdict(list)
    left: list[nodes.Node] = [tree]
    while left:
        node = left.pop()
        found[type(node)].append(node)
        left.extend(node.iter_child_nodes())
    for const in found[nodes.Const]:
        if isinstance(const.value, str) and _INTERNAL.search(const.value):
            yield "template.internals", f"the template names `{const.value[:60]}`"
    values = _Values(found)
    if not values.settled:
        yield "template.computed", "values are passed on too often to be followed"
    for item in found[nodes.Getitem]:
        if not isinstance(item.arg, nodes.Slice) and values.is_built(item.arg):
            yield "template.computed", "the template computes the name of an attribute"
    for one in found[nodes.Filter]:
        if one.name in _BY_NAME and any(values.is_built(arg) for arg in one.args[:1]):
            yield "template.computed", "the template computes the name of an attribute"


class _Values:
    """Which variables hold a text that the template built, or a list of such."""

    def __init__(self, found: Mapping[type[nodes.Node], list[Any]]) -> None:
        self._built: set[str] = set()
        self._literal: set[str] = set()
        given = list(self._given(found))
        self._literal = {
            name
            for names, value in given
            if value is not None and _is_text(value)
            for name in names
        }
        self.settled = False
        for _ in range(_MAX_ROUNDS):
            before = len(self._built)
            for names, value in given:
                if value is None or self.is_built(value):
                    self._built.update(names)
            if before == len(self._built):
                self.settled = True
                return

    def _given(
        self, found: Mapping[type[nodes.Node], list[Any]]
    ) -> Iterator[tuple[list[str], nodes.Node | None]]:
        """Yield names and a value that they get; None: a built one.

        `.x` is an attribute, `m()` what any call of the macro `m` gives it.
        """
        for assign in found[nodes.Assign]:
            yield _targets(assign.target), assign.node
        for block in found[nodes.AssignBlock]:
            yield _targets(block.target), None
        for loop in found[nodes.For]:
            yield _targets(loop.target), loop.iter
        for with_ in found[nodes.With]:
            for target, value in zip(with_.targets, with_.values, strict=True):
                yield _targets(target), value
        for macro in found[nodes.Macro]:
            yield [one.name for one in macro.args], nodes.Name(f"{macro.name}()", "load")
            yield from (([f"{macro.name}()"], value) for value in macro.defaults)
        for call in found[nodes.Call]:
            values = [*call.args, *(one.value for one in call.kwargs)]
            values += [one for one in (call.dyn_args, call.dyn_kwargs) if one is not None]
            if isinstance(call.node, nodes.Name):
                yield from (([f"{call.node.name}()", "caller"], value) for value in values)
                if call.node.name == "namespace":
                    yield from ((["." + one.key], one.value) for one in call.kwargs)
            elif isinstance(call.node, nodes.Getattr) and call.node.attr == "append":
                yield from ((_targets(call.node.node), value) for value in values)

    def is_built(self, node: nodes.Node) -> bool:
        """Whether a value may be a text that the template put together."""
        match node:
            case nodes.Const() | nodes.Test() | nodes.Compare() | nodes.Not():
                return False
            case nodes.Name():
                return node.name in self._built
            case nodes.Concat():
                return True
            case nodes.Add():
                if isinstance(node.left, nodes.List) or isinstance(node.right, nodes.List):
                    return self.is_built(node.left) or self.is_built(node.right)
                return not (_is_number(node.left) or _is_number(node.right))
            case nodes.Mod():
                return not _is_number(node.right)
            case nodes.Mul():
                return not (_is_number(node.left) and _is_number(node.right))
            case nodes.Filter():
                if node.name in _NUMBERS:
                    return False
                if node.name in _CHANGE and node.node is not None:
                    return self._changes(node.node, node.args)
                return node.name not in _KEEP or any(map(self.is_built, node.iter_child_nodes()))
            case nodes.Call():
                return self._returns_built(node)
            case nodes.Getattr():
                return "." + node.attr in self._built or self.is_built(node.node)
            case nodes.Getitem():
                if isinstance(node.arg, nodes.Slice) and (
                    node.arg.step is not None or self._holds_text(node.node)
                ):
                    return True
                return self.is_built(node.node)
            case _:
                return not isinstance(node, _NUMERIC) and any(
                    map(self.is_built, node.iter_child_nodes())
                )

    def _returns_built(self, call: nodes.Call) -> bool:
        values = [*call.args, *(one.value for one in call.kwargs)]
        match call.node:
            case nodes.Name(name="range" | "namespace" | "raise_exception"):
                return False
            case nodes.Name(name="dict"):
                return any(map(self.is_built, values))
            case nodes.Getattr(attr=method) if method in _COUNTING:
                return False
            case nodes.Getattr(attr=method) if method in _KEEPING:
                return any(map(self.is_built, (call.node.node, *values)))
            case nodes.Getattr(attr=method) if method in _CHANGE:
                return self._changes(call.node.node, values)
            case _:
                return True

    def _changes(self, node: nodes.Node, values: Sequence[nodes.Node]) -> bool:
        """Whether a text that is changed by others is the template's own then."""
        own = (self._holds_text(one) and "_" in getattr(one, "value", "_") for one in values)
        return self._holds_text(node) or any(own) or any(map(self.is_built, (node, *values)))

    def _holds_text(self, node: nodes.Node) -> bool:
        return _is_text(node) or (isinstance(node, nodes.Name) and node.name in self._literal)


def _targets(node: nodes.Node) -> list[str]:
    if isinstance(node, nodes.NSRef | nodes.Getattr):
        return ["." + node.attr]
    if isinstance(node, nodes.Tuple):
        return [name for one in node.items for name in _targets(one)]
    return [node.name] if isinstance(node, nodes.Name) else []


def _is_text(node: nodes.Node) -> bool:
    return isinstance(node, nodes.Const) and isinstance(node.value, str)


def _is_number(node: nodes.Node) -> bool:
    """Whether a value is surely a number: a text added to one is an error."""
    match node:
        case nodes.Const():
            return isinstance(node.value, int | float)
        case nodes.Filter():
            return node.name in _NUMBERS
        case nodes.Getattr(node=nodes.Name(name="loop"), attr=attr):
            return attr in _LOOP
        case nodes.Add() | nodes.Mul():
            return _is_number(node.left) and _is_number(node.right)
        case _:
            return isinstance(node, _NUMERIC)
