"""Diagnostic metrics of one class or label against the rest, and the risk of answering only confident predictions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mlpipe.errors import counted
from mlpipe.post import diagnosis as answers
from mlpipe.post.calibration import line as calibration_line
from mlpipe.post.diagnosis import Diagnosis
from mlpipe.post.figures import interval, number, percent, round_percent
from mlpipe.post.intervals.by_metric import Interval
from mlpipe.post.risk_coverage import risk_coverage
from mlpipe.reports.facts import Rows, Shown, TaskFacts
from mlpipe.reports.markup import Content, paragraph, table
from mlpipe.reports.plots import diagnosis as plots
from mlpipe.reports.plots import style
from mlpipe.reports.sections.parts import Section

# Log-odds of an output, which rows are positive, and which are answered yes, shape (n,) each, and the rows' names.
Question = Callable[[Shown, Rows, int], "Asked"]
_SHARES = (0.005, 0.01, 0.02, 0.03, 0.05, 0.07, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
_COVERAGES = (0.5, 0.7, 0.8, 0.9, 1.0)
_LEAST = 0.001


@dataclass(frozen=True)
class Asked:
    """A yes-or-no question for the rows where its answer is known, shape (n,) each.

    Attributes:
        log_odds: Log-odds of yes.
        true: Where yes is right.
        said: Where the answer is yes.
        ids: The rows' names.
    """

    log_odds: npt.NDArray[np.float64]
    true: npt.NDArray[np.bool_]
    said: npt.NDArray[np.bool_]
    ids: list[str]


def diagnosis(facts: TaskFacts, question: Question) -> Section:
    """Sensitivity, specificity, predictive values, calibration line and decision curve of the positive class.

    Args:
        facts: A task of classes or labels.
        question: From the subject, its rows and the class's number to the positive class against the rest.
    """
    subject = facts.shown
    rows = subject.rows if subject else None
    if subject is None or rows is None or facts.positive not in facts.classes:
        return Section("Diagnosis")
    cases = question(subject, rows, facts.classes.index(facts.positive))
    if not cases.true.any() or cases.true.all():
        return Section("Diagnosis")
    groups = facts.shared_groups(cases.ids)
    measures = answers.diagnosis(cases.said, cases.true, groups)
    hits, alarms, cleared, missed = measures.counts
    text = (
        f"Positive is {facts.positive}: {counted(hits + missed, 'image')} of {len(cases.true)} {subject.where} images. "
        f"{hits} of them are found and {missed} missed; of the others {alarms} are taken for it and {cleared} are not."
    )
    if groups is not None:
        text += " Intervals take the images of a group together."
    below = [_calibration(cases, groups, facts.positive)]
    title = f"Diagnosis of {facts.positive}"
    drawn = [_values_plot(facts, measures), _decision_plot(facts, cases, groups)]
    return Section(title, [paragraph(text), _table(facts, subject, measures)], drawn, below, is_wide=True)


def certainty(facts: TaskFacts, certain: Callable[[Rows], tuple[npt.NDArray[Any], npt.NDArray[Any]]]) -> Section:
    """The risk-coverage curve: the error rate when only the most confident predictions are answered.

    Args:
        facts: A task whose images are right or wrong as a whole.
        certain: The confidence of each prediction, and 1 where it is wrong, shape (n,) each.
    """
    rows = facts.shown.rows if facts.shown else None
    if rows is None or facts.shown is None:
        return Section("Certainty")
    sure, wrong = certain(rows)
    if not len(sure) or not np.any(wrong):
        return Section("Certainty")
    curve, count = risk_coverage(sure, wrong), len(sure)
    cells = [[round_percent(share), percent(curve.at(share), count)] for share in _COVERAGES]
    plot = style.Plot(
        f"{facts.name}_risk_coverage",
        plots.risk_coverage(curve),
        f"How often predictions are wrong where only the surest are answered, on {facts.shown.where} images.",
        f"Risk-coverage curve: {percent(curve.at(0.5), count)} of the surest half are wrong, {percent(curve.at(1.0), count)} of "
        f"all; area {number(curve.area, count)}.",
        ["coverage", "risk"],
        np.column_stack([curve.coverage, curve.risk]).tolist(),
    )
    text = (
        f"Leave the unsure images to a person: of the surest half {percent(curve.at(0.5), count)} are wrong, of all "
        f"{percent(curve.at(1.0), count)}. The area under the curve is {number(curve.area, count)} (0 is best)."
    )
    below = table("Share of wrong predictions by coverage", ["answered", "wrong"], cells)
    return Section("Certainty", [paragraph(text)], [plot], [below])


def _table(facts: TaskFacts, subject: Shown, measures: Diagnosis) -> Content | None:
    """Return the four shares, at this and at every other known prevalence."""
    count, elsewhere = sum(measures.counts), _other_prevalences(facts, subject)
    columns = [(measures.ppv, measures.npv), *(answers.at_prevalence(measures, *place) for _, place in elsewhere)]
    header = ["", f"here, {percent(measures.prevalence, count)} positive", *(name for name, _ in elsewhere)]
    same = [[share] * len(columns) for share in (measures.sensitivity, measures.specificity)]
    by_row = [*same, [pair[0] for pair in columns], [pair[1] for pair in columns]]
    cells = [
        [name, *(_with_ends(share, count) for share in row)] for name, row in zip(answers.NAMES, by_row, strict=True)
    ]
    where = f"{counted(count, f'{subject.where} image')}, with 95 % intervals"
    more = "; elsewhere sensitivity and specificity are taken to be the same" if elsewhere else ""
    return table(f"Answers on {where}{more}", header, cells)


def _other_prevalences(facts: TaskFacts, subject: Shown) -> list[tuple[str, tuple[float, float | None, float | None]]]:
    """Return other prevalences of the positive class: that of `mode.deploy_prior`, and the estimate for unlabelled images."""
    place, entries = facts.classes.index(facts.positive), list[tuple[str, tuple[float, float | None, float | None]]]()
    decided = subject.ensemble.decide if subject.ensemble else {}
    if deployment := decided.get("at_deploy_prior"):
        share = float(deployment["prior"][place] / sum(deployment["prior"]))
        entries.append((f"where {round_percent(share)} are positive", (share, None, None)))
    among = decided.get("prevalence", {}).get("unlabelled", {})
    if "values" in among:
        value, low, high = (float(among[key][place]) for key in ("values", "low", "high"))
        name = f"among the unlabelled images, {percent(value)} ({percent(low)} to {percent(high)})"
        entries.append((name, (value, low, high)))
    return [(name, (share, low, high)) for name, (share, low, high) in entries if 0 < share < 1]


def _with_ends(estimate: Interval | None, count: int) -> str:
    return (
        "-" if estimate is None else f"{number(estimate.value, count)} ({interval(estimate.low, estimate.high, count)})"
    )


def _values_plot(facts: TaskFacts, measures: Diagnosis) -> style.Plot:
    pairs = [answers.at_prevalence(measures, share) for share in _SHARES]
    names, count = answers.NAMES[2:], sum(measures.counts)
    columns = [(name, [pair[number] for pair in pairs]) for number, name in enumerate(names)]
    rows = [
        [
            share,
            *(
                value
                for estimate in pair
                for value in (("", "", "") if estimate is None else (estimate.value, estimate.low, estimate.high))
            ),
        ]
        for share, pair in zip(_SHARES, pairs, strict=True)
    ]
    return style.Plot(
        f"{facts.name}_predictive_values",
        plots.predictive_values(_SHARES, columns, measures.prevalence),
        "What an answer is worth where another share of images is positive, with 95 % bands.",
        f"Predictive values over the prevalence; here they are {_value_text(measures.ppv, count)} (positive) and "
        f"{_value_text(measures.npv, count)} (negative).",
        ["prevalence", "ppv", "ppv_low", "ppv_high", "npv", "npv_low", "npv_high"],
        rows,
    )


def _value_text(estimate: Interval | None, count: int) -> str:
    return "not defined" if estimate is None else number(estimate.value, count)


def _decision_plot(facts: TaskFacts, cases: Asked, groups: npt.NDArray[Any] | None) -> style.Plot:
    chances, share = 0.5 * (1 + np.tanh(cases.log_odds / 2)), float(cases.true.mean())
    # Beyond some odds nobody would act on any prediction.
    cuts = np.linspace(0.01, min(0.99, max(0.5, 2 * share)), 60)
    curve = answers.net_benefit(chances, cases.true, cuts, groups=groups)
    columns = [curve.thresholds, curve.model, curve.low, curve.high, curve.everybody]
    best = np.maximum(curve.everybody, 0)
    helps = cuts[curve.model > best + _LEAST]
    clause = (
        f"it is above acting on all or on nobody from {helps.min():.2f} to {helps.max():.2f}"
        if len(helps)
        else "it is never above acting on all or on nobody"
    )
    return style.Plot(
        f"{facts.name}_decision_curve",
        plots.decision_curve(curve),
        "Decision curve: true positives in an image minus false ones at the odds of the threshold (Vickers and Elkin 2006), "
        + (
            "with a 95 % band."
            if np.isfinite(curve.low).all()
            else "without a band: a single group does not tell how much it varies."
        ),
        f"Decision curve of {facts.positive}; {clause}.",
        ["threshold", "net_benefit", "low", "high", "everybody"],
        np.column_stack(columns).tolist(),
    )


def _calibration(cases: Asked, groups: npt.NDArray[Any] | None, positive: str) -> Content | None:
    """Return the calibration line of the positive class, with the ideal values."""
    line, count = calibration_line.line(cases.log_odds, cases.true, groups), len(cases.true)
    rows: list[list[str]] = [
        [name, number(estimate.value, count), interval(estimate.low, estimate.high, count), best]
        for name, estimate, best in (
            ("slope", line.slope, "1; below it predictions are too extreme, above it too timid"),
            ("intercept", line.intercept, "0, at a slope of 1"),
            (
                "calibration in the large",
                line.in_the_large,
                "0; above it there are more positive images than predicted",
            ),
        )
        if estimate is not None
    ]
    rows += [
        ["mean probability", number(line.expected, count), "", "the share that is positive"],
        ["share that is positive", number(line.observed, count), "", ""],
    ]
    header = ["log-odds of what came true on those predicted", "value", "95 % interval", "best"]
    caption = f"Calibration of the probability of {positive}" + (f"; no line, because {line.note}" if line.note else "")
    return table(caption, header, rows, numbers=range(1, 3))
