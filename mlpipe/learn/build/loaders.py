"""The loaders of a fold, and the augmentation steps that run on the device."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from mlpipe import kinds
from mlpipe.config.components import Component
from mlpipe.config.schema import Recipe
from mlpipe.data.augment import batches, geometry, paired
from mlpipe.data.augment.batches import DeviceStep
from mlpipe.data.cache.packs import Pack
from mlpipe.data.loading import processes
from mlpipe.data.loading.collating import collating_of
from mlpipe.data.loading.loaders import Draw, FoldData
from mlpipe.data.sampling import WHOLE, Sampling, Shard
from mlpipe.data.splits.variants import View
from mlpipe.data.task import Task
from mlpipe.errors import ConfigError, problem


def fold_data(
    recipe: Recipe,
    task: Task,
    view: View,
    pack: Pack,
    num_workers: int,
    number: int = 0,
    shard: Shard = WHOLE,
) -> FoldData:
    """Return the loaders of one fold; tasks that are trained together have numbers, so that each has its own random draws."""
    built = [(step.target, step.build()) for step in recipe.augmentations.cpu]
    collating = collating_of(task, pack)
    collating.check(task, built)
    steps: list[Any] = [
        _sendable(component, collating.adapt, collating.adapt(*step))
        for component, step in zip(recipe.augmentations.cpu, built, strict=True)
    ]
    draw = Draw(recipe.seed, view.draws + 1000 * number)
    sampling = build_sampling(recipe)
    if kinds.of(task.kind).is_dense:
        # A decoder's memory grows with the number of images; the training batch size fits here too.
        sampling = replace(sampling, eval_batch_size=min(sampling.eval_batch_size, sampling.batch_size))
    return FoldData(task, view, pack, steps=steps, sampling=sampling, draw=draw, num_workers=num_workers, shard=shard)


def _sendable(component: Component, adapt: Callable[[str, Any], Any], step: Any) -> Any:
    """Return a step that can be sent to loader processes: the user's own steps are built again there."""
    is_own = not component.target.startswith(("mlpipe.", "torchvision.", "albumentations."))
    # Steps that also apply in evaluation are recognised by their type.
    if not is_own or isinstance(step, geometry.Always | paired.Always):
        return step
    return processes.OwnStep(partial(_adapted, component, adapt), step)


def _adapted(component: Component, adapt: Callable[[str, Any], Any]) -> Any:
    return adapt(component.target, component.build())


def build_sampling(recipe: Recipe) -> Sampling:
    """Build the recipe's sampling.

    Raises:
        ConfigError: When its target returns something else.
    """
    sampling = recipe.sampling.build()
    if not isinstance(sampling, Sampling):
        wrong = f"{recipe.sampling.target} must give a mlpipe.data.sampling.Sampling"
        fix = "return Sampling(batch_size, eval_batch_size, order)"
        raise ConfigError(problem("sampling._target_", wrong, got=type(sampling).__name__, fix=fix))
    return sampling


def batch_size(recipe: Recipe) -> int:
    """Return the number of training images in a batch."""
    return int(build_sampling(recipe).batch_size)


def device_steps(recipe: Recipe, peak: float) -> list[DeviceStep]:
    """Return the augmentations of whole batches on the device, for images whose white is `peak`."""
    return [batches.adapt(step.build(), peak) for step in recipe.augmentations.device]
