"""What a task predicts: each kind is a folder here, whose files have the same names in all of them.

`words` says what an output is called; `data`, `post`, `learn`, `report` and `predict` implement the protocols of
`mlpipe.data.kind`, `mlpipe.post.kind`, `mlpipe.learn.kind`, `mlpipe.reports.kind` and `mlpipe.predicting.kind`. Nothing
asks for a kind's name: it takes the part and calls it.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

from mlpipe.errors import DataError, did_you_mean, listing, problem

PARTS = ("words", "data", "post", "learn", "report", "predict")


@dataclass(frozen=True)
class Kind:
    """What a task predicts.

    Attributes:
        name: As stored files and configurations spell it.
    """

    name: str

    @property
    def words(self) -> Any:
        """What an output of this kind is called, for tables and sentences."""
        return part(self.name, "words")


@cache
def names() -> tuple[str, ...]:
    """The names of all kinds, in alphabetical order."""
    folder = Path(__file__).parent
    return tuple(sorted(entry.name for entry in folder.iterdir() if (entry / "__init__.py").is_file()))


def of(name: str, key: str = "task.kind") -> Kind:
    """A kind by its name.

    Args:
        name: One of `names()`.
        key: Where the name stands, for the error.

    Raises:
        DataError: When there is no such kind.
    """
    if name not in names():
        fix = did_you_mean(name, names(), otherwise=f"one of {listing(names())}")
        raise DataError(problem(key, "is no kind of task", got=name, fix=fix))
    return Kind(name)


class Loss(Protocol):
    """What a configuration names as a loss, before it is built."""

    @property
    def gives(self) -> tuple[str, ...]:
        """Names of the class that it builds and of its bases, as far as its source says."""


def decide(task_kind: str, loss: Loss) -> str:
    """The kind of a run: its task's, or `solutions` where what would be compared with images is an equation instead.

    Args:
        task_kind: `task.kind`.
        loss: The recipe's; the builder of an equation is annotated to return an `Equation`.
    """
    return "solutions" if task_kind == "images" and "Equation" in loss.gives else task_kind


@cache
def part(name: str, what: str) -> ModuleType:
    """A part of a kind, imported when it is asked for: the only import by name beside that of components.

    Args:
        name: One of `names()`.
        what: One of `PARTS`.
    """
    assert what in PARTS, what
    return importlib.import_module(f"mlpipe.kinds.{of(name).name}.{what}")
