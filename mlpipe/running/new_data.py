"""Predictions for new images or arrays (`mml predict mode.source=DIR`): by every model, then mixed and written."""

from __future__ import annotations

import json
import logging
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mlpipe import kinds
from mlpipe.config.schema import RunConfig
from mlpipe.data import sources, task
from mlpipe.data.cache.packs import Pack
from mlpipe.data.task import Task
from mlpipe.errors import ConfigError, problem
from mlpipe.post import decisions
from mlpipe.post.ensembling import new_rows
from mlpipe.post.ensembling.new_rows import NewRows
from mlpipe.post.rows import in_order
from mlpipe.running import task_names, tasks
from mlpipe.running.folds.folds import num_workers
from mlpipe.running.predictor import LATEST
from mlpipe.running.steps import RunContext, Step, raise_all
from mlpipe.runs import ensembles, records
from mlpipe.runs.journal import Run
from mlpipe.runs.records import ModelRecord
from mlpipe.runs.references import Located

if TYPE_CHECKING:
    from mlpipe.predicting.kind import Part

log = logging.getLogger("mlpipe")

SPLIT = "unlabelled"


@dataclass(frozen=True)
class PredictionRequest:
    """The keys of `mml predict` for new images.

    Attributes:
        source: A folder, an archive or an image file; for a task of arrays, a file or folder of arrays.
        ensemble: `latest`, the name of an ensemble, or None: the refit of the latest cross-validation, without one the
            mean over its folds.
        deploy_prior: The prevalence where the images come from, one number for each class in order or by name; `estimate`:
            estimated from the images themselves; None: probabilities stay as calibrated.
        alpha: The miss rate of prediction sets and intervals; None: the ensemble's own.
    """

    source: str
    ensemble: str | None
    deploy_prior: str | list[float] | dict[str, float] | None
    alpha: float | None = None


@dataclass
class NewData:
    """The plan of a command that predicts new images.

    Attributes:
        config: The checked configuration.
        context: The project, the display and the request to stop.
        pivot: The task that the models were trained on.
        request: The request of the command.
        folds: Only these folds, if no ensemble was requested; None: all.
    """

    config: RunConfig
    context: RunContext
    pivot: Task
    request: PredictionRequest
    folds: Sequence[int] | None
    _packs: dict[Path, Pack] = field(default_factory=dict)

    def plan(self) -> list[Step]:
        """Plan to decode the samples, predict them with every record, mix and write."""
        from mlpipe.predicting import kind, pictures, tables

        self._is_dense = kinds.of(self.pivot.kind).is_dense
        if self.request.deploy_prior is not None:
            tables.refuse_prior(self.pivot.kind, "mode.deploy_prior")
        self._prior = in_order(self.request.deploy_prior, self.pivot.classes, key="mode.deploy_prior")
        if self._is_dense and self.request.alpha is not None:
            raise ConfigError(pictures.no_level(new_rows.ALPHA))
        project, ensemble_name = self.context.project, self.request.ensemble
        self._ensemble = (
            None if ensemble_name is None else ensembles.named(project, self.pivot.name, ensemble_name, "mode.ensemble")
        )
        self._members = new_rows.members_of(project, self.pivot.name, self._ensemble, self.folds)
        log.info(new_rows.told(project, self.pivot.name, self._ensemble, self._members, LATEST))
        if self._ensemble is not None and self.request.deploy_prior is not None:
            decisions.require_rows(self._ensemble, new_rows.rows_file(self.context.project, self._ensemble))
        used = {record.id: record for _, member_records, _ in self._members for record in member_records}
        if any(kinds.of(record.kind).draws for record in used.values()):
            wrong = "the newest models draw images from noise, and predict nothing of others"
            fix = "use mode.samples=64 in place of it"
            raise ConfigError(problem("mode.source", wrong, got=self.request.source, fix=fix))
        new_rows.require_level(project, self._ensemble, self.request.alpha)
        self._refuse_other_commands(list(used.values()))
        weightless = [model.id for member in self._members for model in member[1] if model.weights is None]
        fix = "train with mode.store_parameters=true"
        raise_all([problem(name, "has no weights to predict with", fix=fix) for name in weightless])
        self._new_task = self._make_task()
        steps = [
            Step(f"preprocess for {record.id}", partial(self._preprocess, record), in_project=False)
            for record in self._records_by_pack()
        ]
        steps += [Step(f"predict {record.id}", partial(self._predict, record)) for record in used.values()]
        part = kind.of(next(iter(used.values())).kind)
        if self._is_dense:
            recipes = (tasks.config_of(self.config, record).recipe for record in used.values())
            raise_all(pictures.step_problems(recipes))
        return [*steps, Step(part.NEW, partial(self._write, part))]

    def _refuse_other_commands(self, used: Sequence[ModelRecord]) -> None:
        """Refuse requests that need another command.

        Raises:
            ConfigError: When the models are for slices of volumes, or solve equations for samples that are not arrays.
        """
        if sources.open(self.pivot).cuts():
            name = Located(self.context.project, used[0]).name(self.config.out_dir)
            raise ConfigError(volume_sentence(self.pivot, name, self.request.source))
        if any(kinds.of(record.kind).rows_are_losses for record in used) and not sources.open(self.pivot).has_arrays:
            fix = "use mml evaluate with mode.outputs=DIR, and the initial values as a task"
            raise ConfigError(problem("mode.source", "is for files of images, these models solve an equation", fix=fix))

    def _make_task(self) -> Task:
        data_dir = str(self.config.data_dir)
        if sources.open(self.pivot).has_arrays:
            new_task = sources.new_arrays(root=self.request.source, like=self.pivot)
        else:
            new_task = sources.new_images(root=self.request.source, like=self.pivot, data_dir=data_dir)
        path = task_names.file_of(self.config.data_dir, new_task.name)
        if not path.is_file():
            task.save(new_task, path)
            noun = "samples" if sources.open(new_task).has_arrays else "images"
            log.info(f"{len(new_task.samples)} new {noun} as {new_task.name}")
        for note in new_task.notes:
            log.info(f"note on {new_task.name}: {note}")
        return new_task

    def _records_by_pack(self) -> list[ModelRecord]:
        by_folder = {self._pack_folder(record): record for _, several, _ in self._members for record in several}
        return list(by_folder.values())

    def _pack_folder(self, record: ModelRecord) -> Path:
        return tasks.pack_folder(tasks.config_of(self.config, record), self._new_task)

    def _preprocess(self, record: ModelRecord, run: Run | None) -> None:
        self._pack(record)

    def _pack(self, record: ModelRecord) -> Pack:
        folder = self._pack_folder(record)
        if folder not in self._packs:
            # Unreadable files are listed in the table; the others are still predicted.
            most = len(self._new_task.samples) - 1
            config = tasks.config_of(self.config, record)
            self._packs[folder] = tasks.pack_of(config, self._new_task, self.context, max_unreadable=most)
        return self._packs[folder]

    def _predict(self, record: ModelRecord, run: Run | None) -> None:
        from mlpipe.predicting.records import RowsToPredict, predict

        pack, project = self._pack(record), self.context.project
        rows = np.flatnonzero(~pack.unreadable_mask(self._new_task))
        self.context.display.start(f"predicting with {record.id}", 1)
        try:
            predict(
                tasks.config_of(self.config, record).recipe,
                project.model_dir(record.pivot, record.id) / records.WEIGHTS_FILE,
                record.fold,
                [RowsToPredict(self._new_task.name, SPLIT, self._new_task, pack, rows)],
                project.predictions_file(record.pivot, record.id),
                num_workers=num_workers(self.config),
                should_stop=self.context.stop,
                co_tasks=record.co_tasks,
            )
        finally:
            self.context.display.close()

    def _write(self, part: Part, run: Run | None) -> None:
        """Mix the predictions, and write a table, or a file for each sample."""
        from mlpipe.predicting.new_samples import NewSamples, Used

        context, config = self.context, self.config
        models = [
            Used(
                record, weight / len(several), tasks.config_of(config, record).recipe, self._pack(record).preprocessing
            )
            for _, several, weight in self._members
            for record in several
        ]
        unreadable = {name: reason for pack in self._packs.values() for name, reason in pack.unreadable.items()}
        new = NewSamples(
            self.request.source,
            self.pivot,
            self._new_task,
            models,
            self._rows(),
            unreadable,
            self._prior,
            config.data_dir,
            self._note_progress,
        )
        if self._is_dense:
            context.display.start(f"writing {part.NEW}", len(self._new_task.samples))
        try:
            context.facts.update(part.write_new(new))
        finally:
            context.display.close()

    def _rows(self) -> NewRows:
        return NewRows(
            self.context.project,
            self.pivot.kind,
            self.pivot.classes,
            self._ensemble,
            self._members,
            self._new_task.name,
            len(self._new_task.samples),
            SPLIT,
            self.config.seed,
            alpha=self.request.alpha,
            groups=self.pivot.samples.group_of() or None,
        )

    def _note_progress(self, number: int) -> None:
        self.context.stop.check()
        self.context.display.update(number)


def volume_sentence(pivot: Task, record: str, source: str) -> str:
    """Return the sentence with the command that predicts a volume.

    Args:
        pivot: The task of slices that the model was trained on.
        record: The model, `PROJ#3`.
        source: The volume.
    """
    sets = _text((pivot.bases or (pivot,))[0].source["slices"])
    words = [f"mode.record={record}", f"mode.source={source}", f"mode.slices={sets}", "mode.outfile=prediction.h5"]
    command = f"mml evaluate {shlex.join(words)}"
    return problem("mode.source", "a model of slices is applied to a whole volume by another command", fix=command)


def _text(value: Any) -> str:
    """Format a value for the command line, quoted only if necessary."""
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{key}:{_text(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(map(_text, value)) + "]"
    return value if isinstance(value, str) and value.replace("-", "_").isidentifier() else json.dumps(value)
