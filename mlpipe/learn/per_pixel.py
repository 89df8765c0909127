"""Shared training code of kinds with outputs for each pixel: sums over each image, since all maps would not fit into memory."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mlpipe import kinds
from mlpipe.arch.classifier import Head
from mlpipe.config.schema import Recipe
from mlpipe.errors import ConfigError, problem
from mlpipe.learn import exact_heads
from mlpipe.learn.kind import Loss, Scale


def head(outputs: int, *, of_values: bool = False) -> Head:
    """Return a head with outputs for every pixel.

    Args:
        outputs: The number of logits, or values, per pixel.
        of_values: As for `mlpipe.arch.classifier.Head`.
    """
    networks = "arch=unet arch.encoder={name}, or fpn, pspnet, linknet"
    return Head(outputs, per_pixel=True, of_values=of_values, each="pixel", networks=networks)


def values(outputs: int, scale: Scale | None, activations: Sequence[tuple[str, int]]) -> Head:
    """Return a head with a value of each channel for every pixel; see `mlpipe.learn.kind.Part.head`."""
    return head(outputs, of_values=True)


def answer_shape(outputs: int, sides: Sequence[int]) -> tuple[int, ...]:
    """Return the shape of a map of each output; see `mlpipe.learn.kind.Part`."""
    return outputs, *sides


def with_loss(rows: tuple[Tensor, Tensor], loss: Tensor) -> tuple[Tensor, Tensor]:
    """Append their batch's loss to the rows of images, because it cannot be computed from the rows later.

    Args:
        rows: Predictions, shape (n, columns), and targets.
        loss: The mean loss of the batch.
    """
    predicted, true = rows
    return torch.cat([predicted, loss.double().expand(len(predicted), 1)], 1), true


def validated(loss: Loss, rows: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean of the batch losses, weighted by their number of images; see `mlpipe.learn.kind.Part`."""
    return rows[:, -1].mean(), rows[:, :-1]


def refuse_parts(recipe: Recipe, noun: str) -> None:
    """Refuse steps and optimizers that do not handle targets of pixels.

    Args:
        recipe: The recipe.
        noun: The target of an image, `masks` or `target images`.

    Raises:
        ConfigError: Naming the section to change.
    """
    if recipe.augmentations.device:
        fix = f"use augmentations.cpu.pipeline, which moves images and {noun} together"
        raise ConfigError(problem("augmentations.device.pipeline", f"changes no {noun}", fix=fix))
    for number, stage in enumerate(recipe.stages):
        key = f"stages.list[{number}]"
        if stage.head is not None:
            raise ConfigError(problem(f"{key}.head", f"is not for {noun}", fix="use stages=freeze_then_finetune"))
        if stage.size is not None:
            raise ConfigError(problem(f"{key}.size", f"resizes images and not their {noun}", fix="leave it out"))
    if exact_heads.applies(recipe):
        raise ConfigError(
            problem("optimizer", f"is not for {noun}", got=recipe.optimizer.name, fix="use another, such as adamw")
        )


def refuse_other_stages(recipe: Recipe, task_kind: str) -> None:
    """Refuse a mixture of stages that solve an equation and stages that compare with images.

    Args:
        recipe: The recipe.
        task_kind: The task's kind.

    Raises:
        ConfigError: When they differ.
    """
    kind = kinds.decide(task_kind, recipe.loss)
    for number, stage in enumerate(recipe.stages):
        if kinds.decide(task_kind, stage.loss or recipe.loss) != kind:
            wrong, fix = "solutions and images are not learned one after another", "give all stages equations, or none"
            raise ConfigError(problem(f"stages.list[{number}].loss", wrong, fix=fix))
