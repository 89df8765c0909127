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

# Mean and standard deviation of the training targets, each of shape (outputs,).
Scale = tuple[Tensor, Tensor]
# Maps outputs, targets and, if images have any, their weights to the mean loss; usually a module.
Loss = Callable[..., Tensor]


class Part(Protocol):
    """How one kind of task is trained. Outputs have shape (n, outputs), or (n, outputs, *spatial) for dense kinds.

    Attributes:
        FITTING_LOSSES: Options of `conf/loss` to suggest when a loss does not fit.
        TARGETS_HAVE_OWN_SHAPE: Whether the spatial shape of targets may differ from that of images.
        NEEDS_ALL_DIGITS: Whether training uses single precision unless another one is requested.
        USUAL_LOSS: Builds the loss meant by `auto` from `mlpipe.learn.losses.labels.Labels`; for exclusive classes it also
            takes `label_smoothing` and `class_weights`. None: a loss decides that a run is of this kind.
        OF_NUMBERS: Whether outputs and targets are numbers side by side, compared one by one.
        VIEWS_HAVE_MEAN: Whether predictions for several views of an image can be averaged.
        CHECKS_OUTPUTS: Whether `check` uses the outputs for a batch with every loss; otherwise only with the user's own
            loss.
    """

    FITTING_LOSSES: tuple[str, ...]
    TARGETS_HAVE_OWN_SHAPE: bool
    NEEDS_ALL_DIGITS: bool
    USUAL_LOSS: Callable[..., nn.Module] | None
    OF_NUMBERS: bool
    VIEWS_HAVE_MEAN: bool
    CHECKS_OUTPUTS: bool

    def scale(self, targets: npt.NDArray[Any]) -> Scale | None:
        """Return the unit in which a loss compares numbers; None: numbers are not scaled.

        Args:
            targets: Targets of the training images, as in `mlpipe.data.task.Samples.targets`.
        """

    def head(self, outputs: int, scale: Scale | None, activations: Sequence[tuple[str, int]]) -> Head:
        """Return a network's head for a task.

        Args:
            outputs: The number of logits or numbers.
            scale: The result of `scale`; None when weights that contain it are loaded.
            activations: The activations of several outputs, see `mlpipe.arch.classifier.Head`.
        """

    def answer_shape(self, outputs: int, sides: Sequence[int]) -> tuple[int, ...]:
        """Return the shape of a network's output for one image in evaluation.

        Args:
            outputs: The number of classes, labels, numbers or channels of the task.
            sides: The spatial shape of its target, if every pixel has one.
        """

    def class_counts(self, task: Task, rows: Rows) -> npt.NDArray[np.int64]:
        """Return the number of training images of each class, see `mlpipe.learn.losses.labels.Labels.counts`."""

    def known_counts(self, task: Task, rows: Rows) -> npt.NDArray[np.int64] | None:
        """Return the number of training images with a known target for each output, shape (outputs,); None: all."""

    def positives(self, targets: npt.NDArray[Any]) -> npt.NDArray[np.bool_] | None:
        """Return which images show anything, shape (n,); None if targets do not tell.

        Args:
            targets: As `mlpipe.data.task.Samples.targets`.
        """

    def check(self, recipe: Recipe, task: Task, batch: Mapping[str, Tensor], outputs: Tensor, loss: Loss) -> None:
        """Refuse a recipe whose parts do not fit together for this kind, before anything is written.

        Args:
            recipe: The recipe.
            task: The task.
            batch: A batch of training images.
            outputs: The loss's input for the batch.
            loss: The recipe's loss.

        Raises:
            ConfigError: Naming the section to change.
            DataError: When the loss is not for such samples.
        """

    def rows(self, loss: Loss, outputs: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Return rows for metrics, one per image: predictions, shape (n, columns), and the corresponding truth.

        Args:
            loss: The loss of the head.
            outputs: The network's outputs.
            target: A batch's `target`.
        """

    def kept(self, loss: Loss, outputs: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Return the part of a batch that a validation keeps: `rows`, and the batch's loss if it cannot be computed later."""

    def validated(self, loss: Loss, rows: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Return the loss of all validation images, and the rows for metrics.

        Args:
            loss: The loss of the head.
            rows: The first results of `kept`, of all batches.
            targets: The second results.
        """


def of(name: str) -> Part:
    """Return how a kind is trained.

    Args:
        name: The kind's name, one of `kinds.names()`.
    """
    return cast(Part, kinds.part(name, "learn"))


def no_scale(targets: npt.NDArray[Any]) -> Scale | None:
    """Return None: outputs are compared unscaled, for kinds with logits or pixel values."""
    return None


def all_known(task: Task, rows: Rows) -> npt.NDArray[np.int64] | None:
    """Return None: a sample with a target has all of it."""
    return None


def no_classes(task: Task, rows: Rows) -> npt.NDArray[np.int64]:
    """Return zeros, because numbers have no classes."""
    return np.zeros(len(task.classes), np.int64)


def no_positives(targets: npt.NDArray[Any]) -> npt.NDArray[np.bool_] | None:
    """Return None, because no target means that an image shows nothing."""
    return None
