"""The request and the common steps of training, predicting and testing the folds of a task."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from mlpipe.config.schema import RunConfig
from mlpipe.data.records import outputs
from mlpipe.data.task import Task
from mlpipe.errors import DataError, listing, problem
from mlpipe.running import leaderboard, tasks
from mlpipe.running.folds import co_tasks, output_records
from mlpipe.running.folds.fold_predictions import Inference
from mlpipe.running.folds.fold_training import Storage
from mlpipe.running.folds.folds import Folds
from mlpipe.running.steps import RunContext, Step, raise_all
from mlpipe.runs import records
from mlpipe.runs.journal import Run
from mlpipe.runs.records import ModelRecord

log = logging.getLogger("mlpipe")

# What a step does with the record of a fold, by the step's name.
Calls = Sequence[tuple[str, Callable[[ModelRecord], None]]]


@dataclass(frozen=True)
class Request:
    """The keys of a mode that concern the folds.

    Attributes:
        subroutines: Any of train, predict, test, in this order.
        cv: One model for each fold; False: fold 0 only.
        nested: Set each fold aside as test data and split the rest anew.
        folds: Only these folds; None: all.
        storage: What a training leaves behind.
        joint: Which tasks are learned together.
        eval_on: Tasks to predict and test instead of the pivot.
    """

    subroutines: Sequence[str]
    cv: bool
    nested: bool
    folds: Sequence[int] | None
    storage: Storage
    joint: co_tasks.Request
    eval_on: Sequence[str]

    @property
    def trains(self) -> bool:
        """Whether models are trained, rather than stored ones used."""
        return "train" in self.subroutines


def evaluated_tasks(config: RunConfig, task: Task, names: Sequence[str]) -> list[Task]:
    """The tasks of `mode.eval_on`.

    Args:
        config: The checked configuration.
        task: The pivot.
        names: Their names.

    Raises:
        ConfigError: With a sentence for each that is not there or has other classes than the pivot.
    """
    found, wrong = [], []
    for name in names:
        try:
            other = tasks.another(config, name)
        except DataError as error:
            wrong += [f"mode.eval_on: {sentence}" for sentence in error.problems]
            continue
        if (other.kind, other.classes) != (task.kind, task.classes):
            text = f"it is no {task.kind} task with the classes of {task.name}, it has {listing(other.classes)}"
            wrong.append(problem(f"mode.eval_on={name}", text, fix="name a task with the same classes"))
        found.append(other)
    raise_all(wrong)
    return found


def preprocessing(ground: Folds, of: Sequence[Task]) -> list[Step]:
    """A step for each task that decodes its images, where that is not done."""

    def step(one: Task, run: Run | None) -> None:
        ground.pack(one)

    return [Step(f"preprocess {one.name}", partial(step, one), in_project=False) for one in of]


def inferences(request: Request, inference: Inference) -> Calls:
    """The steps that follow each fold's training with its record, by the subroutines' names."""
    calls = {"predict": inference.predict, "test": inference.test}
    if outputs.names(inference.ground.task.source):
        # The numbers of all outputs side by side are nobody's predictions: each head has its own, made after a training.
        calls = {} if request.trains else {"predict": partial(output_records.write, inference.ground)}
    return [(name, call) for name, call in calls.items() if name in request.subroutines]


def last_steps(
    config: RunConfig,
    context: RunContext,
    task: Task,
    removals: Sequence[tuple[str, Callable[[Run | None], None]]],
    *,
    predicts_later: bool = False,
) -> list[Step]:
    """The leaderboard, and after everything else what `remove.parameters` deletes.

    Args:
        config: The checked configuration.
        context: The project, the display and the request to stop.
        task: The pivot.
        removals: What removes the weights of each record.
        predicts_later: Whether weights are kept and nothing was predicted yet, so that a person is told how it goes on.
    """
    chosen = removals if config.remove.parameters else []

    def board(run: Run | None) -> None:
        leaderboard.show(context, *output_records.task_names(task))
        if predicts_later and not chosen:
            words = "" if context.project.name == "default" else f" proj={context.project.name}"
            log.info(f"next: mml predict{words}, then mml post{words}, for calibration, intervals and the report")

    return [
        Step("leaderboard", board),
        *(Step(f"remove the weights of {name}", call) for name, call in chosen),
    ]


def remove_weights(context: RunContext, record: ModelRecord) -> None:
    """Do what `remove.parameters` asks for with one record."""
    records.without_weights(context.project, record, "removed after the run (remove.parameters)")
