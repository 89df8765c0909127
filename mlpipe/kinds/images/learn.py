"""Train on target images: values for every pixel, of which sums of errors are kept."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from mlpipe.config.schema import Recipe
from mlpipe.data.task import Task
from mlpipe.errors import ConfigError, problem
from mlpipe.learn import per_pixel
from mlpipe.learn.kind import Loss
from mlpipe.learn.kind import all_known as known_counts
from mlpipe.learn.kind import no_classes as class_counts
from mlpipe.learn.kind import no_positives as positives
from mlpipe.learn.kind import no_scale as scale
from mlpipe.learn.losses.cross_entropy import Between
from mlpipe.learn.losses.numbers import mse
from mlpipe.learn.per_pixel import answer_shape, validated
from mlpipe.learn.per_pixel import values as head

__all__ = ["answer_shape", "class_counts", "head", "known_counts", "positives", "scale", "validated"]

FITTING_LOSSES = ("auto", "mse", "mae", "huber", "bce")
TARGETS_HAVE_OWN_SHAPE = True
NEEDS_ALL_DIGITS = False
USUAL_LOSS = mse
OF_NUMBERS = True
VIEWS_HAVE_MEAN = True
CHECKS_OUTPUTS = True


def check(recipe: Recipe, task: Task, batch: Mapping[str, Tensor], outputs: Tensor, loss: Loss) -> None:
    """Refuse components that cannot handle target images, and outputs that cannot be compared with them."""
    per_pixel.refuse_parts(recipe, "target images")
    per_pixel.refuse_other_stages(recipe, task.kind)
    target = batch["target"]
    if target.shape[1:] != outputs.shape[1:]:
        wrong = f"gives targets of {list(target.shape[1:])}, the network's outputs are {list(outputs.shape[1:])}"
        fix = "leave steps out that change the size or the channels of targets"
        raise ConfigError(problem("augmentations.cpu.pipeline", wrong, fix=fix))
    if not isinstance(loss, nn.Module) or not any(isinstance(module, Between) for module in loss.modules()):
        return
    for name, values in (("targets", target), ("the network's outputs", outputs)):
        low, high = float(values.min()), float(values.max())
        if low < 0 or high > 1:
            fix = "end the network in a sigmoid (arch.outputs=sigmoid), or use loss=mse"
            wrong = f"bce takes values from 0 to 1, {name} have {low:.3g} to {high:.3g}"
            raise ConfigError(problem("loss", wrong, fix=fix))


def rows(loss: Loss, outputs: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Return sums of errors, see `summed`."""
    return summed(outputs, target)


def kept(loss: Loss, outputs: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Return sums of errors, and the batch's loss."""
    return per_pixel.with_loss(summed(outputs, target), loss(outputs, target))


def summed(values: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Return sums of the errors of each image, computed on the device of the tensors.

    Args:
        values: Predicted, shape (n, channels, height, width), or with other spatial axes.
        target: The same; NaN in images without a target.

    Returns:
        Sums of squared and of absolute errors, shape (n, 2 * channels), and the number of values in each channel, shape
        (n, channels), NaN without a target; both float64.
    """
    error = values.double() - target.double()
    known = ~target.flatten(1).isnan().all(1)
    spatial = tuple(range(2, error.ndim))
    error = torch.where(known.view(-1, *[1] * (error.ndim - 1)), error, 0.0)
    counts = torch.full(error.shape[:2], float(error[0, 0].numel()), dtype=torch.float64, device=error.device)
    counts[~known] = torch.nan
    return torch.cat([(error**2).sum(spatial), error.abs().sum(spatial)], 1), counts
