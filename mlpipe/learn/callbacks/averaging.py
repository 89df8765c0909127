"""Averaged weights: a running mean of the trained weights is validated and stored instead of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated, Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.trainer.states import TrainerFn
from torch import Tensor, distributed, nn
from torch.nn.modules.batchnorm import _BatchNorm

from mlpipe.arch import adapt
from mlpipe.learn.monitoring import Direction


def ema(
    monitor: str,
    direction: Direction,
    *,
    decay: Annotated[float, "> 0", "< 1"] = 0.999,
    start: Annotated[float, ">= 0", "< 1"] = 0.0,
) -> Averaging:
    """An exponential moving average of the weights (Polyak & Juditsky 1992), which is validated and stored.

    Args:
        monitor: Not used.
        direction: Not used.
        decay: Share of the average that is kept at every optimizer step; smaller in the first steps.
        start: Share of the epochs before averaging begins.
    """
    return Averaging(decay, start)


def swa(monitor: str, direction: Direction, *, start: Annotated[float, ">= 0", "< 1"] = 0.75) -> Averaging:
    """Stochastic weight averaging (Izmailov et al. 2018): the mean of the weights at the end of the last epochs.

    Batch statistics are recomputed before each of these validations, by a pass over the epoch's training batches. The
    schedule stays that of the recipe; the paper uses a constant or a cyclic rate in the last epochs.

    Args:
        monitor: Not used.
        direction: Not used.
        start: Share of the epochs before averaging begins.
    """
    return Averaging(None, start)


class Averaging(Callback):
    """Keeps an average of all weights and batch statistics, and uses it from the validation until the next epoch.

    Without a validation the average is put in place at the end of the epoch.

    The state saved at the end of an epoch holds both sets of weights, so that a resumed training continues exactly.

    The averaged batch statistics do not fit the mean of weights that lie far apart. For a plain mean the statistics are
    therefore recomputed from the epoch's training batches (`renew_statistics`); an exponential average stays near the trained
    weights, and its statistics are averaged as they are.

    Args:
        decay: Share of the average that is kept at every optimizer step; None: the plain mean of the weights at the end of
            epochs.
        start: Share of the epochs before averaging begins.
    """

    def __init__(self, decay: float | None, start: float) -> None:
        self._decay, self._start = decay, start
        self._average: dict[str, Tensor] = {}
        self._raw: dict[str, Tensor] = {}
        self._count = 0
        self._step = -1
        self._first: int | None = None

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Note the first epoch of the stage, because epochs are counted over all stages but the share is of one stage."""
        if self._first is None:
            self._first = trainer.current_epoch
        if self._step < 0:
            self._step = trainer.global_step

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Restore the trained weights."""
        _copy_weights(pl_module, self._raw)
        self._raw = {}

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Update the exponential average after an optimizer step."""
        # A step may consist of several batches, of which only the last one changes weights.
        has_moved = trainer.global_step != self._step
        self._step = trainer.global_step
        if self._decay is None or not has_moved or not self._has_begun(trainer):
            return
        self._count += 1
        # At first the average follows quickly, as in TensorFlow's ExponentialMovingAverage with num_updates.
        self._mix(pl_module, 1 - min(self._decay, self._count / (self._count + 9)))

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Put the average in place for the validation."""
        if trainer.state.fn == TrainerFn.FITTING:
            self._swap_in_average(trainer, pl_module)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Put the average in place if there was no validation."""
        if not self._raw:
            self._swap_in_average(trainer, pl_module)

    def _swap_in_average(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if not self._has_begun(trainer):
            return
        if self._decay is None:
            self._count += 1
            self._mix(pl_module, 1 / self._count)
        if self._average:
            self._raw = {name: tensor.detach().clone() for name, tensor in pl_module.state_dict().items()}
            _copy_weights(pl_module, self._average)
            if self._decay is None:
                renew_statistics(trainer, pl_module)

    def state_dict(self) -> dict[str, Any]:
        """Return the average, and the trained weights while the average is in place."""
        return {
            "average": self._average,
            "raw": self._raw,
            "count": self._count,
            "step": self._step,
            "first": self._first,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the average and the trained weights."""
        self._average, self._raw = state_dict["average"], state_dict["raw"]
        self._count, self._step = state_dict["count"], state_dict["step"]
        self._first = state_dict.get("first")

    def _has_begun(self, trainer: pl.Trainer) -> bool:
        first = self._first or 0
        return trainer.current_epoch - first >= int(self._start * ((trainer.max_epochs or 0) - first))

    def _mix(self, module: pl.LightningModule, share: float) -> None:
        """Move the average by a share towards the module's weights; integer tensors are copied."""
        for name, tensor in module.state_dict().items():
            if name not in self._average or not tensor.is_floating_point():
                self._average[name] = tensor.detach().clone()
            else:
                average = self._average[name] = self._average[name].to(tensor.device)
                average.lerp_(tensor.detach(), share)


def _copy_weights(module: pl.LightningModule, weights: dict[str, Tensor]) -> None:
    own = module.state_dict()
    for name, tensor in weights.items():
        own[name].copy_(tensor)


def renew_statistics(trainer: pl.Trainer, module: pl.LightningModule) -> None:
    """Recompute batch statistics, for weights that were not reached by training steps.

    The running mean and variance of each layer become the means over the epoch's training batches, as in
    `torch.optim.swa_utils.update_bn` (Izmailov et al. 2018, section 3): one pass in training mode, every batch with the
    same weight. Frozen layers, which are in evaluation mode, keep their statistics. The batches, their augmentation and the
    dropout masks are those of the epoch, so that a training resumed from an earlier state computes the same.

    Args:
        trainer: During the validation of an epoch.
        module: A FoldModule with the weights to be validated; its training mode does not change.
    """
    network: nn.Module = getattr(module, "network", module)
    modes = [(part, part.training) for part in network.modules()]
    network.train()
    adapt.keep_frozen_in_eval(network)
    layers = [part for part in network.modules() if isinstance(part, _BatchNorm) and _keeps_statistics(part)]
    if layers:
        with from_batches(layers):
            _pass_batches(trainer, module)
        _average_over_processes(trainer, layers)
    for part, was_training in modes:
        part.training = was_training


@contextmanager
def from_batches(layers: Sequence[_BatchNorm]) -> Iterator[None]:
    """Set the running statistics of layers to the means over the batches processed in the meantime.

    Args:
        layers: Layers in training mode.
    """
    momenta = [layer.momentum for layer in layers]
    for layer in layers:
        layer.reset_running_stats()
        # None means a plain mean over batches instead of an exponential one.
        layer.momentum = None
    try:
        yield
    finally:
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum = momentum


def _keeps_statistics(layer: _BatchNorm) -> bool:
    return layer.training and layer.running_mean is not None


def _pass_batches(trainer: pl.Trainer, module: Any) -> None:
    """Pass the epoch's training batches through the network, without gradients or changes to the global random state."""
    # A loader of its own, because the one of the training may still be in use.
    loader: Any = trainer.datamodule.train_dataloader()  # type: ignore[attr-defined]
    loader.sampler.set_epoch(trainer.current_epoch)
    devices = [module.device] if module.device.type == "cuda" else []
    with torch.no_grad(), torch.random.fork_rng(devices), trainer.precision_plugin.forward_context():
        for number, batch in enumerate(loader):
            module.pass_through(trainer.strategy.batch_to_device(batch), number)


def _average_over_processes(trainer: pl.Trainer, layers: list[_BatchNorm]) -> None:
    """Average over the processes that train the fold together, each of which saw its part of every batch."""
    if trainer.world_size == 1:
        return
    for layer in layers:
        for values in (layer.running_mean, layer.running_var):
            assert values is not None
            distributed.all_reduce(values)
            values /= trainer.world_size
