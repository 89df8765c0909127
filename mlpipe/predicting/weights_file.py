"""What a network with the weights of a file gives for images, without a training and without a record."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from mlpipe import kinds
from mlpipe.config.schema import Recipe
from mlpipe.data.cache.packs import Pack
from mlpipe.data.sampling import Rows
from mlpipe.data.splits.variants import View
from mlpipe.data.task import IGNORED, Task
from mlpipe.learn import monitoring
from mlpipe.learn.build.loaders import fold_data
from mlpipe.learn.build.loss import build_loss
from mlpipe.learn.hardware import numerics_for
from mlpipe.learn.heads import LearnedHead
from mlpipe.learn.module import TARGET, FoldModule, Learning
from mlpipe.learn.quiet import prepare_torch
from mlpipe.post import metrics
from mlpipe.predicting import records


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
    found: list[torch.Tensor] = []
    rows = _through(
        recipe,
        task,
        pack,
        network,
        lambda batch, outputs: found.append(outputs.cpu().float()),
        num_workers=num_workers,
        should_stop=should_stop,
    )
    logits = torch.cat(found)
    return Given(rows, logits.numpy(), _scores(recipe, task, rows, logits))


def evaluate_maps(
    recipe: Recipe,
    task: Task,
    pack: Pack,
    network: nn.Module,
    *,
    num_workers: int,
    should_stop: Callable[[], bool] = lambda: False,
    take: Callable[[Rows, npt.NDArray[np.float32]], None] = lambda rows, logits: None,
) -> Given:
    """Give every image of a task of masks or target images to a network; of the maps, which may be many, only sums are kept.

    The loss is the mean of the batches' losses, each with as much weight as it has images.

    Args:
        recipe: As for `evaluate`.
        task: As for `evaluate`.
        pack: As for `evaluate`.
        network: As for `evaluate`.
        num_workers: As for `evaluate`.
        should_stop: As for `evaluate`.
        take: Gets the rows of each batch and their maps, shape (n, outputs, height, width).

    Returns:
        As `evaluate`, with counts of pixels, or sums of errors, as `logits`; without any column where no image has a target.

    Raises:
        TrainingError: When memory runs out with a single image.
    """
    masked = np.flatnonzero(task.samples.labelled & ~pack.unreadable_mask(task))
    loss = build_loss(recipe, task, masked) if len(masked) else None
    kind = kinds.decide(task.kind, recipe.loss)
    head = LearnedHead(TARGET, kind, len(task.classes), loss or nn.Identity())
    counts, targets, losses = list[torch.Tensor](), list[torch.Tensor](), list[float]()

    def count(batch: Mapping[str, Any], outputs: torch.Tensor) -> None:
        logits, target = outputs.float().cpu(), batch["target"].cpu()
        take(batch["row"].cpu().numpy(), logits.numpy())
        known = _known(target)
        if loss is None or not known.any():
            return
        logits, target = logits[known], head.as_learned(target[known])
        outcome = head.part.rows(loss, logits, target)
        counts.append(outcome[0])
        targets.append(outcome[1])
        losses.append(float(loss(logits, target)) * len(logits))

    rows = _through(recipe, task, pack, network, count, num_workers=num_workers, should_stop=should_stop)
    if not counts:
        return Given(rows, np.empty((len(rows), 0), np.float32), {})
    seen, true = torch.cat(counts).numpy(), torch.cat(targets).numpy()
    values = metrics.compute(monitoring.val_metrics(recipe, task), seen, true, kind)
    scores = {name: float(value) for name, value in values.items() if value is not None}
    return Given(rows, seen.astype(np.float32), {"loss": sum(losses) / len(seen), **scores})


def _known(target: torch.Tensor) -> torch.Tensor:
    """Which images of a batch have a mask, or a target image, shape (n,)."""
    if target.dtype == torch.uint8:
        return (target != IGNORED).flatten(1).any(1)
    if target.ndim > 2:
        return ~target.flatten(1).isnan().all(1)
    return torch.zeros(len(target), dtype=torch.bool)


def _through(
    recipe: Recipe,
    task: Task,
    pack: Pack,
    network: nn.Module,
    take: Callable[[Mapping[str, Any], Any], None],
    *,
    num_workers: int,
    should_stop: Callable[[], bool],
) -> Rows:
    """Hand what a network gives for every image that can be read on, batch by batch; their rows."""
    prepare_torch(recipe.threads)
    kind = kinds.decide(task.kind, recipe.loss)
    chosen = numerics_for(recipe, pack, kind)
    rows = np.flatnonzero(~pack.unreadable_mask(task))
    view = View(task.name, 0, rows, rows, rows, rows)
    data = fold_data(recipe, task, view, pack, num_workers)
    learning = Learning([], 0, 0, channels_last=chosen.channels_last)
    head = LearnedHead(TARGET, kind, len(task.classes), nn.Identity())
    module = FoldModule(network, [head], records.no_optimizers, learning)
    records.through(recipe, chosen, module, data, rows, take, where=task.name, should_stop=should_stop)
    return rows


def _scores(recipe: Recipe, task: Task, rows: Rows, logits: torch.Tensor) -> dict[str, float]:
    known = np.flatnonzero(task.samples.labelled[rows])
    if not len(known):
        return {}
    targets = task.samples.targets[rows[known]]
    wanted: Sequence[str] = monitoring.val_metrics(recipe, task)
    values = metrics.compute(list(wanted), logits.numpy()[known], targets, task.kind)
    loss = build_loss(recipe, task, rows[known])(logits[known], torch.from_numpy(targets))
    return {"loss": float(loss), **{name: float(value) for name, value in values.items() if value is not None}}
