"""A broken loss is named, and a wish to stop heard."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import nn

from mlpipe.errors import Interrupted, TrainingError
from mlpipe.learn.callbacks.guard import Guard
from tests.learn.callbacks.conftest import FakeTrainer


def guarded(should_stop: Callable[[], bool], loss: float, module: nn.Module, batch: int = 0) -> None:
    optimizer = torch.optim.SGD(module.parameters(), lr=0.125)
    trainer = FakeTrainer(optimizers=[optimizer], current_epoch=1, num_training_batches=5)
    outputs = {"loss": torch.tensor(loss)}
    Guard(should_stop, "digits fold 3").on_train_batch_end(trainer, module, outputs, None, batch)  # type: ignore[arg-type]


@pytest.mark.parametrize("loss", [math.nan, math.inf])
def test_the_guard_names_what_broke(loss: float) -> None:
    with pytest.raises(TrainingError) as finite:
        guarded(lambda: False, loss, nn.Linear(2, 2), batch=3)
    text = str(finite.value)
    assert f"digits fold 3: the loss is {loss} in epoch 2, batch 4 (learning rate 0.125)" in text
    assert "the parameters are finite, so the logits or the loss overflowed" in text
    assert "lower optimizer.lr" in text and "optimizer.clip_norm=1" in text
    broken = nn.Linear(2, 2)
    with torch.no_grad():
        broken.bias[0] = math.nan
    with pytest.raises(TrainingError, match="1 parameter is no longer finite, bias first"):
        guarded(lambda: False, loss, broken)


def test_the_guard_stops_when_asked_and_else_lets_pass() -> None:
    guarded(lambda: False, 1.0, nn.Linear(2, 2))
    with pytest.raises(Interrupted):
        guarded(lambda: True, 1.0, nn.Linear(2, 2))
    asked = Guard(lambda: True, "x")
    for hook in (asked.on_validation_batch_end, asked.on_predict_batch_end):
        with pytest.raises(Interrupted):
            hook(None, None, None, None, 0)
    with pytest.raises(TrainingError):
        guarded(lambda: True, math.nan, nn.Linear(2, 2))
