"""Read a weighted sum of losses such as `bce+0.1*dice`: a small grammar, nothing is evaluated."""

from __future__ import annotations

import re
from typing import NamedTuple

from mlpipe.errors import ConfigError, problem

_FORM = "write terms such as 0.1*dice, joined by +"
# expr := term ('+' term)*, term := factor ('*' factor)*, factor := number | name; blanks are allowed between them.
_TOKEN = re.compile(r"\s*(?:(?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)|(?P<name>[A-Za-z_]\w*)|(?P<sign>[+*]))")


class Term(NamedTuple):
    """One loss of a sum.

    Attributes:
        weight: The product of its numbers.
        name: The loss.
    """

    weight: float
    name: str


def parse(text: str) -> list[Term]:
    """The terms of an expression.

    Args:
        text: Such as `bce+0.1*dice`; a number may stand before or after its name.

    Raises:
        ConfigError: When it is no such sum, or a term has not exactly one name.
    """
    terms: list[Term] = []
    for part in _parts(text):
        names = [word for kind, word in part if kind == "name"]
        if len(names) != 1:
            raise _wrong("each term needs exactly one loss", text)
        weight = 1.0
        for kind, word in part:
            weight *= float(word) if kind == "number" else 1.0
        terms.append(Term(weight, names[0]))
    return terms


def _parts(text: str) -> list[list[tuple[str, str]]]:
    """The factors of each term, checked for signs in the right places."""
    parts: list[list[tuple[str, str]]] = [[]]
    place, factor_is_next = 0, True
    while place < len(text.rstrip()):
        match = _TOKEN.match(text, place)
        if match is None:
            raise _wrong(f"cannot be read from {text[place:].strip()[:20]!r} on", text)
        kind, word = str(match.lastgroup), match[match.lastgroup or 0]
        if (kind == "sign") == factor_is_next:
            raise _wrong(f"{word!r} stands in the wrong place", text)
        if word == "+":
            parts.append([])
        elif kind != "sign":
            parts[-1].append((kind, word))
        place, factor_is_next = match.end(), kind == "sign"
    if factor_is_next:
        raise _wrong("ends too early", text)
    return parts


def _wrong(what: str, text: str) -> ConfigError:
    return ConfigError(problem("loss.expression", what, got=text, fix=_FORM))
