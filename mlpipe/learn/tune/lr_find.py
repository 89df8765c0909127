"""A learning-rate range test: train some steps with an increasing rate, and suggest a rate from the course of the loss."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
import pytorch_lightning as pl
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from mlpipe.errors import ConfigError, TrainingError, counted, problem
from mlpipe.learn.build import fold
from mlpipe.learn.build.optimizer import build_optimizer, with_rate
from mlpipe.learn.job import FoldJob, Watch
from mlpipe.learn.machine.quiet import quiet
from mlpipe.learn.tune.short_runs import Asking, Tuned, short_trainer


def lr_find(
    *,
    start: Annotated[float, "> 0"] = 1e-7,
    end: Annotated[float, "> 0"] = 10.0,
    steps: Annotated[int, ">= 3"] = 100,
    smoothing: Annotated[float, ">= 0", "< 1"] = 0.98,
    stop_factor: Annotated[float, "> 1"] = 4.0,
    suggest: Suggest = "valley",
) -> RangeTest:
    """Find the learning rate by a range test (Smith 2017, "Cyclical learning rates"), smoothed and stopped as in fastai.

    Args:
        start: The first rate.
        end: The last rate; larger than the first.
        steps: Number of optimizer steps.
        smoothing: Share of the running mean of the loss that is kept at each step.
        stop_factor: The test ends when the smoothed loss exceeds this multiple of its minimum.
        suggest: `steepest`, where the smoothed loss falls fastest over the logarithm of the rate, or `valley`, in the middle
            of its longest fall.

    Raises:
        ConfigError: When `end` is not larger than `start`.
    """
    if end <= start:
        raise ConfigError(problem("tune.end", f"must be larger than tune.start={start:g}", got=end))
    return RangeTest(start, end, steps, smoothing, stop_factor, suggest)


Suggest = Literal["steepest", "valley"]


# As in fastai, the first tenth of the test and its last steps, in which the loss explodes, are not used; in a test shorter
# than fastai's the last steps are at most a quarter of all.
_SKIPPED_SHARE, _SKIPPED_LAST, _LAST_SHARE = 10, 5, 4


@dataclass(frozen=True)
class RangeTest:
    """A learning-rate range test.

    Attributes:
        start: The first rate.
        end: The last rate.
        steps: Number of optimizer steps.
        smoothing: Share of the running mean of the loss that is kept at each step.
        stop_factor: The test ends when the smoothed loss exceeds this multiple of its minimum.
        suggest: The suggestion to use.
    """

    start: float
    end: float
    steps: int
    smoothing: float
    stop_factor: float
    suggest: Suggest

    def find(self, job: FoldJob, watch: Watch) -> Tuned:
        """Train some steps on a fold with a rate that rises by a constant factor per step, and suggest a rate.

        Raises:
            ConfigError: When the optimizer has no `lr`.
            TrainingError: When the loss never falls, or explodes at once.
            Interrupted: When a stop was requested.
        """
        if "lr" not in job.recipe.optimizer.params:
            raise ConfigError(problem("tune=lr_find", "the optimizer has no lr to find", fix="use tune=none"))
        started = with_rate(job.recipe, self.start)
        factor = (self.end / self.start) ** (1 / (self.steps - 1))

        def ramped(network: nn.Module) -> tuple[Optimizer, dict[str, Any]]:
            optimizer = build_optimizer(started, network)
            schedule = LambdaLR(optimizer, lambda step: factor**step)
            return optimizer, {"scheduler": schedule, "interval": "step"}

        module, data, numerics = fold.first_stage(job, watch, ramped)
        ramp = _Ramp(self, watch)
        with quiet():
            short_trainer(
                job.recipe, numerics, self.steps, ramp, job.recipe.trainer.get("accumulate_grad_batches")
            ).fit(module, datamodule=data)
        smooth = smoothed(ramp.losses, self.smoothing)
        rates = suggestions(ramp.rates, smooth, self.steps)
        table = [
            {"step": step, "lr": rate, "loss": loss, "smoothed": mean}
            for step, (rate, loss, mean) in enumerate(zip(ramp.rates, ramp.losses, smooth, strict=True))
        ]
        lr = rates[self.suggest]
        facts = {"task": job.view.task, "fold": job.view.fold, **rates, **asdict(self), "ended_after": len(table)}
        return Tuned("lr_find", {"lr_found": lr}, facts, table)


def smoothed(losses: Sequence[float], share: float) -> list[float]:
    """Return the running mean of losses, corrected for its start at zero (Kingma & Ba 2015, section 3).

    Args:
        losses: A loss for each step.
        share: Share of the mean that is kept at each step.
    """
    mean, means = 0.0, []
    for step, loss in enumerate(losses, start=1):
        mean = share * mean + (1 - share) * loss
        means.append(mean / (1 - share**step))
    return means


def suggestions(rates: Sequence[float], losses: Sequence[float], steps: int) -> dict[str, float]:
    """Return the rate where the loss falls fastest over the logarithm of the rate, and that in the middle of its longest fall.

    The first tenth of the steps and the last five are left out, as in fastai; with fewer than 20 steps the last quarter.

    Args:
        rates: Increasing rates.
        losses: The smoothed loss at each rate.
        steps: Number of steps of the whole test.

    Returns:
        `steepest` and `valley`.

    Raises:
        TrainingError: When the loss never falls, or there are too few steps.
    """
    window = slice(steps // _SKIPPED_SHARE, len(losses) - min(_SKIPPED_LAST, steps // _LAST_SHARE))
    x, y = np.log(np.asarray(rates[window])), np.asarray(losses[window])
    fix = "set optimizer.lr yourself, or move tune.start and tune.end"
    if len(x) < 3:
        raise TrainingError(problem("tune=lr_find", f"the loss exploded after {counted(len(losses), 'step')}", fix=fix))
    slopes = np.diff(y) / np.diff(x)
    if not slopes.min() < 0:
        wrong = f"the loss does not fall between {rates[0]:.3g} and {rates[-1]:.3g}"
        raise TrainingError(problem("tune=lr_find", wrong, fix=fix))
    return {"steepest": float(np.exp(x[slopes.argmin()])), "valley": float(np.exp(x[_valley(y)]))}


def _valley(losses: npt.NDArray[np.float64]) -> int:
    """Return the index in the middle of the longest falling subsequence, half a third after its first third, as in fastai."""
    longest = [1] * len(losses)
    for place in range(1, len(losses)):
        longer = [longest[before] + 1 for before in range(place) if losses[place] < losses[before]]
        longest[place] = max(longer, default=1)
    end = int(np.argmax(longest))
    start, third = max(end - longest[end], 0), longest[end] / 3
    return start + int(third) + int(third / 2)


class _Ramp(Asking):
    """Records the rate and loss of every step, and stops when the loss explodes."""

    def __init__(self, test: RangeTest, watch: Watch) -> None:
        super().__init__(watch)
        self._test = test
        self.rates: list[float] = []
        self.losses: list[float] = []
        self._parts: list[float] = []
        self._rate = 0.0

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        self._rate = float(trainer.optimizers[0].param_groups[0]["lr"])

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)
        # Lightning returns the loss of a part already divided by the number of parts.
        self._parts.append(float(outputs["loss"]))
        if trainer.global_step == len(self.losses):
            return
        loss, self._parts = sum(self._parts), []
        if not math.isfinite(loss):
            trainer.should_stop = True
            return
        self.rates.append(self._rate)
        self.losses.append(loss)
        smooth = smoothed(self.losses, self._test.smoothing)
        if 0 < min(smooth) * self._test.stop_factor < smooth[-1]:
            trainer.should_stop = True
