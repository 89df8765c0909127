"""Learn to solve an equation: each sample's own loss is kept in place of errors, and its solution for the project."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from mlpipe.config.schema import Recipe
from mlpipe.errors import ConfigError, DataError, problem
from mlpipe.learn.losses.burgers import misfit
from mlpipe.learn.losses.equations import Equation
from mlpipe.learn.losses.pde import PoissonEnergy
from mlpipe.learn.segmentation import MapsModule, PixelBatch


class SolutionsModule(MapsModule):
    """Learns one fold with an equation as loss; of a sample it keeps its loss, see `mlpipe.post.measures.solution_metrics`."""

    def validation_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:  # type: ignore[override]
        """Keep the loss of each sample. Callbacks get the solutions."""
        values = self._outputs(self._laid_out(batch["images"]))
        lost, known = scored(self.loss, values, batch["target"])
        self._kept(lost, known, lost.sum() / known.nansum().clamp(min=1))
        return values

    def predict_step(self, batch: dict[str, Tensor], batch_idx: int) -> PixelBatch:  # type: ignore[override]
        """Losses and solutions of a batch."""
        values, target = super().predict_step(batch, batch_idx), batch["target"]
        solutions = values.cpu().numpy().astype(np.float32)
        if target.ndim != values.ndim:
            nothing = np.full((len(values), 1), np.nan, np.float32)
            return PixelBatch(np.zeros_like(nothing), nothing, solutions, None)
        lost, known = (part.cpu().numpy().astype(np.float32) for part in scored(self.loss, values, target))
        return PixelBatch(lost, known, solutions, target.cpu().numpy().astype(np.float32))


def scored(loss: nn.Module, values: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """What an equation says of each sample, on the device that they lie on.

    Args:
        loss: The equation.
        values: Solutions, shape (n, 1, *spatial).
        target: What they are solutions for, as the equation takes it; NaN in samples without it.

    Returns:
        The loss of each sample, shape (n, 1), and 1 for it, NaN without a target, of the same shape; both float64.
    """
    assert isinstance(loss, Equation)
    known = ~target.flatten(1).isnan().all(1)
    each = torch.zeros(len(values), dtype=torch.float64, device=values.device)
    each[known] = loss.of_samples(values[known], target[known]).double()
    ones = torch.ones_like(each)
    ones[~known] = torch.nan
    return each[:, None], ones[:, None]


def check(recipe: Recipe, target: Tensor, outputs: Tensor, loss: nn.Module) -> None:
    """Refuse what is no solution, and views of samples whose solutions are others.

    Args:
        recipe: How to learn.
        target: Targets of a batch.
        outputs: What the network gives for it.
        loss: The equation.

    Raises:
        DataError: When samples are not what the equation is solved for.
        ConfigError: When outputs are no solutions, or samples are predicted from several views.
    """
    if isinstance(loss, PoissonEnergy):
        _check_diffusivity(target, outputs)
    else:
        _check_initial_values(target, outputs)
    refuse_views(recipe)


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


def refuse_views(recipe: Recipe) -> None:
    """Refuse to predict samples from several views.

    Args:
        recipe: How to learn.

    Raises:
        ConfigError: When there are some.
    """
    if recipe.tta.target.rpartition(".")[2] not in ("none", "stored"):
        wrong = "a view of a sample has another solution"
        raise ConfigError(problem("tta", wrong, got=recipe.tta.target.rpartition(".")[2], fix="use tta=none"))
