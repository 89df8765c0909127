"""Values with intervals side by side: scores of recipes and ensembles, prevalence by part, members' weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure

from mlpipe.post import figures
from mlpipe.reports.plots import style

# The most letters of a name that fit beside a figure in the plot of scores.
_NAME = 50


@dataclass(frozen=True)
class Value:
    """A named value, its interval if it has one, and whether it is highlighted."""

    name: str
    value: float
    low: float | None = None
    high: float | None = None
    stands_out: bool = False


@style.styled
def scores(values: Sequence[Value], metric: str, images: int | None = None) -> Figure:
    """Draw scores as dots with their intervals, in the given order from the top.

    Args:
        values: One for each recipe or ensemble.
        metric: The score's name.
        images: The number of images behind them, which determines their digits; None: unknown.
    """
    figure, panel = style.axes(style.WIDTH, 0.75 + 0.42 * len(values))
    # Names stand above their values, where they have the whole width: beside them they would be cut.
    beside, paper = panel.get_yaxis_transform(), {"facecolor": style.PAPER, "edgecolor": "none", "pad": 0.8}
    for place, score in enumerate(values):
        colour = style.SERIES[1] if score.stands_out else style.SERIES[0]
        if score.low is not None and score.high is not None:
            panel.plot([score.low, score.high], [place] * 2, color=colour, linewidth=2.2, alpha=0.45)
        (dot,) = panel.plot([score.value], [place], "D" if score.stands_out else "o", color=colour, markersize=6)
        ends, text = figures.interval(score.low, score.high, images), figures.number(score.value, images)
        style.tip(dot, f"{score.name}: {text} ({ends})" if ends else f"{score.name}: {text}")
        panel.text(0, place - 0.22, style.shortened(score.name, _NAME), transform=beside, fontsize=8, bbox=paper)
        panel.text(1, place - 0.22, text, transform=beside, fontsize=8, ha="right", bbox=paper)
    panel.set_yticks([])
    panel.spines["left"].set_visible(False)
    panel.set_ylim(len(values) - 0.6, -0.75)
    with_ends = any(value.low is not None for value in values)
    panel.set_xlabel(f"test {metric} with 95 % interval" if with_ends else f"test {metric}")
    panel.margins(x=0.1)
    # Scores without a visible difference are drawn at one place, not at the two ends of the axis.
    ends_of = [end for value in values for end in (value.low, value.value, value.high) if end is not None]
    middle, wide = (max(ends_of) + min(ends_of)) / 2, max(map(abs, ends_of)) or 1.0
    if max(ends_of) - min(ends_of) < 1e-3 * wide:
        panel.set_xlim(middle - 0.1 * wide, middle + 0.1 * wide)
    return figure


@style.styled
def prevalence(parts: Sequence[tuple[str, Sequence[Value]]]) -> Figure:
    """Draw the share of each class in each part, parts side by side.

    Args:
        parts: A part's name and its classes' shares.
    """
    classes = [share.name for share in parts[0][1]]
    figure, panel = style.axes(style.WIDTH, 1.0 + (0.14 * len(parts) + 0.16) * len(classes))
    step = 0.8 / len(parts)
    for number, (part, values) in enumerate(parts):
        colour = style.SERIES[number % len(style.SERIES)]
        places = np.arange(len(classes)) - 0.4 + step * (number + 0.5)
        bars = panel.barh(places, [share.value for share in values], height=step * 0.9, color=colour, linewidth=0)
        for bar, share in zip(bars, values, strict=True):
            style.tip(bar, f"{share.name}, {part}: {share.value:.4f}", series=part)
        for place, share in zip(places, values, strict=True):
            if share.low is not None and share.high is not None:
                panel.plot([share.low, share.high], [place] * 2, color=style.INK, linewidth=1.2)
    panel.set_yticks(range(len(classes)), style.shortened_apart(classes), fontsize=8)
    panel.invert_yaxis()
    panel.grid(axis="y", visible=False)
    panel.set_xlabel("share of images")
    figure.legend(
        handles=[
            panel.barh([0], [0], color=style.SERIES[number % len(style.SERIES)], label=name)
            for number, (name, _) in enumerate(parts)
        ],
        loc="outside upper left",
        ncols=min(len(parts), 3),
        frameon=False,
        fontsize=8,
        handlelength=0.9,
        columnspacing=1.2,
    )
    return figure
