"""The facts of a task for its report, collected from its records, predictions and ensembles; needs no torch."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mlpipe import kinds
from mlpipe.data import task as tasks
from mlpipe.data.task import Task, has_target
from mlpipe.errors import DataError, ProjectError, counted
from mlpipe.post import kind as post_kind
from mlpipe.post.ensembling import member_rows, members, repeats
from mlpipe.post.ensembling.member_mixture import at_own_prevalence
from mlpipe.post.intervals import by_metric
from mlpipe.post.measures.class_metrics import log_softmax
from mlpipe.post.rows import row_groups
from mlpipe.reports import tables
from mlpipe.runs import calibrations, ensembles, journal, predictions, records
from mlpipe.runs.ensembles import EnsembleRecord
from mlpipe.runs.project import Project
from mlpipe.runs.records import ModelRecord
from mlpipe.stored import tell_left_out

Array = npt.NDArray[Any]

# The most numbers that are compared at a time, 32 MB.
_CELLS = 2**22


@dataclass(frozen=True)
class Rows(member_rows.Rows):
    """Labelled predictions.

    Attributes:
        is_calibrated: Whether `calibrated` differs from `raw`.
        at_prior: For held-out rows of an ensemble, `calibrated` at the prevalence that thresholds are for, if that is not
            the rows' own, shape (n, outputs); else None.
    """

    is_calibrated: bool = False
    at_prior: Array | None = None

    @property
    def decided_by(self) -> Array:
        """The outputs to which thresholds are applied, shape (n, outputs)."""
        return self.calibrated if self.at_prior is None else self.at_prior


@dataclass(frozen=True)
class Shown:
    """The subject of a task's plots: the newest ensemble, or the best recipe.

    Attributes:
        name: The name in words.
        ensemble: The ensemble; None for a recipe.
        recipe: The recipe's hash; empty for an ensemble.
        held_out: Rows predicted by networks that were not trained on them; None without any.
        test: Test rows; None without any.
    """

    name: str
    ensemble: EnsembleRecord | None
    recipe: str
    held_out: Rows | None
    test: Rows | None

    @property
    def rows(self) -> Rows | None:
        """Test rows if there are any, else the held-out rows."""
        return self.test if self.test is not None else self.held_out

    @property
    def where(self) -> str:
        """The name of these rows, in words."""
        return "test" if self.test is not None else "out-of-fold"


@dataclass(frozen=True)
class TaskFacts:
    """One task of a project.

    Attributes:
        name: The task.
        kind: The kind of the task.
        classes: The names of the outputs.
        recipes: The newest record of each fold, by recipe, the newest recipe first.
        refits: The refits (models of all folds), by recipe.
        ensembles: The ensembles, the oldest first.
        board: The task's rows of the leaderboard.
        shown: The subject of the plots; None without predictions.
        task: The task's description; None if it cannot be read.
        missing: Why it cannot be read.
        project: The project.
        data_dir: The folder of all tasks.
        positive: The positive class or label, such as an illness; empty if there is none.
    """

    name: str
    kind: str
    classes: list[str]
    recipes: dict[str, list[ModelRecord]]
    ensembles: list[EnsembleRecord]
    board: list[dict[str, Any]]
    shown: Shown | None
    task: Task | None
    missing: str
    project: Project
    data_dir: Path
    calibrations: list[Mapping[str, Any]] = field(default_factory=list)
    refits: dict[str, ModelRecord] = field(default_factory=dict)
    positive: str = ""

    def called(self, recipe: str) -> str:
        """Return a recipe's name for people: its hash, with the preset's name for it in front.

        Args:
            recipe: The hash, may be followed by more words.
        """
        return _recipe_name(self.board, recipe)

    def members(self, subject: Shown) -> list[ModelRecord]:
        """Return the records of folds behind the subject of the plots; none if they are gone.

        Args:
            subject: The subject.
        """
        if subject.ensemble is None:
            return self.recipes[subject.recipe]
        of = {name for member in subject.ensemble.members for name in member["records"]}
        return [record for folds in self.recipes.values() for record in folds if record.id in of]

    @cached_property
    def groups(self) -> dict[str, str]:
        """The group of each sample; empty where the task has none."""
        return self.task.samples.group_of() if self.task else {}

    def shared_groups(self, samples: Sequence[str]) -> Array | None:
        """The group of each of these samples, or else the sample, shape (n,); None if all are different.

        Args:
            samples: Their ids; the same one several times where several statements are about it.
        """
        groups = row_groups(samples, self.groups or None)
        return groups if groups is not None and len(np.unique(groups)) < len(groups) else None

    @property
    def newest(self) -> ModelRecord:
        """The task's newest record."""
        return max((fold for folds in self.recipes.values() for fold in folds), key=lambda record: record.number)


def gather(project: Project, data_dir: Path, positive: str | None = None) -> list[TaskFacts]:
    """Return the facts of every task that has records, the one trained most recently first.

    Args:
        project: The project.
        data_dir: The folder of all tasks.
        positive: The positive class or label, for tasks that have it; None: the stored one, else the
            second of two classes.

    Raises:
        ProjectError: When a record or predictions are damaged.
    """
    by_task: dict[str, list[ModelRecord]] = defaultdict(list)
    for record in records.load_all(project):
        by_task[record.pivot].append(record)
    ordered = sorted(by_task, key=lambda name: -by_task[name][-1].number)
    return [_facts(project, data_dir, name, by_task[name], positive) for name in ordered]


def of_task(
    project: Project, data_dir: Path, name: str, board: Sequence[dict[str, Any]] | None = None
) -> TaskFacts | None:
    """Return the facts of one task; None if it has no records.

    Args:
        project: The project.
        data_dir: The folder of all tasks.
        name: The task.
        board: Its rows of the leaderboard; None: they are computed.

    Raises:
        ProjectError: When a record or predictions are damaged.
    """
    stored = records.load_all(project, name)
    return _facts(project, data_dir, name, stored, board=board) if stored else None


def _facts(
    project: Project,
    data_dir: Path,
    name: str,
    models: Sequence[ModelRecord],
    positive: str | None = None,
    board: Sequence[dict[str, Any]] | None = None,
) -> TaskFacts:
    groups: dict[str, list[ModelRecord]] = defaultdict(list)
    # Images and solutions of one task have no common score, so only the newest kind is reported.
    kind = models[-1].kind
    for record in reversed(models):
        if record.kind == kind:
            groups[record.recipe].append(record)
    recipes = {recipe: records.newest_folds(group) for recipe, group in groups.items()}
    of_all = {recipe: records.newest_refit(group, recipes[recipe]) for recipe, group in groups.items()}
    refits = {recipe: refit for recipe, refit in of_all.items() if refit is not None}
    stored = [ensemble for ensemble in ensembles.load_all(project, name) if ensemble.kind == kind]
    rows = tables.leaderboard(project, name) if board is None else board
    board = [row for row in rows if row["metric"] == post_kind.of(kind).HEADLINE]
    try:
        task, missing = tasks.load(data_dir / name / "task.json"), ""
    except DataError as error:
        task, missing = None, error.problems[0]
    groups_of = task.samples.group_of() if task else {}
    board = [_with_interval(project, row, recipes, refits, groups_of, stored) for row in board]
    known = [*(record for folds in recipes.values() for record in folds), *refits.values()]
    subject = _shown_model(project, stored, recipes, refits, board)
    return TaskFacts(
        name,
        kind,
        models[-1].classes,
        recipes,
        stored,
        board,
        subject,
        task,
        missing,
        project,
        data_dir,
        _calibrations(project, known),
        refits,
        _positive(kind, models[-1].classes, positive, subject),
    )


def _calibrations(project: Project, known: Sequence[ModelRecord]) -> list[Mapping[str, Any]]:
    """Return the calibrations of records; an unreadable file is logged once."""
    entries = list[Mapping[str, Any]]()
    for record in known:
        try:
            calibration = calibrations.load(project, record.pivot, record.id)
        except ProjectError as error:
            tell_left_out(error.problems[0])
            continue
        entries += [calibration] if calibration is not None else []
    return entries


def _positive(kind: str, classes: Sequence[str], positive: str | None, subject: Shown | None) -> str:
    """Return the positive class or label: as requested, as stored, or the second of two classes, or the only label."""
    stored = (subject.ensemble.decide if subject and subject.ensemble else {}).get("positive")
    for name in (positive, stored):
        if name in classes:
            return str(name)
    usual = 2 if kinds.of(kind).has_classes else 1
    return classes[-1] if kinds.of(kind).has_probabilities and len(classes) == usual else ""


def _with_interval(
    project: Project,
    row: dict[str, Any],
    recipes: dict[str, list[ModelRecord]],
    refits: dict[str, ModelRecord],
    groups: dict[str, str],
    stored: Sequence[EnsembleRecord],
) -> dict[str, Any]:
    """Add the interval of the test score to a recipe's row of the leaderboard; equal predictions have equal intervals."""
    if row["ensemble"] or row["test"] is None:
        return row
    folds, name = recipes[row["recipe"]], row["metric"]
    if name in post_kind.of(folds[0].kind).WITHOUT_INTERVAL:
        return row
    test = _test_rows(project, folds, refits.get(row["recipe"]))
    if test is None:
        return row
    for ensemble in reversed(stored):
        known = ensemble.scores.get("test", {}).get(name)
        if known is not None and ensemble.select_on != "test" and _has_same_outputs(project, ensemble, test):
            return {**row, "test_low": known["low"], "test_high": known["high"]}
    units = row_groups(test.ids, groups or None)
    intervals = by_metric.metric_intervals([name], test.raw, test.targets, kind=folds[0].kind, groups=units)
    low, high = intervals[name].low, intervals[name].high
    # The ends are NaN if the rows do not determine the width.
    return {**row, "test_low": low, "test_high": high} if low < high else row


def _has_same_outputs(project: Project, ensemble: EnsembleRecord, test: Rows) -> bool:
    """Return whether an ensemble's uncalibrated predictions of the test images are these."""
    path = project.ensembles_dir(ensemble.task) / f"{ensemble.id}.parquet"
    own = _labelled_rows(_read(path, ensemble.task, "test", ensemble.kind)) if path.is_file() else None
    if own is None or own.ids != test.ids or own.raw.shape != test.raw.shape:
        return False
    comparable = partial(_comparable_outputs, kind=ensemble.kind)
    return all(
        np.allclose(comparable(own.calibrated[rows]), comparable(test.raw[rows]), rtol=1e-4, atol=1e-4)
        for rows in _blocks(test.raw)
    )


def _blocks(values: Array) -> Iterator[slice]:
    """Yield blocks of rows, because comparing all rows of many classes at once takes gigabytes."""
    step = max(1, _CELLS // max(1, values.shape[1]))
    return (slice(start, start + step) for start in range(0, len(values), step))


def _comparable_outputs(outputs: Array, kind: str) -> Array:
    """Return outputs that are equal only if they mean the same: a constant added to all logits of classes changes nothing."""
    of = kinds.of(kind)
    return log_softmax(outputs) if of.has_classes and not of.is_dense else outputs


def _shown_model(
    project: Project,
    stored: Sequence[EnsembleRecord],
    recipes: dict[str, list[ModelRecord]],
    refits: dict[str, ModelRecord],
    board: Sequence[dict[str, Any]],
) -> Shown | None:
    for ensemble in reversed(stored):
        path = project.ensembles_dir(ensemble.task) / f"{ensemble.id}.parquet"
        if path.is_file():
            member_count = len(ensemble.members)
            words = "model" if ensemble.select_on == "test" else "recipe"
            calibrated = "calibrated " if ensemble.is_calibrated else ""
            if member_count > 1:
                name = f"the {calibrated}ensemble of {member_count} {words}s"
            else:
                of_folds = "refit" if "refit" in ensemble.members[0] else "mean"
                means = f"{of_folds} of the folds of " if ensemble.select_on == "none" else calibrated
                name = f"the {means}{words} {_recipe_name(board, str(ensemble.members[0]['name']))}"
            held_out, test = of_ensemble(project, ensemble)
            if held_out or test:
                return Shown(name, ensemble, "", held_out, test)
    for row in board:
        folds = recipes.get(row["recipe"], [])
        refit = refits.get(row["recipe"])
        rows = recipe_rows(project, folds, refit) if folds else (None, None)
        if rows[0] is not None or rows[1] is not None:
            words = f"{folds[0].arch} (recipe {_recipe_name(board, row['recipe'])})"
            of_folds = f"the mean of {len(folds)} folds of {words}" if len(folds) > 1 else words
            name = of_folds if refit is None else f"the refit of {counted(len(folds), 'fold')} of {words}"
            return Shown(name, None, row["recipe"], *rows)
    return None


def of_ensemble(project: Project, ensemble: EnsembleRecord) -> tuple[Rows | None, Rows | None]:
    """Return the held-out and the test rows of an ensemble, None where it has none.

    Held-out rows are at their own prevalence, as their scores are.

    Args:
        project: The project.
        ensemble: The ensemble.
    """
    path = project.ensembles_dir(ensemble.task) / f"{ensemble.id}.parquet"
    if not path.is_file():
        return None, None
    held_out, test = (_labelled_rows(_read(path, ensemble.task, split, ensemble.kind)) for split in ("val", "test"))
    if held_out is not None and ensemble.other_prevalence is not None:
        own = at_own_prevalence(held_out, np.asarray(ensemble.other_prevalence)).calibrated
        changed = _differ(held_out.raw, own, ensemble.kind)
        held_out = replace(held_out, calibrated=own, is_calibrated=changed, at_prior=held_out.calibrated)
    return held_out, test


def recipe_rows(
    project: Project, folds: Sequence[ModelRecord], refit: ModelRecord | None = None
) -> tuple[Rows | None, Rows | None]:
    """Return the held-out and the test rows of a recipe, None where not all folds have them.

    Args:
        project: The project.
        folds: A record for each fold.
        refit: The refit, whose test rows replace the folds' mean.
    """
    held_out = [_rows_of_model(project, fold, fold.task, fold.held_out) for fold in folds]
    return _labelled_rows(_pooled_rows(held_out, folds[0].kind)), _test_rows(project, folds, refit)


def _test_rows(project: Project, folds: Sequence[ModelRecord], refit: ModelRecord | None) -> Rows | None:
    models = folds if refit is None else [refit]
    test = [_rows_of_model(project, model, model.pivot, "test") for model in models]
    return _labelled_rows(_mean(test, folds[0].kind))


def _rows_of_model(project: Project, record: ModelRecord, task: str, split: str) -> Rows | None:
    path = project.predictions_file(record.pivot, record.id)
    return _read(path, task, split, record.kind) if path.is_file() else None


def _read(path: Path, task: str, split: str, kind: str) -> Rows | None:
    stored = predictions.load(path, task, split)
    if not len(stored):
        return None
    raw = stored.logits.astype(np.float64)
    calibrated_logits = stored.calibrated
    calibrated = raw if calibrated_logits is None else calibrated_logits.astype(np.float64)
    changed = calibrated_logits is not None and _differ(raw, calibrated, kind)
    return Rows(stored.sample_ids, stored.targets, raw, calibrated, is_calibrated=changed)


def _differ(raw: Array, calibrated: Array, kind: str) -> bool:
    """Return whether a calibration changed outputs by more than rounding."""
    return not all(
        np.allclose(_comparable_outputs(raw[rows], kind), calibrated[rows], rtol=1e-5, atol=1e-5, equal_nan=True)
        for rows in _blocks(raw)
    )


def _pooled_rows(parts: Sequence[Rows | None], kind: str) -> Rows | None:
    """Return the rows of all folds, each image once: for a repeated cross-validation the mean over repeats."""
    filled = [part for part in parts if part is not None]
    if not filled or len(filled) < len(parts):
        return None
    if len(repeats.groups_by_repeat(filled, [part.ids for part in filled])) > 1:
        mean, calibrated = members.out_of_fold(filled, kind), all(part.is_calibrated for part in filled)
        return Rows(mean.ids, mean.targets, mean.raw, mean.calibrated, is_calibrated=calibrated)
    return Rows(
        [name for part in filled for name in part.ids],
        np.concatenate([part.targets for part in filled]),
        np.concatenate([part.raw for part in filled]),
        np.concatenate([part.calibrated for part in filled]),
        is_calibrated=all(part.is_calibrated for part in filled),
    )


def _mean(parts: Sequence[Rows | None], kind: str) -> Rows | None:
    mean = members.mean(parts, kind)
    if mean is None:
        return None
    is_calibrated = all(part is not None and part.is_calibrated for part in parts)
    return Rows(mean.ids, mean.targets, mean.raw, mean.calibrated, is_calibrated=is_calibrated)


def _labelled_rows(rows: Rows | None) -> Rows | None:
    if rows is None or not (np.isfinite(rows.raw).all() and np.isfinite(rows.calibrated).all()):
        return None
    places = np.flatnonzero(has_target(rows.targets))
    if not len(places):
        return None
    ids = [rows.ids[row] for row in places.tolist()]
    arrays = rows.targets[places], rows.raw[places], rows.calibrated[places]
    return Rows(ids, *arrays, is_calibrated=rows.is_calibrated)


def _recipe_name(board: Sequence[dict[str, Any]], recipe: str) -> str:
    return journal.called({row["recipe"]: row["called"] for row in board}, recipe)
