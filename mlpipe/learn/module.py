"""The LightningModule: one network, one loss, exact validation metrics, and a history of every epoch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import ReduceLROnPlateau

from mlpipe.data.augmentations import mix
from mlpipe.post import metrics

TARGET = "target"
Optimizers = Callable[[nn.Module], tuple[Optimizer, dict[str, Any]]]


class FoldModule(pl.LightningModule):
    """Learns one fold.

    Attributes:
        history: One row for each finished epoch.
        val_logits: Logits of the last validation, shape (n, classes).
        val_targets: Their targets, shape (n,).

    Args:
        network: Images to logits by target.
        loss: Logits and targets to a mean.
        optimizers: The network to its optimizer and Lightning's description of its schedule.
        val_metrics: Names of the metrics of the validation images.
        seed: What dropout and its like draw from, together with fold and epoch.
        fold: The fold's number.
    """

    def __init__(
        self,
        network: nn.Module,
        loss: nn.Module,
        optimizers: Optimizers,
        val_metrics: list[str],
        *,
        seed: int,
        fold: int,
    ) -> None:
        super().__init__()
        self.network, self.loss = network, loss
        self._optimizers, self._val_metrics, self._draw = optimizers, val_metrics, (seed, fold)
        self.history: list[dict[str, float]] = []
        self.val_logits: npt.NDArray[np.float32] = np.empty((0, 0), np.float32)
        self.val_targets: npt.NDArray[np.int64] = np.empty(0, np.int64)
        self._seen: list[tuple[Tensor, Tensor]] = []
        self._loss_sum, self._count, self._rate = torch.zeros(()), 0, 0.0

    def configure_optimizers(self) -> Any:
        """The optimizer and its schedule, as Lightning wants them."""
        optimizer, schedule = self._optimizers(self.network)
        return {"optimizer": optimizer, "lr_scheduler": schedule} if schedule else optimizer

    def on_train_epoch_start(self) -> None:
        """Start the epoch's mean loss."""
        self._loss_sum, self._count = torch.zeros((), device=self.device), 0
        self._rate = float(self.trainer.optimizers[0].param_groups[0]["lr"])
        self._keep_frozen_in_eval()

    def on_train_batch_start(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        """Draw from seed, fold, epoch and batch alone, so that a batch learned again after a resume is the same."""
        torch.manual_seed(draw_seed(*self._draw, self.current_epoch, batch_idx))

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        """The loss of a batch."""
        loss: Tensor = self.loss(self.network(batch["images"])[TARGET].float(), batch["target"])
        self._loss_sum += loss.detach() * len(batch["target"])
        self._count += len(batch["target"])
        return loss

    def on_validation_epoch_start(self) -> None:
        """Forget the last validation."""
        self._seen = []

    def validation_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        """Keep the logits: metrics are computed over all of them at once."""
        self._seen.append((self.network(batch["images"])[TARGET].float(), batch["target"]))

    def on_validation_epoch_end(self) -> None:
        """Loss and metrics of the whole split, not means of batches' means."""
        logits = torch.cat([logits for logits, _ in self._seen])
        targets = torch.cat([targets for _, targets in self._seen])
        self._seen = []
        self.log("val/loss", self.loss(logits, targets))
        self.val_logits, self.val_targets = logits.cpu().numpy(), targets.cpu().numpy()
        for name, value in metrics.compute(self._val_metrics, self.val_logits, self.val_targets).items():
            self.log(f"val/{name}", value)

    def predict_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        """The logits of a batch."""
        logits: Tensor = self.network(batch["images"])[TARGET]
        return logits.float()

    def on_train_epoch_end(self) -> None:
        """Add the epoch to the history, with the rate of its first step, and let a plateau schedule look at it."""
        row = {"epoch": float(self.current_epoch), "train/loss": float(self._loss_sum / self._count)}
        logged = self.trainer.callback_metrics
        row |= {name: float(value) for name, value in logged.items() if name.startswith("val/")}
        row["lr"] = self._rate
        self.history.append(row)
        for config in self.trainer.lr_scheduler_configs:
            if isinstance(config.scheduler, ReduceLROnPlateau):
                config.scheduler.step(logged[str(config.monitor)])

    def lr_scheduler_step(self, scheduler: Any, metric: Any) -> None:
        """Lightning would move a plateau schedule only after the state is saved, and never again for that epoch."""
        if not isinstance(scheduler, ReduceLROnPlateau):
            scheduler.step()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Save the history with the state."""
        checkpoint["history"] = self.history

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take up the history."""
        self.history = checkpoint["history"]

    def _keep_frozen_in_eval(self) -> None:
        """A frozen backbone keeps its batch statistics and uses no dropout."""
        backbone = getattr(self.network, "backbone", None)
        if backbone is not None and not any(parameter.requires_grad for parameter in backbone.parameters()):
            backbone.eval()


def draw_seed(seed: int, fold: int, epoch: int, batch: int = 0) -> int:
    """A seed for torch from the run's seed, the fold, the epoch (-1: the first weights) and the batch."""
    start = np.array([seed], np.uint64)
    return int(mix(mix(mix(start, fold), epoch + 1), batch)[0] % 2**63)
