"""Learning curves: loss and score of every fold over the epochs, the chosen epoch marked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from mlpipe.reports.plots import style

# Between two names, as a share of a panel's height.
_GAP = 0.1


@dataclass(frozen=True)
class History:
    """One fold's training.

    Attributes:
        fold: Its number.
        epochs: Counted from 1.
        train: The training loss after each.
        val: The validation loss.
        score: The validation score; empty where it was not measured.
        chosen: The epoch whose weights were kept, counted from 1.
    """

    fold: int
    epochs: list[int]
    train: list[float]
    val: list[float]
    score: list[float]
    chosen: int


@style.styled
def learning_curves(histories: Sequence[History], score: str) -> Figure:
    """Training and validation loss above, the validation score below.

    Args:
        histories: One for each fold.
        score: The score's name.
    """
    has_score = any(one.score for one in histories)
    figure = Figure(figsize=(style.WIDTH, 4.6 if has_score else style.HEIGHT))
    panels = figure.subplots(2 if has_score else 1, 1, sharex=True, squeeze=False)[:, 0]
    for number, one in enumerate(histories):
        colour = style.SERIES[number % len(style.SERIES)]
        if one.train:
            panels[0].plot(one.epochs, one.train, color=colour, linewidth=0.9, linestyle=(0, (2, 2)))
        _with_choice(panels[0], one, one.val, colour)
        if one.score:
            _with_choice(panels[1], one, one.score, colour)
    panels[0].set_title("loss (dashed: training)")
    if has_score:
        panels[1].set_title(f"validation {score}")
    panels[-1].set_xlabel("epoch (dot: the one that was kept)")
    panels[-1].xaxis.set_major_locator(MaxNLocator(integer=True))
    for panel, key in zip(panels, ("val", "score"), strict=False):
        panel.margins(x=0.06)
        _label_ends(panel, [(f"fold {one.fold}", getattr(one, key)) for one in histories])
    return figure


def _label_ends(panel: Axes, named: Sequence[tuple[str, Sequence[float]]]) -> None:
    """Names right of where curves end, moved apart where they would cover each other; of many folds none."""
    ends = [(values[-1], name, place) for place, (name, values) in enumerate(named) if values]
    if len(ends) > len(style.SERIES):
        return
    low, high = panel.get_ylim()
    heights: list[float] = []
    for value, _, _ in sorted(ends):
        wanted = (value - low) / (high - low)
        heights.append(max(wanted, heights[-1] + _GAP) if heights else wanted)
    # Pushed out at the top, they move down together.
    above = max(0.0, heights[-1] - 1) if heights else 0.0
    for height, (_, name, place) in zip(heights, sorted(ends), strict=True):
        colour = style.SERIES[place]
        panel.text(1.015, height - above, name, transform=panel.transAxes, va="center", fontsize=8, color=colour)


def _with_choice(panel: Axes, one: History, values: Sequence[float], colour: str) -> None:
    if not values:
        return
    only = {"marker": "o", "markersize": 3} if len(values) == 1 else {}
    panel.plot(one.epochs, values, color=colour, **only)  # type: ignore[arg-type]
    if one.chosen in one.epochs:
        place = one.epochs.index(one.chosen)
        panel.plot([one.chosen], [values[place]], "o", color=colour, markersize=6)
