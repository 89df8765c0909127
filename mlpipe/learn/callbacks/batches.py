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
    """

    def __init__(self, batches: list[dict[str, Any]], stage: int) -> None:
        self._kept, self._stage = batches, stage

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Add the batch's."""
        # Not the output's loss: that is divided by the number of batches in a step.
        loss = float(getattr(pl_module, "batch_loss", outputs["loss"]))
        rate = float(trainer.optimizers[0].param_groups[0]["lr"])
        at = {"epoch": int(trainer.current_epoch), "stage": self._stage, "batch": batch_idx}
        self._kept.append({**at, "loss": loss, "lr": rate})

    def state_dict(self) -> dict[str, Any]:
        """All that was kept so far."""
        return {"kept": self._kept}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take it up."""
        self._kept[:] = state_dict["kept"]
