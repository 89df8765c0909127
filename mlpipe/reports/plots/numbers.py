"""Plots of predicted numbers: predicted against true, residuals, the coverage of intervals."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from mlpipe.errors import counted
from mlpipe.post.calibration.errors import Bin
from mlpipe.post.figures import percent, round_percent
from mlpipe.reports.plots import style

Floats = npt.NDArray[np.float64]

# With more points than this, their counts are shown in cells.
_MOST_POINTS = 600
_CELLS = 40


@style.styled
def predicted_against_true(true: Floats, predicted: Floats, name: str, samples: Sequence[str]) -> Figure:
    """Draw predicted against true numbers with the line on which they are equal.

    Args:
        true: Shape (n,).
        predicted: Shape (n,).
        name: What is predicted.
        samples: The name of each image.
    """
    figure, panel = style.axes(style.WIDTH, 3.7)
    low, high = float(min(true.min(), predicted.min())), float(max(true.max(), predicted.max()))
    panel.plot([low, high], [low, high], color=style.MUTED, linewidth=1, linestyle=(0, (3, 3)))
    _points(panel, true, predicted, _point_texts(true, predicted, samples))
    panel.set_xlabel(f"true {style.shortened(name)}")
    panel.set_ylabel("predicted")
    return figure


@style.styled
def residuals(true: Floats, predicted: Floats, name: str, halfwidth: float | None, samples: Sequence[str]) -> Figure:
    """Draw predicted minus true against predicted numbers, with the prediction interval.

    Args:
        true: Shape (n,).
        predicted: Shape (n,).
        name: What is predicted.
        halfwidth: Half the width of the prediction interval; None: no interval.
        samples: The name of each image.
    """
    figure, panel = style.axes()
    panel.axhline(0, color=style.MUTED, linewidth=1, linestyle=(0, (3, 3)))
    if halfwidth is not None and np.isfinite(halfwidth):
        panel.axhspan(-halfwidth, halfwidth, color=style.SERIES[2], alpha=0.12, linewidth=0)
    _points(panel, predicted, predicted - true, _point_texts(true, predicted, samples))
    panel.set_xlabel(f"predicted {style.shortened(name)}" + (" (band: interval)" if halfwidth is not None else ""))
    panel.set_ylabel("predicted − true")
    return figure


@style.styled
def coverage(names: Sequence[str], levels: Sequence[Sequence[Bin]]) -> Figure:
    """Draw how often intervals of each promised level contain the truth, with 95 % bands.

    Args:
        names: What is predicted.
        levels: For each, the promised share (`confidence`) and the observed one (`hits`).
    """
    figure, panel = style.axes()
    panel.plot([0.4, 1], [0.4, 1], color=style.MUTED, linewidth=1, linestyle=(0, (3, 3)))
    for number, (name, points) in enumerate(zip(names, levels, strict=True)):
        colour, dashes = style.SERIES[number % len(style.SERIES)], style.DASHES[number % len(style.DASHES)]
        for level in points:
            panel.plot([level.confidence] * 2, [level.hits_low, level.hits_high], color=colour, linewidth=3, alpha=0.3)
        promised, shares = [point.confidence for point in points], [point.hits for point in points]
        label = style.shortened(name, 24)
        panel.plot(promised, shares, "o", color=colour, markersize=4, linestyle=dashes, label=label)
        texts = [
            f"{name}: {round_percent(point.confidence)} promised, {percent(point.hits, point.rows)} of "
            f"{counted(point.rows, 'image')} seen "
            f"(95 % interval {percent(point.hits_low, point.rows)} to {percent(point.hits_high, point.rows)})"
            for point in points
        ]
        style.tips(panel, promised, shares, texts)
    if len(names) > 1:
        style.key(figure)
    panel.set_xlabel("promised share inside the interval")
    panel.set_ylabel("observed")
    return figure


def _point_texts(true: Floats, predicted: Floats, samples: Sequence[str]) -> list[str]:
    """Return the text of each point: the name of its image and both numbers."""
    return [
        f"{sample}: true {value:.4g}, predicted {other:.4g}"
        for sample, value, other in zip(samples, true.tolist(), predicted.tolist(), strict=True)
    ]


def _points(panel: Axes, x: Floats, y: Floats, texts: Sequence[str]) -> None:
    """Draw points with their texts as tips, or if there are many, cells coloured by the number of points in them."""
    if len(x) <= _MOST_POINTS:
        drawn = panel.scatter(x, y, s=14, color=style.SERIES[0], alpha=0.55, linewidths=0)
        style.tip_each(drawn, texts)
        return
    counts, across, up = np.histogram2d(x, y, bins=_CELLS)
    for column, row in np.argwhere(counts > 0):
        full = 0.15 + 0.85 * float(np.log1p(counts[column, row]) / np.log1p(counts.max()))
        cell = Rectangle(
            (across[column], up[row]),
            across[column + 1] - across[column],
            up[row + 1] - up[row],
            facecolor=style.SERIES[0],
            alpha=round(full, 2),
            edgecolor="none",
        )
        style.tip(cell, counted(int(counts[column, row]), "image"))
        panel.add_patch(cell)
    panel.autoscale_view()
