"""Code of a user's own is called by its own signature."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mlpipe.config import calling, components
from mlpipe.config.components import Component
from mlpipe.errors import ConfigError

NAMES = ("monitor", "direction")
LATE = ("val/loss", "min")


class Plain:
    pass


class WithPath:
    def __init__(self, path: str, every: int = 1) -> None:
        self.given = (path, every)


class Naming:
    def __init__(self, monitor: str, *, k: int = 3) -> None:
        self.given = (monitor, k)


def by_position(first: str, second: str, *, k: int = 1) -> tuple[Any, ...]:
    return first, second, k


def by_name(*, direction: str, k: int = 1) -> tuple[Any, ...]:
    return direction, k


def swapped(direction: str, monitor: str, /) -> tuple[Any, ...]:
    return direction, monitor


def optional(patience: int = 2) -> tuple[Any, ...]:
    return (patience,)


def open_ended(**given: Any) -> dict[str, Any]:
    return given


def test_late_values_go_where_the_signature_names_them() -> None:
    assert isinstance(calling.call(Plain, {}, NAMES, LATE), Plain)
    assert calling.call(WithPath, {"path": "q"}, NAMES, LATE).given == ("q", 1)
    assert calling.call(Naming, {"k": 5}, NAMES, LATE).given == ("val/loss", 5)
    assert calling.call(Naming, {"monitor": "val/f1"}, NAMES, LATE).given == ("val/f1", 3)
    assert calling.call(by_position, {"k": 2}, NAMES, LATE) == ("val/loss", "min", 2)
    assert calling.call(by_name, {}, NAMES, LATE) == ("min", 1)
    assert calling.call(swapped, {}, NAMES, LATE) == ("min", "val/loss")
    assert calling.call(optional, {}, NAMES, LATE) == (2,)
    assert calling.call(open_ended, {"x": 1}, NAMES, LATE) == {"x": 1}
    assert calling.call(by_name, {}, ("groups|direction",), ("g",)) == ("g", 1)
    with pytest.raises(TypeError, match="path"):
        calling.call(WithPath, {}, NAMES, LATE)
    # One parameter is not all that the program gives, so nobody meant it to be that.
    with pytest.raises(TypeError, match="path"):
        calling.call(lambda path: path, {}, NAMES, LATE)


def test_a_wrong_call_shows_the_signature(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "shown_cb.py").write_text(
        "class Base:\n    def __init__(self, path, every=1): pass\nclass Mine(Base):\n    pass\n"
        "def make(path, *, every: int = 1): return path\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ConfigError) as caught:
        Component("callbacks", "shown_cb.Mine", {"evry": 2}).build(*LATE)
    (sentence,) = caught.value.problems
    assert "its signature is Mine(path, every=1)" in sentence and "parameters monitor, direction" in sentence
    part, wrong = components.check("callbacks.x", "callbacks", {"_target_": "shown_cb.make"})
    assert part is not None and wrong == ["callbacks.x.path: a value is needed; add callbacks.x.path=VALUE"]
    part, wrong = components.check("callbacks.x", "callbacks", {"_target_": "shown_cb.make", "path": "p", "every": 2})
    assert part is not None and not wrong and part.build(*LATE) == "p"
