"""Class frequencies in training, validation and test images, and estimated for images without labels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from mlpipe import kinds
from mlpipe.data.task import Task
from mlpipe.post import kind as post_kind
from mlpipe.post.figures import interval, number, percent
from mlpipe.reports.facts import TaskFacts
from mlpipe.reports.markup import paragraph, table
from mlpipe.reports.plots import shares, style
from mlpipe.reports.plots.shares import Value
from mlpipe.reports.sections.parts import Section

_MOST_CLASSES = 16
# Shares of parts that differ less than this, also relative to each other, are the same for people.
_ALIKE, _ALIKE_RATIO = 0.02, 1.25


def prevalence(facts: TaskFacts) -> Section:
    """Shares of classes or labels by part, and the prevalence that probabilities were calibrated for.

    Args:
        facts: A task of classes or labels.
    """
    if post_kind.of(facts.kind).PROBABILITIES is None:
        return Section("Prevalence")
    counted_in = [] if facts.task is None else _part_shares(facts.task, facts.classes, _test_ids(facts))
    estimate, sentence = _estimated_prior(facts)
    # An estimate is not based on a count of images: it has as few digits as the smallest part.
    fewest = min((count for _, _, count in counted_in), default=None)
    images = [*(count for _, _, count in counted_in), *([fewest] if estimate is not None else [])]
    parts = [(part, values) for part, values, _ in counted_in]
    parts += [estimate] if estimate is not None else []
    if not parts:
        return Section("Prevalence")
    rows = [
        [name, *(_with_interval(values[place], count) for (_, values), count in zip(parts, images, strict=True))]
        for place, name in enumerate(facts.classes)
    ]
    noun = kinds.of(facts.kind).words.OUTPUT
    share_table = table(f"Share of images by {noun}", [noun, *(part for part, _ in parts)], rows)
    plots, are_alike = [], _are_alike([values for _, values in parts])
    # Of shares that are the same in all parts a plot would repeat the table.
    if len(facts.classes) <= _MOST_CLASSES and not are_alike:
        summary = "; ".join(
            f"{part}: " + ", ".join(f"{share.name} {percent(share.value)}" for share in values)
            for part, values in parts
        )
        plots.append(
            style.Plot(
                f"{facts.name}_prevalence",
                shares.prevalence(parts),
                f"Share of images of each {noun}."
                + (" Lines are 95 % intervals." if estimate and estimate[1][0].low else ""),
                f"Prevalence. {summary}.",
                ["part", noun, "share", "low", "high"],
                [[part, share.name, share.value, share.low, share.high] for part, values in parts for share in values],
            )
        )
    alike = "The shares of all parts are about the same." if are_alike and len(parts) > 1 else ""
    text = " ".join(filter(None, [sentence, alike]))
    return Section("Prevalence", [paragraph(text) if text else None, share_table], plots)


def _are_alike(parts: list[list[Value]]) -> bool:
    """Return whether the shares of all parts are about the same, and none has an interval."""
    if any(share.low is not None for values in parts for share in values):
        return False
    ends = [(min(own), max(own)) for own in zip(*([share.value for share in values] for values in parts), strict=True)]
    return all(high - low < _ALIKE and (low == high or high < _ALIKE_RATIO * low) for low, high in ends)


def _test_ids(facts: TaskFacts) -> frozenset[str]:
    """Return the test images, which a split may have taken from those that came as training images."""
    test = facts.shown.test if facts.shown else None
    return frozenset(test.ids) if test is not None else frozenset()


def _part_shares(task: Task, classes: list[str], tested: frozenset[str]) -> list[tuple[str, list[Value], int]]:
    """Return each part with the share of each class among images with known classes, and the number of images."""
    parts, is_test = [], np.array([name in tested for name in task.samples.ids], bool)
    for part, name in (("train", "training"), ("val", "validation"), ("test", "test")):
        mask = task.samples.in_part(part)  # type: ignore[arg-type]
        mask = mask | is_test if part == "test" else mask & ~is_test
        rows = np.flatnonzero(mask & task.samples.labelled)
        if len(rows):
            targets = task.samples.targets[rows]
            known = len(rows) if targets.ndim == 1 else (~np.isnan(targets)).sum(axis=0)
            values = task.class_counts(rows) / np.maximum(known, 1)
            parts.append(
                (name, [Value(label, float(share)) for label, share in zip(classes, values, strict=True)], len(rows))
            )
    return parts


def _estimated_prior(facts: TaskFacts) -> tuple[tuple[str, list[Value]] | None, str]:
    """Return the prior of the newest calibration, unless it is simply that of the validation images."""
    newest: Mapping[str, Any] = max(facts.calibrations, key=lambda calibration: str(calibration["created"]), default={})
    prior = newest.get("prior") or {}
    kind, values = prior.get("kind"), prior.get("values") or []
    if len(values) != len(facts.classes):
        return None, ""
    low, high = prior.get("low") or [None] * len(values), prior.get("high") or [None] * len(values)
    names = {
        "val": "validation (calibrated for)",
        "test": "test (calibrated for)",
        "quantify": "estimated, unlabelled",
        "list": "given by hand",
    }
    sentences = {
        "val": "Probabilities are meant for the prevalence of the validation images.",
        "test": "Probabilities are meant for the prevalence of the test images, known from their labels.",
        "quantify": "Probabilities are meant for the prevalence estimated on the unlabelled images.",
        "list": "Probabilities are meant for a prevalence that was given.",
    }
    estimates = [Value(*entry) for entry in zip(facts.classes, values, low, high, strict=True)]
    return (names.get(str(kind), str(kind)), estimates), sentences.get(str(kind), "")


def _with_interval(estimate: Value, images: int | None) -> str:
    ends = interval(estimate.low, estimate.high, images)
    return number(estimate.value, images) + (f" ({ends})" if ends else "")
