"""The error over training sizes, with the fitted curve and its band."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from mlpipe.post.learning_curve import LearningCurve
from mlpipe.reports.plots import style


@style.styled
def outlook(sizes: list[float], errors: list[float], curve: LearningCurve, error: str) -> Figure:
    """Draw measured errors as dots, and the fitted curve up to four times the largest size as a line.

    Args:
        sizes: Numbers of training images, ascending.
        errors: The error at each size.
        curve: The fitted curve.
        error: What the error is.
    """
    figure, panel = style.axes()
    grid = np.geomspace(sizes[0], 4 * sizes[-1], 80)
    low, high = curve.band(grid)
    panel.fill_between(grid, low, high, color=style.SERIES[0], alpha=0.18, linewidth=0)
    panel.plot(grid, curve.predict(grid), color=style.SERIES[0], linestyle=style.DASHES[1])
    panel.plot(sizes, errors, "o", color=style.SERIES[1], markersize=6)
    style.logarithmic_x(panel)
    panel.set_ylim(bottom=0)
    panel.set_xlabel(f"images trained on (dots: measured; {100 * curve.level:g} % band)")
    panel.set_ylabel(error)
    return figure
