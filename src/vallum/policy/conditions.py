"""Conditions on assignments: Azure's ABAC grammar over this house's attributes.

    condition  = clause, { "AND" clause } | clause, { "OR" clause }     (mixing needs parentheses)
    clause     = [ "NOT" | "!" ], ( "(" condition ")" | function | comparison )
    function   = "ActionMatches" "{" string "}" | "SubOperationMatches" "{" string "}"
               | "Exists" attribute
    comparison = attribute, [ quantifier ":" ] operator, ( value | attribute | "{" values "}" )
    attribute  = "@Resource[label]" | "@Resource[stage]" | "@Resource[tag:NAME]"
               | "@Request[action]" | "@Request[purpose]" | "@Principal[id]" | "@Principal[group]"

`&&` and `||` are `AND` and `OR`. Azure leaves it to the reader how `a AND b OR c` groups; here it
is refused. Truth has three values: whatever cannot be decided (an attribute that is absent, a
text that is no number) is *unknown*, negation keeps it unknown, and the caller of `evaluate`
takes unknown as the refusing answer. So no negation can fail open.

Source: "Azure role assignment condition format and syntax".
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from vallum.base import InputError
from vallum.policy.actions import full_name
from vallum.policy.lexer import Token, TokenKind, tokenize
from vallum.policy.operators import OPERATORS, Quantifier, compare
from vallum.policy.patterns import MAX_PATTERN_CHARS, matches
from vallum.schema import Caller, Label, Resource

MAX_DEPTH: Final = 32  # of parentheses and negations

_LABELS = frozenset(label.value for label in Label)
_HIGHEST = Label.HIGHLY_CONFIDENTIAL.value


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What a condition may look at."""

    action: str
    resource: Resource
    caller: Caller
    purpose: str = ""


Truth = bool | None
_Test = Callable[[Circumstances], Truth]
_Read = Callable[[Circumstances], tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Condition:
    """A parsed condition."""

    text: str
    _test: _Test

    def evaluate(self, circumstances: Circumstances) -> Truth:
        """Return True, False, or None where it cannot be decided: treat that as refusal."""
        return self._test(circumstances)


def effective_label(label: str) -> str:
    """Return the label that counts: unclassified and unknown ones are the highest."""
    return label if label in _LABELS else _HIGHEST


@lru_cache(maxsize=4096)
def parse_condition(text: str) -> Condition:
    """Parse `text`.

    Raises:
        InputError: It is not in the grammar above, or exceeds a bound; the message says where.
    """
    parser = _Parser(tokenize(text))
    test = parser.condition(0)
    parser.end()
    return Condition(text, test)


class _Parser:
    """Recursive descent; holds the position in the tokens between calls."""

    def __init__(self, tokens: tuple[Token, ...]) -> None:
        self._tokens = tokens
        self._position = 0

    def condition(self, depth: int) -> _Test:
        """Parse clauses joined by one kind of operator."""
        tests = [self._clause(depth)]
        joiner = ""
        while self._peek().kind is TokenKind.JOIN:
            token = self._next()
            if joiner and token.text != joiner:
                raise InputError(
                    f"`AND` and `OR` are mixed at character {token.start}",
                    code="condition.ambiguous",
                    hint="write parentheses around one of them",
                )
            joiner = token.text
            tests.append(self._clause(depth))
        if len(tests) == 1:
            return tests[0]
        return _all(tuple(tests)) if joiner == "AND" else _any(tuple(tests))

    def end(self) -> None:
        """Refuse anything that is left."""
        if self._peek().kind is not TokenKind.END:
            raise _unexpected(self._peek(), "the end")

    def _clause(self, depth: int) -> _Test:
        if depth > MAX_DEPTH:
            raise InputError(
                f"the condition is nested deeper than {MAX_DEPTH}", code="condition.depth"
            )
        token = self._next()
        if token.kind is TokenKind.NOT:
            return _negate(self._clause(depth + 1))
        if token.kind is TokenKind.OPEN:
            inner = self.condition(depth + 1)
            self._expect(TokenKind.CLOSE)
            return inner
        if token.kind is TokenKind.WORD:
            return self._function(token)
        if token.kind is TokenKind.ATTRIBUTE:
            return self._comparison(token)
        raise _unexpected(token, "a comparison, a function or `(`")

    def _function(self, name: Token) -> _Test:
        if name.text.lower() == "exists":
            read = _attribute(self._expect(TokenKind.ATTRIBUTE))
            return lambda circumstances: bool(read(circumstances))
        if name.text.lower() not in ("actionmatches", "suboperationmatches"):
            raise _unexpected(name, "`ActionMatches`, `SubOperationMatches` or `Exists`")
        self._expect(TokenKind.OPEN_SET)
        argument = self._expect(TokenKind.STRING)
        self._expect(TokenKind.CLOSE_SET)
        if name.text.lower() == "suboperationmatches":
            return lambda _: False  # no action of this house has sub-operations
        if len(argument.text) > MAX_PATTERN_CHARS:
            raise InputError(
                f"a pattern has over {MAX_PATTERN_CHARS} characters", code="condition.length"
            )
        pattern = argument.text
        return lambda circumstances: (
            matches(pattern, circumstances.action)
            or matches(pattern, full_name(circumstances.action))
        )

    def _comparison(self, left: Token) -> _Test:
        read = _attribute(left)
        word = self._expect(TokenKind.WORD)
        prefix, colon, name = word.text.rpartition(":")
        operator = OPERATORS.get(name.lower())
        if operator is None:
            raise InputError(
                f"`{name[:40]}` at character {word.start} is no operator",
                code="condition.operator",
                hint="see the list of operators in docs/reference/policy-file.md",
            )
        quantifier = _quantifier(prefix, word) if colon else None
        if quantifier is None and left.text.lower() == "principal[group]":
            raise InputError(
                f"`@Principal[group]` at character {left.start} has many values",
                code="condition.operator",
                hint="write `ForAnyOfAnyValues:` before the operator",
            )
        token = self._next()
        if token.kind is TokenKind.ATTRIBUTE:
            other = _attribute(token)
            return lambda facts: compare(operator, quantifier, read(facts), other(facts))
        if token.kind is TokenKind.OPEN_SET:
            if quantifier is None:
                raise InputError(
                    f"a set of values at character {token.start} needs a quantifier",
                    code="condition.operator",
                    hint="write `ForAnyOfAnyValues:` before the operator",
                )
            values = self._set()
        elif token.kind in (TokenKind.STRING, TokenKind.WORD):
            values = (token.text,)
        else:
            raise _unexpected(token, "a value")
        for value in values:
            if not operator.accepts(value):
                raise InputError(
                    f"{value[:40]!a} at character {token.start} is no value for `{name}`",
                    code="condition.value",
                )
        return lambda facts: compare(operator, quantifier, read(facts), values)

    def _set(self) -> tuple[str, ...]:
        values: list[str] = []
        while True:
            token = self._next()
            if token.kind not in (TokenKind.STRING, TokenKind.WORD):
                raise _unexpected(token, "a value")
            values.append(token.text)
            token = self._next()
            if token.kind is TokenKind.CLOSE_SET:
                return tuple(values)
            if token.kind is not TokenKind.COMMA:
                raise _unexpected(token, "`,` or `}`")

    def _peek(self) -> Token:
        return self._tokens[self._position]

    def _next(self) -> Token:
        token = self._tokens[self._position]
        if token.kind is not TokenKind.END:
            self._position += 1
        return token

    def _expect(self, kind: TokenKind) -> Token:
        token = self._next()
        if token.kind is not kind:
            raise _unexpected(token, kind.value)
        return token


def _unexpected(token: Token, expected: str) -> InputError:
    found = ascii(token.text[:40]) if token.text else "the end"
    return InputError(
        f"expected {expected} at character {token.start}, got {found}", code="condition.syntax"
    )


def _quantifier(prefix: str, word: Token) -> Quantifier:
    for quantifier in Quantifier:
        if quantifier.value.lower() == prefix.lower():
            return quantifier
    raise InputError(
        f"`{prefix[:40]}` at character {word.start} is no quantifier", code="condition.operator"
    )


def _attribute(token: Token) -> _Read:
    source, _, rest = token.text.partition("[")
    name = rest[:-1]
    match (source.lower(), name.lower()):
        case ("resource", "label"):
            return lambda facts: (effective_label(facts.resource.label),)
        case ("resource", "stage"):
            return lambda facts: _present(facts.resource.stage)
        case ("resource", lowered) if lowered.startswith("tag:") and len(name) > len("tag:"):
            tag = name[len("tag:") :]
            return lambda facts: _present(facts.resource.tags.get(tag, ""))
        case ("request", "action"):
            return lambda facts: (facts.action,)
        case ("request", "purpose"):
            return lambda facts: _present(facts.purpose)
        case ("principal", "id"):
            return lambda facts: (facts.caller.id,)
        case ("principal", "group"):
            return lambda facts: facts.caller.groups
        case _:
            raise InputError(
                f"`@{token.text[:60]}` at character {token.start} is no attribute",
                code="condition.attribute",
                hint="use @Resource[label|tag:NAME|stage], @Request[action|purpose] or "
                "@Principal[id|group]",
            )


def _present(value: str) -> tuple[str, ...]:
    return (value,) if value else ()


def _negate(test: _Test) -> _Test:
    def negated(facts: Circumstances) -> Truth:
        truth = test(facts)
        return None if truth is None else not truth

    return negated


def _all(tests: tuple[_Test, ...]) -> _Test:
    def conjunction(facts: Circumstances) -> Truth:
        truths = [test(facts) for test in tests]
        if False in truths:
            return False
        return None if None in truths else True

    return conjunction


def _any(tests: tuple[_Test, ...]) -> _Test:
    def disjunction(facts: Circumstances) -> Truth:
        truths = [test(facts) for test in tests]
        if True in truths:
            return True
        return None if None in truths else False

    return disjunction
