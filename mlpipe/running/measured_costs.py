"""Costs of a task's models: one model of each recipe is timed, because its other folds have the same network."""

from __future__ import annotations

from mlpipe.config.schema import RunConfig
from mlpipe.errors import counted
from mlpipe.running import tasks
from mlpipe.running.steps import RunContext
from mlpipe.runs import costs, records
from mlpipe.runs.costs import Cost
from mlpipe.runs.records import ModelRecord


def of_task(config: RunConfig, context: RunContext, task: str) -> list[tuple[ModelRecord, Cost]]:
    """Return the newest model of each recipe that has weights, with its cost, measured if necessary.

    Args:
        config: The configuration, for the current folders.
        context: The project, the display and the request to stop.
        task: The task.

    Raises:
        ProjectError: When weights do not fit, or a stored cost is damaged.
    """
    groups: dict[str, list[ModelRecord]] = {}
    for record in records.load_all(context.project, task):
        if record.weights is not None:
            groups.setdefault(record.recipe, []).append(record)
    pairs = []
    context.display.start(f"measuring {counted(len(groups), 'recipe')}", len(groups))
    try:
        for number, group in enumerate(groups.values()):
            context.stop.check()
            pairs.append(_recipe_cost(config, context, group))
            context.display.update(number + 1)
    finally:
        context.display.close()
    return pairs


def _recipe_cost(config: RunConfig, context: RunContext, group: list[ModelRecord]) -> tuple[ModelRecord, Cost]:
    project, newest = context.project, group[-1]
    known = [cost for record in reversed(group) if (cost := costs.load(project, record)) is not None]
    cost = known[0] if known else _measured_cost(config, context, newest)
    for record in costs.records_without_cost(project, group):
        costs.save(project, record, cost)
    return newest, cost


def _measured_cost(config: RunConfig, context: RunContext, record: ModelRecord) -> Cost:
    from mlpipe.learn.build.network import seen_shape
    from mlpipe.predicting import cost_measurement
    from mlpipe.predicting.model import Model

    stored = tasks.config_of(config, record)
    pivot = tasks.recorded_pivot(stored, context.project)
    pack = tasks.pack_of(stored, pivot, context)
    weights = context.project.model_dir(record.pivot, record.id) / records.WEIGHTS_FILE
    model = Model.of_record(stored.recipe, weights, pivot, pack, record.co_tasks)
    *sides, channels = seen_shape(stored.recipe, pack)
    return cost_measurement.measured(model, (channels, *sides), weights.stat().st_size)
