"""The job of a fold: what is learned, where its results go, and the callbacks by which the outside follows it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mlpipe import kinds
from mlpipe.arch.initial_weights import Start
from mlpipe.config.components import Component
from mlpipe.config.schema import Healing, Recipe
from mlpipe.data.cache.packs import Pack
from mlpipe.data.sampling import WHOLE, Shard
from mlpipe.data.splits.variants import View
from mlpipe.data.task import Task
from mlpipe.errors import Interrupted
from mlpipe.learn.callbacks.progress import Tick
from mlpipe.learn.multitask import Joint
from mlpipe.post.teaching import Teaching
from mlpipe.runs.project import Project


@dataclass(frozen=True)
class FoldFiles:
    """What the training of a fold writes, and where.

    Attributes:
        project: Where the record goes.
        record_id: The record's id.
        checkpoint: The folder of the state to resume from.
        logging: What writes the training's curves.
        logs: The folder that they go to.
        store_best: Keep the best epoch's weights instead of the last one's.
        store_parameters: Keep weights at all.
        folds_left: How many folds are still to be written, this one included.
    """

    project: Project
    record_id: str
    checkpoint: Path
    logging: Component
    logs: Path
    store_best: bool
    store_parameters: bool
    folds_left: int = 1


@dataclass(frozen=True)
class Origin:
    """What a record says of the command that it comes from; the training does not depend on it.

    Attributes:
        run: The run's name.
        recipe_hash: What groups the folds.
        pipeline: The configuration that is stored with the record, as YAML.
        nested: Whether the fold is a nested variant.
        val_used_for: What validation decided besides being a score.
        tuned: What `tune` chose before the first fold, such as `lr`; the recipe has it already.
        refit: The ids of the fold records that it stands for, where it learns from all folds; empty for a fold.
    """

    run: str
    recipe_hash: str
    pipeline: str
    nested: bool
    val_used_for: list[str]
    tuned: Mapping[str, float] = field(default_factory=dict)
    refit: Sequence[str] = ()


@dataclass(frozen=True)
class FoldJob:
    """Everything that one fold's training is given.

    Attributes:
        recipe: How to learn.
        task: The task.
        view: The rows of this fold.
        pack: The cached images.
        files: What is written, and where.
        origin: What the record says of the command.
        joint: Other tasks that are learned with it; None: it is learned alone.
        start: Weights that training starts from; None: as the recipe's arch says.
        num_workers: Loader processes.
        shard: This process's part of every batch, where several learn the fold together.
        healing: The recoveries that are allowed when something goes wrong.
        seconds: Seconds after which the training ends by itself, from its first stage to its last; None: no limit.
        lasting: How many epochs of each stage are done, in the midst of its schedule; empty: all.
        teaching: What a teacher predicted, which is learned beside the targets; None: there is no teacher.
    """

    recipe: Recipe
    task: Task
    view: View
    pack: Pack
    files: FoldFiles
    origin: Origin
    joint: Joint | None = None
    start: Start | None = None
    num_workers: int = 0
    shard: Shard = WHOLE
    healing: Healing = field(default_factory=Healing)
    seconds: float | None = None
    lasting: tuple[int, ...] = ()
    teaching: Teaching | None = None

    @property
    def kind(self) -> str:
        """The kind of the task."""
        return kinds.decide(self.task.kind, self.recipe.loss)

    @property
    def title(self) -> str:
        """Task and fold, or `refit`, as messages begin."""
        return f"{self.view.task} {self.view.name}"


@dataclass(frozen=True)
class Watch:
    """How the outside follows a training and stops it.

    Attributes:
        should_stop: Asked after every batch.
        report: Told after every batch.
        log: Told what a person may want to know, for the log.
        told: Told what a person should know.
        epoch: Told the epoch and metrics.monitor after every epoch; what it raises ends the training.
        row: Told the epoch and everything measured after every epoch.
        history: Told all epochs so far, as the record's table will have them, before each epoch and at the end.
        healed: Told of each trouble that the training recovered from, see `mlpipe.learn.recovery`.
    """

    should_stop: Callable[[], bool] = lambda: False
    report: Callable[[Tick], None] = lambda tick: None
    log: Callable[[str], None] = field(default=lambda text: None)
    told: Callable[[str], None] = field(default=lambda text: None)
    epoch: Callable[[int, float], None] = field(default=lambda epoch, score: None)
    healed: Callable[[dict[str, Any]], None] = field(default=lambda event: None)
    row: Callable[[int, dict[str, float]], None] = field(default=lambda epoch, values: None)
    history: Callable[[Sequence[Mapping[str, float]]], None] = field(default=lambda rows: None)

    def stop_if_asked(self) -> None:
        """End the training where somebody wants that.

        Raises:
            Interrupted: When asked to stop.
        """
        if self.should_stop():
            raise Interrupted("stopped as asked")
