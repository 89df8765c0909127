"""Plots of confusions: the confusion matrix for few classes, the most confused pairs for many."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from mlpipe.reports.plots import style

# The most classes of a matrix; with more, pairs are shown.
MOST_CLASSES = 16
# The darkest colour of a cell, so that its number stays readable.
_FULL = 0.55


@style.styled
def confusion_matrix(counts: npt.NDArray[Any], classes: Sequence[str]) -> Figure:
    """Draw counts with the share of the row below each, which also sets the cell's colour.

    Args:
        counts: Shape (true class, predicted class).
        classes: Their names.
    """
    class_count = len(classes)
    side = max(style.WIDTH, 0.34 * class_count + 1.1)
    figure, panel = style.axes(side, side * 0.86)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    size = 9 if class_count <= 6 else 7 if class_count <= 10 else 6.5
    for true, predicted in np.ndindex(counts.shape):
        share = float(shares[true, predicted])
        colour = style.SERIES[0] if true == predicted else style.SERIES[1]
        cell = Rectangle((predicted - 0.5, true - 0.5), 1, 1, facecolor=colour, alpha=_FULL * share, edgecolor="none")
        panel.add_patch(cell)
        tip_text = (
            f"{classes[true]}, predicted as {classes[predicted]}: {counts[true, predicted]} ({100 * share:.0f} %)"
        )
        style.tip(cell, tip_text, pair=f"{true}-{predicted}" if counts[true, predicted] else "")
        if counts[true, predicted]:
            text = f"{int(counts[true, predicted])}" + (f"\n{100 * share:.0f} %" if class_count <= 10 else "")
            panel.text(predicted, true, text, ha="center", va="center", fontsize=size, linespacing=1.1)
    longest = 12 if class_count > 4 else 18
    names = style.shortened_apart(classes, longest)
    turned = max(map(len, names)) * class_count > 34
    panel.set_xticks(range(class_count), names, rotation=90 if turned else 0, fontsize=size)
    panel.set_yticks(range(class_count), names, fontsize=size)
    panel.set_xlim(-0.5, class_count - 0.5)
    panel.set_ylim(class_count - 0.5, -0.5)
    panel.set_xlabel("predicted")
    panel.set_ylabel("true")
    panel.grid(False)
    panel.tick_params(length=0)
    return figure


@style.styled
def confused_pairs(pairs: Sequence[tuple[str, str, int, float]]) -> Figure:
    """Draw the most frequent mistakes as bars.

    Args:
        pairs: True class, predicted class, images, and their share of the true class's images; the most frequent first.
    """
    figure, panel = style.axes(style.WIDTH, 0.7 + 0.36 * len(pairs))
    places = np.arange(len(pairs))
    panel.barh(places + 0.2, [count for _, _, count, _ in pairs], color=style.SERIES[1], height=0.34)
    called = list(dict.fromkeys(name for pair in pairs for name in pair[:2]))
    names = dict(zip(called, style.shortened_apart(called, 22), strict=True))
    for place, (true, predicted, count, share) in enumerate(pairs):
        # Above its bar a long name has the whole width.
        text = panel.text(0, place - 0.03, f" {names[true]} taken for {names[predicted]}", va="bottom", fontsize=8)
        # Otherwise Matplotlib would shrink the bars to make space for it.
        text.set_in_layout(False)
        panel.annotate(
            f"{count} ({100 * share:.0f} %)",
            (count, place + 0.2),
            (3, 0),
            textcoords="offset points",
            va="center",
            fontsize=8,
        )
    panel.set_yticks([])
    panel.set_ylim(len(pairs) - 0.4, -0.6)
    panel.set_xlim(0, 1.25 * max(count for _, _, count, _ in pairs))
    panel.xaxis.set_major_locator(MaxNLocator(integer=True))
    panel.set_xlabel("images (share of the true class)")
    return figure


def most_confused(cells: Sequence[Sequence[int]], most: int = 15) -> list[tuple[int, int, int, float]]:
    """Return the most frequent mistakes: true class, predicted class, images, share of the true class's images.

    Args:
        cells: The non-zero cells of the confusion matrix, as `mlpipe.post.measures.class_metrics.confused_pairs` returns them.
        most: The largest number of mistakes.
    """
    of_class = Counter[int]()
    for true, _, images in cells:
        of_class[true] += images
    mistakes = [(true, predicted, images) for true, predicted, images in cells if true != predicted]
    mistakes.sort(key=lambda cell: -cell[2])
    return [(true, predicted, images, images / of_class[true]) for true, predicted, images in mistakes[:most]]
