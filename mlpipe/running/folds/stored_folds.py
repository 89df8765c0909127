"""The plan of predicting and testing with the records of a task's latest cross-validation."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import partial

from mlpipe.config.schema import RunConfig
from mlpipe.data.task import Task
from mlpipe.errors import listing, problem
from mlpipe.running import dimension_checks, reuse, tasks
from mlpipe.running.folds import cross_validation, fold_predictions
from mlpipe.running.folds.cross_validation import Request
from mlpipe.running.folds.fold_predictions import Inference
from mlpipe.running.folds.folds import Folds, unknown_folds
from mlpipe.running.steps import RunContext, Step, raise_all
from mlpipe.runs import records, references
from mlpipe.runs.journal import Run
from mlpipe.runs.project import Project
from mlpipe.runs.records import ModelRecord
from mlpipe.runs.references import Located

log = logging.getLogger("mlpipe")


def steps(config: RunConfig, context: RunContext, task: Task, request: Request) -> list[Step]:
    """Every record's predictions and test; records of other projects are taken over first.

    Args:
        config: The checked configuration.
        context: The project, the display and the request to stop.
        task: The pivot.
        request: What the mode asks for.

    Raises:
        ConfigError: With a sentence for every problem.
        ProjectError: When there are no such records.
    """
    others = cross_validation.evaluated_tasks(config, task, request.eval_on)
    taken = reuse.elsewhere(config.reuse.models, "reuse.models", config, task.name)
    chosen = _chosen(context.project, task, [one.record for one in taken], request.folds)
    if not fold_predictions.views_are_stored(config):
        raise_all(dimension_checks.view_problems(config.recipe.tta, task))
        config.recipe.tta.build(1.0)
    homes = {one.record.id: one.project for one in taken}
    stored = tasks.config_of(config, chosen[0], homes.get(chosen[0].id))
    ground = Folds(config, context, task, tasks.split_of(stored, task), chosen[0].nested, decoding=stored)
    log.info(f"records of {task.name}: {listing([record.id for record in chosen])}")
    plan = cross_validation.preprocessing(ground, others if request.eval_on else [task])
    names = [record.id for record in chosen]
    plan += [
        Step(f"take {one.record.id}", partial(_adopt, config, context.project, one))
        for one in taken
        if one.record.id in names
    ]
    with_own = partial(_with_own, context.project)
    for name, call in cross_validation.inferences(request, Inference(ground, others, homes)):
        plan += [Step(f"{name} {record.id}", partial(with_own, call, record)) for record in chosen]
    remove = partial(cross_validation.remove_weights, context)
    removals = [(record.id, partial(with_own, remove, record)) for record in chosen]
    return [*plan, *cross_validation.last_steps(config, context, task, removals)]


def _chosen(
    project: Project, task: Task, taken: Sequence[ModelRecord], wanted: Sequence[int] | None
) -> list[ModelRecord]:
    """The folds of the latest cross-validation that were asked for, in this project or among records of others."""
    found = records.latest_cross_validation(taken or records.load_all(project, task.name))
    if not found:
        raise records.untrained(project, task.name)
    there = [record.fold for record in found]
    raise_all(unknown_folds(wanted or [], there))
    chosen = [record for record in found if wanted is None or record.fold in wanted]
    fix = "train with mode.store_parameters=true"
    weightless = [record.id for record in chosen if record.weights is None]
    raise_all([problem(name, "has no weights to predict with", fix=fix) for name in weightless])
    return chosen


def _adopt(config: RunConfig, project: Project, one: Located, run: Run | None) -> None:
    references.check_weights(one, "reuse.models", config.out_dir)
    references.adopt(one, project, weights=True, predictions=False)


def _with_own(project: Project, call: Callable[[ModelRecord], None], record: ModelRecord, run: Run | None) -> None:
    """Call with the record as it is in this project now, a taken one's copy included."""
    call(records.load(project.model_dir(record.pivot, record.id)))
