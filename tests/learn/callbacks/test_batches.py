"""The loss of every batch is kept, and comes back with a saved state."""

from __future__ import annotations

from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from mlpipe.learn.callbacks.batches import Batches

NUMBERS = torch.tensor([[1.0], [2.0], [3.0]])


class Doubling(pl.LightningModule):
    """Its loss is twice the number, and a tenth of that in a step; nothing is learned."""

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Parameter(torch.tensor(2.0))

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        loss = (self.one * batch).mean()
        self.batch_loss = loss.detach()
        return loss / 10

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.SGD(self.parameters(), 0.0)
        return {"optimizer": optimizer}


def test_batches_are_kept_with_the_loss_before_it_is_scaled() -> None:
    kept: list[dict[str, Any]] = []
    callback = Batches(kept, 2)
    quiet: Any = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}
    trainer = pl.Trainer(max_epochs=2, callbacks=[callback], enable_checkpointing=False, **quiet)
    trainer.fit(Doubling(), torch.utils.data.DataLoader(NUMBERS, batch_size=1))  # type: ignore[arg-type]
    assert [(row["epoch"], row["stage"], row["batch"], row["loss"], row["lr"]) for row in kept] == [
        (epoch, 2, batch, 2.0 * (batch + 1), 0.0) for epoch in range(2) for batch in range(3)
    ]
    again: list[dict[str, Any]] = [{"epoch": 9}]
    Batches(again, 2).load_state_dict(callback.state_dict())
    assert again == kept
