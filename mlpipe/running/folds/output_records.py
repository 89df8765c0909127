"""Records with several outputs: each output is a head with its own record, scores and predictions.

A training learns all heads together; its own record holds the weights, the history and each output's loss. Other modes
work with the heads' records: `NAME+head?OUTPUT` is like any other trained task.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Any
from urllib.parse import quote

from mlpipe import files
from mlpipe.config import snapshot
from mlpipe.data.records import outputs
from mlpipe.data.tags import Tag
from mlpipe.data.task import Task
from mlpipe.errors import ConfigError, ProjectError, listing, problem
from mlpipe.names import path_of
from mlpipe.post import kind as post_kind
from mlpipe.post import metrics
from mlpipe.running import tasks
from mlpipe.running.folds.fold_predictions import Inference
from mlpipe.running.folds.folds import Folds
from mlpipe.runs import predictions, records
from mlpipe.runs.project import Project
from mlpipe.runs.records import ModelRecord

log = logging.getLogger("mlpipe")


def task_names(task: Task) -> list[str]:
    """Return the names of the heads' tasks, in the order of the outputs; the task's own name if it has one output.

    Args:
        task: The task.
    """
    return [f"{task.name}+{_tag(name)}" for name in outputs.names(task.source)] or [task.name]


def refuse_training(task: Task, eval_on: Sequence[str] | None) -> None:
    """Refuse to train a single head, and to evaluate all heads on one other task.

    Args:
        task: The pivot.
        eval_on: The configuration's `mode.eval_on`.

    Raises:
        ConfigError: When that is requested.
    """
    if outputs.name_of(task.source) is not None:
        fix = f"use task={task.name.partition('+')[0]}"
        raise ConfigError(problem("task", "a head is learned together with the others", got=task.name, fix=fix))
    if eval_on and outputs.names(task.source):
        fix = "mml predict a head on it: task='NAME+head?OUTPUT'"
        raise ConfigError(problem("mode.eval_on", "is for one output", got=list(eval_on), fix=fix))


def without_heads(found: Sequence[ModelRecord]) -> list[ModelRecord]:
    """Return the records of trained folds without those of heads, which each output has in addition to its fold's."""
    return [record for record in found if not _is_head(record)]


def _is_head(record: ModelRecord) -> bool:
    return f"+{_tag('')}" in record.pivot


def require_one_head(task: Task) -> None:
    """Refuse a task with several heads if one is required.

    Args:
        task: The pivot.

    Raises:
        ProjectError: When it has several heads.
    """
    if outputs.names(task.source):
        names = [f"task='{name}'" for name in task_names(task)]
        raise ProjectError(problem(f"task {task.name}", "has several heads", fix=f"name one: {listing(names)}"))


def write(folds: Folds, record: ModelRecord) -> None:
    """Write a record with weights, predictions and scores for each head of a trained fold, the first output's last.

    Args:
        folds: The task with several outputs, its split and its records.
        record: The trained fold.
    """
    # From the stored record's split: the command may have another one, or none.
    stored = folds.decoding
    for name in reversed(outputs.names(folds.task.source)):
        head = tasks.variant(stored, folds.task, _tag(name))
        head_record = _with_stored_number(folds.context.project, _record(record, head, name))
        head_record = _with_files(folds, record, head_record, name)
        split = tasks.split_of(stored, head)
        own = Folds(folds.config, folds.context, head, split, record.nested, decoding=stored)
        Inference(own, ()).predict(head_record)
        scores = _add_scores(folds.context.project, head_record, record.scores.get("val", {}).get(f"{name}_loss"))
        text = ", ".join(f"{metric} {value:.4f}" for metric, value in scores.items() if value is not None)
        if text:
            log.info(f"  head {name}: validation {text}")


def _tag(name: str) -> str:
    return str(Tag("head", quote(name, safe=" ")))


def _record(record: ModelRecord, head: Task, name: str) -> ModelRecord:
    """Return the head's record, as far as the fold's record determines it."""
    return replace(
        record,
        id=_head_id(record.id, name),
        number=0,
        task=head.name + record.task.removeprefix(record.pivot),
        pivot=head.name,
        classes=list(head.classes),
        kind=head.kind,
        scores={},
        details={},
        notes=[*record.notes, f"a head of {record.id}"],
        refit=[_head_id(record_id, name) for record_id in record.refit],
    )


def _head_id(record: str, name: str) -> str:
    return f"{record}-{files.safe_name(name)[:40]}"


def _with_stored_number(project: Project, head_record: ModelRecord) -> ModelRecord:
    """Return the record with its existing number, if its step is repeated."""
    folder = project.model_dir(head_record.pivot, head_record.id)
    if (folder / records.RECORD_FILE).is_file():
        return replace(head_record, number=records.load(folder).number)
    return head_record


def _with_files(folds: Folds, record: ModelRecord, head_record: ModelRecord, name: str) -> ModelRecord:
    """Write the head's files and its record: the fold's weights and history, and a configuration that names the head."""
    project = folds.context.project
    source, folder = project.model_dir(record.pivot, record.id), project.model_dir(head_record.pivot, head_record.id)
    folder.mkdir(parents=True, exist_ok=True)
    for file in (records.WEIGHTS_FILE, records.METRICS_FILE):
        files.write_bytes(folder / file, (source / file).read_bytes())
    files.write_text(folder / records.CONFIG_FILE, snapshot.stored(_tree(folds, record, name)))
    names = (records.METRICS_FILE, records.CONFIG_FILE)
    return records.save(
        project, replace(head_record, checksums={file: files.digest_file(folder / file) for file in names})
    )


def _tree(folds: Folds, record: ModelRecord, name: str) -> dict[str, Any]:
    """Return the fold's configuration for the head; its task is the stored one, so that no file of records is needed."""
    stored = tasks.config_of(folds.config, record).tree
    task = {"_target_": path_of("task", "created"), "name": folds.task.name, "max_unreadable": 0}
    return {**stored, "tags": _tag(name), "task": {**task, "data_dir": str(folds.config.data_dir)}}


def _add_scores(project: Project, head_record: ModelRecord, loss: float | None) -> dict[str, float | None]:
    """Add the scores of the head's own validation rows to its record, if it has any."""
    rows = predictions.load(project.predictions_file(head_record.pivot, head_record.id), head_record.task, "val")
    if not len(rows):
        return {}
    values = metrics.compute(post_kind.of(head_record.kind).FINAL, rows.logits, rows.targets, head_record.kind)
    scores: dict[str, float | None] = {**values, **({} if loss is None else {"loss": loss})}
    details = metrics.details(rows.logits, rows.targets, head_record.classes, head_record.kind)
    stored = records.load(project.model_dir(head_record.pivot, head_record.id))
    records.with_scores(project, stored, {"val": scores}, {"val": details})
    return scores
