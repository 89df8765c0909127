"""One class or label against the rest as a clinician reads it, and the risk of answering only the surest."""

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
    """One yes-or-no question of the rows where its answer is known, shape (n,) each.

    Attributes:
        log_odds: Of yes.
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
        question: The positive class against the rest, from what is shown, its rows and the class's number.
    """
    shown = facts.shown
    rows = shown.rows if shown else None
    if shown is None or rows is None or facts.positive not in facts.classes:
        return Section("Diagnosis")
    asked = question(shown, rows, facts.classes.index(facts.positive))
    if not asked.true.any() or asked.true.all():
        return Section("Diagnosis")
    groups = _groups(facts, asked.ids)
    found = answers.diagnosis(asked.said, asked.true, groups)
    hits, alarms, cleared, missed = found.counts
    text = (
        f"Positive is {facts.positive}: {counted(hits + missed, 'image')} of {len(asked.true)} {shown.where} images. "
        f"{hits} of them are found and {missed} missed; of the others {alarms} are taken for it and {cleared} are not."
    )
    if groups is not None:
        text += " Intervals take the images of a group together."
    below = [_calibration(asked, groups, facts.positive)]
    title = f"Diagnosis of {facts.positive}"
    drawn = [_values_plot(facts, found), _decision_plot(facts, asked, groups)]
    return Section(title, [paragraph(text), _table(facts, shown, found)], drawn, below, is_wide=True)


def certainty(facts: TaskFacts, certain: Callable[[Rows], tuple[npt.NDArray[Any], npt.NDArray[Any]]]) -> Section:
    """The risk-coverage curve: how often answers are wrong when only the surest are given.

    Args:
        facts: A task whose images are right or wrong as a whole.
        certain: How sure each prediction is, and 1 where it is wrong, shape (n,) each.
    """
    rows = facts.shown.rows if facts.shown else None
    if rows is None or facts.shown is None:
        return Section("Certainty")
    sure, wrong = certain(rows)
    if not len(sure) or not np.any(wrong):
        return Section("Certainty")
    found, many = risk_coverage(sure, wrong), len(sure)
    cells = [[round_percent(share), percent(found.at(share), many)] for share in _COVERAGES]
    plot = style.Plot(
        f"{facts.name}_risk_coverage",
        plots.risk_coverage(found),
        f"How often predictions are wrong where only the surest are answered, on {facts.shown.where} images.",
        f"Risk-coverage curve: {percent(found.at(0.5), many)} of the surest half are wrong, {percent(found.at(1.0), many)} of "
        f"all; area {number(found.area, many)}.",
        ["coverage", "risk"],
        np.column_stack([found.coverage, found.risk]).tolist(),
    )
    text = (
        f"Leave the unsure images to a person: of the surest half {percent(found.at(0.5), many)} are wrong, of all "
        f"{percent(found.at(1.0), many)}. The area under the curve is {number(found.area, many)} (0 is best)."
    )
    below = table("Share of wrong predictions by coverage", ["answered", "wrong"], cells)
    return Section("Certainty", [paragraph(text)], [plot], [below])


def _groups(facts: TaskFacts, ids: list[str]) -> npt.NDArray[Any] | None:
    if not facts.groups:
        return None
    names = np.array([facts.groups.get(one, one) for one in ids])
    return names if len(np.unique(names)) < len(names) else None


def _table(facts: TaskFacts, shown: Shown, found: Diagnosis) -> Content | None:
    """The four shares, here and at every other prevalence that is known."""
    many, elsewhere = sum(found.counts), _elsewhere(facts, shown)
    columns = [(found.ppv, found.npv), *(answers.at_prevalence(found, *place) for _, place in elsewhere)]
    header = ["", f"here, {percent(found.prevalence, many)} positive", *(name for name, _ in elsewhere)]
    same = [[one] * len(columns) for one in (found.sensitivity, found.specificity)]
    by_row = [*same, [pair[0] for pair in columns], [pair[1] for pair in columns]]
    cells = [[name, *(_with_ends(one, many) for one in row)] for name, row in zip(answers.NAMES, by_row, strict=True)]
    where = f"{counted(many, f'{shown.where} image')}, with 95 % intervals"
    more = "; elsewhere sensitivity and specificity are taken to be the same" if elsewhere else ""
    return table(f"Answers on {where}{more}", header, cells)


def _elsewhere(facts: TaskFacts, shown: Shown) -> list[tuple[str, tuple[float, float | None, float | None]]]:
    """Other prevalences of the positive class: asked for by `mode.deploy_prior`, and estimated of unlabelled images."""
    place, found = facts.classes.index(facts.positive), list[tuple[str, tuple[float, float | None, float | None]]]()
    decided = shown.ensemble.decide if shown.ensemble else {}
    if there := decided.get("at_deploy_prior"):
        share = float(there["prior"][place] / sum(there["prior"]))
        found.append((f"where {round_percent(share)} are positive", (share, None, None)))
    among = decided.get("prevalence", {}).get("unlabelled", {})
    if "values" in among:
        value, low, high = (float(among[key][place]) for key in ("values", "low", "high"))
        name = f"among the unlabelled images, {percent(value)} ({percent(low)} to {percent(high)})"
        found.append((name, (value, low, high)))
    return [(name, (share, low, high)) for name, (share, low, high) in found if 0 < share < 1]


def _with_ends(one: Interval | None, many: int) -> str:
    return "-" if one is None else f"{number(one.value, many)} ({interval(one.low, one.high, many)})"


def _values_plot(facts: TaskFacts, found: Diagnosis) -> style.Plot:
    pairs = [answers.at_prevalence(found, share) for share in _SHARES]
    names = answers.NAMES[2:]
    columns = [(name, [pair[number] for pair in pairs]) for number, name in enumerate(names)]
    rows = [
        [share, *(value for one in pair for value in (("", "", "") if one is None else (one.value, one.low, one.high)))]
        for share, pair in zip(_SHARES, pairs, strict=True)
    ]
    return style.Plot(
        f"{facts.name}_predictive_values",
        plots.predictive_values(_SHARES, columns, found.prevalence),
        "What an answer is worth where another share of images is positive, with 95 % bands.",
        f"Predictive values over the prevalence; here they are {_said(found.ppv)} (positive) and {_said(found.npv)} (negative).",
        ["prevalence", "ppv", "ppv_low", "ppv_high", "npv", "npv_low", "npv_high"],
        rows,
    )


def _said(one: Interval | None) -> str:
    return "not defined" if one is None else number(one.value)


def _decision_plot(facts: TaskFacts, asked: Asked, groups: npt.NDArray[Any] | None) -> style.Plot:
    chances, share = 0.5 * (1 + np.tanh(asked.log_odds / 2)), float(asked.true.mean())
    # Beyond some odds nobody would act on anything.
    cuts = np.linspace(0.01, min(0.99, max(0.5, 2 * share)), 60)
    curve = answers.net_benefit(chances, asked.true, cuts, groups=groups)
    columns = [curve.thresholds, curve.model, curve.low, curve.high, curve.everybody]
    best = np.maximum(curve.everybody, 0)
    helps = cuts[curve.model > best + _LEAST]
    told = (
        f"it is above acting on all or on nobody from {helps.min():.2f} to {helps.max():.2f}"
        if len(helps)
        else "it is never above acting on all or on nobody"
    )
    return style.Plot(
        f"{facts.name}_decision_curve",
        plots.decision_curve(curve),
        "Decision curve: true positives in an image minus false ones at the odds of the threshold (Vickers and Elkin 2006), "
        "with a 95 % band.",
        f"Decision curve of {facts.positive}; {told}.",
        ["threshold", "net_benefit", "low", "high", "everybody"],
        np.column_stack(columns).tolist(),
    )


def _calibration(asked: Asked, groups: npt.NDArray[Any] | None, positive: str) -> Content | None:
    """The calibration line of the positive class, best values beside it."""
    found, many = calibration_line.line(asked.log_odds, asked.true, groups), len(asked.true)
    rows: list[list[str]] = [
        [name, number(one.value, many), interval(one.low, one.high, many), best]
        for name, one, best in (
            ("slope", found.slope, "1; below it predictions are too extreme, above it too timid"),
            ("intercept", found.intercept, "0, at a slope of 1"),
            (
                "calibration in the large",
                found.in_the_large,
                "0; above it there are more positive images than predicted",
            ),
        )
        if one is not None
    ]
    rows += [
        ["mean probability", number(found.expected, many), "", "the share that is positive"],
        ["share that is positive", number(found.observed, many), "", ""],
    ]
    header = ["log-odds of what came true on those predicted", "value", "95 % interval", "best"]
    caption = f"Calibration of the probability of {positive}" + (
        f"; no line, because {found.note}" if found.note else ""
    )
    return table(caption, header, rows, numbers=range(1, 3))
