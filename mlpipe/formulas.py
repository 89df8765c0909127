"""Parser for small formulas such as `0.1*rate + 1`, and sums such as `ce+0.1*dice`; no code is run."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from mlpipe.errors import ConfigError, listing, problem

Number = int | float
# A number, a name (a string), or an operator with its operands.
_Node = Any

_TOKEN = re.compile(
    r"\s*(?:(?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)|(?P<name>[A-Za-z_]\w*)|(?P<sign>\*\*|//|[-+*/%()]))"
)
_MOST_LETTERS, _DEEPEST, _LARGEST_POWER = 1000, 30, 1000
# sum := term ('+' term)*, term := factor ('*' factor)*, factor := number | name; blanks are allowed between them.
_FACTOR = re.compile(r"\s*(?:(?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)|(?P<name>[A-Za-z_]\w*)|(?P<sign>[+*]))")
# Precedence of operators, higher binds tighter; a unary sign is between products and powers.
_BINDS = {"+": 1, "-": 1, "*": 2, "/": 2, "//": 2, "%": 2, "**": 4}
_SIGNED, _ALONE = 3, 5


class Term(NamedTuple):
    """One term of a sum.

    Attributes:
        weight: The product of its numbers.
        name: Its name.
    """

    weight: float
    name: str


def terms(text: str, key: str = "loss.expression") -> list[Term]:
    """Return the terms of a sum of losses.

    Args:
        text: Such as `bce+0.1*dice`; numbers may be before or after the name.
        key: The key with the sum, for error messages.

    Raises:
        ConfigError: When it is not such a sum, or a term does not have exactly one name and a finite weight.
    """
    try:
        return _terms(text)
    except ValueError as error:
        fix = "write terms such as 0.1*dice, joined by +"
        raise ConfigError(problem(key, str(error), got=text, fix=fix)) from error


def _terms(text: str) -> list[Term]:
    summands: list[Term] = []
    for part in _factors(text):
        names = [word for kind, word in part if kind == "name"]
        if len(names) != 1:
            raise ValueError("each term needs exactly one loss")
        weight = math.prod(float(word) for kind, word in part if kind == "number")
        if not math.isfinite(weight):
            raise ValueError(f"gives {names[0]} an infinite weight")
        summands.append(Term(weight, names[0]))
    return summands


def _factors(text: str) -> list[list[tuple[str, str]]]:
    """Return the factors of each term, with the positions of operators checked."""
    if len(text) > _MOST_LETTERS:
        raise ValueError(f"has {len(text):,} letters")
    parts: list[list[tuple[str, str]]] = [[]]
    place, factor_is_next = 0, True
    while place < len(text.rstrip()):
        match = _FACTOR.match(text, place)
        if match is None:
            raise ValueError(f"cannot be read from {text[place:].strip()[:20]!r} on")
        kind, word = str(match.lastgroup), match[match.lastgroup or 0]
        if (kind == "sign") == factor_is_next:
            raise ValueError(f"{word!r} stands in the wrong place")
        if word == "+":
            parts.append([])
        elif kind != "sign":
            parts[-1].append((kind, word))
        place, factor_is_next = match.end(), kind == "sign"
    if factor_is_next:
        raise ValueError("ends too early")
    return parts


def names_in(text: str) -> frozenset[str]:
    """Return the names in a formula; empty for a text that is not a formula."""
    try:
        return frozenset(_names(_parsed(text)))
    except ConfigError:
        return frozenset()


def value(text: str) -> Number:
    """Return the value of a formula without names.

    Args:
        text: The formula; a quotient of integers without remainder is an integer.

    Raises:
        ConfigError: When it is not a formula, has names, or has no value.
    """
    result = reduced(text, {})
    if isinstance(result, str):
        unknown = listing(sorted(names_in(text)))
        raise ConfigError(problem("formula", f"{unknown} is no number", got=text, fix="use numbers and + - * / ** ( )"))
    number: Number = result
    return number


def reduced(text: str, values: Mapping[str, Any]) -> Any:
    """Substitute values for names in a formula: return its value if all names have one, else the shorter formula.

    Args:
        text: Such as `ce+(1-share)*dice`, which `{share: 0.25}` turns into `ce+0.75*dice`.
        values: Values by name. A formula that is a single name may have any value; a string replaces its name.

    Raises:
        ConfigError: When it is not a formula, or has no value.
    """
    node = _parsed(text)
    if isinstance(node, str):
        return values.get(node, node)
    try:
        result = _reduced(node, values)
    except (ArithmeticError, ValueError) as error:
        raise _formula_error(f"cannot be computed ({error})", text) from error
    return result if isinstance(result, int | float) else _node_text(result)


def _formula_error(reason: str, text: str) -> ConfigError:
    return ConfigError(problem("formula", reason, got=text[:100], fix="write such as 0.1*rate + 1"))


def _parsed(text: str) -> _Node:
    if len(text) > _MOST_LETTERS:
        raise _formula_error(f"has {len(text)} letters", text)
    tokens, place, stripped = list[tuple[str, str]](), 0, text.rstrip()
    while place < len(stripped):
        match = _TOKEN.match(stripped, place)
        if match is None:
            raise _formula_error(f"cannot be read from {stripped[place:].strip()[:20]!r} on", text)
        tokens.append((str(match.lastgroup), match[match.lastgroup or 0]))
        place = match.end()
    reader = _Reader(tokens, text)
    node = reader.sum()
    reader.require_end()
    return node


class _Reader:
    """Recursive descent parser of a formula's tokens.

    Args:
        tokens: Pairs of kind and text.
        text: The formula, for error messages.
    """

    def __init__(self, tokens: list[tuple[str, str]], text: str) -> None:
        self._tokens, self._text, self._place, self._depth = tokens, text, 0, 0

    def sum(self) -> _Node:
        """sum := product (('+' | '-') product)*"""
        node = self._product()
        while (sign := self._take("+", "-")) is not None:
            node = (sign, node, self._product())
        return node

    def require_end(self) -> None:
        """Require that all tokens are read."""
        if self._place < len(self._tokens):
            raise _formula_error(f"{self._tokens[self._place][1]!r} stands in the wrong place", self._text)

    def _product(self) -> _Node:
        node = self._signed()
        while (sign := self._take("*", "/", "//", "%")) is not None:
            node = (sign, node, self._signed())
        return node

    def _signed(self) -> _Node:
        self._depth += 1
        if self._depth > _DEEPEST:
            raise _formula_error("has too many brackets and signs in each other", self._text)
        sign = self._take("+", "-")
        node = self._power() if sign is None else ("-", 0, self._signed()) if sign == "-" else self._signed()
        self._depth -= 1
        return node

    def _power(self) -> _Node:
        base = self._atom()
        return base if self._take("**") is None else ("**", base, self._signed())

    def _atom(self) -> _Node:
        if self._take("(") is not None:
            node = self.sum()
            if self._take(")") is None:
                raise _formula_error("a bracket is not closed", self._text)
            return node
        kind, word = self._tokens[self._place] if self._place < len(self._tokens) else ("", "")
        if kind not in ("number", "name"):
            raise _formula_error(f"{word!r} stands in the wrong place" if word else "ends too early", self._text)
        self._place += 1
        if kind == "name":
            return word
        return int(word) if word.isdigit() else float(word)

    def _take(self, *signs: str) -> str | None:
        if self._place < len(self._tokens) and self._tokens[self._place] in [("sign", sign) for sign in signs]:
            self._place += 1
            return self._tokens[self._place - 1][1]
        return None


def _names(node: _Node) -> list[str]:
    if isinstance(node, tuple):
        return [*_names(node[1]), *_names(node[2])]
    return [node] if isinstance(node, str) else []


def _reduced(node: _Node, values: Mapping[str, Any]) -> _Node:
    if isinstance(node, str):
        return values.get(node, node)
    if not isinstance(node, tuple):
        return node
    sign, left, right = node[0], _reduced(node[1], values), _reduced(node[2], values)
    if _is_number(left) and _is_number(right):
        return _COMPUTE[sign](left, right)
    for side in (left, right):
        if not _is_number(side) and not isinstance(side, str | tuple):
            raise ValueError(f"{side} is no number")
    return sign, left, right


def _is_number(node: _Node) -> bool:
    return isinstance(node, int | float) and not isinstance(node, bool)


def _quotient(left: Number, right: Number) -> Number:
    if isinstance(left, int) and isinstance(right, int) and right and left % right == 0:
        return left // right
    return left / right


def _power(left: Number, right: Number) -> Number:
    if abs(right) > _LARGEST_POWER or abs(left) > 10**_LARGEST_POWER:
        raise ValueError("the power is too large")
    power = left**right
    if isinstance(power, complex) or (isinstance(power, float) and not math.isfinite(power)):
        raise ValueError("the power is no number")
    number: Number = power
    return number


_COMPUTE: dict[str, Callable[[Any, Any], Number]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": _quotient,
    "//": operator.floordiv,
    "%": operator.mod,
    "**": _power,
}


def _node_text(node: _Node, least: int = 0) -> str:
    """Return a formula as text, with the necessary parentheses.

    Args:
        node: The formula.
        least: Precedence of the surrounding operator.
    """
    if not isinstance(node, tuple):
        return str(node)
    sign, left, right = node
    binds = _BINDS[sign]
    if sign == "-" and _is_number(left) and left == 0:
        text, binds = f"-{_node_text(right, _SIGNED)}", _SIGNED
    elif sign == "**":
        text = f"{_node_text(left, _ALONE)}**{_node_text(right, _SIGNED)}"
    else:
        text = f"{_node_text(left, binds)}{sign}{_node_text(right, binds + 1)}"
    return f"({text})" if binds < least else text
