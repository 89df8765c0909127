"""Averaged weights: a running mean of the weights that the optimizer moves is validated and stored in their place."""

from __future__ import annotations

from typing import Annotated, Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.trainer.states import TrainerFn
from torch import Tensor

from mlpipe.learn.callbacks import batch_statistics
from mlpipe.learn.directions import Direction


def ema(
    monitor: str,
    direction: Direction,
    *,
    decay: Annotated[float, "> 0", "< 1"] = 0.999,
    start: Annotated[float, ">= 0", "< 1"] = 0.0,
) -> Averaging:
    """An exponential moving average of the weights (Polyak & Juditsky 1992), which is what is validated and stored.

    Args:
        monitor: Not used.
        direction: Not used.
        decay: Share of the average that is kept at every step of the optimizer; smaller in the first steps.
        start: Share of the epochs before the averaging begins.
    """
    return Averaging(decay, start)


def swa(monitor: str, direction: Direction, *, start: Annotated[float, ">= 0", "< 1"] = 0.75) -> Averaging:
    """Stochastic weight averaging (Izmailov et al. 2018): the mean of the weights at the end of the last epochs.

    Batch statistics are computed anew before each of these validations, by a pass over the epoch's training batches. The
    schedule stays the recipe's: a constant or a cyclic rate in the last epochs is what the paper uses.

    Args:
        monitor: Not used.
        direction: Not used.
        start: Share of the epochs before the averaging begins.
    """
    return Averaging(None, start)


class Averaging(Callback):
    """Keeps an average of all weights and batch statistics, and puts it in place from validation to the next epoch.

    The state that is saved at the end of an epoch holds both, so that a resumed training goes on exactly.

    The mean of weights that lie far apart is a network that none of the averaged batch statistics belong to. With it the
    statistics are computed anew from the epoch's training batches (`mlpipe.learn.callbacks.batch_statistics`); an exponential
    average stays near the weights that move, and its statistics are averaged as they are.

    Args:
        decay: Share of the average that is kept at every step of the optimizer; None: the plain mean of the weights
            at the end of epochs.
        start: Share of the epochs before the averaging begins.
    """

    def __init__(self, decay: float | None, start: float) -> None:
        self._decay, self._start = decay, start
        self._average: dict[str, Tensor] = {}
        self._raw: dict[str, Tensor] = {}
        self._count = 0
        self._step = -1

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Take the optimizer's own weights back."""
        _put(pl_module, self._raw)
        self._raw = {}

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Move the exponential average after a step of the optimizer."""
        if self._decay is None or not self._has_begun(trainer) or trainer.global_step == self._step:
            return
        self._step = trainer.global_step
        self._count += 1
        # Early on the average follows quickly, as in TensorFlow's ExponentialMovingAverage with num_updates.
        self._mix(pl_module, 1 - min(self._decay, self._count / (self._count + 9)))

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Put the average in place."""
        if trainer.state.fn != TrainerFn.FITTING or not self._has_begun(trainer):
            return
        if self._decay is None:
            self._count += 1
            self._mix(pl_module, 1 / self._count)
        if self._average:
            self._raw = {name: tensor.detach().clone() for name, tensor in pl_module.state_dict().items()}
            _put(pl_module, self._average)
            if self._decay is None:
                batch_statistics.renew(trainer, pl_module)

    def state_dict(self) -> dict[str, Any]:
        """The average, and the optimizer's weights while the average is in place."""
        return {"average": self._average, "raw": self._raw, "count": self._count, "step": self._step}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take both up."""
        self._average, self._raw = state_dict["average"], state_dict["raw"]
        self._count, self._step = state_dict["count"], state_dict["step"]

    def _has_begun(self, trainer: pl.Trainer) -> bool:
        return trainer.current_epoch >= int(self._start * (trainer.max_epochs or 0))

    def _mix(self, module: pl.LightningModule, share: float) -> None:
        """Move the average by a share towards the module's weights; whole numbers are taken as they are."""
        for name, tensor in module.state_dict().items():
            if name not in self._average or not tensor.is_floating_point():
                self._average[name] = tensor.detach().clone()
            else:
                kept = self._average[name] = self._average[name].to(tensor.device)
                kept.lerp_(tensor.detach(), share)


def _put(module: pl.LightningModule, weights: dict[str, Tensor]) -> None:
    own = module.state_dict()
    for name, tensor in weights.items():
        own[name].copy_(tensor)
