"""Prior shift: the prevalence that probabilities are meant for, the move to another, and the scores there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mlpipe.errors import ConfigError, DataError, listing, problem
from mlpipe.post.calibration.calibrate import calibrate
from mlpipe.post.measures.class_metrics import log_softmax
from mlpipe.post.quantify import quantify
from mlpipe.post.rows import Floats, counts_of, labelled, shares

_KINDS = ("val", "test", "quantify")
# The least share of a class in a prior: 0 would make its log-probabilities infinite.
LEAST_SHARE = 1e-8


@dataclass(frozen=True)
class Prior:
    """A prevalence of the classes and its origin.

    `given` is the argument for `calibrate`: None for `val`, whose rows keep their own weights. `low` and `high` are the ends
    of the interval of an estimate.
    """

    kind: str
    values: tuple[float, ...]
    low: tuple[float, ...] | None = None
    high: tuple[float, ...] | None = None
    notes: tuple[str, ...] = ()

    @property
    def given(self) -> tuple[float, ...] | None:
        """The prior for a fit, or None for the prevalence of the fit's own rows."""
        return None if self.kind == "val" else self.values

    def as_plain(self) -> dict[str, Any]:
        """Return the prior as numbers, lists and dicts, ready for JSON."""
        ends = {"low": self.low and list(self.low), "high": self.high and list(self.high)}
        return {"kind": self.kind, "values": list(self.values), **ends, "notes": list(self.notes)}


def prior(
    kind: str | Sequence[float],
    classes: int,
    *,
    val_targets: npt.ArrayLike,
    test_targets: npt.ArrayLike | None = None,
    rates_logits: npt.ArrayLike | None = None,
    rates_targets: npt.ArrayLike | None = None,
    unlabelled_logits: npt.ArrayLike | None = None,
    method: str = "acc",
    draws: int = 500,
    seed: int = 0,
    groups: tuple[npt.ArrayLike, npt.ArrayLike] | None = None,
) -> Prior:
    """Return the prevalence that `mode.prior` asks for.

    Args:
        kind: `val`, `test`, `quantify` (corrected counts of predictions of the unlabelled rows), or one positive number
            for each class.
        classes: The number of classes.
        val_targets: Class numbers of the rows that fit the calibration, shape (n,); -1 for none.
        test_targets: Class numbers of the test rows; None when there is no test split.
        rates_logits: For `quantify`, predictions of the labelled rows that the error rates are measured on.
        rates_targets: For `quantify`, their class numbers.
        unlabelled_logits: For `quantify`, predictions of the unlabelled rows; None when there is no such split.
        method: For `quantify`, the quantifier, see `mlpipe.post.quantify.quantify`; `em` calibrates both by the labelled
            rows first, because it needs probabilities that are meant for their prevalence.
        draws: For `quantify`, the number of bootstrap draws for the interval.
        seed: Seed of the draws.
        groups: For `quantify`, the groups of its labelled and of its unlabelled rows.

    Raises:
        ConfigError: The kind is unknown, or needs a split that is not there.
        DataError: A list has the wrong length or an entry that is not positive, or no row of a split has a target.
    """
    if not isinstance(kind, str):
        return Prior("list", tuple(shares(kind, classes).tolist()))
    if kind == "val":
        return Prior("val", _observed_shares(val_targets, classes, 0.0, "validation"))
    if kind == "test":
        if test_targets is None:
            raise _missing_error("test", "test labels", "use mode.prior=val, or a task with a test split")
        return Prior("test", _observed_shares(test_targets, classes, LEAST_SHARE, "test"))
    if kind != "quantify":
        fix = f"use {listing(_KINDS)} or a list of {classes} numbers"
        raise ConfigError(problem("mode.prior", "unknown prior", got=kind, fix=fix))
    if unlabelled_logits is None or not len(np.asarray(unlabelled_logits)):
        raise _missing_error(
            "quantify", "predictions of an unlabelled split", "use mode.prior=val, or give the task such a split"
        )
    if rates_logits is None or rates_targets is None:
        raise _missing_error("quantify", "predictions of labelled rows", "predict the validation or test split first")
    labelled_rows, others = rates_logits, unlabelled_logits
    if method == "em":
        learned = calibrate(rates_logits, rates_targets)
        labelled_rows, others = learned.apply(rates_logits), learned.apply(unlabelled_logits)
    estimate = quantify(labelled_rows, rates_targets, others, method=method, draws=draws, seed=seed, groups=groups)
    # An uninformative, flat likelihood has a maximum too, so for `em` the error rates of `pacc` decide.
    counts = quantify(rates_logits, rates_targets, unlabelled_logits, method="pacc") if method == "em" else estimate
    if not counts.means_something:
        wrong = f"predictions hardly depend on the class (condition number of the error rates {counts.condition:.3g})"
        note = (
            f"mode.prior=quantify: {wrong}, so that counting them means nothing; the prevalence of validation is kept"
        )
        return Prior("val", _observed_shares(val_targets, classes, 0.0, "validation"), notes=(note,))
    # With a share of exactly zero the calibration's loss would have no minimum.
    least = 1 / (2 * len(np.asarray(unlabelled_logits)))
    values = np.maximum(estimate.values, least)
    values = values / values.sum()
    low, high = None, None
    if estimate.low is not None and estimate.high is not None:
        low, high = tuple(np.minimum(estimate.low, values).tolist()), tuple(np.maximum(estimate.high, values).tolist())
    return Prior("quantify", tuple(values.tolist()), low, high, estimate.notes)


def move_prior(log_probabilities: npt.ArrayLike, old: npt.ArrayLike, new: npt.ArrayLike) -> Floats:
    """Move log-probabilities to another prevalence by Bayes' rule, shape (n, classes).

    Args:
        log_probabilities: Calibrated for `old`, shape (n, classes).
        old: Positive shares, shape (classes,).
        new: Positive shares, shape (classes,).

    Raises:
        DataError: Wrong number of entries, or one that is not positive.
    """
    values = np.asarray(log_probabilities, np.float64)
    before, after = shares(old, values.shape[1]), shares(new, values.shape[1])
    return log_softmax(values + np.log(after) - np.log(before))


def move_labels(log_odds: npt.ArrayLike, old: npt.ArrayLike, new: npt.ArrayLike) -> Floats:
    """Move log-odds of yes to other shares of yes by Bayes' rule, shape (n, labels).

    Args:
        log_odds: Calibrated for `old`, shape (n, labels).
        old: Shares of yes, shape (labels,).
        new: The same; a label whose share is 0 or 1 stays as it is.
    """
    before, after = np.asarray(old, np.float64), np.asarray(new, np.float64)
    movable = (before > 0) & (before < 1) & (after > 0) & (after < 1)
    safe = [np.where(movable, label_shares, 0.5) for label_shares in (before, after)]
    shift = np.log(safe[1] / (1 - safe[1])) - np.log(safe[0] / (1 - safe[0]))
    return np.asarray(np.asarray(log_odds, np.float64) + shift)


def expected_performance(
    logits: npt.ArrayLike, targets: npt.ArrayLike, prevalence: npt.ArrayLike
) -> dict[str, float | list[float]]:
    """Return the metrics to expect at another prevalence of the classes, without labels from there.

    Exact in expectation as long as rows of one class look the same in both places: each class's error rates and mean
    losses are those of the labelled rows, mixed by the new prevalence.

    Args:
        logits: Predictions of labelled rows, shape (n, classes).
        targets: Their class numbers, shape (n,); -1 for none.
        prevalence: The shares of the classes there, not negative, shape (classes,).

    Returns:
        `accuracy`, `balanced_accuracy`, `macro_f1` (over classes that occur or are predicted), `nll`, `brier`, and
        for each class `precision` (NaN when never predicted) and `recall` (NaN without labelled rows).

    Raises:
        DataError: A class with a positive share has no labelled row, or the entries are not shares.
    """
    values, numbers = labelled(logits, targets)
    classes = values.shape[1]
    mixed = _class_shares(prevalence, counts_of(numbers, classes))
    log_probabilities = log_softmax(values)
    weights = mixed[numbers] / np.maximum(counts_of(numbers, classes), 1)[numbers]
    guess = values.argmax(axis=1)
    # Only the diagonal and the margins of the confusion matrix, which has as many cells as classes squared.
    hits, predicted, true = (
        np.bincount(labels, weights=mass, minlength=classes)
        for labels, mass in ((numbers, weights * (guess == numbers)), (guess, weights), (numbers, weights))
    )
    own = log_probabilities[np.arange(len(numbers)), numbers]
    errors = np.exp(log_probabilities)
    errors[np.arange(len(numbers)), numbers] -= 1
    with np.errstate(invalid="ignore", divide="ignore"):
        recall, precision, f1 = hits / true, hits / predicted, 2 * hits / (true + predicted)
    return {
        "accuracy": float(hits.sum()),
        "balanced_accuracy": float(np.nanmean(recall)),
        "macro_f1": float(np.nanmean(f1)),
        "nll": float(-(weights @ own)),
        "brier": float(weights @ (errors**2).sum(axis=1)),
        "precision": precision.tolist(),
        "recall": recall.tolist(),
    }


def _class_shares(prevalence: npt.ArrayLike, counts: npt.NDArray[np.int64]) -> Floats:
    values = np.asarray(prevalence, np.float64)
    if values.shape != counts.shape or not np.isfinite(values).all() or (values < 0).any() or not values.sum():
        fix = f"give {len(counts)} shares, none negative"
        raise DataError(problem("prevalence", "not a prevalence of the classes", got=values.tolist(), fix=fix))
    if ((values > 0) & (counts == 0)).any():
        which = np.flatnonzero((values > 0) & (counts == 0))
        wrong = f"class numbers {listing(which)} have a share but no labelled row"
        raise DataError(problem("prevalence", wrong, fix="add labelled rows of them, or set their share to 0"))
    return np.asarray(values / values.sum())


def _observed_shares(targets: npt.ArrayLike, classes: int, least: float, split: str) -> tuple[float, ...]:
    counts = counts_of(np.asarray(targets, np.int64), classes)
    if not counts.sum():
        raise DataError(problem("mode.prior", f"no {split} row has a target", fix="give mode.prior as a list"))
    values = np.maximum(counts / counts.sum(), least)
    return tuple((values / values.sum()).tolist())


def _missing_error(kind: str, data: str, fix: str) -> ConfigError:
    return ConfigError(problem("mode.prior", f"{kind} needs {data}, which are not there", got=kind, fix=fix))
