"""Records of trained folds, and of models of all folds, on disk: data, recipe and scores; read without torch."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
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
# In a record's environment: the hash of the weights that its training began with; the ids of those that it is the mean of.
FIRST_WEIGHTS, AVERAGED = "first_weights", "averaged"


def stage_weights(folder: Path, stage: int) -> Path:
    """The best weights of one stage, in a model's folder; they are there where the stage keeps its own."""
    return folder / f"weights.stage{stage}.safetensors"


def stage_predictions(folder: Path, stage: int) -> Path:
    """The file of the predictions by the best weights of one stage, in a model's folder."""
    return folder / f"predictions.stage{stage}.parquet"


def kept_stages(folder: Path) -> list[int]:
    """The stages whose own best weights are in a model's folder."""
    matches = (re.fullmatch(r"weights\.stage(\d+)\.safetensors", path.name) for path in folder.glob("weights.stage*"))
    return sorted(int(match[1]) for match in matches if match)


class Event(TypedDict):
    """A trouble that a training recovered from, as far as every one has it."""

    kind: str
    text: str


class CoTask(TypedDict):
    """A task that was learned with another one, as far as it is read again."""

    name: str
    kind: str
    classes: list[str]
    head: str


@dataclass(frozen=True)
class ModelRecord:
    """The record of one trained fold, or of a model that learned from all folds (`mode.refit`).

    Attributes:
        id: Its readable name, unique in the project.
        number: Its place in the order of creation, counted from 1 (`PROJ#3`).
        run: The run that made it.
        created: When, in UTC (ISO 8601).
        task: What it was trained on; nested tasks are `name+nested?k`.
        pivot: The task without the variant.
        fold: The fold's number; -1 where it learned from all.
        nested: Whether fold `fold` was set aside as test data.
        recipe: The hash that the folds of one cross-validation share.
        arch: The network's name.
        classes: The names of the classes, in the order of the logits.
        parameters: How many numbers the network learns.
        counts: Images in each split.
        kind: What is predicted.
        scores: For `val` and, once tested, `test` (and tasks of mode.eval_on): the final metrics.
        best_epoch: The epoch whose weights were kept, counted from 0.
        epochs: How many epochs ran.
        monitor: What chose it, with its direction.
        val_used_for: What the validation images decided besides being a score.
        timings: Seconds, and `train_images_per_s` over the steady epochs.
        environment: Versions and hardware.
        weights: The hash of the weights file; None when none was kept.
        notes: What a person should know.
        details: For the same names as `scores`: `classes`, a row for each class, label or number, and `confusion`, counts
            of (true class, predicted class), or of more than 100 classes `confused_pairs`: true, predicted, images.
        co_tasks: The tasks that were learned with it: name, kind, classes, head, loss, weight (or `uncertainty` with the
            log variance), and the score of their own validation rows.
        events: Troubles that its training recovered from: `kind`, `text`, and what followed from it.
        checksums: The hashes of its metrics and configuration, by the file's name.
        refit: Where it learned from all folds, the ids of the folds' records that it stands for, whose held-out score is
            what to expect of it; it has no validation of its own. Empty for a fold.
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
        """The split of its own task that it did not learn from: what a nested fold is tested on, else what it validated on."""
        return "test" if self.nested else "val"

    @property
    def averaged(self) -> list[str]:
        """The ids of the records whose weights it is the mean of; empty for what was trained."""
        return list(self.environment.get(AVERAGED, []))


def save(project: Project, record: ModelRecord) -> ModelRecord:
    """Write `record.json` last, so that what it names exists; gives the record its number when it has none (0).

    Returns:
        The record with its number.
    """
    folder = project.model_dir(record.pivot, record.id)
    with project.locked():
        if record.number == 0:
            others, wrong = _read_all(project)
            # One that cannot be read has a number as well.
            last = max([len(others) + len(wrong), *(other.number for other in others)])
            record = dataclasses.replace(record, number=last + 1)
        plain = dataclasses.asdict(record)
        # A fold's file is as it was before there were such records, so that older versions read it.
        files.write_sealed(folder / RECORD_FILE, {key: plain[key] for key in plain if key != "refit" or plain[key]})
    return record


def with_scores(
    project: Project,
    record: ModelRecord,
    scores: Mapping[str, Mapping[str, float | None]],
    details: Mapping[str, Any],
) -> ModelRecord:
    """Add scores, and tables of classes, to a stored record."""
    merged = {**record.scores, **{name: dict(values) for name, values in scores.items()}}
    return save(project, dataclasses.replace(record, scores=merged, details={**record.details, **details}))


def without_weights(project: Project, record: ModelRecord, why: str) -> ModelRecord:
    """Delete a record's weights; the record says so first, so that it never names what is gone.

    Args:
        project: The project.
        record: The record.
        why: Ends the sentence that is added to its notes.
    """
    folder = project.model_dir(record.pivot, record.id)
    of_stages = [stage_weights(folder, stage) for stage in kept_stages(folder)]
    if record.weights is not None:
        checksums = {name: checksum for name, checksum in record.checksums.items() if folder / name not in of_stages}
        notes = [*record.notes, f"its weights were {why}"]
        record = save(project, dataclasses.replace(record, weights=None, notes=notes, checksums=checksums))
    for path in (folder / WEIGHTS_FILE, *of_stages):
        path.unlink(missing_ok=True)
    return record


def with_environment(project: Project, record: ModelRecord, **facts: Any) -> ModelRecord:
    """Add to what the stored record says of how it was made."""
    record = load(project.model_dir(record.pivot, record.id))
    return save(project, dataclasses.replace(record, environment={**record.environment, **facts}))


def load(folder: Path) -> ModelRecord:
    """The record in one model folder.

    Raises:
        ProjectError: When it is damaged or of another format.
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
    # Its names become paths, so they must be those of where it lies.
    own = Project(folder.parents[3]).model_dir(record.pivot, record.id) if len(folder.parents) > 3 else folder
    if "/" in record.id or record.id != folder.name or own.parent.parent.name != folder.parent.parent.name:
        got = f"{record.pivot}/{record.id}"
        raise ProjectError(problem(str(path), "is the record of another folder", got=got, fix="put it where it was"))
    return record


def load_all(project: Project, task: str | None = None) -> list[ModelRecord]:
    """All records of a project (of one task) that can be read, in the order of their creation.

    One that cannot be read is told of once in the log and left out, so that all others stay of use.

    Raises:
        OlderFormat: When one is of an older version.
    """
    models, wrong = _read_all(project)
    for path, sentence in wrong:
        if task is None or path == project.model_dir(task, path.name):
            tell_left_out(sentence)
    return sorted((record for record in models if task in (None, record.pivot)), key=lambda record: record.number)


def broken(project: Project, task: str | None = None) -> list[str]:
    """A sentence for each record of a project (of one task) that cannot be read."""
    _, wrong = _read_all(project)
    return [sentence for path, sentence in wrong if task is None or path == project.model_dir(task, path.name)]


def require_whole(project: Project, task: str) -> None:
    """Refuse a task of which a record cannot be read: what is computed of the others would not be what it says.

    Raises:
        ProjectError: With a sentence for each of them.
    """
    if wrong := broken(project, task):
        fix = "bring it back, or remove its folder to go on without it"
        raise ProjectError([f"{sentence}; {fix}" for sentence in wrong])


def _read_all(project: Project) -> tuple[list[ModelRecord], list[tuple[Path, str]]]:
    """The records of a project, and the folders of those that cannot be read with what is wrong."""
    paths = sorted(project.tasks_dir().glob(f"*/models/*/{RECORD_FILE}")) if project.tasks_dir().is_dir() else []
    models: list[ModelRecord] = []
    wrong: list[tuple[Path, str]] = []
    for path in paths:
        try:
            models.append(load(path.parent))
        except formats.OlderFormat:
            raise
        except ProjectError as error:
            wrong.append((path.parent, error.problems[0]))
    return models, wrong


def untrained_error(project: Project, task: str) -> ProjectError:
    """The error for a task that the project has no record of."""
    wrong = f"project {project.name} has no trained record of it"
    return ProjectError(problem(f"task {task}", wrong, fix=f"mml train task={task}"))


def latest_cross_validation(records: Sequence[ModelRecord]) -> list[ModelRecord]:
    """The newest record of each fold that shares the newest record's recipe, by fold; as `newest_folds`."""
    if not records:
        return []
    recipe = max(records, key=lambda record: record.number).recipe
    return newest_folds([record for record in records if record.recipe == recipe])


def newest_folds(records: Sequence[ModelRecord]) -> list[ModelRecord]:
    """The newest record of each fold, by fold; a model of all folds only where none of a fold is there."""
    of_folds = [record for record in records if not record.refit]
    by_fold = {record.fold: record for record in sorted(of_folds or records, key=lambda record: record.number)}
    return [by_fold[fold] for fold in sorted(by_fold)]


def newest_refit(records: Sequence[ModelRecord], folds: Sequence[ModelRecord]) -> ModelRecord | None:
    """The newest model of all folds that stands for exactly these folds; None without one.

    Args:
        records: Any records, the model among them.
        folds: What `newest_folds` gave.
    """
    ids = {record.id for record in folds}
    refits = [record for record in records if record.refit and set(record.refit) == ids]
    return max(refits, key=lambda record: record.number, default=None)
