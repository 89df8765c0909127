"""The mixture of an ensemble's members: raw, or calibrated before mixing, after it or both, at the requested prevalence."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from mlpipe.errors import DataError
from mlpipe.post import kind as post_kind
from mlpipe.post.ensembling.ensemble import Ensemble
from mlpipe.post.ensembling.member_rows import Array, Rows
from mlpipe.post.ensembling.members import Member, learned
from mlpipe.post.ensembling.mixing import combine
from mlpipe.post.prior import LEAST_SHARE, move_labels, move_prior
from mlpipe.post.rows import FOLDS, row_groups, stratified_folds


@dataclass(frozen=True)
class Final:
    """An ensemble's own rows: `raw` is the mixture, `calibrated` the final predictions.

    Attributes:
        chooses: The rows that chose it (each calibrated by a fit that did not see it).
        test: Test rows; None without any.
        unlabelled: Rows without a target; None without any.
        stage: Where calibration happens: `none`, `before`, `both` or `after`.
        calibration: The mixture's own calibration as plain data; None if the stage has none.
        prior: The prevalence that `calibrated` is meant for, shape (outputs,); None: that of the rows that chose.
        losses: The cross-validated loss of each stage that was tried.
        notes: Notes for the reader.
    """

    chooses: Rows
    test: Rows | None
    unlabelled: Rows | None
    stage: str
    calibration: dict[str, Any] | None
    prior: Array | None = None
    losses: dict[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Fitting:
    """How calibrations are fitted.

    Attributes:
        method: The calibration method.
        shrinkage: How strongly it is shrunk to the identity.
        seed: Seed of folds.
    """

    method: str
    shrinkage: str | float
    seed: int

    def learn(
        self,
        logits: Array,
        targets: Array,
        kind: str,
        prior: Any = None,
        *,
        base: Any = None,
        names: Sequence[str] | None = None,
        groups: Array | None = None,
    ) -> dict[str, Any]:
        """Return a calibration as plain data.

        Args:
            logits: Shape (n, outputs).
            targets: As `mlpipe.data.task.Samples.targets`.
            kind: The kind of the task.
            prior: The prevalence that it is meant for; None: that of the rows.
            base: The prevalence that the logits are meant for; None: that of the rows.
            names: The names of labels.
            groups: The group of each row, shape (n,); None: every row by itself.

        Raises:
            DataError: The rows do not allow a calibration.
        """
        options: dict[str, Any] = {"method": self.method, "seed": self.seed, "shrinkage": self.shrinkage}
        options |= {"base": base, "groups": groups}
        return post_kind.probabilities(kind).learn(logits, targets, prior, names, **options)

    def identity(self) -> Fitting:
        """Return a calibration that learns nothing and only moves probabilities to the prior."""
        return replace(self, method="none")


def cross_fitted(
    logits: Array,
    targets: Array,
    kind: str,
    how: Fitting,
    prior: Any = None,
    base: Any = None,
    groups: Array | None = None,
) -> tuple[Array, int]:
    """Calibrate each row by a fit that saw nothing of its group; also return how many rows have no such fit.

    Those are not calibrated, only moved to the prior, because a fit that saw them would be optimistic.

    Args:
        logits: Shape (n, outputs).
        targets: As `mlpipe.data.task.Samples.targets`.
        kind: The kind of the task.
        how: How calibrations are fitted.
        prior: The prevalence that they are meant for; None: that of the rows.
        base: The prevalence that the logits are meant for; None: that of the rows.
        groups: The group of each row, shape (n,), such as the patient; None: every row by itself.
    """
    strata = targets if targets.ndim == 1 else np.zeros(len(targets), np.int64)
    fold = stratified_folds(strata, FOLDS, how.seed, groups)
    plain = how.identity().learn(logits, targets, kind, prior, base=base)
    out, missed = np.array(learned(plain, kind)(logits)), 0
    for number in range(FOLDS):
        held = fold == number
        if not held.any():
            continue
        try:
            own = None if groups is None else groups[~held]
            plain = how.learn(logits[~held], targets[~held], kind, prior, base=base, groups=own)
            out[held] = learned(plain, kind)(logits[held])
        except DataError:
            missed += int(held.sum())
    return out, missed


def mixed(chosen: Ensemble, candidates: Sequence[Member], kind: str, stage: str) -> Final:
    """Mix members in their present form.

    Args:
        chosen: Members and weights.
        candidates: All members.
        kind: The kind of the task.
        stage: The stage's name.
    """

    def mix(pick: Callable[[Member], Rows | None]) -> Rows | None:
        parts = [pick(candidates[place]) for place in chosen.members]
        filled = [part for part in parts if part is not None]
        if len(filled) < len(parts):
            return None
        raw, values = (
            combine([getattr(part, name) for part in filled], chosen.weights, kind, chosen.mixing)
            for name in ("raw", "calibrated")
        )
        return Rows(filled[0].ids, filled[0].targets, raw, values)

    own = mix(lambda member: member.chooses)
    assert own is not None
    priors = [
        member_prior
        for member_prior in (candidates[place].prior for place in chosen.members)
        if member_prior is not None
    ]
    prior = None
    if len(priors) == len(chosen.members):
        prior = np.asarray(np.average(priors, axis=0, weights=chosen.weights))
    test, unlabelled = mix(lambda member: member.test), mix(lambda member: member.unlabelled)
    return Final(own, test, unlabelled, stage, None, prior)


def recalibrated(final: Final, stage: str, kind: str, how: Fitting, groups: Mapping[str, str] | None = None) -> Final:
    """Calibrate the mixture; the rows that chose are calibrated by fits that did not see them.

    Args:
        final: The mixture: for `after` that of members without calibration, for `both` that of calibrated members.
        stage: `after` or `both`.
        kind: The kind of the task.
        how: How the calibration is fitted.
        groups: The group of each sample, whose rows are held out together; None: every row by itself.

    Raises:
        DataError: The rows do not allow a calibration.
    """
    base = final.prior if stage == "both" else None

    def source(part: Rows) -> Array:
        return part.calibrated if stage == "both" else part.raw

    rows = final.chooses
    units = None if groups is None else row_groups(rows.ids, groups)
    plain = how.learn(source(rows), rows.targets, kind, final.prior, base=base, groups=units)
    crossed, missed = cross_fitted(source(rows), rows.targets, kind, how, final.prior, base, units)
    if missed:
        noun = "rows" if units is None else "groups of rows"
        wrong = f"a class has too few {noun} to judge its calibration"
        raise DataError(f"calibration: {wrong}; {missed} of {len(rows)} rows could not be held out")

    def through(part: Rows | None) -> Rows | None:
        return None if part is None else replace(part, calibrated=learned(plain, kind)(source(part)))

    return replace(
        final,
        chooses=replace(rows, calibrated=crossed),
        test=through(final.test),
        unlabelled=through(final.unlabelled),
        stage=stage,
        calibration=plain,
    )


def at_own_prevalence(rows: Rows, prior: Array | None) -> Rows:
    """Move rows whose probabilities are meant for a prior to the prevalence of the rows themselves.

    Otherwise a loss on them would measure the distance to the prior too, not only the quality of the probabilities.

    Args:
        rows: Labelled rows.
        prior: Shape (outputs,); None: nothing is moved.
    """
    if prior is None:
        return rows
    if rows.targets.ndim == 2:
        own = np.nanmean(np.where(np.isnan(rows.targets).all(axis=0), 0.5, rows.targets), axis=0)
        return replace(rows, calibrated=move_labels(rows.calibrated, prior, own))
    return replace(rows, calibrated=move_prior(rows.calibrated, prior, own_shares(rows.targets, len(prior))))


def own_shares(targets: Array, classes: int) -> Array:
    """Return the share of each class among rows with a target, none exactly zero, shape (classes,).

    Args:
        targets: Class numbers, -1 for none, shape (n,).
        classes: The number of classes.
    """
    counts = np.bincount(targets[targets >= 0], minlength=classes)
    return np.asarray(np.maximum(counts / counts.sum(), LEAST_SHARE))


def losses_of(rows: Rows, prior: Array | None, kind: str) -> tuple[Array, list[str]]:
    """Return every row's loss at the rows' own prevalence, and the names of the rows.

    Args:
        rows: Labelled rows.
        prior: The prevalence they are meant for, shape (outputs,); None: their own prevalence.
        kind: `classification` or `multilabel`.
    """
    own = at_own_prevalence(rows, prior).calibrated
    losses, places = post_kind.probabilities(kind).each_loss(own, rows.targets)
    return losses, [rows.ids[place] for place in places.tolist()]
