"""What a network with the weights of a file gives for images, without a training and without a record."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from mlpipe.config.schema import Recipe
from mlpipe.data.cache import Pack
from mlpipe.data.sampling import Rows
from mlpipe.data.task import Task
from mlpipe.data.variants import View
from mlpipe.learn import predict, setup
from mlpipe.learn.module import FoldModule, Learning
from mlpipe.post import metrics


@dataclass(frozen=True)
class Given:
    """What a network gives.

    Attributes:
        rows: The rows of the task that can be read.
        logits: Shape (n, outputs), in the order of the rows.
        scores: The loss and the metrics where the images have targets; else empty.
    """

    rows: Rows
    logits: npt.NDArray[np.float32]
    scores: dict[str, float]


def evaluate(
    recipe: Recipe,
    task: Task,
    pack: Pack,
    network: nn.Module,
    *,
    num_workers: int,
    should_stop: Callable[[], bool] = lambda: False,
) -> Given:
    """Give every image of a task to a network.

    Args:
        recipe: How images are prepared, and the loss and metrics.
        task: The task.
        pack: Its cached images.
        network: The network.
        num_workers: Loader processes.
        should_stop: Asked after every batch.

    Raises:
        TrainingError: When memory runs out with a single image.
    """
    setup.prepare_torch(recipe.threads)
    chosen = setup.numerics_for(recipe, pack)
    rows = np.flatnonzero(~pack.unreadable_mask(task))
    view = View(task.name, 0, rows, rows, rows, rows)
    data = setup.fold_data(recipe, task, view, pack, num_workers)
    learning = Learning(task.kind, [], 0, 0, channels_last=chosen.channels_last)
    module = FoldModule(network, nn.Identity(), predict.no_optimizers, learning)
    found: list[torch.Tensor] = []
    predict.through(
        recipe,
        chosen,
        module,
        data,
        rows,
        lambda batch, outputs: found.append(outputs.cpu().float()),
        where=task.name,
        should_stop=should_stop,
    )
    logits = torch.cat(found)
    return Given(rows, logits.numpy(), _scores(recipe, task, rows, logits))


def _scores(recipe: Recipe, task: Task, rows: Rows, logits: torch.Tensor) -> dict[str, float]:
    known = np.flatnonzero(task.samples.labelled[rows])
    if not len(known):
        return {}
    targets = task.samples.targets[rows[known]]
    wanted: Sequence[str] = setup.val_metrics(recipe, task)
    values = metrics.compute(list(wanted), logits.numpy()[known], targets, task.kind)
    loss = setup.build_loss(recipe, task, rows[known])(logits[known], torch.from_numpy(targets))
    return {"loss": float(loss), **{name: float(value) for name, value in values.items() if value is not None}}
