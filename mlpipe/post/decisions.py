"""Decisions on predictions: thresholds, costs and prediction sets, chosen on some rows and applied to others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mlpipe.errors import ConfigError, DataError, listing, problem
from mlpipe.post import conformal, metrics, threshold
from mlpipe.post.decision_options import MOST_NAMED, DecisionOptions
from mlpipe.post.ensembling.member_rows import Array, Rows
from mlpipe.post.figures import number
from mlpipe.post.measures import class_metrics, label_metrics
from mlpipe.post.prior import move_prior
from mlpipe.post.rows import FOLDS, row_groups, stratified_folds
from mlpipe.runs import predictions
from mlpipe.runs.ensembles import EnsembleRecord

# The parts of an ensemble's file that may hold the rows which chose it: out-of-fold rows, or some of the test rows.
CHOSE = ("val", "chose")
_WORDS = {"macro_f1": "macro F1", "balanced_accuracy": "balanced accuracy"}
# What chose stored thresholds: the criterion, and the share and the class of those that reach a share.
_CHOICE = ("criterion", "at_least", "positive")


def thresholds(
    rows: Rows,
    evaluation: Rows | None,
    options: DecisionOptions,
    classes: Sequence[str],
    prevalence: Array | None,
    prior: Array | None,
    groups: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Choose the best thresholds on some rows and measure them on others, as plain data.

    Args:
        rows: The rows that choose the thresholds.
        evaluation: Rows on which the decisions are measured; None: `rows`, by cross-validation.
        options: The decision options.
        classes: The names of the outputs.
        prevalence: For classes, the shares that the probabilities are meant for, shape (classes,); None: for labels.
        prior: The prevalence at which thresholds should be best, shape (outputs,); None: that of `rows`.
        groups: The group of each sample, whose rows are in one fold; None: every row by itself.
    """
    arguments = {**options.threshold_options(), "prior": prior}
    choose = threshold.label_thresholds if prevalence is None else threshold.class_thresholds
    if of_classes := prevalence is not None:
        arguments["positive"] = options.positive_place(classes)
    # A threshold that reaches a share is used as it is, however small it is.
    shares = None if options.reaches_share else prevalence

    def cuts_of(values: Array, targets: Array) -> list[float | None]:
        return [None if cut is None else cut.cut for cut in choose(values, targets, **arguments)]

    def decision_outputs(values: Array, cuts: Sequence[float | None]) -> Array:
        """Return outputs whose metrics are those of the decisions, shape (n, outputs)."""
        if of_classes:
            return class_metrics.one_hot(threshold.decide_by_cuts(values, cuts, shares), len(classes))
        return np.asarray(0.5 * (1 + np.tanh(values / 2)) - np.array([0.5 if cut is None else cut for cut in cuts]))

    plain = cuts_of(rows.calibrated, rows.targets)
    facts: dict[str, Any] = {"criterion": options.threshold, "cuts": dict(zip(classes, plain, strict=True))}
    if options.reaches_share:
        facts |= {"at_least": options.at_least}
        facts |= {"positive": classes[arguments["positive"]]} if of_classes else {}
    elif prevalence is not None:
        facts["prevalence"] = np.asarray(prevalence).tolist()
    judged = rows if evaluation is None else evaluation
    known = metrics.labelled(judged.targets)
    values, targets = judged.calibrated[known], judged.targets[known]
    ids = [judged.ids[place] for place in np.flatnonzero(known).tolist()]
    folds = held_out_folds(targets, ids, groups) if evaluation is None else []
    if not known.any() or (evaluation is None and not folds):
        return facts
    outputs = decision_outputs(values, plain)
    for held in folds:
        # Thresholds are optimistic on the rows that chose them, so each fold is judged by those of the other folds.
        outputs[held] = decision_outputs(values[held], cuts_of(values[~held], targets[~held]))
    facts |= {"is_cross_validated": True} if folds else {}
    if options.reaches_share:
        decided, plainly, truth = outputs > 0, values > 0, targets
        if of_classes:
            place = arguments["positive"]
            decided, plainly = (scores.argmax(axis=1) == place for scores in (outputs, values))
            truth = np.asarray(targets == place, np.float64)
        is_known = (truth == 1).any() and (truth == 0).any()
        return (
            {**facts, "measured": _both_shares(str(options.threshold), decided, plainly, truth)} if is_known else facts
        )
    if prevalence is None:
        return {**facts, "measured": _label_scores(outputs, values, targets, options)}
    name = "macro_f1" if options.threshold == "f1" else "balanced_accuracy"
    return {
        **facts,
        "measured": {"measure": name, **_score_pair(class_metrics.METRICS[name], outputs, values, targets)},
    }


def held_out_folds(targets: Array, ids: Sequence[str], groups: Mapping[str, str] | None) -> list[Array]:
    """Return the rows of each fold of a cross-validation as masks, shape (n,); none if all rows are of one group.

    Args:
        targets: Class numbers, shape (n,), by which folds are stratified; or targets of other kinds, (n, ...).
        ids: The rows' sample ids.
        groups: The group of each sample; None: every row by itself.
    """
    strata = targets if targets.ndim == 1 else np.zeros(len(targets), np.int64)
    fold = stratified_folds(strata, FOLDS, 0, row_groups(ids, groups))
    numbers = np.unique(fold)
    return [fold == number for number in numbers] if len(numbers) > 1 else []


def _score_pair(measure: Any, decided: Array, plain: Array, targets: Array) -> dict[str, float]:
    return {"by_cuts": measure(decided, targets), "without": measure(plain, targets)}


def _both_shares(criterion: str, decided: Array, plain: Array, truth: Array) -> dict[str, Any]:
    """Return sensitivity and specificity of decisions, the criterion first; of several labels their means.

    Args:
        criterion: The share that thresholds reach.
        decided: Where thresholds say yes, shape (n,) or (n, labels).
        plain: Where the most probable answer is yes, in the same shape.
        truth: 1 for yes, 0 for no, NaN for unknown, in the same shape.
    """

    def share(said: Array, answer: int) -> float:
        rows = truth == answer
        counts = np.atleast_1d(rows.sum(axis=0))
        right = np.atleast_1d((rows & (said == bool(answer))).sum(axis=0))
        return float(np.mean(right[counts > 0] / counts[counts > 0]))

    pairs = [
        {"measure": name, "by_cuts": share(decided, answer), "without": share(plain, answer)}
        for name, answer in (("sensitivity", 1), ("specificity", 0))
    ]
    first, second = pairs if criterion == "sensitivity" else pairs[::-1]
    return {**first, "beside": second}


def _label_scores(decided: Array, values: Array, targets: Array, options: DecisionOptions) -> dict[str, Any]:
    if options.threshold == "f1":
        return {"measure": "macro_f1", **_score_pair(label_metrics.macro_f1, decided, values, targets)}
    if options.threshold == "cost":
        arguments = options.threshold_options()
        false_yes, false_no = arguments["false_positive"], arguments["false_negative"]

        def cost(outputs: Array, truth: Array) -> float:
            wrong = np.where(truth == 1, false_no * (outputs <= 0), false_yes * (outputs > 0))
            return float(wrong[~np.isnan(truth)].mean())

        return {"measure": "cost", **_score_pair(cost, decided, values, targets)}
    return {"measure": "balanced_accuracy", **_score_pair(label_metrics.balanced_accuracy, decided, values, targets)}


def deployment_decisions(
    ensemble: EnsembleRecord, path: Path, moved_to: Array, *, key: str = "mode.deploy_prior"
) -> dict[str, Any]:
    """Return the decisions between classes at another prevalence: costs unchanged, sets and thresholds learned again.

    The rows that chose the ensemble are moved to that prevalence as new rows are. Class-conditional sets stay class-conditional
    (their guarantee does not depend on the prevalence); others are weighted to it.

    Args:
        ensemble: The ensemble.
        path: The file of its rows.
        moved_to: The prevalence, shape (classes,).
        key: The key of the prevalence, for sentences.

    Raises:
        DataError: When something must be learned again and the rows that chose are not stored.
    """
    decided: dict[str, Any] = dict(ensemble.decide)
    if not _has_learned_decisions(ensemble):
        return decided
    rows = require_rows(ensemble, path, key)
    assert rows.calibrated is not None
    values, targets = move_prior(rows.calibrated, ensemble.prior["values"], moved_to), rows.targets
    if "sets" in decided:
        stored = conformal.ConformalSets.from_plain(decided["sets"])
        decided["sets"] = _sets(stored, values, targets, stored.alpha, moved_to.tolist())
    if "thresholds" in decided:
        chosen = {name: decided["thresholds"][name] for name in _CHOICE if name in decided["thresholds"]}
        arguments = {**chosen}
        if reaches_share := "positive" in chosen:
            arguments["positive"] = list(ensemble.classes).index(chosen["positive"])
        cuts = threshold.class_thresholds(values, targets, prior=moved_to, **arguments)
        class_cuts = {name: None if cut is None else cut.cut for name, cut in zip(ensemble.classes, cuts, strict=True)}
        place = {} if reaches_share else {"prevalence": moved_to.tolist()}
        decided["thresholds"] = {**chosen, "cuts": class_cuts, **place}
    return decided


def at_level(
    ensemble: EnsembleRecord,
    path: Path,
    alpha: float,
    decided: Mapping[str, Any],
    moved_to: Array | None,
    *,
    key: str = "alpha",
) -> dict[str, Any]:
    """Return decisions whose prediction sets, or intervals of numbers, have the requested probability of a miss.

    They are learned from the rows that chose the ensemble, as `mml post mode.alpha=...` learns them.

    Args:
        ensemble: The ensemble.
        path: The file of its rows.
        alpha: The probability of a miss, inside (0, 1).
        decided: The decisions so far.
        moved_to: The prevalence that probabilities were moved to, shape (classes,); None: they were not moved.
        key: The key of `alpha`, for sentences.

    Raises:
        ConfigError: When alpha is out of range, or the ensemble has neither sets nor intervals.
        DataError: When the rows that chose are not stored.
    """
    if not 0 < alpha < 1:
        raise ConfigError(problem(key, "must be inside 0 and 1", got=alpha, fix="0.1 misses one in ten"))
    if "sets" not in decided and "halfwidths" not in decided:
        wrong = f"is for sets of classes and intervals of numbers, {ensemble.id} has neither"
        raise ConfigError(problem(key, wrong, fix="leave it out"))
    rows = _rows_that_chose(ensemble, path)
    if rows is None or rows.calibrated is None:
        wrong = f"{ensemble.id} does not hold the rows that set its sets or intervals, which another alpha needs"
        raise DataError(problem(key, wrong, fix=f"run mml post mode.alpha={alpha:g}, or leave it out"))
    if "halfwidths" in decided:
        half = conformal.residual_halfwidths(rows.calibrated, rows.targets, alpha=alpha)
        # As in stored decisions, an interval that is unbounded because of too few rows is None.
        ends = [width if np.isfinite(width) else None for width in half.tolist()]
        return {**decided, "halfwidths": dict(zip(ensemble.classes, ends, strict=True)), "interval_alpha": alpha}
    values: Array = rows.calibrated
    if moved_to is not None:
        values = move_prior(values, ensemble.prior["values"], moved_to)
    stored = conformal.ConformalSets.from_plain(decided["sets"])
    return {**decided, "sets": _sets(stored, values, rows.targets, alpha, decided["sets"].get("prior"))}


def _sets(
    like: conformal.ConformalSets, values: Array, targets: Array, alpha: float, prior: list[float] | None
) -> dict[str, Any]:
    """Return prediction sets with the same options, as plain data with the prevalence that they are for."""
    promise: dict[str, Any] = {"class_conditional": True} if like.by_class else {"prior": prior}
    arguments: dict[str, Any] = {"alpha": alpha, "score": like.score, "free_rank": like.free_rank}
    if like.penalty:
        arguments["penalty"] = like.penalty
    sets = conformal.conformal(values, targets, **arguments, **promise)
    return {**sets.as_plain(), **({} if prior is None else {"prior": prior})}


def _rows_that_chose(ensemble: EnsembleRecord, path: Path) -> predictions.Predictions | None:
    for split in CHOSE:
        rows = predictions.load(path, ensemble.task, split)
        if len(rows) and rows.calibrated is not None:
            return rows
    return None


def _has_learned_decisions(ensemble: EnsembleRecord) -> bool:
    """Return whether a decision has to be learned again for another prevalence."""
    return "sets" in ensemble.decide or "thresholds" in ensemble.decide


def require_rows(ensemble: EnsembleRecord, path: Path, key: str = "mode.deploy_prior") -> predictions.Predictions:
    """Return the labelled rows that set an ensemble's cut-offs; none if nothing is learned from them.

    Args:
        ensemble: The ensemble.
        path: The file of its rows.
        key: The key of the prevalence that needs them, for sentences.

    Raises:
        DataError: When they are not stored.
    """
    if not _has_learned_decisions(ensemble):
        return predictions.load(path, ensemble.task, CHOSE[0])
    if (rows := _rows_that_chose(ensemble, path)) is not None:
        return rows
    wrong = f"{ensemble.id} does not hold the rows that set its cut-offs, which another prevalence needs"
    raise DataError(problem(key, wrong, fix="run mml post again, or leave it out"))


def classes_of(log_probabilities: Array, decided: Mapping[str, Any]) -> Array | None:
    """Return the class that is decided for each row: by costs, else by thresholds; None if neither was requested.

    Args:
        log_probabilities: Shape (n, classes).
        decided: The decisions as plain data.
    """
    costs = decided.get("costs", {}).get("table")
    if costs is not None:
        return threshold.decide(log_probabilities, costs)
    if "thresholds" not in decided:
        return None
    stored = decided["thresholds"]
    cuts = list(stored["cuts"].values())
    # Thresholds of earlier versions were stored without the prevalence: then no threshold is too small.
    return threshold.decide_by_cuts(log_probabilities, cuts, stored.get("prevalence"))


def sets_of(log_probabilities: Array, decided: Mapping[str, Any]) -> Array | None:
    """Return which classes are in each row's prediction set, shape (n, classes); None if there are no cut-offs.

    Args:
        log_probabilities: Shape (n, classes).
        decided: The decisions as plain data.
    """
    if "sets" not in decided:
        return None
    return conformal.ConformalSets.from_plain(decided["sets"]).sets(log_probabilities)


def column_meanings(decided: Mapping[str, Any]) -> list[str]:
    """Describe the table columns `decision` and `set` in words.

    Args:
        decided: The decisions as plain data.
    """
    sentences = []
    if "table" in decided.get("costs", {}):
        sentences.append("column decision: the class that costs least")
    elif "positive" in (stored := decided.get("thresholds", {})):
        rule = f"{stored['positive']} if its probability is above its threshold"
        sentences.append(f"column decision: {rule}; {threshold_text(stored)}")
    elif "prevalence" in stored:
        rule = "the class whose probability is the largest multiple of its threshold"
        sentences.append(f"column decision: {rule}; {threshold_text(decided['thresholds'])}")
    if "guarantee" in decided.get("sets", {}):
        sentences.append(f"column set ({decided['sets']['score']}): {in_words(decided['sets'])}")
    return sentences


def in_words(sets: Mapping[str, Any]) -> str:
    """Describe the guarantee of prediction sets, with the prevalence where it matters."""
    shares = sets.get("prior")
    at = (
        f" ({listing([f'{share:.3g}' for share in shares], most=MOST_NAMED)})"
        if shares and "at the given prior" in sets["guarantee"]
        else ""
    )
    return f"{sets['guarantee']}{at}"


def threshold_text(stored: Mapping[str, Any], rows: int | None = None) -> str:
    """Describe thresholds in words, with the measured scores of deciding by them.

    Args:
        stored: The thresholds as plain data.
        rows: The number of rows they were measured on; None: unknown.
    """
    cuts = [f"{name} {'-' if cut is None else f'{cut:.3f}'}" for name, cut in stored["cuts"].items()]
    sentence = f"thresholds by {criterion_text(stored)}: {listing(cuts, most=MOST_NAMED)}"
    if measured := stored.get("measured"):
        how = " (each image by the thresholds of others)" if stored.get("is_cross_validated") else ""
        sentence += f"; deciding by them: {_measured_text(measured, how, rows)}"
        sentence += f"; {_measured_text(measured['beside'], how, rows)}" if "beside" in measured else ""
    return sentence


def _measured_text(measured: Mapping[str, Any], how: str, rows: int | None) -> str:
    by_cuts, without = (number(measured[key], rows) for key in ("by_cuts", "without"))
    return f"{_WORDS.get(measured['measure'], measured['measure'])} {by_cuts}{how}, without them {without}"


def criterion_text(stored: Mapping[str, Any]) -> str:
    """Describe in words what chose thresholds.

    Args:
        stored: The thresholds as plain data.
    """
    share = f" of at least {stored['at_least']:g}" if "at_least" in stored else ""
    return f"{stored['criterion'].replace('_', ' ')}{share}"
