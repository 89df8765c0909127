"""Train generators: a critic's scores and features of real and drawn images are kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from mlpipe.arch.classifier import Head
from mlpipe.config.schema import Recipe
from mlpipe.data.task import Task
from mlpipe.errors import ConfigError, problem
from mlpipe.learn import exact_heads, per_pixel, tta
from mlpipe.learn.kind import Loss, Scale
from mlpipe.learn.kind import all_known as known_counts
from mlpipe.learn.kind import no_classes as class_counts
from mlpipe.learn.kind import no_positives as positives
from mlpipe.learn.kind import no_scale as scale
from mlpipe.learn.per_image import answer_shape
from mlpipe.post.measures import generation_metrics

__all__ = ["answer_shape", "class_counts", "known_counts", "positives", "scale"]

FITTING_LOSSES = ("wasserstein",)
TARGETS_HAVE_OWN_SHAPE = False
# The gradient of a critic is a difference that half precision cannot resolve.
NEEDS_ALL_DIGITS = True
USUAL_LOSS = None
OF_NUMBERS = True
VIEWS_HAVE_MEAN = False
CHECKS_OUTPUTS = True


def head(outputs: int, scale: Scale | None, activations: Sequence[tuple[str, int]]) -> Head:
    """Return a head without layers: a generator and a critic have their own."""
    return Head(outputs, draws=True)


def check(recipe: Recipe, task: Task, batch: Mapping[str, Tensor], outputs: Tensor, loss: Loss) -> None:
    """Refuse recipe sections that cannot handle two networks which learn in turns."""
    tta.refuse_views(recipe.tta)
    per_pixel.refuse_other_stages(recipe, task.kind)
    refused = {
        **{f"stages.list[{number}].head": stage.head is not None for number, stage in enumerate(recipe.stages)},
        "optimizer": exact_heads.applies(recipe) or recipe.optimizer.name in ("lbfgs", "none"),
        "metrics.while_training": recipe.metrics.while_training,
        "tune": not recipe.tune.is_none,
        "peft": not recipe.peft.is_none,
        "slicing": not recipe.slicing.is_none,
    }
    wrong = "is not for a generator and a critic, which learn in turns"
    problems = [problem(key, wrong, fix="leave it out") for key, is_used in refused.items() if is_used]
    devices = recipe.trainer.get("devices", 1)
    if devices not in (1, "auto"):
        problems.append(problem("trainer.devices", wrong, got=devices, fix="use trainer.devices=1"))
    if problems:
        raise ConfigError(problems)


def rows(loss: Loss, outputs: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Return scores and features unchanged, with ones as targets."""
    return outputs, torch.ones(len(outputs), 1, dtype=outputs.dtype, device=outputs.device)


def kept(loss: Loss, outputs: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Return the same rows: a distance is computed over all images together."""
    return rows(loss, outputs, target)


def validated(loss: Loss, rows: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Return the Fréchet distance as the loss, because a lower loss of the critic says nothing about the images."""
    distance = generation_metrics.frechet(rows.cpu().numpy(), targets.cpu().numpy())
    return torch.tensor(distance, dtype=torch.float64), rows
