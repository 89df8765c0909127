"""Ensembles of masks, target images and solutions (`mml post`): the folds' mean at each test pixel, with scores."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mlpipe import files, kinds
from mlpipe.config.schema import RunConfig
from mlpipe.data.task import Task
from mlpipe.errors import counted
from mlpipe.post import kind as post_kind
from mlpipe.post.intervals import by_metric
from mlpipe.reports import tables
from mlpipe.running import leaderboard, tasks
from mlpipe.running.steps import RunContext
from mlpipe.runs import ensembles, maps, predictions, records
from mlpipe.runs.ensembles import EnsembleRecord
from mlpipe.runs.journal import Run, now
from mlpipe.runs.records import ModelRecord

log = logging.getLogger("mlpipe")

Values = npt.NDArray[np.floating]
# Evaluates a mean over folds, given its values and the true ones.
Judge = Callable[[Values, Values | None], tuple[npt.NDArray[np.float32], ...]]
Mean = Callable[[Sequence[maps.Maps], str, str, maps.MapsWriter], tuple[npt.NDArray[np.float32], ...]]


def mean_of_folds(
    config: RunConfig,
    context: RunContext,
    task: Task,
    models: Sequence[ModelRecord],
    run: Run | None,
    *,
    chose: Collection[str] = (),
) -> None:
    """Average the newest recipe's folds on the test images, or use their refit's predictions, and store the ensemble.

    Args:
        config: The checked configuration.
        context: The project; its facts receive the paths of the files.
        task: The task.
        models: Its records.
        run: The run.
        chose: Test images that took part in a choice, so that they give no unbiased estimate.
    """
    assert run is not None
    of_recipe = [record for record in models if record.recipe == models[-1].recipe]
    folds = records.newest_folds(of_recipe)
    refit = records.newest_refit(of_recipe, folds)
    predicting = folds if refit is None else [refit]
    kind = folds[0].kind
    log.info(_note(kind))
    ids = [sample_id for sample_id in _shared_test_ids(context, predicting) if sample_id not in chose]
    if not ids:
        why = "there are no test images that all folds predicted (split.test_fraction=0.2 sets some aside)"
        log.info(f"no ensemble: {why}; the report shows each fold's validation images")
        return
    pivot, name = task.name, f"mean-{files.digest([run.name, folds[0].recipe])[:8]}"
    path = context.project.ensembles_dir(pivot) / f"{name}.parquet"
    outputs, targets, mean = [], [], _mean_of(config, task, folds[0])
    with ExitStack() as stack:
        opened = [stack.enter_context(maps.Maps(_maps_file(context, record))) for record in predicting]
        sink = stack.enter_context(maps.writer(path.with_suffix(maps.SUFFIX)))
        for sample in ids:
            context.stop.check()
            counted = mean(opened, pivot, sample, sink)
            outputs.append(counted[0])
            targets.append(counted[1])
    rows = predictions.Predictions(ids, np.stack(targets), np.stack(outputs))
    with predictions.writer(path, (), kind) as table:
        table.add(pivot, "test", -1, rows.sample_ids, rows.targets, rows.logits)
    _store(config, context, task, folds, refit, rows, name, run)


def _note(kind: str) -> str:
    """Return the note on what is not done for a kind."""
    return f"{kinds.of(kind).words.VALUES} are not calibrated, and no weights are searched: folds count the same"


def _mean_of(config: RunConfig, task: Task, record: ModelRecord) -> Mean:
    """Return the function that averages the folds of a record's recipe for a sample."""
    if kinds.of(record.kind).has_classes:
        return _mean_mask
    # Images are compared with the task's targets; without targets, the loss is used.
    if record.kind == task.kind:
        return partial(_mean_image, maps.errors)
    import torch

    from mlpipe.learn import kind as learning
    from mlpipe.learn.build.loss import build_loss

    loss = build_loss(tasks.config_of(config, record).recipe, task, np.arange(len(task.samples)))

    def judged(solution: Values, true: Values | None) -> tuple[npt.NDArray[np.float32], ...]:
        """Return the equation's loss of one solution; for a mean of several, it is computed again."""
        if true is None:
            return np.zeros(1, np.float32), np.full(1, np.nan, np.float32)
        both = (torch.from_numpy(array.astype(np.float32))[None] for array in (solution, true))
        lost, known = (part[0].numpy().astype(np.float32) for part in learning.of(record.kind).rows(loss, *both))
        return lost, known

    return partial(_mean_image, judged)


def _mean_mask(
    opened: Sequence[maps.Maps], task: str, sample: str, sink: maps.MapsWriter
) -> tuple[npt.NDArray[np.float32], ...]:
    """Store the mean probabilities of a test image; return its counts of pixels."""
    chances, true = (
        maps.mean([archive.chances(task, "test", sample) for archive in opened]),
        opened[0].true(task, "test", sample),
    )
    sink.add(task, "test", sample, chances, true)
    return maps.counts(chances.argmax(axis=0), true, len(chances))


def _mean_image(
    judge: Judge, opened: Sequence[maps.Maps], task: str, sample: str, sink: maps.MapsWriter
) -> tuple[npt.NDArray[np.float32], ...]:
    """Store the mean image, or solution, of a test sample; return the result of `judge`."""
    parts, true = (
        [archive.values(task, "test", sample) for archive in opened],
        opened[0].true_values(task, "test", sample),
    )
    mean = np.mean([part.astype(np.float64) for part in parts], axis=0)
    sink.add(task, "test", sample, mean.astype(parts[0].dtype), true)
    return judge(mean, true)


def _maps_file(context: RunContext, record: ModelRecord) -> Path:
    return context.project.predictions_file(record.pivot, record.id).with_suffix(maps.SUFFIX)


def _shared_test_ids(context: RunContext, folds: Sequence[ModelRecord]) -> list[str]:
    """Return the test images, if every fold predicted the same ones."""
    id_lists = [
        predictions.load(context.project.predictions_file(record.pivot, record.id), record.pivot, "test").sample_ids
        for record in folds
    ]
    return id_lists[0] if all(ids == id_lists[0] for ids in id_lists) else []


def _store(
    config: RunConfig,
    context: RunContext,
    task: Task,
    folds: Sequence[ModelRecord],
    refit: ModelRecord | None,
    rows: predictions.Predictions,
    name: str,
    run: Run,
) -> None:
    of_group = task.samples.group_of()
    groups = np.array([of_group[sample] for sample in rows.sample_ids]) if of_group else None
    kind = folds[0].kind
    final = post_kind.of(kind).FINAL
    intervals = by_metric.metric_intervals(final, rows.logits, rows.targets, kind=kind, groups=groups, seed=config.seed)
    member = {"name": f"{folds[0].recipe} {folds[0].arch}", "weight": 1.0, "records": [fold.id for fold in folds]}
    record = EnsembleRecord(
        id=name,
        created=now(),
        run=run.name,
        task=task.name,
        kind=kind,
        classes=list(task.classes),
        members=[member if refit is None else {**member, "refit": refit.id}],
        mixing=post_kind.weighted(kind),
        way="mean of folds" if refit is None else "refit of the folds",
        select_on="none",
        stage="none",
        calibration=None,
        prior={"kind": "val", "values": []},
        losses={},
        scores={"test": {key: interval.as_plain() for key, interval in intervals.items()}},
        notes=[_note(kind)],
    )
    path = ensembles.save(context.project, record)
    context.facts.update(task=task.name, ensemble=name, ensemble_file=str(path), scores=record.scores)
    log.info(
        f"\ntest, {'refit' if refit else 'mean'} of {counted(len(folds), 'fold')}:\n"
        + tables.scores(record.scores["test"], len(rows))
    )
    log.info(f"ensemble {name}: {path}")
    leaderboard.final(context, task.name, config.data_dir)
