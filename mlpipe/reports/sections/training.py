"""The training of each recipe: its images, the use of validation images, costs, and learning curves."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from mlpipe import files
from mlpipe.errors import counted, listing
from mlpipe.post import kind as post_kind
from mlpipe.post.figures import number, parameters
from mlpipe.reports.facts import TaskFacts
from mlpipe.reports.markup import Markup, bullets, details_block, paragraph, table
from mlpipe.reports.plots import learning, style
from mlpipe.reports.sections.parts import Section
from mlpipe.reports.tables import images_per_s
from mlpipe.runs import records
from mlpipe.runs.project import Project
from mlpipe.runs.records import ModelRecord

# Only the best curves are drawn, because curves of more recipes would bury the page.
_MOST_RECIPES = 6
# More folds are folded away.
_MOST_FOLDS = 10
_SPLITS = ("train", "val", "test")


def trained(facts: TaskFacts) -> Section:
    """Recipes with their folds, numbers of images and cost.

    Args:
        facts: The task.
    """
    header = ["recipe", "network", "folds", "chosen by", "parameters", "images learned from", "validation", "test"]
    header += ["epochs (kept)", "seconds (an epoch)", "images/s"]
    rows = []
    for recipe, folds in facts.recipes.items():
        first, speed = folds[0], images_per_s(folds)
        nested = " (nested)" if first.nested else ""
        rows.append(
            [
                facts.called(recipe),
                first.arch,
                ", ".join(str(record.fold) for record in folds) + nested,
                first.monitor,
                parameters(first.parameters),
                *(_range([record.counts.get(split, 0) for record in folds]) for split in _SPLITS),
                _figure_with_more(
                    _range([record.epochs for record in folds]), _range([record.best_epoch + 1 for record in folds])
                ),
                _figure_with_more(
                    number_of_seconds(sum(record.timings.get("seconds", 0.0) for record in folds)),
                    _epoch_seconds(folds),
                ),
                "" if speed is None else f"{speed:.0f}",
            ]
        )
    caption = f"Recipes of {facts.name}, the newest first; a range is over folds, seconds are of all folds"
    return Section(
        "What was trained on what",
        [table(caption, header, rows, numbers=range(4, 11)), bullets(_notes(facts))],
        is_wide=True,
    )


def _figure_with_more(figure: str, more: str) -> str:
    """Return a figure, with a second one in brackets if that differs."""
    return f"{figure} ({more})" if more and more != figure else figure


def _epoch_seconds(folds: Sequence[ModelRecord]) -> str:
    """Return the median over folds of the seconds per training epoch; empty without epochs."""
    seconds = [
        record.timings["train_seconds"] / record.epochs
        for record in folds
        if record.epochs and "train_seconds" in record.timings
    ]
    return number_of_seconds(statistics.median(seconds)) if seconds else ""


def curves(facts: TaskFacts) -> Section:
    """The learning curves of all folds, recipe by recipe.

    Args:
        facts: The task.
    """
    score = post_kind.of(facts.kind).HEADLINE
    ranked = [row["recipe"] for row in facts.board if row["recipe"] in facts.recipes]
    plots, missing, damaged = [], list[str](), list[str]()
    for recipe in ranked[:_MOST_RECIPES]:
        folds = facts.recipes[recipe]
        histories = [
            fold_history for record in folds if (fold_history := history(facts.project, record, score)) is not None
        ]
        missing += [record.id for record in folds if not _file(facts.project, record).is_file()]
        damaged += [
            record.id
            for record in folds
            if _file(facts.project, record).is_file() and history(facts.project, record, score) is None
        ]
        # With one epoch, as for a head that is solved at once, there is no curve to draw.
        if any(len(curve.epochs) > 1 for curve in histories):
            plots.append(_plot(facts, recipe, histories, score))
    sentences = []
    if len(ranked) > _MOST_RECIPES:
        sentences.append(f"Drawn are the {_MOST_RECIPES} best of {counted(len(ranked), 'recipe')}.")
    if missing:
        sentences.append(f"{counted(len(missing), 'record')} without metrics.csv: no curve.")
    if damaged:
        sentences.append(f"The metrics.csv of {listing(damaged)} is empty or damaged: no curve.")
    fold_table = _fold_table(facts, ranked[:_MOST_RECIPES], score) if plots else None
    return Section("Learning curves", [paragraph(*sentences) if sentences else None], plots, [fold_table])


def _fold_table(facts: TaskFacts, recipes: Sequence[str], score: str) -> Markup | None:
    """Return each fold with its validation score, the kept epoch and its time; many folds are folded away."""
    rows = [
        [
            f"fold {record.fold}",
            facts.called(recipe) if len(recipes) > 1 else "",
            *(number(record.scores.get("val", {}).get(name), record.counts.get("val")) for name in (score, "loss")),
            f"{record.best_epoch + 1} of {record.epochs}",
            number_of_seconds(record.timings["seconds"]) if "seconds" in record.timings else "",
        ]
        for recipe in recipes
        for record in facts.recipes[recipe]
    ]
    header = ["fold", "recipe", f"validation {score}", "validation loss", "epoch kept", "seconds"]
    if all(row[2] == row[3] for row in rows):
        # The validation loss is the score.
        header, rows = [*header[:3], *header[4:]], [[*row[:3], *row[4:]] for row in rows]
    fold_table = table("Folds and the epoch whose weights were kept", header, rows, numbers=range(2, 6))
    return (
        fold_table
        if fold_table is None or len(rows) <= _MOST_FOLDS
        else details_block(f"The table of {len(rows)} folds", fold_table)
    )


def history(project: Project, record: ModelRecord, score: str) -> learning.History | None:
    """Return a record's losses and validation scores by epoch; None if its metrics.csv is missing, empty or damaged.

    Args:
        project: The project.
        record: The record.
        score: The score's name.
    """
    rows = rows_of(project, record)
    try:
        epochs = [int(float(row["epoch"])) + 1 for row in rows]
    except (ValueError, OverflowError):
        return None
    if not rows:
        return None

    def column(name: str) -> list[float]:
        values = [row.get(name) for row in rows]
        return [_number(value) for value in values] if any(values) else []

    chosen_epoch = record.best_epoch + 1
    rates = next(
        (rate_column for name in rows[0] if name.partition("-")[0] == "lr" and (rate_column := column(name))), []
    )
    losses = column("train/loss"), column("val/loss")
    return learning.History(record.fold, epochs, *losses, column(f"val/{score}"), chosen_epoch, rates)


def rows_of(project: Project, record: ModelRecord) -> list[dict[str, str]]:
    """Return the rows of a record's metrics.csv, one per epoch; none if it is missing or cannot be read.

    Args:
        project: The project.
        record: The record.
    """
    path = _file(project, record)
    if not path.is_file():
        return []
    try:
        return [row for row in files.csv_rows(path) if row.get("epoch")]
    except (OSError, ValueError):
        return []


def _number(text: str | None) -> float:
    try:
        return float(text or "nan")
    except ValueError:
        return math.nan


def number_of_seconds(seconds: float) -> str:
    """Return whole seconds, with a decimal if there are few."""
    return f"{seconds:.0f}" if seconds >= 10 else f"{seconds:.1f}"


def once(histories: Sequence[learning.History], score: str) -> list[learning.History]:
    """Return curves without duplicates under a second name.

    If the score equals what validation calls its loss, a score that is the loss itself (`equation_loss`) is drawn with the
    training loss, and any other (as for drawn images, which has no comparable training loss) under its own name.

    Args:
        histories: One for each fold.
        score: The score's name.
    """
    # One of them may have been rounded to 32 bit.
    if not all(
        curve.score and np.allclose(curve.score, curve.val, rtol=1e-5, atol=0, equal_nan=True) for curve in histories
    ):
        return list(histories)
    is_loss = score.endswith("loss")
    return [replace(curve, score=[]) if is_loss else replace(curve, val=[]) for curve in histories]


def _plot(facts: TaskFacts, recipe: str, histories: Sequence[learning.History], score: str) -> style.Plot:
    rows = [
        [
            curve.fold,
            epoch,
            *(values[place] if values else "" for values in (curve.train, curve.val, curve.score, curve.rate)),
        ]
        for curve in histories
        for place, epoch in enumerate(curve.epochs)
    ]
    choices = ", ".join(f"fold {curve.fold} epoch {curve.chosen}" for curve in histories)
    arch = facts.recipes[recipe][0].arch
    return style.Plot(
        f"{facts.name}_learning_{recipe}",
        learning.learning_curves(once(histories, score), score),
        f"Learning curves of recipe {facts.called(recipe)} ({arch}).",
        f"Losses and validation {score} of {counted(len(histories), 'fold')} of recipe {facts.called(recipe)}; kept: {choices}.",
        ["fold", "epoch", "train_loss", "val_loss", f"val_{score}", "lr"],
        rows,
    )


def _notes(facts: TaskFacts) -> list[str]:
    """Return the notes of recipes, each once with the recipes that have it."""
    recipes_of: dict[str, list[str]] = {}
    for recipe, folds in facts.recipes.items():
        used, notes = folds[0].val_used_for, list[str]()
        if used and folds[0].nested:
            notes.append(
                f"validation images chose {_words(used)}; scores come from folds that were set aside, so they are not affected."
            )
        elif used:
            notes.append(
                f"validation images also chose {_words(used)}, so validation and out-of-fold scores are optimistic; test scores "
                "are not affected."
            )
        notes += sorted({note for record in folds for note in record.notes if "val_used_for" not in note})
        if recipe in facts.refits:
            notes += [f"of the refit: {note}" for note in sorted(facts.refits[recipe].notes)]
        for note in dict.fromkeys(notes):
            recipes_of.setdefault(note, []).append(facts.called(recipe))
    return [f"{', '.join(names)}: {note}" for note, names in recipes_of.items()]


def _words(used: Sequence[str]) -> str:
    return " and ".join(purpose.replace("_", " ") for purpose in used)


def _range(values: Sequence[int]) -> str:
    low, high = min(values), max(values)
    return str(low) if low == high else f"{low} to {high}"


def _file(project: Project, record: ModelRecord) -> Path:
    return project.model_dir(record.pivot, record.id) / records.METRICS_FILE
