"""The kinds of tasks, by what they predict: each kind is a folder, and all folders hold files of the same names.

Each folder states the facts of `Kind`, and `words` names the outputs; `data`, `post`, `learn`, `report` and `predict`
implement the protocols of `mlpipe.data.kind`, `mlpipe.post.kind`, `mlpipe.learn.kind`, `mlpipe.reports.kind` and
`mlpipe.predicting.kind`. No code compares a kind's name: it takes the part and calls it.
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
    """What the outputs and targets of a kind are called, for tables and sentences.

    Attributes:
        OUTPUT: One output: `class`, `label`, `number` or `channel`.
        OUTPUTS: The plural.
        VALUES: What is predicted, in a sentence about all of it: `probabilities`, `numbers`, `values of pixels`.
        TARGETS: What the targets of samples are: `classes`, `masks`, `target images`.
        SAMPLE_OF: The unit that is counted for an output, before its name: `image of class`, `image with`.
        OF_OUTPUT: How a sample has an output, before its name: `of class`, `with label`.
    """

    OUTPUT: str
    OUTPUTS: str
    TARGETS: str
    VALUES: str
    SAMPLE_OF: str
    OF_OUTPUT: str

    def predicted(self, outputs: int) -> str:
        """Return a phrase for what a task with this number of outputs predicts, such as `one of 10 classes`."""
        ...

    def told(self, target: Any, classes: Sequence[str]) -> str | None:
        """Describe a sample's target in few words: a class's name, labels, numbers; None where there is nothing to describe.

        `target` is a row of `mlpipe.data.task.Samples.targets`, `classes` has the names of the outputs.
        """
        ...


@dataclass(frozen=True)
class Kind:
    """A kind of task: its name, and the few facts that stored files and all packages depend on.

    Everything else that depends on the kind is implemented by its parts.

    Attributes:
        name: The name in stored files and configurations.
        is_dense: Whether every pixel is predicted. Targets are then files, and predictions are stored as maps beside a table
            with sums for each sample.
        has_classes: Whether the outputs are classes of which one is true (of a sample, or of a pixel where it is dense).
        has_probabilities: Whether outputs are logits of probabilities rather than values in their own right.
        draws: Whether new samples are drawn from noise instead of something being predicted for a sample.
        rows_are_losses: Whether the row of a sample is its loss: the prediction is one object, such as a function.
        columns: The names of the columns of one detection, where a sample has any number of them; empty where a sample has
            one row or a map.
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
        """The names of its outputs and targets."""
        return cast(Words, part(self.name, "words"))


@cache
def names() -> tuple[str, ...]:
    """Return the names of all kinds, in alphabetical order."""
    folder = Path(__file__).parent
    return tuple(sorted(entry.name for entry in folder.iterdir() if (entry / "__init__.py").is_file()))


def of(name: str, key: str = "task.kind") -> Kind:
    """Return a kind by its name.

    Args:
        name: One of `names()`.
        key: The key that holds the name, for the error message.

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
    """A loss as a configuration names it, before it is built."""

    @property
    def gives(self) -> tuple[str, ...]:
        """Return the names of the class that it builds and of the base classes, as far as the source tells."""


def decide(task_kind: str, loss: Loss) -> str:
    """Return the kind of a run: that of its task, unless its loss changes it.

    The kind is `solutions` where the loss is an equation in place of a comparison with target images, and `generation` where a
    generator and a critic learn from the images alone.

    Args:
        task_kind: `task.kind`.
        loss: The recipe's loss. The builder of an equation is annotated to return an `Equation`, the builder of a loss with
            which two networks learn against each other an `Adversarial`.
    """
    if "Adversarial" in loss.gives:
        return "generation"
    return "solutions" if task_kind == "images" and "Equation" in loss.gives else task_kind


@cache
def part(name: str, part_name: str) -> ModuleType:
    """Import and return a part of a kind.

    Only this function and the construction of components import modules by name.

    Args:
        name: One of `names()`.
        part_name: One of `PARTS`.
    """
    assert part_name in PARTS, part_name
    return importlib.import_module(f"mlpipe.kinds.{of(name).name}.{part_name}")
