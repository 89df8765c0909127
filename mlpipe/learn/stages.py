"""Training stages: their changes to the recipe, the weights that they start from, and the place to resume at."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytorch_lightning as pl
from torch import Tensor, nn
from torch.optim import Optimizer

from mlpipe import current_folder
from mlpipe.arch import adapt, initial_weights
from mlpipe.arch.classifier import Classifier
from mlpipe.arch.initial_weights import Start
from mlpipe.config.components import Component
from mlpipe.config.schema import Recipe, Stage
from mlpipe.data.augment import batches
from mlpipe.data.cache.packs import Pack
from mlpipe.data.sampling import Rows, with_negatives
from mlpipe.data.splits.variants import View
from mlpipe.data.task import Task, has_target
from mlpipe.errors import ConfigError, DataError, problem
from mlpipe.learn import checkpoints, exact_heads, kind, monitoring
from mlpipe.learn.build import smallest_batch
from mlpipe.learn.build.callbacks import build_callbacks
from mlpipe.learn.build.loaders import batch_size, fold_data
from mlpipe.learn.build.loss import build_loss
from mlpipe.learn.build.optimizer import build_optimizers, epochs_of, steps_per_epoch, with_rate
from mlpipe.names import path_of

_NETWORK = "network."
# Rates below this train nothing.
_NO_RATE = 1e-12
_RESIZE = "mlpipe.data.augment.batches.resize"
_LINEAR = Component("optimizer", path_of("optimizer", "linear"), {})


def of(recipe: Recipe) -> tuple[Stage, ...]:
    """Return the stages of a recipe: its list, or one stage of `trainer.max_epochs`."""
    return recipe.stages or (Stage(int(recipe.trainer["max_epochs"])),)


def recipe_of(recipe: Recipe, stage: Stage) -> Recipe:
    """Return the recipe with the changes of a stage; `trainer.max_epochs` is the stage's own."""
    changed = replace(
        recipe,
        loss=stage.loss or recipe.loss,
        lr_scheduler=stage.lr_scheduler or recipe.lr_scheduler,
        callbacks=recipe.callbacks if stage.callbacks is None else stage.callbacks,
        trainer={**recipe.trainer, "max_epochs": stage.epochs},
    )
    if stage.size is not None:
        # Before all random steps, because a window or a rectangle is a share of the resized image.
        resized = Component("device_augmentations", _RESIZE, {"size": stage.size})
        augmentations = changed.augmentations
        changed = replace(changed, augmentations=replace(augmentations, device=(resized, *augmentations.device)))
    if stage.head is not None:
        # An exact head is computed from images as in evaluation, whatever later stages do to them.
        plain = replace(recipe.augmentations, cpu=(), device=())
        return replace(changed, optimizer=_LINEAR, augmentations=plain, stages=())
    return changed if stage.lr is None else with_rate(changed, stage.lr)


def key_of(number: int | None) -> str:
    """Return the configuration key of a stage for messages.

    Args:
        number: Its place in the list, from 0; None if there is no list, or the place is unknown.
    """
    return "stages.list" if number is None else f"stages.list[{number}]"


def view_of(view: View, task: Task, stage: Stage, number: int | None = None) -> View:
    """Return the fold with the rows that a stage trains and validates on.

    Args:
        view: The fold.
        task: The task.
        stage: The stage.
        number: As for `key_of`.

    Raises:
        DataError: When negatives are selected but positives are unknown, or no row is left.
    """
    train, val = view.train, view.val
    if stage.negatives is not None:
        train = _with_ratio("negatives", view, task, train, stage.negatives, task.samples.learned, number)
    if stage.val_negatives is not None:
        val = _with_ratio("val_negatives", view, task, val, stage.val_negatives, task.samples.targets, number)
    return replace(view, train=train, val=val)


def _with_ratio(
    key: str, view: View, task: Task, rows: Rows, ratio: int, targets: npt.NDArray[Any], number: int | None
) -> npt.NDArray[np.int64]:
    """Select rows of one part of a fold with `ratio` negatives per positive, by the targets of this part.

    Rows that only a teacher has labelled are neither, and all of them stay.
    """
    is_known = has_target(targets[rows]) | (task.samples.positives is not None)
    known_rows = rows[is_known]
    chosen = with_negatives(known_rows, _positives(task, targets, number)[known_rows], ratio)
    chosen = np.concatenate([chosen, rows[~is_known]])
    if not len(chosen):
        wrong = f"no {'val' if key == 'val_negatives' else 'train'} image of {view.name} is left"
        raise DataError(problem(f"{key_of(number)}.{key}", wrong, got=ratio, fix="keep more of them"))
    return chosen


def _positives(task: Task, targets: npt.NDArray[Any], number: int | None) -> npt.NDArray[np.bool_]:
    if task.samples.positives is not None:
        return task.samples.positives
    positives = kind.of(task.kind).positives(targets)
    if positives is None:
        fix = "give the data set isPositive(i) (task=items), or leave negatives out"
        raise DataError(problem(f"{key_of(number)}.negatives", "nobody said which images are positive", fix=fix))
    return positives


@dataclass(frozen=True)
class OptimizerMemory:
    """The state of an optimizer at the end of a stage.

    Attributes:
        states: The state of each parameter by its name.
        rates: The rate of each parameter group.
    """

    states: Mapping[str, Any]
    rates: list[float]

    @staticmethod
    def of(network: nn.Module, optimizer: Optimizer) -> OptimizerMemory:
        """Return the state of a network's optimizer."""
        known = {
            name: optimizer.state[parameter]
            for name, parameter in network.named_parameters()
            if parameter in optimizer.state
        }
        return OptimizerMemory(known, [float(group["lr"]) for group in optimizer.param_groups])

    def load_into(self, network: nn.Module, optimizer: Optimizer, *, rates: bool) -> None:
        """Load the state into the next stage's optimizer; parameters that were not trained before start anew.

        Args:
            network: The network.
            optimizer: Changed in place.
            rates: Whether its learning rates continue too; layers that were not trained before keep their share of them.
        """
        learned = {id(tensor) for group in optimizer.param_groups for tensor in group["params"]}
        for name, parameter in network.named_parameters():
            if name in self.states and id(parameter) in learned:
                optimizer.state[parameter] = self.states[name]
        if not rates or not self.rates:
            return
        # Groups are ordered from the heads towards the pixels: newly trained layers follow the others.
        change = self.rates[0] / float(optimizer.param_groups[0]["lr"])
        for number, group in enumerate(optimizer.param_groups):
            group["lr"] = self.rates[number] if number < len(self.rates) else group["lr"] * change


def learning(network: nn.Module) -> frozenset[str]:
    """Return the names of the trainable parameters."""
    return frozenset(name for name, parameter in network.named_parameters() if parameter.requires_grad)


def prepare(network: nn.Module, stage: Stage, at_first: frozenset[str], number: int | None = None) -> str:
    """Load a stage's weights, if it names any, and set which parameters it trains.

    Args:
        network: The network, changed in place.
        stage: The stage.
        at_first: Trainable parameters if the stage does not specify any: the result of `learning` before the first stage.
        number: As for `key_of`.

    Returns:
        A report on the weights that it starts from; empty if it names none.

    Raises:
        DataError: When the weights do not fit.
        ConfigError: When the network does not have the stages to freeze.
    """
    begun = ""
    if stage.initial_weights is not None:
        path = current_folder.expanded(stage.initial_weights)
        if not path.is_file():
            wrong, fix = "there is no such file", "name a file of weights"
            raise DataError(problem(f"{key_of(number)}.initial_weights", wrong, got=str(path), fix=fix))
        begun = initial_weights.load(network, _start(path, stage, key_of(number)))
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(stage.freeze is not None or name in at_first)
    if stage.freeze is not None:
        adapt.freeze(network, stage.freeze)
    adapt.freeze_statistics(network, stage.batch_statistics == "frozen")
    # Parts that an earlier stage kept in evaluation mode are trained again.
    network.train()
    return begun


def _start(path: Path, stage: Stage, key: str) -> Start:
    start = initial_weights.of_file(str(path), stage.weights_strict)
    return replace(start, key=f"{key}.initial_weights", allow="weights_strict: false to the stage")


def check(recipe: Recipe, task: Task, pack: Pack, rows: Rows, network: nn.Module) -> None:
    """Check that every listed stage can be trained, before anything is written.

    Args:
        recipe: The recipe.
        task: The task.
        pack: Its cached images.
        rows: The training rows of a fold.
        network: A network of the recipe, which each stage changes in place.

    Raises:
        DataError: When a weights file is missing or does not fit, or the network cannot take images of a stage's size.
        ConfigError: When a loss or a callback does not fit, the network does not have the stages to freeze or a head to fit,
            or a stage continues with a learning rate of 0.
    """
    at_first, memory = learning(network), OptimizerMemory({}, [])
    for number, stage in enumerate(recipe.stages):
        key = "preprocessing.size" if stage.size is None else f"{key_of(number)}.size"
        if stage.head is not None and not isinstance(network, Classifier):
            wrong, fix = "fits the head of one of timm's networks", "use stages=freeze_then_finetune"
            raise ConfigError(problem(f"{key_of(number)}.head", wrong, got=recipe.arch.title, fix=fix))
        view = view_of(View(task.name, 0, rows, rows, rows[:0], rows[:0]), task, stage, number)
        prepare(network, stage, at_first, number)
        changed = recipe_of(recipe, stage)
        build_loss(changed, task, rows)
        if not exact_heads.has_no_steps(changed):
            direction = monitoring.monitor_direction(changed)
            build_callbacks(changed, direction)
            carried = memory if stage.carry and stage.lr is None else OptimizerMemory({}, [])
            if carried.rates and max(carried.rates) < _NO_RATE:
                wrong = "goes on with the rate that the stage before ends at, which is 0"
                fix = "give this stage an lr, or the one before lr_scheduler: none"
                raise ConfigError(problem(f"stages.list[{number}].carry", wrong, fix=fix))
            data = fold_data(changed, task, view, pack, 0)
            sizes = data.batch_sizes(0)[0]
            build = build_optimizers(changed, len(sizes), direction, partial(carried.load_into, rates=True))
            optimizer, schedule = build(network)
            if any(later.carry and later.lr is None for later in recipe.stages[number + 1 :]):
                steps = steps_per_epoch(changed, len(sizes))
                memory = OptimizerMemory({}, _last_rates(optimizer, schedule, epochs_of(changed, steps), steps))
            image = next(iter(data.rows_dataloader(rows[:1])))["images"].float()
            if stage.size is not None:
                image, _ = batches.resize(size=stage.size)(image, image, 1)
            title = recipe.arch.title
            smallest_batch.check(network, image, sizes, batch_size(changed), title, key)


def _last_rates(optimizer: Optimizer, description: Mapping[str, Any], epochs: float, steps: int) -> list[float]:
    """Return the rates after `epochs` epochs of `steps` steps; the initial ones if they depend on measurements."""
    schedule = description["scheduler"]
    ticks = round(epochs * steps) if description["interval"] == "step" else int(epochs)
    with warnings.catch_warnings():
        # Torch warns because the optimizer makes no steps.
        warnings.simplefilter("ignore")
        for _ in range(0 if "monitor" in description else ticks):
            schedule.step()
    return [float(group["lr"]) for group in optimizer.param_groups]


def load_network_state(network: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Load the network's part of a module's state.

    Args:
        network: The network, changed in place.
        state: The state of a FoldModule.
    """
    own = {name.removeprefix(_NETWORK): tensor for name, tensor in state.items() if name.startswith(_NETWORK)}
    network.load_state_dict(own)


def start_at(trainer: pl.Trainer, epoch: int) -> None:
    """Continue a trainer's epoch count from the stages before, so that its random draws are new ones."""
    progress: Any = trainer.fit_loop.epoch_progress
    for counts in (progress.current, progress.total):
        counts.ready = counts.started = counts.processed = counts.completed = epoch


@dataclass(frozen=True)
class Position:
    """The position of a saved state in a fold's training.

    Attributes:
        stage: The stage of the state.
        before: Epochs of the stages before.
        epochs: Epochs of all stages that are done.
        step: Steps of the stage that are done.
        rates: The initial rate of each parameter group in the stage, possibly continued from the stage before.
    """

    stage: int = 0
    before: int = 0
    epochs: int = 0
    step: int = 0
    rates: tuple[float, ...] = ()


def position(folder: Path) -> Position:
    """Return the position of a saved state; the beginning if nothing is saved."""
    if not checkpoints.exists(folder):
        return Position()
    stored: dict[str, Any] = checkpoints.PlainCheckpointIO().load_checkpoint(folder)
    stage, history = int(stored.get("stage", 0)), stored["history"]
    before = sum(int(row.get("stage", 0)) < stage for row in history)
    optimizers: list[dict[str, Any]] = stored.get("optimizer_states") or [{}]
    rates = [float(group.get("initial_lr", group["lr"])) for group in optimizers[0].get("param_groups", ())]
    return Position(stage, before, len(history), int(stored.get("global_step", 0)), tuple(rates))
