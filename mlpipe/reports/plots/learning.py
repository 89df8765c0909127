"""Learning curves: loss and score of every fold over the epochs, with the chosen epoch marked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from mlpipe.reports.plots import style

# The distance between two names, as a share of a panel's height.
_GAP = 0.1


@dataclass(frozen=True)
class History:
    """The training history of one fold.

    Attributes:
        fold: Its number.
        epochs: Counted from 1.
        train: The training loss after each epoch.
        val: The validation loss.
        score: The validation score; empty if it was not measured.
        chosen: The epoch whose weights were kept, counted from 1.
        rate: The learning rate after each epoch; empty if it was not stored.
    """

    fold: int
    epochs: list[int]
    train: list[float]
    val: list[float]
    score: list[float]
    chosen: int
    rate: list[float] = field(default_factory=list)


@style.styled
def learning_curves(histories: Sequence[History], score: str) -> Figure:
    """Draw training and validation loss above, the validation score below, and under it the learning rate if it changed.

    Args:
        histories: One for each fold.
        score: The score's name.
    """
    has_score = any(curve.score for curve in histories)
    has_rate = any(len(set(curve.rate)) > 1 for curve in histories)
    heights = [2.3, *([2.3] if has_score else []), *([1.1] if has_rate else [])]
    figure = Figure(figsize=(style.WIDTH, max(sum(heights), style.HEIGHT)))
    panels = figure.subplots(len(heights), 1, sharex=True, squeeze=False, height_ratios=heights)[:, 0]
    if has_rate:
        _rates(panels[-1], histories)
    for number, history in enumerate(histories):
        colour = style.SERIES[number % len(style.SERIES)]
        if history.train:
            (drawn,) = panels[0].plot(history.epochs, history.train, color=colour, linewidth=0.9, linestyle=(0, (2, 2)))
            style.tip(drawn, f"fold {history.fold}, training loss", series=f"fold {history.fold}")
        _draw_validation_curve(panels[0], history, history.val, colour, "validation loss")
        if history.score:
            _draw_validation_curve(panels[1], history, history.score, colour, f"validation {score}")
    panels[0].set_title("loss (dashed: training)" if any(curve.val for curve in histories) else "training loss")
    if has_score:
        panels[1].set_title(f"validation {score}")
    panels[-1].set_xlabel("epoch (dot: the one that was kept)")
    panels[-1].xaxis.set_major_locator(MaxNLocator(integer=True))
    for panel, key in zip(panels, ("val", "score") if has_score else ("val",), strict=False):
        panel.margins(x=0.06)
        _label_ends(panel, [(f"fold {curve.fold}", getattr(curve, key) or curve.train) for curve in histories])
    return figure


@dataclass(frozen=True)
class MeanCurve:
    """The validation score of a recipe by epoch, from 1: the mean, minimum and maximum over its folds."""

    name: str
    mean: list[float]
    low: list[float]
    high: list[float]


@style.styled
def side_by_side(curves: Sequence[MeanCurve], score: str) -> Figure:
    """Draw the validation scores of recipes over the epochs.

    Args:
        curves: One for each recipe, at most as many as there are colours.
        score: The score's name.
    """
    names = style.shortened_apart([curve.name for curve in curves], 40)
    rows = -(-len(names) // style.key_columns(names))
    figure, panel = style.axes(style.WIDTH, style.HEIGHT + 0.18 * rows)
    for number, (curve, label) in enumerate(zip(curves, names, strict=True)):
        colour, epochs = style.SERIES[number % len(style.SERIES)], list(range(1, len(curve.mean) + 1))
        band = panel.fill_between(epochs, curve.low, curve.high, color=colour, alpha=0.12, linewidth=0)
        style.tip(band, f"{curve.name}: from the least to the most of its folds", series=curve.name)
        (drawn,) = panel.plot(
            epochs, curve.mean, color=colour, linestyle=style.DASHES[number % len(style.DASHES)], label=label
        )
        style.tip(drawn, curve.name, series=curve.name)
        tips = [f"{curve.name}, epoch {epoch}: {value:.4g}" for epoch, value in zip(epochs, curve.mean, strict=True)]
        style.tips(panel, epochs, curve.mean, tips, series=curve.name)
    panel.xaxis.set_major_locator(MaxNLocator(integer=True))
    panel.set_xlabel("epoch")
    panel.set_ylabel(f"validation {score}")
    style.key(figure)
    return figure


def _rates(panel: Axes, histories: Sequence[History]) -> None:
    panel.set_title("learning rate")
    for number, history in enumerate(histories):
        if history.rate:
            colour, fold = style.SERIES[number % len(style.SERIES)], f"fold {history.fold}"
            (drawn,) = panel.plot(history.epochs, history.rate, color=colour, linewidth=0.9)
            style.tip(drawn, f"{fold}, learning rate", series=fold)
            texts = [
                f"{fold}, epoch {epoch}: learning rate {rate:.3g}"
                for epoch, rate in zip(history.epochs, history.rate, strict=True)
            ]
            style.tips(panel, history.epochs, history.rate, texts, series=fold)
    panel.ticklabel_format(axis="y", scilimits=(-2, 3))


def _label_ends(panel: Axes, curves: Sequence[tuple[str, Sequence[float]]]) -> None:
    """Write names to the right of the ends of curves, moved apart if they would overlap; with many folds none."""
    ends = [(values[-1], name, place) for place, (name, values) in enumerate(curves) if values]
    if len(ends) > len(style.SERIES):
        return
    low, high = panel.get_ylim()
    heights: list[float] = []
    for value, _, _ in sorted(ends):
        own_height = (value - low) / (high - low)
        heights.append(max(own_height, heights[-1] + _GAP) if heights else own_height)
    # If they would leave the panel at the top, they all move down.
    above = max(0.0, heights[-1] - 1) if heights else 0.0
    for height, (_, name, place) in zip(heights, sorted(ends), strict=True):
        colour = style.SERIES[place]
        text = panel.text(1.015, height - above, name, transform=panel.transAxes, va="center", fontsize=8, color=colour)
        style.tip(text, name, series=name)


def _draw_validation_curve(panel: Axes, history: History, values: Sequence[float], colour: str, quantity: str) -> None:
    if not values:
        return
    fold = f"fold {history.fold}"
    only = {"marker": "o", "markersize": 3} if len(values) == 1 else {}
    (drawn,) = panel.plot(history.epochs, values, color=colour, **only)  # type: ignore[arg-type]
    style.tip(drawn, f"{fold}, {quantity}", series=fold)
    if history.chosen in history.epochs:
        place = history.epochs.index(history.chosen)
        (dot,) = panel.plot([history.chosen], [values[place]], "o", color=colour, markersize=6)
        style.tip(dot, f"{fold}, kept", series=fold)
    texts = [
        f"{fold}, epoch {epoch}: {quantity} {value:.4g}" for epoch, value in zip(history.epochs, values, strict=True)
    ]
    style.tips(panel, history.epochs, values, texts, series=fold)
