"""Candidates for an ensemble: recipes by their out-of-fold rows, or single records by their test rows."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from mlpipe.errors import ProjectError, first_line, listing, problem
from mlpipe.post import kind as post_kind
from mlpipe.post import metrics
from mlpipe.post.ensembling import repeats
from mlpipe.post.ensembling.member_rows import Array, Rows
from mlpipe.post.prior import LEAST_SHARE
from mlpipe.runs import calibrations, journal, predictions, records
from mlpipe.runs.predictions import Predictions
from mlpipe.runs.project import Project
from mlpipe.runs.records import ModelRecord


@dataclass(frozen=True)
class Member:
    """A candidate.

    Attributes:
        name: The recipe's hash with its network, or the record's id.
        records: The records whose mean it is, or the refit.
        chooses: Rows that may choose: out-of-fold rows, or a record's test rows.
        test: Test rows; None without a test part.
        unlabelled: Rows without a target; None without any.
        prior: The prevalence that the calibrated rows are meant for, shape (classes,); None: that of the rows that fitted
            the calibration.
        form: `calibrated`, or `raw` if its `calibrated` rows are those of the networks.
        refit: The model of all folds that predicts instead of their mean; None without one.
        preset: The name that a preset has for the recipe; empty for any other.
    """

    name: str
    records: list[ModelRecord]
    chooses: Rows
    test: Rows | None
    unlabelled: Rows | None
    prior: Array | None = None
    form: str = "calibrated"
    refit: ModelRecord | None = None
    preset: str = ""

    @property
    def called(self) -> str:
        """The name in sentences, with the preset's name for the recipe in front."""
        return f"{self.preset} {self.name}" if self.preset else self.name

    @property
    def predicting(self) -> list[ModelRecord]:
        """The records that predict rows which no fold held out."""
        return self.records if self.refit is None else [self.refit]

    def uncalibrated(self) -> Member:
        """Return the member without calibration."""
        test, unlabelled = (
            None if split_rows is None else split_rows.uncalibrated() for split_rows in (self.test, self.unlabelled)
        )
        return replace(self, chooses=self.chooses.uncalibrated(), test=test, unlabelled=unlabelled, form="raw")


@dataclass(frozen=True)
class Candidates:
    """Members with predictions of the same rows, which can therefore be mixed.

    Attributes:
        members: The members, their rows in one order.
        notes: A sentence for each candidate that was left out.
    """

    members: list[Member]
    notes: list[str]


def recipes(project: Project, model_records: Sequence[ModelRecord]) -> list[Candidates]:
    """Return each recipe as a member: out-of-fold rows choose, other rows are its refit's, else the mean over its folds.

    Args:
        project: The project.
        model_records: The task's records, calibrated.

    Returns:
        The recipes that have the rows of the newest one. If others hold out more rows besides, because not all folds of
        the newest one were trained, then also those with the most rows, which can be mixed without it.

    Raises:
        ProjectError: When there is no recipe.
    """
    groups: dict[str, list[ModelRecord]] = defaultdict(list)
    for record in model_records:
        groups[record.recipe].append(record)
    names = journal.names_of_recipes(project, (group[-1] for group in groups.values()))
    members, notes = [], []
    for recipe, group in groups.items():
        folds = records.newest_folds(group)
        parts = [held_out(project, record) for record in folds]
        filled = [rows for rows in parts if rows is not None]
        if len(filled) < len(folds):
            notes.append(
                f"recipe {journal.called(names, recipe)} is left out: not all of its folds have predictions of held-out rows"
            )
            continue
        refit = records.newest_refit(group, folds)
        test, unlabelled = (pooled(project, folds, refit, split) for split in ("test", "unlabelled"))
        prior, name = prior_of(project, folds), f"{recipe} {folds[0].arch}"
        held = out_of_fold(filled, folds[0].kind)
        preset = names.get(recipe, "")
        members.append(Member(name, folds, held, test, unlabelled, prior, refit=refit, preset=preset))
    if not members:
        raise _missing_rows_error(notes, model_records, "predictions of the images that were held out")
    newest = _newest(members)
    having = [member for member in members if set(newest.chooses.ids) <= set(member.chooses.ids)]
    most = max(len(member.chooses) for member in having)
    with_most = [member for member in having if len(member.chooses) == most]
    references = [newest] if newest in with_most else [newest, _newest(with_most)]
    return [_aligned_candidates(members, notes, reference) for reference in references]


def pooled(project: Project, folds: Sequence[ModelRecord], refit: ModelRecord | None, split: str) -> Rows | None:
    """Return the rows of a recipe that no fold held out: those of its refit, else the mean of the folds.

    Args:
        project: The project.
        folds: A record for each fold.
        refit: The model of all folds.
        split: `test` or `unlabelled`.
    """
    predicting = folds if refit is None else [refit]
    return mean([rows(project, record, record.pivot, split) for record in predicting], folds[0].kind)


def singles(project: Project, model_records: Sequence[ModelRecord]) -> list[Candidates]:
    """Return each record as a member by its test rows (the reference's way), if it has the rows of the newest one.

    Args:
        project: The project.
        model_records: The task's records, calibrated.

    Raises:
        ProjectError: When no record has predictions of labelled test rows.
    """
    members, notes = [], []
    for record in model_records:
        test = rows(project, record, record.pivot, "test")
        if test is None or not metrics.labelled(test.targets).any():
            notes.append(f"{record.id} is left out: it has no predictions of labelled test rows")
            continue
        unlabelled = rows(project, record, record.pivot, "unlabelled")
        members.append(Member(record.id, [record], test, test, unlabelled, prior_of(project, [record])))
    if not members:
        raise _missing_rows_error(notes, model_records, "predictions of labelled test images")
    return [_aligned_candidates(members, notes, _newest(members))]


def _missing_rows_error(notes: Sequence[str], model_records: Sequence[ModelRecord], needed: str) -> ProjectError:
    # A training with mode.eval_on predicts other tasks instead of its own.
    fix = f"mml predict task={model_records[-1].pivot} makes them for models whose weights are kept"
    return ProjectError([*notes, problem("mode.subroutines", f"no recipe has {needed}", fix=fix)])


def _newest(members: Sequence[Member]) -> Member:
    return max(members, key=lambda member: max(record.number for record in member.records))


def _aligned_candidates(members: Sequence[Member], notes: Sequence[str], first: Member) -> Candidates:
    """Return the members that have the rows of the first, in its order."""
    aligned_members, left_out = list[Member](), list(notes)
    for member in members:
        if set(first.chooses.ids) - set(member.chooses.ids):
            left_out.append(f"{member.called} is left out: it lacks rows that {first.called} has")
            continue
        test = _rows_in_order(member.test, first.test)
        unlabelled = _rows_in_order(member.unlabelled, first.unlabelled)
        chooses = member.chooses.only(first.chooses.ids)
        aligned_members.append(replace(member, chooses=chooses, test=test, unlabelled=unlabelled))
    return Candidates(aligned_members, left_out)


def _rows_in_order(rows: Rows | None, reference: Rows | None) -> Rows | None:
    if rows is None or reference is None or set(reference.ids) - set(rows.ids):
        return None
    return rows.only(reference.ids)


def prior_of(project: Project, model_records: Sequence[ModelRecord]) -> Array | None:
    """Return the mean of the priors that records were calibrated for, shape (classes,); None if it is that of their own rows.

    Args:
        project: The project.
        model_records: The records.
    """
    values, moved = list[list[float]](), False
    for record in model_records:
        found_of = calibrations.load(project, record.pivot, record.id)
        stored: calibrations.Prior = found_of["prior"] if found_of else {"kind": "val", "values": []}
        if len(stored["values"]) != len(record.classes):
            return None
        values.append(stored["values"])
        moved |= stored["kind"] != "val"
    if not moved:
        return None
    # If one fold kept the prevalence of validation, a class that it lacks has no share in the prior.
    return np.asarray(np.maximum(np.mean(np.array(values), axis=0), LEAST_SHARE))


def held_out_and_unlabelled(project: Project, record: ModelRecord) -> tuple[Rows, Rows] | None:
    """Return a record's validation rows (`validated`) and the pivot's unlabelled rows; None unless both were predicted.

    Args:
        project: The project.
        record: The record.
    """
    val, unlabelled = validated(project, record), rows(project, record, record.pivot, "unlabelled")
    return None if val is None or unlabelled is None else (val, unlabelled)


def validated(project: Project, record: ModelRecord) -> Rows | None:
    """Return a record's validation rows; for a refit the rows that its folds held out, as the folds predicted them.

    Args:
        project: The project.
        record: The record.

    Returns:
        None if there are none, or if one of several folds has not predicted its own.

    Raises:
        ProjectError: When folds share rows.
    """
    if not record.refit:
        return rows(project, record, record.task, "val")
    folders = [project.model_dir(record.pivot, name) for name in record.refit]
    if not all((folder / records.RECORD_FILE).is_file() for folder in folders):
        return None
    parts = [held_out(project, records.load(folder)) for folder in folders]
    filled = [part for part in parts if part is not None]
    return out_of_fold(filled, record.kind) if len(filled) == len(parts) else None


def held_out(project: Project, record: ModelRecord) -> Rows | None:
    """Return the rows that a fold held out: its test rows if it is nested, else its validation rows."""
    return rows(project, record, record.task, record.held_out)


def rows(project: Project, record: ModelRecord, task: str, split: str) -> Rows | None:
    """Return a record's predictions of one task and split; None if there are none.

    Args:
        project: The project.
        record: The record.
        task: The task's name, `name+nested?k` for a nested one.
        split: `val`, `test` or `unlabelled`.
    """
    path = project.predictions_file(record.pivot, record.id)
    if not path.is_file():
        return None
    stored: Predictions = predictions.load(path, task, split)
    if not len(stored):
        return None
    how = post_kind.of(record.kind).ENSEMBLING
    if (how is None or how.MIXES_COLUMNS) and stored.logits.shape[1] != len(record.classes):
        wrong = f"has predictions of {stored.logits.shape[1]} outputs, its record {len(record.classes)}"
        raise ProjectError(problem(str(path), wrong, fix="run mml predict"))
    own, known = as_rows(stored), calibrations.load(project, record.pivot, record.id)
    if known is None or not np.isfinite(own.raw).all():
        return own
    identity = known.get("identity")
    if identity is not None:
        own = replace(own, moved=learned(identity, record.kind)(own.raw))
    if stored.calibrated is not None:
        return own
    # Rows predicted again after the calibration get it now, except those it was learned from, for which it would be optimistic.
    if (task, split) == (record.task, "val"):
        return own.uncalibrated()
    return replace(own, calibrated=learned(known["calibration"], record.kind)(own.raw))


def learned(plain: Mapping[str, Any], kind: str) -> Callable[[Array], Array]:
    """Return a function that applies a stored calibration to logits.

    Args:
        plain: The calibration as it was stored.
        kind: The kind of the task.

    Raises:
        ProjectError: When it is damaged.
    """
    try:
        return post_kind.probabilities(kind).learned(plain)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        wrong = f"is damaged ({type(error).__name__}: {first_line(error)})"
        raise ProjectError(problem("a stored calibration", wrong, fix="run mml post")) from error


def as_rows(stored: Predictions) -> Rows:
    """Return stored predictions as rows; uncalibrated ones are those of the network."""
    raw = stored.logits.astype(np.float64)
    calibrated = raw if stored.calibrated is None else stored.calibrated.astype(np.float64)
    return Rows(stored.sample_ids, stored.targets, raw, calibrated)


def out_of_fold(parts: Sequence[Rows], kind: str) -> Rows:
    """Return the held-out rows of all folds, by sample id; of a repeated cross-validation the mean over repeats.

    Args:
        parts: Each fold's rows.
        kind: The kind of the task.

    Raises:
        ProjectError: When folds share rows and are not repeats.
    """
    repeat_rows = [joined(of_one) for of_one in repeats.groups_by_repeat(parts, [part.ids for part in parts])]
    if len(repeat_rows) == 1:
        return repeat_rows[0]
    averaged = mean(repeat_rows, kind)
    # Sums over pixels have no mean: take those of the first repeat.
    return repeat_rows[0] if averaged is None else averaged


def joined(parts: Sequence[Rows]) -> Rows:
    """Concatenate the rows of several folds, by sample id.

    Args:
        parts: Each fold's rows.

    Raises:
        ProjectError: When folds share rows.
    """
    ids = [name for part in parts for name in part.ids]
    if len(set(ids)) != len(ids):
        shared = listing([name for name, count in Counter(ids).items() if count > 1], most=3)
        raise ProjectError(problem("mode.select_on", f"folds share held-out rows ({shared})", fix="use select_on=test"))
    joined = Rows(
        ids,
        np.concatenate([part.targets for part in parts]),
        np.concatenate([part.raw for part in parts]),
        np.concatenate([part.calibrated for part in parts]),
        _concatenated([part.moved for part in parts]),
    )
    return joined.only(sorted(ids))


def _concatenated(parts: Sequence[Array | None]) -> Array | None:
    """Concatenate arrays; None if one is missing."""
    filled = [part for part in parts if part is not None]
    return np.concatenate(filled) if len(filled) == len(parts) else None


def mean(parts: Sequence[Rows | None], kind: str) -> Rows | None:
    """Return the mean over folds of rows that all of them predicted; None if the rows differ.

    Args:
        parts: Each fold's rows, None where it has none.
        kind: The kind of the task.
    """
    filled = [part for part in parts if part is not None]
    how = post_kind.of(kind).ENSEMBLING
    # Counts and sums of errors have no mean; `mlpipe.running.pixel_ensembles` averages the maps that they are computed from.
    if how is None:
        return None
    if not filled or len(filled) < len(parts) or any(part.ids != filled[0].ids for part in filled):
        return None
    weights, mixing = [1 / len(filled)] * len(filled), post_kind.weighted(kind)
    raw = how.combine([part.raw for part in filled], weights, mixing)
    calibrated = how.combine([part.calibrated for part in filled], weights, mixing)
    known = [part.moved for part in filled if part.moved is not None]
    moved = how.combine(known, weights, mixing) if len(known) == len(filled) else None
    return Rows(filled[0].ids, filled[0].targets, raw, calibrated, moved)
