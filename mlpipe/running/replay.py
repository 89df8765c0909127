"""Train a run again from its own configuration in a temporary project, and compare the results with the stored ones."""

from __future__ import annotations

import logging
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from mlpipe import files
from mlpipe.config import snapshot, written_paths
from mlpipe.config.assemble import assemble
from mlpipe.config.recipe_file import as_text
from mlpipe.config.schema import RunConfig, with_artifacts_in
from mlpipe.errors import ProjectError, problem
from mlpipe.running.folds import time_shares
from mlpipe.running.scheduler import Scheduler
from mlpipe.running.steps import RunContext
from mlpipe.runs import journal, predictions, records
from mlpipe.runs.integrity import Finding
from mlpipe.runs.journal import Run
from mlpipe.runs.project import Project
from mlpipe.runs.records import ModelRecord

log = logging.getLogger("mlpipe")


@contextmanager
def replayed_run(config: RunConfig, context: RunContext, run: Run, folds: Sequence[ModelRecord]) -> Iterator[Project]:
    """Provide a temporary project in which a run was repeated under its own name; it is deleted afterwards.

    Args:
        config: The configuration of `mml verify`, for the folders.
        context: The project, the display and the request to stop.
        run: The run.
        folds: Its records. Recoveries of their training apply from the start.

    Raises:
        ProjectError: When the run's configuration has a mode that trains nothing.
    """
    out_dir = context.project.root.parent
    above = out_dir if files.is_writable(out_dir) else Path(tempfile.gettempdir())
    temporary = above / files.temporary_name(out_dir / "verify")
    project = Project(temporary / context.project.name)
    again = _config(config, run, project, [record.fold for record in folds])
    try:
        copy = Run(run.name, project.run_dir(run.name))
        copy.folder.mkdir(parents=True)
        snapshot.save(again, copy.folder / journal.CONFIG_FILE)
        copy.write_plan([], "", {})
        if (shares := run.folder / time_shares.FOLDER).is_dir():
            # The epochs that fitted were measured, and would be others now.
            shutil.copytree(shares, copy.folder / time_shares.FOLDER)
        _bring_teacher(context.project, project, folds[0].pivot, again.tree["mode"].get("ensemble"))
        for record in folds:
            recoveries = [event for event in record.events if "epoch" in event]
            if recoveries:
                files.write_json(copy.checkpoints_dir / f"{record.id}.events.json", recoveries)
        scheduler: Scheduler = again.scheduler.build(again, RunContext(project, context.display, context.stop))
        with _quiet():
            scheduler.run(copy)
        yield project
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def compared(stored: Project, record: ModelRecord, replay: Project) -> Iterator[Finding]:
    """Return findings on a fold's weights, scores and predictions.

    Args:
        stored: The project of the record.
        record: The record.
        replay: The project of `replayed_run`.
    """
    folder = replay.model_dir(record.pivot, record.id)
    if not (folder / records.RECORD_FILE).is_file():
        why = "the replay made no such record: the recipe has another hash here"
        yield Finding(record.id, "replay", "differs", why)
        return
    again = records.load(folder)
    around = _environment_changes(record, again)
    if record.weights is None or again.weights is None:
        yield Finding(record.id, "replayed weights", "not compared", "no weights were kept")
    else:
        same = record.weights == again.weights
        yield Finding(record.id, "replayed weights", "ok" if same else "differs", "" if same else around)
    # Only a training's own validation scores do not depend on the views of the images that predictions use.
    has_views = record.environment.get("tta") == again.environment.get("tta")
    shared = [name for name in record.scores if name in again.scores and (has_views or name == "val")]
    other = [name for name in shared if record.scores[name] != again.scores[name]]
    why = f"scores of {', '.join(other)}" if other else ""
    yield Finding(record.id, "replayed scores", "differs" if other else "ok", why)
    yield _predictions_finding(stored, record, replay, again)


def _predictions_finding(stored: Project, record: ModelRecord, replay: Project, again: ModelRecord) -> Finding:
    subject = "replayed predictions"
    ours, theirs = (project.predictions_file(record.pivot, record.id) for project in (stored, replay))
    if not (ours.is_file() and theirs.is_file()):
        return Finding(record.id, subject, "not compared", "the run made none")
    if record.environment.get("tta") != again.environment.get("tta"):
        return Finding(record.id, subject, "not compared", "they were made again since, with other views of the images")
    contents = predictions.contents(theirs)
    pairs = [pair for pair in predictions.contents(ours) if pair in contents]
    largest = 0.0
    for task, split in pairs:
        rows, other = (predictions.load(path, task, split) for path in (ours, theirs))
        if rows.sample_ids != other.sample_ids:
            return Finding(record.id, subject, "differs", f"other images in {task} {split}")
        if not np.array_equal(rows.logits, other.logits, equal_nan=True):
            apart = np.nan_to_num(np.abs(rows.logits - other.logits), nan=np.inf)
            largest = max(largest, float(apart.max()))
    if largest:
        return Finding(record.id, subject, "differs", f"logits by up to {largest:.3g}")
    return Finding(record.id, subject, "ok")


def _config(config: RunConfig, run: Run, project: Project, folds: Sequence[int]) -> RunConfig:
    """Return the run's own configuration for the temporary project, restricted to the folds that it trained."""
    path = run.folder / journal.CONFIG_FILE
    folders = {"out_dir": str(project.root.parent), "data_dir": str(config.data_dir), "proj": project.name}
    stored = snapshot.load(path, **folders, allowed=config.tree, trust=config.tree["trust"])
    if (stored.tree.get("preset") or {}).get("trees"):
        fix = "add mode.replay=false to check its files only"
        raise ProjectError(
            problem(f"mode.run={run.name}", "a preset shares out time, so it cannot be replayed", fix=fix)
        )
    mode = stored.tree["mode"]
    if "folds" not in mode:
        raise ProjectError(problem(f"mode.run={run.name}", "it trains no folds", fix="add mode.replay=false"))
    reuse = {key: _absolute(value, config.out_dir) for key, value in (stored.tree.get("reuse") or {}).items()}
    tree = with_artifacts_in(stored.tree, project.root.parent / "artifacts")
    # A report only depends on predictions, which are compared.
    subroutines = [name for name in mode["subroutines"] if name != "post"]
    replayed = {**mode, "subroutines": subroutines}
    if not (run.folder / time_shares.FOLDER).is_dir():
        # Shares of time are stored by the position of a fold among all, of which some may have been left out.
        replayed["folds"] = sorted({fold for fold in folds if fold >= 0})
    tree = {**tree, "mode": replayed, "reuse": reuse}
    trusted = f"{written_paths.KEY}={as_text(config.tree.get(written_paths.KEY) or [])}"
    written_paths.check(tree, [trusted], ours=("out_dir", "data_dir"))
    return assemble(tree)


def _bring_teacher(stored: Project, replay: Project, task: str, teacher: str | None) -> None:
    """Copy the predictions of a student's teacher into the temporary project; nothing without a teacher.

    Raises:
        ProjectError: When the teacher (an ensemble or records) no longer exists.
    """
    if teacher is None:
        return
    taught = [record.id for record in records.load_all(stored, task) if teacher in (record.recipe, record.id)]
    needed = [stored.model_dir(task, name) / records.RECORD_FILE for name in taught]
    needed += [stored.predictions_file(task, name) for name in taught]
    if not taught:
        needed = [stored.ensembles_dir(task) / f"{teacher}{ending}" for ending in (".json", ".parquet")]
    if not all(path.is_file() for path in needed):
        wrong, fix = (
            f"{teacher}, its teacher, is not stored any more, so it cannot be replayed",
            "add mode.replay=false",
        )
        raise ProjectError(problem("mode.run", wrong, fix=f"{fix} to check its files only"))
    for path in [*needed, *(stored.calibration_file(task, name) for name in taught)]:
        target = replay.root / path.relative_to(stored.root)
        target.parent.mkdir(parents=True, exist_ok=True)
        if path.is_file():
            shutil.copy(path, target)


def _absolute(value: Any, out_dir: Path) -> Any:
    """Make references to other projects absolute: the temporary project lies in another folder."""
    if isinstance(value, list):
        return [_absolute(item, out_dir) for item in value]
    name, mark, number = str(value).partition("#")
    return f"{out_dir / name}{mark}{number}" if isinstance(value, str) and (out_dir / name).is_dir() else value


def _environment_changes(record: ModelRecord, again: ModelRecord) -> str:
    """Describe what changed in the environment since the record was made."""
    # Records of earlier versions do not store their initial weights.
    new = {"tta"} if records.FIRST_WEIGHTS in record.environment else {"tta", records.FIRST_WEIGHTS}
    keys = sorted({*record.environment, *again.environment} - new)
    changes = [
        f"{key} was {record.environment.get(key)}, is {again.environment.get(key)}"
        for key in keys
        if record.environment.get(key) != again.environment.get(key)
    ]
    return "; ".join(changes) or "with the same versions on the same kind of device"


@contextmanager
def _quiet() -> Iterator[None]:
    """Suppress messages of the replay: its temporary project is deleted afterwards."""
    level = log.level
    log.setLevel(logging.WARNING)
    try:
        yield
    finally:
        log.setLevel(level)
