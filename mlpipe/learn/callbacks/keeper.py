"""Keep the weights of the best epoch, and save the training state."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Checkpoint
from torch import Tensor

from mlpipe.learn.machine import device_group
from mlpipe.learn.monitoring import Direction

_SAVING_SHARE = 20


class Keeper(Checkpoint):
    """Keeps the weights of the best epoch in memory, and saves the whole state at the end of epochs.

    The state is saved as often as saving takes at most 5 % of the time; epochs after the last save are replayed. An epoch
    whose metric is NaN is never better than one with a number; if no epoch has a number, the last one is kept.

    Args:
        monitor: The metric that chooses the epoch.
        direction: Whether lower (min) or higher (max) values are better.
        folder: Where the state is saved.
        keep_best: False: keep nothing, and use the last epoch's weights.

    Attributes:
        of_stages: The best weights of each stage that keeps its own, by stage number.
        missing: The epochs whose metric was NaN, counted from 0.
    """

    def __init__(self, monitor: str, direction: Direction, folder: Path, *, keep_best: bool) -> None:
        self._monitor, self._direction, self._folder, self._keep_best = monitor, direction, folder, keep_best
        self.best_score: float | None = None
        self.best_epoch: int | None = None
        self.best_state: dict[str, Tensor] = {}
        self.of_stages: dict[int, dict[str, Tensor]] = {}
        self.missing: list[int] = []
        self._stage: int | None = None
        self._stage_score: float | None = None
        self._saved_at, self._cost = time.perf_counter(), 0.0

    def begin(self, stage: int, *, keep: bool) -> None:
        """Begin a stage; a saved state that is loaded afterwards overrides its progress.

        Args:
            stage: The stage's number.
            keep: Whether the best weights of this stage are kept separately.
        """
        self._stage, self._stage_score = stage if keep else None, None

    @property
    def folder(self) -> Path:
        """The folder of the saved state."""
        return self._folder

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Compare the epoch with the best one, keep its weights, and save the state."""
        self._compare(trainer, pl_module)
        started = time.perf_counter()
        # A state saved after the last epoch would be resumed for one more epoch if an early stop chose that epoch.
        last = trainer.should_stop or trainer.current_epoch + 1 == trainer.max_epochs
        if not last and device_group.shared_decision(trainer, started - self._saved_at >= _SAVING_SHARE * self._cost):
            trainer.save_checkpoint(self._folder)
            self._saved_at = time.perf_counter()
            self._cost = self._saved_at - started

    def state_dict(self) -> dict[str, Any]:
        """Return the kept weights and scores, for the saved state."""
        state: dict[str, Any] = {"score": self.best_score, "epoch": self.best_epoch, "state": self.best_state}
        state |= {"missing": self.missing} if self.missing else {}
        # Without stages the state has no entries for them.
        return state | ({"stages": self.of_stages, "stage_score": self._stage_score} if self.of_stages else {})

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the kept weights and scores."""
        self.best_score, self.best_epoch = state_dict["score"], state_dict["epoch"]
        self.best_state, self.missing = state_dict["state"], state_dict.get("missing", [])
        self.of_stages, self._stage_score = state_dict.get("stages", {}), state_dict.get("stage_score")

    def _compare(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        if self._keep_best or self._stage is not None:
            self.compare(float(trainer.callback_metrics[self._monitor]), trainer.current_epoch, module)

    def compare(self, score: float, epoch: int, module: pl.LightningModule) -> None:
        """Keep the weights of an epoch if they are the best so far.

        Args:
            score: The epoch's metric.
            epoch: The epoch's number, counted from 0 over all stages.
            module: The trained module.
        """
        if not self._keep_best and self._stage is None:
            return
        if score != score:
            self.missing.append(epoch)
        best = self._keep_best and self._is_better(score, self.best_score)
        best_of_stage = self._stage is not None and self._is_better(score, self._stage_score)
        if not best and not best_of_stage:
            return
        state = {name: tensor.detach().cpu().clone() for name, tensor in module.state_dict().items()}
        if best:
            self.best_score, self.best_epoch, self.best_state = score, epoch, state
        if best_of_stage and self._stage is not None:
            self._stage_score, self.of_stages[self._stage] = score, state

    def _is_better(self, score: float, than: float | None) -> bool:
        if than is None or than != than:
            return True
        # Comparisons with NaN are false.
        return score < than if self._direction == "min" else score > than
