"""The loss of every batch of some stages, for the record's `batches.csv`."""

from __future__ import annotations

from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback


class Batches(Callback):
    """Collects the loss and the learning rate of every batch; they are saved with the state.

    Args:
        batches: The list to extend: `epoch`, `stage`, `batch` (from 0), `loss` (its mean over the batch's images), `lr`.
        stage: The stage's number.
        is_kept: Whether batches of this stage are added; those of other stages are saved with the state in any case.
    """

    def __init__(self, batches: list[dict[str, Any]], stage: int, *, is_kept: bool = True) -> None:
        self._kept, self._stage, self._is_kept = batches, stage, is_kept
        self._rate = 0.0

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Note the learning rate of the batch, because the schedule has advanced when the batch has ended."""
        self._rate = float(trainer.optimizers[0].param_groups[0]["lr"]) * float(getattr(pl_module, "lr_scale", 1.0))

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Add the batch's loss and learning rate."""
        if not self._is_kept:
            return
        # Not the loss of the output, which is divided by the number of batches in a step.
        loss = float(getattr(pl_module, "batch_loss", outputs["loss"]))
        at = {"epoch": int(trainer.current_epoch), "stage": self._stage, "batch": batch_idx}
        self._kept.append({**at, "loss": loss, "lr": self._rate})

    def state_dict(self) -> dict[str, Any]:
        """Return the batches collected so far."""
        return {"kept": self._kept}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the collected batches."""
        self._kept[:] = state_dict["kept"]
