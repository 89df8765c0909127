"""The time that a process waits for the gradients of the others."""

from __future__ import annotations

import time
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback
from torch import Tensor
from torch.utils.hooks import RemovableHandle


class Exchange(Callback):
    """Measures the time from the last gradient of a step until all gradients are averaged over the processes.

    Gradients that are exchanged while others are still computed cost no time and are not counted. On a GPU the program does
    not wait for gradients, so that nothing can be measured this way.
    """

    def __init__(self) -> None:
        self._hooks: list[RemovableHandle] = []
        self._last_time = self._spent = 0.0
        self._started = 0.0

    def share(self) -> float | None:
        """Return the share of this epoch's time so far; None if it is not measured."""
        return self._spent / (time.perf_counter() - self._started) if self._hooks else None

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Register a hook for every gradient."""
        if trainer.world_size == 1 or pl_module.device.type != "cpu":
            return
        learned = [parameter for parameter in pl_module.parameters() if parameter.requires_grad]
        register: Any = Tensor.register_post_accumulate_grad_hook
        self._hooks = [register(parameter, self._note_gradient) for parameter in learned]

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clock."""
        self._started, self._spent = time.perf_counter(), 0.0

    def on_after_backward(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Add the time since the last gradient."""
        if self._hooks:
            self._spent += time.perf_counter() - self._last_time

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Remove the hooks."""
        for hook in self._hooks:
            hook.remove()
        self._hooks = []

    def _note_gradient(self, gradient: Any) -> None:
        self._last_time = time.perf_counter()
