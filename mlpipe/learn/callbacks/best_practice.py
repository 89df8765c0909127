"""Good practice for any training: stop when it no longer improves, and keep the weights of every epoch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, cast

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback, EarlyStopping

from mlpipe import current_folder
from mlpipe.arch import adapt
from mlpipe.arch import weights as weight_files
from mlpipe.errors import ConfigError, listing, problem
from mlpipe.learn.callbacks.early import begin_at
from mlpipe.learn.callbacks.keeper import Keeper
from mlpipe.learn.monitoring import Direction

FOLDER = "resume_checkpoints"


class TrainingStop(EarlyStopping):
    """Stops when the mean training loss of an epoch, or a metric of training samples, stops improving for some epochs."""

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Compare the epoch's value, which the module has just recorded.

        Raises:
            ConfigError: When the training does not measure this value.
        """
        row: dict[str, float] = cast(Any, pl_module).history[-1]
        if self.monitor not in row:
            measured = listing([name for name in row if name.startswith("train/")])
            fix = f"add metrics.while_training=true, or watch one of {measured}"
            raise ConfigError(problem("callbacks", "the training does not measure this", got=self.monitor, fix=fix))
        value = torch.tensor(row[str(self.monitor)])
        should_stop, _ = self._evaluate_stopping_criteria(value)
        trainer.should_stop = trainer.should_stop or should_stop
        if should_stop:
            self.stopped_epoch = trainer.current_epoch

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Do nothing, because the epoch's mean is not available yet."""


def early_train(
    monitor: str,
    direction: Direction,
    *,
    patience: Annotated[int, ">= 0"] = 10,
    min_delta: Annotated[float, ">= 0"] = 1e-5,
    watch: str = "train/loss",
    watch_direction: Direction = "min",
    baseline: float | None = None,
) -> EarlyStopping:
    """Stop when the mean training loss has not improved for some epochs.

    Args:
        monitor: Not used.
        direction: Not used.
        patience: Epochs without an improvement before the stop.
        min_delta: The smallest change that counts as an improvement.
        watch: `train/loss`, or with metrics.while_training `train/METRIC`.
        watch_direction: Whether lower (min) or higher (max) values are better.
        baseline: A value that the first epochs must improve on; None: none.
    """
    stop = TrainingStop(monitor=watch, mode=watch_direction, patience=patience, min_delta=min_delta, check_finite=False)
    begin_at(stop, baseline)
    return stop


class EveryEpoch(Callback):
    """Writes the weights after every epoch, starting with `resume_checkpoints/model_epoch_0001.safetensors`.

    Args:
        folder: The parent folder of `resume_checkpoints`; None: in the run's folder, one for each record.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write the weights."""
        if not trainer.is_global_zero:
            return
        folder = self._folder
        if folder is None:
            keeper_folder = next(keeper.folder for keeper in trainer.checkpoint_callbacks if isinstance(keeper, Keeper))
            folder = keeper_folder.parent.parent / "epochs" / keeper_folder.name
        name = f"model_epoch_{trainer.current_epoch + 1:04d}.safetensors"
        weight_files.save(adapt.merged_state(pl_module.network), folder / FOLDER / name)  # type: ignore[arg-type]


def every_epoch(monitor: str, direction: Direction, *, folder: str | None = None) -> Callback:
    """Write the weights after every epoch; an interrupted training resumes from its own saved state (`continue=latest`).

    Args:
        monitor: Not used.
        direction: Not used.
        folder: The parent folder of `resume_checkpoints`; None: the run's folder.
    """
    return EveryEpoch(current_folder.expanded(folder) if folder else None)
