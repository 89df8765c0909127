"""Speed and waiting are measured."""

from __future__ import annotations

import time
from typing import Any

import pytest
import torch

from mlpipe.learn.callbacks.progress import Progress, Tick
from tests.learn.callbacks.conftest import FakeTrainer


def test_progress_measures_speed_and_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr(time, "perf_counter", lambda: clock[0])
    ticks: list[Tick] = []
    progress, trainer = Progress(ticks.append), FakeTrainer(current_epoch=1, max_epochs=3, num_training_batches=2)
    given: Any = (trainer, None)
    progress.on_train_epoch_start(*given)
    for batch, (wait, work, images, loss) in enumerate([(1.0, 3.0, 16, 2.0), (2.0, 2.0, 8, 1.0)]):
        clock[0] += wait
        progress.on_train_batch_start(*given, {}, batch)
        clock[0] += work
        outputs, rows = {"loss": torch.tensor(loss)}, {"target": torch.zeros(images)}
        progress.on_train_batch_end(*given, outputs, rows, batch)
    assert ticks == [Tick(1, 3, 1, 2, 2.0, 4.0, 0.25), Tick(1, 3, 2, 2, 1.5, 3.0, 0.375)]
    assert (progress.epoch_seconds, progress.images_per_s, progress.wait) == (8.0, 3.0, 0.375)
