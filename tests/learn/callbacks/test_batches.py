"""The loss of every batch is kept, and comes back with a saved state."""

from __future__ import annotations

from typing import Any

import pytest
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


class Falling(Doubling):
    """Its rate is 0.5 in the first step, and half of that in each one that follows; a NaN loss made it a tenth."""

    lr_scale = 0.1

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.SGD(self.parameters(), 0.5)
        schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def fitted(callback: Batches, module: Doubling) -> None:
    quiet: Any = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}
    trainer = pl.Trainer(max_epochs=2, callbacks=[callback], enable_checkpointing=False, **quiet)
    trainer.fit(module, torch.utils.data.DataLoader(NUMBERS, batch_size=1))  # type: ignore[arg-type]


def test_the_rate_is_the_one_that_the_batch_was_learned_with() -> None:
    """It was that of the batch after it: Lightning moves schedules on before it tells that a batch has ended."""
    kept: list[dict[str, Any]] = []
    fitted(Batches(kept, 0), Falling())
    assert [row["lr"] for row in kept] == pytest.approx([0.05 * 0.5**step for step in range(6)])


def test_a_stage_that_keeps_none_saves_those_of_another() -> None:
    kept: list[dict[str, Any]] = [{"epoch": 0, "stage": 0}]
    other = Batches(kept, 1, is_kept=False)
    fitted(other, Doubling())
    assert kept == [{"epoch": 0, "stage": 0}] and other.state_dict() == {"kept": kept}
