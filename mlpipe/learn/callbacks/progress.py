"""Training progress: speed, waiting times, and the measurements of each epoch."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback
from torch import Tensor

from mlpipe.learn.machine import device_group


@dataclass(frozen=True)
class Tick:
    """The progress of a training, for display.

    Attributes:
        epoch: Counted from 0.
        epochs: Maximum number of epochs.
        batch: Batches done in this epoch.
        batches: Batches in an epoch.
        loss: The mean training loss of this epoch so far.
        images_per_s: Training images per second in this epoch so far.
        wait: The share of the time spent waiting for data.
        batch_loss: The loss of this batch, on its device.
        norm: The norm of all gradients of the batch, on its device; None if it was not computed.
        exchange: The share of the time spent waiting for other processes' gradients; None if it was not measured.
    """

    epoch: int
    epochs: int
    batch: int
    batches: int
    loss: float
    images_per_s: float
    wait: float
    batch_loss: Tensor | None = field(default=None, compare=False)
    norm: Tensor | None = field(default=None, compare=False)
    exchange: float | None = field(default=None, compare=False)


class Progress(Callback):
    """Measures speed and waiting times, and reports the progress of the training.

    Args:
        report: Called after every batch.
        epochs: Maximum number of epochs of all stages; None: that of the trainer.
        norm: Returns the norm of the last step's gradients, or None.
        exchange: Returns the share of the time spent waiting for other processes' gradients, or None.
        speeds: The list to which the speed of each finished epoch is added.
    """

    def __init__(
        self,
        report: Callable[[Tick], None],
        epochs: int | None = None,
        norm: Callable[[], Tensor | None] = lambda: None,
        exchange: Callable[[], float | None] = lambda: None,
        speeds: list[dict[str, float]] | None = None,
    ) -> None:
        self._report, self._epochs = report, epochs
        self._norm, self._exchange, self._speeds = norm, exchange, speeds
        self.epoch_seconds = self.images_per_s = self.wait = 0.0

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clock."""
        self._started = self._mark = time.perf_counter()
        self._waited, self._seen, self._loss = 0.0, 0, 0.0

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Count the time since the last batch as waiting."""
        self._waited += time.perf_counter() - self._mark

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Report the progress."""
        self._mark = time.perf_counter()
        own = len(batch["target"]) + sum(len(other["target"]) for other in batch.get("co", ()))
        self._seen += own * trainer.world_size
        self.epoch_seconds = self._mark - self._started
        self.images_per_s = self._seen / self.epoch_seconds
        self.wait = self._waited / self.epoch_seconds
        # Not the loss of the output, which is divided by the number of batches in a step.
        loss = device_group.mean(getattr(pl_module, "batch_loss", outputs["loss"]).detach())
        if loss.device.type == "cpu" or batch_idx % 20 == 0:
            self._loss += (float(loss) - self._loss) / (batch_idx + 1)
        batches = int(trainer.num_training_batches)
        epochs = self._epochs or trainer.max_epochs or 0
        at = (trainer.current_epoch, epochs, batch_idx + 1, batches)
        self._report(Tick(*at, self._loss, self.images_per_s, self.wait, loss, self._norm(), self._exchange()))

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Record the epoch's speed."""
        if self._speeds is not None:
            speed = {"train_seconds": self.epoch_seconds, "train_images_per_s": self.images_per_s}
            self._speeds.append({**speed, "data_wait": self.wait})


class EpochReports(Callback):
    """Reports the measurements of every epoch, before the state is saved.

    Args:
        score: Called with the epoch and the monitor's value, if there is one; an exception ends the training.
        row: Called with the epoch, and the validation's loss and metrics by name (empty without a validation).
        history: Called with all epochs so far, before each epoch and at the end.
        monitor: The metric's key.
    """

    def __init__(
        self,
        score: Callable[[int, float], None],
        row: Callable[[int, dict[str, float]], None],
        history: Callable[[Sequence[Mapping[str, float]]], None],
        monitor: str,
    ) -> None:
        self._score, self._row, self._history, self._monitor = score, row, history, monitor

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Report the epoch's score and row."""
        logged = trainer.callback_metrics
        if self._monitor in logged:
            self._score(trainer.current_epoch, float(logged[self._monitor]))
        values = {name[4:]: float(value) for name, value in logged.items() if name.startswith("val/")}
        self._row(trainer.current_epoch, values)

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Report the previous epochs, because the module records its row after the callbacks at the end of an epoch."""
        self._history(cast(Any, pl_module).history)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Report all epochs."""
        self._history(cast(Any, pl_module).history)
