"""Plots of yes-or-no answers: predictive values over the prevalence, decision curves, and the risk at each coverage."""

from __future__ import annotations

import math
from collections.abc import Sequence

from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from mlpipe.post.diagnosis import NetBenefit
from mlpipe.post.intervals.by_metric import Interval
from mlpipe.post.risk_coverage import RiskCoverage
from mlpipe.reports.plots import style
from mlpipe.reports.plots.probabilities import thinned


@style.styled
def predictive_values(
    shares: Sequence[float], values: Sequence[tuple[str, Sequence[Interval | None]]], own: float
) -> Figure:
    """Draw predictive values with 95 % bands over the share of positive samples, on a scale of odds.

    Args:
        shares: Shares of positive samples, inside (0, 1).
        values: A name, and the value at each share.
        own: The share at which they were measured.
    """
    figure, panel = style.axes()
    panel.axvline(own, color=style.MUTED, linewidth=1, linestyle=(0, (3, 3)))
    for number, (name, intervals) in enumerate(values):
        points = [(share, interval) for share, interval in zip(shares, intervals, strict=True) if interval is not None]
        if not points:
            continue
        x, known_intervals = [share for share, _ in points], [interval for _, interval in points]
        colour, heights = style.SERIES[number], [interval.value for interval in known_intervals]
        band = panel.fill_between(
            x,
            [interval.low for interval in known_intervals],
            [interval.high for interval in known_intervals],
            color=colour,
            alpha=0.15,
            lw=0,
        )
        style.tip(band, f"{name}: 95 % interval", series=name)
        (drawn,) = panel.plot(x, heights, color=colour, linestyle=style.DASHES[number], label=name)
        style.tip(drawn, name, series=name)
        texts = [
            f"{name} {interval.value:.3f} ({interval.low:.3f} to {interval.high:.3f}) where {share:.1%} are positive"
            for share, interval in points
        ]
        style.tips(panel, x, heights, texts, series=name)
    panel.set_xscale("logit")
    panel.set_xticks([0.01, 0.03, 0.1, 0.3, 0.6, 0.9])
    panel.xaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{100 * share:.0f} %"))
    panel.xaxis.set_minor_formatter(FuncFormatter(lambda share, _: ""))
    panel.set_ylim(-0.02, 1.02)
    panel.set_xlabel("prevalence (dashed line: here)")
    style.key(figure)
    return figure


@style.styled
def decision_curve(curve: NetBenefit) -> Figure:
    """Draw the net benefit of acting on predictions, on all samples and on none, with a 95 % band if there is one.

    Args:
        curve: The decision curve.
    """
    figure, panel = style.axes()
    top = max(float(curve.model.max()), float(curve.everybody.max()), 0.01)
    panel.axhline(0, color=style.MUTED, linewidth=1.2, linestyle=style.DASHES[2], label="nobody")
    panel.plot(curve.thresholds, curve.everybody, color=style.SERIES[1], linestyle=style.DASHES[1], label="everybody")
    panel.fill_between(curve.thresholds, curve.low, curve.high, color=style.SERIES[0], alpha=0.15, lw=0)
    (drawn,) = panel.plot(curve.thresholds, curve.model, color=style.SERIES[0], label="predictions")
    style.tip(drawn, "acting on predictions")
    texts = [
        f"threshold {cut:.2f}: predictions {model:.4f}"
        + (f" ({low:.4f} to {high:.4f})" if math.isfinite(high - low) else "")
        + f", everybody {everybody:.4f}"
        for cut, model, low, high, everybody in zip(
            *(column.tolist() for column in (curve.thresholds, curve.model, curve.low, curve.high, curve.everybody)),
            strict=True,
        )
    ]
    style.tips(panel, curve.thresholds.tolist(), curve.model.tolist(), texts)
    panel.set_ylim(-0.25 * top, 1.08 * top)
    panel.set_xlim(0, float(curve.thresholds[-1]))
    panel.set_xlabel("probability from which on one acts")
    panel.set_ylabel("net benefit")
    style.key(figure)
    return figure


@style.styled
def risk_coverage(curve: RiskCoverage) -> Figure:
    """Draw the share of wrong predictions among the most confident ones, over the share that is answered.

    Args:
        curve: The risk-coverage curve.
    """
    figure, panel = style.axes()
    x, y = thinned(curve.coverage, curve.risk)
    (drawn,) = panel.plot(x, y, color=style.SERIES[0])
    style.tip(drawn, "share of wrong predictions")
    texts = [
        f"{risk:.1%} wrong where {share:.0%} are answered" for share, risk in zip(x.tolist(), y.tolist(), strict=True)
    ]
    style.tips(panel, x.tolist(), y.tolist(), texts)
    panel.set_xlim(0, 1.02)
    panel.set_ylim(bottom=0)
    panel.set_xlabel("share of images that are answered, the surest first")
    panel.set_ylabel("share of wrong ones")
    return figure
