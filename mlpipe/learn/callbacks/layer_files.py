"""Weights of a Keras network every few epochs, as a torch file with the names of the network's layers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback

from mlpipe import current_folder, files
from mlpipe.arch import adapt
from mlpipe.arch.keras.keras_json import KerasNetwork
from mlpipe.learn.monitoring import Direction


class LayerFiles(Callback):
    """Writes `model_checkpoint_10.pt` and so on, which `arch.weights` and `torch.load(..., weights_only=True)` read.

    Args:
        folder: The output folder, created if missing.
        interval: Epochs between two files.
    """

    def __init__(self, folder: Path, interval: int) -> None:
        self._folder, self._interval = folder, interval

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write the weights."""
        epoch = trainer.current_epoch + 1
        if epoch % self._interval or not trainer.is_global_zero:
            return
        network = pl_module.network
        assert isinstance(network, torch.nn.Module)
        state = network.by_layer() if isinstance(network, KerasNetwork) else adapt.merged_state(network)
        self._folder.mkdir(parents=True, exist_ok=True)
        with files.durable(self._folder / f"model_checkpoint_{epoch}.pt") as temporary:
            torch.save({name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}, temporary)


def every(
    monitor: str, direction: Direction, *, folder: str = "checkpoints", interval: Annotated[int, ">= 1"] = 1
) -> Callback:
    """Write the weights every few epochs, named by layers; runs resume from saved states of their own.

    Args:
        monitor: Not used.
        direction: Not used.
        folder: The output folder, created if missing.
        interval: Epochs between two files.
    """
    return LayerFiles(current_folder.expanded(folder).absolute(), interval)
