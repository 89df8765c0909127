"""Predictions for some validation images after every epoch, for pictures of the training's progress."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback

from mlpipe.learn.module import FoldModule
from mlpipe.runs import maps

# Enough for a picture, and a tenth of the text size of single precision.
_DIGITS = 4


class Examples(Callback):
    """Collects the outputs for the first validation images after every epoch; they are saved with the state.

    Args:
        examples: The list to extend: `epoch`, `stage`, `rows` of the task, `outputs` of shape (rows, outputs); for masks
            `masks` instead of outputs, class numbers of shape (rows, height, width) encoded by `mlpipe.runs.maps.as_text`.
        stage: The stage's number.
        rows: The validation rows of the stage, in order.
        count: The number of images.
    """

    def __init__(self, examples: list[dict[str, Any]], stage: int, rows: Sequence[int], count: int) -> None:
        self._entries, self._stage, self._rows = examples, stage, [int(row) for row in rows[:count]]
        self._masks: list[Any] = []

    def on_validation_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Drop the masks of the previous epoch."""
        self._masks = []

    def on_validation_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int, *_: Any
    ) -> None:
        """Collect predicted masks, because the module keeps only counts of them."""
        missing_count = len(self._rows) - len(self._masks)
        if _has_masks(pl_module) and missing_count > 0:
            self._masks += list(outputs[:missing_count].argmax(1).cpu().numpy().astype(np.uint8))

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Add the predictions of the epoch."""
        assert isinstance(pl_module, FoldModule)
        entry = {"epoch": int(trainer.current_epoch), "stage": self._stage, "rows": self._rows}
        if _has_masks(pl_module):
            self._entries.append({**entry, "masks": maps.as_text(np.stack(self._masks))})
            return
        outputs = pl_module.val_logits[: len(self._rows)].astype(np.float64).round(_DIGITS)
        self._entries.append({**entry, "outputs": outputs.tolist()})

    def state_dict(self) -> dict[str, Any]:
        """Return the predictions collected so far."""
        return {"kept": self._entries}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the collected predictions."""
        self._entries[:] = state_dict["kept"]


def _has_masks(module: pl.LightningModule) -> bool:
    """Whether the class of every pixel is predicted."""
    return isinstance(module, FoldModule) and module.facts.is_dense and module.facts.has_classes
