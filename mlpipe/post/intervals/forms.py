"""Intervals by the form of a metric: a share, a mean of shares, areas, agreement, a mean loss, numbers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from mlpipe import kinds
from mlpipe.errors import counted
from mlpipe.post.intervals import areas, one_more_row, scaled
from mlpipe.post.intervals import exact as parts
from mlpipe.post.intervals.exact import Part
from mlpipe.post.measures.class_metrics import log_softmax
from mlpipe.post.rows import Floats, Integers
from mlpipe.post.sums import AGREEMENT, Statistic, leave_out

_FEW = 5
# Draws of metrics that need all ranks each time: the ends are then right to a tenth of their distance.
_MOST_DRAWS = 500
# The names of the methods in intervals.
METHODS = {
    "auroc": "delong",
    "average_precision": "influence",
    "mcc": "one row more of each class",
    "kappa": "one row more of each class",
}


@dataclass(frozen=True)
class Known:
    """Rows with a target, their units, and the options of intervals.

    Attributes:
        logits: Shape (n, outputs).
        targets: As for `mlpipe.post.metrics.compute`.
        kind: The kind of the task.
        units: The unit of each row, shape (n,): itself, or its group.
        count: The number of units.
        level: The confidence level of the intervals.
        resamples: The number of draws, where they are needed.
        seed: Seed of the draws.
    """

    logits: Floats
    targets: npt.NDArray[np.generic]
    kind: str
    units: Integers
    count: int
    level: float
    resamples: int
    seed: int

    @property
    def grouped(self) -> bool:
        """Whether some rows share a unit."""
        return self.count < len(self.units)

    def ratio(self, hits: npt.NDArray[np.generic], total: npt.NDArray[np.generic]) -> Part | None:
        """`parts.ratio` of these rows."""
        return parts.ratio(hits.astype(np.float64), total.astype(np.float64), self.units, self.count)


@dataclass(frozen=True)
class Ends:
    """The ends of an interval, the method and a note; both ends are NaN if there is none."""

    low: float
    high: float
    method: str
    note: str = ""


def no_interval(method: str, reason: str) -> Ends:
    """Return a missing interval.

    Args:
        method: The method that was tried.
        reason: Why there are no ends.
    """
    return Ends(float("nan"), float("nan"), method, reason)


def losses_of(name: str, known: Known) -> tuple[Floats, Floats, Floats]:
    """Return the loss of each row, shape (n,), the loss under each possible truth, and its divisor, shape (n,).

    Args:
        name: `nll` or `brier`.
        known: Rows of classes or labels.

    Returns:
        The second has the shape (n, classes), or (n, labels, 2) with 0 for labels that are not known.
    """
    if known.targets.ndim == 1:
        every = _class_losses(name, known.logits)
        rows = np.arange(len(every))
        return every[rows, known.targets.astype(np.int64)], every, np.ones(len(every))
    targets = known.targets.astype(np.float64)
    mask = ~np.isnan(targets)
    if name == "nll":
        either = np.stack([np.logaddexp(0, known.logits), np.logaddexp(0, -known.logits)], axis=-1)
    else:
        chances = 0.5 * (1 + np.tanh(known.logits / 2))
        either = np.stack([chances**2, (1 - chances) ** 2], axis=-1)
    either = np.where(mask[..., None], either, 0)
    own = np.where(targets == 1, either[..., 1], either[..., 0]).sum(axis=1)
    return own, either, mask.sum(axis=1).astype(np.float64)


def _class_losses(name: str, logits: Floats) -> Floats:
    logs = log_softmax(logits)
    if name == "nll":
        return np.asarray(-np.maximum(logs, np.log(1e-12)))
    chances = np.exp(logs)
    return np.asarray((chances**2).sum(axis=1, keepdims=True) - 2 * chances + 1)


def of_share(part: Part | None, known: Known, scale: Callable[[float], float] = float) -> Ends:
    """Return the ends of a single share.

    Args:
        part: The share and its effective number of rows; None: no row counts.
        known: The rows.
        scale: From the share to the metric.
    """
    if part is None:
        return no_interval("wilson", "no row counts")
    low, high = (scale(end) for end in parts.share_ends(part.value, part.rows, known.level))
    exact = parts.is_exact(part.value, part.rows)
    return Ends(low, high, "clopper-pearson" if exact else "wilson", _effective_rows_text(part, known))


def of_mean(
    shares: list[Part | None],
    known: Known,
    counts: Integers | None,
    scale: Callable[[float], float] = float,
    unknown: float = 0.0,
    method: str = "mean of shares",
) -> Ends:
    """Return the ends of the mean of several shares, without those that are not defined.

    Args:
        shares: The shares.
        known: The rows.
        counts: The number of rows of each class or label, for a note on rare ones, shape (columns,); None: no note.
        scale: From a share to the metric.
        unknown: The number of unseen rows that each share may have in addition.
        method: The method's name.
    """
    defined_shares = [part for part in shares if part is not None]
    if not defined_shares:
        return no_interval(method, "no class or label is defined")
    # Classes share groups, so their errors may be correlated.
    low, high = parts.mean_ends(defined_shares, known.level, scale=scale, unknown=1.0 if known.grouped else unknown)
    return Ends(low, high, method, "" if counts is None else _rarity_text(counts, known))


def overlap(true: npt.NDArray[np.bool_], guess: npt.NDArray[np.bool_], known: Known) -> Part | None:
    """Return the share of hits among the rows that are of a class or predicted as it (IoU); F1 follows by `f1_of_share`.

    Args:
        true: Which rows are of the class, shape (n,).
        guess: Which rows are predicted as it, shape (n,).
        known: The rows.
    """
    return known.ratio(true & guess, true | guess)


def f1_of_share(share: float) -> float:
    """Return F1 or Dice from the intersection over union.

    Args:
        share: The intersection over union.
    """
    return 2 * share / (1 + share)


def of_areas(
    name: str, value: float, measure: Statistic, scores: Floats, truth: npt.NDArray[Any], known: Known
) -> Ends:
    """Return the ends of the mean area over classes or labels.

    Args:
        name: `auroc` or `average_precision`.
        value: The metric of all rows.
        measure: The metric of weighted rows.
        scores: Shape (n, columns).
        truth: 1 for yes, 0 for no, NaN for unknown, shape (n, columns).
        known: The rows.
    """
    of = areas.area_parts if name == "auroc" else areas.precision_parts
    shares: list[Part | None] = list(of(scores, truth, known.units, known.count))
    ends = of_mean(shares, known, (truth == 1).sum(axis=0), unknown=1.0, method=METHODS[name])
    if name == "auroc":
        return ends
    # The average precision is biased upwards with few rows, in every class alike; the jackknife estimates the bias.
    left_out = leave_out(measure, known.units, known.count, known.seed)
    left_out = left_out[~np.isnan(left_out)]
    flattered = (len(left_out) - 1) * (float(left_out.mean()) - value) if len(left_out) else 0.0
    return replace(ends, low=max(0.0, ends.low - max(flattered, 0.0)))


def of_agreement(name: str, measure: Statistic, true: Integers, guess: Integers, classes: int, known: Known) -> Ends:
    """Return the ends of a measure of a confusion matrix, in which rows of one group count for less.

    Args:
        name: One of `AGREEMENT`.
        measure: The metric of weighted rows.
        true: Class numbers, shape (n,).
        guess: Predicted ones, shape (n,).
        classes: The number of classes.
        known: The rows.
    """
    if classes < 2:
        return no_interval(METHODS[name], "there is one class only")
    # With many classes few pairs are ever confused, so only cells that hold rows are kept.
    places, rows = np.unique(true * classes + guess, return_counts=True)
    table = one_more_row.Table(places // classes, places % classes, rows / _design_effect(measure, known), classes)
    options = {"level": known.level, "resamples": known.resamples, "seed": known.seed}
    low, high = one_more_row.table_ends(table, AGREEMENT[name], **options)  # type: ignore[arg-type]
    value = float(measure.of_weights(np.ones((1, known.count)), known.units)[0])
    return Ends(
        min(low, value), max(high, value), METHODS[name], _rarity_text(np.bincount(true, minlength=classes), known)
    )


def _design_effect(measure: Statistic, known: Known) -> float:
    """Return the design effect: the variance over groups divided by that over rows, at most a group's size."""
    if not known.grouped:
        return 1.0
    sizes = np.bincount(known.units, minlength=known.count)
    size = float((sizes**2).sum() / sizes.sum())
    n, unit_count = len(known.units), known.count
    rows = leave_out(measure, np.arange(n), n)
    groups = leave_out(measure, known.units, unit_count)
    of_rows = float(((rows - rows.mean()) ** 2).sum()) * (n - 1) / n
    of_groups = float(((groups - groups.mean()) ** 2).sum()) * (unit_count - 1) / unit_count
    ratio = of_groups / of_rows if of_rows > 1e-12 else size
    return max(1.0, ((unit_count - 1) * ratio + size) / unit_count)


def of_loss(name: str, known: Known) -> Ends:
    """Return the ends of a mean loss.

    Args:
        name: `nll` or `brier`.
        known: The rows.
    """
    own, every, total = losses_of(name, known)
    worst = every.max(axis=-1)
    worst = worst if worst.ndim == 1 else worst.sum(axis=1)
    low, high = one_more_row.mean_ends(
        own, worst, total, known.units, known.count, level=known.level, resamples=known.resamples, seed=known.seed
    )
    return Ends(low, high, "one row more" if not known.grouped else "one group more")


def of_draws(measure: Statistic, value: float, known: Known, most: float | None = 1.0) -> Ends:
    """Return the ends of a rank metric by the bootstrap over units: percentiles, widened for few units.

    Bootstrap percentiles are too narrow by the ratios of Student's to normal quantiles and of the unbiased to the plug-in
    variance; levels are widened by both (Hesterberg 2015, section 4.1.1).

    Args:
        measure: The metric of weighted rows.
        value: The metric of all rows.
        known: The rows.
        most: The largest possible value, the least being 0; None: unbounded.
    """
    from scipy.special import ndtr, stdtrit

    noun = "groups" if known.grouped else "rows"
    if known.count < scaled.LEAST_UNITS:
        subject = counted(known.count, f"{noun[:-1]} is", f"{noun} are")
        return no_interval("bootstrap", f"{subject} too few, {scaled.LEAST_UNITS} are needed")
    rng, n, draws = np.random.default_rng(known.seed), known.count, min(known.resamples, _MOST_DRAWS)
    drawn = measure.of_weights(rng.multinomial(n, np.full(n, 1 / n), size=draws).astype(np.float64), known.units)
    drawn = drawn[~np.isnan(drawn)]
    if not len(drawn) or drawn.min() == drawn.max():
        return no_interval("bootstrap", f"the {noun} do not tell how much it varies")
    tail = float(ndtr(np.sqrt(n / (n - 1)) * stdtrit(n - 1, (1 - known.level) / 2)))
    # A mean of areas is biased upwards with few rows, and draws, which have fewer different rows, once more by as much.
    flattered = max(0.0, float(drawn.mean()) - value)
    low = float(np.quantile(drawn, tail)) - 2 * flattered
    high = float(np.quantile(drawn, 1 - tail)) - flattered
    return Ends(
        max(0.0, min(low, value)), max(high, value) if most is None else min(most, max(high, value)), "bootstrap"
    )


def of_numbers(measure: Statistic, value: float, scale: scaled.Scale, known: Known) -> Ends:
    """Return the jackknife ends of an unbounded metric.

    Args:
        measure: The metric of weighted rows.
        value: The metric of all rows.
        scale: The scale on which its distribution is nearly normal.
        known: The rows.
    """
    noun = "groups" if known.grouped else "rows"
    if known.count < scaled.LEAST_UNITS:
        subject = counted(known.count, f"{noun[:-1]} is", f"{noun} are")
        return no_interval("student", f"{subject} too few, {scaled.LEAST_UNITS} are needed")
    ends = scaled.ends(value, leave_out(measure, known.units, known.count, known.seed), scale, known.level)
    if ends is None:
        return no_interval("student", f"the {noun} do not tell how much it varies")
    return Ends(min(ends[0], value), max(ends[1], value), "student")


def _effective_rows_text(part: Part, known: Known) -> str:
    """Say how many independent rows the groups are worth."""
    return f"its {len(known.units)} rows count as {part.rows:.0f} independent ones" if known.grouped else ""


def _rarity_text(counts: Integers, known: Known) -> str:
    """Say that a class or label has few rows."""
    least = int(counts[counts > 0].min()) if counts.any() else 0
    noun = kinds.of(known.kind).words.OUTPUT
    return f"the rarest {noun} has {counted(least, 'row')}" if 0 < least < _FEW else ""
