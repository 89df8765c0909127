"""The protocol of `mlpipe/kinds/*/learn.py`: losses, sums and outputs of a kind as pure functions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, cast

import numpy as np
import numpy.typing as npt
from torch import Tensor, nn

from mlpipe import kinds
from mlpipe.arch.classifier import Head
from mlpipe.config.schema import Recipe
from mlpipe.data.sampling import Rows
from mlpipe.data.task import Task

# Mean and standard deviation of the training targets, shape (outputs,) each.
Scale = tuple[Tensor, Tensor]
# Outputs, targets and, where images have some, their weights to the mean loss; usually a module.
Loss = Callable[..., Tensor]


class Part(Protocol):
    """How one kind of task is learned. Outputs have the shape (n, outputs), or (n, outputs, *spatial) where dense.

    Attributes:
        FITTING_LOSSES: Options of `conf/loss` to name to somebody whose loss does not fit.
        TARGETS_HAVE_OWN_SHAPE: Whether the spatial shape of targets may be another than that of images.
        NEEDS_ALL_DIGITS: Whether it is learned in single precision unless somebody asks for less.
        USUAL_LOSS: Builds the loss that `auto` is, from `mlpipe.learn.losses.labels.Labels`; where outputs are classes of which
            one is true it takes `label_smoothing` and `class_weights` too. None: a loss decides that a run is of this kind.
        OF_NUMBERS: Whether outputs and targets are numbers side by side, each of which is compared with its own.
        VIEWS_HAVE_MEAN: Whether what is predicted from several views of an image has a mean.
        CHECKS_OUTPUTS: Whether `check` looks at the outputs of a batch whatever the loss; else it does at a loss of the
            user's own alone.
    """

    FITTING_LOSSES: tuple[str, ...]
    TARGETS_HAVE_OWN_SHAPE: bool
    NEEDS_ALL_DIGITS: bool
    USUAL_LOSS: Callable[..., nn.Module] | None
    OF_NUMBERS: bool
    VIEWS_HAVE_MEAN: bool
    CHECKS_OUTPUTS: bool

    def scale(self, targets: npt.NDArray[Any]) -> Scale | None:
        """The unit in which a loss compares numbers; None: they are compared as they are.

        Args:
            targets: Of the training images, as `mlpipe.data.task.Samples.targets`.
        """

    def head(self, outputs: int, scale: Scale | None, activations: Sequence[tuple[str, int]]) -> Head:
        """What a network gives for a task.

        Args:
            outputs: How many logits, or numbers.
            scale: What `scale` gave; None where weights follow that hold it.
            activations: What several outputs go through, see `mlpipe.arch.classifier.Head`.
        """

    def answer_shape(self, outputs: int, sides: Sequence[int]) -> tuple[int, ...]:
        """The shape of what a network gives for one image in evaluation.

        Args:
            outputs: How many classes, labels, numbers or channels the task has.
            sides: The spatial shape of its target, where every pixel has one.
        """

    def class_counts(self, task: Task, rows: Rows) -> npt.NDArray[np.int64]:
        """The numbers of training images of each class, see `mlpipe.learn.losses.labels.Labels.counts`."""

    def known_counts(self, task: Task, rows: Rows) -> npt.NDArray[np.int64] | None:
        """For how many training images each output has a known target, shape (outputs,); None: for all."""

    def positives(self, targets: npt.NDArray[Any]) -> npt.NDArray[np.bool_] | None:
        """Which images show anything, shape (n,); None: targets do not say.

        Args:
            targets: As `mlpipe.data.task.Samples.targets`.
        """

    def check(self, recipe: Recipe, task: Task, batch: Mapping[str, Tensor], outputs: Tensor, loss: Loss) -> None:
        """Refuse a recipe whose parts do not fit each other for this kind, before anything is written.

        Args:
            recipe: How to learn.
            task: The task.
            batch: A batch of training images.
            outputs: What a loss is given for it.
            loss: The recipe's.

        Raises:
            ConfigError: Naming the section that is to change.
            DataError: When samples are not what the loss is for.
        """

    def rows(self, loss: Loss, outputs: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Rows for metrics, one for each image: predicted, shape (n, columns), and true, beside each other.

        Args:
            loss: The head's.
            outputs: What the network gives.
            target: A batch's `target`.
        """

    def kept(self, loss: Loss, outputs: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """The part of a batch that a validation keeps: `rows`, and the batch's loss where there is no other way."""

    def validated(self, loss: Loss, rows: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """The loss of all validation images, and the rows that metrics are made of.

        Args:
            loss: The head's.
            rows: The first of what `kept` gave, of all batches.
            targets: The second.
        """


def of(name: str) -> Part:
    """How a kind is learned.

    Args:
        name: The kind's name, one of `kinds.names()`.
    """
    return cast(Part, kinds.part(name, "learn"))


def no_scale(targets: npt.NDArray[Any]) -> Scale | None:
    """None: outputs are compared as they are, as of kinds with logits or with values of pixels."""
    return None


def all_known(task: Task, rows: Rows) -> npt.NDArray[np.int64] | None:
    """None: what has a target has all of it."""
    return None


def no_classes(task: Task, rows: Rows) -> npt.NDArray[np.int64]:
    """Zeros: numbers have no classes."""
    return np.zeros(len(task.classes), np.int64)


def no_positives(targets: npt.NDArray[Any]) -> npt.NDArray[np.bool_] | None:
    """None: no target stands for nothing."""
    return None
