"""End a training after a time limit, or after a number of epochs."""

from __future__ import annotations

import time
from typing import Annotated, Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback

from mlpipe.learn.machine import device_group
from mlpipe.learn.monitoring import Direction


class TimeLimit(Callback):
    """Ends a training when another epoch would take it beyond its time; a resumed one counts what it took before.

    An epoch that was expected to fit and does not, on a machine that has become slower, is cut short and judged as it is.

    Args:
        seconds: The time.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds, self._before, self._epochs = seconds, 0.0, 0
        # Seconds before the first epoch that are no part of its length.
        self._setup = 0.0
        self._started = time.monotonic()

    def on_train_batch_end(self, trainer: pl.Trainer, *args: Any, **kwargs: Any) -> None:
        """Stop within an epoch when the time is over; processes that learn together end with it."""
        if trainer.world_size == 1 and self._elapsed() > self._seconds:
            trainer.should_stop = True

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Stop where the mean epoch so far does not fit any more."""
        self._epochs += 1
        seconds = self._elapsed()
        if device_group.shared_decision(
            trainer, seconds + (seconds - self._setup) / self._epochs > self._seconds
        ) and self._epochs < (trainer.max_epochs or 0):
            trainer.should_stop = True

    def state_dict(self) -> dict[str, Any]:
        """Seconds and epochs so far, which Lightning saves."""
        return {"taken": self._elapsed(), "epochs": self._epochs, "setup": self._setup}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take them up."""
        self._before, self._epochs = state_dict["taken"], state_dict["epochs"]
        self._setup = state_dict.get("setup", 0.0)

    def _elapsed(self) -> float:
        return self._before + time.monotonic() - self._started


class FoldLimit(TimeLimit):
    """The limit of a whole fold with all its stages, beside one that callbacks of the recipe may have.

    What is set up before the first epoch takes time, but is no part of an epoch: epochs that were planned to fit are begun.
    """

    def __init__(self, seconds: float) -> None:
        super().__init__(seconds)
        self._has_begun = False

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Note what was set up so far; a training that is continued is set up a second time."""
        if not self._has_begun:
            self._has_begun = True
            self._setup += time.monotonic() - self._started


class EpochLimit(Callback):
    """Ends a training after an epoch, in the midst of its schedule.

    Args:
        epochs: How many are done, those of the stages before among them.
    """

    def __init__(self, epochs: int) -> None:
        self._epochs = epochs

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Stop when they are done."""
        if trainer.current_epoch + 1 >= self._epochs:
            trainer.should_stop = True


def time_limit(monitor: str, direction: Direction, *, seconds: Annotated[float, "> 0"]) -> Callback:
    """End a fold's training when another epoch would take it beyond so many seconds.

    The schedule of the learning rate is not shortened.

    Args:
        monitor: Not used.
        direction: Not used.
        seconds: Of one fold.
    """
    return TimeLimit(seconds)
