"""Scores of each class, label or group: confusion, tables, ROC and precision-recall curves."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from mlpipe import kinds
from mlpipe.errors import counted, listing
from mlpipe.post import metrics
from mlpipe.post.figures import number
from mlpipe.post.intervals import by_metric
from mlpipe.post.measures import class_metrics
from mlpipe.post.measures.ranks import area_under_roc, average_precision_of
from mlpipe.post.rows import row_groups
from mlpipe.reports.facts import Rows, TaskFacts
from mlpipe.reports.markup import Content, details_block, paragraph, table
from mlpipe.reports.plots import confusion, probabilities, style
from mlpipe.reports.sections.parts import Section

# Scores of one output, and which rows are positive, shape (n,) each; values shared by all outputs are computed once.
Question = Callable[[int], tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]]
Questions = Callable[[Rows], Question]

# Tables with more rows than this are folded.
_MOST_ROWS = 30
_MOST_GROUPS = 40
_MOST_COLUMNS = 7
# Scores of fewer images are noise: such groups are combined.
_FEWEST_IMAGES = 10


def confusion_section(facts: TaskFacts) -> Section:
    """The confusion matrix for few classes, the most confused pairs for many.

    Args:
        facts: A task of classes.
    """
    rows = facts.shown.rows if facts.shown else None
    if rows is None or facts.shown is None:
        return Section("Confusion")
    # Pairs are used because the matrix has as many cells as classes squared.
    cells = class_metrics.confused_pairs(rows.calibrated, rows.targets)
    class_pairs = [
        (facts.classes[true], facts.classes[predicted], count, share)
        for true, predicted, count, share in confusion.most_confused(cells)
    ]
    right = sum(images for true, predicted, images in cells if true == predicted)
    where = counted(len(rows), f"{facts.shown.where} image")
    plots = []
    if len(facts.classes) <= confusion.MOST_CLASSES:
        counts = class_metrics.confusion_matrix(rows.calibrated, rows.targets)
        plots.append(
            style.Plot(
                f"{facts.name}_confusion",
                confusion.confusion_matrix(counts, facts.classes),
                f"Counts of true and predicted classes on {where}; blue is right, orange wrong, the percentage is of the row.",
                f"Confusion matrix: {right} of {where} {'is' if right == 1 else 'are'} right.",
                ["true", *facts.classes],
                [[name, *row] for name, row in zip(facts.classes, counts.tolist(), strict=True)],
            )
        )
    if class_pairs and len(facts.classes) > 2:
        worst = class_pairs[0]
        plots.append(
            style.Plot(
                f"{facts.name}_confused_pairs",
                confusion.confused_pairs(class_pairs),
                f"The most frequent of {counted(len(rows) - right, 'mistake')} on {where}.",
                f"The most frequent mistake: {worst[0]} taken for {worst[1]}, {counted(worst[2], 'image')}.",
                ["true", "predicted", "images", "share_of_true"],
                class_pairs,
            )
        )
    text = f"{right} of {where} {'is' if right == 1 else 'are'} right, {counted(len(rows) - right, 'is', 'are')} not."
    return Section("Confusion", [paragraph(text)], plots)


def ranking(facts: TaskFacts, questions: Questions, whose: str, *, is_pair_alike: bool = False) -> Section:
    """ROC and precision-recall curves.

    Args:
        facts: A task of classes or labels.
        questions: From the rows to a yes-or-no question for each output.
        whose: What the questions are about, in words.
        is_pair_alike: Whether the two outputs of a pair have the same ROC curve.
    """
    rows = facts.shown.rows if facts.shown else None
    if rows is None:
        return Section("Ranking")
    rocs, recalls, question = [], [], questions(rows)
    for place, name in enumerate(facts.classes):
        scores, positive = question(place)
        if positive.any() and not positive.all():
            if not (is_pair_alike and len(facts.classes) == 2 and place == 0):
                rocs.append(probabilities.roc(name, scores, positive, area_under_roc(scores, positive)))
            area = average_precision_of(scores, positive)
            recalls.append(probabilities.precision_recall(name, scores, positive, area))
    plots = []
    for key, class_curves, x, y, long in (
        ("roc", rocs, "false positive rate", "true positive rate", "ROC curves"),
        ("precision_recall", recalls, "recall", "precision", "Precision-recall curves"),
    ):
        if class_curves:
            drawing = probabilities.curves(class_curves, x, y, chance=key == "roc")
            plots.append(_curves_plot(facts, key, class_curves, drawing, f"{long}, {whose}", long))
    return Section("Ranking", [], plots)


def tables_of_classes(facts: TaskFacts, by_group: str, *, is_share: bool = False) -> Section:
    """The table of classes, labels or numbers, and that of groups.

    Args:
        facts: The task.
        by_group: The metric of each group.
        is_share: Whether it is the share of right rows, which has an interval.
    """
    subject = facts.shown
    rows = subject.rows if subject else None
    if subject is None or rows is None:
        return Section("By class")
    class_rows = metrics.details(rows.calibrated, rows.targets, facts.classes, facts.kind)["classes"]
    noun = kinds.of(facts.kind).words.OUTPUT
    header = [noun, *(key for key in class_rows[0] if key != "class")]
    cells = [[row["class"], *(_cell(row[key], len(rows)) for key in header[1:])] for row in class_rows]
    unseen = [row["class"] for row in class_rows if not row["images"]]
    class_table: Content | None = table(f"By {noun}, on {counted(len(rows), f'{subject.where} image')}", header, cells)
    if class_table is not None and len(cells) > _MOST_ROWS:
        class_table = details_block(f"The table of all {len(cells)} rows", class_table)
    absent = f"No {subject.where} image has: {listing(unseen, most=_MOST_ROWS)}." if unseen else None
    title = f"By {noun}"
    parts = [class_table, paragraph(absent) if absent else None, _groups(facts, rows, by_group, is_share)]
    # In a column this many table columns would need scrolling.
    return Section(title, parts, is_wide=len(header) > _MOST_COLUMNS)


def _groups(facts: TaskFacts, rows: Rows, metric: str, is_share: bool) -> Content | None:
    groups = facts.groups
    if not groups:
        return None
    members: dict[str, list[int]] = defaultdict(list)
    for place, name in enumerate(rows.ids):
        members[groups.get(name, name)].append(place)
    if len(members) == len(rows):
        return None
    small = [group for group, places in members.items() if len(places) < _FEWEST_IMAGES]
    if len(small) > 1 or len(small) == len(members):
        together = [place for group in small for place in members.pop(group)]
        members[f"{counted(len(small), 'group')} of fewer than {_FEWEST_IMAGES} images"] = together
    entries = []
    for group, places in members.items():
        value = metrics.compute([metric], rows.calibrated[places], rows.targets[places], facts.kind)[metric]
        ends = ("", "")
        if is_share:
            units = row_groups([rows.ids[place] for place in places], groups)
            # Every image of a single group counts; combined small groups count as units.
            around = by_metric.metric_intervals(
                [metric],
                rows.calibrated[places],
                rows.targets[places],
                kind=facts.kind,
                groups=units if units is not None and len(np.unique(units)) > 1 else None,
            )[metric]
            ends = (number(around.low, len(places)), number(around.high, len(places)))
        entries.append((value, group, len(places), ends))
    entries.sort(key=lambda entry: (entry[0] if metrics.direction(metric) == "max" else -entry[0], -entry[2], entry[1]))
    cells = [
        [group, str(count), number(value, count), f"{ends[0]} to {ends[1]}" if ends[0] else ""]
        for value, group, count, ends in entries[:_MOST_GROUPS]
    ]
    most = f", the worst {_MOST_GROUPS} of {len(entries)}" if len(entries) > _MOST_GROUPS else ""
    return table(f"By group{most}", ["group", "images", metric, "95 % interval"], cells)


def _curves_plot(
    facts: TaskFacts, key: str, class_curves: list[probabilities.Curve], drawing: Any, caption: str, long: str
) -> style.Plot:
    areas = [curve.area for curve in class_curves]
    worst = min(class_curves, key=lambda curve: curve.area)
    note = "areas are given"
    if len(class_curves) > probabilities.MOST_CURVES:
        note = f"named are the {probabilities.MOST_CURVES} of {len(class_curves)} with the least area"
    assert facts.shown is not None and facts.shown.rows is not None
    count = len(facts.shown.rows)
    mean = number(float(np.mean(areas)), count)
    return style.Plot(
        f"{facts.name}_{key}",
        drawing,
        f"{caption}, on {facts.shown.where} images; {note}.",
        f"{long} of {len(class_curves)}: mean area {mean}, the least {number(worst.area, count)} of {worst.name}.",
        ["name", "area", "x", "y"],
        [
            [curve.name, curve.area, x, y]
            for curve in class_curves
            for x, y in zip(curve.x.tolist(), curve.y.tolist(), strict=True)
        ],
    )


def _cell(value: Any, rows: int) -> str:
    return number(value, rows) if isinstance(value, float) else str(value)
