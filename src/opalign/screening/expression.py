"""Conditions on quantities, such as ``onset_eV > 1.5 and static_dielectric < 8``.

A small grammar of its own, so that a text from anywhere is data and never code::

    condition  = conjunction { "or" conjunction }
    conjunction = negation { "and" negation }
    negation   = "not" negation | comparison
    comparison = sum { ("<" | "<=" | ">" | ">=" | "==" | "!=") sum }
    sum        = product { ("+" | "-") product }
    product    = factor { ("*" | "/") factor }
    factor     = "-" factor | number | name | "(" condition ")"

Comparisons chain as in mathematics: ``1.5 < onset_eV < 3``. A quantity that does not exist for a
material (an onset where nothing absorbs) makes a comparison neither true nor false, and so on
upwards by the strong logic of three values (S. C. Kleene, Introduction to Metamathematics (1952),
§ 64): a material passes only where the whole condition is certainly true.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from opalign.errors import ConfigurationError

LONGEST = 1000
"""Characters of a condition; nobody writes a longer one by hand."""
DEEPEST = 40
"""Parentheses, signs and negations within one another."""

_TOKEN = re.compile(
    r"\s*(?:(?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)(?![\w.])"
    r"|(?P<name>[A-Za-z_][\w.]*)|(?P<sign><=|>=|==|!=|[-+*/()<>]))"
)
_COMPARISONS: Mapping[str, Callable[[Any, Any], Any]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
}
_ARITHMETIC: Mapping[str, Callable[[Any, Any], Any]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
}
_COMPARISON = "a comparison, as in onset_eV > 1.5"
_WORDS = ("and", "or", "not")

Values: TypeAlias = "Mapping[str, NDArray[np.float64]]"
_Number: TypeAlias = "Callable[[Values], Any]"


class _Truth(NamedTuple):
    """Where something is certainly true and where certainly false; elsewhere it is unknown."""

    true: NDArray[np.bool_]
    false: NDArray[np.bool_]


_Logic: TypeAlias = "Callable[[Values], _Truth]"


@dataclass(frozen=True)
class Condition:
    """A condition that was read; :meth:`holds` applies it to arrays."""

    text: str
    names: tuple[str, ...]
    """Quantities that it speaks of, in the order of their first mention."""
    _evaluate: _Logic

    def holds(self, values: Values) -> NDArray[np.bool_]:
        """Tell for each row whether it is certainly true, (rows,).

        ``values`` has an array (rows,) for each of :attr:`names`, NaN where there is no value.
        """
        with np.errstate(all="ignore"):
            return self._evaluate(values).true


def parse_condition(text: str) -> Condition:
    """Read a condition; ConfigurationError says at which character it stops making sense."""
    if len(text) > LONGEST:
        raise ConfigurationError(
            f"the condition has {len(text)} characters", expected=f"at most {LONGEST}"
        )
    parser = _Parser(text)
    kind, node = parser.condition(0)
    if parser.position < len(parser.tokens):
        raise parser.error("something stands after the end of the condition")
    if kind != "logic":
        parser.position = 0
        raise parser.error("this is a number and no condition", _COMPARISON)
    if not parser.names:
        parser.position = 0
        raise parser.error("the condition speaks of no quantity", _COMPARISON)
    return Condition(text, tuple(parser.names), node)


class _Token(NamedTuple):
    kind: str
    text: str
    place: int


class _Parser:
    """Recursive descent; a node is ("number" | "logic", function of the values)."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens: list[_Token] = []
        self.position = 0
        self.names: dict[str, None] = {}
        place, end = 0, len(text.rstrip())
        while place < end:
            found = _TOKEN.match(text, place)
            if found is None:
                start = place + len(text[place:]) - len(text[place:].lstrip())
                self.tokens.append(_Token("wrong", text[start], start))
                self.position = len(self.tokens) - 1
                raise self.error(f"{text[start : start + 12]!r} is not understood")
            kind = str(found.lastgroup)
            word = found.group(kind)
            self.tokens.append(_Token("word" if word in _WORDS else kind, word, found.start(kind)))
            place = found.end()

    def error(self, problem: str, expected: str | None = None) -> ConfigurationError:
        at_end = self.position >= len(self.tokens)
        place = len(self.text) if at_end else self.tokens[self.position].place
        return ConfigurationError(
            f"{problem}\n    {self.text}\n    {' ' * place}^",
            where="condition",
            expected=expected
            or "comparisons of quantities and numbers, joined by and, or, not and parentheses",
            cure="for example: onset_eV > 1.5 and static_dielectric < 8",
        )

    def taken(self, *texts: str) -> str | None:
        if self.position < len(self.tokens) and self.tokens[self.position].text in texts:
            self.position += 1
            return self.tokens[self.position - 1].text
        return None

    def condition(self, depth: int) -> tuple[str, Any]:
        return self._joined(("or",), self._conjunction, _either, depth)

    def _conjunction(self, depth: int) -> tuple[str, Any]:
        return self._joined(("and",), self._negation, _both, depth)

    def _joined(
        self, words: tuple[str, ...], part: Callable[[int], tuple[str, Any]], join: Any, depth: int
    ) -> tuple[str, Any]:
        kind, node = part(depth)
        while word := self.taken(*words):
            if kind != "logic":
                self.position -= 1
                raise self.error(f"a comparison is missing before {word!r}")
            right_kind, right = part(depth)
            if right_kind != "logic":
                self.position -= 1
                raise self.error(f"a comparison is missing after {word!r}")
            node = join(node, right)
        return kind, node

    def _negation(self, depth: int) -> tuple[str, Any]:
        if self.taken("not"):
            kind, node = self._negation(self._deeper(depth))
            if kind != "logic":
                self.position -= 1
                raise self.error("a comparison is missing after 'not'")
            return kind, _negated(node)
        return self._comparison(depth)

    def _comparison(self, depth: int) -> tuple[str, Any]:
        kind, left = self._sum(depth)
        links: list[Any] = []
        while sign := self.taken(*_COMPARISONS):
            right_kind, right = self._sum(depth)
            if "logic" in (kind, right_kind):
                self.position -= 1
                raise self.error(f"{sign!r} compares numbers, and one side is a condition")
            links.append(_compared(_COMPARISONS[sign], left, right))
            kind, left = right_kind, right
        if not links:
            return kind, left
        node = links[0]
        for link in links[1:]:
            node = _both(node, link)
        return "logic", node

    def _sum(self, depth: int) -> tuple[str, Any]:
        return self._arithmetic(("+", "-"), self._product, depth)

    def _product(self, depth: int) -> tuple[str, Any]:
        return self._arithmetic(("*", "/"), self._factor, depth)

    def _arithmetic(
        self, signs: tuple[str, ...], part: Callable[[int], tuple[str, Any]], depth: int
    ) -> tuple[str, Any]:
        kind, node = part(depth)
        while sign := self.taken(*signs):
            right_kind, right = part(depth)
            if "logic" in (kind, right_kind):
                self.position -= 1
                raise self.error(f"{sign!r} joins numbers, and one side is a condition")
            node = _computed(_ARITHMETIC[sign], node, right)
        return kind, node

    def _factor(self, depth: int) -> tuple[str, Any]:
        if self.taken("-"):
            kind, node = self._factor(self._deeper(depth))
            if kind == "logic":
                self.position -= 1
                raise self.error("'-' stands before a condition")
            return kind, lambda values: -node(values)
        if self.taken("("):
            kind, node = self.condition(self._deeper(depth))
            if not self.taken(")"):
                raise self.error("a parenthesis is not closed")
            return kind, node
        if self.position == len(self.tokens):
            raise self.error("the condition ends too early")
        token = self.tokens[self.position]
        if token.kind not in {"number", "name"}:
            raise self.error(f"{token.text!r} stands where a quantity or a number should")
        self.position += 1
        if token.kind == "number":
            number = float(token.text)
            return "number", lambda values: number
        self.names[token.text] = None
        return "number", lambda values: np.asarray(values[token.text], dtype=np.float64)

    def _deeper(self, depth: int) -> int:
        if depth >= DEEPEST:
            raise self.error(f"is nested more than {DEEPEST} deep")
        return depth + 1


def _computed(function: Callable[[Any, Any], Any], left: _Number, right: _Number) -> _Number:
    # Of NumPy's floats, which divide by zero without an exception.
    return lambda values: function(np.float64(1.0) * left(values), right(values))


def _compared(function: Callable[[Any, Any], Any], left: _Number, right: _Number) -> _Logic:
    def evaluate(values: Values) -> _Truth:
        first, second = np.broadcast_arrays(left(values), right(values))
        known = ~(np.isnan(first) | np.isnan(second))
        outcome = function(first, second)
        return _Truth(known & outcome, known & ~outcome)

    return evaluate


def _both(left: _Logic, right: _Logic) -> _Logic:
    def evaluate(values: Values) -> _Truth:
        a, b = left(values), right(values)
        return _Truth(a.true & b.true, a.false | b.false)

    return evaluate


def _either(left: _Logic, right: _Logic) -> _Logic:
    def evaluate(values: Values) -> _Truth:
        a, b = left(values), right(values)
        return _Truth(a.true | b.true, a.false & b.false)

    return evaluate


def _negated(node: _Logic) -> _Logic:
    def evaluate(values: Values) -> _Truth:
        truth = node(values)
        return _Truth(truth.false, truth.true)

    return evaluate
