"""Several tasks learned together: one network body, a head and a loss for each task, weighed by hand or by uncertainty.

Each step joins one batch of every task into one pass through the network, so that batch statistics are those of the mixture
in training as in use. Validation, the best epoch and predictions are the pivot's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, cast

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from mlpipe.arch.classifier import Head
from mlpipe.config.components import Component
from mlpipe.config.schema import Recipe
from mlpipe.data.augment import batches as device_augmentations
from mlpipe.data.augment.batches import DeviceStep
from mlpipe.data.cache.packs import Pack
from mlpipe.data.loading.together import JointData
from mlpipe.data.sampling import Rows
from mlpipe.data.splits.variants import View
from mlpipe.data.task import Task
from mlpipe.errors import ConfigError, DataError, problem
from mlpipe.learn import accumulation
from mlpipe.learn.build import setup
from mlpipe.learn.module import TARGET, FoldModule, Learning, Optimizers
from mlpipe.post import kind as post_kind
from mlpipe.post import metrics

UNCERTAINTY = "uncertainty"
_LOG_VARIANCES = "log_variances"


@dataclass(frozen=True)
class Partner:
    """A task that is learned beside the pivot.

    Attributes:
        task: The task.
        view: Its rows; `train` is learned, `val` gives its score.
        pack: Its cached images.
    """

    task: Task
    view: View
    pack: Pack


@dataclass(frozen=True)
class Joint:
    """What is learned together with the pivot.

    Attributes:
        partners: The other tasks.
        weights: The weight of each task's loss, the pivot's first; or learned ones, `uncertainty`.
    """

    partners: tuple[Partner, ...]
    weights: tuple[float, ...] | Literal["uncertainty"]


class Aim(nn.Module):
    """The head, loss and scale of one task.

    Args:
        head: The head's name.
        kind: What is predicted.
        classes: How many outputs there are.
        loss: Its loss.
        scale: For regression mean and deviation of the training targets.
        brightness: What its pixels are multiplied by to be as bright as the pivot's.
    """

    def __init__(
        self,
        head: str,
        kind: str,
        classes: int,
        loss: nn.Module,
        scale: tuple[Tensor, Tensor] | None,
        brightness: float = 1.0,
    ) -> None:
        super().__init__()
        self.head, self.kind, self.classes, self.loss, self.brightness = head, kind, classes, loss, brightness
        self._scale = scale

    def forward(self, outputs: Tensor, target: Tensor, weight: Tensor | None) -> Tensor:
        """The mean loss of a batch, in standard deviations of the target for regression."""
        if self._scale is not None:
            mean, std = (part.to(outputs.device) for part in self._scale)
            outputs, target = (outputs - mean) / std, (target - mean) / std
        loss: Tensor = self.loss(outputs, target) if weight is None else self.loss(outputs, target, weight)
        return loss

    def augmented(self, batch: Mapping[str, Tensor], steps: Sequence[DeviceStep], left: int) -> tuple[Tensor, Tensor]:
        """Images and targets of a batch after the steps on the device."""
        images, target = self.as_bright(batch["images"]), batch["target"]
        if steps:
            if self.kind == "classification":
                target = nn.functional.one_hot(target, self.classes).float()
            images, target = device_augmentations.apply(steps, images, target, left)
        return images, target

    def as_bright(self, images: Tensor) -> Tensor:
        """Pixels on the pivot's scale."""
        return images if self.brightness == 1.0 else images.float() * self.brightness


class JointModule(FoldModule):
    """Learns one fold of the pivot, and other tasks with it.

    Args:
        aims: The head and loss of every task, the pivot's first.
        names: The tasks' names, for the history.
        weights: See `Joint`.
        network: Images to logits by head.
        optimizers: As for `FoldModule`.
        learning: As for `FoldModule`.
    """

    def __init__(
        self,
        aims: Sequence[Aim],
        names: Sequence[str],
        weights: tuple[float, ...] | Literal["uncertainty"],
        network: nn.Module,
        optimizers: Optimizers,
        learning: Learning,
    ) -> None:
        super().__init__(network, aims[0].loss, optimizers, learning)
        self.aims, self._names, self._weights = nn.ModuleList(aims), list(names), weights
        self.predicted = aims[0]
        self._each, self._steps = torch.zeros(len(aims)), 0

    def on_train_epoch_start(self) -> None:
        """Start the epoch's mean loss of each task too."""
        super().on_train_epoch_start()
        self._each, self._steps = torch.zeros(len(self.aims), device=self.device), 0

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        """The weighted sum of the tasks' losses, from one pass of all their images through the network."""
        batches, aims = [batch, *batch["co"]], [cast(Aim, aim) for aim in self.aims]
        parts = self._parts(batches)
        outputs = self._through(self._laid_out(torch.cat([images for images, _ in parts])))
        sizes = [len(target) for _, target in parts]
        losses = torch.stack(
            [
                aim(torch.split(outputs[aim.head].float(), sizes)[place], target, batches[place].get("weight"))
                for place, (aim, (_, target)) in enumerate(zip(aims, parts, strict=True))
            ]
        )
        loss = self._weighed(losses)
        self._loss_sum += loss.detach() * sum(sizes)
        self._count += sum(sizes)
        self._each += losses.detach()
        self._steps += 1
        if self.trainer.loggers:
            self.log("train/loss", loss.detach(), on_step=True, on_epoch=False)
        self.batch_loss = loss.detach()
        shares = self._shares(batch_idx)
        if all(share == 1.0 for share in shares):
            return loss
        steps, group = int(self.trainer.num_training_batches), int(self.trainer.accumulate_grad_batches)
        return self._weighed(losses * losses.new_tensor(shares), accumulation.fullness(steps, batch_idx, group))

    def pass_through(self, batch: dict[str, Any], batch_idx: int) -> None:
        """Let the network see a joint batch as it does in training, for its batch statistics alone."""
        self.on_train_batch_start(batch, batch_idx)
        images = torch.cat([images for images, _ in self._parts([batch, *batch["co"]])])
        self._through(self._laid_out(images))

    def _parts(self, batches: Sequence[dict[str, Tensor]]) -> list[tuple[Tensor, Tensor]]:
        """Images and targets of each task's batch, after the steps on the device."""
        left = (self.trainer.max_epochs or 0) - self.current_epoch
        aims, steps = [cast(Aim, aim) for aim in self.aims], self._learning.device_steps
        return [aim.augmented(one, steps, left) for aim, one in zip(aims, batches, strict=True)]

    def on_train_epoch_end(self) -> None:
        """Add each task's mean loss to the epoch's row, and learned weights as log variances."""
        super().on_train_epoch_end()
        row = self.history[-1]
        for name, value in zip(self._names, (self._each / self._steps).tolist(), strict=True):
            row[f"train/loss:{name}"] = value
        if self._weights == UNCERTAINTY:
            for name, value in zip(self._names, log_variances(self.network), strict=True):
                row[f"log_variance:{name}"] = value

    def predict_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        """The logits of a batch from the head of the task that is predicted."""
        outputs = self._through(self._laid_out(self.predicted.as_bright(batch["images"])))[self.predicted.head]
        return outputs.float()

    def _weighed(self, losses: Tensor, once: float = 1.0) -> Tensor:
        if self._weights == UNCERTAINTY:
            kinds = [cast(Aim, aim).kind for aim in self.aims]
            return uncertainty(losses, getattr(self.network, _LOG_VARIANCES), kinds, once)
        return (losses * losses.new_tensor(self._weights)).sum()


def uncertainty(losses: Tensor, log_variance: Tensor, kinds: Sequence[str], once: float = 1.0) -> Tensor:
    """The loss of several tasks whose weights are learned (Kendall, Gal & Cipolla 2018, equations 7 and 10).

    With s = log(sigma^2): exp(-s) L / 2 + s / 2 for numbers, exp(-s) L + s / 2 for classes and labels.

    Args:
        losses: The mean loss of each task, shape (tasks,).
        log_variance: s of each, shape (tasks,).
        kinds: What each task predicts.
        once: What s / 2 is multiplied by, which a step of several batches has once.
    """
    factor = losses.new_tensor([0.5 if kind == "regression" else 1.0 for kind in kinds])
    return (factor * torch.exp(-log_variance) * losses + log_variance / 2 * once).sum()


def log_variances(network: nn.Module) -> list[float]:
    """The learned log variances of a network's tasks, the pivot's first."""
    values: Tensor = getattr(network, _LOG_VARIANCES)
    return [float(value) for value in values.detach().cpu()]


def head_name(number: int) -> str:
    """The name of the head of the task with this number, counted from 0 for the pivot."""
    return f"task{number}" if number else TARGET


def build_network(
    recipe: Recipe, task: Task, pack: Pack, joint: Joint, *, seed: int, rows: Rows, pretrained: bool = True
) -> nn.Module:
    """The recipe's network with a head for each task; `rows` are the pivot's training rows."""
    others = {
        head_name(number): setup.head(one.task, one.view.train) for number, one in enumerate(joint.partners, start=1)
    }
    network = setup.build_network(recipe, task, pack, seed=seed, rows=rows, pretrained=pretrained, others=others)
    return _with_log_variances(network, 1 + len(others)) if joint.weights == UNCERTAINTY else network


def stored_network(recipe: Recipe, task: Task, pack: Pack, co_tasks: Sequence[Mapping[str, Any]]) -> nn.Module:
    """The network of a record that names co-tasks, for its weights to be loaded into."""
    others = {}
    for one in co_tasks:
        size, is_number = len(one["classes"]), one["kind"] == "regression"
        others[str(one["head"])] = Head(size, (0.0,) * size, (1.0,) * size) if is_number else Head(size)
    network = setup.build_network(recipe, task, pack, seed=0, pretrained=False, others=others)
    learned = any(one["weight"] == UNCERTAINTY for one in co_tasks)
    return _with_log_variances(network, 1 + len(others)) if learned else network


def build_module(
    recipe: Recipe,
    task: Task,
    view: View,
    pack: Pack,
    joint: Joint,
    network: nn.Module,
    optimizers: Optimizers,
    learning: Learning,
) -> JointModule:
    """The module that learns the pivot's fold and the partners with it."""
    own = setup.build_loss(recipe, task, view.train)
    aims = [Aim(TARGET, task.kind, len(task.classes), own, setup.regression_scale(task, view.train))]
    for number, one in enumerate(joint.partners, start=1):
        loss, _ = partner_loss(recipe, one)
        scale = setup.regression_scale(one.task, one.view.train)
        ratio = pack.peak / one.pack.peak
        aims.append(Aim(head_name(number), one.task.kind, len(one.task.classes), loss, scale, ratio))
    names = [task.name, *(one.task.name for one in joint.partners)]
    return JointModule(aims, names, joint.weights, network, optimizers, learning)


def partner_loss(recipe: Recipe, partner: Partner) -> tuple[nn.Module, str]:
    """A partner's loss and its name: the recipe's where it fits the task, else the usual one of its kind."""
    try:
        return setup.build_loss(recipe, partner.task, partner.view.train), recipe.loss.target.rpartition(".")[2]
    except ConfigError:
        # It is meant for the pivot: another kind, or weights of its classes.
        usual = replace(recipe, loss=Component("loss", "mlpipe.learn.losses.losses.auto"))
        return setup.build_loss(usual, partner.task, partner.view.train), "auto"


def fold_data(recipe: Recipe, task: Task, view: View, pack: Pack, joint: Joint, num_workers: int) -> JointData:
    """The loaders of the pivot's fold and of the partners."""
    others = [
        setup.fold_data(recipe, one.task, one.view, one.pack, num_workers, number)
        for number, one in enumerate(joint.partners, start=1)
    ]
    return JointData(setup.fold_data(recipe, task, view, pack, num_workers), others, num_workers)


def try_joint(recipe: Recipe, task: Task, pack: Pack, rows: Rows, joint: Joint) -> None:
    """Build what several tasks need beside the pivot's, so that what cannot work is known before anything is written.

    Raises:
        DataError: When images have different sizes, or the network has no head for each task.
        ConfigError: When a loss fits no partner.
    """
    for one in joint.partners:
        if (one.pack.shape, one.pack.channels) != (pack.shape, pack.channels):
            sizes = " and ".join(
                " x ".join(map(str, (*reversed(part.shape), part.channels))) for part in (pack, one.pack)
            )
            fix = "choose a size, for example preprocessing.size=224"
            raise DataError(
                problem("mode.co_tasks", f"{task.name} and {one.task.name} have images of {sizes}", fix=fix)
            )
        partner_loss(recipe, one)
    network = build_network(recipe, task, pack, joint, seed=0, rows=rows, pretrained=False).eval()
    with torch.no_grad():
        outputs = network(torch.zeros(1, pack.channels, *pack.shape))
    for number, one in enumerate(joint.partners, start=1):
        shape = tuple(outputs[head_name(number)].shape) if head_name(number) in outputs else None
        if shape != (1, len(one.task.classes)):
            wrong = f"gives no {len(one.task.classes)} outputs for {one.task.name}"
            raise ConfigError(problem("arch", wrong, fix="use a network that takes several heads"))


def described(
    recipe: Recipe, joint: Joint, module: JointModule, trainer: pl.Trainer, num_workers: int
) -> list[dict[str, Any]]:
    """What a record says of the partners: head, weight, loss, and the score of their own validation rows.

    Args:
        recipe: How they were learned.
        joint: The partners.
        module: The module with the weights that are kept.
        trainer: Computes the outputs.
        num_workers: Loader processes.
    """
    found = []
    for number, one in enumerate(joint.partners, start=1):
        module.predicted = cast(Aim, module.aims[number])
        data = setup.fold_data(recipe, one.task, one.view, one.pack, num_workers, number)
        batches = trainer.predict(module, dataloaders=data.val_dataloader())
        outputs = torch.cat(cast(list[Tensor], batches)).cpu().numpy()
        targets = one.task.samples.targets[one.view.val]
        entry = {
            "name": one.task.name,
            "kind": one.task.kind,
            "classes": list(one.task.classes),
            "head": head_name(number),
            "loss": partner_loss(recipe, one)[1],
            "weight": joint.weights if isinstance(joint.weights, str) else joint.weights[number],
            "images": {"train": len(one.view.train), "val": len(one.view.val)},
            "val": metrics.compute(post_kind.of(one.task.kind).FINAL, outputs, np.asarray(targets), one.task.kind),
        }
        if joint.weights == UNCERTAINTY:
            entry["log_variance"] = log_variances(module.network)[number]
        found.append(entry)
    module.predicted = cast(Aim, module.aims[0])
    return found


def _with_log_variances(network: nn.Module, tasks: int) -> nn.Module:
    network.register_parameter(_LOG_VARIANCES, nn.Parameter(torch.zeros(tasks)))
    return network
