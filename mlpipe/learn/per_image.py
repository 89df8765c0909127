"""Shared training code of kinds with one row of outputs for each image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
from torch import Tensor

from mlpipe.arch.classifier import Head
from mlpipe.config.schema import Recipe
from mlpipe.data.sampling import Rows
from mlpipe.data.task import Task
from mlpipe.learn.build.loss import try_own
from mlpipe.learn.kind import Loss, Scale


def check(recipe: Recipe, task: Task, batch: Mapping[str, Tensor], outputs: Tensor, loss: Loss) -> None:
    """Try the user's own loss; see `mlpipe.learn.kind.Part`."""
    try_own(recipe, loss, outputs, batch["target"], batch.get("weight"))


def rows(loss: Loss, outputs: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Return outputs and targets unchanged; see `mlpipe.learn.kind.Part`."""
    return outputs, target


def kept(loss: Loss, outputs: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Return outputs and targets unchanged; see `mlpipe.learn.kind.Part`."""
    return outputs, target


def validated(loss: Loss, rows: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Return the loss over all images at once, not a mean of batch means; see `mlpipe.learn.kind.Part`."""
    return loss(rows, targets), rows


def logits(outputs: int, scale: Scale | None, activations: Sequence[tuple[str, int]]) -> Head:
    """Return a head with a logit for each class or label; see `mlpipe.learn.kind.Part.head`."""
    return Head(outputs)


def answer_shape(outputs: int, sides: Sequence[int]) -> tuple[int, ...]:
    """Return the shape of a row of outputs; see `mlpipe.learn.kind.Part`."""
    return (outputs,)


def class_counts(task: Task, rows: Rows) -> npt.NDArray[np.int64]:
    """Return the number of images of each class or label; see `mlpipe.learn.kind.Part`."""
    return task.class_counts(rows, learned=True)
