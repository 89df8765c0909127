"""Class frequencies in training, validation, test, and by estimate where images have no label."""

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


def prevalence(facts: TaskFacts) -> Section:
    """Shares of classes or labels by part, and what probabilities were calibrated for.

    Args:
        facts: A task of classes or labels.
    """
    if post_kind.of(facts.kind).PROBABILITIES is None:
        return Section("Prevalence")
    counted_in = [] if facts.task is None else _of_task(facts.task, facts.classes, _split_off(facts))
    meant, said = _estimated(facts)
    # An estimate is of as many images as nobody counted: it has as few digits as the fewest tell.
    fewest = min((many for _, _, many in counted_in), default=None)
    images = [*(many for _, _, many in counted_in), *([fewest] if meant is not None else [])]
    parts = [(part, values) for part, values, _ in counted_in]
    parts += [meant] if meant is not None else []
    if not parts:
        return Section("Prevalence")
    rows = [
        [name, *(_with_interval(values[place], many) for (_, values), many in zip(parts, images, strict=True))]
        for place, name in enumerate(facts.classes)
    ]
    what = kinds.of(facts.kind).words.OUTPUT
    made = table(f"Share of images by {what}", [what, *(part for part, _ in parts)], rows)
    plots = []
    if len(facts.classes) <= _MOST_CLASSES:
        told = "; ".join(
            f"{part}: " + ", ".join(f"{one.name} {percent(one.value)}" for one in values) for part, values in parts
        )
        plots.append(
            style.Plot(
                f"{facts.name}_prevalence",
                shares.prevalence(parts),
                f"Share of images of each {what}."
                + (" Lines are 95 % intervals." if meant and meant[1][0].low else ""),
                f"Prevalence. {told}.",
                ["part", what, "share", "low", "high"],
                [[part, one.name, one.value, one.low, one.high] for part, values in parts for one in values],
            )
        )
    return Section("Prevalence", [paragraph(said) if said else None, made], plots)


def _split_off(facts: TaskFacts) -> frozenset[str]:
    """The test images, which a split may have taken from those that came as training images."""
    test = facts.shown.test if facts.shown else None
    return frozenset(test.ids) if test is not None else frozenset()


def _of_task(task: Task, classes: list[str], tested: frozenset[str]) -> list[tuple[str, list[Value], int]]:
    """Each part with the share of each class, and how many images it has."""
    found, is_test = [], np.array([name in tested for name in task.samples.ids], bool)
    for part, name in (("train", "training"), ("val", "validation"), ("test", "test")):
        there = task.samples.in_part(part)  # type: ignore[arg-type]
        there = there | is_test if part == "test" else there & ~is_test
        rows = np.flatnonzero(there & task.samples.labelled)
        if len(rows):
            values = task.class_counts(rows) / len(rows)
            found.append(
                (name, [Value(one, float(share)) for one, share in zip(classes, values, strict=True)], len(rows))
            )
    return found


def _estimated(facts: TaskFacts) -> tuple[tuple[str, list[Value]] | None, str]:
    """What the newest calibration meant its probabilities for, where that is not simply the validation images'."""
    newest: Mapping[str, Any] = max(facts.calibrations, key=lambda one: str(one["created"]), default={})
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
    told = {
        "val": "Probabilities are meant for the prevalence of the validation images.",
        "test": "Probabilities are meant for the prevalence of the test images, known from their labels.",
        "quantify": "Probabilities are meant for the prevalence estimated on the unlabelled images.",
        "list": "Probabilities are meant for a prevalence that was given.",
    }
    shown = [Value(*one) for one in zip(facts.classes, values, low, high, strict=True)]
    return (names.get(str(kind), str(kind)), shown), told.get(str(kind), "")


def _with_interval(one: Value, images: int | None) -> str:
    ends = interval(one.low, one.high, images)
    return number(one.value, images) + (f" ({ends})" if ends else "")
