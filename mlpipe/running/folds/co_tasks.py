"""Tasks that are trained together with the pivot: their rows, and problems of the request."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from mlpipe.config.components import Component
from mlpipe.config.schema import RunConfig
from mlpipe.data.cache.packs import Pack
from mlpipe.data.splits import checks, variants
from mlpipe.data.splits.variants import View
from mlpipe.data.task import Task
from mlpipe.errors import ConfigError, DataError, counted, listing, problem
from mlpipe.running import tasks

if TYPE_CHECKING:
    from mlpipe.learn.multitask import Joint

log = logging.getLogger("mlpipe")

# Separate from every fold's own draws, which are counted from 0.
_DRAW = 2**63


@dataclass(frozen=True)
class Request:
    """The mode's keys for several tasks.

    Attributes:
        multitask: The number of tasks, the pivot included; False: the pivot alone.
        co_tasks: The names of the others, or `random`: drawn from `task_list`.
        task_weights: The weight of each task's loss, the pivot's first; None: equal.
    """

    multitask: int | Literal[False]
    co_tasks: Literal["random"] | Sequence[str]
    task_weights: Literal["uncertainty"] | Sequence[float] | None

    @property
    def weights(self) -> tuple[float, ...] | Literal["uncertainty"]:
        """The weights, equal by default."""
        if isinstance(self.task_weights, str):
            return "uncertainty"
        return tuple(self.task_weights or (1.0,) * int(self.multitask))


def chosen(run_config: RunConfig, pivot: Task, request: Request) -> list[Task]:
    """Return the co-tasks: the named ones, or some of `task_list` drawn by the run's seed.

    Raises:
        ConfigError: When one does not exist, or is the pivot, or there are too few.
    """
    if request.multitask is False:
        return []
    if isinstance(request.co_tasks, str):
        candidates = [name for name in run_config.task_list if name != pivot.name]
        if len(candidates) < request.multitask - 1:
            wrong = f"names {counted(len(candidates), 'task')} beside {pivot.name}"
            raise ConfigError(problem("task_list", wrong, fix=f"name {request.multitask - 1} at least"))
        generator = np.random.Generator(np.random.Philox(key=[run_config.seed, _DRAW]))
        names = [candidates[place] for place in generator.choice(len(candidates), request.multitask - 1, replace=False)]
        log.info(f"co-tasks drawn by the seed: {listing(names)}")
    else:
        names = list(request.co_tasks)
    others, wrong_ones = [], []
    for name in names:
        try:
            others.append(tasks.other_task(run_config, name))
        except DataError as error:
            wrong_ones += [f"mode.co_tasks: {sentence}" for sentence in error.problems]
    twice = [task.name for task in others if [pivot.name, *(other.name for other in others)].count(task.name) > 1]
    if twice:
        wrong_ones.append(problem("mode.co_tasks", "is learned already", got=twice[0], fix="name other tasks"))
    if wrong_ones:
        raise ConfigError(wrong_ones)
    return others


def with_channels(run_config: RunConfig, together: Sequence[Task]) -> RunConfig:
    """Return the configuration with the largest number of channels of all tasks, if they differ.

    Raises:
        ConfigError: When the network's section has no `in_chans`.
    """
    arch = run_config.recipe.arch
    channels = max(task.channels for task in together)
    if len({task.channels for task in together}) == 1 or arch.params.get("in_chans") is not None:
        return run_config
    if "in_chans" not in arch.params:
        wrong = f"the tasks have images of {listing(sorted({task.channels for task in together}))} channels"
        raise ConfigError(problem("mode.co_tasks", wrong, fix="use arch=timm, or tasks with images alike"))
    log.info(f"arch.in_chans={channels}: the tasks' images have different numbers of channels")
    changed = Component(arch.slot, arch.target, {**arch.params, "in_chans": channels})
    tree = {**run_config.tree, "arch": {**run_config.tree["arch"], "in_chans": channels}}
    return replace(run_config, recipe=replace(run_config.recipe, arch=changed), tree=tree)


def size_problems(run_config: RunConfig, co_tasks: Sequence[Task]) -> list[str]:
    """Return a sentence for every co-task that cannot be split."""
    sentences = []
    for task in co_tasks:
        split = tasks.split_of_other(run_config, task)
        wrong = checks.size_problems(task.kind, task.samples, split, task.classes, nested=False)
        sentences += [f"co-task {task.name}: {sentence}" for sentence in wrong]
    return sentences


def views(run_config: RunConfig, pivot: Task, view: View, co_tasks: Sequence[tuple[Task, Pack]]) -> list[View]:
    """Return the rows of each co-task for a fold of the pivot: fold k validates, the others (in a refit all) train.

    Images and groups that the pivot does not train on in this fold are not trained on through another task.

    Args:
        run_config: The configuration, for the split.
        pivot: The pivot.
        view: The pivot's fold.
        co_tasks: The others with their packs.

    Raises:
        DataError: When a class of a co-task has no training image left.
    """
    held = np.setdiff1d(np.arange(len(pivot.samples)), view.train)
    images = {pivot.samples.digests[row] for row in held}
    groups = {pivot.samples.groups[row] for row in held} - {""} if pivot.samples.groups else set()
    task_views = []
    for task, pack in co_tasks:
        split = tasks.split_of_other(run_config, task)
        if view.fold == variants.REFIT:
            own = variants.whole(task, split)
        else:
            own = variants.plain(task, split, split.validated[view.fold % len(split.validated)])
        own = own.without(pack.unreadable_mask(task))
        names = task.samples.groups or ("",) * len(task.samples)
        train_rows = [row for row in own.train if task.samples.digests[row] not in images and names[row] not in groups]
        own = replace(own, train=np.array(train_rows, np.int64))
        is_judged, is_lenient = view.fold != variants.REFIT, checks.is_lenient(split, task.samples)
        variants.check(task, own, is_judged=is_judged, is_lenient=is_lenient)
        task_views.append(own)
    return task_views


def joint(
    run_config: RunConfig,
    pivot: Task,
    view: View,
    co_tasks: Sequence[Task],
    pack_of: Callable[[Task], Pack],
    request: Request,
) -> Joint:
    """Return the tasks that are trained together with a fold of the pivot."""
    from mlpipe.learn.multitask import Joint, Partner

    packed = [(task, pack_of(task)) for task in co_tasks]
    rows = views(run_config, pivot, view, packed)
    partners = tuple(Partner(task, own, pack) for (task, pack), own in zip(packed, rows, strict=True))
    return Joint(partners, request.weights)
