"""The leaderboard: one row for each cross-validation of a task, computed from records and predictions alone."""

from __future__ import annotations

import math
import statistics
import textwrap
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mlpipe import files
from mlpipe.config import objectives
from mlpipe.errors import counted, in_one_line
from mlpipe.post import kind as post_kind
from mlpipe.post import metrics
from mlpipe.post.ensembling import repeats
from mlpipe.post.figures import interval, number, parameters
from mlpipe.post.intervals import over_folds
from mlpipe.reports import differences, markup, progress
from mlpipe.reports.markup import Markup
from mlpipe.runs import ensembles, journal, predictions, records
from mlpipe.runs.ensembles import EnsembleRecord
from mlpipe.runs.predictions import Predictions
from mlpipe.runs.project import Project
from mlpipe.runs.records import ModelRecord

# What chose an ensemble that is the plain mean of all folds, and what the images did for one that is only calibrated besides.
NOTHING, CALIBRATION = "nothing", "calibration"
_SHORT = {
    "recipe": "recipe",
    "called": "name",
    "arch": "arch",
    "folds": "folds",
    "val": "val (mean ± sd)",
    "out_of_fold": "out-of-fold",
    "fold_test": "test by fold",
    "folds_interval": "95 % of folds' mean",
    "test": "test (folds' mean)",
    "test_nll": "test nll",
    "parameters": "parameters",
    "seconds": "seconds",
    "images_per_s": "images/s",
    "note": "",
}
# Columns that a narrow terminal has no space for, the least important first.
_LEFT_OUT_FIRST = (
    "images_per_s", "seconds", "parameters", "test_nll", "folds_interval", "note", "folds", "fold_test", "val", "arch", "called",
)  # fmt: skip
# The narrowest last column whose texts are wrapped.
_FOLDED = 24


def leaderboard(project: Project, task: str | None = None) -> list[dict[str, Any]]:
    """Return one row for each task and recipe, and for each ensemble, the best out-of-fold score first.

    The score is `metric`: accuracy, for labels the area under the ROC curve, for numbers the root mean squared error.
    `val` and `fold_test` are the mean over folds with the standard deviation between folds; `folds_low` and `folds_high` are the
    95 % interval of the one that is computed on held-out images: `fold_test` of nested folds, else `val`
    (`mlpipe.post.intervals.over_folds`). `out_of_fold` pools each image's prediction by the fold that did not train on it; for a
    repeated cross-validation it is the mean over repeats, with the standard deviation between them. `test` averages the
    folds' probabilities of each test image, or is the score of their `refit`, whose expected score is `out_of_fold`. Values
    that are not available (no predictions yet) are None. An ensemble's `out_of_fold` is its score on the images that chose it,
    its `test` that on images not used to choose it, with its 95 % interval; all are stored with it. `called` is the name that a
    preset has for a recipe, empty for any other.
    """
    groups: dict[tuple[str, str], list[ModelRecord]] = defaultdict(list)
    for record in records.load_all(project, task):
        groups[record.pivot, record.recipe].append(record)
    rows = []
    names = journal.names_of_recipes(project, (record for group in groups.values() for record in group[-1:]))
    for group in groups.values():
        folds = records.newest_folds(group)
        rows.append(_row(project, folds, records.newest_refit(group, folds)))
        rows[-1]["called"] = names.get(rows[-1]["recipe"], "")
    for name in dict.fromkeys(pivot for pivot, _ in groups):
        rows += [_ensemble_row(ensemble) for ensemble in ensembles.load_all(project, name)]
    return sorted(rows, key=lambda row: (row["task"], _rank(row)))


def for_people(board: Sequence[dict[str, Any]], project: Project) -> list[dict[str, Any]]:
    """Return the leaderboard with one row for each thing that predicts.

    An ensemble of a single recipe is the mean of its folds, mostly with a calibration: its scores stand in the recipe's row,
    with a remark on it (`own_ensemble`). Recipes that differ only in their seed are one row, see `seeds_together`.

    Args:
        board: What `leaderboard` returned.
        project: The project.
    """
    joined = seeds_together(board, project)
    by_id = {row["ensemble"]: row for row in joined if row["ensemble"]}
    own: dict[tuple[str, ...], list[EnsembleRecord]] = defaultdict(list)
    for task in dict.fromkeys(row["task"] for row in by_id.values()):
        # The oldest first.
        for ensemble in ensembles.load_all(project, task):
            if ensemble.id in by_id and ensemble.is_of_one_recipe and ensemble.other_prevalence is None:
                own[_models_key(by_id[ensemble.id])].append(ensemble)
    rows, replaced = list[dict[str, Any]](), set[str]()
    for row in joined:
        of_row = [] if row["ensemble"] else own.get(_models_key(row), [])
        if not of_row:
            rows.append(row)
            continue
        newest = by_id[of_row[-1].id]
        rows.append(_with_own_ensemble(row, newest, of_row[-1]))
        # An earlier ensemble of the same models has a row only if its scores differ.
        alike = [ensemble.id for ensemble in of_row if _shown_scores(by_id[ensemble.id]) == _shown_scores(newest)]
        replaced |= {*alike}
    rows = [row for row in rows if row["ensemble"] not in replaced]
    return sorted(rows, key=lambda row: (row["task"], _rank(row)))


def _models_key(row: Mapping[str, Any]) -> tuple[str, ...]:
    return row["task"], row["metric"], row["records"], row["refit"]


def _shown_scores(row: Mapping[str, Any]) -> list[float | None]:
    return [row[key] for key in ("out_of_fold", "test", "test_nll")]


def _with_own_ensemble(row: dict[str, Any], own: Mapping[str, Any], ensemble: EnsembleRecord) -> dict[str, Any]:
    """Return a recipe's row with the scores of the ensemble that has only this recipe."""
    # Images that chose the recipe among others give an optimistic score, and repeats have a mean of their own.
    keeps_own = ensemble.is_chosen or row["out_of_fold_sd"] is not None
    keys = ["test", "test_nll", *([] if keeps_own else ["out_of_fold"])]
    scores = {key: own[key] for key in keys if own[key] is not None}
    ends = {key: own[key] for key in ("test_low", "test_high")} if "test" in scores else {}
    parts = [*(["chosen"] if ensemble.is_chosen else []), *(["calibrated"] if ensemble.is_calibrated else [])]
    return {**row, **scores, **ends, "own_ensemble": f"{' and '.join(parts)} as {ensemble.id}" if parts else ""}


def seeds_together(board: Sequence[dict[str, Any]], project: Project) -> list[dict[str, Any]]:
    """Return the leaderboard with one row for recipes that differ only in their `seed`.

    Scores of such a row are means over seeds, and the deviations (`val_sd`, `test_sd`, ...) are standard
    deviations between seeds, not between folds; `seeds` has the seeds in their order. `seconds` is the mean over seeds. Rows of
    other recipes and of ensembles stay as they are.

    Args:
        board: What `leaderboard` returned.
        project: The project.
    """
    alike: dict[tuple[Any, ...], list[dict[str, Any]]] = defaultdict(list)
    for row in board:
        alike[tuple(row[key] for key in ("ensemble", "task", "arch", "parameters", "folds", "nested"))].append(row)
    families: dict[str, list[tuple[int, dict[str, Any]]]] = defaultdict(list)
    # Configurations are read only for rows that may belong together.
    for row in (entry for rows in alike.values() if len(rows) > 1 for entry in rows if not entry["ensemble"]):
        seed, shared = _seed_and_rest(project, row)
        if shared:
            families[shared].append((seed, row))
    # If a seed occurs twice, the recipes differ in something that the configurations do not contain.
    whole = [family for family in families.values() if len({seed for seed, _ in family}) == len(family) > 1]
    joined = [_mean_over_seeds(members) for members in whole]
    recipes = {recipe for row in joined for recipe in row["of_recipes"]}
    others = [row for row in board if row["ensemble"] or row["recipe"] not in recipes]
    return sorted([*others, *joined], key=lambda row: (row["task"], _rank(row)))


def _seed_and_rest(project: Project, row: Mapping[str, Any]) -> tuple[int, str]:
    """Return the seed of a row's recipe, and a hash of the rest of its configuration; empty if that is unknown.

    A mean of weights has the configuration of one of its models, but is not one of the seeds.
    """
    folder = project.model_dir(row["task"], row["records"].split()[0])
    try:
        if records.load(folder).averaged:
            return 0, ""
        tree = files.read_yaml(folder / records.CONFIG_FILE)
        return int(tree["seed"]), differences.hash_without_seed(tree, row["task"])
    except (OSError, ValueError, KeyError, TypeError):
        return 0, ""


def _mean_over_seeds(members: Sequence[tuple[int, dict[str, Any]]]) -> dict[str, Any]:
    """Return one row for those of several seeds."""
    rows = [row for _, row in sorted(members, key=lambda member: (member[0], member[1]["number"]))]
    newest = max(rows, key=lambda row: row["number"])
    means: dict[str, Any] = {}
    for key in ("val", "out_of_fold", "fold_test", "test", "test_nll"):
        known = [row[key] for row in rows if row[key] is not None]
        # A mean over some of them would be over other seeds than the rest of the row.
        means |= _mean_and_deviation(key, known if len(known) == len(rows) else [])
    for key in ("seconds", "images_per_s"):
        known = [row[key] for row in rows if row[key] is not None]
        means[key] = round(statistics.fmean(known), 1) if known else None
    return {
        **newest,
        **means,
        # An interval belongs to one seed's score, not to the mean over seeds.
        **dict.fromkeys(("folds_low", "folds_high", "test_low", "test_high")),
        "records": " ".join(row["records"] for row in rows),
        "uneven": next((row["uneven"] for row in rows if row["uneven"]), ""),
        "refit": " ".join(row["refit"] for row in rows if row["refit"]),
        "seeds": sorted({seed for seed, _ in members}),
        "of_recipes": [row["recipe"] for row in rows],
    }


def write_csv(board: Sequence[dict[str, Any]], project: Project) -> Path:
    """Durably write the leaderboard of one task, keeping the rows of the project's other tasks."""
    path = project.reports_dir() / "leaderboard.csv"
    tasks = {row["task"] for row in board}
    others = sorted({record.pivot for record in records.load_all(project)} - tasks)
    everything = [*board, *(row for name in others for row in leaderboard(project, name))]
    files.write_text(path, files.csv_text(everything))
    return path


@dataclass(frozen=True)
class Digits:
    """The numbers of images behind the columns of a leaderboard, which determine the digits of figures.

    Attributes:
        val: Validation images in the folds of a recipe, the largest number of all rows; None: unknown.
        test: Test images, likewise.
    """

    val: int | None
    test: int | None

    def of(self, key: str) -> int | None:
        """Return the number of images behind a column."""
        return self.test if "test" in key else self.val


def digits(board: Sequence[dict[str, Any]]) -> Digits:
    """Return the numbers of images behind the figures of one task's rows."""
    val, test = (max((row[key] or 0 for row in board), default=0) or None for key in ("val_images", "test_images"))
    return Digits(val, test or val)


def as_text(board: Sequence[dict[str, Any]], width: int | None = None) -> str:
    """Format the leaderboard for people; a task's name stands above its rows.

    Args:
        board: The rows.
        width: The width that it has to fit, for which columns are left out, with a note on which; None: all columns, which in
            a too narrow terminal stand in several blocks.
    """
    blocks = []
    for (task, metric), rows in _by_task(board):
        columns, left_out = _columns(rows), list[str]()
        for key in _LEFT_OUT_FIRST:
            if width is None or _width(columns) <= width:
                break
            if key in columns:
                columns = {name: cells for name, cells in columns.items() if name != key}
                left_out.append(_SHORT[key] or "note")
        note = f"not shown here: {', '.join(left_out)}; mml info has them" if left_out else ""
        more = textwrap.wrap(note, width or len(note) or 1, subsequent_indent="  ", break_on_hyphens=False)
        table = grid([_SHORT[key] for key in columns], list(zip(*columns.values(), strict=True)))
        blocks.append("\n".join([f"{task}: {metric} of {_row_counts(rows)}", table, *more]))
    return "\n\n".join(blocks) if blocks else "no records yet"


def as_html(board: Sequence[dict[str, Any]]) -> str:
    """Return the leaderboard for a notebook, a table for each task.

    Args:
        board: The rows.
    """
    parts = list[Markup | None]()
    for (task, metric), rows in _by_task(board):
        columns = _columns(rows)
        better = "less" if metrics.direction(metric) == "min" else "more"
        title = f"{task}: {metric} of {_row_counts(rows)}, {better} is better"
        cells = list(zip(*columns.values(), strict=True))
        parts.append(markup.table(title, [_SHORT[key] or "note" for key in columns], cells))
    return markup.for_notebook(parts or [markup.paragraph("Nothing is trained yet.")]).html


def _by_task(board: Sequence[dict[str, Any]]) -> Iterator[tuple[tuple[str, str], list[dict[str, Any]]]]:
    """Yield the rows of each task and metric."""
    for key in dict.fromkeys((row["task"], row["metric"]) for row in board):
        yield key, [row for row in board if (row["task"], row["metric"]) == key]


def _columns(rows: Sequence[dict[str, Any]]) -> dict[str, list[str]]:
    """Return the texts of each non-empty column of one task's rows."""
    counts = digits(rows)
    columns = {key: [_cell(row, key, counts) for row in rows] for key in _SHORT}
    return {key: cells for key, cells in columns.items() if any(cells)}


def _width(columns: Mapping[str, Sequence[str]]) -> int:
    return sum(max(map(len, [_SHORT[key], *cells])) + 2 for key, cells in columns.items()) - 2


def notes(board: Sequence[dict[str, Any]], project: Project) -> list[str]:
    """Return notes on the order of a leaderboard for people: which scores are values of different losses."""
    sentences = []
    for task, metric in dict.fromkeys((row["task"], row["metric"]) for row in board):
        rows = [row for row in board if (row["task"], row["metric"]) == (task, metric) and not row["ensemble"]]
        if not objectives.is_by_the_loss(metric):
            continue
        files_of = [project.model_dir(task, row["records"].split()[0]) / records.CONFIG_FILE for row in rows]
        if objectives.have_different_losses([files.read_yaml(path) for path in files_of if path.is_file()]):
            sentences.append(f"{task}: {metric} is of different losses, so that the order of the recipes means nothing")
    return sentences


def _row_counts(rows: Sequence[dict[str, Any]]) -> str:
    """Count recipes and ensembles in words."""
    together = sum(1 for row in rows if row["ensemble"])
    alone = len(rows) - together
    phrases = [counted(count, noun) for count, noun in ((alone, "recipe"), (together, "ensemble")) if count]
    return " and ".join(phrases)


def headline(board: Sequence[dict[str, Any]]) -> str:
    """Return `test accuracy 0.xxx` of the newest row with a test score; empty when there is none."""
    recipes = [row for row in board if not row["ensemble"]]
    tested = [row for row in recipes if _first_score(row, "test", "fold_test") is not None]
    if not tested:
        return ""
    newest = max(tested, key=lambda row: row["number"])
    return f"test {newest['metric']} {number(_first_score(newest, 'test', 'fold_test'), digits(board).test)}"


def grid(header: Sequence[str], rows: Iterable[Sequence[str]], width: int | None = None) -> str:
    """Return aligned columns without empty ones.

    If they are wider than the terminal, the texts of the last column are wrapped, or columns stand in several blocks that
    begin with the first one.

    Args:
        header: The columns' names.
        rows: A text for each column.
        width: The available width; None: that of the terminal, if standard output is one.
    """
    # Names in stored files may contain anything.
    table = [[in_one_line(cell) for cell in row] for row in (header, *rows)]
    columns = [column for column in range(len(header)) if any(row[column] for row in table[1:])]
    table = [[row[column] for column in columns] for row in table]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    width = progress.columns() if width is None else width
    if width is None or _total_width(widths) <= width:
        return _table_text(table, widths)
    rest = width - _total_width(widths[:-1]) - 2
    if _FOLDED <= rest < widths[-1]:
        return _table_text(table, widths, fold=rest)
    return "\n\n".join(
        _table_text([[row[column] for column in block] for row in table], [widths[column] for column in block])
        for block in _blocks(widths, width)
    )


def _total_width(widths: Sequence[int]) -> int:
    return sum(widths) + 2 * max(len(widths) - 1, 0)


def _blocks(widths: Sequence[int], width: int) -> list[list[int]]:
    """Return the columns of each block, which start with the first column and fit a width as far as possible."""
    blocks = [[0]]
    for column in range(1, len(widths)):
        if len(blocks[-1]) > 1 and _total_width([widths[member] for member in (*blocks[-1], column)]) > width:
            blocks.append([0])
        blocks[-1].append(column)
    return blocks


def _table_text(table: Sequence[Sequence[str]], widths: Sequence[int], fold: int | None = None) -> str:
    """Return a table with a rule below its header, the last column wrapped to a width."""
    wide = [*widths[:-1], widths[-1] if fold is None else fold]
    lines = []
    for row in table:
        last = [row[-1]] if fold is None else textwrap.wrap(row[-1], fold, break_on_hyphens=False) or [""]
        for place, text in enumerate(last):
            cells = [*(row[:-1] if place == 0 else [""] * (len(row) - 1)), text]
            lines.append("  ".join(cell.ljust(size) for cell, size in zip(cells, wide, strict=True)).rstrip())
    return "\n".join([lines[0], "-" * _total_width(wide), *lines[1:]])


def scores(values: Mapping[str, Mapping[str, Any]], rows: int | None = None) -> str:
    """Format metrics with their intervals as aligned columns: a dash for a missing one, its explanation, and its note.

    Args:
        values: By name, what `mlpipe.post.intervals.by_metric.Interval.as_plain` returned.
        rows: The number of images behind them; None: unknown.
    """
    cells = [
        [
            name,
            number(score["value"], rows) or "-",
            interval(score["low"], score["high"], rows) or "-",
            _score_note(name, score),
        ]
        for name, score in values.items()
    ]
    return grid(["metric", "value", "95 % interval", "note"], cells)


def _score_note(name: str, score: Mapping[str, Any]) -> str:
    """Return a score's explanation, its note, and the reason if it is missing without a note."""
    has_value = number(score["value"]) != ""
    undefined = "" if has_value else metrics.UNDEFINED.get(name, "it is not defined on these rows")
    return "; ".join(
        text for text in (metrics.MEANING.get(name, "") if has_value else "", score.get("note") or undefined) if text
    )


def pooled(parts: Sequence[Predictions]) -> Predictions | None:
    """Concatenate the rows of several folds; None when there are none."""
    filled = [part for part in parts if len(part)]
    if not filled:
        return None
    return Predictions(
        [name for part in filled for name in part.sample_ids],
        np.concatenate([part.targets for part in filled]),
        np.concatenate([part.logits for part in filled]),
    )


def mean_of_folds(parts: Sequence[Predictions], kind: str) -> Predictions | None:
    """Return the folds' mean probabilities (or numbers) for the images that all of them predicted, as logits.

    Counts of pixels and sums of errors have no such mean: `mml post` averages the maps that they are computed from.
    """
    how = post_kind.of(kind).ENSEMBLING
    if how is None:
        return None
    filled = [part for part in parts if len(part)]
    if not filled or len(filled) < len(parts):
        return None
    if any(part.sample_ids != filled[0].sample_ids for part in filled):
        return None
    mean = how.plain_mean([part.logits.astype(np.float64) for part in filled])
    return Predictions(filled[0].sample_ids, filled[0].targets, mean.astype(np.float32))


def _row(project: Project, folds: list[ModelRecord], refit: ModelRecord | None) -> dict[str, Any]:
    newest = max(folds, key=lambda record: record.number)
    held_out = [_rows(project, record, record.task, record.held_out) for record in folds]
    kind, name = newest.kind, post_kind.of(newest.kind).HEADLINE
    predicting = folds if refit is None else [refit]
    together = mean_of_folds([_rows(project, record, record.pivot, "test") for record in predicting], kind)
    metric_names = [name, "nll"] if "nll" in post_kind.of(kind).METRICS else [name]
    test = metrics.compute(metric_names, together.logits, together.targets, kind) if together else {}
    whole = all(len(part) for part in held_out)
    of_repeats = _by_repeat(held_out, name, kind) if whole else []
    low, high = _interval_over_folds(folds, name)
    return {
        "metric": name,
        "task": newest.pivot,
        "recipe": newest.recipe,
        "number": newest.number,
        "arch": newest.arch,
        "folds": len(folds),
        "nested": newest.nested,
        "repeats": len(of_repeats) or 1,
        **_spread("val", folds, "val", name),
        **_mean_and_deviation("out_of_fold", of_repeats),
        **_spread("fold_test", folds, "test", name),
        "folds_low": low,
        "folds_high": high,
        "test": _defined(test.get(name)),
        "test_low": None,
        "test_high": None,
        "test_nll": _defined(test.get("nll")),
        "test_images": len(together) if together else None,
        "val_images": sum(record.counts.get("val", 0) for record in folds) or None,
        "parameters": newest.parameters,
        "seconds": round(sum(record.timings.get("seconds", 0.0) for record in folds), 1),
        "images_per_s": images_per_s(folds),
        "val_used_for": " ".join(newest.val_used_for),
        "records": " ".join(record.id for record in folds),
        "ensemble": "",
        "uneven": _uneven_note(folds, name),
        "refit": "" if refit is None else refit.id,
    }


def _by_repeat(held_out: Sequence[Predictions], name: str, kind: str) -> list[float]:
    """Return the score of the held-out rows of each repeat; one score for folds that share rows without being repeats."""
    parts = repeats.groups_by_repeat(held_out, [part.sample_ids for part in held_out])
    repeat_scores = [None if (joined := pooled(part)) is None else _score(joined, name, kind) for part in parts]
    known = [value for score in repeat_scores if (value := _defined(score)) is not None]
    return known if len(known) == len(repeat_scores) else []


def _defined(value: float | None) -> float | None:
    """Return None for a score that its rows do not define, for example if all of them are of one class."""
    return None if value is None or math.isnan(value) else value


def _interval_over_folds(folds: Sequence[ModelRecord], name: str) -> tuple[float | None, float | None]:
    """Return the corrected interval of the mean over folds of their held-out scores."""
    split = folds[0].held_out
    values = [record.scores.get(split, {}).get(name) for record in folds]
    known = [value for value in values if value is not None]
    if len(known) < len(folds):
        return None, None
    trained, judged = (statistics.fmean(record.counts.get(part, 0) for record in folds) for part in ("train", split))
    return over_folds.corrected_interval(name, known, n_train=trained, n_test=judged) or (None, None)


def _uneven_note(folds: Sequence[ModelRecord], name: str) -> str:
    """Return a note if a mean over folds averages scores over different classes."""
    for split in ("val", "test") if name in metrics.OVER_CLASSES else ():
        tables = [record.details.get(split, {}).get("classes", []) for record in folds]
        if len({tuple(metrics.lacking(table)) for table in tables if table}) > 1:
            return "folds judge different classes"
    return ""


def images_per_s(folds: Sequence[ModelRecord]) -> float | None:
    """Return the median training speed over folds; None without epochs."""
    speeds = [record.timings["train_images_per_s"] for record in folds if "train_images_per_s" in record.timings]
    return round(statistics.median(speeds), 1) if speeds else None


def _ensemble_row(ensemble: EnsembleRecord) -> dict[str, Any]:
    name = post_kind.of(ensemble.kind).HEADLINE
    chosen_on, test = ensemble.scores.get("chosen on", {}), ensemble.scores.get("test", {})
    members = [record for member in ensemble.members for record in member["records"]]
    names = [str(member["name"]) for member in ensemble.members]
    ours = ensemble.select_on == "oof"
    alone = CALIBRATION if ensemble.is_calibrated else NOTHING
    chosen_by = {"oof": "ensemble" if ensemble.is_chosen else alone, "none": NOTHING}.get(ensemble.select_on, "")
    return {
        "metric": name,
        "task": ensemble.task,
        "recipe": ensemble.id,
        "number": 0,
        "arch": names[0] if len(names) == 1 else f"ensemble of {len(names)}",
        "folds": None,
        "nested": False,
        "repeats": None,
        "val": None,
        "val_sd": None,
        "out_of_fold": chosen_on.get(name, {}).get("value") if ours else None,
        "out_of_fold_sd": None,
        "fold_test": None,
        "fold_test_sd": None,
        "folds_low": None,
        "folds_high": None,
        "test": test.get(name, {}).get("value"),
        "test_low": test.get(name, {}).get("low"),
        "test_high": test.get(name, {}).get("high"),
        "test_nll": test.get("nll", {}).get("value"),
        "test_images": None,
        "val_images": None,
        "parameters": None,
        "seconds": None,
        "images_per_s": None,
        "val_used_for": chosen_by,
        "records": " ".join(members),
        "ensemble": ensemble.id,
        "uneven": "",
        "refit": " ".join(member["refit"] for member in ensemble.members if "refit" in member),
        "called": "",
    }


def _rank(row: dict[str, Any]) -> float:
    value = _first_score(row, "out_of_fold", "val", "test")
    if value is None:
        return float("inf")
    return value if metrics.direction(row["metric"]) == "min" else -value


def _score(of: Predictions, name: str, kind: str) -> float | None:
    return metrics.compute([name], of.logits, of.targets, kind).get(name)


def _spread(name: str, folds: list[ModelRecord], split: str, metric: str) -> dict[str, float | None]:
    values = (_defined(record.scores.get(split, {}).get(metric)) for record in folds)
    return _mean_and_deviation(name, [value for value in values if value is not None])


def _mean_and_deviation(name: str, values: Sequence[float]) -> dict[str, float | None]:
    return {
        name: statistics.fmean(values) if values else None,
        f"{name}_sd": statistics.stdev(values) if len(values) > 1 else None,
    }


def _rows(project: Project, record: ModelRecord, task: str, split: str) -> Predictions:
    path = project.predictions_file(record.pivot, record.id)
    if not path.is_file():
        return Predictions([], np.empty(0, np.int64), np.empty((0, 0), np.float32))
    return predictions.load(path, task, split)


def cell(row: dict[str, Any], key: str, counts: Digits) -> str:
    """Format a score of a leaderboard's row, with its deviation between folds if it has one; empty if there is none.

    Args:
        row: The row.
        key: The column.
        counts: The numbers of images behind the columns.
    """
    value, spread = row[key], row.get(f"{key}_sd")
    text = number(value, counts.of(key))
    if not text or spread is None:
        return text
    # The deviation has as many decimals as the mean.
    alike = f"{spread:.{len(text.partition('.')[2])}f}"
    return f"{text} ± {alike if float(alike) and 'e' not in text else number(spread, counts.of(key))}"


def _cell(row: dict[str, Any], key: str, counts: Digits) -> str:
    if key == "note":
        if row["ensemble"]:
            optimistic = "out-of-fold is optimistic: it chose the ensemble"
            return alone(row) or (optimistic if row["val_used_for"] else "chosen on test images")
        is_optimistic = row["val_used_for"] and not row["nested"]
        refit = "a refit on all images predicts" if row["refit"] else ""
        notes = ["val is optimistic" if is_optimistic else "nested" if row["nested"] else "", row["uneven"], refit]
        notes = [seed_count_text(row), row.get("own_ensemble", ""), *notes]
        return ", ".join(note for note in notes if note)
    if key == "folds_interval":
        return interval(row.get("folds_low"), row.get("folds_high"), counts.val)
    if key == "folds" and (row.get("repeats") or 1) > 1:
        return f"{row['repeats']} x {row['folds'] // row['repeats']}"
    value = row[key]
    if value is None:
        return ""
    if key == "parameters":
        return parameters(value)
    if key in ("seconds", "images_per_s"):
        return f"{value:.0f}"
    return cell(row, key, counts) if isinstance(value, float) else str(value)


def seed_count_text(row: dict[str, Any]) -> str:
    """Say how many seeds a row of the leaderboard averages; empty if it is one.

    Args:
        row: The row.
    """
    return f"mean ± sd of {counted(len(row['seeds']), 'seed')}" if row.get("seeds") else ""


def alone(row: dict[str, Any]) -> str:
    """Describe an ensemble of a single recipe in a row of the leaderboard; empty for any other.

    Args:
        row: The row.
    """
    noun = "refit" if row["refit"] else "mean"
    begun = {NOTHING: "the", CALIBRATION: "the calibrated"}.get(row["val_used_for"]) if row["ensemble"] else None
    return "" if begun is None else f"{begun} {noun} of its folds"


def _first_score(row: dict[str, Any], *keys: str) -> float | None:
    return next((float(row[key]) for key in keys if row[key] is not None), None)
