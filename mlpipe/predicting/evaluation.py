"""Evaluation of a network on a task: outputs of every sample, and loss and metrics if there are targets."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from mlpipe import kinds
from mlpipe.config.schema import Recipe
from mlpipe.data.cache.packs import Pack
from mlpipe.data.sampling import Rows
from mlpipe.data.task import IGNORED, Task
from mlpipe.learn import kind as learn_kind
from mlpipe.learn import monitoring
from mlpipe.learn.build.loss import build_loss
from mlpipe.post import metrics
from mlpipe.predicting import kind
from mlpipe.predicting.batches import Batch, TaskBatches
from mlpipe.predicting.model import Model
from mlpipe.predicting.through import keep_outputs, through
from mlpipe.runs.sinks import Predicted


@dataclass(frozen=True)
class Evaluation:
    """The scores of a network on a task.

    Attributes:
        rows: The readable rows of the task.
        scores: The loss and the metrics if samples have targets; else empty.
    """

    rows: Rows
    scores: dict[str, float]


def evaluate(
    recipe: Recipe,
    task: Task,
    pack: Pack,
    network: nn.Module,
    *,
    num_workers: int,
    take: Callable[[Predicted], None] = lambda predicted: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> Evaluation:
    """Evaluate a network on every sample of a task.

    Maps may be large, so only the sums for their metrics are kept, and their loss is the mean of the batches' losses, weighted by
    the number of samples, as for boxes. The loss of rows is computed over all of them.

    Args:
        recipe: The preparation of samples, and the loss and metrics.
        task: The task.
        pack: Its cached images.
        network: The network, with its weights.
        num_workers: Loader processes.
        take: Called with the outputs of each batch.
        should_stop: Called after every batch; returns whether to stop.

    Raises:
        TrainingError: When memory runs out with a single sample.
    """
    rows = np.flatnonzero(~pack.unreadable_mask(task))
    known = rows[task.samples.labelled[rows]]
    model = Model.of_weights(network, recipe, task, pack)
    judge = _Judge(recipe, task, known) if len(known) else None
    batches = TaskBatches(recipe, task, pack, rows, num_workers)

    def keep(outputs: Tensor, batch: Batch) -> Predicted:
        if judge is not None:
            judge.add(outputs.cpu(), batch)
        return keep_outputs(outputs, batch)

    predictions = through(
        model, batches, keep=keep, most=batches.most, stop=should_stop, where=task.name, with_targets=True
    )
    for predicted in predictions:
        take(predicted)
    return Evaluation(rows, judge.scores(rows) if judge is not None else {})


class _Judge:
    """Computes loss and metrics of a network's outputs on a task.

    Args:
        recipe: The loss and metrics.
        task: The task.
        known: The rows that have a target.
    """

    def __init__(self, recipe: Recipe, task: Task, known: Rows) -> None:
        self._kind = kinds.decide(task.kind, recipe.loss)
        self._part, self._loss = kind.of(self._kind), build_loss(recipe, task, known)
        self._task, self._known, self._names = task, known, monitoring.val_metrics(recipe, task)
        self._outputs, self._targets = list[Tensor](), list[Tensor]()
        self._raw_losses = list[tuple[float, int]]()
        self._sums = MapSums(self._kind, self._loss, self._names)

    def add(self, outputs: Tensor, batch: Batch) -> None:
        """Measure maps; keep rows, which are measured all at once."""
        if not kinds.of(self._kind).is_dense:
            self._outputs.append(outputs)
            # Targets with several rows per sample (boxes) are only in batches; the task has sums of them.
            if batch.target is not None and batch.target.ndim > 2:
                target = batch.target.cpu()
                self._targets.append(target)
                if batch.raw is not None:
                    true = learn_kind.of(self._kind).rows(self._loss, outputs, target)[1]
                    if row_count := int((~true.isnan().all(1)).sum()):
                        self._raw_losses.append((float(self._loss(batch.raw.cpu(), target)), row_count))
            return
        assert batch.target is not None
        self._sums.add(outputs, batch.target.cpu())

    def scores(self, rows: Rows) -> dict[str, float]:
        """Return the loss and the metrics of the outputs of rows; empty where no target counts."""
        if kinds.of(self._kind).is_dense:
            return self._sums.scores()
        if not self._outputs:
            return {}
        known = torch.from_numpy(np.isin(rows, self._known))
        of_task = torch.from_numpy(self._task.samples.targets[self._known])
        outputs, targets, loss = self._part.measured(
            torch.cat(self._outputs)[known],
            torch.cat(self._targets)[known] if self._targets else of_task,
            self._loss,
        )
        if self._raw_losses:
            losses, counts = zip(*self._raw_losses, strict=True)
            loss = torch.tensor(np.average(losses, weights=counts))
        return _scores(self._names, self._kind, outputs, targets, float(loss))


class MapSums:
    """Sums for the metrics of maps, a few numbers per sample; the maps are not kept.

    The loss is the mean of the batches' losses, weighted by the number of samples.

    Args:
        name: The kind of the task.
        loss: The loss.
        names: The metrics.
    """

    def __init__(self, name: str, loss: nn.Module, names: Sequence[str]) -> None:
        self._kind, self._part, self._loss, self._names = name, kind.of(name), loss, names
        self._outputs, self._targets, self._losses = list[Tensor](), list[Tensor](), list[float]()

    def add(self, outputs: Tensor, target: Tensor) -> None:
        """Measure the samples of a batch that have a target.

        Args:
            outputs: Shape (n, outputs, *spatial), on the CPU.
            target: As a batch has it, on the CPU.
        """
        known = _known_samples(target)
        if known.any():
            measured = self._part.measured(outputs[known], target[known], self._loss)
            self._outputs.append(measured[0])
            self._targets.append(measured[1])
            self._losses.append(float(measured[2]) * int(known.sum()))

    def scores(self) -> dict[str, float]:
        """Return the loss and the metrics; empty where no target counts."""
        if not self._outputs:
            return {}
        outputs, targets = torch.cat(self._outputs), torch.cat(self._targets)
        return _scores(self._names, self._kind, outputs, targets, sum(self._losses) / len(outputs))


def _scores(names: Sequence[str], name: str, outputs: Tensor, targets: Tensor, loss: float) -> dict[str, float]:
    values = metrics.compute(names, outputs.numpy(), targets.numpy(), name)
    of_loss = {} if math.isnan(loss) else {"loss": loss}
    return {**of_loss, **{key: float(value) for key, value in values.items() if value is not None}}


def _known_samples(target: Tensor) -> Tensor:
    """Return which samples of a batch have a mask, or a target image, shape (n,)."""
    if target.dtype == torch.uint8:
        return (target != IGNORED).flatten(1).any(1)
    if target.ndim > 2:
        return ~target.flatten(1).isnan().all(1)
    return torch.zeros(len(target), dtype=torch.bool)
