"""Formulas against Python's own arithmetic, and what is no formula."""

from __future__ import annotations

import math
import random

import pytest

from mlpipe import formulas
from mlpipe.errors import ConfigError
from mlpipe.formulas import Term

NAMES = {"a": 3, "b": 0.25, "c": 7}


def drawn(rng: random.Random, depth: int) -> str:
    if depth == 0 or rng.random() < 0.2:
        return rng.choice(["a", "b", "c", "2", "0.5", "1e1", ".25", "3."])
    sign = rng.choice(["+", "-", "*", "/", "//", "%"])
    left, right = drawn(rng, depth - 1), drawn(rng, depth - 1)
    text = f"{left} {sign} {right}" if rng.random() < 0.5 else f"({left}{sign}-{right})"
    return f"({text})" if rng.random() < 0.3 else text


def test_formulas_have_the_values_that_python_gives_them() -> None:
    rng = random.Random(0)
    counted = 0
    for _ in range(400):
        text = drawn(rng, 4)
        try:
            expected = eval(text, {"__builtins__": {}}, dict(NAMES))
        except ZeroDivisionError:
            with pytest.raises(ConfigError, match="cannot be computed"):
                formulas.reduced(text, NAMES)
            continue
        assert formulas.reduced(text, NAMES) == pytest.approx(expected), text
        # What is known of it first changes nothing.
        part = formulas.reduced(text, {"a": 3})
        found = formulas.reduced(str(part), NAMES)
        assert found == pytest.approx(expected, rel=1e-9), (text, part)
        counted += 1
    assert counted > 300


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2**3**2", 2**9),
        ("-2**2", -4),
        ("2**-1", 0.5),
        ("10-4-3", 3),
        ("8/4", 2),
        ("9/4", 2.25),
        ("7//2", 3),
        ("1e+1 + 1", 11.0),
        ("--3", 3),
        ("+3", 3),
    ],
)
def test_signs_bind_as_in_python(text: str, expected: float) -> None:
    found = formulas.value(text)
    assert found == expected and isinstance(found, type(expected))


def test_what_has_no_value_stays() -> None:
    assert formulas.reduced("bce+(1-share)*dice", {"share": 0.25}) == "bce+0.75*dice"
    assert formulas.reduced("first+0.1*dice", {"first": "focal"}) == "focal+0.1*dice"
    assert formulas.reduced("a-(x-b)", {"a": 5}) == "5-(x-b)"
    assert formulas.reduced("kind", {"kind": ["any", {"value": True}]}) == ["any", {"value": True}]
    assert formulas.reduced("-(x+1)*k", {"k": 2}) == "-(x+1)*2"


def test_names_are_of_formulas_only() -> None:
    assert formulas.names_in("0.1*rate + 2**deep") == {"rate", "deep"}
    for text in (
        "data/x.csv rows",
        "a b",
        "./weights",
        "val_loss,",
        "",
        "3 4",
        "(a",
        "a)",
        "a+",
        "*a",
        "x.y",
        "1" * 2000,
    ):
        assert not formulas.names_in(text), text


@pytest.mark.parametrize("text", ["1/0", "0**-1", "10**5000", "(-1)**0.5", "1e300**2", "1 % 0", "1e308*10**400"])
def test_what_is_no_number_is_one_sentence(text: str) -> None:
    with pytest.raises(ConfigError, match="formula: "):
        formulas.value(text)


def test_large_and_deep_texts_end_soon() -> None:
    for text in ("(" * 500 + "1" + ")" * 500, "-" * 900 + "1", "9**9**9**9**9", "a" * 5000):
        with pytest.raises(ConfigError):
            formulas.value(text)
    assert math.isclose(formulas.value("+".join(["1"] * 400)), 400)


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("bce", [Term(1, "bce")]),
        ("bce+0.1*dice", [Term(1, "bce"), Term(0.1, "dice")]),
        (" .5 * 2*dice + 1e+1*ce", [Term(1, "dice"), Term(10, "ce")]),
        ("dice*1e-3", [Term(1e-3, "dice")]),
    ],
)
def test_expressions_are_read(text: str, terms: list[Term]) -> None:
    assert formulas.terms(text) == terms


@pytest.mark.parametrize("text", ["", "+bce", "bce+", "bce*dice", "0.1", "bce-dice", "(bce)", "bce 2", "2**bce", "x()"])
def test_what_is_no_sum_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="loss.expression"):
        formulas.terms(text)
