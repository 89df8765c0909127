"""The benefit of more images: the error of models trained on parts of a task, extrapolated to more of it.

A part is a variant such as `digits+subset?0.25` or `digits+shrink?200`, trained with the same recipe as the task itself:
all of them are tested on the same images.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mlpipe import files
from mlpipe.data import tags
from mlpipe.errors import DataError
from mlpipe.names import identified
from mlpipe.post import kind as post_kind
from mlpipe.post import metrics
from mlpipe.post.learning_curve import LearningCurve, fit_learning_curve
from mlpipe.post.rows import row_groups
from mlpipe.runs import predictions, records
from mlpipe.runs.project import Project
from mlpipe.runs.records import ModelRecord

# Keys in which a part may differ from the whole, and keys for locations and execution of a run.
_MAY_DIFFER = (
    "task",
    "tags",
    "recommend",
    "mode",
    "mode_name",
    "out_dir",
    "data_dir",
    "proj",
    "logging",
    "hydra",
    "sys",
)
_PARTS = ("subset", "shrink")
_LEAST = 3
_FACTORS = (1.5, 2.0, 4.0)


@dataclass(frozen=True)
class MoreData:
    """One recipe at several training sizes.

    Attributes:
        recipe: The recipe's hash on the most images.
        arch: Its network.
        kind: The kind of the task; its post part describes the error (`ERROR`).
        sizes: Numbers of training images (the mean over folds), ascending.
        errors: The mean error of one fold's model on the test images, at each size.
        test_images: The number of test images.
        curve: The fitted curve.
    """

    recipe: str
    arch: str
    kind: str
    sizes: list[float]
    errors: list[float]
    test_images: int
    curve: LearningCurve

    def expected(self) -> list[tuple[float, float, float, float]]:
        """(images, error, its low and its high end) at 1.5, 2 and 4 times the largest number of images."""
        sizes = [factor * self.sizes[-1] for factor in _FACTORS]
        low, high = self.curve.band(sizes)
        return [tuple(map(float, row)) for row in zip(sizes, self.curve.predict(sizes), low, high, strict=True)]  # type: ignore[misc]

    def sentences(self) -> list[str]:
        """Return the outlook in words."""
        measure = post_kind.of(self.kind).ERROR
        first = f"{measure} of {self.arch} on {self.test_images} test images: " + ", ".join(
            f"{error:.4f} with {size:.0f} images" for size, error in zip(self.sizes, self.errors, strict=True)
        )
        level = f"{100 * self.curve.level:g} % band"
        outlook = [
            f"with {size:.0f} images ({factor:g} times as many) expect {error:.4f} ({low:.4f} to {high:.4f}, {level})"
            for factor, (size, error, low, high) in zip(_FACTORS, self.expected(), strict=True)
        ]
        return [first, *outlook, *self.curve.notes]

    def as_plain(self) -> dict[str, Any]:
        """Return the outlook as plain data, ready for JSON."""
        names = ("recipe", "arch", "kind", "sizes", "errors", "test_images")
        keys = ("images", "error", "low", "high")
        expected = [dict(zip(keys, row, strict=True)) for row in self.expected()]
        return {**{name: getattr(self, name) for name in names}, "curve": self.curve.as_plain(), "expected": expected}


def more_data(
    project: Project, task: str, seed: int = 0, groups: Mapping[str, str] | None = None
) -> tuple[list[MoreData], list[str]]:
    """Return an outlook for each recipe that a task and its parts were trained with, at three sizes or more.

    Args:
        project: The project.
        task: The task, without tags.
        seed: Seed of the band's draws.
        groups: The group of each sample, whose rows are drawn together; None: every row by itself.

    Returns:
        The outlooks, and a sentence for each recipe that has too few sizes or no test images.

    Raises:
        ProjectError: When predictions or configurations are damaged.
    """
    by_recipe: dict[str, dict[str, list[ModelRecord]]] = defaultdict(lambda: defaultdict(list))
    parts = [record for record in records.load_all(project) if is_part(record.pivot, task)]
    if len({record.pivot for record in parts}) < 2:
        return [], []
    for record in parts:
        by_recipe[_recipe_key(project, record)][record.pivot].append(record)
    outlooks, notes = [], []
    for by_pivot in by_recipe.values():
        if len(by_pivot) < 2:
            continue
        newest = [records.latest_cross_validation(group) for group in by_pivot.values()]
        whole = max(newest, key=_size)[0]
        try:
            outlooks.append(_fitted_curve(project, newest, whole, seed, groups))
        except DataError as error:
            notes.append(f"{whole.arch} ({whole.recipe}): no outlook on more images, {error.problems[0]}")
    return outlooks, notes


def is_part(pivot: str, task: str) -> bool:
    """Return whether a name is a task's or that of a part of its training images."""
    base, _, text = pivot.partition("+")
    return base == task and (not text or all(tag.name in _PARTS for tag in tags.parse(text)))


def _recipe_key(project: Project, record: ModelRecord) -> str:
    """Return a key shared by records of one recipe on all parts; a record without its configuration has its own key."""
    path = project.model_dir(record.pivot, record.id) / records.CONFIG_FILE
    if not path.is_file():
        return record.id
    tree = {key: identified(key, value) for key, value in files.read_yaml(path).items()}
    return files.digest([{key: value for key, value in tree.items() if key not in _MAY_DIFFER}, record.nested])


def _size(folds: Sequence[ModelRecord]) -> float:
    return float(np.mean([record.counts.get("train", 0) for record in folds]))


def _fitted_curve(
    project: Project,
    cross_validations: Sequence[list[ModelRecord]],
    whole: ModelRecord,
    seed: int,
    groups: Mapping[str, str] | None,
) -> MoreData:
    """Fit the curve through the errors of some cross-validations.

    Raises:
        DataError: When there are too few sizes, or no test images that all of them predicted.
    """
    measured: dict[float, dict[str, float]] = {}
    for folds in cross_validations:
        errors = [_errors(project, record) for record in folds]
        shared = set.intersection(*(set(fold_errors) for fold_errors in errors))
        measured[_size(folds)] = {
            name: float(np.mean([fold_errors[name] for fold_errors in errors])) for name in shared
        }
    names = sorted(set.intersection(*(set(size_errors) for size_errors in measured.values())))
    if not names:
        raise DataError("not all have predictions of the same test images (mml predict, split.test_fraction)")
    if len(measured) < _LEAST:
        raise DataError(
            f"{len(measured)} training sizes are too few (mml train -m 'task=NAME+subset?0.25,NAME+subset?0.5')"
        )
    sizes = sorted(measured)
    table = np.array([[measured[size][name] for size in sizes] for name in names])
    curve = fit_learning_curve(sizes, table, seed=seed, groups=row_groups(names, groups))
    means = table.mean(axis=0).tolist()
    return MoreData(whole.recipe, whole.arch, whole.kind, sizes, means, len(names), curve)


def _errors(project: Project, record: ModelRecord) -> dict[str, float]:
    """Return the error of each labelled test image."""
    path = project.predictions_file(record.pivot, record.id)
    if not path.is_file():
        return {}
    rows = predictions.load(path, record.pivot, "test")
    if not len(rows):
        return {}
    known = metrics.labelled(rows.targets)
    errors = post_kind.of(record.kind).errors(rows.logits[known], rows.targets[known])
    names = [rows.sample_ids[place] for place in np.flatnonzero(known).tolist()]
    return dict(zip(names, errors.tolist(), strict=True))
