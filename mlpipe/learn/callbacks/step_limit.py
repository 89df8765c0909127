"""End a training after a number of steps of the optimizer (`trainer.max_steps`), its last validation included."""

from __future__ import annotations

from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback


class StepLimit(Callback):
    """Ends a training after so many steps of the optimizer, within an epoch too, which is validated and judged as it is.

    Lightning's own `max_steps` leaves out the validation of an epoch that it cuts short.

    Args:
        steps: The most steps.
    """

    def __init__(self, steps: int) -> None:
        self._steps = steps

    def on_train_batch_end(self, trainer: pl.Trainer, *args: Any, **kwargs: Any) -> None:
        """Stop after the last step; processes that learn together take each step together."""
        if trainer.global_step >= self._steps:
            trainer.should_stop = True
