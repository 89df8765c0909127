"""Calibration errors (the distance of probabilities from frequencies) and reliability diagrams with bands.

A row's confidence is the probability of its predicted class; a hit is a right prediction. Errors are in [0, 1].
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from mlpipe.post.intervals.by_metric import share_of_groups, wilson
from mlpipe.post.measures.class_metrics import brier, log_softmax
from mlpipe.post.rows import Floats, Integers, counts_of, labelled

Scheme = Literal["width", "mass"]


@dataclass(frozen=True)
class Bin:
    """Rows of similar confidence: the range, the number of rows, their mean confidence, the share of hits and its interval."""

    lower: float
    upper: float
    rows: int
    confidence: float
    hits: float
    hits_low: float
    hits_high: float

    def as_plain(self) -> dict[str, Any]:
        """Return the bin as a dict, ready for JSON."""
        return asdict(self)


def confidences(logits: npt.ArrayLike, targets: npt.ArrayLike) -> tuple[Floats, Floats]:
    """Return the probability of each row's predicted class, and 1 where that class is true, shape (n,) each.

    Args:
        logits: Shape (n, classes).
        targets: Class numbers, shape (n,); -1 for none (left out).
    """
    values, numbers = labelled(logits, targets)
    probabilities = np.exp(log_softmax(values))
    predicted = probabilities.argmax(axis=1)
    return probabilities[np.arange(len(numbers)), predicted], (predicted == numbers).astype(np.float64)


def expected_calibration_error(logits: npt.ArrayLike, targets: npt.ArrayLike, *, bins: int = 15) -> float:
    """ECE: the mean distance of hits from confidence over bins of equal width, weighted by rows. Guo et al. 2017.

    Args:
        logits: Shape (n, classes).
        targets: Class numbers, shape (n,); -1 for none.
        bins: The number of bins.
    """
    return binned_error(*confidences(logits, targets), bins=bins)


def adaptive_calibration_error(logits: npt.ArrayLike, targets: npt.ArrayLike, *, bins: int = 15) -> float:
    """ECE over bins with equally many rows; equal confidences stay together. Nguyen and O'Connor 2015.

    Args:
        logits: Shape (n, classes).
        targets: Class numbers, shape (n,); -1 for none.
        bins: The largest number of bins.
    """
    return binned_error(*confidences(logits, targets), bins=bins, scheme="mass")


def classwise_calibration_error(
    logits: npt.ArrayLike, targets: npt.ArrayLike, *, bins: int = 15, scheme: Scheme = "width"
) -> float:
    """The mean over classes of the binned error of that class's probability. Kull et al. 2019.

    Args:
        logits: Shape (n, classes).
        targets: Class numbers, shape (n,); -1 for none.
        bins: The number of bins.
        scheme: Bins of equal `width` or equal `mass`.
    """
    values, numbers = labelled(logits, targets)
    probabilities = np.exp(log_softmax(values))
    columns = enumerate(probabilities.T)
    errors = [
        binned_error(column, (numbers == k).astype(np.float64), bins=bins, scheme=scheme) for k, column in columns
    ]
    return float(np.mean(errors))


def debiased_error(logits: npt.ArrayLike, targets: npt.ArrayLike, *, bins: int = 15) -> float:
    """The L2 calibration error over bins of equal mass, corrected for the upward bias of binning; 0 where that is negative.

    The variance of each bin's share of hits is subtracted from its squared distance. Kumar, Liang and Ma 2019.

    NaN where no bin has two rows, as with fewer rows than bins: one row says nothing about its bin's variance.

    Args:
        logits: Shape (n, classes).
        targets: Class numbers, shape (n,); -1 for none.
        bins: The largest number of bins; those with one row are left out.
    """
    confidence, hits = confidences(logits, targets)
    rows, sure, right = _sums(confidence, hits, *_edges(confidence, bins, "mass"))
    some = rows > 1
    rows, sure, right = rows[some], sure[some] / rows[some], right[some] / rows[some]
    squares = (sure - right) ** 2 - right * (1 - right) / (rows - 1)
    return float(np.sqrt(max(0.0, float(rows @ squares) / rows.sum()))) if len(rows) else float("nan")


def root_brier(logits: npt.ArrayLike, targets: npt.ArrayLike) -> float:
    """The root of the Brier score: an upper bound of the L2 calibration error. Gruber and Buettner 2022.

    Args:
        logits: Shape (n, classes).
        targets: Class numbers, shape (n,); -1 for none.
    """
    return float(np.sqrt(brier(*labelled(logits, targets))))


def binned_error(confidence: npt.ArrayLike, hits: npt.ArrayLike, *, bins: int = 15, scheme: Scheme = "width") -> float:
    """The mean over rows of the distance between a bin's share of hits and its confidence.

    Args:
        confidence: Probabilities, shape (n,): of the predicted class, of one class, or of a label.
        hits: 1 where that came true, shape (n,).
        bins: The number of bins.
        scheme: Bins of equal `width` (low < confidence <= high) or equal `mass`.
    """
    sure, right = np.asarray(confidence, np.float64), np.asarray(hits, np.float64)
    _, summed, came = _sums(sure, right, *_edges(sure, bins, scheme))
    return float(np.abs(summed - came).sum() / len(right))


def reliability_bins(
    confidence: npt.ArrayLike,
    hits: npt.ArrayLike,
    *,
    bins: int = 15,
    scheme: Scheme = "width",
    level: float = 0.95,
    groups: npt.NDArray[np.generic] | None = None,
) -> list[Bin]:
    """Return the non-empty bins of a reliability diagram, each with the Wilson interval of its hits.

    For grouped rows the interval is that of `mlpipe.post.intervals.by_metric.share_of_groups`.

    Args:
        confidence: Probabilities, shape (n,); `confidences` returns those of the predicted classes.
        hits: 1 where that came true, shape (n,).
        bins: The number of bins.
        scheme: Bins of equal `width` or equal `mass`.
        level: The confidence level of the intervals.
        groups: The group of each row, shape (n,); None: every row by itself.
    """
    sure, right = np.asarray(confidence, np.float64), np.asarray(hits, np.float64)
    place, edges = _edges(sure, bins, scheme)
    rows, summed, came = _sums(sure, right, place, edges)
    filled = []
    for number in np.flatnonzero(rows):
        inside = place == number
        band = (
            wilson(int(came[number]), int(rows[number]), level=level)
            if groups is None
            else share_of_groups(right[inside], groups[inside], level=level)
        )
        filled.append(
            Bin(
                float(edges[number]),
                float(edges[number + 1]),
                int(rows[number]),
                float(summed[number] / rows[number]),
                float(came[number] / rows[number]),
                band.low,
                band.high,
            )
        )
    return filled


def _edges(confidence: Floats, bins: int, scheme: Scheme) -> tuple[Integers, Floats]:
    """Return the bin of each row, and the bins' edges; a bin holds low < confidence <= high, the first also its low end."""
    if scheme == "width":
        edges = np.linspace(0, 1, bins + 1)
    else:
        ordered = np.sort(confidence)
        cuts = ordered[(np.arange(1, bins) * len(ordered)) // bins - 1] if len(ordered) >= bins else ordered[:-1]
        edges = np.unique(np.concatenate([[min(0.0, ordered[0])], cuts, [1.0]]))
    place = np.clip(np.searchsorted(edges, confidence, side="left") - 1, 0, len(edges) - 2)
    return place, edges


def _sums(confidence: Floats, hits: Floats, place: Integers, edges: Floats) -> tuple[Floats, Floats, Floats]:
    """Return the rows, the summed confidence and the hits of each bin."""
    bin_count = len(edges) - 1
    rows = counts_of(place, bin_count).astype(np.float64)
    return (
        rows,
        np.asarray(np.bincount(place, weights=confidence, minlength=bin_count), np.float64),
        np.asarray(np.bincount(place, weights=hits, minlength=bin_count), np.float64),
    )
