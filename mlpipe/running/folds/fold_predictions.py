"""Predictions of a stored record: which rows it predicts, and how they are tested."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mlpipe.config.schema import AUTO, Recipe, RunConfig
from mlpipe.data.cache.packs import Pack
from mlpipe.data.splits.variants import View, fold_name
from mlpipe.data.task import Task
from mlpipe.post import kind as post_kind
from mlpipe.post import metrics
from mlpipe.post.figures import number
from mlpipe.running import tasks
from mlpipe.running.folds.folds import Folds, num_workers
from mlpipe.runs import predictions, records
from mlpipe.runs.project import Project
from mlpipe.runs.records import ModelRecord

if TYPE_CHECKING:
    from mlpipe.predicting.records import RowsToPredict

log = logging.getLogger("mlpipe")


@dataclass(frozen=True)
class Inference:
    """Predict and test with records of one task.

    Attributes:
        folds: The task, its split and its images.
        instead: Tasks to predict instead of the pivot; empty: the pivot.
        homes: The projects of records that lie in other projects.
    """

    folds: Folds
    instead: Sequence[Task]
    homes: Mapping[str, Project] = field(default_factory=dict)

    def predict(self, record: ModelRecord) -> None:
        """Write a record's predictions."""
        from mlpipe.learn import tta
        from mlpipe.predicting.records import predict

        recipe, project, display = self._recipe(record), self.folds.context.project, self.folds.context.display
        requests = self._requests(record)
        display.start(f"predicting {record.id}", 1)
        try:
            count = 0
            for weights, out in self._files(record):
                count += predict(
                    recipe,
                    weights,
                    record.fold,
                    requests,
                    out,
                    num_workers=num_workers(self.folds.config),
                    should_stop=self.folds.context.stop,
                    co_tasks=record.co_tasks,
                )
        finally:
            display.close()
        if record.environment.get("tta", "none") != tta.label(recipe.tta):
            records.with_environment(project, record, tta=tta.label(recipe.tta))
        log.debug(f"{record.id}: {count} predictions")

    def test(self, record: ModelRecord) -> None:
        """Write a record's scores on test images, after predicting them if needed.

        A refit of nested folds has no scores if the task has no test part.
        """
        if record.refit and not self.instead and not len(self.folds.view(record.fold, nested=False).test):
            return
        project = self.folds.context.project
        path = project.predictions_file(record.pivot, record.id)
        names = [other.name for other in self.instead] or [record.task]
        record = self._current_record(record)
        contents = predictions.contents(path) if path.is_file() else {}
        if self._has_other_views(record) or any((name, "test") not in contents for name in names):
            self.predict(record)
            record = self._current_record(record)
        from mlpipe.learn.own_parts import own_metrics

        section = self.config_of(record).recipe.metrics
        own = own_metrics.measures(section, record.kind, len(record.classes))
        chosen = section.final
        final = post_kind.of(record.kind).FINAL if chosen == AUTO else list(chosen)
        scores, details, counts = {}, {}, {}
        for name in names:
            rows = predictions.load(path, name, "test")
            key = "test" if name == record.task else f"test:{name}"
            counts[key] = len(rows)
            scores[key] = metrics.compute(final, rows.logits, rows.targets, record.kind, own) if len(rows) else {}
            details[key] = metrics.details(rows.logits, rows.targets, record.classes, record.kind) if len(rows) else {}
        records.with_scores(project, record, scores, details)
        for name, values in scores.items():
            texts = {metric: number(value, counts[name]) or "-" for metric, value in values.items()}
            if self.folds.config.mode != "test":
                # The record and the report contain all of them.
                few = (post_kind.of(record.kind).HEADLINE, "nll", "loss")
                texts = {metric: texts[metric] for metric in few if metric in texts} or texts
            log.info(f"{self._record_name(record)}: {name} {', '.join(' '.join(pair) for pair in texts.items())}")
            for sentence in metrics.class_mean_notes(details[name].get("classes", []), values):
                log.info(f"  {sentence}")

    def _record_name(self, record: ModelRecord) -> str:
        """Return the name of a record in messages: a stored record for `mml test`, a fold for a training."""
        return record.id if self.folds.config.mode == "test" else fold_name(record.fold)

    def config_of(self, record: ModelRecord) -> RunConfig:
        """Return the configuration of a record, with the current folders."""
        return tasks.config_of(self.folds.config, record, self.homes.get(record.id))

    def _files(self, record: ModelRecord) -> list[tuple[Path, Path]]:
        """Return the paths of a record's weights and predictions, then those of stages that keep their own weights."""
        folder = self.folds.context.project.model_dir(record.pivot, record.id)
        own = folder / records.WEIGHTS_FILE, self.folds.context.project.predictions_file(record.pivot, record.id)
        stages = [] if self.instead else records.kept_stages(folder)
        return [
            own,
            *((records.stage_weights(folder, stage), records.stage_predictions(folder, stage)) for stage in stages),
        ]

    def _current_record(self, record: ModelRecord) -> ModelRecord:
        return records.load(self.folds.context.project.model_dir(record.pivot, record.id))

    def _recipe(self, record: ModelRecord) -> Recipe:
        """Return the recipe of a record, with the test-time views of this command if it names any."""
        recipe, views = self.config_of(record).recipe, self.folds.config.recipe.tta
        return recipe if views_are_stored(self.folds.config) else replace(recipe, tta=views)

    def _has_other_views(self, record: ModelRecord) -> bool:
        """Return whether a record's predictions were made with other test-time views than this command requests."""
        from mlpipe.learn import tta

        # Without requested views, predictions are tested as stored, whatever views they were made with.
        if views_are_stored(self.folds.config):
            return False
        return bool(record.environment.get("tta", "none") != tta.label(self.folds.config.recipe.tta))

    def _requests(self, record: ModelRecord) -> list[RowsToPredict]:
        """Return the rows that a record predicts: its variant's validation and test, the pivot's test and unlabelled."""
        from mlpipe.predicting.records import RowsToPredict

        if self.instead:
            return [
                RowsToPredict(other.name, split, other, pack, rows)
                for other, pack in ((foreign_task, self.folds.pack(foreign_task)) for foreign_task in self.instead)
                for split, rows in _foreign_rows(other, pack).items()
            ]
        task = self.folds.task
        own = self.folds.view(record.fold, nested=record.nested)
        views: list[tuple[View, list[str]]] = [(own, ["val", "test", "unlabelled"])]
        if record.nested:
            views.append((self.folds.view(record.fold, nested=False), ["test", "unlabelled"]))
        pack = self.folds.pack(task)
        return [
            RowsToPredict(view.task, split, task, pack, view.rows()[split]) for view, names in views for split in names
        ]


def views_are_stored(config: RunConfig) -> bool:
    """Return whether each record uses the test-time views of its own training."""
    return config.recipe.tta.name == "stored"


def _foreign_rows(of: Task, pack: Pack) -> dict[str, np.ndarray[Any, np.dtype[np.int64]]]:
    """Return the rows of a task not trained on: its test part, else all labelled images; and the unlabelled ones."""
    readable = ~pack.unreadable_mask(of)
    test = of.samples.in_part("test")
    labelled = test if test.any() else of.samples.labelled
    return {
        "test": np.flatnonzero(labelled & readable),
        "unlabelled": np.flatnonzero(of.samples.in_part("unlabelled") & readable),
    }
