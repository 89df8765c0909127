"""Predictions of some validation images after every epoch, for pictures of how a training learns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback

from mlpipe.learn.module import FoldModule
from mlpipe.runs import maps

# Enough for a picture, and a tenth of what single precision would take as text.
_DIGITS = 4


class Examples(Callback):
    """Keeps the outputs of the first validation images after every epoch; they are saved with the state.

    Args:
        examples: Where they are added: `epoch`, `stage`, `rows` of the task, `outputs` of shape (rows, outputs); for masks
            `masks` in place of these, class numbers of shape (rows, height, width) as `mlpipe.runs.maps.as_text` has them.
        stage: The stage's number.
        rows: The validation rows of the stage, in their order.
        count: How many of them.
    """

    def __init__(self, examples: list[dict[str, Any]], stage: int, rows: Sequence[int], count: int) -> None:
        self._entries, self._stage, self._rows = examples, stage, [int(row) for row in rows[:count]]
        self._masks: list[Any] = []

    def on_validation_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Forget the masks of the epoch before."""
        self._masks = []

    def on_validation_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int, *_: Any
    ) -> None:
        """Keep predicted masks, of which the module itself keeps counts only."""
        missing_count = len(self._rows) - len(self._masks)
        if _has_masks(pl_module) and missing_count > 0:
            self._masks += list(outputs[:missing_count].argmax(1).cpu().numpy().astype(np.uint8))

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Add the epoch's."""
        assert isinstance(pl_module, FoldModule)
        entry = {"epoch": int(trainer.current_epoch), "stage": self._stage, "rows": self._rows}
        if _has_masks(pl_module):
            self._entries.append({**entry, "masks": maps.as_text(np.stack(self._masks))})
            return
        outputs = pl_module.val_logits[: len(self._rows)].astype(np.float64).round(_DIGITS)
        self._entries.append({**entry, "outputs": outputs.tolist()})

    def state_dict(self) -> dict[str, Any]:
        """All that was kept so far."""
        return {"kept": self._entries}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take it up."""
        self._entries[:] = state_dict["kept"]


def _has_masks(module: pl.LightningModule) -> bool:
    """Whether the class of every pixel is predicted."""
    return isinstance(module, FoldModule) and module.facts.is_dense and module.facts.has_classes
