"""What a recipe's sections become for a task: network, loss, optimizer, schedule, loaders; each built in one place."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from lightning_fabric.utilities.exceptions import MisconfigurationException
from pytorch_lightning.utilities.exceptions import SIGTERMException
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from mlpipe.arch import starting
from mlpipe.arch.classifier import Classifier, Head, Pixels
from mlpipe.arch.starting import Start
from mlpipe.config.components import Component
from mlpipe.config.schema import AUTO, Recipe
from mlpipe.data import sources
from mlpipe.data.augment import batches as device_augmentations
from mlpipe.data.augment import geometry, libraries, paired, samples
from mlpipe.data.cache.packs import Pack
from mlpipe.data.loading import portable
from mlpipe.data.loading.loaders import Draw, FoldData, collating_of
from mlpipe.data.records import outputs as record_heads
from mlpipe.data.sampling import WHOLE, Rows, Sampling, Shard
from mlpipe.data.splits.variants import View
from mlpipe.data.task import Task
from mlpipe.errors import ConfigError, DataError, Interrupted, first_line, problem
from mlpipe.learn import linear_head, own_metrics, pixel_rules, slicing
from mlpipe.learn.build import smallest_batch
from mlpipe.learn.build.loss import build_loss as build_loss
from mlpipe.learn.build.loss import heads_of, try_own
from mlpipe.learn.callbacks import own as own_callbacks
from mlpipe.learn.directions import Direction
from mlpipe.learn.hardware import Numerics, numerics
from mlpipe.learn.lr_schedulers import plateaus
from mlpipe.learn.lr_schedulers.schedules import Clock
from mlpipe.learn.module import TARGET
from mlpipe.learn.optimizers.optimizers import parameter_groups, scale_rates
from mlpipe.runs import maps

# Hints of Lightning and torch that are of no use to people who use mlpipe.
_NOISE = (
    ".*does not have many workers.*", ".*LeafSpec.*", ".*lr_scheduler.step.*", ".*srun. command is available.*",
    ".*Grad strides do not match bucket view strides.*",
)  # fmt: skip


def build_network(
    recipe: Recipe,
    task: Task,
    pack: Pack,
    *,
    seed: int,
    rows: Rows | None = None,
    pretrained: bool = True,
    bare: bool = False,
    others: Mapping[str, Head] | None = None,
) -> nn.Module:
    """The recipe's network for a task.

    Args:
        recipe: How to learn.
        task: The task.
        pack: Its cached images.
        seed: What new weights are drawn from.
        rows: For regression the training rows, whose mean and deviation the network's numbers are scaled by; None when
            weights are loaded that hold them.
        pretrained: False for a network into which stored weights are loaded next: skips weights that will be replaced, and
            low-rank additions, which are stored merged.
        bare: Leave low-rank additions out all the same.
        others: Further heads by name, for tasks that are learned together with this one.
    """
    task = _as_learned(task, recipe)
    arch = recipe.arch if pretrained else without_weights(recipe.arch)
    torch.manual_seed(seed)
    *sides, channels = seen_shape(recipe, pack)
    cells: slicing.Cells | None = recipe.slicing.build()
    if cells is not None:
        sides = list(cells.size(*sides))
    normalization = recipe.augmentations.normalization
    head_name = record_heads.name_of(task.source)
    pixels = Pixels(
        channels,
        sides[0],
        pack.peak,
        normalization,
        *_of_records(task),
        width=sides[-1],
        output=head_name,
        shape=() if len(sides) == 2 else tuple(sides),
    )
    own = replace(
        head(task, rows), any_height=recipe.solves_over_time(task.kind), sides=target_sides(recipe, task, pack)
    )
    network = arch.build({TARGET: own, **(others or {})}, pixels)
    if not isinstance(network, nn.Module):
        raise ConfigError(problem("arch._target_", "must give a torch.nn.Module", got=type(network).__name__))
    if heads_of(task) and not isinstance(network, Classifier):
        fix = "use a network of timm, or a function of your own"
        raise ConfigError(problem("arch", "has no heads with activations", got=arch.target, fix=fix))
    if pretrained and not bare:
        recipe.peft.build(network)
    if cells is not None:
        if task.kind in maps.KINDS:
            raise ConfigError(problem("slicing", "joins no masks or images", got="crops", fix="use slicing=none"))
        slicing.attach(network, cells, {TARGET: task.kind})
    return network


def seen_shape(recipe: Recipe, pack: Pack) -> tuple[int, ...]:
    """Spatial shape and channels of what the network is given, after the steps that every image goes through."""
    built = [step.build() for step in recipe.augmentations.cpu]
    steps = geometry.always([libraries.adapt(one) for one in built if libraries.changes_images(one)])
    if not steps:
        return (*pack.shape, pack.channels)
    (changed,) = samples.apply(steps, pack.take(np.zeros(1, np.int64)), np.zeros(1, np.uint64))
    shape: tuple[int, ...] = (pack.preprocessing.fixed(changed) if pack.ragged else changed).shape
    return shape


def target_sides(recipe: Recipe, task: Task, pack: Pack) -> tuple[int, ...] | None:
    """The spatial shape of target images after the steps that every sample goes through; None where there are none."""
    labelled = np.flatnonzero(task.samples.labelled & ~pack.unreadable_mask(task))
    if task.kind != "images" or pack.masks is None or not len(labelled):
        return None
    rows = labelled[:1]
    data = fold_data(recipe, task, View(task.name, 0, rows, rows, rows[:0], rows[:0]), pack, 0)
    return tuple(int(side) for side in data.rows_dataset()[(0, rows)]["target"].shape[2:])


def _of_records(task: Task) -> tuple[tuple[tuple[str, tuple[int, ...]], ...], Mapping[str, Any]]:
    """Inputs and network parameters of a task of records; nothing for images."""
    layout = sources.open(task).layout
    return ((), {}) if layout is None else (layout.inputs, task.source["network_params"])


def _as_learned(task: Task, recipe: Recipe) -> Task:
    """The task with the heads of a recipe: what describes its samples may have been written for another one since."""
    if recipe.heads is None:
        return task
    base = (task.bases or (task,))[0]
    told = replace(base, source={**base.source, "heads": list(recipe.heads)})
    return replace(task, bases=(told, *task.bases[1:])) if task.bases else told


def without_weights(arch: Component) -> Component:
    """The same network with random weights, for weights that follow or are not needed.

    Args:
        arch: The recipe's section.
    """
    return Component(arch.slot, arch.target, {**arch.params, "pretrained": False, "weights": None})


def started_network(
    recipe: Recipe, task: Task, pack: Pack, seed: int, rows: Rows, start: Start | None
) -> tuple[nn.Module, str]:
    """The network that a training begins with, and a report of the weights that it starts from (empty without any).

    Args:
        recipe: How to learn.
        task: The task.
        pack: Its cached images.
        seed: What new weights are drawn from.
        rows: The training rows.
        start: Weights to start from; None: as the recipe's arch says.

    Raises:
        DataError: When the weights do not fit.
    """
    if start is None:
        network = build_network(recipe, task, pack, seed=seed, rows=rows)
        return network, begun(network)
    # Pretrained weights matter beside a start that may lack some.
    network = build_network(recipe, task, pack, seed=seed, rows=rows, pretrained=start.allow_missing, bare=True)
    report = starting.load(network, start)
    recipe.peft.build(network)
    return network, report


def begun(network: nn.Module) -> str:
    """The report of the weights that a network was made with; empty where they are random."""
    return str(getattr(network, "begun", ""))


def regression_scale(task: Task, rows: Rows) -> tuple[Tensor, Tensor] | None:
    """Mean and standard deviation of the training targets, shape (outputs,) each; None for other kinds."""
    # Networks for records give numbers as they are, and no head in which they could be scaled; activations have bounds.
    if task.kind != "regression" or sources.open(task).layout is not None or heads_of(task):
        return None
    targets = task.samples.learned[rows]
    std = np.nanstd(targets, axis=0)
    scale = np.where(std > 0, std, 1.0)
    return torch.tensor(np.nanmean(targets, axis=0)).float(), torch.tensor(scale).float()


def build_optimizers(
    recipe: Recipe, batches: int, direction: Direction, take_up: Callable[[nn.Module, Optimizer], None] | None = None
) -> Callable[[nn.Module], tuple[Optimizer, dict[str, Any]]]:
    """A function from the network to its optimizer and Lightning's description of the schedule.

    Args:
        recipe: How to learn.
        batches: Batches in an epoch.
        direction: Whether less or more of the monitor is better.
        take_up: Gives the optimizer what an earlier one knew, before the schedule is made.
    """
    steps = -(-batches // int(recipe.trainer.get("accumulate_grad_batches") or 1))
    clock = Clock(steps, int(recipe.trainer["max_epochs"]), direction)

    def build(network: nn.Module) -> tuple[Optimizer, dict[str, Any]]:
        optimizer = build_optimizer(recipe, network)
        if take_up is not None:
            take_up(network, optimizer)
        schedule = recipe.lr_scheduler.build(optimizer, clock)
        _must_be(LRScheduler, "lr_scheduler", recipe.lr_scheduler, schedule)
        described = {"scheduler": schedule, "interval": recipe.lr_scheduler.params.get("interval", "epoch")}
        if plateaus.watches(schedule):
            params = recipe.lr_scheduler.params
            described["monitor"] = (params.get("plateau") or params).get("watch") or recipe.metrics.monitor
        return optimizer, described

    return build


def build_optimizer(recipe: Recipe, network: nn.Module) -> Optimizer:
    """The recipe's optimizer, each layer with its rate."""
    optimizer: Optimizer = recipe.optimizer.build(parameter_groups(network, recipe.layer_decay))
    _must_be(Optimizer, "optimizer", recipe.optimizer, optimizer)
    scale_rates(optimizer)
    return optimizer


def _must_be(kind: type, section: str, component: Component, built: Any) -> None:
    """Refuse what code of the user's own made, where it is something else."""
    if not isinstance(built, kind):
        wrong, fix = f"{component.target} must give a {kind.__name__} of torch", "return one"
        raise ConfigError(problem(f"{section}._target_", wrong, got=type(built).__name__, fix=fix))


def with_rate(recipe: Recipe, lr: float) -> Recipe:
    """The recipe with another learning rate."""
    optimizer = recipe.optimizer
    return replace(recipe, optimizer=Component(optimizer.slot, optimizer.target, {**optimizer.params, "lr": lr}))


def device_steps(recipe: Recipe, peak: float) -> list[device_augmentations.DeviceStep]:
    """The augmentations of whole batches on the device, for images whose white is `peak`."""
    return [device_augmentations.adapt(step.build(), peak) for step in recipe.augmentations.device]


def fold_data(
    recipe: Recipe,
    task: Task,
    view: View,
    pack: Pack,
    num_workers: int,
    number: int = 0,
    shard: Shard = WHOLE,
) -> FoldData:
    """The loaders of one fold; tasks that are learned together have numbers, so that each is drawn for itself."""
    collating = collating_of(task, pack)
    built = [(step.target, step.build()) for step in recipe.augmentations.cpu]
    collating.check(task, built)
    steps: list[Any] = [
        _sendable(one, collating.adapt, collating.adapt(*step))
        for one, step in zip(recipe.augmentations.cpu, built, strict=True)
    ]
    draw = Draw(recipe.seed, view.fold + 1000 * number)
    sampling = build_sampling(recipe)
    if task.kind in maps.KINDS:
        # A decoder's memory grows with the images: what fits in training fits here.
        sampling = replace(sampling, eval_batch_size=min(sampling.eval_batch_size, sampling.batch_size))
    return FoldData(task, view, pack, steps=steps, sampling=sampling, draw=draw, num_workers=num_workers, shard=shard)


def _sendable(component: Component, adapt: Callable[[str, Any], Any], step: Any) -> Any:
    """A step as loader processes can be given it: those of the user's own are made anew there."""
    is_own = not component.target.startswith(("mlpipe.", "torchvision.", "albumentations."))
    # What is for evaluation too says so by its type.
    if not is_own or isinstance(step, geometry.Always | paired.Always):
        return step
    return portable.OwnStep(partial(_adapted, component, adapt), step)


def _adapted(component: Component, adapt: Callable[[str, Any], Any]) -> Any:
    return adapt(component.target, component.build())


def numerics_for(recipe: Recipe, pack: Pack) -> Numerics:
    """Precision and memory layout for the recipe's images on this machine."""
    accelerator = str(recipe.trainer.get("accelerator", AUTO))
    setting = recipe.trainer.get("precision", AUTO)
    if setting == AUTO and recipe.predicts("images") == "solutions":
        # An equation is about differences between neighbours, which half precision has no digits for.
        setting = "32-true"
    chosen = numerics(setting, pack.shape[0], accelerator)
    # The layout is one of images.
    return chosen if len(pack.shape) == 2 else replace(chosen, channels_last=False)


def try_recipe(
    recipe: Recipe, task: Task, pack: Pack, rows: Rows, start: Start | None = None, *, beside: int = 0
) -> None:
    """Build every part once and push one batch through, so that what cannot work is known before anything is written.

    Args:
        recipe: How to learn.
        task: The task.
        pack: Its cached images.
        rows: The training rows of a fold.
        start: Weights that training starts from.
        beside: How many other tasks are learned together with it; each has an image in every step, at least.

    Raises:
        DataError: When the network cannot take images of this size, or a part does not fit the task.
        MlpipeError: When pretrained weights cannot be had.
    """
    prepare_torch(recipe.threads)
    network, _ = started_network(recipe, task, pack, 0, rows, start)
    network.eval()
    arch = recipe.arch.params.get("name", recipe.arch.target)
    *sides, channels = seen_shape(recipe, pack)
    try:
        with torch.no_grad():
            outputs = network(torch.zeros(1, channels, *sides))[TARGET]
    except (RuntimeError, ValueError, AssertionError) as error:
        reason = first_line(error)
        size = " x ".join(map(str, sides))
        if len(sides) != 2:
            wrong = f"{arch} cannot take samples of {size} ({reason})"
            raise DataError(problem("arch", wrong, fix="use a network for samples of this size")) from error
        wrong = f"{arch} cannot take images of {size} pixels ({reason})"
        raise DataError(problem("preprocessing.size", wrong, fix="choose another size or arch")) from error
    # A solution's times are as many as the network gives.
    solves = recipe.solves_over_time(task.kind) and outputs.ndim == 4
    given = (outputs.shape[2], *sides[1:]) if solves else tuple(sides)
    aim = given if solves else target_sides(recipe, task, pack) or given
    wanted = (1, len(task.classes), *(aim if task.kind in maps.KINDS else ()))
    if outputs.shape[2:] != wanted[2:] and aim != given:
        wrong = f"{arch} gives maps of {list(outputs.shape[2:])} for images of {list(given)}, targets are {list(aim)}"
        fix = "use arch=keras_json with a network that ends at their size, or targets of the images' size"
        raise ConfigError(problem("arch", wrong, fix=fix))
    if outputs.shape != wanted:
        wrong = f"gives outputs of {list(outputs.shape[1:])}, the task has {list(wanted[1:])}"
        fix = "give each head as many as its `size`"
        if outputs.shape[:2] == wanted[:2]:
            fix = "use another arch.encoder, since this one does not halve images evenly, or another size"
        raise ConfigError(problem("arch", f"{arch} {wrong}", fix=fix))
    if (views := recipe.tta.build(pack.peak)) is not None:
        views.predict(lambda images: network(images)[TARGET], torch.zeros(1, channels, *sides), task.kind)
    recipe.tune.build()
    build_loss(recipe, task, rows)
    own_metrics.measures(recipe.metrics, recipe.predicts(task.kind), len(task.classes))
    if not linear_head.has_no_steps(recipe):
        build_optimizers(recipe, 2, "min")(network)
    view = View(task.name, 0, rows, rows[:1], rows[:0], rows[:0])
    data = fold_data(recipe, task, view, pack, 0)
    batch = next(iter(data.train_dataloader()))
    target = batch["target"]
    if task.kind in maps.KINDS:
        with torch.no_grad():
            # Of an image: one that is black everywhere may be answered by zeros.
            outputs = network(batch["images"].float())[TARGET]
        pixel_rules.check(recipe, task, target, outputs, build_loss(recipe, task, rows))
    elif recipe.loss.is_users:
        with torch.no_grad():
            outputs = network(batch["images"].float())[TARGET]
        try_own(recipe, build_loss(recipe, task, rows), outputs, target, batch.get("weight"))
    if not recipe.stages and not linear_head.has_no_steps(recipe):
        sizes = [size + beside for size in data.batch_sizes(0)[0]]
        smallest_batch.check(network, batch["images"][:1].float(), sizes, batch_size(recipe), str(arch))
    if steps := device_steps(recipe, pack.peak):
        if task.kind == "classification":
            target = nn.functional.one_hot(target, len(task.classes)).float()
        device_augmentations.apply(steps, batch["images"], target, 1)
    build_callbacks(recipe, "min")


def build_callbacks(recipe: Recipe, direction: Direction) -> list[Any]:
    """The recipe's own callbacks.

    Args:
        recipe: How to learn.
        direction: Whether less or more of its monitor is better.

    Raises:
        ConfigError: When one is no callback of Lightning.
    """
    found = {name: one.build(recipe.metrics.monitor, direction) for name, one in recipe.callbacks.items()}
    for name, callback in found.items():
        if not hasattr(callback, "on_train_epoch_end") or not hasattr(callback, "state_key"):
            fix = "name a class derived from pytorch_lightning.Callback, or a function that gives its instance"
            wrong = f"{recipe.callbacks[name].target} gives no callback"
            raise ConfigError(problem(f"callbacks.{name}", wrong, got=type(callback).__name__, fix=fix))
    if misfits := [one for name, callback in found.items() for one in own_callbacks.misfitting(name, callback)]:
        raise ConfigError(misfits)
    return list(found.values())


def build_sampling(recipe: Recipe) -> Sampling:
    """The recipe's batches.

    Raises:
        ConfigError: When what it names gives something else.
    """
    sampling = recipe.sampling.build()
    if not isinstance(sampling, Sampling):
        wrong = f"{recipe.sampling.target} must give a mlpipe.data.sampling.Sampling"
        fix = "return Sampling(batch_size, eval_batch_size, order)"
        raise ConfigError(problem("sampling._target_", wrong, got=type(sampling).__name__, fix=fix))
    return sampling


def batch_size(recipe: Recipe) -> int:
    """Training images in a batch."""
    return int(build_sampling(recipe).batch_size)


def prepare_torch(threads: int) -> None:
    """Set torch's threads and silence what Lightning prints for itself."""
    torch.set_num_threads(threads)
    for name in ("pytorch_lightning", "lightning.pytorch", "lightning.fabric", "pytorch_lightning.utilities.rank_zero"):
        logging.getLogger(name).setLevel(logging.ERROR)


@contextmanager
def quiet() -> Iterator[None]:
    """Keep Lightning's hints about workers and logging intervals off the terminal, and its end at a SIGTERM from us.

    Raises:
        Interrupted: When Lightning saw a SIGTERM before `Guard` did; by itself it would end the process with 0.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="pytorch_lightning")
        for message in _NOISE:
            warnings.filterwarnings("ignore", message=message)
        try:
            yield
        except SIGTERMException as error:
            raise Interrupted("stopped as asked") from error
        except MisconfigurationException as error:
            fix = "correct it; what writes to a logger needs one (logging=csv or logging=tensorboard)"
            wrong = f"Lightning refuses what trainer and callbacks ask for ({first_line(error)})"
            raise ConfigError(problem("trainer", wrong, fix=fix)) from error


def head(task: Task, rows: Rows | None) -> Head:
    """What a network gives for a task; numbers in the unit of the training rows' targets, when these are given."""
    if task.kind != "regression":
        return Head(len(task.classes), per_pixel=task.kind in maps.KINDS, of_values=task.kind == "images")
    if parts := heads_of(task):
        return Head(len(task.classes), activations=parts)
    scale = regression_scale(task, rows) if rows is not None else None
    if scale is None:
        return Head(len(task.classes), (0.0,) * len(task.classes), (1.0,) * len(task.classes))
    return Head(len(task.classes), tuple(scale[0].tolist()), tuple(scale[1].tolist()))
