"""What a task predicts: each kind is a folder here, whose files have the same names in all of them.

Each folder states the facts of `Kind`, and `words` what an output is called; `data`, `post`, `learn`, `report` and `predict`
implement the protocols of `mlpipe.data.kind`, `mlpipe.post.kind`, `mlpipe.learn.kind`, `mlpipe.reports.kind` and
`mlpipe.predicting.kind`. Nothing asks for a kind's name: it takes the part and calls it.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol, cast

from mlpipe.errors import DataError, did_you_mean, listing, problem

PARTS = ("words", "data", "post", "learn", "report", "predict")


class Words(Protocol):
    """What a kind's outputs and targets are called, for tables and sentences.

    Attributes:
        OUTPUT: One output: `class`, `label`, `number` or `channel`.
        OUTPUTS: Several of them.
        VALUES: What is predicted, in a sentence on all of it: `probabilities`, `numbers`, `values of pixels`.
        TARGETS: What the targets of samples are: `classes`, `masks`, `target images`.
        SAMPLE_OF: What is counted of an output, before its name: `image of class`, `image with`.
        OF_OUTPUT: How a sample has an output, before its name: `of class`, `with label`.
    """

    OUTPUT: str
    OUTPUTS: str
    TARGETS: str
    VALUES: str
    SAMPLE_OF: str
    OF_OUTPUT: str

    def predicted(self, outputs: int) -> str:
        """What a task of so many outputs predicts, such as `one of 10 classes`."""
        ...

    def told(self, target: Any, classes: Sequence[str]) -> str | None:
        """A sample's target in few words: a class's name, labels, numbers; None where there is nothing to tell.

        `target` is a row of `mlpipe.data.task.Samples.targets`, `classes` has the names of the outputs.
        """
        ...


@dataclass(frozen=True)
class Kind:
    """What a task predicts: its name, and the few facts that stored files and all packages depend on.

    Whatever else depends on the kind is asked of its parts.

    Attributes:
        name: As stored files and configurations spell it.
        is_dense: Whether every pixel is predicted: targets are files, and predictions lie as maps beside a table that has
            sums for each sample.
        has_classes: Whether the outputs are classes of which one is true (of a sample, or of a pixel where it is dense).
        has_probabilities: Whether outputs are logits of probabilities, and not values that mean themselves.
        draws: Whether new samples are drawn from noise, in place of something that is predicted of a sample.
        rows_are_losses: Whether the row of a sample is its loss: what is predicted is one thing, such as a function.
        columns: What the numbers of a row say, where a sample has as many rows as are found; empty where it has one, or places.
    """

    name: str
    is_dense: bool
    has_classes: bool
    has_probabilities: bool
    draws: bool
    rows_are_losses: bool
    columns: tuple[str, ...]

    @property
    def words(self) -> Words:
        """What its outputs and targets are called."""
        return cast(Words, part(self.name, "words"))


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
    facts = importlib.import_module(f"mlpipe.kinds.{name}")
    has = (facts.IS_DENSE, facts.HAS_CLASSES, facts.HAS_PROBABILITIES, facts.DRAWS, facts.ROWS_ARE_LOSSES)
    return Kind(name, *has, facts.COLUMNS)


class Loss(Protocol):
    """What a configuration names as a loss, before it is built."""

    @property
    def gives(self) -> tuple[str, ...]:
        """Names of the class that it builds and of its bases, as far as its source says."""


def decide(task_kind: str, loss: Loss) -> str:
    """The kind of a run: its task's, or what its loss makes of it.

    That is `solutions` where what would be compared with images is an equation instead, and `generation` where a generator and
    a critic learn from the images alone.

    Args:
        task_kind: `task.kind`.
        loss: The recipe's; the builder of an equation is annotated to return an `Equation`, that of a loss by which two
            networks learn against each other an `Adversarial`.
    """
    if "Adversarial" in loss.gives:
        return "generation"
    return "solutions" if task_kind == "images" and "Equation" in loss.gives else task_kind


@cache
def part(name: str, part_name: str) -> ModuleType:
    """A part of a kind, imported when it is asked for.

    Imports by name are here and where components are built, and nowhere else.

    Args:
        name: One of `names()`.
        part_name: One of `PARTS`.
    """
    assert part_name in PARTS, part_name
    return importlib.import_module(f"mlpipe.kinds.{of(name).name}.{part_name}")
