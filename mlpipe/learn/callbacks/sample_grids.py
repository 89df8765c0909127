"""Grids of images drawn from the same noise after every epoch, to view the progress of a generator."""

from __future__ import annotations

from pathlib import Path

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback

from mlpipe.arch.gan import DRAWN_AT_ONCE, Gan, seeds_of
from mlpipe.learn.module import FoldModule
from mlpipe.runs import grids


class SampleGrids(Callback):
    """Writes a grid of drawn images after every epoch, with the weights that are validated.

    Args:
        folder: The model's folder.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Draw images and write the grid."""
        assert isinstance(pl_module, FoldModule) and isinstance(pl_module.network, Gan)
        if trainer.is_global_zero:
            with torch.random.fork_rng([pl_module.device] if pl_module.device.type == "cuda" else []):
                drawn = pl_module.network.draw(seeds_of(0, DRAWN_AT_ONCE).to(pl_module.device))
            pixels = grids.as_bytes(drawn.cpu().numpy(), pl_module.network.peak)
            grids.write(pixels, grids.file_of(self._folder, trainer.current_epoch + 1))
