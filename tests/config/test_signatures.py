"""What a function makes is read from its source: from its annotation, through imports and base classes."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from mlpipe.config import signatures


@pytest.mark.parametrize(
    ("target", "names"),
    [
        ("mlpipe.learn.losses.equations.Equation", ("Equation",)),
        ("mlpipe.config.compose.compose", ("RunConfig",)),
        ("mlpipe.config.signatures.mismatch", ()),
        ("mlpipe.nowhere.nothing", ()),
    ],
)
def test_what_a_function_or_class_makes(target: str, names: tuple[str, ...]) -> None:
    assert signatures.gives(target)[: len(names) or None] == names


def test_a_class_of_the_users_own_that_is_an_equation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_equation.py").write_text(
        "from mlpipe.learn.losses.equations import Equation as Base\n"
        "class Heat(Base): pass\n"
        "def heat(labels, *, rate=1.0) -> Heat: return Heat()\n"
        "def other(labels) -> 'Heat | None': return None\n"
    )
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    assert signatures.gives("own_equation.heat") == ("Heat", "Equation")
    assert signatures.gives("own_equation.other") == ()


_ODD = (
    "from typing import Annotated\n"
    "A = B\nB = A\n"
    "C0 = int\n" + "".join(f"C{n} = C{n - 1} | list[C{n - 1}]\n" for n in range(1, 40)) + "def ring(*, x: A = 1): ...\n"
    "def grown(*, x: C39 = 1): ...\n"
    "def note(*, x: Annotated[int, 'my note', '>= abc', '> 2'] = 3): ...\n"
    "def empty(*, x: list[()] = ()): ...\n"
    f"def wide(*, x: {' | '.join(['int'] * 900)} = 1): ...\n"
)


@pytest.mark.parametrize(
    ("name", "value", "wrong"),
    [
        ("ring", "a", ""), ("grown", 1, ""), ("note", 3, ""), ("note", 1, "must be a whole number > 2, got 1"),
        ("note", "a", "must be a whole number > 2, got 'a'"), ("empty", [1], ""), ("wide", 1, ""),
    ],
)  # fmt: skip
def test_annotations_of_any_form_are_read(
    name: str, value: Any, wrong: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "odd.py").write_text(_ODD)
    monkeypatch.syspath_prepend(tmp_path)
    signature = signatures.read(f"odd.{name}")
    assert signature is not None
    found = signature.problems("loss", {"x": value})
    assert [one.partition("; ")[0] for one in found] == ([f"loss.x: {wrong}"] if wrong else [])


def test_values_that_are_names_of_another_module_are_not_guessed() -> None:
    """albumentations writes `Literal[cv2.BORDER_CONSTANT, ...]`, whose numbers no source says."""
    found = signatures.read("albumentations.Affine")
    assert found is not None and found.problems("a", {"border_mode": 4, "rotate": [-3, 3]}) == []
    assert found.problems("a", {"rotated": 3}) != []


@pytest.mark.parametrize("value", [-1, "mean"])
def test_a_type_of_another_module_is_looked_up_there(value: object) -> None:
    """`timm_body.Filling` was taken for a type that nobody knows, so that any value fitted."""
    signature = signatures.read("mlpipe.arch.classifier.timm")
    assert signature is not None
    wrong = f"arch.extra_channels: must be one of timm, zero, copy_last, got {value!r}"
    assert [text.partition(";")[0] for text in signature.problems("arch", {"extra_channels": value})][:1] == [wrong]
    assert not [text for text in signature.problems("arch", {"extra_channels": "zero"}) if "extra_channels" in text]
