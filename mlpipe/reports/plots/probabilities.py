"""Plots of probabilities: reliability diagrams, ROC and precision-recall curves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from mlpipe.errors import counted
from mlpipe.post.calibration.errors import Bin
from mlpipe.reports.plots import style

Floats = npt.NDArray[np.float64]

# More curves than this are drawn thin, and only the worst ones are named.
MOST_CURVES = 5
_MOST_THIN = 30
# The most corners of a drawn curve, because a page with a million of them is unusable.
_CORNERS = 120


@dataclass(frozen=True)
class Curve:
    """A curve with its name, the area under it, and its corners."""

    name: str
    area: float
    x: Floats
    y: Floats


@style.styled
def reliability(panels: Sequence[tuple[str, Sequence[Bin]]], nouns: tuple[str, str] = ("image", "images")) -> Figure:
    """Draw the share of right predictions against their confidence, with 95 % bands, one panel below the other.

    Args:
        panels: A title and the bins of each.
        nouns: The noun of the counted items, singular and plural.
    """
    figure = Figure(figsize=(style.WIDTH, 2.75 * len(panels)))
    for panel, (title, bins) in zip(figure.subplots(len(panels), 1, squeeze=False)[:, 0], panels, strict=True):
        panel.plot([0, 1], [0, 1], color=style.MUTED, linewidth=1, linestyle=(0, (3, 3)))
        sure, right = [group.confidence for group in bins], [group.hits for group in bins]
        largest = max((group.rows for group in bins), default=1)
        for band in bins:
            panel.plot(
                [band.confidence] * 2, [band.hits_low, band.hits_high], color=style.SERIES[0], linewidth=3, alpha=0.3
            )
        panel.plot(sure, right, color=style.SERIES[0], linewidth=1.1)
        sizes = [12 + 50 * group.rows / largest for group in bins]
        panel.scatter(sure, right, s=sizes, color=style.SERIES[0], zorder=3, linewidths=0)
        texts = [
            f"{counted(group.rows, *nouns)}: predicted {group.confidence:.3f}, came true {group.hits:.3f} "
            f"({group.hits_low:.3f} to {group.hits_high:.3f})"
            for group in bins
        ]
        style.tips(panel, sure, right, texts)
        panel.set_title(title)
        panel.set_ylabel("came true")
        panel.set_xlim(-0.02, 1.02)
        panel.set_ylim(-0.02, 1.02)
    panel.set_xlabel(f"predicted probability (dot's size: {nouns[1]})")
    return figure


@style.styled
def curves(class_curves: Sequence[Curve], x: str, y: str, *, chance: bool) -> Figure:
    """Draw curves of classes or labels; if there are many, only those with the least area are named.

    Args:
        class_curves: The curves.
        x: The label of the x axis.
        y: The label of the y axis.
        chance: Draw the diagonal of guessing.
    """
    ordered = sorted(class_curves, key=lambda curve: curve.area)
    legend_curves = ordered if len(class_curves) <= MOST_CURVES else ordered[:MOST_CURVES]
    names = style.shortened_apart([curve.name for curve in legend_curves], 24)
    labels = [f"{name} {curve.area:.3f}" for name, curve in zip(names, legend_curves, strict=True)]
    figure, panel = style.axes(style.WIDTH, 3.6 + 0.18 * -(-len(labels) // style.key_columns(labels)))
    if chance:
        panel.plot([0, 1], [0, 1], color=style.MUTED, linewidth=1, linestyle=(0, (3, 3)))
    for curve in ordered[len(legend_curves) : len(legend_curves) + _MOST_THIN]:
        (drawn,) = panel.plot(curve.x, curve.y, color=style.MUTED, linewidth=0.7, alpha=0.5)
        style.tip(drawn, f"{curve.name}: area {curve.area:.3f}")
    for number, (curve, label) in enumerate(zip(legend_curves, labels, strict=True)):
        colour, dashes = style.SERIES[number % len(style.SERIES)], style.DASHES[number % len(style.DASHES)]
        (drawn,) = panel.plot(curve.x, curve.y, color=colour, linestyle=dashes, label=label)
        style.tip(drawn, f"{curve.name}: area {curve.area:.3f}", series=curve.name)
    # Curves overlap too much to carry their names.
    style.key(figure)
    panel.set_xlabel(x)
    panel.set_ylabel(y)
    panel.set_xlim(-0.02, 1.02)
    panel.set_ylim(-0.02, 1.02)
    return figure


def roc(name: str, scores: Floats, positive: npt.NDArray[np.bool_], area: float) -> Curve:
    """Return the true against the false positive rate over all thresholds.

    Args:
        name: The class or label.
        scores: Shape (n,).
        positive: Which rows are positive, shape (n,), some on either side.
        area: The area under the curve.
    """
    hits, misses = _counts(scores, positive)
    return Curve(name, area, *thinned(misses / misses[-1], hits / hits[-1]))


def precision_recall(name: str, scores: Floats, positive: npt.NDArray[np.bool_], area: float) -> Curve:
    """Return the precision at each recall, as steps.

    Args:
        name: The class or label.
        scores: Shape (n,).
        positive: Which rows are positive, shape (n,), at least one.
        area: The average precision.
    """
    hits, misses = _counts(scores, positive)
    precision, recall = hits[1:] / (hits[1:] + misses[1:]), hits / hits[-1]
    x, y = np.repeat(recall, 2)[1:-1], np.repeat(precision, 2)
    return Curve(name, area, *thinned(x, y))


def _counts(scores: Floats, positive: npt.NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """Return positives and negatives at or above each threshold, from none to all; equal scores are taken together."""
    levels, place = np.unique(-scores, return_inverse=True)
    hits = np.bincount(place, weights=positive, minlength=len(levels))
    rows = np.bincount(place, minlength=len(levels))
    zero = np.zeros(1)
    return np.concatenate([zero, np.cumsum(hits)]), np.concatenate([zero, np.cumsum(rows - hits)])


def thinned(x: Floats, y: Floats) -> tuple[Floats, Floats]:
    """Return only the corners of a curve; if there are many, a sample of them, evenly along its length.

    Args:
        x: The x values, shape (corners,).
        y: The y values, of the same shape.
    """
    if len(x) > 2:
        turns = np.ones(len(x), bool)
        first, second = np.diff(x), np.diff(y)
        turns[1:-1] = np.abs(first[:-1] * second[1:] - first[1:] * second[:-1]) > 1e-15
        x, y = x[turns], y[turns]
    if len(x) <= _CORNERS:
        return x, y
    length = np.concatenate([[0], np.cumsum(np.abs(np.diff(x)) + np.abs(np.diff(y)))])
    chosen = np.unique(np.searchsorted(length, np.linspace(0, length[-1], _CORNERS)))
    return x[chosen], y[chosen]
