"""Reliability, coverage, thresholds and prediction sets: whether probabilities and intervals keep their promises."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from mlpipe.errors import counted
from mlpipe.post import conformal
from mlpipe.post.calibration import errors as calibration_errors
from mlpipe.post.decisions import criterion_text
from mlpipe.post.figures import number, percent, prevalence, round_percent
from mlpipe.post.intervals.by_metric import Interval, share, share_of_groups, wilson
from mlpipe.reports.facts import Rows, TaskFacts
from mlpipe.reports.markup import Content, bullets, paragraph, table
from mlpipe.reports.plots import numbers, probabilities, style
from mlpipe.reports.sections.parts import Section

Array = npt.NDArray[Any]
# From outputs and targets to the probability of each statement, whether it came true, and the row of each, (m,) each.
Confidences = Callable[[Array, Array], tuple[Array, Array, Array]]

_BINS = 12
_LEVELS = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
_MOST_NUMBERS = 4


def reliability(
    facts: TaskFacts, confidences: Confidences, what: str, nouns: tuple[str, str] = ("image", "images")
) -> Section:
    """Reliability diagrams before and after calibration.

    Args:
        facts: A task of classes or labels.
        confidences: See `Confidences`.
        what: What the probabilities are of, in words.
        nouns: The noun of the counted items, singular and plural.
    """
    rows = facts.shown.rows if facts.shown else None
    if rows is None or facts.shown is None:
        return Section("Calibration")
    values = {"before calibration": rows.raw, "after calibration": rows.calibrated}
    if not rows.is_calibrated:
        values = {"as the network gives it": rows.raw}
    panels, errors = [], {}
    for title, outputs in values.items():
        sure, hits, of = confidences(outputs, rows.targets)
        units = facts.shared_groups([rows.ids[place] for place in of.tolist()])
        panels.append((title, calibration_errors.reliability_bins(sure, hits, bins=_BINS, groups=units)))
        errors[title] = calibration_errors.binned_error(sure, hits)
    stored = (facts.shown.ensemble.decide if facts.shown.ensemble else {}).get("calibration_error")
    if stored is not None and rows.is_calibrated:
        # The stored errors were measured on the images of the estimate.
        errors = {"before calibration": stored["before"], "after calibration": stored["after"]}
    text = ", ".join(f"{number(value, len(rows))} {title}" for title, value in errors.items())
    plot = style.Plot(
        f"{facts.name}_reliability",
        probabilities.reliability(panels, nouns),
        f"How often {what} came true against its predicted probability, on {facts.shown.where} images, with 95 % bands.",
        f"Reliability diagram; expected calibration error {text}.",
        ["panel", "lower", "upper", "rows", "confidence", "hits", "hits_low", "hits_high"],
        [[title, *group.as_plain().values()] for title, bins in panels for group in bins],
    )
    measures = (stored or {}).get("measures", {}) if rows.is_calibrated else {}
    cells = [[name, *(number(value, len(rows)) for value in values)] for name, values in measures.items()]
    header = ["calibration error", "before", "after"]
    below = table(f"On {facts.shown.where} images; 0 is best", header, cells) if cells else None
    text = f"Expected calibration error: {text} (0 is best)."
    return Section("Calibration", [paragraph(text)], [plot], [below])


def of_numbers(facts: TaskFacts) -> Section:
    """Predicted against true numbers, residuals, and the coverage of prediction intervals.

    Args:
        facts: A task of numbers.
    """
    subject = facts.shown
    rows = subject.rows if subject else None
    if rows is None or subject is None:
        return Section("Predicted numbers")
    decided = subject.ensemble.decide if subject.ensemble else {}
    halves = decided.get("halfwidths", {})
    plots = []
    for place, name in enumerate(facts.classes[:_MOST_NUMBERS]):
        known = ~np.isnan(rows.targets[:, place])
        true, predicted = rows.targets[known, place], rows.calibrated[known, place]
        if len(true):
            samples = [rows.ids[row] for row in np.flatnonzero(known)]
            plots += _number_plots(facts, name, true.astype(np.float64), predicted, halves.get(name), samples)
    parts: list[Content | None] = []
    if subject.held_out is not None and subject.test is not None:
        plot = _coverage(facts, subject.held_out, subject.test)
        plots += [plot] if plot is not None else []
    if halves:
        parts.append(_stored_coverage(facts, rows, halves, decided["interval_alpha"]))
    if len(facts.classes) > _MOST_NUMBERS:
        parts.append(paragraph(f"Drawn are the first {_MOST_NUMBERS} of {len(facts.classes)} numbers."))
    return Section("Predicted numbers", parts, plots, is_wide=True)


def decisions(facts: TaskFacts) -> Section:
    """Thresholds, prediction sets and the performance at another prevalence, if they are stored.

    Args:
        facts: The task.
    """
    ensemble = facts.shown.ensemble if facts.shown else None
    decided = ensemble.decide if ensemble else {}
    count = len(facts.shown.rows) if facts.shown and facts.shown.rows else None
    sentences = []
    if sets := decided.get("sets"):
        promised = round_percent(1 - sets["alpha"])
        sentence = f"Prediction sets ({sets['score']}) are made to hold the true class of {promised} of images"
        if "observed_coverage" in sets:
            sentence += f"; they hold it for {percent(sets['observed_coverage'], count)}"
            sentence += f", with {sets['mean_size']:.2f} classes on average"
        sentences.append(f"{sentence}. {_sentence(sets['guarantee'])}")
    if estimate := decided.get("at_deploy_prior"):
        shares = prevalence(facts.classes, estimate["prior"])
        sentences.append(
            f"Where the prevalence is {shares}: expect accuracy {number(estimate['accuracy'], count)}, "
            f"nll {number(estimate['nll'], count)}."
        )
    if costs := decided.get("costs"):
        normal = (
            "" if costs["normalised"] is None else f", {percent(costs['normalised'])} of the best constant decision's"
        )
        sentences.append(
            f"Decisions that cost least cost {number(costs['each'], count)} for each image{normal}; "
            f"deciding for the most probable class costs {number(costs['most_probable'], count)}."
        )
    cuts = decided.get("thresholds")
    cut_table = None
    if cuts is not None:
        cells = [[name, "none" if cut is None else number(cut)] for name, cut in cuts["cuts"].items()]
        cut_table = table(f"Thresholds by {criterion_text(cuts)}", ["name", "probability from which on"], cells)
    return Section("Decisions", [bullets(sentences), cut_table])


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}." if text else ""


def _number_plots(
    facts: TaskFacts, name: str, true: Any, predicted: Any, halfwidth: float | None, samples: list[str]
) -> list[style.Plot]:
    error = float(np.sqrt(((predicted - true) ** 2).mean()))
    table_of = [["true", "predicted"], np.column_stack([true, predicted]).tolist()]
    assert facts.shown is not None
    where = counted(len(true), f"{facts.shown.where} image")
    return [
        style.Plot(
            f"{facts.name}_predicted_{name}",
            numbers.predicted_against_true(true, predicted, name, samples),
            f"{name}: predicted against true on {where}.",
            f"{name}: predicted against true numbers on {where}; root mean squared error {number(error, len(true))}.",
            *table_of,
        ),
        style.Plot(
            f"{facts.name}_residuals_{name}",
            numbers.residuals(true, predicted, name, halfwidth, samples),
            f"{name}: how far predictions are off.",
            f"{name}: residuals; their mean is {number(float((predicted - true).mean()), len(true))}.",
            ["predicted", "residual"],
            np.column_stack([predicted, predicted - true]).tolist(),
        ),
    ]


def _coverage(facts: TaskFacts, held_out: Rows, test: Rows) -> style.Plot | None:
    """Plot the coverage on test rows of intervals learned from held-out rows."""
    names, levels = facts.classes[:_MOST_NUMBERS], []
    halves = {
        level: conformal.residual_halfwidths(held_out.calibrated, held_out.targets, alpha=1 - level)
        for level in _LEVELS
    }
    for place in range(len(names)):
        known = ~np.isnan(test.targets[:, place])
        off = np.abs(test.calibrated[known, place] - test.targets[known, place])
        units = facts.shared_groups([test.ids[place] for place in np.flatnonzero(known).tolist()])
        points = []
        for level in _LEVELS if len(off) else ():
            inside = off <= halves[level][place]
            band = wilson(int(inside.sum()), len(off)) if units is None else share_of_groups(inside, units)
            points.append(calibration_errors.Bin(level, level, len(off), level, band.value, band.low, band.high))
        levels.append(points)
    rows = [
        [name, point.confidence, point.hits, point.hits_low, point.hits_high, point.rows]
        for name, points in zip(names, levels, strict=True)
        for point in points
    ]
    if not all(levels):
        return None
    of_most = [point for points in levels for point in points if point.confidence == 0.9]
    summary = ", ".join(
        f"{round_percent(point.confidence)} promised, {percent(point.hits, point.rows)} seen" for point in of_most
    )
    return style.Plot(
        f"{facts.name}_coverage",
        numbers.coverage(names, levels),
        "How often test images are inside intervals of each promised level, learned from out-of-fold images.",
        f"Coverage of prediction intervals: {summary}.",
        ["number", "promised", "observed", "low", "high", "rows"],
        rows,
    )


def _stored_coverage(facts: TaskFacts, rows: Rows, halves: dict[str, Any], alpha: float) -> Content | None:
    cells = []
    for place, name in enumerate(facts.classes):
        known = ~np.isnan(rows.targets[:, place])
        half = halves.get(name)
        if half is None or not known.any():
            continue
        off = np.abs(rows.calibrated[known, place] - rows.targets[known, place])
        units = facts.shared_groups([rows.ids[place] for place in np.flatnonzero(known).tolist()])
        inside = off <= half
        coverage = share(int(inside.sum()), len(inside)) if units is None else share_of_groups(inside, units)
        cells.append([name, f"± {number(half, int(known.sum()))}", *_coverage_cells(coverage, int(known.sum()))])
    assert facts.shown is not None
    caption = f"Prediction intervals that promise {round_percent(1 - alpha)}, on {facts.shown.where} images"
    caption += ", which they were made of" if facts.shown.test is None else ""
    return table(caption, ["number", "half width", "observed inside", "95 % interval"], cells)


def _coverage_cells(coverage: Interval, rows: int) -> list[str]:
    return [percent(coverage.value, rows), f"{percent(coverage.low, rows)} to {percent(coverage.high, rows)}"]
