"""Import of an mml-core project (`mml upgrade mode.source=DIR`): records, predictions, weights and tasks."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mlpipe import files
from mlpipe.config import recipe_file, snapshot
from mlpipe.config.schema import RunConfig
from mlpipe.data.task import Task
from mlpipe.dialects import mml_core
from mlpipe.dialects.mml_core import Description, ForeignProject, Model
from mlpipe.errors import MlpipeError, ProjectError, in_short, listing, problem
from mlpipe.post import kind as post_kind
from mlpipe.post import metrics
from mlpipe.running import launch, tasks
from mlpipe.running.steps import RunContext, Step
from mlpipe.runs import predictions, records
from mlpipe.runs.journal import Run
from mlpipe.runs.records import ModelRecord

log = logging.getLogger("mlpipe")

_SPLITS = {"TEST": "test", "VAL": "val", "UNLABELLED": "unlabelled"}
Rows = dict[str, tuple[list[str], npt.NDArray[Any], npt.NDArray[np.float32]]]


class Import:
    """Import of one mml-core project into a native project.

    Args:
        config: The configuration of the command.
        context: The native project.
        source: The folder of the mml-core project.
        data: The folder of its tasks; None: they were imported before.

    Raises:
        ProjectError: When a folder is not of mml-core, or a task's description is missing.
    """

    def __init__(self, config: RunConfig, context: RunContext, source: Path, data: Path | None) -> None:
        self._config, self._world = config, context
        self.found: ForeignProject = mml_core.project(source)
        self._description_files = mml_core.descriptions(data) if data is not None else {}
        self._read: dict[str, Description] = {}
        self._imported_tasks: dict[str, Task] = {}
        self._names: dict[str, dict[str, str]] = {}
        missing = [name for name in self._tasks() if name not in self._description_files]
        if missing:
            fix = "name the folder that mml-core has as MML_DATA_PATH by mode.source_data=DIR"
            raise ProjectError(problem("mode.source_data", f"tasks {listing(missing)} are not described", fix=fix))
        self._world.facts.update(imported=[], left=dict(self.found.left))

    def _tasks(self) -> list[str]:
        return sorted({model.task for model in self.found.models})

    def steps(self) -> list[Step]:
        """Return a step for each task, each model, and the blueprints."""
        steps = [Step(f"describe {name}", partial(self._describe, name)) for name in self._tasks()]
        for model in self.found.models:
            name = f"{model.file.relative_to(self.found.root)}: {model.view} fold {model.fold}"
            steps.append(Step(name, partial(self._record, model)))
        if self.found.blueprints:
            steps.append(Step("blueprints", self._blueprints))
        for name, why in self.found.left:
            log.info(f"left: {name} ({why})")
        return steps

    def _describe(self, name: str, run: Run | None) -> None:
        of = self._task(name)
        log.info(f"task {of.name} ({name} there): {tasks.describe(of)}; folds as in mml-core")

    def _task(self, name: str) -> Task:
        """Return a task of mml-core in its native form, under a name that ends in the hash of its images."""
        if name not in self._imported_tasks:
            of = self._description(name)
            table = self._world.project.root / "imported" / f"{files.safe_name(name)}.csv"
            files.write_text(table, _table(of))
            text = recipe_file.as_text
            overrides = [
                "task=csv",
                f"task.file={text(str(table))}",
                f"task.root={text(str(of.root.resolve()))}",
                f"task.name={text(of.name)}",
                f"task.kind={of.kind}",
                "task.allow_overlap=true",
                *([f"task.classes={text(list(of.classes))}"] if of.classes else []),
                *(["task.separator='|'"] if of.kind == "multilabel" else []),
            ]
            self._imported_tasks[name] = tasks.pivot(self._prepared("create", overrides))
        return self._imported_tasks[name]

    def _description(self, name: str) -> Description:
        """Return mml-core's description of a task; its file is read once."""
        if name not in self._read:
            self._read[name] = mml_core.description(self._description_files[name])
        return self._read[name]

    def _record(self, model: Model, run: Run | None) -> None:
        assert run is not None
        of = self._task(model.task)
        config, notes = self._recipe_of(model, of)
        record = self._begun_record(model, of, config, run)
        folder = self._world.project.model_dir(of.name, record.id)
        if (folder / records.RECORD_FILE).is_file():
            log.info(f"{record.id} is here already")
            return
        files.write_text(folder / records.METRICS_FILE, _history(model))
        files.write_text(folder / records.CONFIG_FILE, snapshot.text(config.tree))
        rows, wrong = self._rows(model, of, record.task)
        weights, parameters, why = _weights(model, of, config, folder)
        notes += [*wrong, *([why] if why else [])]
        if rows:
            self._write(record.id, model, of, rows)
        scores, details = _scores(record, rows)
        record = dataclasses.replace(
            record,
            parameters=parameters,
            counts={split: len(ids) for (task, split), (ids, *_) in rows.items() if task == record.task},
            scores={**scores, "val": {**record.scores["val"], **scores.get("val", {})}},
            weights=weights,
            notes=[*record.notes, *notes],
            details=details,
            checksums={
                file_name: files.digest_file(folder / file_name)
                for file_name in (records.METRICS_FILE, records.CONFIG_FILE)
            },
        )
        record = records.save(self._world.project, record)
        self._world.facts["imported"].append(record.id)
        log.info(f"{self._world.project.name}#{record.number} {record.id}: {record.task} fold {record.fold}")
        for sentence in notes:
            log.info(f"  {sentence}")

    def _begun_record(self, model: Model, task: Task, config: RunConfig, run: Run) -> ModelRecord:
        """Create the record of a model from the model's own file."""
        place = str(model.file.relative_to(self.found.root))
        arch = str(config.recipe.arch.params["name"])
        recipe = config.recipe_hash(task.name)
        variant = "n" if model.nested else "f"
        return ModelRecord(
            id=f"{files.safe_name(arch)[:40]}-{files.digest([recipe, place])[:8]}-{variant}{model.fold}",
            number=0,
            run=run.name,
            created=model.created,
            task=f"{task.name}{model.tags}",
            pivot=task.name,
            fold=model.fold,
            nested=model.nested,
            recipe=recipe,
            arch=arch,
            classes=list(task.classes),
            parameters=0,
            counts={},
            kind=task.kind,
            scores={"val": {"loss": model.score}},
            best_epoch=_best_epoch(model),
            epochs=sum(any(str(key).startswith("train/") for key in row) for row in model.history),
            monitor="val/loss (min)",
            val_used_for=["the epoch that is kept"],
            timings={"seconds": model.seconds},
            environment={"program": mml_core.NAME},
            weights=None,
            notes=[f"trained by mml-core ({place})"],
        )

    def _recipe_of(self, model: Model, task: Task) -> tuple[RunConfig, list[str]]:
        """Return the native recipe of a model, and the differences."""
        translation = mml_core.translate(_pipeline(model.pipeline))
        native = {key: value for key, value in translation.native.items() if key != "mode"}
        overrides = [
            f"task={recipe_file.as_text(task.name)}",
            *recipe_file.as_overrides(native, set()),
            f"mode.nested={str(model.nested).lower()}",
        ]
        differs = [f"{line.key}: {line.note}" for line in translation.of_fate("differs")]
        return self._prepared("train", overrides), [f"its recipe here differs: {sentence}" for sentence in differs]

    def _prepared(self, mode: str, overrides: Sequence[str]) -> RunConfig:
        config = self._config
        folders = [
            f"{key}={recipe_file.as_text(value)}"
            for key, value in (
                ("out_dir", str(config.out_dir)),
                ("data_dir", str(config.data_dir)),
                ("proj", config.proj),
            )
        ]
        return launch.prepare(launch.Command(mode, [*overrides, *folders])).run_config

    def _rows(self, model: Model, task: Task, view: str) -> tuple[dict[tuple[str, str], Any], list[str]]:
        """Return a model's predictions by (task, split): sample ids, targets, logits; and what could not be imported."""
        rows: dict[tuple[str, str], Any] = {}
        wrong = []
        own_names = {model.task: task.name, model.view: view}
        for foreign_name, path in model.predictions.items():
            if (name := own_names.get(foreign_name)) is None:
                wrong.append(f"predictions on {foreign_name} were left")
                continue
            try:
                parts = self._predicted(path, model.task, task)
            except (MlpipeError, KeyError, TypeError, ValueError) as error:
                wrong.append(f"{path.name} was left: {error if isinstance(error, MlpipeError) else in_short(error)}")
                continue
            # The outer task's validation rows are those of its fold 0, which a nested model may have been trained on.
            ours = set(_SPLITS.values()) - ({"val"} if model.nested and name == task.name else set())
            rows |= {(name, split): part for split, part in parts.items() if split in ours}
        return rows, wrong

    def _predicted(self, path: Path, task: str, of: Task) -> Rows:
        from mlpipe.arch import weights as weight_files

        stored = weight_files.read_plain(path, "mode.source")
        if not isinstance(stored, dict):
            raise ValueError("it holds no predictions")
        return {
            _SPLITS[split]: self._split(items, task, of)
            for split, items in stored.items()
            if split in _SPLITS and isinstance(items, list) and items
        }

    def _split(
        self, items: list[Any], task: str, of: Task
    ) -> tuple[list[str], npt.NDArray[Any], npt.NDArray[np.float32]]:
        place_of = self._paths_by_name(task)
        row_of = {name: row for row, name in enumerate(of.samples.ids)}
        ids = [place_of[str(item["sample_id"])] for item in items]
        logits = np.stack([item["logits"].float().numpy().reshape(-1) for item in items])
        if logits.shape[1] != max(len(of.classes), 1):
            raise ValueError(f"it has {logits.shape[1]} outputs, the task {len(of.classes)}")
        return ids, of.samples.targets[[row_of[name] for name in ids]], logits

    def _paths_by_name(self, task: str) -> dict[str, str]:
        """Return the path of each sample, its native name, by its name in mml-core."""
        if task not in self._names:
            self._names[task] = {name: place for name, place, *_ in self._description(task).rows}
        return self._names[task]

    def _write(self, record_id: str, model: Model, task: Task, rows: Mapping[tuple[str, str], Any]) -> None:
        path = self._world.project.predictions_file(task.name, record_id)
        with predictions.writer(path, set(rows), task.kind) as sink:
            for (name, split), (ids, targets, logits) in rows.items():
                sink.add(name, split, model.fold, ids, targets, logits)

    def _blueprints(self, run: Run | None) -> None:
        for path in self.found.blueprints:
            place = self._world.project.root / "blueprints" / path.parent.name / path.name
            try:
                translation = mml_core.translate(_pipeline(path))
            except MlpipeError as error:
                log.info(f"left: {path.relative_to(self.found.root)} ({error})")
                continue
            files.write_text(place, translation.text())
            log.info(f"blueprint {path.parent.name}/{path.name}: train with it by recipe={place}")


def _table(task: Description) -> str:
    """Return a task as a table of paths, targets, splits and folds."""
    rows = [
        {"path": place, "target": _target_text(task, target), "split": part, **({"fold": fold} if fold >= 0 else {})}
        for _, place, part, fold, target in task.rows
    ]
    columns = ["path", "target", "split", "fold"]
    return files.csv_text(rows, columns if any("fold" in row for row in rows) else columns[:-1])


def _target_text(task: Description, target: Any) -> str:
    if target is None:
        return ""
    if task.kind == "classification":
        return task.classes[int(target)]
    if task.kind == "multilabel":
        return "|".join(task.classes[int(number)] for number in target)
    return repr(float(target))


def _history(model: Model) -> str:
    """Return the epochs of a model as `metrics.csv`, with the task's name removed from column names."""
    rows = [{key.replace(f"/{model.view}/", "/"): value for key, value in row.items()} for row in model.history]
    return files.csv_text(rows, list(dict.fromkeys(key for row in rows for key in row)))


def _scores(record: ModelRecord, rows: Mapping[tuple[str, str], Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return metrics and tables of a record's predictions by split."""
    scores: dict[str, Any] = {}
    details: dict[str, Any] = {}
    for split in ("val", "test"):
        if (own := rows.get((record.task, split))) is not None:
            _, targets, logits = own
            scores[split] = metrics.compute(post_kind.of(record.kind).FINAL, logits, targets, record.kind)
            details[split] = metrics.details(logits, targets, record.classes, record.kind)
    return scores, details


def _best_epoch(model: Model) -> int:
    """Return the epoch with the lowest validation loss; 0 if the history has none."""
    losses = [row[key] for row in model.history if (key := f"val/{model.view}/loss") in row]
    return int(np.argmin(losses)) if losses else 0


def _weights(model: Model, task: Task, config: RunConfig, folder: Path) -> tuple[str | None, int, str]:
    """Write a model's weights; return their hash, the number of parameters, and the reason if they were skipped."""
    from mlpipe.arch import weights as weight_files
    from mlpipe.dialects.mml_core import weights
    from mlpipe.learn.module import TARGET

    if not model.parameters.is_file():
        return None, 0, "its weights are not in the folder"
    try:
        name = str(config.recipe.arch.params["name"])
        outputs, numbers = max(len(task.classes), 1), task.kind == "regression"
        tensors = weights.from_mml_core(model.parameters, name, model.view, outputs, head=TARGET, numbers=numbers)
    except MlpipeError as error:
        return None, 0, f"its weights were left: {error}"
    count = sum(value.numel() for key, value in tensors.items() if "running_" not in key and "num_batches" not in key)
    return weight_files.save(tensors, folder / records.WEIGHTS_FILE), count, ""


def _pipeline(path: Path) -> Mapping[str, Any]:
    try:
        stored = files.read_yaml(path)
    except (OSError, ValueError) as error:
        raise ProjectError(problem(str(path), f"cannot be read ({in_short(error)})")) from error
    if not isinstance(stored, dict):
        raise ProjectError(problem(str(path), "is no mapping"))
    return stored
