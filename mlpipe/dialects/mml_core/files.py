"""Project and data folders of mml-core, as described by their text files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any

from mlpipe import files
from mlpipe.errors import ProjectError, in_short, problem

MODELS, BLUEPRINTS, DATA = "MODELS", "BLUEPRINTS", "RAW"
_KINDS = {
    "classification": "classification",
    "multilabel_classification": "multilabel",
    "regression": "regression",
}
# Sample groups of a description -> parts of a task.
_PARTS = {"train_samples": "train", "test_samples": "test", "unlabeled_samples": "unlabelled"}


@dataclass(frozen=True)
class Model:
    """One trained model in `MODELS/TASK/*.json`.

    Attributes:
        file: That file.
        task: The name of the task, without tags.
        fold: The fold that was set aside (nested) or validated on.
        nested: Whether it was set aside as test data.
        created: Time of creation in UTC (ISO 8601); times in the files are assumed to be in this machine's zone.
        seconds: Duration of the training.
        score: The validation loss for which it was selected.
        history: A row for each epoch.
        pipeline: Its configuration.
        parameters: Its weights.
        predictions: Its predictions by task.
    """

    file: Path
    task: str
    fold: int
    nested: bool
    created: str
    seconds: float
    score: float
    history: tuple[Mapping[str, Any], ...]
    pipeline: Path
    parameters: Path
    predictions: Mapping[str, Path]

    @property
    def tags(self) -> str:
        """The tags that mml-core and mlpipe append to the task's name, such as `+nested?2`."""
        return f"+nested?{self.fold}" if self.nested else ""

    @property
    def view(self) -> str:
        """The task's name with its tags."""
        return self.task + self.tags


@dataclass(frozen=True)
class ForeignProject:
    """A project folder.

    Attributes:
        root: The folder.
        models: Its models, in the order of creation.
        blueprints: Its blueprints: YAML files.
        left: Files that are not read, with the reason.
    """

    root: Path
    models: tuple[Model, ...]
    blueprints: tuple[Path, ...]
    left: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Description:
    """A task in `RAW/DSET_X/TASK_Y.json`.

    Attributes:
        name: Its name.
        kind: The task's kind.
        classes: Names of classes or labels by number; empty for numbers.
        root: The folder that paths are relative to.
        rows: For each sample its id, path, part, fold (-1: none) and target: a class number, a list of the present labels,
            a number, or None.
    """

    name: str
    kind: str
    classes: tuple[str, ...]
    root: Path
    rows: tuple[tuple[str, str, str, int, Any], ...]


def project(root: Path) -> ForeignProject:
    """Read a project folder.

    Args:
        root: The folder; models name their files relative to its parent.

    Raises:
        ProjectError: When it is not a folder of mml-core.
    """
    if not (root / MODELS).is_dir():
        fix = f"name the folder that holds {MODELS}/, PIPELINES/ and PREDICTIONS/"
        raise ProjectError(problem("mode.source", "is no project folder of mml-core", got=str(root), fix=fix))
    models: list[Model] = []
    left: list[tuple[str, str]] = []
    for path in sorted((root / MODELS).glob("*/*.json")):
        try:
            models.append(_model(root, path))
        except ProjectError as error:
            left.append((str(path.relative_to(root)), str(error)))
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            left.append((str(path.relative_to(root)), in_short(error)))
    blueprints = tuple(sorted((root / BLUEPRINTS).glob("*/*.yaml")))
    known = (MODELS, BLUEPRINTS, "PIPELINES", "PARAMETERS", "PREDICTIONS")
    reasons = {"ENSEMBLES": "mml post makes them anew", "runs": "logs of runs", "hpo": "logs of sweeps"}
    others = [path for path in sorted(root.iterdir()) if path.name not in known]
    left += [(path.name, reasons.get(path.name, "it has no counterpart here")) for path in others]
    return ForeignProject(root, tuple(sorted(models, key=lambda model: model.created)), blueprints, tuple(left))


def descriptions(data: Path) -> dict[str, Path]:
    """Return the task description files in a data folder, by task name.

    Raises:
        ProjectError: When it is not a data folder of mml-core.
    """
    if not (data / DATA).is_dir():
        fix = "name the folder that mml-core has as MML_DATA_PATH"
        raise ProjectError(problem("mode.source_data", f"holds no folder {DATA}", got=str(data), fix=fix))
    paths = {}
    for path in sorted((data / DATA).glob("*/TASK_*.json")):
        stored = _json(path)
        if isinstance(stored.get("name"), str):
            paths[str(stored["name"])] = path
    return paths


def description(path: Path) -> Description:
    """Read a task description.

    Raises:
        ProjectError: When the file is damaged, or the task's kind is not supported.
    """
    stored = _json(path)
    try:
        kind = _KINDS.get(stored["task_type"])
        if kind is None:
            raise ProjectError(
                problem(str(path), f"describes a task of kind {stored['task_type']}", fix="leave it out")
            )
        fold_of = {name: number for number, names in enumerate(stored["train_folds"]) for name in names}
        by_number = {int(number): str(name) for number, name in (stored.get("idx_to_class") or {}).items()}
        classes = tuple(by_number[number] for number in range(len(by_number)))
        rows = [
            (str(name), _require_inside(str(sample["image"])), part, fold_of.get(name, -1), _target(kind, sample))
            for group, part in _PARTS.items()
            for name, sample in stored.get(group, {}).items()
        ]
        return Description(str(stored["name"]), kind, () if kind == "regression" else classes, path.parent, tuple(rows))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ProjectError(problem(str(path), f"cannot be read as a task ({in_short(error)})")) from error


def _model(root: Path, path: Path) -> Model:
    stored = _json(path)
    name, _, tags = str(stored["task"]).partition("+")
    word, _, number = tags.partition("?")
    if tags and (word != "nested" or not number.isdigit()):
        raise ValueError(f"its task is a variant, {stored['task']}")
    created = datetime.fromisoformat(str(stored["created"])).astimezone(UTC)
    return Model(
        file=path,
        task=name,
        fold=int(number) if tags else int(stored["fold"]),
        nested=bool(tags),
        created=created.isoformat(timespec="seconds"),
        seconds=float(stored["training_time"]),
        score=float(stored["performance"]),
        history=tuple(row for row in stored["metrics"] if isinstance(row, Mapping)),
        pipeline=_project_file(root, stored["pipeline"]),
        parameters=_project_file(root, stored["parameters"]),
        predictions={str(task): _project_file(root, place) for task, place in stored["predictions"].items()},
    )


def _project_file(root: Path, text: Any) -> Path:
    """Return a file of the project; the first part of its path is the project's name, which may have changed."""
    return root / PurePosixPath(*PurePosixPath(_require_inside(str(text))).parts[1:])


def _require_inside(text: str) -> str:
    path = PurePosixPath(text)
    if path.is_absolute() or ".." in path.parts:
        raise ValueError(f"it names {text}, which lies outside of its folder")
    return text


def _target(kind: str, sample: Mapping[str, Any]) -> Any:
    if kind == "classification":
        return sample.get("class")
    if kind == "regression":
        return sample.get("value")
    if "soft_classes" in sample:
        raise ValueError("its labels are shares, which have no counterpart")
    return sample.get("classes")


def _json(path: Path) -> dict[str, Any]:
    try:
        stored = files.read_json(path)
    except (OSError, ValueError) as error:
        raise ProjectError(problem(str(path), f"cannot be read ({in_short(error)})")) from error
    if not isinstance(stored, dict):
        raise ProjectError(problem(str(path), "is no mapping"))
    return stored
