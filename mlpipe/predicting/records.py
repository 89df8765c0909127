"""Prediction with a stored fold: logits of any rows, written batch by batch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from mlpipe import kinds
from mlpipe.config.schema import Recipe
from mlpipe.data.cache.packs import Pack
from mlpipe.data.sampling import Rows
from mlpipe.data.task import Task
from mlpipe.errors import Interrupted
from mlpipe.learn import features, tta
from mlpipe.learn.build.loss import build_loss
from mlpipe.predicting import kind
from mlpipe.predicting.batches import TaskBatches
from mlpipe.predicting.model import Model, require_weights
from mlpipe.predicting.through import through
from mlpipe.runs.sinks import project


@dataclass(frozen=True)
class RowsToPredict:
    """Rows to predict.

    Attributes:
        name: The task's name in the predictions, such as `digits+nested?2`.
        split: `val`, `test` or `unlabelled`.
        task: The task that the rows are of.
        pack: Its cached images.
        rows: Row numbers.
    """

    name: str
    split: str
    task: Task
    pack: Pack
    rows: Rows


def predict(
    recipe: Recipe,
    weights: Path,
    fold: int,
    requests: Sequence[RowsToPredict],
    out: Path,
    *,
    num_workers: int,
    should_stop: Callable[[], bool] = lambda: False,
    co_tasks: Sequence[Mapping[str, Any]] = (),
) -> int:
    """Write the logits of all requested rows to one Parquet file, with at most a few thousand rows in memory.

    Args:
        recipe: The recipe that the weights were trained with; its `tta` gives the augmented views of each image.
        weights: The file of weights.
        fold: The fold's number, for the rows.
        requests: What to predict; empty row sets are skipped.
        out: The file to write.
        num_workers: Loader processes.
        should_stop: Called after every batch; returns whether to stop.
        co_tasks: The co-tasks in the record.

    Returns:
        The number of rows that were written.

    Raises:
        ProjectError: When the weights are missing or do not fit the recipe.
        TrainingError: When memory runs out with a single image.
    """
    require_weights(weights)
    name = kinds.decide(requests[0].task.kind, recipe.loss)
    part, pairs = kind.of(name), {(item.name, item.split) for item in requests}
    are_losses = kinds.of(name).rows_are_losses
    if are_losses:
        tta.refuse_views(recipe.tta)
    with project.opened(out, pairs, kind=name) as files:
        of_task = _ModelOfTask(recipe, weights, co_tasks)
        for request in requests:
            if len(request.rows) == 0:
                continue
            model = of_task.model(request.task, request.pack)
            loss = build_loss(recipe, request.task, request.rows).to(model.device) if are_losses else None
            views = recipe.tta.build(request.pack.peak)
            inputs = request.pack if views is not None else _inputs(recipe, model, request, should_stop)
            places = part.places(request.task, request.pack)
            batches = TaskBatches(recipe, request.task, inputs, request.rows, num_workers, places)
            sink = files.part(request.name, request.split, fold)
            for predicted in through(
                model,
                batches,
                views=views,
                keep=partial(part.kept, loss=loss),
                most=batches.most,
                stop=should_stop,
                where=request.name,
            ):
                sink.add(predicted)
    return sum(len(item.rows) for item in requests)


class _ModelOfTask:
    """Caches a record's model for the last task, because validation and test rows of one task use the same model."""

    def __init__(self, recipe: Recipe, weights: Path, co_tasks: Sequence[Mapping[str, Any]]) -> None:
        self._recipe, self._weights, self._co_tasks = recipe, weights, co_tasks
        self._task_and_pack: tuple[Task, Pack] | None = None
        self._model: Model | None = None

    def model(self, task: Task, pack: Pack) -> Model:
        """Return the model for the samples of a task."""
        if (
            self._model is None
            or self._task_and_pack is None
            or self._task_and_pack[0] is not task
            or self._task_and_pack[1] is not pack
        ):
            self._model = Model.of_record(self._recipe, self._weights, task, pack, self._co_tasks)
            self._task_and_pack = task, pack
        return self._model


def _inputs(recipe: Recipe, model: Model, rows: RowsToPredict, should_stop: Callable[[], bool]) -> Pack:
    """Return the images of some rows, or their features, mostly cached since a frozen backbone's head was fitted."""

    def stop() -> None:
        if should_stop():
            raise Interrupted("stopped as asked")

    return features.inputs(recipe, model.networks[0], rows.pack, np.asarray(rows.rows), stop)
