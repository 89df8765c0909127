"""The LightningModule: one network, a head for each target, exact validation metrics, and a history of every epoch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.optim import LBFGS, Optimizer
from torch.optim.lr_scheduler import ReduceLROnPlateau

from mlpipe.arch import adapt
from mlpipe.arch.classifier import RAW
from mlpipe.config.schema import Clip
from mlpipe.data.augment.batches import DeviceStep
from mlpipe.data.augment.samples import mix
from mlpipe.kinds import Kind
from mlpipe.learn import slicing
from mlpipe.learn.gradients import accumulation, microbatches
from mlpipe.learn.heads import LearnedHead
from mlpipe.learn.kind import Loss
from mlpipe.learn.lr_schedulers import plateau
from mlpipe.learn.machine import device_group
from mlpipe.learn.machine.device_group import DeviceGroup
from mlpipe.learn.machine.hardware import full_precision
from mlpipe.learn.recovery import Healed
from mlpipe.learn.task_weights import TaskWeights
from mlpipe.learn.tta import Views
from mlpipe.post import metrics
from mlpipe.post.metrics import Measure

TARGET = "target"
Optimizers = Callable[[nn.Module], tuple[Optimizer, dict[str, Any]]]


@dataclass(frozen=True)
class Learning:
    """Settings of a fold's module other than its network, heads and optimizer.

    Attributes:
        val_metrics: Names of the metrics of the validation images.
        seed: Seed of dropout and similar layers, together with fold and epoch.
        fold: The fold's number.
        device_steps: Augmentations of whole batches on the device.
        channels_last: Whether images use the channels-last memory format.
        clip: The bounds on gradients.
        views: Views of images to predict from, in addition to the images themselves.
        group: The processes that train the fold.
        own_metrics: The user's own metrics by name.
        while_training: Whether metrics are also computed for training images during training.
        batch_sizes: Maps an epoch, counted from 0, to the number of images in each batch of each task.
        weighing: The weights of the losses of several heads; None: there is one head.
    """

    val_metrics: list[str]
    seed: int
    fold: int
    device_steps: Sequence[DeviceStep] = ()
    channels_last: bool = False
    clip: Clip = field(default_factory=Clip)
    views: Views | None = None
    group: DeviceGroup = device_group.ALONE
    own_metrics: Mapping[str, Measure] = field(default_factory=dict)
    while_training: bool = False
    batch_sizes: Callable[[int], list[list[int]]] = lambda epoch: []
    weighing: TaskWeights | None = None


class FoldModule(pl.LightningModule):
    """Trains one fold: the pivot with the first head, tasks that are trained together with it with the others.

    Each step joins one batch of every task into one pass through the network, so that batch statistics are those of the
    mixture both in training and in use. Validation, the best epoch and predictions are the pivot's.

    Attributes:
        history: One row for each finished epoch.
        val_logits: Rows for metrics of the last validation, shape (n, outputs), see `mlpipe.learn.kind.Part.rows`.
        val_targets: Their targets, as in `mlpipe.data.task.Samples.targets`, or the second result of `rows`.
        healed: Recoveries so far; None: recovery is not possible.
        measured: Metrics computed by the loss of several outputs in the last validation.
        batch_loss: The loss of the last training batch, before its weighting within the step; with several processes each
            one's part of the mean.
        predicted: The number of the head whose outputs are predicted.

    Args:
        network: Maps images to outputs by head.
        heads: The trained heads, the pivot's first.
        optimizers: Maps the network to its optimizer and Lightning's description of its schedule.
        learning: Further settings.
        stage: The stage's number in a training with several, counted from 0, for the history; None otherwise.
    """

    def __init__(
        self,
        network: nn.Module,
        heads: Sequence[LearnedHead],
        optimizers: Optimizers,
        learning: Learning,
        stage: int | None = None,
    ) -> None:
        super().__init__()
        self.network, self.heads, self._stage = network, tuple(heads), stage
        # Registered, so that they move with the network; the pivot's loss keeps its name in saved states.
        self.loss, self._other_losses = heads[0].loss, nn.ModuleList([head.loss for head in heads[1:]])
        self._optimizers, self._learning, self._draw = optimizers, learning, (learning.seed, learning.fold)
        self.history: list[dict[str, float]] = []
        self.val_logits: npt.NDArray[np.float32] = np.empty((0, 0), np.float32)
        self.val_targets: npt.NDArray[Any] = np.empty(0, np.int64)
        self.healed: Healed | None = None
        self.measured: dict[str, float] = {}
        self.batch_loss, self.predicted = torch.zeros(()), 0
        self._val_batches: list[tuple[Tensor, ...]] = []
        self._learned_batches: list[tuple[Tensor, Tensor, Tensor | None]] = []
        self._sizes: list[list[int]] = []
        self._loss_sum, self._count, self._rate = torch.zeros(()), 0, 0.0
        self._head_loss_sums, self._head_counts = torch.zeros(len(heads)), torch.zeros(len(heads))

    @property
    def facts(self) -> Kind:
        """The facts about the kind that the pivot predicts."""
        return self.heads[0].facts

    @property
    def lr_scale(self) -> float:
        """The factor of the schedule's rate in this epoch: less than 1 after a NaN loss."""
        return self.healed.lr_scale(self.current_epoch, self._stage or 0) if self.healed is not None else 1.0

    @property
    def own_metrics(self) -> Mapping[str, Measure]:
        """The user's own metrics by name."""
        return self._learning.own_metrics

    def learn_batches(self, sizes: Callable[[int], list[list[int]]]) -> None:
        """Use other loaders than those that the module was built for.

        Args:
            sizes: As for `Learning.batch_sizes`.
        """
        self._learning = replace(self._learning, batch_sizes=sizes)

    def configure_optimizers(self) -> Any:
        """Return the optimizer and its schedule in Lightning's form."""
        optimizer, schedule = self._optimizers(self.network)
        return {"optimizer": optimizer, "lr_scheduler": schedule} if schedule else optimizer

    def on_train_epoch_start(self) -> None:
        """Reset the epoch's mean loss."""
        self._loss_sum, self._count = torch.zeros((), device=self.device), 0
        self._head_loss_sums = torch.zeros(len(self.heads), device=self.device)
        self._head_counts = torch.zeros_like(self._head_loss_sums)
        self._learned_batches = []
        batches = int(self.trainer.num_training_batches)
        self._sizes = [sizes[:batches] for sizes in self._learning.batch_sizes(self.current_epoch)]
        self._rate = float(self.trainer.optimizers[0].param_groups[0]["lr"]) * self.lr_scale
        adapt.keep_frozen_in_eval(self.network)

    def on_train_batch_start(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        """Seed random draws by seed, fold, epoch and batch only, so that a batch repeated after a resume is the same."""
        rank = self._learning.group.shard.rank
        torch.manual_seed(draw_seed(*self._draw, self.current_epoch, batch_idx, rank))
        if (begin := getattr(self.loss, "before_step", None)) is not None:
            # A loss may train parts of the network in turns. Turns follow steps, so that every part has its turn even with few
            # batches in an epoch, and a resumed training continues with the right part.
            begin(self.network, int(self.trainer.global_step))

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        """Return the loss of a batch: that of its head, or the weighted sum over all heads from one joint pass."""
        batches = self._batches(batch)
        parts = self._augmented_batches(batches)
        sizes = [len(target) for _, target in parts]
        # One pass for the images of all tasks: batch normalisation sees them together, and the body's gradient is one
        # backward pass. Every head computes outputs for all images; only those of its own task are used below, as other
        # images have no target for it.
        outputs_by_head = self._outputs_by_head(self._joined_images(parts), parts[0][1])
        losses, counts = [], []
        for place, (head, task_batch, (_, target)) in enumerate(zip(self.heads, batches, parts, strict=True)):
            # Losses in 32 bit, whatever the precision of the network.
            outputs = outputs_by_head[head.name].float()
            outputs = torch.split(outputs, sizes)[place] if len(parts) > 1 else outputs
            # Images cut into cells have several rows of outputs, all of which are trained with the image's target.
            target, weight = slicing.per_cell(target, outputs), task_batch.get("weight")
            weights = None if weight is None else slicing.per_cell(weight, outputs)
            losses.append(head.mean_loss(outputs, target, weights))
            counts.append(len(target))
            if self._learning.while_training and len(parts) == 1:
                self._learned_batches.append((outputs.detach(), target, weight))
        return self._step_loss(torch.stack(losses), counts, batch_idx)

    def _step_loss(self, losses: Tensor, counts: Sequence[int], batch_idx: int) -> Tensor:
        """Return the contribution of a batch's losses, shape (heads,), to the step, and add them to the epoch's means."""
        loss, weighing = self._total_loss(losses), self._learning.weighing
        # Recorded before any scaling: the history is a mean over images, independent of the number of processes and batches
        # in a step.
        self._loss_sum += loss.detach() * sum(counts)
        self._count += sum(counts)
        if weighing is not None:
            of_heads = losses.new_tensor(counts)
            self._head_loss_sums += losses.detach() * of_heads
            self._head_counts += of_heads
        if self.trainer.loggers:
            self.log("train/loss", loss.detach(), on_step=True, on_epoch=False)
        # Lightning averages over processes, which have different numbers of images.
        loss = loss if self._learning.group.is_alone else loss * self._learning.group.share(batch_idx)
        self.batch_loss = loss.detach()
        shares = self._shares(batch_idx)
        if all(share == 1.0 for share in shares):
            return loss
        if weighing is None:
            return loss * shares[0]
        # Tasks may have different batch sizes: each loss is scaled separately, the term of learned weights once.
        steps, group = int(self.trainer.num_training_batches), int(self.trainer.accumulate_grad_batches)
        return self._total_loss(losses * losses.new_tensor(shares), accumulation.step_factor(steps, batch_idx, group))

    def _total_loss(self, losses: Tensor, once: float = 1.0) -> Tensor:
        """Return the total of the losses of the heads, shape (heads,)."""
        weighing = self._learning.weighing
        return losses[0] if weighing is None else weighing.weighed(losses, self.network, once)

    def _shares(self, batch_idx: int) -> list[float]:
        """Return the weight of the batch's loss in its step for each task, see `mlpipe.learn.gradients.accumulation`."""
        if not self._sizes:
            return [1.0]
        group = int(self.trainer.accumulate_grad_batches)
        return [accumulation.share(sizes, batch_idx, group) for sizes in self._sizes]

    def pass_through(self, batch: dict[str, Any], batch_idx: int) -> None:
        """Pass a training batch through the network as in training, only to update batch statistics."""
        self.on_train_batch_start(batch, batch_idx)
        parts = self._augmented_batches(self._batches(batch))
        self._outputs_by_head(self._joined_images(parts), parts[0][1])

    def configure_gradient_clipping(
        self, optimizer: Optimizer, gradient_clip_val: Any = None, gradient_clip_algorithm: Any = None
    ) -> None:
        """Clip gradients as set in the optimizer's section (the norm before values), otherwise as set in the trainer's."""
        clip = self._learning.clip
        if clip.clip_norm is not None:
            self.clip_gradients(optimizer, clip.clip_norm, "norm")
        if clip.clip_value is not None:
            self.clip_gradients(optimizer, clip.clip_value, "value")
        if clip.clip_norm is None and clip.clip_value is None:
            self.clip_gradients(optimizer, gradient_clip_val, gradient_clip_algorithm)

    def optimizer_step(
        self, epoch: int, batch_idx: int, optimizer: Any, optimizer_closure: Callable[[], Any] | None = None
    ) -> None:
        """Step with the schedule's rate, reduced after a NaN loss."""
        scale, groups = self.lr_scale, optimizer.param_groups
        if isinstance(getattr(optimizer, "optimizer", optimizer), LBFGS) and optimizer_closure is not None:
            # Processes that train together must do the same line search.
            optimizer_closure = partial(_process_mean, optimizer_closure)
        if scale == 1:
            super().optimizer_step(epoch, batch_idx, optimizer, optimizer_closure)
            return
        rates = [group["lr"] for group in groups]
        for group, rate in zip(groups, rates, strict=True):
            group["lr"] = rate * scale
        try:
            super().optimizer_step(epoch, batch_idx, optimizer, optimizer_closure)
        finally:
            # The schedule continues from its own rates.
            for group, rate in zip(groups, rates, strict=True):
                group["lr"] = rate

    def on_validation_epoch_start(self) -> None:
        """Reset the collected batches of the last validation."""
        self._val_batches = []
        self._learning.group.share_buffers(self)

    def validation_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        """Keep the rows for metrics, which are computed over all rows at once; callbacks get the outputs."""
        head, target = self.heads[0], batch["target"]
        outputs_by_head = self._outputs_by_head(self._images_in_layout(batch["images"]), target)
        outputs, criterion = outputs_by_head[head.name].float(), head.criterion
        if (raw := outputs_by_head.get(head.name + RAW)) is not None:
            # The loss is computed from raw rows, because the network's outputs in evaluation have none.
            criterion = partial(_raw_loss, criterion, raw.float())
        with full_precision(outputs.device.type):
            rows = head.part.kept(criterion, outputs, target)
        self._val_batches.append(rows if (weight := batch.get("weight")) is None else (*rows, weight))
        return outputs

    def on_validation_epoch_end(self) -> None:
        """Compute loss and metrics over the whole split, not as means of batch means."""
        head, learning = self.heads[0], self._learning
        batches = learning.group.all_batches(self._val_batches)
        rows, targets, *others = (torch.cat(parts) for parts in zip(*batches, strict=True))
        weight = others[0] if others else None
        self._val_batches = []
        criterion = head.criterion if weight is None else partial(head.criterion, weight=weight)
        loss, logits = head.part.validated(criterion, rows, targets)
        self.log("val/loss", loss)
        self.val_logits, self.val_targets = logits.cpu().numpy(), targets.cpu().numpy()
        values = metrics.compute(
            learning.val_metrics, self.val_logits, self.val_targets, head.kind, learning.own_metrics
        )
        self.measured = self._output_metrics(logits, targets, weight)
        for name, value in {**values, **self.measured}.items():
            self.log(f"val/{name}", value)

    def _output_metrics(self, logits: Tensor, targets: Tensor, weight: Tensor | None) -> dict[str, float]:
        """Return the metrics computed by the loss of several outputs itself."""
        more = getattr(self.loss, "measured", None)
        values: dict[str, float] = more(logits, targets, weight) if more is not None else {}
        return values

    def _training_metrics(self) -> dict[str, float]:
        """Return the metrics of the epoch's training images, from the predictions made during training."""
        if not self._learned_batches:
            return {}
        logits = torch.cat([outputs for outputs, _, _ in self._learned_batches])
        targets = torch.cat([target for _, target, _ in self._learned_batches])
        weights = [weight for _, _, weight in self._learned_batches if weight is not None]
        head, learning = self.heads[0], self._learning
        plain = head.metric_target(targets)
        arrays = logits.float().cpu().numpy(), plain.cpu().numpy()
        values = metrics.compute(learning.val_metrics, *arrays, head.kind, learning.own_metrics)
        return {**values, **self._output_metrics(logits, targets, torch.cat(weights) if weights else None)}

    def predict_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        """Return the outputs for a batch, from one or several views of its images."""
        head, views = self.heads[self.predicted], self._learning.views

        def outputs(images: Tensor) -> Tensor:
            return self._outputs(head, self._images_in_layout(head.scaled_images(images)))

        return outputs(batch["images"]) if views is None else views.predict(outputs, batch["images"], head.kind)

    def on_train_epoch_end(self) -> None:
        """Add the epoch to the history, with the rate of its first step, and pass it to a plateau schedule."""
        row = {"epoch": float(self.current_epoch)} | ({} if self._stage is None else {"stage": float(self._stage)})
        sums = self._learning.group.summed(torch.stack([self._loss_sum, self._loss_sum.new_tensor(self._count)]))
        row["train/loss"] = float(sums[0] / sums[1])
        row |= {f"train/{name}": float(value) for name, value in self._training_metrics().items()}
        if (loss_values := getattr(self.loss, "of_epoch", None)) is not None:
            row |= {f"train/{name}": value for name, value in loss_values().items()}
        logged = self.trainer.callback_metrics
        row |= {name: float(value) for name, value in logged.items() if name.startswith("val/")}
        row["lr"] = self._rate
        if (weighing := self._learning.weighing) is not None:
            row |= weighing.row((self._head_loss_sums / self._head_counts).tolist(), self.network)
        self.history.append(row)
        for config in self.trainer.lr_scheduler_configs:
            if plateau.watches(config.scheduler):
                plateau.look(config.scheduler, row[str(config.monitor)])

    def lr_scheduler_step(self, scheduler: Any, metric: Any) -> None:
        """Skip plateau schedules, which Lightning would advance only after the state is saved, losing the step on a resume."""
        if not isinstance(scheduler, ReduceLROnPlateau):
            scheduler.step()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Save the history and the stage with the state."""
        checkpoint["history"], checkpoint["stage"] = self.history, self._stage or 0
        checkpoint["devices"] = self.trainer.world_size

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore the history."""
        device_group.check_devices(checkpoint.get("devices", 1), self.trainer)
        self.history = checkpoint["history"]

    def _outputs(self, head: LearnedHead, images: Tensor) -> Tensor:
        return self._outputs_by_head(images)[head.name].float()

    def _outputs_by_head(self, images: Tensor, target: Tensor | None = None) -> dict[str, Tensor]:
        """Return outputs by head, computed in parts that fit into memory; `target` is for networks that take it."""
        most = self.healed.micro_batch(self.current_epoch) if self.healed is not None else None
        beside = target if getattr(self.network, "takes_targets", False) else None
        return microbatches.forward(self.network, images, most, beside)

    def _batches(self, batch: dict[str, Any]) -> list[dict[str, Tensor]]:
        """Return the batch of each head's task."""
        return [batch, *batch.get("co", ())]

    def _augmented_batches(self, batches: Sequence[dict[str, Tensor]]) -> list[tuple[Tensor, Tensor]]:
        """Return images and targets of each task's batch after the steps on the device."""
        steps, left = self._learning.device_steps, (self.trainer.max_epochs or 0) - self.current_epoch
        return [head.augmented_batch(batch, steps, left) for head, batch in zip(self.heads, batches, strict=True)]

    def _joined_images(self, parts: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
        """Return the images of all tasks as one batch."""
        (first, _), *others = parts
        return self._images_in_layout(torch.cat([first, *(images for images, _ in others)]) if others else first)

    def _images_in_layout(self, images: Tensor) -> Tensor:
        if images.ndim != 4:
            return images
        layout = torch.channels_last if self._learning.channels_last else torch.contiguous_format
        return images.contiguous(memory_format=layout)


def _raw_loss(criterion: Loss, raw: Tensor, outputs: Tensor, target: Tensor) -> Tensor:
    """Return the loss of raw rows instead of the outputs computed from them."""
    return criterion(raw, target)


def _process_mean(closure: Callable[[], Any]) -> Any:
    """Return the mean over processes of the result of each one's closure."""
    loss = closure()
    return loss if loss is None else device_group.mean(loss)


def draw_seed(seed: int, fold: int, epoch: int, batch: int = 0, rank: int = 0) -> int:
    """Return a seed for torch from the run's seed, fold, epoch (-1: initial weights), batch and process."""
    start = np.array([seed], np.uint64)
    drawn = mix(mix(mix(start, fold), epoch + 1), batch)
    return int((mix(drawn, rank) if rank else drawn)[0] % 2**63)
