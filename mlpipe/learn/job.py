"""The job of a fold: what to train, where its results go, and the callbacks that report its progress."""

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
    """The output files of a fold's training.

    Attributes:
        project: The project of the record.
        record_id: The record's id.
        checkpoint: The folder of the state to resume from.
        logging: The component that writes the training's curves.
        logs: The folder of the curves.
        store_best: Keep the best epoch's weights instead of the last one's.
        store_parameters: Keep weights at all.
        folds_left: Number of folds still to be written, including this one.
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
    """The facts about the command that a record stores; the training does not depend on them.

    Attributes:
        run: The run's name.
        recipe_hash: The hash by which folds are grouped.
        pipeline: The configuration that is stored with the record, as YAML.
        nested: Whether the fold is a nested variant.
        val_used_for: What validation decided besides being a score.
        tuned: Values chosen by `tune` before the first fold, such as `lr`; the recipe already contains them.
        refit: The ids of the fold records that a training on all folds stands for; empty for a fold.
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
    """The input of one fold's training.

    Attributes:
        recipe: The recipe.
        task: The task.
        view: The rows of this fold.
        pack: The cached images.
        files: The output files.
        origin: The facts about the command for the record.
        joint: Other tasks that are trained with it; None: it is trained alone.
        start: Weights that training starts from; None: those specified by the recipe's arch.
        num_workers: Loader processes.
        shard: This process's part of every batch, if several processes train the fold together.
        healing: The recoveries that are allowed when something goes wrong.
        seconds: Time limit of all stages together, after which the training ends by itself; None: no limit.
        lasting: Number of epochs of each stage, possibly in the middle of its schedule; empty: all.
        teaching: A teacher's predictions, learned in addition to the targets; None: there is no teacher.
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
        """Task and fold, or `refit`, the beginning of messages."""
        return f"{self.view.task} {self.view.name}"


@dataclass(frozen=True)
class Watch:
    """The callbacks that report on a training and can stop it.

    Attributes:
        should_stop: Asked after every batch.
        report: Called after every batch.
        log: Called with texts of possible interest to the user, for the log.
        told: Called with texts that the user should read.
        epoch: Called with the epoch and metrics.monitor after every epoch; an exception ends the training.
        row: Called with the epoch and all measurements after every epoch.
        history: Called with all epochs so far, as in the record's table, before each epoch and at the end.
        healed: Called for each trouble that the training recovered from, see `mlpipe.learn.recovery`.
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
        """End the training if a stop was requested.

        Raises:
            Interrupted: When a stop was requested.
        """
        if self.should_stop():
            raise Interrupted("stopped as asked")
