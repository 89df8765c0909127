"""An ensemble's own rows: the mixture of its members, raw or calibrated before, after or both, at the prevalence asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from mlpipe.data.task import has_target
from mlpipe.errors import DataError
from mlpipe.modes.members import Array, Member, Rows
from mlpipe.post import metrics
from mlpipe.post.calibrate import calibrate
from mlpipe.post.ensemble import Ensemble
from mlpipe.post.label_calibrate import calibrate_labels
from mlpipe.post.mixing import LOSSES, combine
from mlpipe.post.prior import move_prior
from mlpipe.post.rows import stratified_folds

_FOLDS = 5
LEAST_SHARE = 1e-8
_OF_THE_MIXTURE = ("both", "after")


@dataclass(frozen=True)
class Final:
    """An ensemble's own rows: `raw` is the mixture, `calibrated` what is handed on.

    Attributes:
        chooses: The rows that chose it (each calibrated by a fit that did not see it).
        test: Test rows; None without any.
        unlabelled: Rows without a target; None without any.
        stage: Where calibration happens: `none`, `before`, `both` or `after`.
        calibration: The mixture's own as plain data; None where the stage has none.
        prior: The prevalence that `calibrated` is meant for, shape (classes,); None: that of the rows that chose.
        losses: The cross-validated loss of each stage that was tried.
        notes: What a person should know.
    """

    chooses: Rows
    test: Rows | None
    unlabelled: Rows | None
    stage: str
    calibration: dict[str, Any] | None
    prior: Array | None = None
    losses: dict[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def finished(chosen: Ensemble, candidates: Sequence[Member], kind: str, stage: str, method: str, seed: int) -> Final:
    """The mixture's rows: raw, calibrated before, after or both.

    Args:
        chosen: Members and weights.
        candidates: All members.
        kind: The kind of the task.
        stage: `none`, `before`, `after`, `both`, or `auto`: the least cross-validated loss, the simpler within one
            standard error; `none` is tried where probabilities stay at the prevalence they were learned at.
        method: The calibrator.
        seed: Of the folds.
    """
    plain = _mixed(chosen, candidates, kind, calibrated=True)
    if kind == "regression" or method == "none":
        return replace(plain, stage="before")
    raw = replace(_mixed(chosen, candidates, kind, calibrated=False), stage="none", prior=None)
    options, notes = {"before": plain}, []
    if stage == "none" or (stage == "auto" and plain.prior is None):
        options = {"none": raw, **options}
    for name in _OF_THE_MIXTURE:
        if stage in ("auto", name):
            source = plain if name == "both" else replace(raw, prior=plain.prior)
            try:
                options[name] = _recalibrated(source, name, kind, method, seed)
            except DataError as error:
                notes.append(f"the mixture is not calibrated itself: {error.problems[0]}")
    losses = {name: _loss(one, kind) for name, one in options.items()}
    best = stage if stage in options else _simplest(options, kind)
    if best == "none" and stage == "auto":
        told = f"{losses['none']:.4f} raw, {losses['before']:.4f} calibrated"
        notes.append(
            f"probabilities are left as they are: calibrating them gains nothing (cross-validated loss {told})"
        )
    return replace(options[best], losses=losses, notes=tuple(notes))


def _mixed(chosen: Ensemble, candidates: Sequence[Member], kind: str, *, calibrated: bool) -> Final:
    def mix(pick: Callable[[Member], Rows | None]) -> Rows | None:
        parts = [pick(candidates[place]) for place in chosen.members]
        filled = [part for part in parts if part is not None]
        if len(filled) < len(parts):
            return None
        raw = combine([part.raw for part in filled], chosen.weights, kind, chosen.mixing)
        values = (
            combine([part.calibrated for part in filled], chosen.weights, kind, chosen.mixing) if calibrated else raw
        )
        return Rows(filled[0].ids, filled[0].targets, raw, values)

    own = mix(lambda member: member.chooses)
    assert own is not None
    given = [one for one in (candidates[place].prior for place in chosen.members) if one is not None]
    prior = None
    if len(given) == len(chosen.members):
        prior = np.asarray(np.average(given, axis=0, weights=chosen.weights))
    test, unlabelled = mix(lambda member: member.test), mix(lambda member: member.unlabelled)
    return Final(own, test, unlabelled, "before", None, prior)


def _recalibrated(final: Final, stage: str, kind: str, method: str, seed: int) -> Final:
    """The same rows through a calibration of the mixture; rows that chose through one that did not see them."""

    def learn(rows: Rows, chosen: Array) -> tuple[Callable[[Array], Array], dict[str, Any]]:
        values, targets = rows.calibrated[chosen], rows.targets[chosen]
        if kind == "multilabel":
            of_labels = calibrate_labels(values, targets, method=method, seed=seed)
            return of_labels.apply, of_labels.as_plain()
        of_classes = calibrate(values, targets, given, method=method, seed=seed)
        return of_classes.apply, of_classes.as_plain()

    rows, given = final.chooses, final.prior
    everything = np.ones(len(rows), bool)
    apply, plain = learn(rows, everything)
    strata = rows.targets if rows.targets.ndim == 1 else np.zeros(len(rows), np.int64)
    fold = stratified_folds(strata, _FOLDS, seed)
    crossed = np.empty_like(rows.calibrated)
    for number in range(_FOLDS):
        held = fold == number
        crossed[held] = learn(rows, ~held)[0](rows.calibrated[held])

    def through(part: Rows | None) -> Rows | None:
        return None if part is None else replace(part, calibrated=apply(part.calibrated))

    return replace(
        final,
        chooses=replace(rows, calibrated=crossed),
        test=through(final.test),
        unlabelled=through(final.unlabelled),
        stage=stage,
        calibration=plain,
    )


def at_own_prevalence(rows: Rows, prior: Array | None) -> Rows:
    """Rows whose probabilities, meant for a prior, are moved to the prevalence of the rows themselves.

    Only so does a loss on them say how good the probabilities are, and not how far the prior is away.

    Args:
        rows: Labelled rows.
        prior: Shape (classes,); None: nothing is moved.
    """
    if prior is None:
        return rows
    own = own_shares(rows.targets, len(prior))
    return replace(rows, calibrated=move_prior(rows.calibrated, prior, own))


def own_shares(targets: Array, classes: int) -> Array:
    """The share of each class among rows with a target, none exactly zero, shape (classes,).

    Args:
        targets: Class numbers, -1 for none, shape (n,).
        classes: How many there are.
    """
    counts = np.bincount(targets[targets >= 0], minlength=classes)
    return np.asarray(np.maximum(counts / counts.sum(), LEAST_SHARE))


def _loss(final: Final, kind: str) -> float:
    rows = at_own_prevalence(final.chooses, final.prior)
    there = has_target(rows.targets)
    return LOSSES[kind](rows.calibrated[there], rows.targets[there])


def _simplest(options: Mapping[str, Final], kind: str) -> str:
    """The first stage whose loss is within one standard error (of the difference, over rows) of the best one's."""
    best = min(options, key=lambda name: _loss(options[name], kind))
    for name, one in options.items():
        difference = _each(one, kind) - _each(options[best], kind)
        if difference.mean() <= difference.std(ddof=1) / np.sqrt(len(difference)):
            return name
    return best


def _each(final: Final, kind: str) -> Array:
    """Every row's loss."""
    rows = at_own_prevalence(final.chooses, final.prior)
    if kind == "multilabel":
        known = ~np.isnan(rows.targets)
        each = np.logaddexp(0, rows.calibrated) - rows.calibrated * np.where(known, rows.targets, 0)
        return np.asarray(each[known])
    there = rows.targets >= 0
    logs = metrics.log_softmax(rows.calibrated[there])
    return np.asarray(-logs[np.arange(len(logs)), rows.targets[there]])
