"""Several tasks trained together: a shared body, a head and a loss per task, with given weights or learned uncertainties."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from mlpipe import names
from mlpipe.config.components import Component
from mlpipe.config.schema import Recipe
from mlpipe.data.cache.packs import Pack
from mlpipe.data.loading.joint import JointData
from mlpipe.data.sampling import Rows
from mlpipe.data.splits.variants import View
from mlpipe.data.task import Task
from mlpipe.errors import ConfigError, DataError, problem
from mlpipe.learn import kind
from mlpipe.learn.build import network as networks
from mlpipe.learn.build.loaders import fold_data as data_of
from mlpipe.learn.build.loss import build_loss
from mlpipe.learn.heads import LearnedHead
from mlpipe.learn.module import TARGET, FoldModule
from mlpipe.learn.task_weights import UNCERTAINTY, TaskWeights, Weights, log_variances, with_log_variances
from mlpipe.post import kind as post_kind
from mlpipe.post import metrics


@dataclass(frozen=True)
class Partner:
    """A task that is trained together with the pivot.

    Attributes:
        task: The task.
        view: Its rows; `train` is used for training, `val` for its score.
        pack: Its cached images.
    """

    task: Task
    view: View
    pack: Pack


@dataclass(frozen=True)
class Joint:
    """The tasks that are trained together with the pivot.

    Attributes:
        partners: The other tasks.
        weights: The weight of each task's loss, the pivot's first; or learned weights, `uncertainty`.
    """

    partners: tuple[Partner, ...]
    weights: Weights


def head_name(number: int) -> str:
    """Return the name of the head of a task by its number, 0 for the pivot."""
    return f"task{number}" if number else TARGET


def build_network(
    recipe: Recipe, task: Task, pack: Pack, joint: Joint, *, seed: int, rows: Rows, pretrained: bool = True
) -> nn.Module:
    """Build the recipe's network with a head for each task; `rows` are the pivot's training rows."""
    others = {
        head_name(number): networks.head(partner.task, partner.view.train)
        for number, partner in enumerate(joint.partners, start=1)
    }
    network = networks.build_network(recipe, task, pack, seed=seed, rows=rows, pretrained=pretrained, others=others)
    return with_log_variances(network, 1 + len(others)) if joint.weights == UNCERTAINTY else network


def stored_network(recipe: Recipe, task: Task, pack: Pack, co_tasks: Sequence[Mapping[str, Any]]) -> nn.Module:
    """Build the network of a record with co-tasks, into which its weights are loaded."""
    others = {}
    for co_task in co_tasks:
        others[str(co_task["head"])] = kind.of(co_task["kind"]).head(len(co_task["classes"]), None, ())
    network = networks.build_network(recipe, task, pack, seed=0, pretrained=False, others=others)
    learned = any(entry["weight"] == UNCERTAINTY for entry in co_tasks)
    return with_log_variances(network, 1 + len(others)) if learned else network


def partner_heads(recipe: Recipe, pack: Pack, joint: Joint) -> list[LearnedHead]:
    """Return the heads of the partners, with their losses.

    Args:
        recipe: The recipe.
        pack: The pivot's images, to whose brightness the others are scaled.
        joint: The partners.
    """
    heads = []
    for number, partner in enumerate(joint.partners, start=1):
        loss, scale = (
            partner_loss(recipe, partner)[0],
            networks.scale_of(partner.task, partner.view.train, partner.task.kind),
        )
        ratio = pack.peak / partner.pack.peak
        heads.append(LearnedHead(head_name(number), partner.task.kind, len(partner.task.classes), loss, scale, ratio))
    return heads


def weighing(task: Task, joint: Joint) -> TaskWeights:
    """Return the weights of the losses of the pivot and its partners."""
    both = [task, *(partner.task for partner in joint.partners)]
    return TaskWeights(
        [joint_task.name for joint_task in both], [joint_task.kind for joint_task in both], joint.weights
    )


def partner_loss(recipe: Recipe, partner: Partner) -> tuple[nn.Module, str]:
    """Return a partner's loss and its name: the recipe's if it fits the task, otherwise the default of its kind."""
    try:
        return build_loss(recipe, partner.task, partner.view.train), recipe.loss.target.rpartition(".")[2]
    except ConfigError:
        # The recipe's loss fits only the pivot, by its kind or its class weights.
        usual = replace(recipe, loss=Component("loss", names.path_of("loss", "auto")))
        return build_loss(usual, partner.task, partner.view.train), "auto"


def fold_data(recipe: Recipe, task: Task, view: View, pack: Pack, joint: Joint, num_workers: int) -> JointData:
    """Return the loaders of the pivot's fold and of the partners."""
    others = [
        data_of(recipe, partner.task, partner.view, partner.pack, num_workers, number)
        for number, partner in enumerate(joint.partners, start=1)
    ]
    return JointData(data_of(recipe, task, view, pack, num_workers), others, num_workers)


def try_joint(recipe: Recipe, task: Task, pack: Pack, rows: Rows, joint: Joint) -> None:
    """Build the parts needed for several tasks, so that errors are found before anything is written.

    Raises:
        DataError: When images have different sizes, or the network has no head for each task.
        ConfigError: When no loss fits a partner.
    """
    for partner in joint.partners:
        if (partner.pack.shape, partner.pack.channels) != (pack.shape, pack.channels):
            sizes = " and ".join(
                " x ".join(map(str, (*reversed(part.shape), part.channels))) for part in (pack, partner.pack)
            )
            fix = "choose a size, for example preprocessing.size=224"
            raise DataError(
                problem("mode.co_tasks", f"{task.name} and {partner.task.name} have images of {sizes}", fix=fix)
            )
        partner_loss(recipe, partner)
    network = build_network(recipe, task, pack, joint, seed=0, rows=rows, pretrained=False).eval()
    with torch.no_grad():
        outputs = network(torch.zeros(1, pack.channels, *pack.shape))
    for number, partner in enumerate(joint.partners, start=1):
        shape = tuple(outputs[head_name(number)].shape) if head_name(number) in outputs else None
        if shape != (1, len(partner.task.classes)):
            wrong = f"gives no {len(partner.task.classes)} outputs for {partner.task.name}"
            raise ConfigError(problem("arch", wrong, fix="use a network that takes several heads"))


def described(
    recipe: Recipe, joint: Joint, module: FoldModule, trainer: pl.Trainer, num_workers: int
) -> list[dict[str, Any]]:
    """Return the partners as stored in a record: head, weight, loss, and the score of their own validation rows.

    Args:
        recipe: The recipe.
        joint: The partners.
        module: The module with the kept weights.
        trainer: Computes the outputs.
        num_workers: Loader processes.
    """
    entries = []
    for number, partner in enumerate(joint.partners, start=1):
        module.predicted = number
        data = data_of(recipe, partner.task, partner.view, partner.pack, num_workers, number)
        val: dict[str, float] = {}
        if len(partner.view.val):
            batches = trainer.predict(module, dataloaders=data.val_dataloader())
            outputs = torch.cat(cast(list[Tensor], batches)).cpu().numpy()
            targets = np.asarray(partner.task.samples.targets[partner.view.val])
            val = metrics.compute(post_kind.of(partner.task.kind).FINAL, outputs, targets, partner.task.kind)
        entry = {
            "name": partner.task.name,
            "kind": partner.task.kind,
            "classes": list(partner.task.classes),
            "head": head_name(number),
            "loss": partner_loss(recipe, partner)[1],
            "weight": joint.weights if isinstance(joint.weights, str) else joint.weights[number],
            "images": {"train": len(partner.view.train), "val": len(partner.view.val)},
            "val": val,
        }
        if joint.weights == UNCERTAINTY:
            entry["log_variance"] = log_variances(module.network)[number]
        entries.append(entry)
    module.predicted = 0
    return entries
