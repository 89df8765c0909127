"""Hostile recipe files: bombs, objects, foreign code, and trust in themselves."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.safety.corpus import Hostile
from tests.safety.corpus.configurations import BOMB, MERGES


def _recipe(text: str, name: str = "r.yaml") -> Callable[[Path], list[str]]:
    def make(work: Path) -> list[str]:
        (work / name).write_text(text)
        return ["train", "--dry-run", f"recipe={name}", "task=digits"]

    return make


_NATIVE = "defaults:\n  - loss: ce\n"
CASES = [
    Hostile("recipe: a bomb of aliases", _recipe(BOMB), "it holds more than"),
    Hostile("recipe: a bomb of merges", _recipe(MERGES), "it holds more than"),
    Hostile("recipe: a key twice in JSON", _recipe('{"a": 1, "a": 2}', "r.json"), "it has 'a' twice in one object"),
    Hostile("recipe: an alias of itself", _recipe("stages: &x [*x]\n"), "it holds itself"),
    Hostile("recipe: an object", _recipe("defaults: !!python/object/apply:os.system [id]\n"), "cannot be read"),
    Hostile("recipe: JSON nested without end", _recipe("[" * 100_000, "r.json"), "it is nested too deeply"),
    Hostile("recipe: no text", _recipe("\x00\x01"), "recipe"),
    Hostile(
        "recipe: os.system as the loss", _recipe(f"{_NATIVE}loss:\n  _target_: os.system\n"), "is not allowed here"
    ),
    Hostile(
        "recipe: trust in os, said by itself",
        _recipe(f"{_NATIVE}trust: [os]\nloss:\n  _target_: os.system\n"),
        "trust: must be said on the command line",
    ),
    Hostile(
        "recipe: a sum of losses that is none",
        _recipe("defaults:\n  - loss: composite\nloss:\n  expression: ce+*dice\n"),
        "must be a sum of losses such as ce+0.1*dice ('*' stands in the wrong place)",
    ),
    Hostile(
        "recipe: a sum of a million losses",
        _recipe(f"defaults:\n  - loss: composite\nloss:\n  expression: {'ce+' * 1_000_000}ce\n"),
        "has a value of 3,000,004 letters",
    ),
    Hostile(
        "recipe: an unknown loss in a sum",
        _recipe("defaults:\n  - loss: composite\nloss:\n  expression: ce+evil\n"),
        "(evil is no loss)",
    ),
    Hostile(
        "recipe: the environment in a value",
        _recipe(f"{_NATIVE}metrics:\n  monitor: ${{oc.env:MML_SECRET}}\n"),
        "an interpolation names a key",
    ),
]
