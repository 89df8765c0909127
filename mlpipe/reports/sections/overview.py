"""The result in plain sentences, and the leaderboard of recipes and ensembles with intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from mlpipe import kinds
from mlpipe.errors import counted
from mlpipe.post import kind as post_kind
from mlpipe.post import metrics
from mlpipe.post.figures import interval, number
from mlpipe.post.intervals import by_metric
from mlpipe.post.intervals.by_metric import Interval
from mlpipe.post.rows import row_groups
from mlpipe.reports import tables
from mlpipe.reports.facts import Shown, TaskFacts
from mlpipe.reports.headline import WORDS, Headline, headline
from mlpipe.reports.markup import Content, bullets, details_block, element, joined, paragraph, table, tiles
from mlpipe.reports.plots import shares, style
from mlpipe.reports.sections.parts import Section

# With more rows than this, a plot says less than the table.
_MOST_DRAWN = 20


def summary(facts: TaskFacts) -> Section:
    """A summary of the task, and the score of its best predictor.

    Args:
        facts: The task.
    """
    outcome = headline(facts)
    nothing = "There are no predictions of labelled images yet: mml predict makes them."
    result = nothing if outcome is None else outcome.sentence
    parts: list[Content | None] = [paragraph(_task_sentence(facts)), paragraph(result, class_="result")]
    if outcome is not None:
        parts += [paragraph(outcome.against) if outcome.against else None, _tiles(facts, outcome)]
    notes = [] if outcome is None else list(outcome.left_out)
    if facts.shown is not None:
        notes += _cautions(facts, facts.shown)
        if facts.shown.ensemble is not None:
            notes += facts.shown.ensemble.comparisons
    if facts.task is not None:
        notes += facts.task.notes
    return Section(
        "Summary", [*parts, bullets(notes), _next_commands(facts) if outcome is not None else None], is_wide=True
    )


def _tiles(facts: TaskFacts, result: Headline) -> Content | None:
    """Return the figures that people look for first."""
    subject = facts.shown
    assert subject is not None
    wording = WORDS[result.metric]
    value = "" if result.value is None else wording.figure(result.value, result.images)
    ends = wording.ends(result.low, result.high, result.images)
    words = [(f"{result.where} {result.metric}", value, f"95\u00a0% {ends}" if ends else "")]
    if result.baseline is not None:
        words.append(("the best constant prediction", wording.figure(result.baseline, result.images), ""))
    if subject.test is not None and subject.held_out is not None:
        other = _out_of_fold_score(facts, subject, result.metric)
        value = "" if other is None else wording.figure(other, len(subject.held_out))
        words.append((f"out-of-fold {result.metric}", value, "images that no fold learned from"))
    counts = [(part, len(rows)) for part, rows in (("test", subject.test), ("out-of-fold", subject.held_out)) if rows]
    words += [(f"{part} images", str(count), "") for part, count in counts]
    models = sum(map(len, facts.recipes.values())) + len(facts.refits)
    words.append(("models trained", str(models), counted(len(facts.recipes), "recipe")))
    return tiles(words)


def _out_of_fold_score(facts: TaskFacts, subject: Shown, name: str) -> float | None:
    """Return the score of the out-of-fold images as in the leaderboard."""
    key = subject.ensemble.id if subject.ensemble else subject.recipe
    row = next((entry for entry in facts.board if entry["recipe"] == key), None)
    return None if row is None else row["out_of_fold"]


def _next_commands(facts: TaskFacts) -> Content:
    """Return the commands that usually follow."""
    project = "" if facts.project.name == "default" else f" proj={facts.project.name}"
    commands, its = dict[str, str](), kinds.of(facts.kind)
    # The commands apply to what the page reports on.
    option = " mode.ensemble=latest" if facts.shown is not None and facts.shown.ensemble is not None else ""
    if its.draws:
        commands[f"mml predict{project} mode.samples=64"] = "draws new images"
    elif not its.rows_are_losses:
        commands[f"mml predict{project}{option} mode.source=FOLDER"] = "predicts new images"
        commands[f"mml export{project}{option}"] = "takes the model out"
    if len({row["recipe"] for row in facts.board if not row["ensemble"]}) > 1:
        commands[f"mml info{project} mode.compare=[A,B]"] = "compares two rows of the leaderboard"
    commands = commands or {f"mml info{project}": "shows every figure"}
    lines = [joined([element("code", command), f" {purpose}"]) for command, purpose in commands.items()]
    return joined([paragraph("What to do next:"), bullets(lines)])


def out_of_fold_and_test(facts: TaskFacts) -> Section:
    """The scores of a recipe's out-of-fold images beside those of test images; an ensemble's are shown with it.

    Args:
        facts: The task.
    """
    subject, title = facts.shown, "Out-of-fold and test"
    if subject is None or subject.ensemble is not None or subject.held_out is None or subject.test is None:
        return Section(title)
    names, groups = post_kind.of(facts.kind).FINAL, facts.groups
    intervals = [
        by_metric.metric_intervals(
            names,
            rows.raw,
            rows.targets,
            kind=facts.kind,
            groups=row_groups(rows.ids, groups or None),
        )
        for rows in (subject.held_out, subject.test)
    ]
    counts = [len(rows) for rows in (subject.held_out, subject.test)]
    cells = [
        [
            name,
            *(text for of, rows in zip(intervals, counts, strict=True) for text in _value_and_ends(of.get(name), rows)),
        ]
        for name in names
    ]
    header = ["metric", "out-of-fold", "95 % interval", "test", "95 % interval"]
    images = f"{counted(counts[0], 'out-of-fold image')} and {counted(counts[1], 'test image')}"
    caption = f"{images}; out-of-fold: by the fold that did not learn from them"
    return Section(title, [table(caption, header, cells)])


def _value_and_ends(estimate: Interval | None, rows: int) -> tuple[str, str]:
    return ("", "") if estimate is None else (number(estimate.value, rows), interval(estimate.low, estimate.high, rows))


def leaderboard(facts: TaskFacts) -> Section:
    """Every recipe and every ensemble, the best first.

    Args:
        facts: The task.
    """
    name = post_kind.of(facts.kind).HEADLINE
    header = ["recipe or ensemble", "network", "folds", "validation", "out-of-fold", "test by fold"]
    header += ["folds' mean, 95 % interval", "test", "test 95 % interval", "test nll", "remark"]
    counts, board = tables.digits(facts.board), tables.for_people(facts.board, facts.project)
    rows = [
        [
            facts.called(row["recipe"]),
            row["arch"],
            "" if row["folds"] is None else str(row["folds"]),
            *(tables.cell(row, key, counts) for key in ("val", "out_of_fold", "fold_test")),
            interval(row["folds_low"], row["folds_high"], counts.val),
            tables.cell(row, "test", counts),
            interval(row["test_low"], row["test_high"], counts.test),
            tables.cell(row, "test_nll", counts),
            _remark(row),
        ]
        for row in board
    ]
    better = "less" if metrics.direction(name) == "min" else "more"
    tested = [row for row in board if row["test"] is not None]
    # An ensemble that is the mean of a recipe's folds, with the same scores up to rounding, adds nothing.
    scored = {row["records"]: row["test"] for row in tested if not row["ensemble"]}
    is_same = [
        bool(row["ensemble"]) and math.isclose(row["test"], scored.get(row["records"], math.nan), rel_tol=1e-5)
        for row in tested
    ]
    drawn = [row for row, same in zip(tested, is_same, strict=True) if not same][:_MOST_DRAWN]
    # A single score is in the summary already.
    plots = [_score_plot(facts, drawn, name)] if len(drawn) > 1 else []
    caption = f"Leaderboard of {facts.name}: {WORDS[name].whole}, {better} is better"
    score_table, explained = table(caption, header, rows, numbers=range(2, 10)), _column_sentences(board)
    below = [details_block("What the columns are", bullets(explained) or "")] if explained else []
    return Section("Leaderboard", [score_table], plots, below, is_wide=True)


def _column_sentences(board: Sequence[dict[str, Any]]) -> list[str]:
    """Return a sentence for each column of the leaderboard that needs one."""
    texts = {
        "val": "Validation is the mean over folds with the standard deviation between them.",
        "out_of_fold": "Out-of-fold is the score of all images, each predicted by the fold that did not learn from it.",
        "fold_test": "Test by fold is the mean over folds with the standard deviation between them.",
        "folds_low": "The interval of the folds' mean is that of test by fold where folds are nested, else of validation: "
        "it says where the mean would lie for other images. Its variance is corrected, because folds share most of the "
        "images that they learn from (Nadeau and Bengio 2003).",
        "test": "Test is the score of the mean of what all folds predict, or of what a refit or an ensemble predicts.",
    }
    sentences = [text for key, text in texts.items() if any(row[key] is not None for row in board)]
    if any(row.get("seeds") for row in board):
        sentences.append(
            "Recipes that differ only in their seed are one row: the mean over seeds ± the deviation between them."
        )
    return sentences


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
    best = (min if metrics.direction(name) == "min" else max)(values, key=lambda score: score.value)
    value = number(best.value, tables.digits(drawn).test)
    return style.Plot(
        f"{facts.name}_scores",
        shares.scores(values, name, tables.digits(drawn).test),
        f"Test {name}{' with 95 % intervals' if any(score.low is not None for score in values) else ''}"
        f"{'; diamonds are ensembles' if any(score.stands_out for score in values) else ''}.",
        f"Test {name} of {len(values)} recipes and ensembles; the best is {best.name} with {value}.",
        ["name", name, "low", "high", "is_ensemble"],
        [[score.name, score.value, score.low, score.high, score.stands_out] for score in values],
    )


def _task_sentence(facts: TaskFacts) -> str:
    outputs = kinds.of(facts.kind).words.predicted(len(facts.classes))
    images = f" from {counted(len(facts.task.samples), 'image')}" if facts.task is not None else ""
    trained = sum(map(len, facts.recipes.values())) + len(facts.refits)
    return (
        f"{facts.name} predicts {outputs}{images}; {counted(trained, 'model')} of "
        f"{counted(len(facts.recipes), 'recipe')} {'was' if trained == 1 else 'were'} trained for it."
    )


def _cautions(facts: TaskFacts, subject: Shown) -> list[str]:
    sentences = []
    ensemble = subject.ensemble
    if ensemble is not None and ensemble.select_on == "test":
        sentences.append(
            "A part of the test images chose this ensemble. The scores are those of the others; the plots and tables of "
            "classes below show all test images, so they are optimistic."
        )
    elif ensemble is not None and ensemble.is_chosen and subject.test is None:
        sentences.append(
            "There are no test images. The out-of-fold images also chose the ensemble: the score is optimistic."
        )
    elif subject.test is None and any(row["fold_test"] is not None for row in facts.board):
        # If predictions of folds are not mixed, as for drawn images, there are only the scores of the folds.
        more = "the leaderboard has each fold's score of the test images"
        if kinds.of(facts.kind).is_dense:
            more = "mml post averages what all folds predict for the test images"
        sentences.append(f"Shown are out-of-fold images; {more}.")
    elif subject.test is None:
        used = next(iter(facts.members(subject)), facts.newest)
        if used.val_used_for and not used.nested:
            sentences.append(
                "There are no test images, and the validation images also chose something "
                f"({', '.join(used.val_used_for)}): the score is optimistic."
            )
    return sentences


def _remark(row: dict[str, Any]) -> str:
    if row["ensemble"]:
        chosen = (
            "out-of-fold images chose it: optimistic" if row["val_used_for"] else "chosen on a part of the test images"
        )
        return tables.alone(row) or chosen
    if row["nested"]:
        remark = "nested: validation chose, the fold set aside judges"
    else:
        remark = "validation score is optimistic" if row["val_used_for"] else ""
    remark = "; ".join(part for part in (tables.seed_count_text(row), row.get("own_ensemble", ""), remark) if part)
    return "; ".join(part for part in (remark, "a refit on all images predicts" if row["refit"] else "") if part)
