"""What happens beside the training steps: keep the best weights, save the state, stop, report.

Callbacks that a configuration may name take (monitor, direction) from the program and return a Lightning callback.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback, Checkpoint, EarlyStopping
from pytorch_lightning.trainer.states import TrainerFn
from torch import Tensor

from mlpipe.errors import Interrupted
from mlpipe.learn import device_group
from mlpipe.learn.callbacks.averaging import Averaging
from mlpipe.learn.directions import Direction as Direction
from mlpipe.learn.directions import direction_of
from mlpipe.learn.recovery import NotFinite

_SAVING_SHARE = 20


@dataclass(frozen=True)
class Tick:
    """Where a training is, for a person to see.

    Attributes:
        epoch: Counted from 0.
        epochs: How many there will be at most.
        batch: Batches done in this epoch.
        batches: Batches in an epoch.
        loss: The mean training loss of this epoch so far.
        images_per_s: Training images in a second, in this epoch so far.
        wait: The share of the time spent waiting for data.
        batch_loss: The loss of this batch, on its device.
        norm: The norm of all its gradients together, on its device; None: it was not computed.
        exchange: The share of the time spent waiting for other processes' gradients; None: it was not measured.
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


def early(
    monitor: str,
    direction: Direction,
    *,
    patience: Annotated[int, ">= 0"] = 5,
    min_delta: Annotated[float, ">= 0"] = 0.0,
    watch: str | None = None,
    watch_direction: Direction | None = None,
    baseline: float | None = None,
) -> EarlyStopping:
    """Stop when metrics.monitor has not improved for some epochs, Lightning's EarlyStopping.

    Args:
        monitor: The metric's key.
        direction: Whether less or more is better.
        patience: Epochs without an improvement before the stop.
        min_delta: The least change that is an improvement.
        watch: Another metric in place of metrics.monitor, one of metrics.train as `val/NAME`, or `val/loss`.
        watch_direction: Whether less or more of it is better; None: what is better for that
            metric, of a function of your own as metrics.direction.
        baseline: What the first epochs have to be better than; None: anything is.
    """
    watched, mode = watch or monitor, direction_of(watch, watch_direction, direction)
    stop = EarlyStopping(monitor=watched, mode=mode, patience=patience, min_delta=min_delta, check_finite=False)
    begin_at(stop, baseline)
    return stop


def begin_at(stop: EarlyStopping, baseline: float | None) -> None:
    """Let a stop take only what is better than a number for an improvement; None: whatever comes first is one."""
    if baseline is not None:
        stop.best_score = torch.tensor(float(baseline))


def ema(
    monitor: str,
    direction: Direction,
    *,
    decay: Annotated[float, "> 0", "< 1"] = 0.999,
    start: Annotated[float, ">= 0", "< 1"] = 0.0,
) -> Averaging:
    """An exponential moving average of the weights (Polyak & Juditsky 1992), which is what is validated and stored.

    Args:
        monitor: Not used.
        direction: Not used.
        decay: Share of the average that is kept at every step of the optimizer; smaller in the first steps.
        start: Share of the epochs before the averaging begins.
    """
    return Averaging(decay, start)


def swa(monitor: str, direction: Direction, *, start: Annotated[float, ">= 0", "< 1"] = 0.75) -> Averaging:
    """Stochastic weight averaging (Izmailov et al. 2018): the mean of the weights at the end of the last epochs.

    Batch statistics are computed anew before each of these validations, by a pass over the epoch's training batches. The
    schedule stays the recipe's: a constant or a cyclic rate in the last epochs is what the paper uses.

    Args:
        monitor: Not used.
        direction: Not used.
        start: Share of the epochs before the averaging begins.
    """
    return Averaging(None, start)


class Keeper(Checkpoint):
    """Keeps the weights of the best epoch in memory, and saves the whole state at the end of epochs.

    The state is saved as often as saving costs at most 5 % of the time; epochs after the last save are replayed. An epoch
    whose metric is NaN is never better than one with a number; where no epoch has one, the last is kept.

    Args:
        monitor: The metric that chooses the epoch.
        direction: Whether less or more is better.
        folder: Where the state is saved.
        keep_best: False keeps nothing: the last epoch's weights are the result.

    Attributes:
        of_stages: The best weights of each stage that keeps its own, by its number.
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
        """Begin a stage; a saved state that is taken up afterwards says how far it was.

        Args:
            stage: Its number.
            keep: Whether its own best weights are kept.
        """
        self._stage, self._stage_score = stage if keep else None, None

    @property
    def folder(self) -> Path:
        """Where the state is saved."""
        return self._folder

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Compare, keep, save."""
        self._compare(trainer, pl_module)
        started = time.perf_counter()
        # A state saved after the last epoch would be continued by one epoch more when an early stop chose that epoch.
        last = trainer.should_stop or trainer.current_epoch + 1 == trainer.max_epochs
        if not last and device_group.agreed(trainer, started - self._saved_at >= _SAVING_SHARE * self._cost):
            trainer.save_checkpoint(self._folder)
            self._saved_at = time.perf_counter()
            self._cost = self._saved_at - started

    def state_dict(self) -> dict[str, Any]:
        """What is kept, for the saved state."""
        found: dict[str, Any] = {"score": self.best_score, "epoch": self.best_epoch, "state": self.best_state}
        found |= {"missing": self.missing} if self.missing else {}
        # What nobody asked for leaves the state as it is without stages.
        return found | ({"stages": self.of_stages, "stage_score": self._stage_score} if self.of_stages else {})

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up what was kept."""
        self.best_score, self.best_epoch = state_dict["score"], state_dict["epoch"]
        self.best_state, self.missing = state_dict["state"], state_dict.get("missing", [])
        self.of_stages, self._stage_score = state_dict.get("stages", {}), state_dict.get("stage_score")

    def _compare(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        if not self._keep_best and self._stage is None:
            return
        score = float(trainer.callback_metrics[self._monitor])
        if score != score:
            self.missing.append(trainer.current_epoch)
        best = self._keep_best and self._is_better(score, self.best_score)
        best_of_stage = self._stage is not None and self._is_better(score, self._stage_score)
        if not best and not best_of_stage:
            return
        state = {name: tensor.detach().cpu().clone() for name, tensor in module.state_dict().items()}
        if best:
            self.best_score, self.best_epoch, self.best_state = score, trainer.current_epoch, state
        if best_of_stage and self._stage is not None:
            self._stage_score, self.of_stages[self._stage] = score, state

    def _is_better(self, score: float, than: float | None) -> bool:
        if than is None or than != than:
            return True
        # NaN is on neither side of a number.
        return score < than if self._direction == "min" else score > than


class Guard(Callback):
    """Stops after the current batch when asked to, and when the loss, a gradient or a weight is no number.

    Args:
        should_stop: Whether somebody asked to stop.
        where: The task and fold, for the sentence.
        stage: The stage that it watches.
    """

    def __init__(self, should_stop: Callable[[], bool], where: str, stage: int = 0) -> None:
        self._should_stop, self._where, self._stage = should_stop, where, stage
        self._gradients: Tensor | None = None
        self._last: Tensor | None = None

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Forget the gradients of the last epoch."""
        self._gradients = None

    def on_before_backward(self, trainer: pl.Trainer, pl_module: pl.LightningModule, loss: Tensor) -> None:
        """Look at the loss before anything is done with it."""
        if loss.device.type == "cpu" and not torch.isfinite(loss):
            raise self._trouble(trainer, pl_module, f"the loss is {float(loss.detach())}", trainer.fit_loop.batch_idx)

    def on_before_optimizer_step(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: torch.optim.Optimizer
    ) -> None:
        """Look at the gradients; a scaler of 16-bit gradients leaves steps out by itself."""
        if getattr(trainer.precision_plugin, "scaler", None) is not None:
            return
        norm = _norm(parameter.grad for parameter in pl_module.parameters() if parameter.grad is not None)
        self._last = norm
        if norm is None:
            return
        # What is on a GPU is looked at with the loss, so that it need not wait for every step.
        self._gradients = norm if self._gradients is None else torch.maximum(self._gradients, norm)
        if norm.device.type == "cpu":
            self._check_gradients(trainer, pl_module, trainer.fit_loop.batch_idx)

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Look at the weights before they are judged and saved: the last step of an epoch may have broken them."""
        if trainer.state.fn != TrainerFn.FITTING:
            return
        norm = _norm(tensor for tensor in pl_module.state_dict().values() if tensor.is_floating_point())
        if norm is not None and not torch.isfinite(norm):
            raise self._trouble(trainer, pl_module, "the weights are no longer finite", trainer.fit_loop.batch_idx)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Look at the loss and at the wish to stop."""
        loss = outputs["loss"]
        cheap = loss.device.type == "cpu" or batch_idx % 20 == 0 or batch_idx + 1 == trainer.num_training_batches
        if cheap and not torch.isfinite(loss):
            raise self._trouble(trainer, pl_module, f"the loss is {float(loss)}", batch_idx)
        if cheap:
            self._check_gradients(trainer, pl_module, batch_idx)
        self._stop_if_asked()

    def on_validation_batch_end(self, *args: Any, **kwargs: Any) -> None:
        """Look at the wish to stop."""
        self._stop_if_asked()

    def on_predict_batch_end(self, *args: Any, **kwargs: Any) -> None:
        """Look at the wish to stop."""
        self._stop_if_asked()

    def last_norm(self) -> Tensor | None:
        """The norm of the last step's gradients before they were bounded; None where it was not computed."""
        return self._last

    def _stop_if_asked(self) -> None:
        if self._should_stop():
            raise Interrupted("stopped as asked")

    def _check_gradients(self, trainer: pl.Trainer, module: pl.LightningModule, batch: int) -> None:
        if self._gradients is not None and not torch.isfinite(self._gradients):
            raise self._trouble(trainer, module, "the gradients are not finite", batch)

    def _trouble(self, trainer: pl.Trainer, module: pl.LightningModule, found: str, batch: int) -> NotFinite:
        broken = [name for name, tensor in module.named_parameters() if not torch.isfinite(tensor).all()]
        rate = trainer.optimizers[0].param_groups[0]["lr"]
        at = f"{self._where}: {found} in epoch {trainer.current_epoch + 1}, batch {batch + 1}"
        if broken:
            cause = f"{len(broken)} parameters are no longer finite, {broken[0]} first"
        else:
            cause = "the parameters are finite, so the logits or the loss overflowed"
        sentence = (
            f"{at} (learning rate {rate:.3g}): {cause}; lower optimizer.lr, "
            "set optimizer.clip_norm=1 or use trainer.precision=32-true"
        )
        return NotFinite(sentence, trainer.current_epoch, self._stage, found)


def _norm(tensors: Iterable[Tensor]) -> Tensor | None:
    """The norm of all tensors together, which is not finite when one of them is not; None where there is none."""
    found = list(tensors)
    return torch.nn.utils.get_total_norm(found) if found else None


class EpochScores(Callback):
    """Tells the outside the monitor after every epoch, before the state is saved.

    Args:
        report: Told the epoch and the score; what it raises ends the training.
        monitor: The metric's key.
    """

    def __init__(self, report: Callable[[int, float], None], monitor: str) -> None:
        self._report, self._monitor = report, monitor

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Report."""
        if self._monitor in trainer.callback_metrics:
            self._report(trainer.current_epoch, float(trainer.callback_metrics[self._monitor]))


class EpochRows(Callback):
    """Tells the outside everything measured after every epoch.

    Args:
        report: Told the epoch and the validation's loss and metrics by their names; none where nothing is validated.
    """

    def __init__(self, report: Callable[[int, dict[str, float]], None]) -> None:
        self._report = report

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Report."""
        logged = trainer.callback_metrics
        values = {name[4:]: float(value) for name, value in logged.items() if name.startswith("val/")}
        self._report(trainer.current_epoch, values)


class Progress(Callback):
    """Measures speed and waiting, and reports where the training is.

    Args:
        report: Called after every batch.
        images: Training images in an epoch.
        epochs: The most epochs of all stages; None: the trainer's.
        norm: Gives the norm of the last step's gradients, where it is known.
        exchange: Gives the share of the time spent waiting for other processes' gradients, where it is measured.
    """

    def __init__(
        self,
        report: Callable[[Tick], None],
        images: int,
        epochs: int | None = None,
        norm: Callable[[], Tensor | None] = lambda: None,
        exchange: Callable[[], float | None] = lambda: None,
    ) -> None:
        self._report, self._images, self._epochs = report, images, epochs
        self._norm, self._exchange = norm, exchange
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
        """Report."""
        self._mark = time.perf_counter()
        own = len(batch["target"]) + sum(len(other["target"]) for other in batch.get("co", ()))
        self._seen += own * trainer.world_size
        self.epoch_seconds = self._mark - self._started
        self.images_per_s = self._seen / self.epoch_seconds
        self.wait = self._waited / self.epoch_seconds
        # Not the output's: that is divided by the number of batches in a step.
        loss = device_group.mean(getattr(pl_module, "batch_loss", outputs["loss"]).detach())
        if loss.device.type == "cpu" or batch_idx % 20 == 0:
            self._loss += (float(loss) - self._loss) / (batch_idx + 1)
        batches = int(trainer.num_training_batches)
        epochs = self._epochs or trainer.max_epochs or 0
        at = (trainer.current_epoch, epochs, batch_idx + 1, batches)
        self._report(Tick(*at, self._loss, self.images_per_s, self.wait, loss, self._norm(), self._exchange()))


class TimeLimit(Callback):
    """Ends a training when another epoch would take it beyond its time; a resumed one counts what it took before.

    An epoch that was expected to fit and does not, on a machine that has become slower, is cut short and judged as it is.

    Args:
        seconds: The time.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds, self._before, self._epochs = seconds, 0.0, 0
        self._started = time.monotonic()

    def on_train_batch_end(self, trainer: pl.Trainer, *args: Any, **kwargs: Any) -> None:
        """Stop within an epoch when the time is over; processes that learn together end with it."""
        if trainer.world_size == 1 and self._taken() > self._seconds:
            trainer.should_stop = True

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Stop where the mean epoch so far does not fit any more."""
        self._epochs += 1
        taken = self._taken()
        if device_group.agreed(trainer, taken + taken / self._epochs > self._seconds) and self._epochs < (
            trainer.max_epochs or 0
        ):
            trainer.should_stop = True

    def state_dict(self) -> dict[str, Any]:
        """What Lightning saves: seconds and epochs so far."""
        return {"taken": self._taken(), "epochs": self._epochs}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take them up."""
        self._before, self._epochs = state_dict["taken"], state_dict["epochs"]

    def _taken(self) -> float:
        return self._before + time.monotonic() - self._started


def time_limit(monitor: str, direction: Direction, *, seconds: Annotated[float, "> 0"]) -> Callback:
    """End a fold's training when another epoch would take it beyond so many seconds.

    The schedule of the learning rate is not shortened.

    Args:
        monitor: Not used.
        direction: Not used.
        seconds: Of one fold.
    """
    return TimeLimit(seconds)
