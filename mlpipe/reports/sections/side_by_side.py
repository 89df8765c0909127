"""Recipes side by side: the curves of their validation scores, and the differences between their configurations."""

from __future__ import annotations

import numpy as np

from mlpipe.post import kind as post_kind
from mlpipe.reports.differences import configuration, differences
from mlpipe.reports.facts import TaskFacts
from mlpipe.reports.markup import Content, element, paragraph, table
from mlpipe.reports.plots import learning, style
from mlpipe.reports.sections.parts import Section
from mlpipe.reports.sections.training import history

# More curves cannot be told apart.
_MOST = 6


def side_by_side(facts: TaskFacts) -> Section:
    """The best recipes side by side; empty if there is only one.

    Args:
        facts: The task.
    """
    ranked = [row["recipe"] for row in facts.board if row["recipe"] in facts.recipes]
    if len(ranked) < 2:
        return Section("Recipes side by side")
    score, curves, rows = post_kind.of(facts.kind).HEADLINE, list[learning.MeanCurve](), list[list[object]]()
    for recipe in ranked[:_MOST]:
        folds = facts.recipes[recipe]
        score_lists = [
            fold_history.score
            for fold in folds
            if (fold_history := history(facts.project, fold, score)) is not None and fold_history.score
        ]
        length = min(map(len, score_lists), default=0)
        if length < 2:
            continue
        values = np.array([scores[:length] for scores in score_lists])
        curve = learning.MeanCurve(
            f"{facts.called(recipe)} {folds[0].arch}", *([line.tolist() for line in _spread(values)])
        )
        curves.append(curve)
        rows += [
            [curve.name, epoch, *three]
            for epoch, three in enumerate(zip(curve.mean, curve.low, curve.high, strict=True), 1)
        ]
    plots = [_plot(facts, curves, score, rows)] if len(curves) > 1 else []
    more = f"Drawn are the {_MOST} best of {len(ranked)}. " if len(ranked) > _MOST and plots else ""
    how = paragraph(f"{more}mml info mode.compare=[A,B] tests two of them on images that both predicted.")
    return Section("Recipes side by side", [how], plots, [_differences(facts)], is_wide=True)


def _spread(values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return values.mean(axis=0), values.min(axis=0), values.max(axis=0)


def _plot(facts: TaskFacts, curves: list[learning.MeanCurve], score: str, rows: list[list[object]]) -> style.Plot:
    best = ", ".join(f"{curve.name} {curve.mean[-1]:.4g}" for curve in curves)
    return style.Plot(
        f"{facts.name}_side_by_side",
        learning.side_by_side(curves, score),
        f"Validation {score} of recipes, the mean of their folds; a band from the least to the most.",
        f"Validation {score} by epoch of {len(curves)} recipes; at the end: {best}.",
        ["recipe", "epoch", "mean", "least", "most"],
        rows,
    )


def _differences(facts: TaskFacts) -> Content | None:
    trees = {recipe: configuration(facts.project, folds[-1])[0] for recipe, folds in facts.recipes.items()}
    known = {recipe: tree for recipe, tree in trees.items() if tree}
    if len(known) < 2:
        return None
    rows: list[list[Content]] = [[element("code", key), *values] for key, values in differences(list(known.values()))]
    return table("What the recipes differ in", ["key", *map(facts.called, known)], rows, numbers=range(0))
