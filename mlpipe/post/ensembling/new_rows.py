"""Predictions of an ensemble for new samples: calibrated, mixed, and moved to the prevalence of those samples."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from mlpipe import kinds
from mlpipe.errors import ConfigError, DataError, ProjectError, counted, listing, problem
from mlpipe.post import decisions
from mlpipe.post.decision_options import MOST_NAMED
from mlpipe.post.ensembling import evaluation, member_mixture, members
from mlpipe.post.ensembling.member_rows import Array, Rows
from mlpipe.post.ensembling.members import learned
from mlpipe.post.ensembling.mixing import combine
from mlpipe.post.prior import move_prior
from mlpipe.post.rows import shares
from mlpipe.runs import calibrations, ensembles, predictions, records
from mlpipe.runs.ensembles import EnsembleRecord
from mlpipe.runs.project import Project
from mlpipe.runs.records import ModelRecord

log = logging.getLogger("mlpipe")

ALPHA, PRIOR = "mode.alpha", "deploy_prior"


@dataclass(frozen=True)
class NewRows:
    """Predictions of an ensemble's models, or of one recipe's folds or refit, for new samples.

    Attributes:
        project: The project that stores their predictions.
        kind: The kind of the task.
        classes: The names of their outputs.
        ensemble: The ensemble; None: the mean over folds.
        members: The name, the records and the weight of each member.
        task: The task of the new samples.
        samples: The number of new samples, unreadable ones included.
        split: The name of their split in the predictions.
        seed: Seed of draws.
        predicted: The predictions of each record, by its id; None: those that the project stores.
        alpha: The probability of a miss of prediction sets and intervals; None: that of the ensemble.
        groups: The group of each sample of the training task; None: it has no groups.
    """

    project: Project
    kind: str
    classes: Sequence[str]
    ensemble: EnsembleRecord | None
    members: Sequence[tuple[str, list[ModelRecord], float]]
    task: str
    samples: int
    split: str
    seed: int
    predicted: Mapping[str, Rows] | None = None
    alpha: float | None = None
    groups: Mapping[str, str] | None = None

    def key(self, option: str) -> str:
        """Return the name of an option in sentences: a word of the command line, or an argument for samples in memory.

        Args:
            option: Its name, such as `deploy_prior`.
        """
        return f"mode.{option}" if self.predicted is None else option

    @property
    def records(self) -> list[ModelRecord]:
        """All records."""
        return [record for _, several, _ in self.members for record in several]

    def mixed(self, mixing: str | None = None) -> Rows:
        """Return the rows of the mixture, in the order of their names.

        Args:
            mixing: What is averaged; None: as the ensemble says, else `probabilities`.

        Raises:
            ProjectError: When the models predicted different samples.
        """
        parts = list[Rows]()
        for _, several, _ in self.members:
            mean = members.mean([self._rows(record) for record in several], self.kind)
            if mean is None or (parts and mean.ids != parts[0].ids):
                raise ProjectError(problem(self.task, "the models predicted different images", fix="run it again"))
            parts.append(mean)
        weights = [weight for _, _, weight in self.members]
        mixing = mixing or (self.ensemble.mixing if self.ensemble is not None else "probabilities")
        raw = combine([part.raw for part in parts], weights, self.kind, mixing)
        calibrated = combine([part.calibrated for part in parts], weights, self.kind, mixing)
        if self.ensemble is not None and self.ensemble.calibration is not None:
            source = raw if self.ensemble.stage == "after" else calibrated
            calibrated = learned(self.ensemble.calibration, self.kind)(source)
        return Rows(parts[0].ids, parts[0].targets, raw, calibrated)

    def moved(self, rows: Rows, deploy_prior: str | list[float], facts: dict[str, Any]) -> tuple[Rows, Array]:
        """Move rows to another prevalence; return them and that prevalence.

        Args:
            rows: What `mixed` returns.
            deploy_prior: A number for each class; `estimate`: estimated from the new samples.
            facts: Gets the prevalence, for machine-readable output.

        Raises:
            DataError: When it is invalid or cannot be estimated.
        """
        base = self.base()
        is_given = isinstance(deploy_prior, list)
        prevalence = (
            shares(deploy_prior, len(self.classes), key=self.key(PRIOR)) if is_given else self._estimated_shares(facts)
        )
        facts["deploy_prior"] = prevalence.tolist()
        parts = [f"{name} {share:.3f}" for name, share in zip(self.classes, prevalence, strict=True)]
        log.info(f"probabilities are moved to the prevalence {listing(parts, most=MOST_NAMED)}")
        return Rows(rows.ids, rows.targets, rows.raw, move_prior(rows.calibrated, base, prevalence)), prevalence

    def decided(self, moved_to: Array | None) -> dict[str, Any]:
        """Return cut-offs of prediction sets for these probabilities, thresholds, half-widths of intervals.

        Args:
            moved_to: The prevalence that they were moved to; None: they were not moved.
        """
        if self.ensemble is None:
            require_level(self.project, None, self.alpha, self.key("alpha"))
            return {}
        facts: dict[str, Any] = dict(self.ensemble.decide)
        if moved_to is not None:
            facts = decisions.deployment_decisions(
                self.ensemble, rows_file(self.project, self.ensemble), moved_to, key=self.key(PRIOR)
            )
        if self.alpha is not None:
            path = rows_file(self.project, self.ensemble)
            facts = decisions.at_level(self.ensemble, path, self.alpha, facts, moved_to, key=self.key("alpha"))
        for sentence in decisions.column_meanings(facts):
            log.info(sentence)
        return facts

    def store(self, rows: Rows) -> None:
        """Store the rows beside those of the ensemble; do nothing without an ensemble."""
        if self.ensemble is None:
            return
        path, pair = rows_file(self.project, self.ensemble), (self.task, self.split)
        with predictions.writer(path, {pair}, self.kind) as sink:
            sink.add(*pair, -1, rows.ids, rows.targets, rows.raw, rows.calibrated)

    def _rows(self, record: ModelRecord) -> Rows:
        rows = self._stored_rows(record) if self.predicted is None else self.predicted[record.id]
        plain = self.calibration(record)
        return rows if plain is None else replace(rows, calibrated=learned(plain, self.kind)(rows.raw))

    def _stored_rows(self, record: ModelRecord) -> Rows:
        path = self.project.predictions_file(record.pivot, record.id)
        stored = predictions.load(path, self.task, self.split)
        raw = stored.logits.astype(np.float64)
        return Rows(stored.sample_ids, stored.targets, raw, raw)

    def calibration(self, record: ModelRecord) -> Mapping[str, Any] | None:
        """Return the calibration of a record; an ensemble stores those that it was made with."""
        if self.ensemble is not None:
            known: Mapping[str, Any] | None = self.ensemble.calibrations.get(record.id)
            return known
        stored = calibrations.load(self.project, record.pivot, record.id)
        if stored is None:
            mixed = [
                member["records"]
                for known in ensembles.load_all(self.project, record.pivot)
                for member in known.members
            ]
            tried = any(record.id in names for names in mixed)
            note = "mml post left them as they are" if tried else "mml post calibrates them"
            if kinds.of(self.kind).has_probabilities:
                log.warning(f"{record.id}: its probabilities are not calibrated; {note}")
            return None
        return stored["calibration"]

    def _estimated_shares(self, facts: dict[str, Any]) -> Array:
        pairs = []
        for record in self.records:
            val = members.validated(self.project, record)
            if val is not None:
                pairs.append((val, self._rows(record)))
        if not pairs:
            fix = "run mml predict first, or give the prevalence as a list"
            raise DataError(problem(self.key(PRIOR), "no model has predicted its validation images", fix=fix))
        # New samples are of no group of the task: by a name that both have nothing belongs together.
        own = {name: name for _, rows in pairs for name in rows.ids}
        estimate = evaluation.estimated_prevalence(pairs, self.seed, self.groups and {**self.groups, **own})
        if estimate.shares is None:
            fix = "give the prevalence as a list, or leave it out"
            raise DataError(problem(self.key(PRIOR), estimate.note, got="estimate", fix=fix))
        share_pairs = zip(("value", "low", "high"), estimate.shares, strict=True)
        facts["prevalence"] = {name: share.tolist() for name, share in share_pairs}
        ends = zip(self.classes, *estimate.shares, strict=True)
        text = listing(
            [f"{name} {value:.3f} ({low:.3f} to {high:.3f})" for name, value, low, high in ends],
            most=MOST_NAMED,
        )
        log.info(f"prevalence among the new images (95 % intervals): {text}{estimate.note and '; '}{estimate.note}")
        # A share of zero would rule a class out for ever.
        floored = np.maximum(estimate.shares[0], 1 / (2 * max(1, self.samples)))
        return np.asarray(floored / floored.sum())

    def base(self) -> Array:
        """The prevalence that the mixture's probabilities are meant for."""
        if self.ensemble is not None:
            return np.asarray(self.ensemble.prior["values"])
        stored = members.prior_of(self.project, self.records)
        if stored is not None:
            return stored
        counts = [members.validated(self.project, record) for record in self.records]
        known = np.concatenate([rows.targets for rows in counts if rows is not None] or [np.zeros(0, np.int64)])
        if not len(known):
            fix = "run mml predict first, or predict with an ensemble"
            raise DataError(problem(self.key(PRIOR), "no model has predicted its validation images", fix=fix))
        return member_mixture.own_shares(known, len(self.classes))


def members_of(
    project: Project, task: str, ensemble: EnsembleRecord | None, folds: Sequence[int] | None = None
) -> list[tuple[str, list[ModelRecord], float]]:
    """Return (name, records, weight) of each member that predicts new samples; a refit replaces its folds.

    Args:
        project: The project.
        task: The task's name.
        ensemble: The ensemble; None: the task's latest cross-validation.
        folds: Without an ensemble only these folds; None: the refit if there is one, else all folds.

    Raises:
        ProjectError: When nothing is trained, or records of the ensemble are gone.
    """
    records.require_whole(project, task)
    stored = records.load_all(project, task)
    if ensemble is None:
        latest = records.latest_cross_validation(stored)
        chosen = [fold_record for fold_record in latest if folds is None or fold_record.fold in folds]
        if not chosen:
            raise records.untrained_error(project, task)
        refit = records.newest_refit(stored, chosen) if folds is None else None
        return [(chosen[0].recipe, _refit_or_folds(chosen, refit), 1.0)]
    by_id = {record.id: record for record in stored}
    entries = [(member["name"], member["records"], float(member["weight"])) for member in ensemble.members]
    missing = [name for _, names, _ in entries for name in names if name not in by_id]
    if missing:
        fix = "run mml post again"
        raise ProjectError(problem(ensemble.id, f"needs records that are gone: {listing(missing)}", fix=fix))
    refits = [by_id.get(member.get("refit", "")) for member in ensemble.members]
    return [
        (name, _refit_or_folds([by_id[record_id] for record_id in names], refit), weight)
        for (name, names, weight), refit in zip(entries, refits, strict=True)
    ]


def require_level(project: Project, ensemble: EnsembleRecord | None, alpha: float | None, key: str = ALPHA) -> None:
    """Check before prediction that sets or intervals with this probability of a miss can be learned.

    Args:
        project: The project.
        ensemble: The ensemble that predicts; None: there is none.
        alpha: The probability of a miss; None: that of the ensemble.
        key: Its key, for sentences.

    Raises:
        ConfigError: When there are neither sets nor intervals.
        DataError: When the rows that chose are not stored.
    """
    if alpha is None:
        return
    if ensemble is None:
        wrong = "is for sets and intervals, which only an ensemble of mml post has"
        raise ConfigError(problem(key, wrong, got=alpha, fix="predict with the latest ensemble"))
    decisions.at_level(ensemble, rows_file(project, ensemble), alpha, ensemble.decide, None, key=key)


def newest_of_all(project: Project, task: str) -> EnsembleRecord | None:
    """Return the newest ensemble of a task if nothing was trained after it; else None.

    Args:
        project: The project.
        task: The task's name.
    """
    newest = max((record.run for record in records.load_all(project, task)), default="")
    return next((ensemble for ensemble in ensembles.load_all(project, task)[-1:] if ensemble.run >= newest), None)


def told(
    project: Project,
    task: str,
    ensemble: EnsembleRecord | None,
    members: Sequence[tuple[str, list[ModelRecord], float]],
    other: str = "",
) -> str:
    """Describe in one sentence what predicts new samples, and mention a newest ensemble that is not used.

    Args:
        project: The project.
        task: The task's name.
        ensemble: The ensemble that predicts; None: `members` do.
        members: What `members_of` returned.
        other: The option that selects the newest ensemble, such as `mode.ensemble=latest`; empty if one record was requested.
    """
    several = [record for _, member_records, _ in members for record in member_records]
    first, networks = several[0], counted(len(several), "network")
    if ensemble is not None:
        late = ""
        if newest_of_all(project, task) is None:
            late = "; models were trained after the newest ensemble, which mml post takes into a new one"
        return f"the ensemble {ensemble.id} predicts ({networks}){late}"
    who = first.id if len(several) == 1 else f"the mean over {len(several)} folds of {first.arch}"
    if first.refit:
        who = f"{first.id}, the model of all folds,"
    newest = newest_of_all(project, task) if other else None
    aside = "" if newest is None else f"; {other} takes the ensemble {newest.id} in place of it"
    return f"{who} predicts{aside}"


def _refit_or_folds(folds: list[ModelRecord], refit: ModelRecord | None) -> list[ModelRecord]:
    """Return the refit instead of the folds; the folds if there is no refit, or it keeps no weights."""
    return folds if refit is None or refit.weights is None else [refit]


def rows_file(project: Project, ensemble: EnsembleRecord) -> Path:
    """Return the file of an ensemble's rows.

    Args:
        project: Its project.
        ensemble: The ensemble.
    """
    return project.ensembles_dir(ensemble.task) / f"{ensemble.id}.parquet"
