"""The network of a recipe for a task, with its initial weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from mlpipe import kinds
from mlpipe.arch import initial_weights
from mlpipe.arch.classifier import Classifier, Head, Pixels
from mlpipe.arch.initial_weights import Start
from mlpipe.config import components
from mlpipe.config.components import Component
from mlpipe.config.schema import Recipe
from mlpipe.data import sources
from mlpipe.data.augment import geometry, libraries, samples
from mlpipe.data.cache.packs import Pack
from mlpipe.data.records import outputs
from mlpipe.data.sampling import Rows
from mlpipe.data.splits.variants import View
from mlpipe.data.task import Task
from mlpipe.errors import ConfigError, problem
from mlpipe.learn import exact_heads, kind, slicing
from mlpipe.learn.build.loaders import fold_data
from mlpipe.learn.build.loss import compares_in_units, heads_of
from mlpipe.learn.kind import Scale
from mlpipe.learn.losses import equations
from mlpipe.learn.module import TARGET

# Number of images whose targets a network may examine, and number of them in memory at a time.
_LOOKED_AT, _AT_ONCE = 2000, 100


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
    """Build the recipe's network for a task.

    Args:
        recipe: The recipe.
        task: The task.
        pack: Its cached images.
        seed: Seed of new weights.
        rows: For regression the training rows, whose mean and deviation scale the network's numbers; None when weights that
            contain the scale are loaded.
        pretrained: False for a network into which stored weights are loaded next: skips weights that will be replaced, and
            low-rank additions, which are stored merged.
        bare: Leave low-rank additions out in any case.
        others: Further heads by name, for tasks that are trained together with this one.
    """
    task = _with_recipe_heads(task, recipe)
    arch = recipe.arch if pretrained else without_weights(recipe.arch)
    torch.manual_seed(seed)
    cells: slicing.Cells | None = recipe.slicing.build()
    pixels, own = _pixels(recipe, task, pack, cells), _own_head(recipe, task, pack, rows)
    network = arch.build({TARGET: own, **(others or {})}, pixels)
    if not isinstance(network, nn.Module):
        raise ConfigError(problem("arch._target_", "must give a torch.nn.Module", got=type(network).__name__))
    if heads_of(task) and not isinstance(network, Classifier):
        fix = "use a network of timm, or a function of your own"
        raise ConfigError(problem("arch", "has no heads with activations", got=arch.target, fix=fix))
    if isinstance(network, Classifier):
        exact = exact_heads.of(recipe)
        if exact is not None:
            layer = network.heads[TARGET]
            assert isinstance(layer, nn.Linear)
            network.mirrored, network.heads[TARGET] = exact.is_mirrored, exact.layer(task.kind, layer)
    if pretrained and not bare:
        recipe.peft.build(network)
    if cells is not None:
        if kinds.of(task.kind).is_dense or not kind.of(task.kind).VIEWS_HAVE_MEAN:
            wrong = f"joins no {kinds.of(task.kind).words.TARGETS}"
            raise ConfigError(problem("slicing", wrong, got="crops", fix="use slicing=none"))
        slicing.attach(network, cells, {TARGET: task.kind})
    return network


def _pixels(recipe: Recipe, task: Task, pack: Pack, cells: slicing.Cells | None) -> Pixels:
    """Return the facts about the network's input."""
    *sides, channels = seen_shape(recipe, pack)
    if cells is not None:
        sides = list(cells.size(*sides))
    return Pixels(
        channels,
        sides[0],
        pack.peak,
        recipe.augmentations.normalization,
        *_record_inputs(task),
        width=sides[-1],
        output=outputs.name_of(task.source),
        shape=() if len(sides) == 2 else tuple(sides),
        parts=tuple((task.bases or (task,))[0].source.get("inputs", ())),
    )


def _own_head(recipe: Recipe, task: Task, pack: Pack, rows: Rows | None) -> Head:
    """Return the network's head for the task."""
    # The network decides the number of times of a solution over time.
    over_time = equations.is_over_time(task.kind, recipe.loss)
    predicted = kinds.decide(task.kind, recipe.loss)
    own = replace(head(task, rows, predicted), any_height=over_time, sides=target_sides(recipe, task, pack))
    if own.draws:
        own = replace(own, classes=len(task.classes) if has_learnable_classes(task) else 0)
    return own if rows is None else replace(own, targets=partial(seen_targets, recipe, task, pack, rows))


def _record_inputs(task: Task) -> tuple[tuple[tuple[str, tuple[int, ...]], ...], Mapping[str, Any]]:
    """Return inputs and network parameters of a task of records; both empty for images."""
    layout = sources.open(task).layout
    return ((), {}) if layout is None else (layout.inputs, task.source["network_params"])


def _with_recipe_heads(task: Task, recipe: Recipe) -> Task:
    """Return the task with the heads of the recipe, because its stored description may be that of another recipe."""
    if recipe.heads is None:
        return task
    base = (task.bases or (task,))[0]
    own_base = replace(base, source={**base.source, "heads": list(recipe.heads)})
    return replace(task, bases=(own_base, *task.bases[1:])) if task.bases else own_base


def without_weights(arch: Component) -> Component:
    """Return the arch with random weights, for a network whose weights are loaded later or not needed.

    Args:
        arch: The recipe's `arch` section.
    """
    return Component(arch.slot, arch.target, components.with_random_weights(arch.target, arch.params))


def started_network(
    recipe: Recipe, task: Task, pack: Pack, seed: int, rows: Rows, start: Start | None
) -> tuple[nn.Module, str]:
    """Return the network at the start of a training, and a report on its initial weights (empty for random ones).

    Args:
        recipe: The recipe.
        task: The task.
        pack: Its cached images.
        seed: Seed of new weights.
        rows: The training rows.
        start: Weights to start from; None: those specified by the recipe's arch.

    Raises:
        DataError: When the weights do not fit.
    """
    if start is None:
        network = build_network(recipe, task, pack, seed=seed, rows=rows)
        return network, weights_report(network)
    # Pretrained weights matter if the weights to start from may be incomplete.
    network = build_network(recipe, task, pack, seed=seed, rows=rows, pretrained=start.allow_missing, bare=True)
    report = initial_weights.load(network, start)
    recipe.peft.build(network)
    return network, report


def weights_report(network: nn.Module) -> str:
    """Return the report on the weights that a network was built with; empty if they are random."""
    return str(getattr(network, "begun", ""))


def has_learnable_classes(task: Task) -> bool:
    """Whether each image of a task belongs to one class."""
    its = kinds.of(task.kind)
    return its.has_classes and not its.is_dense


def head(task: Task, rows: Rows | None, predicted: str | None = None) -> Head:
    """Return the final layers of a network for a task.

    Args:
        task: The task.
        rows: The training rows, whose targets define the unit of numbers; None when weights that contain it are loaded.
        predicted: The kind of the run; None: the task's kind.
    """
    predicted = predicted or task.kind
    scale = scale_of(task, rows, predicted) if rows is not None else None
    return kind.of(predicted).head(len(task.classes), scale, heads_of(task))


def scale_of(task: Task, rows: Rows, predicted: str) -> Scale | None:
    """Return the unit in which a loss compares a task's numbers, from its training rows; None: numbers are not scaled.

    Args:
        task: The task.
        rows: The training rows.
        predicted: The kind of the run.
    """
    if compares_in_units(task):
        return None
    return kind.of(predicted).scale(task.samples.learned[rows])


def seen_shape(recipe: Recipe, pack: Pack) -> tuple[int, ...]:
    """Return the spatial shape and channels of the network's input, after the steps applied to every image."""
    built = [step.build() for step in recipe.augmentations.cpu]
    steps = geometry.always([libraries.adapt(transform) for transform in built if libraries.changes_images(transform)])
    if not steps:
        return (*pack.shape, pack.channels)
    (changed,) = samples.apply(steps, pack.take(np.zeros(1, np.int64)), np.zeros(1, np.uint64))
    shape: tuple[int, ...] = (pack.preprocessing.fixed(changed) if pack.ragged else changed).shape
    return shape


def target_sides(recipe: Recipe, task: Task, pack: Pack) -> tuple[int, ...] | None:
    """Return the spatial shape of target images after the steps applied to every sample; None if there are none."""
    labelled = np.flatnonzero(task.samples.labelled & ~pack.unreadable_mask(task))
    if not kind.of(task.kind).TARGETS_HAVE_OWN_SHAPE or pack.masks is None or not len(labelled):
        return None
    rows = labelled[:1]
    data = fold_data(recipe, task, View(task.name, 0, rows, rows, rows[:0], rows[:0]), pack, 0)
    return tuple(int(side) for side in data.rows_dataset()[(0, rows)]["target"].shape[2:])


def seen_targets(recipe: Recipe, task: Task, pack: Pack, rows: Rows) -> Iterator[npt.NDArray[Any]]:
    """Yield the targets of training images as the network sees them, without random steps, some images at a time.

    Of a large number of images, an evenly spaced subset is used.

    Args:
        recipe: The recipe.
        task: The task.
        pack: Its cached images.
        rows: The training rows.
    """
    some = rows[np.linspace(0, len(rows) - 1, min(len(rows), _LOOKED_AT)).astype(int)]
    data = fold_data(recipe, task, View(task.name, 0, some, some, some[:0], some[:0]), pack, 0)
    dataset = data.rows_dataset()
    for part in np.array_split(some, -(-len(some) // _AT_ONCE)):
        yield dataset[(0, part)]["target"].numpy()
