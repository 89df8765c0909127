"""Plots of a search: its history, the importance of parameters, and the score over one of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from mlpipe.reports.plots import style

# Numbers over more decades than this are drawn on a logarithmic axis.
_RATIO = 50
# The largest number of labels that stand side by side, such as 0.00012.
_MOST_LABELS = 5


@style.styled
def history(trials: Sequence[int], values: Sequence[float], so_far: Sequence[float], metric: str) -> Figure:
    """Draw the value of every trial, and the best one so far.

    Args:
        trials: Their numbers.
        values: Their values of the metric.
        so_far: The best value up to each trial.
        metric: Its name.
    """
    figure, panel = style.axes()
    panel.scatter(trials, values, s=16, color=style.SERIES[0], linewidths=0)
    panel.step(trials, so_far, where="post", color=style.SERIES[1])
    style.tips(
        panel, trials, values, [f"trial {trial}: {value:.4g}" for trial, value in zip(trials, values, strict=True)]
    )
    panel.xaxis.set_major_locator(MaxNLocator(integer=True))
    panel.set_xlabel("trial")
    panel.set_ylabel(metric)
    return figure


@style.styled
def importance(shares: Mapping[str, float]) -> Figure:
    """Draw the importance of parameters as bars, the largest at the top.

    Args:
        shares: The importance by parameter.
    """
    figure, panel = style.axes(style.WIDTH, 0.8 + 0.3 * len(shares))
    bars = panel.barh(range(len(shares)), list(shares.values()), color=style.SERIES[0], height=0.6)
    for bar, (key, share) in zip(bars, shares.items(), strict=True):
        style.tip(bar, f"{key}: {share:.3f}")
    panel.set_yticks(range(len(shares)), [style.shortened(key, 24) for key in shares], fontsize=8)
    panel.invert_yaxis()
    panel.grid(axis="y", visible=False)
    panel.set_xlabel("importance")
    return figure


@style.styled
def slice_plot(pairs: Sequence[tuple[Any, float]], key: str, metric: str) -> Figure:
    """Draw the metric over one parameter: numbers on an axis, anything else by name.

    Args:
        pairs: The parameter's value and the metric's of each trial.
        key: The parameter.
        metric: The metric's name.
    """
    figure, panel = style.axes()
    is_number = all(isinstance(value, int | float) and not isinstance(value, bool) for value, _ in pairs)
    names = list(dict.fromkeys(str(value) for value, _ in pairs))
    x = [value if is_number else names.index(str(value)) for value, _ in pairs]
    y = [value for _, value in pairs]
    panel.scatter(x, y, s=18, color=style.SERIES[0], alpha=0.7, linewidths=0)
    style.tips(panel, x, y, [f"{value:.4g} at {style.shortened(str(setting), 40)}" for setting, value in pairs])
    if not is_number:
        panel.set_xticks(range(len(names)), style.shortened_apart(names, 14), fontsize=8)
        panel.set_xlim(-0.5, len(names) - 0.5)
    elif min(x) > 0 and max(x) / min(x) > _RATIO:
        style.logarithmic_x(panel)
    else:
        panel.xaxis.set_major_locator(MaxNLocator(_MOST_LABELS))
        panel.xaxis.set_major_formatter(style.plain_number)
    panel.set_xlabel(style.shortened(key, 40))
    panel.set_ylabel(metric)
    return figure
