"""What a function makes is read from its source: from its annotation, through imports and base classes."""

from __future__ import annotations

import sys
from pathlib import Path

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
