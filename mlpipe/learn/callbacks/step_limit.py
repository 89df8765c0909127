"""End a training after a number of optimizer steps (`trainer.max_steps`), including a last validation."""

from __future__ import annotations

from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback


class StepLimit(Callback):
    """Ends a training after a number of optimizer steps, even within an epoch, which is then validated.

    Lightning's own `max_steps` skips the validation of an epoch that it cuts short.

    Args:
        steps: Maximum number of steps.
    """

    def __init__(self, steps: int) -> None:
        self._steps = steps

    def on_train_batch_end(self, trainer: pl.Trainer, *args: Any, **kwargs: Any) -> None:
        """Stop after the last step; processes that train together take each step together."""
        if trainer.global_step >= self._steps:
            trainer.should_stop = True
