"""Scores with intervals on the images of another task (`mml test mode.eval_on=TASK`), by what predicts new images."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import numpy as np

from mlpipe import kinds
from mlpipe.data.task import Task, has_target
from mlpipe.errors import counted
from mlpipe.post import decisions, diagnosis
from mlpipe.post import kind as post_kind
from mlpipe.post.diagnosis import NAMES, Diagnosis
from mlpipe.post.ensembling import new_rows
from mlpipe.post.ensembling.member_rows import Rows
from mlpipe.post.ensembling.new_rows import NewRows
from mlpipe.post.figures import interval, number
from mlpipe.post.intervals import by_metric
from mlpipe.post.intervals.by_metric import Interval
from mlpipe.post.rows import row_groups
from mlpipe.reports import tables
from mlpipe.running.predictor import LATEST
from mlpipe.running.steps import RunContext
from mlpipe.runs import predictions, records
from mlpipe.runs.ensembles import EnsembleRecord
from mlpipe.runs.project import Project
from mlpipe.runs.records import ModelRecord

log = logging.getLogger("mlpipe")

SPLIT = "test"


def report(context: RunContext, pivot: Task, other: Task, seed: int) -> None:
    """Print each metric with its 95 % interval, for two classes also those of the decisions; do nothing for masks and images.

    The newest ensemble predicts if nothing was trained after it, otherwise the mean over the folds of the latest training, or
    its refit. Images of a group count together.

    Args:
        context: The project, whose models have predicted the other task; its facts get the scores as `scores_on`.
        pivot: The task that the models were trained on.
        other: The labelled task, with the pivot's classes.
        seed: The seed of draws.
    """
    part = post_kind.of(pivot.kind)
    if part.ENSEMBLING is None or not part.ENSEMBLING.MIXES_COLUMNS:
        return
    ensemble, rows = _rows(context, pivot, other, seed)
    known = np.flatnonzero(has_target(rows.targets))
    if not len(known):
        return
    values, targets = rows.calibrated[known], rows.targets[known]
    units = row_groups([rows.ids[row] for row in known.tolist()], other.samples.group_of() or None)
    names = [*part.FINAL, *part.FURTHER]
    scores = by_metric.metric_intervals(names, values, targets, kind=pivot.kind, groups=units, seed=seed)
    plain = {name: score.as_plain() for name, score in scores.items()}
    facts = context.facts.setdefault("scores_on", {})[other.name] = dict[str, Any](plain)
    log.info(f"\n{other.name}, {counted(len(known), 'image')}:\n{tables.scores(plain, len(known))}")
    if kinds.of(pivot.kind).has_classes and len(pivot.classes) == 2:
        positive = _positive(ensemble, pivot)
        decided = decisions.classes_of(values, ensemble.decide if ensemble is not None else {})
        answers = values.argmax(axis=1) if decided is None else decided
        true = targets == positive
        if true.any() and not true.all():
            shares = _shares(diagnosis.diagnosis(answers == positive, true, units))
            facts |= {name.replace(" ", "_"): share.as_plain() for name, share in shares.items()}
            facts["positive"] = pivot.classes[positive]
            log.info(_sentence(pivot.classes[positive], shares, len(known)))


def _rows(context: RunContext, pivot: Task, other: Task, seed: int) -> tuple[EnsembleRecord | None, Rows]:
    """Return the ensemble, if it predicts, and the mixture's rows of another task."""
    project = context.project
    ensemble = new_rows.newest_of_all(project, pivot.name)
    folds = records.latest_cross_validation(records.load_all(project, pivot.name))
    members = [(folds[0].recipe, folds, 1.0)]
    # An ensemble of several trainings, or a refit, may not have predicted the other task: the latest folds have.
    for predicting in (ensemble, None):
        mixed = new_rows.members_of(project, pivot.name, predicting)
        if all(_has_predicted(project, record, other) for _, several, _ in mixed for record in several):
            ensemble, members = predicting, mixed
            break
    else:
        ensemble = None
    log.info(new_rows.told(project, pivot.name, ensemble, members, LATEST))
    groups = pivot.samples.group_of() or None
    mixture = NewRows(
        project,
        pivot.kind,
        pivot.classes,
        ensemble,
        members,
        other.name,
        len(other.samples),
        SPLIT,
        seed,
        groups=groups,
    )
    return ensemble, mixture.mixed()


def _has_predicted(project: Project, record: ModelRecord, other: Task) -> bool:
    file = project.predictions_file(record.pivot, record.id)
    return file.is_file() and (other.name, SPLIT) in predictions.contents(file)


def _positive(ensemble: EnsembleRecord | None, pivot: Task) -> int:
    """Return the number of the positive class: as stored with the ensemble, else the second one."""
    decided = ensemble.decide if ensemble is not None else {}
    name = decided.get("thresholds", {}).get("positive", decided.get("positive", pivot.classes[1]))
    return pivot.classes.index(name)


def _shares(measures: Diagnosis) -> dict[str, Interval]:
    shares = (measures.sensitivity, measures.specificity, measures.ppv, measures.npv)
    return {name: share for name, share in zip(NAMES, shares, strict=True) if share is not None}


def _sentence(positive: str, shares: Mapping[str, Interval], rows: int) -> str:
    parts = [
        f"{name} {number(share.value, rows)} ({interval(share.low, share.high, rows)})"
        for name, share in shares.items()
    ]
    return f"{positive} against the rest, with 95 % intervals: {', '.join(parts)}"
