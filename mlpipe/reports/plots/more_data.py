"""The error over training sizes, with the curve through it and its band beyond."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from mlpipe.post.learning_curve import LearningCurve
from mlpipe.reports.plots import style


@style.styled
def outlook(sizes: list[float], errors: list[float], curve: LearningCurve, error: str) -> Figure:
    """Measured errors as dots, the fitted curve to four times the most images as a line.

    Args:
        sizes: Images trained on, ascending.
        errors: The error at each.
        curve: What was fitted.
        error: What the error is.
    """
    figure, panel = style.axes()
    grid = np.geomspace(sizes[0], 4 * sizes[-1], 80)
    low, high = curve.band(grid)
    panel.fill_between(grid, low, high, color=style.SERIES[0], alpha=0.18, linewidth=0)
    panel.plot(grid, curve.predict(grid), color=style.SERIES[0], linestyle=style.DASHES[1])
    panel.plot(sizes, errors, "o", color=style.SERIES[1], markersize=6)
    panel.set_xscale("log")
    panel.set_ylim(bottom=0)
    panel.set_xlabel(f"images trained on (dots: measured; {100 * curve.level:g} % band)")
    panel.set_ylabel(error)
    return figure
