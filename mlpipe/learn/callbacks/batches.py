"""The loss of every batch of some stages, kept for the record's `batches.csv`."""

from __future__ import annotations

from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback


class Batches(Callback):
    """Keeps the loss and the rate of every batch as it is learned; they are saved with the state.

    Args:
        batches: Where they are added: `epoch`, `stage`, `batch` (from 0), `loss` (its mean over the batch's images), `lr`.
        stage: The stage's number.
        is_kept: Whether this stage's are added; those of others are saved with the state all the same.
    """

    def __init__(self, batches: list[dict[str, Any]], stage: int, *, is_kept: bool = True) -> None:
        self._kept, self._stage, self._is_kept = batches, stage, is_kept
        self._rate = 0.0

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Note the rate of the batch: when it has ended, the schedule has moved on to the next one's."""
        self._rate = float(trainer.optimizers[0].param_groups[0]["lr"]) * float(getattr(pl_module, "lr_scale", 1.0))

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Add the batch's."""
        if not self._is_kept:
            return
        # Not the output's loss: that is divided by the number of batches in a step.
        loss = float(getattr(pl_module, "batch_loss", outputs["loss"]))
        at = {"epoch": int(trainer.current_epoch), "stage": self._stage, "batch": batch_idx}
        self._kept.append({**at, "loss": loss, "lr": self._rate})

    def state_dict(self) -> dict[str, Any]:
        """All that was kept so far."""
        return {"kept": self._kept}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take it up."""
        self._kept[:] = state_dict["kept"]
