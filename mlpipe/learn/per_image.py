"""Learn what each image is: what kinds share that have one row of outputs for each image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from mlpipe.config.schema import Recipe
from mlpipe.data import sources
from mlpipe.data.augment import libraries
from mlpipe.data.cache.packs import Pack
from mlpipe.data.loading.loaders import FoldData
from mlpipe.data.loading.rows import RecordData
from mlpipe.data.task import Task
from mlpipe.learn.build.loss import try_own
from mlpipe.learn.kind import Adapt, Loss


def loading(task: Task, pack: Pack, steps: Sequence[tuple[str, Any]]) -> tuple[type[FoldData], Adapt]:
    """What loads images, or records; see `mlpipe.learn.kind.Part`."""
    return RecordData if sources.open(task).layout is not None else FoldData, _adapted


def check(recipe: Recipe, task: Task, batch: Mapping[str, Tensor], outputs: Tensor, loss: Loss) -> None:
    """Try a loss of the user's own; see `mlpipe.learn.kind.Part`."""
    try_own(recipe, loss, outputs, batch["target"], batch.get("weight"))


def rows(loss: Loss, outputs: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Outputs and targets as they are; see `mlpipe.learn.kind.Part`."""
    return outputs, target


def kept(loss: Loss, outputs: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Outputs and targets as they are; see `mlpipe.learn.kind.Part`."""
    return outputs, target


def validated(loss: Loss, rows: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """The loss over all images at once, not a mean of batches' means; see `mlpipe.learn.kind.Part`."""
    return loss(rows, targets), rows


def prediction(loss: Loss, outputs: Tensor, batch: Mapping[str, Tensor]) -> Tensor:
    """Outputs as they are; see `mlpipe.learn.kind.Part`."""
    return outputs


def _adapted(target: str, transform: Any) -> Any:
    libraries.refuse_targets(transform)
    return libraries.adapt(transform)
