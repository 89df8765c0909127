"""End a training after a time limit, or after a number of epochs."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Annotated, Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback

from mlpipe.learn.machine import device_group
from mlpipe.learn.monitoring import Direction


class TimeLimit(Callback):
    """Ends a training when another epoch would exceed its time; a resumed training counts the time taken before.

    An epoch that was expected to fit but does not, because the machine has become slower, is cut short and then validated.

    Args:
        seconds: The time limit.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds, self._before, self._epochs = seconds, 0.0, 0
        # Seconds before the first epoch, which do not count as part of an epoch.
        self._setup = 0.0
        self._started = time.monotonic()

    def on_train_batch_end(self, trainer: pl.Trainer, *args: Any, **kwargs: Any) -> None:
        """Stop within an epoch when the time is over; processes that train together finish the epoch."""
        if trainer.world_size == 1 and self._elapsed() > self._seconds:
            trainer.should_stop = True

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Stop if another epoch of mean length would not fit."""
        self.count_epoch()
        seconds = self._elapsed()
        if device_group.shared_decision(
            trainer, seconds + (seconds - self._setup) / self._epochs > self._seconds
        ) and self._epochs < (trainer.max_epochs or 0):
            trainer.should_stop = True

    def count_epoch(self) -> None:
        """Count an epoch, by which the mean length is computed."""
        self._epochs += 1

    def state_dict(self) -> dict[str, Any]:
        """Return the seconds and epochs so far, which Lightning saves."""
        return {"taken": self._elapsed(), "epochs": self._epochs, "setup": self._setup}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the seconds and epochs."""
        self._before, self._epochs = state_dict["taken"], state_dict["epochs"]
        self._setup = state_dict.get("setup", 0.0)

    def _elapsed(self) -> float:
        return self._before + time.monotonic() - self._started


class FoldLimit(TimeLimit):
    """The time limit of a whole fold with all its stages, in addition to one among the recipe's callbacks.

    The setup before the first epoch takes time, but is not part of an epoch: epochs that were planned to fit are started.
    """

    def __init__(self, seconds: float) -> None:
        super().__init__(seconds)
        self._has_begun = False

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Note the setup time so far; a resumed training is set up a second time."""
        if not self._has_begun:
            self._has_begun = True
            self._setup += time.monotonic() - self._started


class WaitingLimits(Callback):
    """Time limits of a whole training during a stage that they do not end, because it has callbacks of its own.

    Its time and epochs count, and are in its saved states, so that a resumed training has as much time left.

    Args:
        limits: The limits by their names.
    """

    def __init__(self, limits: Mapping[str, TimeLimit]) -> None:
        self._limits = limits

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Count the epoch."""
        for limit in self._limits.values():
            limit.count_epoch()

    def state_dict(self) -> dict[str, Any]:
        """Return the state of each limit, by its name."""
        return {name: limit.state_dict() for name, limit in self._limits.items()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the limits."""
        for name, limit in self._limits.items():
            if name in state_dict:
                limit.load_state_dict(state_dict[name])


class EpochLimit(Callback):
    """Ends a training after an epoch, in the middle of its schedule.

    Args:
        epochs: The number of epochs, including those of earlier stages.
    """

    def __init__(self, epochs: int) -> None:
        self._epochs = epochs

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Stop after the last of these epochs."""
        if trainer.current_epoch + 1 >= self._epochs:
            trainer.should_stop = True


def time_limit(monitor: str, direction: Direction, *, seconds: Annotated[float, "> 0"]) -> Callback:
    """End a fold's training when another epoch would exceed the given number of seconds.

    The schedule of the learning rate is not shortened.

    Args:
        monitor: Not used.
        direction: Not used.
        seconds: The time limit of one fold.
    """
    return TimeLimit(seconds)
