"""Records of trained folds, and of models of all folds, on disk: data, recipe and scores; read without torch."""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypedDict

from mlpipe import files, kinds, limits
from mlpipe.errors import ProjectError, is_out_of_memory, problem
from mlpipe.runs import formats
from mlpipe.runs.project import Project
from mlpipe.stored import fits, made, tell_left_out

RECORD_FILE = "record.json"
WEIGHTS_FILE = "weights.safetensors"
METRICS_FILE = "metrics.csv"
CONFIG_FILE = "config.yaml"
EXAMPLES_FILE = "examples.json"
BATCHES_FILE = "batches.csv"
# Keys of a record's environment: the hash of its initial weights; the ids of the records whose weights it averages.
FIRST_WEIGHTS, AVERAGED = "first_weights", "averaged"


def stage_weights(folder: Path, stage: int) -> Path:
    """Return the file of one stage's best weights in a model's folder; it exists if the stage keeps them."""
    return folder / f"weights.stage{stage}.safetensors"


def stage_predictions(folder: Path, stage: int) -> Path:
    """Return the file of the predictions by one stage's best weights, in a model's folder."""
    return folder / f"predictions.stage{stage}.parquet"


def kept_stages(folder: Path) -> list[int]:
    """Return the stages whose own best weights are in a model's folder."""
    matches = (re.fullmatch(r"weights\.stage(\d+)\.safetensors", path.name) for path in folder.glob("weights.stage*"))
    return sorted(int(match[1]) for match in matches if match)


class Event(TypedDict):
    """The keys that every problem recovered from during training has."""

    kind: str
    text: str


class CoTask(TypedDict):
    """A task that was trained together with another one, as far as it is read again."""

    name: str
    kind: str
    classes: list[str]
    head: str


@dataclass(frozen=True)
class ModelRecord:
    """The record of one trained fold, or of a model trained on all folds (`mode.refit`).

    Attributes:
        id: Its readable name, unique in the project.
        number: Its position in the order of creation, counted from 1 (`PROJ#3`).
        run: The run that made it.
        created: The time in UTC (ISO 8601).
        task: The task it was trained on; nested tasks are `name+nested?k`.
        pivot: The task without the variant.
        fold: The fold's number; -1 if it was trained on all folds.
        nested: Whether fold `fold` was set aside as test data.
        recipe: The hash that the folds of one cross-validation share.
        arch: The network's name.
        classes: The names of the classes, in the order of the logits.
        parameters: The number of the network's parameters.
        counts: The number of images in each split.
        kind: What is predicted.
        scores: For `val` and, once tested, `test` (and tasks of mode.eval_on): the final metrics.
        best_epoch: The epoch whose weights were kept, counted from 0.
        epochs: How many epochs ran.
        monitor: The metric that chose it, with its direction.
        val_used_for: What the validation images decided besides giving a score.
        timings: Seconds, and `train_images_per_s` over the steady epochs.
        environment: Versions and hardware.
        weights: The hash of the weights file; None if weights were not kept.
        notes: Notes for the user.
        details: For the same names as `scores`: `classes`, a row for each class, label or number, and `confusion`,
            counts of (true class, predicted class), or for more than 100 classes `confused_pairs`: true, predicted,
            images.
        co_tasks: The tasks that were trained together with it: name, kind, classes, head, loss, weight (or
            `uncertainty` with the log variance), and the score of their own validation rows.
        events: Problems that its training recovered from: `kind`, `text`, and the consequences.
        checksums: The hashes of its metrics and configuration files, by file name.
        refit: If it was trained on all folds, the ids of the folds' records, whose held-out scores are its expected
            performance, as it has no validation images of its own. Empty for a fold.
        format: The file's format number.
    """

    id: str
    number: int
    run: str
    created: str
    task: str
    pivot: str
    fold: int
    nested: bool
    recipe: str
    arch: str
    classes: list[str]
    parameters: int
    counts: dict[str, int]
    kind: str
    scores: dict[str, dict[str, float | None]]
    best_epoch: int
    epochs: int
    monitor: str
    val_used_for: list[str]
    timings: dict[str, float]
    environment: dict[str, Any]
    weights: str | None
    notes: list[str] = field(default_factory=list)
    details: dict[str, Any] = field(default_factory=dict)
    co_tasks: list[dict[str, Any]] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)
    checksums: dict[str, str] = field(default_factory=dict)
    refit: list[str] = field(default_factory=list)
    format: int = formats.RECORD

    @property
    def held_out(self) -> str:
        """The split of its own task that it was not trained on: the test part of a nested fold, else validation."""
        return "test" if self.nested else "val"

    @property
    def averaged(self) -> list[str]:
        """The ids of the records whose weights it averages; empty for trained models."""
        return list(self.environment.get(AVERAGED, []))


def save(project: Project, record: ModelRecord) -> ModelRecord:
    """Write `record.json` last, so that the files it names exist; number the record if it has no number (0).

    Returns:
        The record with its number.
    """
    with project.locked():
        if record.number == 0:
            others, wrong = _read_all(project)
            # Unreadable records have a number as well.
            last = max([len(others) + len(wrong), *(other.number for other in others)])
            record = dataclasses.replace(record, number=last + 1)
        _write(project.model_dir(record.pivot, record.id), record)
    return record


def _write(folder: Path, record: ModelRecord) -> None:
    plain = dataclasses.asdict(record)
    # A fold's file has no new keys, so that older versions can read it.
    files.write_sealed(folder / RECORD_FILE, {key: plain[key] for key in plain if key != "refit" or plain[key]})


def _changed(project: Project, record: ModelRecord, change: Callable[[ModelRecord], ModelRecord]) -> ModelRecord:
    """Store a change of a record as it is now: other processes may have added to it since it was read.

    Args:
        project: The project.
        record: The record, as read before.
        change: Returns the changed record.

    Returns:
        The stored record.
    """
    folder = project.model_dir(record.pivot, record.id)
    with project.locked():
        changed = change(load(folder))
        _write(folder, changed)
    return changed


def with_scores(
    project: Project,
    record: ModelRecord,
    scores: Mapping[str, Mapping[str, float | None]],
    details: Mapping[str, Any],
) -> ModelRecord:
    """Add scores, and tables of classes, to a stored record."""
    own = {name: dict(values) for name, values in scores.items()}
    return _changed(
        project,
        record,
        lambda stored: dataclasses.replace(
            stored, scores={**stored.scores, **own}, details={**stored.details, **details}
        ),
    )


def without_weights(project: Project, record: ModelRecord, why: str) -> ModelRecord:
    """Delete a record's weights, after noting that in the record, so that it never names a missing file.

    Args:
        project: The project.
        record: The record.
        why: The end of the sentence that is added to its notes.
    """
    folder = project.model_dir(record.pivot, record.id)
    of_stages = [stage_weights(folder, stage) for stage in kept_stages(folder)]

    def change(stored: ModelRecord) -> ModelRecord:
        checksums = {name: checksum for name, checksum in stored.checksums.items() if folder / name not in of_stages}
        notes = [*stored.notes, f"its weights were {why}"]
        return dataclasses.replace(stored, weights=None, notes=notes, checksums=checksums)

    if record.weights is not None:
        record = _changed(project, record, change)
    for path in (folder / WEIGHTS_FILE, *of_stages):
        path.unlink(missing_ok=True)
    return record


def with_environment(project: Project, record: ModelRecord, **facts: Any) -> ModelRecord:
    """Add entries to the environment of a stored record."""
    return _changed(
        project,
        record,
        lambda stored: dataclasses.replace(stored, environment={**stored.environment, **facts}),
    )


def load(folder: Path) -> ModelRecord:
    """Read the record in a model folder.

    Raises:
        ProjectError: When it is damaged or has another format.
    """
    path = folder / RECORD_FILE
    try:
        stored = files.read_json(path, limits.RECORD)
        formats.check(stored, formats.RECORD, path)
        stored.pop("checksum", None)
        record = made(ModelRecord, stored)
        if record.kind not in kinds.names():
            raise TypeError(f"its kind is {record.kind!r}")
        if not fits(record.events, list[Event]):
            raise TypeError("events are of another type")
        if not fits(record.co_tasks, list[CoTask]):
            raise TypeError("co_tasks are of another type")
        begun, averaged = record.environment.get(FIRST_WEIGHTS, ""), record.environment.get(AVERAGED, [])
        if not fits(begun, str) or not fits(averaged, list[str]):
            raise TypeError("environment is of another type")
    except (OSError, ValueError, TypeError, AttributeError) as error:
        if is_out_of_memory(error):
            raise
        raise ProjectError(problem(str(path), f"cannot be read as a record ({error})")) from error
    # Its names become paths, so they must match its location.
    own = Project(folder.parents[3]).model_dir(record.pivot, record.id) if len(folder.parents) > 3 else folder
    if "/" in record.id or record.id != folder.name or own.parent.parent.name != folder.parent.parent.name:
        got = f"{record.pivot}/{record.id}"
        raise ProjectError(problem(str(path), "is the record of another folder", got=got, fix="put it where it was"))
    return record


def load_all(project: Project, task: str | None = None) -> list[ModelRecord]:
    """Return all readable records of a project (of one task), in the order of their creation.

    Unreadable records are logged once and skipped, so that all others remain usable.

    Raises:
        OlderFormat: When one has the format of an older version.
    """
    models, wrong = _read_all(project)
    for path, sentence in wrong:
        if task is None or path == project.model_dir(task, path.name):
            tell_left_out(sentence)
    return sorted((record for record in models if task in (None, record.pivot)), key=lambda record: record.number)


def broken(project: Project, task: str | None = None) -> list[str]:
    """Return a sentence for each unreadable record of a project (of one task)."""
    _, wrong = _read_all(project)
    return [sentence for path, sentence in wrong if task is None or path == project.model_dir(task, path.name)]


def refuse_older(project: Project) -> None:
    """Refuse a project with a record of an older version, beside which no new record can be written.

    Raises:
        OlderFormat: When there is one.
    """
    _read_all(project)


def require_whole(project: Project, task: str) -> None:
    """Refuse a task with an unreadable record, because results from the others would be misleading.

    Raises:
        ProjectError: With a sentence for each of them.
    """
    if wrong := broken(project, task):
        fix = "bring it back, or remove its folder to go on without it"
        raise ProjectError([f"{sentence}; {fix}" for sentence in wrong])


def _read_all(project: Project) -> tuple[list[ModelRecord], list[tuple[Path, str]]]:
    """Return the records of a project, and the folders of unreadable ones with the problem."""
    paths = sorted(project.tasks_dir().glob(f"*/models/*/{RECORD_FILE}")) if project.tasks_dir().is_dir() else []
    models: list[ModelRecord] = []
    wrong: list[tuple[Path, str]] = []
    for path in paths:
        try:
            models.append(_current(path.parent))
        except formats.OlderFormat:
            raise
        except ProjectError as error:
            wrong.append((path.parent, error.problems[0]))
    return models, wrong


def _current(folder: Path) -> ModelRecord:
    """Return the record in a model folder; it is read again only if its file has changed, because commands need it often."""
    try:
        facts = (folder / RECORD_FILE).stat()
    except OSError:
        return load(folder)
    return _unchanged(folder, facts.st_ino, facts.st_mtime_ns, facts.st_size)


@functools.lru_cache(maxsize=4096)
def _unchanged(folder: Path, inode: int, changed_ns: int, size: int) -> ModelRecord:
    return load(folder)


def untrained_error(project: Project, task: str) -> ProjectError:
    """Return the error for a task without records in the project."""
    wrong, fix = f"project {project.name} has no trained record of it", f"mml train task={task}"
    if any(project.tasks_dir().glob(f"*/models/*/{RECORD_FILE}")):
        fix += f", or mml test mode.eval_on={task} to score the project's models of another task on it"
    return ProjectError(problem(f"task {task}", wrong, fix=fix))


def latest_cross_validation(records: Sequence[ModelRecord]) -> list[ModelRecord]:
    """Return the newest record of each fold with the newest record's recipe, by fold; as `newest_folds`."""
    if not records:
        return []
    recipe = max(records, key=lambda record: record.number).recipe
    return newest_folds([record for record in records if record.recipe == recipe])


def newest_folds(records: Sequence[ModelRecord]) -> list[ModelRecord]:
    """Return the newest record of each fold, by fold; models of all folds only if there are no folds."""
    of_folds = [record for record in records if not record.refit]
    by_fold = {record.fold: record for record in sorted(of_folds or records, key=lambda record: record.number)}
    return [by_fold[fold] for fold in sorted(by_fold)]


def newest_refit(records: Sequence[ModelRecord], folds: Sequence[ModelRecord]) -> ModelRecord | None:
    """Return the newest model of all folds that belongs to exactly these folds; None if there is none.

    Args:
        records: Any records, including the model.
        folds: The result of `newest_folds`.
    """
    ids = {record.id for record in folds}
    refits = [record for record in records if record.refit and set(record.refit) == ids]
    return max(refits, key=lambda record: record.number, default=None)
