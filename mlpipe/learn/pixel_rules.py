"""What is refused where every pixel is predicted, before anything is trained: steps, optimizers and losses that do not fit."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor, nn

from mlpipe.config.schema import Recipe
from mlpipe.data.task import Task
from mlpipe.errors import ConfigError, problem
from mlpipe.learn import linear_head, solutions
from mlpipe.learn.losses.cross_entropy import Between


def check(recipe: Recipe, task: Task, target: Tensor, outputs: Tensor, loss: nn.Module) -> None:
    """Refuse what knows nothing of masks and target images, and targets that outputs cannot be compared with.

    Args:
        recipe: How to learn.
        task: A task of masks or target images.
        target: Targets of a batch.
        outputs: What the network gives for it, shape (n, outputs, height, width).
        loss: The recipe's.

    Raises:
        ConfigError: Naming the section that is to change.
    """
    what = "masks" if task.kind == "segmentation" else "target images"
    if recipe.augmentations.device:
        fix = f"use augmentations.cpu.pipeline, which moves images and {what} together"
        raise ConfigError(problem("augmentations.device.pipeline", f"changes no {what}", fix=fix))
    if linear_head.applies(recipe):
        raise ConfigError(problem("optimizer", f"is not for {what}", got="linear", fix="use another, such as adamw"))
    kind = recipe.predicts(task.kind)
    if task.kind != "images":
        return
    if any(replace(recipe, loss=one.loss or recipe.loss).predicts(task.kind) != kind for one in recipe.stages):
        fix = "give all stages equations, or none"
        raise ConfigError(
            problem("stages.list.loss", "solutions and images are not learned one after another", fix=fix)
        )
    if kind == "solutions":
        solutions.check(recipe, target, outputs, loss)
        return
    if target.shape[1:] != outputs.shape[1:]:
        wrong = f"gives targets of {list(target.shape[1:])}, the network's outputs are {list(outputs.shape[1:])}"
        fix = "leave steps out that change the size or the channels of targets"
        raise ConfigError(problem("augmentations.cpu.pipeline", wrong, fix=fix))
    if not any(isinstance(one, Between) for one in loss.modules()):
        return
    for name, values in (("targets", target), ("the network's outputs", outputs)):
        low, high = float(values.min()), float(values.max())
        if low < 0 or high > 1:
            fix = "end the network in a sigmoid (arch.outputs=sigmoid), or use loss=mse"
            wrong = f"bce takes values from 0 to 1, {name} have {low:.3g} to {high:.3g}"
            raise ConfigError(problem("loss", wrong, fix=fix))
