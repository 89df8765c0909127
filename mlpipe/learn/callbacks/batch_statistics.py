"""Batch-normalisation statistics computed anew from the training part, for weights that no step has led to."""

from __future__ import annotations

from typing import Any

import pytorch_lightning as pl
import torch
from torch import distributed, nn
from torch.nn.modules.batchnorm import _BatchNorm

from mlpipe.arch import adapt


def renew(trainer: pl.Trainer, module: pl.LightningModule) -> None:
    """Replace the running mean and variance of each layer by the means over the epoch's training batches.

    As `torch.optim.swa_utils.update_bn` (Izmailov et al. 2018, section 3): one pass in training mode, every batch with the
    same weight. What is in evaluation mode because it does not learn keeps its statistics. The batches, their augmentation
    and what dropout draws are the epoch's own, so that a training that goes on from an earlier state computes the same.

    Args:
        trainer: In the validation of an epoch.
        module: A FoldModule with the weights that are to be judged; it is left in the mode that it was in.
    """
    network: nn.Module = getattr(module, "network", module)
    modes = [(part, part.training) for part in network.modules()]
    network.train()
    adapt.keep_frozen_in_eval(network)
    layers = [part for part in network.modules() if isinstance(part, _BatchNorm) and _counts(part)]
    if layers:
        momenta = [layer.momentum for layer in layers]
        for layer in layers:
            layer.reset_running_stats()
            # The mean over batches instead of one that forgets.
            layer.momentum = None
        _pass(trainer, module)
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum = momentum
        _share(trainer, layers)
    for part, was_training in modes:
        part.training = was_training


def _counts(layer: _BatchNorm) -> bool:
    return layer.training and layer.running_mean is not None


def _pass(trainer: pl.Trainer, module: Any) -> None:
    """The epoch's training batches through the network, without gradients; the global draws stay as they were."""
    # Of its own: the training's loader may be asked again while it is still read from.
    loader: Any = trainer.datamodule.train_dataloader()  # type: ignore[attr-defined]
    loader.sampler.set_epoch(trainer.current_epoch)
    devices = [module.device] if module.device.type == "cuda" else []
    with torch.no_grad(), torch.random.fork_rng(devices), trainer.precision_plugin.forward_context():
        for number, batch in enumerate(loader):
            module.pass_through(trainer.strategy.batch_to_device(batch), number)


def _share(trainer: pl.Trainer, layers: list[_BatchNorm]) -> None:
    """The mean over processes that learn the fold together, each of which saw its part of every batch."""
    if trainer.world_size == 1:
        return
    for layer in layers:
        for values in (layer.running_mean, layer.running_var):
            assert values is not None
            distributed.all_reduce(values)
            values /= trainer.world_size
