"""The result in plain sentences, and the leaderboard of recipes and ensembles with intervals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from mlpipe import kinds
from mlpipe.errors import counted
from mlpipe.post import kind as post_kind
from mlpipe.post import metrics
from mlpipe.post.figures import interval, number
from mlpipe.post.intervals import by_metric
from mlpipe.post.intervals.by_metric import Interval
from mlpipe.reports import tables
from mlpipe.reports.facts import Shown, TaskFacts
from mlpipe.reports.headline import WORDS, Headline, headline
from mlpipe.reports.markup import Content, Markup, bullets, element, folded, paragraph, table, tiles
from mlpipe.reports.plots import shares, style
from mlpipe.reports.sections.parts import Section

# A drawing of more rows says less than the table.
_MOST_DRAWN = 20


def summary(facts: TaskFacts) -> Section:
    """A summary of the task, and the score of the best that there is for it.

    Args:
        facts: The task.
    """
    found = headline(facts)
    nothing = "There are no predictions of labelled images yet: mml predict makes them."
    result = nothing if found is None else found.sentence
    said: list[Content | None] = [paragraph(_task_sentence(facts)), paragraph(result, class_="result")]
    if found is not None:
        said += [paragraph(found.against) if found.against else None, _tiles(facts, found)]
    notes = [] if found is None else list(found.left_out)
    if facts.shown is not None:
        notes += _cautions(facts, facts.shown)
        if facts.shown.ensemble is not None:
            notes += facts.shown.ensemble.comparisons
    if facts.task is not None:
        notes += facts.task.notes
    return Section("Summary", [*said, bullets(notes), _next(facts) if found is not None else None], is_wide=True)


def _tiles(facts: TaskFacts, found: Headline) -> Content | None:
    """The figures that a person looks for first."""
    shown = facts.shown
    assert shown is not None
    told = WORDS[found.metric]
    value = "" if found.value is None else told.figure(found.value, found.images)
    words = [(f"{found.where} {found.metric}", value, _ends(found))]
    if found.baseline is not None:
        words.append(("the best constant prediction", told.figure(found.baseline, found.images), ""))
    if shown.test is not None and shown.held_out is not None:
        other = _stored_or_counted(facts, shown, found.metric)
        value = "" if other is None else told.figure(other, len(shown.held_out))
        words.append((f"out-of-fold {found.metric}", value, "images that no fold learned from"))
    counts = [(part, len(rows)) for part, rows in (("test", shown.test), ("out-of-fold", shown.held_out)) if rows]
    words += [(f"{part} images", str(many), "") for part, many in counts]
    models = sum(map(len, facts.recipes.values())) + len(facts.refits)
    words.append(("models trained", str(models), counted(len(facts.recipes), "recipe")))
    return tiles(words)


def _ends(found: Headline) -> str:
    return f"{interval(found.low, found.high, found.images)}, 95\u00a0%" if found.low is not None else ""


def _stored_or_counted(facts: TaskFacts, shown: Shown, name: str) -> float | None:
    """The score of the out-of-fold images as the leaderboard has it."""
    key = shown.ensemble.id if shown.ensemble else shown.recipe
    row = next((one for one in facts.board if one["recipe"] == key), None)
    return None if row is None else row["out_of_fold"]


def _next(facts: TaskFacts) -> Content:
    """The commands that usually follow."""
    project = "" if facts.project.name == "default" else f" proj={facts.project.name}"
    commands, its = dict[str, str](), kinds.of(facts.kind)
    # What the page tells of is what they take.
    taken = " mode.ensemble=latest" if facts.shown is not None and facts.shown.ensemble is not None else ""
    if its.draws:
        commands[f"mml predict{project} mode.samples=64"] = "draws new images"
    elif not its.rows_are_losses:
        commands[f"mml predict{project}{taken} mode.source=FOLDER"] = "predicts new images"
        commands[f"mml export{project}{taken}"] = "takes the model out"
    if len({row["recipe"] for row in facts.board if not row["ensemble"]}) > 1:
        commands[f"mml info{project} mode.compare=[A,B]"] = "compares two rows of the leaderboard"
    commands = commands or {f"mml info{project}": "shows every figure"}
    said = "; ".join(f"{element('code', command)} {what}" for command, what in commands.items())
    return paragraph(Markup(f"Next: {said}."), class_="muted")


def both(facts: TaskFacts) -> Section:
    """The scores of out-of-fold images beside those of test images, of a recipe; an ensemble's stand with it.

    Args:
        facts: The task.
    """
    shown, title = facts.shown, "Out-of-fold and test"
    if shown is None or shown.ensemble is not None or shown.held_out is None or shown.test is None:
        return Section(title)
    names, groups = post_kind.of(facts.kind).FINAL, facts.groups
    found = [
        by_metric.metric_intervals(
            names,
            rows.raw,
            rows.targets,
            kind=facts.kind,
            groups=np.array([groups.get(one, one) for one in rows.ids]) if groups else None,
        )
        for rows in (shown.held_out, shown.test)
    ]
    many = [len(rows) for rows in (shown.held_out, shown.test)]
    cells = [
        [name, *(text for of, rows in zip(found, many, strict=True) for text in _value_and_ends(of.get(name), rows))]
        for name in names
    ]
    header = ["metric", "out-of-fold", "95 % interval", "test", "95 % interval"]
    images = f"{counted(many[0], 'out-of-fold image')} and {counted(many[1], 'test image')}"
    caption = f"{images}; out-of-fold: by the fold that did not learn from them"
    return Section(title, [table(caption, header, cells)])


def _value_and_ends(one: Interval | None, rows: int) -> tuple[str, str]:
    return ("", "") if one is None else (number(one.value, rows), interval(one.low, one.high, rows))


def leaderboard(facts: TaskFacts) -> Section:
    """Every recipe and every ensemble, the best first.

    Args:
        facts: The task.
    """
    name = post_kind.of(facts.kind).HEADLINE
    header = ["recipe or ensemble", "network", "folds", "validation", "out-of-fold", "test by fold"]
    header += ["folds' mean, 95 % interval", "test", "test 95 % interval", "test nll", "remark"]
    many, board = tables.digits(facts.board), tables.seeds_together(facts.board, facts.project)
    rows = [
        [
            facts.called(row["recipe"]),
            row["arch"],
            "" if row["folds"] is None else str(row["folds"]),
            *(tables.cell(row, key, many) for key in ("val", "out_of_fold", "fold_test")),
            interval(row["folds_low"], row["folds_high"], many.val),
            tables.cell(row, "test", many),
            interval(row["test_low"], row["test_high"], many.test),
            tables.cell(row, "test_nll", many),
            _remark(row),
        ]
        for row in board
    ]
    better = "less" if metrics.direction(name) == "min" else "more"
    tested = [row for row in board if row["test"] is not None]
    # An ensemble that is the mean of a recipe's folds, and scores as they do, says nothing beside them.
    recipes = {(row["records"], row["test"]) for row in tested if not row["ensemble"]}
    drawn = [row for row in tested if not (row["ensemble"] and (row["records"], row["test"]) in recipes)][:_MOST_DRAWN]
    # One score alone is told above.
    plots = [_score_plot(facts, drawn, name)] if len(drawn) > 1 else []
    caption = f"Leaderboard of {facts.name}: {WORDS[name].whole}, {better} is better"
    made, explained = table(caption, header, rows, numbers=range(2, 10)), _explained(board)
    below = [folded("What the columns are", bullets(explained) or "")] if explained else []
    return Section("Leaderboard", [made], plots, below, is_wide=True)


def _explained(board: Sequence[dict[str, Any]]) -> list[str]:
    """A sentence for each column of the leaderboard that is there and needs one."""
    said = {
        "val": "Validation is the mean over folds with the standard deviation between them.",
        "out_of_fold": "Out-of-fold is the score of all images, each predicted by the fold that did not learn from it.",
        "fold_test": "Test by fold is the mean over folds with the standard deviation between them.",
        "folds_low": "The interval of the folds' mean is that of test by fold where folds are nested, else of validation: "
        "it says where the mean would lie for other images. Its variance is corrected, because folds share most of the "
        "images that they learn from (Nadeau and Bengio 2003).",
        "test": "Test is the score of the mean of what all folds predict, or of what a refit or an ensemble predicts.",
    }
    told = [text for key, text in said.items() if any(row[key] is not None for row in board)]
    if any(row.get("seeds") for row in board):
        told.append(
            "Recipes that differ only in their seed are one row: the mean over seeds ± the deviation between them."
        )
    return told


def _score_plot(facts: TaskFacts, drawn: list[dict[str, Any]], name: str) -> style.Plot:
    values = [
        shares.Value(
            row["recipe"] if row["ensemble"] else f"{facts.called(row['recipe'])} {row['arch']}",
            row["test"],
            row["test_low"],
            row["test_high"],
            bool(row["ensemble"]),
        )
        for row in drawn
    ]
    best = (min if metrics.direction(name) == "min" else max)(values, key=lambda one: one.value)
    value = number(best.value, tables.digits(drawn).test)
    return style.Plot(
        f"{facts.name}_scores",
        shares.scores(values, name, tables.digits(drawn).test),
        f"Test {name}{' with 95 % intervals' if any(one.low is not None for one in values) else ''}"
        f"{'; diamonds are ensembles' if any(one.stands_out for one in values) else ''}.",
        f"Test {name} of {len(values)} recipes and ensembles; the best is {best.name} with {value}.",
        ["name", name, "low", "high", "is_ensemble"],
        [[one.name, one.value, one.low, one.high, one.stands_out] for one in values],
    )


def _task_sentence(facts: TaskFacts) -> str:
    what = kinds.of(facts.kind).words.predicted(len(facts.classes))
    images = f" from {counted(len(facts.task.samples), 'image')}" if facts.task is not None else ""
    trained = sum(map(len, facts.recipes.values())) + len(facts.refits)
    return (
        f"{facts.name} predicts {what}{images}; {counted(trained, 'model')} of "
        f"{counted(len(facts.recipes), 'recipe')} {'was' if trained == 1 else 'were'} trained for it."
    )


def _cautions(facts: TaskFacts, shown: Shown) -> list[str]:
    found = []
    ensemble = shown.ensemble
    if ensemble is not None and ensemble.select_on == "test":
        found.append(
            "A part of the test images chose this ensemble. The scores are those of the others; the plots and tables of "
            "classes below show all test images, so they are optimistic."
        )
    elif ensemble is not None and ensemble.is_chosen and shown.test is None:
        found.append(
            "There are no test images. The out-of-fold images also chose the ensemble: the score is optimistic."
        )
    elif shown.test is None and any(row["fold_test"] is not None for row in facts.board):
        # Where nothing mixes what folds predict, as of drawn images, each fold's own score is all there is.
        more = "the leaderboard has each fold's score of the test images"
        if kinds.of(facts.kind).is_dense:
            more = "mml post averages what all folds predict for the test images"
        found.append(f"Shown are out-of-fold images; {more}.")
    elif shown.test is None:
        used = next(iter(facts.members(shown)), facts.newest)
        if used.val_used_for and not used.nested:
            found.append(
                "There are no test images, and the validation images also chose something "
                f"({', '.join(used.val_used_for)}): the score is optimistic."
            )
    return found


def _remark(row: dict[str, Any]) -> str:
    if row["ensemble"]:
        chosen = (
            "out-of-fold images chose it: optimistic" if row["val_used_for"] else "chosen on a part of the test images"
        )
        return tables.alone(row) or chosen
    if row["nested"]:
        told = "nested: validation chose, the fold set aside judges"
    else:
        told = "validation score is optimistic" if row["val_used_for"] else ""
    told = "; ".join(one for one in (tables.of_seeds(row), told) if one)
    return "; ".join(one for one in (told, "a refit on all images predicts" if row["refit"] else "") if one)
