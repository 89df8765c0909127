"""Train to solve an equation: values for every node, of which each sample's loss is kept."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from mlpipe.config.schema import Recipe
from mlpipe.data.task import Task
from mlpipe.errors import ConfigError, DataError, problem
from mlpipe.learn import per_pixel, tta
from mlpipe.learn.kind import Loss
from mlpipe.learn.kind import all_known as known_counts
from mlpipe.learn.kind import no_classes as class_counts
from mlpipe.learn.kind import no_positives as positives
from mlpipe.learn.kind import no_scale as scale
from mlpipe.learn.losses.equations import Equation, EvolutionEquation, misfit
from mlpipe.learn.per_pixel import answer_shape, validated
from mlpipe.learn.per_pixel import values as head

__all__ = ["answer_shape", "class_counts", "head", "known_counts", "positives", "scale", "validated"]

FITTING_LOSSES = ("poisson", "burgers")
TARGETS_HAVE_OWN_SHAPE = True
# An equation depends on differences between neighbours, which half precision cannot resolve.
NEEDS_ALL_DIGITS = True
USUAL_LOSS = None
OF_NUMBERS = True
VIEWS_HAVE_MEAN = False
CHECKS_OUTPUTS = True


def check(recipe: Recipe, task: Task, batch: Mapping[str, Tensor], outputs: Tensor, loss: Loss) -> None:
    """Refuse outputs that are no solution, and augmented views of samples, whose solutions differ."""
    per_pixel.refuse_parts(recipe, "target images")
    per_pixel.refuse_other_stages(recipe, task.kind)
    if isinstance(loss, EvolutionEquation):
        _check_initial_values(batch["target"], outputs)
    else:
        _check_diffusivity(batch["target"], outputs)
    tta.refuse_views(recipe.tta)


def rows(loss: Loss, outputs: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Return the loss of each sample, see `scored`."""
    return scored(loss, outputs, target)


def kept(loss: Loss, outputs: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Return the loss of each sample, and their mean."""
    lost, known = scored(loss, outputs, target)
    return per_pixel.with_loss((lost, known), lost.sum() / known.nansum().clamp(min=1))


def scored(loss: Loss, values: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Return the equation's loss of each sample, computed on the device of the tensors.

    Args:
        loss: The equation.
        values: Solutions, shape (n, 1, *spatial).
        target: The problem to solve, as the equation takes it; NaN in samples without one.

    Returns:
        The loss of each sample, shape (n, 1), and 1 for it, NaN without a target, of the same shape; both float64.
    """
    assert isinstance(loss, Equation)
    known = ~target.flatten(1).isnan().all(1)
    losses = torch.zeros(len(values), dtype=torch.float64, device=values.device)
    losses[known] = loss.of_samples(values[known], target[known]).double()
    ones = torch.ones_like(losses)
    ones[~known] = torch.nan
    return losses[:, None], ones[:, None]


def _check_diffusivity(target: Tensor, outputs: Tensor) -> None:
    if target.shape[1:] != outputs.shape[1:]:
        wrong = (
            f"solutions have the nodes of their samples, {list(target.shape[1:])}, these are {list(outputs.shape[1:])}"
        )
        raise ConfigError(problem("arch", wrong, fix="end the network in one map of the samples' size"))
    if float(target.min()) <= 0:
        fix = "add a small number to the arrays, or leave steps out that change targets"
        raise ConfigError(problem("loss=poisson", "takes a diffusivity above 0", got=float(target.min()), fix=fix))


def _check_initial_values(target: Tensor, outputs: Tensor) -> None:
    if target.ndim != 4 or tuple(target.shape[1:3]) != (1, 1):
        wrong = f"takes initial values, one row of one channel, the task's samples are {list(target.shape[1:])}"
        raise DataError(problem("loss=burgers", wrong, fix="use task=initial_values, or arrays (1, 1, places)"))
    if wrong := misfit(outputs, target):
        fix = "end the network in one map of two times or more, as wide as its input"
        raise ConfigError(problem("arch", wrong, fix=fix))
